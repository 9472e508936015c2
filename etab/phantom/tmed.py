"""Writes made studies in the published layout of TMED-2, with its quirks: two studies of one
patient that differ, files that no table lists, view-labelled studies without a diagnosis,
unlabelled images, zeros below or beside the picture.

The aortic valve shines and thickens with stenosis, its opening narrows and the wall of the left
ventricle grows.
"""

from __future__ import annotations

import csv
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from etab.phantom.anatomy import LA, LV, MY, RIGHT, draw_heart
from etab.phantom.sector import Scanner, Seen, draw_scanner, frame
from etab.types import Array, FloatArray

_SIZE = 112
_VIEWS = ("PLAX", "PSAX", "A2C", "A4C", "A4CorA2CorOther")
FULL, VIEWED = "view_and_diagnosis_labeled_set", "view_labeled_set"
UNLABELLED = "unlabeled_set/unlabeled"
HEADER = "query_key,view_label,diagnosis_label,SourceFolder,view_classifier_split,diagnosis_classifier_split"
NOT_GIVEN = "Not_Provided"
_GRADES = (("no_AS",), ("mild_AS", "mildtomod_AS"), ("moderate_AS", "severe_AS"))
_CALCIUM = ((0.0, 0.25), (0.3, 0.6), (0.6, 1.0))
_CYCLE = (2, 1, 0, 2, 1, 2, 0)
_FOLDS = 3
_SMALLER = {"DEV479": 1, "DEV165": 3, "DEV56": 9}
_NOTICE = "This tree is PHANTOM data: made echocardiograms, not patients. It must never enter a real leaderboard.\n"


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut through a made heart in mm: ellipses of tissue, painted in order, and lines that shine.

    blobs: (label, x, y, half width, half height, tilt). lines: (x1, y1, x2, y2, width, strength).
    """

    blobs: tuple[tuple[int, float, float, float, float, float], ...]
    lines: tuple[tuple[float, float, float, float, float, float], ...]

    def labels(self, x: Array, y: Array) -> Array:
        """Which structure each point belongs to."""
        out = np.zeros(x.shape, dtype=np.uint8)
        for label, cx, cy, a, b, tilt in self.blobs:
            c = np.cos(tilt)
            s = np.sin(tilt)
            u = c * (x - cx) + s * (y - cy)
            v = c * (y - cy) - s * (x - cx)
            out[(u / a) ** 2 + (v / b) ** 2 < 1] = label
        return out

    def bright(self, x: Array, y: Array) -> FloatArray:
        """Extra echo of the lines, by the distance to each."""
        out = np.zeros(x.shape)
        for x1, y1, x2, y2, width, strength in self.lines:
            dx = x2 - x1
            dy = y2 - y1
            t = np.clip(((x - x1) * dx + (y - y1) * dy) / (dx * dx + dy * dy), 0, 1)
            out += strength * np.exp(-((np.hypot(x - x1 - t * dx, y - y1 - t * dy) / width) ** 2))
        return out

    def material(self, x: Array, y: Array) -> tuple[FloatArray, FloatArray]:
        """Tissue stays where it is: these are stills."""
        return np.asarray(x), np.asarray(y)


def long_axis_cut(calcium: float, rng: np.random.Generator) -> Cut:
    """Parasternal long axis: LV to the left, aortic root with its valve to the right, LA below it,
    RV on top.
    """
    dx = rng.normal(0, 4)
    dy = rng.normal(0, 4)
    tilt = rng.normal(-0.2, 0.06)
    wall = 9 + 4 * calcium + rng.normal(0, 0.6)
    size = float(np.exp(rng.normal(0, 0.07)))
    x = -18 + dx
    y = 84 + dy
    root = (36 + dx, 68 + dy)
    gap = 11 * (1 - 0.7 * calcium)
    blobs = (
        (RIGHT, 4 + dx, 42 + dy, 46.0, 11.0, -0.05),
        (MY, x, y, 44 * size + wall, 21 * size + wall, tilt),
        (LV, x, y, 44 * size, 21 * size, tilt),
        (MY, *root, 27.0, 17.0, -0.15),
        (LV, *root, 30.0, 14.0, -0.15),
        (LA, 40 + dx, 104 + dy, 23 * size, 15 * size, 0.1),
    )
    width = 1.0 + 2.4 * calcium
    strength = 0.25 + 0.95 * calcium
    leaflets = tuple(
        (root[0] - 16, root[1] + side * 13, root[0] - 4, root[1] + side * gap / 2, width, strength)
        for side in (-1, 1)
    )
    mitral = (18 + dx, 92 + dy, -4 + dx, 98 + dy, 1.3, 0.35)
    return Cut(blobs, (*leaflets, mitral))


def short_axis_cut(calcium: float, rng: np.random.Generator) -> Cut:
    """Parasternal short axis at the aortic valve: a ring with three leaflets, the RV around it, the
    atria below.
    """
    x = rng.normal(0, 5)
    y = 74 + rng.normal(0, 5)
    turn = rng.normal(0, 0.2)
    radius = 15 * float(np.exp(rng.normal(0, 0.07)))
    blobs = (
        (RIGHT, x - 4, y - 20, 44.0, 17.0, 0.1),
        (LA, x + 6, y + 32, 27.0, 17.0, 0.0),
        (MY, x, y, radius + 4, radius + 4, 0.0),
        (LV, x, y, radius, radius, 0.0),
    )
    width = 1.0 + 2.4 * calcium
    strength = 0.25 + 0.95 * calcium
    angles = [turn + np.pi / 2 + k * 2 * np.pi / 3 for k in range(3)]
    inner = radius * 0.55 * (1 - calcium)
    lines = tuple(
        (
            x + inner * np.cos(a),
            y + inner * np.sin(a),
            x + radius * np.cos(a),
            y + radius * np.sin(a),
            width,
            strength,
        )
        for a in angles
    )
    return Cut(blobs, lines)


def draw_picture(view: str, calcium: float, scanner: Scanner, rng: np.random.Generator) -> Array:
    """One image (112, 112) uint8 of a view: the sector with its black sides, zeros below or to the
    right.
    """
    below = rng.random() < 0.7
    side = 84 if below else 98
    picture = frame(_seen(view, calcium, rng), scanner, side, rng)
    out = np.zeros((_SIZE, _SIZE), np.uint8)
    row, column = (0, (_SIZE - side) // 2) if below else ((_SIZE - side) // 2, 0)
    out[row : row + side, column : column + side] = picture
    return out


def _seen(view: str, calcium: float, rng: np.random.Generator) -> Seen:
    if view == "PLAX":
        return long_axis_cut(calcium, rng)
    if view == "PSAX":
        return short_axis_cut(calcium, rng)
    heart = draw_heart(rng)
    heart = replace(heart, wall=heart.wall + 4 * calcium)
    chambers = int(view == "A4C") if view in ("A2C", "A4C") else int(rng.integers(2))
    shape = heart.shape(chambers, float(rng.random()))
    if (
        view in ("A2C", "A4C") or rng.random() < 0.25
    ):  # as named, the last class may hide an apical view
        return shape
    sign = float(rng.choice([-1.0, 1.0]))
    return replace(
        shape,
        tilt=sign * float(rng.uniform(0.7, 1.2)),
        apex=(sign * 35, float(rng.uniform(50, 75))),
    )


@dataclass(slots=True)
class _Study:
    """One made study: its key ("4860s1"), label, place in the folds, and the images by folder."""

    key: str
    label: str
    calcium: float
    order: int
    views: list[str] = field(default_factory=list)
    extra: int = 0

    def rows(self, fold: int, part: str) -> Iterator[list[str]]:
        """Rows of the labelled part of a fold file."""
        split = _part(self.order, fold, part)
        folder = f"{VIEWED if self.label == NOT_GIVEN else FULL}/labeled"
        named = ["train", "not_used"] if self.label == NOT_GIVEN else [split, split]
        for i, view in enumerate(self.views):
            yield [f"{self.key}_{i}.png", view, self.label, folder, *named]

    def unlabelled(self) -> Iterator[list[str]]:
        """Rows of the unlabelled part."""
        folder = f"{FULL}/unlabeled" if self.views else UNLABELLED
        for i in range(len(self.views), len(self.views) + self.extra):
            yield [f"{self.key}_{i}.png", NOT_GIVEN, self.label, folder, "unlabeled", "unlabeled"]


def _part(order: int, fold: int, part: str) -> str:
    """The part of the ``order``-th patient of a grade: of five, one is val and one test."""
    turn = (order + fold) % 5
    if turn < 2:
        return ("test", "val")[turn]
    return "train" if (order // 5) % _SMALLER[part] == 0 else "unlabeled"


def write_tmed(root: Path, patients: int, seed: int) -> Iterator[int]:
    """Write a TMED-2 tree; yields after each patient."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "PHANTOM").write_text(_NOTICE)
    extra = max(2, patients // 6)
    ids = 1 + np.random.default_rng([seed, 8]).permutation(9000)[: patients + 2 * extra]
    studies: list[_Study] = []
    for i in range(patients):
        rng = np.random.default_rng([seed, 3, i])
        studies += _patient(root, i, int(ids[i]), rng)
        yield i + 1
    studies += [
        _viewed(root, int(k), np.random.default_rng([seed, 4, int(k)]))
        for k in ids[patients:-extra]
    ]
    studies += [
        _loose(root, int(k), np.random.default_rng([seed, 5, int(k)])) for k in ids[-extra:]
    ]
    _tables(root, studies)


def _patient(root: Path, i: int, patient: int, rng: np.random.Generator) -> list[_Study]:
    """One patient with a diagnosis, in every 20th case two studies; those of the first such patient
    differ.
    """
    grade = _CYCLE[i % 7]
    order = (i // 7) * _CYCLE.count(_CYCLE[i % 7]) + _CYCLE[: i % 7].count(_CYCLE[i % 7])
    grades = [grade] if i % 20 != 1 else [grade, (grade + 1) % 3 if i == 1 else grade]
    studies = []
    for number, g in enumerate(grades, start=1):
        label = str(rng.choice(_GRADES[g]))
        study = _Study(f"{patient}s{number}", label, float(rng.uniform(*_CALCIUM[g])), order)
        study.views = [
            *_VIEWS,
            *rng.choice(_VIEWS, size=1 + 2 * g, p=(0.28, 0.1, 0.1, 0.12, 0.4)).tolist(),
        ]
        study.extra = int(rng.integers(1, 3))
        _images(root, study, rng)
        studies.append(study)
    return studies


def _viewed(root: Path, patient: int, rng: np.random.Generator) -> _Study:
    """One study whose images have a view and no diagnosis."""
    study = _Study(
        f"{patient}s1", NOT_GIVEN, float(rng.random()), 0, rng.choice(_VIEWS, 3).tolist()
    )
    _images(root, study, rng)
    return study


def _loose(root: Path, patient: int, rng: np.random.Generator) -> _Study:
    """One study without any label."""
    study = _Study(f"{patient}s1", NOT_GIVEN, float(rng.random()), 0, extra=1)
    _images(root, study, rng)
    return study


def _images(root: Path, study: _Study, rng: np.random.Generator) -> None:
    scanner = draw_scanner(rng)
    rows = [*study.rows(0, "DEV479"), *study.unlabelled()]
    for row in rows:
        view = row[1] if row[1] in _VIEWS else str(rng.choice(_VIEWS))
        path = root / row[3] / row[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_png(draw_picture(view, study.calcium, scanner, rng)))
    if study.views and study.order == 0 and study.key.endswith("s1"):
        odd = root / rows[0][3] / f"{study.key}_{len(rows)}.png"
        if not any(
            path.name.endswith("_99.png") for path in odd.parent.iterdir()
        ):  # one file a folder is in no table
            odd.with_name(f"{study.key}_99.png").write_bytes(
                _png(draw_picture("PLAX", study.calcium, scanner, rng))
            )


def _png(image: Array) -> bytes:
    """An 8 bit grey PNG whose text says phantom."""
    import cv2

    raw = cv2.imencode(".png", image)[1].tobytes()
    text = b"tEXt" + b"Comment\0phantom"
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    end = 8 + 25  # the signature and the header
    return raw[:end] + chunk + raw[end:]


def _tables(root: Path, studies: list[_Study]) -> None:
    """The table of labels, and the fold files of the three development sets."""
    labelled = [row for study in studies for row in study.rows(0, "DEV479")]
    _table(
        root / "labels_per_image.csv",
        "query_key,view_label,diagnosis_label",
        [row[:3] for row in labelled],
    )
    for part in _SMALLER:
        for fold in range(_FOLDS):
            rows = [row for study in studies for row in study.rows(fold, part)]
            loose = [row for study in studies for row in study.unlabelled()]
            used = [row for row in rows if row[4] != "unlabeled"]
            spare = [row for row in rows if row[4] == "unlabeled"]
            _table(root / part / f"TMED2_fold{fold}_labeledpart.csv", HEADER, used)
            _table(root / part / f"TMED2_fold{fold}_unlabeledpart.csv", HEADER, [*spare, *loose])


def _table(path: Path, header: str, rows: list[list[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header.split(","))
        writer.writerows(rows)
