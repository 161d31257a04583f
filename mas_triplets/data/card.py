"""The data set card: README.md of a prepared data set, for a person to read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from mas_triplets.data.format import PARTS, REASONS

_EXAMPLES = 8


def card(description: Mapping[str, Any], facts: pa.Table) -> str:
    """Return the card as Markdown, from the contents of dataset.json and the table of facts."""
    counts = description["counts"]
    lines = [f"# {description['name']}", ""]
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


def _examples(facts: pa.Table, order: int) -> str:
    found = [row["wordings"][0] for row in facts.to_pylist() if row["order"] == order]
    step = max(1, len(found) // _EXAMPLES)
    return ", ".join(f"`{words}`" for words in found[::step][:_EXAMPLES])
