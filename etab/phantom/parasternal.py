"""Synthetic hearts in parasternal views (long and short axis) and in the apical three-chamber view.

Each shape has the methods ``labels``, ``bright`` and ``material`` of
``etab.phantom.anatomy.Shape``, so that ``etab.phantom.sector.frame`` can draw it. Lengths are in
mm; the probe is at (0, 0), and y is depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etab.phantom.anatomy import BACKGROUND, LA, LV, MY, RIGHT, Shape, bell
from etab.types import Array, FloatArray


@dataclass(frozen=True, slots=True)
class LongAxisShape:
    """The LV in parasternal long axis.

    The septum is above the cavity and the posterior wall below; aorta and left atrium are on the
    right.

    Attributes:
        diameter: The inner diameter of the LV in mm.
        septum: The thickness of the septum in mm.
        posterior: The thickness of the posterior wall in mm.
        length: The length of the cavity in mm.
        centre: (x, y) of the middle of the cavity in mm.
        tilt: The tilt of the long axis in radians.
        narrow: The diameter divided by the diameter at end-diastole.
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
        centre_x, centre_y = self.centre
        dx = x - centre_x
        dy = y - centre_y
        cos = np.cos(self.tilt)
        sin = np.sin(self.tilt)
        along = cos * dx + sin * dy
        across = cos * dy - sin * dx
        return np.asarray(along), np.asarray(across)

    def image(self, along: float, across: float) -> tuple[float, float]:
        """Convert coordinates of the long axis to image coordinates; the inverse of ``local``.

        Args:
            along: Distance from the middle of the cavity along the axis, in mm.
            across: Distance from the axis in mm, positive with depth.

        Returns:
            (x, y) in the image, in mm.
        """
        centre_x, centre_y = self.centre
        cos = np.cos(self.tilt)
        sin = np.sin(self.tilt)
        x = centre_x + cos * along - sin * across
        y = centre_y + sin * along + cos * across
        return float(x), float(y)

    def calipers(self) -> dict[str, tuple[tuple[float, float], tuple[float, float]]]:
        """Place the calipers of the three measurements where the cavity is widest.

        Returns:
            "IVS", "LVID" and "LVPW", each with its two ends (x, y) in image mm, the shallow end
            first.
        """
        half = self.diameter / 2
        septum_top = -half - self.septum
        posterior_bottom = half + self.posterior
        depths = {
            "IVS": (septum_top, -half),
            "LVID": (-half, half),
            "LVPW": (half, posterior_bottom),
        }
        calipers = {}
        for name, (shallow, deep) in depths.items():
            shallow_end = self.image(0, shallow)
            deep_end = self.image(0, deep)
            calipers[name] = (shallow_end, deep_end)
        return calipers

    def labels(self, x: Array, y: Array) -> Array:
        """Label the structure at each point with the numbers of ``etab.phantom.anatomy``.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.
        """
        along, across = self.local(x, y)
        length = self.length
        half = self.diameter / 2
        labels = np.zeros(x.shape, dtype=np.uint8)

        from_ventricle = across + half + self.septum + 11
        ventricle = _in_ellipse(along, from_ventricle, 0.9 * length, 9)
        labels[ventricle] = RIGHT

        aorta_along = along - 0.75 * length
        aorta_across = across + 0.35 * half
        aorta = _in_ellipse(aorta_along, aorta_across, 0.5 * length, 12)
        labels[aorta] = RIGHT

        atrium_along = along - 0.85 * length
        atrium_across = across - 0.9 * half
        atrium = _in_ellipse(atrium_along, atrium_across, 0.45 * length, 17)
        labels[atrium] = LA

        septum_half = half + self.septum
        posterior_half = half + self.posterior
        outer_half = np.where(across < 0, septum_half, posterior_half)
        outer = _in_ellipse(along, across, length / 2 + 8, outer_half)
        before_outlet = along < 0.36 * length
        labels[outer & before_outlet] = MY

        cavity = _in_ellipse(along, across, length / 2, half)
        before_valve = along < 0.40 * length
        labels[cavity & before_valve] = LV
        return labels

    def bright(self, x: Array, y: Array) -> FloatArray:
        """Compute the extra echo of septal and posterior borders and of the mitral leaflets.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.
        """
        along, across = self.local(x, y)
        from_middle = 2 * along / self.length  # -1 and 1 are the ends of the cavity
        roundness = np.sqrt(np.clip(1 - from_middle**2, 0, 1))
        half = self.diameter / 2 * roundness
        beside_cavity = np.abs(along) < 0.45 * self.length

        from_edge = np.abs(across) - half
        edge = bell(from_edge, 1.3) * beside_cavity
        from_pericardium = across - half - self.posterior - 1
        pericardium = bell(from_pericardium, 1.6) * beside_cavity
        from_valve = along - 0.40 * self.length
        between_walls = np.abs(across) < 0.6 * half
        leaflet = bell(from_valve, 1.5) * between_walls
        return np.asarray(0.12 * edge + 0.45 * pericardium + 0.30 * leaflet)

    def material(self, x: Array, y: Array) -> tuple[FloatArray, FloatArray]:
        """Estimate where the tissue at each point was at end-diastole.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.
        """
        along, across = self.local(x, y)
        return along, across / self.narrow


