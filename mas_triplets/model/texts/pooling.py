"""What of a language model's output becomes the vector of a text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from mas_triplets.errors import UserError
from mas_triplets.files import read_json

Pooling = Literal["projection", "pooler", "cls", "mean", "last"]
_SENTENCE_POOLING = {"cls": "cls", "mean": "mean", "lasttoken": "last"}
_OLD_KEYS = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens", "lasttoken": "pooling_mode_lasttoken"}


def pooling_of(folder: Path, wanted: str) -> str:
    """Return which pooling a checkpoint gets; `auto` is told by its files, without loading it.

    auto: the projection into the space shared with pictures where the checkpoint has one (CLIP, SigLIP); else what a
    sentence encoder's own `1_Pooling/config.json` says, if that is one of cls, mean and last; else the mean.

    Raises:
        UserError: the folder has no config.json, or it is damaged.
    """
    config = read_json(folder / "config.json", "the configuration of a language model")
    if not isinstance(config, dict):
        raise UserError(f"{folder / 'config.json'} is not the configuration of a language model: fetch it anew")
    if wanted != "auto":
        return wanted
    if has_projection(config):
        return "projection"
    own = folder / "1_Pooling" / "config.json"
    if not own.is_file():
        return "mean"
    says = read_json(own, "the pooling of a sentence encoder")
    if not isinstance(says, dict):
        return "mean"
    modes = [mode for mode, key in _OLD_KEYS.items() if says.get(key) is True or says.get("pooling_mode") == mode]
    return _SENTENCE_POOLING[modes[0]] if len(modes) == 1 else "mean"


def has_projection(config: dict[str, Any]) -> bool:
    """Whether a configuration is that of text and pictures in one space, or of the text half of one."""
    both = isinstance(config.get("text_config"), dict) and isinstance(config.get("vision_config"), dict)
    classes = json.dumps(config.get("architectures") or [])
    return both or is_siglip(config.get("model_type")) or "TextModelWithProjection" in classes


def is_siglip(model_type: object) -> bool:
    """Whether a model type is SigLIP's: its text tower ends in the projection, and sees padding as it sees words."""
    return str(model_type).startswith("siglip")


def pool_tokens(states: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Return (N, numbers) of the last hidden states (N, tokens, numbers).

    mean: over the tokens of the text; cls: the first; last: the last. `mask` (N, tokens) is 1 for tokens of the text
    and 0 for padding.
    """
    if pooling == "mean":
        weight = mask.unsqueeze(-1).float()
        return (states * weight).sum(1) / weight.sum(1)
    place = mask.argmax(1) if pooling == "cls" else mask.shape[1] - 1 - mask.flip(1).argmax(1)
    return states[range(len(states)), place]
