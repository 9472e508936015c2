"""Files with random damage, and files that are none: pipes, devices, folders, links in a circle."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.damage import SPECIAL, Subject
from tests.fuzz import damaged, fuzz, read_damaged, subjects

pytest.importorskip("pydicom", reason="pydicom is not installed")
pytest.importorskip("av", reason="PyAV is not installed")

SUBJECTS = subjects()
INPUTS = 180  # of each kind: more than 10,000 together


def test_there_are_ten_thousand_inputs() -> None:
    assert len(SUBJECTS) * INPUTS >= 10_000
    assert len({subject.name for subject in SUBJECTS}) == len(SUBJECTS)


def test_an_input_is_repeated_by_its_number() -> None:
    raw = bytes(range(256)) * 4
    inputs = [damaged(raw, "avi", number, 0) for number in range(50)]
    assert inputs == [damaged(raw, "avi", number, 0) for number in range(50)]
    assert len(set(inputs)) > 45
    assert inputs != [damaged(raw, "avi", number, 1) for number in range(50)]


# --- what the program finds ---


def _crash(path: Path) -> None:
    if path.read_bytes() != b"sound":
        faulthandler.disable()  # this crash is wanted: no dump of it among the output of the tests
        os.abort()


def _raw_error(path: Path) -> None:
    if path.read_bytes() != b"sound":
        raise KeyError("a name that nobody knows")


def _build(folder: Path) -> Path:
    (folder / "file").write_bytes(b"sound")
    return folder / "file"


@pytest.mark.parametrize(
    ("read", "event"), [(_crash, "the process ended with -6"), (_raw_error, "KeyError")]
)
def test_crashes_and_foreign_errors_are_faults(read: Callable[[Path], None], event: str) -> None:
    faults = fuzz(Subject("made", _build, read), range(3))
    assert [fault.number for fault in faults] == [0, 1, 2]
    assert all(event in str(fault) for fault in faults)


@pytest.mark.slow
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_a_sound_file_is_read(subject: Subject, tmp_path: Path) -> None:
    """Damage to a file that is refused as it is would never reach what lies behind the refusal."""
    subject.read(subject.build(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_random_damage_is_named_or_read(subject: Subject) -> None:
    assert [str(fault) for fault in fuzz(subject, range(INPUTS))] == []


# --- what is no file ---


@pytest.fixture(scope="module")
def libraries() -> None:
    """Import once what each child process would import again."""
    for name in ("torch", "h5py", "onnx", "transformers", "SimpleITK", "pyarrow.parquet"):
        pytest.importorskip(name)


def _read_special(subject: Subject, name: str, folder: Path, sender: object) -> None:
    path = subject.build(folder)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    SPECIAL[name](path)
    event = read_damaged(subject, path, None)
    sender.send(event)  # type: ignore[attr-defined]


# The clip cache is written and read by etab alone, and the others are left out where they are no file.
LEFT_OUT = ("clip cache",)
OTHERS = [subject for subject in SUBJECTS if subject.name not in LEFT_OUT]


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("subject", OTHERS, ids=lambda subject: subject.name)
def test_what_is_no_file_is_named(
    subject: Subject, name: str, tmp_path: Path, libraries: None
) -> None:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_read_special, args=(subject, name, tmp_path, sender))
    child.start()
    sender.close()
    assert receiver.poll(60), "reading never ends"
    try:
        event = receiver.recv()
    except EOFError:
        event = "the process ended"
    child.join()
    assert event == ""
