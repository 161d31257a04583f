"""What the command lines of all sources share: options, the closing table, running one source by itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from data_prep.archives import is_archive, opened
from data_prep.assemble import Options, assemble
from data_prep.records import BringsSplit, Reader
from mas_triplets.console import print_json, print_table, run
from mas_triplets.data.describe import describe_dataset
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.splits import write_split
from mas_triplets.errors import UserError
from mas_triplets.facts import is_unicode
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


Source = Path  # its help differs by source
Images = Annotated[
    Path | None, typer.Option(help="Folder of the pictures, or an archive of them; without it, annotations alone.")
]
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


def source_command(
    make_reader: Callable[[Path], Reader],
    about: str,
    *,
    holds: str = "The folder with the source's files, one of them, or the archive they came in.",
    with_pictures: bool = False,
    validation_share: float = 0.1,
    verifying: Verifying = Verifying.header,
) -> Callable[..., None]:
    """Return the command of a source that `make_reader` reads: all of them have the same options.

    Args:
        make_reader: from the PATH given to a reader; of an archive, from the folder of what it held.
        about: one sentence for the help.
        holds: what PATH is, for the help.
        with_pictures: whether the source's own archive holds its pictures too.
        validation_share: what --validation is if not given.
        verifying: what --verify-images is if not given.
    """

    def prepare(
        path: Source,
        out: Out,
        images: Images = None,
        name: Name = None,
        orders: Orders = "1,2,3",
        min_images: MinImages = 1,
        validation: Validation = validation_share,
        test: Test = 0.2,
        seed: Seed = 0,
        verify: Verify = verifying,
        store: Store = Storing.reference,
        overwrite: Overwrite = False,
        as_json: AsJson = False,
    ) -> None:
        for given in (path, out, images, name):
            if given is not None and not is_unicode(str(given)):
                raise UserError(f"{str(given)!r} is not valid Unicode text: rename it")
        unpacked = (with_pictures and is_archive(path)) or (images is not None and is_archive(images))
        if unpacked and store is Storing.reference:
            store = Storing.link  # what was unpacked for the data set is moved into it
        options = Options(
            orders=_orders(orders),
            min_images=min_images,
            validation=validation,
            test=test,
            seed=seed,
            verify=verify.value,
            store=store.value,
        )
        with Progress() as progress, ExitStack() as stack:
            files = stack.enter_context(opened(path, out, pictures=with_pictures, progress=progress))
            if images is not None:
                images = stack.enter_context(opened(images, out, pictures=True, others=False, progress=progress))
            reader = make_reader(files)
            assemble(name or out.name, reader, out, images, options, overwrite=overwrite, progress=progress)
            if isinstance(reader, BringsSplit):
                dataset = PreparedDataset.open(out)
                write_split(dataset, reader.split(dataset, progress), overwrite=overwrite)
        print_prepared(out, as_json)

    prepare.__doc__ = about
    prepare.__annotations__["path"] = Annotated[Path, typer.Argument(metavar="PATH", help=holds)]
    return prepare


def _orders(given: str) -> tuple[int, ...]:
    try:
        return tuple(sorted({int(order) for order in given.replace(",", " ").split()}))
    except ValueError:
        raise UserError(f"--orders is {given!r}: write some of 1,2,3") from None


def print_prepared(out: Path, as_json: bool = False) -> None:
    """Print what is in the data set just prepared, what was left out and why, and what to do next; or JSON alone."""
    tables = describe_dataset(PreparedDataset.open(out))
    if as_json:
        print_json(tables)
        return
    for title, rows in tables.items():
        print_table(title, rows)
    splits = sorted(path.stem for path in (out / "splits").glob("*.json"))
    following = (
        f"train CONFIG --set data.path={out} data.split={splits[0]} --out RUN"
        if splits
        else (f"split {out} --method random --tasks 4 --name random4")
    )
    print(f"Prepared {out}. Next: mas-triplets {following}")


def run_alone(prepare: Callable[..., Any]) -> None:
    """Run one source as a program of its own, with the exit codes of the main command."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(prepare)
    run(app)
