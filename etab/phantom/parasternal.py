"""Synthetic hearts in parasternal views (long and short axis) and in the apical three-chamber view.

Each shape has the methods ``labels``, ``bright`` and ``material`` of
``etab.phantom.anatomy.Shape``, so that ``etab.phantom.sector.frame`` can draw it. Lengths are in
mm; the probe is at (0, 0), and y is depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etab.phantom.anatomy import BACKGROUND, LA, LV, MY, RIGHT, Shape
from etab.types import Array, FloatArray


@dataclass(frozen=True, slots=True)
class LongAxisShape:
    """The LV in parasternal long axis.

    The septum is above the cavity and the posterior wall below; aorta and left atrium are on the
    right.
    """

    diameter: float
    septum: float
    posterior: float
    length: float
    centre: tuple[float, float]
    tilt: float
    narrow: float = 1.0

    def local(self, x: Array, y: Array) -> tuple[FloatArray, FloatArray]:
        """Convert image coordinates to coordinates of the long axis.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.

        Returns:
            (along, across) in mm from the middle of the cavity; ``across`` grows with depth.
        """
        dx = x - self.centre[0]
        dy = y - self.centre[1]
        c = np.cos(self.tilt)
        s = np.sin(self.tilt)
        return np.asarray(c * dx + s * dy), np.asarray(c * dy - s * dx)

    def image(self, along: float, across: float) -> tuple[float, float]:
        """Convert coordinates of the long axis to image coordinates; the inverse of ``local``.

        Args:
            along: Distance from the middle of the cavity along the axis, in mm.
            across: Distance from the axis in mm, positive with depth.

        Returns:
            (x, y) in the image, in mm.
        """
        c = np.cos(self.tilt)
        s = np.sin(self.tilt)
        x = float(self.centre[0] + c * along - s * across)
        y = float(self.centre[1] + s * along + c * across)
        return x, y

    def calipers(self) -> dict[str, tuple[tuple[float, float], tuple[float, float]]]:
        """Place the calipers of the three measurements where the cavity is widest.

        Returns:
            "IVS", "LVID" and "LVPW", each with its two ends (x, y) in image mm, the shallow end
            first.
        """
        half = self.diameter / 2
        depths = {
            "IVS": (-half - self.septum, -half),
            "LVID": (-half, half),
            "LVPW": (half, half + self.posterior),
        }
        return {
            name: (self.image(0, shallow), self.image(0, deep))
            for name, (shallow, deep) in depths.items()
        }

    def labels(self, x: Array, y: Array) -> Array:
        """Label the structure at each point with the numbers of ``etab.phantom.anatomy``.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.
        """
        u, v = self.local(x, y)
        half = self.diameter / 2
        out = np.zeros(x.shape, dtype=np.uint8)
        ventricle = _in_ellipse(u, v + half + self.septum + 11, 0.9 * self.length, 9)
        out[ventricle] = RIGHT
        aorta = _in_ellipse(u - 0.75 * self.length, v + 0.35 * half, 0.5 * self.length, 12)
        out[aorta] = RIGHT
        atrium = _in_ellipse(u - 0.85 * self.length, v - 0.9 * half, 0.45 * self.length, 17)
        out[atrium] = LA
        outer_half = np.where(v < 0, half + self.septum, half + self.posterior)
        outer = _in_ellipse(u, v, self.length / 2 + 8, outer_half)
        out[outer & (u < 0.36 * self.length)] = MY
        cavity = _in_ellipse(u, v, self.length / 2, half)
        out[cavity & (u < 0.40 * self.length)] = LV
        return out

    def bright(self, x: Array, y: Array) -> FloatArray:
        """Compute the extra echo of septal and posterior borders and of the mitral leaflets.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.
        """
        u, v = self.local(x, y)
        half = self.diameter / 2 * np.sqrt(np.clip(1 - (2 * u / self.length) ** 2, 0, 1))
        near = np.abs(u) < 0.45 * self.length
        edge = np.exp(-(((np.abs(v) - half) / 1.3) ** 2)) * near
        pericardium = np.exp(-(((v - half - self.posterior - 1) / 1.6) ** 2)) * near
        leaflet = np.exp(-(((u - 0.40 * self.length) / 1.5) ** 2)) * (np.abs(v) < 0.6 * half)
        return np.asarray(0.12 * edge + 0.45 * pericardium + 0.30 * leaflet)

    def material(self, x: Array, y: Array) -> tuple[FloatArray, FloatArray]:
        """Estimate where the tissue at each point was at end-diastole.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.
        """
        u, v = self.local(x, y)
        return u, v / self.narrow


@dataclass(frozen=True, slots=True)
class ShortAxis:
    """The LV in parasternal short axis.

    The cavity is round and has a ring of muscle around it; the right ventricle is a crescent.
    """

    radius: float
    wall: float
    centre: tuple[float, float]
    squeeze: float = 1.0
    narrow: float = 1.0

    def labels(self, x: Array, y: Array) -> Array:
        """Label the structure at each point with the numbers of ``etab.phantom.anatomy``.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.
        """
        u = x - self.centre[0]
        v = (y - self.centre[1]) / self.squeeze
        r = np.hypot(u, v)
        outer = self.radius + self.wall
        out = np.zeros(x.shape, dtype=np.uint8)
        crescent = np.hypot(u + 0.75 * outer, v + 4) < 0.95 * outer
        out[crescent] = RIGHT
        out[r < self.radius + self.wall + 2.5] = BACKGROUND
        out[r < outer] = MY
        out[r < self.radius] = LV
        return out

    def bright(self, x: Array, y: Array) -> FloatArray:
        """Compute the extra echo of the endocardial border and the pericardium.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.
        """
        r = np.hypot(x - self.centre[0], (y - self.centre[1]) / self.squeeze)
        border = np.exp(-(((r - self.radius) / 1.3) ** 2))
        rim = np.exp(-(((r - self.radius - self.wall - 1) / 1.8) ** 2)) * (y > self.centre[1] - 5)
        return np.asarray(0.12 * border + 0.35 * rim)

    def material(self, x: Array, y: Array) -> tuple[FloatArray, FloatArray]:
        """Estimate where the tissue at each point was at end-diastole.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.
        """
        return (x - self.centre[0]) / self.narrow, (y - self.centre[1]) / self.narrow

    def outline(self, n: int) -> FloatArray:
        """Compute the border of the cavity as ``n`` vertices (n, 2), in image mm."""
        angles = np.linspace(0, 2 * np.pi, n, endpoint=False)
        x = self.centre[0] + self.radius * np.cos(angles)
        y = self.centre[1] + self.squeeze * self.radius * np.sin(angles)
        return np.stack([x, y], axis=1)


@dataclass(frozen=True, slots=True)
class ThreeChamber:
    """An apical three-chamber view: an apical shape with the aortic root beside the left atrium."""

    base: Shape

    def labels(self, x: Array, y: Array) -> Array:
        """Label the structure at each point with the numbers of ``etab.phantom.anatomy``.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.
        """
        out = self.base.labels(x, y)
        u, v = self.base.local(x, y)
        root = _in_ellipse(u - 0.95 * self.base.width, v - self.base.length - 10, 9, 17)
        out[root] = RIGHT
        return out

    def bright(self, x: Array, y: Array) -> FloatArray:
        """Compute the extra echo of the apical view and of the aortic walls.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.
        """
        u, v = self.base.local(x, y)
        side = np.abs(np.abs(u - 0.95 * self.base.width) - 9)
        wall = np.exp(-((side / 1.3) ** 2)) * (np.abs(v - self.base.length - 10) < 15)
        return np.asarray(self.base.bright(x, y) + 0.4 * wall)

    def material(self, x: Array, y: Array) -> tuple[FloatArray, FloatArray]:
        """Estimate where the tissue at each point was at end-diastole.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.
        """
        return self.base.material(x, y)


def _in_ellipse(u: Array, v: Array, a: float, b: float | FloatArray) -> Array:
    """Whether each point (u, v) lies inside an ellipse around 0 with half axes ``a`` and ``b``."""
    return np.asarray((u / a) ** 2 + (v / b) ** 2 < 1)


def draw_long_axis(rng: np.random.Generator, contractions: list[float]) -> list[LongAxisShape]:
    """Draw a patient in long axis; sizes have the means and spreads of EchoNet-LVH.

    Args:
        rng: The source of randomness.
        contractions: The moments to return, from 0 (end-diastole) to 1 (end-systole).

    Returns:
        One shape per contraction.
    """
    diameter = float(np.clip(rng.normal(47, 8.3), 28, 75))
    septum = float(np.clip(rng.normal(10.3, 2.4), 5.5, 22))
    posterior = float(np.clip(rng.normal(10.1, 2.1), 5.5, 22))
    shortening = float(np.clip(rng.normal(0.33, 0.07), 0.1, 0.5))
    centre = (float(rng.normal(-8, 3)), float(rng.normal(72, 5)))
    tilt = float(rng.normal(-0.12, 0.07))
    shapes = []
    for contraction in contractions:
        narrow = 1 - shortening * contraction
        shape = LongAxisShape(
            diameter=diameter * narrow,
            septum=septum / narrow**0.6,
            posterior=posterior / narrow**0.6,
            length=84.0,
            centre=centre,
            tilt=tilt,
            narrow=narrow,
        )
        shapes.append(shape)
    return shapes


def draw_short_axis(
    rng: np.random.Generator, ef: float, contractions: list[float]
) -> list[ShortAxis]:
    """Draw a patient in short axis; the area of the cavity shrinks as the volume does.

    Args:
        rng: The source of randomness.
        ef: The ejection fraction in percent.
        contractions: The moments to return, from 0 (end-diastole) to 1 (end-systole).

    Returns:
        One shape per contraction.
    """
    radius = float(np.clip(rng.normal(23, 3), 15, 34))
    wall = float(np.clip(rng.normal(9, 1.2), 6, 13))
    centre = (float(rng.normal(4, 4)), float(rng.normal(72, 5)))
    squeeze = float(rng.uniform(0.92, 1.06))
    narrowest = float(np.sqrt((1 - ef / 100) / (1 - 0.25 * ef / 100)))
    shapes = []
    for contraction in contractions:
        narrow = 1 - (1 - narrowest) * contraction
        shapes.append(ShortAxis(radius * narrow, wall / narrow, centre, squeeze, narrow))
    return shapes
