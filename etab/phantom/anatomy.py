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
    offset = (np.asarray(t) - 0.6) / 0.6
    return np.asarray(np.sqrt(np.clip(1 - offset**2, 0, None)))


@dataclass(frozen=True, slots=True)
class Heart:
    """One synthetic patient at end-diastole.

    Lengths are in mm and ``ef`` is in percent. Pairs hold the two-chamber and the four-chamber
    view (``widths``, ``tilt``) or (half width, half height) (``atrium``).
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
        return float(np.sqrt((1 - self.ef / 100) / (1 - self.shortening)))

    def volume(self, contraction: float) -> float:
        """Compute the LV volume in ml from biplane discs; contraction 0 is ED, 1 is ES."""
        two_chamber = self.shape(0, contraction)
        four_chamber = self.shape(1, contraction)
        t = (np.arange(TRACED_DISCS) + 0.5) / TRACED_DISCS
        area = np.pi * two_chamber.width * four_chamber.width * profile(t) ** 2
        return float(area.sum() * two_chamber.length / TRACED_DISCS / 1000)

    def shape(self, view: int, contraction: float) -> Shape:
        """Compute the heart in one view at one moment.

        Args:
            view: 0 for two chambers, 1 for four chambers.
            contraction: From 0 (end-diastole) to 1 (end-systole).
        """
        length = self.length * (1 - self.shortening * contraction)
        narrow = 1 - (1 - self.narrowing) * contraction
        width = self.widths[view] * narrow
        filling = 1 + 0.3 * contraction
        return Shape(
            length=length,
            width=width,
            wall=self.wall * (self.length + self.widths[view]) / (length + width),
            atrium=(self.atrium[0] * filling**0.5, self.atrium[1] * filling**0.5),
            right=self.right,
            apex=(self.apex[0], self.apex[1] + 0.15 * (self.length - length)),
            tilt=self.tilt[view],
            bulge=self.bulge,
            view=view,
            narrow=narrow,
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """A heart in one view at one moment; lengths in mm."""

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
        dx = x - self.apex[0]
        dy = y - self.apex[1]
        c = np.cos(self.tilt)
        s = np.sin(self.tilt)
        along = c * dy - s * dx
        bend = self.bulge * np.sin(np.pi * np.clip(along / self.length, 0, 1))
        return c * dx + s * dy - bend, along

    def image(self, across: Array, along: Array) -> tuple[FloatArray, FloatArray]:
        """Convert coordinates of the long axis to image coordinates; the inverse of ``local``.

        Args:
            across: Distances from the long axis, in mm.
            along: Distances from the apex along the axis, in mm, in the shape of ``across``.

        Returns:
            (x, y) in the image, in mm.
        """
        across = across + self.bulge * np.sin(np.pi * np.clip(along / self.length, 0, 1))
        c = np.cos(self.tilt)
        s = np.sin(self.tilt)
        x = self.apex[0] + c * across - s * along
        y = self.apex[1] + s * across + c * along
        return x, y

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
        out = np.zeros(x.shape, dtype=np.uint8)
        if self.view == 1:
            out[self._right_heart(across, along)] = RIGHT
        half_width, half_height = self.atrium
        centre = self.length + 3 + half_height
        out[((across / half_width) ** 2 + ((along - centre) / half_height) ** 2) < 1] = LA
        above_base = along < self.length
        outer_t = (along + self.wall) / (self.length + self.wall)
        outer = np.abs(across) < (self.width + self.wall) * profile(outer_t)
        out[outer & (along > -self.wall) & above_base] = MY
        cavity = np.abs(across) < self.width * profile(along / self.length)
        out[cavity & (along > 0) & above_base] = LV
        return out

    def bright(self, x: Array, y: Array) -> FloatArray:
        """Compute the extra echo of mitral leaflets, pericardium and endocardial border.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.

        Returns:
            Echo amplitudes from 0, in the shape of ``x``.
        """
        across, along = self.local(x, y)
        from_leaflets = along - self.length - 1.5 + 0.10 * np.abs(across)
        leaflets = np.exp(-((from_leaflets / 1.6) ** 2)) * (np.abs(across) < 1.15 * self.width)
        edge = np.abs(across) - self.width * profile(along / self.length)
        inside = (along > -2) & (along < self.length)
        border = np.exp(-((edge / 1.3) ** 2)) * inside
        rim = np.exp(-(((edge - 1.15 * self.wall) / 1.8) ** 2)) * inside
        return np.asarray(0.45 * leaflets + 0.10 * border + 0.35 * rim)

    def _right_heart(self, across: FloatArray, along: FloatArray) -> Array:
        """Mark the right ventricle and atrium, which lie left of the septum in the image."""
        side = -(self.width + self.wall + 0.62 * self.right)
        ventricle_across = (across - side) / (0.6 * self.right)
        ventricle_along = (along - 0.62 * self.length) / (0.45 * self.length)
        ventricle = ventricle_across**2 + ventricle_along**2 < 1
        centre = self.length + 2 + self.atrium[1]
        atrium_across = (across - side) / (0.75 * self.right)
        atrium_along = (along - centre) / self.atrium[1]
        atrium = atrium_across**2 + atrium_along**2 < 1
        septum = -self.width * profile(along / self.length) - self.wall
        return np.asarray((ventricle | atrium) & (across < septum))

    def material(self, x: Array, y: Array) -> tuple[FloatArray, FloatArray]:
        """Estimate where the tissue at each point was at end-diastole; speckle moves with it.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.

        Returns:
            Two coordinates of the tissue in mm, each in the shape of ``x``.
        """
        across, along = self.local(x, y)
        near_wall = np.exp(-(((np.abs(across) - self.width) / (2.5 * self.wall)) ** 2))
        return across * (1 + near_wall * (1 / self.narrow - 1)), along

    def trace(self) -> FloatArray:
        """Trace the LV as EchoNet-Dynamic does: the long axis, then discs from apex to base.

        Returns:
            (1 + TRACED_DISCS, 4): x1, y1, x2, y2 of each line in mm.
        """
        t = (np.arange(TRACED_DISCS) + 0.5) / TRACED_DISCS
        half_widths = self.width * profile(t)
        along = t * self.length
        left_ends = self.image(-half_widths, along)
        right_ends = self.image(half_widths, along)
        top = self.image(np.zeros(1), np.zeros(1))
        foot = self.image(np.zeros(1), np.full(1, self.length))
        axis = np.stack([*top, *foot], axis=1)
        discs = np.stack([*left_ends, *right_ends], axis=1)
        return np.concatenate([axis, discs])


def draw_heart(rng: np.random.Generator) -> Heart:
    """Draw a synthetic patient.

    The EF is about 50 % with a long lower tail. Hearts are larger where the EF is lower, as in
    patients.
    """
    ef = float(np.clip(rng.normal(51, 14), 12, 78))
    dilation = 1 + 0.0045 * (50 - ef) + rng.normal(0, 0.07)
    width = 22.5 * dilation * float(np.exp(rng.normal(0, 0.06)))
    return Heart(
        ef=ef,
        length=float(84 * dilation**0.5 * np.exp(rng.normal(0, 0.05))),
        widths=(width * float(np.exp(rng.normal(0, 0.06))), width),
        wall=float(9.5 * np.exp(rng.normal(0, 0.12))),
        atrium=(
            float(19 * np.exp(rng.normal(0, 0.12))),
            float(19 * np.exp(rng.normal(0, 0.12))),
        ),
        right=float(27 * np.exp(rng.normal(0, 0.15))),
        apex=(float(rng.normal(2, 5)), float(rng.uniform(22, 34))),
        tilt=(float(rng.normal(-0.02, 0.1)), float(rng.normal(0.06, 0.1))),
        bulge=float(rng.normal(0, 2.0)),
    )
