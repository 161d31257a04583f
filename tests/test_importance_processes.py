"""Importance over several processes equals that of one process with all samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from toy_tasks import in_threads

from mas_triplets.config import LifelongConfig
from mas_triplets.errors import UserError
from mas_triplets.lifelong import Task, estimate_importance, make_strategy
from mas_triplets.lifelong.strategy import share_of

Omega = dict[str, Tensor]
SHARDS = ([5, 2], [3, 0], [0, 1])


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5))


def pictures(count: int) -> Tensor:
    return torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(3))


def assert_same(ours: Omega, expected: Omega) -> None:
    assert list(ours) == list(expected)
    for name, value in expected.items():
        assert (ours[name] - value).norm() < 1e-5 * value.norm(), name


@pytest.mark.parametrize("mode", ["exact", "batched"])
@pytest.mark.parametrize("statistic", ["abs", "square"])
@pytest.mark.parametrize("sizes", SHARDS)
def test_shards_add_up(mode: Any, statistic: Any, sizes: list[int]) -> None:
    shards = pictures(sum(sizes)).split(sizes)

    def batches(rank: int) -> Iterable[Tensor]:
        return shards[rank].split(2) if len(shards[rank]) else ()

    expected = estimate_importance(
        network(), [batch for rank in (0, 1) for batch in batches(rank)], mode=mode, statistic=statistic
    )
    models = [network(), network()]
    found = in_threads(
        2,
        lambda rank, combine: estimate_importance(
            models[rank], batches(rank), mode=mode, statistic=statistic, combine=combine
        ),
    )
    for ours in found:
        assert_same(ours, expected)


def test_by_hand() -> None:
    # F = w x at w = 1: |2 w x^2| = 2, 2, 8 here and 18 there; the mean of four is 7.5, of the two means it would be 11
    def estimate(rank: int, combine: Callable[[Tensor], Tensor]) -> Omega:
        model = nn.Linear(1, 1, bias=False)
        nn.init.ones_(model.weight)
        values = torch.tensor([[[1.0], [-1.0], [2.0]], [[3.0]]][rank])
        return estimate_importance(model, [values], combine=combine)

    assert [omega["weight"].item() for omega in in_threads(2, estimate)] == [7.5, 7.5]


def test_took_part_is_told_of_all_processes() -> None:
    class Either(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.low, self.high, self.idle = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, values: Tensor) -> Any:
            return (self.high if float(values.detach().mean()) > 0 else self.low)(values)

    torch.manual_seed(0)
    models = [Either(), Either()]
    with pytest.warns(UserWarning, match="take no part") as told:
        in_threads(
            2,
            lambda rank, combine: estimate_importance(
                models[rank], [torch.rand(3, 2) + 1, torch.rand(3, 2) - 3][rank : rank + 1], combine=combine
            ),
        )
    said = {str(warning.message) for warning in told}
    assert said == {"parameters that take no part in the output have importance zero: idle.bias, idle.weight"}


@pytest.mark.parametrize("mode", ["exact", "batched"])
def test_all_processes_end_alike(mode: Any) -> None:
    def estimates(batches: list[list[Tensor]]) -> list[Any]:
        models = [network(), network()]
        return in_threads(
            2, lambda rank, combine: estimate_importance(models[rank], batches[rank], mode=mode, combine=combine)
        )

    for error in estimates([[], []]):
        assert "no samples" in str(error)
    spoilt = pictures(3)
    spoilt[1, 0, 0, 0] = float("nan")
    found = estimates([[pictures(3)], [spoilt]])
    assert all(isinstance(error, UserError) for error in found)
    assert "is not finite" in str(found[1])
    first, second = estimates([[pictures(3)], [torch.tensor(1.0)]])
    assert "another process stopped" in str(first)
    assert "a batch must be a tensor" in str(second)


def test_mas_caps_the_samples_of_all_processes() -> None:
    assert [share_of(5, rank, 3) for rank in range(3)] == [2, 2, 1]
    assert [share_of(1, rank, 3) for rank in range(3)] == [1, 0, 0]
    assert share_of(None, 1, 3) is None
    inputs = pictures(9)
    for most in (1, 4, 5, 20):
        config = LifelongConfig(strategy="mas", max_samples=most)
        alone = make_strategy(config)
        alone.after_task(network(), Task(1, lambda: inputs.split(4)))
        strategies = [make_strategy(config) for _ in range(3)]
        models = [network() for _ in strategies]

        def learn(rank: int, combine: Callable[[Tensor], Tensor]) -> Omega:
            strategy = strategies[rank]  # noqa: B023
            strategy.join(rank, 3, combine, 0)
            strategy.after_task(models[rank], Task(1, lambda: inputs[rank::3].split(2)))  # noqa: B023
            return strategy.importance()

        for ours in in_threads(3, learn):
            assert_same(ours, alone.importance())


def process(rank: int, folder: str) -> None:
    """Estimate on this rank's shard of every case."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)

    def combine(tensor: Tensor) -> Tensor:
        dist.all_reduce(tensor)
        return tensor

    found = {
        f"{mode} {sizes}": estimate_importance(
            network(), pictures(sum(sizes)).split(sizes)[rank : rank + 1], mode=mode, combine=combine
        )
        for mode in ("exact", "batched")
        for sizes in SHARDS
    }
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_real_processes(tmp_path: Path) -> None:
    spawn(process, (str(tmp_path),), nprocs=2)
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    for mode in ("exact", "batched"):
        for sizes in SHARDS:
            shards = [shard for shard in pictures(sum(sizes)).split(sizes) if len(shard)]
            expected = estimate_importance(network(), shards, mode=mode)
            for ours in found:
                assert_same(ours[f"{mode} {sizes}"], expected)
            first, second = (ours[f"{mode} {sizes}"] for ours in found)
            assert all(torch.equal(first[name], second[name]) for name in first)  # to the same bits
