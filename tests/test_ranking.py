from __future__ import annotations

import doctest
import functools
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, label_ranking_average_precision_score, top_k_accuracy_score
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mas_triplets.errors import UserError
from mas_triplets.evaluation import definitions, ranking, ties
from mas_triplets.evaluation.harmonic import harmonic_between
from mas_triplets.evaluation.ranking import mean_over_queries, rank_metrics

NAN = float("nan")
CUTOFFS = {"ap_cutoffs": (1, 2, 3, 100), "hit_cutoffs": (1, 2, 3, 10)}


def row(scores: list[float], relevant: list[int], **options: object) -> dict[str, float]:
    metrics = rank_metrics(
        torch.tensor([scores], dtype=torch.float64),
        torch.tensor([relevant], dtype=torch.bool),
        **{**CUTOFFS, **options},  # type: ignore[arg-type]
    )
    return {name: float(value) for name, value in metrics.items()}


@functools.cache
def all_orders(count: int) -> NDArray[np.int64]:
    return np.array(list(itertools.permutations(range(count))))


def over_all_orders(scores: list[float], relevant: list[int]) -> dict[str, float]:
    """The plain definition: the mean, over every order the gallery may come in, of metrics that know no ties."""
    orders = all_orders(len(scores))
    ranked = np.take_along_axis(orders, np.argsort(-np.array(scores)[orders], axis=1, kind="stable"), axis=1)
    right = np.array(relevant)[ranked]
    if not right.any():
        return dict.fromkeys(
            ["ap", *(f"ap@{k}" for k in (1, 2, 3, 100)), *(f"hit@{k}" for k in (1, 2, 3, 10)), "rr"], NAN
        )
    ranks = np.arange(1, len(scores) + 1)
    gains = right * right.cumsum(1) / ranks
    out = {"ap": gains.sum(1).mean() / sum(relevant)}
    for k in (1, 2, 3, 100):
        out[f"ap@{k}"] = gains[:, :k].sum(1).mean() / min(k, sum(relevant))
    for k in (1, 2, 3, 10):
        out[f"hit@{k}"] = right[:, :k].any(1).mean()
    out["rr"] = (1 / (right.argmax(1) + 1)).mean()
    return out


def same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[name].view(torch.int64), other[name].view(torch.int64)) for name in one
    )


