"""The configuration of the joint embedding: encoders, trunk, heads."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from mas_triplets.config.nodes import Name, Node, Positive, Share

Count = Annotated[int, Field(ge=1)]


_TRAINABLE = re.compile(r"none|all|(last|lora): ([1-9][0-9]{0,3})")


def _trainable(value: Any) -> str:
    """Return one of `none`, `all`, `last: N`, `lora: R`; true and false stand for all and none."""
    if isinstance(value, bool):
        return "all" if value else "none"
    if isinstance(value, Mapping) and len(value) == 1:
        value = ": ".join(str(part) for part in next(iter(value.items())))
    if not isinstance(value, str) or not _TRAINABLE.fullmatch(value):
        raise ValueError("should be none, all, last: N (the last N blocks) or lora: R (of rank R)")
    return value


Trainable = Annotated[str, BeforeValidator(_trainable)]


def _weights(value: Any) -> Any:
    return "none" if value is None else str(value) if isinstance(value, Path) else value


class ImageEncoderConfig(Node):
    """How a picture becomes features."""

    name: str = "cnn"
    """`cnn` (small, from scratch), `packaged` (EfficientNet-lite0 of the extra `offline`), `torchvision` or
    `transformers`."""
    model: Name | None = None
    """`torchvision`: the registered name, such as resnet50. `transformers`: a hub name or a folder."""
    weights: Annotated[str, BeforeValidator(_weights)] = "default"
    """`default`, `none` (random), a file (.safetensors, .pth), or for `torchvision` a member of its weights enum."""
    trainable: Trainable = "all"
    """`none` (run once, features cached), `all`, `last: N` blocks, or `lora: r`."""
    branches: Literal["shared", "two"] = "shared"
    """One trunk for all slots, or Sherlock's two: one for S, another for P and O, shared up to `branch_at`."""
    branch_at: Name | None = None
    """`two` only: the first block that each branch has for itself; null takes the encoder's usual place."""
    batch_norm: Literal["learn", "fixed"] | None = None
    """Whether running statistics of BatchNorm are updated; null updates them only if the weights are random."""
    size: Annotated[int, Field(ge=8, le=1024)] | None = None
    """Side in pixels to which a picture is resized; null takes the encoder's own (`cnn`: 48)."""
    fit: Literal["own", "whole"] | None = None
    """`own`: as the encoder's transforms do, mostly cut at the centre; `whole`: all of the picture, drawn to a square.
    null takes `own` where the encoder has transforms."""
    pooling: Literal["auto", "projection", "pooler", "cls", "mean"] = "auto"
    """`transformers` only: what of the tower's output is taken."""
    channels: tuple[Count, ...] = (16, 32, 64, 128)
    """`cnn` only: the number of channels after each convolution of stride 2."""
    features: Literal["float32", "float16"] = "float32"
    """How features of frozen parts are kept on disk."""

    @property
    def frozen(self) -> bool:
        """Whether nothing of the encoder is learnt."""
        return self.trainable == "none"

    def amount(self, of: Literal["last", "lora"]) -> int | None:
        """Return N of `last: N` or `lora: N`; None if `trainable` is something else."""
        kind, _, number = self.trainable.partition(": ")
        return int(number) if kind == of else None


class TextEncoderConfig(Node):
    """How the text of a slot becomes the language embedding that pictures are drawn to."""

    name: str = "glove"
    """`word-vectors` (or `glove`), `transformers` (or `minilm`), or `random` (a fixed random vector for each word)."""
    path: Path | None = None
    """A file of word vectors, or a folder of a language model; null takes the packaged one."""
    model: Name | None = None
    """`transformers` only: a hub name, in place of a folder."""
    pooling: Literal["auto", "projection", "pooler", "cls", "mean", "last"] = "auto"
    """`transformers` only: what of the last hidden states is taken; `projection` is that of CLIP and SigLIP."""
    template: str | dict[str, str] | None = None
    """A sentence around each text, such as "a photo of {subject}"; one for all slots, or one for each."""
    centre: bool = True
    """Whether the mean over the vocabulary is taken away; false for encoders whose pictures share the space."""
    dim: Annotated[int, Field(ge=2)] = 50
    """`random` only: numbers a slot."""


class ModelConfig(Node):
    """The joint embedding: encoder, trunk, three heads."""

    image: ImageEncoderConfig = ImageEncoderConfig()
    text: TextEncoderConfig = TextEncoderConfig()
    hidden: tuple[Count, ...] = (256,)
    """Widths of the trunk's hidden layers, each followed by ReLU."""
    input_dropout: Share = 0.0
    """Share of the trunk's inputs set to zero while learning."""
    head_scale: Positive = 1.0
    """Factor on the heads' initial weights; the squared loss on large features wants a small one."""
    residual: bool = False
    """Add the heads to the encoder's features, starting from nothing added: learning begins at zero-shot."""
    score: Literal["cosine", "euclidean"] = "cosine"
    """How a picture is scored against a fact."""
