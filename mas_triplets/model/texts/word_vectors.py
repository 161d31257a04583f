"""Word vectors (GloVe, word2vec, fastText): a text of several words gets the mean of theirs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from mas_triplets.config import TextEncoderConfig
from mas_triplets.errors import UserError
from mas_triplets.facts import normalise_text
from mas_triplets.files import sha256_of_json
from mas_triplets.model.texts.encoder import Encoded, Vectors, made_up, usual_scale
from mas_triplets.model.texts.packaged_glove import NAME, packaged_glove_fingerprint, read_packaged_glove
from mas_triplets.model.texts.templates import Templates
from mas_triplets.model.texts.word_files import file_fingerprint, read_word_file
from mas_triplets.model.texts.word_records import Found, Wanted
from mas_triplets.progress import SILENT, Silent

_PUNCTUATION = re.compile(r"[^\w\s'-]+")
_WORTH_A_BAR = 1 << 26  # bytes of a file that takes seconds to read


class WordVectors:
    """Word vectors from a file, or the packaged GloVe (extra `offline`).

    Texts are case-folded, while files may not be. A text is looked up whole, its words joined by "_" as word2vec joins
    phrases (`hot_dog`); else word by word, as it stands, then in its parts around hyphens. Each is tried as it is, then
    Capitalised, then in CAPITALS. What is not in a fastText model's dictionary is composed of its n-grams. Words that
    are unknown are left out of the mean. Of the packaged GloVe, which is all lower-case single words, nothing but the
    words and the parts around hyphens is asked.
    """

    makes_up = False

    def __init__(self, config: TextEncoderConfig) -> None:
        if config.model is not None:
            raise UserError(
                f"model.text.model={config.model} names a language model, and '{config.name}' reads a file: give it "
                "with model.text.path, or take model.text.name=transformers"
            )
        if config.pooling != "auto":
            raise UserError(
                f"model.text.pooling={config.pooling} is for language models: '{config.name}' takes the mean over the "
                "words of a text, leave it at auto"
            )
        self._path, self._templates = config.path, Templates.of(config.template)
        self.name = NAME if config.path is None else config.path.name
        self.per_slot = self._templates.per_slot

    def encode(self, texts: Sequence[str], slot: str = "subject", progress: Silent = SILENT) -> Encoded:
        """Return (N, numbers) vectors; unknown are the texts of which no word is known.

        With a template the mean is over all words of the sentence; a text that is unknown by itself stays unknown.

        Raises:
            UserError: the file, or the package, cannot be read.
        """
        sentence = self._templates[slot]
        around = [_plain(sentence.before), _plain(sentence.after)]
        look = _LookUp(joins=self._path is not None)
        found = self._read(look.wanted([*texts, *around]), progress)
        vectors = found.known | found.composed
        scale = usual_scale([vectors[word] for word in sorted(vectors)])
        rows, unknown, remarks, template = [], [], [], []
        for text in around:
            known, absent = look.parts(text, found)
            template += known
            if absent:
                remarks.append(_left_out(absent, sentence.shown))
        for text in texts:
            known, absent = look.parts(text, found)
            if not known:
                unknown.append(text)
            elif absent:
                remarks.append(_left_out(absent, text))
            rows.append(np.mean([*known, *template], axis=0) if known else scale * made_up(text, found.dim))
        return Encoded(np.stack(rows).astype(np.float32), tuple(unknown), tuple(remarks))

    def fingerprint(self) -> str:
        """Name the file, by size, time and its ends, and the templates.

        Raises:
            UserError: the file cannot be read, or the package is not installed.
        """
        source = packaged_glove_fingerprint() if self._path is None else file_fingerprint(self._path)
        return sha256_of_json(["word vectors", source, str(self._templates)])

    def _read(self, wanted: Wanted, progress: Silent) -> Found:
        if self._path is None:
            return read_packaged_glove(wanted)
        try:
            size = self._path.stat().st_size
        except OSError as error:
            raise UserError(f"{self._path} cannot be read as word vectors: {error.strerror}") from None
        with ExitStack() as stack:
            what = f"reading {self._path.name} (MiB)"
            if size >= _WORTH_A_BAR:
                bar = stack.enter_context(progress.bar(what))
                wanted = replace(wanted, seen=lambda done: bar.show(what, done >> 20, (size >> 20) + 1))
            return read_word_file(self._path, wanted)


class _LookUp:
    """Which words of a file a text is looked up by.

    Attributes:
        joins: whether the file may have joined words, capitals and hyphens.
    """

    def __init__(self, *, joins: bool) -> None:
        self.joins = joins

    def wanted(self, texts: Sequence[str]) -> Wanted:
        """Return all words that may be needed for some texts."""
        words: set[str] = set()
        single: set[str] = set()
        for text in texts:
            for word in text.split():
                single.update(_parts(word), [word] if self.joins else [])
            words.update(form for joined in self._joined(text) for form in _forms(joined))
        words.update(form for word in single for form in (_forms(word) if self.joins else [word]))
        return Wanted(words, single if self.joins else frozenset())

    def parts(self, text: str, found: Found) -> tuple[list[Vectors], list[str]]:
        """Return the vectors a text is the mean of, and the words that are not known."""
        whole = self._known(found.known, self._joined(text))
        if whole is not None:
            return [whole], []
        vectors, absent = [], []
        for word in text.split():
            stands = self.joins and self._known(found.known, [word]) is not None
            for part in [word] if stands else _parts(word):
                vector = self._known(found.known, [part])
                if vector is None:
                    vector = found.composed.get(part)
                if vector is None:
                    absent.append(part)
                else:
                    vectors.append(vector)
        return vectors, absent

    def _joined(self, text: str) -> list[str]:
        words = text.split()
        if not self.joins or (len(words) < 2 and "-" not in text):
            return []
        joined = "_".join(words)
        return list(dict.fromkeys([joined, joined.replace("-", "_")]))

    def _known(self, known: Mapping[str, Vectors], words: Sequence[str]) -> Vectors | None:
        forms = (form for word in words for form in (_forms(word) if self.joins else [word]))
        return next((known[form] for form in forms if form in known), None)


def _plain(text: str) -> str:
    """Return the words of a template in the form of a slot's text, without punctuation."""
    return normalise_text(_PUNCTUATION.sub(" ", text))


def _parts(word: str) -> list[str]:
    return word.replace("-", " ").split()


def _forms(word: str) -> list[str]:
    """Return spellings of a case-folded word, as it is first: hot_dog, Hot_Dog, HOT_DOG."""
    return list(dict.fromkeys([word, "_".join(part.capitalize() for part in word.split("_")), word.upper()]))


def _left_out(words: Sequence[str], text: str) -> str:
    listed = " and ".join(repr(word) for word in words)
    verbs = ("is", "was") if len(words) == 1 else ("are", "were")
    return f"{listed} in '{text}' {verbs[0]} not known and {verbs[1]} left out of the mean"
