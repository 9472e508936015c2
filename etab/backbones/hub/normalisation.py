"""The mean and deviation by which a processor of pictures of ``transformers`` normalises them.

Most of it follows from the settings of a processor. Some processors do more than their settings say:
that of EfficientNet divides by the deviation twice, and that of ViViT subtracts 1. Therefore each
processor is tried on black, grey and white pictures, and its output decides.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from etab.backbones.hub.described import Described
from etab.backbones.own.inputs import LARGEST_LEVEL
from etab.errors import UnsupportedOptionError
from etab.types import FloatArray

Scale = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of three channels, on the [0, 1] scale."""

_LEVELS = (0, 102, 255)
# Relative difference that rounding of float32 may make between the settings and the output.
_ROUNDING = 1e-4


def normalisation(described: Described, size: int) -> Scale:
    """Find the mean and deviation that a processor applies to pictures.

    Args:
        described: The configuration and the processor.
        size: Side of the square input in pixels.

    Returns:
        Mean and standard deviation of each channel, on the [0, 1] scale.

    Raises:
        UnsupportedOptionError: The processor does more than subtract a mean and divide by a
            deviation, or the mean is of pictures in [0, 255] and the pictures are not.
    """
    mean, std = _found(described, size)
    if max(map(abs, mean)) > LARGEST_LEVEL:
        raise UnsupportedOptionError(
            f"transformers/{described.model}: its processor subtracts {max(mean):.3g} from pictures in "
            "[0, 1], as if they were in [0, 255]. Divide image_mean and image_std in "
            "preprocessor_config.json by 255, if the model was trained so."
        )
    return mean, std


def _found(described: Described, size: int) -> Scale:
    listed = _listed(described)
    levels = _tried(described, size)
    if levels is None:
        if listed is None:
            raise UnsupportedOptionError(
                f"transformers/{described.model}: the mean and deviation of its processor are not "
                "three numbers each. Wrap the model in a function: etab.backbone(function, "
                "input=...)."
            )
        return listed
    black, grey, white = levels
    span = white - black
    expected = black + span * (_LEVELS[1] / _LEVELS[2])
    is_linear = np.abs(grey - expected) <= _ROUNDING * (np.abs(span) + 1)
    if not np.isfinite(levels).all() or not is_linear.all() or (np.abs(span) < 1e-6).any():
        raise UnsupportedOptionError(
            f"transformers/{described.model}: its processor makes {_text(black)} of black, "
            f"{_text(grey)} of grey and {_text(white)} of white, which no mean and deviation can "
            "produce. Wrap the model in a function: etab.backbone(function, input=...)."
        )
    std = 1 / span
    mean = -black * std
    if listed is not None and _agree(listed, (mean, std)):
        return listed
    return tuple(mean.tolist()), tuple(std.tolist())


def _listed(described: Described) -> Scale | None:
    """Mean and deviation by the settings, on the [0, 1] scale; None if they are not numbers."""
    processor = described.processor
    factor = 255.0
    if getattr(processor, "do_rescale", True):
        factor = 255 * float(getattr(processor, "rescale_factor", None) or 1 / 255)
    mean: Any = (0.0, 0.0, 0.0)
    std: Any = (1.0, 1.0, 1.0)
    if getattr(processor, "do_normalize", True):
        mean = getattr(processor, "image_mean", None) or mean
        std = getattr(processor, "image_std", None) or std
    try:
        mean = [float(value) for value in np.broadcast_to(mean, 3)]
        std = [float(value) for value in np.broadcast_to(std, 3)]
    except (TypeError, ValueError):
        return None
    return tuple(value / factor for value in mean), tuple(value / factor for value in std)


def _tried(described: Described, size: int) -> FloatArray | None:
    """The output (levels, channels) for uniform pictures; None if the processor raises an error."""
    rows = []
    for level in _LEVELS:
        picture = np.full((size, size, 3), level, dtype=np.uint8)
        is_video = "Video" in type(described.processor).__name__
        try:
            made = described.processor(
                [picture, picture] if is_video else picture, return_tensors="pt"
            )
            names = ("pixel_values", "pixel_values_videos")
            values = next(made[name] for name in names if name in made)
            rows.append(_pixels(np.asarray(values, dtype=np.float64)))
        except Exception:  # processors that need more than a picture raise errors of any type
            return None
    pixels = np.stack(rows)
    # A border that the processor adds has the same value at every level.
    is_picture = (pixels[0] != pixels[-1]).all(axis=1)
    chosen = pixels[:, is_picture] if is_picture.any() else pixels
    return np.asarray(np.median(chosen, axis=1))


def _pixels(values: FloatArray) -> FloatArray:
    """The pixels (n, 3) of pictures (..., 3, h, w), or of lists of patches."""
    if values.ndim >= 4 and values.shape[-3] == 3:
        return np.moveaxis(values, -3, -1).reshape(-1, 3)
    if values.shape[-1] % 3 == 0:  # each patch lists its pixels, channels last
        return values.reshape(-1, 3)
    raise ValueError(values.shape)


def _agree(first: Any, second: Any) -> bool:
    one, other = (np.asarray(scale, dtype=np.float64) for scale in (first, second))
    return bool((np.abs(one - other) <= _ROUNDING * np.maximum(np.abs(one), 1e-2)).all())


def _text(values: FloatArray) -> str:
    return "/".join(f"{value:.3g}" for value in values)
