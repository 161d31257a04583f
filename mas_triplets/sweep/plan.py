"""The plan of a sweep: which methods, which settings of each, which orders of tasks; and the configuration of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mas_triplets.config import RunConfig, make_config
from mas_triplets.errors import UserError
from mas_triplets.sweep.grid import (
    Grids,
    Setting,
    as_setting,
    check_grids_used,
    grids_of,
    settings_tried,
    shared_budget,
)
from mas_triplets.sweep.methods import Method, parse_methods
from mas_triplets.sweep.orders import Vary

BUDGET = 6
"""Settings that each method tries, unless it is said otherwise."""


@dataclass(frozen=True)
class Candidate:
    """A method and what is tried of it.

    Attributes:
        method: the method.
        grids: key -> its values.
        settings: the settings that are tried, the smallest values first; a single one is taken without a trial.
    """

    method: Method
    grids: dict[str, tuple[Any, ...]] = field(hash=False)
    settings: tuple[Setting, ...] = field(hash=False)

    @property
    def chooses(self) -> bool:
        """Whether there is anything to choose."""
        return len(self.settings) > 1


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep does. `make_plan` makes one.

    Attributes:
        config: what all runs begin from.
        candidates: the methods.
        orders: numbers of the orders of tasks, each also the seed of its runs.
        choose_orders: those of them on which settings are chosen.
        budget: settings that each method tries.
        vary: whether an order is another split or the same tasks in another order; None: as the split suggests.
        notes: sentences that a reader should be told.
    """

    config: RunConfig
    candidates: tuple[Candidate, ...]
    orders: tuple[int, ...]
    choose_orders: tuple[int, ...]
    budget: int
    vary: Vary | None = None
    notes: tuple[str, ...] = ()


def make_plan(
    config: RunConfig,
    methods: Sequence[str | Method],
    *,
    orders: int = 5,
    choose_orders: int | None = None,
    grids: Grids | None = None,
    budget: int = BUDGET,
    vary: Vary | None = None,
) -> SweepPlan:
    """Plan a sweep.

    Args:
        config: what all runs begin from; its seed is the number of the first order. Runs have one thread each unless
            it says otherwise.
        methods: as texts such as `mas` or `shuffled=mas:lifelong.control=shuffled`, or as `Method`.
        orders: how many orders of tasks.
        choose_orders: on how many of them settings are chosen; None: on all.
        grids: key -> values to try in place of the method's own; another key is chosen for all it means something to.
        budget: settings that a method tries at most; all try as many as the one with the fewest.
        vary: `split` or `order`: see `make_orders`; None: as the split suggests.

    Raises:
        UserError: a name, key, value or number is wrong.
    """
    texts = [method for method in methods if isinstance(method, str)]
    made = parse_methods(texts) if len(texts) == len(methods) else tuple(_all_methods(methods))
    if orders < 1:
        raise UserError(f"a sweep needs at least one order of tasks, not {orders}: set --orders 1 or more")
    chosen_on = orders if choose_orders is None else choose_orders
    if not 1 <= chosen_on <= orders:
        raise UserError(
            f"settings are chosen on 1 to {orders} of the {orders} orders, not {chosen_on}: --choose-orders"
        )
    if budget < 1:
        raise UserError(f"a method tries at least one setting, not {budget}: set --budget 1 or more")
    given = grids or {}
    check_grids_used(made, given)
    notes = []
    if config.train.threads is None:
        config = make_config(config.model_dump(mode="json"), ["train.threads=1"])
        notes.append("each run has one thread (train.threads=1): runs side by side use the processors")
    of_each = [grids_of(method, config, given) for method in made]
    shared = shared_budget(of_each, budget)
    candidates = tuple(
        Candidate(method, found, tuple(settings_tried(found, shared)))
        for method, found in zip(made, of_each, strict=True)
    )
    if any(candidate.chooses for candidate in candidates):
        few = f" (--budget is {budget}, but one of them has no more)" if shared < budget else ""
        notes.append(f"each method that has something to choose tries {shared} settings{few}")
    numbers = tuple(range(config.seed, config.seed + orders))
    plan = SweepPlan(config, candidates, numbers, numbers[:chosen_on], shared, vary, tuple(notes))
    for candidate in candidates:  # a wrong value is told before anything is written
        for setting in candidate.settings:
            run_config(plan, candidate.method, setting, numbers[0], config.data.split, choosing=False)
    return plan


def _all_methods(methods: Sequence[str | Method]) -> list[Method]:
    found: list[Method] = []
    for method in methods:
        found += parse_methods([method]) if isinstance(method, str) else [method]
    labels = [method.label for method in found]
    if len(set(labels)) < len(labels):
        raise UserError(f"two methods have one label among {', '.join(labels)}: give each its own")
    return found


def run_config(
    plan: SweepPlan, method: Method, setting: Setting, number: int, split: str, *, choosing: bool
) -> RunConfig:
    """Return the configuration of one run.

    Args:
        plan: the sweep.
        method: the method.
        setting: what is tried, or was chosen.
        number: of the order, and seed.
        split: name of the order's split.
        choosing: whether it learns from the training part alone and is judged on the validation part.
    """
    parts = ["data.train_parts=[train]", "evaluation.part=val"] if choosing else []
    return make_config(
        plan.config.model_dump(mode="json"),
        [
            as_setting("lifelong.strategy", method.strategy),
            *method.settings,
            *(as_setting(key, value) for key, value in setting.items()),
            as_setting("seed", number),
            as_setting("data.split", split),
            *parts,
        ],
        where=f"method '{method.label}'",
    )
