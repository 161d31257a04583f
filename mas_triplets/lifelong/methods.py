"""The methods by name, alone or several at once (`mas+lwf`), and what is known of one by its name."""

from __future__ import annotations

from mas_triplets.config import LifelongConfig
from mas_triplets.errors import UserError, unknown
from mas_triplets.lifelong.analytic import Analytic
from mas_triplets.lifelong.averaging import WeightAveraging
from mas_triplets.lifelong.class_means import ClassMeans
from mas_triplets.lifelong.combined import Combined
from mas_triplets.lifelong.ewc import ElasticWeightConsolidation
from mas_triplets.lifelong.l2 import L2
from mas_triplets.lifelong.lwf import LearningWithoutForgetting
from mas_triplets.lifelong.mas import MemoryAwareSynapses
from mas_triplets.lifelong.merging import ImportanceMerging
from mas_triplets.lifelong.online import OnlineMemoryAwareSynapses
from mas_triplets.lifelong.quadratic import QuadraticStrategy
from mas_triplets.lifelong.replay import Replay
from mas_triplets.lifelong.si import SynapticIntelligence
from mas_triplets.lifelong.slow import Slow
from mas_triplets.lifelong.strategy import Frozen, Joint, Strategy
from mas_triplets.lifelong.zero_shot import ZeroShot

_ALL: tuple[type[Strategy], ...] = (
    Strategy,
    ZeroShot,
    Frozen,
    Joint,
    L2,
    MemoryAwareSynapses,
    OnlineMemoryAwareSynapses,
    ElasticWeightConsolidation,
    SynapticIntelligence,
    LearningWithoutForgetting,
    Replay,
    Slow,
    WeightAveraging,
    ImportanceMerging,
    Analytic,
    ClassMeans,
)
STRATEGIES: dict[str, type[Strategy]] = {kind.name: kind for kind in _ALL}
"""Methods by the name used in a configuration."""

_ALONE = (Strategy, ZeroShot, Joint, ClassMeans)


def parts(name: str) -> tuple[type[Strategy], ...]:
    """Return the methods that a name such as `mas`, or `mas+lwf`, stands for.

    Raises:
        UserError: one is unknown, named twice, or cannot go with the others.
    """
    names = name.split("+")
    for one in names:
        if one not in STRATEGIES:
            raise unknown("lifelong.strategy", one, STRATEGIES)
    found = tuple(STRATEGIES[one] for one in names)
    if len(found) == 1:
        return found
    if len(set(found)) < len(found):
        raise UserError(f"lifelong.strategy '{name}' names a method twice")
    alone = [kind.name for kind in found if kind in _ALONE]
    if alone:
        raise UserError(f"lifelong.strategy '{name}': '{alone[0]}' cannot be joined with another method")
    idle = [kind.name for kind in found if kind is not Frozen and not kind.closed_form]
    if Frozen in found and idle:
        raise UserError(f"lifelong.strategy '{name}': 'frozen' leaves '{idle[0]}' nothing to do after the first task")
    averaging = [kind.name for kind in found if kind in (WeightAveraging, ImportanceMerging)]
    if len(averaging) > 1:
        raise UserError(f"lifelong.strategy '{name}' would average the weights twice: take one of {averaging}")
    if OnlineMemoryAwareSynapses in found and averaging:
        raise UserError(f"lifelong.strategy '{name}': online-mas holds weights that '{averaging[0]}' changes: take one")
    holding = [kind.name for kind in found if issubclass(kind, QuadraticStrategy | ImportanceMerging)]
    if len(holding) > 1:
        raise UserError(
            f"lifelong.strategy '{name}': {' and '.join(holding)} each hold the weights by an importance of their own: "
            "take one of them"
        )
    return found


def make_strategy(config: LifelongConfig) -> Strategy:
    """Build the method that `config.strategy` names.

    Raises:
        UserError: the name is unknown, or the method must be told of tasks and `boundaries` is `none`.
    """
    kinds = parts(config.strategy)
    lost = [kind.name for kind in kinds if kind.needs_boundaries or kind.merges_tasks]
    if config.boundaries == "none" and lost:
        raise UserError(
            f"'{lost[0]}' must be told where a task ends, so it cannot learn with lifelong.boundaries=none: take "
            "online-mas, or set lifelong.boundaries=tasks"
        )
    settling = [kind.name for kind in kinds if kind.settles]
    if config.boundaries == "none" and settling and len(kinds) > 1:
        raise UserError(
            f"'{settling[0]}' changes what the others train when a task ends, so '{config.strategy}' cannot learn with "
            "lifelong.boundaries=none: take one of them, or set lifelong.boundaries=tasks"
        )
    made = [kind(config) for kind in kinds]
    return (
        made[0]
        if len(made) == 1
        else Combined(config, sorted(made, key=lambda one: (not one.settles, one.closed_form)))
    )


def merges_tasks(name: str) -> bool:
    """Return whether the method learns all tasks at once."""
    return any(kind.merges_tasks for kind in parts(name))


def closed_form(name: str) -> bool:
    """Return whether the method takes no steps of an optimiser."""
    return all(kind.closed_form for kind in parts(name))


def first_task_is_plain(config: LifelongConfig) -> bool:
    """Return whether the first task is learnt just as by finetune."""
    return config.boundaries == "tasks" and all(kind.first_task_is_plain for kind in parts(config.strategy))


def tuned_keys(name: str) -> dict[str, tuple[float, ...]]:
    """Return the keys of a configuration to choose on validation pictures, each with values worth trying."""
    return {key: values for kind in parts(name) for key, values in kind.tuned.items()}


def read_keys(name: str) -> frozenset[str]:
    """Return the keys of `lifelong` that mean anything to the method, such as `lifelong.strength`."""
    return frozenset({"lifelong.boundaries"} | {f"lifelong.{key}" for kind in parts(name) for key in kind.reads})


def uses_strength(name: str) -> bool:
    """Return whether `lifelong.strength` means anything to the method."""
    return "lifelong.strength" in tuned_keys(name)
