"""Writes phantom images in the published layout of Unity Imaging, with the quirks of its labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from etab.phantom.anatomy import Shape, draw_heart
from etab.phantom.parasternal import LongAxisShape, ThreeChamber, draw_long_axis
from etab.phantom.sector import DEPTH, draw_scanner, frame
from etab.phantom.trees import MARK, NOTICE, split_of, write_table
from etab.types import Array

FRAME_SIZE = 128
_VIEW_WORDS = {
    "A2C": "A2CH-LV",
    "A3C": "A3CH-FULL",
    "A4C": "A4CH_LV",
    "PLAX": "PLAX-FULL",
}
_PARTS = {
    "TEST": "ival",
    "VAL": "tune",
    "TRAIN": "train",
}
_POINTS = (
    "lv-apex-endo",
    "mv-ant-hinge",
    "mv-post-hinge",
    "lv-ivs-top",
    "lv-ivs-bottom",
    "lv-pw-top",
    "lv-pw-bottom",
)
_Points = Mapping[str, tuple[float, float]]

# Patients with a quirk, by their index.
_NO_PIXEL_SIZE = 1
_OTHER_VIEW = 2
_LISTS = 3
_UNLABELLED = 4


def write_unity(
    root: Path,
    patients: int,
    seed: int,
) -> Iterator[int]:
    """Write the tree, and yield the number of patients written after each.

    A patient has one DICOM file in each of the four views, with two labelled frames. Quirks:
    coordinates are text; a curve has several; structures that are off or blurred have none; one
    image has a malformed name; one file is of another view; one point lies outside its image; one
    image has no label; the labels of one patient are lists, as in later exports.

    Args:
        root: The folder to write to.
        patients: The number of patients.
        seed: The same seed gives the same bytes.
    """
    (root / "labels").mkdir(parents=True, exist_ok=True)
    (root / "PHANTOM").write_text(NOTICE)
    parts: dict[str, dict[str, object]] = {
        "train": {},
        "tune": {},
        "ival": {},
    }
    views: list[list[object]] = []
    sizes: list[list[object]] = []
    for i in range(patients):
        part = parts[_PARTS[split_of(i)]]
        for view_index, view in enumerate(_VIEW_WORDS):
            patient_key = f"{seed} {i} {view}"
            code = hashlib.sha256(patient_key.encode()).hexdigest()
            folder = root / "png-cache" / "01" / code[:2] / code[2:4]
            rng = np.random.default_rng([seed, 5, i, view_index])
            for number, picture, points in _pictures(view, rng):
                name = f"01-{code}-{number:04d}.png"
                _write_png(folder / name, picture)
                blank = i == _UNLABELLED and number > 0
                part[name] = {"labels": _labels(points, odd=i == _LISTS, blank=blank)}
                misnamed = i == _OTHER_VIEW and view == "A2C"
                views.append([name, "SUBCOSTAL-HEART" if misnamed else _VIEW_WORDS[view]])
            if i != _NO_PIXEL_SIZE:
                pixel_size = DEPTH / FRAME_SIZE / 10  # cm
                sizes.append([f"01-{code}", pixel_size, pixel_size])
        yield i + 1
    first = next(iter(parts["train"]))
    malformed = first.replace("-0000.png", "-0000_(1).png")
    parts["train"][malformed] = parts["train"][first]
    _write_labels(root / "labels", parts)
    write_table(root / "view_index_20220705.csv", "file,view", views)
    write_table(root / "01_database_physical.csv", "FileHash,PhysicalDeltaX,PhysicalDeltaY", sizes)


def _pictures(view: str, rng: np.random.Generator) -> Iterator[tuple[int, Array, _Points]]:
    """Yield number, image and points (mm) of the two frames of a patient in one view."""
    scanner = draw_scanner(rng)
    if view == "PLAX":
        diastole, systole = draw_long_axis(rng, [0.0, 1.0])
        yield 0, frame(diastole, scanner, FRAME_SIZE, rng), _long_axis_points(diastole)
        yield 12, frame(systole, scanner, FRAME_SIZE, rng), _long_axis_points(systole)
        return
    heart = draw_heart(rng)
    four_chambers = int(view == "A4C")
    for number, contraction in ((0, 0.0), (12, 1.0)):
        apical = heart.shape(four_chambers, contraction)
        pictured = ThreeChamber(apical) if view == "A3C" else apical
        yield number, frame(pictured, scanner, FRAME_SIZE, rng), _apical_points(apical)


def _long_axis_points(shape: LongAxisShape) -> _Points:
    """Return the ends of the septum and of the posterior wall, in mm."""
    calipers = shape.calipers()
    septum_top, septum_bottom = calipers["IVS"]
    wall_top, wall_bottom = calipers["LVPW"]
    return {
        "lv-ivs-top": septum_top,
        "lv-ivs-bottom": septum_bottom,
        "lv-pw-top": wall_top,
        "lv-pw-bottom": wall_bottom,
    }


def _apical_points(shape: Shape) -> _Points:
    """Return the apex and the two hinges of the mitral valve, in mm."""
    across = np.array([0.0, -0.8 * shape.width, 0.8 * shape.width])
    along = np.array([0.0, shape.length, shape.length])
    x, y = shape.image(across, along)
    points = {}
    for k, name in enumerate(_POINTS[:3]):
        points[name] = (float(x[k]), float(y[k]))
    return points


def _labels(
    points: _Points,
    *,
    odd: bool,
    blank: bool,
) -> dict[str, object]:
    """Make the labels of every structure of one image.

    Args:
        points: The labelled points in mm.
        odd: Whether one point lies outside the image and every label is a list.
        blank: Whether nothing was labelled.
    """
    out: dict[str, dict[str, str]] = {}
    for name in _POINTS:
        if name not in points or blank:
            out[name] = {
                "type": "blurred" if blank else "off",
                "x": "",
                "y": "",
            }
            continue
        from_probe, depth = points[name]
        from_left = from_probe + DEPTH / 2
        x = from_left / DEPTH * FRAME_SIZE - 0.5
        y = depth / DEPTH * FRAME_SIZE - 0.5
        if odd and name == "mv-post-hinge":
            x += FRAME_SIZE
        out[name] = {
            "type": "point",
            "x": f"{x:.1f}",
            "y": f"{y:.1f}",
        }
    out["curve-lv-endo"] = {
        "type": "curve",
        "x": "40.0 50.5 61.0",
        "y": "50.0 30.0 52.5",
    }
    if odd:
        return {name: [label] for name, label in out.items()}
    return dict(out)


def _write_labels(folder: Path, parts: Mapping[str, Mapping[str, object]]) -> None:
    """Write the labels and the list of images of each part and of all, and the colours."""
    every: dict[str, object] = {}
    for part in parts.values():
        every.update(part)
    for part_name, entries in {**parts, "all": every}.items():
        labels = folder / f"labels-{part_name}.json"
        labels.write_text(json.dumps(entries, indent=1))
        lines = [f"{name}\n" for name in entries]
        (folder / f"labels-{part_name}.txt").write_text("".join(lines))
    keys = {}
    for k, name in enumerate((*_POINTS, "curve-lv-endo")):
        keys[name] = {"rgb": f"{k / 8:g} 0.5 1"}
    (folder / "keys.json").write_text(json.dumps(keys, indent=1))


def _write_png(path: Path, picture: Array) -> None:
    """Write a grey PNG with a text chunk that marks it as a phantom."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    path.parent.mkdir(parents=True, exist_ok=True)
    text = PngInfo()
    text.add_text("Comment", MARK)
    Image.fromarray(picture).save(
        path,
        format="PNG",
        pnginfo=text,
    )
