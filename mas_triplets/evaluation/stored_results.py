"""The results.json of a run, and the numbers that reports take out of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mas_triplets.errors import UserError
from mas_triplets.files import read_json
from mas_triplets.training.run_folder import RunFolder

_NEEDED = ("average", "all", "forgetting", "definitions", "run", "matrices")


def read_results(run: RunFolder) -> dict[str, Any]:
    """Return the contents of the run's results.json.

    Raises:
        UserError: it is absent, damaged, or older than the last task the run has learnt.
    """
    path, remedy = run.path / "results.json", f"run `mas-triplets evaluate {run.path}`"
    results = stored_results(run)
    known, learnt = results["run"].get("stages", 0), run.stages
    if learnt > known:
        raise UserError(f"{path} is of the first {known} stages, but {run.path} has learnt {learnt}: {remedy} again")
    return results


def stored_results(run: RunFolder) -> dict[str, Any]:
    """Return the contents of the run's results.json, even if it has learnt further tasks since.

    Raises:
        UserError: it is absent or damaged.
    """
    path, remedy = run.path / "results.json", f"run `mas-triplets evaluate {run.path}`"
    if not path.is_file():
        raise UserError(f"{run.path} has no results.json, so it is not evaluated yet: {remedy}")
    results = read_json(path, f"what `mas-triplets evaluate {run.path}` writes")
    if not isinstance(results, dict) or any(key not in results for key in _NEEDED):
        raise UserError(f"{path} is not the results of a run: {remedy} again")
    if not all(isinstance(results[key], dict) for key in ("definitions", "run", "matrices")):
        raise UserError(f"{path} is not the results of a run: {remedy} again")
    return results


def own_task_map(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of own-task mAP, of which `average` and `forgetting` are the headline numbers."""
    found: dict[str, Any] = results["matrices"]["fact_to_image"]["standard"]["reembedded"]["map"]
    return found


def all_facts_map(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of mAP in one gallery of all tasks seen so far, of which `all` is the headline number."""
    found: dict[str, Any] = results["matrices"]["fact_to_image"]["generalized"]["reembedded"]["map"]
    return found
