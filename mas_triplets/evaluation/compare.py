"""Several runs in one table and one HTML file, where their numbers can be compared at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from mas_triplets.config import flat_values
from mas_triplets.errors import UserError
from mas_triplets.evaluation import html, plots
from mas_triplets.evaluation.html import Content, Html, element
from mas_triplets.evaluation.lifelong import intransigence, recovered
from mas_triplets.evaluation.report import (
    all_facts_map,
    definition_list,
    metric_link,
    own_task_map,
    read_results,
    uses_strength,
)
from mas_triplets.training.run_folder import RunFolder

COLUMNS = {
    "average": max,
    "all": max,
    "forgetting": min,
    "backward_transfer": max,
    "recovered": max,
    "intransigence": min,
}
"""The numbers of the main table, and which of two is better."""
_BOUNDS = {"finetune": "lower bound", "joint": "upper bound"}
_ELSEWHERE = ("seed", "data.path", "data.cache", "train.threads", "train.device")
"""Settings that do not make two runs two methods."""
_LABELLED = ("lifelong.strategy", "lifelong.strength")


@dataclass(frozen=True)
class Entry:
    """A run that is compared.

    Attributes:
        name: its folder's name, with the folder above where two are alike.
        run: the run.
        results: its results.json.
        settings: its configuration without what does not make another method.
    """

    name: str
    run: RunFolder
    results: dict[str, Any]
    settings: dict[str, Any]

    @property
    def strategy(self) -> str:
        """The method's name."""
        return str(self.results["run"]["strategy"])

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.results["run"]["seed"])


@dataclass(frozen=True)
class Method:
    """The runs that differ in nothing but their seed."""

    label: str
    entries: tuple[Entry, ...]

    @property
    def strategy(self) -> str:
        """The method's name."""
        return self.entries[0].strategy


def compare(runs: Sequence[RunFolder | str | Path], out: str | Path | None, *, title: str = "") -> dict[str, Any]:
    """Write one HTML file that compares evaluated runs, and return its numbers as plain values.

    Args:
        runs: runs on the same data, split and part, or their folders.
        out: the file to write; None for the numbers alone.
        title: the page's heading.

    Returns:
        `rows`: one a run (name, strategy, strength, seed and the numbers; None where not defined), the lower
        bound first and the upper bound last; `seeds`: where several runs differ in their seed alone, one row a method
        with the mean and, under NAME_sd, the standard deviation of each number; `report`: the file, or None.

    Raises:
        UserError: no run, one given twice, one not evaluated or not finished, or runs whose numbers cannot be compared.
    """
    entries = _entries(runs)
    _check_comparable(entries)
    rows = [_row(entry, entries) for entry in entries]
    methods = _methods(entries)
    by_entry = {id(entry): row for entry, row in zip(entries, rows, strict=True)}
    seeds = [_seed_row(method, [by_entry[id(entry)] for entry in method.entries]) for method in methods]
    several = any(row["runs"] > 1 for row in seeds)
    seeds = seeds if several else []
    if out is not None:
        html.write_page(Path(out), _page(title or "Methods compared", entries, rows, methods, seeds))
    return {"rows": rows, "seeds": seeds, "report": None if out is None else str(out)}


def _entries(runs: Sequence[RunFolder | str | Path]) -> list[Entry]:
    folders = [run if isinstance(run, RunFolder) else RunFolder(run) for run in runs]
    if not folders:
        raise UserError("there is nothing to compare: give the folders of one or more evaluated runs")
    paths = [folder.path.resolve() for folder in folders]
    twice = [str(path) for number, path in enumerate(paths) if path in paths[:number]]
    if twice:
        raise UserError(f"{twice[0]} is given twice: name each run once")
    names = [path.name for path in paths]
    entries = []
    for folder, path in zip(folders, paths, strict=True):
        results = read_results(folder)
        if all(value is None for value in own_task_map(results)["R"][-1]):
            done, tasks = results["run"].get("stages", 0), len(results["run"]["tasks"])
            raise UserError(
                f"{folder.path} has learnt {done} of {tasks} tasks, so its numbers cannot be compared: finish it with "
                f"`mas-triplets train`, then run `mas-triplets evaluate {folder.path}`"
            )
        settings = {key: value for key, value in flat_values(folder.config).items() if key not in _ELSEWHERE}
        if not uses_strength(results["run"]["strategy"]):
            settings["lifelong.strength"] = None
        name = path.name if names.count(path.name) == 1 else f"{path.parent.name}/{path.name}"
        entries.append(Entry(name, folder, results, settings))
    order = {"finetune": 0, "joint": 2}
    methods = list(dict.fromkeys(repr(entry.settings) for entry in entries))
    return sorted(entries, key=lambda e: (order.get(e.strategy, 1), methods.index(repr(e.settings)), e.seed))


