"""What an index is: its kind, how it searches, what it was filled with, and how old its rows are."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from mas_triplets.data.describe import Tables
from mas_triplets.errors import UserError
from mas_triplets.files import read_json
from mas_triplets.retrieval.opening import steadily
from mas_triplets.retrieval.record import IndexRecord
from mas_triplets.retrieval.store import check_whole, read_faiss, read_record, read_rows
from mas_triplets.training.run_folder import RunFolder

_DEPTHS = (1, 10, 100)
_GROUPS = {"subject": "order 1", "subject+predicate": "order 2", "subject+predicate+object": "order 3"}


def describe_index(path: Path) -> Tables:
    """Return the tables: what the index is, how it searches, its pictures, its models, and whether to refresh it.

    The run is not needed; where it is found, it says after which task each row was made, and what refreshing is worth.
    All files are checked whole.

    Raises:
        UserError: it is no index, or not whole.
    """
    path = Path(path)
    record, rows = steadily(path, lambda: _read(path))
    run = _run_of(path, record)
    tables: Tables = {
        f"index {path.name}": [
            {
                "kind": record.kind,
                "rows": record.rows,
                "numbers per row": record.numbers_per_row,
                "score": record.score,
                "recall": record.recall,
                "recall measured": record.recall_measured,
                "reason": record.reason,
            }
        ],
        "searching": [_searching(name, record) for name in record.search],
        "pictures": [
            {
                "from": record.pictures.place,
                "which is a": record.pictures.kind,
                "a row is": "a picture" if record.pictures.region == "image" else "a box",
                "pictures": record.pictures.pictures,
                "skipped": record.pictures.skipped,
                "added from": ", ".join(record.pictures.added) or None,
            }
        ],
        "model": _models(run, record, rows),
    }
    worth = [] if run is None else _worth(path, run, rows)
    return tables | ({"refreshing": worth} if worth else {})


def _read(path: Path) -> tuple[IndexRecord, pa.Table]:
    record = read_record(path)
    rows = read_rows(path, record)
    check_whole(path, record, rows, read_faiss(path, record), thorough=True)
    return record, rows


def _searching(name: str, record: IndexRecord) -> dict[str, Any]:
    one = record.search[name]
    parameters = one.parameters
    return {
        "queries with": name,
        "which are": _GROUPS.get(name, "wild cards" if len(record.parts) > 1 else "facts"),
        "search": "exact"
        if parameters is None
        else " ".join(f"{key} {value}" for key, value in parameters.items()) or "approximate",
        **{f"recall@{k}": one.recall[k] for k in _DEPTHS},
        "held-out queries": one.queries or None,
        "reason": one.reason,
    }


def _models(run: RunFolder | None, record: IndexRecord, rows: pa.Table) -> list[dict[str, Any]]:
    task = {} if run is None else {run.model_fingerprint(stage): stage for stage in range(1, run.stages + 1)}
    task[record.model.fingerprint] = record.model.after_task
    return [
        {
            "run": record.model.run,
            "after task": task.get(fingerprint),
            "rows": count,
            "numbers a part": record.dim,
            "fingerprint": fingerprint[:16],
        }
        for fingerprint, count in Counter(rows["model_version"].to_pylist()).most_common()
    ]


def _worth(path: Path, run: RunFolder, rows: pa.Table) -> list[dict[str, Any]]:
    """Return what keeping old rows costs, as `evaluate` measured it, if some rows are not of the run's newest model."""
    newest = run.model_fingerprint()
    older = sum(version != newest for version in rows["model_version"].to_pylist())
    if not older:
        return []
    row: dict[str, Any] = {"rows of older models": older, "the run has learnt up to task": run.stages}
    try:
        results = read_json(run.path / "results.json", "the results of a run")
        policies = results["matrices"]["fact_to_image"]["generalized"]
        fresh, kept = (policies[policy]["map"]["all"] for policy in ("reembedded", "kept"))
        drift, measured = results["drift"]["average"], results["run"]["stages"]
    except (UserError, KeyError, TypeError):
        measured = None
    if measured != run.stages:
        return [{**row, "advice": f"mas-triplets evaluate {shlex.quote(str(run.path))} tells what refreshing is worth"}]
    row |= {
        "drift of old rows (1 - cosine)": drift,
        "mAP with all rows fresh": fresh,
        "mAP with old rows kept": kept,
    }
    if fresh is not None and kept is not None:
        refresh = f"mas-triplets index refresh {shlex.quote(str(path))}"
        row["advice"] = refresh if fresh > kept else "keep the rows as they are"
    return [row]


def _run_of(path: Path, record: IndexRecord) -> RunFolder | None:
    for place in (Path(record.model.run), path / record.model.run_relative):
        if (place / "run.json").is_file():
            try:
                run = RunFolder(place)
                if (
                    run.stages
                    and run.model_fingerprint(min(record.model.after_task, run.stages)) == record.model.fingerprint
                ):
                    return run
            except UserError:
                continue
    return None
