"""The report of one run: hand-made run folders, numbers that can be checked by eye."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
from hand_made_runs import R3, Matrix, add_importance, add_log, make_run
from page_checks import assert_self_contained, cells
from PIL import Image
from small_run import small_run

from mas_triplets.errors import UserError
from mas_triplets.evaluation import averages, html
from mas_triplets.evaluation.averages import mean_of_seen
from mas_triplets.evaluation.html import Html
from mas_triplets.evaluation.plots import labels
from mas_triplets.evaluation.plots.labels import spread_apart
from mas_triplets.evaluation.plots.matrix import heat_map, task_curves
from mas_triplets.evaluation.plots.methods import Dots, dot_plot
from mas_triplets.evaluation.report import Example, write_report
from mas_triplets.evaluation.run import evaluate
from mas_triplets.evaluation.sections.examples import example_section
from mas_triplets.evaluation.sections.importance import layer_importance
from mas_triplets.evaluation.sections.training import read_log
from mas_triplets.files import read_json, write_json, write_text
from mas_triplets.training.run_folder import RunFolder

NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 700, 3), dtype=np.uint8))
EXAMPLE = Example("title", Image.effect_noise((40, 30), 60), "caption")


class Written(NamedTuple):
    """A run and its report."""

    run: RunFolder
    page: str


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The report of a run that has everything: three tasks, importance, a log, an example."""
    run = make_run(tmp_path_factory.mktemp("written") / "run")
    add_log(run)
    for stage in (1, 2, 3):
        add_importance(run, stage, {"a.weight": 3.0, "b.bias": 0.25 * stage}, {"a.weight": 30, "b.bias": 10})
    path = write_report(run, examples=[tuple(EXAMPLE)])  # type: ignore[list-item]
    assert path == run.path / "report.html"
    return Written(run, path.read_text())


def test_numbers_are_those_of_results(written: Written) -> None:
    run, page = written
    assert re.findall(r'class="value">([^<]*)', page) == ["0.583", "0.250", "0.375"]
    assert cells(page, "map", "standard", "reembedded") == [
        ["map", "standard", "reembedded", "0.583", "–", "-0.375", "0.375", "0.188"]
    ]
    assert cells(page, "map", "generalized", "kept") == [
        ["map", "generalized", "kept", "0.073", "0.062", "-0.047", "0.047", "–"]
    ]
    assert cells(page, "mrr", "standard", "kept")[0][3] == "0.036"  # 0.58333 / 4, the fourth metric: / 4
    results = read_json(run.path / "results.json", "results")
    shown = len(re.findall(r"<tr><th scope=\"row\"><a [^>]*>[^<]*</a></th><td>(?:standard|generalized)", page))
    assert shown == sum(len(m) for g in results["matrices"].values() for p in g.values() for m in p.values()) == 78
    assert cells(page, "2", "animals") == [["2", "animals", "0.500", "0.750", "0.750"]]
    assert cells(page, "3", "0.25", "0.5") == []
    assert cells(page, "3", "0.250", "0.500", "1.000")
    assert ["3", "0.125", "0.125", "1", ""] in cells(page, "3", "0.125")  # order 3: one fact
    for measure in ("average", "forgetting", "backward-transfer", "forward-transfer", "map-100", "k-5"):
        assert f'id="def-{measure}"' in page


def test_self_contained_and_same_bytes(written: Written, tmp_path: Path) -> None:
    run, page = written
    second = write_report(RunFolder(run.path), tmp_path / "new" / "two.html", [EXAMPLE])
    assert second.read_text() == page
    assert_self_contained(page)
    assert page.count("<svg ") == 4 + 2 + 2
    assert page.count('<img src="data:image/') == 1
    assert str(example_section([EXAMPLE])) in page
    assert not re.search(r"20\d\d-\d\d-\d\d", page)  # no date
    assert not list(run.path.glob(".*"))  # no half-written file is left


