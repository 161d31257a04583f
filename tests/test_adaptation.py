"""The adaptation experiment: what it chooses, what it measures, and how it compares."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_run import small_config, small_data

from benchmarks import adaptation
from mas_triplets.config import RunConfig, make_config
from mas_triplets.data.items import items_of
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError
from mas_triplets.evaluation.run import evaluate
from mas_triplets.facts import Fact
from mas_triplets.training.run import train
from mas_triplets.training.run_folder import RunFolder

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adaptation")
    small_data(folder)
    return folder


def config(home: Path) -> RunConfig:
    return make_config(small_config(home, lifelong__strategy="mas", lifelong__strength=30))


def test_the_experiment(home: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(config(home).to_yaml())
    asked = [str(tmp_path / "config.yaml"), "--out", str(tmp_path / "out"), "--orders", "1"]
    asked += ["--tasks", "2", "--learn", "2"]
    adaptation.main(asked)
    written = (tmp_path / "out" / "adaptation.json").read_bytes()
    found = json.loads(written)
    assert [row["importance"] for row in found["rows"]] == list(adaptation.ARMS)
    assert all(np.isfinite([row[name] for row in found["rows"]]).all() for name in (*adaptation.FACTS, "new tasks"))
    assert found["chosen"][0]["subset"] == ["<person, ride>", "<person, ride, horse>"]  # the third is of a dog
    for name in ("subset", "others"):
        about = RunFolder(tmp_path / "out" / "order-0" / name).record["adapted"][0]
        assert (about["pictures"], about["after_task"], about["for"]) == (3, 1, name)
    adaptation.main(asked)  # all is there: nothing is learnt once more
    assert (tmp_path / "out" / "adaptation.json").read_bytes() == written
    with pytest.raises(UserError, match=r"set data\.train_parts="):
        adaptation.main([*asked, "--set", "data.train_parts=[train, val]"])
    with pytest.raises(UserError, match="has 3 of the 3 facts of the first task"):
        adaptation.main([*asked, "--subset", "<person>", "<dog>"])


def test_its_forgetting_is_that_of_the_results(home: Path, tmp_path: Path) -> None:
    made = train(config(home), tmp_path / "run")
    dataset = made.dataset()
    tasks = [np.array(task.fact_ids) for task in made.split(dataset).tasks]
    own = evaluate(made)["matrices"]["fact_to_image"]["standard"]["reembedded"]["map"]["R"]
    for stage in (1, 2):
        found = adaptation.average_precisions(made, items_of(dataset, "image"), stage, tasks[:stage])
        assert [float(values.mean()) for values in found] == pytest.approx(own[stage - 1][:stage])


def test_its_numbers_by_hand() -> None:
    rows = [
        {"after task": 2, "importance": arm, "on subset": base + order, "off subset": base, "new tasks": 0.5}
        for arm, base in zip(adaptation.ARMS, (0.5, 0.25, 0.125, 0.25), strict=True)
        for order in (0.0, 0.25, 0.5)
    ]
    rows[6] |= {"on subset": 0.0, "off subset": 0.25}  # of `subset` in the first order
    means = {row["importance"]: row for row in adaptation.summary(rows)}
    assert (means["none"]["on subset"], means["none"]["on subset sd"]) == (0.75, 0.25)
    first, off, *_ = adaptation.paired(rows)
    assert (first["forgetting"], first["facts"], off["facts"]) == ("subset minus training", *adaptation.FACTS)
    assert first["difference"] == pytest.approx(-0.5 / 3)  # of -0.25, -0.125, -0.125, whose deviation is 0.0722
    assert first["p"] == pytest.approx(0.0572, abs=1e-4)  # t = -4 with two degrees of freedom
    assert (off["difference"], off["sd"]) == (pytest.approx(-0.25 / 3), pytest.approx(0.0722, abs=1e-4))


def test_its_subset_is_of_the_most_frequent_subject(home: Path) -> None:
    dataset = PreparedDataset.open(home / "data")
    number = {str(fact): place for place, fact in enumerate(dataset.facts)}
    every = np.arange(len(dataset.facts))
    assert adaptation.subset_of(dataset, every, []).tolist() == sorted(
        number[name] for name in ("<dog>", "<dog, chase>", "<dog, chase, cat>")
    )  # as many are of a person, which comes later in the alphabet
    found = adaptation.subset_of(dataset, every, [Fact(None, "ride"), Fact("dog", "chase", "cat")])
    assert {str(dataset.facts[fact]) for fact in found} == {
        "<person, ride>",
        "<person, ride, horse>",
        "<dog, chase, cat>",
    }
