"""Making a split by any of the methods; the semantic one needs language embeddings, so this is above the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mas_triplets.data.prepared import IntArray, PreparedDataset
from mas_triplets.data.split_file import file_split
from mas_triplets.data.split_methods import random_split, semantic_split, slot_split
from mas_triplets.data.splits import Split, make_split
from mas_triplets.errors import UserError, unknown
from mas_triplets.model.language import LanguageTable
from mas_triplets.model.texts import make_text_encoder, text_config
from mas_triplets.progress import SILENT, Silent

METHODS = ("random", "semantic", "slot", "file")


def split_dataset(
    dataset: PreparedDataset,
    name: str,
    method: str,
    *,
    tasks: int = 4,
    seed: int = 0,
    slot: str = "object",
    text: str = "glove",
    file: Path | None = None,
    progress: Silent = SILENT,
) -> Split:
    """Deal the facts of a data set out to tasks.

    Args:
        dataset: the data set.
        name: name of the split.
        method: `random` (seeded), `semantic` (balanced clusters of the facts' language embeddings, mean over
            their present slots), `slot` (facts that share the text of `slot` stay together) or `file`.
        tasks: number of tasks; a file brings its own.
        seed: of what is drawn at random.
        slot: `subject`, `predicate` or `object`, for `slot`.
        text: the text encoder, for `semantic`: its name, a file of word vectors, the folder of a language model, or
            OWNER/MODEL on the model hub.
        file: the file, for `file`.
        progress: who is told how far it is, and which words the text encoder does not know.

    Raises:
        UserError: the method is unknown, there are too few facts, the file does not fit, or the text encoder cannot be
            had.
    """
    parameters: dict[str, Any] = {"tasks": tasks}
    groups: Sequence[IntArray] | Sequence[tuple[str, IntArray]]
    if method == "random":
        groups = random_split(dataset.facts, tasks, seed)
    elif method == "semantic":
        encoder = make_text_encoder(text_config(text))
        language = LanguageTable.build(dataset.words, encoder, cache=dataset.folder / "cache", progress=progress)
        note = language.note()
        if note:
            progress.note(note)
        vectors, mask = language.embed(dataset.facts)
        # The mean over present slots: side by side, the empty slots would sort the facts by order instead of meaning.
        groups = semantic_split((vectors.sum(1) / mask.sum(1, keepdim=True)).numpy(), tasks, seed)
        parameters["text"] = language.name
    elif method == "slot":
        groups = slot_split(dataset.facts, slot, tasks, seed)
        parameters["slot"] = slot
    elif method == "file":
        if file is None:
            raise UserError("the method 'file' needs --file: CSV (task, subject, predicate, object) or JSON")
        groups = file_split(dataset.facts, file)
        parameters = {"tasks": len(groups), "file": file.name}
    else:
        raise unknown("split method", method, METHODS)
    return make_split(name, method, seed, parameters, groups)
