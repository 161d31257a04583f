"""Where in a network learning begins, and where its branches part."""

from __future__ import annotations

from collections.abc import Sequence

from mas_triplets.config import ImageEncoderConfig
from mas_triplets.errors import UserError, nearest


def first_learnt(config: ImageEncoderConfig, blocks: Sequence[str], about: str) -> int:
    """Return how many blocks come before the first that is learnt.

    Raises:
        UserError: more blocks are to be learnt than there are.
    """
    if config.frozen:
        return len(blocks)
    last = config.amount("last")
    if last is None:
        return 0
    if last > len(blocks):
        raise UserError(
            f"model.image.trainable='last: {last}' asks for more blocks than {about} has: {_listed(blocks)}; "
            f"take 'last: N' with N up to {len(blocks)}, or all"
        )
    return len(blocks) - last


def branch_index(config: ImageEncoderConfig, blocks: Sequence[str], usual: str | None, about: str) -> int | None:
    """Return the position of the first block that each branch has for itself; None with one branch.

    `branch_at` is a block's name, the beginning of one (`layer4` for layer4_0, its first), or its position from 0.

    Raises:
        UserError: there is no such block, or the network is all one block.
    """
    if config.branches == "shared":
        return None
    wanted = usual if config.branch_at is None else config.branch_at.replace(".", "_")
    if wanted is None:
        if len(blocks) == 1:
            raise UserError(
                f"model.image.branches=two needs a network that can be divided, and {about} is one piece: "
                "take branches=shared, or another network, such as a ViT, ResNet or VGG"
            )
        return len(blocks) - max(1, len(blocks) // 3)
    if wanted.isdecimal() and int(wanted) < len(blocks):
        return int(wanted)
    for position, name in enumerate(blocks):
        if name == wanted or name.startswith(f"{wanted}_"):
            return position
    close = nearest(wanted, blocks)
    hint = f"did you mean '{close[0]}'? " if close else ""
    raise UserError(
        f"model.image.branch_at='{config.branch_at}' is no block of {about}: {hint}"
        f"Valid: {_listed(blocks)}, or a number from 0 to {len(blocks) - 1}"
    )


def _listed(blocks: Sequence[str]) -> str:
    return f"{len(blocks)} block{'s' if len(blocks) > 1 else ''} ({', '.join(blocks)})"
