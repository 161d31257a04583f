"""Networks of torchvision: the same features as their own forwards, and weights from wherever they are."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from encoder_checks import close, make, pictures
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision import models

from mas_triplets.data.view import View
from mas_triplets.errors import UserError
from mas_triplets.model.images import weight_files
from mas_triplets.model.images.torchvision_blocks import cut_classifier, torchvision_blocks
from mas_triplets.model.images.torchvision_models import _for_size
from mas_triplets.model.images.weight_files import downloaded, load_state, read_state
from mas_triplets.model.reachable import reachable

FAMILIES = {
    "alexnet": 64,
    "convnext_tiny": 32,
    "densenet121": 32,
    "efficientnet_b0": 32,
    "googlenet": 32,
    "inception_v3": 75,
    "maxvit_t": 224,
    "mnasnet0_5": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "regnet_x_400mf": 32,
    "resnet18": 32,
    "shufflenet_v2_x0_5": 32,
    "squeezenet1_1": 48,
    "swin_t": 32,
    "swin_v2_t": 32,
    "vgg11_bn": 32,
    "vit_b_32": 64,
}


@pytest.mark.parametrize("name", FAMILIES)
def test_blocks_of_every_family_give_what_the_network_gives(name: str) -> None:
    side = FAMILIES[name]
    encoder = make(name="torchvision", model=name, weights="none", size=side, trainable="last: 2").eval()
    sized: dict[str, dict[str, Any]] = {"vit_b_32": {"image_size": side}, "maxvit_t": {"input_size": (side, side)}}
    rest = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        network = models.get_model(name, weights=None, **sized.get(name, rest))
        cut_classifier(network)
        shown = pictures(side)
        whole = network.eval()(encoder.planes(shown))
        if name.startswith("squeezenet"):  # which has positions where others have features
            whole = whole.unflatten(1, (encoder.features, -1)).mean(2)
        kept = encoder.frozen_part(shown)
        before = kept.clone()
        features = encoder.learnt_part(kept)
    assert encoder.kept_shape is not None
    assert kept.shape == (2, *encoder.kept_shape)
    assert kept.dtype == torch.float32
    assert torch.equal(kept, before)  # layers that work in place would spoil what is kept, and the other branch
    assert close(features, whole)
    assert features.shape == (2, encoder.features)


def test_a_network_that_is_not_known_is_one_block() -> None:
    class Another(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.out = nn.Linear(2, 3), nn.Linear(3, 4)

        def forward(self, values: Tensor) -> Tensor:
            result: Tensor = self.out(self.layer(values).relu())
            return result

    network = Another()
    assert cut_classifier(network) == ["out"]
    assert list(torchvision_blocks(network)) == ["network"]
    assert network(torch.ones(5, 2)).shape == (5, 3)


@pytest.fixture(scope="module")
def resnet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = models.resnet18(num_classes=10)
        for name, value in network.state_dict().items():
            if "running_mean" in name:
                value.copy_(0.1 * torch.randn_like(value))
            elif "running_var" in name:
                value.copy_(torch.rand_like(value) + 0.5)
    path = tmp_path_factory.mktemp("weights") / "resnet18-f37072fd.pth"
    torch.save(network.state_dict(), path)
    return path


def test_weights_of_a_file_are_the_encoders(resnet_file: Path, tmp_path: Path) -> None:
    state = torch.load(resnet_file, weights_only=True)
    save_file(state, tmp_path / "plain.safetensors")
    torch.save({"epoch": 3, "state_dict": {f"module.{n}": v for n, v in state.items()}}, tmp_path / "wrapped.pth")
    torch.save({"model": state}, tmp_path / "model.pt")
    network = models.resnet18(num_classes=10)
    network.load_state_dict(state)
    cut_classifier(network)
    for path in (resnet_file, tmp_path / "plain.safetensors", tmp_path / "wrapped.pth", tmp_path / "model.pt"):
        encoder = make(name="torchvision", model="resnet18", weights=path, trainable="none")
        with torch.no_grad():
            shown = pictures(224, 1)
            assert close(encoder(shown), network.eval()(encoder.planes(shown)))
        assert encoder.view == View(224, 256, "bilinear")
        assert encoder.mean.flatten().tolist() == pytest.approx([255 * m for m in (0.485, 0.456, 0.406)])
        assert path.name in encoder.about


def test_size_and_fit_say_how_a_picture_is_drawn(resnet_file: Path) -> None:
    def view(**keys: Any) -> View:
        return make(name="torchvision", model="resnet18", **keys).view

    assert view(weights=resnet_file, size=112) == View(112, 128, "bilinear")
    assert view(weights=resnet_file, fit="whole") == View(224, None, "bilinear")
    assert view(weights="none") == View(224, None, "bilinear")
    assert view(weights="none", fit="own", size=64) == View(64, 73, "bilinear")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state.pop("layer1.0.bn1.weight"), "it lacks layer1.0.bn1.weight;"),
        (lambda state: state.update(extra=torch.ones(2)), "it has, unknown to the network, extra;"),
        (
            lambda state: state.update({"conv1.weight": torch.ones(2, 2)}),
            r"another conv1.weight \(2, 2\), not \(64, 3, 7",
        ),
        (lambda state: state.clear(), "holds no state dict"),
        (lambda state: state.update(note="text"), "holds no state dict"),
        (
            lambda state: [state.pop(name) for name in list(state) if "layer4" in name],
            "and 22 more; set model.image.model",
        ),
    ],
)
def test_weights_that_do_not_fit_are_told(resnet_file: Path, tmp_path: Path, change: Any, says: str) -> None:
    state = torch.load(resnet_file, weights_only=True)
    change(state)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError, match=rf"w\.pth.*{says}"):
        make(name="torchvision", model="resnet18", weights=tmp_path / "w.pth")


def test_files_that_hold_no_tensors_are_told(resnet_file: Path, tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "module.pth")
    (tmp_path / "half.pth").write_bytes(resnet_file.read_bytes()[:100_000])
    (tmp_path / "half.safetensors").write_bytes(b"x" * 50)
    (tmp_path / "empty.pt").touch()
    for name, says in {
        "module.pth": "holds more than tensors",
        "half.pth": "cannot be read as weights",
        "half.safetensors": "cannot be read as weights",
        "empty.pt": "cannot be read as weights",
        "absent.pth": "there is no such file",
    }.items():
        with pytest.raises(UserError, match=rf"{name}.*{says}"):
            make(name="torchvision", model="resnet18", weights=tmp_path / name)


def test_old_names_of_densenet_are_known() -> None:
    network = models.densenet121()
    state = {}
    for name, value in network.state_dict().items():
        for part in ("norm", "conv"):
            name = (
                name.replace(f"{part}1.", f"{part}.1.").replace(f"{part}2.", f"{part}.2.")
                if "denselayer" in name
                else name
            )
        state[name] = value + 1 if value.is_floating_point() else value
    assert any("denselayer3.norm.1.weight" in name for name in state)
    load_state(network, state, cut_classifier(network), "it")
    assert torch.equal(network.features.denseblock1.denselayer3.norm1.weight, torch.full((128,), 2.0))


def test_a_vits_positions_are_interpolated_to_its_size() -> None:
    options = {"patch_size": 8, "num_layers": 1, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 16}
    small, large = (models.VisionTransformer(image_size=side, **options) for side in (32, 48))
    for network in (small, large):
        nn.init.normal_(network.encoder.pos_embedding)
    state = small.state_dict()
    load_state(large, _for_size(large, state), [], "it")
    assert large.encoder.pos_embedding.shape == (1, 37, 16)
    theirs = models.vision_transformer.interpolate_embeddings(48, 8, small.state_dict())
    assert torch.equal(large.encoder.pos_embedding, theirs["encoder.pos_embedding"])
    assert _for_size(small, state) is state


def test_without_a_network_it_is_said_where_weights_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(weight_files, "reachable", lambda url: False)
    for weights in ("default", "IMAGENET1K_V1", "imagenet1k_v1", "ResNet18_Weights.IMAGENET1K_V1"):
        with pytest.raises(
            UserError, match=r"resnet18-f37072fd\.pth is not in the cache.*checkpoints, or anywhere and set"
        ):
            make(name="torchvision", model="resnet18", weights=weights)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "resnet18-f37072fd.pth").write_bytes(b"half")
    with pytest.raises(UserError, match="is damaged or half downloaded"):
        make(name="torchvision", model="resnet18")


def test_weights_are_downloaded_once_and_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pth")
    content = (tmp_path / "w.pth").read_bytes()
    good = tmp_path / f"w-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    good.write_bytes(content)
    path = downloaded(good.as_uri())
    assert path.parent == tmp_path / "hub" / "checkpoints"
    assert torch.equal(read_state(path)["a"], torch.ones(2))
    good.unlink()
    assert downloaded(good.as_uri()) == path  # from the cache
    (tmp_path / "w-00000000.pth").write_bytes(content)
    with pytest.raises(UserError, match=r"downloading w-00000000\.pth failed .*hash"):
        downloaded((tmp_path / "w-00000000.pth").as_uri())
    assert not (tmp_path / "hub" / "checkpoints" / "w-00000000.pth").exists()


@pytest.fixture
def server() -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(404)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_reachable_asks_once(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert reachable(server)  # an answer, though it is 404
    assert not reachable("http://127.0.0.1:1/")
