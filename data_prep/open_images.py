"""Open Images V4 to V6: visual relationships in CSV files (Kuznetsova et al., IJCV 2020), with their descriptions.

Boxes are XMin, XMax, YMin, YMax in shares of the picture's width and height; pixels need the sizes of the pictures.
A row of the relationship `is` names a thing and its attribute, in a few rows the attribute first.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from data_prep.command import run_alone, source_command
from data_prep.json_files import MalformedError
from data_prep.places import folder_of
from data_prep.records import About, Label, Picture, Rejected
from mas_triplets.data.boxes import Box
from mas_triplets.errors import UserError

PARTS = {"train": "train", "validation": "val", "test": "test"}
SIDES = ("XMin", "XMax", "YMin", "YMax")
COLUMNS = ("ImageID", "LabelName1", "LabelName2", "RelationshipLabel", *(f"{side}{n}" for n in "12" for side in SIDES))
INFO = ("ImageID", "OriginalURL", "License")
BEYOND = 0.01  # so far beside 0 to 1 a coordinate is rounded badly, and is clipped later; farther off it is none
_ANNOTATIONS = re.compile(r"(?:.*[-_])?(train|validation|test)[-_](?:.*[-_])?vrd\.csv", re.IGNORECASE)
_CLASS_NAMES = ("*class-descriptions*.csv", "*classes-vrd.csv")  # the latter in the challenge of 2019
_INFO_NAMES = ("*rotation*.csv", "*image-info*.csv", "*image_info*.csv")
_IMAGE_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_MADE_OF = re.compile(r"^\(([^()]*)\)\s*")  # "(made of)Leather" becomes "made of Leather"
_HEADERS = (("labelname", "displayname"), ("id", "name"), ("key", "value"))
_WHAT = "the visual relationships of Open Images, commas between the columns, saved as UTF-8"
_WHAT_NAMES = "{} descriptions of Open Images with lines such as {}, saved as UTF-8"
_WHAT_INFO = f"image information of Open Images with the columns {', '.join(INFO)}, commas between them, as UTF-8"


class DegenerateError(Exception):
    """A box has no area; the text says which."""


class OpenImagesReader:
    """Reads *{train,validation,test}*-vrd.csv, as many as there are, with the descriptions beside them.

    Args:
        path: their folder, with *class-descriptions*.csv; other descriptions and *with-rotation.csv are read if there.

    Raises:
        UserError: a file is absent or is not one of Open Images.
    """

    def __init__(self, path: Path) -> None:
        path, only = folder_of(path, "the *-annotations-vrd.csv of Open Images")
        self.sizes: dict[str, tuple[int, int]] = {}
        self._annotations = _annotations(path, only)
        classes = sorted({file for name in _CLASS_NAMES for file in path.glob(name)})
        if not classes:
            raise UserError(f"{path} holds no class-descriptions-boxable.csv or oidv6-class-descriptions.csv: add one")
        attributes = sorted(path.glob("*attributes-description.csv"))
        relations = sorted(path.glob("*relationships-description.csv"))
        self._info = sorted({file for name in _INFO_NAMES for file in path.glob(name)})
        self.files = [*self._annotations.values(), *classes, *attributes, *relations, *self._info]
        self._classes = _names(classes, _WHAT_NAMES.format("class", "/m/04yx4,Man"))
        self._attributes = _names(attributes, _WHAT_NAMES.format("attribute", "/m/02gy9n,Transparent"))
        self._relations = _names(relations, _WHAT_NAMES.format("relationship", "inside_of,inside of"), mids=False)
        self.about = About(
            licence="annotations: CC BY 4.0, Google LLC; pictures: listed as CC BY 2.0, to be verified for each",
            citation="Kuznetsova et al.: The Open Images Dataset V4. IJCV 2020",
            notes=tuple(self._notes(path)),
        )

    def take_sizes(self, sizes: Mapping[str, tuple[int, int] | None]) -> None:
        """Take the (width, height) of pictures by image_id; the boxes of a picture without one are left out."""
        self.sizes.update({image_id: size for image_id, size in sizes.items() if size is not None})

    def pictures(self) -> Iterator[Picture | Rejected]:
        """Yield the pictures that rows name, part by part in the order of the rows."""
        found: dict[tuple[str, str], str] = {}
        for part, file in self._annotations.items():
            for source, row in _records(file, COLUMNS, _WHAT):
                if isinstance(row, dict) and _IMAGE_ID.fullmatch(row["imageid"]):
                    found.setdefault((row["imageid"], PARTS[part]), source)
        told: dict[str, tuple[str | None, str | None]] = {image_id: (None, None) for image_id, _ in found}
        for file in self._info:
            for _, row in _records(file, INFO, _WHAT_INFO):
                if isinstance(row, Rejected):
                    yield row
                elif row["imageid"] in told:
                    told[row["imageid"]] = (row["originalurl"] or None, row["license"] or None)
                    sides = [row.get(side, "") for side in ("width", "height")]
                    if all(re.fullmatch("[1-9][0-9]{0,5}", side) for side in sides):
                        self.sizes.setdefault(row["imageid"], (int(sides[0]), int(sides[1])))
        for (image_id, part), source in found.items():
            size, (url, licence) = self.sizes.get(image_id), told[image_id]
            yield Picture(image_id, f"{image_id}.jpg", part, source, size, f"openimages:{image_id}", url, licence)

    def labels(self) -> Iterator[Label | Rejected]:
        """Yield the fact of each row, and the things it is about, each of them once."""
        for file in self._annotations.values():
            current, seen = "", set[tuple[str, Box | None]]()
            for source, row in _records(file, COLUMNS, _WHAT):
                try:
                    label = row if isinstance(row, Rejected) else self._label(row, source)
                except MalformedError as error:
                    label = Rejected(source, "malformed record", str(error))
                except DegenerateError as error:
                    label = Rejected(source, "degenerate box", str(error))
                yield label
                if isinstance(label, Rejected):
                    continue
                if label.image_id != current:  # the rows of a picture follow each other
                    current, seen = label.image_id, set()
                subject, _, thing = label.words
                for name, box, role in ((subject, label.subject_box, "1"), (thing, label.object_box, "2")):
                    if name is not None and (name, box) not in seen:  # one thing stands in many rows
                        seen.add((name, box))
                        yield Label(label.image_id, (name, None, None), f"{source}/{role}", box)

    def _label(self, row: dict[str, str], source: str) -> Label | Rejected:
        image_id, one, two, relation = (row[column.casefold()] for column in COLUMNS[:4])
        if not (_IMAGE_ID.fullmatch(image_id) and one and two and relation):
            raise MalformedError(f"ImageID {image_id!r:.60} is no name, or a label is empty")
        if relation == "is":
            for attributes in (self._attributes, self._classes):  # the former may lack some
                for thing, attribute, which in ((one, two, "1"), (two, one, "2")):
                    if thing in self._classes and attribute in attributes:
                        words = self._classes[thing], attributes[attribute]
                        return Label(image_id, (*words, None), source, self._box(row, which))
            return Rejected(source, "orphan id", f"{one!r:.60} and {two!r:.60} are not a known class and attribute")
        for mid, known in ((one, self._classes), (two, self._classes), (relation, self._relations)):
            if mid not in known and (known is self._classes or mid.startswith("/")):
                return Rejected(source, "orphan id", f"{mid!r:.60} is not in the descriptions")
        if one == two and all(row[f"{side}1".casefold()] == row[f"{side}2".casefold()] for side in SIDES):
            # seen here, since the boxes may be left out
            return Rejected(source, "self relation", f"{self._classes[one]} relates a thing to itself")
        called = self._relations.get(relation, relation)
        boxes = self._box(row, "1"), self._box(row, "2")
        return Label(image_id, (self._classes[one], called, self._classes[two]), source, *boxes)

    def _box(self, row: dict[str, str], which: str) -> Box | None:
        """Return a box in pixels; None where the size of the picture is not known."""
        x1, x2, y1, y2 = (_share(row, f"{side}{which}") for side in SIDES)
        if x1 >= x2 or y1 >= y2:
            raise DegenerateError(f"box {which}, {[x1, x2, y1, y2]}, has no area")
        width, height = self.sizes.get(row["imageid"], (0, 0))
        return (x1 * width, y1 * height, x2 * width, y2 * height) if width else None

    def _notes(self, path: Path) -> Iterator[str]:
        yield f"Open Images visual relationships, prepared from {path.name}."
        yield "Boxes are shares of the picture: where the size of a picture is not known, its boxes are left out."
        for part in sorted(PARTS.keys() - self._annotations):
            yield f"*{part}*-annotations-vrd.csv is not there: the source has no part {part}."
        if self._info:
            yield "Boxes are for the pictures as they are stored: Rotation turns neither them nor the pictures."
        for given, file, so in (
            (self._attributes, "*attributes-description.csv", "attributes are looked for among the classes"),
            (self._relations, "*relationships-description.csv", "relationships are called by their keys"),
            (self._info, "*with-rotation.csv", "addresses and licences of the pictures are not known"),
        ):
            if not given:
                yield f"{file} is not there: {so}."


def _annotations(path: Path, only: str | None) -> dict[str, Path]:
    """Return the file of each part that is there, or the part of that one."""
    found: dict[str, Path] = {}
    for file in sorted(path.iterdir()):
        match = _ANNOTATIONS.fullmatch(file.name) if only in (None, file.name) else None
        if match and (first := found.setdefault(match[1].lower(), file)) != file:
            raise UserError(f"{first} and {file.name} are both of the part {match[1].lower()}: keep one of them there")
    if not found:
        raise UserError(f"{path} holds no *-annotations-vrd.csv of Open Images: add those of train, validation or test")
    return {part: found[part] for part in PARTS if part in found}


def _names(files: list[Path], what: str, *, mids: bool = True) -> dict[str, str]:
    """Read descriptions, with or without the names of the columns; of several files the first holds."""
    names: dict[str, str] = {}
    for path in files:
        line, columns = 0, (0, 1)
        for line, row in _rows(path, what):
            folded = [cell.casefold() for cell in row]
            header = next((pair for pair in _HEADERS if line == 1 and set(pair) <= set(folded)), None)
            if header is not None:
                columns = (folded.index(header[0]), folded.index(header[1]))
            elif len(row) <= max(columns) or (mids and not row[columns[0]].startswith("/")):
                raise UserError(f"{path} line {line}: {','.join(row)!r:.60} is no description; it should be {what}")
            else:
                names.setdefault(row[columns[0]], _MADE_OF.sub(r"\1 ", row[columns[1]].strip("\"' ")))
        if not line:
            raise UserError(f"{path} is empty: it should be {what}")
    return names


def _records(path: Path, columns: tuple[str, ...], what: str) -> Iterator[tuple[str, dict[str, str] | Rejected]]:
    """Yield where a row stands ("file.csv#2") and its cells by case-folded column, or why it has none."""
    header: list[str] | None = None
    for line, row in _rows(path, what):
        if header is None:
            header = [cell.casefold() for cell in row]
            for column in columns:
                if header.count(column.casefold()) != 1:
                    raise UserError(f"{path} line {line}: it needs the column {column} once; it should be {what}")
        elif len(row) != len(header):
            source = f"{path.name}#{line}"
            yield source, Rejected(source, "malformed record", f"{len(row)} fields, the header has {len(header)}")
        else:
            yield f"{path.name}#{line}", dict(zip(header, row, strict=True))
    if header is None:
        raise UserError(f"{path} is empty: it should be {what}")


def _rows(path: Path, what: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line and the cells, without spaces around, of each row that is not blank; no row spans lines."""
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, skipinitialspace=True)
            for row in rows:
                first, line = line + 1, rows.line_num
                if line > first:
                    raise UserError(f"{path} line {first}: a quote is open up to line {line}; it should be {what}")
                if any(cells := [cell.strip() for cell in row]):
                    yield line, cells
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read after line {line} ({error}): it should be {what}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): it should be {what}") from None


def _share(row: dict[str, str], column: str) -> float:
    try:
        share = float(row[column.casefold()])
    except ValueError:
        share = math.nan
    if not -BEYOND <= share <= 1 + BEYOND:  # NaN is caught too
        raise MalformedError(f"{column} is {row[column.casefold()]!r:.60}, not a number from 0 to 1")
    return share


prepare = source_command(
    OpenImagesReader,
    "Open Images V4 to V6: *-annotations-vrd.csv, class descriptions, those of attributes and relationships if there.",
)

if __name__ == "__main__":
    run_alone(prepare)
