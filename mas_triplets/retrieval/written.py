"""Answers as text for other programs: JSON Lines, one object a line, and CSV, one row a line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mas_triplets.facts import SLOTS
from mas_triplets.files import to_json
from mas_triplets.retrieval.compound import CompoundHit
from mas_triplets.retrieval.hits import FactHit, Hit

_BOX = ("x1", "y1", "x2", "y2")


def json_lines(values: Sequence[Mapping[str, Any]]) -> str:
    """Return one line of JSON for each value, each with its line end."""
    return "".join(to_json(value, indent=None) + "\n" for value in values)


def hits_csv(hits: Sequence[Hit]) -> str:
    """Return rank, score, image, x1, y1, x2, y2, subject, predicate, object, then a column for each of several facts.

    What is absent (the box of a whole picture, the part of an open slot) is empty.
    """
    facts = list(hits[0].facts) if hits and isinstance(hits[0], CompoundHit) else []
    head = ["rank", "score", "image", *_BOX, *SLOTS, *facts]
    return _csv(head, (_hit_row(hit, facts) for hit in hits))


def facts_csv(found: Mapping[int, Sequence[FactHit]]) -> str:
    """Return rank, score, order, fact, and the parts subject, predicate, object of the facts of a picture."""
    head = ["rank", "score", "order", "fact", *SLOTS]
    rows = (
        [hit.rank, hit.score, order, str(hit.fact), *(hit.slots.get(slot, "") for slot in SLOTS)]
        for order, hits in found.items()
        for hit in hits
    )
    return _csv(head, rows)


def _hit_row(hit: Hit, facts: Sequence[str]) -> list[Any]:
    box = ("",) * 4 if hit.box is None else hit.box
    parts = [hit.slots.get(slot, "") for slot in SLOTS]
    several = [hit.facts[fact] for fact in facts] if isinstance(hit, CompoundHit) else []
    return [hit.rank, hit.score, hit.image, *box, *parts, *several]


def _csv(head: Sequence[str], rows: Iterator[list[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
