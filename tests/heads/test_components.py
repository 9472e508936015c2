"""The largest component of many masks at once is the one that each mask has by itself."""

from __future__ import annotations

import numpy as np
import pytest

from etab.echo.surface import largest
from etab.heads.masks.components import largest_of_each, packed, pixels_of, unpacked
from etab.types import Array


def made_masks(height: int, width: int) -> Array:
    """Blots of many sizes, noise, a snake, a chess board, an empty mask and a full one."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((60, height, width))
    smooth = noise.copy()
    for axis in (1, 2):
        smooth = smooth + np.roll(smooth, 1, axis) + np.roll(smooth, -1, axis)
    smooth /= smooth.std()
    snake = np.zeros((height, width), dtype=bool)
    snake[::2] = True
    snake[1::4, -1] = snake[3::4, 0] = True
    board = np.indices((height, width)).sum(axis=0) % 2 == 0
    rest = [snake, snake[::-1], snake[:, ::-1], board, np.zeros_like(snake), np.ones_like(snake)]
    return np.concatenate([smooth > 0, smooth > 0.8, smooth > -0.5, noise > 0, np.stack(rest)])


@pytest.mark.parametrize("shape", [(56, 56), (5, 63), (30, 1), (1, 20)])
def test_the_largest_of_each_is_that_of_one_mask(shape: tuple[int, int]) -> None:
    masks = made_masks(*shape)
    rows = packed(masks)
    assert np.array_equal(unpacked(rows, shape[1]), masks)
    assert np.array_equal(pixels_of(rows), masks.sum(axis=2))
    found = unpacked(largest_of_each(rows, shape[1]), shape[1])
    assert np.array_equal(found, np.stack([largest(mask) for mask in masks]))


def test_rows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="64 pixels; at most 63"):
        packed(np.zeros((2, 64), dtype=bool))
