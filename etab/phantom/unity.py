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
            code = hashlib.sha256(f"{seed} {i} {view}".encode()).hexdigest()
            rng = np.random.default_rng([seed, 5, i, view_index])
            for number, picture, points in _pictures(view, rng):
                name = f"01-{code}-{number:04d}.png"
                _write_png(root / "png-cache" / "01" / code[:2] / code[2:4] / name, picture)
                blank = i == _UNLABELLED and number > 0
                part[name] = {"labels": _labels(points, odd=i == _LISTS, blank=blank)}
                misnamed = i == _OTHER_VIEW and view == "A2C"
                views.append([name, "SUBCOSTAL-HEART" if misnamed else _VIEW_WORDS[view]])
            if i != _NO_PIXEL_SIZE:
                sizes.append(
                    [
                        f"01-{code}",
                        DEPTH / FRAME_SIZE / 10,
                        DEPTH / FRAME_SIZE / 10,
                    ]
                )
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
    for number, contraction in ((0, 0.0), (12, 1.0)):
        apical = heart.shape(int(view == "A4C"), contraction)
        pictured = ThreeChamber(apical) if view == "A3C" else apical
        yield number, frame(pictured, scanner, FRAME_SIZE, rng), _apical_points(apical)


def _long_axis_points(shape: LongAxisShape) -> _Points:
    ends = shape.calipers()
    return {
        "lv-ivs-top": ends["IVS"][0],
        "lv-ivs-bottom": ends["IVS"][1],
        "lv-pw-top": ends["LVPW"][0],
        "lv-pw-bottom": ends["LVPW"][1],
    }


def _apical_points(shape: Shape) -> _Points:
    across = np.array([0.0, -0.8 * shape.width, 0.8 * shape.width])
    along = np.array([0.0, shape.length, shape.length])
    x, y = shape.image(across, along)
    return {name: (float(x[k]), float(y[k])) for k, name in enumerate(_POINTS[:3])}


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
        x = (points[name][0] + DEPTH / 2) / DEPTH * FRAME_SIZE - 0.5
        y = points[name][1] / DEPTH * FRAME_SIZE - 0.5
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
    every: dict[str, object] = {}
    for part in parts.values():
        every.update(part)
    for word, entries in {**parts, "all": every}.items():
        (folder / f"labels-{word}.json").write_text(json.dumps(entries, indent=1))
        (folder / f"labels-{word}.txt").write_text("".join(f"{name}\n" for name in entries))
    keys = {name: {"rgb": f"{k / 8:g} 0.5 1"} for k, name in enumerate((*_POINTS, "curve-lv-endo"))}
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
