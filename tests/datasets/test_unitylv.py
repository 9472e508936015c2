"""UnityLV-MultiX: the phantom tree through its source, consensus, readers, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.readers import agreement, overlap, report
from etab.datasets.integrity.check import check
from etab.datasets.unitylv import CURVE, UnityLvSource, consensus
from etab.errors import CorruptFileError, LayoutError
from etab.runs.data import tasks_at
from etab.tasks.menu import TASKS, find
from etab.testing.datasets import check_dataset

PATIENTS = 10


@pytest.fixture(scope="module")
def tree(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["unitylv"], patients=PATIENTS, seed=1) / "unitylv"


@pytest.fixture
def copy(tree: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tree, tmp_path / "unitylv"))


def change(root: Path, reader: str, **values: object) -> str:
    """Change the curve of a reader's first picture; return its name."""
    path = root / "labels" / f"{reader}.json"
    entries = json.loads(path.read_text())
    name: str = min(entries)
    entries[name]["labels"][CURVE].update(values)
    path.write_text(json.dumps(entries))
    return name


@pytest.mark.slow
def test_contract(tree: Path) -> None:
    check_dataset(UnityLvSource, tree)


def test_readers_that_are_missing_are_told(tree: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tree, tmp_path / "unitylv")
    first, second = sorted((copy / "labels").glob("*.json"))[:2]
    first.rename(first.with_suffix(".JSON"))
    assert UnityLvSource(copy).notes() == ()
    second.unlink()
    source = UnityLvSource(copy)
    assert source.tally() == {"readers": 10}
    assert source.published()["readers"] == 11
    assert "consensus of 10 readers, and 11 were published" in source.notes()[0]


@pytest.mark.slow
def test_two_frames_a_clip_and_eleven_readers(tree: Path) -> None:
    source = UnityLvSource(tree)
    assert len(source.records()) == PATIENTS
    assert len(source.readers) == 11
    for record in source.records():
        assert source.n_frames(record) == 2
        assert source.phases(record) == (0, 1), "the larger consensus is end-diastole"
    counts = [len(source.readings(r, k)) for r in source.records() for k in (0, 1)]
    assert sorted(set(counts)) == [10, 11]
    assert any("not outlined by every reader" in fact for fact in source.remarks())
    assert check("unitylv", tree).ok


def test_the_consensus_is_what_more_than_half_include() -> None:
    one = np.array([[True, True, False, False]])
    two = np.array([[True, False, True, False]])
    three = np.array([[True, True, True, False]])
    assert consensus([one, two]).tolist() == [[True, False, False, False]], "a tie is outside"
    assert consensus([one, two, three]).tolist() == [[True, True, True, False]]


def test_a_reader_is_compared_with_the_others_alone(tree: Path) -> None:
    source = UnityLvSource(tree)
    readers, table = agreement(source)
    assert table.shape == (PATIENTS, 11)
    assert np.isfinite(table).all()
    record = source.records()[0]
    first = readers[0]
    by_hand = []
    for number in (0, 1):
        readings = source.readings(record, number)
        others = np.sum([mask for name, mask in readings.items() if name != first], axis=0)
        by_hand.append(overlap(readings[first], others > 5))
    assert table[0, 0] == pytest.approx(np.mean(by_hand))
    assert 0.9 < table.mean() < 0.99
    assert f"{PATIENTS} phantom patients, 11 readers" in report(source)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"x": "1 2 x"}, "coordinate that is not a number"),
        ({"x": "1 2"}, "wanted as many of both"),
        ({"x": "1 2", "y": "1 2"}, "3 or more"),
    ],
)
def test_an_outline_that_is_none_is_refused(
    copy: Path, values: dict[str, object], message: str
) -> None:
    name = change(copy, "reader-03", **values)
    with pytest.raises(CorruptFileError, match=re.escape(message)) as caught:
        UnityLvSource(copy).records()
    assert name in str(caught.value)


def test_another_kind_of_label_is_no_outline(copy: Path) -> None:
    name = change(copy, "reader-03", type="blurred")
    source = UnityLvSource(copy)
    record = next(r for r in source.records() if name[:-9] == r.id)
    assert "reader-03" not in source.readings(record, 0)


def test_a_missing_picture_is_named_or_left_out(copy: Path) -> None:
    picture = min(copy.rglob("*.png"))
    picture.unlink()
    with pytest.raises(LayoutError, match=re.escape(picture.name)):
        UnityLvSource(copy).records()
    lenient = UnityLvSource(copy).lenient()
    frames = {name for record in lenient.records() for name in record.files.values()}
    assert len(frames) == 2 * PATIENTS - 1
    assert [fault.id for fault in lenient.faults or ()] == [picture.stem]


def test_its_task_is_of_version_0_and_a_test_set_for_others() -> None:
    assert [task.code for task in find("unitylv")] == ["a0-A4-V"]
    assert TASKS["a0-A4-V"].version == 0
    assert TASKS["a0-A4-C>V"].fit_on == "camus"


def test_a_prefix_of_a_code_finds_the_tasks_of_the_folder(tree: Path, tmp_path: Path) -> None:
    assert tasks_at("a0", tree) == ["a0-A4-V"]
    assert tasks_at("a0", tmp_path) == tasks_at("a0", None) == ["a0-A2-C", "a0-A4-C"]
    assert tasks_at(None, tmp_path) == tasks_at("camus", None)
