"""Trial inputs for a function of a user, and the check that it treats each row independently."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from etab.backbones.own.inputs import Clip, InputKind, Sound
from etab.errors import UnsupportedOptionError
from etab.types import Array, Features

# Largest difference allowed between a row alone and in a batch, relative to its largest value. Each
# operation in bf16 rounds by up to 0.4 %.
_ROUNDING = 0.05
# Features in a batch belong to another row if they are this many times nearer to that row alone.
_NEARER = 10.0
# Differences below this share of the largest value are rounding of float32.
_EXACT = 1e-4

# Level, contrast and grain of each row. The levels are in no sorted order, so that a function that
# sorts its rows is noticed.
_FRAME_ROWS = ((110.0, 50.0, 2), (180.0, 70.0, 1), (60.0, 20.0, 4))  # grey values, and pixels
_SOUND_ROWS = ((0.02, 0.1, 2), (0.06, 0.3, 1), (-0.01, 0.02, 4))  # amplitudes, and samples


def trial_rows(kind: InputKind) -> Tensor:
    """Make three rows of noise that differ clearly.

    Pictures differ in brightness, contrast and grain, sounds in level, loudness and pitch.

    Args:
        kind: The input of a function.

    Returns:
        The rows as a backbone receives them: uint8 frames (3, size, size), uint8 clips (3, frames,
        size, size), or float32 sound (3, samples).
    """
    rng = np.random.default_rng(0)
    if isinstance(kind, Sound):
        sounds = [
            level + loudness * _noise(rng, (kind.samples,), grain)
            for level, loudness, grain in _SOUND_ROWS
        ]
        return torch.from_numpy(np.stack(sounds).astype(np.float32))
    shape = (kind.size, kind.size)
    if isinstance(kind, Clip):
        shape = (kind.frames, *shape)  # type: ignore[assignment]
    pictures = [
        level + contrast * _noise(rng, shape, grain) for level, contrast, grain in _FRAME_ROWS
    ]
    return torch.from_numpy(np.stack(pictures).round().astype(np.uint8))


def _noise(rng: np.random.Generator, shape: tuple[int, ...], grain: int) -> Array:
    """Noise in [-1, 1] in which blocks of ``grain`` neighbours along each axis are equal."""
    noise = rng.uniform(-1, 1, shape)
    for axis in range(max(0, len(shape) - 2), len(shape)):
        first_of_grain = np.arange(shape[axis]) // grain * grain
        noise = noise.take(first_of_grain, axis)
    return noise


def require_rows_alone(whole: Features, alone: Sequence[Features], name: str) -> None:
    """Check that a row has the same features in a batch as alone, and in the same place.

    Args:
        whole: Features of a batch.
        alone: Features of each row of the batch, computed alone.
        name: Name of the backbone, for the error.

    Raises:
        UnsupportedOptionError: The features of a row differ by more than rounding, or are those of
            another row.
    """
    for key, in_batch in whole.pooled.items():
        singles = torch.cat([features.pooled[key] for features in alone])
        for row, (values, single) in enumerate(zip(in_batch, singles, strict=True)):
            largest = max(float(values.abs().max()), float(single.abs().max()), 1e-6)
            differences = (values - singles).abs().amax(1)
            difference = float(differences[row])
            nearest = int(differences.argmin())
            is_moved = difference > max(_NEARER * float(differences[nearest]), _EXACT * largest)
            if not is_moved and difference <= _ROUNDING * largest:
                continue
            layer = key.partition("/")[0]
            moved = (
                f" Row {row} of the batch holds the values of row {nearest}." if is_moved else ""
            )
            raise UnsupportedOptionError(
                f"{name}, layer {layer!r}: the function returns different values for a row that is "
                f"alone than for the same row in a batch of {len(whole)} (difference "
                f"{difference:.2g}, largest value {largest:.2g}).{moved} Each row must be computed "
                "from that row alone, in the order of the input, and the same each time: put the "
                "network into eval mode (network.eval()), and use no random numbers."
            )
