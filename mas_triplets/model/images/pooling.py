"""What of a vision tower's output becomes the features of a picture."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mas_triplets.errors import UserError


def pooling_of(network: Any, wanted: str, name: str) -> str:
    """Return `projection`, `pooler`, `cls` or `mean` for what a configuration says.

    auto: CLIP's projection and SigLIP's pooling head, which are where their text towers meet pictures; of other ViTs
    the class token after the final normalisation; of other networks their pooler, else the mean over positions.

    Raises:
        UserError: the tower has not what is wanted.
    """
    vision = getattr(network, "vision_model", network)
    siglip = vision.config.model_type.startswith("siglip")  # the one ViT without a class token
    has = {
        "projection": hasattr(network, "visual_projection"),
        "pooler": not siglip or _head(vision) is not None,
        "cls": not siglip,
        "mean": True,
    }
    if wanted == "auto":
        if has["projection"]:
            return "projection"
        if siglip or not is_vit(vision):
            return "pooler" if has["pooler"] else "mean"
        return "cls"
    if not has[wanted]:
        others = ", ".join(key for key, there in has.items() if there)
        raise UserError(f"model.image.pooling={wanted}: {name} has none of that kind; take auto, {others}")
    return wanted


_VITS = frozenset(
    {
        "clip_vision_model",
        "deit",
        "dinov2",
        "dinov2_with_registers",
        "metaclip_2_vision_model",
        "siglip_vision_model",
        "vit",
    }
)
"""Model types of which the blocks are known; that they give what the whole tower gives is tested for each."""


def is_vit(vision: Any) -> bool:
    """Whether a network is a ViT: embeddings, layers, normalisation and head, one after another."""
    return vision.config.model_type in _VITS and _final_norm(vision) is not None


def _final_norm(vision: Any) -> nn.Module | None:
    found = getattr(vision, "layernorm", None) or getattr(vision, "post_layernorm", None)
    return found if isinstance(found, nn.Module) else None


def _head(vision: Any) -> nn.Module | None:
    """Return what makes the pooled output of normalised tokens: ViT's dense layer, SigLIP's attention."""
    found = getattr(vision, "head", None) or getattr(vision, "pooler", None)
    return found if isinstance(found, nn.Module) else None


class Pooled(nn.Module):
    """Final normalisation and pooling of a ViT: tokens (N, tokens, width) to (N, features).

    projection: CLIP's, of the class token. pooler: the tower's own head, where it has one, else the class token. cls:
    the class token. mean: over the tokens of patches, which come last.
    """

    def __init__(self, network: Any, pooling: str, patches: int) -> None:
        super().__init__()
        vision = getattr(network, "vision_model", network)
        self.norm = _final_norm(vision)
        self.head = _head(vision) if pooling == "pooler" else None
        self.projection = network.visual_projection if pooling == "projection" else None
        self._pooling, self._patches = pooling, patches

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (N, features)."""
        assert self.norm is not None
        features: Tensor
        if self.head is not None:
            features = self.head(self.norm(tokens))
        elif self._pooling == "mean":
            features = self.norm(tokens[:, -self._patches :]).mean(1)
        else:
            features = self.norm(tokens[:, 0])
        return features if self.projection is None else self.projection(features)


def pooled(output: Any, pooling: str) -> Tensor:
    """Return (N, features) of the output of any other network.

    Raises:
        UserError: it has not what `pooling` asks for.
    """
    states: Tensor = output.last_hidden_state  # (N, tokens, width) or (N, channels, H, W)
    found = getattr(output, "image_embeds" if pooling == "projection" else "pooler_output", None)
    if pooling == "mean" or (pooling == "pooler" and found is None):
        return states.mean((2, 3)) if states.ndim == 4 else states.mean(1)
    if pooling == "cls":
        if states.ndim != 3:
            raise UserError("model.image.pooling=cls: this network has no class token: take auto or mean")
        return states[:, 0]
    if found is None:
        raise UserError(f"model.image.pooling={pooling}: this network gives none: take auto or mean")
    return found.flatten(1)  # type: ignore[no-any-return]