def test_text_is_escaped(tmp_path: Path) -> None:
    evil = '<img src=x onerror=alert(1)> & "$\\frac{1}{0}$" id="x"'
    run = make_run(tmp_path / "a<b>&c", names=[evil, "$", "<person, ride>"])
    page = write_report(run, examples=[Example(evil, Image.new("RGB", (4, 4)), evil)]).read_text()
    assert "<img src=x" not in page
    assert "a&lt;b&gt;&amp;c" in page
    assert "&lt;person, ride&gt;" in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt; &amp; ") >= 3
    assert ">2 $  0.500<" in page  # the `$` of a drawing is no mathematics
    assert_self_contained(page)


@pytest.mark.parametrize(
    ("R", "strategy", "value"),
    [
        ([[0.75]], "mas", "–"),
        ([[None, None], [0.5, 0.75]], "joint", "–"),
        ([[0.5, None, 0.1], [0.5, None, 0.25], [0.25, None, 1.0]], "finetune", "–"),
        ([[0.0, 0.0], [0.0, 0.0]], "finetune", "0.000"),
    ],
)
def test_gaps_are_shown_as_gaps(tmp_path: Path, R: Matrix, strategy: str, value: str) -> None:
    page = write_report(make_run(tmp_path / "run", R, strategy=strategy)).read_text()
    assert re.findall(r'class="value">(?:<span class="none">)?([^<]*)', page)[2] == value
    assert "nan" not in re.sub(r"<style>.*?</style>", "", page).lower().replace("finan", "")
    assert "None" not in re.sub(r"<summary>The whole configuration.*?</details>", "", page)
    assert 'id="examples"' not in page


def test_real_run(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    average = evaluate(run)["average"]
    page = write_report(run).read_text()
    assert re.findall(r'class="value">([^<]*)', page)[0] == f"{average:.3f}"
    assert "Importance measured after task 2" in page
    assert "Training loss" in page
    assert_self_contained(page)


def test_unfinished_run_says_so(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "run", [[0.5, 0.25], [0.5, 0.75]], stages=1)).read_text()
    assert "not finished: 1 of 2 tasks" in page
    assert re.findall(r'class="value">(?:<span class="none">)?([^<]*)', page)[0] == "–"


def test_errors_are_sentences(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [[0.75]])
    with pytest.raises(UserError, match="is a folder"):
        write_report(run, tmp_path)
    write_text(run.task_folder(2) / "model.safetensors", "")
    with pytest.raises(UserError, match=r"first 1 stages.*learnt 2.*mas-triplets evaluate"):
        write_report(run)
    write_json(run.path / "results.json", {"average": 1})
    with pytest.raises(UserError, match=r"not the results.*mas-triplets evaluate"):
        write_report(run)
    (run.path / "results.json").unlink()
    with pytest.raises(UserError, match=r"mas-triplets evaluate .*run"):
        write_report(run)
    with pytest.raises(UserError, match="is not a run"):
        write_report(tmp_path)
    assert not (run.path / "report.html").exists()


