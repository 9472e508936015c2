"""Writes phantom studies in the published layout of TMED-2, with its quirks.

The quirks: two studies of one patient with different labels, files that no table lists, studies
with view labels and no diagnosis, unlabelled images, and zeros below or beside the sector.

With stenosis the aortic valve becomes brighter and thicker, its opening narrows, and the wall of
the left ventricle thickens.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from etab.phantom.anatomy import LA, LV, MY, RIGHT, bell, draw_heart
from etab.phantom.sector import Scannable, Scanner, draw_scanner, frame
from etab.phantom.trees import NOTICE, write_table
from etab.types import Array, FloatArray

_SIZE = 112
_VIEWS = ("PLAX", "PSAX", "A2C", "A4C", "A4CorA2CorOther")
_FULL = "view_and_diagnosis_labeled_set"
_VIEW_ONLY = "view_labeled_set"
_UNLABELLED = "unlabeled_set/unlabeled"
_HEADER = (
    "query_key,view_label,diagnosis_label,SourceFolder,view_classifier_split,"
    "diagnosis_classifier_split"
)
_NOT_GIVEN = "Not_Provided"
_GRADES = (
    ("no_AS",),
    ("mild_AS", "mildtomod_AS"),
    ("moderate_AS", "severe_AS"),
)
_CALCIUM = ((0.0, 0.25), (0.3, 0.6), (0.6, 1.0))
_CYCLE = (2, 1, 0, 2, 1, 2, 0)
_FOLDS = 3
_SMALLER = {
    "DEV479": 1,
    "DEV165": 3,
    "DEV56": 9,
}


@dataclass(frozen=True, slots=True)
class HeartCut:
    """A cut through a synthetic heart, in mm: ellipses of tissue and bright lines.

    Attributes:
        blobs: (label, x, y, half width, half height, tilt) of each ellipse; later ones cover
            earlier ones.
        lines: (x1, y1, x2, y2, width, strength) of each line.
    """

    blobs: tuple[tuple[int, float, float, float, float, float], ...]
    lines: tuple[tuple[float, float, float, float, float, float], ...]

    def labels(self, x: Array, y: Array) -> Array:
        """Label the structure at each point with the numbers of ``etab.phantom.anatomy``.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.
        """
        out = np.zeros(x.shape, dtype=np.uint8)
        for label, centre_x, centre_y, half_width, half_height, tilt in self.blobs:
            cos = np.cos(tilt)
            sin = np.sin(tilt)
            dx = x - centre_x
            dy = y - centre_y
            across = cos * dx + sin * dy
            along = cos * dy - sin * dx
            inside = (across / half_width) ** 2 + (along / half_height) ** 2 < 1
            out[inside] = label
        return out

    def bright(self, x: Array, y: Array) -> FloatArray:
        """Compute the extra echo of the lines from the distance to each.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.
        """
        out = np.zeros(x.shape)
        for x1, y1, x2, y2, width, strength in self.lines:
            dx = x2 - x1
            dy = y2 - y1
            from_x1 = x - x1
            from_y1 = y - y1
            projection = from_x1 * dx + from_y1 * dy
            share = np.clip(projection / (dx * dx + dy * dy), 0, 1)
            distance = np.hypot(from_x1 - share * dx, from_y1 - share * dy)
            out += strength * bell(distance, width)
        return out

    def material(self, x: Array, y: Array) -> tuple[FloatArray, FloatArray]:
        """Return the positions as they are: in a still image no tissue moves.

        Args:
            x: Horizontal positions in the image, in mm.
            y: Depths in the image, in mm, in the shape of ``x``.
        """
        return np.asarray(x), np.asarray(y)


def long_axis_cut(calcium: float, rng: np.random.Generator) -> HeartCut:
    """Draw a heart in parasternal long axis.

    The LV is on the left, the aortic root with its valve on the right, the LA below it, the RV on
    top.

    Args:
        calcium: The severity of stenosis, from 0 to 1.
        rng: The source of the patient's sizes.
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
    half_length = 44 * size
    half_diameter = 21 * size
    blobs = (
        (RIGHT, 4 + dx, 42 + dy, 46.0, 11.0, -0.05),
        (MY, x, y, half_length + wall, half_diameter + wall, tilt),
        (LV, x, y, half_length, half_diameter, tilt),
        (MY, *root, 27.0, 17.0, -0.15),
        (LV, *root, 30.0, 14.0, -0.15),
        (LA, 40 + dx, 104 + dy, 23 * size, 15 * size, 0.1),
    )
    width = 1.0 + 2.4 * calcium
    strength = 0.25 + 0.95 * calcium
    leaflets = []
    root_x, root_y = root
    for side in (-1, 1):
        hinge = (root_x - 16, root_y + side * 13)
        tip = (root_x - 4, root_y + side * gap / 2)
        leaflets.append((*hinge, *tip, width, strength))
    mitral_hinge = (18 + dx, 92 + dy)
    mitral_tip = (-4 + dx, 98 + dy)
    mitral = (*mitral_hinge, *mitral_tip, 1.3, 0.35)
    return HeartCut(blobs, (*leaflets, mitral))


