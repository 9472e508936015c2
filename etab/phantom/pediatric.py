"""Writes phantom patients in the published layout of EchoNet-Pediatric, with its quirks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from etab.phantom.anatomy import Shape, draw_heart
from etab.phantom.parasternal import ShortAxis, draw_short_axis
from etab.phantom.sector import DEPTH, draw_scanner, frame
from etab.phantom.trees import NOTICE, beat_contractions, write_avi, write_table
from etab.types import FloatArray

_SIZE = 112
_FPS = 30.0
_BEAT = 18  # frames
_VERTICES = 36
_VIEWS = ("A4C", "PSAX")

# Patients with a quirk, by their index.
_SYSTOLE_MISSING = 2
_TRACED_BEYOND_END = 3
_OUTSIDE = 4
_DIASTOLE_MISSING = 5
_TWO_STUDIES = 6


@dataclass(slots=True)
class _ViewTables:
    """The rows of the two tables of one view."""

    listed: list[list[object]] = field(default_factory=list)
    traced: list[list[object]] = field(default_factory=list)


def write_pediatric(
    root: Path,
    patients: int,
    seed: int,
) -> Iterator[int]:
    """Write the tree, and yield the number of patients written after each.

    A patient has one clip of each view. Quirks by patient: 2 has no systolic trace in A4C and no
    trace in PSAX, 3 is traced in a frame after the last one in A4C, 4 has vertices outside the
    image, 5 has no diastolic trace in PSAX, 6 has two studies. The PSAX folder also holds a video
    that no table lists.

    Args:
        root: The folder to write to.
        patients: The number of patients.
        seed: The same seed gives the same bytes.
    """
    base = root / "pediatric_echo_avi" / "pediatric_echo_avi"
    tables = {view: _ViewTables() for view in _VIEWS}
    for view in _VIEWS:
        videos = base / view / "Videos"
        videos.mkdir(parents=True, exist_ok=True)
    (root / "PHANTOM").write_text(NOTICE)
    for i in range(patients):
        studies = 2 if i == _TWO_STUDIES else 1
        for study in range(studies):
            _write_study(base, tables, i, study, seed)
        yield i + 1
    short_axis_videos = base / "PSAX" / "Videos"
    first = min(short_axis_videos.iterdir())
    unlisted = short_axis_videos / "CR32affff-CR32affff-000001.avi"
    unlisted.write_bytes(first.read_bytes())
    for view, rows in tables.items():
        header = "FileName,EF,Sex,Age,Weight,Height,Split"
        write_table(base / view / "FileList.csv", header, rows.listed)
        write_table(base / view / "VolumeTracings.csv", "FileName,X,Y,Frame", rows.traced)


def _write_study(
    base: Path,
    tables: dict[str, _ViewTables],
    i: int,
    study: int,
    seed: int,
) -> None:
    """Write the clips of one study of patient ``i`` and add its rows to the tables."""
    rng = np.random.default_rng([seed, 4, i, study])
    heart = draw_heart(rng)
    diastole = int(rng.integers(0, 4))
    contractions = beat_contractions(_BEAT + 4, _BEAT, -diastole)
    systole = contractions.index(max(contractions))
    age = i % 17
    facts = [
        f"{heart.ef:.6f}",
        "FM"[i % 2],
        1 + age,
        10 + 3 * age,
        75 + 6 * age,
        i % 10,
    ]
    clips: dict[str, list[Shape] | list[ShortAxis]] = {
        "A4C": [heart.shape(1, contraction) for contraction in contractions],
        "PSAX": draw_short_axis(rng, heart.ef, contractions),
    }
    for number, (view, shapes) in enumerate(clips.items()):
        patient_code = f"CR32a{4096 + 7 * i:04x}"
        study_code = f"CR32a{8192 + 31 * i + study:04x}"
        clip_code = 20 + 11 * number + i % 5
        name = f"{patient_code}-{study_code}-{clip_code:06d}.avi"
        scanner = draw_scanner(rng)
        frames = [frame(shape, scanner, _SIZE, rng) for shape in shapes]
        write_avi(base / view / "Videos" / name, frames, _FPS)
        tables[view].listed.append([name, *facts])
        for row in _traced(shapes, diastole, systole, i, view):
            tables[view].traced.append([name, *row])


def _traced(
    shapes: list[Shape] | list[ShortAxis],
    ed: int,
    es: int,
    i: int,
    view: str,
) -> list[list[object]]:
    """Return X, Y, Frame of every vertex of the traced frames of one clip.

    Args:
        shapes: The anatomy in each frame.
        ed: The number of the frame at end-diastole.
        es: The number of the frame at end-systole.
        i: The number of the patient.
        view: The view of the clip.
    """
    if i == _SYSTOLE_MISSING and view == "PSAX":
        return []
    rows: list[list[object]] = []
    for number in (ed, es):
        if i == _SYSTOLE_MISSING and number == es:
            rows.append(["nan", "nan", "No Systolic"])
            continue
        if i == _DIASTOLE_MISSING and number == ed and view == "PSAX":
            rows.append(["nan", "nan", "No Diastolic"])
            continue
        from_corner = _outline(shapes[number]) + np.array([DEPTH / 2, 0])
        points = from_corner / DEPTH * _SIZE - 0.5
        if i == _OUTSIDE:
            points[: len(points) // 4, 0] += _SIZE
        traced_frame = number
        if i == _TRACED_BEYOND_END and number == es and view == "A4C":
            traced_frame = len(shapes) + 3
        for x, y in points.tolist():
            rows.append([f"{x:.4f}", f"{y:.4f}", traced_frame])
    return rows


def _outline(shape: Shape | ShortAxis) -> FloatArray:
    """Compute the border of the cavity as vertices (n, 2) in mm, in order around it."""
    if isinstance(shape, ShortAxis):
        return shape.outline(_VERTICES)
    discs = shape.trace()[1:]
    return np.concatenate([discs[:, :2], discs[::-1, 2:]])
