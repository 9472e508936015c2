"""Frames that are not squares as square inputs, and feature maps mapped back to the frames.

Heads take it that a feature map covers the frame. A letterbox adds a border to the input, and a
crop cuts borders off, so that the maps of such inputs are resampled to the frame before anything
reads them: the border of a letterbox is left out, and outside a crop the nearest cell is repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from etab.backbones.base import SQUASH, Backbone, BackboneCard
from etab.backbones.video.contract import resize_by_pillow
from etab.errors import UnsupportedOptionError
from etab.types import Array, Features, FloatArray


@dataclass(frozen=True, slots=True)
class Box:
    """Where a frame lies in its square input, in shares of the side of the input.

    A crop has negative corners, because the frame is larger than the input.

    Attributes:
        top: Upper edge of the frame.
        left: Left edge of the frame.
        height: Height of the frame.
        width: Width of the frame.
    """

    top: float = 0.0
    left: float = 0.0
    height: float = 1.0
    width: float = 1.0


def fitted(frame: Array, size: int, interpolation: str, fit: str) -> tuple[Array, Box]:
    """Make a square input of a frame.

    Args:
        frame: uint8 (h, w).
        size: Side of the input in pixels.
        interpolation: How pixels are resized, as in ``resized``.
        fit: One of ``etab.backbones.base.FITS``.

    Returns:
        The input, uint8 (size, size), and where the frame lies in it.

    Example:
        >>> wide = np.full((50, 100), 7, dtype=np.uint8)
        >>> picture, box = fitted(wide, 64, "bilinear", "letterbox")
        >>> int((picture == 7).sum()) == 32 * 64, box.top, box.height
        (True, 0.25, 0.5)
    """
    h, w = frame.shape[:2]
    if fit == SQUASH or h == w:
        return resized(frame, size, size, interpolation), Box()
    if fit == "crop":
        side = min(h, w)
        top = (h - side) // 2
        left = (w - side) // 2
        square = np.ascontiguousarray(frame[top : top + side, left : left + side])
        box = Box(-top / side, -left / side, h / side, w / side)
        return resized(square, size, size, interpolation), box
    height = max(1, round(size * h / max(h, w)))
    width = max(1, round(size * w / max(h, w)))
    top = (size - height) // 2
    left = (size - width) // 2
    picture = np.zeros((size, size, *frame.shape[2:]), dtype=frame.dtype)
    content = resized(frame, height, width, interpolation)
    picture[top : top + height, left : left + width] = content
    return picture, Box(top / size, left / size, height / size, width / size)


def resized(frame: Array, height: int, width: int, interpolation: str) -> Array:
    """Resize a uint8 frame, ignoring its aspect ratio.

    Args:
        frame: A frame (h, w), uint8.
        height: Height of the result in pixels.
        width: Width of the result in pixels.
        interpolation: "bilinear" to average pixels by area where the frame shrinks, and to
            interpolate linearly otherwise; "pillow <filter>" for a filter of Pillow.
    """
    import cv2

    library, _, filter_name = interpolation.partition(" ")
    if library == "pillow":
        return resize_by_pillow(frame, (height, width), filter_name)

    if frame.shape == (height, width):
        return frame
    shrinks = frame.shape[0] >= height and frame.shape[1] >= width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame, (width, height), interpolation=method))


def axis_to_frame(cells: int, start: float, length: float) -> FloatArray:
    """Compute the weights that resample one axis of a map from the input to the frame.

    Only cells whose centre lies in the frame have weights; where there is none, the cell nearest
    to the middle of the frame has.

    Args:
        cells: Cells of the map on this axis.
        start: Edge of the frame, in shares of the input.
        length: Length of the frame, in shares of the input.

    Returns:
        (cells, cells); each row sums to 1.

    Example:
        >>> axis_to_frame(4, 0.25, 0.5).argmax(axis=1).tolist()
        [1, 1, 2, 2]
    """
    # Positions are in cells, 0 at the centre of the first.
    first = max(0, int(np.ceil(start * cells - 0.5)))
    last = min(cells - 1, int(np.floor((start + length) * cells - 0.5)))
    if first > last:
        middle = int((start + length / 2) * cells)
        first = min(max(middle, 0), cells - 1)
        last = first
    centres = (np.arange(cells) + 0.5) / cells
    wanted = np.clip((start + length * centres) * cells - 0.5, first, last)
    low = np.minimum(wanted.astype(int), last)
    high = np.minimum(low + 1, last)
    share = wanted - low
    weights = np.zeros((cells, cells), dtype=np.float32)
    rows = np.arange(cells)
    weights[rows, low] += 1 - share
    weights[rows, high] += share
    return weights


def to_frames(values: Any, boxes: Sequence[Box]) -> Any:
    """Map feature maps of inputs back to the frames.

    Args:
        values: Torch tensor (n, c, h, w).
        boxes: Where each frame lies in its input.

    Returns:
        A tensor of the same shape and type whose cells cover the frame.
    """
    import torch

    h, w = values.shape[2:]
    rows = np.stack([axis_to_frame(h, box.top, box.height) for box in boxes])
    columns = np.stack([axis_to_frame(w, box.left, box.width) for box in boxes])
    of_rows = torch.from_numpy(rows).to(values.device)
    of_columns = torch.from_numpy(columns).to(values.device)
    wide = values.float()
    tall = torch.einsum("nij,ncjk->ncik", of_rows, wide)
    return torch.einsum("nkl,ncil->ncik", of_columns, tall).to(values.dtype)


class OnFrames:
    """A backbone whose maps are mapped back to the frames of its batches, in their order."""

    def __init__(self, backbone: Backbone, boxes: Iterator[Sequence[Box]]) -> None:
        """Take a backbone, and for each batch, in order, where its frames lie."""
        self.backbone = backbone
        self.outputs_are_new = bool(getattr(backbone, "outputs_are_new", False))
        self._boxes = boxes

    def digest(self) -> str:
        """Return the sha256 of the weights of the backbone."""
        return self.backbone.digest()

    def __call__(self, x: Any) -> Features:
        """Embed the next batch (n, s, s), uint8."""
        boxes = next(self._boxes)
        features = self.backbone(x)
        maps = tuple(to_frames(values, boxes) for values in features.maps)
        return replace(features, maps=maps)


def require_squash(card: BackboneCard) -> None:
    """Raise UnsupportedOptionError for a fit of frames where inputs are pictures of sound.

    Args:
        card: The backbone.
    """
    if card.fit != SQUASH:
        raise UnsupportedOptionError(
            f"{card.name}: --fit {card.fit} is for frames of a picture, and pictures of sound are "
            "made at the size of the network. Leave --fit out."
        )
