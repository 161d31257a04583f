"""Reading a source's JSON files, which may be damaged or be those of another data set."""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar, overload

from data_prep.archives import DAMAGE
from data_prep.places import check_readable
from mas_triplets.errors import UserError

T = TypeVar("T")
_SPACE = re.compile(r"[ \t\r\n]*")
_PIECE = 1 << 20  # characters read at a time
_LONGEST = 1 << 26


class MalformedError(Exception):
    """A record does not have the form of its format; the text says how. Readers turn it into a `Rejected`."""


def load(path: Path, kind: type[T], what: str) -> T:
    """Read the JSON file `path`, whose top level is a `kind` (list or dict); `what` says what it should be.

    Raises:
        UserError: it is absent, unreadable, not JSON, or its top level is something else.
    """
    remedy = f"it should be {what}"
    repeated: str | None = None

    def whole(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Make an object; the outermost comes last, so `repeated` is a key of it in the end."""
        nonlocal repeated
        found = dict(pairs)
        keys = [key for key, _ in pairs] if len(found) < len(pairs) else []
        repeated = next((key for key in keys if keys.count(key) > 1), None)
        return found

    check_readable(path, remedy)
    try:
        # of an object by name, the first of two values of one name would be lost without a word
        value = json.loads(path.read_bytes().decode("utf-8-sig"), object_pairs_hook=whole if kind is dict else None)
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}): {remedy}") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not valid JSON (line {error.lineno}: {error.msg}): {remedy}") from None
    except (RecursionError, ValueError) as error:  # nested too deeply, or a whole number of too many digits
        raise UserError(f"{path} is not valid JSON ({error}): {remedy}") from None
    if not isinstance(value, kind):
        raise UserError(f"{path} holds a {type(value).__name__}, not a {kind.__name__}: {remedy}")
    if not value:
        raise UserError(f"{path} is empty: {remedy}")
    if repeated is not None:
        raise UserError(f"{path} has {repeated!r:.80} twice at its top: {remedy}, each name once")
    return value


def stream(path: Path, what: str) -> Iterator[Any]:
    """Yield the entries of a JSON list one at a time, so that a file of any length takes little memory.

    A .zip with one file is read as that file.

    Raises:
        UserError: it is absent, unreadable, not JSON, no list, or one entry alone has more than 64 Mi characters.
    """
    remedy = f"it should be {what}"
    decoder, done = json.JSONDecoder(), 0  # how many entries were read
    try:
        with _text_of(path) as handle:
            text = handle.read(_PIECE).lstrip()
            if not text.startswith("["):
                raise UserError(f"{path} is not a JSON list: {remedy}")
            at = 1
            while True:
                at = _SPACE.match(text, at).end()  # type: ignore[union-attr]
                if text.startswith("]", at):
                    if (text[at + 1 :] + handle.read(_PIECE)).strip():
                        raise UserError(f"{path} goes on after the end of its list: {remedy}")
                    return
                try:
                    value, end = decoder.raw_decode(text, at)
                    end = _SPACE.match(text, end).end()  # type: ignore[union-attr]
                    whole = text[end : end + 1] in (",", "]") and text[end : end + 1] != ""
                except json.JSONDecodeError:
                    whole = False
                if whole:
                    yield value
                    done += 1
                    at = end + text.startswith(",", end)
                    continue
                more = handle.read(max(_PIECE, len(text) - at)) if len(text) - at < _LONGEST else ""
                if not more:
                    raise UserError(f"{path} is not valid JSON (entry {done}): {remedy}")
                text, at = text[at:] + more, 0
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: {remedy}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {remedy}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text (about entry {done}): {remedy}") from None
    except (RecursionError, ValueError) as error:  # nested too deeply, or a whole number of too many digits
        raise UserError(f"{path} is not valid JSON (entry {done}: {error}): {remedy}") from None
    except DAMAGE as error:
        raise UserError(f"{path} cannot be unpacked ({error}): get it anew, or unpack it yourself") from None


@contextmanager
def _text_of(path: Path) -> Iterator[IO[str]]:
    """Open a text file, or the only file of a .zip without unpacking it: Visual Genome's are 700 MB a file."""
    if path.suffix.lower() != ".zip":
        with path.open(encoding="utf-8-sig") as text:
            yield text
        return
    with zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if not info.is_dir() and "__MACOSX" not in info.filename]
        if len(members) != 1:
            raise UserError(f"{path} holds {len(members)} files, not one: unpack the one that is wanted beside it")
        with archive.open(members[0]) as content, io.TextIOWrapper(content, encoding="utf-8-sig") as text:
            yield text


def names(path: Path, what: str) -> list[str]:
    """Read a JSON list of names.

    Raises:
        UserError: as for `load`, or an entry is not text.
    """
    found = load(path, list, what)
    for place, name in enumerate(found):
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"{path}, entry {place}: {name!r} is not a name; it should be {what}")
    return found


@overload
def field(record: Any, key: str, kind: type[T]) -> T: ...
@overload
def field(record: Any, key: str, kind: tuple[type[Any], ...]) -> Any: ...


def field(record: Any, key: str, kind: Any) -> Any:
    """Return `record[key]`, a `kind`.

    Raises:
        MalformedError: `record` is no object, lacks the key, or holds another kind there (a bool is no number).
    """
    if not isinstance(record, dict):
        raise MalformedError(f"{_shown(record)} is not an object")
    if key not in record:
        raise MalformedError(f"no '{key}'")
    value = record[key]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise MalformedError(f"'{key}' is {_shown(value)}")
    return value


def entry(words: list[str], place: int, what: str) -> str:
    """Return `words[place]`.

    Raises:
        IndexError: there is no such entry; the text says so. Readers turn it into "index out of range".
    """
    if not 0 <= place < len(words):
        raise IndexError(f"{what} {place} is not one of 0 to {len(words) - 1}")
    return words[place]


def four_numbers(value: Any, what: str = "bbox") -> tuple[float, float, float, float]:
    """Return the four finite numbers of a box.

    Raises:
        MalformedError: it is not a list of four finite numbers.
    """
    if not isinstance(value, list) or len(value) != 4:
        raise MalformedError(f"'{what}' is {_shown(value)}, not four numbers")
    numbers = [number(item, what) for item in value]
    return (numbers[0], numbers[1], numbers[2], numbers[3])


def number(value: Any, what: str) -> float:
    """Return a finite number.

    Raises:
        MalformedError: it is not one.
    """
    try:
        found = math.nan if isinstance(value, bool) or not isinstance(value, int | float) else float(value)
    except OverflowError:
        found = math.nan
    if not math.isfinite(found):
        raise MalformedError(f"'{what}' is {_shown(value)}, not a number")
    return found


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**30 else "a huge number"
    return text if len(text) < 60 else text[:57] + "..."
