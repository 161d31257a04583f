"""A folder a class: <s> facts, so that a sequence of object recognition tasks is a sequence of splits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from data_prep.command import run_alone, source_command
from data_prep.records import About, Label, Picture, Rejected
from mas_triplets.data.images import find_pictures
from mas_triplets.errors import UserError

_PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


class ImageFolderReader:
    """Reads PATH/CLASS/picture, or PATH/train/CLASS/picture with val and test beside it.

    The class is the first folder's name; deeper folders are searched too. Without train, val and test, parts are drawn
    by seed.

    Raises:
        UserError: there is no picture, or train, val and test stand beside folders that are none of them.
    """

    def __init__(self, path: Path) -> None:
        self._folder = path
        self._found = find_pictures(path)
        self.files: list[Path] = []
        tops = {file.relative_to(path).parts[0] for file in self._found if file.parent != path}
        self._parted = bool(tops) and tops <= _PARTS.keys()
        if not self._parted and tops & {"train", "test"}:
            others = ", ".join(sorted(tops - _PARTS.keys())[:3])
            raise UserError(f"{path} holds train or test beside {others}: put every class into one of train, val, test")
        self.about = About(
            licence="as the pictures' owner states",
            citation="none given",
            notes=(f"Prepared from the folders of {path.name}, one a class.",),
            images=path,
        )

    def pictures(self) -> Iterator[Picture | Rejected]:
        """Yield every picture, named by its path under the folder."""
        for file in self._found:
            name = file.relative_to(self._folder)
            if len(name.parts) > 1 + self._parted:
                part = _PARTS[name.parts[0]] if self._parted else None
                yield Picture(name.as_posix(), name.as_posix(), part, name.as_posix(), path=file)

    def labels(self) -> Iterator[Label | Rejected]:
        """Yield the class of every picture."""
        for file in self._found:
            name = file.relative_to(self._folder)
            if len(name.parts) > 1 + self._parted:
                yield Label(name.as_posix(), (name.parts[self._parted], None, None), name.as_posix())
            else:
                yield Rejected(name.as_posix(), "malformed record", "the picture is not in a folder of a class")


prepare = source_command(
    ImageFolderReader,
    "A folder a class: PATH/CLASS/*.jpg, or PATH/{train,val,test}/CLASS/*.jpg.",
    with_pictures=True,
)

if __name__ == "__main__":
    run_alone(prepare)
