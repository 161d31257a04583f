"""Several facts at once: by hand, against a plain loop, with ties, and over a real index."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_run import FACTS, small_run

from mas_triplets import Fact, FactIndex, UserError
from mas_triplets.retrieval.all_scores import all_scores
from mas_triplets.retrieval.build import build_index
from mas_triplets.retrieval.compound import CompoundHit, answer
from mas_triplets.retrieval.expression import And, Expression, Is, Not, Or, best_rows, standardised
from mas_triplets.retrieval.queries import Query, split_line

DOG, CAT, WATER = Fact("dog"), Fact("cat"), Fact(None, None, "water")


@pytest.fixture(scope="module", params=["cosine", "euclidean"])
def index(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> FactIndex:
    home = tmp_path_factory.mktemp("home")
    return build_index(small_run(home, model__score=request.param, data__region="box"), home / "index")


def plain_value(expression: Expression, row: int, scores: Mapping[Fact, Sequence[float]]) -> float:
    """The definition of docs/retrieval.md, one row at a time."""
    match expression:
        case Is(fact):
            values = scores[fact]
            mean = sum(values) / len(values)
            deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
            return 0.0 if max(values) == min(values) else (values[row] - mean) / deviation
        case And(parts):
            return min(plain_value(part, row, scores) for part in parts)
        case Or(parts):
            return max(plain_value(part, row, scores) for part in parts)
        case Not(part):
            return -plain_value(part, row, scores)


def test_by_hand() -> None:
    """The worked example of docs/retrieval.md."""
    scores = {
        DOG: np.array([0.2, 0.4, 0.6, 0.4]),  # mean 0.4, sd 0.1414
        CAT: np.array([0.9, 0.9, 0.1, 0.1]),  # mean 0.5, sd 0.4
        WATER: np.array([0.5, 0.5, 0.5, 0.5]),
    }
    root = math.sqrt(2)
    assert standardised(scores[DOG]) == pytest.approx([-root, 0, root, 0])
    assert standardised(scores[CAT]) == pytest.approx([1, 1, -1, -1])
    assert standardised(scores[WATER]).tolist() == [0, 0, 0, 0]
    dog, cat, water = Is(DOG), Is(CAT), Is(WATER)
    assert And((dog, cat)).evaluate(scores) == pytest.approx([-root, 0, -1, -1])
    assert Or((dog, cat)).evaluate(scores) == pytest.approx([1, 1, root, 0])
    assert Not(cat).evaluate(scores) == pytest.approx([-1, -1, 1, 1])
    assert And((dog, Not(cat))).evaluate(scores) == pytest.approx([-root, -1, 1, 0])
    assert And((dog, water)).evaluate(scores) == pytest.approx([-root, 0, 0, 0])
    rows, values = best_rows(Or((dog, cat)).evaluate(scores), 3)
    assert rows.tolist() == [2, 0, 1]  # rows 0 and 1 tie
    assert values == pytest.approx([root, 1, 1])


def test_equal_scores_whose_mean_is_rounded_are_no_spread() -> None:
    assert np.full(3, 0.1).std() > 0
    assert standardised(np.full(3, 0.1)).tolist() == [0, 0, 0]
    assert standardised(np.empty(0)).tolist() == []


def expressions() -> st.SearchStrategy[Expression]:
    leaves: st.SearchStrategy[Expression] = st.sampled_from([Is(DOG), Is(CAT), Is(WATER)])
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(Not, inner),
            st.builds(And, st.lists(inner, min_size=1, max_size=3).map(tuple)),
            st.builds(Or, st.lists(inner, min_size=1, max_size=3).map(tuple)),
        ),
        max_leaves=6,
    )


@settings(max_examples=60, deadline=None)
@given(st.data(), expressions(), st.integers(1, 30), st.integers(1, 35))
def test_any_expression_equals_a_plain_loop(data: st.DataObject, tree: Expression, rows: int, k: int) -> None:
    values = st.lists(st.integers(-3, 3).map(float), min_size=rows, max_size=rows)
    scores = {fact: data.draw(values) for fact in (DOG, CAT, WATER)}
    found = tree.evaluate({fact: np.array(column) for fact, column in scores.items()})
    assert found == pytest.approx([plain_value(tree, row, scores) for row in range(rows)], abs=1e-9)
    best, best_values = best_rows(found, k)
    assert best.tolist() == sorted(range(rows), key=lambda row: (-found[row], row))[:k]
    assert best_values.tolist() == found[best].tolist()


def test_all_scores_are_those_of_search_for_any_block(index: FactIndex) -> None:
    facts = [*FACTS, Fact("dog", "ride", "horse"), Fact(None, "ride")]
    scores = all_scores(index, facts)
    assert scores.shape == (len(facts), len(index))
    for block in (1, 7, 1000):
        assert (all_scores(index, facts, block) == scores).all()
    for fact, column in zip(facts, scores, strict=True):
        assert [hit.score for hit in index.search(fact, len(index))] == sorted(column.tolist(), reverse=True)


def test_query_reads_or_first_then_and_then_not() -> None:
    query = Query(DOG, both=(WATER,), either=(CAT,), none=(Fact("person"),))
    assert query.expression == And((Or((Is(DOG), Is(CAT))), Is(WATER), Not(Is(Fact("person")))))
    assert str(query) == "(<dog> or <cat>) and <*, *, water> and not <person>"
    assert Query(DOG).expression == Is(DOG)
    assert Query(DOG, either=(CAT,)).expression == Or((Is(DOG), Is(CAT)))
    assert str(Query(DOG, either=(CAT,))) == "<dog> or <cat>"
    assert Query(DOG, either=(DOG,)).facts == (DOG,)


def test_a_line_is_split_at_its_joining_words() -> None:
    assert split_line("dog --not <a, b> --or cat  hat --not x") == {
        "fact": "dog",
        "and": [],
        "or": ["cat hat"],
        "not": ["<a, b>", "x"],
    }
    for line, says in (("dog --and", "after --and"), ("--not dog", "before --not"), ("a --or --and b", "after --or")):
        with pytest.raises(UserError, match=f"a fact is missing {says}"):
            split_line(line)


def test_an_index_answers_as_a_plain_loop_over_its_scores(index: FactIndex) -> None:
    query = Query(FACTS[0], both=(FACTS[2],), either=(FACTS[4],), none=(FACTS[3],))
    scores = dict(zip(query.facts, all_scores(index, query.facts).tolist(), strict=True))
    values = [plain_value(query.expression, row, scores) for row in range(len(index))]
    hits = answer(index, [query], len(index) + 1)[0]
    order = sorted(range(len(index)), key=lambda row: (-values[row], row))
    assert [hit.rank for hit in hits] == list(range(1, len(index) + 1))
    rows = index.rows.to_pylist()
    for hit, row in zip(hits, order, strict=True):
        assert hit.score == pytest.approx(values[row], abs=1e-9)
        assert (hit.image, hit.box) == (rows[row]["image"], rows[row]["box"] and tuple(rows[row]["box"]))
        assert isinstance(hit, CompoundHit)
        assert hit.facts == pytest.approx({str(f): plain_value(Is(f), row, scores) for f in query.facts}, abs=1e-9)
        assert list(hit.slots) == ["subject"]


def test_queries_of_any_kind_together_answer_as_alone(index: FactIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = [Query(FACTS[0]), Query(FACTS[1], none=(FACTS[0],)), Query(FACTS[5]), Query(FACTS[4], both=(FACTS[3],))]
    alone = [answer(index, [query], 5)[0] for query in queries]
    assert answer(index, queries, 5) == alone
    assert alone[0] == index.search(FACTS[0], 5)
    monkeypatch.setattr("mas_triplets.retrieval.compound._BYTES", 1)  # one query after the other
    assert answer(index, queries, 5) == alone
    with pytest.raises(UserError, match="at least one result"):
        answer(index, [queries[1]], 0)


def test_two_equal_rows_are_found_in_their_order(tmp_path: Path) -> None:
    run = small_run(tmp_path)
    for name in "dcba":
        (tmp_path / "photos").mkdir(exist_ok=True)
        (tmp_path / "photos" / f"{name}.png").write_bytes((tmp_path / "pictures" / "001.png").read_bytes())
    index = build_index(run, tmp_path / "index", tmp_path / "photos")
    hits = answer(index, [Query(DOG, none=(Fact("person"),))])[0]
    assert [Path(hit.image).stem for hit in hits] == ["a", "b", "c", "d"]
    assert {hit.score for hit in hits} == {0.0}
