"""Task losses: pure functions of a batch's embeddings and the facts that hold in its pictures.

All take F (B, 3, D) raw embeddings, L (M, 3, D) language embeddings of the task's facts, their masks (M, 3) and the
relevance (B, M), 1.0 where a fact holds in a picture; every picture has at least one. All return a scalar tensor.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mas_triplets.config import LossConfig
from mas_triplets.errors import unknown
from mas_triplets.model.triplet import slot_scores

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def euclidean_loss(F: Tensor, L: Tensor, mask: Tensor, relevance: Tensor) -> Tensor:
    """Sherlock's squared distance, L = 1/(2B) sum_i sum_k m_ik ||F_k(x_i) - T_ik||^2 (Elhoseiny et al., AAAI 2017).

    All facts of a picture are folded into one target a slot: T_ik is the mean of L_k over its facts that have slot k,
    and m_ik is 1 if there is one. Up to a constant this is the mean of the distances to each of them.

    Example: F = L = one fact's vectors gives 0; F = 0 with one fact of order 2 gives (1 + 1) / 2 = 1.
    """
    return _squared_distance(F, L, mask, relevance).sum() / (2 * len(F))


def _squared_distance(F: Tensor, L: Tensor, mask: Tensor, relevance: Tensor) -> Tensor:
    """Return sum_k m_ik ||F_k(x_i) - T_ik||^2, (B,)."""
    count = relevance @ mask
    target = torch.einsum("bm,mkd->bkd", relevance, L * mask.unsqueeze(-1)) / count.clamp_min(1).unsqueeze(-1)
    squared = (F - target).square().sum(-1)
    return (squared * (count > 0)).sum(1)


def contrastive_loss(F: Tensor, L: Tensor, mask: Tensor, relevance: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Softmax over the task's facts and over the batch's pictures, with several right answers, mean of both directions.

    For a picture i with right facts P_i: -1/|P_i| sum_{p in P_i} log softmax_p(score_i / temperature), the mean over
    pictures (the many-positives form of Khosla et al., NeurIPS 2020, Eq. 2); for the facts that hold in the batch the
    same over its pictures. Scores are cosines.
    """
    logits = slot_scores(F.flatten(1), L, mask, "cosine") / temperature
    to_fact = -(logits.log_softmax(1) * relevance).sum(1) / relevance.sum(1)
    held = relevance.sum(0)
    to_image = -(logits.log_softmax(0) * relevance).sum(0) / held.clamp_min(1)
    return 0.5 * (to_fact.mean() + to_image.sum() / (held > 0).sum())


def ranking_loss(
    F: Tensor, L: Tensor, mask: Tensor, relevance: Tensor, *, margin: float = 0.2, negatives: str = "hardest"
) -> Tensor:
    """Margin between each right fact of a picture and its wrong facts: max(0, margin + wrong - right), cosines.

    `hardest`: against the highest wrong fact (VSE++, Faghri et al., BMVC 2018); `all`: the mean over all wrong ones.
    The mean over the right (picture, fact) pairs; a picture for which every fact of the task is right gives 0.
    """
    scores = slot_scores(F.flatten(1), L, mask, "cosine")
    wrong = 1 - relevance
    if negatives == "hardest":
        hardest = scores.masked_fill(relevance > 0, -torch.inf).amax(1, keepdim=True)
        violation = (margin + hardest - scores).clamp_min(0)
    else:
        pairs = (margin + scores.unsqueeze(1) - scores.unsqueeze(2)).clamp_min(0)  # (B, right, wrong)
        violation = (pairs * wrong.unsqueeze(1)).sum(2) / wrong.sum(1, keepdim=True).clamp_min(1)
    return (violation * relevance).sum() / relevance.sum()


def log_likelihood(config: LossConfig, F: Tensor, L: Tensor, mask: Tensor, relevance: Tensor) -> Tensor:
    """Return log p(facts of picture i | x_i) up to a constant, (B,): what EWC's Fisher is taken of.

    `euclidean`: a Gaussian of variance 1 around F, -1/2 sum_k m_ik ||F_k(x_i) - T_ik||^2. The others: a softmax over
    the task's facts at the loss's temperature, the mean of log p over the right ones.
    """
    if config.name == "euclidean":
        return -0.5 * _squared_distance(F, L, mask, relevance)
    logits = slot_scores(F.flatten(1), L, mask, "cosine") / config.temperature
    return (logits.log_softmax(1) * relevance).sum(1) / relevance.sum(1)


def make_loss(config: LossConfig) -> Loss:
    """Return the loss that `config.name` names, with its options bound.

    Raises:
        UserError: the name is unknown.
    """
    losses: dict[str, Loss] = {
        "euclidean": euclidean_loss,
        "contrastive": lambda F, L, mask, relevance: contrastive_loss(
            F, L, mask, relevance, temperature=config.temperature
        ),
        "ranking": lambda F, L, mask, relevance: ranking_loss(
            F, L, mask, relevance, margin=config.margin, negatives=config.negatives
        ),
    }
    if config.name not in losses:
        raise unknown("loss", config.name, losses)
    return losses[config.name]
