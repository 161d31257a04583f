"""The adaptation experiment: does importance measured on pictures of a few facts make later tasks spare those facts?

    python -m benchmarks.adaptation configs/scenes_adaptation.yaml --orders 5 --out runs/adaptation
    python -m benchmarks.adaptation configs/scenes_adaptation.yaml --subset "<*, left of, *>" --out runs/left-of

Follows Aljundi et al., ECCV 2018. For each order of tasks (a random split and a seed of the run), the first task is
learnt once. Then four copies of the run learn the next tasks at the same strength, that of the configuration:

    none       finetune, nothing is held
    training   importance from the first task's training pictures
    subset     importance from validation pictures that show a fact of the subset, instead
    others     control: as many validation pictures of the first task that show none, drawn at random, instead

The subset: the first task's facts that a query given with --subset covers; without one, those with the subject that
most of its facts have, the first by alphabet of several. Where there are more pictures of the subset than others, as
many of both are drawn. Forgetting of a fact: its average precision on test pictures, among those of the first task,
after the first task minus that after a later one. Test pictures measure and do nothing else. A command that was stopped
goes on.
"""

from __future__ import annotations

import argparse
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from mas_triplets.config import RunConfig, load_config
from mas_triplets.console import print_table
from mas_triplets.data.items import Items, items_of
from mas_triplets.data.prepared import IntArray, PreparedDataset
from mas_triplets.data.splits import write_split
from mas_triplets.errors import UserError
from mas_triplets.evaluation.averages import deviation
from mas_triplets.evaluation.comparison.paired import paired_test
from mas_triplets.evaluation.embedding import embed_items
from mas_triplets.evaluation.ranking import rank_metrics
from mas_triplets.facts import Fact
from mas_triplets.files import write_json
from mas_triplets.model.inputs import item_inputs
from mas_triplets.model.splitting import split_dataset
from mas_triplets.model.triplet import slot_scores
from mas_triplets.threads import limited_threads
from mas_triplets.training.adapt import adapt
from mas_triplets.training.run import train
from mas_triplets.training.run_folder import RunFolder
from mas_triplets.training.unlabelled import Unlabelled, covered_facts

ARMS = ("none", "training", "subset", "others")
FACTS = ("on subset", "off subset")
Row = dict[str, Any]
Precisions = npt.NDArray[np.float64]
"""(facts,) average precisions, NaN where no picture shows the fact."""


def subset_of(dataset: PreparedDataset, facts: IntArray, queries: Sequence[Fact]) -> IntArray:
    """Return those of the facts that make up the subset: see above.

    Raises:
        UserError: it is empty, or all of them.
    """
    if queries:
        subset = np.intersect1d(facts, covered_facts(dataset, queries))
    else:
        count = Counter(dataset.facts[fact].subject for fact in facts)
        subject = min(count, key=lambda one: (-count[one], str(one)))
        subset = np.array([fact for fact in facts if dataset.facts[fact].subject == subject])
    if not 0 < len(subset) < len(facts):
        raise UserError(
            f"the subset has {len(subset)} of the {len(facts)} facts of the first task: give other --subset"
        )
    return subset


def drawn_pictures(items: Items, facts: IntArray, subset: IntArray, seed: int) -> dict[str, IntArray]:
    """Return equally many validation items of the subset and of the other facts of the first task.

    Raises:
        UserError: there is none of either.
    """
    of_subset = items.select(("val",), subset)
    others = np.setdiff1d(items.select(("val",), facts), of_subset)
    count = min(len(of_subset), len(others))
    if not count:
        raise UserError("the first task has no validation picture on or off the subset: give other --subset")
    random = np.random.default_rng(seed)
    found = {"subset": of_subset, "others": others}
    return {name: np.sort(random.choice(chosen, count, replace=False)) for name, chosen in found.items()}


def average_precisions(run: RunFolder, items: Items, stage: int, tasks: Sequence[IntArray]) -> list[Precisions]:
    """Return, for each task, the average precision of each of its facts among the task's pictures after a stage."""
    dataset, config = run.dataset(), run.config
    model = run.load_model(stage)
    inputs = item_inputs(model, dataset, items, config)
    found = []
    for facts in tasks:
        chosen = items.select((config.evaluation.part,), facts)
        readable, embedding = embed_items(model, inputs, chosen)
        vectors, mask = model.language.embed([dataset.facts[fact] for fact in facts])
        scores = slot_scores(embedding, vectors, mask, config.model.score)
        relevant = torch.from_numpy(items.labels(chosen[readable], facts).dense())
        found.append(rank_metrics(scores.T, relevant.T, ap_cutoffs=(), hit_cutoffs=())["ap"].numpy())
    return found


