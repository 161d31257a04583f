"""The protocols: galleries, policies and matrices, against plain loops over a run's own models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from small_run import FACTS, small_run

from mas_triplets.data.items import items_of
from mas_triplets.data.pixels import cached_pixels
from mas_triplets.data.view import View
from mas_triplets.errors import UserError
from mas_triplets.evaluation.definitions import definition
from mas_triplets.evaluation.protocol import DIRECTIONS, GALLERIES, POLICIES
from mas_triplets.evaluation.run import evaluate
from mas_triplets.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return small_run(tmp_path_factory.mktemp("evaluation"), lifelong__strategy="finetune", train__epochs=4)


@pytest.fixture(scope="module")
def results(run: RunFolder) -> dict[str, Any]:
    return evaluate(run)


class Plain:
    """Scores and labels of the test part, computed without the evaluation's code."""

    def __init__(self, run: RunFolder) -> None:
        self.dataset = run.dataset()
        self.tasks = [list(task.fact_ids) for task in run.split(self.dataset).tasks]
        items = items_of(self.dataset, "image")
        pixels = cached_pixels(self.dataset.folder / "cache", self.dataset.paths, items, View(16)).rows
        self.images = [i for i in range(len(pixels)) if self.dataset.image_part[i] == 2]
        self.labels = np.zeros((len(pixels), len(self.dataset.facts)), dtype=bool)
        self.labels[self.dataset.instance_image, self.dataset.instance_fact] = True
        self.embedding = {}
        for stage in range(3):
            model = run.load_model(stage)
            with torch.no_grad():
                self.embedding[stage] = model(torch.from_numpy(np.array(pixels))).view(len(pixels), 3, -1)
        self.model = run.load_model()

    def score(self, stage: int, image: int, fact: int) -> float:
        return self.score_of(self.embedding[stage][image], fact)

    def score_of(self, vectors: torch.Tensor, fact: int) -> float:
        slots = [(k, text) for k, text in enumerate(self.dataset.facts[fact].slots) if text is not None]
        cosines = [
            torch.cosine_similarity(vectors[k], self.model.language.vector(text), dim=0).item() for k, text in slots
        ]
        return sum(cosines) / len(cosines)

    def of_tasks(self, tasks: list[int]) -> tuple[list[int], list[int]]:
        facts = sorted(fact for task in tasks for fact in self.tasks[task])
        return [image for image in self.images if self.labels[image, facts].any()], facts


def mean_ap(scores: list[list[float]], right: list[list[bool]]) -> float:
    return float(np.mean([average_precision_score(r, s) for s, r in zip(scores, right, strict=True) if any(r)]))


def test_every_entry_of_the_standard_matrix_equals_a_plain_loop(run: RunFolder, results: dict[str, Any]) -> None:
    plain = Plain(run)
    matrix = results["matrices"]["fact_to_image"]["standard"]["reembedded"]["map"]
    for stage in (0, 1, 2):
        for task in (0, 1):
            images, facts = plain.of_tasks([task])
            scores = [[plain.score(stage, image, fact) for image in images] for fact in facts]
            right = [[bool(plain.labels[image, fact]) for image in images] for fact in facts]
            found = matrix["untrained"][task] if stage == 0 else matrix["R"][stage - 1][task]
            assert found == pytest.approx(mean_ap(scores, right), abs=1e-6)


def test_the_generalized_gallery_holds_all_that_was_seen(run: RunFolder, results: dict[str, Any]) -> None:
    plain = Plain(run)
    matrix = results["matrices"]["fact_to_image"]["generalized"]["reembedded"]["map"]
    images, facts = plain.of_tasks([0, 1])
    per_fact = {
        fact: mean_ap(
            [[plain.score(2, image, fact) for image in images]],
            [[bool(plain.labels[image, fact]) for image in images]],
        )
        for fact in facts
    }
    assert matrix["all"] == pytest.approx(np.mean(list(per_fact.values())), abs=1e-6)
    for task in (0, 1):
        expected = np.mean([per_fact[fact] for fact in plain.tasks[task]])
        assert matrix["R"][1][task] == pytest.approx(expected, abs=1e-6)
    assert matrix["R"][0][1] is None  # the second task is not seen yet
    assert results["all"] == matrix["all"]