@dataclass(frozen=True, slots=True)
class ShortAxis:
    """The LV in parasternal short axis.

    The cavity is round and has a ring of muscle around it; the right ventricle is a crescent.

    Attributes:
        radius: The radius of the cavity in mm.
        wall: The thickness of the ring in mm.
        centre: (x, y) of the middle of the cavity in mm.
        squeeze: Height divided by width.
        narrow: The radius divided by the radius at end-diastole.
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
        centre_x, centre_y = self.centre
        dx = x - centre_x
        dy = (y - centre_y) / self.squeeze
        distance = np.hypot(dx, dy)
        outer_radius = self.radius + self.wall
        pericardium = outer_radius + 2.5
        labels = np.zeros(x.shape, dtype=np.uint8)
        from_crescent = np.hypot(dx + 0.75 * outer_radius, dy + 4)
        labels[from_crescent < 0.95 * outer_radius] = RIGHT
        labels[distance < pericardium] = BACKGROUND
        labels[distance < outer_radius] = MY
        labels[distance < self.radius] = LV
        return labels

    def bright(self, x: Array, y: Array) -> FloatArray:
        """Compute the extra echo of the endocardial border and the pericardium.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.
        """
        centre_x, centre_y = self.centre
        dx = x - centre_x
        dy = (y - centre_y) / self.squeeze
        from_border = np.hypot(dx, dy) - self.radius
        border = bell(from_border, 1.3)
        from_rim = from_border - self.wall - 1
        below_septum = y > centre_y - 5
        rim = bell(from_rim, 1.8) * below_septum
        return np.asarray(0.12 * border + 0.35 * rim)

    def material(self, x: Array, y: Array) -> tuple[FloatArray, FloatArray]:
        """Estimate where the tissue at each point was at end-diastole.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.
        """
        centre_x, centre_y = self.centre
        material_x = (x - centre_x) / self.narrow
        material_y = (y - centre_y) / self.narrow
        return material_x, material_y

    def outline(self, n: int) -> FloatArray:
        """Compute the border of the cavity.

        Args:
            n: The number of vertices.

        Returns:
            (n, 2): x and y of each vertex in the image, in mm.
        """
        centre_x, centre_y = self.centre
        half_height = self.squeeze * self.radius
        angles = np.linspace(0, 2 * np.pi, n, endpoint=False)
        x = centre_x + self.radius * np.cos(angles)
        y = centre_y + half_height * np.sin(angles)
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
        labels = self.base.labels(x, y)
        across, along = self.base.local(x, y)
        root_across = across - 0.95 * self.base.width
        root_along = along - self.base.length - 10
        root = _in_ellipse(root_across, root_along, 9, 17)
        labels[root] = RIGHT
        return labels

    def bright(self, x: Array, y: Array) -> FloatArray:
        """Compute the extra echo of the apical view and of the aortic walls.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.
        """
        across, along = self.base.local(x, y)
        root_across = across - 0.95 * self.base.width
        root_along = along - self.base.length - 10
        from_wall = np.abs(np.abs(root_across) - 9)
        beside_root = np.abs(root_along) < 15
        wall = bell(from_wall, 1.3) * beside_root
        apical = self.base.bright(x, y)
        return np.asarray(apical + 0.4 * wall)

    def material(self, x: Array, y: Array) -> tuple[FloatArray, FloatArray]:
        """Estimate where the tissue at each point was at end-diastole.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.
        """
        return self.base.material(x, y)


def _in_ellipse(
    u: Array,
    v: Array,
    a: float,
    b: float | FloatArray,
) -> Array:
    """Whether each point (u, v) lies inside an ellipse around 0 with half axes ``a`` and ``b``."""
    u_share = u / a
    v_share = v / b
    return np.asarray(u_share**2 + v_share**2 < 1)


def _clipped_normal(
    rng: np.random.Generator,
    *,
    mean: float,
    spread: float,
    low: float,
    high: float,
) -> float:
    """Draw from a normal distribution; values outside ``low`` to ``high`` become that limit."""
    value = rng.normal(mean, spread)
    return float(np.clip(value, low, high))


def draw_long_axis(rng: np.random.Generator, contractions: list[float]) -> list[LongAxisShape]:
    """Draw a patient in long axis; sizes have the means and spreads of EchoNet-LVH.

    Args:
        rng: The source of randomness.
        contractions: The moments to return, from 0 (end-diastole) to 1 (end-systole).

    Returns:
        One shape per contraction.
    """
    diameter = _clipped_normal(rng, mean=47, spread=8.3, low=28, high=75)
    septum = _clipped_normal(rng, mean=10.3, spread=2.4, low=5.5, high=22)
    posterior = _clipped_normal(rng, mean=10.1, spread=2.1, low=5.5, high=22)
    shortening = _clipped_normal(rng, mean=0.33, spread=0.07, low=0.1, high=0.5)
    centre_x = float(rng.normal(-8, 3))
    centre_y = float(rng.normal(72, 5))
    tilt = float(rng.normal(-0.12, 0.07))
    shapes = []
    for contraction in contractions:
        narrow = 1 - shortening * contraction
        thickening = narrow**0.6
        shape = LongAxisShape(
            diameter=diameter * narrow,
            septum=septum / thickening,
            posterior=posterior / thickening,
            length=84.0,
            centre=(centre_x, centre_y),
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
    radius = _clipped_normal(rng, mean=23, spread=3, low=15, high=34)
    wall = _clipped_normal(rng, mean=9, spread=1.2, low=6, high=13)
    centre_x = float(rng.normal(4, 4))
    centre_y = float(rng.normal(72, 5))
    squeeze = float(rng.uniform(0.92, 1.06))
    remaining_volume = 1 - ef / 100
    remaining_length = 1 - 0.25 * ef / 100
    narrowest = float(np.sqrt(remaining_volume / remaining_length))
    shapes = []
    for contraction in contractions:
        narrow = 1 - (1 - narrowest) * contraction
        shape = ShortAxis(
            radius=radius * narrow,
            wall=wall / narrow,
            centre=(centre_x, centre_y),
            squeeze=squeeze,
            narrow=narrow,
        )
        shapes.append(shape)
    return shapes
