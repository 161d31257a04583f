"""What an image processor of transformers does to a picture, as a `View` and colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from PIL import Image

from mas_triplets.data.view import Resample, View
from mas_triplets.errors import UserError

_CROP_BELOW = 384  # ConvNeXT's processor: smaller sizes are cut from a larger picture, others stretched


@dataclass(frozen=True)
class Drawing:
    """How a processor draws.

    Attributes:
        view: to which square, and how.
        mean: of each channel, in a picture's own numbers.
        std: deviation, likewise.
    """

    view: View
    mean: tuple[float, ...]
    std: tuple[float, ...]


def drawing_of(processor: Any, size: int | None, fit: Literal["own", "whole"] | None, name: str) -> Drawing:
    """Return how `processor` draws, at another size in proportion.

    Args:
        processor: of a checkpoint.
        size: side in pixels, or None for the processor's own.
        fit: `whole` draws all of the picture; else as the processor does.
        name: of the checkpoint, for messages.

    Raises:
        UserError: it does something that is not foreseen here.
    """
    try:
        return _drawing(processor, size, fit, name)
    except (TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise UserError(
            f"the image processor of {name} holds values that are not understood ({error}): check its "
            "preprocessor_config.json"
        ) from error


def _drawing(processor: Any, size: int | None, fit: Literal["own", "whole"] | None, name: str) -> Drawing:
    own = _view(processor, name)
    side = size or own.size
    shorter = None if own.shorter is None or fit == "whole" else round(side * own.shorter / own.size)
    view = View(side, shorter, own.resample, own.stretch and shorter is not None, floor=True)
    # the picture's numbers times `factor`, less mean, over deviation
    factor = processor.rescale_factor if processor.do_rescale else 1.0
    mean, std = _channels(0.0), _channels(1.0)
    if processor.do_normalize:
        mean, std = (_channels(numbers) for numbers in (processor.image_mean, processor.image_std))
    return Drawing(view, tuple(number / factor for number in mean), tuple(number / factor for number in std))


def _channels(numbers: Any) -> tuple[float, ...]:
    return (float(numbers),) * 3 if isinstance(numbers, int | float) else tuple(map(float, numbers))


def _view(processor: Any, name: str) -> View:
    number = getattr(processor, "resample", None)
    found = Image.Resampling(int(2 if number is None else number)).name.lower()
    resample = next(known for known in get_args(Resample) if known == found)
    cut = _square(getattr(processor, "crop_size", None)) if getattr(processor, "do_center_crop", False) else None
    if not processor.do_resize:
        if cut is None:
            raise UserError(f"the image processor of {name} does not resize pictures: set model.image.size")
        return View(cut, None, resample)
    wanted = dict(processor.size or {})
    square = _square(wanted)
    shorter = wanted.get("shortest_edge")
    if square is not None:
        return View(cut or square, square, resample, stretch=True)
    if shorter is not None and not wanted.get("longest_edge"):
        part = getattr(processor, "crop_pct", None)
        if cut is not None:
            return View(cut, shorter, resample)
        if part is not None:
            small = shorter < _CROP_BELOW
            return View(shorter, int(shorter / part) if small else shorter, resample, stretch=not small)
    raise UserError(
        f"the image processor of {name} draws pictures to size {wanted}, not to a square of one size: it cannot be used"
    )


def _square(size: Any) -> int | None:
    """Return the side, if `size` is a height and an equal width."""
    sides = dict(size or {})
    height, width = sides.get("height"), sides.get("width")
    return int(height) if height is not None and height == width else None
