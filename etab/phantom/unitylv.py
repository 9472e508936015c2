"""Writes phantom A4C frames with the outlines of eleven readers, as UnityLV-MultiX has them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etab.phantom.anatomy import Shape, draw_heart, profile
from etab.phantom.sector import DEPTH, draw_scanner, frame
from etab.phantom.trees import MARK, NOTICE
from etab.types import Array, FloatArray

FRAME_SIZE = 128
_READERS = 11
_POINTS = 15
# The reader without an outline of the last frame.
_ABSENT = 10


@dataclass(frozen=True, slots=True)
class _Reader:
    """The habits of a reader.

    Attributes:
        wide: Factor of the width of every outline.
        long: Factor of the length of every outline.
        tremor: Standard deviation of a control point in mm.
    """

    wide: float
    long: float
    tremor: float


def write_unitylv(root: Path, patients: int, seed: int) -> Iterator[int]:
    """Write the tree, and yield the number of patients written after each.

    Readers differ in how wide and long they draw, and in their tremor. One reader has no outline
    of one frame.

    Args:
        root: The folder to write to.
        patients: The number of clips, each of a patient.
        seed: The same seed gives the same bytes.
    """
    (root / "labels").mkdir(parents=True, exist_ok=True)
    (root / "PHANTOM").write_text(NOTICE)
    readers = [_draw_reader(np.random.default_rng([seed, 71, k])) for k in range(_READERS)]
    labels: list[dict[str, object]] = [{} for _ in readers]
    for index in range(patients):
        rng = np.random.default_rng([seed, 72, index])
        scanner = draw_scanner(rng)
        heart = draw_heart(rng)
        clip = hashlib.sha256(f"{seed} multix {index}".encode()).hexdigest()
        folder = root / "png-cache" / "02" / clip[:2] / clip[2:4]
        for number, contraction in ((0, 0.0), (14, 1.0)):
            shape = heart.shape(1, contraction)
            name = f"02-{clip}-{number:04d}.png"
            _write_picture(folder / name, frame(shape, scanner, FRAME_SIZE, rng))
            last = index == patients - 1 and number > 0
            for k, reader in enumerate(readers):
                if not (last and k == _ABSENT):
                    labels[k][name] = {"labels": {"curve-lv-endo": _curve(shape, reader, rng)}}
        yield index + 1
    for k, entries in enumerate(labels):
        path = root / "labels" / f"reader-{k + 1:02d}.json"
        path.write_text(json.dumps(entries, indent=1))


def _draw_reader(rng: np.random.Generator) -> _Reader:
    return _Reader(
        wide=float(np.exp(rng.normal(0, 0.05))),
        long=float(np.exp(rng.normal(0, 0.03))),
        tremor=float(rng.uniform(0.3, 1.2)),
    )


def _curve(shape: Shape, reader: _Reader, rng: np.random.Generator) -> dict[str, str]:
    """Draw the outline of a reader, from hinge to hinge of the mitral valve over the apex."""
    turn = np.linspace(-1.0, 1.0, _POINTS)
    share = 1 - (1 - np.abs(turn)) ** 2
    across = np.sign(turn) * shape.width * profile(share)
    along = shape.length * (1 + (share - 1) * reader.long)
    x, y = shape.image(across * reader.wide, along)
    points = _pixels(x, y) + rng.normal(0, reader.tremor, (2, _POINTS)) / DEPTH * FRAME_SIZE
    return {
        "type": "curve",
        "x": " ".join(f"{value:.1f}" for value in points[0]),
        "y": " ".join(f"{value:.1f}" for value in points[1]),
    }


def _pixels(x: FloatArray, y: FloatArray) -> FloatArray:
    """Convert image coordinates in mm to pixels, (2, n)."""
    across = (x + DEPTH / 2) / DEPTH * FRAME_SIZE - 0.5
    down = y / DEPTH * FRAME_SIZE - 0.5
    return np.stack([across, down])


def _write_picture(path: Path, picture: Array) -> None:
    """Write a grey PNG with a text chunk that marks it as a phantom."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    path.parent.mkdir(parents=True, exist_ok=True)
    text = PngInfo()
    text.add_text("Comment", MARK)
    Image.fromarray(picture).save(path, format="PNG", pnginfo=text)
