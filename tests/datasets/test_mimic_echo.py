"""MIMIC-IV-ECHO: its tables, those of ECHOVIEW and LVVol-A4C, and copies of a part of it."""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("pydicom")

from etab.datasets import SOURCES
from etab.datasets.integrity.check import check
from etab.datasets.mimic_echo import MimicEchoSource
from etab.errors import CorruptFileError, DataNotFoundError, EtabError, LayoutError
from etab.runs.execute import execute
from etab.runs.run import Settings, plan
from etab.tasks.menu import find
from etab.testing.datasets import check_dataset
from tests.trees.measured import edit

PATIENTS = 10
FIRST = "files/p10/p10000032/s94106240/94106240_000"


@pytest.fixture(scope="session")
def tree(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(("mimic_echo",), PATIENTS) / "mimic_echo"


@pytest.fixture
def copy(tree: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tree, tmp_path / "mimic_echo"))


@pytest.mark.slow
def test_contract(tree: Path) -> None:
    check_dataset(MimicEchoSource, tree)


def test_what_the_tables_say(tree: Path) -> None:
    source = MimicEchoSource(tree)
    records = {record.id: record for record in source.records()}
    views = [records[f"94106240_000{n}"].view for n in range(1, 5)]
    assert views == ["A4C", "A2C", "PLAX", "other"]
    assert "94106240_0005" not in records, "ECHOVIEW has no label of it"
    classes = source.card.target("view").classes
    assert {record.view for record in records.values()} == set(classes), "each view has cines"
    assert records["94106240_0007"].meta["label"] == "PSAX-AV"
    one = records["94106240_0001"]
    assert (one.patient, one.meta["study"], one.meta["label"]) == ("p10000032", "s94106240", "A4C")
    ef, plane = source.card.target("EF"), source.card.target("EF_A4C")
    (value,) = source.answers(one, ef)
    assert value.value == pytest.approx(source.answers(one, plane)[0].value, abs=0.5)
    assert source.answers(records["94106240_0002"], plane) == ()
    for quirk in (3, 4, 5):
        assert source.answers(records[f"{94106240 + 10 * quirk}_0001"], ef) == ()
    parts = {record.patient: record.split for record in records.values()}
    assert len(parts) == PATIENTS
    assert set(parts.values()) <= {"train", "val", "test"}
    assert source.frames(one, [0]).shape[2] <= 96
    report = check("mimic_echo", tree)
    assert report.ok, report.render()
    for words in (
        "not in this copy: 1 study with 1 object of echo-record-list.csv",
        "11 objects left out: in neither echoview.csv nor FileList.csv",
        "1 result of lvef left out: no number from 0 to 100",
        "1 measurement left out: several values of lvef",
    ):
        assert words in report.render()


def test_the_parts_are_those_of_the_rule(tree: Path) -> None:
    from etab.datasets.mimic_echo import _part

    parts = [_part(str(10_000_000 + i)) for i in range(4_000)]
    assert [round(parts.count(part) / 4_000, 1) for part in ("train", "val", "test")] == [
        0.8,
        0.1,
        0.1,
    ]
    assert [_part(str(n)) for n in (10000032, 10001149, 10002266)] == EXPECTED_PARTS


EXPECTED_PARTS = ["test", "train", "train"]


@pytest.mark.parametrize(
    ("table", "old", "new", "error", "words"),
    [
        ("echo-record-list.csv", FIRST + "1", FIRST + "2", CorruptFileError, "_0002.dcm twice"),
        ("echo-record-list.csv", FIRST + "1", "/etc/1", CorruptFileError, "wanted files/pNN/pSUB"),
        ("echo-record-list.csv", "10000032,9", "10000033,9", CorruptFileError, "wanted files/pNN"),
        ("echo-record-list.csv", "dicom_filepath", "path", CorruptFileError, "no column 'dicom_f"),
        ("echoview.csv", "dicom_filepath,view", "file,view", CorruptFileError, "no column 'dicom_"),
        ("echoview.csv", FIRST + "1", FIRST + "9", CorruptFileError, "does not list; wanted a dic"),
        ("echoview.csv", FIRST + "1", FIRST + "2", CorruptFileError, "has two views, 'A4C' and"),
        ("echoview.csv", FIRST + "1.dcm,A4C", FIRST + "1.dcm,", CorruptFileError, "has no view"),
        ("FileList.csv", "LVEF_A4C", "EF", CorruptFileError, "no column 'LVEF_A4C'"),
        ("FileList.csv", "10000032,9", "10000033,9", CorruptFileError, "is of patient 10000033"),
        ("FileList.csv", FIRST + "1", "../x", CorruptFileError, "does not list"),
        ("echo-study-list.csv", "measurement_id", "m", CorruptFileError, "no column 'measurement"),
    ],
)
def test_a_faulty_table_is_named(
    copy: Path, table: str, old: str, new: str, error: type[EtabError], words: str
) -> None:
    edit(copy / table, old, new)
    with pytest.raises(error, match=re.escape(words)):
        MimicEchoSource(copy).records()


