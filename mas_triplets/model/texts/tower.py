"""A language model with its tokenizer, loaded from a folder, and what it makes of a batch of texts."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from mas_triplets.errors import UserError
from mas_triplets.model.quiet import quiet_loading
from mas_triplets.model.texts.pooling import Pooling, is_siglip, pool_tokens

T = TypeVar("T")
_CLASSES = ("TextModelWithProjection", "EncoderModel")  # of these AutoModel would build something else


class Tower:
    """A checkpoint's text encoder, float32, on the CPU.

    Attributes:
        unknown: the token that stands for what the tokenizer cannot write; None if it can write everything.
    """

    def __init__(self, folder: Path, name: str, pooling: str) -> None:
        """Load tokenizer and weights.

        Raises:
            UserError: transformers cannot read them, or they have not what `pooling` asks for.
        """
        from transformers import AutoConfig, AutoTokenizer

        self._name, self._pooling = name, pooling
        config = _load(folder, "configuration", lambda: AutoConfig.from_pretrained(folder, **_LOCAL))
        self._tokenizer = _load(folder, "tokenizer", lambda: AutoTokenizer.from_pretrained(folder, **_LOCAL))
        self._model, self._missing = _load(folder, "weights", lambda: _model(folder, config))
        self._siglip = is_siglip(config.model_type)
        self._run = self._output()
        # Of a batch the shorter texts are padded; where, must not depend on how the tokenizer was last used.
        self._tokenizer.padding_side = "right"
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        text = getattr(config, "text_config", config)
        most = min(self._tokenizer.model_max_length, getattr(text, "max_position_embeddings", math.inf))
        self._options = {"truncation": True, "max_length": most} if most < 1 << 20 else {}
        # SigLIP is trained with every text padded to the full length, and with attention to the padding.
        self._options["padding"] = "max_length" if self._siglip else True
        self.unknown: str | None = self._tokenizer.unk_token

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Return (N, numbers), one row a text.

        Raises:
            UserError: tokenizer and weights do not belong together, or weights that are needed are absent.
        """
        tokens = self._tokenizer(list(texts), return_attention_mask=True, return_tensors="pt", **self._options)
        mask = tokens["attention_mask"]
        table = self._model.get_input_embeddings() if not hasattr(self._model, "text_model") else None
        table = table or self._model.text_model.get_input_embeddings()
        if int(tokens["input_ids"].max()) >= table.num_embeddings:
            raise UserError(
                f"the tokenizer of {self._name} has more tokens than the model's {table.num_embeddings} embeddings: "
                "they do not belong together, take both from one checkpoint"
            )
        if self._siglip:
            del tokens["attention_mask"]
        with torch.no_grad():
            accepted = inspect.signature(self._run).parameters
            output = self._run(**{key: value for key, value in tokens.items() if key in accepted})
        vectors = self._pooled(output, mask)
        if not bool(torch.isfinite(vectors).all()):
            lack = f"its files lack weights, such as {self._missing[0]}" if self._missing else "its weights are damaged"
            raise UserError(
                f"{self._name} gives numbers that are not finite: {lack}; fetch it anew, or take another pooling than "
                f"{self._pooling} (model.text.pooling)"
            )
        return vectors

    def unknown_parts(self, texts: Sequence[str]) -> Iterator[tuple[bool, list[str]]]:
        """Yield for each text whether the tokenizer can write nothing of it, and the words it cannot write."""
        unknown = self._tokenizer.unk_token_id
        for text, ids in zip(texts, self._ids(texts), strict=True):
            words = text.split()
            if ids and unknown not in ids:
                yield False, []
            elif not self._written([token for token in ids if token != unknown]):
                yield True, words
            else:
                yield False, [word for word, own in zip(words, self._ids(words), strict=True) if unknown in own]

    def _written(self, ids: list[int]) -> str:
        """Return the text that tokens stand for; some tokenizers mark with one where a word begins."""
        return cast(str, self._tokenizer.decode(ids)).strip()

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return cast(list[list[int]], self._tokenizer(list(texts), add_special_tokens=False)["input_ids"])

    def _output(self) -> Callable[..., Any]:
        """Return the function that gives the text encoder's output."""
        model = self._model
        if self._pooling == "projection":
            if hasattr(model, "get_text_features"):
                return cast(Callable[..., Any], model.get_text_features)
            if not self._siglip and not type(model).__name__.endswith("TextModelWithProjection"):
                raise UserError(
                    f"model.text.pooling=projection: {self._name} ({type(model).__name__}) has no projection into a "
                    "space shared with pictures, as CLIP and SigLIP have; take mean, cls, pooler or last"
                )
            return cast(Callable[..., Any], model.forward)
        if hasattr(model, "text_model"):
            model = model.text_model
        elif model.config.is_encoder_decoder:
            model = model.get_encoder()
        return cast(Callable[..., Any], model.forward)

    def _pooled(self, output: Any, mask: Tensor) -> Tensor:
        if self._pooling == "projection":
            if isinstance(output, Tensor):  # transformers 4 gives it as it is
                return output
            embeds = getattr(output, "text_embeds", None)
            return cast(Tensor, output.pooler_output if embeds is None else embeds)
        if self._pooling == "pooler":
            found = getattr(output, "pooler_output", None)
            if found is None:
                raise UserError(
                    f"model.text.pooling=pooler: {self._name} ({type(self._model).__name__}) has no pooler; take mean, "
                    "cls or last"
                )
            return cast(Tensor, found)
        return pool_tokens(output.last_hidden_state, mask, cast(Pooling, self._pooling))


_LOCAL = {"local_files_only": True, "trust_remote_code": False}


def _model(folder: Path, config: Any) -> tuple[Any, list[str]]:
    """Load the weights, and name those that the files lack: they become NaN, so that using one shows in the output."""
    import transformers

    named = next(iter(config.architectures or ()), "")
    own = getattr(transformers, named, None) if named.endswith(_CLASSES) else None
    model, info = (own or transformers.AutoModel).from_pretrained(folder, output_loading_info=True, **_LOCAL)
    missing = set(info["missing_keys"])
    for name, parameter in model.named_parameters():
        if name in missing:
            parameter.data.fill_(math.nan)
    return model.float().eval(), sorted(missing)


def _load(folder: Path, what: str, load: Callable[[], T]) -> T:
    """Call `load`; whatever a library says of files it cannot read becomes one sentence.

    Raises:
        UserError: it failed.
    """
    with quiet_loading():
        try:
            return load()
        except ImportError as error:
            reason = " ".join(str(error).split()).partition(". ")[0]
            raise UserError(
                f"the {what} of the language model in {folder} needs a package that is not installed: {reason}; "
                "install it (SentencePiece: pip install sentencepiece protobuf)"
            ) from error
        except Exception as error:  # damaged files end in errors of any kind, from several libraries
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise UserError(
                f"the {what} of the language model in {folder} cannot be loaded ({type(error).__name__}: {reason}): "
                "fetch the folder anew"
            ) from error
