"""The demonstration: the whole story on rendered scenes, on the processor, in under three minutes."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mas_triplets.config import RunConfig, make_config
from mas_triplets.data.items import items_of
from mas_triplets.data.pixels import cached_pixels
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.scenes.options import SceneOptions
from mas_triplets.data.scenes.prepare import COUNTS, prepare_scenes
from mas_triplets.data.splits import write_split
from mas_triplets.errors import UserError
from mas_triplets.evaluation.compare import compare
from mas_triplets.evaluation.report import Example, write_report
from mas_triplets.evaluation.side_by_side import train_side_by_side
from mas_triplets.facts import Fact
from mas_triplets.files import write_json, write_text
from mas_triplets.model.images.small_cnn import SmallCnn
from mas_triplets.model.splitting import split_dataset
from mas_triplets.progress import SILENT, Silent
from mas_triplets.retrieval.answers import hits_json, hits_sheet
from mas_triplets.retrieval.build import build_index
from mas_triplets.retrieval.hits import Hit
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.threads import limited_threads
from mas_triplets.training.run_folder import RunFolder

METHODS = ("joint", "merging", "mas", "l2", "finetune")
"""In the order they are started: joint, while finetune learns the first task for itself and the others."""

STRENGTH = {"merging": 0.3, "mas": 0.25, "l2": 1.0}
"""Chosen on validation pictures of other seeds: docs/experiments.md."""

QUERIES = ("<star, red>", "<ring, striped>", "<*, inside, ring>", "<heart, left of, *>", "<moon, above, star>")
EPOCHS = 8
_SHOWN = 12
_MARK = "DEMO.txt"


@dataclass(frozen=True)
class Answer:
    """What a query found, and which of it is right: a picture is, if one of its labels fits the query."""

    query: Fact
    hits: list[Hit]
    right: list[bool]


def demo_config(out: Path, method: str, seed: int) -> RunConfig:
    """Return the configuration of one method's run, that of configs/scenes_mas.yaml."""
    return make_config(
        {
            "seed": seed,
            "data": {"path": str(out / "data"), "split": "random4"},
            "model": {"image": {"size": 48}},
            "lifelong": {
                "strategy": method,
                "strength": STRENGTH.get(method, 0.0),
                "application": "proximal",
                "normalise": "layer",
            },
            "train": {"epochs": EPOCHS, "threads": 1, "device": "cpu"},
        }
    )


def run_demo(out: Path, *, seed: int = 0, progress: Silent = SILENT) -> str:
    """Render, prepare, split, train five methods, evaluate, index and query; return what to tell.

    Writes under `out`: data/, one folder a method, index/, report.html and summary.json. What an earlier demonstration
    left there is replaced.

    Args:
        out: folder of the demonstration.
        seed: of the pictures, the split and the training.
        progress: who is told how far it is.
    """
    began = time.monotonic()
    _check_is_a_demonstration(out)
    prepare_scenes(
        out / "data", SceneOptions(seed=seed), COUNTS, overwrite=True, processes=os.cpu_count() or 1, progress=progress
    )
    dataset = PreparedDataset.open(out / "data")
    write_split(dataset, split_dataset(dataset, "random4", "random", tasks=4, seed=seed), overwrite=True)
    configs = {method: demo_config(out, method, seed) for method in METHODS}
    items = items_of(dataset, "image")
    view = SmallCnn(configs["mas"].model.image).view
    cached_pixels(out / "data" / "cache", dataset.paths, items, view, progress=progress)
    answers: list[Answer] = []
    examples: list[Example] = []

    def ask(method: str) -> None:
        """Fill the index and ask it as soon as the model that learnt by merging is there."""
        if method == "merging":
            with limited_threads(1):
                index = build_index(RunFolder(out / "merging"), out / "index", progress=progress)
            answers.extend(_answers(index, dataset, [Fact.parse(query) for query in QUERIES]))
            examples.extend(_example(answer) for answer in answers)
            write_report(RunFolder(out / "merging"), examples=examples)

    results = train_side_by_side(
        {method: (config, out / method) for method, config in configs.items()},
        processes=len(METHODS),  # with one thread each, they share the processors evenly
        lender="finetune",
        resume="never",
        progress=progress,
        on_done=ask,
    )
    order = ("finetune", "l2", "mas", "merging", "joint")
    compare([out / method for method in order], out / "report.html", title="Rendered scenes", examples=examples)
    summary: dict[str, Any] = {
        "seconds": round(time.monotonic() - began, 1),
        "seed": seed,
        "methods": {name: {key: results[name][key] for key in ("average", "all", "forgetting")} for name in order},
        "queries": [
            {
                "query": str(answer.query),
                "right_among_first": {str(k): sum(answer.right[:k]) for k in (5, 10)},
                "found": [
                    {**hit, "right": right} for hit, right in zip(hits_json(answer.hits), answer.right, strict=True)
                ],
            }
            for answer in answers
        ],
    }
    write_json(out / "summary.json", summary)
    return _story(out, summary, answers, len(dataset.facts))