def _check_comparable(entries: Sequence[Entry]) -> None:
    """Refuse runs whose galleries are not the same.

    Raises:
        UserError: it names two runs, what differs, and how.
    """
    first = entries[0]
    for other in entries[1:]:
        mine, theirs = _basis(first), _basis(other)
        differing = [
            f"{what} ({mine[what][1]} and {theirs[what][1]})" for what in mine if mine[what][0] != theirs[what][0]
        ]
        if differing:
            raise UserError(
                f"{first.run.path} and {other.run.path} differ in {', '.join(differing)}, so their numbers cannot be "
                "compared: compare them apart"
            )


def _basis(entry: Entry) -> dict[str, tuple[object, str]]:
    """What must be equal, and how to tell it."""
    about, record = entry.results["run"], entry.run.record
    data, split = str(about["data_fingerprint"]), str(record.get("split_fingerprint", about["split"]))
    region = entry.run.config.data.region
    return {
        "data": (data, f"{about['data']} {data[:8]}"),
        "split": ((split, tuple(about["tasks"])), f"{about['split']} {split[:8]}, {len(about['tasks'])} tasks"),
        "part": (about["part"], str(about["part"])),
        "data.region": (region, region),
    }


def _row(entry: Entry, entries: Sequence[Entry]) -> dict[str, Any]:
    own, about = own_task_map(entry.results), entry.results["run"]
    finetune, joint = (_reference(entry, entries, strategy) for strategy in _BOUNDS)
    low, high = (own_task_map(found.results) if found else None for found in (finetune, joint))
    return {
        "name": entry.name,
        "strategy": entry.strategy,
        "strength": about["strength"] if uses_strength(entry.strategy) else None,
        "seed": entry.seed,
        "average": entry.results["average"],
        "all": entry.results["all"],
        "forgetting": entry.results["forgetting"],
        "backward_transfer": own["backward_transfer"],
        "recovered": recovered(own["average"], low["average"], high["average"]) if low and high else None,
        "intransigence": intransigence(own["R"], high["R"][-1]) if high else None,
    }


def _reference(entry: Entry, entries: Sequence[Entry], strategy: str) -> Entry | None:
    """Return the bound's run of the entry's seed; of several the one whose other settings are most like its own."""
    found = [other for other in entries if other.strategy == strategy and other.seed == entry.seed]

    def differing(other: Entry) -> int:
        keys = [key for key in entry.settings if not key.startswith("lifelong.")]
        return sum(entry.settings[key] != other.settings[key] for key in keys)

    return entry if entry in found else min(found, key=differing, default=None)


def _methods(entries: Sequence[Entry]) -> list[Method]:
    grouped: dict[str, list[Entry]] = {}
    for entry in entries:
        grouped.setdefault(repr(entry.settings), []).append(entry)
    groups = list(grouped.values())
    return [Method(_label(group[0], [other[0] for other in groups]), tuple(group)) for group in groups]


def _label(entry: Entry, others: Sequence[Entry]) -> str:
    """Return the strategy, its strength, and what else sets it apart from others of the same two."""
    alike = [other for other in others if all(other.settings[key] == entry.settings[key] for key in _LABELLED)]
    apart = _differing(alike, lambda key: True)
    strength = entry.settings["lifelong.strength"]
    parts = [entry.strategy, *([] if strength is None else [f"{strength:g}"])]
    return ", ".join([" ".join(parts), *(f"{key.rpartition('.')[2]} {entry.settings[key]}" for key in apart)])


def _differing(entries: Sequence[Entry], wanted: Callable[[str], bool]) -> list[str]:
    keys = [key for key in entries[0].settings if wanted(key)]
    return [key for key in keys if len({repr(entry.settings[key]) for entry in entries}) > 1]


