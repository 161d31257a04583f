"""The JSON that the API gives, as types: what its OpenAPI description is made of."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel

from mas_triplets.retrieval.answers import hits_json
from mas_triplets.retrieval.hits import Hit
from mas_triplets.retrieval.index import FactIndex


class FoundPicture(BaseModel):
    """A row that was found: as `query --json` has it, with the row's number."""

    rank: int
    score: float
    image: str
    box: tuple[float, float, float, float] | None
    slots: dict[str, float]
    row: int


class FoundFact(BaseModel):
    """A fact that a picture shows: as `query --image --json` has it."""

    rank: int
    score: float
    order: int
    fact: str
    slots: dict[str, float]


class Vocabulary(BaseModel):
    """The words of the facts in the index, by slot, sorted; other words may be asked for too."""

    subject: list[str]
    predicate: list[str]
    object: list[str]


class About(BaseModel):
    """What the index is."""

    name: str
    kind: str
    reason: str
    rows: int
    pictures: int
    region: str
    score: str
    recall: float
    run: str
    after_task: int
    model: str


class Wrong(BaseModel):
    """Why there is no answer, as a sentence."""

    error: str


def found_pictures(found: Sequence[Hit]) -> list[FoundPicture]:
    """Return hits as JSON values with their rows."""
    return [FoundPicture(row=hit.row, **value) for hit, value in zip(found, hits_json(found), strict=True)]


def vocabulary(index: FactIndex) -> Vocabulary:
    """Return the words of the facts of an index; of one that knows no facts, the words of its run in every slot."""
    if "facts.parquet" not in index.record.files:
        words = list(index.run.language.words)
        return Vocabulary(subject=words, predicate=words, object=words)
    slots = zip(*(fact.slots for fact in index.facts), strict=True)
    subject, predicate, thing = (sorted({text for text in texts if text is not None}) for texts in slots)
    return Vocabulary(subject=subject, predicate=predicate, object=thing)


def about(index: FactIndex) -> About:
    """Return what an index is."""
    record = index.record
    return About(
        name=index.path.resolve().name,
        kind=record.kind,
        reason=record.reason,
        rows=record.rows,
        pictures=record.pictures.pictures,
        region=record.pictures.region,
        score=record.score,
        recall=record.recall,
        run=index.run.path.resolve().name,
        after_task=record.model.after_task,
        model=record.model.fingerprint,
    )