def short_axis_cut(calcium: float, rng: np.random.Generator) -> HeartCut:
    """Draw a heart in parasternal short axis at the aortic valve.

    The valve is a ring with three leaflets; the RV is around it and the atria below.

    Args:
        calcium: The severity of stenosis, from 0 to 1.
        rng: The source of the patient's sizes.
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
    inner = radius * 0.55 * (1 - calcium)
    lines = []
    for k in range(3):
        angle = turn + np.pi / 2 + k * 2 * np.pi / 3
        cos = np.cos(angle)
        sin = np.sin(angle)
        tip = (x + inner * cos, y + inner * sin)
        hinge = (x + radius * cos, y + radius * sin)
        lines.append((*tip, *hinge, width, strength))
    return HeartCut(blobs, tuple(lines))


def _draw_picture(
    view: str,
    calcium: float,
    scanner: Scanner,
    rng: np.random.Generator,
) -> Array:
    """Draw one image (112, 112) uint8: the sector, with zeros below it or to its right."""
    below = rng.random() < 0.7
    side = 84 if below else 98
    shape = _shape_in(view, calcium, rng)
    picture = frame(shape, scanner, side, rng)
    out = np.zeros((_SIZE, _SIZE), np.uint8)
    margin = (_SIZE - side) // 2
    middle = slice(margin, margin + side)
    if below:
        out[:side, middle] = picture
    else:
        out[middle, :side] = picture
    return out


def _shape_in(
    view: str,
    calcium: float,
    rng: np.random.Generator,
) -> Scannable:
    """Draw the anatomy of one image of a view."""
    if view == "PLAX":
        return long_axis_cut(calcium, rng)
    if view == "PSAX":
        return short_axis_cut(calcium, rng)
    heart = draw_heart(rng)
    heart = replace(heart, wall=heart.wall + 4 * calcium)
    is_apical = view in ("A2C", "A4C")
    chambers = int(view == "A4C") if is_apical else int(rng.integers(2))
    shape = heart.shape(chambers, float(rng.random()))
    # The class "A4CorA2CorOther" contains apical views too, as its name says.
    if is_apical or rng.random() < 0.25:
        return shape
    sign = float(rng.choice([-1.0, 1.0]))
    return replace(
        shape,
        tilt=sign * float(rng.uniform(0.7, 1.2)),
        apex=(sign * 35, float(rng.uniform(50, 75))),
    )


@dataclass(slots=True)
class _Study:
    """One phantom study.

    Attributes:
        key: The published key, such as "4860s1".
        label: The diagnosis label.
        calcium: The severity of stenosis, from 0 to 1.
        order: The number of the patient among patients of one grade; it decides the folds.
        views: The view label of each labelled image.
        extra: The number of unlabelled images.
    """

    key: str
    label: str
    calcium: float
    order: int
    views: list[str] = field(default_factory=list)
    extra: int = 0

    def rows(self, fold: int, part: str) -> Iterator[list[str]]:
        """Yield the study's rows of the labelled part of a fold file."""
        split = _split_in(self.order, fold, part)
        no_diagnosis = self.label == _NOT_GIVEN
        folder = _VIEW_ONLY if no_diagnosis else _FULL
        splits = ["train", "not_used"] if no_diagnosis else [split, split]
        for i, view in enumerate(self.views):
            name = f"{self.key}_{i}.png"
            yield [name, view, self.label, f"{folder}/labeled", *splits]

    def unlabelled(self) -> Iterator[list[str]]:
        """Yield the study's rows of the unlabelled part."""
        folder = f"{_FULL}/unlabeled" if self.views else _UNLABELLED
        first = len(self.views)
        for i in range(first, first + self.extra):
            name = f"{self.key}_{i}.png"
            yield [name, _NOT_GIVEN, self.label, folder, "unlabeled", "unlabeled"]


