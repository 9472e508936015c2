"""A synthetic heart in apical views, whose motion over the cycle follows the patient's EF.

Lengths are in mm. The probe is at (0, 0) at the top of the image, and y is depth. The left
ventricle (LV) is a stack of discs along its long axis: at a share t of the way from apex to base,
its half width is ``width * profile(t)``. Volumes are computed from the same discs (biplane
Simpson), and shortening and narrowing are solved for the EF, so that masks, volumes and EF agree
by construction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etab.types import Array, FloatArray

TRACED_DISCS = 20
BACKGROUND = 0
LV = 1
MY = 2
LA = 3
RIGHT = 4


def profile(t: FloatArray) -> FloatArray:
    """Compute the half width of the LV along its long axis, as a share of the largest half width.

    Args:
        t: Positions from the apex (0) to the mitral plane (1), of any shape.

    Returns:
        Shares from 0 to 1, in the shape of ``t``.

    Example:
        >>> profile(np.array([0.0, 0.6])).tolist()
        [0.0, 1.0]
    """
    from_widest = (np.asarray(t) - 0.6) / 0.6
    square = 1 - from_widest**2
    return np.asarray(np.sqrt(np.clip(square, 0, None)))


@dataclass(frozen=True, slots=True)
class Heart:
    """One synthetic patient at end-diastole.

    Attributes:
        ef: The ejection fraction in percent.
        length: The long axis of the LV in mm.
        widths: The largest half width of the LV in the two- and in the four-chamber view, in mm.
        wall: The thickness of the myocardium in mm.
        atrium: (half width, half height) of the left atrium in mm.
        right: The size of the right heart in mm.
        apex: (x, y) of the apex of the LV in mm.
        tilt: The tilt of the long axis in the two- and in the four-chamber view, in radians.
        bulge: The deviation of the long axis from a straight line in mm.
    """

    ef: float
    length: float
    widths: tuple[float, float]
    wall: float
    atrium: tuple[float, float]
    right: float
    apex: tuple[float, float]
    tilt: tuple[float, float]
    bulge: float

    @property
    def shortening(self) -> float:
        """Share of the long axis that is lost at end-systole."""
        return 0.25 * self.ef / 100

    @property
    def narrowing(self) -> float:
        """Width at end-systole divided by the width at end-diastole; it yields exactly this EF."""
        remaining_volume = 1 - self.ef / 100
        remaining_length = 1 - self.shortening
        return float(np.sqrt(remaining_volume / remaining_length))

    def volume(self, contraction: float) -> float:
        """Compute the LV volume from biplane discs.

        Args:
            contraction: From 0 (end-diastole) to 1 (end-systole).

        Returns:
            The volume in ml.
        """
        two_chamber = self.shape(0, contraction)
        four_chamber = self.shape(1, contraction)
        largest_area = np.pi * two_chamber.width * four_chamber.width
        areas = largest_area * profile(_disc_positions()) ** 2
        cubic_mm = areas.sum() * two_chamber.length / TRACED_DISCS
        return float(cubic_mm / 1000)

    def shape(self, view: int, contraction: float) -> Shape:
        """Compute the heart in one view at one moment.

        Args:
            view: 0 for two chambers, 1 for four chambers.
            contraction: From 0 (end-diastole) to 1 (end-systole).
        """
        length = self.length * (1 - self.shortening * contraction)
        narrow = 1 - (1 - self.narrowing) * contraction
        widest = self.widths[view]
        width = widest * narrow
        # The muscle keeps its area, so the wall thickens as the cavity shrinks.
        wall = self.wall * (self.length + widest) / (length + width)
        filling = 1 + 0.3 * contraction
        growth = filling**0.5
        half_width, half_height = self.atrium
        apex_x, apex_y = self.apex
        descent = 0.15 * (self.length - length)
        return Shape(
            length=length,
            width=width,
            wall=wall,
            atrium=(half_width * growth, half_height * growth),
            right=self.right,
            apex=(apex_x, apex_y + descent),
            tilt=self.tilt[view],
            bulge=self.bulge,
            view=view,
            narrow=narrow,
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """A heart in one view at one moment.

    Attributes:
        length: The long axis of the LV in mm.
        width: The largest half width of the LV in mm.
        wall: The thickness of the myocardium in mm.
        atrium: (half width, half height) of the left atrium in mm.
        right: The size of the right heart in mm.
        apex: (x, y) of the apex of the LV in mm.
        tilt: The tilt of the long axis in radians.
        bulge: The deviation of the long axis from a straight line in mm.
        view: 0 for two chambers, 1 for four chambers.
        narrow: ``width`` divided by the half width at end-diastole.
    """

    length: float
    width: float
    wall: float
    atrium: tuple[float, float]
    right: float
    apex: tuple[float, float]
    tilt: float
    bulge: float
    view: int
    narrow: float

    def local(self, x: Array, y: Array) -> tuple[FloatArray, FloatArray]:
        """Convert image coordinates to coordinates of the long axis, which is bent by ``bulge``.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.

        Returns:
            (across, along): distances from the long axis and from the apex, in mm.
        """
        apex_x, apex_y = self.apex
        dx = x - apex_x
        dy = y - apex_y
        cos = np.cos(self.tilt)
        sin = np.sin(self.tilt)
        along = cos * dy - sin * dx
        across = cos * dx + sin * dy
        return across - self._bend(along), along

    def image(self, across: Array, along: Array) -> tuple[FloatArray, FloatArray]:
        """Convert coordinates of the long axis to image coordinates; the inverse of ``local``.

        Args:
            across: Distances from the long axis, in mm.
            along: Distances from the apex along the axis, in mm, in the shape of ``across``.

        Returns:
            (x, y) in the image, in mm.
        """
        apex_x, apex_y = self.apex
        bent = across + self._bend(along)
        cos = np.cos(self.tilt)
        sin = np.sin(self.tilt)
        x = apex_x + cos * bent - sin * along
        y = apex_y + sin * bent + cos * along
        return x, y

    def _bend(self, along: Array) -> FloatArray:
        """Compute how far the long axis deviates from a straight line, in mm."""
        share = np.clip(along / self.length, 0, 1)
        return np.asarray(self.bulge * np.sin(np.pi * share))

    def labels(self, x: Array, y: Array) -> Array:
        """Label the structure at each point.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.

        Returns:
            uint8 in the shape of ``x``: 0 background, 1 LV, 2 myocardium, 3 left atrium, 4 right
            heart.
        """
        across, along = self.local(x, y)
        from_axis = np.abs(across)
        labels = np.zeros(x.shape, dtype=np.uint8)
        if self.view == 1:
            right_heart = self._right_heart(across, along)
            labels[right_heart] = RIGHT

        half_width, half_height = self.atrium
        centre = self.length + 3 + half_height
        atrium_across = across / half_width
        atrium_along = (along - centre) / half_height
        labels[(atrium_across**2 + atrium_along**2) < 1] = LA

        above_base = along < self.length
        outer_t = (along + self.wall) / (self.length + self.wall)
        outer_width = (self.width + self.wall) * profile(outer_t)
        below_outer_apex = along > -self.wall
        outer = (from_axis < outer_width) & below_outer_apex
        labels[outer & above_base] = MY

        below_apex = along > 0
        cavity = (from_axis < self._cavity_width(along)) & below_apex
        labels[cavity & above_base] = LV
        return labels

    def _cavity_width(self, along: Array) -> FloatArray:
        """Compute the half width of the cavity in mm, at distances ``along`` from the apex."""
        return self.width * profile(along / self.length)

    def bright(self, x: Array, y: Array) -> FloatArray:
        """Compute the extra echo of mitral leaflets, pericardium and endocardial border.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.

        Returns:
            Echo amplitudes from 0, in the shape of ``x``.
        """
        across, along = self.local(x, y)
        from_axis = np.abs(across)
        from_leaflets = along - self.length - 1.5 + 0.10 * from_axis
        between_hinges = from_axis < 1.15 * self.width
        leaflets = bell(from_leaflets, 1.6) * between_hinges

        from_border = from_axis - self._cavity_width(along)
        beside_cavity = (along > -2) & (along < self.length)
        border = bell(from_border, 1.3) * beside_cavity
        from_rim = from_border - 1.15 * self.wall
        rim = bell(from_rim, 1.8) * beside_cavity
        return np.asarray(0.45 * leaflets + 0.10 * border + 0.35 * rim)

    def _right_heart(self, across: FloatArray, along: FloatArray) -> Array:
        """Mark the right ventricle and atrium, which lie left of the septum in the image."""
        from_centre = across + (self.width + self.wall + 0.62 * self.right)

        ventricle_across = from_centre / (0.6 * self.right)
        ventricle_from_centre = along - 0.62 * self.length
        ventricle_along = ventricle_from_centre / (0.45 * self.length)
        ventricle = ventricle_across**2 + ventricle_along**2 < 1

        half_height = self.atrium[1]
        atrium_centre = self.length + 2 + half_height
        atrium_across = from_centre / (0.75 * self.right)
        atrium_along = (along - atrium_centre) / half_height
        atrium = atrium_across**2 + atrium_along**2 < 1

        septum = -self._cavity_width(along) - self.wall
        left_of_septum = across < septum
        return np.asarray((ventricle | atrium) & left_of_septum)

    def material(self, x: Array, y: Array) -> tuple[FloatArray, FloatArray]:
        """Estimate where the tissue at each point was at end-diastole; speckle moves with it.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.

        Returns:
            Two coordinates of the tissue in mm, each in the shape of ``x``.
        """
        across, along = self.local(x, y)
        from_wall = np.abs(across) - self.width
        near_wall = bell(from_wall, 2.5 * self.wall)
        widening = 1 / self.narrow - 1
        return across * (1 + near_wall * widening), along

    def trace(self) -> FloatArray:
        """Trace the LV as EchoNet-Dynamic does: the long axis, then discs from apex to base.

        Returns:
            (1 + TRACED_DISCS, 4): x1, y1, x2, y2 of each line in mm.
        """
        positions = _disc_positions()
        half_widths = self.width * profile(positions)
        along = positions * self.length
        left_ends = self.image(-half_widths, along)
        right_ends = self.image(half_widths, along)
        on_axis = np.zeros(1)
        top = self.image(on_axis, np.zeros(1))
        foot = self.image(on_axis, np.full(1, self.length))
        axis = np.stack([*top, *foot], axis=1)
        discs = np.stack([*left_ends, *right_ends], axis=1)
        return np.concatenate([axis, discs])


def _disc_positions() -> FloatArray:
    """Return the middle of each traced disc, as a share of the way from apex to base."""
    return np.asarray((np.arange(TRACED_DISCS) + 0.5) / TRACED_DISCS)


def bell(distance: Array, width: float) -> FloatArray:
    """Compute a Gaussian bell of height 1 around distance 0.

    Args:
        distance: Distances from the middle of the bell, of any shape.
        width: The distance at which the bell has fallen to 1 / e, in the unit of ``distance``.

    Returns:
        Values from 0 to 1, in the shape of ``distance``.

    Example:
        >>> bell(np.array([0.0, 100.0]), 2.0).tolist()
        [1.0, 0.0]
    """
    share = distance / width
    return np.asarray(np.exp(-(share**2)))


def draw_heart(rng: np.random.Generator) -> Heart:
    """Draw a synthetic patient.

    The EF is about 50 % with a long lower tail. Hearts with a lower EF are larger, as in patients.

    Args:
        rng: The source of randomness.
    """
    ef = float(np.clip(rng.normal(51, 14), 12, 78))
    dilation = 1 + 0.0045 * (50 - ef) + rng.normal(0, 0.07)
    width = 22.5 * dilation * _factor(rng, 0.06)
    length = 84 * dilation**0.5 * _factor(rng, 0.05)
    two_chamber_width = width * _factor(rng, 0.06)
    wall = 9.5 * _factor(rng, 0.12)
    atrium_half_width = 19 * _factor(rng, 0.12)
    atrium_half_height = 19 * _factor(rng, 0.12)
    right = 27 * _factor(rng, 0.15)
    apex_x = rng.normal(2, 5)
    apex_y = rng.uniform(22, 34)
    two_chamber_tilt = rng.normal(-0.02, 0.1)
    four_chamber_tilt = rng.normal(0.06, 0.1)
    bulge = rng.normal(0, 2.0)
    return Heart(
        ef=ef,
        length=float(length),
        widths=(two_chamber_width, width),
        wall=wall,
        atrium=(atrium_half_width, atrium_half_height),
        right=right,
        apex=(float(apex_x), float(apex_y)),
        tilt=(float(two_chamber_tilt), float(four_chamber_tilt)),
        bulge=float(bulge),
    )


def _factor(rng: np.random.Generator, spread: float) -> float:
    """Draw a factor around 1 whose logarithm has the standard deviation ``spread``."""
    return float(np.exp(rng.normal(0, spread)))
