"""Writes made patients in the published layout of EchoNet-LVH, with the quirks of its table.

The real videos are 1024 x 768 or 800 x 600; these are a quarter of that (256 x 192, 200 x 150) to
stay small.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from etab.phantom.parasternal import LongAxisShape, draw_long_axis
from etab.phantom.sector import DEPTH, draw_scanner, frame
from etab.phantom.trees import NOTICE, contraction_at, write_avi, write_table
from etab.types import Array

SIZES = ((256, 192), (200, 150))
_FRAMES = 14
_HEADER = ",HashedFileName,Calc,CalcValue,Frame,X1,X2,Y1,Y2,Frames,FPS,Width,Height,split"


def write_lvh(root: Path, patients: int, seed: int) -> Iterator[int]:
    """Write the tree; yields after each patient. Quirks by patient: 2 has no FPS, 3 has shifted
    columns, 4 no systole, 5 a point outside the picture, 6 every measurement of systole too, 7 a
    measurement written twice.
    """
    for batch in range(4):
        (root / f"Batch{batch + 1}").mkdir(parents=True, exist_ok=True)
    (root / "PHANTOM").write_text(NOTICE)
    rows: list[list[object]] = []
    for i in range(patients):
        rng = np.random.default_rng([seed, 3, i])
        name = f"0X{int(rng.integers(1 << 60, (1 << 63) - 1)):X}"
        fps = (30.0, 50.0)[i % 2]
        width, height = SIZES[i % len(SIZES)]
        start = int(rng.integers(0, 3))
        shapes = draw_long_axis(
            rng, [contraction_at((k - start) % 22 / 22) for k in range(_FRAMES)]
        )
        scanner = draw_scanner(rng)
        frames = [_canvas(frame(shape, scanner, height, rng), width) for shape in shapes]
        write_avi(root / f"Batch{i % 4 + 1}" / f"{name}.avi", frames, fps)
        split = "test" if i % 10 == 0 else "val" if i % 10 == 1 else "train"
        tail: list[object] = [_FRAMES, fps, width, height]
        tail = (
            [_FRAMES, "", width, height]
            if i == 2
            else ["unknown", _FRAMES, 33.333, width]
            if i == 3
            else tail
        )
        measurements = list(_measured(shapes, start, (width, height), i))
        rows += [[len(rows) + n, name, *row, *tail, split] for n, row in enumerate(measurements)]
        yield i + 1
    write_table(root / "MeasurementsList.csv", _HEADER, rows)


def _measured(
    shapes: list[LongAxisShape], start: int, size: tuple[int, int], i: int
) -> Iterator[list[object]]:
    """Calc, CalcValue in cm, Frame, X1, X2, Y1, Y2 of each measurement of one patient."""
    es = max(range(len(shapes)), key=lambda k: 1 - shapes[k].narrow)
    measured_frames: list[tuple[int, str, tuple[str, ...]]] = [
        (start, "d", ("LVID", "IVS", "LVPW"))
    ]
    if i != 4:
        measured_frames.append((es, "s", ("LVID", "IVS", "LVPW") if i == 6 else ("LVID",)))
    for number, phase, names in measured_frames:
        for name, (first, last) in shapes[number].calipers().items():
            if name not in names:
                continue
            points = np.array([first, last]) * size[1] / DEPTH + [size[0] / 2 - 0.5, -0.5]
            (x1, y1), (x2, y2) = np.round(points, 2).tolist()
            row: list[object] = [
                f"{name}{phase}",
                round(float(np.hypot(*np.subtract(last, first))) / 10, 4),
                number,
            ]
            outside = i == 5 and name == "LVPW"
            row += [x1, x2, y1, size[1] + 5.0 if outside else y2]
            yield row
            if i == 7 and name == "LVID" and phase == "d":
                yield row


def _canvas(picture: Array, width: int) -> Array:
    """A square picture in the middle of a wider black one."""
    canvas = np.zeros((len(picture), width), np.uint8)
    margin = (width - picture.shape[1]) // 2
    canvas[:, margin : margin + picture.shape[1]] = picture
    return canvas
