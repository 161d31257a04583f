"""Everything the README says to type is typed here, on generated pictures."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mas_triplets.__main__ import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
TRAINING = (ROOT / "docs" / "training.md").read_text()
FACTS = (
    ("dog", "run", ""),
    ("dog", "jump over", "wave"),
    ("man", "ride", "horse"),
    ("man", "stand", ""),
    ("dog", "", ""),
    ("man", "", ""),
    ("boat", "on", "water"),
    ("water", "", ""),
)


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands(text: str = README) -> list[str]:
    lines = [line.partition(" #")[0].strip() for block in blocks("sh", text) for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory as the README has it: configs/ and a folder of photographs with a list."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    folder = tmp_path / "photos" / "images"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    rows = ["image,subject,predicate,object,split"]
    for number in range(32):
        name = "beach.jpg" if number == 0 else f"{number:02d}.jpg"
        colour = np.array(generator.integers(0, 255, 3))
        pixels = np.clip(colour + generator.normal(0, 30, (40, 60, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)
        part = ("train", "train", "test", "val")[number // 8]
        rows += [f"{name},{','.join(FACTS[k % 8])},{part}" for k in (number, number + 1)]
    (tmp_path / "photos" / "facts.csv").write_text("\n".join(rows) + "\n")
    download_vrd(tmp_path / "downloads", folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def download_vrd(folder: Path, photographs: Path) -> None:
    """Write what a person would have downloaded: the annotations in one archive, the pictures in another."""
    folder.mkdir()
    names = {"objects": ["person", "horse", "bike", "street"], "predicates": ["ride", "on", "next to", "above"]}
    content: dict[str, dict[str, list[dict[str, object]]]] = {"train": {}, "test": {}}
    for number, photograph in enumerate(sorted(photographs.iterdir())):
        subject = {"category": number % 4, "bbox": [1, 20, 1, 20]}
        thing = {"category": (number + 1) % 4, "bbox": [10, 40, 10, 60]}
        relation = {"predicate": number % 4, "subject": subject, "object": thing}
        content["test" if number % 8 > 5 else "train"][photograph.name] = [relation]
    with zipfile.ZipFile(folder / "json_dataset.zip", "w") as archive:
        for name, words in names.items():
            archive.writestr(f"json_dataset/{name}.json", json.dumps(words))
        for part, pictures in content.items():
            archive.writestr(f"json_dataset/annotations_{part}.json", json.dumps(pictures))
    with zipfile.ZipFile(folder / "sg_dataset.zip", "w") as archive:
        for photograph in photographs.iterdir():
            archive.write(photograph, f"sg_dataset/sg_images/{photograph.name}")


def type_in(line: str) -> str:
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", shlex.split(line))
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 0, f"{line}\n{err.getvalue()}"
    return out.getvalue()


def test_every_command_works_as_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mas_triplets.sweep.carry_out._processors", lambda: 1)  # starting others takes longer than runs
    ours = [line for line in commands() if line.startswith("mas-triplets ")]
    assert len(ours) >= 13
    ours.remove("mas-triplets demo")  # tests/test_side_by_side.py runs it
    for line in (*ours, *(line for line in commands(TRAINING) if line.startswith("mas-triplets "))):
        assert type_in(line), line
    assert (home / "found.png").is_file()
    assert (home / "vrd.png").is_file()
    assert (home / "runs" / "compare.html").is_file()
    for line in (line for line in commands() if line.startswith("accelerate launch ")):
        command = [sys.executable, "-m", "accelerate.commands.launch", *shlex.split(line)[2:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        assert json.loads((home / "runs" / "two" / "run.json").read_text())["processes"] == 2
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})


def test_what_is_not_ours_is_in_the_makefile_and_the_project() -> None:
    others = [line for line in commands() if not line.startswith("mas-triplets ")]
    makefile = (ROOT / "Makefile").read_text()
    for line in others:
        if line.startswith("make "):
            assert f"\n{line.removeprefix('make ')}: " in makefile
    assert "pip install -c constraints.txt -e '.[offline,web,dev]'" in others
    assert "-c constraints.txt -e '.[offline,web,dev]'" in makefile


def test_every_link_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("https://"):
            assert (ROOT / target).exists(), target


def test_the_machine_it_was_made_on_is_nowhere() -> None:
    tracked = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("configs/*"), ROOT / "constraints.txt"]
    for path in tracked:
        assert not re.search(r"(?<![\w.])/(work|home|root|opt)/", path.read_text()), path
