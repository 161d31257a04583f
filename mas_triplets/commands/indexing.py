"""The verb index: fill an index, and `index add`, `index remove`, `index refresh` to change one."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mas_triplets.commands.options import Json
from mas_triplets.errors import UserError

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}

Index = Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")]
Run = Annotated[Path | None, typer.Option(metavar="RUN", help="The run that filled the index, if it has moved.")]


class _FillByDefault(TyperGroup):
    """A group in which what is no command of it is the run of `fill`: `index RUN --out INDEX`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["fill", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_FillByDefault, no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def index() -> None:
    """Embed pictures and put them into a FAISS index: index RUN --out INDEX [--images DIR] [--kind KIND] ...

    That is short for index fill, whose --help tells all options; a run called add is filled from with index fill add.
    """


@app.command()
def fill(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run.")],
    out: Annotated[Path, typer.Option(help="Folder of the index.")],
    images: Annotated[
        Path | None, typer.Option(metavar="DIR|DATA", help="A folder of pictures or a data set; the run's own if none.")
    ] = None,
    kind: Annotated[str, typer.Option(help="auto, flat, ivf, hnsw, ivfpq or sq.")] = "auto",
    recall: Annotated[
        float, typer.Option(help="Share of the ten best rows that an approximate search should find.")
    ] = 0.95,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="What the index may take, such as 2G; half of the machine's if none."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Embed pictures and put them into a new FAISS index."""
    from mas_triplets.console import print_json, print_table
    from mas_triplets.progress import Progress
    from mas_triplets.retrieval.build import build_index
    from mas_triplets.retrieval.describe import describe_index
    from mas_triplets.training.run_folder import RunFolder

    size = None if memory is None else _bytes(memory)
    with Progress() as progress:
        build_index(RunFolder(run), out, images, kind, progress=progress, recall=recall, memory=size)
    tables = describe_index(out)
    if as_json:
        print_json(tables)
        return
    for title, rows in tables.items():
        print_table(title, rows)
    print(f'Next: mas-triplets query {shlex.quote(str(out))} "<person, ride, *>" --sheet found.png')


@app.command()
def add(
    index: Index,
    images: Annotated[Path, typer.Argument(metavar="DIR|DATA", help="A folder of pictures or a data set.")],
    run: Run = None,
    as_json: Json = False,
) -> None:
    """Append the pictures of a folder or data set that are not in the index yet, by their content."""
    from mas_triplets.progress import Progress
    from mas_triplets.retrieval.growing import add_pictures

    with Progress() as progress:
        added = add_pictures(index, images, run, progress)
    _tell(
        {
            "rows added": added.rows,
            "rows replaced": added.replaced,
            "pictures known": added.known,
            "pictures skipped": added.skipped,
        },
        f"{added.rows:,} rows added to {index}, {added.replaced:,} taken out whose files hold other pictures now; "
        f"{added.known:,} pictures were in it already, {added.skipped:,} could not be read",
        as_json,
    )


@app.command()
def remove(
    index: Index,
    images: Annotated[
        Path | None, typer.Argument(metavar="PICTURE|DIR", help="A picture, or a folder of them; it may be gone.")
    ] = None,
    gone: Annotated[bool, typer.Option("--gone", help="Every picture whose file is gone.")] = False,
    run: Run = None,
    as_json: Json = False,
) -> None:
    """Take pictures out of the index; their files stay."""
    from mas_triplets.progress import Progress
    from mas_triplets.retrieval.growing import remove_pictures

    if gone == (images is not None):
        raise UserError("give either a picture or folder to take out, or --gone for all whose files are gone")
    with Progress() as progress:
        removed = remove_pictures(index, images, run, progress)
    _tell({"rows removed": removed}, f"{removed:,} rows taken out of {index}", as_json)


@app.command()
def refresh(index: Index, run: Run = None, as_json: Json = False) -> None:
    """Embed the rows of older models anew with the run's newest; may be interrupted and goes on from there."""
    from mas_triplets.progress import Progress
    from mas_triplets.retrieval.refreshing import refresh_index

    with Progress() as progress:
        done = refresh_index(index, run, progress)
    _tell(
        {"rows refreshed": done.rows, "rows gone": done.gone},
        f"{done.rows:,} rows of {index} embedded anew; {done.gone:,} stay as they are, since their pictures are gone "
        "or have changed",
        as_json,
    )


def _tell(values: dict[str, int], sentence: str, as_json: bool) -> None:
    from mas_triplets.console import print_json

    if as_json:
        print_json(values)
    else:
        print(sentence)


def _bytes(text: str) -> int:
    """Return a size such as 500M or 2GiB in bytes; units are powers of 1,024."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if not found:
        raise UserError(f"--memory {text!r} is no size: write one such as 500M or 2G")
    return int(min(float(found[1]), 2.0**60) * _UNITS[found[2]])
