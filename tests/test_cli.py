"""The real commands, on small data: what they print, what they write, and how they fail."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from small_run import small_config, small_data

import mas_triplets
from mas_triplets.__main__ import main

VERBS = (
    *("demo", "prepare", "split", "describe", "train", "adapt", "evaluate", "sweep", "compare", "index", "query"),
    *("serve", "export"),
)
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Done:
    """What a command printed."""

    stdout: str
    stderr: str


def run(*arguments: object, cwd: Path, code: int = 0) -> Done:
    """Run the command line in this process, from the arguments to the exit code."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["mas-triplets", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == code, f"{arguments}: {ended.value.code}\n{out.getvalue()}\n{err.getvalue()}"
    return Done(out.getvalue(), err.getvalue())


def run_process(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mas_triplets", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=environment)


def fails(*arguments: object, cwd: Path, says: str) -> None:
    done = run(*arguments, cwd=cwd, code=2)
    assert says in " ".join(done.stderr.split()), done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, two trained runs and an index, all made by the commands themselves."""
    folder = tmp_path_factory.mktemp("cli")
    small_data(folder)
    (folder / "config.yaml").write_text(yaml.safe_dump(small_config(folder)))
    run("train", "config.yaml", "--set", "seed=0", "lifelong.strength=0.1", "--out", "mas", cwd=folder)
    run("train", "config.yaml", "--set", "lifelong.strategy=joint", "--out", "joint", cwd=folder)
    run("index", "mas", "--out", "found", cwd=folder)
    return folder


def test_help_is_quick_and_imports_nothing_heavy(tmp_path: Path) -> None:
    seconds = []
    for _ in range(5):
        began = time.monotonic()
        text = run_process("--help", cwd=tmp_path).stdout
        seconds.append(time.monotonic() - began)
    assert all(verb in text for verb in VERBS)
    heavy = "('torch', 'numpy', 'faiss', 'rich', 'pyarrow', 'gradio', 'fastapi')"
    code = f"import sys, mas_triplets.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert min(seconds) < 1.0  # 0.15 s where the machine is free; what makes it slow is the import, asserted above


def test_every_verb_has_help(tmp_path: Path) -> None:
    for verb in (*VERBS, "prepare table", "prepare scenes"):
        assert "--help" in run(*verb.split(), "--help", cwd=tmp_path).stdout


def test_train_writes_the_run_folder(home: Path) -> None:
    files = {str(path.relative_to(home / "mas")) for path in (home / "mas").rglob("*") if path.is_file()}
    assert {
        "config.yaml",
        "run.json",
        "log.jsonl",
        "results.json",
        "report.html",
        "language.json",
        "tasks/01/model.safetensors",
        "tasks/01/importance.safetensors",
        "tasks/02/metrics.json",
    } <= files
    assert sum(name.startswith("checkpoint/") and name.endswith("/state.json") for name in files) == 2
    assert any(name.startswith("tensorboard/") for name in files)
    record = json.loads((home / "mas" / "run.json").read_text())
    assert record["state"] == "finished"
    assert {"torch", "numpy", "faiss-cpu"} <= set(record["versions"])
    assert yaml.safe_load((home / "mas" / "config.yaml").read_text())["lifelong"]["strength"] == 0.1


def test_evaluate_prints_one_object_and_nothing_else(home: Path) -> None:
    printed = json.loads(run("evaluate", "mas", "--json", cwd=home).stdout)
    assert list(printed)[:3] == ["average", "all", "forgetting"]
    assert printed == json.loads((home / "mas" / "results.json").read_text())
    assert "own-task mAP" in run("evaluate", "mas", "--part", "val", cwd=home).stdout


def test_query_finds_pictures_and_facts(home: Path) -> None:
    hits = json.loads(run("query", "found", "<dog, chase, *>", "-k", 3, "--json", cwd=home).stdout)
    assert [hit["rank"] for hit in hits] == [1, 2, 3]
    assert all(set(hit) == {"rank", "score", "image", "box", "slots"} for hit in hits)
    assert set(hits[0]["slots"]) == {"subject", "predicate"}
    printed = run("query", "found", "<*, *, cat>", "--sheet", "sheet.png", cwd=home).stdout
    assert "Contact sheet: sheet.png" in printed
    assert (home / "sheet.png").stat().st_size > 1000
    facts = json.loads(run("query", "found", "--image", hits[0]["image"], "--json", cwd=home).stdout)
    assert {fact["order"] for fact in facts} == {1, 2, 3}
    assert "facts of order 1" in run("query", "found", "--image", hits[0]["image"], cwd=home).stdout


def test_compare_describe_and_split(home: Path) -> None:
    found = json.loads(run("compare", "mas", "joint", "--out", "both.html", "--json", cwd=home).stdout)
    assert [row["strategy"] for row in found["rows"]] == ["mas", "joint"]
    assert (home / "both.html").read_text().startswith("<!")
    assert "joint" in run("compare", "mas", "joint", "--out", "both.html", cwd=home).stdout
    for path in ("data", "mas", "found"):
        assert json.loads(run("describe", path, "--json", cwd=home).stdout)
        assert run("describe", path, cwd=home).stdout
    rows = json.loads(
        run(
            "split", "data", "--method", "slot", "--slot", "subject", "--tasks", 2, "--name", "s", "--json", cwd=home
        ).stdout
    )
    assert [row["facts"] for row in rows] == [3, 3]


def test_prepare_scenes_takes_a_file_of_options(tmp_path: Path) -> None:
    (tmp_path / "options.yaml").write_text("size: 32\nshapes: [star, ring]\ntrain: 40\nval: 8\ntest: 8\n")
    run("prepare", "scenes", "options.yaml", "--out", "scenes", cwd=tmp_path)
    first = (tmp_path / "scenes" / "instances.parquet").read_bytes()
    run("prepare", "scenes", "options.yaml", "--out", "again", cwd=tmp_path)
    assert (tmp_path / "again" / "instances.parquet").read_bytes() == first
    picture = Path("images") / "000003.png"
    assert (tmp_path / "scenes" / picture).read_bytes() == (tmp_path / "again" / picture).read_bytes()
    (tmp_path / "wrong.yaml").write_text("shape: [star]\n")
    fails("prepare", "scenes", "wrong.yaml", "--out", "x", cwd=tmp_path, says="did you mean 'shapes'")
    fails("prepare", "scenes", "--difficulty", "hart", "--out", "x", cwd=tmp_path, says="did you mean 'hard'")
    assert not (tmp_path / "x").exists()


def test_wrong_use_is_a_sentence_and_exit_code_two(home: Path) -> None:
    (home / "empty.csv").write_text("image,subject\n")
    for arguments, says in (
        (("train", "config.yaml", "--set", "lifelong.strenght=1", "--out", "x"), "did you mean 'lifelong.strength'"),
        (("train", "config.yaml", "--set", "lifelong.strategy=mass", "--out", "x"), "did you mean 'mas'"),
        (("train", "none.yaml", "--out", "x"), "none.yaml does not exist"),
        (("train", "config.yaml", "--set", "data.path=none", "--out", "x"), "none does not exist"),
        (
            ("train", "config.yaml", "--set", "data.train_parts=[val]", "data.split=two", "--out", "mas"),
            "--resume never",
        ),
        (("train", "config.yaml", "--resume", "maybe", "--out", "x"), "auto, never"),
        (("prepare", "tabel", "x"), "did you mean 'table'"),
        (("prepare", "table", "none.csv", "--out", "x"), "none.csv does not exist"),
        (("prepare", "table", "empty.csv", "--out", "x"), "no labelled picture"),
        (("split", "data", "--name", "s2", "--method", "semantics"), "did you mean 'semantic'"),
        (("split", "data", "--name", "s2", "--tasks", "99"), "ask for fewer tasks"),
        (("describe", "."), "no prepared data set, run or index"),
        (("evaluate", "data"), "is not a run"),
        (("index", "mas", "--out", "data"), "data"),
        (("index", "mas", "--out", "x", "--images", "none"), "none"),
        (("query", "found"), "give either a fact"),
        (("query", "found", "<a, b, c, d>"), "has 4 slots"),
        (("query", "none", "<dog>"), "none"),
        (("query", "found", "<dog>", "--run", "joint"), "mas-triplets index"),
        (("query", "found", "--image", "none.jpg"), "none.jpg does not exist"),
        (("nonsense",), "No such command"),
    ):
        fails(*arguments, cwd=home, says=says)
    assert not (home / "x").exists()


def test_the_installed_command_ends_with_the_same_codes(home: Path) -> None:
    found = run_process("query", "found", "<dog>", "--json", cwd=home)
    assert (found.returncode, found.stderr) == (0, "")
    assert json.loads(found.stdout)[0]["rank"] == 1
    wrong = run_process("query", "none", "<dog>", cwd=home)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("error: none")


def test_a_bug_is_exit_code_one(home: Path) -> None:
    code = (
        "import mas_triplets.console as c, typer\n"
        "app = typer.Typer(pretty_exceptions_enable=False)\n"
        "@app.command()\ndef f() -> None: raise RuntimeError('ours')\n"
        "c.run(app)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=home)
    assert done.returncode == 1
    assert "RuntimeError: ours" in done.stderr


def test_a_path_that_cannot_be_written_is_a_sentence(home: Path) -> None:
    (home / "folder.png").mkdir()
    for arguments, name in (
        (("train", "config.yaml", "--out", "config.yaml/x"), "config.yaml"),
        (("index", "mas", "--out", "config.yaml/x"), "config.yaml"),
        (("query", "found", "<dog>", "--sheet", "config.yaml/x.png"), "config.yaml"),
        (("query", "found", "<dog>", "--sheet", "folder.png"), "folder.png: Is a directory; give another path"),
        (("query", "found", "<dog>", "--sheet", "x" * 300 + ".png"), "give a shorter path"),
    ):
        fails(*arguments, cwd=home, says=name)


def test_results_that_are_none_are_named(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "mas", tmp_path / "run")
    (tmp_path / "run" / "results.json").write_text("{}")
    fails("describe", "run", cwd=tmp_path, says="results.json is not the results of a run: run `mas-triplets evaluate")


def ended(body: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command line of one command whose body is given, in a process of its own."""
    code = (
        "import mas_triplets.console as c, errno, os, sys, typer\n"
        "app = typer.Typer(pretty_exceptions_enable=False)\n"
        f"@app.command()\ndef f() -> None: {body}\n"
        "c.run(app)"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=cwd)


def test_interruption_and_a_reader_that_has_gone(home: Path) -> None:
    done = ended("raise KeyboardInterrupt", home)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "interrupted: what was written so far is whole and stays usable\n"
    for body in ("raise BrokenPipeError(errno.EPIPE, 'x')", "r, w = os.pipe(); os.close(r); os.dup2(w, 1); print(1)"):
        done = ended(body, home)
        assert (done.returncode, done.stderr) == (0, "")
    done = ended("raise OSError(errno.ENOSPC, 'No space left on device')", home)
    assert (done.returncode, done.stderr.startswith("error: a file: No space left on device; make room")) == (2, True)
    assert ended("raise OSError(errno.EIO, 'x')", home).returncode == 1
    assert ended("raise typer.Exit(3)", home).returncode == 3


def test_no_arguments_and_help_keep_their_codes(tmp_path: Path) -> None:
    assert "query" in run(cwd=tmp_path, code=2).stderr
    assert "query" in run("--help", cwd=tmp_path).stdout
    assert "Missing argument" in run("query", cwd=tmp_path, code=2).stderr


def test_the_version_is_that_of_the_installation() -> None:
    assert mas_triplets.__version__ == version("mas-triplets")