def test_a_study_of_two_subjects_is_named(copy: Path) -> None:
    path = "files/p10/p10000099/s94106240/94106240_0001.dcm"
    edit(
        copy / "echo-record-list.csv",
        "10000032,94106240,2150-01-01 10:00:00," + FIRST + "1.dcm",
        "10000099,94106240,2150-01-01 10:00:00," + path,
    )
    with pytest.raises(
        CorruptFileError, match="94106240 is of two subjects, 10000099 and 10000032"
    ):
        MimicEchoSource(copy).records()


def test_compressed_measurements_that_are_damaged(copy: Path) -> None:
    path = copy / "structured-measurement.csv.gz"
    whole = path.read_bytes()
    for damaged in (whole[:-20], b"subject_id,result\n1,55\n", whole[:30] + b"\xff" * 60):
        path.write_bytes(damaged)
        with pytest.raises(CorruptFileError, match="is not a compressed table"):
            MimicEchoSource(copy).records()
    path.write_bytes(gzip.compress(b"subject_id,measurement\n1,lvef\n"))
    with pytest.raises(CorruptFileError, match="has no column 'measurement_id'"):
        MimicEchoSource(copy).records()


def test_studies_are_there_whole_or_not_at_all(copy: Path) -> None:
    folder = copy / "files" / "p10" / "p10000032" / "s94106240"
    lost = folder / "94106240_0002.dcm"
    lost.unlink()
    with pytest.raises(LayoutError, match=r"94106240_0002\.dcm is missing, and other files of its"):
        MimicEchoSource(copy).records()
    lenient = MimicEchoSource(copy).lenient()
    lenient.records()
    assert [fault.id for fault in lenient.faults or ()] == ["94106240_0002"]
    shutil.rmtree(folder)
    part = MimicEchoSource(copy)
    assert "p10000032" not in {record.patient for record in part.records()}
    assert "2 studies with 8 objects" in " ".join(part.remarks())
    shutil.rmtree(copy / "files")
    with pytest.raises(LayoutError, match=r"the first one, .* is missing, and so are all others"):
        MimicEchoSource(copy).records()


def test_without_tables_of_labels_every_view_is_unknown(copy: Path) -> None:
    for name in ("echoview.csv", "FileList.csv", "echo-study-list.csv"):
        (copy / name).unlink()
    source = MimicEchoSource(copy)
    assert {record.view for record in source.records()} == {"unknown"}
    assert len(source.records()) == 7 * (PATIENTS + 1)
    assert "echoview.csv is absent, so what it would say is unknown" in source.remarks()


@pytest.mark.parametrize("name", ["echoview.csv", "FileList.csv", "echo-study-list.csv"])
def test_a_table_without_rows_is_told(copy: Path, name: str) -> None:
    table = copy / name
    table.write_text(table.read_text().splitlines()[0] + "\n")
    told = "structured-measurement.csv.gz" if name.startswith("echo-study") else name
    assert (
        f"{told} says nothing about any study: it may be empty" in MimicEchoSource(copy).remarks()
    )


def test_a_damaged_object_is_named(copy: Path) -> None:
    path = copy / (FIRST + "1.dcm")
    path.write_bytes(path.read_bytes()[:2000])
    report = check("mimic_echo", copy)
    assert any("94106240_0001.dcm" in row for row in report.corrupt), report.render()


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="gone is not a folder"):
        SOURCES["mimic_echo"](tmp_path / "gone")
    with pytest.raises(LayoutError, match="is not MIMIC-IV-ECHO as published: it is empty"):
        SOURCES["mimic_echo"](tmp_path)


def test_a_run_scores_studies(tree: Path, tmp_path: Path) -> None:
    codes = sorted(task.code for task in find("mimic_echo"))
    assert codes == ["b0-A4-M", "b9-A4-M", "c2-AL-M"]
    runs = plan("b0-A4-M", ["image_stats"], protocols=("cv",), n_fold=2)
    (result,) = execute(runs, Settings(root=tree, results=tmp_path))
    with_ef = {r.meta["study"] for r in MimicEchoSource(tree).records() if "EF" in r.meta}
    assert result.n_test == len(with_ef) == PATIENTS + 1 - 3
