"""A toy model and toy tasks with labels, to test methods without a data set; threads that stand for processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from mas_triplets.config import LifelongConfig, LossConfig
from mas_triplets.errors import UserError
from mas_triplets.lifelong import Strategy, Task, make_strategy

DIM = 2
MASKS = torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0]])


def toy_model(seed: int = 0, inputs: int = 4) -> nn.Sequential:
    """A small network whose output is three slot embeddings of two numbers."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, 5), nn.ReLU(), nn.Linear(5, 3 * DIM)).double()


def toy_task(number: int = 1, pictures: int = 7, loss: str = "euclidean", seed: int = 0, inputs: int = 4) -> Task:
    """A task of noise with four facts of orders 1, 2, 3 and 1, one to three of which hold in each picture."""
    generator = torch.Generator().manual_seed(1000 * seed + number)
    x = torch.randn(pictures, inputs, generator=generator).double()
    relevance = (torch.rand(pictures, 4, generator=generator) < 0.4).double()
    relevance[torch.arange(pictures), torch.arange(pictures) % 4] = 1
    vectors = torch.randn(4, 3, DIM, generator=generator).double()
    vectors = nn.functional.normalize(vectors, dim=-1) * MASKS.double().unsqueeze(-1)

    def labelled() -> Iterator[tuple[Tensor, Tensor]]:
        yield x[:3], relevance[:3]
        yield x[3:], relevance[3:]

    item, fact = relevance.nonzero().unbind(1)
    first = 10 * number
    return Task(
        number,
        lambda: (batch for batch, _ in labelled()),
        labelled,
        vectors,
        MASKS.double(),
        torch.arange(first, first + 4).numpy(),
        (100 * number + item).numpy(),
        (first + fact).numpy(),
        LossConfig(name=loss),
    )


def whole(task: Task) -> tuple[Tensor, Tensor]:
    """All pictures of a task and their labels."""
    x, relevance = zip(*task.labelled(), strict=True)
    return torch.cat(x), torch.cat(relevance)


def take_step(model: nn.Module, strategy: Strategy, by: float, rate: float, inputs: Tensor) -> None:
    """Stand for a step of the optimiser: gradients of one, every weight moved by -`by`."""
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    strategy.after_backward(model)
    with torch.no_grad():
        for p in model.parameters():
            p.sub_(by)
    strategy.after_step(model, rate, inputs)


def method(name: str, **settings: Any) -> Strategy:
    """Build a method."""
    return make_strategy(LifelongConfig.model_validate({"strategy": name, **settings}))


def values(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the weights."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}


class Together:
    """Sums over threads that stand for processes."""

    def __init__(self, count: int) -> None:
        self.gate = threading.Barrier(count, timeout=20)
        self.parts: list[Tensor] = []

    def combine(self, tensor: Tensor) -> Tensor:
        self.parts.append(tensor)
        self.gate.wait()
        total = torch.stack(self.parts).sum(0)
        if self.gate.wait() == 0:
            self.parts = []
        self.gate.wait()
        return total


def in_threads(count: int, action: Callable[[int, Callable[[Tensor], Tensor]], Any]) -> list[Any]:
    """Return what the action gives, or the error it raises, for each rank."""
    together = Together(count)
    found: list[Any] = [None] * count

    def run(rank: int) -> None:
        try:
            found[rank] = action(rank, together.combine)
        except UserError as error:
            found[rank] = error

    fast = torch.backends.mha.get_fastpath_enabled()  # of the whole process: each would leave what another had set
    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    torch.backends.mha.set_fastpath_enabled(fast)
    return found
