"""Recordings of sound that cannot be read are left out one by one, and states are read where a task needs them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from etab import datasets
from etab.datasets.integrity.check import check
from etab.phantom.sound_files import wav_bytes
from etab.readers.audio import read_wav
from etab.runs.skip_bad import sift
from etab.tasks.base import Task
from etab.tasks.menu import TASKS


def tasks_on(*targets: str) -> list[Task]:
    return [task for task in TASKS.values() if task.dataset == "circor" and task.target in targets]


def _unlink_all(root: Path, pattern: str, count: int) -> list[str]:
    paths = sorted(root.rglob(pattern))[:count]
    for path in paths:
        path.unlink()
    return [path.stem for path in paths]


@pytest.fixture
def sounds(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["circor", "cinc2016"])


@pytest.mark.parametrize(("pattern", "lost"), [("*_*.tsv", 0), ("*_*.wav", 2), ("*_*.hea", 2)])
def test_sounds_need_states_for_states_alone(pattern: str, lost: int, sounds: Path) -> None:
    root = sounds / "circor"
    _unlink_all(root, pattern, 2)
    source = sift(datasets.source("circor", root), tasks_on("murmur", "outcome"))
    assert len(source.faults or ()) == lost
    every = sift(datasets.source("circor", root), tasks_on("states"))
    assert len(every.faults or ()) == 2


def test_one_patient_of_sounds_lost(sounds: Path) -> None:
    path = min((sounds / "circor" / "training_data").glob("*[0-9].txt"))
    path.write_text("nothing")
    source = sift(datasets.source("circor", sounds / "circor"))
    assert [fault.id for fault in source.faults or ()] == [path.stem]
    (gone,) = _unlink_all(sounds / "cinc2016", "training-a/*.wav", 1)
    source = sift(datasets.source("cinc2016", sounds / "cinc2016"))
    assert [fault.id for fault in source.faults or ()] == [gone]


@pytest.mark.parametrize("value", [0, 1000])
def test_a_blank_recording_is_left_out(value: int, sounds: Path) -> None:
    """What ``etab data check`` calls blank: a recording whose samples are all the same."""
    root = sounds / "circor"
    path = min(root.rglob("*_AV.wav"))
    samples, rate = read_wav(path)
    blank = np.full(len(samples), value, dtype=np.int16)
    path.write_bytes(wav_bytes(blank, rate, "phantom"))
    report = check("circor", root)
    assert any(f"{path.stem} is blank" in remark for remark in report.remarks)
    source = sift(datasets.source("circor", root), tasks_on("murmur"))
    assert [fault.id for fault in source.faults or ()] == [path.stem]
    assert "is blank" in (source.faults or ())[0].reason
