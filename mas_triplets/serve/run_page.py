"""What was learnt, as a page: the run's matrix, its forgetting curves, and where importance sits."""

from __future__ import annotations

from threading import Lock

from mas_triplets.errors import UserError
from mas_triplets.evaluation import html
from mas_triplets.evaluation.html import element
from mas_triplets.evaluation.sections.importance import importance_section
from mas_triplets.evaluation.sections.matrix import matrix_section
from mas_triplets.evaluation.sections.overview import about_run, headline, unfinished
from mas_triplets.evaluation.stored_results import stored_results
from mas_triplets.training.run_folder import RunFolder


class RunPage:
    """The page of a run, drawn when it is first asked for and again when the run has been evaluated again."""

    def __init__(self, run: RunFolder) -> None:
        self._run, self._lock = run, Lock()  # matplotlib draws for one at a time
        self._drawn: tuple[int, str] | None = None

    def text(self) -> str:
        """Return the page; of a run that is not evaluated, or whose files are damaged, a page that says so."""
        results = self._run.path / "results.json"
        with self._lock:
            changed = results.stat().st_mtime_ns if results.is_file() else 0
            if self._drawn is None or self._drawn[0] != changed:
                self._drawn = changed, _told(self._run)
            return self._drawn[1]


def _told(run: RunFolder) -> str:
    name = run.path.resolve().name
    try:
        return _page(run, name)
    except UserError as error:
        return html.page(name, "There is nothing to show yet.", [], element("p", str(error), class_="note"))


def _page(run: RunFolder, name: str) -> str:
    results = stored_results(run)
    about = results["run"]
    parts = [
        ("matrix", "After each task", matrix_section(results)),
        ("importance", "Where importance sits", importance_section(run)),
    ]
    return html.page(
        name,
        f"{about['strategy']}, seed {about['seed']}, {len(about['tasks'])} tasks of {about['data']}",
        [],
        unfinished(run, results),
        headline(results),
        about_run(run, results),
        *(html.section(title, content, anchor=anchor) for anchor, title, content in parts if content is not None),
    )
