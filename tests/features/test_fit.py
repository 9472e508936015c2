"""Frames as square inputs, and feature maps mapped back to the frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from etab import backbones
from etab.features.fit import Box, axis_to_frame, fitted, to_frames
from etab.features.frames import frame_features
from etab.types import Record

SHAPES = [(50, 100), (100, 50), (37, 90), (64, 64), (3, 200)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("interpolation", ["bilinear", "pillow bicubic"])
def test_a_letterbox_keeps_the_aspect_ratio_and_adds_black(
    shape: tuple[int, int], interpolation: str
) -> None:
    frame = np.full(shape, 200, dtype=np.uint8)
    picture, box = fitted(frame, 64, interpolation, "letterbox")
    rows = np.flatnonzero(picture.any(axis=1))
    columns = np.flatnonzero(picture.any(axis=0))
    assert picture.shape == (64, 64)
    assert (rows[0] / 64, len(rows) / 64) == (box.top, box.height)
    assert (columns[0] / 64, len(columns) / 64) == (box.left, box.width)
    assert max(len(rows), len(columns)) == 64
    assert abs(len(rows) - 64 * shape[0] / max(shape)) <= 1


def test_a_crop_is_the_middle_square() -> None:
    frame = np.zeros((40, 100), dtype=np.uint8)
    frame[:, 30:70] = 255
    picture, box = fitted(frame, 40, "bilinear", "crop")
    assert picture.min() == 255
    assert box == Box(0.0, -0.75, 1.0, 2.5)


@pytest.mark.parametrize("shape", SHAPES[:4])
@pytest.mark.parametrize("fit", ["squash", "letterbox", "crop"])
def test_maps_of_an_input_lie_on_the_frame(shape: tuple[int, int], fit: str) -> None:
    # A map whose values are positions in the frame: what is mapped back must be those positions.
    cells = 64
    _, box = fitted(np.zeros(shape, dtype=np.uint8), 256, "bilinear", fit)
    of_input = (np.arange(cells) + 0.5) / cells
    down = (of_input - box.top) / box.height
    across = (of_input - box.left) / box.width
    grid = torch.from_numpy(np.stack(np.meshgrid(down, across, indexing="ij")))[None]
    came = to_frames(grid, [box])[0].numpy()
    wanted = (np.arange(cells) + 0.5) / cells
    inside = np.ones(cells, dtype=bool)
    if fit == "crop":
        inside = np.abs(wanted - 0.5) < 0.5 * min(shape) / max(shape) - 1 / cells
    tolerance = 1 / cells / min(box.height, box.width, 1) + 1e-6
    assert np.abs(came[0] - wanted[:, None])[inside].max() <= tolerance
    assert np.abs(came[1] - wanted)[:, inside].max() <= tolerance


def test_the_border_of_a_letterbox_never_enters_a_map() -> None:
    for height in np.linspace(0.02, 1, 40):
        top = (1 - height) / 2
        for cells in (1, 4, 7, 28):
            centres = (np.arange(cells) + 0.5) / cells
            is_content = (centres >= top) & (centres <= top + height)
            weights = axis_to_frame(cells, top, height)
            np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
            if is_content.any():
                assert not weights[:, ~is_content].any()


def test_a_frame_that_fills_its_input_keeps_its_map() -> None:
    values = torch.rand(2, 3, 7, 7)
    assert torch.equal(to_frames(values, [Box(), Box()]), values)


class TwoShapes:
    """Frames of two shapes whose grey level is the height in the frame."""

    shapes = ((50, 100), (100, 40))

    def frames(self, record: Record, numbers: list[int]) -> list[np.ndarray]:
        h, w = self.shapes[numbers[0] % 2]
        levels = np.linspace(0, 250, h).round().astype(np.uint8)
        return [np.repeat(levels[:, None], w, axis=1)]


def test_features_of_frames_of_several_shapes_lie_on_each_frame(tmp_path: Path) -> None:
    plain = backbones.from_callable("cells", lambda x: functional.avg_pool2d(x, 4), size=64)
    keys = [(Record("a", "p", "A4C"), i) for i in range(5)]
    maps = {}
    settings = set()
    for fit in ("squash", "letterbox", "crop"):
        card = backbones.sized(plain, None, fit)
        embedded = frame_features(
            TwoShapes(),  # type: ignore[arg-type]
            keys,
            card,
            cache=tmp_path,
            batch_size=2,
            data_digest="0" * 64,
        )
        maps[fit] = np.asarray(embedded.features.maps[0][:]).astype(np.float64)
        settings.add(embedded.key)
    assert len(settings) == 3
    # The grey level of the cells is their height in the frame, with and without a border.
    for i in range(5):
        difference = np.abs(maps["letterbox"][i] - maps["squash"][i])
        assert difference.max() < 0.07
        assert maps["letterbox"][i][:, :, 0].std() > 0.2
    upright = np.abs(maps["crop"][1] - maps["squash"][1])[:, 7:9]
    assert upright.max() < 0.07
