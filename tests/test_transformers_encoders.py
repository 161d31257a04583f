"""Vision towers of transformers: the same features as their own models, on checkpoints of a few kilobytes."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from encoder_checks import close, make, pictures
from small_towers import SIDE, save_tower
from torch import Tensor

from mas_triplets.errors import UserError
from mas_triplets.model.images import checkpoints

TOWERS = ("clip", "metaclip", "clip-tower", "siglip", "dinov2", "registers", "vit", "deit")


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("towers")
    for kind in (*TOWERS, "resnet", "swin"):
        save_tower(kind, home / kind)
    return home


def official(kind: str, folder: Path, planes: Tensor, **options: Any) -> Tensor:
    """What users of transformers would take for features."""
    import transformers as t

    model: Any = t.AutoModel.from_pretrained(folder).eval()
    features: Tensor
    with torch.no_grad():
        if kind in ("clip", "metaclip", "siglip"):
            found = model.get_image_features(pixel_values=planes, **options)
            features = found if isinstance(found, Tensor) else found.pooler_output
        elif kind in ("clip-tower", "resnet", "swin"):
            features = model(pixel_values=planes, **options).pooler_output.flatten(1)
        else:
            features = model(pixel_values=planes, **options).last_hidden_state[:, 0]
    return features


@pytest.mark.parametrize("kind", [*TOWERS, "resnet", "swin"])
def test_towers_give_what_their_own_models_give(towers: Path, kind: str) -> None:
    encoder = make(name="transformers", model=towers / kind, trainable="none")
    shown = pictures(SIDE)
    assert close(encoder(shown), official(kind, towers / kind, encoder.planes(shown)))
    assert encoder.kept_shape == (encoder.features,)
    assert not [name for name in encoder.state_dict() if "text" in name]


@pytest.mark.parametrize("kind", TOWERS)
def test_positions_are_interpolated_to_another_size(towers: Path, kind: str) -> None:
    encoder = make(name="transformers", model=towers / kind, size=48).eval()
    shown = pictures(48)
    options = {} if kind in ("dinov2", "registers") else {"interpolate_pos_encoding": True}  # those do it unasked
    assert close(encoder(shown), official(kind, towers / kind, encoder.planes(shown), **options))


@pytest.mark.parametrize("kind", TOWERS)
def test_the_frozen_part_of_a_tower_and_its_rest_are_the_tower(towers: Path, kind: str) -> None:
    whole = make(name="transformers", model=towers / kind, trainable="none")
    shown = pictures(SIDE)
    for last in (1, 2, 3):
        encoder = make(name="transformers", model=towers / kind, trainable=f"last: {last}").eval()
        assert encoder.blocks == ("layer0", "layer1", "layer2")
        assert close(encoder(shown), whole(shown))
        assert encoder.kept_shape == (None if last == 3 else tuple(encoder.frozen_part(shown).shape[1:]))


def test_pooling_takes_what_it_says(towers: Path) -> None:
    import transformers as t

    def features(kind: str, pooling: str) -> Tensor:
        encoder = make(name="transformers", model=towers / kind, trainable="none", pooling=pooling)
        return encoder.forward(shown)

    shown = pictures(SIDE)
    planes = make(name="transformers", model=towers / "vit").planes(shown)
    with torch.no_grad():
        vit: Any = t.ViTModel.from_pretrained(towers / "vit")(planes)
        assert close(features("vit", "pooler"), vit.pooler_output)
        assert close(features("vit", "mean"), vit.last_hidden_state[:, 1:].mean(1))
        planes = make(name="transformers", model=towers / "registers").planes(shown)
        registers = t.Dinov2WithRegistersModel.from_pretrained(towers / "registers")(planes)
        assert close(features("registers", "mean"), registers.last_hidden_state[:, 4:].mean(1))
        clip = t.CLIPVisionModel.from_pretrained(towers / "clip")(planes)
        assert close(features("clip", "pooler"), clip.pooler_output)
        assert close(features("clip", "cls"), clip.pooler_output)
        swin = t.SwinModel.from_pretrained(towers / "swin")
        planes = make(name="transformers", model=towers / "swin").planes(shown)
        assert close(features("swin", "mean"), swin(planes).last_hidden_state.mean(1))
    abouts = {kind: make(name="transformers", model=towers / kind).about for kind in ("clip", "siglip", "vit")}
    assert [about.rpartition(", ")[2] for about in abouts.values()] == ["projection", "pooler", "cls"]


def test_two_poolings_of_the_same_weights_are_not_taken_for_one_another(towers: Path) -> None:
    prints = {
        make(name="transformers", model=towers / "vit", trainable="none", pooling=pooling).fingerprint()
        for pooling in ("cls", "mean", "pooler")
    }
    assert len(prints) == 3
    again = make(3, name="transformers", model=towers / "vit", trainable="none", pooling="cls").fingerprint()
    assert again in prints


def test_random_weights_need_no_weights(towers: Path, tmp_path: Path) -> None:
    shutil.copytree(towers / "clip", tmp_path / "clip")
    (tmp_path / "clip" / "model.safetensors").unlink()
    keys: dict[str, Any] = {"name": "transformers", "model": tmp_path / "clip"}
    one, same, other = (make(seed, **keys, weights="none") for seed in (0, 0, 1))
    shown = pictures(SIDE)
    assert torch.equal(one.eval()(shown), same.eval()(shown))
    assert not torch.equal(one(shown), other.eval()(shown))
    assert one.about.endswith("projection, random weights")
    with pytest.raises(
        UserError, match=r"model\.image\.model=.*clip: its vision tower cannot be loaded: .*model\.safetensors"
    ):
        make(**keys)


def test_half_precision_checkpoints_are_read_as_float32(towers: Path, tmp_path: Path) -> None:
    import transformers as t

    t.ViTModel.from_pretrained(towers / "vit").half().save_pretrained(tmp_path / "vit")
    shutil.copy(towers / "vit" / "preprocessor_config.json", tmp_path / "vit")
    encoder = make(name="transformers", model=tmp_path / "vit")
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


def test_weights_that_a_checkpoint_lacks_are_told_if_they_are_used(towers: Path, tmp_path: Path) -> None:
    import transformers as t

    t.ViTModel(t.ViTConfig.from_pretrained(towers / "vit"), add_pooling_layer=False).save_pretrained(tmp_path / "vit")
    shutil.copy(towers / "vit" / "preprocessor_config.json", tmp_path / "vit")
    make(name="transformers", model=tmp_path / "vit")
    with pytest.raises(
        UserError, match=r"the checkpoint lacks pooler\.dense\.\w+, .*take another model\.image\.pooling"
    ):
        make(name="transformers", model=tmp_path / "vit", pooling="pooler")


def test_a_checkpoint_that_cannot_be_had_is_told_quickly(
    towers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "reachable", lambda url: False)
    began = time.monotonic()
    with pytest.raises(UserError, match=r"model=nobody/nothing-at-all: its configuration is not in the cache.*FOLDER"):
        make(name="transformers", model="nobody/nothing-at-all")
    assert time.monotonic() - began < 5
    with pytest.raises(UserError, match="there is no such folder"):
        make(name="transformers", model=tmp_path / "absent")
    shutil.copytree(towers / "vit", tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").unlink()
    with pytest.raises(UserError, match=r"its image processor \(preprocessor_config\.json\) cannot be loaded"):
        make(name="transformers", model=tmp_path / "vit")
    (tmp_path / "vit" / "config.json").write_text("{")
    with pytest.raises(UserError, match="its configuration cannot be loaded"):
        make(name="transformers", model=tmp_path / "vit")
    shutil.copytree(towers / "siglip", tmp_path / "siglip")
    (tmp_path / "siglip" / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(UserError, match="its vision tower cannot be loaded"):
        make(name="transformers", model=tmp_path / "siglip")


@pytest.mark.parametrize(
    ("kind", "says"), [("naflex", "pictures of any shape in patches"), ("bert", "is no vision model")]
)
def test_a_checkpoint_that_takes_no_pictures_of_one_size_is_told(tmp_path: Path, kind: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        make(name="transformers", model=save_tower(kind, tmp_path))


def test_damaged_values_of_a_processor_are_told(towers: Path, tmp_path: Path) -> None:
    shutil.copytree(towers / "vit", tmp_path / "vit")
    path = tmp_path / "vit" / "preprocessor_config.json"
    path.write_text(path.read_text().replace('"image_mean": [', '"image_mean": ["grey", '))
    with pytest.raises(UserError, match=r"holds values that are not understood \(.*grey.*preprocessor_config\.json"):
        make(name="transformers", model=tmp_path / "vit")


@pytest.mark.parametrize(
    ("kind", "pooling", "says"),
    [
        ("siglip", "cls", "has none of that kind; take auto, pooler, mean"),
        ("vit", "projection", "has none of that kind; take auto, pooler, cls, mean"),
        ("resnet", "cls", "this network has no class token"),
    ],
)
def test_a_pooling_that_there_is_not_is_told(towers: Path, kind: str, pooling: str, says: str) -> None:
    with pytest.raises(UserError, match=rf"model\.image\.pooling={pooling}: .*{says}"):
        make(name="transformers", model=towers / kind, pooling=pooling)


def test_settings_that_no_weight_tells_are_part_of_the_fingerprint(towers: Path, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"name": "transformers", "trainable": "none"}
    before = make(model=towers / "clip", **keys).fingerprint()
    shutil.copytree(towers / "clip", tmp_path / "clip")
    assert make(model=tmp_path / "clip", **keys).fingerprint() == before  # wherever it lies
    path = tmp_path / "clip" / "config.json"
    tree = json.loads(path.read_text())
    tree["vision_config"]["hidden_act"] = "relu"
    path.write_text(json.dumps(tree))
    assert make(model=tmp_path / "clip", **keys).fingerprint() != before


def test_adapters_stand_beside_the_packaged_networks_layers() -> None:
    plain = make(name="packaged", trainable="none", size=64).eval()
    adapted = make(name="packaged", trainable="lora: 2", size=64).eval()
    learnt = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert learnt
    assert all("lora_" in name for name in learnt)
    pictures = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        assert close(adapted(pictures), plain(pictures))
