"""Answers to queries of several facts: the best rows by their combined standardised scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mas_triplets.facts import Fact
from mas_triplets.retrieval.all_scores import all_scores, parts_of_rows
from mas_triplets.retrieval.expression import best_rows, standardised
from mas_triplets.retrieval.hits import Hit
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.retrieval.queries import Query
from mas_triplets.retrieval.scores import Array

_BYTES = 256 << 20  # of scores that are held at once


@dataclass(frozen=True, slots=True)
class CompoundHit(Hit):
    """A row that answers a query of several facts.

    `score` is the value of the query's expression, in standard deviations; `slots` are the parts of the raw score of
    the query's first fact.

    Attributes:
        facts: the standardised score of each fact, by its text, in the query's order.
    """

    facts: dict[str, float] = field(default_factory=dict)


def answer(index: FactIndex, queries: Sequence[Query], k: int = 10) -> list[list[Hit]]:
    """Return the `k` best rows for each query, best first; of equal scores the lower row comes first.

    Queries of one fact are answered by `FactIndex.search_many` with one matrix product. For the others every row is
    scored, for as many facts at once as fit in 256 MiB.

    Raises:
        UserError: a word has no vector, or k < 1.
    """
    single = [number for number, query in enumerate(queries) if query.is_single]
    answers: list[list[Hit]] = [[] for _ in queries]
    for number, hits in zip(single, index.search_many([queries[n].fact for n in single], k), strict=True):
        answers[number] = hits
    most = max(1, _BYTES // (8 * max(1, len(index))))
    waiting: dict[int, Query] = {}
    for number, query in enumerate(queries):
        if query.is_single:
            continue
        if waiting and len(_facts([*waiting.values(), query])) > most:
            _answer_together(index, waiting, k, answers)
            waiting = {}
        waiting[number] = query
    _answer_together(index, waiting, k, answers)
    return answers


def _facts(queries: Sequence[Query]) -> list[Fact]:
    return list(dict.fromkeys(fact for query in queries for fact in query.facts))


def _answer_together(index: FactIndex, queries: dict[int, Query], k: int, answers: list[list[Hit]]) -> None:
    if not queries:
        return
    facts = _facts(list(queries.values()))
    scores = dict(zip(facts, all_scores(index, facts), strict=True))
    for number, query in queries.items():
        answers[number] = list(_best(index, query, scores, k))


def _best(index: FactIndex, query: Query, scores: dict[Fact, Array], k: int) -> list[CompoundHit]:
    rows, values = best_rows(query.expression.evaluate(scores), k)
    parts = parts_of_rows(index, rows.tolist(), query.fact)
    each = {fact: standardised(scores[fact])[rows] for fact in query.facts}
    images, boxes = (index.rows[name].take(rows).to_pylist() for name in ("image", "box"))
    return [
        CompoundHit(
            rank=place + 1,
            score=float(values[place]),
            image=image,
            box=None if boxes[place] is None else tuple(boxes[place]),
            slots=parts[place],
            row=int(rows[place]),
            facts={str(fact): float(z[place]) for fact, z in each.items()},
        )
        for place, image in enumerate(images)
    ]
