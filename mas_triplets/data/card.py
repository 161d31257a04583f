"""The data set card: README.md of a prepared data set, for a person to read, and for Hugging Face `datasets` to load.

The YAML at its head names the tables, so that `load_dataset(FOLDER, "instances")` finds them and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from mas_triplets.data.format import PARTS, REASONS, TABLES

EVERYTHING = "full"
"""The one split that `datasets` makes of each table; train, val and test are told apart by the column `split`."""

_EXAMPLES = 8
_LICENCES = frozenset(
    {"apache-2.0", "mit", "cc0-1.0"}
    | {f"cc-{kind}-{version}" for kind in ("by", "by-sa", "by-nc", "by-nc-sa") for version in ("2.0", "3.0", "4.0")}
)
"""Licences that have an identifier on the Hugging Face hub and come alone; a sentence about several has none."""


def card(description: Mapping[str, Any], facts: pa.Table) -> str:
    """Return the card as Markdown, from the contents of dataset.json and the table of facts."""
    counts = description["counts"]
    lines = [*_front_matter(description), f"# {description['name']}", ""]
    lines += [f"{note}\n" for note in description["notes"]]
    lines += [
        "| | " + " | ".join(PARTS) + " |",
        "|---|" + "---:|" * len(PARTS),
        *(
            f"| {what} | " + " | ".join(f"{counts[what][part]:,}" for part in PARTS) + " |"
            for what in ("images", "instances")
        ),
        "",
        "| order | facts | for example |",
        "|---|---:|---|",
        *(f"| {order} | {number:,} | {_examples(facts, int(order))} |" for order, number in counts["facts"].items()),
        "",
        f"- Licence: {description.get('licence', 'not stated by the source')}",
        f"- Citation: {description.get('citation', 'none given')}",
        f"- Boxes: {description['boxes']}",
        f"- Made by mas-triplets {description['tool_version']} with {dict(description['options'])}",
        *(f"- From {s['path']}, {s['bytes']:,} bytes, sha256 {s['sha256']}" for s in description["source_files"]),
        "",
        "## Loading",
        "",
        f"Each of the tables {', '.join(TABLES)} is one split, `{EVERYTHING}`, of Hugging Face `datasets`:",
        "",
        "```python",
        "from datasets import load_dataset",
        "",
        f'instances = load_dataset("path/to/this/folder", "instances", split="{EVERYTHING}")',
        'train = instances.filter(lambda row: row["split"] == "train")  # train, val or test',
        "```",
        "",
        "An instance names its picture by image_id and its fact by fact_id, which is the row of the table facts.",
        "",
        "## Left out",
        "",
    ]
    rejected = description["rejected"]
    if rejected:
        lines += ["| records | reason | meaning |", "|---:|---|---|"]
        lines += [f"| {number:,} | {reason} | {REASONS[reason]} |" for reason, number in rejected.items()]
        lines += ["", "Each with its source in rejected.jsonl."]
    else:
        lines.append("Nothing.")
    return "\n".join(lines) + "\n"


def _front_matter(description: Mapping[str, Any]) -> list[str]:
    about: dict[str, Any] = {"pretty_name": description["name"]}
    licence = "-".join(str(description.get("licence", "")).casefold().split())
    if licence in _LICENCES:
        about["license"] = licence
    about["configs"] = [
        {"config_name": name, "data_files": [{"split": EVERYTHING, "path": f"{name}.parquet"}]} for name in TABLES
    ]
    return ["---", yaml.safe_dump(about, allow_unicode=True, sort_keys=False, width=10**6).rstrip(), "---", ""]


def _examples(facts: pa.Table, order: int) -> str:
    rows = np.flatnonzero(facts["order"].to_numpy() == order)  # there may be a million
    step = max(1, len(rows) // _EXAMPLES)
    shown = facts["wordings"].take(pa.array(rows[::step][:_EXAMPLES])).to_pylist()
    return ", ".join(f"`{wordings[0]}`" for wordings in shown)
