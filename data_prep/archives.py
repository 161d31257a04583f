"""Archives as they were downloaded, .zip and .tar.gz and their like, unpacked beside the data set while it is prepared.

An archive comes from somewhere else: no member may lie outside its folder, links are not followed but left out, and
what comes out has a bound, so that a small file cannot fill the disk.
"""

from __future__ import annotations

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Self

from mas_triplets.data.images import EXTENSIONS
from mas_triplets.errors import UserError
from mas_triplets.files import scratch_folder
from mas_triplets.progress import SILENT, Silent

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
LARGEST, TIMES = 1 << 30, 100
"""An archive may hold this many bytes, and this many times its own size on top: text rarely packs a hundredfold."""
_PIECE = 1 << 20
DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError),
    *(RuntimeError, ValueError, IndexError),  # encrypted, an impossible number, a field that is cut off
)
"""What reading a damaged archive may raise, besides OSError."""


def is_archive(path: Path) -> bool:
    """Whether the file `path` is an archive, by its name."""
    return path.name.casefold().endswith(ENDINGS) and not path.is_dir()


@contextmanager
def opened(
    path: Path, out: Path, *, pictures: bool = False, others: bool = True, progress: Silent = SILENT
) -> Iterator[Path]:
    """Yield the folder that `path` is or, of an archive, the folder of what it held, which is removed at the end.

    Folders that hold nothing but one folder are passed through: archives are often packed with their folder.

    Args:
        path: folder, file or archive; what is no archive is yielded as it is.
        out: the archive is unpacked beside this path.
        pictures: whether pictures are unpacked.
        others: whether files that are no pictures are.
        progress: who is told how far it is.

    Raises:
        UserError: the archive is absent, damaged, holds a path that leaves it, or more than it may.
    """
    if not is_archive(path):
        yield path
        return
    named = path.name[: -len(next(ending for ending in ENDINGS if path.name.casefold().endswith(ending)))]
    with scratch_folder(
        out.absolute().with_name(f"{out.name}.{named}.{'unpacked' if others else 'pictures'}")
    ) as scratch:
        folder = scratch / named
        folder.mkdir()
        _unpack(path, folder, pictures, others, progress)
        try:
            yield _inner(folder)
        except UserError as error:  # it names files that will not be there when it is read
            raise UserError(str(error).replace(str(folder), str(path))) from None


def _unpack(path: Path, folder: Path, pictures: bool, others: bool, progress: Silent) -> None:
    links = 0
    try:
        with path.open("rb") as raw, progress.bar(f"unpacking {path.name}") as bar:
            size = path.stat().st_size
            room = _Room(path, min(LARGEST + TIMES * size, shutil.disk_usage(folder).free))
            for name, content in _zipped(raw) if path.name.casefold().endswith(".zip") else _tarred(raw):
                target = folder / _safe(name, path)
                if content is None:
                    links += 1
                elif pictures if target.suffix.lower() in EXTENSIONS else others:
                    room.write(content, target)
                bar.show(f"unpacking {path.name}, KiB", min(raw.tell(), size - 1) // 1024, size // 1024 + 1)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: give the archive as it was downloaded, or its folder") from None
    except FileExistsError as error:
        raise UserError(f"{path} holds {Path(str(error.filename)).name} twice: unpack it and give the folder") from None
    except (*DAMAGE, OSError) as error:
        raise UserError(
            f"{path} cannot be unpacked ({' '.join(str(error).split())[:120]}): get it anew, or unpack it yourself"
        ) from None
    if links:
        progress.note(f"{path.name} holds {links} links, which are not followed.")


@dataclass
class _Room:
    """What may still be written of an archive."""

    archive: Path
    bound: int

    def write(self, content: IO[bytes], target: Path) -> None:
        left = self.bound
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            while piece := content.read(_PIECE):
                left -= len(piece)
                if left < 0:
                    raise UserError(
                        f"{self.archive} holds more than a hundred times its size, or than the disk has room for (at "
                        f"{target.name}): unpack it yourself and give the folder, if you trust it"
                    )
                file.write(piece)
        self.bound = left


def _zipped(raw: IO[bytes]) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yield name and content of each member that is no folder; no content of a link."""
    with zipfile.ZipFile(raw) as archive:
        for info in archive.infolist():
            if stat.S_ISLNK(info.external_attr >> 16):
                yield info.filename, None
            elif not info.is_dir():
                with archive.open(info) as content:
                    yield info.filename, content


def _tarred(raw: IO[bytes]) -> Iterator[tuple[str, IO[bytes] | None]]:
    """Yield name and content of each member that is no folder; no content of a link or a device."""
    ended = False

    class Member(tarfile.TarInfo):
        """Notices the zeros at the end, for which tarfile takes a damaged block in the middle without a word."""

        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
            nonlocal ended
            ended = len(buf) == tarfile.BLOCKSIZE and not any(buf)
            return super().frombuf(buf, encoding, errors)

    with tarfile.open(fileobj=raw, tarinfo=Member) as archive:
        for info in archive:
            if not info.isdir():
                yield info.name, archive.extractfile(info) if info.isfile() else None
        if not ended:
            raise tarfile.ReadError("it ends, or is damaged, in its middle")
        while archive.fileobj is not None and archive.fileobj.read(_PIECE):  # the sum of the whole stands at its end
            pass


def _safe(name: str, path: Path) -> PurePosixPath:
    """Return the path of a member inside the folder."""
    inside = PurePosixPath(name.replace("\\", "/"))
    if inside.is_absolute() or ".." in inside.parts or PureWindowsPath(name).drive or not inside.parts:
        raise UserError(f"{path} holds {name!r}, a path that leaves its folder: do not use this archive")
    return inside


def _inner(folder: Path) -> Path:
    while True:
        held = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__MACOSX"))]
        if len(held) != 1 or not held[0].is_dir():
            return folder
        if all(entry.suffix.lower() in EXTENSIONS for entry in held[0].iterdir()):
            return folder  # pictures in a folder whose name may be their class
        folder = held[0]
