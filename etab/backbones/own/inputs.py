"""The inputs that a function can ask for: ``Frames``, ``Clip`` and ``Sound``.

Each one describes exactly the array that the function receives. They are plain facts: this file
imports neither torch nor data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from etab.backbones.video.contract import ClipContract
from etab.errors import UnsupportedOptionError
from etab.options import is_finite_number, whole_number

ArrayKind = Literal["torch", "numpy"]
Layout = Literal["TCHW", "CTHW"]

_ARRAYS = ("torch", "numpy")
_LAYOUTS = ("TCHW", "CTHW")
_SHORT = ("hold", "loop")
# 512 MiB of them in float64: pictures with a side of 4,729 pixels, 70 minutes of sound at 16 kHz.
_MOST_VALUES = 1 << 26
_BLACK = (0.0, 0.0, 0.0)
_ONES = (1.0, 1.0, 1.0)
LARGEST_LEVEL = 2
"""Largest mean or deviation of frames in [0, 1]; one above it is of frames in [0, 255]."""


def _require(condition: bool, what: str, wanted: str, got: object) -> None:
    """Check one option of an input."""
    if not condition:
        raise UnsupportedOptionError(f"{what} is {got!r}; wanted {wanted}.")


def _set_counts(kind: Frames | Clip | Sound, *names: str) -> None:
    """Check the fields of an input that are whole numbers, and hold them as Python's own."""
    for name in names:
        what = f"{type(kind).__name__}({name}=)"
        # The inputs are frozen: they can be part of a key.
        object.__setattr__(kind, name, whole_number(what, getattr(kind, name), 1))


def _require_room(owner: str, n_values: float) -> None:
    """Refuse rows for which no batch would have memory, as a damaged file may ask for."""
    _require(
        n_values <= _MOST_VALUES,
        f"The number of values of a row of {owner}",
        f"at most {_MOST_VALUES:,}",
        n_values,
    )


def _require_positive(what: str, value: object) -> None:
    is_positive = is_finite_number(value) and value > 0  # type: ignore[operator]
    _require(is_positive, what, "a number above 0", value)


def _require_channels(owner: str, mean: object, std: object) -> None:
    """Check the normalisation of three channels."""
    for what, values in (("mean", mean), ("std", std)):
        is_triple = isinstance(values, tuple | list) and len(values) == 3
        _require(is_triple, f"{owner}({what}=)", "three numbers, one a channel", values)
        for value in values:  # type: ignore[attr-defined]
            _require(
                is_finite_number(value), f"A number of {owner}({what}=)", "a finite number", value
            )
            _require(
                abs(value) <= LARGEST_LEVEL,
                f"A number of {owner}({what}=)",
                f"one of frames in [0, 1], at most {LARGEST_LEVEL} (divide those of frames in [0, 255] "
                "by 255)",
                value,
            )
    for value in std:  # type: ignore[attr-defined]
        _require_positive(f"A number of {owner}(std=)", value)


@dataclass(frozen=True, slots=True)
class Frames:
    """Single frames: the function receives float32 of shape (n, 3, size, size).

    A frame is resized to the square (its aspect ratio is not kept), repeated in three equal
    channels, scaled to [0, 1], and normalised: ``(frame - mean) / std``. With the defaults the
    values are in [0, 1].

    Attributes:
        size: Side of the square in pixels.
        mean: Mean of each channel, on the [0, 1] scale.
        std: Standard deviation of each channel, on the [0, 1] scale.
        array: "torch" for a tensor on the device of the run, "numpy" for an array.

    Example:
        >>> Frames(size=128).size
        128
    """

    size: int = 224
    mean: tuple[float, float, float] = _BLACK
    std: tuple[float, float, float] = _ONES
    array: ArrayKind = "torch"

    def __post_init__(self) -> None:
        _set_counts(self, "size")
        _require_room("Frames", 3 * self.size**2)
        _require_channels("Frames", self.mean, self.std)
        _require(self.array in _ARRAYS, "Frames(array=)", "'torch' or 'numpy'", self.array)


