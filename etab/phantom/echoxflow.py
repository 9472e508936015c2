"""Writes phantom examinations in the layout of EchoXFlow: Zarr stores and a catalogue.

The B-mode frames are in beamspace: 64 depths by 48 angles.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import MissingPackageError
from etab.phantom.anatomy import Shape, draw_heart, profile
from etab.phantom.parasternal import ThreeChamber
from etab.phantom.sector import DEPTH, draw_scanner, frame
from etab.phantom.trees import MARK, NOTICE, beat_contractions, write_table
from etab.types import Array, FloatArray

_DEPTHS = 64
_ANGLES = 48
_SIDE = 96
_FRAMES = 8
_STEP = 0.05  # seconds
_WIDTH = 1.2  # radians
_NEAR = 0.005  # metres
_FAR = 0.15
_ROWS = 16
_GROUP = 5
_ROLES = {"2ch": 0, "3ch": 1, "4ch": 1}
_LV_STRAIN = "2d_left_ventricular_strain"
_BMODE = "2d_brightness_mode"
_Rows = list[dict[str, Any]]

# Examinations with a quirk, by their index.
_GAP = 2
_NO_DIGEST = 3


def write_echoxflow(root: Path, patients: int, seed: int) -> Iterator[int]:
    """Write the tree, and yield the number of examinations written after each.

    An examination has a B-mode recording of each of three views, and a strain recording that
    outlines all. Quirks by examination: in 2 a point of a contour is absent and one contour has a
    time between frames, 3 has no digests.

    Args:
        root: The folder to write to.
        patients: The number of examinations.
        seed: The same seed gives the same arrays.

    Raises:
        MissingPackageError: zarr is not installed.
    """
    try:
        zarr: Any = importlib.import_module("zarr")
    except ImportError as error:
        raise MissingPackageError(
            'EchoXFlow phantoms need zarr: pip install "etab-bench[zarr]".'
        ) from error
    root.mkdir(parents=True, exist_ok=True)
    (root / "PHANTOM").write_text(NOTICE)
    recordings: _Rows = []
    arrays: _Rows = []
    for i in range(patients):
        rng = np.random.default_rng([seed, 13, i])
        _write_exam(zarr, root, (recordings, arrays), i, rng)
        yield i + 1
    sets = [{"@id": "recordings", "data": recordings}, {"@id": "arrays", "data": arrays}]
    (root / "croissant.json").write_text(json.dumps({"name": MARK, "recordSet": sets}, indent=1))
    folds = [[_exam(i), i % 5] for i in range(patients)]
    write_table(root / "splits.csv", "exam_id,five_fold_split", folds)


def _exam(i: int) -> str:
    return f"exam{i:04d}"


def _write_exam(
    zarr: Any,
    root: Path,
    rows: tuple[_Rows, _Rows],
    i: int,
    rng: np.random.Generator,
) -> None:
    """Write the stores of an examination and its rows of the catalogue."""
    heart = draw_heart(rng)
    scanner = draw_scanner(rng)
    contractions = beat_contractions(_FRAMES, _FRAMES, 0)
    times = np.arange(_FRAMES, dtype=np.float32) * np.float32(_STEP)
    outlines: dict[str, Array] = {}
    panels = []
    annotations = []
    for role, view in _ROLES.items():
        shapes = [heart.shape(view, contraction) for contraction in contractions]
        pictured = [ThreeChamber(shape) if role == "3ch" else shape for shape in shapes]
        frames = np.stack([_beamspace(frame(s, scanner, _SIDE, rng)) for s in pictured])
        contour = np.stack([_outline(shape) for shape in shapes[::2]])
        contour_times = times[::2].copy()
        if i == _GAP:
            contour[0, 3] = np.nan
            contour_times[1] += np.float32(0.6 * _STEP)
        name = f"{_exam(i)}-{role}"
        stored = {f"data/{_BMODE}": frames, f"timestamps/{_BMODE}": times}
        _write_store(zarr, root, rows, (i, name, _BMODE), stored, {"comment": MARK})
        outlines[f"data/{role}_contour"] = contour.astype(np.float32)
        outlines[f"timestamps/{role}_contour"] = contour_times
        panels.append(_linked(role, name))
        annotations.append(_annotation(role))
    manifest = {"linked_panels": panels, "annotations": annotations}
    facts = {"comment": MARK, "recording_manifest": manifest}
    _write_store(zarr, root, rows, (i, f"{_exam(i)}-strain", _LV_STRAIN), outlines, facts)


def _linked(role: str, name: str) -> dict[str, Any]:
    """Describe the B-mode recording of a role."""
    half = _WIDTH / 2
    sector = {
        "depth_start_m": _NEAR,
        "depth_end_m": _FAR,
        "angle_start_rad": -half,
        "angle_end_rad": half,
    }
    linked = {
        "recording_id": name,
        "recording_zarr_path": f"{name}.zarr",
        "frames_array_path": f"data/{_BMODE}",
        "timestamps_array_path": f"timestamps/{_BMODE}",
    }
    return {"role_id": role, "view_code": role, "linked_recording": linked, "geometry": sector}


def _annotation(role: str) -> dict[str, Any]:
    """Describe the contour of a role."""
    target = {"type": "linked_panel", "semantic_id": role, "field": "contour_points"}
    value = {"format": "zarr_array", "array_path": f"data/{role}_contour"}
    time = {"format": "zarr_array", "array_path": f"timestamps/{role}_contour"}
    return {"target": target, "value": value, "time": time}


def _write_store(
    zarr: Any,
    root: Path,
    rows: tuple[_Rows, _Rows],
    names: tuple[int, str, str],
    arrays: Mapping[str, Array],
    attributes: Mapping[str, Any],
) -> None:
    """Write a Zarr store (examination, recording, content type), and list it."""
    i, name, content = names
    recordings, listed = rows
    group = zarr.open_group(str(root / f"{name}.zarr"), mode="w")
    for path, values in arrays.items():
        group.create_array(path, data=values)
        row = {
            "arrays/recording_id": name,
            "arrays/array_path": path,
            "arrays/dtype": str(values.dtype),
            "arrays/shape": list(values.shape),
        }
        if i != _NO_DIGEST:
            row["arrays/data_sha256"] = hashlib.sha256(values.tobytes()).hexdigest()
        listed.append(row)
    group.attrs.update(dict(attributes))
    recordings.append(
        {
            "recordings/exam_id": _exam(i),
            "recordings/recording_id": name,
            "recordings/zarr_path": f"{name}.zarr",
            "recordings/modes": [content],
            "recordings/content_types": [content],
            "recordings/frame_counts_by_content_type": {content: _FRAMES},
            "recordings/median_delta_time_by_content_type": {content: _STEP},
            "recordings/array_paths": list(arrays),
        }
    )


def _beamspace(picture: Array) -> Array:
    """Sample a square picture of 160 mm at 64 depths and 48 angles."""
    radius = np.linspace(_NEAR, _FAR, _DEPTHS)[:, None] * 1000
    angle = np.linspace(-_WIDTH / 2, _WIDTH / 2, _ANGLES)[None, :]
    column = (radius * np.sin(angle) + DEPTH / 2) / DEPTH * _SIDE - 0.5
    row = radius * np.cos(angle) / DEPTH * _SIDE - 0.5
    rows = np.rint(row).astype(int).clip(0, _SIDE - 1)
    columns = np.rint(column).astype(int).clip(0, _SIDE - 1)
    return np.ascontiguousarray(picture[rows, columns])


def _outline(shape: Shape) -> FloatArray:
    """Outline the wall: rows of five points from the cavity outwards, in metres.

    The rows go along the left side from the base to the apex, and back along the right side.
    """
    along = np.linspace(1.0, 0.02, _ROWS)
    half = shape.width * profile(along)
    points = []
    for layer in np.linspace(0, shape.wall, _GROUP):
        left = shape.image(-(half + layer), along * shape.length)
        right = shape.image((half + layer)[::-1], along[::-1] * shape.length)
        x = np.concatenate([left[0], right[0]])
        y = np.concatenate([left[1], right[1]])
        points.append(np.stack([x, y], axis=1))
    grid = np.stack(points, axis=1)
    return np.asarray(grid.reshape(-1, 2) / 1000)
