"""The processes of a training run: one, or several that `accelerate launch` or `torchrun` started.

Each sees its own share of every batch; what they sum and gather makes them one. With a single process nothing of this
costs anything, and Accelerate is not imported.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from torch import Tensor, nn

from mas_triplets.data.prepared import IntArray
from mas_triplets.errors import UserError

T = TypeVar("T")
_PATIENCE = timedelta(hours=24)  # while the first process decodes and encodes a data set the others wait


def process_count() -> int:
    """Return how many processes the launcher started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Whether this is the process that writes and prints."""
    return process_count() == 1 or int(os.environ.get("RANK", "0")) == 0


@dataclass(frozen=True)
class Processes:
    """This process among all.

    Attributes:
        rank: its number, from 0; only 0 writes.
        count: how many there are.
        device: where it computes.
    """

    rank: int
    count: int
    device: torch.device

    @classmethod
    def start(cls, device: str) -> Processes:
        """Join the processes that were launched together, with gloo on the processor and NCCL on GPUs.

        Args:
            device: `cpu`, `cuda`, `cuda:1` or `auto`; with several processes each takes a GPU of its own.

        Raises:
            UserError: the device is unknown or absent, or there are more processes than GPUs.
        """
        chosen = choose_device(device)
        if process_count() == 1:
            return cls(0, 1, chosen)
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if chosen.type == "cuda" and local >= torch.cuda.device_count():
            raise UserError(
                f"{local + 1} processes were started on this machine, but PyTorch sees {torch.cuda.device_count()} "
                "GPUs: start as many processes as GPUs, or set train.device=cpu"
            )
        from accelerate import PartialState

        state = PartialState(cpu=chosen.type == "cpu", timeout=_PATIENCE)
        return cls(state.process_index, state.num_processes, torch.device(chosen.type, state.device.index or 0))

    @property
    def main(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def share(self, rows: IntArray) -> IntArray:
        """Return this process's share: every `count`-th row, so that shares differ by one at most."""
        return rows[self.rank :: self.count]

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        if self.count == 1:
            return tensor
        from accelerate.utils import reduce

        total: Tensor = reduce(tensor, reduction="sum")
        return total

    def gather(self, rows: Tensor) -> list[Tensor]:
        """Return the rows (n, ...) of each process in turn; n may differ, and no gradient flows to the others'."""
        if self.count == 1:
            return [rows]
        from accelerate.utils import gather, pad_across_processes

        counts = gather(torch.tensor([len(rows)], device=rows.device)).tolist()
        if not any(counts):
            return [rows]
        padded = gather(pad_across_processes(rows.detach().contiguous())).split(max(counts))
        return [rows if rank == self.rank else padded[rank][:count] for rank, count in enumerate(counts)]

    def gather_objects(self, value: T) -> list[T]:
        """Return the value, of plain kind, of each process in turn."""
        if self.count == 1:
            return [value]
        from accelerate.utils import gather_object

        values: list[T] = gather_object([value])
        return values

    def any(self, *here: bool) -> list[bool]:
        """Tell of each of the questions whether the answer is yes in any process."""
        if self.count == 1:
            return list(here)
        return [found > 0 for found in self.sum(torch.tensor(here, dtype=torch.float32, device=self.device)).tolist()]

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.count > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()

    @contextmanager
    def main_first(self) -> Iterator[None]:
        """Let process 0 go through the `with` alone, then the others: what it leaves on disk they find."""
        if not self.main:
            self.wait()
        yield
        if self.main:
            self.wait()

    def joined(self, model: nn.Module) -> nn.Module:
        """Return the model whose backward pass averages gradients over the processes."""
        if self.count == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        # parameters that no gradient reaches are rare, but not known beforehand
        warnings.filterwarnings("ignore", message=".*find_unused_parameters=True was specified.*")
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=devices, find_unused_parameters=True)

    def end(self) -> None:
        """Leave the others: what follows is done by each alone."""
        if self.count > 1:
            from accelerate import PartialState

            self.wait()
            PartialState().destroy_process_group()


def choose_device(name: str) -> torch.device:
    """Return the device a configuration names; `auto` is a GPU if there is one.

    Raises:
        UserError: there is no such device.
    """
    if name == "auto":
        told_not_to = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
        name = "cuda" if torch.cuda.is_available() and not told_not_to else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"train.device is '{name}': write cpu, cuda, cuda:1, or auto") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"train.device is '{name}': write cpu, cuda, cuda:1, or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"train.device is '{name}', but PyTorch sees {torch.cuda.device_count()} GPUs: set cpu or auto")
    return device


def device_here(wanted: str) -> str:
    """Return a run's device where it is there, else `cpu`: what comes after training may be done without its GPU."""
    if wanted == "cpu" or not torch.cuda.is_available():
        return "cpu"
    return "cuda" if wanted == "auto" else wanted
