"""Sweeps: every method chooses among equally many settings, no run is done twice, and each is the run alone."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from small_run import small_config, small_data

from mas_triplets.__main__ import main
from mas_triplets.config import RunConfig, flat_values, load_config, make_config
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.splits import Split, make_split, read_split, write_split
from mas_triplets.errors import Stopped, UserError
from mas_triplets.evaluation.run import evaluate
from mas_triplets.lifelong import tuned_keys
from mas_triplets.sweep import Method, SweepPlan, jobs, make_plan, parse_grids, sweep
from mas_triplets.sweep.choice import Numbers, Tried, choose, edge_sentences, edges
from mas_triplets.sweep.grid import settings_tried, shared_budget
from mas_triplets.sweep.methods import parse_methods
from mas_triplets.sweep.orders import make_orders, permutation
from mas_triplets.sweep.summary import final_rows
from mas_triplets.training.run import train


def run(*arguments: object, cwd: Path, code: int = 0) -> tuple[str, str]:
    """Run the command line in this process, and return what it printed."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["mas-triplets", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == code, f"{arguments}: {out.getvalue()}\n{err.getvalue()}"
    return out.getvalue(), " ".join(err.getvalue().split())


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """Of a run on small data."""
    small_data(tmp_path)
    return make_config(small_config(tmp_path))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that are trained in this process."""
    names: list[str] = []

    def counting(job: jobs.Job) -> float:
        names.append(job.name)
        return jobs.perform(job)

    monkeypatch.setattr("mas_triplets.sweep.workers.perform", counting)
    return names


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the page, which takes longer than the runs."""
    monkeypatch.setattr("mas_triplets.sweep.carry_out.compare", lambda runs, out, **options: {})


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


def by_hand(dataset: PreparedDataset) -> Split:
    split = make_split("hand", "file", 0, {"tasks": 2}, [np.array([0, 2, 4]), np.array([1, 3, 5])])
    write_split(dataset, split)
    return split


@pytest.mark.usefixtures("no_page")
def test_a_split_from_a_file_is_permuted(tmp_path: Path, config: RunConfig, trained: list[str]) -> None:
    dataset = PreparedDataset.open(config.data.path)
    tasks = by_hand(dataset).tasks
    config = make_config(small_config(tmp_path, data__split="hand", seed=1))
    found = sweep(make_plan(config, ["finetune"], orders=2), tmp_path / "sweep", processes=1)
    assert [order["split"] for order in found["plan"]["orders"]] == ["hand-order1", "hand-order2"]
    assert {read_split(dataset, f"hand-order{number}").tasks for number in (1, 2)} == {tasks, tasks[::-1]}
    with pytest.raises(UserError, match="'file', which is not drawn anew for each order: use --vary order"):
        sweep(make_plan(config, ["finetune"], vary="split"), tmp_path / "other", processes=1)


# Whole sweeps


