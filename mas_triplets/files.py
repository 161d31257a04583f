"""Files that are never half-written, and their fingerprints.

Every file that a crash could halve is written beside its final name and renamed over it: a reader sees the old file
or the whole new one. JSON is written in one canonical form, so that equal contents are equal bytes.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mas_triplets.errors import UserError
from mas_triplets.exchange import exchange


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is flushed to disk and renamed over `path`.

    On an exception the temporary file is removed and `path` keeps what it held.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        if left.is_file() and not _runs(left.name.split(".")[-2]):  # of a process that was killed
            left.unlink(missing_ok=True)
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _runs(number: str) -> bool:
    """Whether a process of this number is running, or the text is no number."""
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError, OverflowError):
        return True
    return True


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield a fresh folder beside `path`, which is removed at the end unless `put_in_place` has moved it.

    Raises:
        UserError: `path` is the working directory, which cannot be replaced from within.
    """
    path = replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    put_back(path)
    for left in _left_over(path, "partial", "old"):
        shutil.rmtree(left, ignore_errors=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def put_back(path: Path) -> None:
    """Give a folder its name back that a process was killed over while it put another in its place.

    Needed where two folders cannot be exchanged in one step: see `put_in_place`.
    """
    if not path.exists():
        for left in _left_over(path, "old")[-1:]:
            with suppress(OSError):  # another process was quicker
                left.rename(path)


def _left_over(path: Path, *endings: str) -> list[Path]:
    """Return the folders beside `path`, oldest first, that processes left which run no more."""
    found = [left for ending in endings for left in path.parent.glob(f".{glob.escape(path.name)}.*.{ending}")]
    left = [one for one in found if one.is_dir() and not _runs(one.name.split(".")[-2])]
    return sorted(left, key=lambda one: one.stat().st_mtime_ns)


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename the finished folder `temporary` to `path`; what was there is removed once the new one stands.

    Where the system can exchange two folders, a reader finds the old one or the new one at any moment, also after a
    kill; elsewhere there is a moment between two renamings when it finds none.

    Raises:
        UserError: `path` is the working directory, which cannot be replaced from within.
    """
    path = replaceable(path)
    _flush(temporary)
    if path.exists():
        old = path.with_name(f".{path.name}.{os.getpid()}.old")
        try:
            if exchange(temporary, path):
                temporary.rename(old)
            else:
                path.rename(old)
                temporary.rename(path)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            raise UserError(f"{path} is a mount point, which cannot be replaced: name a folder inside it") from None
        shutil.rmtree(old)
    else:
        temporary.rename(path)


def _flush(folder: Path) -> None:
    """Have the files of a folder on disk before it takes another's place."""
    for path in (*folder.rglob("*"), folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def locked(folder: Path, what: str) -> Iterator[None]:
    """Hold a lock on `folder`, which is made if need be; it ends with the process, however that ends.

    Args:
        folder: where the file `.lock` is.
        what: what else may be at work there, for the sentence ("a sweep").

    Raises:
        UserError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked_by(folder / ".lock", f"{what} is at work in {folder}: wait for its end, or name another folder"):
        yield


@contextmanager
def locked_by(path: Path, otherwise: str) -> Iterator[None]:
    """Hold a lock by the file `path`, which is there meanwhile; it ends with the process, however that ends.

    Raises:
        UserError: another process holds it; the sentence is `otherwise`.
    """
    while True:
        with path.open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(otherwise) from None
            if not _is_still(path, handle.fileno()):
                continue  # who held it has removed it between the opening and the locking
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether an open file is the one that is at `path`."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def remove_unfinished(folder: Path) -> None:
    """Remove the folders in `folder` that a process left half-written, or half-removed, when it was killed."""
    if folder.is_dir():
        for path in folder.iterdir():
            if path.is_dir() and path.name.startswith(".") and path.suffix in (".partial", ".old"):
                shutil.rmtree(path, ignore_errors=True)


def replaceable(path: Path) -> Path:
    """Return where a folder is that may be replaced: from the root, and what a link leads to in the link's place.

    Raises:
        UserError: it is the working directory or the root.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - absolute() leaves ".."
    if path.is_symlink():
        path = path.resolve()  # what a link leads to is replaced, not the link
    if not path.name:
        raise UserError(f"--out is {path}: name a folder inside it")
    if path.exists() and path.samefile(Path.cwd()):
        raise UserError(f"--out is the working directory ({path}): name a folder, nothing was written")
    return path


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def storable(text: str) -> str:
    """Return `text` with what UTF-8 cannot hold, a lone surrogate, spelt out."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def to_json(value: Any, *, indent: int | None = 2) -> str:
    """Return `value` as JSON in one canonical form (UTF-8 as it is, no NaN, keys in the order given)."""
    return json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as canonical JSON, whole or not at all."""
    write_text(path, to_json(value) + "\n")


def read_json(path: Path, what: str) -> Any:
    """Read the JSON file `path`; `what` names it for the person who gave it ("a prepared data set").

    Raises:
        UserError: the file is absent, unreadable or not JSON; the sentence names the file and the place in it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: it should be {what}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as {what}: {error}") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON (line {error.lineno}: {error.msg}): it should be {what}") from None
    except (RecursionError, ValueError) as error:  # nested too deeply, or a whole number of too many digits
        raise UserError(f"{path} is not valid JSON ({error}): it should be {what}") from None


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 of the file's bytes, in hexadecimal, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while piece := handle.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def sha256_of_json(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of `value`: a fingerprint of plain data."""
    return hashlib.sha256(to_json(value, indent=None).encode()).hexdigest()
