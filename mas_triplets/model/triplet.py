"""The joint embedding: a picture's three slot embeddings F = [F_S, F_P, F_O], and its score against facts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mas_triplets.config import ModelConfig
from mas_triplets.errors import UserError
from mas_triplets.facts import SLOTS, Fact
from mas_triplets.model.images import ImageEncoder, make_image_encoder
from mas_triplets.model.language import LanguageTable

BRANCH = {"subject": 0, "predicate": 1, "object": 1}
"""Which branch of an encoder with two serves a slot (Sherlock, Elhoseiny et al., AAAI 2017)."""


class TripletModel(nn.Module):
    """Image encoder, trunk and one head a slot; `model(x)` is the raw embedding, before any normalisation.

    An encoder with two branches has a trunk for each. A frozen encoder's features are standardised with the mean and
    deviation given to `standardise_features`. With `residual`, the heads are added to the features and start at zero.

    Raises:
        UserError: `residual`, and features and language embeddings do not have as many numbers.
    """

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, config: ModelConfig, language: LanguageTable) -> None:
        super().__init__()
        self.config = config
        self.language = language
        self.encoder: ImageEncoder = make_image_encoder(config.image)
        features = self.encoder.features
        if config.residual and features != language.dim:
            raise UserError(
                f"model.residual adds to the features of {self.encoder.about} ({features} numbers) what should be near "
                f"the {language.dim} numbers of {language.name}: take image and text encoder of one checkpoint"
            )
        shape = (features,) if self.encoder.branches == 1 else (self.encoder.branches, features)
        self.register_buffer("feature_mean", torch.zeros(shape))
        self.register_buffer("feature_std", torch.ones(shape))
        self.trunk: nn.Module = (
            _trunk(features, config)
            if self.encoder.branches == 1
            else nn.ModuleList(_trunk(features, config) for _ in range(self.encoder.branches))
        )
        self.heads = nn.ModuleDict({slot: nn.Linear(self.head_width, language.dim) for slot in SLOTS})
        with torch.no_grad():
            for head in self.heads.values():
                for parameter in head.parameters():
                    parameter.mul_(0 if config.residual else config.head_scale)

    @property
    def dim(self) -> int:
        """Numbers a slot, D."""
        return self.language.dim

    @property
    def head_width(self) -> int:
        """Numbers that each head takes, H."""
        return (self.encoder.features, *self.config.hidden)[-1]

    @property
    def takes_features(self) -> bool:
        """Whether learning and importance may start from what the encoder's frozen part gave, kept on disk."""
        return self.encoder.kept_shape is not None

    @property
    def standardises(self) -> bool:
        """Whether features are standardised: those of an encoder of which nothing is learnt."""
        return self.config.image.frozen

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the raw embedding (N, 3D), float32.

        Args:
            inputs: pictures (N, H, W, 3), uint8, or what the encoder's frozen part gave for them, (N, *kept_shape).
        """
        given = self.features(inputs)
        hidden = self.hidden(given)
        slots = [head(hidden[BRANCH[slot]]) for slot, head in self.heads.items()]
        if self.config.residual:
            slots = [
                change + (given if given.ndim == 2 else given[:, BRANCH[slot]])
                for slot, change in zip(self.heads, slots, strict=True)
            ]
        return torch.cat(slots, dim=1).float()

    def features(self, inputs: Tensor) -> Tensor:
        """Return what the encoder gives for what `forward` takes, (N, features) or (N, branches, features)."""
        return self.encoder.learnt_part(inputs if inputs.is_floating_point() else self.encoder.frozen_part(inputs))

    def hidden(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the heads take, (N, width) for each branch; the same tensor twice where there is one trunk."""
        if self.standardises:
            features = (features - self.feature_mean) / self.feature_std
        if isinstance(self.trunk, nn.ModuleList):
            first, second = (trunk(features[:, branch]) for branch, trunk in enumerate(self.trunk))
            return first, second
        together = self.trunk(features)
        return together, together

    def standardise_features(self, features: Tensor) -> None:
        """Set the mean and deviation of features (N, features) that inputs are standardised with, in every branch."""
        self.feature_mean.copy_(features.mean(0))
        spread = features.std(0, correction=0)
        usual = spread.mean().clamp_min(1e-6)
        # a feature that these pictures leave as it is may stir with later ones, which must not become a million then
        self.feature_std.copy_(torch.where(spread > 1e-3 * usual, spread, usual))

    def own_tensors(self) -> dict[str, Tensor]:
        """Return the tensors a run must keep: all but what is frozen in the encoder, which comes with its weights."""
        frozen = {f"encoder.{name}" for name in self.encoder.frozen_tensors()}
        return {name: tensor.contiguous() for name, tensor in self.state_dict().items() if name not in frozen}

    def load_own_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `own_tensors` gave.

        Raises:
            ValueError: a tensor is missing, unexpected, or of another shape.
        """
        wanted = self.own_tensors()
        wrong = sorted(wanted.keys() ^ tensors.keys())
        wrong += [name for name in wanted.keys() & tensors.keys() if wanted[name].shape != tensors[name].shape]
        if wrong:
            raise ValueError(", ".join(wrong[:3]))
        self.load_state_dict(dict(tensors), strict=False)

    def score(self, embedding: Tensor, facts: Sequence[Fact]) -> Tensor:
        """Return the scores (N, M) of raw embeddings (N, 3D) against M facts or queries."""
        vectors, mask = self.language.embed(facts)
        return slot_scores(embedding, vectors, mask, self.config.score)


def _trunk(features: int, config: ModelConfig) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Dropout(config.input_dropout)] if config.input_dropout else []
    for before, after in itertools.pairwise((features, *config.hidden)):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers)


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
