"""The files of a source's pictures: found by stem, looked into, and kept where they are, linked or copied."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from data_prep.records import Picture
from mas_triplets.data.images import EXTENSIONS, check_picture, picture_size
from mas_triplets.errors import UserError
from mas_triplets.facts import is_unicode
from mas_triplets.files import sha256_of_file
from mas_triplets.progress import SILENT, Silent

Verify = Literal["none", "header", "full"]
Store = Literal["reference", "link", "copy"]
_LONGEST = 120  # bytes of a stored name, less its ending


@dataclass(frozen=True)
class Found:
    """The file of a picture and what was seen in it, or why there is none.

    Attributes:
        path: the file; None where it was not looked for or not found.
        size: (width, height) in pixels of the file as stored; None where it was not opened.
        sha256: of its bytes, where all of it was read.
        problem: (reason, detail) why the picture cannot be used.
    """

    path: Path | None = None
    size: tuple[int, int] | None = None
    sha256: str | None = None
    problem: tuple[str, str] | None = None


class PictureFolder:
    """The pictures under a folder, by stem: sources name .jpg what lies on disk as .gif or .png.

    Raises:
        UserError: the folder is not there.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder: give the pictures' folder with --images")
        self._by_stem: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        for parent, folders, names in os.walk(folder, onerror=_fail):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                stem, extension = os.path.splitext(name)  # noqa: PTH122 - a hundred thousand names
                if extension.lower() in EXTENSIONS and not name.startswith("."):
                    path = Path(parent, name)
                    self._by_stem[stem][path.parent.name].append(path)
                    self._by_name[name].append(path)

    def find(self, file: str) -> Path | None:
        """Return the file that `file` names: exactly that one, else the one of its stem that is most like its path.

        None if there is no such file, or several are equally like it.
        """
        wanted = PurePosixPath(file.replace("\\", "/"))
        folders = self._by_stem.get(wanted.stem, {})
        if len(folders) == 1:
            (alike,) = folders.values()
        else:  # there may be as many as there are pictures, so they are not compared one by one
            alike = folders.get(wanted.parent.name) or self._by_name.get(wanted.name, [])
        if len(alike) == 1:
            return alike[0]

        def likeness(path: Path) -> tuple[int, bool]:
            same = 0
            for mine, theirs in zip(reversed(path.parts[:-1]), reversed(wanted.parts[:-1]), strict=False):
                if mine != theirs:
                    break
                same += 1
            return same, path.name == wanted.name

        best = max(map(likeness, alike), default=None)
        chosen = [path for path in alike if likeness(path) == best]
        return chosen[0] if len(chosen) == 1 else None


def _fail(error: OSError) -> None:
    raise error


def look_into(pictures: Sequence[Picture], folder: Path | None, verify: Verify, progress: Silent) -> dict[str, Found]:
    """Find and check the file of every picture, in threads; without a folder nothing is looked for.

    Args:
        pictures: the source's.
        folder: where their files lie; None for annotations alone.
        verify: `none` finds the file, `header` reads its size, `full` decodes it and takes its SHA-256.
        progress: who is told how far it is.
    """
    if folder is None:
        return {picture.image_id: Found() for picture in pictures}
    files = None if all(picture.path for picture in pictures) else PictureFolder(folder)

    def look(picture: Picture) -> Found:
        path = picture.path or (files.find(picture.file) if files else None)
        if path is None:
            return Found(problem=("missing image", f"no file {picture.file}, nor one of that stem"))
        if not exists(path):
            return Found(problem=("missing image", f"{path} does not exist"))
        if not is_unicode(str(path)):
            return Found(problem=("unreadable image", f"the path {path} is not valid Unicode text: rename it"))
        try:
            if verify == "none":
                return Found(path)
            if verify == "header":
                return Found(path, picture_size(path))
            return Found(path, check_picture(path), sha256_of_file(path))
        except UserError as error:
            return Found(path, problem=("unreadable image", str(error)))

    with ThreadPoolExecutor() as pool:
        seen = progress.track(pool.map(look, pictures), "looking into pictures", len(pictures))
        return {picture.image_id: found for picture, found in zip(pictures, seen, strict=True)}


def exists(path: Path) -> bool:
    """Whether there is a file; a name too long or with a null in it names none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def stored_name(image_id: str, path: Path) -> str:
    """Return the name of a picture kept inside the data set: safe whatever the source calls it, and its own."""
    safe = "".join(character if character.isalnum() or character in "-_" else "_" for character in image_id)
    if safe != image_id or len(safe.encode()) > _LONGEST:  # two names may become one
        safe = (
            f"{safe.encode()[:_LONGEST].decode(errors='ignore')}-{hashlib.sha256(image_id.encode()).hexdigest()[:12]}"
        )
    return f"images/{safe}{path.suffix.lower() if len(path.suffix.encode()) < 16 else ''}"


def put_pictures(files: dict[str, Path], folder: Path, store: Store, progress: Silent = SILENT) -> None:
    """Copy or hard-link files (name inside the data set -> file) into `folder`; what cannot be linked is copied."""
    (folder / "images").mkdir(exist_ok=True)
    for name, path in progress.track(files.items(), "keeping pictures", len(files)):
        if store == "link":
            try:
                (folder / name).hardlink_to(path.resolve())  # a link to a link would lead elsewhere from there
                continue
            except OSError:  # another file system, or one without hard links
                pass
        shutil.copyfile(path, folder / name)
