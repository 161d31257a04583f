"""Lifelong metrics as pure functions of the matrix R: R[i][j] = score on task j after learning task i, T x T.

An entry that was not measured is None or NaN (joint training has only its last row). A metric that needs such an entry,
or more tasks than there are, is None, never 0: a gap in the evidence is not a bad result. Scores may have any scale in
which higher is better; the differences have the same one. With three tasks, tasks and rows counted from 1:

    >>> R = [[0.75, 0.25, 0.00],
    ...      [0.50, 0.75, 0.25],
    ...      [0.25, 0.50, 1.00]]
    >>> for name, value in summary(R, untrained=[0, 0, 0.125], joint=[1, 0.75, 1], finetune=0.25).items():
    ...     print(name, round(value, 12))
    average 0.583333333333
    backward_transfer -0.375
    forgetting 0.375
    forward_transfer 0.1875
    intransigence 0.083333333333
    recovered 0.5

The sources are Lopez-Paz and Ranzato 2017 (GEM, equations 2 to 4) for average,
backward and forward transfer, Chaudhry et al. 2018 (RWalk, section 3) for forgetting and intransigence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Scores: TypeAlias = Sequence[float | None] | NDArray[np.floating] | Tensor
"""One score per task, (T,); None or NaN where not measured."""
Matrix: TypeAlias = Sequence[Sequence[float | None]] | NDArray[np.floating] | Tensor
"""R, (T, T); None or NaN where not measured."""

SMALLEST_GAP = 0.01
"""Least lead of joint over finetune that `recovered` divides by: one point of mAP, about what seeds differ by."""


def average(matrix: Matrix) -> float | None:
    """Return mean_j R[T,j], the score after the last task, mean over tasks.

    >>> round(average([[0.8, 0.1], [0.6, 0.7]]), 12)
    0.65
    """
    return _mean(_matrix(matrix)[-1])


def backward_transfer(matrix: Matrix) -> float | None:
    """Return 1/(T-1) sum_{j<T} (R[T,j] - R[j,j]): negative where later tasks harmed earlier ones. None for T = 1.

    >>> round(backward_transfer([[0.8, 0.1], [0.6, 0.7]]), 12)
    -0.2
    """
    R = _matrix(matrix)
    return _mean(R[-1, :-1] - np.diagonal(R)[:-1])


def forgetting(matrix: Matrix) -> float | None:
    """Return 1/(T-1) sum_{j<T} (max_{j<=i<T} R[i,j] - R[T,j]): the loss from each task's best. None for T = 1.

    Negative only if every earlier score was lower than the last one.

    >>> round(forgetting([[0.5, 0.0, 0.0], [0.9, 0.6, 0.0], [0.4, 0.7, 0.8]]), 12)   # (0.9 - 0.4 + 0.6 - 0.7) / 2
    0.2
    """
    R = _matrix(matrix)
    best = [R[j:-1, j].max() for j in range(len(R) - 1)]  # a NaN among them stays a NaN
    return _mean(np.array(best) - R[-1, :-1])


def forward_transfer(matrix: Matrix, untrained: Scores | None) -> float | None:
    """Return 1/(T-1) sum_{j>1} (R[j-1,j] - b_j): what earlier tasks taught about one not seen yet. None for T = 1.

    `untrained` is b, (T,): the score on each task of the model before any training; None gives None.

    >>> round(forward_transfer([[0.8, 0.1], [0.6, 0.7]], untrained=[0.02, 0.04]), 12)
    0.06
    """
    R = _matrix(matrix)
    if untrained is None:
        return None
    return _mean(np.diagonal(R, offset=1) - _row(untrained, len(R))[1:])


def intransigence(matrix: Matrix, joint: Scores | None) -> float | None:
    """Return mean_j (R_joint[j] - R[j,j]): how much worse a task is learnt in its turn than together with all.

    `joint` is (T,): the last row of joint training's matrix; None gives None.

    >>> round(intransigence([[0.8, 0.1], [0.6, 0.7]], joint=[0.9, 0.8]), 12)
    0.1
    """
    R = _matrix(matrix)
    if joint is None:
        return None
    return _mean(_row(joint, len(R)) - np.diagonal(R))


def recovered(
    average: float | None,
    finetune: float | None,
    joint: float | None,
    *,
    smallest_gap: float = SMALLEST_GAP,
) -> float | None:
    """Return (average - finetune's) / (joint's - finetune's): 0 = no better than finetune, 1 = as good as joint.

    The three are averages after the last task. It may leave [0, 1]. None where one is missing, and where joint does
    not lead finetune by `smallest_gap`: there is then nothing to recover, and the quotient would be noise.

    >>> recovered(0.5, finetune=0.25, joint=0.75)
    0.5
    >>> recovered(0.5, finetune=0.5, joint=0.501) is None
    True
    """
    method, low, high = (math.nan if value is None else float(value) for value in (average, finetune, joint))
    if not high - low >= smallest_gap:  # also where one is NaN
        return None
    return _mean([(method - low) / (high - low)])


def summary(
    matrix: Matrix,
    untrained: Scores | None = None,
    *,
    joint: Scores | None = None,
    finetune: float | None = None,
) -> dict[str, float | None]:
    """Return every metric of this module by name; None where it is not defined for what was given.

    Args:
        matrix: R, (T, T).
        untrained: b, (T,), for forward transfer.
        joint: the last row of joint training, (T,), for intransigence and recovered.
        finetune: the average of plain finetuning, for recovered.

    >>> summary([[0.75]])["average"], summary([[0.75]])["forgetting"]
    (0.75, None)
    """
    last = average(matrix)
    return {
        "average": last,
        "backward_transfer": backward_transfer(matrix),
        "forgetting": forgetting(matrix),
        "forward_transfer": forward_transfer(matrix, untrained),
        "intransigence": intransigence(matrix, joint),
        "recovered": recovered(last, finetune, None if joint is None else _mean(_array(joint))),
    }


def _mean(values: Iterable[float]) -> float | None:
    """Return the mean, exactly rounded; None where there are no values or one is not finite."""
    numbers = [float(value) for value in values]
    if not numbers or not all(math.isfinite(number) for number in numbers):
        return None
    return math.fsum(numbers) / len(numbers)


def _array(values: object) -> NDArray[np.float64]:
    return np.array(values.tolist() if isinstance(values, Tensor) else values, dtype=np.float64)  # None becomes NaN


def _matrix(matrix: Matrix) -> NDArray[np.float64]:
    R = _array(matrix)
    if R.ndim != 2 or R.shape[0] != R.shape[1] or not len(R):
        raise ValueError(f"R must be (T, T) with T >= 1 tasks, not {R.shape}")
    return R


def _row(values: Scores, tasks: int) -> NDArray[np.float64]:
    row = _array(values)
    if row.shape != (tasks,):
        raise ValueError(f"there must be one score for each of the {tasks} tasks, not shape {row.shape}")
    return row
