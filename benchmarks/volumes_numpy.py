"""Volumes of the left ventricle from the masks beside records of CAMUS, with numpy alone.

``benchmarks.readouts_numpy`` compares what follows from them with etab. The base is the lowest 3 % of the
ventricle, and the long axis leads from its middle to the farthest pixel. In one view a volume follows from
area and length; in two views from twenty discs along the longer of the two axes.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.rescore_numpy import Array, Table, read_table

FEWEST_PIXELS = 20  # of a ventricle with a long axis
SAMPLED = 20  # rows whose masks are published
DISCS = 20

Volumes = dict[tuple[str, int], tuple[int, float, float]]
"""Row, true and predicted volume in ml by recording or patient and division into folds."""


@dataclass(frozen=True)
class Ventricle:
    """The area in mm2, the length of the long axis in mm, and the area of each of twenty slabs across it."""

    area: float
    length: float
    slabs: Array


@dataclass(frozen=True)
class Frame:
    """A row with a mask beside its record: the ventricle of the authors, and the predicted one."""

    row: int
    recording: str
    patient: str
    repeat: int
    phase: str
    true: Ventricle
    predicted: Ventricle


def ventricle(mask: Array, spacing: Array) -> Ventricle:
    """Measure a mask; everything is 0 where it has too few pixels."""
    pixels = np.argwhere(mask).astype(float)
    if len(pixels) < FEWEST_PIXELS:
        return Ventricle(0.0, 0.0, np.zeros(DISCS))
    down = main_direction(pixels)
    down = down if down[0] > 0 else -down
    depth = pixels @ down
    base = pixels[depth >= np.quantile(depth, 0.97)]
    along = (base - base.mean(axis=0)) @ main_direction(base)
    middle = (base[along.argmin()] + base[along.argmax()]) / 2
    away = (pixels - middle) * spacing
    apex = away[(away**2).sum(axis=1).argmax()]
    length = np.sqrt((apex**2).sum())
    # A pixel below the base is of the first slab, the apex of the last one.
    slabs = np.clip(np.floor(away @ (apex / length) / length * DISCS), 0, DISCS - 1)
    counts = np.bincount(slabs.astype(int), minlength=DISCS)
    pixel = spacing.prod()
    return Ventricle(len(pixels) * pixel, float(length), counts * pixel)


def main_direction(points: Array) -> Array:
    """The unit vector along which points spread most."""
    centred = points - points.mean(axis=0)
    return np.asarray(np.linalg.svd(centred, full_matrices=False)[2][0])


def by_area_and_length(one: Ventricle) -> float:
    """Volume in ml, 8 A^2 / (3 pi L)."""
    return float(8 * one.area**2 / (3 * np.pi * one.length) / 1000) if one.length else 0.0


def by_discs(one: Ventricle, two: Ventricle) -> float:
    """Volume in ml of twenty elliptic discs, whose diameters are those of two views."""
    if not one.length or not two.length:
        return 0.0
    height = max(one.length, two.length) / DISCS
    diameters = [axis.slabs / (axis.length / DISCS) for axis in (one, two)]
    return float((np.pi / 4 * diameters[0] * diameters[1] * height).sum() / 1000)


def true_mask(path: Path) -> tuple[Array, Array]:
    """The ventricle in a NIfTI file of CAMUS, and the size of a pixel: rows, then columns."""
    content = gzip.decompress(path.read_bytes())
    across, down = np.frombuffer(content[42:46], "<i2").astype(int)
    sizes = np.frombuffer(content[80:88], "<f4").astype(float)
    first = int(np.frombuffer(content[108:112], "<f4")[0])
    kind = {2: "u1", 4: "<i2", 8: "<i4", 16: "<f4", 64: "<f8"}[content[70]]
    labels = np.frombuffer(content[first:], kind)[: across * down]
    return labels.reshape(down, across) == 1, sizes[::-1]


def kept_masks(
    path: Path, items: Sequence[str], table: Table
) -> tuple[list[int], list[Array], bool]:
    """The rows of a cell with masks beside its record, the masks, and whether they are all rows."""
    whole = path.with_suffix(".masks.npz").is_file()
    rows = list(range(len(items)))
    if not whole:
        keys = [f"{item} {repeat}" for item, repeat in zip(items, table.repeats, strict=True)]
        rows.sort(key=lambda row: hashlib.sha256(keys[row].encode()).digest())
        rows = sorted(rows[:SAMPLED])
    file = path.with_suffix(".masks.npz" if whole else ".masks-sample.npz")
    if not file.is_file():
        return [], [], whole
    stored = np.load(file)
    masks = []
    start = 0
    for shape, (top, left, height, width) in zip(
        stored["shape"].tolist(), stored["box"].tolist(), strict=True
    ):
        size = height * ((width + 7) // 8)
        packed = stored["bits"][start : start + size].reshape(height, -1) if size else None
        mask = np.zeros(shape, dtype=bool)
        if packed is not None:
            inside = np.unpackbits(packed, axis=1)[:, :width].astype(bool)
            mask[top : top + height, left : left + width] = inside
        masks.append(mask)
        start += size
    return rows, masks, whole


def phase_of(root: Path, item: str) -> tuple[str, Path]:
    """ED or ES of a row such as patient0001_4CH#0, and the file of the authors' mask.

    Two stills are in the order of their numbers, which the copy of 224 pixels tells of the 2-chamber view
    alone. In a sequence the numbers are those of its frames, from 1.
    """
    record, number = item.split("#")
    patient, view = record.split("_")
    folder = next(root.rglob(f"{patient}_{view}_ED_gt.nii.gz")).parent
    order = ["ED", "ES"]
    info = folder / f"Info_{view}.cfg"
    if info.is_file():
        told = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
        order.sort(key=lambda phase: int(told[phase]))
    if any(folder.glob(f"{record}*sequence.nii.gz")):
        order = [phase for phase in order if int(told[phase]) == int(number) + 1]
        number = "0"
    phase = order[int(number)]
    return phase, folder / f"{record}_{phase}_gt.nii.gz"


def measured(
    path: Path, items: Sequence[str], table: Table, root: Path
) -> tuple[list[Frame], bool]:
    """The frames of a cell with masks beside its record, and whether they are all of its rows."""
    rows, masks, whole = kept_masks(path, items, table)
    frames = []
    for row, mask in zip(rows, masks, strict=True):
        phase, file = phase_of(root, items[row])
        true, spacing = true_mask(file)
        frames.append(
            Frame(
                row,
                items[row].split("#")[0],
                str(table.patients[row]),
                int(table.repeats[row]),
                phase,
                ventricle(true, spacing),
                ventricle(mask, spacing),
            )
        )
    return frames, whole


def in_two_views(two: Sequence[Frame], four: Sequence[Frame], phase: str) -> Volumes:
    """Biplane volumes of one phase; the rows are those of the four-chamber view."""
    other = {(frame.patient, frame.repeat): frame for frame in two if frame.phase == phase}
    found: Volumes = {}
    for frame in four:
        key = (frame.patient, frame.repeat)
        if frame.phase == phase and key in other:
            true = by_discs(other[key].true, frame.true)
            found[key] = (frame.row, true, by_discs(other[key].predicted, frame.predicted))
    return found


def in_one_view(frames: Sequence[Frame], phase: str) -> Volumes:
    """Volumes of one phase by area and length."""
    return {
        (frame.recording, frame.repeat): (
            frame.row,
            by_area_and_length(frame.true),
            by_area_and_length(frame.predicted),
        )
        for frame in frames
        if frame.phase == phase
    }


def fractions(ed: Volumes, es: Volumes) -> Volumes:
    """True and predicted ejection fraction where both volumes at ED are more than 0."""
    found: Volumes = {}
    for key, (row, true, predicted) in ed.items():
        if key in es and true > 0 and predicted > 0:
            _, true_es, predicted_es = es[key]
            found[key] = (row, 100 * (1 - true_es / true), 100 * (1 - predicted_es / predicted))
    return found


def volumes(
    path: Path, record: Mapping[str, object], items: Sequence[str], table: Table, root: Path
) -> Iterator[tuple[str, Volumes, bool]]:
    """Volumes and ejection fractions of a cell by their names, and whether the masks are all there."""
    code = str(record["task"])
    if code[:3] != "a0-":
        return
    frames, whole = measured(path, items, table, root)
    ed, es = (in_one_view(frames, phase) for phase in ("ED", "ES"))
    yield "ED volume, ml", ed, whole
    yield "ES volume, ml", es, whole
    yield "EF of masks", fractions(ed, es), whole
    place = path.parents[1].with_name(code.replace("-A4-", "-A2-")) / path.parent.name / path.name
    if "-A4-" not in code or not place.is_file():
        return
    same = ("backbone", "protocol", "head", "seed")
    of_two = json.loads(place.read_text(encoding="utf-8"))
    if [of_two[name] for name in same] != [record[name] for name in same]:
        return
    two, whole_two = measured(place, *read_table(place.with_suffix(".csv")), root)
    ed, es = (in_two_views(two, frames, phase) for phase in ("ED", "ES"))
    both = whole and whole_two
    yield "biplane ED volume, ml", ed, both
    yield "biplane ES volume, ml", es, both
    yield "biplane EF of masks", fractions(ed, es), both
