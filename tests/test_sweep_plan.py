"""The plan of a sweep: methods, grids, choices and orders of tasks."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_run import small_config, small_data

from mas_triplets.config import make_config
from mas_triplets.data.splits import read_split
from mas_triplets.errors import UserError
from mas_triplets.lifelong import tuned_keys
from mas_triplets.sweep import Method, SweepPlan, make_plan, parse_grids
from mas_triplets.sweep.choice import Numbers, Tried, choose, edge_sentences, edges
from mas_triplets.sweep.grid import settings_tried, shared_budget
from mas_triplets.sweep.methods import parse_methods
from mas_triplets.sweep.orders import make_orders, permutation
from mas_triplets.sweep.summary import final_rows

# Methods


def test_a_method_is_a_strategy_with_settings_and_a_label() -> None:
    texts = ["mas,mas+lwf", "ewc:lifelong.root=true:lifelong.accumulate=decay", "soft=mas:model.hidden=[6,6],joint"]
    assert parse_methods(texts) == (
        Method("mas", "mas"),
        Method("mas+lwf", "mas+lwf"),
        Method("ewc-root-true-accumulate-decay", "ewc", ("lifelong.root=true", "lifelong.accumulate=decay")),
        Method("soft", "mas", ("model.hidden=[6,6]",)),
        Method("joint", "joint"),
    )
    assert parse_methods(["x=mas:model.image.trainable=last: 2"])[0].settings == ("model.image.trainable=last: 2",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mass", "did you mean 'mas'"),
        ("mas+ewc", "take one of them"),
        ("mas:shuffled", "cannot be read: a method is STRATEGY"),
        ("mas:lifelong.contrl=shuffled", "did you mean 'lifelong.control'"),
        ("mas:seed=3", "'seed' is the same for all methods of a sweep: set it with --set"),
        ("mas,mas", "two methods are called 'mas': name each once, or give one a label"),
        ("a/b=mas", "'a/b' cannot name a folder"),
        (",", "a sweep needs methods: name them with --methods"),
    ],
)
def test_a_wrong_method_is_told(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says.replace("[", r"\[")):
        parse_methods([text])


# Grids


def settings_of(plan: SweepPlan) -> dict[str, tuple[dict[str, Any], ...]]:
    return {candidate.method.label: candidate.settings for candidate in plan.candidates}


def test_every_method_tries_equally_many_settings(tmp_path: Path) -> None:
    config = make_config(small_config(tmp_path))
    methods = ["mas", "l2", "lwf", "mas+lwf", "finetune", "joint", "fixed=mas:lifelong.strength=2"]
    plan = make_plan(config, methods)
    tried = settings_of(plan)
    assert {label: len(found) for label, found in tried.items()} == {
        **dict.fromkeys(("mas", "l2", "lwf", "mas+lwf"), 6),
        **dict.fromkeys(("finetune", "joint", "fixed"), 1),
    }
    assert [setting["lifelong.strength"] for setting in tried["mas"]] == list(tuned_keys("mas")["lifelong.strength"])
    assert set(tried["mas+lwf"][0]) == set(tuned_keys("mas+lwf"))
    assert tried["finetune"] == ({},)
    assert plan.notes[-1] == "each method that has something to choose tries 6 settings"


def test_a_grid_replaces_that_of_the_methods_that_use_it(tmp_path: Path) -> None:
    config = make_config(small_config(tmp_path))
    given = parse_grids(["lifelong.strength=10,0.1,1"])
    tried = settings_of(plan := make_plan(config, ["mas", "lwf", "mas+lwf", "finetune"], grids=given))
    assert [setting["lifelong.strength"] for setting in tried["mas"]] == [0.1, 1, 10]
    lwf = tuned_keys("lwf")["lifelong.distillation"]
    values = [setting["lifelong.distillation"] for setting in tried["lwf"]]
    assert len(values) == 3
    assert (values[0], values[-1]) == (lwf[0], lwf[-1])
    assert len(tried["mas+lwf"]) == 3
    assert tried["finetune"] == ({},)
    assert "tries 3 settings (--budget is 6, but one of them has no more)" in plan.notes[-1]


def test_another_key_is_chosen_for_all_that_take_steps(tmp_path: Path) -> None:
    config = make_config(small_config(tmp_path))
    methods = ["finetune", "mas", "analytic", "mine=l2:train.learning_rate=1.0e-3"]
    given = parse_grids(["train.learning_rate=1e-3,1e-2", "lifelong.strength=1"])
    tried = settings_of(make_plan(config, methods, grids=given))
    assert tried["finetune"] == ({"train.learning_rate": 0.001}, {"train.learning_rate": 0.01})
    assert [list(setting) for setting in tried["mas"]] == [["lifelong.strength", "train.learning_rate"]] * 2
    assert [list(setting) for setting in tried["analytic"]] == [["lifelong.ridge"]] * 2
    assert tried["mine"] == ({"lifelong.strength": 1.0},)


@pytest.mark.parametrize("sizes", [(6, 6), (2, 4), (3, 3, 3), (1, 7), (10, 2)])
@pytest.mark.parametrize("budget", [1, 2, 6, 7])
def test_several_keys_are_tried_at_as_many_points_well_spread(sizes: tuple[int, ...], budget: int) -> None:
    grids = {f"key{number}": tuple(range(size)) for number, size in enumerate(sizes)}
    found = settings_tried(grids, shared_budget([grids], budget))
    assert found == settings_tried(grids, shared_budget([grids], budget))
    points = [tuple(setting.values()) for setting in found]
    assert points == sorted(set(points))
    assert len(points) == min(budget, int(np.prod(sizes)))
    if len(points) == 6 and max(sizes) <= 6 and min(sizes) > 2:  # each value about equally often, no two points close
        for place, size in enumerate(sizes):
            counts = np.bincount([point[place] for point in points], minlength=size)
            assert counts.max() - counts.min() <= 1
    if sizes == (6, 6) and budget == 6:
        gaps = [np.abs(np.subtract(a, b)) for a, b in combinations(points, 2)]
        assert min(float(np.sqrt((gap**2).sum())) for gap in gaps) >= np.sqrt(5)


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["lifelong.strength"], "is not of the form key=v1,v2"),
        (["lifelong.strenght=1,2"], "did you mean 'lifelong.strength'"),
        (["seed=1,2"], "'seed' is the same for all methods"),
        (["lifelong.strength=1", "lifelong.strength=2"], "gives 'lifelong.strength' twice"),
        (["lifelong.strength=1,1.0"], "has the value 1.0 twice"),
        (["lifelong.strength=1,-1"], "'lifelong.strength' is -1"),
        (["lifelong.distillation=1,2"], "none of the methods mas, finetune has it to choose"),
    ],
)
def test_a_wrong_grid_is_told(tmp_path: Path, texts: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        make_plan(make_config(small_config(tmp_path)), ["mas", "finetune"], grids=parse_grids(texts))


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ({"orders": 0}, "--orders 1 or more"),
        ({"choose_orders": 6}, "on 1 to 5 of the 5 orders, not 6"),
        ({"budget": 0}, "--budget 1 or more"),
    ],
)
def test_a_wrong_number_is_told(tmp_path: Path, numbers: dict[str, int], says: str) -> None:
    with pytest.raises(UserError, match=says):
        make_plan(make_config(small_config(tmp_path)), ["mas"], **numbers)  # type: ignore[arg-type]


# Choosing


def tried(strength: float, *runs: tuple[float, float]) -> Tried:
    return Tried({"lifelong.strength": strength}, tuple(Numbers(own, every, 0.0, 0.5) for own, every in runs))


def test_the_best_mean_of_both_numbers_over_orders_is_chosen() -> None:
    found = [
        tried(1, (0.5, 0.25), (0.25, 0.25)),  # 0.375 and 0.25: 0.3125
        tried(3, (0.5, 0.5), (0.25, 0.25)),  # 0.5 and 0.25: 0.375
        tried(10, (0.25, 0.5), (0.5, 0.25)),  # 0.375 twice: 0.375, and its strength is larger
    ]
    assert [one.score for one in found] == [0.3125, 0.375, 0.375]
    assert choose(found).setting == {"lifelong.strength": 3}
    assert found[1].to_dict() == {
        "setting": {"lifelong.strength": 3},
        "score": 0.375,
        "score_sd": pytest.approx(0.125 * 2**0.5),
        "average": 0.375,
        "average_sd": pytest.approx(0.125 * 2**0.5),
        "all": 0.375,
        "all_sd": pytest.approx(0.125 * 2**0.5),
        "forgetting": 0.0,
        "forgetting_sd": 0.0,
        "plasticity": 0.5,
        "plasticity_sd": 0.0,
        "runs": 2,
    }


def test_a_choice_at_the_end_of_its_grid_is_told() -> None:
    found = [tried(value, (0.5, 0.5)) for value in (1, 3, 30.0)]
    assert [edges(one.setting, found) for one in found] == [
        {"lifelong.strength": "smallest"},
        {},
        {"lifelong.strength": "largest"},
    ]
    said = edge_sentences(found[2].setting, edges(found[2].setting, found))
    assert said == ["the best lifelong.strength, 30, is the largest tried"]
    words = [Tried({"train.optimiser": name}, ()) for name in ("adam", "sgd")]
    assert edges(words[0].setting, words) == {}


def test_recovered_is_worked_out_within_each_order() -> None:
    averages = {"finetune": (0.2, 0.4), "mas": (0.4, 0.5), "joint": (0.6, 0.8)}
    runs = {
        label: {k: Numbers(value, 0.0, None, None) for k, value in enumerate(values)}
        for label, values in averages.items()
    }
    methods = [Method(label, label) for label in averages]
    rows = final_rows(methods, {label: {} for label in averages}, runs)
    assert [row["method"] for row in rows] == ["finetune", "mas", "joint"]
    assert [share["recovered"] for share in rows[1]["by_order"]] == [pytest.approx(0.5), pytest.approx(0.25)]
    assert rows[1]["recovered"] == pytest.approx(0.375)
    assert rows[1]["average"] == pytest.approx(0.45)
    assert rows[1]["forgetting"] is None


# Orders


def test_orders_are_new_splits_or_the_same_tasks_in_other_orders(tmp_path: Path) -> None:
    dataset = small_data(tmp_path)
    split = read_split(dataset, "two")
    anew = make_orders(dataset, split, (3, 4), "split")
    assert [(one.name, one.seed, len(one.tasks)) for one in anew] == [("two-order3", 3, 2), ("two-order4", 4, 2)]
    permuted = make_orders(dataset, split, (0, 1), "order")
    assert [one.tasks for one in permuted] == [split.tasks, split.tasks[::-1]]
    assert permuted[0].parameters == permuted[1].parameters == {"order_of": "two"}
    with pytest.raises(UserError, match="have 2 orders, fewer than the 3 asked for"):
        make_orders(dataset, split, (0, 1, 2), "order")
    assert len({permutation(4, number) for number in range(5, 29)}) == 24
    assert len({permutation(9, number) for number in range(50)}) == 50
