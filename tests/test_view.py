"""Drawing a picture to an encoder's square: the same pixels as torchvision's and transformers' own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification
from transformers import (
    BitImageProcessor,
    CLIPImageProcessor,
    ConvNextImageProcessor,
    DeiTImageProcessor,
    SiglipImageProcessor,
    ViTImageProcessor,
)

from mas_triplets.data.view import View
from mas_triplets.errors import UserError
from mas_triplets.model.images.processors import drawing_of

SIZES = [(64, 48), (48, 64), (37, 37), (500, 333), (333, 500), (31, 200), (211, 20), (40, 41), (75, 30), (299, 302)]


def picture(width: int, height: int) -> Image.Image:
    """Smooth colours, an edge and noise: what filters treat differently."""
    rng = np.random.default_rng(width * 1000 + height)
    y, x = np.mgrid[0:height, 0:width]
    planes = np.stack([255 * x / width, 255 * y / height, 255 * ((x // 5 + y // 7) % 2)], axis=2)
    return Image.fromarray((0.7 * planes + 0.3 * rng.integers(0, 256, planes.shape)).astype(np.uint8))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("shorter", "side"), [(36, 32), (32, 32), (37, 32), (29, 32), (64, 32)])
@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
def test_the_cut_at_the_centre_is_torchvisions_to_the_bit(
    size: tuple[int, int], shorter: int, side: int, resample: str
) -> None:
    preset = ImageClassification(crop_size=side, resize_size=shorter, interpolation=InterpolationMode(resample))
    theirs = preset(picture(*size))
    mine = View(side, shorter, resample).draw(picture(*size))  # type: ignore[arg-type]
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (preset.mean, preset.std))
    before = (theirs * std + mean) * 255
    assert np.array_equal(mine, before.round().byte().permute(1, 2, 0).numpy())
    normalised = (torch.tensor(mine).permute(2, 0, 1).float() - 255 * mean) / (255 * std)
    assert torch.allclose(normalised, theirs, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("view", [View(32), View(32, 36), View(32, 36, stretch=True)])
@pytest.mark.parametrize("box", [(3, 5, 40, 31), (0, 0, 20, 60), (10, 0, 64, 19), (0, 0, 64, 60)])
def test_a_box_is_drawn_as_if_it_were_the_picture(view: View, box: tuple[int, int, int, int]) -> None:
    whole = picture(64, 60)
    drawn = view.draw(whole, tuple(map(float, box)))  # type: ignore[arg-type]
    alone = view.draw(whole.crop(box))
    assert drawn.shape == (32, 32, 3)
    # the filter sees what is around a box, so that its border is smoother than a picture's
    apart = np.abs(drawn.astype(int) - alone.astype(int))
    assert np.median(apart) <= 1
    assert np.mean(apart[8:-8, 8:-8]) <= 1.5


def test_fractions_of_a_box_count() -> None:
    view, whole = View(16, 18), picture(64, 60)
    assert not np.array_equal(view.draw(whole, (3.0, 5.0, 40.0, 31.0)), view.draw(whole, (3.5, 5.5, 40.5, 31.5)))
    assert view.draw(whole, (3.1, 5.1, 3.6, 5.6)).shape == (16, 16, 3)


@pytest.mark.parametrize("size", [(40000, 2), (2, 40000)])
def test_a_thin_picture_costs_no_more_than_others(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    resize = Image.Image.resize

    def noting(image: Image.Image, size: tuple[int, int], *rest: Any, **options: Any) -> Image.Image:
        asked.append(size)
        return resize(image, size, *rest, **options)

    monkeypatch.setattr(Image.Image, "resize", noting)
    long = Image.new("RGB", size, (10, 200, 30))
    assert (View(32, 36).draw(long) == (10, 200, 30)).all()
    assert max(asked[0]) <= 16 * 36


def test_what_a_thin_picture_loses_is_outside_the_square() -> None:
    long = picture(600, 20)
    exact = long.resize((1080, 36), Image.Resampling.BICUBIC).crop((524, 2, 556, 34))
    assert np.abs(View(32, 36).draw(long).astype(int) - np.asarray(exact).astype(int)).max() <= 2


def test_the_whole_picture_is_drawn_to_the_square() -> None:
    left_red = Image.new("RGB", (200, 40), (0, 0, 255))
    left_red.paste((255, 0, 0), (0, 0, 20, 40))
    whole, cut = View(20).draw(left_red), View(20, 20).draw(left_red)
    assert whole[10, 0, 0] > 250
    assert (cut[..., 0] == 0).all()  # the border is cut away
    small = picture(20, 20)
    assert np.array_equal(View(20).draw(small), np.asarray(small))


PROCESSORS: list[Any] = [
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
    SiglipImageProcessor(size={"height": 32, "width": 32}),
    ViTImageProcessor(size={"height": 32, "width": 32}),
    BitImageProcessor(size={"shortest_edge": 37}, crop_size={"height": 32, "width": 32}),  # DINOv2's: 256, cut to 224
    DeiTImageProcessor(size={"height": 36, "width": 36}, crop_size={"height": 32, "width": 32}),
    ConvNextImageProcessor(size={"shortest_edge": 32}),
    ConvNextImageProcessor(size={"shortest_edge": 384}),
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32, do_normalize=False),
    CLIPImageProcessor(do_resize=False, crop_size=32, do_rescale=False),
]


@pytest.mark.parametrize("number", range(len(PROCESSORS)))
def test_processors_of_transformers_give_the_same_numbers(number: int) -> None:
    processor = PROCESSORS[number]
    drawing = drawing_of(processor, None, None, "it")
    for size in SIZES:
        if not processor.do_resize:
            size = (32, 32)
        theirs = processor(picture(*size), return_tensors="pt")["pixel_values"][0]
        mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (drawing.mean, drawing.std))
        mine = (torch.from_numpy(drawing.view.draw(picture(*size)).copy()).permute(2, 0, 1).float() - mean) / std
        assert theirs.shape == mine.shape
        apart = ((theirs - mine) * std).abs()  # in the picture's own numbers
        assert apart.quantile(0.98) <= 2.001, size  # they resize tensors, with other rounding between the two axes
        assert apart.mean() <= 0.35, size


def test_another_size_keeps_the_proportion_of_the_cut() -> None:
    clip = CLIPImageProcessor(size={"shortest_edge": 256}, crop_size=224)
    assert drawing_of(clip, 112, None, "it").view == View(112, 128, "bicubic", floor=True)
    assert drawing_of(clip, 112, "whole", "it").view == View(112, None, "bicubic", floor=True)
    assert drawing_of(SiglipImageProcessor(), 96, None, "it").view == View(96, 96, "bicubic", stretch=True, floor=True)


@pytest.mark.parametrize(
    "size", [{"height": 32, "width": 64}, {"shortest_edge": 32}, {"shortest_edge": 32, "longest_edge": 64}]
)
def test_a_processor_that_gives_no_square_is_told(size: dict[str, int]) -> None:
    with pytest.raises(UserError, match=r"image processor of it draws pictures to size .*not to a square"):
        drawing_of(ViTImageProcessor(size=size), None, None, "it")
