"""The verbs of a run: train, adapt, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mas_triplets.commands.options import Json
from mas_triplets.errors import UserError, unknown


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML configuration, such as those in configs/.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE...", help="Change keys.")] = None,
    resume: Annotated[str, typer.Option(help="auto: go on from the last checkpoint; never: start anew.")] = "auto",
    tasks: Annotated[
        int | None, typer.Option(help="Learn the first so many tasks; the same command goes on later.", min=1)
    ] = None,
    as_json: Json = False,
) -> None:
    """Learn the tasks of a split one after another, and evaluate every stage."""
    if resume not in ("auto", "never"):
        raise unknown("value of --resume", resume, ("auto", "never"))
    from mas_triplets.config import load_config

    configuration = load_config(config, settings or ())
    from mas_triplets.lifelong import merges_tasks

    if tasks is not None and merges_tasks(configuration.lifelong.strategy):
        raise UserError(f"'{configuration.lifelong.strategy}' learns all tasks at once: leave --tasks out")
    from mas_triplets.evaluation.report import write_report
    from mas_triplets.evaluation.run import evaluate as evaluate_run
    from mas_triplets.progress import Progress
    from mas_triplets.training.processes import is_main_process
    from mas_triplets.training.run import train as train_run

    with Progress() as progress:
        run = train_run(
            configuration, out, resume="never" if resume == "never" else "auto", until=tasks, progress=progress
        )
        if not is_main_process():
            return
        results = evaluate_run(run, progress=progress)
        report = write_report(run)
    _print_results(results, as_json)
    if as_json:
        return
    if run.record["state"] != "finished":
        print(f"{run.stages} of {len(run.record['tasks'])} tasks are learnt: without --tasks the same command goes on.")
    print(f"Report: {report}. Next: mas-triplets index {out} --out {out}-index")


def adapt(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run of MAS at the end of a task.")],
    images: Annotated[
        Path, typer.Argument(metavar="IMAGES", help="A folder of unlabelled pictures, or a prepared data set.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the adapted copy of the run.")],
    mode: Annotated[str, typer.Option(help="replace the importance, add to it, or average with it.")] = "replace",
    weight: Annotated[
        float | None, typer.Option(help="Of what is measured; for add 1 and for average 0.5 if none.")
    ] = None,
    facts: Annotated[
        list[str] | None,
        typer.Option("--fact", metavar="FACT", help='Of a data set, only pictures of facts such as "<*, ride, *>".'),
    ] = None,
    part: Annotated[str | None, typer.Option(help="Of a data set: train, val, test or all; train if none.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many pictures, evenly spaced.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """Measure importance anew on pictures of your own use, for the next tasks to preserve what matters there."""
    from mas_triplets.console import print_json, print_table
    from mas_triplets.facts import Fact
    from mas_triplets.progress import Progress
    from mas_triplets.training.adapt import adapt as adapt_run
    from mas_triplets.training.run_folder import RunFolder
    from mas_triplets.training.unlabelled import unlabelled

    source, queries = RunFolder(run), [Fact.parse(fact) for fact in facts or ()]
    with Progress() as progress:
        pictures = unlabelled(images, source.config.data.region, part=part, facts=queries, limit=limit)
        made = adapt_run(source, pictures, out, mode=mode, weight=weight, progress=progress)
    about, tasks = made.record["adapted"][-1], len(made.record["tasks"])
    if as_json:
        print_json(about)
        return
    rows = [{"what": name.replace("_", " "), "value": str(value)} for name, value in about.items() if value]
    print_table(f"{out}: {run} with importance measured anew", rows)
    if made.stages < tasks:
        print(f"Next: mas-triplets train {out / 'config.yaml'} --out {out}  (learns task {made.stages + 1} with it)")
    else:
        print(f"All {tasks} tasks are learnt, so no task follows that would use it: adapt after `train --tasks N`.")


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run.")],
    part: Annotated[str | None, typer.Option(help="val or test; that of the run's configuration if none.")] = None,
    as_json: Json = False,
) -> None:
    """Score the model of every stage on every task."""
    if part not in (None, "val", "test"):
        raise unknown("value of --part", part, ("val", "test"))
    from mas_triplets.evaluation.report import write_report
    from mas_triplets.evaluation.run import evaluate as evaluate_run
    from mas_triplets.progress import Progress
    from mas_triplets.training.run_folder import RunFolder

    folder = RunFolder(run)
    with Progress() as progress:
        results = evaluate_run(folder, part=part, progress=progress)
    if part in (None, folder.config.evaluation.part):
        write_report(folder)
    _print_results(results, as_json)


def _print_results(results: dict[str, Any], as_json: bool) -> None:
    from mas_triplets.console import print_json, print_table
    from mas_triplets.evaluation.describe import results_tables

    if as_json:
        print_json(results)
        return
    for title, rows in results_tables(results).items():
        print_table(title, rows)
