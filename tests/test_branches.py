"""Two branches, Sherlock's: shared up to a block, then one copy for S and one for P and O, with nothing in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from encoder_checks import close, make, pictures
from small_towers import SIDE, save_tower
from torch import Tensor, nn
from torchvision import models

from mas_triplets.config import ImageEncoderConfig, ModelConfig, TextEncoderConfig
from mas_triplets.errors import UserError
from mas_triplets.lifelong import estimate_importance
from mas_triplets.model.images.places import branch_index
from mas_triplets.model.images.torchvision_blocks import USUAL_BRANCH, cut_classifier, torchvision_blocks
from mas_triplets.model.language import LanguageTable
from mas_triplets.model.texts import make_text_encoder
from mas_triplets.model.triplet import TripletModel, make_model

CNN = {"name": "cnn", "channels": (4, 6, 8), "size": 16, "branches": "two", "branch_at": "conv2"}


@pytest.fixture(scope="module")
def towers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("towers")
    for kind in ("clip", "siglip", "vit", "dinov2", "resnet"):
        save_tower(kind, home / kind)
    return home


def keys_of(towers: Path, network: str, **keys: Any) -> dict[str, Any]:
    resnet = {"name": "torchvision", "model": "resnet18", "weights": "none", "size": 32, "branches": "two"}
    own = {"cnn": CNN, "resnet18": resnet}
    given = {"name": "transformers", "model": str(towers / network), "branches": "two"}
    return {**own.get(network, given), **keys}


def tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def moves(parameter: nn.Parameter) -> bool:
    """Whether it has a gradient; that of a branch that was not asked is zero."""
    return parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)


@pytest.mark.parametrize(
    ("name", "shared", "own"),
    [
        ("vgg16", "conv3_3", "conv4_1"),  # as in the authors' code: pool3 is the last that is shared
        ("vgg11_bn", "conv3_2", "conv4_1"),
        ("alexnet", "conv4", "conv5"),
        ("resnet50", "layer3_5", "layer4_0"),
        ("resnext50_32x4d", "layer3_5", "layer4_0"),
        ("vit_b_16", "layer7", "layer8"),
        ("efficientnet_b0", "features_5_2", "features_6_0"),
    ],
)
def test_where_branches_usually_part(name: str, shared: str, own: str) -> None:
    with torch.device("meta"):
        network = models.get_model(name, weights=None)
    cut_classifier(network)
    blocks = list(torchvision_blocks(network))
    config = ImageEncoderConfig(branches="two")
    at = branch_index(config, blocks, USUAL_BRANCH.get(type(network).__name__), name)
    assert at is not None
    assert blocks[at - 1 : at + 1] == [shared, own]


@pytest.mark.parametrize(
    ("wanted", "at"), [("layer4", 7), ("layer4.1", 8), ("layer4_1", 8), ("conv1", 0), ("3", 3), (0, 0), ("layer3.0", 5)]
)
def test_a_branch_begins_at_a_name_its_beginning_or_a_number(wanted: Any, at: int) -> None:
    encoder = make(
        name="torchvision", model="resnet18", weights="none", size=32, branches="two", branch_at=wanted, trainable="all"
    )
    assert len(encoder.shared) == at
    assert [len(list(own.children())) for own in encoder.branch] == [9 - at, 9 - at]


@pytest.mark.parametrize("network", ["cnn", "resnet18", "clip", "siglip", "vit", "dinov2"])
@pytest.mark.parametrize("trainable", ["all", "last: 1", "lora: 2"])
def test_branches_begin_equal_and_share_no_storage(towers: Path, network: str, trainable: str) -> None:
    encoder = make(**keys_of(towers, network, trainable=trainable))
    assert encoder.branches == 2
    first, second = encoder.branch
    assert tensors(first).keys() == tensors(second).keys()
    assert all(torch.equal(tensor, tensors(second)[name]) for name, tensor in tensors(first).items())
    places: list[int] = []
    for part in (encoder.shared, first, second):
        for tensor in tensors(part).values():
            places.append(tensor.untyped_storage().data_ptr())
    assert len(places) == len(set(places))
    single = make(**{**keys_of(towers, network, trainable=trainable), "branches": "shared", "branch_at": None})
    shown = pictures(encoder.view.size)
    features = encoder.eval()(shown)
    assert features.shape == (2, 2, encoder.features)
    for branch in range(2):
        assert close(features[:, branch], single.eval()(shown))


@pytest.mark.parametrize("network", ["cnn", "resnet18", "siglip", "dinov2"])
@pytest.mark.parametrize("trainable", ["all", "last: 1", "lora: 2"])
def test_what_s_learns_leaves_the_other_branch_alone(towers: Path, network: str, trainable: str) -> None:
    encoder = make(**keys_of(towers, network, trainable=trainable)).train()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    learnt = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(learnt, lr=0.01)
    for _ in range(2):  # of an adapter, only B has a gradient at first
        optimiser.zero_grad()
        features = encoder(pictures(encoder.view.size, 4))[:, 0]
        (features / features.detach().abs().mean()).square().mean().backward()
        optimiser.step()
    for name, parameter in encoder.named_parameters():
        assert moves(parameter) == (parameter.requires_grad and not name.startswith("branch.1.")), name
    after = encoder.state_dict()
    moved = {name for name in after if not torch.equal(after[name], before[name]) and "running" not in name}
    moved = {name for name in moved if not name.endswith("num_batches_tracked")}
    assert not [name for name in moved if name.startswith("branch.1.")]
    assert [name for name in moved if name.startswith("branch.0.")]
    assert any(name.startswith("shared.") for name in moved) == (trainable != "last: 1")
    shown = pictures(encoder.view.size)
    apart = encoder.eval()(shown)
    assert not close(apart[:, 0], apart[:, 1])
    fresh = make(**keys_of(towers, network, trainable=trainable))
    fresh.load_state_dict(
        {name: tensor for name, tensor in after.items() if name not in encoder.frozen_tensors()}, strict=False
    )
    assert torch.equal(fresh.eval()(shown), apart)


@pytest.mark.parametrize("network", ["cnn", "vit"])
def test_the_shared_part_runs_once(towers: Path, network: str) -> None:
    encoder = make(**keys_of(towers, network))
    runs: list[str] = []
    for name, block in encoder.shared.named_children():
        block.register_forward_hook(lambda *_, name=name: runs.append(name))
    for number, own in enumerate(encoder.branch):
        own.register_forward_hook(lambda *_, number=number: runs.append(f"branch {number}"))
    encoder(pictures(encoder.view.size))
    assert runs == [*list(dict(encoder.shared.named_children())), "branch 0", "branch 1"]


def test_what_is_frozen_is_not_doubled(towers: Path) -> None:
    none = make(**keys_of(towers, "vit", trainable="none"))
    assert len(none.branch) == 0
    assert none.kept_shape == (none.features,)
    features = none(pictures(SIDE))
    assert features.shape == (2, 2, none.features)
    assert torch.equal(features[:, 0], features[:, 1])
    # branches part at layer2 (of 3 layers the last third), of four convolutions at conv2
    assert list(dict(make(**keys_of(towers, "vit", trainable="last: 2")).shared.named_children())) == [
        "layer0",
        "layer1",
    ]
    late = make(**keys_of(towers, "cnn", trainable="last: 1"))
    assert list(dict(late.shared.named_children())) == ["conv1", "conv2"]
    assert late.kept_shape == (6, 4, 4)


def test_one_piece_cannot_be_divided(towers: Path) -> None:
    with pytest.raises(UserError, match=r"branches=two needs a network that can be divided.*resnet.* one piece"):
        make(**keys_of(towers, "resnet"))


# in the model


def model_of(keys: dict[str, Any], seed: int = 0, dim: int = 5, **more: Any) -> TripletModel:
    encoder = make_text_encoder(TextEncoderConfig(name="random", dim=dim))
    language = LanguageTable.build(["cat", "dog", "horse"], encoder)
    return make_model(ModelConfig(image=ImageEncoderConfig(**keys), hidden=(7,), **more), language, seed)


def test_each_slot_reads_its_branch() -> None:
    model = model_of(CNN)
    shown = pictures(16)
    model(shown)[:, :5].sum().backward()
    with_gradient = {name for name, parameter in model.named_parameters() if moves(parameter)}
    wanted: tuple[str, ...] = ("encoder.shared.", "encoder.branch.0.", "trunk.0.", "heads.subject.")
    assert with_gradient == {name for name, _ in model.named_parameters() if name.startswith(wanted)}
    model.zero_grad(set_to_none=True)
    model(shown)[:, 5:].sum().backward()
    with_gradient = {name for name, parameter in model.named_parameters() if moves(parameter)}
    wanted = ("encoder.shared.", "encoder.branch.1.", "trunk.1.", "heads.predicate.", "heads.object.")
    assert with_gradient == {name for name, _ in model.named_parameters() if name.startswith(wanted)}


def test_a_frozen_encoders_features_are_standardised_for_both_branches() -> None:
    model = model_of({**CNN, "trainable": "none"})
    shown = pictures(16, 50)
    kept = model.encoder.frozen_part(shown)
    before = model(shown)
    model.standardise_features(kept)
    assert model.feature_mean.shape == (2, model.encoder.features)
    assert torch.allclose(model.feature_mean[1], kept.mean(0))
    assert not torch.equal(model(shown), before)
    assert torch.equal(model(kept), model(shown))


def test_the_residual_is_zero_shot_in_both_branches(towers: Path) -> None:
    model = model_of(keys_of(towers, "clip", trainable="last: 1"), dim=12, residual=True)
    shown = pictures(SIDE)
    features = model.encoder(shown)
    assert torch.equal(model(shown), torch.cat([features[:, 0], features[:, 1], features[:, 1]], dim=1))


def test_weights_of_a_model_depend_on_its_seed_alone(towers: Path) -> None:
    keys = keys_of(towers, "vit", trainable="lora: 2")
    torch.manual_seed(1)
    one = model_of(keys, 3).state_dict()
    torch.manual_seed(2)
    two, other = model_of(keys, 3).state_dict(), model_of(keys, 4).state_dict()
    assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    differing = {name for name, tensor in one.items() if not torch.equal(tensor, other[name])}
    assert {name.partition(".")[0] for name in differing} == {"encoder", "trunk", "heads"}
    assert all(".lora_A." in name for name in differing if name.startswith("encoder"))


@pytest.mark.parametrize("trainable", ["none", "last: 1", "lora: 2", "all"])
def test_a_models_own_tensors_bring_it_back(towers: Path, trainable: str) -> None:
    keys = keys_of(towers, "siglip", trainable=trainable)
    model, fresh = model_of(keys), model_of(keys, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    own = {name: tensor.clone() for name, tensor in model.own_tensors().items()}
    stored = [name for name in own if name.startswith("encoder.")]
    assert bool(stored) == (trainable != "none")
    assert all(".lora_" in name for name in stored) == (trainable in ("none", "lora: 2"))
    fresh.load_own_tensors(own)
    assert torch.equal(fresh.eval()(pictures(SIDE)), model.eval()(pictures(SIDE)))


@pytest.mark.parametrize(
    ("network", "trainable"),
    [
        ("cnn", "all"),
        ("cnn", "last: 1"),
        ("cnn", "lora: 2"),
        ("clip", "all"),
        ("clip", "lora: 2"),
        ("siglip", "last: 1"),
        ("vit", "all"),
        ("dinov2", "lora: 2"),
        ("resnet18", "last: 1"),
    ],
)
def test_importance_is_that_of_one_sample_at_a_time(towers: Path, network: str, trainable: str) -> None:
    model = model_of(keys_of(towers, network, trainable=trainable))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:  # at zero, A would have no importance
                parameter.normal_(std=0.1)
    shown = pictures(model.encoder.view.size, 5)
    for inputs in (shown, model.encoder.frozen_part(shown)) if model.takes_features else (shown,):
        exact = estimate_importance(model, inputs.split(3))
        loop = estimate_importance(model, inputs.split(1), mode="batched")
        assert exact.keys() == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        # a bias of keys has no effect on attention, and so only noise for importance
        least = 1e-7 * max(float(omega.max()) for omega in loop.values())
        for name, omega in exact.items():
            scale = float(loop[name].max())
            assert scale > least or name.endswith("k_proj.bias"), name
            assert torch.allclose(omega, loop[name], atol=1e-5 * scale + least, rtol=1e-4), name
