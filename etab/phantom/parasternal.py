"""Made hearts seen from beside the breastbone (long axis, short axis) and from the apex in three
chambers.

Each shape answers ``labels``, ``bright`` and ``material`` as ``etab.phantom.anatomy.Shape`` does,
so that ``etab.phantom.sector.frame`` draws it. Lengths are in mm; the probe is at (0, 0), y is
depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etab.phantom.anatomy import LA, LV, MY, RIGHT, Shape
from etab.types import Array, FloatArray


@dataclass(frozen=True, slots=True)
class LongAxisShape:
    """The left ventricle lying on its side: septum above, posterior wall below, aorta and left
    atrium to the right.
    """

    diameter: float
    septum: float
    posterior: float
    length: float
    centre: tuple[float, float]
    tilt: float
    narrow: float = 1.0

    def local(self, x: Array, y: Array) -> tuple[FloatArray, FloatArray]:
        """Image mm to (along, across) the long axis, from the middle of the cavity; across grows
        with depth.
        """
        dx = x - self.centre[0]
        dy = y - self.centre[1]
        c = np.cos(self.tilt)
        s = np.sin(self.tilt)
        return np.asarray(c * dx + s * dy), np.asarray(c * dy - s * dx)

    def image(self, along: float, across: float) -> tuple[float, float]:
        """(along, across) to image mm."""
        c = np.cos(self.tilt)
        s = np.sin(self.tilt)
        return (
            float(self.centre[0] + c * along - s * across),
            float(self.centre[1] + s * along + c * across),
        )

    def calipers(self) -> dict[str, tuple[tuple[float, float], tuple[float, float]]]:
        """The ends in image mm of "IVS", "LVID" and "LVPW" where the cavity is widest, from the
        shallow end.
        """
        half = self.diameter / 2
        depths = {
            "IVS": (-half - self.septum, -half),
            "LVID": (-half, half),
            "LVPW": (half, half + self.posterior),
        }
        return {name: (self.image(0, a), self.image(0, b)) for name, (a, b) in depths.items()}

    def labels(self, x: Array, y: Array) -> Array:
        """Which structure each point belongs to, in the numbers of ``etab.phantom.anatomy``."""
        u, v = self.local(x, y)
        half = self.diameter / 2
        out = np.zeros(x.shape, dtype=np.uint8)
        out[_inside(u, v + half + self.septum + 11, 0.9 * self.length, 9)] = RIGHT
        out[_inside(u - 0.75 * self.length, v + 0.35 * half, 0.5 * self.length, 12)] = RIGHT
        out[_inside(u - 0.85 * self.length, v - 0.9 * half, 0.45 * self.length, 17)] = LA
        outer = np.where(v < 0, half + self.septum, half + self.posterior)
        out[_inside(u, v, self.length / 2 + 8, outer) & (u < 0.36 * self.length)] = MY
        out[_inside(u, v, self.length / 2, half) & (u < 0.40 * self.length)] = LV
        return out

    def bright(self, x: Array, y: Array) -> FloatArray:
        """Extra echo of the septal and posterior borders and of the mitral leaflets."""
        u, v = self.local(x, y)
        half = self.diameter / 2 * np.sqrt(np.clip(1 - (2 * u / self.length) ** 2, 0, 1))
        near = np.abs(u) < 0.45 * self.length
        edge = np.exp(-(((np.abs(v) - half) / 1.3) ** 2)) * near
        pericardium = np.exp(-(((v - half - self.posterior - 1) / 1.6) ** 2)) * near
        leaflet = np.exp(-(((u - 0.40 * self.length) / 1.5) ** 2)) * (np.abs(v) < 0.6 * half)
        return np.asarray(0.12 * edge + 0.45 * pericardium + 0.30 * leaflet)

    def material(self, x: Array, y: Array) -> tuple[FloatArray, FloatArray]:
        """Where the tissue at a point was at end-diastole, roughly."""
        u, v = self.local(x, y)
        return u, v / self.narrow


@dataclass(frozen=True, slots=True)
class ShortAxis:
    """The left ventricle cut across: a round cavity in a ring of muscle, the right ventricle as a
    crescent.
    """

    radius: float
    wall: float
    centre: tuple[float, float]
    squeeze: float = 1.0
    narrow: float = 1.0

    def labels(self, x: Array, y: Array) -> Array:
        """Which structure each point belongs to, in the numbers of ``etab.phantom.anatomy``."""
        u = x - self.centre[0]
        v = (y - self.centre[1]) / self.squeeze
        r = np.hypot(u, v)
        out = np.zeros(x.shape, dtype=np.uint8)
        crescent = np.hypot(u + 0.75 * (self.radius + self.wall), v + 4) < 0.95 * (
            self.radius + self.wall
        )
        out[crescent] = RIGHT
        out[r < self.radius + self.wall + 2.5] = 0
        out[r < self.radius + self.wall] = MY
        out[r < self.radius] = LV
        return out

    def bright(self, x: Array, y: Array) -> FloatArray:
        """Extra echo of the endocardial border and the pericardium."""
        r = np.hypot(x - self.centre[0], (y - self.centre[1]) / self.squeeze)
        border = np.exp(-(((r - self.radius) / 1.3) ** 2))
        rim = np.exp(-(((r - self.radius - self.wall - 1) / 1.8) ** 2)) * (y > self.centre[1] - 5)
        return np.asarray(0.12 * border + 0.35 * rim)

    def material(self, x: Array, y: Array) -> tuple[FloatArray, FloatArray]:
        """Where the tissue at a point was at end-diastole, roughly."""
        return (x - self.centre[0]) / self.narrow, (y - self.centre[1]) / self.narrow

    def outline(self, n: int) -> FloatArray:
        """The border of the cavity as n vertices (n, 2) in image mm."""
        a = np.linspace(0, 2 * np.pi, n, endpoint=False)
        return np.stack(
            [
                self.centre[0] + self.radius * np.cos(a),
                self.centre[1] + self.squeeze * self.radius * np.sin(a),
            ],
            axis=1,
        )


@dataclass(frozen=True, slots=True)
class ThreeChamber:
    """An apical shape with the aortic root beside the left atrium, as the three-chamber view shows
    it.
    """

    base: Shape

    def labels(self, x: Array, y: Array) -> Array:
        """Which structure each point belongs to, in the numbers of ``etab.phantom.anatomy``."""
        out = self.base.labels(x, y)
        u, v = self.base.local(x, y)
        root = _inside(u - 0.95 * self.base.width, v - self.base.length - 10, 9, 17)
        out[root] = RIGHT
        return out

    def bright(self, x: Array, y: Array) -> FloatArray:
        """Extra echo as in the apical view, and of the aortic walls."""
        u, v = self.base.local(x, y)
        side = np.abs(np.abs(u - 0.95 * self.base.width) - 9)
        wall = np.exp(-((side / 1.3) ** 2)) * (np.abs(v - self.base.length - 10) < 15)
        return np.asarray(self.base.bright(x, y) + 0.4 * wall)

    def material(self, x: Array, y: Array) -> tuple[FloatArray, FloatArray]:
        """Where the tissue at a point was at end-diastole, roughly."""
        return self.base.material(x, y)


def _inside(u: Array, v: Array, a: float, b: float | FloatArray) -> Array:
    return np.asarray((u / a) ** 2 + (v / b) ** 2 < 1)


def draw_long_axis(rng: np.random.Generator, contractions: list[float]) -> list[LongAxisShape]:
    """One made patient's long axis at each contraction (0 ED, 1 ES); sizes are spread as
    EchoNet-LVH's are.
    """
    diameter = float(np.clip(rng.normal(47, 8.3), 28, 75))
    septum, posterior = (
        float(np.clip(rng.normal(m, s), 5.5, 22)) for m, s in ((10.3, 2.4), (10.1, 2.1))
    )
    shortening = float(np.clip(rng.normal(0.33, 0.07), 0.1, 0.5))
    centre = (float(rng.normal(-8, 3)), float(rng.normal(72, 5)))
    tilt = float(rng.normal(-0.12, 0.07))
    return [
        LongAxisShape(
            diameter * (n := 1 - shortening * c),
            septum / n**0.6,
            posterior / n**0.6,
            84.0,
            centre,
            tilt,
            n,
        )
        for c in contractions
    ]


def draw_short_axis(
    rng: np.random.Generator, ef: float, contractions: list[float]
) -> list[ShortAxis]:
    """One made patient's short axis at each contraction; its area falls as the volume does with
    this EF.
    """
    radius = float(np.clip(rng.normal(23, 3), 15, 34))
    wall = float(np.clip(rng.normal(9, 1.2), 6, 13))
    centre = (float(rng.normal(4, 4)), float(rng.normal(72, 5)))
    squeeze = float(rng.uniform(0.92, 1.06))
    least = float(np.sqrt((1 - ef / 100) / (1 - 0.25 * ef / 100)))
    narrow = [1 - (1 - least) * c for c in contractions]
    return [ShortAxis(radius * n, wall / n, centre, squeeze, n) for n in narrow]