@dataclass(frozen=True, slots=True)
class Clip:
    """Clips: the function receives float32 of shape (n, frames, 3, size, size) or its transpose.

    Frames are prepared as those of ``Frames``. A clip starts where the task places it.

    Attributes:
        frames: Number of frames of a clip.
        size: Side of the square in pixels.
        period: Distance between two frames of the clip, in frames of the recording. Used only
            where ``fps`` is None.
        fps: Frames a second of the clip. The nearest frames of the recording are taken, so that a
            frame may occur twice. None to count frames by ``period``.
        layout: "TCHW" for (n, frames, 3, size, size), "CTHW" for (n, 3, frames, size, size).
        short: What follows the end of a recording. "hold": its last frame. "loop": the clip again
            from its beginning.
        mean: Mean of each channel, on the [0, 1] scale.
        std: Standard deviation of each channel, on the [0, 1] scale.
        array: "torch" for a tensor on the device of the run, "numpy" for an array.

    Example:
        >>> Clip(frames=8, size=112, layout="CTHW").contract.span
        8
    """

    frames: int = 16
    size: int = 224
    period: int = 1
    fps: float | None = None
    layout: Layout = "TCHW"
    short: str = "hold"
    mean: tuple[float, float, float] = _BLACK
    std: tuple[float, float, float] = _ONES
    array: ArrayKind = "torch"

    def __post_init__(self) -> None:
        _set_counts(self, "frames", "size", "period")
        _require_room("Clip", 3 * self.frames * self.size**2)
        if self.fps is not None:
            _require_positive("Clip(fps=)", self.fps)
            _require(self.period == 1, "Clip(period=)", "no period beside fps=", self.period)
        _require(self.layout in _LAYOUTS, "Clip(layout=)", "'TCHW' or 'CTHW'", self.layout)
        _require(self.short in _SHORT, "Clip(short=)", "'hold' or 'loop'", self.short)
        _require_channels("Clip", self.mean, self.std)
        _require(self.array in _ARRAYS, "Clip(array=)", "'torch' or 'numpy'", self.array)

    @property
    def contract(self) -> ClipContract:
        """The input as networks of clips describe it."""
        return ClipContract(
            self.frames,
            period=self.period,
            size=self.size,
            short=self.short,
            mean=tuple(self.mean),
            std=tuple(self.std),
            fps=self.fps,
        )


@dataclass(frozen=True, slots=True)
class Sound:
    """Parts of a recording of sound: the function receives float32 of shape (n, samples).

    ``samples`` is always ``round(rate * seconds)``. The recording is resampled to ``rate``; its
    values are in [-1, 1]. A window of a task (5 s) that is longer than ``seconds`` is covered by
    several parts at even distances, whose features are averaged. A shorter window is repeated.

    Attributes:
        rate: Samples a second.
        seconds: Length of a part in seconds.
        hop: Time from one step of the output to the next, in seconds. None where the steps divide
            the part evenly.
        first: Time of the centre of the first step, in seconds. None for half a step.
        array: "torch" for a tensor on the device of the run, "numpy" for an array.

    Example:
        >>> Sound(rate=4000, seconds=2.5).samples
        10000
    """

    rate: int = 16_000
    seconds: float = 5.0
    hop: float | None = None
    first: float | None = None
    array: ArrayKind = "torch"

    def __post_init__(self) -> None:
        _set_counts(self, "rate")
        _require_positive("Sound(seconds=)", self.seconds)
        _require_room("Sound", self.rate * self.seconds)
        if self.hop is not None:
            _require_positive("Sound(hop=)", self.hop)
        if self.first is not None:
            _require(is_finite_number(self.first), "Sound(first=)", "a finite number", self.first)
        _require(self.array in _ARRAYS, "Sound(array=)", "'torch' or 'numpy'", self.array)

    @property
    def samples(self) -> int:
        """Number of samples of a part."""
        return max(1, round(self.rate * self.seconds))


InputKind = Frames | Clip | Sound
