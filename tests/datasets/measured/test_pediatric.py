"""EchoNet-Pediatric: facts, outlines and phases of both views, and damage that is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from etab.datasets.pediatric import PediatricSource
from etab.errors import (
    CorruptFileError,
    LayoutError,
    SplitError,
)
from tests.trees.measured import (
    NESTED,
    check_damage,
    cut_end,
    edit,
    edit_row,
    read_cells,
)

A4C = f"{NESTED}/A4C"


def _far(root: Path) -> None:
    path = root / NESTED / "A4C" / "VolumeTracings.csv"
    rows = [
        f"{r['FileName']},{float(r['X']) + 500},{r['Y']},{r['Frame']}" for r in read_cells(path)
    ]
    path.write_text("\n".join(["FileName,X,Y,Frame", *rows]) + "\n")


def test_pediatric_facts(trees: dict[str, Path]) -> None:
    found = PediatricSource(trees["pediatric"])
    for view in ("A4C", "PSAX"):
        rows = read_cells(trees["pediatric"] / NESTED / view / "FileList.csv")
        mine = [r for r in found.records() if r.view == view]
        assert [r.id for r in mine] == [
            row["FileName"].removesuffix(".avi") + f"_{view}" for row in rows
        ]
        for record, row in zip(mine, rows, strict=True):
            assert record.patient == row["FileName"].split("-")[0]
            assert record.split == {"0": "test", "1": "val"}.get(row["Split"], "train")
            assert found.answers(record, found.card.target("EF"))[0].value == float(row["EF"])
            assert found.answers(record, found.card.target("CM"))[0].value == int(
                float(row["EF"]) < 50
            )
            assert found.answers(record, found.card.target("view"))[0].value == (
                "A4C",
                "PSAX",
            ).index(view)
            assert (record.meta["Sex"], record.meta["Age"]) == (row["Sex"], float(row["Age"]))
    assert len(found.records()) == 18
    assert len({r.patient for r in found.records()}) == 8, (
        "two studies of one child are one patient"
    )
    names = {p.name for p in (found.root / "PSAX" / "Videos").iterdir()}
    assert len(names) == 10, "a video that no list names is there, and is not a recording"


def test_pediatric_masks_are_the_polygons(trees: dict[str, Path]) -> None:
    found = PediatricSource(trees["pediatric"])
    traced: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for view in ("A4C", "PSAX"):
        for row in read_cells(found.root / view / "VolumeTracings.csv"):
            if row["Frame"].isdigit() and row["X"] != "nan":
                key = (row["FileName"].removesuffix(".avi") + f"_{view}", int(row["Frame"]))
                traced.setdefault(key, []).append((float(row["X"]), float(row["Y"])))
    shown = 0
    for record in found.records():
        for answer in found.answers(record, found.card.target("LV_seg")):
            other = np.zeros((112, 112), np.uint8)
            cv2.fillPoly(other, [np.rint(traced[record.id, answer.at]).astype(np.int32)], 1)
            both, either = (
                (other.astype(bool) & answer.value).sum(),
                (other.astype(bool) | answer.value).sum(),
            )
            assert both / either > 0.95
            shown += 1
    assert shown == 2 * 18 - 5


def test_pediatric_phases_by_area(trees: dict[str, Path]) -> None:
    found = PediatricSource(trees["pediatric"])
    for record in found.records():
        masks = {
            a.at: int(a.value.sum()) for a in found.answers(record, found.card.target("LV_seg"))
        }
        at = {a.value: a.at for a in found.answers(record, found.card.target("ES/ED"))}
        assert len(at) == (2 if len(masks) == 2 else 0)
        assert not at or masks[at[0]] > masks[at[1]]


def test_pediatric_quirks(trees: dict[str, Path]) -> None:
    found = PediatricSource(trees["pediatric"])
    lv = found.card.target("LV_seg")

    def frames(index: int, view: str) -> int:
        patient = f"CR32a{4096 + 7 * index:04x}"
        return len(
            found.answers(
                next(r for r in found.records() if r.patient == patient and r.view == view), lv
            )
        )

    assert frames(2, "A4C") == 1, "No Systolic"
    assert frames(2, "PSAX") == 0, "no trace at all"
    assert frames(3, "A4C") == 1, "a frame beyond the end is left out, as upstream does"
    assert frames(4, "A4C") == frames(5, "A4C") == 2, "vertices outside the picture are cut off"
    assert frames(5, "PSAX") == 1, "No Diastolic"
    assert any("4 videos are traced in fewer than two" in said for said in found.remarks())


def test_pediatric_vertices_that_are_nan_are_left_out(copy: dict[str, Path]) -> None:
    path = copy["pediatric"] / NESTED / "A4C" / "VolumeTracings.csv"
    before = PediatricSource(copy["pediatric"])
    lv, record = before.card.target("LV_seg"), before.records()[0]
    rows = path.read_text().splitlines()
    name, at = rows[1].split(",")[0], rows[1].split(",")[-1]
    path.write_text("\n".join([rows[0], f"{name},nan,NaN,{at}", *rows[1:]]) + "\n")
    after = PediatricSource(copy["pediatric"]).answers(record, lv)
    assert all(
        np.array_equal(a.value, b.value)
        for a, b in zip(before.answers(record, lv), after, strict=True)
    )


@pytest.mark.parametrize("below", [".", "pediatric_echo_avi", str(NESTED), str(NESTED / "A4C")])
def test_pediatric_from_any_folder_of_the_release(trees: dict[str, Path], below: str) -> None:
    found = PediatricSource(trees["pediatric"] / below)
    assert len(found.records()) == 18
    assert found.phantom


DAMAGE: dict[str, tuple[type[Exception], str, Callable[[Path], object]]] = {
    "no view": (
        LayoutError,
        "FileList.csv",
        lambda r: [shutil.rmtree(r / NESTED / view) for view in ("A4C", "PSAX")],
    ),
    "no list": (
        LayoutError,
        "FileList.csv",
        lambda r: (r / A4C / "FileList.csv").unlink(),
    ),
    "no traces": (
        LayoutError,
        "VolumeTracings.csv",
        lambda r: (r / A4C / "VolumeTracings.csv").unlink(),
    ),
    "a column": (
        CorruptFileError,
        "no column 'Split'",
        lambda r: edit(r / A4C / "FileList.csv", "Split", "Fold"),
    ),
    "disc columns": (
        CorruptFileError,
        "no column 'X'",
        lambda r: edit(r / NESTED / "PSAX" / "VolumeTracings.csv", "X,Y", "X1,Y1"),
    ),
    "a fold": (
        CorruptFileError,
        "has Split '12'",
        lambda r: edit_row(r / A4C / "FileList.csv", "Split", "12"),
    ),
    "EF": (
        CorruptFileError,
        "has EF '111'",
        lambda r: edit_row(r / A4C / "FileList.csv", "EF", "111"),
    ),
    "two splits": (
        SplitError,
        "lies in two parts",
        lambda r: edit_row(r / NESTED / "PSAX" / "FileList.csv", "Split", "5"),
    ),
    "no video": (
        LayoutError,
        "avi is missing",
        lambda r: min((r / NESTED / "A4C" / "Videos").iterdir()).unlink(),
    ),
    "a cut video": (
        CorruptFileError,
        "truncated",
        lambda r: cut_end(min((r / NESTED / "A4C" / "Videos").iterdir())),
    ),
    "a word": (
        CorruptFileError,
        "line 2",
        lambda r: edit_row(r / A4C / "VolumeTracings.csv", "Frame", "Nowhere"),
    ),
    "a vertex": (
        CorruptFileError,
        "line 2",
        lambda r: edit_row(r / A4C / "VolumeTracings.csv", "X", "left"),
    ),
    "a trace outside": (
        CorruptFileError,
        "encloses nothing",
        lambda r: _far(r),
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named(copy: dict[str, Path], what: str) -> None:
    error, message, damage = DAMAGE[what]
    damage(copy["pediatric"])
    check_damage("pediatric", copy["pediatric"], error, message)
