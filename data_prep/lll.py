"""LLL (Elhoseiny et al., ACCV 2018): a folder such as splits/4tasks_random, with B1_train.csv, B1_test.csv, B2_...

The words of a fact stand in B{k}_facts.csv under its id; where that file or that id is not there, in the column SPO: at
most three parts between commas, each in quotes or not, all of them in <>, () or [] or not. A part that is empty, `*`,
nan or none is absent. How many of the parts belong to the fact is told by w_s, w_p and w_o alone.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from data_prep.command import run_alone, source_command
from data_prep.json_files import MalformedError
from data_prep.places import folder_of
from data_prep.records import About, Label, Picture, Rejected
from mas_triplets.data.prepared import PreparedDataset
from mas_triplets.data.splits import Split, make_split
from mas_triplets.errors import UserError
from mas_triplets.facts import WILD_CARD, Fact, normalise_text
from mas_triplets.progress import SILENT, Silent

PARTS = ("train", "val", "test")
Words = tuple[str, str | None, str | None]
_COLUMNS = ("image_links", "SPO", "id", "w_s", "w_p", "w_o")
_FACT_COLUMNS = ("id", "S", "P", "O")
_FILE = re.compile(r"B([1-9]\d*)_(train|val|test)\.csv")
_FLAGS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
_PATTERNS = {(True, False, False): 1, (True, True, False): 2, (True, True, True): 3}
_FIELDS = "the row has not as many fields as the header"
_ABSENT = ("", WILD_CARD, "nan", "none")


class LllReader:
    """Reads B{k}_train.csv and B{k}_test.csv of every task k, with B{k}_facts.csv beside them where it is there.

    B{k}_val.csv, which `mas-triplets export --format lll` writes, is read too; the original splits have none.

    Attributes:
        tasks: the words of all facts of each task, by the task's name ("B1"); complete once `labels` has ended.

    Args:
        path: their folder, or one B{k}_train.csv.

    Raises:
        UserError: it is not there or has no B{k}_train.csv; the iterators raise it where a file is not LLL's.
    """

    def __init__(self, path: Path) -> None:
        path, only = folder_of(path, "B1_train.csv, as splits/4tasks_random")
        path = self._path = path if only else _tasks_folder(path)
        there = sorted(file.name for file in path.glob("B*_*.csv") if only in (None, file.name))
        matches = [match for name in there if (match := _FILE.fullmatch(name))]
        numbers = sorted({int(match[1]) for match in matches})
        names = {match[0] for match in matches}
        if not any(name.endswith("_train.csv") for name in names):
            raise UserError(f"{path} holds no B1_train.csv of LLL: give one folder of splits, as splits/4tasks_random")
        self.tasks: dict[str, set[Words]] = {f"B{number}": set() for number in numbers}
        self._listed = {
            task: {part: path / name for part in PARTS if (name := f"{task}_{part}.csv") in names}
            for task in self.tasks
        }
        self._facts = {task: file for task in self.tasks if (file := path / f"{task}_facts.csv").exists()}
        self.files = [*(file for listed in self._listed.values() for file in listed.values()), *self._facts.values()]
        self._part_of: dict[str, str] = {}
        wanted = [f"B{number}_{part}.csv" for number in range(1, len(numbers) + 1) for part in ("train", "test")]
        absent = [name for name in wanted if name not in names]
        self.about = About(
            licence="none stated: research use",
            citation="Elhoseiny, Babiloni, Aljundi, Rohrbach, Paluri, Tuytelaars: Exploring the Challenges towards "
            "Lifelong Fact Learning. ACCV 2018",
            notes=(
                f"LLL, prepared from the {len(numbers)} tasks of {path.resolve().name}.",
                *(f"{name} is not there, nor is what it would have added." for name in absent),
            ),
        )

    def pictures(self) -> Iterator[Picture | Rejected]:
        """Yield each picture once, however many rows name it; one that is in several parts stays in the last."""
        tests_first = [(part, listed) for part in reversed(PARTS) for listed in self._listed.values() if part in listed]
        for part, listed in tests_first:
            for line, row in _rows(listed[part], _COLUMNS):
                image_id, link = ("", "") if row is None else _picture(row["image_links"])
                if image_id and image_id not in self._part_of:
                    self._part_of[image_id] = part
                    yield Picture(image_id, link, part, f"{listed[part].name}#{line}", origin=f"lll:{image_id}")

    def labels(self) -> Iterator[Label | Rejected]:
        """Yield the fact of every row."""
        for task, listed in self._listed.items():
            known: dict[str, list[str]] = {}
            if task in self._facts:
                yield from _facts(self._facts[task], known)
            for part, file in listed.items():
                for line, row in _rows(file, _COLUMNS):
                    yield self._label(task, part, row, known, f"{file.name}#{line}")

    def _label(
        self, task: str, part: str, row: dict[str, str] | None, known: dict[str, list[str]], source: str
    ) -> Label | Rejected:
        try:
            if row is None:
                raise MalformedError(_FIELDS)
            image_id, _ = _picture(row["image_links"])
            if not image_id:
                raise MalformedError("no picture is named")
            words = _words(row, known)
        except MalformedError as error:
            return Rejected(source, "malformed record", str(error))
        if words is None:
            return Rejected(source, "empty text", f"a slot that w_s, w_p, w_o ask for is empty: {row['SPO']!r}")
        if self._part_of[image_id] != part:
            detail = f"{image_id} is in {self._part_of[image_id]} too, where it is kept"
            return Rejected(source, "conflicting part", detail)
        self.tasks[task].add(words)
        return Label(image_id, words, source)

    def split(self, dataset: PreparedDataset, progress: Silent = SILENT) -> Split:
        """Return the tasks as a split of the data set that was made from this reader.

        A fact of several tasks goes to the first, facts that are not in the data set are skipped, and a task that is
        left without any is dropped; `progress` is told.
        """
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", self._path.resolve().name).strip("._-") or "lll"
        ids = {fact: index for index, fact in enumerate(dataset.facts)}
        holder: dict[Fact, str] = {}
        repeated: dict[Fact, str] = {}
        for task, wordings in self.tasks.items():
            for fact in sorted({Fact(*words) for words in wordings} & ids.keys(), key=lambda fact: fact.sort_key):
                if holder.setdefault(fact, task) != task:
                    repeated.setdefault(fact, task)
        if repeated:
            fact, task = next(iter(repeated.items()))
            where = f"{holder[fact]} and {task}"
            progress.note(
                f"Facts in several tasks, which go to the first: {len(repeated):,}, such as {fact} in {where}."
            )
        groups = []
        for task in self.tasks:
            mine = np.array([ids[fact] for fact, first in holder.items() if first == task], dtype=np.int64)
            if len(mine):
                groups.append((task, mine))
            else:
                progress.note(f"{task} is left without a fact of its own and is no task of the split.")
        told = ", ".join(f"{task} {len(mine):,}" for task, mine in groups)
        progress.note(f"The split '{name}' holds the tasks of the source; facts in each: {told}.")
        return make_split(name, "file", 0, {"tasks": len(groups), "file": name}, groups)


def _tasks_folder(path: Path) -> Path:
    """Return the folder of the tasks: `path`, or the only one below it that holds B1_train.csv."""
    below = sorted(file.parent for file in path.rglob("B1_train.csv"))
    if len(below) > 1 and path not in below:
        shown = ", ".join(folder.relative_to(path).as_posix() for folder in below)
        raise UserError(f"{path} holds several splits: give one of the folders {shown}")
    return below[0] if len(below) == 1 else path


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str] | None]]:
    """Yield the first line of each record and its fields by column, None where it has too many or too few."""
    remedy = f"it should be LLL's, with the columns {', '.join(columns)} separated by commas"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}): {remedy}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): {remedy}") from None
    if not text.strip():
        raise UserError(f"{path} is empty: {remedy}")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [column.strip() for column in next(reader)]
        missing = [column for column in columns if header.count(column) != 1]
        if missing:
            shown = ", ".join(header)[:200]
            raise UserError(f"{path} has no column {missing[0]}, or has it twice, among '{shown}': {remedy}")
        line = reader.line_num + 1
        for fields in reader:
            if any(field.strip() for field in fields):
                yield line, dict(zip(header, fields, strict=True)) if len(fields) == len(header) else None
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num}: {error}; check the quotes up to there: {remedy}") from None


def _facts(path: Path, known: dict[str, list[str]]) -> Iterator[Rejected]:
    """Put the words of each id of a list of facts into `known`, and yield what is wrong in the list."""
    for line, row in _rows(path, _FACT_COLUMNS):
        source = f"{path.name}#{line}"
        if row is None:
            yield Rejected(source, "malformed record", _FIELDS)
            continue
        words = [row["S"], row["P"], row["O"]]
        if known.setdefault(_key(row["id"]), words) != words:
            yield Rejected(source, "malformed record", f"the id {row['id']} is there already, with other words")


def _words(row: dict[str, str], known: dict[str, list[str]]) -> Words | None:
    """The words of a row's fact, as many as w_s, w_p, w_o say; None where one of them is absent."""
    flags = [row[column].strip() for column in ("w_s", "w_p", "w_o")]
    order = _PATTERNS.get(tuple(_FLAGS.get(flag.casefold()) for flag in flags))  # type: ignore[arg-type]
    if order is None:
        raise MalformedError(f"w_s, w_p, w_o are {', '.join(flags)}, not 1, 0, 0 or 1, 1, 0 or 1, 1, 1")
    words = known.get(_key(row["id"])) or _parsed(row["SPO"])
    if len(words) < order or any(normalise_text(word) in _ABSENT for word in words[:order]):
        return None
    return words[0], words[1] if order > 1 else None, words[2] if order > 2 else None


def _parsed(text: str) -> list[str]:
    text = text.strip()
    if text[:1] + text[-1:] in ("<>", "()", "[]"):
        text = text[1:-1]
    parts = [part.strip().strip("'\"").strip() for part in text.split(",")]
    if len(parts) > 3:
        raise MalformedError(f"SPO has {len(parts)} parts, a fact has three at most: {text!r}")
    return parts


def _key(number: str) -> str:
    return number.strip().removesuffix(".0")  # a column of numbers that lacked one somewhere is written as 17.0


def _picture(given: str) -> tuple[str, str]:
    """The name of a picture, empty if there is none, and its link without the quotes that stand around some."""
    link = PurePosixPath(given.replace("'", "").replace("\\", "/").strip())
    return str(link).removesuffix(link.suffix) if link.name else "", str(link)


prepare = source_command(
    LllReader,
    "LLL: a folder such as splits/4tasks_random with B{k}_train.csv and B{k}_test.csv; its tasks become a split.",
)

if __name__ == "__main__":
    run_alone(prepare)
