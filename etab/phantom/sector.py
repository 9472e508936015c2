"""From a shape to an echocardiogram: a polar scan with correlated speckle, log-compressed and
scan-converted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from etab.phantom.anatomy import LA, LV, MY, RIGHT, Shape
from etab.types import Array, FloatArray

DEPTH = 160.0
HALF_ANGLE = 0.66
_RANGES, _BEAMS = 208, 112
_TEXTURE = 512
_ECHO = {0: 0.16, LV: 0.022, MY: 0.30, LA: 0.02, RIGHT: 0.028}
IMAGE_QUALITIES = ("Good", "Medium", "Poor")


class Seen(Protocol):
    """What can be scanned: x and y in mm to labels, extra echo, and where the tissue came from."""

    def labels(self, x: Array, y: Array) -> Array:
        """Which structure each point belongs to, 0 to 4 as in ``anatomy``."""

    def bright(self, x: Array, y: Array) -> FloatArray:
        """Extra echo, from 0."""

    def material(self, x: Array, y: Array) -> tuple[FloatArray, FloatArray]:
        """Where the tissue at each point was, in mm: speckle goes with it."""


@dataclass(frozen=True, slots=True)
class Scanner:
    """How one made patient is seen: nuisance that no structure depends on."""

    quality: str
    gain: float
    dynamic: float
    haze: float
    attenuation: float
    noise: float
    shading: FloatArray
    texture: FloatArray
    tissue: FloatArray
    offset: tuple[float, float]


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """Draw image quality and what comes with it: gain, haze, dropout of beams, noise."""
    quality = int(rng.choice(3, p=[0.43, 0.43, 0.14]))
    beams = np.linspace(-1, 1, _BEAMS)
    shading = np.ones(_BEAMS)
    for _ in range(int(rng.poisson(0.5 + 0.9 * quality))):
        shading *= 1 - rng.uniform(0.35, 0.85) * np.exp(
            -(((beams - rng.uniform(-1, 1)) / rng.uniform(0.06, 0.2)) ** 2)
        )
    return Scanner(
        quality=IMAGE_QUALITIES[quality],
        gain=float(rng.normal(0, 2.5)),
        dynamic=float(rng.uniform(46, 58)),
        haze=float(rng.gamma(2, 0.012 * (1 + quality))),
        attenuation=float(rng.uniform(0.02, 0.05) * (1 + 0.3 * quality)),
        noise=float(0.010 * (1 + 1.3 * quality) * np.exp(rng.normal(0, 0.3))),
        shading=shading,
        texture=rng.standard_normal((2, _TEXTURE, _TEXTURE)).astype(np.float32),
        tissue=_tissue(rng),
        offset=(float(rng.uniform(0, _TEXTURE)), float(rng.uniform(0, _TEXTURE))),
    )


def _tissue(rng: np.random.Generator) -> FloatArray:
    """How echogenic tissue is from place to place (ranges, beams): lungs and ribs at the sides,
    fat, fibres.
    """

    import cv2

    coarse = cv2.resize(
        rng.standard_normal((7, 6)).astype(np.float32),
        (_BEAMS, _RANGES),
        interpolation=cv2.INTER_CUBIC,
    )
    fine = cv2.resize(
        rng.standard_normal((34, 18)).astype(np.float32),
        (_BEAMS, _RANGES),
        interpolation=cv2.INTER_CUBIC,
    )
    side = np.abs(np.linspace(-1, 1, _BEAMS)) ** 2
    return np.asarray(np.exp(0.55 * coarse + 0.45 * fine + rng.uniform(0.2, 1.1) * side))


def polar_points() -> tuple[FloatArray, FloatArray]:
    """x and y in mm of every (range, beam) sample."""
    r = (np.arange(_RANGES) + 0.5) / _RANGES * DEPTH
    a = np.linspace(-HALF_ANGLE, HALF_ANGLE, _BEAMS)
    return r[:, None] * np.sin(a), r[:, None] * np.cos(a)


def frame(shape: Seen, scanner: Scanner, size: int, rng: np.random.Generator) -> Array:
    """One frame (size, size) uint8, probe at the top."""
    x, y = polar_points()
    labels = shape.labels(x, y)
    echo = np.array([_ECHO[k] for k in range(5)], dtype=np.float64)[labels]
    solid = (labels == 0) | (labels == MY)
    echo = np.where(solid, echo * np.where(labels == MY, scanner.tissue**0.5, scanner.tissue), echo)
    echo += shape.bright(x, y)
    u, v = shape.material(x, y)
    envelope = _speckle(echo, u, v, scanner, rng)
    depth = y / DEPTH
    haze = scanner.haze * (np.exp(-depth * 6) + 0.3)
    amplitude = (envelope + haze) * scanner.shading * np.exp(-scanner.attenuation * 10 * depth)
    amplitude = np.hypot(
        amplitude, scanner.noise * (0.3 + depth) * rng.rayleigh(1.0, amplitude.shape)
    )
    decibel = 20 * np.log10(np.maximum(amplitude, 1e-6)) + scanner.gain
    grey = np.clip((decibel + scanner.dynamic - 6) / scanner.dynamic, 0, 1) * 255
    return scan_convert(grey.astype(np.float32), size)


def _speckle(
    echo: FloatArray, u: FloatArray, v: FloatArray, scanner: Scanner, rng: np.random.Generator
) -> FloatArray:
    """Envelope of scatterers fixed to the tissue, blurred by the point spread of the beam (wider
    across than along).
    """

    import cv2

    ax = np.mod(u * 2.1 + scanner.offset[0], _TEXTURE - 1).astype(np.float32)
    ay = np.mod(v * 2.1 + scanner.offset[1], _TEXTURE - 1).astype(np.float32)
    parts = []
    for texture in scanner.texture:
        field = cv2.remap(texture, ax, ay, cv2.INTER_LINEAR) + 0.35 * rng.standard_normal(
            echo.shape
        )
        parts.append(cv2.GaussianBlur(field * echo, (0, 0), sigmaX=1.5, sigmaY=0.9))
    return np.asarray(np.hypot(*parts)) * 1.6


def scan_convert(polar: FloatArray, size: int) -> Array:
    """Polar (ranges, beams) to a square picture (size, size) of DEPTH mm a side; black outside the
    sector.
    """

    import cv2

    centres = (np.arange(size) + 0.5) / size * DEPTH
    px, py = np.meshgrid(centres - DEPTH / 2, centres)
    r = np.hypot(px, py)
    a = np.arctan2(px, py)
    rows = (r / DEPTH * _RANGES - 0.5).astype(np.float32)
    beams = ((a / HALF_ANGLE + 1) / 2 * (_BEAMS - 1)).astype(np.float32)
    picture = cv2.remap(polar, beams, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    picture[(np.abs(a) > HALF_ANGLE) | (r > DEPTH)] = 0
    return np.asarray(np.rint(picture), dtype=np.uint8)


def mask(shape: Shape, size: int) -> Array:
    """Labels as in CAMUS (0 background, 1 LV, 2 myocardium, 3 LA), in pixels of the picture."""
    centres = (np.arange(size) + 0.5) / size * DEPTH
    px, py = np.meshgrid(centres - DEPTH / 2, centres)
    labels = shape.labels(px, py)
    labels[(labels == RIGHT) | (np.hypot(px, py) > DEPTH)] = 0
    return labels


def to_pixels(points: FloatArray, size: int) -> FloatArray:
    """(n, 4) of x1, y1, x2, y2 in mm to pixels of a (size, size) picture."""
    shift = np.array([DEPTH / 2, 0, DEPTH / 2, 0])
    return np.asarray((points + shift) / DEPTH * size - 0.5)
