"""Evaluating a run: the model after every stage on every task, and all of it as one results.json."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mas_triplets.data.items import items_of
from mas_triplets.data.prepared import IntArray, PreparedDataset
from mas_triplets.errors import UserError
from mas_triplets.evaluation.accuracy import accuracy_record
from mas_triplets.evaluation.benchmark import Benchmark
from mas_triplets.evaluation.definitions import definition
from mas_triplets.evaluation.drift import drift_record, drift_row
from mas_triplets.evaluation.embedding import embed_items, report_unreadable
from mas_triplets.evaluation.fact_codes import fact_codes
from mas_triplets.evaluation.fact_groups import by_seen, by_training_count, training_counts
from mas_triplets.evaluation.fact_means import asked_after
from mas_triplets.evaluation.generalisations import with_generalisations
from mas_triplets.evaluation.old_vectors import OldVectors, switches
from mas_triplets.evaluation.protocol import GALLERIES, POLICIES, StageScores, generalized_scores, standard_scores
from mas_triplets.evaluation.results import Results, Row, collect, stage_rows
from mas_triplets.evaluation.swapped_roles import swapped_record
from mas_triplets.files import write_json
from mas_triplets.lifelong import merges_tasks
from mas_triplets.model.inputs import ItemInputs, item_inputs
from mas_triplets.model.triplet import TripletModel
from mas_triplets.progress import SILENT, Silent
from mas_triplets.threads import limited_threads
from mas_triplets.training.run_folder import RunFolder
from mas_triplets.training.stages import training_items


@dataclass(frozen=True)
class Stage:
    """What was measured of one stage's model.

    Attributes:
        learnt: how many tasks it has learnt; 0 is the untrained model.
        scores: (direction, gallery, policy) -> scores.
        drift: how far the kept vectors of each task's pictures are from its own.
        swapped_roles: its record of swapped roles; of the last stage only.
    """

    learnt: int
    scores: dict[tuple[str, str, str], StageScores]
    drift: Row
    swapped_roles: dict[str, Any] | None


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
    codes = fact_codes(dataset.facts)
    benchmark = _benchmark(run, dataset, codes, tuple(np.array(task.fact_ids) for task in split.tasks), part)
    if not len(benchmark.items_of_tasks(range(len(benchmark.tasks)))):
        raise UserError(
            f"{dataset.folder} has no picture in the part '{part}': evaluate another part with --part, or prepare the "
            "data set with pictures in it"
        )
    with limited_threads(run.config.train.threads):
        stages = list(_stages(run, dataset, benchmark, codes, progress))
    scores = dict(enumerate(stage.scores for stage in stages))
    results = collect(run, dataset, [task.name for task in split.tasks], part, scores)
    taught = training_counts(training_items(run.config, dataset, split), run.config.data.train_parts, len(codes))
    results |= _breakdowns(benchmark, taught, codes, stages)
    if codes.size and (codes[:, 1:] < 0).all():
        learnt = {stage.learnt: stage.scores for stage in stages}
        results["accuracy"] = accuracy_record(results["matrices"], learnt, benchmark.tasks)
    if part == run.config.evaluation.part:
        for number, found in scores.items():
            write_json(run.task_folder(number) / "metrics.json", _stage_record(found))
        write_json(run.path / "results.json", results)
    return results


def _benchmark(
    run: RunFolder, dataset: PreparedDataset, codes: IntArray, tasks: tuple[IntArray, ...], part: str
) -> Benchmark:
    vectors, mask = run.language.embed(dataset.facts)
    items = items_of(dataset, run.config.data.region)
    generalised = with_generalisations(items, codes)
    return Benchmark(items, generalised, (part,), tasks, vectors, mask, run.config.model.score)


def _stages(
    run: RunFolder, dataset: PreparedDataset, benchmark: Benchmark, codes: IntArray, progress: Silent
) -> Iterator[Stage]:
    """Yield what is measured of each stage's model; the untrained model is stage 0.

    Pictures that cannot be read are in no gallery.
    """
    last = run.stages
    merged = merges_tasks(run.config.lifelong.strategy)
    every = range(len(benchmark.tasks))
    chosen = benchmark.items_of_tasks(every)
    old: OldVectors | None = None
    inputs: ItemInputs | None = None
    model: TripletModel | None = None
    for stage in progress.track(range(last + 1), "evaluating", last + 1):
        model = run.load_model(stage, into=model)
        if inputs is None:
            inputs = item_inputs(model, dataset, benchmark.items, run.config, progress)
        embed, benchmark = asked_after(run, stage, model, benchmark)
        readable, embedding = embed_items(embed, inputs, chosen)
        if len(readable) < len(chosen):
            benchmark, chosen = benchmark.without(inputs.unreadable), chosen[readable]
            report_unreadable(inputs, len(chosen), progress)
            old = old and old.only(readable)
        position = np.full(len(benchmark.items), -1)
        position[chosen] = np.arange(len(chosen))
        seen = range(len(benchmark.tasks)) if merged and stage else range(stage)
        galleries = {"reembedded": embedding}
        drift: Row = [None for _ in every]
        if stage:
            of_seen = np.isin(chosen, benchmark.items_of_tasks(seen))
            switch = switches(run.config.seed, stage, len(benchmark.items))[chosen]
            old = (old or OldVectors.none_yet(embedding)).after(embedding, of_seen, switch)
            galleries |= {"kept": old.kept, "kept_random": old.kept_random}
            rows = [position[benchmark.task_items[task]] if task in seen else None for task in every]
            drift = drift_row(old.kept, embedding, rows)
        scores: dict[tuple[str, str, str], StageScores] = {}
        for policy, gallery in galleries.items():
            asked = every if policy == "reembedded" else seen
            for direction, found in standard_scores(benchmark, gallery, position, asked).items():
                scores[direction, "standard", policy] = found
            if stage:
                for direction, found in generalized_scores(benchmark, gallery, position, seen).items():
                    scores[direction, "generalized", policy] = found
        swapped = swapped_record(benchmark, codes, embedding, position, seen) if stage == last else None
        yield Stage(len(seen), scores, drift, swapped)


def _breakdowns(benchmark: Benchmark, taught: IntArray, codes: IntArray, stages: Sequence[Stage]) -> dict[str, Any]:
    """Return what results.json holds besides matrices: kinds of facts, swapped roles, drift."""
    last, tasks = stages[-1], len(benchmark.tasks)
    facts = benchmark.facts_of_tasks(range(last.learnt))
    all_facts, own_task = (
        last.scores["fact_to_image", gallery, "reembedded"].per_fact for gallery in ("generalized", "standard")
    )
    return {
        "by_training_count": by_training_count(facts, taught, all_facts, own_task),
        "by_seen": by_seen(facts, codes, taught, all_facts, own_task),
        "swapped_roles": last.swapped_roles,
        "drift": drift_record(stage_rows({stage.learnt: stage.drift for stage in stages}, tasks)),
    }


def _stage_record(found: dict[tuple[str, str, str], StageScores]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for (direction, gallery, policy), scores in found.items():
        record.setdefault(direction, {}).setdefault(gallery, {})[policy] = {
            name: {"definition": definition(name), "by_task": values, "all": scores.all[name] if scores.all else None}
            for name, values in scores.by_task.items()
        }
    return {"galleries": GALLERIES, "policies": POLICIES, **record}
