"""Means of feature maps and their storage: the same in parts as in one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from etab.backbones.maps import LARGEST, KeptMaps, map_means, side_of_tokens, stored_map


def grids(sides: tuple[int, int], dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 3, *sides, generator=generator).mul(100).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("sides", [(8, 8), (7, 5), (1, 2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_means_are_those_of_one_copy_in_float32(
    sides: tuple[int, int], dtype: torch.dtype, layout: torch.memory_format
) -> None:
    grid = grids(sides, dtype).contiguous(memory_format=layout)
    mean, cells = map_means(grid)
    wide = grid.float()
    assert torch.equal(mean, wide.mean((2, 3)))
    assert torch.equal(cells, adaptive_avg_pool2d(wide, 4).flatten(1))
    assert mean.dtype == cells.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_stored_map_is_limited_and_in_memory_of_its_own(dtype: torch.dtype) -> None:
    values = torch.tensor([0.0, 1.5, -1e9, 1e9, 6.2e4, float("inf"), float("nan")]).to(dtype)
    known = values.clone()
    stored = stored_map(values)
    assert torch.equal(values.nan_to_num(7), known.nan_to_num(7)), "the argument is left as it was"
    assert stored.dtype == torch.float16
    assert torch.equal(
        stored.nan_to_num(7), values.float().clamp(-LARGEST, LARGEST).half().nan_to_num(7)
    )
    values.zero_()
    assert stored[1] == 1.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sides", [(8, 12), (7, 5), (1, 2)])
def test_maps_with_channels_side_by_side_are_kept_as_others(
    sides: tuple[int, int], dtype: torch.dtype
) -> None:
    grid = grids(sides, dtype)
    grid[0, 0, 0, 0] = 1e9
    kept = KeptMaps((5, *sides, 3))
    for first in (2, 0):
        kept.put(first, grid[first : first + 2 + first].permute(0, 2, 3, 1).contiguous())
    mean, cells = map_means(grid)
    assert torch.equal(kept.stored, stored_map(grid))
    assert torch.allclose(kept.mean, mean, rtol=1e-5, atol=1e-4)
    assert torch.allclose(kept.cells, cells, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "patch", "prefix"),
    [
        (224, 16, 0),
        (224, 16, 1),
        (224, 14, 5),
        (518, 14, 1),
        (512, 16, 8),
        (224, 32, 2),
    ],
)
def test_the_grid_of_tokens_is_that_of_their_patches(size: int, patch: int, prefix: int) -> None:
    side = size // patch
    assert side_of_tokens(side * side + prefix, size) == side


@pytest.mark.parametrize("n_tokens", [9 + 196, 3, 9, 32, 768, 512])
def test_tokens_that_are_no_grid(n_tokens: int) -> None:
    assert side_of_tokens(n_tokens, 224) == 0
