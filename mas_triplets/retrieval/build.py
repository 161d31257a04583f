"""Filling an index: pictures are decoded, embedded and added in a stream; nothing holds them all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from mas_triplets.data.images import check_picture
from mas_triplets.data.items import items_of
from mas_triplets.errors import UserError, unknown
from mas_triplets.facts import SLOTS
from mas_triplets.files import put_in_place, scratch_folder, sha256_of_file, to_json, write_json
from mas_triplets.model.inputs import item_inputs
from mas_triplets.model.triplet import TripletModel, gallery_rows
from mas_triplets.progress import SILENT, Silent
from mas_triplets.retrieval.index import FactIndex
from mas_triplets.retrieval.pictures import Decoded, Pictures, decoded, pictures_of
from mas_triplets.retrieval.scores import numbers_per_row
from mas_triplets.retrieval.store import (
    FACTS,
    ROWS,
    SCHEMA,
    IndexRecord,
    ModelRecord,
    PicturesRecord,
    check_replaceable,
)
from mas_triplets.training.processes import device_here
from mas_triplets.training.run_folder import RunFolder

KINDS = {
    "auto": "auto takes flat, which compares every row: exact, with one matrix product",
    "flat": "asked for; it compares every row: exact, with one matrix product",
}
"""Kinds of index and the reason noted for each."""

_PLANNED = ("ivf", "hnsw", "ivfpq")
_BATCH = 128


def build_index(
    run: RunFolder, out: Path, images: Path | None = None, kind: str = "auto", progress: Silent = SILENT
) -> FactIndex:
    """Embed pictures with the run's last model and write the index folder `out`, whole or not at all.

    Args:
        run: the run whose model fills the index.
        out: folder of the index; an index that is there is replaced, anything else is not.
        images: a folder of pictures or a prepared data set; the run's own data set if None, all its parts. A data set
            has a row for each picture or each box, as the run's `data.region` says; a folder, for each picture.
        kind: `auto` or `flat`.
        progress: who is told how far it is, and which pictures could not be read.

    Raises:
        UserError: the kind is not known, `out` holds something else, the run knows no words (class means), no picture
            can be read, or the model gives numbers that are not finite.
    """
    _check_kind(kind)
    check_replaceable(out)
    if run.fact_vectors(max(run.stages, 0)):
        raise UserError(
            f"{run.path} was learnt with '{run.config.lifelong.strategy}', which knows facts by their pictures and not "
            "by their words, so no query can be put to it: train with 'analytic', which learns as fast and knows words"
        )
    pictures = pictures_of(run, images)
    stage = run.stages
    fingerprint = run.model_fingerprint(stage) if stage > 0 else run.model_fingerprint()
    model = run.load_model(stage, device=device_here(run.config.train.device))
    with scratch_folder(out) as scratch:
        index = faiss.IndexFlatIP(numbers_per_row(model.dim, run.config.model.score))
        rows = _Rows(fingerprint)
        for embedding in _embedded(run, model, pictures, rows, own=images is None, progress=progress):
            index.add(_checked(embedding, model, run, rows))
        if not index.ntotal:
            raise UserError(f"none of the pictures of {pictures.place} can be read; the first: {rows.skipped[0][1]}")
        faiss.write_index(index, str(scratch / "index.faiss"))
        pq.write_table(rows.table(), scratch / "rows.parquet", compression="zstd")
        _write_skipped(scratch, rows, progress)
        _write_facts(scratch, run, progress)
        record = IndexRecord(
            format=SCHEMA,
            kind="flat",
            reason=KINDS[kind],
            recall=1.0,
            recall_measured="exact",
            rows=index.ntotal,
            numbers_per_row=index.d,
            score=run.config.model.score,
            dim=model.dim,
            model=ModelRecord(
                fingerprint=fingerprint,
                run=_absolute(run.path),
                run_relative=os.path.relpath(_absolute(run.path), _absolute(out)),
                after_task=stage,
            ),
            pictures=PicturesRecord(
                place=_absolute(pictures.place),
                kind=pictures.kind,
                region=pictures.region,
                own=images is None,
                pictures=_count(pictures),
                skipped=len(rows.skipped),
            ),
            versions={name: version(name) for name in ("mas-triplets", "faiss-cpu", "torch")},
            files={path.name: sha256_of_file(path) for path in sorted(scratch.iterdir())},
        )
        write_json(scratch / "index.json", record.model_dump(mode="json"))
        put_in_place(scratch, out)
    return FactIndex.open(out, run)


class _Rows:
    """Collects the columns of rows.parquet, and what was skipped."""

    def __init__(self, model_version: str) -> None:
        self._version = model_version
        self._image: list[str] = []
        self._size: list[tuple[int, int]] = []
        self._box: list[list[float] | None] = []
        self.skipped: list[tuple[str, str]] = []

    def __len__(self) -> int:
        return len(self._image)

    def image(self, row: int) -> str:
        """The picture of a row."""
        return self._image[row]

    def note(self, path: Path, size: tuple[int, int], box: npt.NDArray[np.float32]) -> None:
        """Note one item: its picture, the picture's (width, height), and its box (4,), NaN for the whole picture."""
        self._image.append(_absolute(path))
        self._size.append(size)
        self._box.append(None if np.isnan(box).any() else box.tolist())

    def skip(self, path: Path, problem: str) -> None:
        """Note a picture that cannot be read."""
        self.skipped.append((os.fsencode(_absolute(path)).decode("utf-8", "backslashreplace"), problem))

    def noting(self, stream: Iterable[Decoded]) -> Iterator[npt.NDArray[np.uint8]]:
        """Note each picture of a stream and yield the (size, size, 3) pixels of its items."""
        for one in stream:
            if one.problem is not None:
                self.skip(one.path, one.problem)
                continue
            for box, pixels in zip(one.box, one.pixels, strict=True):
                self.note(one.path, one.size, box)
                yield pixels

    def table(self) -> pa.Table:
        """Return rows.parquet."""
        width, height = np.array(self._size, dtype=np.int32).T
        versions = [self._version] * len(self)
        columns = [np.arange(len(self)), self._image, width, height, self._box, versions]
        return pa.Table.from_pydict(dict(zip(ROWS.names, columns, strict=True)), schema=ROWS)


