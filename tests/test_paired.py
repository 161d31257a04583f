"""Paired tests: by hand and equal to scipy, Holm's correction, which runs are paired, what has no test."""

from __future__ import annotations

import doctest
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand_made_runs import Matrix, make_run
from hypothesis import given
from hypothesis import strategies as st
from page_checks import cells
from scipy import stats

from mas_triplets.evaluation.compare import compare
from mas_triplets.evaluation.comparison import paired
from mas_triplets.evaluation.comparison.entries import read_entries
from mas_triplets.evaluation.comparison.methods import methods_of
from mas_triplets.evaluation.comparison.paired import comparisons, holm, paired_test
from mas_triplets.evaluation.comparison.shown import paired_section
from mas_triplets.evaluation.comparison.tables import paired_table
from mas_triplets.training.run_folder import RunFolder


def two_tasks(kept: float) -> Matrix:
    """A matrix whose average is (kept + 0.75) / 2 and whose forgetting is 0.75 - kept."""
    return [[0.75, 0.0], [kept, 0.75]]


def of(rows: list[dict[str, Any]], reference: str, method: str, measure: str = "average") -> dict[str, Any]:
    (found,) = [r for r in rows if (r["reference"], r["method"], r["measure"]) == (reference, method, measure)]
    return found


def test_by_hand_and_as_scipy() -> None:
    method, reference = [0.5, 0.75, 0.5, 0.25], [0.25, 0.25, 0.5, 0.0]
    found = paired_test(method, reference)  # differences 1/4, 1/2, 0, 1/4
    assert (found.pairs, found.difference) == (4, 0.25)
    assert found.deviation == pytest.approx(math.sqrt((0.25**2 + 0.25**2) / 3))
    t = 0.25 / (math.sqrt(0.125 / 3) / 2)  # mean / (deviation / sqrt n)
    assert found.p == pytest.approx(2 * stats.t.sf(t, 3))
    assert found.p == stats.ttest_rel(method, reference).pvalue
    assert (found.wilcoxon, found.note) == (None, "")


def test_two_pairs_have_a_closed_form() -> None:
    found = paired_test([1.0, 3.0], [0.0, 0.0])  # t = 2 / (sqrt 2 / sqrt 2) = 2 at one degree of freedom: Cauchy
    assert found.p == pytest.approx(1 - 2 * math.atan(2.0) / math.pi)


