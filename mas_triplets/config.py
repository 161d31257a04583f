"""The typed configuration of a run: YAML in, resolved YAML out, errors with the nearest valid key.

A configuration is a tree of small frozen classes. Every key has a default except `data.path` and `data.split`; an
unknown key is an error that names it and the nearest valid one. The resolved tree is written beside all that it made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from mas_triplets.errors import UserError, nearest

Part = Literal["train", "val", "test"]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


def _as_text(value: Any) -> Any:
    """Return a whole number or a date as the text it is read from: YAML takes the name 2024 for a number."""
    return str(value) if isinstance(value, int | date) and not isinstance(value, bool) else value


Name = Annotated[str, BeforeValidator(_as_text)]


class _Node(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataConfig(_Node):
    """What is learnt from."""

    path: Path
    """Folder of the prepared data set; a relative one is looked up from the working directory."""
    split: Name
    """Name of a split of the data set: `splits/NAME.json`."""
    region: Literal["image", "box"] = "image"
    """What is embedded: the whole picture, or the box of each fact."""
    train_parts: Annotated[tuple[Part, ...], Field(min_length=1)] = ("train",)
    """Parts whose pictures are learnt from; add `val` for a final run, once nothing is left to choose."""
    unseen_facts: Literal["error", "allow"] = "error"
    """What to do about facts without a training picture: stop, or learn the others and judge these as unseen."""
    cache: Path | None = None
    """Folder for decoded pictures and features; the data set's own `cache/` if none is given."""


class ImageEncoderConfig(_Node):
    """How a picture becomes features."""

    name: str = "cnn"
    """`cnn` (small, learnt from scratch) or `efficientnet-lite0` (ImageNet weights of the extra `offline`)."""
    trainable: bool = True
    """Whether the encoder is learnt; a frozen one is run once and its features are cached."""
    size: Annotated[int, Field(ge=8, le=1024)] = 48
    """Side in pixels to which a picture is resized."""
    channels: tuple[Annotated[int, Field(ge=1)], ...] = (16, 32, 64, 128)
    """`cnn` only: the number of channels after each convolution of stride 2."""


class TextEncoderConfig(_Node):
    """How the text of a slot becomes the language embedding that pictures are drawn to."""

    name: str = "glove"
    """`glove` or `minilm` (both of the extra `offline`), or `random` (a fixed random vector for each word)."""
    path: Path | None = None
    """`glove`: a text file of word vectors; `minilm`: a folder of a sentence encoder; null takes the packaged one."""
    dim: Annotated[int, Field(ge=2)] = 50
    """`random` only: numbers a slot."""


class ModelConfig(_Node):
    """The joint embedding: encoder, trunk, three heads."""

    image: ImageEncoderConfig = ImageEncoderConfig()
    text: TextEncoderConfig = TextEncoderConfig()
    hidden: tuple[Annotated[int, Field(ge=1)], ...] = (256,)
    """Widths of the trunk's hidden layers, each followed by ReLU."""
    input_dropout: Share = 0.0
    """Share of the trunk's inputs set to zero while learning."""
    head_scale: Positive = 1.0
    """Factor on the heads' initial weights; the squared loss on large features wants a small one."""
    score: Literal["cosine", "euclidean"] = "cosine"
    """How a picture is scored against a fact."""


class LossConfig(_Node):
    """The task loss."""

    name: str = "euclidean"
    """`euclidean`, `contrastive` or `ranking`."""
    temperature: Positive = 0.1
    """`contrastive` only."""
    margin: Positive = 0.2
    """`ranking` only."""
    negatives: Literal["hardest", "all"] = "hardest"
    """`ranking` only."""


class LifelongConfig(_Node):
    """How forgetting is fought."""

    strategy: str = "mas"
    """`finetune`, `joint`, `l2` or `mas`."""
    strength: Annotated[float, Field(ge=0, le=1e30)] = 1.0
    """Lambda of the penalty lambda * sum_p Omega_p (theta_p - theta*_p)^2."""
    application: Literal["gradient", "proximal"] = "gradient"
    """The penalty as a gradient, or as a proximal step after the optimiser's."""
    statistic: Literal["abs", "square"] = "abs"
    """Mean of the absolute value (the paper's) or of the square of the per-sample gradients."""
    mode: Literal["exact", "batched"] = "exact"
    """Per-sample absolute values, or |gradient of a batch| to compare with other code."""
    normalise: Literal["none", "mean", "layer"] = "mean"
    """`mean` divides each task's Omega by its mean over all parameters, `layer` each tensor's by its own mean."""
    accumulate: Literal["sum", "mean", "ema", "max"] = "sum"
    """How the Omega of several tasks become one; `sum` is the paper's."""
    decay: Share = 0.5
    """`ema` only: weight of the past."""
    max_samples: Annotated[int, Field(ge=1)] | None = None
    """At most so many pictures are used to estimate Omega; null takes all of the task."""


