"""Vision towers from transformers: CLIP, SigLIP, DINOv2, ViT and others, from a hub name or a folder."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn

from mas_triplets.config import ImageEncoderConfig
from mas_triplets.errors import UserError
from mas_triplets.model.images.checkpoints import Checkpoint
from mas_triplets.model.images.encoder import ImageEncoder
from mas_triplets.model.images.pooling import Pooled, is_vit, pooled, pooling_of
from mas_triplets.model.images.processors import drawing_of


class TransformersEncoder(ImageEncoder):
    """The vision tower of a checkpoint; a text tower beside it is not loaded.

    A ViT (ViT, DeiT, DINOv2, CLIP, SigLIP) has the blocks layer0, layer1 and so on: the first with the embeddings
    before it, the last with the final normalisation, head and pooling. Other networks are one block.

    Raises:
        UserError: the checkpoint cannot be had, lacks weights that are used, or has not what `pooling` asks for.
    """

    def __init__(self, config: ImageEncoderConfig) -> None:
        assert config.model is not None  # checked before
        checkpoint = Checkpoint(config.model)
        drawing = drawing_of(checkpoint.processor(), config.size, config.fit, config.model)
        given = config.weights != "none"
        network, missing = checkpoint.tower(given=given)
        if getattr(network, "main_input_name", None) != "pixel_values":
            raise UserError(f"model.image.model={config.model} is no vision model: its input is not a picture")
        if "pixel_attention_mask" in inspect.signature(network.forward).parameters:
            raise UserError(
                f"model.image.model={config.model} takes pictures of any shape in patches (NaFlex), which is not "
                "foreseen here: take a checkpoint of one size, such as google/siglip2-base-patch16-224"
            )
        size = drawing.view.size
        pooling = pooling_of(network, config.pooling, config.model)
        blocks = _blocks(network, pooling, size)
        _check_complete(network, blocks, missing, config.model)
        super().__init__(
            config,
            drawing.view,
            drawing.mean,
            drawing.std,
            blocks,
            about=f"{config.model}, {pooling}" + ("" if given else ", random weights"),
            given=given,
            pooling=pooling,
            settings=checkpoint.settings(),
        )


def _blocks(network: Any, pooling: str, size: int) -> dict[str, nn.Module]:
    """Return the blocks of a tower for pictures of `size`."""
    vision = getattr(network, "vision_model", network)
    holder = getattr(vision, "encoder", vision)
    layers = getattr(holder, "layers", None) or getattr(holder, "layer", None)
    if not is_vit(vision) or not isinstance(layers, nn.ModuleList):
        return {"network": _Whole(network, pooling, size)}
    blocks = [_Block(layer) for layer in layers]
    blocks[0].before = _Embeddings(vision, size)
    blocks[-1].after = Pooled(network, pooling, (size // vision.config.patch_size) ** 2)
    return {f"layer{i}": block for i, block in enumerate(blocks)}


class _Embeddings(nn.Module):
    """Pictures to tokens, with positions interpolated where the size is not the one learnt."""

    def __init__(self, vision: Any, size: int) -> None:
        super().__init__()
        self.embeddings = vision.embeddings
        mask = getattr(self.embeddings, "mask_token", None)
        if mask is not None:
            mask.requires_grad_(False)  # for pretraining: no picture gives it a gradient
        self.norm = getattr(vision, "pre_layrnorm", None)  # CLIP's spelling
        self._options = _interpolation(self.embeddings, vision.config, size)

    def forward(self, planes: Tensor) -> Tensor:
        tokens: Tensor = self.embeddings(planes, **self._options)
        return tokens if self.norm is None else self.norm(tokens)


class _Block(nn.Module):
    """A layer, with what comes before the first and after the last.

    It is called with its tokens alone; some versions of transformers want a mask named, and give a tuple.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.before: nn.Module = nn.Identity()
        self.layer = layer
        self.after: nn.Module = nn.Identity()
        others = list(inspect.signature(layer.forward).parameters.values())[1:]
        self._options = {p.name: None for p in others if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}

    def forward(self, values: Tensor) -> Tensor:
        found = self.layer(self.before(values), **self._options)
        result: Tensor = self.after(found[0] if isinstance(found, tuple) else found)
        return result


class _Whole(nn.Module):
    """A tower that is run as it is."""

    def __init__(self, network: Any, pooling: str, size: int) -> None:
        super().__init__()
        self.network, self._pooling = network, pooling
        self._options = _interpolation(network, network.config, size)

    def forward(self, planes: Tensor) -> Tensor:
        return pooled(self.network(pixel_values=planes, **self._options), self._pooling)


def _interpolation(module: nn.Module, config: Any, size: int) -> dict[str, bool]:
    """Return what asks a module to interpolate its positions; nothing if it need not, or does so unasked."""
    key = "interpolate_pos_encoding"
    native = getattr(config, "image_size", None) in (size, (size, size), [size, size])
    return {} if native or key not in inspect.signature(module.forward).parameters else {key: True}


def _check_complete(network: nn.Module, blocks: dict[str, nn.Module], missing: set[str], name: str) -> None:
    """Refuse a checkpoint without some of the weights that are used: they would be random."""
    used = {id(parameter) for block in blocks.values() for parameter in block.parameters()}
    lacking = [n for n, parameter in network.named_parameters() if n in missing and id(parameter) in used]
    if lacking:
        raise UserError(
            f"model.image.model={name}: the checkpoint lacks {', '.join(lacking[:3])}"
            f"{f' and {len(lacking) - 3} more' if len(lacking) > 3 else ''}: take another model.image.pooling, or "
            "another checkpoint"
        )
