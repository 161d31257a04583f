"""What facts find before and after: which facts and runs are shown, equal to a plain ranking, on small runs."""

from __future__ import annotations

import doctest
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hand_made_runs import R3, make_run
from page_checks import assert_self_contained
from PIL import Image
from small_run import small_config, small_data, small_run

from mas_triplets.config import make_config
from mas_triplets.data.items import items_of
from mas_triplets.data.split_methods import random_split
from mas_triplets.data.splits import make_split, write_split
from mas_triplets.evaluation.compare import compare
from mas_triplets.evaluation.comparison import retrievals
from mas_triplets.evaluation.comparison.entries import read_entries
from mas_triplets.evaluation.comparison.methods import methods_of
from mas_triplets.evaluation.comparison.retrievals import chosen_entries, first_task_ranking, middle_facts
from mas_triplets.evaluation.run import evaluate
from mas_triplets.evaluation.sections.strips import SIDE, Found, marked, strip
from mas_triplets.training.run import train
from mas_triplets.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods of two seeds, each seed with an order of its own, evaluated."""
    folder = tmp_path_factory.mktemp("retrievals")
    dataset = small_data(folder)
    for seed in range(2):
        write_split(
            dataset, make_split(f"two-{seed}", "random", seed, {"tasks": 2}, random_split(dataset.facts, 2, seed))
        )
        for name in ("finetune", "mas"):
            config = small_config(folder, data__split=f"two-{seed}", lifelong__strategy=name, seed=seed)
            evaluate(train(make_config(config), folder / f"{name}-{seed}", resume="never"))
    return folder


def paths(folder: Path) -> list[Path]:
    return [folder / f"{name}-{seed}" for name in ("finetune", "mas") for seed in range(2)]


def test_the_real_command(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    command = [sys.executable, "-m", "mas_triplets", "compare", *map(str, paths(folder)), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "mas 1" in done.stdout
    assert "report-methods.csv" in done.stdout
    page = out.read_text()
    assert_self_contained(page)
    section = page[page.index('id="retrievals"') : page.index('id="matrices"')]
    facts = re.findall(r"<h3>(.*?)</h3>", section)
    assert len(facts) == 3  # the first of two tasks has three facts
    assert section.count("<img ") == 3 * 2 * 2
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", section)
    form = r"(finetune|mas 1), (right after task 1|after task 2): \d of \d right, average precision \d\.\d{3}\."
    assert all(re.fullmatch(form, caption) for caption in captions)
    assert "2 orders (two-0, two-1)" in page
    assert 'id="drift"' in page
    subprocess.run([*command, "--no-examples"], capture_output=True, text=True, check=True)
    assert 'id="retrievals"' not in out.read_text()


def test_ranking_is_that_of_a_plain_loop(folder: Path) -> None:
    (entry,) = read_entries([folder / "mas-0"])
    for stage in (1, 2):
        found = first_task_ranking(entry, stage)
        run = RunFolder(folder / "mas-0")
        dataset, model = run.dataset(), run.load_model(stage)
        facts = run.split(dataset).tasks[0].fact_ids
        items = items_of(dataset, "image")
        gallery = items.select(("test",), np.array(facts))
        pixels = np.stack([np.array(model.encoder.view.draw(Image.open(dataset.paths[i]), None)) for i in gallery])
        import torch

        with torch.no_grad():
            embedding = model(torch.from_numpy(pixels)).reshape(len(gallery), 3, -1)
        for row, fact in enumerate(facts):
            vectors, mask = run.language.embed([dataset.facts[fact]])
            slots = [k for k in range(3) if mask[0, k]]
            cosines = [torch.nn.functional.cosine_similarity(embedding[:, k], vectors[0, k], dim=-1) for k in slots]
            order = gallery[torch.argsort(torch.stack(cosines).mean(0), descending=True).numpy()]
            shows = [bool(((items.pair_item == item) & (items.pair_fact == fact)).any()) for item in order]
            assert found.first[row].tolist() == order[:6].tolist()
            assert found.right[row].tolist() == shows[:6]
            hits = [sum(shows[: place + 1]) / (place + 1) for place, right in enumerate(shows) if right]
            assert found.precision[row] == pytest.approx(sum(hits) / len(hits))
        own = entry.results["matrices"]["fact_to_image"]["standard"]["reembedded"]["map"]["R"]
        assert found.precision.mean() == pytest.approx(own[stage - 1][0])


def test_without_the_data_set_the_page_says_why(folder: Path, tmp_path: Path) -> None:
    for path in paths(folder):
        shutil.copytree(path, tmp_path / path.name)
        config = tmp_path / path.name / "config.yaml"
        config.write_text(config.read_text().replace(str(folder / "data"), str(tmp_path / "gone")))
    compare(paths(tmp_path), tmp_path / "report.html", retrievals=True)
    page = (tmp_path / "report.html").read_text()
    assert re.search(r"Left out, since the models cannot be asked again: .*gone does not exist", page)


def test_which_runs_are_shown(tmp_path: Path) -> None:
    def shown(*runs: RunFolder) -> list[str]:
        return [entry.name for _, entry in chosen_entries(methods_of(read_entries(runs)))]

    low = [make_run(tmp_path / f"low{seed}", strategy="finetune", seed=seed) for seed in (1, 2)]
    mas = [make_run(tmp_path / f"mas{seed}", seed=seed) for seed in (0, 2)]
    joint = make_run(tmp_path / "joint", strategy="joint")
    one = make_run(tmp_path / "one", [[0.5]], split="one")
    assert shown(*low, *mas, joint) == ["low2", "mas2"]  # the first seed that they share
    assert shown(low[0], mas[0]) == ["mas0"]
    assert shown(low[0], joint) == ["low1"]
    better = make_run(
        tmp_path / "better", [[0.75, 0.0, 0.0], [0.75, 0.75, 0.0], [0.75, 0.75, 1.0]], strategy="l2", seed=2
    )
    control = make_run(tmp_path / "control", [[1.0] * 3] * 3, seed=2, settings=("lifelong.control=shuffled",))
    assert shown(*low, *mas, better, control) == ["low2", "better"]
    assert shown(*low, control) == ["low2", "control"]
    assert shown(joint) == []
    assert shown(one) == []
    assert len(R3) == 3


def test_the_middle_of_each_part() -> None:
    change = np.array([0.1, -0.3, np.nan, 0.0, -0.3, 0.2, -0.1, 0.3, -0.2, 0.4])  # nine: 1 4 8 | 6 3 0 | 5 7 9
    assert middle_facts(change) == [4, 3, 7]
    assert middle_facts(change, 1) == [3]
    assert middle_facts(np.array([0.5, np.nan, 0.25])) == [2, 0]
    assert middle_facts(np.array([np.nan])) == []


def test_marks_are_told_apart_without_colours(tmp_path: Path) -> None:
    Image.new("RGB", (40, 20), "white").save(tmp_path / "wide.png")
    right, wrong = (marked(Found(tmp_path / "wide.png", None, mark)).convert("L") for mark in (True, False))
    assert right.size == (SIDE, SIDE)
    dark = [int((np.array(one)[:, :8] < 160).sum()) for one in (right, wrong)]
    assert dark[0] >= 4 * dark[1]  # five pixels of frame against one
    gone = strip([Found(tmp_path / "none.png", None, True), Found(tmp_path / "wide.png", (1, 2, 30, 18), False)])
    assert gone.width == 4 + 2 * (SIDE + 4)


def test_a_box_is_drawn_where_it_is(tmp_path: Path) -> None:
    Image.new("RGB", (SIDE, SIDE), "white").save(tmp_path / "square.png")
    pixels = np.array(marked(Found(tmp_path / "square.png", (20, 30, 60, 70), True)))
    blue = (pixels == (0x0B, 0x5C, 0xAD)).all(-1)
    rows, columns = np.nonzero(blue)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (20, 30, 59, 69)


def test_a_run_on_boxes(tmp_path: Path) -> None:
    run = small_run(tmp_path, data__region="box")
    evaluate(run)
    page = compare([run], tmp_path / "report.html", retrievals=True)["report"]
    assert Path(page).read_text().count("<img ") == 3 * 2


def test_docstrings() -> None:
    assert doctest.testmod(retrievals).failed == 0
