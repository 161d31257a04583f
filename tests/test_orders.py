"""Several orders of tasks in one comparison: what is paired with what, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hand_made_runs import Matrix, make_run
from page_checks import cells

from mas_triplets.errors import UserError
from mas_triplets.evaluation.compare import compare
from mas_triplets.evaluation.comparison.entries import read_entries
from mas_triplets.evaluation.comparison.orders import split_kinds
from mas_triplets.files import read_json, sha256_of_json, write_json
from mas_triplets.training.run_folder import RunFolder

LOW: Matrix = [[0.75, 0.0], [0.25, 0.75]]
HIGH: Matrix = [[0.75, 0.0], [0.5, 0.75]]


def ordered(folder: Path, seed: int, **changes: Any) -> list[RunFolder]:
    """Finetune and mas of one seed, on the split of that seed."""
    return [
        make_run(folder / f"{name}-{seed}", R, strategy=name, seed=seed, **{"split": f"random4-{seed}", **changes})
        for name, R in (("finetune", LOW), ("mas", HIGH))
    ]


def write_split_file(run: RunFolder, tree: dict[str, Any]) -> None:
    """Put a split where the run's data set would have it, with its fingerprint in the run's record."""
    config, record = run.path / "config.yaml", read_json(run.path / "run.json", "record")
    data = run.path.parent / "data"
    config.write_text(config.read_text().replace("path: gone", f"path: {data}"))
    write_json(data / "splits" / f"{run.config.data.split}.json", tree)
    write_json(run.path / "run.json", {**record, "split_fingerprint": sha256_of_json(tree)})


def split_tree(seed: int, method: str = "random", **parameters: Any) -> dict[str, Any]:
    return {"method": method, "seed": seed, "parameters": {"tasks": 2, **parameters}, "tasks": []}


def test_orders_are_runs_of_one_method(tmp_path: Path) -> None:
    runs = ordered(tmp_path, 0) + ordered(tmp_path, 1)
    found = compare(runs, tmp_path / "report.html")
    assert [(row["method"], row["runs"]) for row in found["methods"]] == [("finetune", 2), ("mas 1", 2)]
    assert {row["pairs"] for row in found["tests"]} == {2}
    page = (tmp_path / "report.html").read_text()
    assert "4 runs of 2 methods on 2 tasks of hand-made, 2 orders (random4-0, random4-1), measured on test" in page
    assert "The runs learn the tasks in 2 orders, so that T1 is whatever came first" in page
    assert cells(page, "data.split") == [["data.split", "random4-0", "random4-1", "random4-0", "random4-1"]]


def test_one_order_says_nothing_of_orders(tmp_path: Path) -> None:
    runs = ordered(tmp_path, 0, split="random") + ordered(tmp_path, 1, split="random")
    compare(runs, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "split random, measured on test" in page
    assert "orders, so that" not in page


def test_a_seed_with_two_splits_is_refused(tmp_path: Path) -> None:
    runs = ordered(tmp_path, 0)
    runs.append(make_run(tmp_path / "l2-0", HIGH, strategy="l2", seed=0, split="random4-1"))
    message = r"finetune-0 and .*l2-0 have the seed 0, but differ in split \(random4-0 .* and random4-1 .*of its own"
    with pytest.raises(UserError, match=message):
        compare(runs, None)


def test_splits_of_two_kinds_are_refused(tmp_path: Path) -> None:
    runs = [*ordered(tmp_path, 0), make_run(tmp_path / "mas-1", HIGH, seed=1, split="semantic4-1")]
    with pytest.raises(UserError, match=r"differ in split \(random4-0 .*, 2 tasks and semantic4-1 .*, 2 tasks\)"):
        compare(runs, None)
    longer: Matrix = [[0.75, 0.0, 0.0], [0.5, 0.75, 0.0], [0.5, 0.5, 0.5]]
    runs = [*runs[:2], make_run(tmp_path / "three", longer, seed=1, split="random4-1")]
    with pytest.raises(UserError, match=r"differ in split \(random4-0 .*, 2 tasks and random4-1 .*, 3 tasks\)"):
        compare(runs, None)


def test_how_a_split_was_made_decides_where_its_file_is_there(tmp_path: Path) -> None:
    names = ("first", "second", "third")
    trees = (split_tree(0), split_tree(1), split_tree(2, "semantic", text="glove"))
    made = [
        make_run(tmp_path / name, HIGH, seed=seed, split=name) for seed, name in enumerate(names)
    ]  # names without a number, which tell nothing
    runs = made[:2]
    with pytest.raises(UserError, match="differ in split"):
        compare(runs, None)
    for run, tree in zip(made, trees, strict=True):
        write_split_file(run, tree)
    made = [RunFolder(run.path) for run in made]
    assert [row["runs"] for row in compare(made[:2], None)["methods"]] == [2]
    with pytest.raises(UserError, match=r"differ in split \(first .* and third"):
        compare(made, None)
    assert len(set(split_kinds(read_entries(made)))) == 2


def test_files_of_a_users_own_orders_may_have_two_names(tmp_path: Path) -> None:
    made = [make_run(tmp_path / f"o{seed}", HIGH, seed=seed, split=f"o{seed}") for seed in range(2)]
    for seed, run in enumerate(made):
        write_split_file(run, split_tree(0, "file", file=f"order{seed}.csv"))
    assert compare([run.path for run in made], None)["methods"][0]["runs"] == 2


def test_a_split_that_has_changed_since_tells_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path / "mas", HIGH, split="mine-3")
    write_split_file(run, split_tree(0))
    assert split_kinds(read_entries([run.path])) == ['random {"tasks": 2}']
    write_json(run.path.parent / "data" / "splits" / "mine-3.json", split_tree(1))
    assert split_kinds(read_entries([run.path])) == ["mine"]
