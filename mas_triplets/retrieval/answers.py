"""What a person or a script sees of a search: rows of a table, JSON values, a contact sheet; and what an index is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mas_triplets.data.describe import Tables
from mas_triplets.data.images import read_picture
from mas_triplets.data.sheet import INK, Box, Cell, Line, contact_sheet
from mas_triplets.errors import UserError
from mas_triplets.facts import Fact
from mas_triplets.files import replacing
from mas_triplets.retrieval.compound import CompoundHit
from mas_triplets.retrieval.hits import FactHit, Hit
from mas_triplets.retrieval.index import FactIndex

_SIDE = 160
_MOST = {"PNG": 2**31 - 1, "JPEG": 65500, "WEBP": 16383}  # pixels a side that a format holds


def hits_json(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """Return {rank, score, image, box, slots} for each hit, as plain values; a hit of several facts has `facts` too."""
    return [
        {
            "rank": hit.rank,
            "score": hit.score,
            "image": hit.image,
            "box": None if hit.box is None else list(hit.box),
            "slots": dict(hit.slots),
            **({"facts": dict(hit.facts)} if isinstance(hit, CompoundHit) else {}),
        }
        for hit in hits
    ]


def hits_rows(hits: Sequence[Hit]) -> list[dict[str, Any]]:
    """Return table rows: rank, score, image (from the working directory where it is below), box, each slot's part.

    For a query of several facts the parts are the standardised score of each fact.
    """
    return [
        {
            "rank": hit.rank,
            "score": hit.score,
            "image": _short(hit.image),
            "box": None if hit.box is None else " ".join(f"{value:g}" for value in hit.box),
            **(hit.facts if isinstance(hit, CompoundHit) else hit.slots),
        }
        for hit in hits
    ]


def searched(index: FactIndex, fact: Fact) -> str:
    """Return a line that says how an index looks for a fact."""
    found = index.searched(fact)
    if found.parameters is None:
        return f"every row was compared, since {found.reason}"
    return (
        f"{index.record.kind} compared the likeliest rows, which finds {found.recall[10]:.1%} of the ten best "
        f"(measured on {found.queries} queries held out)"
    )


def facts_json(found: Mapping[int, Sequence[FactHit]]) -> list[dict[str, Any]]:
    """Return {rank, score, order, fact, slots} for each fact of `FactIndex.facts_of`, as plain values in one list."""
    return [
        {"rank": hit.rank, "score": hit.score, "order": order, "fact": str(hit.fact), "slots": dict(hit.slots)}
        for order, hits in found.items()
        for hit in hits
    ]


def facts_tables(found: Mapping[int, Sequence[FactHit]]) -> Tables:
    """Return a table for each order of `FactIndex.facts_of`: rank, score, fact, each slot's part."""
    return {
        f"facts of order {order}": [
            {"rank": hit.rank, "score": hit.score, "fact": str(hit.fact), **hit.slots} for hit in hits
        ]
        for order, hits in found.items()
    }


def hits_sheet(hits: Sequence[Hit], title: str) -> Image.Image:
    """Draw the pictures found with scores and boxes; one that is gone is a grey square that says so."""
    return contact_sheet([_cell(hit) for hit in hits], cell=_SIDE, title=title)


def write_sheet(hits: Sequence[Hit], title: str, path: Path) -> None:
    """Write the contact sheet of the pictures found under a title; the ending of `path` says in which format.

    Raises:
        UserError: the ending is not that of a picture, or the sheet is larger than the format can be.
    """
    wanted = Image.registered_extensions().get(path.suffix.lower())
    if wanted not in _MOST:
        raise UserError(f"--sheet {path}: the name should end in .png, .jpg or .webp")
    sheet = hits_sheet(hits, title)
    if max(sheet.size) > _MOST[wanted]:
        raise UserError(
            f"--sheet {path}: {len(hits):,} pictures need {sheet.width} x {sheet.height} pixels and {wanted} holds at "
            f"most {_MOST[wanted]} a side: take .png or a smaller -k"
        )
    with replacing(path) as temporary:
        sheet.save(temporary, wanted)


def _cell(hit: Hit) -> Cell:
    lines = [Path(hit.image).name]
    if isinstance(hit, CompoundHit):
        lines += [f"{value:.2f}  {fact}" for fact, value in hit.facts.items()]
    else:
        lines.append("  ".join(f"{slot[0]} {part:.3f}" for slot, part in hit.slots.items()))
    title = f"{hit.rank}.  {hit.score:.3f}"
    try:
        picture = read_picture(Path(hit.image))
    except UserError:
        return Cell(Image.new("RGB", (_SIDE, _SIDE), "#d0d7de"), [*lines, Line("cannot be read", INK)], title=title)
    factor = min(1.0, 2 * _SIDE / max(picture.size))  # a sheet of many large photographs must fit in memory
    small = picture.resize((max(1, round(picture.width * factor)), max(1, round(picture.height * factor))))
    if hit.box is None:
        return Cell(small, lines, title=title)
    x1, y1, x2, y2 = (value * factor for value in hit.box)
    return Cell(small, lines, [Box((x1, y1, x2, y2))], title)


def _short(image: str) -> str:
    path = Path(image)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else image
