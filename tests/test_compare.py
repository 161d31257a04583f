"""Several runs in one table: recovered by hand, the right references, what is refused, what is marked."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hand_made_runs import R3, Matrix, make_run
from page_checks import assert_self_contained, cells
from PIL import Image

from mas_triplets.errors import UserError
from mas_triplets.evaluation.compare import COLUMNS, compare
from mas_triplets.evaluation.comparison.entries import read_entries
from mas_triplets.evaluation.comparison.figures import task_curve, what_is_left
from mas_triplets.evaluation.comparison.methods import methods_of
from mas_triplets.evaluation.comparison.page import settings_section
from mas_triplets.evaluation.comparison.shown import shown_table
from mas_triplets.evaluation.comparison.tables import method_table, run_table
from mas_triplets.evaluation.report import Example
from mas_triplets.evaluation.sections.examples import example_section
from mas_triplets.training.run_folder import RunFolder

FINETUNE: Matrix = [[0.75, 0.0], [0.25, 0.75]]  # average 0.5, forgetting 0.5
MAS: Matrix = [[0.75, 0.0], [0.5, 0.75]]  # average 0.625, forgetting 0.25
L2: Matrix = [[0.75, 0.0], [0.5, 0.5]]  # average 0.5, forgetting 0.25
JOINT: Matrix = [[None, None], [0.75, 0.75]]  # average 0.75


def four(folder: Path, seed: int = 0, **changes: Any) -> list[RunFolder]:
    """The bounds and two methods, of one seed."""
    given = (("joint", JOINT), ("mas", MAS), ("l2", L2), ("finetune", FINETUNE))
    return [make_run(folder / f"{name}-{seed}", R, strategy=name, seed=seed, **changes) for name, R in given]


def by_name(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in rows}


def test_numbers_worked_by_hand(tmp_path: Path) -> None:
    found = compare(four(tmp_path), None)
    assert [row["name"] for row in found["rows"]] == ["finetune-0", "mas-0", "l2-0", "joint-0"]
    assert (found["report"], found["files"]) == (None, [])
    rows = by_name(found["rows"])
    assert rows["mas-0"] == {
        "name": "mas-0",
        "strategy": "mas",
        "strength": 1.0,
        "seed": 0,
        "average": 0.625,
        "all": 0.25,
        "forgetting": 0.25,
        "backward_transfer": -0.25,
        "recovered": 0.5,  # (0.625 - 0.5) / (0.75 - 0.5)
        "intransigence": 0.0,  # mean(0.75 - 0.75, 0.75 - 0.75)
        "recovered_all": None,  # `all` is the same in every run: there is nothing to recover
        "plasticity": 0.75,
        "T1": 0.5,
        "T2": 0.75,
    }
    assert rows["l2-0"]["recovered"] == 0.0
    assert rows["l2-0"]["intransigence"] == 0.125  # mean(0, 0.75 - 0.5)
    assert (rows["finetune-0"]["recovered"], rows["joint-0"]["recovered"]) == (0.0, 1.0)
    assert rows["finetune-0"]["strength"] is None
    assert [rows["joint-0"][name] for name in ("forgetting", "backward_transfer", "intransigence")] == [None] * 3
    assert json.loads(json.dumps(found)) == found  # plain values


def test_page_shows_them_and_marks_the_best_without_joint(tmp_path: Path) -> None:
    found = compare(four(tmp_path), tmp_path / "report.html")
    assert found["report"] == str(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert_self_contained(page)
    assert cells(page, "mas-0", "mas")[0] == [
        "mas-0", "mas", "1", "0", "0.625", "0.250", "0.250", "-0.250", "0.500", "0.000",
    ]  # fmt: skip
    assert cells(page, "finetune-0lower bound", "finetune")[0][2:4] == ["–", "0"]
    assert cells(page, "joint-0upper bound", "joint")[0][4:] == ["0.750", "0.250", "–", "–", "1.000", "–"]
    main = page[page.index('id="table"') : page.index('id="plots"')]
    methods = page[page.index('id="methods"') : page.index('id="tests"')]
    assert cells(methods, "mas 1")[0] == ["mas 1", "1", "0.500", "0.750", "0.625", "0.250", "0.250", "0.500", "–"]
    marked = {
        re.sub(r"<[^>]*>", "", row.split("</th>")[0]): re.findall(r'class="best">([^<]*)', row)
        for row in re.findall(r"<tr><th scope=\"row\">(.*?)</tr>", main)
    }
    assert marked == {
        "finetune-0lower bound": ["0.000"],  # intransigence as good as mas's; `all` is equal in every run
        "mas-0": ["0.625", "0.250", "-0.250", "0.500", "0.000"],
        "l2-0": ["0.250", "-0.250"],
        "joint-0upper bound": [],
    }
    assert page.count("<svg ") == 5 + 1 + 2 * 4  # at a glance, the first task after each task, matrices
    assert 'id="examples"' not in page
    assert "Nothing but strategy, strength and seed" in page


def test_references_are_of_the_same_seed(tmp_path: Path) -> None:
    runs = four(tmp_path)
    other = make_run(tmp_path / "mas-1", MAS, strategy="mas", seed=1)
    lone = make_run(tmp_path / "joint-1", [[None, None], [1.0, 1.0]], strategy="joint", seed=1)
    rows = by_name(compare([*runs, other, lone], None)["rows"])
    assert rows["mas-0"]["recovered"] == 0.5
    assert rows["mas-1"]["recovered"] is None  # no finetune of seed 1
    assert rows["mas-1"]["intransigence"] == 0.25  # mean(1 - 0.75, 1 - 0.75)
    without = compare([other], None)["rows"]
    assert (without[0]["recovered"], without[0]["intransigence"]) == (None, None)
    assert cells(shown_table(run_table(without)), "mas-1", "mas")[0][-2:] == ["–", "–"]


def test_of_several_references_the_most_alike_is_taken(tmp_path: Path) -> None:
    wide = "model.hidden=[512]"
    high = make_run(tmp_path / "joint-wide", [[None, None], [1.0, 1.0]], strategy="joint", settings=(wide,))
    method = make_run(tmp_path / "mas-wide", MAS, settings=(wide,))
    runs = four(tmp_path)
    found = compare([*runs, high, method], None)
    rows = by_name(found["rows"])
    assert rows["mas-0"]["recovered"] == 0.5
    assert rows["mas-wide"]["recovered"] == 0.25  # (0.625 - 0.5) / (1 - 0.5)
    assert {row["runs"] for row in found["methods"]} == {1}  # the two mas differ in their model: two methods
    entries = read_entries([runs[1], method])
    assert [method.label for method in methods_of(entries)] == ["mas 1, hidden [256]", "mas 1, hidden [512]"]
    assert cells(settings_section(entries), "model.hidden") == [["model.hidden", "[256]", "[512]"]]


def test_recovered_of_all_facts(tmp_path: Path) -> None:
    shifts = {"finetune": 0.0, "mas": 0.125, "joint": 0.5}  # all-facts mAP 0.25, 0.375, 0.75
    runs = [make_run(tmp_path / name, MAS, strategy=name, shift=shift) for name, shift in shifts.items()]
    rows = by_name(compare(runs, None)["rows"])
    assert [rows[name]["recovered_all"] for name in shifts] == [0.0, 0.25, 1.0]


def test_seeds_are_joined(tmp_path: Path) -> None:
    runs = four(tmp_path, 0) + four(tmp_path, 1)
    runs.append(make_run(tmp_path / "mas-2", [[0.75, 0.0], [0.75, 0.875]], seed=2))  # average 0.8125
    runs.append(make_run(tmp_path / "strong", MAS, seed=2, settings=("lifelong.strength=4",)))
    found = compare(runs, None)
    rows = {row["method"]: row for row in found["methods"]}
    assert {label: row["runs"] for label, row in rows.items()} == {
        "finetune": 2, "mas 1": 3, "l2 1": 2, "mas 4": 1, "joint": 2,
    }  # fmt: skip
    assert rows["mas 1"]["seeds"] == [0, 1, 2]
    assert rows["mas 1"]["average"] == pytest.approx((0.625 + 0.625 + 0.8125) / 3)
    spread = math.sqrt(((0.0625**2) * 2 + 0.125**2) / 2)  # from the mean 0.6875
    assert rows["mas 1"]["average_sd"] == pytest.approx(spread)
    assert rows["mas 1"]["recovered"] is None  # seed 2 has no references: no mean over some of the seeds
    assert rows["mas 4"]["average_sd"] is None
    page = shown_table(method_table(found["methods"], 2, 1))
    of_tasks = ["0.583 ± 0.144", "0.792 ± 0.072"]  # 0.5, 0.5, 0.75 and 0.75, 0.75, 0.875
    assert cells(page, "mas 1")[0][:5] == ["mas 1", "3", *of_tasks, f"0.688 ± {spread:.3f}"]
    assert cells(page, "mas 4")[0][:5] == ["mas 4", "1", "0.500", "0.750", "0.625"]


def test_one_task_and_rows_with_gaps(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / name, [[0.5]], strategy=name) for name in ("mas", "finetune")]
    rows = compare(runs, None)["rows"]
    assert [(row["average"], row["forgetting"]) for row in rows] == [(0.5, None), (0.5, None)]
    gap: Matrix = [[0.75, None], [0.5, None]]
    rows = compare([make_run(tmp_path / "gap", gap)], tmp_path / "report.html")["rows"]
    assert (rows[0]["average"], rows[0]["forgetting"]) == (None, 0.25)


def test_same_bytes_examples_and_text_escaped(tmp_path: Path) -> None:
    names = ["<b>x</b>"]
    runs = [
        make_run(tmp_path / "mas", [[0.5]], names=names),
        make_run(tmp_path / "<i>z", [[0.75]], seed=1, names=names),
    ]
    example = Example("<em>", Image.effect_noise((8, 6), 60), "$y$ & <tt>")
    compare(runs, tmp_path / "one.html", title="<u>", examples=[example])
    compare([str(run.path) for run in runs], tmp_path / "two.html", title="<u>", examples=[tuple(example)])  # type: ignore[list-item]
    page = (tmp_path / "one.html").read_text()
    assert page == (tmp_path / "two.html").read_text()
    assert not re.search(r"<(b|i|u|em|tt)>", page)
    assert cells(page, "&lt;i&gt;z", "mas")
    assert (tmp_path / "one.md").read_text() == (tmp_path / "two.md").read_text()
    assert page.index("Definitions</h2>") < page.index(str(example_section([example])))
    assert 'href="#examples"' in page
    assert_self_contained(page)


def test_what_is_left_of_each_task_is_a_mean_over_runs(tmp_path: Path) -> None:
    higher: Matrix = [[1.0, 0.0], [0.75, None]]
    runs = [*four(tmp_path)[:2], make_run(tmp_path / "mas-1", higher, seed=1)]
    mas, joint = (what_is_left(method) for method in methods_of(read_entries(runs)))
    assert (mas.label, list(mas.last), list(mas.learnt)) == ("mas 1", [0.625, None], [0.875, None])
    assert (joint.label, list(joint.last), list(joint.learnt)) == ("joint", [0.75, 0.75], [None, None])


def test_the_curve_of_a_task_begins_when_it_is_learnt(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / str(seed), R, seed=seed) for seed, R in enumerate((MAS, FINETUNE))]
    (mas,) = methods_of(read_entries(runs))
    first, second = task_curve(mas, 0), task_curve(mas, 1)
    assert (list(first.values), list(second.values)) == ([0.75, 0.375], [None, 0.75])
    assert first.spread is not None
    assert first.spread[1] == pytest.approx(0.125 * math.sqrt(2))


def test_names_that_are_alike_get_their_folder(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / where / "run", R3, seed=seed) for seed, where in enumerate(("a", "b"))]
    assert [row["name"] for row in compare(runs, None)["rows"]] == ["a/run", "b/run"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "e" * 64}, r"mas and .*other differ in data \(hand-made dddddddd and hand-made eeeeeeee\)"),
        ({"split": "semantic"}, r"differ in split \(random .* and semantic"),
        ({"part": "val"}, r"differ in part \(test and val\)"),
        ({"settings": ("data.region=box",)}, r"differ in data\.region \(image and box\)"),
        ({"part": "val", "data": "e" * 64}, r"data \(.*\), part \(.*compare them apart"),
        ({"stages": 1}, r"other has learnt 1 of 2 tasks.*mas-triplets evaluate"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    runs = [make_run(tmp_path / "mas", MAS), make_run(tmp_path / "other", MAS, **changes)]
    with pytest.raises(UserError, match=message):
        compare(runs, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_other_errors_are_sentences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mas_triplets.evaluation.compare.page_text", lambda *given: "no drawings")
    run = make_run(tmp_path / "mas", MAS)
    with pytest.raises(UserError, match="nothing to compare"):
        compare([], tmp_path / "report.html")
    with pytest.raises(UserError, match="given twice"):
        compare([run, tmp_path / "." / "mas"], tmp_path / "report.html")
    with pytest.raises(UserError, match="is a folder"):
        compare([run], tmp_path)
    with pytest.raises(UserError, match=r"is the name of a table: give that of the page, such as .*report\.html"):
        compare([run], tmp_path / "report.csv")
    (run.path / "results.json").unlink()
    with pytest.raises(UserError, match=r"not evaluated yet: run `mas-triplets evaluate .*mas`"):
        compare([run], tmp_path / "report.html")
    with pytest.raises(UserError, match="is not a run"):
        compare([tmp_path / "none"], tmp_path / "report.html")


def test_columns_are_promised() -> None:
    assert list(COLUMNS) == ["average", "all", "forgetting", "backward_transfer", "recovered", "intransigence"]
