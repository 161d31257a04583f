"""Accuracy of class sequences: within the task and over all classes, per image and per class."""

from __future__ import annotations

import doctest
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from labelled_noise import labelled_noise
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from small_run import small_run

from mas_triplets.data.items import items_of
from mas_triplets.evaluation import accuracy
from mas_triplets.evaluation.definitions import definition
from mas_triplets.evaluation.run import evaluate
from mas_triplets.model.inputs import item_inputs
from mas_triplets.training.run_folder import RunFolder

CLASSES = ["<ant>", "<bee>", "<cow>", "<dog>"]
TASKS = [["<ant>", "<cow>"], ["<bee>", "<dog>"]]
OF_TASK = [[0, 2], [1, 3]]
SHOWN = [0, 0, 0, 0, 1, 1, 1, 2, 2, 3]
"""The class of each test picture: uneven, so that the means over images and over classes differ."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("classes")
    pictures = [(part, [CLASSES[shown]]) for part in ("train", "test") for shown in SHOWN]
    labelled_noise(folder, pictures, TASKS)
    return small_run(folder, lifelong__strategy="finetune", train__epochs=6)


@pytest.fixture(scope="module")
def results(run: RunFolder) -> dict[str, Any]:
    return evaluate(run)


def test_equals_scikit_learn(run: RunFolder, results: dict[str, Any]) -> None:
    dataset = run.dataset()
    items = items_of(dataset, "image")
    shown = np.array(SHOWN)
    found = results["accuracy"]
    for stage in (0, 1, 2):
        model = run.load_model(stage)
        inputs = item_inputs(model, dataset, items, run.config)
        with torch.no_grad():
            batches = inputs.inputs(np.arange(len(SHOWN), 2 * len(SHOWN)))
            scores = torch.cat([model.score(model(batch), dataset.facts) for batch in batches]).numpy()
        for task, own in enumerate(OF_TASK):
            mine = np.isin(shown, own)
            guess = np.array(own)[scores[mine][:, own].argmax(1)]
            within = found["within_task"]
            for kind, measure in (("per_image", accuracy_score), ("per_class", balanced_accuracy_score)):
                value = within[kind]["R"][stage - 1][task] if stage else within[kind]["untrained"][task]
                assert value == pytest.approx(measure(shown[mine], guess))
    for kind, measure in (("per_image", accuracy_score), ("per_class", balanced_accuracy_score)):
        guess = scores.argmax(1)
        assert found["all_classes"][kind]["all"] == pytest.approx(measure(shown, guess))
        for task, own in enumerate(OF_TASK):
            mine = np.isin(shown, own)
            right = [np.mean(guess[shown == c] == c) for c in own]
            expected = np.mean(right) if kind == "per_class" else np.mean(guess[mine] == shown[mine])
            assert found["all_classes"][kind]["R"][1][task] == pytest.approx(expected)


def test_the_record_has_definitions_and_the_measures_over_tasks(run: RunFolder, results: dict[str, Any]) -> None:
    found = results["accuracy"]
    assert found["definition"] == definition("accuracy")
    for view in ("within_task", "all_classes"):
        assert found[view]["definition"] == definition(f"accuracy_{view}")
        for kind in ("per_image", "per_class"):
            record = found[view][kind]
            assert record["definition"] == definition(f"accuracy_{kind}")
            R = record["R"]
            assert record["average"] == pytest.approx((R[1][0] + R[1][1]) / 2)
            assert record["forgetting"] == pytest.approx(R[0][0] - R[1][0])
    assert found["all_classes"]["per_class"]["R"][0][1] is None  # not seen yet
    assert found["all_classes"]["per_class"]["untrained"] is None
    own = results["matrices"]["image_to_fact"]["standard"]["reembedded"]["k@1"]
    assert found["within_task"]["per_image"]["R"] == own["R"]
    assert json.loads((run.path / "results.json").read_text())["accuracy"] == json.loads(json.dumps(found))


def test_facts_of_more_slots_have_no_accuracy(tmp_path: Path) -> None:
    results = evaluate(small_run(tmp_path, lifelong__strategy="finetune"))
    assert "accuracy" not in results
    assert results["swapped_roles"] is None


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(accuracy)
    assert result.attempted > 0
    assert result.failed == 0