def random_case(seed: int, queries: int = 40, items: int = 150, levels: int = 12) -> tuple[Tensor, Tensor]:
    """Heavily tied scores, and from no relevant item to nearly all of them."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (queries, items), generator=generator) / 4 - 1.0
    share = torch.rand(queries, 1, generator=generator) ** 3
    share[0] = 0
    return scores, torch.rand(queries, items, generator=generator) < share


# ---- numbers worked by hand


def test_without_ties() -> None:
    # ranks: item 3 first, then 0, 2, 1; relevant items on ranks 2 and 4
    got = row([0.7, 0.1, 0.5, 0.9], [1, 1, 0, 0])
    assert got["ap"] == pytest.approx((1 / 2 + 2 / 4) / 2, abs=1e-15)
    assert got["ap@1"] == 0
    assert got["ap@2"] == pytest.approx((1 / 2) / 2, abs=1e-15)
    assert got["ap@3"] == pytest.approx((1 / 2) / 2, abs=1e-15)
    assert [got[f"hit@{k}"] for k in (1, 2, 3, 10)] == [0, 1, 1, 1]
    assert got["rr"] == 0.5


def test_the_denominator_of_a_cut_off_average_precision_is_the_smaller_number() -> None:
    got = row([4.0, 3.0, 2.0, 1.0], [1, 1, 1, 0])
    assert got["ap@2"] == 1.0  # min(2, 3) in the denominator
    assert row([4.0, 3.0, 2.0, 1.0], [0, 1, 0, 0])["ap@3"] == 0.5  # min(3, 1)


def test_ties_by_hand() -> None:
    # One better item, then three alike of which two are relevant: ranks {2,3}, {2,4} or {3,4}, equally likely.
    got = row([0.9, 0.5, 0.5, 0.5, 0.1], [0, 1, 1, 0, 0])
    assert got["ap"] == pytest.approx(((1 / 2 + 2 / 3) + (1 / 2 + 2 / 4) + (1 / 3 + 2 / 4)) / 3 / 2, abs=1e-15)
    assert got["ap@2"] == pytest.approx((1 / 2) * (2 / 3) / 2, abs=1e-15)
    assert got["hit@2"] == pytest.approx(2 / 3, abs=1e-15)
    assert got["hit@3"] == 1.0
    assert got["rr"] == pytest.approx((1 / 2 + 1 / 2 + 1 / 3) / 3, abs=1e-15)


def test_all_equal_and_one_relevant_is_a_uniform_rank() -> None:
    got = row([0.0] * 5, [0, 0, 1, 0, 0])
    assert got["rr"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) / 5, abs=1e-15)
    assert got["ap"] == got["rr"]
    assert got["hit@3"] == pytest.approx(3 / 5, abs=1e-15)


def test_a_query_without_relevant_items_has_no_value() -> None:
    assert all(math.isnan(value) for value in row([0.1, 0.2], [0, 0]).values())
    assert mean_over_queries(torch.tensor([NAN, 0.25, 0.75])) == (0.5, 2)
    assert mean_over_queries(torch.tensor([NAN, NAN])) == (None, 0)
    assert mean_over_queries(torch.zeros(0)) == (None, 0)


def test_minus_zero_equals_zero_and_infinities_rank() -> None:
    assert row([0.0, -0.0], [1, 0])["hit@1"] == 0.5
    assert row([math.inf, math.inf, 0.0, -math.inf], [1, 0, 0, 1])["ap"] == pytest.approx((0.75 + 2 / 4) / 2)


# ---- equal to slow plain references


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0, -math.inf]), st.integers(0, 1)), min_size=1, max_size=6))
def test_equals_the_mean_over_all_orders(items: list[tuple[float, int]]) -> None:
    scores, relevant = [score for score, _ in items], [right for _, right in items]
    expected = over_all_orders(scores, relevant)
    counted = row(scores, relevant)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ties, "_COMPARE_UP_TO", 0)
        found_in_sorted_rows = row(scores, relevant)
    for got in (counted, found_in_sorted_rows):
        assert got.keys() == expected.keys()
        for name, value in expected.items():
            assert got[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("compare_up_to", [0, 128])
def test_equals_scikit_learn_where_there_are_no_ties(compare_up_to: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ties, "_COMPARE_UP_TO", compare_up_to)
    generator = torch.Generator().manual_seed(3)
    scores = torch.stack([torch.randperm(300, generator=generator) for _ in range(50)]).double()
    relevant = torch.rand(50, 300, generator=generator) < torch.rand(50, 1, generator=generator) ** 4
    relevant[:, 0] = True
    expected = [
        average_precision_score(right.numpy(), score.numpy()) for right, score in zip(relevant, scores, strict=True)
    ]
    np.testing.assert_allclose(rank_metrics(scores, relevant)["ap"].numpy(), expected, rtol=0, atol=1e-12)


def test_equals_scikit_learn_from_an_image_to_its_facts() -> None:
    generator = torch.Generator().manual_seed(4)
    scores = torch.stack([torch.randperm(30, generator=generator) for _ in range(60)]).double()
    several = torch.rand(60, 30, generator=generator) < 0.2
    several[:, 0] = True
    expected = label_ranking_average_precision_score(several.numpy(), scores.numpy())
    assert mean_over_queries(rank_metrics(scores, several)["ap"])[0] == pytest.approx(expected, abs=1e-12)
    right = torch.randint(30, (60,), generator=generator)
    hits = rank_metrics(scores, torch.nn.functional.one_hot(right, 30).bool())
    for k in (1, 5, 10):
        expected = top_k_accuracy_score(right.numpy(), scores.numpy(), k=k, labels=np.arange(30))
        assert mean_over_queries(hits[f"hit@{k}"])[0] == pytest.approx(expected, abs=1e-12)


def exact_group(a: int, g: int, r: int, better: int, k: int) -> dict[str, Fraction]:
    """McSherry and Najork's sums for one tie group, in rationals; `better` relevant items are ahead of it."""
    rho = Fraction(r - 1, max(1, g - 1))
    share = Fraction(r, g)
    terms = [share * (better + 1 + i * rho) / (a + i + 1) for i in range(g)]
    return {
        "ap": sum(terms, Fraction(0)),
        "ap@k": sum(terms[: max(0, k - a)], Fraction(0)),
        "hit@k": 1 - Fraction(math.comb(g - r, min(g, max(0, k - a))), math.comb(g, min(g, max(0, k - a)))),
        "rr": sum(
            (Fraction(math.comb(g - t, r - 1), math.comb(g, r)) / (a + t) for t in range(1, g - r + 2)), Fraction(0)
        ),
    }


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_equals_rational_arithmetic_on_larger_groups(data: st.DataObject) -> None:
    a, g = data.draw(st.integers(0, 150)), data.draw(st.integers(1, 120))
    r, k = data.draw(st.integers(1, g)), data.draw(st.integers(1, 200))
    scores = [1.0] * a + [0.0] * g + [-1.0] * 3
    relevant = [0] * a + [1] * r + [0] * (g - r) + [0] * 3
    expected = exact_group(a, g, r, 0, k)
    got = row(scores, relevant, ap_cutoffs=(k,), hit_cutoffs=(k,))
    assert got["ap"] == pytest.approx(float(expected["ap"] / r), abs=1e-14)
    assert got[f"ap@{k}"] == pytest.approx(float(expected["ap@k"] / min(k, r)), abs=1e-14)
    assert got[f"hit@{k}"] == pytest.approx(float(expected["hit@k"]), abs=1e-14)
    assert got["rr"] == pytest.approx(float(expected["rr"]), rel=1e-12)


