"""Files that are whole or not there, whoever was killed while writing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mas_triplets.errors import UserError
from mas_triplets.files import locked, write_text


def test_what_a_killed_process_left_of_a_file_is_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = tmp_path / f".a[1].json.{dead.pid}.partial"
    others = [
        tmp_path / f".a[1].json.{os.getppid()}.partial",  # of a process that runs
        tmp_path / f".b.json.{dead.pid}.partial",  # of another file
        tmp_path / ".a[1].json.mine.partial",  # not ours
    ]
    for path in (left, *others):
        path.touch()
    write_text(tmp_path / "a[1].json", "new")
    assert (tmp_path / "a[1].json").read_text() == "new"
    assert not left.exists()
    assert all(path.exists() for path in others)


def test_a_file_keeps_what_it_held_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half \ud800")
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_a_lock_is_held_once_and_given_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with locked(out, "a sweep"), pytest.raises(UserError, match="a sweep is at work in"), locked(out, "a sweep"):
        pass
    with locked(out, "a sweep"):
        assert out.is_dir()
