"""The configuration of a run: YAML in, resolved YAML out, errors with the nearest valid key.

A configuration is a tree of small frozen classes. Every key has a default except `data.path` and `data.split`; an
unknown key is an error that names it and the nearest valid one. The resolved tree is written beside all that it made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, Field, ValidationError

from mas_triplets.config.data import DataConfig
from mas_triplets.config.learning import EvaluationConfig, LifelongConfig, LossConfig, TrainConfig
from mas_triplets.config.model import ModelConfig
from mas_triplets.config.nodes import Node
from mas_triplets.errors import UserError, nearest


class RunConfig(Node):
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