@pytest.mark.parametrize("ahead", [0, 7, 5000])
@pytest.mark.parametrize("right", [1, 2, 20, 60_000])
def test_a_hundred_thousand_equal_scores(ahead: int, right: int) -> None:
    items = 100_000
    scores, relevant = torch.zeros(1, items + ahead), torch.zeros(1, items + ahead, dtype=torch.bool)
    scores[:, :ahead] = 1
    relevant[:, ahead : ahead + right] = True
    got = {name: float(value) for name, value in rank_metrics(scores, relevant).items()}
    position = np.arange(1, items + 1)
    terms = (1 + (position - 1) * (right - 1) / (items - 1)) / (ahead + position) / items
    assert got["ap"] == pytest.approx(math.fsum(terms), rel=1e-12)
    assert got["ap@100"] == pytest.approx(math.fsum(terms[: max(0, 100 - ahead)]) * right / min(100, right), rel=1e-12)
    draws = max(0, 10 - ahead)
    miss = math.prod((Fraction(items - right - i, items - i) for i in range(draws)), start=Fraction(1))
    assert got["hit@10"] == pytest.approx(float(1 - miss), rel=1e-12)
    behind = items - position[:-1]
    ratios = np.maximum(behind - right + 1, 0) / behind
    probability = np.concatenate([[right / items], right / items * np.cumprod(ratios)])
    assert got["rr"] == pytest.approx(math.fsum(probability / (ahead + position)), rel=1e-12)


def test_partial_harmonic_sums_keep_their_relative_precision() -> None:
    pairs = [(0, 1), (0, 64), (63, 64), (63, 66), (64, 66), (10, 3000), (99_998, 100_000), (0, 100_000), (7, 7)]
    low, high = (torch.tensor(side, dtype=torch.float64) for side in zip(*pairs, strict=True))
    exact = [math.fsum(1 / i for i in range(a + 1, b + 1)) for a, b in pairs]
    np.testing.assert_allclose(harmonic_between(low, high).numpy(), exact, rtol=2e-15, atol=0)


# ---- properties


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_gallery_changes_no_bit(seed: int) -> None:
    scores, relevant = random_case(seed)
    order = torch.randperm(scores.shape[1], generator=torch.Generator().manual_seed(seed))
    assert same_bits(rank_metrics(scores, relevant), rank_metrics(scores[:, order], relevant[:, order]))


def test_the_order_of_the_queries_only_reorders_the_values() -> None:
    scores, relevant = random_case(5)
    order = torch.randperm(len(scores), generator=torch.Generator().manual_seed(1))
    plain = rank_metrics(scores, relevant)
    shuffled = rank_metrics(scores[order], relevant[order])
    assert same_bits({name: value[order] for name, value in plain.items()}, shuffled)


