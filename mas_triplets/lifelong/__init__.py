"""Lifelong learning: per-sample statistics, importance, penalty, and one short file a method."""

from __future__ import annotations

from mas_triplets.config import LifelongConfig
from mas_triplets.errors import unknown
from mas_triplets.lifelong.importance import estimate_importance
from mas_triplets.lifelong.l2 import L2
from mas_triplets.lifelong.mas import MemoryAwareSynapses
from mas_triplets.lifelong.penalty import QuadraticPenalty
from mas_triplets.lifelong.strategy import Joint, Strategy
from mas_triplets.lifelong.zero_shot import ZeroShot

STRATEGIES: dict[str, type[Strategy]] = {
    kind.name: kind for kind in (Strategy, ZeroShot, Joint, L2, MemoryAwareSynapses)
}
"""Methods by the name used in a configuration."""


def make_strategy(config: LifelongConfig) -> Strategy:
    """Build the method that `config.strategy` names.

    Raises:
        UserError: the name is unknown.
    """
    if config.strategy not in STRATEGIES:
        raise unknown("lifelong.strategy", config.strategy, STRATEGIES)
    return STRATEGIES[config.strategy](config)


__all__ = ["STRATEGIES", "QuadraticPenalty", "Strategy", "estimate_importance", "make_strategy"]
