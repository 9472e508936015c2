"""EchoNet-LVH, EchoNet-Pediatric and Unity Imaging on their phantom trees: facts, quirks, options, damage, runs."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from etab import phantom
from etab.datasets import SOURCES, Source, source
from etab.datasets.dataset import Dataset
from etab.datasets.integrity.check import check
from etab.datasets.lvh import LvhSource
from etab.datasets.pediatric import PediatricSource
from etab.datasets.unity import POINTS, UnitySource
from etab.errors import (
    CorruptFileError,
    DataNotFoundError,
    EtabError,
    LayoutError,
    SplitError,
    UnknownNameError,
    UnsupportedOptionError,
)
from etab.phantom.lvh import write_lvh
from etab.phantom.pediatric import write_pediatric
from etab.phantom.sector import DEPTH
from etab.phantom.unity import FRAME_SIZE, write_unity
from etab.runs.execute import execute
from etab.runs.run import Settings, plan
from etab.tasks.menu import TASKS, find
from etab.testing.datasets import check_dataset
from etab.types import Record

NAMES = ("lvh", "pediatric", "unity")
WRITERS = {"lvh": write_lvh, "pediatric": write_pediatric, "unity": write_unity}
NESTED = Path("pediatric_echo_avi") / "pediatric_echo_avi"
A4C = f"{NESTED}/A4C"
LIST = "MeasurementsList.csv"


def _write(name: str, root: Path, patients: int, seed: int = 2) -> Path:
    assert list(WRITERS[name](root, patients, seed)) == list(range(1, patients + 1))
    return root


class Trees(dict[str, Path]):
    """Trees by name, each made when it is first asked for."""

    def __init__(self, make: Callable[[str], Path]) -> None:
        super().__init__()
        self.make = make

    def __missing__(self, name: str) -> Path:
        self[name] = self.make(name)
        return self[name]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Trees:
    base = tmp_path_factory.mktemp("ultra")
    return Trees(lambda name: _write(name, base / name, 8))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Trees:
    base = tmp_path_factory.mktemp("tiny")
    return Trees(lambda name: _write(name, base / name, 3))


@pytest.fixture
def copy(tiny: Trees, tmp_path: Path) -> Trees:
    """Trees to damage."""
    return Trees(lambda name: Path(shutil.copytree(tiny[name], tmp_path / name)))


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _read_all(name: str, root: Path) -> None:
    found = SOURCES[name](root)
    for record in found.records():
        found.frames(record)
        for target in found.card.targets:
            found.answers(record, target)


def _said(name: str, root: Path) -> str | None:
    """What the source says is absent; None where it says nothing."""
    try:
        _read_all(name, root)
    except (LayoutError, DataNotFoundError) as error:
        return str(error)
    return None


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


# --- the contract ---


@pytest.mark.parametrize("name", NAMES)
def test_contract(trees: dict[str, Path], name: str) -> None:
    check_dataset(SOURCES[name], trees[name])


@pytest.mark.parametrize("name", NAMES)
def test_every_single_deletion_is_named(tiny: dict[str, Path], name: str, tmp_path: Path) -> None:
    root = SOURCES[name](tiny[name]).root
    needed = 0
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        raw = path.read_bytes()
        path.unlink()
        said = _said(name, root)
        path.write_bytes(raw)
        needed += said is not None
        assert said is None or path.name in said, f"without {path.name}: {said}"
    assert needed > 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(LayoutError, match="it is empty"):
        SOURCES[name](tmp_path / "empty")


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_bytes(trees: dict[str, Path], name: str, tmp_path: Path) -> None:
    def digest(folder: Path) -> str:
        h = hashlib.sha256()
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            h.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
        return h.hexdigest()

    assert digest(_write(name, tmp_path / "b", 3)) == digest(_write(name, tmp_path / "c", 3))
    assert digest(tmp_path / "b") != digest(_write(name, tmp_path / "d", 3, seed=4))


@pytest.mark.parametrize("name", NAMES)
def test_the_marks_inside_are_enough(copy: dict[str, Path], name: str) -> None:
    assert SOURCES[name](copy[name]).phantom
    (copy[name] / "PHANTOM").unlink()
    assert SOURCES[name](copy[name]).phantom


@pytest.mark.parametrize("name", NAMES)
def test_check_finds_nothing_wrong_and_says_what_was_left_out(
    trees: dict[str, Path], name: str
) -> None:
    report = check(name, trees[name])
    assert report.ok, report.render()
    assert report.found["frames"] > 30
    assert report.remarks, "every phantom tree has quirks that a person should hear of"
    assert "remarks: " in report.render()


# --- EchoNet-LVH ---


def _by(found: Source, index: int) -> Record:
    """The recording of phantom patient ``index``."""
    return found.records()[index]


def test_lvh_says_what_the_table_says(trees: dict[str, Path]) -> None:
    found = LvhSource(trees["lvh"])
    rows = _table(trees["lvh"] / "MeasurementsList.csv")
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
        if record != _by(found, 4):  # without a systolic measurement there is no ES
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
    rows = {r["HashedFileName"]: r for r in _table(trees["lvh"] / "MeasurementsList.csv")}
    assert rows[_by(found, 2).id]["FPS"] == ""
    assert rows[_by(found, 3).id]["Width"] == "33.333"
    assert any("2 videos have no rate" in said for said in found.remarks())


def test_lvh_points_outside_and_rows_twice(trees: dict[str, Path]) -> None:
    found = LvhSource(trees["lvh"])
    (points,) = found.answers(_by(found, 5), found.card.target("keypoints"))
    assert np.isnan(points.value[5]).all()
    assert np.isfinite(points.value[:5]).all()
    assert len(found.answers(_by(found, 7), found.card.target("LVIDd"))) == 1
    assert any("1 rows measure again" in said for said in found.remarks())


# --- EchoNet-Pediatric ---


def test_pediatric_facts(trees: dict[str, Path]) -> None:
    found = PediatricSource(trees["pediatric"])
    for view in ("A4C", "PSAX"):
        rows = _table(trees["pediatric"] / NESTED / view / "FileList.csv")
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
    assert len(names) == 10, "a video that no list names is there, and is no recording"


def test_pediatric_masks_are_the_polygons(trees: dict[str, Path]) -> None:
    found = PediatricSource(trees["pediatric"])
    traced: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for view in ("A4C", "PSAX"):
        for row in _table(found.root / view / "VolumeTracings.csv"):
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


# --- Unity ---


def test_unity_facts(trees: dict[str, Path]) -> None:
    found = UnitySource(trees["unity"])
    words = {"A2CH-LV": "A2C", "A3CH-FULL": "A3C", "A4CH_LV": "A4C", "PLAX-FULL": "PLAX"}
    views = {
        row["file"]: words.get(row["view"])
        for row in _table(trees["unity"] / "view_index_20220705.csv")
    }
    listed = {
        name: (part, entry["labels"])
        for word, part in (("train", "train"), ("tune", "val"), ("ival", "test"))
        for name, entry in json.loads(
            (trees["unity"] / "labels" / f"labels-{word}.json").read_text()
        ).items()
    }
    assert len(found.records()) == len(listed) - 3, (
        "one malformed name, two pictures of another view"
    )
    for record in found.records():
        part, labels = listed[f"{record.id}.png"]
        assert record.split == part
        assert record.view == views[f"{record.id}.png"]
        assert found.frames(record).shape == (1, FRAME_SIZE, FRAME_SIZE)
        assert np.array_equal(
            found.frames(record)[0], np.asarray(Image.open(found.root / record.files["still"]))
        )
        for answer in found.answers(record, found.card.target("keypoints")):
            for key, (x, y) in zip(POINTS, answer.value, strict=True):
                label = labels.get(key, {"type": "off"})
                label = label[0] if isinstance(label, list) else label
                outside = label["type"] == "point" and float(label["x"]) >= FRAME_SIZE
                if label["type"] == "point" and not outside:
                    assert (x, y) == (float(label["x"]), float(label["y"]))
                else:
                    assert np.isnan([x, y]).all()


def test_unity_quirks(trees: dict[str, Path]) -> None:
    found = UnitySource(trees["unity"])
    keypoints = found.card.target("keypoints")
    assert sum(not found.answers(r, keypoints) for r in found.records()) == 4, (
        "pictures that nobody labelled"
    )
    assert {found.spacing(r) is None for r in found.records()} == {True, False}
    assert {found.spacing(r) for r in found.records()} - {None} == {
        (DEPTH / FRAME_SIZE, DEPTH / FRAME_SIZE)
    }
    said = " ".join(found.remarks())
    assert "SUBCOSTAL-HEART" in said
    assert "_(1).png" in said


def test_unity_release_without_a_test_part(copy: dict[str, Path]) -> None:
    (copy["unity"] / "labels" / "labels-ival.json").unlink()
    (copy["unity"] / "01_database_physical.csv").unlink()
    found = UnitySource(copy["unity"] / "labels")
    assert {r.split for r in found.records()} == {"train", "val"}
    assert found.spacing(found.records()[0]) is None


# --- Dataset ---


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


@pytest.mark.parametrize(
    ("name", "target", "options", "error", "said"),
    [
        ("unity", "view", {"video": True}, UnsupportedOptionError, "stills without a sequence"),
        ("unity", "view", {"view": "A4C"}, UnsupportedOptionError, "use view=None"),
        (
            "unity",
            "keypoints",
            {"view": "PSAX"},
            UnsupportedOptionError,
            "unity has no view 'PSAX'",
        ),
        (
            "pediatric",
            "EF",
            {"video": True, "fps": 10},
            UnsupportedOptionError,
            "recordings do not say",
        ),
        (
            "pediatric",
            "ES/ED",
            {"video": True, "clip_l": 2},
            UnsupportedOptionError,
            "cannot hold both ED and ES",
        ),
        ("lvh", "IVSd", {"video": True, "fps": 60}, UnsupportedOptionError, "cannot give fps=60"),
        ("lvh", "EF", {}, UnknownNameError, "No target of lvh is called 'EF'"),
        ("lvh", "IVSs", {"split": "test"}, SplitError, "no recording with an answer"),
    ],
)
def test_options_that_cannot_act(
    trees: dict[str, Path],
    name: str,
    target: str,
    options: dict[str, Any],
    error: type[EtabError],
    said: str,
) -> None:
    with pytest.raises(error, match=re.escape(said)):
        Dataset(name, target, root=trees[name], **options)


def test_options_that_act(trees: dict[str, Path]) -> None:
    views = [Dataset("pediatric", "LV_seg", view=v, root=trees["pediatric"]) for v in ("A4", "PS")]
    assert [len(v) for v in views] == [16, 15]
    x, y = Dataset(
        "pediatric", "EF", video=True, clip_l=5, frame_l=40, frame_w=30, root=trees["pediatric"]
    )[0]
    assert x.shape == (5, 3, 40, 30)
    assert isinstance(y, float)
    slow = Dataset("lvh", "IVSd", video=True, clip_l=4, fps=10, root=trees["lvh"])
    fast = Dataset("lvh", "IVSd", video=True, clip_l=4, fps=25, root=trees["lvh"])
    assert not torch.equal(slow[0][0], fast[0][0])
    assert {y for _, y in Dataset("unity", "view", root=trees["unity"], frame_l=8, frame_w=8)} == {
        0,
        1,
        2,
        3,
    }


# --- damage ---


def _first(root: Path) -> Path:
    return next((root / "Batch1").iterdir())


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


DAMAGE = {
    "lvh, no table": (
        "lvh",
        LayoutError,
        "MeasurementsList.csv is missing",
        lambda r: (r / LIST).unlink(),
    ),
    "lvh, no batch": (
        "lvh",
        LayoutError,
        "no other batch holds it",
        lambda r: shutil.rmtree(r / "Batch2"),
    ),
    "lvh, a column": (
        "lvh",
        CorruptFileError,
        "no column 'CalcValue'",
        lambda r: _edit(r / LIST, "CalcValue", "Value"),
    ),
    "lvh, a measure": (
        "lvh",
        CorruptFileError,
        "has Calc 'IVST'",
        lambda r: _edit(r / LIST, "IVSd", "IVST"),
    ),
    "lvh, a value": (
        "lvh",
        CorruptFileError,
        "has CalcValue '-1'",
        lambda r: _edit_row(r / LIST, "CalcValue", "-1"),
    ),
    "lvh, a frame": (
        "lvh",
        CorruptFileError,
        "in frame 99 of",
        lambda r: _edit_row(r / LIST, "Frame", "99"),
    ),
    "lvh, a point": (
        "lvh",
        CorruptFileError,
        "has X1 'x'",
        lambda r: _edit_row(r / LIST, "X1", "x"),
    ),
    "lvh, a split": (
        "lvh",
        CorruptFileError,
        "in split 'trian'",
        lambda r: _edit_row(r / LIST, "split", "trian"),
    ),
    "lvh, two splits": (
        "lvh",
        SplitError,
        "lies in two parts",
        lambda r: _edit_row(r / LIST, "split", "val"),
    ),
    "lvh, a cut video": (
        "lvh",
        CorruptFileError,
        "truncated",
        lambda r: _cut(next((r / "Batch1").iterdir())),
    ),
    "lvh, an empty video": (
        "lvh",
        CorruptFileError,
        "cannot be read",
        lambda r: _first(r).write_bytes(b""),
    ),
    "pediatric, no view": (
        "pediatric",
        LayoutError,
        "FileList.csv",
        lambda r: [shutil.rmtree(r / NESTED / view) for view in ("A4C", "PSAX")],
    ),
    "pediatric, no list": (
        "pediatric",
        LayoutError,
        "FileList.csv",
        lambda r: (r / A4C / "FileList.csv").unlink(),
    ),
    "pediatric, no traces": (
        "pediatric",
        LayoutError,
        "VolumeTracings.csv",
        lambda r: (r / A4C / "VolumeTracings.csv").unlink(),
    ),
    "pediatric, a column": (
        "pediatric",
        CorruptFileError,
        "no column 'Split'",
        lambda r: _edit(r / A4C / "FileList.csv", "Split", "Fold"),
    ),
    "pediatric, disc columns": (
        "pediatric",
        CorruptFileError,
        "no column 'X'",
        lambda r: _edit(r / NESTED / "PSAX" / "VolumeTracings.csv", "X,Y", "X1,Y1"),
    ),
    "pediatric, a fold": (
        "pediatric",
        CorruptFileError,
        "has Split '12'",
        lambda r: _edit_row(r / A4C / "FileList.csv", "Split", "12"),
    ),
    "pediatric, EF": (
        "pediatric",
        CorruptFileError,
        "has EF '111'",
        lambda r: _edit_row(r / A4C / "FileList.csv", "EF", "111"),
    ),
    "pediatric, two splits": (
        "pediatric",
        SplitError,
        "lies in two parts",
        lambda r: _edit_row(r / NESTED / "PSAX" / "FileList.csv", "Split", "5"),
    ),
    "pediatric, no video": (
        "pediatric",
        LayoutError,
        "avi is missing",
        lambda r: min((r / NESTED / "A4C" / "Videos").iterdir()).unlink(),
    ),
    "pediatric, a cut video": (
        "pediatric",
        CorruptFileError,
        "truncated",
        lambda r: _cut(min((r / NESTED / "A4C" / "Videos").iterdir())),
    ),
    "pediatric, a word": (
        "pediatric",
        CorruptFileError,
        "line 2",
        lambda r: _edit_row(r / A4C / "VolumeTracings.csv", "Frame", "Nowhere"),
    ),
    "pediatric, a vertex": (
        "pediatric",
        CorruptFileError,
        "line 2",
        lambda r: _edit_row(r / A4C / "VolumeTracings.csv", "X", "left"),
    ),
    "pediatric, a trace outside": (
        "pediatric",
        CorruptFileError,
        "encloses nothing",
        lambda r: _far(r),
    ),
    "unity, no labels": (
        "unity",
        LayoutError,
        "labels-train.json",
        lambda r: (r / "labels" / "labels-train.json").unlink(),
    ),
    "unity, no views": (
        "unity",
        LayoutError,
        "view_index",
        lambda r: (r / "view_index_20220705.csv").unlink(),
    ),
    "unity, a column": (
        "unity",
        CorruptFileError,
        "no column 'view'",
        lambda r: _edit(r / "view_index_20220705.csv", "file,view", "file,class"),
    ),
    "unity, no picture": ("unity", LayoutError, "png is missing", lambda r: _png(r).unlink()),
    "unity, a cut picture": (
        "unity",
        CorruptFileError,
        "is not a whole PNG",
        lambda r: _cut(_png(r)),
    ),
    "unity, no JSON": (
        "unity",
        CorruptFileError,
        "is not JSON",
        lambda r: _cut(r / "labels" / "labels-tune.json"),
    ),
    "unity, another form": (
        "unity",
        CorruptFileError,
        "is not of the form",
        lambda r: (r / "labels" / "labels-tune.json").write_text('{"a.png": {"points": []}}'),
    ),
    "unity, a coordinate": (
        "unity",
        CorruptFileError,
        "is a point at 'left'",
        lambda r: _coordinate(r),
    ),
    "unity, two parts": (
        "unity",
        SplitError,
        "labelled in two parts",
        lambda r: shutil.copy(
            r / "labels" / "labels-train.json", r / "labels" / "labels-tune.json"
        ),
    ),
    "unity, one file in two parts": (
        "unity",
        SplitError,
        "lies in two parts",
        lambda r: _one_frame_moved(r),
    ),
}


def _edit_row(path: Path, column: str, value: str) -> None:
    """Change a cell of the first row."""
    rows = _table(path)
    rows[0][column] = value
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def _far(root: Path) -> None:
    path = root / NESTED / "A4C" / "VolumeTracings.csv"
    rows = [f"{r['FileName']},{float(r['X']) + 500},{r['Y']},{r['Frame']}" for r in _table(path)]
    path.write_text("\n".join(["FileName,X,Y,Frame", *rows]) + "\n")


def _png(root: Path) -> Path:
    return root / UnitySource(root).records()[0].files["still"]


def _coordinate(root: Path) -> None:
    path = root / "labels" / "labels-train.json"
    path.write_text(re.sub(r'"x": "\d+\.\d"', '"x": "left"', path.read_text()))


def _one_frame_moved(root: Path) -> None:
    train, tune = (root / "labels" / f"labels-{word}.json" for word in ("train", "tune"))
    labels, others = json.loads(train.read_text()), json.loads(tune.read_text())
    name = next(n for n in labels if n.endswith("-0012.png") and "A2C" not in n)
    kept = [n for n in labels if n != name]
    plax = next(n for n in reversed(kept) if re.search(r"-0012\.png$", n))
    others[plax] = labels.pop(plax)
    train.write_text(json.dumps(labels))
    tune.write_text(json.dumps(others))


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_named(copy: dict[str, Path], what: str) -> None:
    name, error, said, damage = DAMAGE[what]
    damage(copy[name])
    with pytest.raises(error, match=re.escape(said)):
        _read_all(name, copy[name])
    report = check(name, copy[name])
    assert not report.ok
    if error is not LayoutError or said != "FileList.csv":
        rows = {LayoutError: report.missing, SplitError: report.leaks}.get(error, report.corrupt)
        assert rows
        assert any(said in row for row in [*rows, report.stopped]), report.render()


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_something_else(name: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(LayoutError, match="as published"):
        SOURCES[name](tmp_path)
    with pytest.raises(DataNotFoundError, match="gone is not a folder"):
        SOURCES[name](tmp_path / "gone")


# --- tasks and runs ---


def test_tasks_without_measured_anchors_are_run_by_name_only() -> None:
    waiting = {
        t.code for t in TASKS.values() if t.version == 0 and t.dataset in NAMES and not t.extra
    }
    assert {
        "b3-PL-L",
        "b4-PL-L",
        "b5-PL-L",
        "b1-PL-L",
        "a0-A4-P",
        "b0-PS-P",
        "c3-AL-P",
        "c2-AL-U",
    } < waiting
    assert not waiting & {t.code for t in find(None)}
    assert not waiting & {t.code for word in "abcd" for t in find(word)}
    assert {t.code for t in find(["lvh", "pediatric", "unity"])} == waiting
    assert [t.code for t in find("b3-PL-L")] == ["b3-PL-L"]
    assert all("version 0" in TASKS[code].anchors.low_source for code in waiting)
    assert TASKS["b5-PL-L"].low == pytest.approx(0.83 * np.sqrt(2 / np.pi), abs=5e-4)


@pytest.mark.parametrize(
    ("codes", "rows"),
    [("b3-PL-L,b1-PL-L", (8, 14)), ("a0-PS-P,c3-AL-P", (14, 14)), ("c2-AL-U", (62,))],
)
def test_a_run_ends_with_a_result(
    trees: dict[str, Path], tmp_path: Path, codes: str, rows: tuple[int, ...]
) -> None:
    runs = plan(codes, ["image_stats"], protocols=("cv",), n_fold=3)
    root = trees[runs[0].row.dataset]
    results = list(execute(runs, Settings(root=root, results=tmp_path)))
    assert sorted(r.n_test for r in results) == sorted(rows)
    for r in results:
        assert r.phantom
        assert r.task_version == 0
        assert r.low <= r.value <= r.high
        table = r.predictions(tmp_path)
        assert len(set(zip(table.patients, table.folds, strict=True))) == len(set(table.patients))


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


# --- phantom by name ---


def test_trees_by_name(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    phantom.write(
        tmp_path,
        patients=10,
        names=("unity",),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (10, 10)
    assert [p.name for p in tmp_path.iterdir()] == ["unity"]
    assert source("unity", tmp_path / "unity").phantom
    with pytest.raises(UnknownNameError, match="No phantom tree is called 'unty'"):
        phantom.write(tmp_path, patients=10, names=("unty",))
    (tmp_path / "lvh").mkdir()
    (tmp_path / "lvh" / "real.txt").write_text("x")
    with pytest.raises(UnsupportedOptionError, match="not a phantom"):
        phantom.write(tmp_path, patients=10, names=("lvh",))
