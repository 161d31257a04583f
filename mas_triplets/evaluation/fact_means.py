"""What pictures and facts are compared by: embeddings and language, or for class means features and their means."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from mas_triplets.evaluation.benchmark import Benchmark
from mas_triplets.evaluation.embedding import Embed
from mas_triplets.model.triplet import TripletModel
from mas_triplets.training.run_folder import RunFolder

_MEANS = "class-means"


def asked_after(run: RunFolder, stage: int, model: TripletModel, benchmark: Benchmark) -> tuple[Embed, Benchmark]:
    """Return how pictures are embedded after a stage of a run, and the question in the same space.

    Args:
        run: the run.
        stage: its number; 0 is the untrained model.
        model: of that stage.
        benchmark: what is asked in language.
    """
    if run.config.lifelong.strategy == _MEANS:
        return _asked_of_means(run, stage, model, benchmark)
    return model, benchmark


def _asked_of_means(run: RunFolder, stage: int, model: TripletModel, benchmark: Benchmark) -> tuple[Embed, Benchmark]:
    """Return the same for a run of class means.

    A picture is [x - m, x - m, x - m], a fact the same with its mean m_f, so that the mean over slots of their cosines
    is cos(x - m, m_f - m) and whatever takes slots goes on as ever. A fact that was not seen is 0, and scores 0.
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
