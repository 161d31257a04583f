"""What is in a run, and its results, as tables of plain values."""

from __future__ import annotations

from typing import Any

from mas_triplets.config import flat_values
from mas_triplets.evaluation.stored_results import stored_results
from mas_triplets.lifelong import tuned_keys
from mas_triplets.training.run_folder import RunFolder

Tables = dict[str, list[dict[str, Any]]]
_MEASURES = ("average", "all", "forgetting", "backward_transfer", "forward_transfer")


def results_tables(results: dict[str, Any]) -> Tables:
    """Return the tables: headline numbers, own-task mAP after each task, and every metric."""
    run, tasks = results["run"], results["run"]["tasks"]
    own = results["matrices"]["fact_to_image"]["standard"]["reembedded"]["map"]
    title = f"{run['strategy']} on {run['data']} ({run['part']}), split {run['split']}, seed {run['seed']}"
    return {
        title: [
            {"number": name, "value": results[name], "meaning": results["definitions"][name]}
            for name in ("average", "all", "forgetting")
        ],
        "own-task mAP": [
            {"after": tasks[row] if row < len(tasks) - 1 else "all tasks", **dict(zip(tasks, values, strict=True))}
            for row, values in enumerate(own["R"])
            if any(value is not None for value in values)
        ],
        "all metrics": [
            {"metric": f"{direction.replace('_', ' ')} {metric}", "gallery": gallery, "policy": policy}
            | {measure: values[measure] for measure in _MEASURES}
            for direction, galleries in results["matrices"].items()
            for gallery, policies in galleries.items()
            for policy, metrics in policies.items()
            for metric, values in metrics.items()
        ],
    }


def _tuned(run: RunFolder) -> list[str]:
    values = flat_values(run.config)
    return [f"{key.rpartition('.')[2]} {values[key]:g}" for key in tuned_keys(run.config.lifelong.strategy)]


def describe_run(run: RunFolder) -> Tables:
    """Return the tables: what the run is, and its results if it has been evaluated.

    Raises:
        UserError: run.json or results.json is damaged.
    """
    record = run.record
    tables: Tables = {
        f"run {run.path}": [
            {"what": "state", "value": record["state"]},
            {"what": "finished stages", "value": str(max(run.stages, 0))},
            {"what": "strategy", "value": ", ".join([run.config.lifelong.strategy, *_tuned(run)])},
            {"what": "data", "value": f"{record['data']} ({run.config.data.path}), split {run.config.data.split}"},
            {"what": "seed", "value": str(record["seed"])},
            *(
                {
                    "what": "adapted",
                    "value": f"after task {one['after_task']} to {one['pictures']} pictures ({one['mode']})",
                }
                for one in record.get("adapted", [])
            ),
            *({"what": name, "value": found} for name, found in record["versions"].items()),
        ]
    }
    return tables | (results_tables(stored_results(run)) if (run.path / "results.json").is_file() else {})
