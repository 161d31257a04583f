"""From the records of a reader to a prepared data set: text, boxes, files, parts, and an account of all left out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from data_prep.account import account
from data_prep.identity import Used, collect, decide
from data_prep.labels import add_labels
from data_prep.pictures import Found, Store, Verify, look_into, put_pictures, stored_name
from data_prep.records import Label, LocatesPictures, Picture, Reader, Rejected, WantsSizes
from mas_triplets.data.builder import DatasetBuilder, check_is_ours
from mas_triplets.data.format import ORDERS, PARTS
from mas_triplets.errors import UserError
from mas_triplets.progress import SILENT, Silent


@dataclass(frozen=True)
class Options:
    """How a data set is prepared, whatever its source.

    Attributes:
        orders: which facts are wanted: 1 <s>, 2 <s, p>, 3 <s, p, o>.
        min_images: facts with fewer pictures are left out.
        validation: share of the training pictures kept for validation where the source has no validation part.
        test: share of all pictures kept for test where the source has no parts at all.
        seed: of what is drawn at random.
        verify: how closely pictures are looked at: none, header, full.
        store: reference, link or copy.
    """

    orders: tuple[int, ...] = ORDERS
    min_images: int = 1
    validation: float = 0.1
    test: float = 0.2
    seed: int = 0
    verify: Verify = "header"
    store: Store = "reference"

    def __post_init__(self) -> None:
        if not self.orders or any(order not in ORDERS for order in self.orders):
            raise UserError(f"--orders is {','.join(map(str, self.orders))!r}: write some of 1,2,3")
        for name in ("validation", "test"):
            if not 0 <= getattr(self, name) <= 0.9:  # NaN is caught too
                raise UserError(f"--{name} is {getattr(self, name)}: it must be a share from 0 to 0.9")
        if self.min_images < 1:
            raise UserError(f"--min-images is {self.min_images}: it must be 1 or more")


def assemble(
    name: str,
    reader: Reader,
    out: Path,
    images: Path | None = None,
    options: Options | None = None,
    *,
    overwrite: bool = False,
    progress: Silent = SILENT,
) -> Path:
    """Read a source whole and write it as the prepared data set `out`.

    Args:
        name: of the data set.
        reader: of the source.
        out: folder to write.
        images: folder of the pictures, or the source's own; without either the data set has annotations alone and
            cannot be trained on.
        options: see `Options`.
        overwrite: whether another data set in `out` is replaced.
        progress: who is told how far it is.

    Raises:
        UserError: the source cannot be read, nothing in it is valid, or `out` holds something else.
    """
    options = options or Options()
    images = images or reader.about.images
    if images is not None and not images.is_dir():
        raise UserError(f"{images} is not a folder: give the pictures' folder with --images")
    check_is_ours(out)  # before a source is read that takes minutes
    _check_outside(out, [*reader.files, *([images] if images else [])])
    builder = DatasetBuilder(
        name,
        about={"licence": reader.about.licence, "citation": reader.about.citation},
        options={key: list(value) if isinstance(value, tuple) else value for key, value in asdict(options).items()},
        notes=list(reader.about.notes),
    )
    if images is not None and isinstance(reader, LocatesPictures):
        reader.take_folder(images)
    pictures, rejected = collect(reader.pictures())
    for record in rejected:
        builder.reject(record.source, record.reason, record.detail)
    found = look_into(list(pictures.values()), images, options.verify, progress)
    _check_outside(out, [seen.path for seen in found.values() if seen.path])  # a list may name any picture
    used = decide(pictures, found, relative=isinstance(reader, WantsSizes))
    for image_id, problem in used.refused.items():
        builder.reject(pictures[image_id].source, *problem)
    for image_id, other in used.same_as.items():
        builder.reject(pictures[image_id].source, "duplicate", f"the same picture as {other}, which has its facts")
    sizes, kept = _add_images(builder, pictures, found, used, options.store)
    if isinstance(reader, WantsSizes):
        reader.take_sizes(sizes | {image_id: sizes[other] for image_id, other in used.same_as.items()})
    labels = _by_picture(reader, f"reading {name}", len(pictures), progress)
    relations = add_labels(builder, labels, pictures, used, sizes, options.orders)
    for path in reader.files:
        builder.add_source(path)
    builder.leave_out_rare(options.min_images)
    notes = [*_divide(builder, options), *account(reader.about, pictures, relations, used.scale, images, builder)]
    builder.notes += notes
    for note in notes:
        progress.note(note)
    in_use = builder.files_in_use()
    stored = {file: path for file, path in kept.items() if file in in_use}
    fill = (lambda folder: put_pictures(stored, folder, options.store, progress)) if stored else None
    return builder.write(out, fill=fill, overwrite=overwrite)


def _check_outside(out: Path, paths: Iterable[Path]) -> None:
    """Raise UserError if a file of the source lies inside `out`, where it would be lost when `out` is replaced."""
    if not out.exists():
        return
    whole = out.resolve()
    for path in paths:
        if path.resolve().is_relative_to(whole):
            raise UserError(f"{path} lies inside --out {out}, which would be replaced: choose another --out")


def _add_images(
    builder: DatasetBuilder, pictures: Mapping[str, Picture], found: Mapping[str, Found], used: Used, store: Store
) -> tuple[dict[str, tuple[int, int] | None], dict[str, Path]]:
    """Add the pictures that are used. Return their sizes, and name -> file of those that go into the data set."""
    sizes: dict[str, tuple[int, int] | None] = {}
    kept: dict[str, Path] = {}
    for image_id, picture in pictures.items():
        if image_id in used.refused or image_id in used.same_as:
            continue
        seen = found[image_id]
        sizes[image_id] = seen.size or picture.size
        file_name = f"images/{picture.file}" if seen.path is None else os.path.abspath(seen.path)  # noqa: PTH100
        if seen.path is not None and store != "reference":
            file_name = stored_name(image_id, seen.path)
            kept[file_name] = seen.path
        builder.add_image(
            image_id,
            file_name,
            sizes[image_id],
            picture.part,
            source_id=picture.origin or picture.file,
            url=picture.url,
            licence=picture.licence,
            sha256=seen.sha256,
        )
    return sizes, kept


def _by_picture(reader: Reader, what: str, pictures: int, progress: Silent) -> Iterator[Label | Rejected]:
    """Yield the labels; how far it is is told in pictures, since nobody knows beforehand how many labels there are."""
    total = pictures * reader.about.passes
    with progress.bar(what) as bar:
        passed, last = 0, None
        for label in reader.labels():
            yield label
            if isinstance(label, Label) and label.image_id != last:
                last = label.image_id
                bar.show(what, min(passed, total - 1), total)
                passed += 1
        bar.show(what, total, total)


def _divide(builder: DatasetBuilder, options: Options) -> Iterator[str]:
    """Draw the parts that the source does not have, and say where fewer pictures could be drawn than were asked for."""
    short: dict[str, tuple[int, int]] = {}
    if not any(builder.has_part(part) for part in PARTS):
        short["test"] = builder.carve("test", options.test, options.seed, out_of=None)
    builder.assign("train")
    if not builder.has_part("val"):
        short["val"] = builder.carve("val", options.validation, options.seed, out_of="train")
    for part, (moved, wanted) in short.items():
        if moved < wanted:
            yield (
                f"Of {wanted:,} pictures wanted for {part} only {moved:,} were moved there: each of the others is the "
                "last one of some fact. --min-images 5 or so leaves such facts out."
            )
