"""torchvision's classification networks: any by its registered name, up to the features before the classifier."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from torch import Tensor, nn

from mas_triplets.config import ImageEncoderConfig
from mas_triplets.data.view import Resample, View
from mas_triplets.errors import UserError, unknown
from mas_triplets.model.images.encoder import ImageEncoder
from mas_triplets.model.images.torchvision_blocks import USUAL_BRANCH, cut_classifier, torchvision_blocks
from mas_triplets.model.images.weight_files import ENDINGS, downloaded, load_state, read_state


class TorchvisionEncoder(ImageEncoder):
    """A network that torchvision knows by name, with weights of its own, from a file, or random.

    Weights come with transforms, which say how a picture is drawn; those of a file are the ones of the weights that
    torchvision offers under the same file name, else of its default. Random weights see all of the picture.

    Raises:
        UserError: the name or the weights are unknown, cannot be had or do not fit, or the size does not.
    """

    def __init__(self, config: ImageEncoderConfig) -> None:
        assert config.model is not None  # checked before
        name = config.model
        chosen = _chosen(name, config.weights)
        drawing = _Drawing.of(chosen.member)
        size = config.size or drawing.size
        own = config.fit == "own" or (config.fit is None and chosen.given)
        network = _network(name, size)
        kind = type(network).__name__
        gone = cut_classifier(network)
        if chosen.file is not None:
            state = read_state(chosen.file)
            load_state(network, _for_size(network, state), gone, str(chosen.file))
        mean, std = drawing.mean, drawing.std
        if chosen.given and kind in ("GoogLeNet", "Inception3"):
            # learnt on colours from -1 to 1, into which torchvision turns the usual ones inside these networks
            mean = std = (127.5,) * 3
        super().__init__(
            config,
            View(size, round(size * drawing.shorter / drawing.size) if own else None, drawing.resample),
            mean,
            std,
            torchvision_blocks(network),
            about=f"{name}, {chosen.about}",
            given=chosen.given,
            branch_at=USUAL_BRANCH.get(kind),
            settings=name,
        )


@dataclass(frozen=True)
class _Chosen:
    """Weights.

    Attributes:
        member: of the network's weights enum: these, or those whose transforms are taken.
        file: where they are; None for random ones.
        about: what they are, in a few words.
    """

    member: Any
    file: Path | None
    about: str

    @property
    def given(self) -> bool:
        return self.file is not None


def _chosen(name: str, weights: str) -> _Chosen:
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        raise unknown("torchvision network (model.image.model)", name, names)
    members = models.get_model_weights(name)
    if weights == "none":
        return _Chosen(members.DEFAULT, None, "random weights")
    if Path(weights).suffix in ENDINGS or Path(weights).is_file():
        path = Path(weights).expanduser()
        if not path.is_file():
            raise UserError(f"model.image.weights={weights}: there is no such file")
        same = [member for member in members if member.url.rpartition("/")[2] == path.name]
        return _Chosen((same or [members.DEFAULT])[0], path, f"weights of {path.name}")
    known = members.__members__  # DEFAULT, an alias, is among them
    member = weights.upper().rpartition(".")[2]
    if member not in known or ("." in weights and not weights.startswith(f"{members.__name__}.")):
        raise unknown(
            f"weights of {name} (model.image.weights)",
            weights,
            ["none", "default", *(member.name for member in members)],
        )
    return _Chosen(known[member], downloaded(known[member].url), known[member].name)


@dataclass(frozen=True)
class _Drawing:
    """How weights want pictures: a square of `size` cut from one whose shorter side is `shorter`; colours 0 to 255."""

    size: int
    shorter: int
    resample: Resample
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, member: Any) -> _Drawing:
        transforms = member.transforms()
        resample: Resample = transforms.interpolation.value
        assert resample in get_args(Resample)
        mean, std = (tuple(255 * number for number in numbers) for numbers in (transforms.mean, transforms.std))
        return cls(transforms.crop_size[0], transforms.resize_size[0], resample, mean, std)


def _network(name: str, size: int) -> nn.Module:
    """Build a network with random weights; some must know the size of pictures."""
    from torchvision import models

    options: dict[str, Any] = {}
    if name.startswith("vit_"):
        options["image_size"] = size
    elif name.startswith("maxvit_"):
        options["input_size"] = (size, size)
    elif name in ("googlenet", "inception_v3"):
        options.update(init_weights=True)
    try:
        network: nn.Module = models.get_model(name, weights=None, **options)
    except (ValueError, AssertionError, RuntimeError) as error:
        raise UserError(
            f"{name} cannot take pictures of {size} x {size} pixels ({error}): set another model.image.size"
        ) from None
    return network


def _for_size(network: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with a ViT's position embeddings interpolated to the network's own size."""
    positions = "encoder.pos_embedding"
    if type(network).__name__ != "VisionTransformer" or positions not in state:
        return state
    from torchvision.models.vision_transformer import interpolate_embeddings

    size, patch = network.image_size, network.patch_size
    assert isinstance(size, int)
    assert isinstance(patch, int)
    if state[positions].shape[1] == (size // patch) ** 2 + 1:
        return state
    try:
        resized: dict[str, Tensor] = interpolate_embeddings(size, patch, state)
    except ValueError as error:
        raise UserError(
            f"the weights' positions cannot be interpolated to pictures of {size} pixels: {error}"
        ) from None
    return resized