def _split_in(order: int, fold: int, part: str) -> str:
    """Return the split of a patient: of five patients of a grade, one is val and one test.

    Args:
        order: The number of the patient among patients of one grade.
        fold: The number of the fold file.
        part: The development set, a key of ``_SMALLER``.
    """
    turn = (order + fold) % 5
    if turn == 0:
        return "test"
    if turn == 1:
        return "val"
    is_labelled = (order // 5) % _SMALLER[part] == 0
    return "train" if is_labelled else "unlabeled"


def write_tmed(root: Path, patients: int, seed: int) -> Iterator[int]:
    """Write a TMED-2 tree, and yield the number of patients written after each.

    Args:
        root: The folder to write to.
        patients: The number of patients with a diagnosis; further ones have no diagnosis.
        seed: The same seed gives the same bytes.
    """
    root.mkdir(parents=True, exist_ok=True)
    (root / "PHANTOM").write_text(NOTICE)
    extra = max(2, patients // 6)
    n_ids = patients + 2 * extra
    permuted = np.random.default_rng([seed, 8]).permutation(9000)
    ids: list[int] = (1 + permuted[:n_ids]).tolist()
    studies: list[_Study] = []
    for i in range(patients):
        rng = np.random.default_rng([seed, 3, i])
        studies += _diagnosed_patient(root, i, ids[i], rng)
        yield i + 1
    for patient in ids[patients:-extra]:
        rng = np.random.default_rng([seed, 4, patient])
        studies.append(_study_with_views(root, patient, rng))
    for patient in ids[-extra:]:
        rng = np.random.default_rng([seed, 5, patient])
        studies.append(_unlabelled_study(root, patient, rng))
    _write_tables(root, studies)


def _diagnosed_patient(
    root: Path,
    i: int,
    patient: int,
    rng: np.random.Generator,
) -> list[_Study]:
    """Write a patient with a diagnosis; one in 20 has two studies, which differ for the first."""
    cycles, position = divmod(i, 7)
    grade = _CYCLE[position]
    before_in_cycle = _CYCLE[:position].count(grade)
    order = cycles * _CYCLE.count(grade) + before_in_cycle
    grades = [grade]
    if i == 1:
        grades.append((grade + 1) % 3)
    elif i % 20 == 1:
        grades.append(grade)
    studies = []
    for number, study_grade in enumerate(grades, start=1):
        label = str(rng.choice(_GRADES[study_grade]))
        calcium = float(rng.uniform(*_CALCIUM[study_grade]))
        study = _Study(f"{patient}s{number}", label, calcium, order)
        shares = (0.28, 0.1, 0.1, 0.12, 0.4)
        further = rng.choice(_VIEWS, size=1 + 2 * study_grade, p=shares).tolist()
        study.views = [*_VIEWS, *further]
        study.extra = int(rng.integers(1, 3))
        _write_images(root, study, rng)
        studies.append(study)
    return studies


def _study_with_views(
    root: Path,
    patient: int,
    rng: np.random.Generator,
) -> _Study:
    """Write one study whose images have a view label and no diagnosis."""
    calcium = float(rng.random())
    views = rng.choice(_VIEWS, 3).tolist()
    study = _Study(f"{patient}s1", _NOT_GIVEN, calcium, 0, views)
    _write_images(root, study, rng)
    return study


def _unlabelled_study(
    root: Path,
    patient: int,
    rng: np.random.Generator,
) -> _Study:
    """Write one study without any label."""
    study = _Study(
        f"{patient}s1",
        _NOT_GIVEN,
        float(rng.random()),
        0,
        extra=1,
    )
    _write_images(root, study, rng)
    return study


def _write_images(
    root: Path,
    study: _Study,
    rng: np.random.Generator,
) -> None:
    """Write the images of a study, and at most one file a folder that no table lists."""
    scanner = draw_scanner(rng)
    rows = [*study.rows(0, "DEV479"), *study.unlabelled()]
    for row in rows:
        name, view, _, folder, *_ = row
        drawn_view = view if view in _VIEWS else str(rng.choice(_VIEWS))
        path = root / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = _draw_picture(drawn_view, study.calcium, scanner, rng)
        path.write_bytes(_png(picture))
    is_first_of_grade = study.order == 0 and study.key.endswith("s1")
    if not (study.views and is_first_of_grade):
        return
    first_folder = root / rows[0][3]
    if not any(first_folder.glob("*_99.png")):
        picture = _draw_picture("PLAX", study.calcium, scanner, rng)
        (first_folder / f"{study.key}_99.png").write_bytes(_png(picture))


def _png(image: Array) -> bytes:
    """Encode an 8-bit grey PNG with a text chunk that marks it as a phantom."""
    import cv2

    raw = cv2.imencode(".png", image)[1].tobytes()
    text = b"tEXt" + b"Comment\0phantom"
    length = struct.pack(">I", len(text) - 4)
    checksum = struct.pack(">I", zlib.crc32(text))
    chunk = length + text + checksum
    end = 8 + 25  # the signature and the header
    return raw[:end] + chunk + raw[end:]


def _write_tables(root: Path, studies: list[_Study]) -> None:
    """Write the table of labels and the fold files of the three development sets."""
    labelled = [row for study in studies for row in study.rows(0, "DEV479")]
    labels = [row[:3] for row in labelled]
    _write_table(root / "labels_per_image.csv", "query_key,view_label,diagnosis_label", labels)
    unlabelled = [row for study in studies for row in study.unlabelled()]
    for part in _SMALLER:
        for fold in range(_FOLDS):
            rows = [row for study in studies for row in study.rows(fold, part)]
            used = [row for row in rows if row[4] != "unlabeled"]
            unused = [row for row in rows if row[4] == "unlabeled"]
            name = f"TMED2_fold{fold}"
            _write_table(root / part / f"{name}_labeledpart.csv", _HEADER, used)
            unlabelled_part = root / part / f"{name}_unlabeledpart.csv"
            _write_table(unlabelled_part, _HEADER, [*unused, *unlabelled])


def _write_table(
    path: Path,
    header: str,
    rows: Sequence[Sequence[object]],
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, header, rows)
