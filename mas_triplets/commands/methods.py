"""The verbs of several runs: compare, sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mas_triplets.commands.options import Json
from mas_triplets.errors import unknown


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Runs on the same data and part.")],
    out: Annotated[Path, typer.Option(help="The page to write; tables as CSV, Markdown and LaTeX are put beside it.")],
    examples: Annotated[
        bool, typer.Option(help="Ask models again what the first task's facts find, before and after.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Compare runs in one page and in tables: methods over seeds and orders, paired tests, drawings."""
    from mas_triplets.console import print_json, print_table
    from mas_triplets.evaluation.compare import compare as compare_runs
    from mas_triplets.progress import Progress

    with Progress() as progress:
        found = compare_runs(runs, out, retrievals=examples, progress=progress)
    if as_json:
        print_json(found)
        return
    shown = ("method", "runs", "average", "average_sd", "all", "all_sd", "forgetting", "recovered")
    print_table(f"comparison, written to {out}", [{name: row[name] for name in shown} for row in found["methods"]])
    print(f"Tables: {', '.join(found['files'])}")


def sweep(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML configuration, such as those in configs/.")],
    methods: Annotated[
        list[str],
        typer.Option(metavar="M,M,...", help="Such as mas,mas+lwf,joint or shuffled=mas:lifelong.control=shuffled."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the sweep; started again, it goes on with what is there.")],
    orders: Annotated[int, typer.Option(help="Orders of tasks, each with a seed of its own.")] = 5,
    choose_orders: Annotated[
        int | None, typer.Option(help="Choose settings on the first so many orders; on all if none.")
    ] = None,
    grids: Annotated[
        list[str] | None,
        typer.Option("--set-grid", metavar="KEY=V,V,...", help="Values to choose from, in place of a method's own."),
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE...", help="Change keys.")] = None,
    budget: Annotated[int, typer.Option(help="Settings that each method tries at most; all try equally many.")] = 6,
    vary: Annotated[
        str | None,
        typer.Option(
            help="split: each order is a new split; order: the same tasks permuted; if none, split if random."
        ),
    ] = None,
    processes: Annotated[int | None, typer.Option(help="Runs side by side; one a processor if none.")] = None,
    as_json: Json = False,
) -> None:
    """Choose each method's settings on val, then judge all methods on test over several orders of tasks."""
    if vary not in (None, "split", "order"):
        raise unknown("value of --vary", vary, ("split", "order"))
    from mas_triplets.config import load_config
    from mas_triplets.console import print_json, print_table
    from mas_triplets.progress import Progress
    from mas_triplets.sweep import make_plan, parse_grids
    from mas_triplets.sweep import sweep as carry_out
    from mas_triplets.sweep.summary import choice_table, final_table

    plan = make_plan(
        load_config(config, settings or ()),
        methods,
        orders=orders,
        choose_orders=choose_orders,
        grids=parse_grids(grids or ()),
        budget=budget,
        vary="split" if vary == "split" else "order" if vary == "order" else None,
    )
    with Progress() as progress:
        found = carry_out(plan, out, processes=processes, progress=progress)
    if as_json:
        print_json(found)
        return
    print_table("chosen on val", choice_table(found["choices"]))
    print_table("test, mean ± standard deviation over orders", final_table(found["final"]))
    print(f"Report: {out / 'report.html'}. All numbers: {out / 'sweep.json'}")
