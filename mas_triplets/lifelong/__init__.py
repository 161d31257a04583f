"""Lifelong learning: per-sample statistics, importance, penalty, and one short file a method."""

from __future__ import annotations

from mas_triplets.lifelong.importance import estimate_importance
from mas_triplets.lifelong.methods import (
    STRATEGIES,
    closed_form,
    first_task_is_plain,
    make_strategy,
    merges_tasks,
    read_keys,
    tuned_keys,
    uses_strength,
)
from mas_triplets.lifelong.penalty import QuadraticPenalty
from mas_triplets.lifelong.strategy import Strategy
from mas_triplets.lifelong.task import Task

__all__ = [
    "STRATEGIES",
    "QuadraticPenalty",
    "Strategy",
    "Task",
    "closed_form",
    "estimate_importance",
    "first_task_is_plain",
    "make_strategy",
    "merges_tasks",
    "read_keys",
    "tuned_keys",
    "uses_strength",
]
