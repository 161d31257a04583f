"""A fixed random vector for each text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mas_triplets.config import TextEncoderConfig
from mas_triplets.model.texts.encoder import Encoded, made_up
from mas_triplets.model.texts.templates import Templates
from mas_triplets.progress import SILENT, Silent


class RandomVectors:
    """A fixed random vector for each text: what is left when language carries no meaning. A control."""

    makes_up = True

    def __init__(self, config: TextEncoderConfig) -> None:
        self.name = f"random-{config.dim}"
        self._dim, self._templates = config.dim, Templates.of(config.template)
        self.per_slot = self._templates.per_slot

    def encode(self, texts: Sequence[str], slot: str = "subject", progress: Silent = SILENT) -> Encoded:
        """Return (N, dim) vectors; every text is unknown."""
        del progress
        sentence = self._templates[slot]
        return Encoded(np.stack([made_up(sentence.fill(text), self._dim) for text in texts]), tuple(texts))

    def fingerprint(self) -> str:
        """The number of numbers and the templates: nothing else matters."""
        return f"{self.name} {self._templates}"
