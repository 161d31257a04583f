"""The drawings and breakdowns of a comparison that some runs have and some lack: points, drift, importance, kinds."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import pytest
from hand_made_runs import Matrix, add_importance, make_run
from page_checks import assert_self_contained, cells

from mas_triplets.evaluation.compare import CurvePoint, compare
from mas_triplets.evaluation.comparison import curves as curves_module
from mas_triplets.evaluation.comparison.content import compared
from mas_triplets.evaluation.comparison.curves import curve_section, points_of
from mas_triplets.evaluation.comparison.drift import drift_curve, drift_section
from mas_triplets.evaluation.comparison.entries import read_entries
from mas_triplets.evaluation.comparison.importance import importance_section, mean_importance
from mas_triplets.evaluation.comparison.kinds import kind_section
from mas_triplets.evaluation.comparison.methods import Method, methods_of
from mas_triplets.files import read_json, write_json
from mas_triplets.training.run_folder import RunFolder

KEPT: Matrix = [[0.75, 0.0], [0.5, 0.75]]
LOST: Matrix = [[0.75, 0.0], [0.25, 0.75]]


def tell(run: RunFolder, **records: Any) -> RunFolder:
    """Add records to the run's results."""
    path = run.path / "results.json"
    write_json(path, {**read_json(path, "results"), **records})
    return run


def drift(value: float) -> dict[str, Any]:
    return {"definition": "How far.", "matrix": [[0.0, None], [value, 0.0]], "average": value}


def one_method(*runs: RunFolder) -> Method:
    (method,) = methods_of(read_entries(runs))
    return method


def test_points_by_hand_and_families(tmp_path: Path) -> None:
    def run(name: str, R: Matrix, *settings: str, **changes: Any) -> RunFolder:
        return make_run(tmp_path / name, R, settings=settings, **changes)

    entries = read_entries(
        [
            run("a", LOST, "lifelong.strength=0.5"),
            run("b", KEPT, "lifelong.strength=4"),
            run("c", [[0.5, 0.0], [0.5, 0.75]], "lifelong.strength=4", seed=1),
            run("d", KEPT, "lifelong.control=shuffled"),
            run("e", KEPT, "lifelong.distillation=0.3", strategy="lwf"),
            run("f", KEPT, strategy="finetune"),
            run("g", KEPT, strategy="joint"),
        ]
    )
    found = compared(entries)
    points = points_of(found.methods, found.method_rows)
    assert [(p.method, p.strength, p.runs) for p in points] == [
        ("finetune", None, 1), ("mas", 0.5, 1), ("mas", 4.0, 2), ("mas, control shuffled", 1.0, 1), ("lwf", 0.3, 1),
    ]  # fmt: skip
    assert points[2] == CurvePoint(
        "mas", 4.0, plasticity=0.6875, forgetting=0.125, average=0.625, all=0.25, runs=2
    )  # plasticity: (0.75 + 0.625) / 2, forgetting: (0.25 + 0) / 2
    section = str(curve_section(points, []))
    assert section.count("<svg ") == 1
    assert ">0.5</text>" in section
    assert ">lwf</text>" in section


def test_points_of_a_search_are_drawn_besides(tmp_path: Path) -> None:
    points = [CurvePoint("m", strength, 0.5, 0.25 / strength, 0.5, 0.5, 3) for strength in (1.0, 2.0)]
    assert curve_section(points[:1], []) is None
    assert str(curve_section(points[:1], points)).count("<svg ") == 1
    assert str(curve_section(points, points)).count("<svg ") == 2
    assert "Each point is the mean of 3 runs." in str(curve_section([], points))
    compare([make_run(tmp_path / "mas", KEPT)], tmp_path / "report.html", curves=points)
    page = (tmp_path / "report.html").read_text()
    assert 'href="#curves"' in page
    assert "strengths tried" in page
    assert_self_contained(page)


def test_many_methods_are_drawn_one_by_one_too() -> None:
    points = [
        CurvePoint(f"m{n}", strength, 0.5 + n / 100, 0.25, 0.5, 0.5, 3) for n in range(7) for strength in (1, 2, 4)
    ]
    few, many = str(curve_section([], points[: 6 * 3])), str(curve_section([], points))
    assert (few.count("<svg "), many.count("<svg ")) == (1, 8)
    assert few.count(">2</text>") == 6
    assert many.count(">2</text>") == 7  # in the drawing of all only the ends of each line are told
    assert many.count(">4</text>") == 14


