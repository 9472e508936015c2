"""The options of a ``Dataset``, checked before any data are read."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

from etab.datasets.base import Card
from etab.datasets.windows import MAX_CLIP, SoundOptions, sound_options
from etab.echo.views import among
from etab.errors import EtabWarning, UnsupportedOptionError
from etab.options import is_finite_number, require_flag, whole_number

CLIP_L = 16
_MAX_SIDE = 4096
# Largest size of one clip, in bytes: more does not fit beside anything else on most machines.
_MAX_CLIP_BYTES = 8 << 30


@dataclass(frozen=True, slots=True)
class Options:
    """The checked options of a ``Dataset`` of pictures.

    Attributes:
        video: Whether items are clips.
        normalize: Whether ImageNet's mean and standard deviation are removed.
        size: Rows and columns of a picture.
        clip_l: Frames of a clip.
        fps: Frames a second; None keeps the recording's own rate.
        padding: Whether the aspect is kept, with zeros around the picture.
    """

    video: bool
    normalize: bool
    size: tuple[int, int]
    clip_l: int
    fps: float | None
    padding: bool


def checked_views(
    card: Card,
    target: str,
    view: str | None,
) -> tuple[str, ...]:
    """Select views of a dataset.

    Args:
        card: The facts of the dataset.
        target: The name of the target.
        view: Any name of a view; None for all views.

    Returns:
        Canonical names.

    Raises:
        UnsupportedOptionError: A single view is named with the target that asks for the view.
        UnknownNameError: The dataset has no such view.
    """
    if target == "view" and view is not None:
        raise UnsupportedOptionError(
            f"The target 'view' is the view of a picture; use view=None, not {view!r}."
        )
    return among(view, card.views, what=card.name)


def checked_options(
    video: bool,
    normalize: bool,
    size: tuple[int, int],
    clip_l: int | None,
    fps: float | None,
    padding: bool | None,
    *,
    sound: bool,
) -> Options | SoundOptions:
    """Check the options of a ``Dataset`` that can be checked without its data.

    Args:
        video: As in ``Dataset``.
        normalize: As in ``Dataset``.
        size: Rows and columns of a picture.
        clip_l: As in ``Dataset``.
        fps: As in ``Dataset``.
        padding: As in ``Dataset``.
        sound: Whether the dataset holds sound.

    Raises:
        UnsupportedOptionError: An option has another type or is out of range.
    """
    require_flag("video", video)
    require_flag("normalize", normalize)
    if padding is not None:
        require_flag("padding", padding)
    rows, columns = (
        whole_number(key, side, 1, _MAX_SIDE, "pixels")
        for key, side in zip(("frame_l", "frame_w"), size, strict=True)
    )
    size = (rows, columns)
    if clip_l is not None:
        unit = "samples" if sound else "frames"
        clip_l = whole_number("clip_l", clip_l, 1, MAX_CLIP if sound else _longest(size), unit)
    if fps is not None and not (is_finite_number(fps) and fps > 0):
        raise UnsupportedOptionError(
            f"fps is {fps!r}; possible: a number above 0, or None for the recording's own rate."
        )
    if sound:
        return sound_options(video, normalize, size, clip_l, fps, bool(padding))
    if not video:
        _warn_idle(clip_l, fps, padding)
        return Options(False, normalize, size, 1, None, bool(padding))
    return Options(
        True,
        normalize,
        size,
        CLIP_L if clip_l is None else clip_l,
        fps,
        bool(padding),
    )


def _longest(size: tuple[int, int]) -> int:
    """The most frames of a clip with pictures of this size, float32 in three channels."""
    rows, columns = size
    return _MAX_CLIP_BYTES // (3 * 4 * rows * columns)


def _warn_idle(
    clip_l: int | None,
    fps: float | None,
    padding: bool | None,
) -> None:
    """Warn of options that have no effect with video=False, as the 2022 pages print them."""
    idle = [
        f"{key}={value!r}" for key, value in (("clip_l", clip_l), ("fps", fps)) if value is not None
    ]
    idle += ["padding=None (read as False)"] if padding is None else []
    if idle:
        warnings.warn(
            f"video=False takes single frames: {', '.join(idle)} has no effect.",
            EtabWarning,
            stacklevel=4,
        )
