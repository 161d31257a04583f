"""Where a source is: the folder it was given as, or one of its files; and whether a file of it can be read."""

from __future__ import annotations

from pathlib import Path

from mas_triplets.errors import UserError


def check_readable(path: Path, remedy: str) -> None:
    """Raise UserError if `path` is no file that can be read; `remedy` says what it should be."""
    try:
        with path.open("rb"):
            return
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: {remedy}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder: {remedy}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {remedy}") from None


def folder_of(path: Path, holds: str) -> tuple[Path, str | None]:
    """Return the folder of a source, and the name of the only file that is wanted of it, None for all.

    What belongs to a file (lists of words, sizes of pictures) is looked for beside it.

    Args:
        path: a folder or a file.
        holds: what the folder should hold, for the person who gave another.

    Raises:
        UserError: nothing is there.
    """
    if path.is_dir():
        return path, None
    if path.is_file():
        return path.parent, path.name
    raise UserError(f"{path} does not exist: give the folder that holds {holds}")