def test_only_the_order_of_scores_matters() -> None:
    scores, relevant = random_case(1)
    plain = rank_metrics(scores, relevant)
    for other in (scores.double() ** 3 * 7 - 2, scores.exp(), scores.unique(return_inverse=True)[1].float()):
        assert same_bits(plain, rank_metrics(other, relevant))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_neither_order_of_the_gallery_nor_scale_of_scores_matters(data: st.DataObject) -> None:
    items, queries = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 3))
    cells = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=items, max_size=items)
    drawn = data.draw(st.lists(cells, min_size=queries, max_size=queries))
    scores = torch.tensor([[float(score) for score, _ in line] for line in drawn])
    relevant = torch.tensor([[right for _, right in line] for line in drawn])
    plain = rank_metrics(scores, relevant)
    order = torch.tensor(data.draw(st.permutations(range(items))))
    assert same_bits(plain, rank_metrics(scores[:, order], relevant[:, order]))
    steps = data.draw(st.lists(st.integers(1, 1000), min_size=7, max_size=7))
    rising = torch.tensor(steps).cumsum(0).double()  # any strictly rising function of the seven levels
    assert same_bits(plain, rank_metrics(rising[scores.long() + 3], relevant))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_floating_type_gives_the_same(dtype: torch.dtype) -> None:
    scores, relevant = random_case(2)
    assert same_bits(rank_metrics(scores, relevant), rank_metrics(scores.to(dtype), relevant))


@pytest.mark.parametrize("seed", range(3))
def test_bounds_and_order_of_values(seed: int) -> None:
    scores, relevant = random_case(seed, queries=200)
    got = rank_metrics(scores, relevant, ap_cutoffs=(10, 150), hit_cutoffs=(1, 5, 10, 150))
    empty = ~relevant.any(1)
    assert 0 < empty.sum() < 200
    for name, value in got.items():
        assert value.dtype == torch.float64
        assert torch.equal(value.isnan(), empty), name
        assert ((value >= 0) & (value <= 1))[~empty].all(), name
    some = {name: value[~empty] for name, value in got.items()}
    assert torch.equal(some["ap@150"], some["ap"])
    assert (some["hit@1"] <= some["hit@5"]).all()
    assert (some["hit@5"] <= some["hit@10"]).all()
    assert (some["hit@150"] == 1).all()
    assert (some["hit@1"] <= some["rr"] + 1e-15).all()


@pytest.mark.parametrize("right", [1, 3, 100, 200])
def test_a_perfect_ranking_is_exactly_one_and_the_worst_is_known(right: int) -> None:
    relevant = torch.arange(200)[None] < right
    for scores in (-torch.arange(200.0)[None], relevant.float(), relevant.float() - torch.arange(200.0)[None] / 1000):
        got = rank_metrics(scores, relevant)
        assert all(value == 1.0 for value in got.values()), got
    worst = rank_metrics(torch.arange(200.0)[None], relevant)
    behind = 200 - right
    assert float(worst["ap"]) == pytest.approx(math.fsum(i / (behind + i) for i in range(1, right + 1)) / right)
    assert float(worst["rr"]) == 1 / (behind + 1)


# ---- chunks, masks, memory


