"""Writes made pictures in the published layout of Unity Imaging, with the quirks of its labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from etab.phantom.anatomy import Shape, draw_heart
from etab.phantom.parasternal import LongAxisShape, ThreeChamber, draw_long_axis
from etab.phantom.sector import DEPTH, draw_scanner, frame
from etab.phantom.trees import MARK, NOTICE, write_table
from etab.types import Array

FRAME_SIZE = 128
WORDS = {"A2C": "A2CH-LV", "A3C": "A3CH-FULL", "A4C": "A4CH_LV", "PLAX": "PLAX-FULL"}
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


def write_unity(root: Path, patients: int, seed: int) -> Iterator[int]:
    """Write the tree; yields after each patient, who has a DICOM file in each of the four views,
    two frames labelled.

    Quirks: coordinates are text, a curve has many, structures that are off or blurred have none;
    one name of a picture is malformed, one file is of another view, one point lies outside its
    picture, one picture has no label at all, and labels of one patient are lists, as later exports
    have them.
    """
    (root / "labels").mkdir(parents=True, exist_ok=True)
    (root / "PHANTOM").write_text(NOTICE)
    parts: dict[str, dict[str, object]] = {"train": {}, "tune": {}, "ival": {}}
    views: list[list[object]] = []
    sizes: list[list[object]] = []
    for i in range(patients):
        part = parts["ival" if i % 10 == 0 else "tune" if i % 10 == 1 else "train"]
        for view_index, (view, word) in enumerate(WORDS.items()):
            code = hashlib.sha256(f"{seed} {i} {view}".encode()).hexdigest()
            for number, (picture, points) in _pictures(
                view, np.random.default_rng([seed, 5, i, view_index])
            ):
                name = f"01-{code}-{number:04d}.png"
                _write_png(root / "png-cache" / "01" / code[:2] / code[2:4] / name, picture)
                part[name] = {"labels": _labels(points, odd=i == 3, blank=i == 4 and number > 0)}
                views.append([name, "SUBCOSTAL-HEART" if i == 2 and view == "A2C" else word])
            if i != 1:
                sizes.append([f"01-{code}", DEPTH / FRAME_SIZE / 10, DEPTH / FRAME_SIZE / 10])
        yield i + 1
    first = next(iter(parts["train"]))
    parts["train"][first.replace("-0000.png", "-0000_(1).png")] = parts["train"][first]
    _write_labels(root / "labels", parts)
    write_table(root / "view_index_20220705.csv", "file,view", views)
    write_table(root / "01_database_physical.csv", "FileHash,PhysicalDeltaX,PhysicalDeltaY", sizes)


def _pictures(view: str, rng: np.random.Generator) -> Iterator[tuple[int, tuple[Array, _Points]]]:
    """Two frames of one made patient in one view: their numbers, pictures and points in mm."""
    scanner = draw_scanner(rng)
    if view == "PLAX":
        for number, shape in zip((0, 12), draw_long_axis(rng, [0.0, 1.0]), strict=True):
            yield number, (frame(shape, scanner, FRAME_SIZE, rng), _long_points(shape))
        return
    heart = draw_heart(rng)
    for number, contraction in ((0, 0.0), (12, 1.0)):
        apical = heart.shape(int(view == "A4C"), contraction)
        pictured = ThreeChamber(apical) if view == "A3C" else apical
        yield number, (frame(pictured, scanner, FRAME_SIZE, rng), _apical_points(apical))


def _long_points(shape: LongAxisShape) -> _Points:
    ends = shape.calipers()
    names = {
        "lv-ivs-top": ("IVS", 0),
        "lv-ivs-bottom": ("IVS", 1),
        "lv-pw-top": ("LVPW", 0),
        "lv-pw-bottom": ("LVPW", 1),
    }
    return {name: ends[calc][end] for name, (calc, end) in names.items()}


def _apical_points(shape: Shape) -> _Points:
    across = np.array([0.0, -0.8 * shape.width, 0.8 * shape.width])
    x, y = shape.image(across, np.array([0.0, shape.length, shape.length]))
    return {name: (float(x[k]), float(y[k])) for k, name in enumerate(_POINTS[:3])}


def _labels(points: _Points, *, odd: bool, blank: bool) -> dict[str, object]:
    """Every structure of one picture; ``odd``: a point outside and lists; ``blank``: nothing was
    labelled.
    """
    out: dict[str, dict[str, str]] = {}
    for name in _POINTS:
        if name in points and not blank:
            x, y = (
                (p + shift) / DEPTH * FRAME_SIZE - 0.5
                for p, shift in zip(points[name], (DEPTH / 2, 0), strict=True)
            )
            x += FRAME_SIZE if odd and name == "mv-post-hinge" else 0
            out[name] = {"type": "point", "x": f"{x:.1f}", "y": f"{y:.1f}"}
        else:
            out[name] = {"type": "blurred" if blank else "off", "x": "", "y": ""}
    out["curve-lv-endo"] = {"type": "curve", "x": "40.0 50.5 61.0", "y": "50.0 30.0 52.5"}
    return {name: [label] for name, label in out.items()} if odd else dict(out)


def _write_labels(folder: Path, parts: Mapping[str, Mapping[str, object]]) -> None:
    all_entries = {name: entry for part in parts.values() for name, entry in part.items()}
    for word, entries in {**parts, "all": all_entries}.items():
        (folder / f"labels-{word}.json").write_text(json.dumps(entries, indent=1))
        (folder / f"labels-{word}.txt").write_text("".join(f"{name}\n" for name in entries))
    keys = {name: {"rgb": f"{k / 8:g} 0.5 1"} for k, name in enumerate((*_POINTS, "curve-lv-endo"))}
    (folder / "keys.json").write_text(json.dumps(keys, indent=1))


def _write_png(path: Path, picture: Array) -> None:
    """A grey PNG with a text chunk that says phantom."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    path.parent.mkdir(parents=True, exist_ok=True)
    text = PngInfo()
    text.add_text("Comment", MARK)
    Image.fromarray(picture).save(path, format="PNG", pnginfo=text)