def test_importance_is_relative_to_the_mean_over_parameters(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert layer_importance(run, 1) == []
    add_importance(run, 1, {"a": 3.0, "b": 1.0}, {"a": 10, "b": 30})  # mean (30 + 30) / 40 = 1.5
    a, b = layer_importance(run, 1)
    assert (a.name, a.mean, a.low, a.middle, a.high, a.max) == ("a", 2.0, 0.0, 1.0, 8.0, 16.0)
    assert b.mean == pytest.approx(2 / 3)
    add_importance(run, 1, {"a": 0.0}, {"a": 10})
    assert layer_importance(run, 1) == []
    write_text(run.task_folder(1) / "importance.safetensors", "damaged")
    with pytest.raises(UserError, match=r"importance\.safetensors cannot be read"):
        layer_importance(run, 1)


def test_log_takes_the_last_of_an_epoch_and_leaves_out_a_cut_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    assert read_log(path) == []
    lines = ['{"task": 1, "epoch": 2, "loss": 5.0}', '{"task": 1, "epoch": 1, "loss": 9.0}', '{"note": 1}',
             '{"task": 1, "epoch": 2, "loss": 4.0, "penalty": 0.5}', '{"task": 1, "epo']  # fmt: skip
    write_text(path, "\n".join(lines))
    assert [(r["epoch"], r["loss"], r["penalty"]) for r in read_log(path)] == [(1, 9.0, 0.0), (2, 4.0, 0.5)]


def test_curve_of_the_tasks_learnt_so_far() -> None:
    assert mean_of_seen(R3) == [0.75, 0.625, pytest.approx(1.75 / 3)]
    assert mean_of_seen([[None, None], [0.5, 0.25]]) == [None, 0.375]


def test_labels_are_moved_apart() -> None:
    assert spread_apart([0.5, 0.5, 0.5], 0.125, 0.0, 1.0) == [0.5, 0.625, 0.75]
    assert spread_apart([0.875, 1.0, 1.0], 0.25, 0.0, 1.0) == [0.5, 0.75, 1.0]
    assert spread_apart([], 0.25, 0.0, 1.0) == []


@pytest.mark.parametrize(("count", "small"), [(1, False), (12, True), (18, False)])
def test_many_tasks_are_drawn(count: int, small: bool) -> None:
    R = [[(i + j) / (2 * count) for j in range(count)] for i in range(count)]
    names = [f"task {number + 1}" for number in range(count)]
    assert heat_map(R, names, title="t", small=small).count("<text ") >= count * count
    if not small:
        assert task_curves(R, names, title="t", unit="u").startswith("<svg viewBox=")


def test_drawings_leave_matplotlib_as_it_was() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    dot_plot([Dots("a", [0.5, 0.25]), Dots("b", [None])], title="t", unit="u")
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, '<span class="none">–</span>'),
        (0.0625, "0.062"),
        (-0.00001, "0.000"),
        (3, "3"),
        ("<", "&lt;"),
        (Html("<b>"), "<b>"),
    ],
)
def test_shown(value: Any, text: str) -> None:
    assert html.shown(value) == text


@pytest.mark.parametrize("module", [averages, html, labels])
def test_examples_in_docstrings(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_a_picture_of_noise_alone() -> None:
    shown = html.picture(NOISE, "<noise>")
    assert shown.startswith('<img src="data:image/')
    assert shown.endswith('width="700" height="120" alt="&lt;noise&gt;">')


def test_what_only_some_results_tell(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [[0.75, 0.0], [0.5, 0.75]])
    assert not re.search('id="(roles|classes|drift)"', write_report(run).read_text())
    path = run.path / "results.json"
    numbers = {"average": 0.5, "all": None, "backward_transfer": -0.25, "forgetting": 0.125}
    more = {
        "swapped_roles": {"definition": "Roles.", "accuracy": 0.75, "pairs": 3, "images": 9},
        "accuracy": {"definition": "A.", "within_task": {"definition": "W.", "per_image": numbers, "per_class": {}}},
        "drift": {"definition": "Moved.", "matrix": [[0.0, None], [0.25, 0.0]], "average": 0.25},
    }
    write_json(path, {**read_json(path, "results"), **more})
    page = write_report(run).read_text()
    assert cells(page, "this run") == [["this run", "0.750", "3", "9"]]
    assert cells(page, "within task", "per image") == [["within task", "per image", "0.500", "–", "-0.250", "0.125"]]
    assert "Moved.</figcaption>" in page
    assert_self_contained(page)
    one = make_run(tmp_path / "one", [[0.5]])
    path = one.path / "results.json"
    write_json(path, {**read_json(path, "results"), "drift": {"definition": "Moved.", "matrix": [[0.0]]}})
    assert 'id="drift"' not in write_report(one).read_text()
