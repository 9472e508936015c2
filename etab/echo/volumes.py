"""Left-ventricular volume and EF from masks, by biplane discs or by area and length.

Biplane discs (modified Simpson) follow one of two conventions:

* "standard" is the clinical rule: in each phase, twenty discs along the longer of the two long
  axes. Source: Lang et al., J Am Soc Echocardiogr 28:1-39, 2015.
* "camus" is the rule behind the EF labels of CAMUS: both phases and views have the same disc
  height, from the longest of the four long axes. It ignores that the long axis shortens, so that
  the EF is lower.
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
    """The ventricle of one image.

    Attributes:
        diameters: (DISCS,) diameters from base to apex, in mm.
        length: The length of the long axis in mm.
        area: The area in mm2.
    """

    diameters: FloatArray
    length: float
    area: float


def long_axis(
    lv: Array,
    la: Array | None,
    spacing: tuple[float, float],
) -> LongAxis:
    """Measure the left ventricle in one image.

    The base is the border between the LV and the left atrium. The long axis connects the middle
    of the base with the point of the LV that is farthest from it. If the atrium is missing or
    does not touch the LV, the base is the lowest 3 % of the LV along its main axis. The diameter
    of a disc is the area of a slab across the axis divided by its height.

    Args:
        lv: Mask of the LV, boolean (h, w), apex up.
        la: Mask of the left atrium, boolean (h, w), or None.
        spacing: Height and width of a pixel in mm.

    Raises:
        UndefinedError: The mask has too few pixels.

    Example:
        >>> lv = np.zeros((100, 60), dtype=bool)
        >>> lv[10:90, 20:40] = True
        >>> axis = long_axis(lv, None, (1.0, 1.0))
        >>> round(axis.area), round(axis.length, 1)
        (1600, 77.6)
    """
    points = np.argwhere(lv) * np.asarray(spacing)
    if len(points) < DISCS:
        raise UndefinedError(f"A left ventricle of {len(points)} pixels has no long axis.")
    middle = _base(lv, la) * np.asarray(spacing)
    from_base = points - middle
    farthest = np.linalg.norm(from_base, axis=1).argmax()
    axis = from_base[farthest]
    length = float(np.linalg.norm(axis))
    along = from_base @ (axis / length)

    discs = (along / length * DISCS).astype(int)
    discs = np.clip(discs, 0, DISCS - 1)
    pixel = float(np.prod(spacing))
    areas = np.bincount(discs, minlength=DISCS) * pixel
    disc_height = length / DISCS
    area = float(len(points) * pixel)
    return LongAxis(areas / disc_height, length, area)


def _base(lv: Array, la: Array | None) -> FloatArray:
    """Return the middle (row, column) of the base: half way between its two ends."""
    base = np.empty((0, 2))
    if la is not None:
        padded = np.pad(la, 1)
        above_below = padded[:-2, 1:-1] | padded[2:, 1:-1]
        left_right = padded[1:-1, :-2] | padded[1:-1, 2:]
        beside_atrium = above_below | left_right
        base = np.argwhere(lv & beside_atrium).astype(np.float64)
    if len(base) < 3:
        points = np.argwhere(lv).astype(np.float64)
        long_direction = _main_direction(points)
        if long_direction[0] <= 0:
            long_direction = -long_direction  # from apex to base
        depth = points @ long_direction
        base = points[depth >= np.quantile(depth, 0.97)]
    along = (base - base.mean(axis=0)) @ _main_direction(base)
    first_end = base[along.argmin()]
    last_end = base[along.argmax()]
    return np.asarray((first_end + last_end) / 2)


def _main_direction(points: FloatArray) -> FloatArray:
    """Return the unit vector (2,) along which points (n, 2) spread most."""
    centred = points - points.mean(axis=0)
    directions = np.linalg.svd(centred, full_matrices=False)[2]
    return np.asarray(directions[0])


def biplane_ef(
    ed: tuple[LongAxis, LongAxis],
    es: tuple[LongAxis, LongAxis],
    *,
    convention: str = "standard",
) -> tuple[float, float, float]:
    """Compute volumes and EF by biplane discs.

    Args:
        ed: The ventricle at end-diastole in two-chamber and four-chamber view.
        es: The ventricle at end-systole in the same views.
        convention: A name in ``CONVENTIONS``; see the module's text.

    Returns:
        (EDV in ml, ESV in ml, EF in %).

    Raises:
        UnknownNameError: There is no such convention.
        UndefinedError: The end-diastolic volume is 0.

    Example:
        >>> wide = LongAxis(np.full(DISCS, 50.0), length=90.0, area=4500.0)
        >>> narrow = LongAxis(np.full(DISCS, 40.0), length=80.0, area=3200.0)
        >>> edv, esv, ef = biplane_ef((wide, wide), (narrow, narrow))
        >>> round(edv), round(esv), round(ef)
        (177, 101, 43)
    """
    if convention not in CONVENTIONS:
        raise unknown("convention of volumes", convention, CONVENTIONS)
    longest = max(axis.length for axis in (*ed, *es))
    volumes = []
    for views in (ed, es):
        length = None if convention == "standard" else longest
        volumes.append(biplane_volume(views, length))
    edv, esv = volumes
    return edv, esv, ejection_fraction(edv, esv)


def biplane_volume(views: tuple[LongAxis, LongAxis], length: float | None = None) -> float:
    """Compute the volume of elliptic discs with the diameters of two views.

    Args:
        views: The ventricle of one phase in two-chamber and four-chamber view.
        length: Height of all discs together in mm; None for the longer of the two long axes, the
            clinical rule.

    Returns:
        The volume in ml.

    Example:
        >>> axis = LongAxis(np.full(DISCS, 50.0), length=90.0, area=4500.0)
        >>> round(biplane_volume((axis, axis)))
        177
    """
    first, second = views
    if length is None:
        length = max(first.length, second.length)
    products = first.diameters * second.diameters
    cubic_mm = np.pi / 4 * products.sum() * length / DISCS
    return float(cubic_mm / 1000)


def area_length(axis: LongAxis) -> float:
    """Compute the volume of one view by the area-length rule, 8 A^2 / (3 pi L).

    Args:
        axis: The ventricle of the view.

    Returns:
        The volume in ml.
    """
    cubic_mm = 8 * axis.area**2 / (3 * np.pi * axis.length)
    return float(cubic_mm / 1000)


def ejection_fraction(edv: float, esv: float) -> float:
    """Compute the EF in % from two volumes.

    Args:
        edv: The end-diastolic volume in ml, above 0.
        esv: The end-systolic volume in ml.

    Raises:
        UndefinedError: ``edv`` is 0 or negative.

    Example:
        >>> ejection_fraction(120.0, 48.0)
        60.0
    """
    if edv <= 0:
        raise UndefinedError(f"EF of an end-diastolic volume of {edv:g} ml does not exist.")
    return 100 * (edv - esv) / edv


def phases_by_area(areas: Sequence[float]) -> tuple[int, int]:
    """Find ED and ES of a cycle as the images with the largest and the smallest ventricle.

    Args:
        areas: The area of the ventricle in each image, in any unit.

    Returns:
        The indexes (ED, ES).

    Raises:
        UnsupportedOptionError: There are fewer than two images.
    """
    if len(areas) < 2:
        raise UnsupportedOptionError(f"ED and ES need two images, got {len(areas)}.")
    return int(np.argmax(areas)), int(np.argmin(areas))