def _embedded(
    run: RunFolder, model: TripletModel, pictures: Pictures, rows: _Rows, *, own: bool, progress: Silent
) -> Iterator[torch.Tensor]:
    """Yield the raw embeddings (n, 3D) of all items in order, noting each in `rows`.

    What training has decoded and encoded is not decoded and encoded again; a data set of which pictures have gone, and
    any other pictures, are read in a stream.
    """
    if own and all(path.is_file() for path in pictures.paths):
        dataset = run.dataset()
        inputs = item_inputs(model, dataset, items_of(dataset, pictures.region), run.config, progress)
        size = list(zip(*(dataset.images[side].to_pylist() for side in ("width", "height")), strict=True))
        every = np.arange(len(pictures.image))
        starts = range(0, len(every), _BATCH)
        batches = zip(starts, inputs.batches(every, _BATCH), strict=True)
        for start, (positions, batch) in progress.track(batches, "indexing batches", len(starts)):
            for item in (start + positions).tolist():
                picture = pictures.image[item]
                if None in size[picture]:  # the data set does not say how large its pictures are
                    size[picture] = check_picture(pictures.paths[picture])
                rows.note(pictures.paths[picture], size[picture], pictures.box[item])
            with torch.inference_mode():
                embedding: torch.Tensor = model(batch)
            yield embedding.cpu()
        for image, problem in inputs.unreadable.items():
            rows.skip(pictures.paths[image], problem)
        return
    stream = progress.track(decoded(pictures, model.encoder.view), "indexing pictures", _count(pictures))
    yield from _embeddings(model, rows.noting(stream))


def _embeddings(model: TripletModel, stream: Iterable[npt.NDArray[np.uint8]]) -> Iterator[torch.Tensor]:
    """Yield the raw embeddings (n, 3D) of pixels, a batch at a time; the last one may be smaller."""
    device = next(model.parameters()).device

    def embed(waiting: list[npt.NDArray[np.uint8]]) -> torch.Tensor:
        with torch.inference_mode():
            embedding: torch.Tensor = model(torch.from_numpy(np.stack(waiting)).to(device))
        return embedding.cpu()

    waiting: list[npt.NDArray[np.uint8]] = []
    for pixels in stream:
        waiting.append(pixels)
        if len(waiting) == _BATCH:
            yield embed(waiting)
            waiting = []
    if waiting:
        yield embed(waiting)


def _checked(embedding: torch.Tensor, model: TripletModel, run: RunFolder, rows: _Rows) -> npt.NDArray[np.float32]:
    wrong = torch.nonzero(~embedding.isfinite().all(1))
    if len(wrong):
        image = rows.image(len(rows) - len(embedding) + int(wrong[0]))
        raise UserError(
            f"the model of {run.path} gives numbers that are not finite for {image}: it has diverged, train it again "
            "with a smaller train.learning_rate"
        )
    found: npt.NDArray[np.float32] = gallery_rows(embedding, model.dim, model.config.score).numpy()
    return found


def _write_skipped(folder: Path, rows: _Rows, progress: Silent) -> None:
    if rows.skipped:
        lines = [to_json({"image": image, "reason": reason}, indent=None) + "\n" for image, reason in rows.skipped]
        (folder / "skipped.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")
        progress.note(
            f"{len(rows.skipped):,} pictures could not be read and are left out (listed in skipped.jsonl); the first: "
            f"{rows.skipped[0][1]}"
        )


def _write_facts(folder: Path, run: RunFolder, progress: Silent) -> None:
    try:
        facts = run.dataset().facts
    except UserError as error:
        progress.note(f"the index cannot tell which facts hold in a picture: {error}")
        return
    columns = zip(*(fact.slots for fact in facts), strict=True)
    table = pa.Table.from_pydict(dict(zip(SLOTS, columns, strict=True)), schema=FACTS)
    pq.write_table(table, folder / "facts.parquet", compression="zstd")


def _check_kind(kind: str) -> None:
    if kind in _PLANNED:
        raise UserError(f"--kind {kind} does not exist yet: this version has flat, which is exact; leave --kind out")
    if kind not in KINDS:
        raise unknown("kind of index", kind, KINDS)


def _count(pictures: Pictures) -> int:
    return int((np.diff(pictures.image, prepend=-1) != 0).sum())


def _absolute(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - unlike resolve() it keeps links, unlike absolute() no ".." is left
