"""Checks of the output of a user's function, and its conversion to features."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from etab.backbones.base import LONGEST_LAYER_NAME, is_layer_name
from etab.backbones.maps import (
    MOST_PREFIX,
    map_means,
    map_of_tokens,
    side_of_tokens,
    stored_map,
)
from etab.backbones.own.inputs import Clip, Frames, InputKind, Sound
from etab.errors import UndefinedError, UnsupportedOptionError
from etab.types import Features

# Number of axes of an output, by the input: vectors (n, d), steps or tokens (n, t, d), maps (n, c, h, w).
_AXES = {"Frames": (2, 3, 4), "Clip": (2, 3), "Sound": (2, 3)}
_WANTED = {
    "Frames": "vectors ({n}, d), maps ({n}, c, h, w) or the tokens of a square grid ({n}, t, d)",
    "Clip": "vectors ({n}, d) or steps over time ({n}, t, d)",
    "Sound": "vectors ({n}, d) or steps over time ({n}, t, d)",
}
# How much less of a part may lie before the first step than after the last one, or the reverse.
_UNEVEN = 0.1
_ROWS = {"Frames": "frames", "Clip": "clips", "Sound": "parts of a recording"}


def layers_of(output: object, n: int, name: str, kind: InputKind) -> dict[str, Tensor]:
    """Check the output of a function, and name its layers.

    Args:
        output: An array, or a dict of arrays by layer.
        n: Number of rows of the input.
        name: Name of the backbone, for errors.
        kind: The input of the function.

    Returns:
        float32 tensors by layer. The layer of a single array is called "out".

    Raises:
        UnsupportedOptionError: The output is not an array of numbers, or has another shape.
        UndefinedError: The output holds NaN or infinity.
    """
    named = output if isinstance(output, Mapping) else {"out": output}
    if not named:
        raise UnsupportedOptionError(f"{name} returned an empty dict; wanted one layer or more.")
    layers: dict[str, Tensor] = {}
    for layer, values in named.items():
        if not is_layer_name(layer):
            raise UnsupportedOptionError(
                f"{name} returned a layer called {reprlib.repr(layer)}; wanted a name of 1 to "
                f"{LONGEST_LAYER_NAME} printable characters, without '/'."
            )
        layers[layer] = _checked(values, n, f"{name}, layer {layer!r}", kind)
    return layers


def _checked(values: object, n: int, what: str, kind: InputKind) -> Tensor:
    """Check one layer and convert it to float32."""
    input_name = type(kind).__name__
    wanted = _WANTED[input_name].format(n=n)
    if isinstance(values, np.ma.MaskedArray):
        raise UnsupportedOptionError(
            f"{what}: the function returned a masked array; wanted a number everywhere, {wanted}: "
            "fill what is masked (values.filled(0))."
        )
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        with np.errstate(over="ignore"):  # what is too large becomes infinity, and is refused below
            values = torch.from_numpy(np.ascontiguousarray(values, np.float32))
    if not isinstance(values, Tensor) or _is_no_array(values):
        dtype = f" of {values.dtype}" if hasattr(values, "dtype") else ""
        if isinstance(values, Tensor) and values.layout != torch.strided:
            dtype = f" with the layout {values.layout}"
        if isinstance(values, Tensor) and values.is_meta:
            dtype = " on the device 'meta', which holds no values"
        raise UnsupportedOptionError(
            f"{what}: the function returned {type(values).__name__}{dtype}; wanted a torch tensor "
            f"or a numpy array of real numbers, {wanted}, or a dict of these by layer."
        )
    shape = tuple(values.shape)
    if len(shape) not in _AXES[input_name] or 0 in shape[1:]:
        raise UnsupportedOptionError(
            f"{what}: the function returned shape {shape} for {n} {_ROWS[input_name]}; "
            f"wanted {wanted}."
        )
    if isinstance(kind, Frames) and len(shape) == 3 and side_of_tokens(shape[1], kind.size) == 0:
        raise UnsupportedOptionError(
            f"{what}: the function returned {shape[1]} tokens (shape {shape}), which are not a "
            f"square grid over {kind.size} px, with or without up to {MOST_PREFIX} tokens before "
            f"it; wanted {wanted}."
        )
    if shape[0] != n:
        raise UnsupportedOptionError(
            f"{what}: the function returned {shape[0]} rows (shape {shape}) for {n} "
            f"{_ROWS[input_name]}; wanted {wanted}, in the order of the input."
        )
    # A copy: the function may fill the same array again in its next call.
    numbers = values.detach().to(torch.float32, copy=True)
    finite = torch.isfinite(numbers.flatten(1)).all(1)
    if not bool(finite.all()):
        raise UndefinedError(
            f"{what}: the function returned NaN or infinity in {int((~finite).sum())} of {n} rows. "
            "Check its normalisation, and whether it divides by the spread of a constant input."
        )
    if isinstance(kind, Sound) and numbers.ndim == 3:
        _require_covered(numbers.shape[1], what, kind)
    return numbers


def _require_covered(steps: int, what: str, kind: Sound) -> None:
    """Refuse steps whose times, as the input gives them, do not span a part."""
    if kind.hop is None:
        return
    first = kind.hop / 2 if kind.first is None else kind.first
    last = first + (steps - 1) * kind.hop
    wanted = kind.seconds - first  # what is before the first step is after the last one
    if abs(last - wanted) > max(2 * kind.hop, _UNEVEN * kind.seconds):
        raise UnsupportedOptionError(
            f"{what}: {steps} steps, one every {kind.hop:g} s starting at {first:g} s, end at "
            f"{last:g} s, but a part lasts {kind.seconds:g} s; wanted about {wanted:g} s. Correct "
            "hop= and first= of etab.Sound, or leave hop= out where steps divide the part evenly."
        )


def _is_no_array(values: Tensor) -> bool:
    """Whether a tensor does not hold a real number at each of its places."""
    is_other = values.is_complex() or values.is_quantized or values.is_meta or values.is_nested
    return is_other or values.layout != torch.strided


class SameShapes:
    """Checks that every batch has the layers and widths of the first one.

    Args:
        name: Name of the backbone, for errors.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._first: dict[str, tuple[int, ...]] = {}

    def check(self, layers: Mapping[str, Tensor]) -> None:
        """Compare a batch with the first one.

        Args:
            layers: Layers of a batch, as from ``layers_of``.

        Raises:
            UnsupportedOptionError: The batch has other layers or shapes.
        """
        shapes = {layer: tuple(values.shape[1:]) for layer, values in layers.items()}
        if not self._first:
            self._first = shapes
        if list(shapes) != list(self._first):
            raise UnsupportedOptionError(
                f"{self.name}: the layers of two batches differ: {list(self._first)} in the first "
                f"one, {list(shapes)} in a later one. Return the same layers in the same order."
            )
        if shapes != self._first:
            raise UnsupportedOptionError(
                f"{self.name}: the shapes of a row differ between two batches: "
                f"{self._first} in the first one, {shapes} in a later one. "
                "The shape of the output must not depend on the values of the input."
            )