def test_drift_is_a_mean_over_earlier_tasks_and_runs(tmp_path: Path) -> None:
    runs = [tell(make_run(tmp_path / f"mas{s}", KEPT, seed=s), drift=drift(0.25 * (s + 1))) for s in range(2)]
    method = one_method(*runs)
    curve = drift_curve(method)
    assert curve is not None
    assert (list(curve.values), curve.label) == ([None, 0.375], "mas 1")
    assert curve.spread is not None
    assert curve.spread[1] == pytest.approx(0.125 * 2**0.5)
    assert "How far." in str(drift_section([method], 2))
    assert drift_section([method], 1) is None


def test_no_drift_where_a_run_lacks_it_or_learns_all_at_once(tmp_path: Path) -> None:
    runs = [tell(make_run(tmp_path / "a", KEPT), drift=drift(0.5)), make_run(tmp_path / "b", KEPT, seed=1)]
    assert drift_section([one_method(*runs)], 2) is None
    joint = tell(make_run(tmp_path / "joint", KEPT, strategy="joint"), drift=drift(0.5))
    assert drift_section([one_method(joint)], 2) is None


def test_importance_is_a_mean_over_runs_as_multiples_of_the_mean(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"mas{seed}", KEPT, seed=seed) for seed in range(2)]
    assert importance_section([one_method(*runs)]) is None
    add_importance(runs[0], 2, {"a": 3.0, "b": 1.0}, {"a": 1, "b": 1})  # mean 2: 1.5 and 0.5
    assert mean_importance(one_method(*runs)) == {}  # one of the two has none
    add_importance(runs[1], 2, {"a": 1.0, "b": 1.0}, {"a": 1, "b": 1})
    method = one_method(*runs)
    assert mean_importance(method) == {"a": 1.25, "b": 0.75}
    assert ">1.2</text>" in str(importance_section([method]))
    add_importance(runs[0], 2, {"a": 1.0, "b": 1.0}, {"a": 1, "b": 1})
    assert importance_section([one_method(*runs)]) is None  # all parameters alike: nothing to see


def test_kinds_of_facts_roles_and_classes(tmp_path: Path) -> None:
    def more(value: float) -> dict[str, Any]:
        maps = {"map": value, "own_task_map": value + 0.25, "facts": 2}
        return {
            "by_training_count": {"definition": "Thirds.", "head": maps, "mid": maps, "tail": {**maps, "facts": 0}},
            "by_seen": {"definition": "Seen.", "seen": maps},
            "swapped_roles": {"definition": "Roles.", "accuracy": value, "pairs": 3, "images": 9},
            "accuracy": {
                "definition": "Classes.",
                "within_task": {"definition": "One task.", "per_image": {"average": value, "all": None}},
            },
        }

    runs = [tell(make_run(tmp_path / f"mas{s}", KEPT, seed=s), **more(0.25 * (s + 1))) for s in range(2)]
    page = str(kind_section([one_method(*runs)]))
    assert cells(page, "method", "training count") == [["method", "training count", "head", "mid"]]  # the tail is empty
    assert ["mas 1", "own-task mAP", *["0.625 ± 0.177"] * 2] in cells(page, "mas 1", "own-task mAP")
    assert ["mas 1", "all-facts mAP", *["0.375 ± 0.177"] * 2] in cells(page, "mas 1", "all-facts mAP")
    assert "By seen" not in page  # one group alone is all facts
    assert cells(page, "mas 1", "0.375 ± 0.177") == [["mas 1", "0.375 ± 0.177"]] * 2  # roles, classes
    assert "Roles. 3 pairs of facts, 9 images." in page
    assert cells(page, "method", "within taskper imageaverage")


def test_kinds_that_a_run_lacks_are_left_blank(tmp_path: Path) -> None:
    roles = {"definition": "Roles.", "accuracy": 0.5, "pairs": 3, "images": 9}
    runs = [tell(make_run(tmp_path / "a", KEPT), swapped_roles=roles), make_run(tmp_path / "b", KEPT, seed=1)]
    assert cells(str(kind_section([one_method(*runs)])), "mas 1", "–")
    assert "Swapped roles" not in str(kind_section([one_method(runs[1])]))


def test_docstrings() -> None:
    assert doctest.testmod(curves_module).failed == 0
