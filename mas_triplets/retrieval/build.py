"""Filling an index: pictures are decoded, embedded and added in a stream; nothing holds them all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mas_triplets.errors import UserError, unknown
from mas_triplets.facts import SLOTS, Fact
from mas_triplets.files import locked_by, put_in_place, replaceable, scratch_folder, to_json
from mas_triplets.progress import SILENT, Silent
from mas_triplets.retrieval.assemble import Wanted, assemble
from mas_triplets.retrieval.embed import Block, Embedder, absolute, embedded_blocks
from mas_triplets.retrieval.flat_file import FlatWriter
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.retrieval.kinds import KINDS, choose_kind
from mas_triplets.retrieval.pictures import pictures_of
from mas_triplets.retrieval.record import ModelRecord, PicturesRecord
from mas_triplets.retrieval.scores import numbers_per_row
from mas_triplets.retrieval.space import FactSpace, space_of
from mas_triplets.retrieval.store import FACTS, ROWS, check_replaceable
from mas_triplets.training.processes import device_here
from mas_triplets.training.run_folder import RunFolder

RECALL = 0.95
"""The share of the ten best rows that an approximate search should find, if nothing else is asked for."""


@dataclass(frozen=True)
class Filler:
    """A run's newest model as it fills an index.

    Attributes:
        run: the run.
        stage: after which task.
        fingerprint: of the model.
        facts: of the run's data set; None if that cannot be read.
        space: how pictures and facts are compared.
    """

    run: RunFolder
    stage: int
    fingerprint: str
    facts: tuple[Fact, ...] | None
    space: FactSpace

    @classmethod
    def of(cls, run: RunFolder, progress: Silent = SILENT) -> Filler:
        """Return the newest model of a run; if its data set cannot be read, that is told.

        Raises:
            UserError: no task is learnt, or the run knows facts by number alone and they are not known.
        """
        run.check_learnt()
        try:
            facts = tuple(run.dataset().facts)
        except UserError as error:
            progress.note(f"the index cannot tell which facts hold in a picture: {error}")
            facts = None
        return cls(run, run.stages, run.model_fingerprint(), facts, space_of(run, run.stages, facts))

    def embedder(self, progress: Silent = SILENT) -> Embedder:
        """Load the model and return what embeds pictures with it."""
        model = self.run.load_model(self.stage, device=device_here(self.run.config.train.device))
        return Embedder(self.run, self.space, model, progress)

    def record(self, out: Path) -> ModelRecord:
        """Return what an index in the folder `out` says of the model."""
        return ModelRecord(
            fingerprint=self.fingerprint,
            run=absolute(self.run.path),
            run_relative=os.path.relpath(absolute(self.run.path), absolute(out)),
            after_task=self.stage,
        )


def build_index(
    run: RunFolder,
    out: Path,
    images: Path | None = None,
    kind: str = "auto",
    progress: Silent = SILENT,
    *,
    recall: float = RECALL,
    memory: int | None = None,
) -> FactIndex:
    """Embed pictures with the run's last model and write the index folder `out`, whole or not at all.

    Args:
        run: the run whose model fills the index.
        out: folder of the index; an index that is there is replaced, anything else is not.
        images: a folder of pictures or a prepared data set; the run's own data set if None, all its parts. A data set
            has a row for each picture or each box, as the run's `data.region` says; a folder, for each picture.
        kind: `auto` or one of `KINDS`.
        progress: who is told how far it is, and which pictures could not be read.
        recall: the share of the ten best rows that an approximate search should find, above 0 and at most 1; queries
            for which it does not are answered exactly.
        memory: bytes that the index may take while it is searched; half of the machine's if None.

    Raises:
        UserError: the kind is not known or cannot be had, `out` holds something else, no picture can be read, or the
            model gives numbers that are not finite.
    """
    wanted = check_wanted(kind, recall, memory)
    check_replaceable(out)
    filler = Filler.of(run, progress)
    pictures = pictures_of(run, images)
    if kind != "auto":  # known before an hour of embedding
        width = numbers_per_row(filler.space.dim, filler.space.score, len(filler.space.parts))
        choose_kind(kind, len(pictures.image), width, wanted.memory)
    embedder = filler.embedder(progress)
    blocks = embedded_blocks(embedder, pictures, own=images is None)

    def about() -> PicturesRecord:
        if len(embedder.skipped) == pictures.count:
            first = embedder.skipped[0][1]
            raise UserError(f"none of the pictures of {pictures.place} can be read; the first: {first}")
        return PicturesRecord(
            place=absolute(pictures.place),
            kind=pictures.kind,
            region=pictures.region,
            own=images is None,
            pictures=pictures.count,
            skipped=len(embedder.skipped),
        )

    with only_one(replaceable(out)):
        write_index(filler, out, blocks, about, wanted, embedder.skipped, progress)
    return FactIndex.open(out, run)


def write_index(
    filler: Filler,
    out: Path,
    blocks: Iterable[Block],
    about: Callable[[], PicturesRecord],
    wanted: Wanted,
    skipped: Sequence[tuple[str, str]] = (),
    progress: Silent = SILENT,
) -> None:
    """Write an index of rows that come in blocks to the folder `out`, whole or not at all.

    Args:
        filler: whose model makes the rows.
        out: the folder; what is there is replaced.
        blocks: the rows.
        about: asked when all rows are written: what they are of.
        wanted: kind, recall and memory.
        skipped: (picture, reason) of those that could not be read, complete when all rows are written.
        progress: who is told how far it is.

    Raises:
        UserError: there is no row, or the kind cannot be had.
    """
    with scratch_folder(out) as scratch:
        write_rows(scratch, blocks, filler.space, filler.fingerprint)
        pictures = about()
        write_skipped(scratch, skipped)
        tell_skipped(skipped, progress)
        write_facts(scratch, filler.facts)
        assemble(scratch, wanted, filler.space, filler.facts, filler.record(out), pictures, progress=progress)
        check_replaceable(out)
        put_in_place(scratch, out)


def check_wanted(kind: str, recall: float, memory: int | None) -> Wanted:
    """Return what is asked of an index, checked before anything is embedded.

    Raises:
        UserError: the kind is not known, or recall or memory are out of range.
    """
    if kind not in (*KINDS, "auto"):
        raise unknown("kind of index", kind, [*KINDS, "auto"])
    if not 0 < recall <= 1:
        raise UserError(f"--recall is {recall:g}: it is a share, above 0 and at most 1")
    if memory is None:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    if memory < 1:
        raise UserError(f"--memory is {memory:,} bytes: it must be above 0")
    return Wanted(kind, recall, memory)


def write_rows(folder: Path, blocks: Iterable[Block], space: FactSpace, model_version: str) -> int:
    """Write exact.faiss and rows.parquet as blocks come, and return how many rows there were."""
    width = numbers_per_row(space.dim, space.score, len(space.parts))
    with (
        FlatWriter(folder / "exact.faiss", width) as vectors,
        pq.ParquetWriter(folder / "rows.parquet", ROWS, compression="zstd") as rows,
    ):
        for block in blocks:
            rows.write_table(block.table(vectors.rows, model_version))
            vectors.add(block.vectors)
    return vectors.rows


def write_skipped(folder: Path, skipped: Sequence[tuple[str, str]]) -> None:
    """Write skipped.jsonl, of (picture, reason), if there is any."""
    if skipped:
        lines = [to_json({"image": image, "reason": reason}, indent=None) + "\n" for image, reason in skipped]
        (folder / "skipped.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")


def read_skipped(folder: Path) -> list[tuple[str, str]]:
    """Return (picture, reason) of skipped.jsonl; nothing if there is none."""
    path = folder / "skipped.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [(record["image"], record["reason"]) for record in map(json.loads, lines)]


def tell_skipped(skipped: Sequence[tuple[str, str]], progress: Silent) -> None:
    """Tell of pictures that could not be read, if there are any."""
    if skipped:
        progress.note(
            f"{len(skipped):,} pictures could not be read and are left out (listed in skipped.jsonl); the first: "
            f"{skipped[0][1]}"
        )


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Keep other processes from writing the index in folder `path`, as `replaceable` gives it, meanwhile.

    Raises:
        UserError: another process is writing it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    with locked_by(lock, f"another process is changing {path}: wait for its end; queries go on meanwhile"):
        yield


def write_facts(folder: Path, facts: tuple[Fact, ...] | None) -> None:
    """Write facts.parquet, if the facts are known."""
    if facts is not None:
        columns = zip(*(fact.slots for fact in facts), strict=True)
        table = pa.Table.from_pydict(dict(zip(SLOTS, columns, strict=True)), schema=FACTS)
        pq.write_table(table, folder / "facts.parquet", compression="zstd")
