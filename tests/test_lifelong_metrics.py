from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mas_triplets.evaluation import lifelong
from mas_triplets.evaluation.definitions import definition
from mas_triplets.evaluation.lifelong import (
    average,
    backward_transfer,
    forgetting,
    forward_transfer,
    intransigence,
    recovered,
    summary,
)

R = [
    [0.8, 0.1, 0.2, 0.0],
    [0.9, 0.7, 0.1, 0.3],
    [0.6, 0.4, 0.5, 0.2],
    [0.5, 0.6, 0.3, 0.9],
]
NAN = float("nan")


def test_numbers_worked_by_hand() -> None:
    assert average(R) == pytest.approx((0.5 + 0.6 + 0.3 + 0.9) / 4)
    assert backward_transfer(R) == pytest.approx(((0.5 - 0.8) + (0.6 - 0.7) + (0.3 - 0.5)) / 3)
    assert forgetting(R) == pytest.approx(((0.9 - 0.5) + (0.7 - 0.6) + (0.5 - 0.3)) / 3)
    untrained = [0.9, 0.05, 0.1, 0.15]  # the first task's is not used
    assert forward_transfer(R, untrained) == pytest.approx(((0.1 - 0.05) + (0.1 - 0.1) + (0.2 - 0.15)) / 3)
    joint = [0.9, 0.8, 0.7, 0.8]
    assert intransigence(R, joint) == pytest.approx(((0.9 - 0.8) + (0.8 - 0.7) + (0.7 - 0.5) + (0.8 - 0.9)) / 4)
    assert recovered(0.6, finetune=0.4, joint=0.9) == pytest.approx(0.4)


def test_a_task_that_got_better_later_is_negative_forgetting() -> None:
    assert forgetting([[0.2, 0.0], [0.5, 0.5]]) == pytest.approx(-0.3)
    assert backward_transfer([[0.2, 0.0], [0.5, 0.5]]) == pytest.approx(0.3)


def test_forgetting_does_not_count_scores_from_before_a_task_was_learnt() -> None:
    assert forgetting([[0.5, 0.99, 0.0], [0.5, 0.4, 0.0], [0.5, 0.4, 0.3]]) == 0


def test_summary_holds_every_metric() -> None:
    got = summary(R, [0.0, 0.0, 0.0, 0.0], joint=[0.9, 0.8, 0.7, 0.8], finetune=0.3)
    assert got == {
        "average": average(R),
        "backward_transfer": backward_transfer(R),
        "forgetting": forgetting(R),
        "forward_transfer": forward_transfer(R, [0.0, 0.0, 0.0, 0.0]),
        "intransigence": intransigence(R, [0.9, 0.8, 0.7, 0.8]),
        "recovered": recovered(average(R), finetune=0.3, joint=0.8),
    }
    assert all(isinstance(value, float) for value in got.values())
    assert all(definition(name) for name in got)


def test_lists_arrays_and_tensors_are_alike() -> None:
    b = [0.1, 0.2, 0.3, 0.4]
    expected = summary(R, b, joint=b, finetune=0.1)
    array, tensor = np.array(b), torch.tensor(b, dtype=torch.float64)
    assert summary(np.array(R), array, joint=array, finetune=0.1) == expected
    assert summary(torch.tensor(R, dtype=torch.float64), tensor, joint=tensor, finetune=0.1) == expected


def test_one_task_has_no_transfer_and_no_forgetting() -> None:
    assert summary([[0.5]], [0.1], joint=[0.75], finetune=0.25) == {
        "average": 0.5,
        "backward_transfer": None,
        "forgetting": None,
        "forward_transfer": None,
        "intransigence": 0.25,
        "recovered": 0.5,
    }


@pytest.mark.parametrize("gap", [None, NAN])
def test_joint_has_only_its_last_row(gap: float | None) -> None:
    matrix: list[list[float | None]] = [[gap, gap, gap], [gap, gap, gap], [0.5, 0.6, 0.7]]
    got = summary(matrix, [0.0, 0.0, 0.0], joint=[0.5, 0.6, 0.7])
    assert got.pop("average") == pytest.approx(0.6)
    assert set(got.values()) == {None}
    with pytest.raises(ValueError, match=r"\(T, T\)"):
        summary([[0.5, 0.6], [0.5, 0.6], [0.5, 0.6]])


