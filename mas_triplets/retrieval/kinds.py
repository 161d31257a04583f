"""Kinds of index: what each costs, how it is built, and which one `auto` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any, Literal

import faiss

from mas_triplets.errors import UserError, unknown

KindName = Literal["flat", "ivf", "hnsw", "ivfpq", "sq"]

FLAT_NUMBERS = 50_000_000
"""Up to so many numbers (rows times numbers a row) a flat index answers in tens of milliseconds on one core."""

_LINKS = 32  # of each row in the graph
_WIDTH_WHILE_BUILDING = 64
_LEAST_PER_LIST = 39  # training rows that k-means of FAISS asks for, for each centre
_MOST_PER_LIST = 64
_CODES = 256  # values of a product quantiser's byte, each of which needs a training row
_SEED = 1234

Parameters = Mapping[str, int]


@dataclass(frozen=True)
class Kind:
    """A kind of index.

    Attributes:
        name: of the kind.
        about: one sentence part for people.
        parameter: what a search may turn up to find more, or None.
        rerank: so many times as many rows as asked for are scored exactly; more where the index keeps rough numbers.
    """

    name: KindName
    about: str
    parameter: str | None = None
    rerank: int = 1

    def bytes_per_row(self, width: int) -> int:
        """Return the memory a row of `width` numbers takes in index.faiss while it is searched, about."""
        match self.name:
            case "flat":
                return 0  # memory-mapped
            case "ivf":
                return 4 * width + 8
            case "hnsw":
                return 4 * width + 8 * _LINKS + 16
            case "ivfpq":
                return pieces(width) + 8
            case "sq":
                return width

    def factory(self, rows: int, width: int) -> str:
        """Return what FAISS's index factory is asked for."""
        lists = list_count(rows)
        return {
            "flat": "Flat",
            "ivf": f"IVF{lists},Flat",
            "hnsw": f"HNSW{_LINKS},Flat",
            "ivfpq": f"IVF{lists},PQ{pieces(width)}x8np",
            "sq": "SQ8",
        }[self.name]

    def settings(self, rows: int) -> list[Parameters]:
        """Return the search settings to try, cheapest first; beyond the last one exact search is as quick."""
        if self.parameter is None:
            return [{}]
        if self.parameter == "nprobe":
            most = max(1, list_count(rows) // 4)
            return [{"nprobe": probes} for probes in _doubling(1, most)]
        return [{"efSearch": width} for width in _doubling(16, max(16, min(1024, rows // 8)))]


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("flat", "compares every row, exact, and is read from disk as a memory map"),
        Kind("ivf", "compares the rows of the nearest of some groups", "nprobe"),
        Kind("hnsw", "walks a graph of neighbouring rows", "efSearch"),
        Kind("ivfpq", "compares short codes of the rows of the nearest groups", "nprobe", rerank=16),
        Kind("sq", "compares every row by numbers of one byte", rerank=4),
    )
}
"""All kinds by name."""


def list_count(rows: int) -> int:
    """Return the number of groups of an inverted file of so many rows: 4 sqrt(rows), with 39 rows each at least."""
    return max(1, min(round(4 * sqrt(rows)), rows // _LEAST_PER_LIST))


def pieces(width: int) -> int:
    """Return into how many pieces a product quantiser cuts `width` numbers: the most that divide it, with four each.

    >>> pieces(384), pieces(387), pieces(7)
    (96, 43, 1)
    """
    return next(count for count in range(max(1, width // 4), 0, -1) if width % count == 0)


def choose_kind(wanted: str, rows: int, width: int, memory: int) -> tuple[Kind, str]:
    """Return the kind of index to make and the reason.

    Args:
        wanted: a kind's name, or `auto`.
        rows: how many there are.
        width: numbers a row.
        memory: bytes that index.faiss may take while it is searched.

    Raises:
        UserError: the kind is not known, cannot be made of so few rows, or does not fit the memory.
    """
    if wanted != "auto":
        if wanted not in KINDS:
            raise unknown("kind of index", wanted, [*KINDS, "auto"])
        kind = KINDS[wanted]
        _check_possible(kind, rows, width, memory)
        return kind, f"asked for; it {kind.about}"
    numbers = f"{rows:,} rows of {width:,} numbers"
    if rows * width <= FLAT_NUMBERS:
        return KINDS["flat"], f"auto: {numbers} are few enough for flat, which {KINDS['flat'].about}"
    for name in ("ivf", "ivfpq"):
        kind = KINDS[name]
        needed = rows * kind.bytes_per_row(width)
        if needed <= memory:
            return (
                kind,
                f"auto: {numbers} are many; {name} {kind.about} and takes {_mb(needed)} of {_mb(memory)} allowed",
            )
    return KINDS["flat"], f"auto: {numbers} fit {_mb(memory)} in no form, so flat, which {KINDS['flat'].about}"


def make_index(kind: Kind, rows: int, width: int) -> Any:
    """Return an empty, untrained index of FAISS by inner product for `rows` rows of `width` numbers."""
    index: Any = faiss.index_factory(width, kind.factory(rows, width), faiss.METRIC_INNER_PRODUCT)
    if kind.name == "hnsw":
        index.hnsw.efConstruction = _WIDTH_WHILE_BUILDING
    for clustering in [index.cp] if kind.parameter == "nprobe" else []:
        clustering.seed, clustering.max_points_per_centroid, clustering.min_points_per_centroid = (
            _SEED,
            _MOST_PER_LIST,
            1,
        )
    if kind.name == "ivfpq":
        index.pq.cp.seed, index.pq.cp.min_points_per_centroid = _SEED, 1
    return index


def training_rows(kind: Kind, rows: int) -> int:
    """Return how many rows the index learns its groups and codes from."""
    if kind.name in ("flat", "hnsw"):
        return 0
    return min(rows, max(_MOST_PER_LIST * list_count(rows), 64 * _CODES))


def search_parameters(kind: Kind, parameters: Parameters) -> Any:
    """Return a setting as FAISS takes it, or None."""
    if kind.parameter == "nprobe":
        return faiss.SearchParametersIVF(**parameters)
    if kind.parameter == "efSearch":
        return faiss.SearchParametersHNSW(**parameters)  # type: ignore[attr-defined]
    return None


def _check_possible(kind: Kind, rows: int, width: int, memory: int) -> None:
    if kind.name == "ivfpq" and rows < _CODES:
        raise UserError(f"--kind ivfpq learns codes from at least {_CODES} rows and there are {rows:,}: take flat")
    needed = rows * kind.bytes_per_row(width)
    if needed > memory:
        smaller = [name for name, one in KINDS.items() if rows * one.bytes_per_row(width) <= memory]
        raise UserError(
            f"--kind {kind.name} takes {_mb(needed)} for {rows:,} rows of {width:,} numbers, more than "
            f"the {_mb(memory)} allowed: take {' or '.join(smaller)}, or raise --memory"
        )


def _doubling(first: int, most: int) -> Sequence[int]:
    found = []
    while first <= most:
        found.append(first)
        first *= 2
    return found


def _mb(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB" if count >= 2**20 else f"{count / 2**10:,.1f} KiB"
