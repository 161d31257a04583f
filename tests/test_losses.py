"""Losses and scores: against plain loops, and numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mas_triplets.config import LossConfig
from mas_triplets.errors import UserError
from mas_triplets.model.losses import contrastive_loss, euclidean_loss, make_loss, ranking_loss
from mas_triplets.model.triplet import gallery_rows, query_rows, slot_scores

B, M, D = 5, 7, 4


@pytest.fixture
def case() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    F = torch.randn(B, 3, D, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 1], [1, 1, 0], [1, 1, 1]]).double()
    L = torch.nn.functional.normalize(torch.randn(M, 3, D, generator=generator, dtype=torch.float64), dim=-1)
    L = L * mask.unsqueeze(-1)
    relevance = (torch.rand(B, M, generator=generator) < 0.4).double()
    relevance[torch.arange(B), torch.arange(B)] = 1
    relevance[0] = torch.tensor([1, 0, 0, 1, 0, 0, 0])  # a picture with facts of order 1 alone
    return F, L, mask, relevance


def plain_score(F: Tensor, L: Tensor, mask: Tensor, kind: str) -> float:
    slots = [k for k in range(3) if mask[k]]
    if kind == "cosine":
        return sum(float(F[k] @ L[k] / F[k].norm() / L[k].norm()) for k in slots) / len(slots)
    return -sum(float((F[k] - L[k]).square().sum()) for k in slots)


@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
def test_scores_equal_a_plain_loop_for_every_mask(kind: str) -> None:
    F = torch.randn(6, 3, D, dtype=torch.float64)
    mask = torch.tensor([[m >> k & 1 for k in range(3)] for m in range(1, 8)]).double()
    L = torch.nn.functional.normalize(torch.randn(7, 3, D, dtype=torch.float64), dim=-1) * mask.unsqueeze(-1)
    scores = slot_scores(F.flatten(1), L, mask, kind)
    for i in range(6):
        for j in range(7):
            assert scores[i, j].item() == pytest.approx(plain_score(F[i], L[j], mask[j], kind))
    width = 3 * D + (3 if kind == "euclidean" else 0)
    assert gallery_rows(F.flatten(1), D, kind).shape == (6, width)
    assert query_rows(L, mask, kind).shape == (7, width)


def test_euclidean_equals_a_plain_loop(case: tuple[Tensor, ...]) -> None:
    F, L, mask, relevance = case
    total = 0.0
    for i in range(B):
        for k in range(3):
            targets = [L[m, k] for m in range(M) if relevance[i, m] and mask[m, k]]
            if targets:
                total += float((F[i, k] - torch.stack(targets).mean(0)).square().sum())
    assert euclidean_loss(F, L, mask, relevance).item() == pytest.approx(total / (2 * B))


def test_euclidean_has_the_gradient_of_the_unfolded_distances(case: tuple[Tensor, ...]) -> None:
    F, L, mask, relevance = case
    F = F.requires_grad_()
    folded = torch.autograd.grad(euclidean_loss(F, L, mask, relevance), F)[0]
    terms = [
        (F[i, k] - L[m, k]).square().sum() / sum(bool(relevance[i, n] and mask[n, k]) for n in range(M))
        for i in range(B)
        for m in range(M)
        for k in range(3)
        if relevance[i, m] and mask[m, k]
    ]
    unfolded = torch.autograd.grad(torch.stack(terms).sum() / (2 * B), F)[0]
    torch.testing.assert_close(folded, unfolded)


def test_euclidean_by_hand() -> None:
    L = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])
    mask = torch.tensor([[1.0, 1.0, 0.0]])
    one = torch.ones(1, 1)
    assert euclidean_loss(L, L, mask, one).item() == 0
    assert euclidean_loss(torch.zeros(1, 3, 2), L, mask, one).item() == 1.0
    far = L + torch.tensor([0.0, 0.0, 5.0]).view(1, 3, 1)  # the open slot does not count
    assert euclidean_loss(far, L, mask, one).item() == 0


def test_contrastive_equals_a_plain_loop(case: tuple[Tensor, ...]) -> None:
    F, L, mask, relevance = case
    scores = [[plain_score(F[i], L[j], mask[j], "cosine") / 0.1 for j in range(M)] for i in range(B)]
    rows = []
    for i in range(B):
        denominator = math.log(sum(math.exp(scores[i][j]) for j in range(M)))
        right = [j for j in range(M) if relevance[i, j]]
        rows.append(-sum(scores[i][j] - denominator for j in right) / len(right))
    columns = []
    for j in range(M):
        denominator = math.log(sum(math.exp(scores[i][j]) for i in range(B)))
        right = [i for i in range(B) if relevance[i, j]]
        if right:
            columns.append(-sum(scores[i][j] - denominator for i in right) / len(right))
    expected = 0.5 * (sum(rows) / len(rows) + sum(columns) / len(columns))
    assert contrastive_loss(F, L, mask, relevance, temperature=0.1).item() == pytest.approx(expected)


@pytest.mark.parametrize("negatives", ["hardest", "all"])
def test_ranking_equals_a_plain_loop(case: tuple[Tensor, ...], negatives: str) -> None:
    F, L, mask, relevance = case
    terms = []
    for i in range(B):
        scores = [plain_score(F[i], L[j], mask[j], "cosine") for j in range(M)]
        wrong = [scores[j] for j in range(M) if not relevance[i, j]]
        for j in range(M):
            if relevance[i, j]:
                violations = [max(0.0, 0.2 + other - scores[j]) for other in wrong]
                terms.append(max(violations) if negatives == "hardest" else sum(violations) / len(violations))
    found = ranking_loss(F, L, mask, relevance, margin=0.2, negatives=negatives)
    assert found.item() == pytest.approx(sum(terms) / len(terms))


def test_a_picture_for_which_every_fact_is_right_costs_nothing_to_rank(case: tuple[Tensor, ...]) -> None:
    F, L, mask, _ = case
    for negatives in ("hardest", "all"):
        assert ranking_loss(F, L, mask, torch.ones(B, M).double(), negatives=negatives).item() == 0


@pytest.mark.parametrize("name", ["euclidean", "contrastive", "ranking"])
def test_each_loss_falls_when_it_is_minimised(case: tuple[Tensor, ...], name: str) -> None:
    F, L, mask, relevance = case
    loss = make_loss(LossConfig(name=name))
    F = F.clone().requires_grad_()
    before = loss(F, L, mask, relevance)
    for _ in range(50):
        value = loss(F, L, mask, relevance)
        (gradient,) = torch.autograd.grad(value, F)
        F = (F - 0.1 * gradient).detach().requires_grad_()
    assert loss(F, L, mask, relevance) < 0.9 * before


def test_an_unknown_loss_is_told() -> None:
    with pytest.raises(UserError, match="did you mean 'contrastive'"):
        make_loss(LossConfig(name="contrastiv"))
