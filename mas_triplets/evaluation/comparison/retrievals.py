"""What facts of the first task find right after it was learnt and after the last task, by finetune and by a method.

The facts are chosen by a rule, not by eye: those of the first task that pictures show are sorted by how much their
average precision has changed under the first of the runs shown, and the middle one of each third is taken. So there is
one of those that suffered most, one of the middle and one of those that suffered least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mas_triplets.data.items import items_of
from mas_triplets.data.prepared import IntArray
from mas_triplets.errors import UserError
from mas_triplets.evaluation import html
from mas_triplets.evaluation.averages import whole_mean
from mas_triplets.evaluation.benchmark import Benchmark
from mas_triplets.evaluation.comparison.entries import Entry
from mas_triplets.evaluation.comparison.methods import BOUNDS, Method
from mas_triplets.evaluation.embedding import embed_items
from mas_triplets.evaluation.fact_means import asked_after
from mas_triplets.evaluation.html import Html, element
from mas_triplets.evaluation.ranking import rank_metrics
from mas_triplets.evaluation.sections.strips import Found, strip
from mas_triplets.lifelong import merges_tasks
from mas_triplets.model.inputs import item_inputs
from mas_triplets.model.triplet import slot_scores
from mas_triplets.progress import SILENT, Silent
from mas_triplets.threads import limited_threads

_FACTS, _SHOWN = 3, 6


@dataclass(frozen=True)
class Ranking:
    """What the first task's facts find in the pictures of their own task, by one model.

    Attributes:
        precision: (m,) average precision of each fact, NaN where no picture shows it.
        first: (m, k) the items that come first, in their order; of equal scores the first of the data set.
        right: (m, k) whether each shows the fact.
    """

    precision: npt.NDArray[np.float64]
    first: IntArray
    right: npt.NDArray[np.bool_]


def retrieval_section(methods: Sequence[Method], progress: Silent = SILENT) -> Html | None:
    """Show examples of retrieval before and after, or say why they are left out; None if no run is of several tasks."""
    chosen = chosen_entries(methods)
    if not chosen:
        return None
    try:
        return _examples(chosen, progress)
    except UserError as error:
        return element("p", f"Left out, since the models cannot be asked again: {error}.")


def chosen_entries(methods: Sequence[Method]) -> list[tuple[str, Entry]]:
    """Return what each run that is shown is called, and the run: of finetune and of the best method that is no bound.

    The best is the one with the highest average, mean over its runs; controls count only if there is nothing else.
    Both are of one seed and order of tasks, the first that they share; where they share none, or one is not there, it
    is one run alone.
    """
    several = [method for method in methods if not merges_tasks(method.strategy)]
    several = [method for method in several if len(method.entries[0].results["run"]["tasks"]) > 1]
    low = next((method for method in several if method.strategy == "finetune"), None)
    others = [method for method in several if method.strategy not in BOUNDS]
    own = [method for method in others if method.control == "none"] or others
    other = max(own, key=_average, default=None)
    if low is not None and other is not None:
        for mine in low.entries:
            for theirs in other.entries:
                if mine.pair == theirs.pair:
                    return [(low.label, mine), (other.label, theirs)]
    alone = other or low
    return [] if alone is None else [(alone.label, alone.entries[0])]


def _average(method: Method) -> float:
    return whole_mean([entry.results["average"] for entry in method.entries]) or 0.0


def middle_facts(change: npt.NDArray[np.float64], count: int = _FACTS) -> list[int]:
    """Return the facts to show: sorted by rising change, the middle one of each of `count` equal parts.

    Args:
        change: (m,) change of average precision of each fact; those with NaN are left out.
        count: how many, at most.

    >>> middle_facts(np.array([0.0, -0.5, -0.25, np.nan, -0.75, 0.25, 0.125]))
    [1, 0, 5]
    """
    order = [int(fact) for fact in np.argsort(change, kind="stable") if not np.isnan(change[fact])]
    count = min(count, len(order))
    return [order[(2 * part + 1) * len(order) // (2 * count)] for part in range(count)]


def _examples(chosen: Sequence[tuple[str, Entry]], progress: Silent) -> Html:
    asked = [(label, entry, stage) for label, entry in chosen for stage in (1, entry.run.stages)]
    rankings = [
        first_task_ranking(entry, stage, progress) for _, entry, stage in progress.track(asked, "examples", len(asked))
    ]
    entry = chosen[0][1]
    dataset = entry.run.dataset()
    items = items_of(dataset, entry.run.config.data.region)
    facts = entry.run.split(dataset).tasks[0].fact_ids
    made: list[Html] = []
    for fact in middle_facts(rankings[1].precision - rankings[0].precision):
        figures = []
        for (label, of, stage), ranking in zip(asked, rankings, strict=True):
            found = [
                Found(dataset.paths[items.image[item]], _box(items.box[item]), bool(right))
                for item, right in zip(ranking.first[fact], ranking.right[fact], strict=True)
            ]
            when = "right after task 1" if stage == 1 else f"after task {stage}"
            told = (
                f"{label}, {when}: {sum(one.right for one in found)} of {len(found)} right, average precision "
                f"{ranking.precision[fact]:.3f}."
            )
            description = f"{dataset.facts[facts[fact]]}, {of.name}, {when}"
            figures.append(html.figure(html.picture(strip(found), description), told))
        made.append(element("h3", str(dataset.facts[facts[fact]])))
        made.append(html.grid(*figures))
    text = (
        "The pictures that come first for facts of the first task, of all pictures that show one of that task's facts. "
        "Thick frame and tick: the picture is labelled so; thin frame and cross: it is not. The facts are chosen by a "
        f"rule: sorted by how much their average precision has changed under {chosen[0][0]} (seed {entry.seed}), the "
        "middle one of each third. Besides finetune, the method with the highest average is shown."
    )
    return html.join((element("p", text), *made))


def first_task_ranking(entry: Entry, stage: int, progress: Silent = SILENT) -> Ranking:
    """Ask the model after `stage` tasks for each fact of the first task, in that task's own pictures.

    Raises:
        UserError: the data set, the split or the model is not there or has changed, or no picture can be read.
    """
    run, part = entry.run, str(entry.results["run"]["part"])
    dataset = run.dataset()
    facts = np.array(run.split(dataset).tasks[0].fact_ids)
    items = items_of(dataset, run.config.data.region)
    chosen = items.select((part,), facts)
    with limited_threads(run.config.train.threads):
        model = run.load_model(stage)
        vectors, mask = run.language.embed(dataset.facts)
        asked = Benchmark(items, items, (part,), (facts,), vectors, mask, run.config.model.score)
        embed, asked = asked_after(run, stage, model, asked)
        places, embedding = embed_items(embed, item_inputs(model, dataset, items, run.config, progress), chosen)
        chosen = chosen[places]
        if not len(chosen):
            raise UserError(f"none of the pictures of the first task in the part '{part}' can be read")
        scores = slot_scores(embedding, asked.vectors[facts], asked.mask[facts], asked.score).T
    relevant: Tensor = torch.from_numpy(items.labels(chosen, facts).dense().T.copy())
    precision = rank_metrics(scores, relevant)["ap"].numpy()
    first = torch.sort(scores, dim=1, descending=True, stable=True).indices[:, :_SHOWN]
    return Ranking(precision, chosen[first.numpy()], torch.gather(relevant, 1, first).numpy())


def _box(box: npt.NDArray[np.float32]) -> tuple[float, float, float, float] | None:
    if np.isnan(box).any():
        return None
    x1, y1, x2, y2 = (float(value) for value in box)
    return x1, y1, x2, y2
