"""The joint embedding: a picture's three slot embeddings F = [F_S, F_P, F_O], and its score against facts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mas_triplets.config import ModelConfig
from mas_triplets.facts import SLOTS, Fact
from mas_triplets.model.image_encoders import ImageEncoder, make_image_encoder
from mas_triplets.model.language import LanguageTable


class TripletModel(nn.Module):
    """Image encoder, trunk and one head a slot; `model(x)` is the raw embedding, before any normalisation.

    A frozen encoder's features are standardised with the mean and deviation given to `standardise_features`.
    """

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, config: ModelConfig, language: LanguageTable) -> None:
        super().__init__()
        self.config = config
        self.language = language
        self.encoder: ImageEncoder = make_image_encoder(config.image)
        self.register_buffer("feature_mean", torch.zeros(self.encoder.features))
        self.register_buffer("feature_std", torch.ones(self.encoder.features))
        widths = (self.encoder.features, *config.hidden)
        trunk: list[nn.Module] = [nn.Dropout(config.input_dropout)] if config.input_dropout else []
        for before, after in itertools.pairwise(widths):
            trunk += [nn.Linear(before, after), nn.ReLU()]
        self.trunk = nn.Sequential(*trunk)
        self.heads = nn.ModuleDict({slot: nn.Linear(widths[-1], language.dim) for slot in SLOTS})
        with torch.no_grad():
            for head in self.heads.values():
                for parameter in head.parameters():
                    parameter.mul_(config.head_scale)

    @property
    def dim(self) -> int:
        """Numbers a slot, D."""
        return self.language.dim

    @property
    def takes_features(self) -> bool:
        """Whether the encoder is frozen, so that learning and importance start from its cached features."""
        return not self.config.image.trainable

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the raw embedding (N, 3D).

        Args:
            inputs: pictures (N, H, W, 3), uint8, or features (N, features), float, of the frozen encoder.
        """
        features = self.encode(inputs) if inputs.ndim == 4 else inputs
        if self.takes_features:
            features = (features - self.feature_mean) / self.feature_std
        hidden = self.trunk(features)
        return torch.cat([head(hidden) for head in self.heads.values()], dim=1)

    def encode(self, pictures: Tensor) -> Tensor:
        """Return the features (N, features) of pictures (N, H, W, 3), uint8; no gradient flows if frozen."""
        if self.takes_features:
            was_training = self.encoder.training
            self.encoder.eval()
            with torch.no_grad():
                features: Tensor = self.encoder(pictures)
            self.encoder.train(was_training)
            return features
        return self.encoder(pictures)  # type: ignore[no-any-return]

    def standardise_features(self, features: Tensor) -> None:
        """Set the mean and deviation of features (N, features) that inputs are standardised with."""
        self.feature_mean.copy_(features.mean(0))
        self.feature_std.copy_(features.std(0, correction=0).clamp_min(1e-6))

    def score(self, embedding: Tensor, facts: Sequence[Fact]) -> Tensor:
        """Return the scores (N, M) of raw embeddings (N, 3D) against M facts or queries."""
        vectors, mask = self.language.embed(facts)
        return slot_scores(embedding, vectors, mask, self.config.score)


def slot_scores(embedding: Tensor, vectors: Tensor, mask: Tensor, kind: str) -> Tensor:
    """Return the scores (N, M) of pictures for facts, with the masks of the facts.

    cosine: the mean over present slots of cos(F_k, L_k). euclidean: minus the sum over present slots of
    ||F_k - L_k||^2. Both are one matrix product.

    Args:
        embedding: (N, 3D) raw embeddings.
        vectors: (M, 3, D) language embeddings, unit length, zero in absent slots.
        mask: (M, 3), 0 or 1, at least one 1 a row.
        kind: `cosine` or `euclidean`.
    """
    gallery, queries = gallery_rows(embedding, vectors.shape[-1], kind), query_rows(vectors, mask, kind)
    scores = gallery @ queries.T
    if kind == "euclidean":  # |L|^2 is the same for every picture: a row of FAISS does not need it, the score does
        scores = scores - (vectors.square().sum(-1) * mask).sum(-1)
    return scores


def gallery_rows(embedding: Tensor, dim: int, kind: str) -> Tensor:
    """Return what a picture is in an inner-product index: (N, 3D) for cosine, (N, 3D + 3) for euclidean.

    cosine: [F_S/|F_S|, F_P/|F_P|, F_O/|F_O|]. euclidean: [F_S, F_P, F_O, -|F_S|^2, -|F_P|^2, -|F_O|^2].
    """
    slots = embedding.reshape(len(embedding), 3, dim)
    if kind == "cosine":
        return nn.functional.normalize(slots, dim=-1).reshape(len(embedding), 3 * dim)
    return torch.cat([embedding, -slots.square().sum(-1)], dim=1)


def query_rows(vectors: Tensor, mask: Tensor, kind: str) -> Tensor:
    """Return what a query is in an inner-product index, so that one index serves every mask.

    cosine: m_k L_k / (number of present slots). euclidean: [2 m_k L_k ..., m_S, m_P, m_O].
    """
    masked = vectors * mask.unsqueeze(-1)
    if kind == "cosine":
        return (masked / mask.sum(-1).view(-1, 1, 1)).flatten(1)
    return torch.cat([2 * masked.flatten(1), mask], dim=1)


def make_model(config: ModelConfig, language: LanguageTable, seed: int) -> TripletModel:
    """Build a model whose initial weights depend on `seed` alone; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TripletModel(config, language)
