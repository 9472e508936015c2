"""Phantom patients in the published layout of EchoNet-Pediatric, with the quirks of its tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from etab.phantom.anatomy import Shape, draw_heart
from etab.phantom.parasternal import ShortAxis, draw_short_axis
from etab.phantom.sector import DEPTH, draw_scanner, frame
from etab.phantom.trees import NOTICE, contraction_at, write_avi, write_table
from etab.types import FloatArray

_SIZE, _FPS = 112, 30.0
_BEAT = 18
_VERTICES = 36


def write_pediatric(root: Path, patients: int, seed: int) -> Iterator[int]:
    """Write the tree; yields after each patient, who has one clip of each view. Quirks by patient:
    2 has no systolic trace in A4C and none at all in PSAX, 3 is traced beyond the end in A4C, 4
    leaves the picture, 5 has no diastolic trace in PSAX, 6 has two studies, and the PSAX folder
    holds a video that no list names.
    """
    base = root / "pediatric_echo_avi" / "pediatric_echo_avi"
    tables: dict[str, tuple[list[list[object]], list[list[object]]]] = {
        "A4C": ([], []),
        "PSAX": ([], []),
    }
    for view in tables:
        (base / view / "Videos").mkdir(parents=True, exist_ok=True)
    (root / "PHANTOM").write_text(NOTICE)
    for i in range(patients):
        for study in range(2 if i == 6 else 1):
            rng = np.random.default_rng([seed, 4, i, study])
            heart = draw_heart(rng)
            start = int(rng.integers(0, 4))
            beat = [contraction_at((k - start) % _BEAT / _BEAT) for k in range(_BEAT + 4)]
            facts = [
                f"{heart.ef:.6f}",
                "FM"[i % 2],
                1 + i % 17,
                10 + 3 * (i % 17),
                75 + 6 * (i % 17),
                i % 10,
            ]
            clips: dict[str, list[Shape] | list[ShortAxis]] = {
                "A4C": [heart.shape(1, c) for c in beat],
                "PSAX": draw_short_axis(rng, heart.ef, beat),
            }
            for number, (view, shapes) in enumerate(clips.items()):
                name = f"CR32a{4096 + 7 * i:04x}-CR32a{8192 + 31 * i + study:04x}-{20 + 11 * number + i % 5:06d}.avi"
                scanner = draw_scanner(rng)
                frames = [frame(shape, scanner, _SIZE, rng) for shape in shapes]
                write_avi(base / view / "Videos" / name, frames, _FPS)
                listed, traced = tables[view]
                listed.append([name, *facts])
                es = max(range(len(beat)), key=beat.__getitem__)
                traced += [[name, *row] for row in _traced(shapes, start, es, i, view)]
        yield i + 1
    extra = base / "PSAX" / "Videos"
    (extra / "CR32affff-CR32affff-000001.avi").write_bytes(sorted(extra.iterdir())[0].read_bytes())
    for view, (listed, traced) in tables.items():
        write_table(base / view / "FileList.csv", "FileName,EF,Sex,Age,Weight,Height,Split", listed)
        write_table(base / view / "VolumeTracings.csv", "FileName,X,Y,Frame", traced)


def _traced(
    shapes: list[Shape] | list[ShortAxis], ed: int, es: int, i: int, view: str
) -> list[list[object]]:
    """X, Y, Frame of every vertex of the traced frames of one clip."""
    if i == 2 and view == "PSAX":
        return []
    rows: list[list[object]] = []
    for number in (ed, es):
        if (i == 2 and number == es) or (i == 5 and number == ed and view == "PSAX"):
            rows.append(["nan", "nan", "No Systolic" if number == es else "No Diastolic"])
            continue
        points = (_outline(shapes[number]) + np.array([DEPTH / 2, 0])) / DEPTH * _SIZE - 0.5
        if i == 4:
            points[: len(points) // 4, 0] += _SIZE
        frame_cell = len(shapes) + 3 if i == 3 and number == es and view == "A4C" else number
        rows += [[f"{x:.4f}", f"{y:.4f}", frame_cell] for x, y in points.tolist()]
    return rows


def _outline(shape: Shape | ShortAxis) -> FloatArray:
    """The cavity's border as vertices (n, 2) in mm, in order around it."""
    if isinstance(shape, ShortAxis):
        return shape.outline(_VERTICES)
    discs = shape.trace()[1:]
    return np.concatenate([discs[:, :2], discs[::-1, 2:]])
