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
            *_source_pictures(dataset.description.get("source_pictures")),
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


def _source_pictures(counts: Any) -> list[dict[str, Any]]:
    """Rows for the pictures that the source has, with and without facts, and that its authors published."""
    rows = []
    read = (
        counts["read"].keys() - {"all"} if isinstance(counts, dict) and isinstance(counts.get("read"), dict) else set()
    )
    for key in ("published", "read"):
        given = counts.get(key) if isinstance(counts, dict) else None
        if isinstance(given, dict):
            known = {part: given.get(part) for part in PARTS}
            whole = sum(given[part] for part in PARTS if part in given) if given.keys() >= read else None
            rows.append({"what": f"pictures {key}", **known, "all": given.get("all", whole)})
    return rows
