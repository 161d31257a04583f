"""What is in a prepared data set, as tables of plain values."""

from __future__ import annotations

from typing import Any

import numpy as np

from mas_triplets.data.format import ORDERS, PARTS
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.splits import read_split, split_summary

Tables = dict[str, list[dict[str, Any]]]


def describe_dataset(dataset: PreparedDataset) -> Tables:
    """Return the tables: counts by part, facts by order, commonest facts, what was left out, and each split's tasks."""
    counts = dataset.description["counts"]
    per_fact = dataset.fact_counts()
    orders = np.array([fact.order for fact in dataset.facts])
    common = np.argsort(-per_fact.sum(0), kind="stable")[:10]
    tables: Tables = {
        f"{dataset.name}: records": [
            *_source_counts(dataset.description.get("source_counts", {})),
            *({"what": what, **counts[what], "all": sum(counts[what].values())} for what in ("images", "instances")),
        ],
        "facts": [
            {
                "order": order,
                "facts": int((orders == order).sum()),
                **{
                    f"with {part} images": int((per_fact[code, orders == order] > 0).sum())
                    for code, part in enumerate(PARTS)
                },
            }
            for order in ORDERS
        ],
        "commonest facts": [
            {
                "fact": str(dataset.facts[i]),
                **{part: int(per_fact[code, i]) for code, part in enumerate(PARTS)},
            }
            for i in common.tolist()
        ],
        "left out": [{"reason": reason, "records": n} for reason, n in dataset.description["rejected"].items()],
    }
    for path in sorted((dataset.folder / "splits").glob("*.json")):
        tables[f"split {path.stem}"] = split_summary(dataset, read_split(dataset, path.stem))
    return tables


def _source_counts(found: dict[str, dict[str, dict[str, int]]]) -> list[dict[str, Any]]:
    """Rows for the pictures and relations that the source has, kept or not, and that its authors published."""
    rows: list[dict[str, Any]] = []
    for what, counts in found.items():
        for key, given in counts.items():
            known = {part: given.get(part) for part in PARTS}
            complete = given.keys() >= counts.get("read", {}).keys() - {"all"}
            whole = sum(number for number in known.values() if number is not None) if complete else None
            rows.append({"what": f"{what} {key}", **known, "all": given.get("all", whole)})
    return rows