def features_of(layers: Mapping[str, Tensor], kind: InputKind) -> Features:
    """Pool checked layers.

    Args:
        layers: Layers of a batch, as from ``layers_of``.
        kind: The input of the function.

    Returns:
        "<layer>/vector" of vectors; "<layer>/mean" and "<layer>/mean+std" of steps;
        "<layer>/mean" and "<layer>/grid4" of maps, with the maps from fine to coarse. Tokens of
        frames are a map, and "<layer>/cls" where others precede the grid. The steps of the last
        layer of clips are the sequence of the clip.
    """
    pooled: dict[str, Tensor] = {}
    maps: list[Tensor] = []
    sequences: dict[str, Any] = {}
    for layer, values in layers.items():
        if values.ndim == 2:
            pooled[f"{layer}/vector"] = values
        elif values.ndim == 3 and not isinstance(kind, Frames):
            mean = values.mean(1)
            pooled[f"{layer}/mean"] = mean
            pooled[f"{layer}/mean+std"] = torch.cat([mean, values.std(1, correction=0)], 1)
            if isinstance(kind, Clip):
                sequences = {layer: values}
        else:
            grid = values
            if values.ndim == 3 and isinstance(kind, Frames):
                grid, token = map_of_tokens(values, side_of_tokens(values.shape[1], kind.size))
                if token is not None:
                    pooled[f"{layer}/cls"] = token
            pooled[f"{layer}/mean"], pooled[f"{layer}/grid4"] = map_means(grid)
            maps.append(stored_map(grid))
    maps.sort(key=lambda grid: grid.shape[2], reverse=True)
    return Features(pooled, tuple(maps), sequences=sequences)


def strides_of(layers: Mapping[str, Tensor], kind: InputKind) -> tuple[int, ...]:
    """List the strides of maps, fine to coarse.

    Args:
        layers: Output of the layers; maps are (n, c, h, w), and tokens (n, t, d).
        kind: The input of the backbone.

    Returns:
        Strides in input pixels; () without maps, or for another input than frames.
    """
    if not isinstance(kind, Frames):
        return ()
    sides = [values.shape[2] for values in layers.values() if values.ndim == 4]
    tokens = [values.shape[1] for values in layers.values() if values.ndim == 3]
    sides += [side_of_tokens(n_tokens, kind.size) for n_tokens in tokens]
    return tuple(round(kind.size / side) for side in sorted(sides, reverse=True))
