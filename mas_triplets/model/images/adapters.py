"""Low-rank adapters (LoRA): a frozen network, and beside chosen layers a small product B A that learns.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, Eq. 3: h = W x + (alpha / r) B A x, with B
zero at first, so that learning begins at the frozen network.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from torch import nn

from mas_triplets.errors import UserError

_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)


def add_adapters(network: nn.Module, rank: int, called: Collection[str], about: str) -> None:
    """Freeze a network and put adapters of `rank` (alpha = 2 rank, no dropout) beside its attention projections.

    A network that calls no attention projection (a convolutional one; torchvision's ViT and Swin, which hand their
    projections' weights to a function) gets them beside all its linear layers and convolutions without groups.

    Args:
        network: it is changed in place; nothing but the adapters asks for a gradient afterwards.
        rank: r.
        called: names of the layers that are called, as only these can be adapted.
        about: what the network is, for messages.

    Raises:
        UserError: it has no layer that an adapter can stand beside.
    """
    from peft import LoraConfig, inject_adapter_in_model

    layers = [name for name, module in network.named_modules() if name in called and _adaptable(module)]
    attention = [name for name in layers if _ATTENTION.search(name)]
    if not layers:
        raise UserError(
            f"model.image.trainable='lora: {rank}': {about} has no layer for adapters: take 'last: N' or all"
        )
    # a pattern, not a list: lists are matched by the ends of names, and shortened at a length that depends on peft
    pattern = "|".join(re.escape(name) for name in attention or layers)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=pattern), network)


def _adaptable(module: nn.Module) -> bool:
    """Whether an adapter computes what belongs beside this layer: subclasses may pad in ways of their own."""
    return type(module) is nn.Linear or (type(module) is nn.Conv2d and module.groups == 1)
