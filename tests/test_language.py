"""Language embeddings of slots: numbers by hand, templates, the cache, unknown words, and what is written."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_checkpoints import bert
from small_run import small_data
from torch import Tensor
from torch.nn import functional

from mas_triplets.__main__ import main
from mas_triplets.config import TextEncoderConfig
from mas_triplets.data.splits import read_split
from mas_triplets.errors import UserError
from mas_triplets.facts import SLOTS, Fact
from mas_triplets.model.language import LanguageTable
from mas_triplets.model.splitting import split_dataset
from mas_triplets.model.texts import Encoded, TextEncoder, make_text_encoder
from mas_triplets.progress import SILENT, Silent

VECTORS = {"cat": (1.0, 0.0), "dog": (0.0, 1.0), "ride": (5.0, 8.0)}  # their mean is (2, 3)
WORDS = tuple(VECTORS)


@pytest.fixture
def glove(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("".join(f"{word} {x} {y}\n" for word, (x, y) in VECTORS.items()) + "fish 2 7\n")
    return path


def encoder(**config: Any) -> TextEncoder:
    return make_text_encoder(TextEncoderConfig.model_validate({"name": "word-vectors", **config}))


class Counted:
    """An encoder that counts how often it is called."""

    def __init__(self, inner: TextEncoder) -> None:
        self._inner, self.calls = inner, 0
        self.name, self.makes_up, self.per_slot = inner.name, inner.makes_up, inner.per_slot

    def encode(self, texts: Sequence[str], slot: str = "subject", progress: Silent = SILENT) -> Encoded:
        self.calls += 1
        return self._inner.encode(texts, slot, progress)

    def fingerprint(self) -> str:
        return self._inner.fingerprint()


def call(*arguments: str) -> int:
    """Run the command in this process and return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["mas-triplets", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    return int(ended.value.code or 0)


def unit(*numbers: float) -> Tensor:
    return functional.normalize(torch.tensor(numbers, dtype=torch.float32), dim=0)


def test_vectors_are_centred_and_of_unit_length(glove: Path) -> None:
    table = LanguageTable.build(WORDS, encoder(path=glove))
    assert table.centre.tolist() == [[2, 3]]
    torch.testing.assert_close(table.vector("cat"), unit(-1, -3))
    torch.testing.assert_close(table.vector("fish", "object"), unit(0, 4))  # not in the vocabulary: the same centre
    plain = LanguageTable.build(WORDS, encoder(path=glove), centre=False)
    assert plain.centre.tolist() == [[0, 0]]
    torch.testing.assert_close(plain.vector("ride"), unit(5, 8))
    assert LanguageTable.build(["dog"], encoder(path=glove), centre=False).vector("dog").tolist() == [0, 1]
    with pytest.raises(UserError, match="at least two words"):
        LanguageTable.build(["dog"], encoder(path=glove))


def test_embed_is_vector_in_each_slot_and_zero_elsewhere(tmp_path: Path) -> None:
    template = {"subject": "a photo of {subject}", "predicate": "person {predicate}"}
    made = encoder(name="transformers", path=bert(tmp_path / "bert"), template=template)
    facts = [Fact("cat"), Fact(None, "ride"), Fact("dog", "ride", "cat"), Fact("horse", None, "hot dog"), Fact("horse")]
    for of in (made, encoder(name="random", dim=4), encoder(name="random", template="a {text}")):
        table = LanguageTable.build([*WORDS, "horse", "hot dog"], of)
        vectors, mask = table.embed(facts)
        assert mask.tolist() == [list(fact.mask) for fact in facts]
        for fact, row in zip(facts, vectors, strict=True):
            for slot, text, vector in zip(SLOTS, fact.slots, row, strict=True):
                expected = torch.zeros(table.dim) if text is None else table.vector(text, slot)
                assert torch.equal(vector, expected)
                assert not torch.signbit(vector[vector == 0]).any()
        assert [tensor.shape for tensor in table.embed([])] == [(0, 3, table.dim), (0, 3)]


def test_each_slot_has_its_own_table_and_centre(tmp_path: Path) -> None:
    template = {"subject": "a photo of {subject}", "predicate": "person {predicate}"}
    config = {"name": "transformers", "path": bert(tmp_path / "bert")}
    table = LanguageTable.build(WORDS, encoder(**config, template=template))
    assert table.vectors.shape == (3, 3, 16)
    sentences = {
        "subject": [f"a photo of {word}" for word in WORDS],
        "predicate": [f"person {word}" for word in WORDS],
        "object": list(WORDS),
    }
    for slot, texts in sentences.items():
        alone = LanguageTable.build(texts, encoder(**config))
        for word, text in zip(WORDS, texts, strict=True):
            torch.testing.assert_close(table.vector(word, slot), alone.vector(text))
        raw = encoder(**config).encode(
            ["horse", template.get(slot, "{object}").format(**dict.fromkeys(SLOTS, "horse"))]
        )
        further = torch.from_numpy(raw.vectors[1]) - alone.centre[0]
        torch.testing.assert_close(table.vector("horse", slot), further / further.norm())
    with pytest.raises(ValueError, match="say which"):
        table.vector("cat")
    table.save(tmp_path)
    again = LanguageTable.load(tmp_path, table.encoder)
    assert torch.equal(again.vectors, table.vectors)
    assert torch.equal(again.centre, table.centre)
    assert again.fingerprint == table.fingerprint


def test_new_texts_are_encoded_together_and_once(glove: Path) -> None:
    counted = Counted(encoder(path=glove))
    table = LanguageTable.build(WORDS, counted)
    facts = [Fact("fish", "ride", "dog fish"), Fact("dog fish", "fish")]
    first, second = table.embed(facts), table.embed(facts)
    assert counted.calls == 2
    assert torch.equal(first[0], second[0])
    torch.testing.assert_close(first[0][0, 2], unit(-1, 1))  # (0, 1) and (2, 7), less (2, 3)


def test_new_texts_are_remembered_up_to_a_bound(glove: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mas_triplets.model.language._REMEMBERED", 20)
    table = LanguageTable.build(WORDS, encoder(path=glove))
    first = table.embed([Fact("fish", "ride", "dog fish")])[0]
    for number in range(1, 40):  # phrases of known words are new texts that the encoder knows
        table.embed([Fact("fish " * number + "dog", "cat " * number + "fish", "dog " * number + "cat")])
        assert len(table._further) <= 20 + 3
    assert torch.equal(table.embed([Fact("fish", "ride", "dog fish")])[0], first)


def test_many_facts_are_embedded_quickly() -> None:
    words = [f"word {number}" for number in range(1000)]
    table = LanguageTable.build(words, encoder(name="random", dim=50))
    facts = [Fact(words[i % 1000], words[i % 999], words[i % 998]) for i in range(2000)] * 50
    began = time.process_time()
    vectors, _ = table.embed(facts)
    took = time.process_time() - began
    assert torch.equal(vectors[1001], torch.stack([table.vector(words[i]) for i in (1, 2, 3)]))
    assert took < 2, f"100,000 facts took {took:.1f} s"  # a third of that on an idle machine


def test_the_second_build_never_calls_the_encoder(glove: Path, tmp_path: Path) -> None:
    first, second = Counted(encoder(path=glove)), Counted(encoder(path=glove))
    words = [*WORDS, "xyzzy", "xyzzy dog"]
    made = LanguageTable.build(words, first, cache=tmp_path / "cache")
    found = LanguageTable.build(words, second, cache=tmp_path / "cache")
    assert (first.calls, second.calls) == (1, 0)
    assert torch.equal(found.vectors, made.vectors)
    assert torch.equal(found.centre, made.centre)
    assert (found.unknown, found.remarks, found.fingerprint) == (made.unknown, made.remarks, made.fingerprint)
    assert found.unknown == ("xyzzy",)
    LanguageTable.build(words, second, cache=tmp_path / "cache", centre=False)  # what is kept is not centred
    assert second.calls == 0
    assert [path.name[:9] for path in (tmp_path / "cache").iterdir()] == ["language-"]


def test_the_cache_is_of_the_content(glove: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    LanguageTable.build(WORDS, encoder(path=glove), cache=cache)
    for changed, words in (
        ({}, WORDS[:2]),
        ({"template": "dog {text}"}, WORDS),
        ({"template": {"object": "dog {text}"}}, WORDS),
    ):
        counted = Counted(encoder(path=glove, **changed))
        LanguageTable.build(words, counted, cache=cache)
        assert counted.calls == (3 if counted.per_slot else 1)
    glove.write_text(glove.read_text().replace("cat 1.0", "cat 3.0"))
    table = LanguageTable.build(WORDS, encoder(path=glove), cache=cache)
    torch.testing.assert_close(table.vector("cat"), unit(3 - 8 / 3, -3))
    assert len(list(cache.iterdir())) == 5


@pytest.mark.parametrize("damage", ["cut", "garbage", "vectors", "record"])
def test_a_damaged_cache_is_made_anew(glove: Path, tmp_path: Path, damage: str) -> None:
    made = LanguageTable.build(WORDS, encoder(path=glove), cache=tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    whole = path.read_bytes()
    if damage == "vectors":
        path.write_bytes(whole[:-4] + np.float32(1).tobytes())
    elif damage == "record":
        save_file(load_file(path), path, metadata={"record": json.dumps({"told": [[], []]})})
    else:
        path.write_bytes(whole[:-1] if damage == "cut" else b"garbage")
    counted = Counted(encoder(path=glove))
    again = LanguageTable.build(WORDS, counted, cache=tmp_path / "cache")
    assert counted.calls == 1
    assert torch.equal(again.vectors, made.vectors)
    assert path.read_bytes() == whole


def test_made_up_vectors_are_not_kept(tmp_path: Path) -> None:
    LanguageTable.build(WORDS, encoder(name="random"), cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_unknown_words_are_told_with_what_was_done(glove: Path) -> None:
    assert LanguageTable.build(WORDS, encoder(path=glove)).note() is None
    assert LanguageTable.build(WORDS, encoder(name="random")).note() is None
    one = LanguageTable.build([*WORDS, "xyzzy"], encoder(path=glove))
    assert one.note() == (
        "1 of 4 words is unknown to words.txt (xyzzy): it gets a vector made up at random from the text alone"
    )
    partly = LanguageTable.build([*WORDS, "xyzzy dog"], encoder(path=glove))
    assert partly.note() == "words.txt: 'xyzzy' in 'xyzzy dog' is not known and was left out of the mean"
    many = LanguageTable.build([*WORDS, *(f"no{i}" for i in range(7)), "no1 cat"], encoder(path=glove))
    assert many.note() == (
        "7 of 11 words are unknown to words.txt (no0, no1, no2, no3, no4, and 2 more): they get vectors made up at "
        "random from the text alone; 'no1' in 'no1 cat' is not known and was left out of the mean"
    )
    with pytest.raises(UserError, match=r"words\.txt knows none of the words, such as x, y: take another text encoder"):
        LanguageTable.build(["x", "y"], encoder(path=glove))
    with pytest.raises(
        UserError, match=r"'ridw' is not in the vocabulary, nor known to words\.txt; did you mean 'ride'"
    ):
        one.vector("ridw")
    with pytest.raises(UserError, match="'ridw' is not in the vocabulary"):
        one.embed([Fact("dog", "ridw")])


def test_what_is_written_is_read_again_without_the_encoders_files(glove: Path, tmp_path: Path) -> None:
    table = LanguageTable.build([*WORDS, "xyzzy", "xyzzy cat"], encoder(path=glove))
    table.save(tmp_path)
    listed = json.loads((tmp_path / "language.json").read_text())
    assert listed["unknown"] == ["xyzzy"]
    assert listed["remarks"] == ["'xyzzy' in 'xyzzy cat' is not known and was left out of the mean"]
    stored = load_file(tmp_path / "language.safetensors")
    assert {name: tuple(value.shape) for name, value in stored.items()} == {"vectors": (5, 2), "centre": (2,)}
    glove.unlink()
    again = LanguageTable.load(tmp_path, encoder(path=glove))
    assert torch.equal(again.vector("ride"), table.vector("ride"))
    assert (again.note(), again.fingerprint) == (table.note(), table.fingerprint)
    with pytest.raises(UserError, match="cannot be read as word vectors"):
        again.vector("fish")
    del listed["remarks"]  # as earlier versions wrote it
    (tmp_path / "language.json").write_text(json.dumps(listed))
    assert LanguageTable.load(tmp_path, encoder(path=glove)).unknown == ("xyzzy",)


@pytest.mark.parametrize(
    "tensors",
    [
        {"vectors": torch.zeros(3, 2)},
        {"vectors": torch.zeros(2, 2), "centre": torch.zeros(2)},
        {"vectors": torch.zeros(2, 3, 2), "centre": torch.zeros(2, 2)},
        {"vectors": torch.zeros(3, 3, 2), "centre": torch.zeros(2)},
        {"vectors": torch.zeros(3), "centre": torch.zeros(2)},
        {"vectors": torch.zeros(3, 2), "centre": torch.tensor(0.0)},
    ],
)
def test_damaged_files_of_a_run_are_told(glove: Path, tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    LanguageTable.build(WORDS, encoder(path=glove)).save(tmp_path)
    save_file(tensors, tmp_path / "language.safetensors")
    with pytest.raises(UserError, match=re.escape(str(tmp_path / "language.safetensors"))):
        LanguageTable.load(tmp_path, encoder(path=glove))


def test_another_model_in_its_place_is_told(glove: Path) -> None:
    table = LanguageTable.build(WORDS, encoder(path=glove))
    glove.write_text("fish 1 2 3\n")
    with pytest.raises(UserError, match="has 3 numbers a text now, it had 2"):
        table.vector("fish")


def test_split_takes_any_text_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = small_data(tmp_path)
    words = tmp_path / "words.txt"
    words.write_text("person 1 0\ndog 2 1\nride 0 3\nhorse 1 5\ncat 2 2\n")
    folder = str(dataset.folder)
    for text, name in (
        (str(words), "words.txt"),
        (str(bert(tmp_path / "bert")), "bert (mean)"),
        ("random", "random-50"),
    ):
        options = ("--method", "semantic", "--tasks", "2", "--name", "s", "--overwrite", "--text", text)
        assert call("split", folder, *options) == 0
        assert read_split(dataset, "s").parameters["text"] == name
        told = capsys.readouterr().err
        assert ("'chase'" in told or "(chase)" in told) == (name != "random-50")
    assert call("split", folder, "--method", "semantic", "--name", "t", "--text", "golve") == 2
    told = capsys.readouterr().err
    assert "did you mean 'glove'?" in told
    assert "a file of word vectors, the folder of a language model, or OWNER/MODEL on the hub" in told
    assert split_dataset(dataset, "u", "semantic", tasks=2, text=str(words)).parameters["text"] == "words.txt"