def _check_is_a_demonstration(out: Path) -> None:
    """Raise UserError if `out` holds anything but an earlier demonstration, which may be replaced."""
    if not out.exists() or (out / _MARK).is_file() or (out.is_dir() and not any(out.iterdir())):
        out.mkdir(parents=True, exist_ok=True)
        write_text(
            out / _MARK, "Everything in this folder is made by `mas-triplets demo`, and made anew the next time.\n"
        )
        return
    raise UserError(f"{out} exists and holds no demonstration: choose another --out, nothing was written")


def _answers(index: FactIndex, dataset: PreparedDataset, queries: Sequence[Fact]) -> list[Answer]:
    row_of = {path.name: row for row, path in enumerate(dataset.paths)}  # all lie in one folder
    answers = []
    for query in queries:
        hits = index.search(query, _SHOWN)
        right = []
        for hit in hits:
            labels = dataset.instance_fact[dataset.instance_image == row_of[Path(hit.image).name]]
            right.append(any(query.covers(dataset.facts[fact]) for fact in labels))
        answers.append(Answer(query, hits, right))
    return answers


def _example(answer: Answer) -> Example:
    caption = f"{sum(answer.right[:10])} of the first 10 are labelled so. Nothing but the fact was given to the search."
    return Example(str(answer.query), hits_sheet(answer.hits, str(answer.query)), caption)


def _story(out: Path, summary: dict[str, Any], answers: Sequence[Answer], facts: int) -> str:
    rows = [f"  {'method':<10}{'own-task mAP':>14}{'all-facts mAP':>15}{'forgetting':>12}"]
    for name, row in summary["methods"].items():
        forgotten = "-" if row["forgetting"] is None else f"{row['forgetting']:.3f}"
        rows.append(f"  {name:<10}{row['average']:>14.3f}{row['all']:>15.3f}{forgotten:>12}")
    asked = [f"  {answer.query!s:<24}{sum(answer.right[:10])} of the first 10 pictures are right" for answer in answers]
    return "\n".join(
        [
            "",
            f"Five models learnt {facts} facts about {sum(COUNTS.values()):,} pictures in four tasks "
            f"({summary['seconds']:.0f} seconds in all):",
            "",
            *rows,
            "",
            "finetune learns one task after another and forgets. joint sees all tasks at once: the upper bound. The",
            "others keep no picture: l2 holds the weights of earlier tasks alike, mas each by its importance, and",
            "merging takes the mean of old and new weights by their importance.",
            "",
            "What the model that learnt by merging finds among them:",
            "",
            *asked,
            "",
            f"Open {out / 'report.html'} to see tables, curves and the pictures found.",
            "",
            "Next, ask it yourself:",
            f'  mas-triplets query {out / "index"} "<*, covering, square>" --sheet found.png',
            "or take your own pictures: write a list with the columns image, subject, predicate, object, and",
            "  mas-triplets prepare table LIST.csv --images FOLDER --out data/mine",
            "  mas-triplets split data/mine --method random --tasks 2 --name random2",
            "  mas-triplets train configs/photos_mas.yaml --set data.path=data/mine data.split=random2 --out runs/mine",
        ]
    )
