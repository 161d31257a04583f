"""Methods by kind of fact: order, head, middle and tail, seen and unseen; swapped roles; accuracy of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mas_triplets.evaluation import html
from mas_triplets.evaluation.averages import whole_deviation, whole_mean
from mas_triplets.evaluation.comparison.methods import Method
from mas_triplets.evaluation.comparison.shown import whole_name
from mas_triplets.evaluation.comparison.tables import three_decimals
from mas_triplets.evaluation.html import Content, Html, element

_MAPS = {"own_task_map": "own-task mAP", "map": "all-facts mAP"}


def kind_section(methods: Sequence[Method]) -> Html | None:
    """Show what results tell of kinds of facts, mean ± deviation over runs; None if they tell nothing."""
    first = methods[0].entries[0].results
    made = [_kind_table(methods, key) for key in first if key.startswith("by_") and isinstance(first[key], dict)]
    made += [_roles_table(methods), _accuracy_table(methods)]
    shown = [table for table in made if table is not None]
    return html.join(shown) if shown else None


def _kind_table(methods: Sequence[Method], key: str) -> Html | None:
    """Return the table of one way to part the facts: a column a kind, a body each for own-task and all-facts mAP."""
    record = methods[0].entries[0].results[key]
    groups = [name for name, found in record.items() if isinstance(found, dict) and found.get("facts")]
    if len(groups) < 2:
        return None
    bodies = []
    for measure, title in _MAPS.items():
        bodies.append(
            [
                [whole_name(method.label), title, *(over(method, key, group, measure) for group in groups)]
                for method in methods
            ]
        )
    heading = key.removeprefix("by_").replace("_", " ")
    caption = element("p", record.get("definition"), class_="caption")
    table = html.table(["method", heading, *groups], bodies, text_columns=2)
    return html.join((element("h3", f"By {heading}"), caption, table))


def _roles_table(methods: Sequence[Method]) -> Html | None:
    record = methods[0].entries[0].results.get("swapped_roles")
    if not record:
        return None
    rows = [[whole_name(method.label), over(method, "swapped_roles", "accuracy")] for method in methods]
    caption = f"{record['definition']} {record['pairs']} pairs of facts, {record['images']} images."
    table = html.table(["method", "told apart"], [rows])
    return html.join((element("h3", "Swapped roles"), element("p", caption, class_="caption"), table))


def _accuracy_table(methods: Sequence[Method]) -> Html | None:
    record = methods[0].entries[0].results.get("accuracy")
    if not record:
        return None
    views = [
        (view, weight, measure)
        for view, found in record.items()
        if isinstance(found, dict)
        for weight in ("per_image", "per_class")
        if isinstance(found.get(weight), dict)
        for measure in ("average", "all", "forgetting")
        if found[weight].get(measure) is not None
    ]
    head: list[Content] = ["method"]
    head += [html.join([part.replace("_", " ") for part in view], "<br>") for view in views]
    rows = [[whole_name(method.label), *(over(method, "accuracy", *view) for view in views)] for method in methods]
    definitions = {
        view.replace("_", " "): found["definition"] for view, found in record.items() if isinstance(found, dict)
    }
    told = " ".join(f"{view.capitalize()}: {text}" for view, text in definitions.items())
    caption = element("p", f"{record['definition']} {told}", class_="caption")
    return html.join((element("h3", "Accuracy of classes"), caption, html.table(head, [rows])))


def over(method: Method, *path: str) -> str | None:
    """Return `mean ± deviation`, over the method's runs, of one number of their results; None where one lacks it.

    Args:
        method: the method.
        path: the keys that lead to it.
    """
    values = [_at(entry.results, path) for entry in method.entries]
    mean, spread = whole_mean(values), whole_deviation(values)
    if mean is None:
        return None
    return three_decimals(mean) + ("" if spread is None else f" ± {spread:.3f}")


def _at(results: Mapping[str, Any], path: Sequence[str]) -> float | None:
    found: Any = results
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, int | float) else None
