"""The facts that the scenes can show: shapes, shapes with attributes, and a balanced choice of relation facts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import lru_cache
from math import gcd

from mas_triplets.data.scenes.options import RELATIONS, SceneOptions
from mas_triplets.facts import Fact

# Relations of one family speak of the same pairs of shapes, so that which two shapes are in the picture never tells
# which relation holds: <star, above, ring> stands beside <star, below, ring> and <star, touching, ring>.
_FAMILY = {
    "above": 0,
    "below": 0,
    "touching": 0,
    "left of": 1,
    "right of": 1,
    "inside": 2,
    "covering": 2,
}
assert set(_FAMILY) == set(RELATIONS)


@lru_cache(maxsize=64)
def vocabulary(options: SceneOptions) -> tuple[Fact, ...]:
    """Return every fact a scene of these options can be labelled with, sorted by `Fact.sort_key`.

    For the whole vocabulary: 8 facts of order 1, 56 of order 2, 56 of order 3. It depends on the shapes, attributes,
    relations and order3_facts only, not on seed, size or difficulty.
    """
    facts = [Fact(shape) for shape in options.shapes]
    facts += [Fact(shape, attribute) for shape in options.shapes for attribute in options.attributes]
    facts += relation_facts(options)
    return tuple(sorted(facts, key=lambda fact: fact.sort_key))


def relation_facts(options: SceneOptions) -> list[Fact]:
    """Choose `options.order3_count` facts <shape, relation, other shape>, balanced.

    Every relation gets the same number of facts (one more for the first ones where it does not divide). The facts of
    a relation come from rounds of a round-robin tournament: in a round every shape meets one other (with an odd number
    of shapes one sits out), and both <a, r, b> and <b, r, a> are taken, so roles have to be seen. Where a
    round is not taken whole, the shapes used least so far come first. Same answer for the same vocabulary.
    """
    if not options.order3_count:
        return []
    rounds = _tournament(options.shapes)
    stride = 3 if len(rounds) % 3 else 1  # three families, each walking through rounds of its own first
    share, rest = divmod(options.order3_count, len(options.relations))
    as_subject, as_object = dict.fromkeys(options.shapes, 0), dict.fromkeys(options.shapes, 0)
    facts: list[Fact] = []

    def load(subject: str, reference: str) -> tuple[int, int, str, str]:
        uses = (as_subject[subject], as_object[reference])
        return (sum(uses), max(uses), subject, reference)

    for place, relation in enumerate(options.relations):
        wanted = share + (place < rest)
        for step in range(len(rounds)):
            meetings = set(rounds[(_FAMILY[relation] + stride * step) % len(rounds)])
            while meetings and wanted:
                pair = min(meetings, key=lambda pair: min(load(*pair), load(*pair[::-1])))
                meetings.remove(pair)
                for subject, reference in sorted((pair, pair[::-1]), key=lambda one: load(*one))[:wanted]:
                    facts.append(Fact(subject, relation, reference))
                    as_subject[subject] += 1
                    as_object[reference] += 1
                    wanted -= 1
    return _evened(_evened(facts, options.shapes, "subject"), options.shapes, "object")


def _evened(facts: list[Fact], shapes: tuple[str, ...], slot: str) -> list[Fact]:
    """Give facts of the shape that is most often in a slot to the one that is least often there, while that evens.

    Only what the rounds leave uneven, such as an odd number of shapes, is changed; relation and other slot stay.
    """
    while True:
        uses = Counter(dict.fromkeys(shapes, 0))
        uses.update(str(getattr(fact, slot)) for fact in facts)
        ordered = sorted(shapes, key=lambda shape: (uses[shape], shape))
        moves = (
            (number, moved)
            for rare in ordered
            for common in reversed(ordered)
            if uses[common] - uses[rare] > 1
            for number, fact in enumerate(facts)
            if getattr(fact, slot) == common
            and (moved := replace(fact, **{slot: rare})) not in facts
            and moved.subject != moved.object
        )
        move = next(moves, None)
        if move is None:
            return facts
        number, moved = move
        facts = [*facts[:number], moved, *facts[number + 1 :]]


def _tournament(shapes: tuple[str, ...]) -> list[list[tuple[str, str]]]:
    """Rounds in which every two shapes meet exactly once (the circle method); an odd one sits out in each round."""
    table: list[str | None] = [*shapes] + ([None] if len(shapes) % 2 else [])
    half = len(table) // 2
    rounds = []
    for _ in range(len(table) - 1):
        meetings = zip(table[:half], reversed(table[half:]), strict=True)
        rounds.append([(one, other) for one, other in meetings if one is not None and other is not None])
        table = [table[0], table[-1], *table[1:-1]]
    return rounds


@lru_cache(maxsize=64)
def target_order(options: SceneOptions) -> tuple[Fact, ...]:
    """Return the vocabulary in the order in which the scenes take their targets: index i has `[i % length]`.

    The facts are strided by a number without a common factor, so neighbours are of mixed order, and any `length`
    consecutive indices have every fact once.
    """
    facts = vocabulary(options)
    stride = _coprime_near(round(len(facts) * 0.618), len(facts))
    return tuple(facts[(place * stride) % len(facts)] for place in range(len(facts)))


def target_of(options: SceneOptions, index: int) -> Fact:
    """Return the fact that scene `index` is drawn for."""
    order = target_order(options)
    return order[index % len(order)]


def _coprime_near(number: int, length: int) -> int:
    return next(step for step in range(max(1, number), number + length + 2) if gcd(step, length) == 1)
