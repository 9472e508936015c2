"""Beamspace pictures (depth by angle) as pictures in millimetres, and points in both.

A row of a beamspace picture is a distance from the probe, a column an angle. A point is (x, y): x
sideways and y in depth, in metres from the probe.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etab.types import Array, FloatArray


@dataclass(frozen=True, slots=True)
class SectorGeometry:
    """The sector that a beamspace picture covers.

    Attributes:
        depth: Distance of the first and the last row, in metres.
        angle: Angle of the first and the last column, in radians; 0 is straight down.
    """

    depth: tuple[float, float]
    angle: tuple[float, float]

    @property
    def box(self) -> tuple[float, float, float, float]:
        """The smallest rectangle around the sector: left, right, top, bottom, in metres."""
        angles = list(self.angle)
        if self.angle[0] < 0 < self.angle[1]:
            angles.append(0.0)
        radii = np.array(self.depth)[:, None]
        x = radii * np.sin(angles)
        y = radii * np.cos(angles)
        return float(x.min()), float(x.max()), float(y.min()), float(y.max())


def screen_size(geometry: SectorGeometry, height: int) -> tuple[int, int]:
    """Compute the size of a picture with square pixels that shows the whole sector.

    Args:
        geometry: The sector.
        height: Rows of the picture.

    Returns:
        (rows, columns).
    """
    left, right, top, bottom = geometry.box
    width = round(height * (right - left) / (bottom - top))
    return height, max(int(width), 1)


def scan_converted(
    frames: Array,
    geometry: SectorGeometry,
    height: int,
) -> Array:
    """Convert beamspace frames to pictures, by linear interpolation; 0 outside the sector.

    Args:
        frames: uint8 (k, depths, angles).
        geometry: The sector that they cover.
        height: Rows of the pictures.

    Returns:
        uint8 (k, height, columns).
    """
    import cv2

    rows, columns = screen_size(geometry, height)
    left, right, top, bottom = geometry.box
    x = np.linspace(left, right, columns)[None, :]
    y = np.linspace(top, bottom, rows)[:, None]
    radius = np.hypot(x, y)
    angle = np.arctan2(x, y)
    first_depth, last_depth = geometry.depth
    first_angle, last_angle = geometry.angle
    depths, angles = frames.shape[1:]
    from_row = (radius - first_depth) / (last_depth - first_depth) * (depths - 1)
    from_column = (angle - first_angle) / (last_angle - first_angle) * (angles - 1)
    is_inside = (radius >= first_depth) & (radius <= last_depth)
    is_inside &= (angle >= first_angle) & (angle <= last_angle)
    out = np.zeros((len(frames), rows, columns), np.uint8)
    for i, picture in enumerate(frames):
        sampled = cv2.remap(
            picture.astype(np.float32),
            from_column.astype(np.float32),
            from_row.astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        out[i] = np.where(is_inside, np.rint(sampled).clip(0, 255), 0)
    return out


def on_screen_pixels(
    points: FloatArray,
    geometry: SectorGeometry,
    height: int,
) -> FloatArray:
    """Convert points in metres to pixels of ``scan_converted``.

    Args:
        points: (n, 2) x, y in metres.
        geometry: The sector.
        height: Rows of the picture.

    Returns:
        (n, 2) column, row.
    """
    rows, columns = screen_size(geometry, height)
    left, right, top, bottom = geometry.box
    x = (points[:, 0] - left) / (right - left) * (columns - 1)
    y = (points[:, 1] - top) / (bottom - top) * (rows - 1)
    return np.stack([x, y], axis=1)


def polygon_mask(points: FloatArray, shape: tuple[int, int]) -> Array:
    """Fill a closed outline, its boundary included.

    Args:
        points: (n, 2) column, row of the corners.
        shape: Rows and columns of the mask.

    Returns:
        Boolean mask.

    Example:
        >>> int(polygon_mask(np.array([[1, 1], [3, 1], [3, 3], [1, 3]]), (5, 5)).sum())
        9
    """
    import cv2

    bits = 4
    corners = np.rint(np.asarray(points) * (1 << bits)).astype(np.int32)
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [corners], 1, shift=bits)
    return mask > 0
