"""Predicted states beside a record: what is damaged, foreign or unsafe puts the result aside."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from etab.leaderboard.admission.admit import admit
from etab.leaderboard.admission.states import other_states
from etab.results import Result
from etab.results.states import states_path
from etab.tasks.menu import TASKS
from tests.leaderboard.admission.folders import PUBLISHED

CELL = Path("circor/e0-AL-D/heart_series")

Hostile = Callable[[Path], object]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7] + b"9:\n")


def _of_a_stranger(path: Path) -> None:
    head, row, *others = path.read_text().splitlines()
    _, _, runs = row.split(",")
    path.write_text("\n".join([head, f"nobody_AV,0,{runs}", *others]) + "\n")


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


HOSTILE: dict[str, tuple[Hostile, str]] = {
    "cut": (_cut, "states.csv"),
    "empty": (lambda path: path.write_text(""), "states.csv"),
    "of a stranger": (_of_a_stranger, "'nobody_AV' in repeat 0, of which there is no prediction"),
    "a link": (_link, "must not be read"),
    "a pipe": (_pipe, "must not be read"),
    "too large": (lambda path: path.write_bytes(bytes(5 << 20)), "must not be read"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(PUBLISHED / "results_states_full" / CELL, tmp_path / CELL)
    return tmp_path


def _record(folder: Path) -> Path:
    (record,) = (folder / CELL).glob("*.json")
    return record


def _reason(folder: Path) -> str:
    result = Result.load(_record(folder))
    return other_states(result, result.predictions(folder), folder)


def test_published_states_are_those_of_their_predictions(folder: Path) -> None:
    assert states_path(_record(folder)).is_file()
    assert _reason(folder) == ""


@pytest.mark.parametrize("kind", HOSTILE)
def test_states_that_cannot_be_of_the_predictions_have_a_reason(kind: str, folder: Path) -> None:
    hostile, words = HOSTILE[kind]
    hostile(states_path(_record(folder)))
    assert words in _reason(folder)


def test_a_cell_of_another_kind_has_no_states(tmp_path: Path) -> None:
    cell = Path("camus/b0-A4-C/mobilenetv2")
    shutil.copytree(PUBLISHED / "results" / cell, tmp_path / cell)
    record = tmp_path / cell / "official-stack-s0.json"
    states_path(record).write_text("item,repeat,states\n")
    result = Result.load(record)
    reason = other_states(result, result.predictions(tmp_path), tmp_path)
    assert reason == "it has states beside it; a cell of value has none"


def test_a_result_with_damaged_states_is_put_aside_with_the_reason(folder: Path) -> None:
    _of_a_stranger(states_path(_record(folder)))
    admission = admit(folder, TASKS, lambda result: True)
    assert admission.results == ()
    (finding,) = admission.findings
    assert "of which there is no prediction" in finding.reason
