"""What is learnt of an image encoder: nothing, the last blocks, adapters, or all; and what stays as it was."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from encoder_checks import close, make, pictures
from small_towers import SIDE, save_tower
from torch import Tensor, nn

from mas_triplets.config import ImageEncoderConfig
from mas_triplets.data.view import View
from mas_triplets.errors import UserError
from mas_triplets.model.images import ImageEncoder
from mas_triplets.model.images.steps import gathered

RESNET: dict[str, Any] = {"name": "torchvision", "model": "resnet18", "weights": "none", "size": 32}
MOBILE: dict[str, Any] = {"name": "torchvision", "model": "mobilenet_v3_small", "weights": "none", "size": 32}


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("towers")
    for kind in ("clip", "siglip", "vit"):
        save_tower(kind, home / kind)
    return home


def keys_of(towers: Path, network: str, **keys: Any) -> dict[str, Any]:
    own: dict[str, dict[str, Any]] = {"cnn": {"name": "cnn"}, "resnet": RESNET, "mobile": MOBILE}
    return {**own.get(network, {"name": "transformers", "model": towers / network}), **keys}


def learn(encoder: ImageEncoder, steps: int = 3) -> None:
    encoder.train()
    parameters = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(parameters, lr=0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        features = encoder(pictures(encoder.view.size, 4))
        (features / features.detach().abs().mean()).square().mean().backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
    encoder.eval()


def test_steps_without_weights_belong_to_those_before_and_dropout_to_those_after() -> None:
    steps = [
        ("flip", nn.Identity()),
        ("conv1", nn.Conv2d(1, 1, 1)),
        ("norm", nn.BatchNorm2d(1)),
        ("dropout", nn.Dropout()),
        ("fc2", nn.Linear(1, 1)),
        ("dropout2", nn.Dropout()),
        ("relu", nn.ReLU()),
        ("fc3", nn.Linear(1, 1)),
    ]
    blocks = gathered(steps)
    assert list(blocks) == ["conv1", "fc2", "fc3"]
    assert [name for name, _ in blocks["conv1"].named_children()] == ["flip", "conv1", "norm"]
    assert [name for name, _ in blocks["fc2"].named_children()] == ["dropout", "fc2", "dropout2", "relu"]
    assert isinstance(blocks["fc3"], nn.Linear)


@pytest.mark.parametrize("network", ["cnn", "resnet", "mobile", "clip", "vit"])
@pytest.mark.parametrize("trainable", ["none", "last: 2", "lora: 2", "all"])
def test_a_trained_encoder_comes_back_from_what_is_stored(towers: Path, network: str, trainable: str) -> None:
    keys = keys_of(towers, network, trainable=trainable)
    encoder = make(**keys)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    print_before = encoder.fingerprint()
    if trainable != "none":
        learn(encoder)
    frozen = encoder.frozen_tensors()
    changed = {name for name, tensor in encoder.state_dict().items() if not torch.equal(tensor, before[name])}
    assert not changed & frozen.keys()
    assert (trainable == "none") == (not changed)
    assert encoder.fingerprint() == print_before
    stored = {name: tensor for name, tensor in encoder.state_dict().items() if name not in frozen}
    if trainable == "lora: 2":
        assert stored
        assert all(".lora_" in name for name in stored)
    fresh = make(**keys)
    fresh.load_state_dict(stored, strict=False)
    fresh.eval()
    shown = pictures(encoder.view.size)
    assert torch.equal(fresh(shown), encoder(shown))
    if trainable != "none":
        assert not close(make(**keys).eval()(shown), encoder(shown))  # or the comparison would say nothing


@pytest.mark.parametrize("network", ["cnn", "resnet", "mobile", "siglip"])
def test_only_the_last_blocks_learn_and_the_others_stay_in_eval_mode(towers: Path, network: str) -> None:
    encoder = make(**keys_of(towers, network, trainable="last: 1", batch_norm="learn")).train()
    frozen = [block for name, block in encoder.shared.named_children() if name != encoder.blocks[-1]]
    assert len(frozen) == len(encoder.blocks) - 1
    for block in frozen:
        assert not any(module.training for module in block.modules())
        assert not any(parameter.requires_grad for parameter in block.parameters())
    last = encoder.shared[-1]
    assert all(module.training for module in last.modules())
    encoder(pictures(encoder.view.size)).sum().backward()
    assert all(parameter.grad is None for block in frozen for parameter in block.parameters())
    assert all(parameter.grad is not None for parameter in last.parameters())
    assert encoder.kept_shape is not None
    kept = encoder.frozen_part(pictures(encoder.view.size))
    assert not kept.requires_grad
    assert close(kept[:1], encoder.frozen_part(pictures(encoder.view.size)[:1]))  # other rows do not matter


def test_dropout_and_statistics_of_what_is_frozen_do_not_move(towers: Path) -> None:
    encoder = make(**keys_of(towers, "mobile", trainable="last: 3", batch_norm="learn")).train()
    shown = pictures(encoder.view.size)
    assert torch.equal(encoder.frozen_part(shown), encoder.frozen_part(shown))
    before = {name: tensor.clone() for name, tensor in encoder.frozen_tensors().items()}
    assert any("running_mean" in name for name in before)
    encoder(shown)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.frozen_tensors().items())


def test_a_large_activation_is_not_kept() -> None:
    keys = {**MOBILE, "size": 448}
    kept, large = (make(**keys, trainable=f"last: {last}") for last in (12, 13))
    assert kept.kept_shape == (16, 112, 112)
    assert large.kept_shape is None  # 16 x 224 x 224 numbers
    shown = pictures(448, 1)
    assert large.frozen_part(shown).shape == (1, 3, 448, 448)
    assert not any(parameter.requires_grad for parameter in large.shared[0].parameters())
    large.train()(shown).sum().backward()
    assert all(parameter.grad is None for parameter in large.shared[0].parameters())
    assert all(parameter.grad is not None for parameter in large.shared[1].parameters())


def test_a_layer_of_alexnet_is_a_block() -> None:
    encoder = make(name="torchvision", model="alexnet", weights="none", trainable="last: 2")
    assert encoder.blocks == ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
    assert encoder.kept_shape == (9216,)
    assert encoder.features == 4096
    assert isinstance(next(encoder.shared[5].children()), nn.Dropout)  # which drops what is kept


class Dropped(ImageEncoder):
    """A network with dropout in each of two blocks."""

    def __init__(self, config: ImageEncoderConfig) -> None:
        blocks = OrderedDict(
            one=nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten()),
            two=nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5)),
        )
        super().__init__(config, View(8), (127.5,) * 3, (127.5,) * 3, blocks, about="dropped", given=True)


@pytest.mark.parametrize(
    ("trainable", "batch_norm", "counts", "drops"),
    [
        ("none", None, [False, False], [False, False]),
        ("last: 1", None, [False, False], [False, True]),
        ("last: 1", "learn", [False, True], [False, True]),
        ("all", None, [False, False], [True, True]),  # the weights are given
        ("all", "learn", [True, True], [True, True]),
        ("all", "fixed", [False, False], [True, True]),
        ("lora: 1", None, [False, False], [True, True]),
    ],
)
def test_batch_norm_and_dropout_while_learning(
    trainable: str, batch_norm: Any, counts: list[bool], drops: list[bool]
) -> None:
    encoder = Dropped(ImageEncoderConfig(trainable=trainable, batch_norm=batch_norm))
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms if norm.running_mean is not None]
    encoder.train()
    encoder(pictures(8, 6))
    after = [norm.running_mean for norm in norms if norm.running_mean is not None]
    assert [not torch.equal(a, b) for a, b in zip(after, before, strict=True)] == counts
    assert [module.training for module in encoder.modules() if isinstance(module, nn.Dropout)] == drops
    learnt = set(encoder.state_dict()) - set(encoder.frozen_tensors())
    statistics = ["running_mean" in name for name in sorted(learnt)]
    assert sum(statistics) == sum(counts)
    assert not any(module.training for module in encoder.eval().modules())


def test_batch_norm_learns_its_statistics_if_weights_are_random() -> None:
    random, fixed = (make(**RESNET, batch_norm=kind) for kind in (None, "fixed"))
    assert random.shared[0].get_submodule("bn1").training
    assert not fixed.shared[0].get_submodule("bn1").training
    assert fixed.shared[0].get_parameter("bn1.weight").requires_grad


def adapters(encoder: ImageEncoder) -> dict[str, list[int]]:
    """Return the layers with an adapter, by the last part of their names."""
    found: dict[str, list[int]] = {}
    for name, parameter in encoder.named_parameters():
        if ".lora_A." in name:
            found.setdefault(name.partition(".lora_A")[0].rpartition(".")[2], []).append(len(parameter))
    return found


@pytest.mark.parametrize("network", ["cnn", "resnet", "mobile", "clip", "siglip", "vit"])
def test_adapters_begin_at_the_frozen_network(towers: Path, network: str) -> None:
    plain = make(**keys_of(towers, network, trainable="none"))
    adapted = make(**keys_of(towers, network, trainable="lora: 3"))
    shown = pictures(plain.view.size)
    assert close(adapted.eval()(shown), plain(shown))
    learnt = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert learnt
    assert all(".lora_" in name for name in learnt)
    assert adapted.kept_shape is None
    adapted.train()
    adapted(shown).square().sum().backward()
    for name, parameter in adapted.named_parameters():
        if ".lora_B." in name:  # A has none yet, since B is zero
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_adapters_stand_beside_attention_or_else_everything_that_is_called(towers: Path) -> None:
    names = adapters(make(**keys_of(towers, "vit", trainable="lora: 3")))
    assert {name: len(ranks) for name, ranks in names.items()} == {"q_proj": 3, "k_proj": 3, "v_proj": 3, "o_proj": 3}
    assert set(names["q_proj"]) == {3}
    assert set(adapters(make(**keys_of(towers, "siglip", trainable="lora: 3")))) == {
        *("q_proj", "k_proj", "v_proj", "out_proj")
    }
    vit = make(name="torchvision", model="vit_b_32", weights="none", size=32, trainable="lora: 2")
    assert set(adapters(vit)) == {"conv_proj", "0", "3"}  # of its packed attention no layer is called
    mobile = make(**keys_of(towers, "mobile", trainable="lora: 2"))
    base = [name for name, module in mobile.named_modules() if isinstance(module, nn.Conv2d) and module.groups > 1]
    assert base  # depthwise ones are left alone
    assert not [name for name in base if "lora" in name]


def test_a_network_without_a_layer_for_adapters_is_told() -> None:
    class Odd(nn.Linear):
        pass

    class Encoder(ImageEncoder):
        def __init__(self, config: ImageEncoderConfig) -> None:
            blocks = {"one": nn.Sequential(nn.Flatten(), Odd(192, 2))}
            super().__init__(config, View(8), (0.0,), (1.0,), blocks, about="odd")

    with pytest.raises(UserError, match=r"trainable='lora: 2': odd has no layer for adapters"):
        Encoder(ImageEncoderConfig(trainable="lora: 2"))


def test_features_must_be_one_row() -> None:
    class Encoder(ImageEncoder):
        def __init__(self, config: ImageEncoderConfig) -> None:
            super().__init__(config, View(8), (0.0,), (1.0,), {"one": nn.Conv2d(3, 2, 3)}, about="odd")

    with pytest.raises(UserError, match=r"odd gives \(2, 6, 6\) numbers a picture"):
        Encoder(ImageEncoderConfig())


def test_the_fingerprint_tells_what_the_frozen_part_computes(towers: Path) -> None:
    def mark(**keys: Any) -> str:
        return make(**keys_of(towers, "vit", **keys)).fingerprint()

    marks = [mark(trainable="none"), mark(trainable="last: 1"), mark(trainable="last: 2")]
    assert len(set(marks)) == 3
    assert mark(trainable="none") == marks[0]
    assert mark(trainable="all") not in marks  # its settings, and how pictures are drawn
    encoder = make(**keys_of(towers, "vit", trainable="none"))
    with torch.no_grad():
        encoder.mean.add_(1)
    assert encoder.fingerprint() != marks[0]


def test_dropout_of_a_tower_is_off_in_its_frozen_part(towers: Path, tmp_path: Path) -> None:
    import transformers as t

    config = t.ViTConfig.from_pretrained(towers / "vit", hidden_dropout_prob=0.5)
    t.ViTModel(config).save_pretrained(tmp_path)
    t.ViTImageProcessor.from_pretrained(towers / "vit").save_pretrained(tmp_path)
    encoder = make(name="transformers", model=tmp_path, trainable="last: 1").train()
    shown = pictures(SIDE)

    def twice(function: Any, value: Tensor) -> bool:
        return torch.equal(function(value), function(value))

    assert twice(encoder.frozen_part, shown)
    assert not twice(encoder.learnt_part, encoder.frozen_part(shown))
    assert twice(encoder.eval(), shown)
