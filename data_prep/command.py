"""What the command lines of all sources share: options, the closing table, running one source by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mas_triplets.console import print_json, print_table, run
from mas_triplets.data.describe import describe_dataset
from mas_triplets.data.prepared import PreparedDataset

Out = Annotated[Path, typer.Option("--out", help="Folder of the prepared data set to write.")]
Seed = Annotated[int, typer.Option(help="Seed of everything that is drawn at random.", min=0)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace another data set in --out, with its splits.")]
Name = Annotated[str | None, typer.Option(help="Name of the data set; the folder's name if none is given.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")]


def print_prepared(out: Path, as_json: bool = False) -> None:
    """Print what is in the data set just prepared, what was left out and why, and what to do next; or JSON alone."""
    tables = describe_dataset(PreparedDataset.open(out))
    if as_json:
        print_json(tables)
        return
    for title, rows in tables.items():
        print_table(title, rows)
    print(f"Prepared {out}. Next: mas-triplets split {out} --method random --tasks 4 --name random4")


def run_alone(prepare: Callable[..., Any]) -> None:
    """Run one source as a program of its own, with the exit codes of the main command."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(prepare)
    run(app)
