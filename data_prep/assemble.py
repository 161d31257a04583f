"""From the records of a reader to a prepared data set: text, boxes, files, parts, and an account of all left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from data_prep.pictures import Found, Store, Verify, look_into, put_pictures, stored_name
from data_prep.records import Label, Picture, Reader, Rejected, WantsSizes
from mas_triplets.data.boxes import Box, clip_box
from mas_triplets.data.builder import DatasetBuilder
from mas_triplets.data.format import ORDERS, PARTS
from mas_triplets.errors import UserError
from mas_triplets.facts import Fact, is_unicode
from mas_triplets.progress import SILENT, Silent

_LARGEST = 1 << 31  # pixels along a side: the tables hold 32 bits


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
    builder = DatasetBuilder(
        name,
        about={"licence": reader.about.licence, "citation": reader.about.citation},
        options={key: list(value) if isinstance(value, tuple) else value for key, value in asdict(options).items()},
        notes=list(reader.about.notes),
    )
    pictures = _pictures(reader, builder)
    found = look_into(list(pictures.values()), images, options.verify, progress)
    refused = _refused(pictures, found)
    for image_id, (reason, detail) in refused.items():
        builder.reject(pictures[image_id].source, reason, detail)
    kept: dict[str, Path] = {}
    sizes: dict[str, tuple[int, int] | None] = {}
    for image_id, picture in pictures.items():
        if image_id in refused:
            continue
        seen = found[image_id]
        sizes[image_id] = seen.size or picture.size
        file_name = f"images/{picture.file}" if seen.path is None else str(seen.path.resolve())
        if seen.path is not None and options.store != "reference":
            file_name = stored_name(image_id, seen.path)
            if file_name in kept:
                raise UserError(f"{picture.source}: {image_id} would be kept under the name of another: {file_name}")
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
    if isinstance(reader, WantsSizes):
        reader.take_sizes(sizes)
    for label in progress.track(reader.labels(), f"reading {name}", len(pictures)):
        _add(builder, label, sizes, refused, options)
    for path in reader.files:
        builder.add_source(path)
    builder.leave_out_rare(options.min_images)
    _divide(builder, options)
    builder.notes += _told(reader, pictures, found, images)
    for note in builder.notes[len(reader.about.notes) :]:
        progress.note(note)
    used = builder.files_in_use()
    stored = {file: path for file, path in kept.items() if file in used}
    fill = (lambda folder: put_pictures(stored, folder, options.store)) if stored else None
    return builder.write(out, fill=fill, overwrite=overwrite)


def _pictures(reader: Reader, builder: DatasetBuilder) -> dict[str, Picture]:
    pictures: dict[str, Picture] = {}
    for picture in reader.pictures():
        if isinstance(picture, Rejected):
            builder.reject(picture.source, picture.reason, picture.detail)
        elif not all(
            is_unicode(text) for text in (picture.image_id, picture.file, picture.origin, picture.url) if text
        ):
            builder.reject(picture.source, "malformed record", "its name or address is not valid Unicode text")
        elif picture.size is not None and not all(0 < side < _LARGEST for side in picture.size):
            builder.reject(picture.source, "malformed record", f"a picture of {picture.size[0]} x {picture.size[1]}")
        elif picture.part is not None and picture.part not in PARTS:
            builder.reject(picture.source, "unknown part", f"{picture.part!r} is not one of {', '.join(PARTS)}")
        elif picture.image_id in pictures:
            both = sorted((pictures[picture.image_id], picture), key=_rank)  # the first stays among equals
            pictures[picture.image_id] = both[0]
            reason = "duplicate" if both[0].part == both[1].part else "conflicting part"
            builder.reject(both[1].source, reason, f"{picture.image_id} is in {both[0].part} already, with its facts")
        else:
            pictures[picture.image_id] = picture
    return pictures


def _rank(picture: Picture) -> int:
    """Where a picture that is in two parts is kept: rather where models are judged than where they learn."""
    return -PARTS.index(picture.part or "train")


def _refused(pictures: Mapping[str, Picture], found: Mapping[str, Found]) -> dict[str, tuple[str, str]]:
    """Pictures that cannot be used: reason and detail. Of one that is in two parts, the test picture is kept."""
    refused: dict[str, tuple[str, str]] = {}
    holder: dict[str, str] = {}
    for image_id in sorted(pictures, key=lambda key: (_rank(pictures[key]), key)):
        picture, seen = pictures[image_id], found[image_id]
        if seen.problem is not None:
            refused[image_id] = seen.problem
            continue
        if seen.size and picture.size and seen.size != picture.size and seen.size == picture.size[::-1]:
            refused[image_id] = (
                "size mismatch",
                f"the file is {seen.size[0]} x {seen.size[1]}, its boxes are for the picture turned on its side",
            )
            continue
        for key in (picture.origin, seen.sha256):
            other = holder.setdefault(key, image_id) if key else image_id
            if pictures[other].part != picture.part:
                refused[image_id] = (
                    "conflicting part",
                    f"the same picture is {other} in {pictures[other].part}, where it is kept",
                )
    return refused


def _add(
    builder: DatasetBuilder,
    label: Label | Rejected,
    sizes: Mapping[str, tuple[int, int] | None],
    refused: Mapping[str, tuple[str, str]],
    options: Options,
) -> None:
    if isinstance(label, Rejected):
        builder.reject(label.source, label.reason, label.detail)
        return
    if label.image_id not in sizes:
        reason, detail = refused.get(label.image_id, ("orphan id", f"no picture {label.image_id} is known"))
        builder.reject(label.source, reason, detail)
        return
    given = [word for word in label.words if word is not None]
    if not all(is_unicode(word) for word in given):
        builder.reject(label.source, "malformed record", "a slot is not valid Unicode text")
        return
    try:
        fact = _fact(label.words)
    except UserError as error:
        builder.reject(label.source, "empty text", str(error))
        return
    if fact.order != len(given) or not fact.is_labelled_form:
        builder.reject(label.source, "empty text", f"a slot of {label.words} is empty")
        return
    if fact.order not in options.orders:
        builder.reject(label.source, "not asked for", f"{fact} has order {fact.order}")
        return
    boxes: list[Box | None] = []
    for which, box in (("subject", label.subject_box), ("object", label.object_box)):
        clipped = None if box is None else _clipped(box, sizes[label.image_id])
        if box is not None and clipped is None:
            builder.reject(label.source, "degenerate box", f"the box of the {which}, {list(box)}, has no area")
            return
        boxes.append(clipped)
    if fact.order == 3 and fact.subject == fact.object and boxes[0] is not None and boxes[0] == boxes[1]:
        builder.reject(label.source, "self relation", f"{fact} relates a thing to itself")
        return
    builder.add_instance(
        label.image_id, fact, label.source, subject_box=boxes[0], object_box=boxes[1], wording=label.words
    )


@lru_cache(maxsize=1 << 16)
def _fact(words: tuple[str, str | None, str | None]) -> Fact:
    """Return the fact of these words: the same ones come again and again, and then share one object."""
    return Fact(*words)


def _clipped(box: Box, size: tuple[int, int] | None) -> Box | None:
    """Clip to the picture, or, where its size is not known, at zero."""
    return clip_box(box, *(size or (_LARGEST, _LARGEST)))


def _divide(builder: DatasetBuilder, options: Options) -> None:
    if not any(builder.has_part(part) for part in PARTS):
        builder.carve("test", options.test, options.seed, out_of=None)
    builder.assign("train")
    if not builder.has_part("val"):
        builder.carve("val", options.validation, options.seed, out_of="train")


def _told(
    reader: Reader, pictures: Mapping[str, Picture], found: Mapping[str, Found], images: Path | None
) -> list[str]:
    """Sentences for the person who prepares: what differs from what was to be expected."""
    notes = []
    if images is None:
        notes.append("Prepared without its pictures: give their folder with --images before training.")
    counts = Counter(picture.part for picture in pictures.values())
    for part, number in reader.about.published.items():
        if counts[part] and counts[part] != number:
            notes.append(f"{counts[part]:,} pictures in {part}, where the authors published {number:,}.")
    wrong = [
        picture.image_id
        for picture in pictures.values()
        if picture.size and (size := found[picture.image_id].size) and size != picture.size
    ]
    if wrong:
        notes.append(f"{len(wrong):,} pictures have another size than the source says, such as {min(wrong)}.")
    return notes