def _seed_row(method: Method, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean and deviation of each number; None where a run of the method lacks it."""
    summary: dict[str, Any] = {
        "method": method.label,
        "strategy": method.strategy,
        "strength": rows[0]["strength"],
        "seeds": [row["seed"] for row in rows],
        "runs": len(rows),
    }
    for name in COLUMNS:
        values = [row[name] for row in rows]
        known = [value for value in values if value is not None]
        whole = len(known) == len(values)
        summary[name] = fmean(known) if whole else None
        summary[f"{name}_sd"] = plots.deviation(known) if whole else None
    return summary


def _page(
    title: str,
    entries: Sequence[Entry],
    rows: Sequence[Mapping[str, Any]],
    methods: Sequence[Method],
    seeds: Sequence[Mapping[str, Any]],
) -> str:
    about = entries[0].results["run"]
    by_name = {entry.name: row for entry, row in zip(entries, rows, strict=True)}
    parts = [
        ("table", "The runs", _main_section(rows, seeds)),
        ("plots", "At a glance", _plot_section(methods, by_name, about["tasks"])),
        ("matrices", "The matrices", _matrix_section(entries, by_name)),
        ("others", "Other metrics, galleries and policies", _other_section(entries)),
        ("settings", "What differs between the runs", _settings_section(entries)),
        ("definitions", "Definitions", definition_list(entries[0].results, (*COLUMNS, "forward_transfer"))),
    ]
    tasks = "1 task" if len(about["tasks"]) == 1 else f"{len(about['tasks'])} tasks"
    count = "1 run" if len(entries) == 1 else f"{len(entries)} runs"
    version = entries[0].run.record.get("versions", {}).get("mas-triplets", "")
    return html.page(
        title,
        f"{count} on {tasks} of {about['data']}, split {about['split']}, measured on {about['part']}",
        [(anchor, name) for anchor, name, _ in parts],
        *(html.section(name, content, anchor=anchor) for anchor, name, content in parts),
        element("footer", f"Made by mas-triplets {version} from the results.json of each run."),
    )


def _main_section(rows: Sequence[Mapping[str, Any]], seeds: Sequence[Mapping[str, Any]]) -> Html:
    made: list[Html] = [
        element(
            "p",
            "Of own-task mAP, but for “all”: mAP of all facts over all pictures. Best of each column ",
            element("span", "marked", class_="best"),
            ", joint training left out: it sees every picture at every time. Finetuning does nothing against "
            "forgetting. Little forgetting alone is no merit: who learns nothing forgets nothing.",
        ),
    ]
    links = [metric_link(name) for name in COLUMNS]
    if seeds:
        best = _best(seeds)
        body = []
        for row in seeds:
            cells: list[Content] = [_named(row["method"], row["strategy"]), row["runs"]]
            for name in COLUMNS:
                spread = row[f"{name}_sd"]
                shown = html.join((row[name], "" if spread is None else f" ± {spread:.3f}"))
                cells.append(element("span", shown, class_="best") if (id(row), name) in best else shown)
            body.append(cells)
        made.append(element("h3", "Over seeds"))
        made.append(
            html.table(
                ["method", "n", *links],
                [body],
                caption="Mean and standard deviation over n runs that differ in their seed alone. A difference smaller "
                "than the deviations is no evidence of one.",
            )
        )
        made.append(element("h3", "Each run"))
    best = _best(rows)
    body = []
    for row in rows:
        strength = None if row["strength"] is None else f"{row['strength']:g}"
        numbers = [
            element("span", row[name], class_="best") if (id(row), name) in best else row[name] for name in COLUMNS
        ]
        body.append([_named(row["name"], row["strategy"]), row["strategy"], strength, str(row["seed"]), *numbers])
    made.append(html.table(["run", "strategy", "strength", "seed", *links], [body], text_columns=2))
    return html.join(made)


def _named(name: str, strategy: str) -> Content:
    if strategy not in _BOUNDS:
        return name
    return html.join((name, element("span", _BOUNDS[strategy], class_="tag")))


def _best(rows: Iterable[Mapping[str, Any]]) -> set[tuple[int, str]]:
    """Return (id of the row, column) of what is best, equal as shown with three decimals counting as equal.

    Joint training is left out, and so is a column in which all numbers are equal.
    """
    found = set()
    for name, better in COLUMNS.items():
        values = [
            (id(row), round(row[name], 3)) for row in rows if row["strategy"] != "joint" and row[name] is not None
        ]
        if len({value for _, value in values}) > 1:
            top = better(value for _, value in values)
            found |= {(row, name) for row, value in values if value == top}
    return found


def _plot_section(methods: Sequence[Method], rows: Mapping[str, Mapping[str, Any]], tasks: Sequence[str]) -> Html:
    units = {
        "average": ("Average: own-task mAP after the last task", "mAP (0 to 1), higher is better"),
        "all": ("All: mAP of all facts over all pictures", "mAP (0 to 1), higher is better"),
        "forgetting": ("Forgetting of own-task mAP", "mAP lost, lower is better"),
    }
    figures = []
    for name, (title, unit) in units.items():
        dots = [plots.Dots(method.label, [rows[entry.name][name] for entry in method.entries]) for method in methods]
        figures.append(html.figure(plots.dot_plot(dots, title=title, unit=unit)))
    curves = [_curve(method) for method in methods]
    drawing = plots.mean_curves(
        curves, len(tasks), title="Mean own-task mAP of the tasks learnt so far", unit="mAP (0 to 1)"
    )
    several = any(len(method.entries) > 1 for method in methods)
    note = (
        "Diamond: mean; bar: standard deviation over seeds; circle: one run. Band: standard deviation."
        if several
        else None
    )
    return html.join((html.grid(html.figure(drawing, note), *figures),))


def _curve(method: Method) -> plots.Curve:
    columns = list(
        zip(*(plots.mean_of_seen(own_task_map(entry.results)["R"]) for entry in method.entries), strict=True)
    )
    known = [[value for value in column if value is not None] for column in columns]
    whole = [len(values) == len(method.entries) for values in known]
    means = [fmean(values) if complete else None for values, complete in zip(known, whole, strict=True)]
    spread = [plots.deviation(values) if complete else None for values, complete in zip(known, whole, strict=True)]
    return plots.Curve(method.label, means, spread if len(method.entries) > 1 else None, method.strategy)


def _matrix_section(entries: Sequence[Entry], rows: Mapping[str, Mapping[str, Any]]) -> Html:
    made = []
    for what, pick in (("Own-task mAP", own_task_map), ("mAP in one gallery of all tasks so far", all_facts_map)):
        found = [pick(entry.results)["R"] for entry in entries]
        scale = max((value for R in found for row in R for value in row if value is not None), default=1.0)
        drawings = [
            html.figure(
                plots.heat_map(R, entry.results["run"]["tasks"], title=entry.name, scale=scale, small=True),
                _matrix_caption(entry),
            )
            for entry, R in zip(entries, found, strict=True)
        ]
        made.append(html.details(what, html.grid(*drawings, kind="small"), opened=pick is own_task_map))
    text = (
        "Row: after learning that task; column: score on that task; right of the line: not learnt yet. One scale of "
        "colours for all runs."
    )
    return html.join((element("p", text), *made))


def _matrix_caption(entry: Entry) -> str:
    strength = entry.settings["lifelong.strength"]
    return f"{entry.strategy}{'' if strength is None else f' {strength:g}'}, seed {entry.seed}"


def _other_section(entries: Sequence[Entry]) -> Html:
    made: list[Html] = []
    titles = {"fact_to_image": "From a fact to its pictures", "image_to_fact": "From a picture to its facts"}
    for direction, galleries in entries[0].results["matrices"].items():
        made.append(element("h3", titles.get(direction, direction)))
        for gallery, policies in galleries.items():
            for policy, metrics in policies.items():
                measures = ["average", *(["all"] if gallery == "generalized" else []), "forgetting"]
                head = ["run", *(Html(f"{metric_link(name)}<br>{measure}") for name in metrics for measure in measures)]
                body = []
                for entry in entries:
                    found = entry.results["matrices"][direction][gallery][policy]
                    numbers = [found.get(name, {}).get(measure) for name in metrics for measure in measures]
                    body.append([entry.name, *numbers])
                made.append(html.details(f"{gallery} gallery, {policy} vectors", html.table(head, [body])))
    return html.join(made)


def _settings_section(entries: Sequence[Entry]) -> Html:
    keys = _differing(entries, lambda key: key not in _LABELLED)
    body = [[key, *(str(entry.settings[key]) for entry in entries)] for key in keys]
    releases = [entry.run.record.get("versions", {}) for entry in entries]
    for name in releases[0]:
        if len({str(found.get(name)) for found in releases}) > 1:
            body.append([f"version of {name}", *(str(found.get(name)) for found in releases)])
    if not body:
        return element("p", "Nothing but strategy, strength and seed: all other settings and versions are the same.")
    head = ["setting", *(entry.name for entry in entries)]
    return html.join(
        (
            element(
                "p",
                "Besides strategy, strength and seed. Where a method is also trained otherwise, the table above "
                "compares both at once.",
            ),
            html.table(head, [body], text_columns=len(head)),
        )
    )
