"""What PATH is: the folder of a source, or one of its files, which then is read without the others of its kind."""

from __future__ import annotations

from pathlib import Path

from mas_triplets.errors import UserError


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