class TrainConfig(_Node):
    """The optimisation of one task."""

    epochs: Annotated[int, Field(ge=1)] = 8
    batch_size: Annotated[int, Field(ge=1)] = 32
    optimiser: Literal["adam", "sgd"] = "adam"
    learning_rate: Positive = 2e-3
    momentum: Share = 0.9
    """`sgd` only."""
    weight_decay: NotNegative = 0.0
    warmup: Share = 0.1
    """Share of a task's steps in which the learning rate rises; then it falls to zero as half a cosine."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Threads of the processor; the same number gives the same bits. Null takes PyTorch's choice."""
    device: str = "cpu"
    """`cpu`, `cuda`, `cuda:1`, or `auto`: a GPU if there is one."""


class EvaluationConfig(_Node):
    """What is measured after each task."""

    part: Literal["val", "test"] = "test"
    """Choose hyper-parameters on `val`; report `test`."""


class RunConfig(_Node):
    """The whole configuration of a run."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: DataConfig
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    lifelong: LifelongConfig = LifelongConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def to_yaml(self) -> str:
        """Return the resolved configuration, every key written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def load_config(path: Path, settings: Iterable[str] = ()) -> RunConfig:
    """Read a YAML configuration and apply `key=value` settings such as `lifelong.strength=2`.

    Raises:
        UserError: the file cannot be read, is not a YAML mapping, or a key or value is not valid.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: give the YAML file of a run, such as those in configs/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a configuration: {error}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-45
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path} is not a configuration: it should map keys such as `data` and `model` to values")
    return make_config(tree, settings, where=str(path))


def make_config(tree: Mapping[str, Any], settings: Iterable[str] = (), *, where: str = "configuration") -> RunConfig:
    """Validate a tree of plain values, after applying `key=value` settings to it.

    Raises:
        UserError: a key is unknown (the nearest valid one is named) or a value is not valid.
    """
    merged: dict[str, Any] = _copied(tree)
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set {setting!r} is not of the form key=value, such as lifelong.strength=2")
        _assign(merged, key.strip(), _value(setting, value))
    try:
        return RunConfig.model_validate(merged)
    except ValidationError as error:
        raise UserError(f"{where}: {_sentence(error)}") from None


def _value(setting: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date such as 2024-13-45
        reason = " ".join(str(error).split())
        raise UserError(f"--set {setting!r}: the value is not valid YAML ({reason}): put text in quotes") from None


def _copied(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if isinstance(value, Mapping) else value for key, value in tree.items()}


def _assign(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        child = tree.setdefault(parent, {})
        if not isinstance(child, dict):
            raise UserError(f"--set {dotted}: '{parent}' holds a value, not further keys")
        tree = child
    tree[last] = value


def flat_values(config: RunConfig) -> dict[str, Any]:
    """Return the plain value of every key in dotted form, such as `model.image.size`."""

    def walk(tree: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in tree.items():
            if isinstance(value, Mapping):
                yield from walk(value, f"{prefix}{name}.")
            else:
                yield prefix + name, value

    return dict(walk(config.model_dump(mode="json"), ""))


def valid_keys(node: type[BaseModel] = RunConfig, prefix: str = "") -> list[str]:
    """List every key of a configuration in dotted form, such as `model.image.size`."""
    keys: list[str] = []
    for name, field in node.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            keys += valid_keys(kind, f"{prefix}{name}.")
        else:
            keys.append(prefix + name)
    return keys


def _sentence(error: ValidationError) -> str:
    parts = []
    for detail in error.errors(include_url=False):
        key = ".".join(str(place) for place in detail["loc"])
        if detail["type"] == "extra_forbidden":
            parts.append(f"unknown key '{key}': {_nearest_keys(key)}")
        elif detail["type"] == "missing":
            parts.append(f"key '{key}' is needed: set it in the file or with --set {key}=...")
        else:
            parts.append(f"key '{key}' is {detail.get('input')!r}: {detail['msg']}")
    return "; ".join(parts)


def _nearest_keys(key: str) -> str:
    keys = valid_keys()
    nodes = sorted({name.rsplit(".", 1)[0] for name in keys if "." in name})
    close = nearest(key, keys + nodes) or [name for name in keys if name.endswith("." + key.rsplit(".", 1)[-1])]
    parent = key.rpartition(".")[0]
    siblings = [name for name in keys if name.startswith(parent + ".")] if parent in nodes else keys
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}Valid: {', '.join(siblings)}"
