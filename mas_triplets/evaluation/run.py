"""Evaluating a run: the model after every stage on every task, and all of it as one results.json."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mas_triplets.data.items import items_of
from mas_triplets.data.prepared import IntArray, PreparedDataset
from mas_triplets.errors import UserError
from mas_triplets.evaluation.definitions import definition
from mas_triplets.evaluation.protocol import (
    DIRECTIONS,
    GALLERIES,
    POLICIES,
    Benchmark,
    StageScores,
    generalized_scores,
    standard_scores,
)
from mas_triplets.evaluation.results import Results, Scores, collect
from mas_triplets.files import write_json
from mas_triplets.lifelong import STRATEGIES
from mas_triplets.model.inputs import BATCH, ItemInputs, item_inputs
from mas_triplets.model.triplet import TripletModel
from mas_triplets.progress import SILENT, Silent
from mas_triplets.threads import limited_threads
from mas_triplets.training.run_folder import RunFolder


def evaluate(run: RunFolder | str | Path, *, part: str | None = None, progress: Silent = SILENT) -> Results:
    """Evaluate the models of all finished stages and write results.json and each stage's metrics.json.

    Args:
        run: the run, or its folder.
        part: `val` or `test`; the configuration's `evaluation.part` if None. With another part than the
            configuration's nothing is written.
        progress: who is told how far it is.

    Raises:
        UserError: there is no finished run, or its data set is gone or has changed.
    """
    run = run if isinstance(run, RunFolder) else RunFolder(run)
    run.check_learnt()
    dataset = run.dataset()
    split = run.split(dataset)
    part = part or run.config.evaluation.part
    benchmark = _benchmark(run, dataset, tuple(np.array(task.fact_ids) for task in split.tasks), part)
    if not len(benchmark.items_of_tasks(range(len(benchmark.tasks)))):
        raise UserError(
            f"{dataset.folder} has no picture in the part '{part}': evaluate another part with --part, or prepare the "
            "data set with pictures in it"
        )
    scores: Scores = {}
    with limited_threads(run.config.train.threads):
        for stage, found in _stages(run, dataset, benchmark, progress):
            scores[stage] = found
    results = collect(run, dataset, [task.name for task in split.tasks], part, scores)
    if part == run.config.evaluation.part:
        for stage, found in scores.items():
            write_json(run.task_folder(stage) / "metrics.json", _stage_record(found))
        write_json(run.path / "results.json", results)
    return results


def _benchmark(run: RunFolder, dataset: PreparedDataset, tasks: tuple[IntArray, ...], part: str) -> Benchmark:
    vectors, mask = run.language.embed(dataset.facts)
    items = items_of(dataset, run.config.data.region)
    return Benchmark(items, (part,), tasks, vectors, mask, run.config.model.score)


def _stages(
    run: RunFolder, dataset: PreparedDataset, benchmark: Benchmark, progress: Silent
) -> Iterator[tuple[int, dict[tuple[str, str, str], StageScores]]]:
    """Yield each stage's scores by (direction, gallery, policy); the untrained model is stage 0.

    Pictures that cannot be read are in no gallery.
    """
    last = run.stages
    merged = STRATEGIES[run.config.lifelong.strategy].merges_tasks
    every = range(len(benchmark.tasks))
    chosen = benchmark.items_of_tasks(every)
    kept = torch.empty(0)
    filled = np.zeros(0, dtype=np.bool_)
    inputs: ItemInputs | None = None
    for stage in progress.track(range(last + 1), "evaluating", last + 1):
        model = run.load_model(stage)
        if inputs is None:
            inputs = item_inputs(model, dataset, benchmark.items, run.config, progress)
        readable, embedding = embed_items(model, inputs, chosen)
        if len(readable) < len(chosen):
            items = benchmark.items.without(inputs.unreadable)
            benchmark, chosen = dataclasses.replace(benchmark, items=items), chosen[readable]
            _report(inputs, len(chosen), progress)
            if len(filled):
                kept, filled = kept[torch.from_numpy(readable)], filled[readable]
        position = np.full(len(benchmark.items), -1)
        position[chosen] = np.arange(len(chosen))
        if not len(filled):
            kept, filled = torch.empty_like(embedding), np.zeros(len(chosen), dtype=np.bool_)
        seen = range(len(benchmark.tasks)) if merged and stage else range(stage)
        if stage:
            new = np.zeros(len(chosen), dtype=np.bool_)
            new[position[benchmark.items_of_tasks(seen)]] = True
            new &= ~filled
            kept[torch.from_numpy(new)] = embedding[torch.from_numpy(new)]
            filled |= new
        found: dict[tuple[str, str, str], StageScores] = {}
        for direction in DIRECTIONS:
            found[direction, "standard", "reembedded"] = standard_scores(
                benchmark, embedding, position, every, direction
            )
            if stage:
                found[direction, "standard", "kept"] = standard_scores(benchmark, kept, position, seen, direction)
                for policy, gallery in (("reembedded", embedding), ("kept", kept)):
                    found[direction, "generalized", policy] = generalized_scores(
                        benchmark, gallery, position, seen, direction
                    )
        yield stage, found


def _report(inputs: ItemInputs, left: int, progress: Silent) -> None:
    first = next(iter(inputs.unreadable.values()))
    progress.note(f"{len(inputs.unreadable)} pictures cannot be read and are in no gallery; the first: {first}")
    if not left:
        raise UserError(f"none of the pictures to evaluate on can be read; the first: {first}")


def embed_items(model: TripletModel, inputs: ItemInputs, items: IntArray) -> tuple[IntArray, Tensor]:
    """Return the places in `items` of those that can be read, and their raw embeddings (n, 3D), on the CPU."""
    places: list[IntArray] = []
    rows: list[Tensor] = []
    with torch.no_grad():
        for start, (positions, batch) in zip(range(0, len(items), BATCH), inputs.batches(items, BATCH), strict=True):
            places.append(positions + start)
            if len(batch):
                rows.append(model(batch).cpu())
    if not rows:
        return np.empty(0, dtype=np.int64), torch.zeros(0, 3 * model.dim)
    return np.concatenate(places), torch.cat(rows)


def _stage_record(found: dict[tuple[str, str, str], StageScores]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for (direction, gallery, policy), scores in found.items():
        record.setdefault(direction, {}).setdefault(gallery, {})[policy] = {
            name: {"definition": definition(name), "by_task": values, "all": scores.all[name] if scores.all else None}
            for name, values in scores.by_task.items()
        }
    return {"galleries": GALLERIES, "policies": POLICIES, **record}
