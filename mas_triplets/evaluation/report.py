"""report.html of one run: headline numbers, the matrix, curves, tables, where importance sits, example retrievals."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mas_triplets.evaluation import html
from mas_triplets.evaluation.html import element
from mas_triplets.evaluation.sections.definitions import MEASURES, definition_list
from mas_triplets.evaluation.sections.examples import Example, example_section
from mas_triplets.evaluation.sections.further import accuracy_section, drift_section, roles_section
from mas_triplets.evaluation.sections.importance import importance_section
from mas_triplets.evaluation.sections.matrix import matrix_section
from mas_triplets.evaluation.sections.measures import group_section, measure_section
from mas_triplets.evaluation.sections.overview import about_run, headline, settings_section, unfinished
from mas_triplets.evaluation.sections.training import training_section
from mas_triplets.evaluation.stored_results import read_results
from mas_triplets.lifelong import uses_strength
from mas_triplets.training.run_folder import RunFolder

__all__ = ["Example", "read_results", "write_report"]


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
        ("matrix", "After each task", matrix_section(results)),
        ("examples", "Example retrievals", example_section(examples)),
        ("measures", "All measures", measure_section(results)),
        ("groups", "By kind of fact", group_section(results)),
        ("roles", "Swapped roles", roles_section(results)),
        ("classes", "Accuracy of classes", accuracy_section(results)),
        ("drift", "Drift of old vectors", drift_section(results)),
        ("importance", "Where importance sits", importance_section(run)),
        ("training", "Training", training_section(run)),
        ("settings", "Settings and versions", settings_section(run)),
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
        unfinished(run, results),
        headline(results),
        about_run(run, results),
        *(html.section(title, content, anchor=anchor) for anchor, title, content in parts),
        element("footer", f"Made by mas-triplets {version} from results.json."),
    )
    out = run.path / "report.html" if out is None else Path(out)
    html.write_page(out, page)
    return out
