"""Steps between layers that networks write as code, as modules; and how steps are gathered into blocks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator

from torch import Tensor, nn

Step = tuple[str, nn.Module]


class Mean(nn.Module):
    """The mean over some axes."""

    def __init__(self, axes: tuple[int, ...]) -> None:
        super().__init__()
        self._axes = axes

    def forward(self, values: Tensor) -> Tensor:
        """Return the values without `axes`."""
        return values.mean(self._axes)


class FirstToken(nn.Module):
    """The class token, which comes first: (N, tokens, width) to (N, width)."""

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (N, width)."""
        return tokens[:, 0]


def expanded(module: nn.Module, name: str = "", within: tuple[type[nn.Module], ...] = ()) -> Iterator[Step]:
    """Yield the steps of a plain sequence, and of the sequences in it; names are paths, such as features_1_0.

    Args:
        module: what is expanded.
        name: its name.
        within: classes that are sequences too, though not plainly so.
    """
    if type(module) is nn.Sequential or isinstance(module, within):
        for child, part in module.named_children():
            yield from expanded(part, f"{name}_{child}" if name else child, within)
    else:
        yield name, module


def gathered(steps: Iterable[Step]) -> dict[str, nn.Module]:
    """Return blocks: one for each step with weights, named after it, together with the steps around it that have none.

    Normalisation, activation and pooling belong to the block before them; dropout to the one whose inputs it drops.
    What comes before the first weights belongs to the first block.

    Example: conv1, relu, dropout, fc2, relu gives the blocks conv1: (conv1, relu) and fc2: (dropout, fc2, relu).
    """
    blocks: list[tuple[str, list[Step]]] = []
    waiting: list[Step] = []
    for name, module in steps:
        if any(parameter.ndim > 1 for parameter in module.parameters()):
            blocks.append((name, [*waiting, (name, module)]))
            waiting = []
        elif isinstance(module, nn.Dropout) or not blocks:
            waiting.append((name, module))
        else:
            blocks[-1][1].extend([*waiting, (name, module)])
            waiting = []
    blocks[-1][1].extend(waiting)
    return {name: _together(own) for name, own in blocks}


def _together(steps: list[Step]) -> nn.Module:
    return steps[0][1] if len(steps) == 1 else nn.Sequential(OrderedDict(steps))
