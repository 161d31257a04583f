"""Runs side by side, and the demonstration: the same as one after another, and what it promises."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from small_run import small_config, small_data
from test_cli import run

import mas_triplets.demo as demo
from mas_triplets.config import load_config, make_config
from mas_triplets.errors import UserError
from mas_triplets.evaluation.run import evaluate
from mas_triplets.evaluation.side_by_side import train_side_by_side
from mas_triplets.training.run import train


@pytest.mark.parametrize("lender", [None, "finetune"])
def test_side_by_side_gives_the_same_bytes_as_one_after_another(tmp_path: Path, lender: str | None) -> None:
    small_data(tmp_path)
    before = dict(os.environ)
    configs = {
        name: make_config(small_config(tmp_path, lifelong__strategy=name)) for name in ("mas", "finetune", "joint")
    }
    done: list[str] = []
    found = train_side_by_side(
        {name: (c, tmp_path / "beside" / name) for name, c in configs.items()},
        processes=2,
        lender=lender,
        on_done=done.append,
    )
    assert sorted(done) == sorted(configs)
    assert list(found) == list(configs)
    assert dict(os.environ) == before
    for name, config in configs.items():
        assert found[name] == evaluate(train(config, tmp_path / "after" / name))
        for file in ("results.json", "tasks/01/model.safetensors"):
            beside, after = (tmp_path / place / name / file for place in ("beside", "after"))
            assert beside.read_bytes() == after.read_bytes()


@pytest.mark.parametrize("lender", [None, "wrong"])
def test_a_run_that_fails_is_told(tmp_path: Path, lender: str | None) -> None:
    small_data(tmp_path)
    wrong = make_config(small_config(tmp_path, data__split="tow"))
    with pytest.raises(UserError, match="did you mean 'two'"):
        train_side_by_side({"wrong": (wrong, tmp_path / "wrong")}, processes=1, lender=lender)


def test_the_demonstration_tells_the_whole_story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "COUNTS", {"train": 360, "val": 40, "test": 240})
    monkeypatch.setattr(demo, "EPOCHS", 1)
    story = run("demo", "--out", tmp_path / "demo", "--seed", 3, cwd=tmp_path).stdout
    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert list(summary["methods"]) == ["finetune", "l2", "mas", "merging", "joint"]
    for name, numbers in summary["methods"].items():
        assert list(numbers) == ["average", "all", "forgetting"]
        results = json.loads((tmp_path / "demo" / name / "results.json").read_text())
        assert numbers == {key: results[key] for key in numbers}
    assert (tmp_path / "demo" / "merging" / "report.html").is_file()
    assert summary["seconds"] > 0
    assert [len(query["found"]) for query in summary["queries"]] == [12] * len(demo.QUERIES)
    for query in summary["queries"]:
        assert query["right_among_first"]["5"] == sum(hit["right"] for hit in query["found"][:5])
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "&lt;*, inside, ring&gt;" in page
    assert str(tmp_path / "demo" / "report.html") in story
    assert "prepare table" in story


def test_the_demonstration_replaces_nothing_but_itself(tmp_path: Path) -> None:
    small_data(tmp_path)
    with pytest.raises(UserError, match="holds no demonstration"):
        demo.run_demo(tmp_path)
    assert (tmp_path / "data" / "splits" / "two.json").is_file()


def test_the_demonstration_is_the_shipped_configuration(tmp_path: Path) -> None:
    shipped = load_config(Path(__file__).parent.parent / "configs" / "scenes_mas.yaml")
    mine = demo.demo_config(tmp_path, "mas", seed=0)
    data = mine.data.model_copy(update={"path": shipped.data.path})
    assert mine.model_copy(update={"data": data}) == shipped
