"""What the command lines of all sources share: options, the closing table, running one source by itself."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from data_prep.assemble import Options, assemble
from data_prep.records import Reader
from mas_triplets.console import print_json, print_table, run
from mas_triplets.data.describe import describe_dataset
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.errors import UserError
from mas_triplets.progress import Progress


class Verifying(Enum):
    """How closely pictures are looked at."""

    none = "none"
    header = "header"
    full = "full"


class Storing(Enum):
    """Where pictures are kept."""

    reference = "reference"
    link = "link"
    copy = "copy"


Source = Annotated[Path, typer.Argument(metavar="PATH", help="The folder with the source's files.")]
Images = Annotated[Path | None, typer.Option(help="Folder of the pictures; without it, annotations alone.")]
Orders = Annotated[str, typer.Option(help="Which facts: 1 <s>, 2 <s, p>, 3 <s, p, o>.")]
MinImages = Annotated[int, typer.Option(help="Leave out facts that fewer pictures show.", min=1)]
Validation = Annotated[
    float, typer.Option(help="Share of the training pictures kept for validation, if the source has none.", max=0.9)
]
Test = Annotated[float, typer.Option(help="Share of the pictures kept for test, if the source has no parts.", max=0.9)]
Verify = Annotated[Verifying, typer.Option("--verify-images", help="How closely pictures are looked at.")]
Store = Annotated[Storing, typer.Option(help="Leave pictures where they are, link or copy them.")]
Out = Annotated[Path, typer.Option("--out", help="Folder of the prepared data set to write.")]
Seed = Annotated[int, typer.Option(help="Seed of everything that is drawn at random.", min=0)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace another data set in --out, with its splits.")]
Name = Annotated[str | None, typer.Option(help="Name of the data set; the folder's name if none is given.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on standard output.")]


def source_command(make_reader: Callable[[Path], Reader], about: str) -> Callable[..., None]:
    """Return the command of a source that `make_reader` reads: all of them have the same options.

    Args:
        make_reader: from the PATH given to a reader.
        about: one sentence for the help.
    """

    def prepare(
        path: Source,
        out: Out,
        images: Images = None,
        name: Name = None,
        orders: Orders = "1,2,3",
        min_images: MinImages = 1,
        validation: Validation = 0.1,
        test: Test = 0.2,
        seed: Seed = 0,
        verify: Verify = Verifying.header,
        store: Store = Storing.reference,
        overwrite: Overwrite = False,
        as_json: AsJson = False,
    ) -> None:
        try:
            wanted = tuple(sorted({int(order) for order in orders.replace(",", " ").split()}))
        except ValueError:
            raise UserError(f"--orders is {orders!r}: write some of 1,2,3") from None
        options = Options(
            orders=wanted,
            min_images=min_images,
            validation=validation,
            test=test,
            seed=seed,
            verify=verify.value,
            store=store.value,
        )
        with Progress() as progress:
            assemble(name or out.name, make_reader(path), out, images, options, overwrite=overwrite, progress=progress)
        print_prepared(out, as_json)

    prepare.__doc__ = about
    return prepare


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
