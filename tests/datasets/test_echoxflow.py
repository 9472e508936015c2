"""EchoXFlow: the catalogue, Zarr stores and their digests, contours to masks, the five folds."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("zarr")

from etab.datasets import SOURCES
from etab.datasets.echoxflow import EchoXFlowSource, _matched
from etab.datasets.integrity.check import check
from etab.echo.beamspace import SectorGeometry, on_screen_pixels, scan_converted, screen_size
from etab.errors import CorruptFileError, DataNotFoundError, EtabError, LayoutError, SplitError
from etab.runs.execute import execute
from etab.runs.run import Settings, plan
from etab.tasks.lists import read_lists
from etab.tasks.menu import find
from etab.testing.datasets import check_dataset
from tests.trees.measured import edit, read_all

EXAMS = 10


@pytest.fixture(scope="session")
def tree(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(("echoxflow",), EXAMS) / "echoxflow"


@pytest.fixture
def copy(tree: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tree, tmp_path / "echoxflow"))


def chunk(store: Path, array: str) -> Path:
    """A file with values of an array."""
    return next(p for p in sorted((store / array / "c").rglob("*")) if p.is_file())


@pytest.mark.slow
def test_contract(tree: Path) -> None:
    check_dataset(EchoXFlowSource, tree)


def test_what_the_release_says(tree: Path) -> None:
    source = EchoXFlowSource(tree)
    records = {record.id: record for record in source.records()}
    assert len(records) == 3 * EXAMS
    one = records["exam0001-strain_4ch"]
    assert (one.patient, one.view, one.meta["fold"]) == ("exam0001", "A4C", 1)
    cavity, wall = source.card.target("LV_seg"), source.card.target("MY_seg")
    assert source.annotated(one, cavity) == (0, 2, 4, 6)
    frames = source.frames(one, [0, 5])
    assert frames.shape[:2] == (2, 256)
    assert source.n_frames(one) == 8
    (lv,) = source.answers(one, cavity, [2])
    (my,) = source.answers(one, wall, [2])
    assert lv.value.shape == frames.shape[1:]
    assert not (lv.value & my.value).any()
    assert lv.value.sum() > 500 < my.value.sum()
    picture = source.frames(one, [2])[0]
    assert picture[my.value].mean() > 1.5 * picture[lv.value].mean(), "the wall is bright"
    height, width = source.spacing(one) or (0.0, 0.0)
    assert height == pytest.approx(width, rel=0.01)
    assert height == pytest.approx(1000 * (0.15 - 0.005 * np.cos(0.6)) / 255)
    report = check("echoxflow", tree)
    assert report.ok, report.render()
    assert report.phantom
    assert "examinations stand for patients" in report.render()
    assert "3 views have no sha256 of their frames" in report.render()


def test_contours_belong_to_the_nearest_frame(tree: Path) -> None:
    source = EchoXFlowSource(tree)
    record = next(r for r in source.records() if r.id == "exam0002-strain_2ch")
    assert source.annotated(record, source.card.target("LV_seg")) == (0, 3, 4, 6)
    times = np.arange(5) / 10
    assert _matched(times, np.array([0.01, 0.04, 0.26, 0.31, 0.46, np.nan])) == [
        (0, 0),
        (3, 3),
    ]
    assert _matched(np.zeros(1), np.array([7.0])) == [(0, 0)]


def test_points_lie_on_what_they_outline() -> None:
    geometry = SectorGeometry((0.01, 0.16), (-0.4, 0.7))
    frames = np.zeros((1, 128, 96), np.uint8)
    frames[0, 60:65, 70:74] = 255
    picture = scan_converted(frames, geometry, 200)[0]
    assert picture.shape == screen_size(geometry, 200)
    depth = 0.01 + 62 / 127 * 0.15
    angle = -0.4 + 71.5 / 95 * 1.1
    point = np.array([[depth * np.sin(angle), depth * np.cos(angle)]])
    column, row = on_screen_pixels(point, geometry, 200)[0]
    rows, columns = np.nonzero(picture > 128)
    assert (rows.mean(), columns.mean()) == pytest.approx((row, column), abs=1)


def test_a_lost_or_altered_chunk_is_named(copy: Path) -> None:
    store = copy / "exam0001-4ch.zarr"
    record = next(r for r in EchoXFlowSource(copy).records() if r.id == "exam0001-strain_4ch")
    lost = chunk(store, "data/2d_brightness_mode")
    whole = lost.read_bytes()
    lost.unlink()
    with pytest.raises(CorruptFileError, match=r"2d_brightness_mode is not the published one"):
        EchoXFlowSource(copy).frames(record)
    lost.write_bytes(whole[:10])
    with pytest.raises(CorruptFileError, match=r"exam0001-4ch\.zarr cannot be read"):
        EchoXFlowSource(copy).frames(record)
    lost.write_bytes(whole)
    edit(copy / "croissant.json", digest_of(copy, "exam0001-strain", "data/2ch_contour"), "0" * 64)
    source = EchoXFlowSource(copy)
    record = next(r for r in source.records() if r.id == "exam0001-strain_2ch")
    with pytest.raises(CorruptFileError, match=r"2ch_contour is not the published one"):
        source.answers(record, source.card.target("LV_seg"))
    report = check("echoxflow", copy)
    assert any("2ch_contour is not the published one" in row for row in report.corrupt)


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        "[]",
        "3",
        '{"recordSet": null}',
        '{"recordSet": [3]}',
        '{"recordSet": [{"@id": "recordings", "data": 3}]}',
        '{"recordSet": [{"@id": ["recordings"], "data": []}]}',
        '{"recordSet": [{"@id": "recordings", "data": [null]}]}',
    ],
)
def test_a_catalogue_of_another_form_is_refused(copy: Path, content: str) -> None:
    (copy / "croissant.json").write_text(content)
    with pytest.raises(CorruptFileError, match=r"croissant\.json"):
        EchoXFlowSource(copy).records()


@pytest.mark.parametrize("value", [3, "x", True, {}])
def test_lists_of_the_catalogue_that_are_none(copy: Path, value: object) -> None:
    changed(copy, lambda rows: rows[0].update({"recordings/array_paths": value}))
    with pytest.raises(CorruptFileError, match="content_types or array_paths is not a list"):
        EchoXFlowSource(copy).records()


def digest_of(root: Path, recording: str, array: str) -> str:
    sets = json.loads((root / "croissant.json").read_text())["recordSet"]
    for row in sets[1]["data"]:
        if (row["arrays/recording_id"], row["arrays/array_path"]) == (recording, array):
            return str(row["arrays/data_sha256"])
    raise AssertionError(array)


def changed(root: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    path = root / "croissant.json"
    whole = json.loads(path.read_text())
    change(whole["recordSet"][0]["data"])
    path.write_text(json.dumps(whole))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            lambda rows: rows.append(rows[0]),
            CorruptFileError,
            "lists the recording exam0000-2ch tw",
        ),
        (lambda rows: rows[0].pop("recordings/exam_id"), CorruptFileError, "has no exam_id"),
        (
            lambda rows: rows[0].update({"recordings/zarr_path": "../x.zarr"}),
            CorruptFileError,
            "wanted a path inside the folder",
        ),
        (lambda rows: rows.pop(0), CorruptFileError, "outlines the recording 'exam0000-2ch'"),
        (
            lambda rows: rows[0].update({"recordings/exam_id": "other"}),
            CorruptFileError,
            "does not list for its examination exam0000",
        ),
        (
            lambda rows: rows[3].update({"recordings/zarr_path": "gone.zarr"}),
            LayoutError,
            "gone.zarr is missing",
        ),
        (
            lambda rows: rows[0].update({"recordings/zarr_path": "gone.zarr"}),
            LayoutError,
            "gone.zarr is missing, and exam0000-strain outlines it",
        ),
    ],
)
def test_a_faulty_catalogue_is_named(
    copy: Path,
    change: Callable[[list[dict[str, Any]]], None],
    error: type[EtabError],
    words: str,
) -> None:
    changed(copy, change)
    with pytest.raises(error, match=re.escape(words)):
        EchoXFlowSource(copy).records()


@pytest.mark.parametrize("text", ["{", "[]", '{"recordSet": [{"@id": "arrays", "data": []}]}'])
def test_a_file_that_is_no_catalogue(copy: Path, text: str) -> None:
    (copy / "croissant.json").write_text(text)
    with pytest.raises(CorruptFileError, match=r"is not a catalogue of EchoXFlow|is not JSON"):
        EchoXFlowSource(copy).records()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m["linked_panels"][0].pop("geometry"), "has no 'geometry' where a panel needs"),
        (lambda m: m["linked_panels"][0]["geometry"].update(depth_end_m=0), "plausible sector"),
        (lambda m: m["annotations"][0].pop("value"), "has no 'value' where a panel needs it"),
        (lambda m: m["annotations"][0]["value"].update(array_path="data/x"), "data/x"),
    ],
)
def test_a_faulty_manifest_is_named(
    copy: Path, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    import zarr

    group = zarr.open_group(str(copy / "exam0001-strain.zarr"), mode="a")
    manifest = group.attrs["recording_manifest"]
    change(manifest)
    group.attrs["recording_manifest"] = manifest
    with pytest.raises(CorruptFileError, match=re.escape(words)):
        read_all("echoxflow", copy)
    lenient = EchoXFlowSource(copy).lenient()
    assert len(lenient.records()) >= 3 * EXAMS - 3


def test_the_five_folds_are_a_protocol(tree: Path, copy: Path) -> None:
    folds = read_lists(tree / "splits.csv")
    assert [fold.name for fold in folds] == [f"fold{i}" for i in range(5)]
    assert folds[1].parts["test"] == {"exam0001", "exam0006"}
    assert not folds[1].parts["test"] & folds[1].parts["train"]
    assert len(folds[1].parts["train"]) == EXAMS - 2
    table = copy / "splits.csv"
    whole = table.read_text()
    table.write_text(whole + "exam0001,2\n")
    with pytest.raises(SplitError, match="exam0001 is in the folds 1 and 2"):
        read_lists(table)
    with pytest.raises(CorruptFileError, match="exam0001 is in the folds 1 and 2"):
        EchoXFlowSource(copy).records()
    table.write_text(whole + "exam0099,two\n")
    with pytest.raises(CorruptFileError, match="'exam0099' has the fold 'two'; wanted a whole"):
        read_lists(table)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="gone is not a folder"):
        SOURCES["echoxflow"](tmp_path / "gone")
    with pytest.raises(LayoutError, match="is not EchoXFlow as published: it is empty"):
        SOURCES["echoxflow"](tmp_path)


@pytest.mark.slow
def test_runs_follow_the_five_folds(tree: Path, tmp_path: Path) -> None:
    codes = {task.code for task in find("echoxflow")}
    assert {"a0-A4-X", "a2-A2-X", "c4-AX-X"} < codes
    protocol = f"lists:{tree / 'splits.csv'}"
    runs = plan("c4-AX-X", ["image_stats"], protocols=(protocol,))
    (result,) = execute(runs, Settings(root=tree, results=tmp_path))
    assert result.n_test == 3 * EXAMS
    assert result.protocol.startswith("lists:splits@")


@pytest.mark.parametrize("value", [f"sha256:{'0' * 64}", "abc", 12, ["0" * 64], "é" * 64])
def test_a_digest_of_an_array_that_is_none(copy: Path, value: object) -> None:
    """It was reported as a damaged chunk of each recording, which a new download would not mend."""
    path = copy / "croissant.json"
    whole = json.loads(path.read_text())
    arrays = next(part["data"] for part in whole["recordSet"] if part["@id"] == "arrays")
    arrays[0]["arrays/data_sha256"] = value
    path.write_text(json.dumps(whole))
    with pytest.raises(CorruptFileError, match="wanted 64 hexadecimal digits"):
        EchoXFlowSource(copy).records()
