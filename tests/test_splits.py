"""Splits: every fact in exactly one task, whatever the method."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_run import FACTS, small_data

from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.split_file import file_split
from mas_triplets.data.split_methods import random_split, semantic_split, slot_split
from mas_triplets.data.splits import make_split, read_split, split_summary, write_split
from mas_triplets.errors import UserError
from mas_triplets.facts import Fact
from mas_triplets.model.splitting import split_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return small_data(tmp_path_factory.mktemp("splits"))


def many(number: int) -> list[Fact]:
    return [Fact(f"s{i % 7}", f"p{i % 5}", f"o{i}") for i in range(number)]


@given(number=st.integers(1, 60), tasks=st.integers(1, 8), seed=st.integers(0, 99))
def test_each_fact_is_dealt_out_once_and_evenly(number: int, tasks: int, seed: int) -> None:
    if number < tasks:
        with pytest.raises(UserError, match="fewer tasks"):
            random_split(many(number), tasks, seed)
        return
    points = np.random.default_rng(seed).normal(size=(number, 3))
    for groups in (random_split(many(number), tasks, seed), semantic_split(points, tasks, seed)):
        assert sorted(np.concatenate(groups).tolist()) == list(range(number))
        sizes = [len(group) for group in groups]
        assert max(sizes) - min(sizes) <= 1
    again = random_split(many(number), tasks, seed)
    assert all(np.array_equal(a, b) for a, b in zip(again, random_split(many(number), tasks, seed), strict=True))


def test_clusters_that_are_apart_are_found() -> None:
    generator = np.random.default_rng(0)
    truth = generator.permutation(np.repeat(np.arange(4), 10))
    points = 10 * np.eye(4)[truth] + generator.normal(size=(40, 4))
    for group in semantic_split(points, 4, seed=3):
        assert len(set(truth[group])) == 1


def test_equal_points_are_still_dealt_out() -> None:
    groups = semantic_split(np.ones((7, 2)), 3, seed=0)
    assert sorted(len(group) for group in groups) == [2, 2, 3]


@pytest.mark.parametrize("slot", ["subject", "predicate"])
def test_a_slot_keeps_its_facts_together(slot: str) -> None:
    facts = many(40)
    groups = slot_split(facts, slot, 3, seed=0)
    assert sorted(np.concatenate(groups).tolist()) == list(range(40))
    homes: dict[str | None, set[int]] = {}
    for task, group in enumerate(groups):
        for fact in group:
            homes.setdefault(getattr(facts[fact], slot), set()).add(task)
    assert all(len(found) == 1 for found in homes.values())
    assert max(map(len, groups)) - min(map(len, groups)) <= 10


def test_an_unknown_slot_or_too_many_tasks_is_told() -> None:
    with pytest.raises(UserError, match="subject, predicate, object"):
        slot_split(many(9), "verb", 2, 0)
    with pytest.raises(UserError, match="groups by predicate"):
        slot_split(many(9), "predicate", 8, 0)


def test_a_file_brings_its_own_tasks(tmp_path: Path) -> None:
    path = tmp_path / "split.csv"
    path.write_text("object,task,subject,predicate\n,animals,DOG,\n,people,person,\n")
    assert [(name, ids.tolist()) for name, ids in file_split([Fact("dog"), Fact("person")], path)] == [
        ("animals", [0]),
        ("people", [1]),
    ]
    tree = {"tasks": [{"name": "a", "fact_ids": [1]}, {"name": "b", "facts": ["<dog>"]}]}
    (tmp_path / "split.json").write_text(json.dumps(tree))
    found = file_split([Fact("dog"), Fact("person")], tmp_path / "split.json")
    assert [(name, ids.tolist()) for name, ids in found] == [("a", [1]), ("b", [0])]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("task,subject,predicate,object\na,dgo,,\n", r"line 2: <dgo> is not a fact.*did you mean <dog>"),
        ("task,subject,predicate,object\na,dog,,\nb,dog,,\n", "line 3: <dog> is already in task 'a'"),
        ("task,subject,predicate,object\na,dog,,\n", "leaves 1 facts without a task, such as <person>"),
        ("task,subject\na,dog\n", "needs the columns"),
        ("task,subject,predicate,object\n,dog,,\n", "line 2: the task is empty"),
        ('task,subject,predicate,object\na,"dog,,\n', "line 2: unexpected end of data"),
        ("task,subject,predicate,object\na," + "x" * 140_000 + ",,\n", "field larger than"),
    ],
)
def test_what_is_wrong_with_a_file_is_told(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "split.csv").write_text(text)
    with pytest.raises(UserError, match=says):
        file_split([Fact("dog"), Fact("person")], tmp_path / "split.csv")


@pytest.mark.parametrize(
    ("tasks", "says"),
    [
        ([{"name": "a", "facts": ["<dog>"]}, {"name": "a", "facts": ["<person>"]}], "task 2: the name 'a' is taken"),
        ([{"name": "a"}], "task 1: it needs a list"),
    ],
)
def test_what_is_wrong_with_a_json_file_is_told(tmp_path: Path, tasks: list[object], says: str) -> None:
    (tmp_path / "split.json").write_text(json.dumps({"tasks": tasks}))
    with pytest.raises(UserError, match=says):
        file_split([Fact("dog"), Fact("person")], tmp_path / "split.json")


def test_written_and_read_back(dataset: PreparedDataset) -> None:
    for method in ("random", "semantic", "slot"):
        made = split_dataset(dataset, method, method, tasks=2, seed=1, slot="subject", text="random")
        write_split(dataset, made)
        assert read_split(dataset, method) == made
        write_split(dataset, made)  # the same again is no harm
    other = split_dataset(dataset, "random", "random", tasks=3, seed=1)
    with pytest.raises(UserError, match="another split"):
        write_split(dataset, other)
    write_split(dataset, other, overwrite=True)
    assert len(read_split(dataset, "random").tasks) == 3


def test_the_summary_counts_each_picture_once_a_task(dataset: PreparedDataset) -> None:
    groups = [np.array([0, 2, 4]), np.array([1, 3, 5])]  # sorted facts: dogs and persons alternate
    rows = split_summary(dataset, make_split("by-hand", "file", 0, {}, groups))
    assert [row["facts"] for row in rows] == [3, 3]
    assert sum(row["train images"] for row in rows) == 12
    assert rows[0]["order 1"] + rows[1]["order 1"] == len([fact for fact in FACTS if fact.order == 1])


def test_names_and_absent_splits_are_told(dataset: PreparedDataset) -> None:
    with pytest.raises(UserError, match="cannot name a split"):
        make_split("../x", "random", 0, {}, [np.array([0])])
    with pytest.raises(UserError, match="did you mean 'two'"):
        read_split(dataset, "tow")
    with pytest.raises(UserError, match="did you mean 'random'"):
        split_dataset(dataset, "x", "randon")
    path = dataset.folder / "splits" / "short.json"
    path.write_text(
        json.dumps({"method": "file", "seed": 0, "parameters": {}, "tasks": [{"name": "a", "fact_ids": [0]}]})
    )
    with pytest.raises(UserError, match="exactly once"):
        read_split(dataset, "short")
    path.unlink()
