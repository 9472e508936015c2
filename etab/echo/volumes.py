"""Left-ventricular volume and EF from masks: biplane discs (modified Simpson) in two conventions,
and area-length.

"standard" is the clinical rule (Lang et al., J Am Soc Echocardiogr 28:1-39, 2015): twenty discs
along the long axis of each phase, the longer of the two views. "camus" is the rule by which CAMUS
made its EF labels: one disc height, that of the longest of the four long axes, for both phases and
both views, so that the shortening of the long axis is left out and EF comes out lower.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etab.errors import UndefinedError, UnsupportedOptionError
from etab.registry import unknown
from etab.types import Array, FloatArray

DISCS = 20
CONVENTIONS = ("standard", "camus")


@dataclass(frozen=True, slots=True)
class LongAxis:
    """The ventricle of one picture in mm: diameters (DISCS,) from base to apex, length, and area in
    mm2.
    """

    diameters: FloatArray
    length: float
    area: float


def long_axis(lv: Array, la: Array | None, spacing: tuple[float, float]) -> LongAxis:
    """Measure one boolean LV mask (h, w), apex up; ``spacing`` is (row, column) in mm.

    The base is the LV's border with the left atrium ``la`` (h, w); its middle and the point of the
    LV farthest from it are the ends of the long axis. Where no atrium is given or none touches, the
    base is the lowest 3 % of the LV along its main axis. A diameter is the area of a slab across
    the axis over its height. Raises UndefinedError for an empty mask.
    """
    points = np.argwhere(lv) * np.asarray(spacing)
    if len(points) < DISCS:
        raise UndefinedError(f"A left ventricle of {len(points)} pixels has no long axis.")
    middle = _base(lv, la) * np.asarray(spacing)
    apex = points[np.linalg.norm(points - middle, axis=1).argmax()]
    length = float(np.linalg.norm(apex - middle))
    along = (points - middle) @ ((apex - middle) / length)
    pixel = float(np.prod(spacing))
    slabs = np.clip((along / length * DISCS).astype(int), 0, DISCS - 1)
    areas = np.bincount(slabs, minlength=DISCS) * pixel
    return LongAxis(areas / (length / DISCS), length, float(len(points) * pixel))


def _base(lv: Array, la: Array | None) -> FloatArray:
    """Middle (row, column) of the border with the atrium: half way between its two ends."""
    touching = np.empty((0, 2))
    if la is not None:
        near = np.pad(la, 1)
        around = near[:-2, 1:-1] | near[2:, 1:-1] | near[1:-1, :-2] | near[1:-1, 2:]
        touching = np.argwhere(lv & around).astype(np.float64)
    if len(touching) < 3:
        points = np.argwhere(lv).astype(np.float64)
        down = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2][0]
        low = points @ (down if down[0] > 0 else -down)
        touching = points[low >= np.quantile(low, 0.97)]
    centred = touching - touching.mean(axis=0)
    direction = np.linalg.svd(centred, full_matrices=False)[2][0]
    along = centred @ direction
    return np.asarray((touching[along.argmin()] + touching[along.argmax()]) / 2)


def biplane_ef(
    ed: tuple[LongAxis, LongAxis], es: tuple[LongAxis, LongAxis], *, convention: str = "standard"
) -> tuple[float, float, float]:
    """(EDV ml, ESV ml, EF %) from the two views of each phase, (2-chamber, 4-chamber).

    Raises UnknownNameError for a convention that is not in ``CONVENTIONS``.
    """
    if convention not in CONVENTIONS:
        raise unknown("convention of volumes", convention, CONVENTIONS)
    longest = max(axis.length for axis in (*ed, *es))
    edv, esv = (
        _discs(views, max(v.length for v in views) if convention == "standard" else longest)
        for views in (ed, es)
    )
    return edv, esv, ejection_fraction(edv, esv)


def _discs(views: tuple[LongAxis, LongAxis], length: float) -> float:
    product = views[0].diameters * views[1].diameters
    return float(np.pi / 4 * product.sum() * length / DISCS / 1000)


def area_length(axis: LongAxis) -> float:
    """Volume in ml of one view by the area-length rule, 8 A^2 / (3 pi L)."""
    return float(8 * axis.area**2 / (3 * np.pi * axis.length) / 1000)


def ejection_fraction(edv: float, esv: float) -> float:
    """EF in %; raises UndefinedError where there is no end-diastolic volume."""
    if edv <= 0:
        raise UndefinedError(f"EF of an end-diastolic volume of {edv:g} ml does not exist.")
    return 100 * (edv - esv) / edv


def phases_by_area(areas: Sequence[float]) -> tuple[int, int]:
    """(ED, ES) indexes of a cycle: the largest and the smallest ventricle. Raises for fewer than
    two pictures.
    """
    if len(areas) < 2:
        raise UnsupportedOptionError(f"ED and ES need two pictures, got {len(areas)}.")
    return int(np.argmax(areas)), int(np.argmin(areas))