def test_wilcoxon_from_six_pairs_on() -> None:
    reference = [0.0] * 6
    found = paired_test([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], reference)
    assert found.wilcoxon == 2 / 2**6  # all six are positive: one of 2^6 signs, and its mirror image
    mixed = np.array([0.1, -0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    assert paired_test(mixed.tolist(), [0.0] * 7).wilcoxon == stats.wilcoxon(mixed).pvalue
    assert paired_test([0.1, 0.2, 0.3, 0.4, 0.5], reference[:5]).wilcoxon is None


def test_what_has_no_test_says_why() -> None:
    one = paired_test([0.5], [0.25])
    assert (one.pairs, one.difference, one.deviation, one.p, one.note) == (1, 0.25, None, None, "one run: no test")
    none = paired_test([], [])
    assert (none.pairs, none.difference, none.p) == (0, None, None)
    assert none.note == "no run of both has the same seed and order of tasks"
    equal = paired_test([0.3, 0.6, 0.9], [0.1, 0.4, 0.7])  # equal but for rounding: t would be a huge number
    assert (equal.p, equal.note) == (None, "all differences are equal: no test")


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.75]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_is_between_raw_and_bonferroni(values: list[float]) -> None:
    corrected = [value for value in holm(list(values)) if value is not None]
    assert all(p <= c <= min(1.0, len(values) * p) for p, c in zip(values, corrected, strict=True))
    order = np.argsort(values, kind="stable")
    assert (np.diff(np.array(corrected)[order]) >= 0).all()


def seeds(folder: Path, kept: list[float], name: str, **changes: Any) -> list[RunFolder]:
    return [
        make_run(folder / f"{name}-{seed}", two_tasks(value), seed=seed, **changes) for seed, value in enumerate(kept)
    ]


def test_each_method_against_each_reference(tmp_path: Path) -> None:
    runs = [
        *seeds(tmp_path, [0.25, 0.5, 0.25], "finetune", strategy="finetune"),
        *seeds(tmp_path, [0.5, 0.5, 0.75], "mas", strategy="mas"),
        *seeds(tmp_path, [0.5, 0.25], "shuffled", strategy="mas", settings=("lifelong.control=shuffled",)),
        *seeds(tmp_path, [0.5], "l2", strategy="l2"),
        *seeds(tmp_path, [0.75, 0.75, 0.75], "joint", strategy="joint"),
    ]
    entries = read_entries(runs)
    references = [reference.label for reference, _ in comparisons(methods_of(entries))]
    assert references == ["finetune", "l2 1", "mas 1, control shuffled"]
    rows = compare(runs, None)["tests"]
    assert len(rows) == 3 * 3 * 3  # references, measures, the three other methods: joint is a bound
    found = of(rows, "finetune", "mas 1")
    expected = stats.ttest_rel([0.625, 0.625, 0.75], [0.5, 0.625, 0.5])
    assert (found["pairs"], found["difference"], found["p"]) == (3, 0.125, pytest.approx(expected.pvalue))
    other = of(rows, "finetune", "mas 1, control shuffled")
    assert (other["pairs"], other["difference"]) == (2, 0.0)
    assert other["p"] == pytest.approx(1.0)  # 1/8 and -1/8
    assert of(rows, "finetune", "l2 1")["note"] == "one run: no test"
    assert found["p_holm"] == pytest.approx(2 * found["p"])  # two of the three have a test
    assert of(rows, "finetune", "mas 1", "forgetting")["difference"] == -0.25
    page = str(paired_section(paired_table(rows)))
    shown = cells(page, "mas 1", "average", "3")[0]
    assert shown == ["mas 1", "average", "3", "0.125 ± 0.125", f"{found['p']:.3f}", f"{found['p_holm']:.3f}", ""]
    assert cells(page, "l2 1", "average", "1")[0][-1] == "one run: no test"
    assert "Wilcoxon" not in page


def test_joins_are_tested_against_their_parts_and_l2_in_their_place(tmp_path: Path) -> None:
    names = ("mas", "lwf", "l2+lwf", "mas+lwf", "replay", "averaging", "merging", "joint")
    runs = [make_run(tmp_path / name, two_tasks(0.5), strategy=name) for name in names]
    found = {
        reference.strategy: [method.strategy for method in others]
        for reference, others in comparisons(methods_of(read_entries(runs)))
    }
    assert found.keys() == {"averaging", "lwf", "l2+lwf", "mas"}
    assert sorted(found["averaging"]) == ["l2+lwf", "lwf", "mas", "mas+lwf", "merging", "replay"]
    assert sorted(found["lwf"]) == ["l2+lwf", "mas+lwf"]
    assert (found["l2+lwf"], found["mas"]) == (["mas+lwf"], ["mas+lwf"])


def test_nothing_to_test_against(tmp_path: Path) -> None:
    runs = seeds(tmp_path, [0.25, 0.5], "mas", strategy="mas")
    found = compare(runs, tmp_path / "report.html")
    assert found["tests"] == []
    assert 'id="tests"' not in (tmp_path / "report.html").read_text()
    assert not (tmp_path / "report-tests.csv").exists()


def test_a_seed_twice_counts_once(tmp_path: Path) -> None:
    runs = seeds(tmp_path, [0.25, 0.25], "finetune", strategy="finetune")
    runs += seeds(tmp_path, [0.5, 0.25], "mas", strategy="mas")
    runs.append(make_run(tmp_path / "again", two_tasks(1.0), seed=0, settings=("train.device=cuda",)))
    found = of(compare(runs, None)["tests"], "finetune", "mas 1")
    assert (found["pairs"], found["difference"]) == (2, 0.125)  # (mean of 1/8 and 3/8) and 0


def test_docstrings() -> None:
    assert doctest.testmod(paired).failed == 0
