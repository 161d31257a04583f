"""Sweeps: every method chooses among equally many settings, no run is done twice, and each is the run alone."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_run import small_config, small_data
from test_cli import Done, run

from mas_triplets.config import RunConfig, flat_values, load_config, make_config
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.splits import Split, make_split, read_split, write_split
from mas_triplets.errors import Stopped, UserError
from mas_triplets.evaluation.run import evaluate
from mas_triplets.files import locked
from mas_triplets.sweep import jobs, make_plan, sweep
from mas_triplets.training.run import train


def told(done: Done) -> str:
    """What a command told on standard error, on one line."""
    return " ".join(done.stderr.split())


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
    done = run(*command, "--json", cwd=tmp_path)
    out, err = done.stdout, told(done)
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
    done = run(*command, cwd=tmp_path)
    shown, err = done.stdout, told(done)
    assert "0 of" not in err
    assert f"the {ends[chosen]} strength tried" in " ".join(shown.split())
    assert "own-task mAP" in shown
    err = told(run("sweep", "config.yaml", "--methods", "mass", "--out", "new", cwd=tmp_path, code=2))
    assert "did you mean 'mas'" in err
    err = told(run(*command, "--vary", "spilt", cwd=tmp_path, code=2))
    assert "did you mean 'split'" in err


def test_a_failing_process_stops_the_others(tmp_path: Path, config: RunConfig) -> None:
    plan = make_plan(config, ["joint", "loud=joint:train.learning_rate=1.0e+30"], orders=2)
    with pytest.raises(UserError, match=r"^final/loud/order-\d: the loss is"):
        sweep(plan, tmp_path / "sweep", processes=2)
    assert flat_values(plan.config)["train.threads"] == 1
    assert (tmp_path / "sweep" / "sweep.json").is_file()


def test_two_sweeps_do_not_work_in_one_folder(tmp_path: Path, config: RunConfig) -> None:
    with locked(tmp_path / "sweep", "a sweep"), pytest.raises(UserError, match="another sweep is at work in"):
        sweep(make_plan(config, ["finetune"], orders=1), tmp_path / "sweep", processes=1)


def test_processes_end_with_whoever_gave_them_runs(tmp_path: Path) -> None:
    """Killed, a sweep must not leave a process that trains into a folder where the next one trains too."""
    script = tmp_path / "giver.py"
    script.write_text(
        "import os, signal\n"
        "from mas_triplets.sweep.workers import _begin\n"
        "if __name__ == '__main__':\n"
        "    worker = _begin()\n"
        "    worker.connection.recv()  # it is ready\n"
        "    print(worker.process.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=120)
    worker = int(done.stdout)
    for _ in range(100):
        if not Path(f"/proc/{worker}").exists():
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the process goes on")