def test_kept_vectors_are_those_of_the_model_that_first_saw_the_picture(
    run: RunFolder, results: dict[str, Any]
) -> None:
    plain = Plain(run)
    first, _ = plain.of_tasks([0])
    images, facts = plain.of_tasks([0, 1])
    kept = {image: plain.embedding[1 if image in first else 2][image] for image in images}
    scores = [[plain.score_of(kept[image], fact) for image in images] for fact in facts]
    right = [[bool(plain.labels[image, fact]) for image in images] for fact in facts]
    matrix = results["matrices"]["fact_to_image"]["generalized"]["kept"]["map"]
    assert matrix["all"] == pytest.approx(mean_ap(scores, right), abs=1e-6)
    own = results["matrices"]["fact_to_image"]["standard"]
    assert own["kept"]["map"]["R"][0][0] == own["reembedded"]["map"]["R"][0][0]
    assert own["kept"]["map"]["R"][1][0] == own["kept"]["map"]["R"][0][0]  # old vectors do not move


def test_randomly_kept_vectors_are_of_a_stage_drawn_for_each_picture(run: RunFolder, results: dict[str, Any]) -> None:
    plain = Plain(run)
    images, facts = plain.of_tasks([0, 1])
    second = np.random.default_rng((run.config.seed, 2)).random(len(plain.labels)) < 1 / 2
    assert len({bool(second[image]) for image in images}) == 2
    kept = {image: plain.embedding[2 if second[image] else 1][image] for image in images}
    scores = [[plain.score_of(kept[image], fact) for image in images] for fact in facts]
    right = [[bool(plain.labels[image, fact]) for image in images] for fact in facts]
    for gallery in GALLERIES:
        matrix = results["matrices"]["fact_to_image"][gallery]["kept_random"]["map"]
        if gallery == "generalized":
            assert matrix["all"] == pytest.approx(mean_ap(scores, right), abs=1e-6)
        fresh = results["matrices"]["fact_to_image"][gallery]["reembedded"]["map"]
        assert matrix["R"][0][0] == fresh["R"][0][0]  # after the first task there is one version only
        assert matrix["R"][0][1] is None


def test_drift_equals_a_plain_loop(run: RunFolder, results: dict[str, Any]) -> None:
    plain = Plain(run)
    first, _ = plain.of_tasks([0])
    found = results["drift"]
    for task in (0, 1):
        images, _ = plain.of_tasks([task])
        moved = []
        for image in images:
            kept, present = plain.embedding[1 if image in first else 2][image], plain.embedding[2][image]
            moved.append(1 - float(torch.cosine_similarity(kept, present, dim=1).mean()))
        assert found["matrix"][1][task] == pytest.approx(np.mean(moved), abs=1e-6)
    assert found["matrix"][0] == [0.0, None]
    assert found["average"] == found["matrix"][1][0] > 0
    assert found["definition"] == definition("drift")


def test_tasks_not_learnt_yet_are_measured_in_their_own_gallery_alone(results: dict[str, Any]) -> None:
    for direction, names in DIRECTIONS.items():
        for name in names:
            own = results["matrices"][direction]["standard"]["reembedded"][name]
            assert all(value is not None for row in own["R"] for value in row)
            assert own["forward_transfer"] == pytest.approx(own["R"][0][1] - own["untrained"][1])
            for gallery, policy in (("generalized", "reembedded"), ("standard", "kept"), ("standard", "kept_random")):
                entry = results["matrices"][direction][gallery][policy][name]
                assert entry["R"][0][1] is entry["untrained"] is entry["forward_transfer"] is None


def test_generalised_numbers_are_the_plain_ones_where_every_label_is_there(results: dict[str, Any]) -> None:
    plain, generalised = (results["matrices"][key] for key in ("image_to_fact", "image_to_fact_generalised"))
    for gallery in GALLERIES:
        for policy in POLICIES:
            for name, entry in plain[gallery][policy].items():
                assert generalised[gallery][policy][f"generalised_{name}"]["R"] == entry["R"]


