"""The report of one run: hand-made run folders, numbers that can be checked by eye."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from small_run import small_run

from mas_triplets.config import make_config
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError
from mas_triplets.evaluation import html, plots
from mas_triplets.evaluation.html import Html
from mas_triplets.evaluation.protocol import DIRECTIONS, GALLERIES, POLICIES, StageScores
from mas_triplets.evaluation.report import Example, layer_importance, read_log, write_report
from mas_triplets.evaluation.results import Scores, collect
from mas_triplets.evaluation.run import evaluate
from mas_triplets.facts import Fact
from mas_triplets.files import read_json, write_json, write_text
from mas_triplets.training.run_folder import RunFolder

Matrix = list[list[float | None]]

R3: Matrix = [[0.75, 0.25, 0.0], [0.5, 0.75, 0.25], [0.25, 0.5, 1.0]]
"""The worked example of evaluation.lifelong: average 0.583, backward transfer -0.375, forgetting 0.375."""
NAMES = ["people", "animals", "things"]


def make_run(
    path: Path,
    R: Matrix = R3,
    *,
    strategy: str = "mas",
    seed: int = 0,
    part: str = "test",
    data: str = "d" * 64,
    split: str = "random",
    names: list[str] | None = None,
    settings: tuple[str, ...] = (),
    shift: float = 0.0,
    stages: int | None = None,
) -> RunFolder:
    """Write a run folder whose own-task mAP is R; every other metric is R times something, all from `collect`."""
    names = names or NAMES[: len(R)]
    chosen = ("data.path=gone", f"data.split={split}", f"lifelong.strategy={strategy}", f"seed={seed}")
    config = make_config({}, (*chosen, f"evaluation.part={part}", *settings))
    write_text(path / "config.yaml", config.to_yaml())
    versions = {"python": "3.11.9", "mas-triplets": "0.1.0", "torch": "2.6.0"}
    record = {
        "state": "finished",
        "data_fingerprint": data,
        "split_fingerprint": f"{split}-print",
        "versions": versions,
    }
    write_json(path / "run.json", record)
    learnt = (1 if strategy == "joint" else len(R)) if stages is None else stages
    for stage in range(learnt + 1):
        write_text(path / "tasks" / f"{stage:02d}" / "model.safetensors", "")
    rows = [R[-1]] if strategy == "joint" else R[:learnt]
    facts = (Fact("dog"), Fact("dog", "run"), Fact("dog", "chase", "cat"))
    dataset = cast(PreparedDataset, SimpleNamespace(name="hand-made", fingerprint=data, facts=facts))
    keys = [(d, g, p) for d in DIRECTIONS for g in GALLERIES for p in POLICIES]
    untrained: list[float | None] = [0.0, 0.0, 0.125, *([0.0] * len(R))]
    scores: Scores = {0: {key: _scores(key, untrained[: len(R)], 0.0) for key in keys if key[2] != "kept"}}
    for stage, row in enumerate(rows, 1):
        seen = len(R) if strategy == "joint" else stage
        so_far = row[:seen] + [None] * (len(R) - seen)
        scores[stage] = {
            key: _scores(key, row if key[1:] == ("standard", "reembedded") else so_far, shift) for key in keys
        }
    write_json(path / "results.json", collect(RunFolder(path), dataset, names, part, scores))
    return RunFolder(path)


def _scores(key: tuple[str, str, str], row: list[float | None], shift: float) -> StageScores:
    direction, gallery, policy = key
    factor = {"standard": 1.0, "generalized": 0.5}[gallery] * {"reembedded": 1.0, "kept": 0.25}[policy]
    names = list(DIRECTIONS[direction])
    values = {name: [None if v is None else v * factor / (1 + place) for v in row] for place, name in enumerate(names)}
    found: dict[str, float | None] = {name: factor / (2 + place) + shift for place, name in enumerate(names)}
    return StageScores(values, found if gallery == "generalized" else None, {0: 0.5, 1: 0.25, 2: 0.125})


def add_importance(run: RunFolder, stage: int, means: dict[str, float], sizes: dict[str, int]) -> None:
    """Write the importance of one stage."""
    tensors = {name: torch.full((sizes[name],), mean) for name, mean in means.items()}
    save_file(tensors, run.task_folder(stage) / "importance.safetensors")
    log = {
        name: {"mean": m, "max": 8 * m, "q0.1": 0.0, "q0.5": m / 2, "q0.9": 2 * m, "q0.99": 4 * m}
        for name, m in means.items()
    }
    write_json(run.task_folder(stage) / "importance.json", {"importance": log})


def add_log(run: RunFolder, tasks: int = 3, epochs: int = 2) -> None:
    """Write a training log."""
    lines = [
        {"step": t * epochs + e, "task": t + 1, "epoch": e + 1, "loss": 1.0 / (1 + e), "penalty": 0.125 * t,
         "learning_rate": 0.001, "images_per_second": 100.0}
        for t in range(tasks) for e in range(epochs)
    ]  # fmt: skip
    write_text(run.path / "log.jsonl", "".join(json.dumps(line) + "\n" for line in lines))


def cells(page: str, *row: str) -> list[list[str]]:
    """Return the plain text of the cells of every table row that begins with `row`."""
    rows = re.findall(r"<tr>(.*?)</tr>", page)
    texts = [[re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", one)] for one in rows]
    return [text for text in texts if tuple(text[: len(row)]) == row]


def assert_self_contained(page: str) -> None:
    """Nothing is loaded: no link but to anchors of the page, no source but data, no script, no style from elsewhere."""
    assert not re.search(r"<(script|link|iframe|object|embed|base)\b", page)
    links = re.findall(r'\b(?:src|href)="([^"]+)"', page)
    assert all(link.startswith(("#", "data:")) for link in links)
    assert set(re.findall(r"url\((.)", page)) <= {"#"}
    assert "@import" not in page
    assert "http://" not in page
    assert "https://" not in page
    targets = set(re.findall(r' id="([^"]+)"', page))
    assert set(re.findall(r'href="#([^"]+)"', page) + re.findall(r"url\(#([^)]+)\)", page)) <= targets


def test_numbers_are_those_of_results(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    page = write_report(run).read_text()
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
    assert shown == sum(len(m) for g in results["matrices"].values() for p in g.values() for m in p.values()) == 36
    assert cells(page, "2", "animals") == [["2", "animals", "0.500", "0.750", "0.750"]]
    assert cells(page, "3", "0.25", "0.5") == []
    assert cells(page, "3", "0.250", "0.500", "1.000")
    assert ["3", "0.125", "1", ""] in cells(page, "3", "0.125")  # order 3: one fact
    for measure in ("average", "forgetting", "backward-transfer", "forward-transfer", "map-100", "k-5"):
        assert f'id="def-{measure}"' in page


def test_self_contained_and_same_bytes(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    add_log(run)
    for stage in (1, 2, 3):
        add_importance(run, stage, {"a.weight": 3.0, "b.bias": 0.25 * stage}, {"a.weight": 30, "b.bias": 10})
    picture = Image.effect_noise((40, 30), 60)
    first = write_report(run, examples=[("title", picture, "caption")])  # type: ignore[list-item]
    second = write_report(RunFolder(run.path), tmp_path / "new" / "two.html", [Example("title", picture, "caption")])
    assert first == run.path / "report.html"
    assert first.read_bytes() == second.read_bytes()
    page = first.read_text()
    assert_self_contained(page)
    assert page.count("<svg ") == 4 + 2 + 2
    assert page.count('<img src="data:image/') == 1
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


def test_real_run(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    average = evaluate(run)["average"]
    page = write_report(run).read_text()
    assert re.findall(r'class="value">([^<]*)', page)[0] == f"{average:.3f}"
    assert "Importance measured after task 2" in page
    assert "Training loss" in page
    assert_self_contained(page)


def test_unfinished_run_says_so(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path / "run", stages=2)).read_text()
    assert "not finished: 2 of 3 tasks" in page
    assert re.findall(r'class="value">(?:<span class="none">)?([^<]*)', page)[0] == "–"


def test_errors_are_sentences(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(UserError, match="is a folder"):
        write_report(run, tmp_path)
    write_text(run.task_folder(4) / "model.safetensors", "")
    with pytest.raises(UserError, match=r"first 3 stages.*learnt 4.*mas-triplets evaluate"):
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
    assert plots.mean_of_seen(R3) == [0.75, 0.625, pytest.approx(1.75 / 3)]
    assert plots.mean_of_seen([[None, None], [0.5, 0.25]]) == [None, 0.375]


def test_labels_are_moved_apart() -> None:
    assert plots.spread_apart([0.5, 0.5, 0.5], 0.125, 0.0, 1.0) == [0.5, 0.625, 0.75]
    assert plots.spread_apart([0.875, 1.0, 1.0], 0.25, 0.0, 1.0) == [0.5, 0.75, 1.0]
    assert plots.spread_apart([], 0.25, 0.0, 1.0) == []


@pytest.mark.parametrize("count", [1, 12, 18])
def test_many_tasks_are_drawn(count: int) -> None:
    R = [[(i + j) / (2 * count) for j in range(count)] for i in range(count)]
    names = [f"task {number + 1}" for number in range(count)]
    drawing = plots.heat_map(R, names, title="t", small=count == 12)
    assert drawing.count("<text ") >= count * count
    assert plots.task_curves(R, names, title="t", unit="u").startswith("<svg viewBox=")


def test_drawings_leave_matplotlib_as_it_was() -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    plots.dot_plot([plots.Dots("a", [0.5, 0.25]), plots.Dots("b", [None])], title="t", unit="u")
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
