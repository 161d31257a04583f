"""Asking a run of class means: features are compared with the mean features of the facts, and no language is used."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from mas_triplets.evaluation.benchmark import Benchmark
from mas_triplets.evaluation.embedding import Embed
from mas_triplets.model.triplet import TripletModel
from mas_triplets.training.run_folder import RunFolder

METHOD = "class-means"


def asked_of_means(run: RunFolder, stage: int, model: TripletModel, benchmark: Benchmark) -> tuple[Embed, Benchmark]:
    """Return how pictures are embedded after a stage, and the question in the same space.

    A picture is [x - m, x - m, x - m], a fact the same with its mean m_f, so that the mean over slots of their cosines
    is cos(x - m, m_f - m) and whatever takes slots goes on as ever. A fact that was not seen is 0, and scores 0.

    Args:
        run: a run of class means.
        stage: its number; 0 is the untrained model, which has seen no fact.
        model: of that stage.
        benchmark: what is asked in language.
    """
    held = run.fact_vectors(stage)
    width = model.encoder.features * model.encoder.branches
    centre = held["centre"] if held else torch.zeros(width)
    vectors = torch.zeros(len(benchmark.vectors), width)
    if held:
        vectors[held["fact_ids"]] = torch.nn.functional.normalize(held["vectors"] - centre, dim=1)

    def embed(inputs: Tensor) -> Tensor:
        return (model.features(inputs).flatten(1).float().cpu() - centre).repeat(1, 3)

    asked = dataclasses.replace(
        benchmark,
        vectors=vectors[:, None].expand(-1, 3, -1),
        mask=torch.ones(len(vectors), 3),
        score="cosine",
    )
    return embed, asked