def test_nothing_is_done_twice_and_every_run_is_the_run_alone(
    tmp_path: Path, config: RunConfig, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "sweep"
    methods = ["mas", "finetune", "joint"]
    plan = make_plan(config, methods, orders=2, choose_orders=1, grids={"lifelong.strength": (1, 100)})
    found = sweep(plan, out, processes=1)
    trials = [f"choose/mas/lifelong.strength={value}/order-0" for value in (1, 100)]
    finals = [f"final/{label}/order-{number}" for label in methods for number in (0, 1)]
    first_tasks = [name for name in trained if name.startswith("first-task/")]
    assert sorted(set(trained) - set(first_tasks)) == sorted(trials + finals)
    assert len(trained) == len(set(trained))
    assert len(first_tasks) == 2  # the same for trials and final runs, which learn from the same parts here
    assert {path.name for path in (out / trials[0]).iterdir()} == {"config.yaml", "run.json", "results.json"}
    assert (out / finals[0] / "tasks" / "02" / "model.safetensors").is_file()
    for name in (trials[0], finals[0], finals[1], finals[3], finals[5]):
        alone = load_config(out / name / "config.yaml")
        assert alone.evaluation.part == ("val" if name in trials else "test")
        evaluate(train(alone, tmp_path / "alone" / name))
        mine, theirs = (place / name / "results.json" for place in (out, tmp_path / "alone"))
        assert mine.read_bytes() == theirs.read_bytes()
    assert json.loads((out / "sweep.json").read_text()) == found
    best = found["choices"]["mas"]["setting"]
    assert load_config(out / finals[1] / "config.yaml").lifelong.strength == best["lifelong.strength"]
    assert [len(row["orders"]) for row in found["final"]] == [2, 2, 2]
    assert "best " in (out / "report.html").read_text()

    done = list(trained)
    monkeypatch.setattr("mas_triplets.sweep.carry_out.compare", lambda runs, out, **options: {})  # the page is made
    again = sweep(plan, out, processes=1)
    assert trained == done
    assert again["final"] == found["final"]

    wider = make_plan(config, methods, orders=2, choose_orders=1, grids={"lifelong.strength": (1, 10, 100)})
    found = sweep(wider, out, processes=1)
    new = trained[len(done) :]
    assert new[0] == "choose/mas/lifelong.strength=10/order-0"
    changed = found["choices"]["mas"]["setting"] != best
    assert new[1:] == (finals[:2] if changed else [])


@pytest.mark.usefixtures("no_page")
def test_an_earlier_choice_is_replaced_and_another_run_is_not(
    tmp_path: Path, config: RunConfig, trained: list[str]
) -> None:
    out = tmp_path / "sweep"
    sweep(make_plan(config, ["mas"], orders=1, grids={"lifelong.strength": (3,)}), out, processes=1)
    del trained[:]
    found = sweep(make_plan(config, ["mas"], orders=1, grids={"lifelong.strength": (5,)}), out, processes=1)
    assert trained == ["final/mas/order-0"]
    assert load_config(out / "final/mas/order-0/config.yaml").lifelong.strength == 5
    assert found["choices"]["mas"] == {"setting": {"lifelong.strength": 5.0}, "edges": {}, "tried": []}
    del trained[:]
    other = make_config(small_config(tmp_path, train__epochs=2))
    with pytest.raises(
        UserError, match=r"order-0 holds a run with another train.epochs \(1 there, 2 now\): choose ano"
    ):
        sweep(make_plan(other, ["mas"], orders=1), out, processes=1)
    assert not trained
    shutil.copytree(out, tmp_path / "moved")
    (tmp_path / "moved" / "sweep.json").unlink()
    with pytest.raises(UserError, match="exists and is not a sweep: choose another --out, nothing was written"):
        sweep(make_plan(config, ["mas"], orders=1), tmp_path / "moved", processes=1)


@pytest.mark.usefixtures("no_page")
def test_a_sweep_that_was_stopped_goes_on(
    tmp_path: Path, config: RunConfig, trained: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan(config, ["l2", "finetune"], orders=1, grids={"lifelong.strength": (1, 10)})
    whole = sweep(plan, tmp_path / "whole", processes=1)
    expected = list(trained)
    del trained[:]
    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "evaluate", lambda run: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(Stopped, match="stopped after 0 of 4 runs: the same command goes on from there"):
            sweep(plan, out, processes=1)
    assert (out / "sweep.json").is_file()
    begun = trained[-1]
    assert not (out / begun / "results.json").exists()
    weights = (out / begun / "tasks" / "02" / "model.safetensors").stat()
    resumed: list[int] = []
    keep = jobs._keep

    def looked_at(folder: Path, names: frozenset[str]) -> None:
        if folder == out / begun:
            resumed.append((folder / "tasks" / "02" / "model.safetensors").stat().st_mtime_ns)
        keep(folder, names)

    monkeypatch.setattr(jobs, "_keep", looked_at)
    found = sweep(plan, out, processes=1)
    assert resumed == [weights.st_mtime_ns]  # what was learnt before is not learnt again
    assert found["final"] == whole["final"]
    assert sorted(trained) == sorted([*expected, begun])


def test_a_run_that_fails_is_named(tmp_path: Path, config: RunConfig) -> None:
    plan = make_plan(config, ["loud=finetune:train.learning_rate=1.0e+30"], orders=1)
    with pytest.raises(UserError, match=r"^first-task/order-0-\w+: the loss is .* lower train.learning_rate"):
        sweep(plan, tmp_path / "sweep", processes=1)
    with pytest.raises(UserError, match=r"set --processes 1 or more"):
        sweep(plan, tmp_path / "sweep", processes=0)


def test_a_task_that_cannot_be_judged_is_told_before_anything_is_learnt(
    tmp_path: Path, config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = PreparedDataset.open(config.data.path)
    parts = np.where(opened.image_part == 1, 0, opened.image_part)  # nothing is left for validation
    changed = dataclasses.replace(opened, image_part=parts)
    monkeypatch.setattr(PreparedDataset, "open", lambda path: changed)
    with pytest.raises(UserError, match="has no picture in the part 'val', by which settings are chosen"):
        sweep(make_plan(config, ["mas"], orders=1), tmp_path / "sweep", processes=1)
    assert not (tmp_path / "sweep").exists()


def test_the_command_prints_one_object(tmp_path: Path, config: RunConfig) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(small_config(tmp_path)))
    command = ["sweep", "config.yaml", "--methods", "l2,finetune,joint", "--orders", "1", "--out", "sweep"]
    command += ["--set-grid", "lifelong.strength=1,10", "--set", "train.batch_size=4", "--processes", "2"]
    out, err = run(*command, "--json", cwd=tmp_path)
    found = json.loads(out)
    assert found == json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert found["plan"]["config"]["train"]["batch_size"] == 4
    ends = {1.0: "smallest", 10.0: "largest"}
    chosen = found["choices"]["l2"]["setting"]["lifelong.strength"]
    assert found["choices"]["l2"]["edges"] == {"lifelong.strength": ends[chosen]}
    assert (
        f"l2: the best lifelong.strength, {chosen:g}, is the {ends[chosen]} tried; a better one may lie beyond" in err
    )
    assert "5 of 5 runs are left to do, 2 at a time" in err
    for name in ("choose/l2/lifelong.strength=1/order-0", "final/joint/order-0"):
        alone = load_config(tmp_path / "sweep" / name / "config.yaml")
        results = evaluate(train(alone, tmp_path / "alone" / name))
        assert json.loads((tmp_path / "sweep" / name / "results.json").read_text()) == json.loads(json.dumps(results))
    shown, err = run(*command, cwd=tmp_path)
    assert "0 of" not in err
    assert f"the {ends[chosen]} strength tried" in " ".join(shown.split())
    assert "own-task mAP" in shown
    _, err = run("sweep", "config.yaml", "--methods", "mass", "--out", "new", cwd=tmp_path, code=2)
    assert "did you mean 'mas'" in err
    _, err = run(*command, "--vary", "spilt", cwd=tmp_path, code=2)
    assert "did you mean 'split'" in err


def test_a_failing_process_stops_the_others(tmp_path: Path, config: RunConfig) -> None:
    plan = make_plan(config, ["joint", "loud=joint:train.learning_rate=1.0e+30"], orders=2)
    with pytest.raises(UserError, match=r"^final/loud/order-\d: the loss is"):
        sweep(plan, tmp_path / "sweep", processes=2)
    assert flat_values(plan.config)["train.threads"] == 1
    assert (tmp_path / "sweep" / "sweep.json").is_file()
