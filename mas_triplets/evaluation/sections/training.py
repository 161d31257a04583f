"""How training went, from a run's log.jsonl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mas_triplets.evaluation import html
from mas_triplets.evaluation.html import Content, Html
from mas_triplets.evaluation.plots.training import training_curves
from mas_triplets.training.run_folder import RunFolder


def training_section(run: RunFolder) -> Html | None:
    """Show loss and penalty over the epochs; None if there is no log."""
    records = read_log(run.path / "log.jsonl")
    if not records:
        return None
    unit = f"{run.config.loss.name} loss"
    figures = [html.figure(training_curves(records, key="loss", title="Training loss", unit=unit))]
    if any(record.get("penalty") for record in records):
        drawing = training_curves(records, key="penalty", title="Penalty", unit="λ Σ Ω (θ − θ*)²")
        figures.append(html.figure(drawing, "What moving away from the earlier tasks' weights costs."))
    rows: list[list[Content]] = []
    for task in sorted({record["task"] for record in records}):
        mine = [record for record in records if record["task"] == task]
        rates = [record["images_per_second"] for record in mine if record.get("images_per_second")]
        speed = round(sum(rates) / len(rates)) if rates else None
        rows.append([str(task), len(mine), mine[0]["loss"], mine[-1]["loss"], mine[-1].get("penalty"), speed])
    head = ["task", "epochs", "loss of the first", "loss of the last", "penalty at the end", "pictures per second"]
    return html.join((html.grid(*figures), html.table(head, [rows])))


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the epochs of log.jsonl in order; of an epoch that was run again, after a stop, the last is taken.

    A line that a crash has cut is left out, as is any that tells no loss. No file gives no records.
    """
    epochs: dict[tuple[int, int], dict[str, Any]] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for line in lines:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict) and {"task", "epoch", "loss"} <= record.keys():
            epochs[record["task"], record["epoch"]] = {"penalty": 0.0, **record}
    return [epochs[key] for key in sorted(epochs)]
