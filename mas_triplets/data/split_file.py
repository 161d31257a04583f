"""A split that the user brings: which fact is in which task, from a CSV or JSON file."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mas_triplets.data.prepared import IntArray
from mas_triplets.errors import UserError, nearest
from mas_triplets.facts import SLOTS, Fact
from mas_triplets.files import read_json


def file_split(facts: Sequence[Fact], path: Path) -> list[tuple[str, IntArray]]:
    """Read tasks from a file: CSV with the columns task, subject, predicate, object, or the JSON of a split.

    In the JSON a task is {"name": ..., "fact_ids": [...]} or {"name": ..., "facts": ["<person, ride>", ...]}.

    Raises:
        UserError: a fact is not in the data set, is in two tasks or in none, or the file has another form.
    """
    listed = _listed_in_csv(path) if path.suffix.lower() in (".csv", ".tsv") else _listed_in_json(path, facts)
    ids = {fact: index for index, fact in enumerate(facts)}
    found: dict[str, list[int]] = {}
    seen: dict[Fact, str] = {}
    for record, task, fact in listed:
        if fact not in ids:
            close = nearest(str(fact), [str(known) for known in facts])
            hint = f"; did you mean {close[0]}?" if close else ""
            raise UserError(f"{path} {record}: {fact} is not a fact of this data set{hint}")
        if fact in seen:
            raise UserError(f"{path} {record}: {fact} is already in task '{seen[fact]}'; each fact belongs to one task")
        seen[fact] = task
        found.setdefault(task, []).append(ids[fact])
    missing = [str(fact) for fact in facts if fact not in seen]
    if missing:
        raise UserError(f"{path} leaves {len(missing)} facts without a task, such as {', '.join(missing[:3])}")
    return [(task, np.sort(np.array(members))) for task, members in found.items()]


def _listed_in_csv(path: Path) -> list[tuple[str, str, Fact]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a split: {error}") from None
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        return _listed_rows(path, rows)
    except csv.Error as error:
        raise UserError(
            f"{path} line {rows.reader.line_num}: {error}; check the quotes of this line and of those before it"
        ) from None


def _listed_rows(path: Path, rows: csv.DictReader[str]) -> list[tuple[str, str, Fact]]:
    if not {"task", *SLOTS} <= set(rows.fieldnames or ()):
        raise UserError(f"{path} needs the columns task, {', '.join(SLOTS)}; it has {', '.join(rows.fieldnames or ())}")
    listed = []
    for row in rows:
        record = f"line {rows.line_num}"
        if not row["task"]:
            raise UserError(f"{path} {record}: the task is empty")
        listed.append((record, row["task"], _fact_at(path, record, [row[slot] for slot in SLOTS])))
    return listed


def _listed_in_json(path: Path, facts: Sequence[Fact]) -> list[tuple[str, str, Fact]]:
    tree = read_json(path, "a split: CSV (task, subject, predicate, object) or JSON ({tasks: [{name, facts}]})")
    tasks = tree.get("tasks") if isinstance(tree, dict) else None
    if not isinstance(tasks, list):
        raise UserError(f"{path} has no list `tasks`: write {{tasks: [{{name, facts}}]}}")
    listed = []
    names: set[str] = set()
    for number, task in enumerate(tasks, 1):
        members = task.get("fact_ids", task.get("facts")) if isinstance(task, dict) else None
        if not isinstance(members, list):
            raise UserError(f"{path} task {number}: it needs a list `facts` or `fact_ids`")
        name = str(task.get("name", f"task {number}"))
        if name in names:
            raise UserError(f"{path} task {number}: the name '{name}' is taken already; give it another one")
        names.add(name)
        for member in members:
            record = f"task '{name}'"
            if isinstance(member, int) and not isinstance(member, bool):
                if not 0 <= member < len(facts):
                    raise UserError(f"{path} {record}: fact_id {member} is not in the data set (0 to {len(facts) - 1})")
                listed.append((record, name, facts[member]))
            else:
                listed.append((record, name, _fact_at(path, record, member)))
    return listed


def _fact_at(path: Path, record: str, given: Any) -> Fact:
    try:
        return Fact.parse(given) if isinstance(given, str) else Fact(*given)
    except (UserError, TypeError) as error:
        raise UserError(f"{path} {record}: {error}") from None
