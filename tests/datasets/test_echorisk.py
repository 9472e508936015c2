"""EchoRisk: manifests and DICOM cines, what they say, and what is wrong with damaged ones."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pydicom")

from etab.datasets import SOURCES
from etab.datasets.echorisk import EchoRiskSource
from etab.datasets.integrity.check import check
from etab.errors import CorruptFileError, DataNotFoundError, EtabError, LayoutError, SplitError
from etab.results import Result
from etab.runs.execute import execute
from etab.runs.run import Settings, plan
from etab.tasks.menu import find
from etab.testing.datasets import check_dataset
from tests.trees.measured import edit

PATIENTS = 12


@pytest.fixture(scope="session")
def tree(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(("echorisk",), PATIENTS) / "echorisk"


@pytest.fixture
def copy(tree: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tree, tmp_path / "echorisk"))


@pytest.mark.slow
def test_contract(tree: Path) -> None:
    check_dataset(EchoRiskSource, tree)


def test_what_the_manifests_say(tree: Path) -> None:
    source = EchoRiskSource(tree)
    records = {record.id: record for record in source.records()}
    assert records["ECHORISK_0002_T1_A4C"].split == "val"
    assert records["ECHORISK_0001_T1_A2C"].split == "test"
    assert "ECHORISK_0003_T1_A2C" not in records, "its cell is empty"
    one = records["ECHORISK_0006_T3_A4C"]
    assert (one.patient, one.view, one.fps) == ("ECHORISK_0006", "A4C", 20.0)
    assert one.meta["study"] == "ECHORISK_0006_T3"
    ef, toxic = source.card.target("EF"), source.card.target("cardiotoxicity")
    first = records["ECHORISK_0006_T1_A4C"]
    assert source.answers(one, ef)[0].value == pytest.approx(first.meta["lvef"] - 1)
    assert source.answers(first, toxic)
    assert source.answers(one, toxic) == (), "only the first examination predicts"
    assert source.answers(records["ECHORISK_0001_T1_A2C"], ef) == (), "labels are stripped"
    frames = source.frames(one)
    assert frames.shape[0] == 10
    assert frames.shape[2] <= 96, "the text beside the sector is cut off"
    assert source.spacing(one) == pytest.approx((160 / 96, 160 / 96))
    report = check("echorisk", tree)
    assert report.ok, report.render()
    assert report.phantom
    assert "no cine of either view, first ECHORISK_0004_T1" in report.render()


def test_a_part_is_never_lost(copy: Path) -> None:
    """Its manifest is missing, or lists nothing: an error, and never the other parts alone."""
    manifest = copy / "val" / "manifest.csv"
    text = manifest.read_text()
    manifest.write_text(text.splitlines()[0] + "\n")
    with pytest.raises(CorruptFileError, match=r"val/manifest\.csv lists no examination"):
        EchoRiskSource(copy).records()
    manifest.unlink()
    with pytest.raises(LayoutError, match=r"val/manifest\.csv is missing, and .*videos is there"):
        EchoRiskSource(copy)
    shutil.rmtree(copy / "val")
    assert {record.split for record in EchoRiskSource(copy).records()} == {"train", "test"}


def test_one_manifest_without_parts(tree: Path) -> None:
    assert {record.split for record in EchoRiskSource(tree / "train").records()} == {""}


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        ("ECHORISK_0003,T1", ",T1", CorruptFileError, "a row has the patient_id ''"),
        ("ECHORISK_0003,T1", "ECHORISK_0003,T9", CorruptFileError, "the timepoint 'T9'"),
        ("ECHORISK_0006,T3", "ECHORISK_0006,T1", CorruptFileError, "lists ECHORISK_0006_T1 twice"),
        ("video_a2c", "video_a3c", CorruptFileError, "has no column 'video_a2c'"),
        ("ECHORISK_0003,T1", "ECHORISK_0002,T1", SplitError, "ECHORISK_0002"),
        ("ECHORISK_0003/T1/", "../", CorruptFileError, "wanted a path inside the folder"),
        ("ECHORISK_0003/T1/", "C:/", CorruptFileError, "wanted a path inside the folder"),
        ("T3/ECHORISK_0006_T3_A4C", "T1/ECHORISK_0006_T1_A4C", CorruptFileError, "twice: in"),
        ("T3_A2C.dcm", "T3_A2C.DCM", LayoutError, "T3_A2C.DCM is missing"),
        ("T3_A2C.dcm,", "T3_A2C.dcm,9", CorruptFileError, "wanted a number from 0 to 100"),
        ("T3_A2C.dcm,", "T3_A2C.dcm,,0.5,,", CorruptFileError, "not as long as the header"),
    ],
)
def test_a_faulty_manifest_is_named(
    copy: Path, old: str, new: str, error: type[EtabError], words: str
) -> None:
    edit(copy / "train" / "manifest.csv", old, new)
    with pytest.raises(error, match=re.escape(words)):
        EchoRiskSource(copy).records()
    report = check("echorisk", copy, quick=True)
    assert words in report.render() or report.leaks


def test_labels_are_whole_numbers(copy: Path) -> None:
    table = copy / "val" / "manifest.csv"
    lines = table.read_text().splitlines()
    cells = lines[1].split(",")
    cells[5] = "0.5"
    table.write_text("\n".join([lines[0], ",".join(cells)]))
    with pytest.raises(CorruptFileError, match=r"lv_dysfunction '0\.5'; wanted 0 or 1"):
        EchoRiskSource(copy).records()


def test_damaged_cines_are_left_out_with_their_names(copy: Path) -> None:
    first, second, third = sorted((copy / "train").rglob("*.dcm"))[:3]
    first.write_text("placeholder DICOM content, not a real file")
    second.unlink()
    third.write_bytes(third.read_bytes()[:-400])
    with pytest.raises(LayoutError, match=second.name):
        EchoRiskSource(copy).records()
    lenient = EchoRiskSource(copy).lenient()
    lenient.records()
    assert {fault.id for fault in lenient.faults or ()} == {first.stem, second.stem}
    assert first.stem not in {record.id for record in lenient.records()}
    report = check("echorisk", copy)
    assert not report.ok
    for path in (first, second, third):
        assert path.name in report.render()


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="gone is not a folder"):
        SOURCES["echorisk"](tmp_path / "gone")
    with pytest.raises(LayoutError, match="is not EchoRisk as published: it is empty"):
        SOURCES["echorisk"](tmp_path)


def test_runs_score_examinations(tree: Path, tmp_path: Path) -> None:
    assert sorted(task.code for task in find("echorisk")) == ["b0-AX-R", "d3-AX-R", "d4-AX-R"]
    (result,) = run_of("b0-AX-R", tree, tmp_path)
    with_ef = {r.meta["study"] for r in EchoRiskSource(tree).records() if "lvef" in r.meta}
    assert result.n_test == len(with_ef)
    assert np.isfinite(result.value)


@pytest.mark.slow
def test_cardiotoxicity_is_of_first_examinations(
    phantom_tree: Callable[..., Path], tmp_path: Path
) -> None:
    tree = phantom_tree(("echorisk",), 30) / "echorisk"
    records = EchoRiskSource(tree).records()
    results = {result.task: result for result in run_of("d3-AX-R,d4-AX-R", tree, tmp_path)}
    first = {r.patient for r in records if "cardiotoxicity" in r.meta}
    assert results["d4-AX-R"].n_test == len(first)
    exams = {r.meta["study"] for r in records if "lv_dysfunction" in r.meta}
    assert results["d3-AX-R"].n_test == len(exams) > len(first)


def run_of(codes: str, root: Path, results: Path) -> list[Result]:
    runs = plan(codes, ["image_stats"], protocols=("cv",), n_fold=2)
    return list(execute(runs, Settings(root=root, results=results)))
