"""The verb index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mas_triplets.commands.options import Json


def index(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run.")],
    out: Annotated[Path, typer.Option(help="Folder of the index.")],
    images: Annotated[
        Path | None, typer.Option(metavar="DIR|DATA", help="A folder of pictures or a data set; the run's own if none.")
    ] = None,
    kind: Annotated[str, typer.Option(help="auto or flat.")] = "auto",
    as_json: Json = False,
) -> None:
    """Embed pictures and put them into a FAISS index."""
    from mas_triplets.console import print_json, print_table
    from mas_triplets.progress import Progress
    from mas_triplets.retrieval.answers import describe_index
    from mas_triplets.retrieval.build import build_index
    from mas_triplets.training.run_folder import RunFolder

    with Progress() as progress:
        build_index(RunFolder(run), out, images, kind, progress=progress)
    tables = describe_index(out)
    if as_json:
        print_json(tables)
        return
    for title, rows in tables.items():
        print_table(title, rows)
    print(f'Next: mas-triplets query {out} "<person, ride, *>" --sheet found.png')
