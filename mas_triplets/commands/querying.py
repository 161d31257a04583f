"""The verb query: pictures by facts, facts of a picture, pictures like one; once, from a file, or at a prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mas_triplets.commands.options import Json
from mas_triplets.errors import UserError


def query(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")],
    fact: Annotated[
        str | None,
        typer.Argument(metavar="FACT", help='Such as "<person, ride, horse>" or "person riding horse"; * is open.'),
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Number of answers.", min=1)] = 10,
    both: Annotated[list[str] | None, typer.Option("--and", metavar="FACT", help="This too; repeatable.")] = None,
    either: Annotated[list[str] | None, typer.Option("--or", metavar="FACT", help="Or this; repeatable.")] = None,
    none: Annotated[list[str] | None, typer.Option("--not", metavar="FACT", help="But not this; repeatable.")] = None,
    image: Annotated[Path | None, typer.Option(metavar="PHOTO", help="A photograph: which facts hold in it?")] = None,
    similar: Annotated[
        Path | None, typer.Option(metavar="PHOTO", help="A photograph: which pictures are like it?")
    ] = None,
    batch: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file of queries, one a line; - is standard input.")
    ] = None,
    interactive: Annotated[bool, typer.Option("--interactive", help="Ask at a prompt; ? tells what it knows.")] = False,
    sheet: Annotated[Path | None, typer.Option(help="Write the pictures found as a contact sheet.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the answer as one HTML file, pictures inside.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the page, or else the sheet, that was written.")] = False,
    run: Annotated[Path | None, typer.Option(help="The run that filled the index, if it has moved.")] = None,
    as_is: Annotated[
        bool, typer.Option("--as-is", help="Ask the model of the index, though its run has learnt on.")
    ] = False,
    as_json: Json = False,
    as_jsonl: Annotated[bool, typer.Option("--jsonl", help="Print JSON, one answer a line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV with a header.")] = False,
) -> None:
    """Find pictures by facts, the facts of a picture, or pictures like it.

    Several facts are joined in this order, wherever they stand: FACT and each --or make one group, of which one has to
    hold; then each --and has to hold too, and each --not must not: (FACT or ...) and ... and not ...
    """
    ways = {"FACT": fact is not None, "--image": image is not None, "--similar": similar is not None}
    ways |= {"--batch": batch is not None, "--interactive": interactive}
    chosen = [name for name, given in ways.items() if given]
    if len(chosen) != 1:
        given = f"{' and '.join(chosen)} do not go together: " if chosen else ""
        raise UserError(
            f'{given}give either a fact such as "<person, ride, horse>", --image PHOTO, --similar PHOTO, --batch FILE '
            "or --interactive"
        )
    if fact is None and (both or either or none):
        raise UserError(f"--and, --or and --not join further facts to FACT; they do not go with {chosen[0]}")
    formats = [name for name, given in (("--json", as_json), ("--jsonl", as_jsonl), ("--csv", as_csv)) if given]
    if len(formats) > 1:
        raise UserError(f"{' and '.join(formats)} do not go together: standard output holds one of them")
    if (batch is not None or interactive) and (formats or sheet or html):
        told = "answers are JSON Lines" if batch is not None else "type :sheet or :html there"
        raise UserError(f"{chosen[0]} takes no --json, --jsonl, --csv, --sheet or --html: {told}")
    if image is not None and sheet is not None:
        raise UserError("--sheet shows the pictures a fact finds; it does not go with --image")
    if show and sheet is None and html is None:
        raise UserError("--open opens what was written: give --html out.html or --sheet out.png with it")

    from mas_triplets.commands.answering import ask_file, ask_for_pictures, ask_prompt, ask_what_it_shows, show_file
    from mas_triplets.retrieval.index import FactIndex

    opened = FactIndex.open(index, run=run, as_is=as_is)
    form = formats[0].removeprefix("--") if formats else "table"
    if batch is not None:
        ask_file(opened, batch, k)
    elif interactive:
        ask_prompt(opened, k)
    elif image is not None:
        ask_what_it_shows(opened, image, k, form, html)
    else:
        texts = {"fact": fact, "and": both or [], "or": either or [], "not": none or []}
        ask_for_pictures(opened, similar or texts, k, form, sheet, html)
    written = html or sheet
    if show and written is not None:
        show_file(written)
