"""Choose the strength of each method on validation pictures, then say what the chosen one gives on test pictures.

    python -m benchmarks.choose_strength configs/photos_mas.yaml --methods l2 mas --strengths 1 10 100 --splits 0 1 2

Strengths are compared by the mean over the splits of own-task mAP and all-facts mAP on the validation part of a model
that learnt from the training part alone. The final runs use the configuration as it is (`data.train_parts`), with
seeds that took no part in choosing.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from mas_triplets.config import RunConfig, load_config
from mas_triplets.console import print_table
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.splits import write_split
from mas_triplets.evaluation.run import evaluate
from mas_triplets.model.splitting import split_dataset
from mas_triplets.training.run import train

NUMBERS = ("average", "all", "forgetting")


def scores(config: RunConfig) -> dict[str, float]:
    """Train and evaluate one configuration in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        results = evaluate(train(config, Path(folder) / "run"))
    return {name: results[name] for name in NUMBERS if results[name] is not None}


def over_splits(path: Path, settings: list[str], splits: list[int], tasks: int) -> dict[str, Any]:
    """Return mean and standard deviation of each number over random splits with these seeds; the run's seed follows."""
    found = []
    for seed in splits:
        config = load_config(path, [*settings, f"seed={seed}", f"data.split=random{tasks}-{seed}"])
        dataset = PreparedDataset.open(config.data.path)
        write_split(dataset, split_dataset(dataset, config.data.split, "random", tasks=tasks, seed=seed))
        found.append(scores(config))
    row: dict[str, Any] = {}
    for name in NUMBERS:
        values = [score[name] for score in found if name in score]
        row[name] = statistics.fmean(values) if values else None
        row[f"{name} sd"] = statistics.stdev(values) if len(values) > 1 else None
    return row


def main() -> None:
    """Choose and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--methods", nargs="+", default=["l2", "mas"])
    parser.add_argument("--strengths", nargs="*", type=float, default=[], help="none: the configuration's own")
    parser.add_argument("--splits", nargs="+", type=int, default=[100, 101], help="seeds of the splits to choose on")
    parser.add_argument("--final", nargs="*", type=int, default=[], help="seeds of the splits to report on test")
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--set", dest="settings", nargs="*", default=[])
    options = parser.parse_args()
    validation = ["data.train_parts=[train]", "evaluation.part=val"]
    chosen: dict[str, tuple[float, float]] = {}
    rows: list[dict[str, Any]] = []
    for method in options.methods:
        strengths = options.strengths if method not in ("finetune", "joint") else [0.0]
        for strength in strengths:
            settings = [*options.settings, f"lifelong.strategy={method}", f"lifelong.strength={strength}"]
            row = over_splits(options.config, [*settings, *validation], options.splits, options.tasks)
            rows.append({"method": method, "strength": f"{strength:g}", **row})
            print(rows[-1], flush=True)
            merit = row["average"] + row["all"]
            if method not in chosen or merit > chosen[method][0]:
                chosen[method] = (merit, strength)
    print_table(f"validation, splits {options.splits}", rows)
    if options.final:
        final = []
        for method, (_, strength) in chosen.items():
            settings = [*options.settings, f"lifelong.strategy={method}", f"lifelong.strength={strength}"]
            row = over_splits(options.config, settings, options.final, options.tasks)
            final.append({"method": method, "strength": f"{strength:g}", **row})
        print_table(f"test, splits {options.final}", final)


if __name__ == "__main__":
    main()
