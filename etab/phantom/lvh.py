"""Writes phantom patients in the published layout of EchoNet-LVH, with the quirks of its table.

The released videos are 1024 x 768 or 800 x 600 pixels. These have a quarter of each side
(256 x 192, 200 x 150) to stay small.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from etab.phantom.parasternal import LongAxisShape, draw_long_axis
from etab.phantom.sector import DEPTH, draw_scanner, frame
from etab.phantom.trees import (
    NOTICE,
    beat_contractions,
    draw_video_name,
    split_of,
    write_avi,
    write_table,
)
from etab.types import Array

_SIZES = ((256, 192), (200, 150))
_FRAMES = 14
_BEAT = 22  # frames
_HEADER = ",HashedFileName,Calc,CalcValue,Frame,X1,X2,Y1,Y2,Frames,FPS,Width,Height,split"
_ALL = ("LVID", "IVS", "LVPW")

# Patients with a quirk, by their index.
_NO_FPS = 2
_SHIFTED_COLUMNS = 3
_NO_SYSTOLE = 4
_POINT_OUTSIDE = 5
_SYSTOLE_COMPLETE = 6
_WRITTEN_TWICE = 7


def write_lvh(root: Path, patients: int, seed: int) -> Iterator[int]:
    """Write the tree, and yield the number of patients written after each.

    Quirks by patient: 2 has no frame rate, 3 has shifted columns, 4 has no systolic measurement,
    5 has a point outside the image, 6 has every measurement in systole too, 7 has one measurement
    twice.

    Args:
        root: The folder to write to.
        patients: The number of patients, each with one video.
        seed: The same seed gives the same bytes.
    """
    for batch in range(4):
        folder = root / f"Batch{batch + 1}"
        folder.mkdir(parents=True, exist_ok=True)
    (root / "PHANTOM").write_text(NOTICE)
    rows: list[list[object]] = []
    for i in range(patients):
        rng = np.random.default_rng([seed, 3, i])
        for row in _write_patient(root, i, rng):
            rows.append([len(rows), *row])
        yield i + 1
    write_table(root / "MeasurementsList.csv", _HEADER, rows)


def _write_patient(
    root: Path,
    i: int,
    rng: np.random.Generator,
) -> list[list[object]]:
    """Write the video of patient ``i``; return its rows of the table without their numbers."""
    name = draw_video_name(rng)
    fps = (30.0, 50.0)[i % 2]
    width, height = _SIZES[i % len(_SIZES)]
    diastole = int(rng.integers(0, 3))
    contractions = beat_contractions(_FRAMES, _BEAT, -diastole)
    shapes = draw_long_axis(rng, contractions)
    scanner = draw_scanner(rng)
    frames = []
    for shape in shapes:
        picture = frame(shape, scanner, height, rng)
        frames.append(_widened(picture, width))
    batch = i % 4 + 1
    write_avi(root / f"Batch{batch}" / f"{name}.avi", frames, fps)
    video_facts: list[object] = [_FRAMES, fps, width, height]
    if i == _NO_FPS:
        video_facts = [_FRAMES, "", width, height]
    elif i == _SHIFTED_COLUMNS:
        video_facts = ["unknown", _FRAMES, 33.333, width]
    split = split_of(i).lower()
    measurements = _measured(shapes, diastole, (width, height), i)
    return [[name, *measurement, *video_facts, split] for measurement in measurements]


def _measured(
    shapes: list[LongAxisShape],
    diastole: int,
    size: tuple[int, int],
    i: int,
) -> Iterator[list[object]]:
    """Yield Calc, CalcValue (cm), Frame, X1, X2, Y1, Y2 of each measurement of patient ``i``.

    Args:
        shapes: The anatomy in each frame.
        diastole: The number of the frame at end-diastole.
        size: (width, height) of the video in pixels.
        i: The number of the patient.
    """
    width, height = size
    narrowing = [1 - shape.narrow for shape in shapes]
    systole = narrowing.index(max(narrowing))
    measured_frames: list[tuple[int, str, tuple[str, ...]]] = [(diastole, "d", _ALL)]
    if i == _SYSTOLE_COMPLETE:
        measured_frames.append((systole, "s", _ALL))
    elif i != _NO_SYSTOLE:
        measured_frames.append((systole, "s", ("LVID",)))
    for number, phase, names in measured_frames:
        calipers = shapes[number].calipers()
        for name, (first, last) in calipers.items():
            if name not in names:
                continue
            from_probe = np.array([first, last]) * height / DEPTH
            points = from_probe + np.array([width / 2 - 0.5, -0.5])
            (x1, y1), (x2, y2) = np.round(points, 2).tolist()
            if i == _POINT_OUTSIDE and name == "LVPW":
                y2 = height + 5.0
            millimetres = float(np.hypot(*np.subtract(last, first)))
            centimetres = round(millimetres / 10, 4)
            row: list[object] = [f"{name}{phase}", centimetres, number, x1, x2, y1, y2]
            yield row
            if i == _WRITTEN_TWICE and name == "LVID" and phase == "d":
                yield row


def _widened(picture: Array, width: int) -> Array:
    """Place a square picture in the middle of a wider black one."""
    canvas = np.zeros((len(picture), width), np.uint8)
    margin = (width - picture.shape[1]) // 2
    canvas[:, margin : margin + picture.shape[1]] = picture
    return canvas
