"""Which run a page is about: headline numbers, what was trained on what, whether it is finished, all settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mas_triplets.config import flat_values
from mas_triplets.evaluation import html
from mas_triplets.evaluation.definitions import definition
from mas_triplets.evaluation.html import Content, Html, element
from mas_triplets.evaluation.stored_results import own_task_map
from mas_triplets.lifelong import uses_strength
from mas_triplets.training.run_folder import RunFolder


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


def unfinished(run: RunFolder, results: Mapping[str, Any]) -> Content:
    """Return a note if tasks are left to learn."""
    if any(value is not None for value in own_task_map(results)["R"][-1]):
        return Html("")
    about = results["run"]
    text = (
        f"This run is not finished: {about.get('stages', 0)} of {len(about['tasks'])} tasks are learnt. Numbers after "
        f"the last task are blank, and “all” counts the tasks seen so far only. Go on with `mas-triplets train`, then "
        f"`mas-triplets evaluate {run.path}`."
    )
    return element("p", text, class_="note")


def about_run(run: RunFolder, results: Mapping[str, Any]) -> Html:
    """Return what was trained on what, and how."""
    about, config = results["run"], run.config
    encoder = config.model.image.name + (", frozen" if config.model.image.frozen else "")
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


def settings_section(run: RunFolder) -> Html:
    """Show the versions and the whole configuration."""
    versions = run.record.get("versions", {})
    settings = [[key, str(value)] for key, value in flat_values(run.config).items()]
    return html.join(
        (
            html.terms(((name, str(number)) for name, number in versions.items()), kind="facts"),
            html.details("The whole configuration", html.table(["key", "value"], [settings], text_columns=2)),
        )
    )