def test_a_gap_only_hides_the_metrics_that_need_it() -> None:
    def without(i: int, j: int) -> list[list[float | None]]:
        matrix: list[list[float | None]] = [list(line) for line in R]
        matrix[i][j] = None
        return matrix

    b = [0.0] * 4

    def missing(i: int, j: int) -> set[str]:
        got = summary(without(i, j), b, joint=[0.9] * 4, finetune=0.1)
        return {name for name, value in got.items() if value is None}

    assert missing(0, 3) == set()
    assert missing(0, 1) == {"forward_transfer"}
    assert missing(2, 0) == {"forgetting"}
    assert missing(1, 1) == {"backward_transfer", "forgetting", "intransigence"}
    assert missing(3, 3) == {"average", "intransigence", "recovered"}
    assert missing(3, 0) == {"average", "backward_transfer", "forgetting", "recovered"}
    assert forward_transfer(R, [None, 0.1, 0.1, 0.1]) is not None
    assert forward_transfer(R, [0.1, None, 0.1, 0.1]) is None
    assert forward_transfer(R, None) is None
    assert intransigence(R, None) is None
    assert intransigence(R, [0.9, None, 0.9, 0.9]) is None


def test_recovered_is_none_where_there_is_nothing_to_recover() -> None:
    assert recovered(0.5, finetune=0.5, joint=0.5) is None
    assert recovered(0.9, finetune=0.500, joint=0.505) is None
    assert recovered(0.5, finetune=0.6, joint=0.4) is None  # joint is no upper bound here
    assert recovered(0.5, finetune=0.4, joint=0.405, smallest_gap=0.001) == pytest.approx(20)
    assert recovered(0.3, finetune=0.4, joint=0.6) == pytest.approx(-0.5)
    for missing in ((None, 0.1, 0.5), (0.2, None, 0.5), (0.2, 0.1, None), (NAN, 0.1, 0.5), (0.2, NAN, 0.5)):
        assert recovered(missing[0], finetune=missing[1], joint=missing[2]) is None


def test_wrong_shapes_are_refused() -> None:
    for matrix in ([], [[0.1, 0.2]], np.zeros((2, 2, 2))):
        with pytest.raises(ValueError, match=r"\(T, T\)"):
            average(matrix)
    with pytest.raises(ValueError, match="each of the 4 tasks"):
        forward_transfer(R, [0.1])
    with pytest.raises(ValueError, match="each of the 4 tasks"):
        intransigence(R, [0.1] * 5)


@given(
    st.integers(2, 6).flatmap(
        lambda t: st.lists(st.lists(st.floats(0, 1), min_size=t, max_size=t), min_size=t, max_size=t)
    )
)
def test_equals_plain_loops_and_keeps_bounds(matrix: list[list[float]]) -> None:
    tasks = len(matrix)
    last = matrix[-1]
    bwt = sum(last[j] - matrix[j][j] for j in range(tasks - 1)) / (tasks - 1)
    lost = sum(max(matrix[i][j] for i in range(j, tasks - 1)) - last[j] for j in range(tasks - 1)) / (tasks - 1)
    ahead = sum(matrix[j - 1][j] - 0.25 for j in range(1, tasks)) / (tasks - 1)
    got = summary(matrix, [0.25] * tasks)
    assert got["average"] == pytest.approx(math.fsum(last) / tasks, abs=1e-12)
    assert got["backward_transfer"] == pytest.approx(bwt, abs=1e-12)
    assert got["forgetting"] == pytest.approx(lost, abs=1e-12)
    assert got["forward_transfer"] == pytest.approx(ahead, abs=1e-12)
    assert got["forgetting"] is not None
    assert got["backward_transfer"] is not None
    assert got["forgetting"] >= -got["backward_transfer"] - 1e-12  # the best is at least the score when learnt
    assert -1 <= got["forgetting"] <= 1


def test_examples_in_docstrings() -> None:
    result = doctest.testmod(lifelong)
    assert result.attempted >= 8
    assert result.failed == 0
