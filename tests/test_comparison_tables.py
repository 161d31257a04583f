"""The tables beside the page: the same numbers in CSV, Markdown and LaTeX, and what each form escapes."""

from __future__ import annotations

import csv
import doctest
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hand_made_runs import Matrix, make_run
from page_checks import cells

from mas_triplets.evaluation import averages
from mas_triplets.evaluation.compare import compare
from mas_triplets.evaluation.comparison import numbers, tables, written
from mas_triplets.evaluation.comparison.tables import Column, Table
from mas_triplets.evaluation.comparison.written import csv_text, latex, latex_text, markdown_text

MATRICES: dict[str, list[Matrix]] = {
    "finetune": [[[0.75, 0.0], [0.25, 0.75]], [[0.5, 0.0], [0.25, 0.5]]],
    "mas": [[[0.75, 0.0], [0.5, 0.75]], [[0.75, 0.0], [0.75, 0.625]]],
    "joint": [[[None, None], [0.75, 0.75]], [[None, None], [0.75, 0.875]]],
}
ROWS = [
    {"name": "a_b & 50% <i>|x*", "strategy": "mas", "all": 0.6875, "all_sd": 0.125, "p": 0.0004, "runs": 1200},
    {"name": "-\\ $#{}~^ …\nnext", "strategy": "l2", "all": -0.25, "all_sd": None, "p": None, "runs": 2},
]
TABLE = Table(
    "methods",
    "50% of it",
    "a_caption",
    (Column("name", "na_me", "text"), Column("runs", "n", "count"), Column("all", "all facts"), Column("p", "p", "p")),
    ROWS,
    frozenset({(0, "all")}),
)


@pytest.fixture
def report(tmp_path: Path) -> Path:
    runs = [
        make_run(tmp_path / f"{name}-{seed}", R, strategy=name, seed=seed)
        for name, of_seeds in MATRICES.items()
        for seed, R in enumerate(of_seeds)
    ]
    found = compare(runs, tmp_path / "out" / "report.html")
    names = ["report-methods.csv", "report-further.csv", "report-tests.csv", "report-runs.csv", "report.md"]
    assert [Path(file).name for file in found["files"]] == [*names, "report.tex"]
    assert all(Path(file).is_file() for file in found["files"])
    return tmp_path / "out" / "report.html"


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_csv_has_all_digits_of_what_the_page_shows(report: Path) -> None:
    page = report.read_text()
    rows = {row["method"]: row for row in read_csv(report.with_name("report-methods.csv"))}
    mas = rows["mas 1"]
    assert (mas["runs"], mas["T1"], mas["T2"], mas["average"]) == ("2", "0.625", "0.6875", "0.65625")
    assert float(mas["T1_sd"]) == pytest.approx(0.125 * 2**0.5)
    assert float(mas["recovered"]) == pytest.approx((0.5 + 0.3125 / 0.4375) / 2)  # of seed 0, of seed 1
    assert (rows["joint"]["forgetting"], mas["recovered_all"]) == ("", "")
    shown = cells(page[page.index('id="methods"') :], "mas 1")[0]
    numbers_of = ("T1", "T2", "average", "all", "forgetting", "recovered")
    assert shown[:2] == ["mas 1", "2"]
    assert shown[2:8] == [f"{float(mas[name]):.3f} ± {float(mas[f'{name}_sd']):.3f}" for name in numbers_of]
    tests = read_csv(report.with_name("report-tests.csv"))
    assert [row["difference"] for row in tests if row["method"] == "mas 1"] == ["0.21875", "0.0", "-0.25"]
    assert read_csv(report.with_name("report-runs.csv"))[0]["name"] == "finetune-0"


def test_markdown_is_the_page_as_text(report: Path) -> None:
    page, text = report.read_text(), report.with_name("report.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    for line in lines:
        told = [cell.strip().replace("**", "").replace("\\", "") for cell in line.strip("|").split(" | ")]
        if told[0] in ("method", "run", "---"):
            continue
        beside = [told[0], *told[2:]] if told[1] == "finetune" else told  # the page parts tests by reference
        found = [[cell.replace("lower bound", "").replace("upper bound", "") for cell in row] for row in cells(page)]
        assert told in found or beside in found, told
    assert text.startswith("# Methods compared\n\n## Methods\n\n")
    assert "| joint | 2 | 0.750 ± 0.000 | 0.812 ± 0.088 |" in text
    assert "**0.625 ± 0.177**" in text  # T1 of mas, the best but for joint


def test_latex_is_the_page_as_text(report: Path) -> None:
    text = report.with_name("report.tex").read_text()
    assert r"mas 1 & 2 & \textbf{0.625} $\pm$ 0.177 & \textbf{0.688} $\pm$ 0.088 &" in text
    assert r"joint & 2 & 0.750 $\pm$ 0.000 & 0.812 $\pm$ 0.088 & 0.781 $\pm$ 0.044 & 0.250 $\pm$ 0.000 & -- &" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 4
    for block in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [line for line in block[1].splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(block[0])}


def test_what_each_form_escapes() -> None:
    assert latex("a_b & 50% <i>|x*") == r"a\_b \& 50\% \textless{}i\textgreater{}\textbar{}x*"
    assert latex("-\\ $#{}~^ …\nnext") == (
        r"-\textbackslash{} \$\#\{\}\textasciitilde{}\textasciicircum{} \ldots{} next"
    )
    text = latex_text("50% more", [TABLE])
    assert text.splitlines()[:4] == [
        r"% 50% more: needs \usepackage{booktabs}", "", "% 50% of it. a_caption", r"\begin{tabular}{lrrr}",
    ]  # fmt: skip
    assert r"\textbar{}x* & 1,200 & \textbf{0.688} $\pm$ 0.125 & \textless{}0.001 \\" in text
    assert r"next & 2 & $-$0.250 & -- \\" in text
    told = markdown_text("a", [TABLE])
    assert r"| a\_b &amp; 50% &lt;i&gt;\|x\* | 1,200 | **0.688 ± 0.125** | &lt;0.001 |" in told
    assert r"| -\\ $#{}\~^ … next | 2 | -0.250 | – |" in told
    first, second = csv.DictReader(io.StringIO(csv_text(TABLE)))
    assert first == {"name": ROWS[0]["name"], "runs": "1200", "all": "0.6875", "all_sd": "0.125", "p": "0.0004"}
    assert second == {"name": ROWS[1]["name"], "runs": "2", "all": "-0.25", "all_sd": "", "p": ""}


def test_a_table_without_caption_or_spread() -> None:
    plain = replace(TABLE, caption="", rows=[{**row, "all_sd": None} for row in ROWS])
    assert csv_text(plain).splitlines()[0] == "name,runs,all,p"
    assert "## 50% of it\n\n| na" in markdown_text("a", [plain])
    assert "% 50% of it.\n" in latex_text("a", [plain])


def test_a_page_without_ending_keeps_its_name(tmp_path: Path) -> None:
    found = compare([make_run(tmp_path / "mas")], tmp_path / "v1.2")
    assert [Path(f).name for f in found["files"]] == ["v1.2-methods.csv", "v1.2-further.csv", "v1.2-runs.csv",
                                                      "v1.2.md", "v1.2.tex"]  # fmt: skip


def test_docstrings() -> None:
    assert all(doctest.testmod(module).failed == 0 for module in (averages, numbers, tables, written))
