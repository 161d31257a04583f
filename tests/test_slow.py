"""A lower learning rate after the first task."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lifelong_runs import config_of
from small_run import small_data
from toy_tasks import method

from mas_triplets.training.run import train


def test_factors_by_hand() -> None:
    assert [method("slow", slowing=0.25).rate_factor(task) for task in (1, 2, 3)] == [1.0, 0.25, 0.25]
    assert method("mas+slow", slowing=0.25).rate_factor(2) == 0.25
    assert method("mas").rate_factor(2) == 1.0


def test_later_tasks_are_learnt_at_the_lower_rate(tmp_path: Path) -> None:
    small_data(tmp_path)
    settings = {"lifelong__strategy": "slow", "lifelong__slowing": 0.25, "train__schedule": "constant"}
    run = train(config_of(tmp_path, **settings, train__warmup=0.0, train__learning_rate=0.008), tmp_path / "run")
    records = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    rates = {record["task"]: record["learning_rate"] for record in records if "learning_rate" in record}
    assert rates == {1: pytest.approx(0.008), 2: pytest.approx(0.002)}
