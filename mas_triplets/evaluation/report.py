"""report.html of one run: headline numbers, the matrix, curves, tables, where importance sits, example retrievals."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from mas_triplets.config import flat_values
from mas_triplets.errors import UserError
from mas_triplets.evaluation import html, plots
from mas_triplets.evaluation.definitions import definition
from mas_triplets.evaluation.html import Content, Html, element
from mas_triplets.files import read_json
from mas_triplets.training.run_folder import RunFolder

MEASURES = {
    "average": "average",
    "all": "all",
    "backward_transfer": "backward transfer",
    "forgetting": "forgetting",
    "forward_transfer": "forward transfer",
}
"""What is told of every matrix, and the heading of its column."""
_DIRECTIONS = {"fact_to_image": "From a fact to its pictures", "image_to_fact": "From a picture to its facts"}
_NEEDED = ("average", "all", "forgetting", "run", "matrices")


class Example(NamedTuple):
    """A picture to show in a report, such as a contact sheet of what a query found."""

    title: str
    picture: Image.Image
    caption: str


def write_report(run: RunFolder | str | Path, out: Path | None = None, examples: Sequence[Example] = ()) -> Path:
    """Write the report of an evaluated run and return its path.

    The same run and examples give the same bytes. Nothing is trained or evaluated.

    Args:
        run: the run, or its folder.
        out: the file to write; RUN/report.html if None.
        examples: pictures to show, in this order; plain tuples (title, picture, caption) will do.

    Raises:
        UserError: there is no run, it is not evaluated or no longer as it was then, or `out` cannot be written.
    """
    run = run if isinstance(run, RunFolder) else RunFolder(run)
    results = read_results(run)
    about = results["run"]
    parts = [
        ("matrix", "After each task", _matrix_section(results)),
        ("examples", "Example retrievals", _example_section(examples)),
        ("measures", "All measures", _measure_section(results)),
        ("groups", "By kind of fact", _group_section(results)),
        ("importance", "Where importance sits", _importance_section(run)),
        ("training", "Training", _training_section(run)),
        ("settings", "Settings and versions", _settings_section(run)),
        ("definitions", "Definitions", definition_list(results, (*MEASURES, "intransigence", "recovered"))),
    ]
    parts = [part for part in parts if part[2] is not None]
    strength = f", strength {about['strength']:g}" if uses_strength(about["strategy"]) else ""
    version = run.record.get("versions", {}).get("mas-triplets", "")
    tasks = "1 task" if len(about["tasks"]) == 1 else f"{len(about['tasks'])} tasks"
    page = html.page(
        run.path.resolve().name,
        f"{about['strategy']}{strength}, seed {about['seed']}, {tasks} of {about['data']}, measured on {about['part']}",
        [(anchor, title) for anchor, title, _ in parts],
        _unfinished(run, results),
        headline(results),
        _about(run, results),
        *(html.section(title, content, anchor=anchor) for anchor, title, content in parts),
        element("footer", f"Made by mas-triplets {version} from results.json."),
    )
    out = run.path / "report.html" if out is None else Path(out)
    html.write_page(out, page)
    return out


def read_results(run: RunFolder) -> dict[str, Any]:
    """Return the contents of the run's results.json.

    Raises:
        UserError: it is absent, damaged, or older than the last task the run has learnt.
    """
    path, remedy = run.path / "results.json", f"run `mas-triplets evaluate {run.path}`"
    if not path.is_file():
        raise UserError(f"{run.path} has no results.json, so it is not evaluated yet: {remedy}")
    results = read_json(path, f"what `mas-triplets evaluate {run.path}` writes")
    if not isinstance(results, dict) or any(key not in results for key in _NEEDED):
        raise UserError(f"{path} is not the results of a run: {remedy} again")
    known, learnt = results["run"].get("stages", 0), run.stages
    if learnt > known:
        raise UserError(f"{path} is of the first {known} stages, but {run.path} has learnt {learnt}: {remedy} again")
    return results


def own_task_map(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of own-task mAP, of which `average` and `forgetting` are the headline numbers."""
    found: dict[str, Any] = results["matrices"]["fact_to_image"]["standard"]["reembedded"]["map"]
    return found


