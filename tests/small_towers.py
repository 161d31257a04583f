"""Vision checkpoints of a few kilobytes, random, in a folder: what the hub offers, made small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

SIDE, PATCH, LAYERS = 32, 8, 3
_VIT = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": PATCH,
}
_TEXT = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 50,
    "projection_dim": 12,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 1,
}


def _save(model: Any, processor: Any, folder: Path) -> Path:
    with torch.no_grad():
        for parameter in model.parameters():  # what starts at zero or one would hide mistakes
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _square() -> Any:
    return transformers.SiglipImageProcessor(size={"height": SIDE, "width": SIDE})


def _cut() -> Any:
    return transformers.CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})


def save_tower(kind: str, folder: Path) -> Path:
    """Save a random checkpoint.

    Kinds: clip, metaclip, siglip and naflex with their text towers; clip-tower, dinov2, registers, vit, deit, resnet,
    swin; and bert, which sees no pictures.
    """
    t: Any = transformers
    with torch.random.fork_rng():
        torch.manual_seed(0)
        match kind:
            case "clip":
                config = t.CLIPConfig(text_config=_TEXT, vision_config=_VIT, projection_dim=12)
                return _save(t.CLIPModel(config), _cut(), folder)
            case "metaclip":
                config = t.MetaClip2Config(text_config=_TEXT, vision_config=_VIT, projection_dim=12)
                return _save(t.MetaClip2Model(config), _cut(), folder)
            case "clip-tower":
                return _save(t.CLIPVisionModel(t.CLIPVisionConfig(**_VIT)), _cut(), folder)
            case "siglip":
                return _save(t.SiglipModel(t.SiglipConfig(text_config=_TEXT, vision_config=_VIT)), _square(), folder)
            case "dinov2":
                config = t.Dinov2Config(**{**_VIT, "mlp_ratio": 2})
                cut = t.BitImageProcessor(size={"shortest_edge": 36}, crop_size={"height": SIDE, "width": SIDE})
                return _save(t.Dinov2Model(config), cut, folder)
            case "registers":
                config = t.Dinov2WithRegistersConfig(**{**_VIT, "mlp_ratio": 2}, num_register_tokens=3)
                return _save(t.Dinov2WithRegistersModel(config), _cut(), folder)
            case "vit":
                return _save(
                    t.ViTModel(t.ViTConfig(**_VIT)), t.ViTImageProcessor(size={"height": SIDE, "width": SIDE}), folder
                )
            case "deit":
                return _save(
                    t.DeiTModel(t.DeiTConfig(**_VIT)),
                    t.DeiTImageProcessor(size={"height": 36, "width": 36}, crop_size=SIDE),
                    folder,
                )
            case "naflex":
                config = t.Siglip2Config(text_config=_TEXT, vision_config={**_VIT, "num_patches": 16})
                return _save(t.Siglip2Model(config), _square(), folder)
            case "bert":
                sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
                return _save(t.BertModel(t.BertConfig(**sizes, vocab_size=40)), _square(), folder)
            case "resnet":
                config = t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
                return _save(t.ResNetModel(config), _square(), folder)
            case "swin":
                config = t.SwinConfig(
                    image_size=SIDE, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4
                )
                return _save(t.SwinModel(config), _square(), folder)
    raise ValueError(kind)
