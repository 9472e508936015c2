"""BMD-HS: the phantom tree through its source, what is wrong with tables, and its tasks."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from etab.datasets.bmdhs import BmdhsSource
from etab.datasets.integrity.check import check
from etab.errors import CorruptFileError, LayoutError
from etab.features import windows
from etab.tasks.menu import TASKS, find
from etab.testing.datasets import check_dataset

PEOPLE = 10


@pytest.fixture(scope="module")
def tree(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["bmdhs"], patients=PEOPLE, seed=2) / "bmdhs"


@pytest.fixture
def copy(tree: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tree, tmp_path / "bmdhs"))


def rewrite(root: Path, old: str, new: str, table: str = "train.csv") -> None:
    path = root / table
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.slow
def test_contract(tree: Path) -> None:
    check_dataset(BmdhsSource, tree)


def test_every_person_has_their_recordings_labels_and_facts(tree: Path) -> None:
    source = BmdhsSource(tree)
    records = source.records()
    assert set(Counter(record.patient for record in records).values()) == {7, 8}
    last = [record for record in records if record.patient == "patient_010"]
    where = {(record.meta["posture"], record.view) for record in last}
    assert len(where) == 8, "four places, lying and sitting"
    assert {record.meta["sex"] for record in records} == {"M", "F"}
    for record in records:
        diseases = record.meta["diseases"]
        values = {
            target.name: answer.value
            for target in source.card.targets
            for answer in source.answers(record, target)
        }
        assert ("AS" in values) == bool(diseases), "healthy people are younger: they are left out"
        assert {name for name in ("AS", "AR", "MR", "MS") if values.get(name)} == set(diseases)
        assert values["disease"] == bool(diseases)
        classes = source.card.target("diagnosis").classes
        assert classes[values["diagnosis"]] == record.id.split("_")[0]


def test_the_quirks_of_the_release_are_read_and_told(tree: Path) -> None:
    source = BmdhsSource(tree)
    names = {record.id for record in source.records()}
    renamed = next(r for r in source.records() if r.files["audio"] != f"train/{r.id}.wav")
    assert renamed.files["audio"].endswith("_sit_Tri6_06.wav")
    assert "MD_001_sit_Tri" in names
    assert "MD_001_sit_Pul" not in names, "the same bytes again"
    assert not [name for name in names if "_011_" in name], "a person without a row"
    told = " ".join([*source.remarks(), *source.notes()])
    assert f"is read as {renamed.id}" in told
    assert "left out: 8, first" in told
    assert "MD_001_sit_Pul" in told
    assert "People without disease are" in told
    report = check("bmdhs", tree)
    assert report.ok, report.render()


def test_a_table_without_rows_is_not_ok(copy: Path) -> None:
    table = copy / "train.csv"
    table.write_text(table.read_text().splitlines()[0] + "\n")
    report = check("bmdhs", copy)
    assert not report.ok
    assert "lists no recording: train.csv may be empty" in report.render()


def test_facts_that_are_missing_are_told(copy: Path) -> None:
    rewrite(copy, "patient_005", "patient_905", "additional_metadata.csv")
    told = " ".join(BmdhsSource(copy).remarks())
    assert "1 person without a row in additional_metadata.csv, first patient_005" in told
    assert "1 row of additional_metadata.csv about nobody in train.csv, first patient_905" in told
    (copy / "additional_metadata.csv").unlink()
    assert "additional_metadata.csv is absent: age" in " ".join(BmdhsSource(copy).remarks())


def test_a_repaired_recording_is_listed(copy: Path) -> None:
    shutil.copy(copy / "train" / "MD_001_sit_Mit.wav", copy / "train" / "MD_001_sit_Pul.wav")
    source = BmdhsSource(copy)
    assert "MD_001_sit_Pul" in {record.id for record in source.records()}
    assert source.published()["recordings"] == 864


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("patient_002,1,0", "patient_002,yes,0", "patient_002 has AS 'yes'; wanted 0 or 1"),
        ("patient_003,0,0,0,0,1", "patient_003,0,0,0,0,0", "patient_003 has N '0' and 0 diseases"),
        ("patient_003,0,0,0,0,1", "patient_003,0,1,0,0,1", "patient_003 has N '1' and 1 diseases"),
        ("patient_003", "patient_002", "lists patient_002 twice"),
        ("AS_002_sup_Tri", "AS_002_sup_Mit", "lists the recording 'AS_002_sup_Mit'"),
        ("AS_002_sup_Tri", "AS_002_stand_Tri", "ends in a posture"),
        (",N,", ",MD,", "no column"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(
    copy: Path, old: str, new: str, message: str
) -> None:
    rewrite(copy, old, new)
    with pytest.raises((CorruptFileError, LayoutError), match=re.escape(message)):
        BmdhsSource(copy).records()


def test_a_missing_recording_is_named_or_left_out(copy: Path) -> None:
    (copy / "train" / "AS_002_sup_Tri.wav").unlink()
    with pytest.raises(LayoutError, match=r"AS_002_sup_Tri\.wav is missing"):
        BmdhsSource(copy).records()
    lenient = BmdhsSource(copy).lenient()
    assert "AS_002_sup_Tri" not in {record.id for record in lenient.records()}
    assert [fault.id for fault in lenient.faults or ()] == ["AS_002_sup_Tri"]


def test_two_files_that_could_be_meant_are_not_chosen_from(copy: Path) -> None:
    (long,) = (copy / "train").glob("*6_06.wav")
    shutil.copy(long, long.with_name(long.name.replace("6_06", "7")))
    with pytest.raises(LayoutError, match="is missing"):
        BmdhsSource(copy).records()


def test_tasks_score_people(tree: Path) -> None:
    codes = [task.code for task in find("bmdhs")]
    assert codes == [f"f{index}-AL-B" for index in range(4, 10)]
    assert not [task for task in find("f") if task.dataset == "bmdhs"], "version 0"
    source = BmdhsSource(tree)
    keys = windows.windows(source)
    for code in codes:
        rows = windows.sound_task_rows(TASKS[code], source, keys)
        assert len(rows.items) + len(rows.missing) == len(source.records()), "a row a recording"
        assert set(rows.units) == set(rows.patients), "scored by person"
        ill_alone = code[:2] in ("f6", "f7", "f8", "f9")
        assert bool(rows.missing) == ill_alone


def test_a_name_too_long_for_a_file_is_missing(copy: Path) -> None:
    """It ended the reading with an error of the system."""
    rewrite(copy, "MR_004_sup_Mit", f"{'n' * 300}_sup_Mit")
    with pytest.raises(LayoutError, match=r"is missing, which train\.csv lists"):
        BmdhsSource(copy).records()
