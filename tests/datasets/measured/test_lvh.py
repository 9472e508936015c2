"""EchoNet-LVH: measurements, phases and points as the table has them, and damage that is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from etab.datasets.dataset import Dataset
from etab.datasets.lvh import LvhSource
from etab.errors import (
    CorruptFileError,
    LayoutError,
    SplitError,
)
from etab.phantom.sector import DEPTH
from etab.tasks.menu import TASKS
from tests.trees.measured import (
    check_damage,
    cut_end,
    edit,
    edit_row,
    read_cells,
    recording_of,
)

LIST = "MeasurementsList.csv"


def _first(root: Path) -> Path:
    return next((root / "Batch1").iterdir())


def test_lvh_says_what_the_table_says(trees: dict[str, Path]) -> None:
    found = LvhSource(trees["lvh"])
    rows = read_cells(trees["lvh"] / "MeasurementsList.csv")
    assert {r.split for r in found.records()} == {"train", "val", "test"}
    for record in found.records():
        for calc in ("IVSd", "LVIDd", "LVPWd", "LVIDs", "IVSs", "LVPWs"):
            mine = {
                (int(r["Frame"]), float(r["CalcValue"]))
                for r in rows
                if r["HashedFileName"] == record.id and r["Calc"] == calc
            }
            assert {(a.at, a.value) for a in found.answers(record, found.card.target(calc))} == mine
        assert 2.5 < found.answers(record, found.card.target("LVIDd"))[0].value < 8, (
            "cm, as published"
        )


def test_lvh_phases_and_points(trees: dict[str, Path]) -> None:
    found = LvhSource(trees["lvh"])
    for record in found.records():
        at = {a.value: a.at for a in found.answers(record, found.card.target("ES/ED"))}
        (points,) = found.answers(record, found.card.target("keypoints"))
        spacing = found.spacing(record)
        height = found.frames(record, [0]).shape[1]
        assert spacing is not None
        assert spacing[0] == pytest.approx(DEPTH / height, rel=0.01)
        calcs = [
            found.answers(record, found.card.target(c))[0].value for c in ("IVSd", "LVIDd", "LVPWd")
        ]
        lengths = np.hypot(*(points.value[1::2] - points.value[::2]).T) * spacing[0] / 10
        seen = np.isfinite(lengths)
        assert lengths[seen] == pytest.approx(np.array(calcs)[seen], rel=0.03)
        if record != recording_of(found, 4):  # without a systolic measurement there is no ES
            assert points.at == at[0]
            assert at[1] == found.answers(record, found.card.target("LVIDs"))[0].at
            assert found.answers(record, found.card.target("LVIDs"))[0].value < calcs[1]
        else:
            assert at == {}


def test_lvh_the_cavity_lies_between_its_points(trees: dict[str, Path]) -> None:
    found = LvhSource(trees["lvh"])
    darker = 0
    for record in found.records():
        (points,) = found.answers(record, found.card.target("keypoints"))
        frame = cv2.GaussianBlur(found.frames(record, [points.at])[0], (5, 5), 0)
        (x, y), (sx, sy) = points.value[[2, 3]].mean(axis=0), points.value[[0, 1]].mean(axis=0)
        darker += int(frame[int(y), int(x)]) < int(frame[int(sy), int(sx)])
    assert darker >= 7


def test_lvh_rates_of_rows_that_do_not_say(trees: dict[str, Path]) -> None:
    found = LvhSource(trees["lvh"])
    assert [r.fps for r in found.records()] == [30, 50, 30, 50, 30, 50, 30, 50]
    rows = {r["HashedFileName"]: r for r in read_cells(trees["lvh"] / "MeasurementsList.csv")}
    assert rows[recording_of(found, 2).id]["FPS"] == ""
    assert rows[recording_of(found, 3).id]["Width"] == "33.333"
    assert any("2 videos have no rate" in said for said in found.remarks())


def test_lvh_points_outside_and_rows_twice(trees: dict[str, Path]) -> None:
    found = LvhSource(trees["lvh"])
    (points,) = found.answers(recording_of(found, 5), found.card.target("keypoints"))
    assert np.isnan(points.value[5]).all()
    assert np.isfinite(points.value[:5]).all()
    assert len(found.answers(recording_of(found, 7), found.card.target("LVIDd"))) == 1
    assert any("1 rows repeat a measurement" in said for said in found.remarks())


def test_keypoints_move_with_the_picture(trees: dict[str, Path]) -> None:
    found = LvhSource(trees["lvh"])
    record = found.records()[0]
    (points,) = found.answers(record, found.card.target("keypoints"))
    h, w = found.frames(record, [0]).shape[1:]
    x, y = Dataset("lvh", "keypoints", frame_l=2 * h, frame_w=3 * w, root=trees["lvh"])[0]
    assert x.shape == (3, 2 * h, 3 * w)
    assert y.dtype == torch.float32
    assert torch.allclose(y, torch.tensor((points.value + 0.5) * [3, 2] - 0.5, dtype=torch.float32))
    _, padded = Dataset("lvh", "keypoints", frame_l=w, frame_w=w, padding=True, root=trees["lvh"])[
        0
    ]
    assert torch.allclose(
        padded,
        torch.tensor(points.value + np.array([0, (w - h) // 2]), dtype=torch.float32),
        atol=1e-3,
    )
    x, (moved, places) = Dataset(
        "lvh", "keypoints", video=True, clip_l=6, frame_l=h, frame_w=w, root=trees["lvh"]
    )[0]
    assert (len(x), moved.shape, places.shape) == (6, (1, 6, 2), (1,))
    assert torch.allclose(moved[0], torch.tensor(points.value, dtype=torch.float32), atol=1e-4)


def test_rows_are_shown_by_the_frame_that_was_measured(trees: dict[str, Path]) -> None:
    from etab.features.frames import annotated_frames, task_rows

    found = LvhSource(trees["lvh"])
    frames = annotated_frames(found)
    rows = task_rows(TASKS["b3-PL-L"], found, frames)
    for item, place, value in zip(rows.items, rows.frames[:, 0], rows.answers, strict=True):
        record, at = frames[place]
        assert item == f"{record.id}#{at}"
        assert (at, value) in {
            (a.at, a.value) for a in found.answers(record, found.card.target("IVSd"))
        }
    assert rows.missing == ()


DAMAGE: dict[str, tuple[type[Exception], str, Callable[[Path], object]]] = {
    "no table": (
        LayoutError,
        "MeasurementsList.csv is missing",
        lambda r: (r / LIST).unlink(),
    ),
    "no batch": (
        LayoutError,
        "and no other batch holds. Restore it",
        lambda r: shutil.rmtree(r / "Batch2"),
    ),
    "a column": (
        CorruptFileError,
        "no column 'CalcValue'",
        lambda r: edit(r / LIST, "CalcValue", "Value"),
    ),
    "a measure": (
        CorruptFileError,
        "has Calc 'IVST'",
        lambda r: edit(r / LIST, "IVSd", "IVST"),
    ),
    "a value": (
        CorruptFileError,
        "has CalcValue '-1'",
        lambda r: edit_row(r / LIST, "CalcValue", "-1"),
    ),
    "a frame": (
        CorruptFileError,
        "in frame 99 of",
        lambda r: edit_row(r / LIST, "Frame", "99"),
    ),
    "a point": (
        CorruptFileError,
        "has X1 'x'",
        lambda r: edit_row(r / LIST, "X1", "x"),
    ),
    "a split": (
        CorruptFileError,
        "in split 'trian'",
        lambda r: edit_row(r / LIST, "split", "trian"),
    ),
    "two splits": (
        SplitError,
        "lies in two parts",
        lambda r: edit_row(r / LIST, "split", "val"),
    ),
    "a cut video": (
        CorruptFileError,
        "truncated",
        lambda r: cut_end(next((r / "Batch1").iterdir())),
    ),
    "an empty video": (
        CorruptFileError,
        "cannot be read",
        lambda r: _first(r).write_bytes(b""),
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named(copy: dict[str, Path], what: str) -> None:
    error, message, damage = DAMAGE[what]
    damage(copy["lvh"])
    check_damage("lvh", copy["lvh"], error, message)