@pytest.mark.parametrize("memory", [1, 20_000, 100_000])
def test_memory_changes_no_bit(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, relevant = random_case(7)
    plain = rank_metrics(scores, relevant)
    assert same_bits(plain, rank_metrics(scores, relevant))  # and twice the same
    assert same_bits(plain, rank_metrics(scores, relevant, memory_bytes=memory))
    monkeypatch.setattr(ties, "_COMPARE_BYTES", memory)
    assert same_bits(plain, rank_metrics(scores, relevant))
    for limit in (0, 10_000):
        monkeypatch.setattr(ties, "_COMPARE_UP_TO", limit)
        assert same_bits(plain, rank_metrics(scores, relevant, memory_bytes=memory))


@pytest.mark.parametrize("memory", [1, 30_000, ranking.MEMORY_BYTES])
def test_queries_together_are_the_same_as_each_alone(memory: int) -> None:
    generator = torch.Generator().manual_seed(9)
    ahead = torch.randint(60, (30, 1), generator=generator)  # of one tie group that holds every relevant item
    tied = torch.randint(2, 120, (30, 1), generator=generator)
    right = (torch.rand(30, 1, generator=generator) ** 3 * tied).ceil().clamp(min=1)
    place = torch.arange(180)
    scores = (place < ahead).float() + (place < ahead + tied).float()
    relevant = (place >= ahead) & (place < ahead + right)
    together = rank_metrics(scores, relevant, memory_bytes=memory)
    for query in range(30):
        alone = rank_metrics(scores[query : query + 1], relevant[query : query + 1])
        assert same_bits(alone, {name: value[query : query + 1] for name, value in together.items()})


@pytest.mark.parametrize("compare_up_to", [0, 128])
def test_working_memory_is_bounded(compare_up_to: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ties, "_COMPARE_UP_TO", compare_up_to)
    bound = 250_000
    monkeypatch.setattr(ties, "_COMPARE_BYTES", bound // 4)
    scores, relevant = random_case(0, queries=700, items=400, levels=3)
    relevant &= torch.rand(relevant.shape, generator=torch.Generator().manual_seed(0)) < 0.05
    given_storages = {scores.untyped_storage().data_ptr(), relevant.untyped_storage().data_ptr()}
    assert scores.nbytes > 4 * bound
    largest = 0

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            out = function(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, (tuple, list)) else [out]:
                if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() not in given_storages:
                    largest = max(largest, tensor.untyped_storage().nbytes())
            return out

    with Watch():
        rank_metrics(scores, relevant, memory_bytes=bound)
    assert 0 < largest <= bound


@pytest.mark.parametrize("compare_up_to", [0, 128])
def test_a_gallery_mask_is_the_same_as_slicing(compare_up_to: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ties, "_COMPARE_UP_TO", compare_up_to)
    scores, relevant = random_case(4)
    scores[scores == 0.25] = -torch.inf  # a real score of -inf must not tie with what is masked
    generator = torch.Generator().manual_seed(0)
    gallery = torch.rand(scores.shape[1], generator=generator) < 0.6
    broken = scores.clone()
    broken[:, ~gallery] = NAN  # what is outside may be anything
    sliced = rank_metrics(scores[:, gallery], relevant[:, gallery])
    assert same_bits(sliced, rank_metrics(broken, relevant, gallery=gallery))
    each = torch.rand(scores.shape, generator=generator) < 0.6
    got = rank_metrics(scores, relevant, gallery=each)
    for query in range(len(scores)):
        alone = rank_metrics(scores[query : query + 1, each[query]], relevant[query : query + 1, each[query]])
        assert same_bits(alone, {name: value[query : query + 1] for name, value in got.items()})


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_nothing_to_rank(shape: tuple[int, int]) -> None:
    got = rank_metrics(torch.zeros(shape), torch.zeros(shape, dtype=torch.bool))
    assert all(len(value) == shape[0] and value.isnan().all() for value in got.values())


# ---- wrong use


def test_arguments_are_left_as_they_were() -> None:
    scores, relevant = random_case(6)
    gallery = torch.arange(scores.shape[1]) % 2 == 0
    before = scores.clone(), relevant.clone(), gallery.clone()
    rank_metrics(scores, relevant, gallery=gallery)
    assert all(torch.equal(one, two) for one, two in zip(before, (scores, relevant, gallery), strict=True))


@pytest.mark.parametrize("right", [True, False])
def test_nan_is_refused_with_its_place(right: bool) -> None:
    scores, relevant = random_case(6)
    scores[11, 17] = NAN
    scores[12, 3], scores[12, 4] = math.inf, -math.inf
    relevant[11] = right
    with pytest.raises(UserError, match=r"query 11 for gallery item 17 is not a number"):
        rank_metrics(scores, relevant)


def test_wrong_shapes_and_types_are_refused() -> None:
    scores, relevant = torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="floating point"):
        rank_metrics(relevant, relevant)
    with pytest.raises(ValueError, match="relevant must be"):
        rank_metrics(scores, relevant[:, :2])
    with pytest.raises(ValueError, match="relevant must be"):
        rank_metrics(scores, scores)
    with pytest.raises(ValueError, match="gallery must be"):
        rank_metrics(scores, relevant, gallery=relevant[:, 0])
    with pytest.raises(ValueError, match="start at 1"):
        rank_metrics(scores, relevant, hit_cutoffs=(0,))


def test_every_metric_has_a_definition() -> None:
    scores, relevant = random_case(0)
    for name in rank_metrics(scores, relevant):
        assert "{" not in definitions.definition(name), name
    assert "first 100 ranks" in definitions.definition("ap@100")
    assert "mean_j R[T,j]" in definitions.definition("average")
    with pytest.raises(UserError, match="did you mean 'average'"):
        definitions.definition("averge")


@pytest.mark.parametrize("module", [ranking, definitions])
def test_examples_in_docstrings(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0
