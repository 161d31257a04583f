"""Visual Genome (Krishna et al., IJCV 2017), v1.0 to v1.4: relationships, attributes, objects, with the alias lists.

The files are read a picture at a time: relationships.json alone has some 700 MB. Boxes are x, y, w, h, 0-based; each
record's own box is taken, since the same object's box differs between files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from data_prep.aliases import read_aliases
from data_prep.command import run_alone, source_command
from data_prep.json_files import MalformedError, field, number, stream
from data_prep.places import folder_of
from data_prep.records import About, Label, Picture, Rejected
from data_prep.vg_images import WHAT, image_number, picture_of
from mas_triplets.data.boxes import Box
from mas_triplets.errors import UserError
from mas_triplets.facts import is_unicode, normalise_text

PICTURES = 108_077
LARGEST = 1 << 31
_KINDS = ("relationships", "attributes", "objects")
_EDGES = re.compile(r"^[\s.,;:!?'\"`]+|[\s.,;:!?'\"`]+$")


class VisualGenomeReader:
    """Reads image_data.json and whichever of relationships.json, attributes.json and objects.json are there.

    Each may still be packed (objects.json.zip). Names with a version (objects_v1_2.json) are taken where the plain one
    is absent, the newest first; object_alias.txt and relationship_alias.txt are followed if they are there.

    Args:
        path: their folder, or one of the others, which then is read alone.

    Raises:
        UserError: image_data.json is absent, or all of the others.
    """

    def __init__(self, path: Path) -> None:
        path, only = folder_of(path, "image_data.json of Visual Genome")
        found = {kind: _newest(path, kind, only) for kind in _KINDS}
        self._images = _newest(path, "image_data", None)
        if self._images is None:
            raise UserError(f"{path} lacks image_data.json of Visual Genome, or image_data.json.zip: put it there")
        self._given = {kind: file for kind, file in found.items() if file is not None}
        if not self._given:
            raise UserError(f"{path} holds none of relationships.json, attributes.json, objects.json of Visual Genome")
        lists = {name: path / f"{name}_alias.txt" for name in ("object", "relationship")}
        lists = {name: file for name, file in lists.items() if file.is_file()}
        aliases = {name: read_aliases(file) for name, file in lists.items()}
        cached = lru_cache(maxsize=1 << 16)  # the same words come again and again
        self._called = cached(partial(_word, aliases.get("object", {})))
        self._predicate = cached(partial(_word, aliases.get("relationship", {})))
        self.files = [self._images, *self._given.values(), *lists.values()]
        absent = [f"{kind}.json" for kind in _KINDS if kind not in self._given]
        self.about = About(
            licence="annotations: CC BY 4.0; pictures: YFCC100M and COCO, their owners'",
            citation="Krishna et al.: Visual Genome. IJCV 2017",
            notes=(
                f"Visual Genome, from {', '.join(file.name for file in self.files)}.",
                "The source has no parts: they are drawn by seed.",
                *(f"{name} is not there: its facts are not either." for name in absent),
            ),
            published={"all": PICTURES},
            passes=len(self._given),
        )

    def pictures(self) -> Iterator[Picture | Rejected]:
        """Yield the pictures of image_data.json."""
        assert self._images is not None
        for place, record in enumerate(stream(self._images, WHAT)):
            yield picture_of(record, f"{self._images.name}#{place}")

    def labels(self) -> Iterator[Label | Rejected]:
        """Yield objects <s>, attributes <s, p> and relationships <s, p, o>, as far as their files are there."""
        readers: dict[str, Callable[[str, Any, str], Iterator[Label | Rejected]]] = {
            "objects": self._object,
            "attributes": self._attributes,
            "relationships": self._relationship,
        }
        for kind, read in readers.items():
            if kind not in self._given:
                continue
            file = self._given[kind]
            for place, record in enumerate(stream(file, WHAT)):
                source = f"{file.name}#{place}"
                try:
                    image, things = image_number(record), field(record, kind, list)
                except MalformedError as error:
                    yield Rejected(source, "malformed record", str(error))
                    continue
                for number_of_thing, thing in enumerate(things):
                    where = f"{source}/{number_of_thing}"
                    try:
                        yield from read(image, thing, where)
                    except MalformedError as error:
                        yield Rejected(where, "malformed record", str(error))

    def _object(self, image: str, thing: Any, source: str) -> Iterator[Label | Rejected]:
        yield Label(image, (self._name(thing), None, None), source, _box(thing))

    def _attributes(self, image: str, thing: Any, source: str) -> Iterator[Label | Rejected]:
        name, box = self._name(thing), _box(thing)
        attributes = thing.get("attributes")
        if attributes is None:
            return  # the key is missing where there is none
        if not isinstance(attributes, list) or not all(isinstance(word, str) for word in attributes):
            raise MalformedError("'attributes' is not a list of words")
        for place, word in enumerate(attributes):
            yield Label(image, (name, _clean(word), None), f"{source}/{place}", box)

    def _relationship(self, image: str, relation: Any, source: str) -> Iterator[Label | Rejected]:
        subject, thing = field(relation, "subject", dict), field(relation, "object", dict)
        words = (self._name(subject), self._predicate(field(relation, "predicate", str)), self._name(thing))
        yield Label(image, words, source, _box(subject), _box(thing))

    def _name(self, thing: Any) -> str:
        """Return the first name of an object: `names` in some files, `name` in others, `object_names` in v1.0."""
        names = (thing.get("names") or thing.get("object_names")) if isinstance(thing, dict) else None
        name = names[0] if isinstance(names, list) and names else field(thing, "name", str)
        if not isinstance(name, str):
            raise MalformedError(f"the name {name!r} is not text")
        return self._called(name)


def _word(aliases: Mapping[str, str], word: str) -> str:
    cleaned = _clean(word)
    return aliases.get(normalise_text(cleaned), cleaned) if aliases and is_unicode(cleaned) else cleaned


def _clean(word: str) -> str:
    """Return the word without punctuation at its ends: people typed "on." and "'s hand"."""
    return _EDGES.sub("", word)


def _box(thing: dict[str, Any]) -> Box:
    x, y, w, h = thing.get("x"), thing.get("y"), thing.get("w"), thing.get("h")
    if not type(x) is type(y) is type(w) is type(h) is int or max(x, y, w, h) > LARGEST or min(x, y, w, h) < -LARGEST:
        x, y, w, h = number(x, "x"), number(y, "y"), number(w, "w"), number(h, "h")
    return (x, y, x + w, y + h)


def _newest(path: Path, kind: str, only: str | None) -> Path | None:
    pattern = re.compile(rf"{kind}(?:_v(\d+)(?:_(\d+))?)?\.json(\.zip)?")
    there = (file for file in path.glob(f"{kind}*.json*") if only in (None, file.name))
    found = {file: match for file in there if (match := pattern.fullmatch(file.name))}

    def preference(file: Path) -> tuple[float, float, bool]:
        major, minor, zipped = found[file].groups()
        return float(major or "inf"), float(minor or 0), not zipped

    return max(found, key=preference, default=None)


prepare = source_command(
    VisualGenomeReader,
    "Visual Genome: image_data.json, relationships.json, attributes.json, objects.json, alias lists.",
)

if __name__ == "__main__":
    run_alone(prepare)
