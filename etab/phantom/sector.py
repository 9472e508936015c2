"""From a shape to an echocardiogram: a polar scan with correlated speckle.

The scan is log-compressed and converted to a sector image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from etab.phantom.anatomy import LA, LV, MY, RIGHT, Shape, bell
from etab.types import Array, FloatArray

DEPTH = 160.0  # mm
_HALF_ANGLE = 0.66  # radians
_RANGES = 208
_BEAMS = 112
_TEXTURE = 512
_ECHO = {
    0: 0.16,
    LV: 0.022,
    MY: 0.30,
    LA: 0.02,
    RIGHT: 0.028,
}
_IMAGE_QUALITIES = ("Good", "Medium", "Poor")


class Scannable(Protocol):
    """A shape that can be scanned; positions x and y are in mm."""

    def labels(self, x: Array, y: Array) -> Array:
        """Label the structure at each point (x, y): 0 to 4 as in ``etab.phantom.anatomy``."""

    def bright(self, x: Array, y: Array) -> FloatArray:
        """Compute the extra echo at each point (x, y), from 0."""

    def material(self, x: Array, y: Array) -> tuple[FloatArray, FloatArray]:
        """Estimate where the tissue at each point (x, y) was at end-diastole, in mm."""


@dataclass(frozen=True, slots=True)
class Scanner:
    """The imaging conditions of one synthetic patient, which do not depend on the anatomy.

    Attributes:
        quality: "Good", "Medium" or "Poor".
        gain: Added to the echo, in dB.
        dynamic: The dynamic range of the display, in dB.
        haze: The amplitude of clutter near the probe.
        attenuation: The loss of amplitude with depth.
        noise: The amplitude of electronic noise.
        shading: (beams,) the share of the amplitude that remains in each beam.
        texture: (2, n, n) the fixed scatterers, in two quadratures.
        tissue: (ranges, beams) the echogenicity of tissue.
        offset: (column, row) of the scatterer at the origin of the tissue coordinates.
    """

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
    """Draw the image quality, and the gain, haze, noise and shadows that depend on it.

    Args:
        rng: The source of randomness.
    """
    quality = int(rng.choice(3, p=[0.43, 0.43, 0.14]))
    shading = _shading(rng, 0.5 + 0.9 * quality)
    gain = rng.normal(0, 2.5)
    dynamic = rng.uniform(46, 58)
    haze = rng.gamma(2, 0.012 * (1 + quality))
    attenuation = rng.uniform(0.02, 0.05) * (1 + 0.3 * quality)
    typical_noise = 0.010 * (1 + 1.3 * quality)
    noise = typical_noise * np.exp(rng.normal(0, 0.3))
    texture = rng.standard_normal((2, _TEXTURE, _TEXTURE))
    tissue = _tissue(rng)
    column = rng.uniform(0, _TEXTURE)
    row = rng.uniform(0, _TEXTURE)
    return Scanner(
        quality=_IMAGE_QUALITIES[quality],
        gain=float(gain),
        dynamic=float(dynamic),
        haze=float(haze),
        attenuation=float(attenuation),
        noise=float(noise),
        shading=shading,
        texture=texture.astype(np.float32),
        tissue=tissue,
        offset=(float(column), float(row)),
    )


def _shading(rng: np.random.Generator, mean_shadows: float) -> FloatArray:
    """Draw the amplitude that remains of each beam, in (0, 1], after ribs and poor contact.

    Args:
        rng: The source of randomness.
        mean_shadows: The mean number of shadows.
    """
    beams = np.linspace(-1, 1, _BEAMS)
    shading = np.ones(_BEAMS)
    shadows = int(rng.poisson(mean_shadows))
    for _ in range(shadows):
        depth = rng.uniform(0.35, 0.85)
        centre = rng.uniform(-1, 1)
        width = rng.uniform(0.06, 0.2)
        shading *= 1 - depth * bell(beams - centre, width)
    return shading


def _tissue(rng: np.random.Generator) -> FloatArray:
    """Draw the echogenicity of tissue (ranges, beams): fat, fibres, lungs and ribs at the sides."""
    import cv2

    def smooth(rows: int, columns: int) -> Array:
        grid = rng.standard_normal((rows, columns)).astype(np.float32)
        return cv2.resize(grid, (_BEAMS, _RANGES), interpolation=cv2.INTER_CUBIC)

    coarse = smooth(7, 6)
    fine = smooth(34, 18)
    from_middle = np.abs(np.linspace(-1, 1, _BEAMS))
    side = rng.uniform(0.2, 1.1) * from_middle**2
    return np.asarray(np.exp(0.55 * coarse + 0.45 * fine + side))


def _polar_points() -> tuple[FloatArray, FloatArray]:
    """Compute x and y in mm of every (range, beam) sample."""
    ranges = (np.arange(_RANGES) + 0.5) / _RANGES * DEPTH
    ranges = ranges[:, None]
    angles = np.linspace(-_HALF_ANGLE, _HALF_ANGLE, _BEAMS)
    x = ranges * np.sin(angles)
    y = ranges * np.cos(angles)
    return x, y


def frame(
    shape: Scannable,
    scanner: Scanner,
    size: int,
    rng: np.random.Generator,
) -> Array:
    """Draw one frame of a shape.

    Args:
        shape: The anatomy at one moment.
        scanner: The imaging conditions, the same for all frames of a clip.
        size: The side of the image in pixels; it covers ``DEPTH`` mm.
        rng: The source of the noise of this frame.

    Returns:
        (size, size) uint8, the probe at the top.
    """
    x, y = _polar_points()
    labels = shape.labels(x, y)
    echo_of_label = np.array([_ECHO[label] for label in range(5)], dtype=np.float64)
    echo = echo_of_label[labels]
    solid = (labels == 0) | (labels == MY)
    texture = np.where(labels == MY, scanner.tissue**0.5, scanner.tissue)
    echo = np.where(solid, echo * texture, echo)
    echo += shape.bright(x, y)
    u, v = shape.material(x, y)
    envelope = _speckle(echo, u, v, scanner, rng)
    depth = y / DEPTH
    haze = scanner.haze * (np.exp(-depth * 6) + 0.3)
    transmitted = np.exp(-scanner.attenuation * 10 * depth)
    echo_amplitude = (envelope + haze) * scanner.shading * transmitted
    mean_noise = scanner.noise * (0.3 + depth)
    noise = mean_noise * rng.rayleigh(1.0, echo_amplitude.shape)
    amplitude = np.hypot(echo_amplitude, noise)
    decibel = 20 * np.log10(np.maximum(amplitude, 1e-6)) + scanner.gain
    brightness = (decibel + scanner.dynamic - 6) / scanner.dynamic
    grey = np.clip(brightness, 0, 1) * 255
    return _scan_converted(grey.astype(np.float32), size)


def _speckle(
    echo: FloatArray,
    u: FloatArray,
    v: FloatArray,
    scanner: Scanner,
    rng: np.random.Generator,
) -> FloatArray:
    """Compute the envelope of scatterers that move with the tissue.

    The point spread of the beam, which is wider across than along the beam, blurs the scatterers.

    Args:
        echo: The mean echo of each (range, beam) sample.
        u: The first coordinate of the tissue at each sample, in mm.
        v: The second coordinate, in mm.
        scanner: The imaging conditions.
        rng: The source of the scatterers that change from frame to frame.
    """
    import cv2

    first_column, first_row = scanner.offset
    columns = np.mod(u * 2.1 + first_column, _TEXTURE - 1).astype(np.float32)
    rows = np.mod(v * 2.1 + first_row, _TEXTURE - 1).astype(np.float32)
    parts = []
    for texture in scanner.texture:
        moving = cv2.remap(texture, columns, rows, cv2.INTER_LINEAR)
        field = moving + 0.35 * rng.standard_normal(echo.shape)
        blurred = cv2.GaussianBlur(field * echo, (0, 0), sigmaX=1.5, sigmaY=0.9)
        parts.append(blurred)
    return np.asarray(np.hypot(*parts)) * 1.6


def _scan_converted(polar: FloatArray, size: int) -> Array:
    """Convert (ranges, beams) to a (size, size) image of DEPTH mm; black outside the sector."""
    import cv2

    x, y = _pixel_centres(size)
    radius = np.hypot(x, y)
    angle = np.arctan2(x, y)
    rows = radius / DEPTH * _RANGES - 0.5
    share_of_angle = (angle / _HALF_ANGLE + 1) / 2
    beams = share_of_angle * (_BEAMS - 1)
    picture = cv2.remap(
        polar,
        beams.astype(np.float32),
        rows.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    beside_sector = np.abs(angle) > _HALF_ANGLE
    below_sector = radius > DEPTH
    picture[beside_sector | below_sector] = 0
    return np.asarray(np.rint(picture), dtype=np.uint8)


def _pixel_centres(size: int) -> tuple[FloatArray, FloatArray]:
    """Compute x and y in mm of the pixel centres of a (size, size) image."""
    centres = (np.arange(size) + 0.5) / size * DEPTH
    x, y = np.meshgrid(centres - DEPTH / 2, centres)
    return x, y


def mask(shape: Shape, size: int) -> Array:
    """Draw the labels of a shape as CAMUS has them.

    Args:
        shape: The anatomy at one moment.
        size: The side of the image in pixels.

    Returns:
        (size, size) uint8: 0 background, 1 LV, 2 myocardium, 3 left atrium.
    """
    x, y = _pixel_centres(size)
    labels = shape.labels(x, y)
    below_sector = np.hypot(x, y) > DEPTH
    labels[(labels == RIGHT) | below_sector] = 0
    return labels


def to_pixels(points: FloatArray, size: int) -> FloatArray:
    """Convert line ends from mm to pixels.

    Args:
        points: (n, 4) of x1, y1, x2, y2 in mm.
        size: The side of the image in pixels.

    Returns:
        (n, 4) of x1, y1, x2, y2 in pixels.
    """
    shift = np.array([DEPTH / 2, 0, DEPTH / 2, 0])
    from_corner = points + shift
    return np.asarray(from_corner / DEPTH * size - 0.5)