def all_facts_map(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record of mAP in one gallery of all tasks seen so far, of which `all` is the headline number."""
    found: dict[str, Any] = results["matrices"]["fact_to_image"]["generalized"]["reembedded"]["map"]
    return found


def uses_strength(strategy: str) -> bool:
    """Whether `lifelong.strength` has a meaning for the method."""
    return strategy not in ("finetune", "joint", "frozen")


def headline(results: Mapping[str, Any]) -> Html:
    """Return the three headline numbers with what each means."""
    better = {"average": "higher is better", "all": "higher is better", "forgetting": "lower is better"}
    cards = []
    for name, which in better.items():
        meaning = results.get("definitions", {}).get(name) or definition(name)
        if name == "forgetting" and results[name] is None:
            meaning = f"Not defined where tasks are not learnt one after another. {meaning}"
        value = element("span", results[name], class_="value")
        label = element("span", name, class_="name"), element("span", which, class_="tag")
        cards.append(element("div", *label, value, element("p", meaning), class_="card"))
    return html.grid(*cards, kind="cards")


def definition_list(results: Mapping[str, Any], measures: Iterable[str]) -> Html:
    """Return what every metric, measure, gallery and policy means; `#def-NAME` leads to each."""
    metrics: dict[str, str] = {}
    for galleries in results["matrices"].values():
        for policies in galleries.values():
            for found in policies.values():
                metrics |= {name: record.get("definition", "") for name, record in found.items()}
    over = {
        name: "Over all queries of the tasks seen so far." if name == "all" else definition(name) for name in measures
    }
    groups = (
        ("Metrics", metrics),
        ("Over the tasks, from R[i,j] = score on task j after learning task i, of T tasks", over),
        ("Galleries: what is ranked", results.get("galleries", {})),
        ("Policies: whose vectors are ranked", results.get("policies", {})),
    )
    made: list[Html] = []
    for title, pairs in groups:
        made.append(element("h3", title))
        made.append(
            html.terms(
                (element("span", name.replace("_", " "), id=_anchor(name)), text) for name, text in pairs.items()
            )
        )
    return html.join(made)


def metric_link(name: str) -> Html:
    """Return the name of a metric or measure with a link to its definition."""
    return element("a", MEASURES.get(name, name.replace("_", " ")), href=f"#{_anchor(name)}")


def _anchor(name: str) -> str:
    return "def-" + "".join(character if character.isalnum() else "-" for character in name)


def _unfinished(run: RunFolder, results: Mapping[str, Any]) -> Content:
    if any(value is not None for value in own_task_map(results)["R"][-1]):
        return Html("")
    about = results["run"]
    text = (
        f"This run is not finished: {about.get('stages', 0)} of {len(about['tasks'])} tasks are learnt. Numbers after "
        f"the last task are blank, and “all” counts the tasks seen so far only. Go on with `mas-triplets train`, then "
        f"`mas-triplets evaluate {run.path}`."
    )
    return element("p", text, class_="note")


def _about(run: RunFolder, results: Mapping[str, Any]) -> Html:
    about, config = results["run"], run.config
    encoder = config.model.image.name + ("" if config.model.image.trainable else ", frozen")
    pairs: list[tuple[Content, Content]] = [
        ("strategy", about["strategy"]),
        ("strength λ", f"{about['strength']:g}" if uses_strength(about["strategy"]) else None),
        ("seed", str(about["seed"])),
        ("data", f"{about['data']} ({str(about['data_fingerprint'])[:12]})"),
        ("split", f"{about['split']}, {len(about['tasks'])} tasks"),
        ("part measured", about["part"]),
        ("what is embedded", {"image": "the whole picture", "box": "the box of each fact"}[config.data.region]),
        ("image encoder", encoder),
        ("text encoder", config.model.text.name),
        ("loss, score", f"{config.loss.name}, {config.model.score}"),
        ("training", f"{config.train.epochs} epochs a task, {config.train.optimiser}, {config.train.learning_rate:g}"),
        ("state", str(run.record.get("state", "unknown"))),
    ]
    return html.terms(pairs, kind="facts")


def _matrix_section(results: Mapping[str, Any]) -> Html:
    tasks, own, one = results["run"]["tasks"], own_task_map(results), all_facts_map(results)
    scale = max((value for found in (own, one) for row in found["R"] for value in row if value is not None), default=1)
    several = sum(any(value is not None for value in row) for row in own["R"]) > 1  # of one stage there is no curve
    figures = []
    for R, title, below, beside in (
        (
            own["R"],
            "Own-task mAP",
            "Each task's facts over its own pictures. Row: after learning that task; column: asked about that task. "
            "Right of the line: tasks not learnt yet. Down a column one sees forgetting.",
            "Dotted: before the task was learnt.",
        ),
        (
            one["R"],
            "mAP in one gallery of all tasks so far",
            "The column's facts over the pictures of every task learnt so far: harder with each task.",
            "Falls both by forgetting and because there are more pictures to tell apart.",
        ),
    ):
        figures.append(html.figure(plots.heat_map(R, tasks, title=title, scale=scale), below))
        if several:
            figures.append(html.figure(plots.task_curves(R, tasks, title=title, unit="mAP (0 to 1)"), beside))
    head = ["", "task", "own-task mAP at the end", "when learnt", "best before the end"]
    return html.join(
        (
            html.grid(*figures),
            html.table(head, [_task_rows(own, tasks)], text_columns=2),
            html.details(
                "Both matrices as numbers",
                _numbers(own["R"], "Own-task mAP; row: after learning task, column: score on task."),
                _numbers(one["R"], "mAP in one gallery of all tasks so far."),
            ),
        )
    )


def _task_rows(own: Mapping[str, Any], tasks: Sequence[str]) -> list[list[Content]]:
    R = own["R"]
    rows: list[list[Content]] = []
    for j, name in enumerate(tasks):
        earlier = [row[j] for row in R[j:-1] if row[j] is not None]
        rows.append([str(j + 1), name, R[-1][j], R[j][j], max(earlier, default=None)])
    return rows


def _numbers(R: plots.Matrix, caption: str) -> Html:
    head = ["after", *(str(number + 1) for number in range(len(R)))]
    return html.table(head, [[[str(i + 1), *row] for i, row in enumerate(R)]], caption=caption)


def _example_section(examples: Sequence[Example]) -> Html | None:
    if not examples:
        return None
    return html.join(
        element("figure", element("h3", title), html.picture(image, title), element("figcaption", caption))
        for title, image, caption in examples
    )


def _measure_section(results: Mapping[str, Any]) -> Html:
    made = [
        element(
            "p",
            "After the last task, mean over tasks; a dash where a measure is not defined. Each name leads to its "
            "definition. R and more digits are in results.json.",
        ),
    ]
    head = ["metric", "gallery", "policy", *(metric_link(name) for name in MEASURES)]
    for direction, galleries in results["matrices"].items():
        bodies: dict[str, list[list[Content]]] = {}
        for gallery, policies in galleries.items():
            for policy, found in policies.items():
                for name, record in found.items():
                    values = [record.get(measure) for measure in MEASURES]
                    bodies.setdefault(name, []).append([metric_link(name), gallery, policy, *values])
        made.append(element("h3", _DIRECTIONS.get(direction, direction)))
        made.append(html.table(head, list(bodies.values()), text_columns=3))
    return html.join(made)


def _group_section(results: Mapping[str, Any]) -> Html | None:
    """Show every `by_...` of the results: a definition, and one record of numbers for each kind of fact."""
    made: list[Html] = []
    for key, found in results.items():
        if not key.startswith("by_") or not isinstance(found, dict):
            continue
        groups = {name: record for name, record in found.items() if isinstance(record, dict)}
        columns = list(dict.fromkeys(column for record in groups.values() for column in record))
        rows = [
            [name, *(record.get(column) for column in columns), _meter(record.get("map"))]
            for name, record in groups.items()
        ]
        head = [key.removeprefix("by_").replace("_", " "), *(metric_link(c) if c == "map" else c for c in columns), ""]
        made.append(html.table(head, [rows], caption=found.get("definition")))
    return html.join(made) if made else None


def _meter(value: float | None) -> Html:
    if value is None:
        return Html("")
    width = f"width:{100 * min(max(value, 0.0), 1.0):.1f}%"
    return element("span", element("span", style=width), class_="meter", title=f"{value:.3f} of 1")


def _importance_section(run: RunFolder) -> Html | None:
    stages = {stage: found for stage in range(1, run.stages + 1) if (found := layer_importance(run, stage))}
    if not stages:
        return None
    last = max(stages)
    bars = plots.importance_bars(stages[last], title=f"Importance measured after task {last}")
    figures = [
        html.figure(
            bars,
            "Bar: mean of Ω over the tensor, from the mean over all parameters (1). Line: quantiles 0.1 to 0.99, tick: "
            "median, diamond: largest; what is 0 is drawn at the left edge.",
        )
    ]
    if len(stages) > 1:
        names = [layer.name for layer in stages[last]]
        by_stage = [{layer.name: layer.mean for layer in stages[stage]} for stage in stages]
        means = [[found.get(name) for found in by_stage] for name in names]
        figures.append(
            html.figure(
                plots.importance_by_task(names, means, title="Mean importance, task by task"),
                "Times the mean over all parameters after that task; darker is more important.",
            )
        )
    return html.join(
        (
            element(
                "p",
                "What is important is held near its value while later tasks are learnt: strongly where Ω is large, "
                "hardly where it is small.",
            ),
            html.grid(*figures),
        )
    )


def layer_importance(run: RunFolder, stage: int) -> list[plots.LayerImportance]:
    """Return the importance measured after one stage, by tensor, as multiples of the mean over all parameters.

    Empty where the method has none. Tensors count by their size, which importance.safetensors knows.

    Raises:
        UserError: a file of the stage is damaged.
    """
    from safetensors import SafetensorError, safe_open

    folder = run.task_folder(stage)
    if not (folder / "importance.json").is_file() or not (folder / "importance.safetensors").is_file():
        return []
    measured = read_json(folder / "importance.json", "the log of an importance").get("importance", {})
    try:
        with safe_open(folder / "importance.safetensors", framework="numpy") as tensors:
            sizes = {name: _size(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder / 'importance.safetensors'} cannot be read: {error}; train the run again") from None
    measured = {name: values for name, values in measured.items() if name in sizes}
    mean = sum(values["mean"] * sizes[name] for name, values in measured.items()) / (
        sum(sizes[name] for name in measured) or 1
    )
    if not mean > 0:
        return []
    return [
        plots.LayerImportance(name, *(v.get(key, 0.0) / mean for key in ("mean", "q0.1", "q0.5", "q0.99", "max")))
        for name, v in measured.items()
    ]


def _size(shape: Sequence[int]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size


def _training_section(run: RunFolder) -> Html | None:
    records = read_log(run.path / "log.jsonl")
    if not records:
        return None
    unit = f"{run.config.loss.name} loss"
    figures = [html.figure(plots.training_curves(records, key="loss", title="Training loss", unit=unit))]
    if any(record.get("penalty") for record in records):
        drawing = plots.training_curves(records, key="penalty", title="Penalty", unit="λ Σ Ω (θ − θ*)²")
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


def _settings_section(run: RunFolder) -> Html:
    versions = run.record.get("versions", {})
    settings = [[key, str(value)] for key, value in flat_values(run.config).items()]
    return html.join(
        (
            html.terms(((name, str(number)) for name, number in versions.items()), kind="facts"),
            html.details("The whole configuration", html.table(["key", "value"], [settings], text_columns=2)),
        )
    )