def test_evaluating_again_gives_the_same_bytes(run: RunFolder, results: dict[str, Any]) -> None:
    files = [run.path / "results.json", *(run.task_folder(stage) / "metrics.json" for stage in (0, 1, 2))]
    before = [path.read_bytes() for path in files]
    evaluate(RunFolder(run.path))
    assert [path.read_bytes() for path in files] == before


def test_image_to_fact_equals_a_plain_loop(run: RunFolder, results: dict[str, Any]) -> None:
    plain = Plain(run)
    for gallery, tasks in (("standard", [0]), ("generalized", [0, 1])):
        own, _ = plain.of_tasks([0])
        _, facts = plain.of_tasks(tasks)
        firsts = []
        for image in own:
            ranked = sorted(facts, key=lambda fact: -plain.score(2, image, fact))
            firsts.append(1 + [bool(plain.labels[image, fact]) for fact in ranked].index(True))
        found = results["matrices"]["image_to_fact"][gallery]["reembedded"]
        assert found["k@1"]["R"][1][0] == pytest.approx(np.mean([first == 1 for first in firsts]))
        assert found["k@5"]["R"][1][0] == pytest.approx(np.mean([first <= 5 for first in firsts]))
        assert found["mrr"]["R"][1][0] == pytest.approx(np.mean([1 / first for first in firsts]))


def test_the_file_holds_a_definition_beside_every_number(run: RunFolder, results: dict[str, Any]) -> None:
    written = json.loads((run.path / "results.json").read_text())
    assert written == json.loads(json.dumps(results))
    assert {"average", "all", "forgetting"} <= set(list(written)[:3])
    for direction, names in DIRECTIONS.items():
        for gallery in GALLERIES:
            for policy in POLICIES:
                for name in names:
                    entry = written["matrices"][direction][gallery][policy][name]
                    assert entry["definition"] == definition(name)
                    assert [len(row) for row in entry["R"]] == [2, 2]
    for stage in (0, 1, 2):
        assert (run.task_folder(stage) / "metrics.json").is_file()


def test_the_summary_numbers_are_those_of_the_matrix(results: dict[str, Any]) -> None:
    matrix = results["matrices"]["fact_to_image"]["standard"]["reembedded"]["map"]
    R, b = matrix["R"], matrix["untrained"]
    assert results["average"] == pytest.approx((R[1][0] + R[1][1]) / 2)
    assert results["forgetting"] == pytest.approx(R[0][0] - R[1][0])
    assert matrix["backward_transfer"] == pytest.approx(R[1][0] - R[0][0])
    assert matrix["forward_transfer"] == pytest.approx(R[0][1] - b[1])


def test_a_run_that_learns_all_at_once_has_the_last_rows_alone(tmp_path: Path) -> None:
    results = evaluate(small_run(tmp_path, lifelong__strategy="joint"))
    assert results["drift"]["matrix"] == [[None, None], [0.0, 0.0]]
    assert results["by_seen"]["seen"]["facts"] == len(FACTS)
    generalized = results["matrices"]["fact_to_image"]["generalized"]
    for policy in ("kept", "kept_random"):
        assert generalized[policy]["map"]["R"] == generalized["reembedded"]["map"]["R"]  # there is one version only


def test_a_run_that_is_not_finished_counts_what_is_learnt(tmp_path: Path) -> None:
    run = small_run(tmp_path, lifelong__strategy="finetune")
    shutil.rmtree(run.task_folder(2))
    results = evaluate(run)
    assert results["drift"]["matrix"] == [[0.0, None], [None, None]]
    assert results["drift"]["average"] is None
    assert results["all"] is None
    first = run.split(run.dataset()).tasks[0].fact_ids
    assert results["by_seen"]["seen"]["facts"] == len(first)
    counted = results["by_training_count"]
    assert sum(counted[third]["facts"] for third in ("head", "mid", "tail")) == len(first)
    assert sum(results["by_order"][order]["facts"] for order in ("1", "2", "3")) == len(first)


def test_another_part_is_told_and_not_written(run: RunFolder, results: dict[str, Any]) -> None:
    before = (run.path / "results.json").read_bytes()
    validation = evaluate(run, part="val")
    assert validation["run"]["part"] == "val"
    assert validation["average"] != results["average"]
    assert (run.path / "results.json").read_bytes() == before


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run"):
        evaluate(tmp_path)