def run_order(config: RunConfig, home: Path, queries: Sequence[Fact], learn: int) -> tuple[Row, list[Row]]:
    """Learn one order of tasks in four ways; return what was chosen, and forgetting by way and later task."""
    dataset = PreparedDataset.open(config.data.path)
    items = items_of(dataset, config.data.region)
    first = train(config, home / "training", until=1)
    tasks = [np.array(task.fact_ids) for task in first.split(dataset).tasks[:learn]]
    subset = subset_of(dataset, tasks[0], queries)
    pictures = drawn_pictures(items, tasks[0], subset, config.seed)
    for name, chosen in pictures.items():
        if not (home / name / "run.json").is_file():
            choice = {"part": "val", "for": name}
            adapt(first, Unlabelled(dataset.folder, dataset.paths, items, chosen, choice, dataset), home / name)
    plain = config.model_copy(update={"lifelong": config.lifelong.model_copy(update={"strategy": "finetune"})})
    rows = []
    for arm in ARMS:
        if arm == "none":
            run = train(plain, home / arm, until=learn, first_task=first)
        else:
            run = train(config, home / arm, until=learn)
        before = average_precisions(run, items, 1, tasks[:1])[0]
        on = np.isin(tasks[0], subset)
        for stage in range(2, learn + 1):
            after, *later = average_precisions(run, items, stage, tasks[:stage])
            lost = before - after
            values = dict(zip(FACTS, (float(np.nanmean(lost[which])) for which in (on, ~on)), strict=True))
            learnt = float(np.nanmean(np.concatenate(later)))
            rows.append({"order": config.seed, "importance": arm, "after task": stage, **values, "new tasks": learnt})
    about = {
        "order": config.seed,
        "subset": [str(dataset.facts[fact]) for fact in subset],
        "pictures": len(pictures["subset"]),
        "AP on subset": float(np.nanmean(before[on])),
        "AP off subset": float(np.nanmean(before[~on])),
    }
    return about, rows


def summary(rows: Sequence[Row]) -> list[Row]:
    """Return mean and standard deviation over the orders of each number, by task and importance."""
    made = []
    for stage in sorted({row["after task"] for row in rows}):
        for arm in ARMS:
            line: Row = {"after task": stage, "importance": arm}
            for name in (*FACTS, "new tasks"):
                values = _values(rows, stage, arm, name)
                line |= {name: statistics.fmean(values), f"{name} sd": deviation(values)}
            made.append(line)
    return made


def paired(rows: Sequence[Row]) -> list[Row]:
    """Return how forgetting by the subset's importance differs from the others', order by order: a paired t-test."""
    made = []
    for stage in sorted({row["after task"] for row in rows}):
        for other in ("training", "others"):
            for name in FACTS:
                found = paired_test(*(_values(rows, stage, arm, name) for arm in ("subset", other)))
                made.append(
                    {
                        "after task": stage,
                        "forgetting": f"subset minus {other}",
                        "facts": name,
                        "difference": found.difference,
                        "sd": found.deviation,
                        "p": found.p,
                    }
                )
    return made


def _values(rows: Sequence[Row], stage: int, arm: str, name: str) -> list[float]:
    return [row[name] for row in rows if (row["after task"], row["importance"]) == (stage, arm)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the experiment and write adaptation.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="a configuration of MAS that does not learn from validation pictures")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs and of adaptation.json")
    parser.add_argument("--subset", nargs="*", type=Fact.parse, default=[], help='queries such as "<*, left of, *>"')
    parser.add_argument("--orders", type=int, default=5, help="how many orders, with the seeds 0, 1, ...")
    parser.add_argument("--tasks", type=int, default=4, help="tasks of each random split")
    parser.add_argument("--learn", type=int, default=3, help="how many of them are learnt")
    parser.add_argument("--set", dest="settings", nargs="*", default=[])
    options = parser.parse_args(arguments)
    chosen, rows = [], []
    for seed in range(options.orders):
        name = f"random{options.tasks}-{seed}"
        config = load_config(options.config, [*options.settings, f"seed={seed}", f"data.split={name}"])
        if "val" in config.data.train_parts:
            raise UserError("validation pictures stand for those of use here: set data.train_parts=[train]")
        dataset = PreparedDataset.open(config.data.path)
        write_split(dataset, split_dataset(dataset, name, "random", tasks=options.tasks, seed=seed))
        with limited_threads(config.train.threads):
            about, found = run_order(config, options.out / f"order-{seed}", options.subset, options.learn)
        chosen.append(about)
        rows += found
        print(about, flush=True)
    means, differences = summary(rows), paired(rows)
    write_json(
        options.out / "adaptation.json", {"chosen": chosen, "rows": rows, "summary": means, "paired": differences}
    )
    print_table("forgetting (drop of average precision), and mAP of the later tasks: mean over orders", means)
    print_table("paired differences of forgetting: below zero, the subset's importance forgets less", differences)


if __name__ == "__main__":
    main()
