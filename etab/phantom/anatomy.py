"""A made heart in mm: chambers whose motion over the cycle follows the patient's EF, seen from the
apex.

The probe is at (0, 0) at the top, y is depth. The LV is a body of discs along its long axis: the
half width at a share t of the way from apex to base is ``width * profile(t)``. Volumes are biplane
Simpson discs, so that masks, volumes and EF agree by construction: shortening and narrowing are
solved for the EF.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etab.types import Array, FloatArray

TRACED_DISCS = 20
BACKGROUND, LV, MY, LA, RIGHT = 0, 1, 2, 3, 4


def profile(t: FloatArray) -> FloatArray:
    """Half width of the LV as a share of its largest, from apex (t = 0) to mitral plane (t = 1)."""
    return np.asarray(np.sqrt(np.clip(1 - ((np.asarray(t) - 0.6) / 0.6) ** 2, 0, None)))


@dataclass(frozen=True, slots=True)
class Heart:
    """One made patient at end-diastole, lengths in mm, ``ef`` in percent."""

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
        """Share of the long axis lost at end-systole."""
        return 0.25 * self.ef / 100

    @property
    def narrowing(self) -> float:
        """Width at end-systole as a share of that at end-diastole, which gives exactly this EF."""
        return float(np.sqrt((1 - self.ef / 100) / (1 - self.shortening)))

    def volume(self, contraction: float) -> float:
        """LV volume in ml by biplane discs; contraction 0 is ED, 1 is ES."""
        shape = self.shape(0, contraction), self.shape(1, contraction)
        t = (np.arange(TRACED_DISCS) + 0.5) / TRACED_DISCS
        area = np.pi * shape[0].width * shape[1].width * profile(t) ** 2
        return float(area.sum() * shape[0].length / TRACED_DISCS / 1000)

    def shape(self, view: int, contraction: float) -> Shape:
        """The heart in one view (0 two-chamber, 1 four-chamber) at one moment."""
        length = self.length * (1 - self.shortening * contraction)
        narrow = 1 - (1 - self.narrowing) * contraction
        width = self.widths[view] * narrow
        thick = self.wall * (self.length + self.widths[view]) / (length + width)
        fill = 1 + 0.3 * contraction
        apex = (self.apex[0], self.apex[1] + 0.15 * (self.length - length))
        return Shape(
            length,
            width,
            thick,
            (self.atrium[0] * fill**0.5, self.atrium[1] * fill**0.5),
            self.right,
            apex,
            self.tilt[view],
            self.bulge,
            view,
            narrow,
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """A heart in one view at one moment."""

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
        """Image mm to (across, along) the long axis, from the apex; the axis bends by ``bulge``."""
        dx = x - self.apex[0]
        dy = y - self.apex[1]
        c = np.cos(self.tilt)
        s = np.sin(self.tilt)
        along = c * dy - s * dx
        bend = self.bulge * np.sin(np.pi * np.clip(along / self.length, 0, 1))
        return c * dx + s * dy - bend, along

    def image(self, across: Array, along: Array) -> tuple[FloatArray, FloatArray]:
        """(across, along) to image mm."""
        across = across + self.bulge * np.sin(np.pi * np.clip(along / self.length, 0, 1))
        c = np.cos(self.tilt)
        s = np.sin(self.tilt)
        return self.apex[0] + c * across - s * along, self.apex[1] + s * across + c * along

    def labels(self, x: Array, y: Array) -> Array:
        """Which structure each point belongs to: 0 background, 1 LV, 2 myocardium, 3 LA, 4 right
        heart.
        """
        u, v = self.local(x, y)
        out = np.zeros(x.shape, dtype=np.uint8)
        if self.view == 1:
            out[self._right(u, v)] = RIGHT
        a, b = self.atrium
        centre = self.length + 3 + b
        out[((u / a) ** 2 + ((v - centre) / b) ** 2) < 1] = LA
        outer_t = (v + self.wall) / (self.length + self.wall)
        outer = (
            (np.abs(u) < (self.width + self.wall) * profile(outer_t))
            & (v > -self.wall)
            & (v < self.length)
        )
        out[outer] = MY
        out[(np.abs(u) < self.width * profile(v / self.length)) & (v > 0) & (v < self.length)] = LV
        return out

    def bright(self, x: Array, y: Array) -> FloatArray:
        """Extra echo of what shines: mitral leaflets, pericardium, endocardial border."""
        u, v = self.local(x, y)
        leaflets = np.exp(-(((v - self.length - 1.5 + 0.10 * np.abs(u)) / 1.6) ** 2)) * (
            np.abs(u) < 1.15 * self.width
        )
        t = v / self.length
        edge = np.abs(u) - self.width * profile(t)
        inside = (v > -2) & (v < self.length)
        border = np.exp(-((edge / 1.3) ** 2)) * inside
        rim = np.exp(-(((edge - 1.15 * self.wall) / 1.8) ** 2)) * inside
        return np.asarray(0.45 * leaflets + 0.10 * border + 0.35 * rim)

    def _right(self, u: FloatArray, v: FloatArray) -> Array:
        """Right ventricle and atrium, on the left of the picture beside the septum."""
        side = -(self.width + self.wall + 0.62 * self.right)
        ventricle = ((u - side) / (0.6 * self.right)) ** 2 + (
            (v - 0.62 * self.length) / (0.45 * self.length)
        ) ** 2 < 1
        centre = self.length + 2 + self.atrium[1]
        atrium = ((u - side) / (0.75 * self.right)) ** 2 + ((v - centre) / self.atrium[1]) ** 2 < 1
        return np.asarray(
            (ventricle | atrium) & (u < -self.width * profile(v / self.length) - self.wall)
        )

    def material(self, x: Array, y: Array) -> tuple[FloatArray, FloatArray]:
        """Where the tissue at a point was at end-diastole, roughly: speckle moves with it."""
        u, v = self.local(x, y)
        near = np.exp(-(((np.abs(u) - self.width) / (2.5 * self.wall)) ** 2))
        return u * (1 + near * (1 / self.narrow - 1)), v

    def trace(self) -> FloatArray:
        """Long axis, then discs from apex to base: (1 + TRACED_DISCS, 4) of x1, y1, x2, y2 in mm."""
        t = (np.arange(TRACED_DISCS) + 0.5) / TRACED_DISCS
        half = self.width * profile(t)
        along = t * self.length
        left_ends = self.image(-half, along)
        right_ends = self.image(half, along)
        top = self.image(np.zeros(1), np.zeros(1))
        foot = self.image(np.zeros(1), np.full(1, self.length))
        axis = np.concatenate([np.stack([*top, *foot], axis=1)])
        return np.concatenate([axis, np.stack([*left_ends, *right_ends], axis=1)])


def draw_heart(rng: np.random.Generator) -> Heart:
    """Draw a made patient: EF about 50 with a long lower tail, sizes that grow as EF falls, as in
    patients.
    """
    ef = float(np.clip(rng.normal(51, 14), 12, 78))
    dilated = 1 + 0.0045 * (50 - ef) + rng.normal(0, 0.07)
    width = 22.5 * dilated * float(np.exp(rng.normal(0, 0.06)))
    return Heart(
        ef=ef,
        length=float(84 * dilated**0.5 * np.exp(rng.normal(0, 0.05))),
        widths=(width * float(np.exp(rng.normal(0, 0.06))), width),
        wall=float(9.5 * np.exp(rng.normal(0, 0.12))),
        atrium=(float(19 * np.exp(rng.normal(0, 0.12))), float(19 * np.exp(rng.normal(0, 0.12)))),
        right=float(27 * np.exp(rng.normal(0, 0.15))),
        apex=(float(rng.normal(2, 5)), float(rng.uniform(22, 34))),
        tilt=(float(rng.normal(-0.02, 0.1)), float(rng.normal(0.06, 0.1))),
        bulge=float(rng.normal(0, 2.0)),
    )
