"""The verb of finding pictures: query."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mas_triplets.commands.options import Json
from mas_triplets.errors import UserError


def query(
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="An index.")],
    fact: Annotated[
        str | None, typer.Argument(metavar="FACT", help='Such as "<person, ride, horse>"; * is open.')
    ] = None,
    k: Annotated[int, typer.Option("-k", help="Number of answers.", min=1)] = 10,
    image: Annotated[Path | None, typer.Option(help="A photograph: which facts hold in it?")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Write the pictures found as a contact sheet.")] = None,
    run: Annotated[Path | None, typer.Option(help="The run that filled the index, if it has moved.")] = None,
    as_json: Json = False,
) -> None:
    """Find pictures by a fact, or the facts of a picture."""
    if (fact is None) == (image is None):
        raise UserError('give either a fact such as "<person, ride, horse>" or --image PHOTO')
    if image is not None and sheet is not None:
        raise UserError("--sheet shows the pictures a fact finds; it does not go with --image")
    from mas_triplets.console import print_json, print_table
    from mas_triplets.retrieval.answers import facts_json, facts_tables, hits_json, hits_rows, write_sheet
    from mas_triplets.retrieval.index import FactIndex

    opened = FactIndex.open(index, run=run)
    if image is not None:
        found = opened.facts_of(image, k)
        if as_json:
            print_json(facts_json(found))
            return
        for title, rows in facts_tables(found).items():
            print_table(title, rows)
        return
    assert fact is not None
    hits = opened.search(fact, k)
    if sheet is not None:
        write_sheet(hits, fact, sheet)
    if as_json:
        print_json(hits_json(hits))
    else:
        print_table(f"pictures for {fact}", hits_rows(hits))
        if sheet is not None:
            print(f"Contact sheet: {sheet}")
