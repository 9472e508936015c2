"""Writes phantom heart sounds in the published layout of CinC 2016."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etab.phantom.sound_files import NOTICE, SOUND_MARK, wav_bytes, write_csv
from etab.phantom.sounds import STETHOSCOPES, Chest, auscultate, draw_chest, ecg
from etab.sounds.states import STATES, Interval

_CINC_RATE = 2000
_APPENDIX = (
    "Challenge record name",
    "Database",
    "Original record name",
    "Diagnosis",
    "Class (-1=normal 1=abnormal)",
    "Subject ID",
    "# Raw record",
    "# Recording in each subject",
    "Transducer site on body",
    "Recording state",
    "Murmurs (2=None 3=Weak 4=Strong 6=Unclear)",
)
# Of each database of CinC 2016: the share of abnormal subjects, and the recordings of a subject.
_ABNORMAL_SUBJECTS = {"a": 0.7, "b": 0.2, "c": 0.75, "d": 0.5, "e": 0.1, "f": 0.3}
_TAKES = {"a": 3, "b": 3, "c": 1, "d": 1, "e": 4, "f": 1}


@dataclass(frozen=True, slots=True)
class _Take:
    """One recording of a subject.

    Attributes:
        subject: The number of the subject among all.
        number: The number of the subject within its database, from 1.
        take: The number of the recording of this subject, from 0.
        abnormal: Whether the recording is labelled abnormal.
        clean: Whether its quality is good.
    """

    subject: int
    number: int
    take: int
    abnormal: bool
    clean: bool


def write_cinc2016(root: Path, patients: int, seed: int) -> Iterator[int]:
    """Write a CinC 2016 tree, and yield the number of subjects written after each.

    Quirks: several recordings per subject under shuffled numbers; each database has its own
    prevalence and stethoscope; ECG in database a; an appendix with a byte-order mark; two cohorts
    of database e that both count from 1; a recording of e that the appendix does not list;
    copies for validation; headers in the training folders only.

    Args:
        root: The folder to write to.
        patients: The number of subjects, dealt to the six databases in turn.
        seed: The same seed gives the same bytes.
    """
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "PHANTOM").write_text(NOTICE)
    appendix: list[Sequence[object]] = []
    done = 0
    for k, letter in enumerate("abcdef"):
        subjects = [i for i in range(patients) if i % 6 == k]
        takes = _takes(letter, subjects, np.random.default_rng([seed, 21, k]))
        for subject in subjects:
            own_takes = {name: take for name, take in takes.items() if take.subject == subject}
            abnormal = any(take.abnormal for take in own_takes.values())
            chest = _draw_subject(np.random.default_rng([seed, 22, subject]), abnormal)
            for name, take in own_takes.items():
                rng = np.random.default_rng([seed, 23, subject, take.take])
                intervals = _write_take(root, letter, name, take, chest, rng)
                _write_states(root, letter, name, intervals, rng)
            done += 1
            yield done
        _write_tables(root, letter, takes)
        unlisted = max(takes) if letter == "e" and len(takes) >= 3 else None
        for name, take in sorted(takes.items()):
            if name != unlisted:
                appendix.append(_appendix_row(letter, name, take))
    appendix_path = root / "annotations" / "Online_Appendix_training_set.csv"
    write_csv(appendix_path, [_APPENDIX, *appendix], "utf-8-sig")
    _write_validation(root)


def _takes(letter: str, subjects: Sequence[int], rng: np.random.Generator) -> dict[str, _Take]:
    """Draw the recordings of a database by name.

    The first subject of a database is abnormal and the second normal; the others are drawn.
    """
    takes: list[_Take] = []
    for number, subject in enumerate(subjects, start=1):
        abnormal = number == 1
        if number > 2:
            abnormal = bool(rng.random() < _ABNORMAL_SUBJECTS[letter])
        for k in range(_TAKES[letter]):
            clean = bool(rng.random() < 0.85)
            takes.append(_Take(subject, number, k, abnormal, clean))
    digits = 5 if letter == "e" else 4
    numbers = (rng.permutation(len(takes)) + 1).tolist()
    named = {}
    for number, take in zip(numbers, takes, strict=True):
        named[f"{letter}{number:0{digits}d}"] = take
    return dict(sorted(named.items()))


def _draw_subject(rng: np.random.Generator, abnormal: bool) -> Chest:
    """Draw a subject; most abnormal subjects have a murmur, the others a third heart sound."""
    murmur = abnormal and bool(rng.random() < 0.8)
    third = abnormal and not murmur
    return draw_chest(rng, murmur=murmur, third=third, rate=75)


def _write_take(
    root: Path, letter: str, name: str, take: _Take, chest: Chest, rng: np.random.Generator
) -> tuple[Interval, ...]:
    """Write the sound, header and (in database a) ECG of a recording; return its states."""
    folder = root / f"training-{letter}"
    folder.mkdir(exist_ok=True)
    samples, intervals = auscultate(
        chest,
        STETHOSCOPES[letter],
        rate=_CINC_RATE,
        seconds=round(float(rng.uniform(7, 11)), 2),
        loud=float(rng.uniform(0.6, 1.0)),
        noise=0.05 if take.clean else 1.0,
        rng=rng,
    )
    (folder / f"{name}.wav").write_bytes(wav_bytes(samples, _CINC_RATE))
    lacks_ecg = take.number == 2 and take.take == 0
    with_ecg = letter == "a" and not lacks_ecg
    header = f"{name} {1 + with_ecg} {_CINC_RATE} {len(samples)}\r\n"
    header += f"{name}.wav 16+44 1 16 0 0 0 0 PCG\r\n"
    if with_ecg:
        trace = ecg(intervals, len(samples), _CINC_RATE, rng)
        (folder / f"{name}.dat").write_bytes(trace.tobytes())
        total = int(trace.astype(np.int64).sum())
        checksum = (total + 32768) % 65536 - 32768  # a signed number of 16 bits
        header += f"{name}.dat 16 1000 16 0 {trace[0]} {checksum} 0 ECG\r\n"
    label = "Abnormal" if take.abnormal else "Normal"
    header += f"# {label}\r\n"
    (folder / f"{name}.hea").write_bytes(header.encode())
    return intervals


def _write_states(
    root: Path, letter: str, name: str, intervals: Sequence[Interval], rng: np.random.Generator
) -> None:
    """Write the state marks as MATLAB cells; the bytes are the same in every run.

    In some recordings the first second is marked as noise, with an opening bracket.
    """
    from scipy.io import savemat

    marks = []
    for start, _, state in intervals:
        sample = round(start * _CINC_RATE) + 1  # MATLAB counts from 1
        marks.append((max(1, sample), STATES[state]))
    if rng.random() < 0.3:
        after_noise = [mark for mark in marks if mark[0] > _CINC_RATE]
        marks = [(1, "(N"), *after_noise]
    cells = np.empty((len(marks), 2), dtype=object)
    for i, (sample, word) in enumerate(marks):
        inner: Any = np.empty((1, 1), dtype=object)
        inner[0, 0] = word
        cells[i, 0] = np.array([[sample]], dtype=np.uint32)
        cells[i, 1] = inner
    buffer = io.BytesIO()
    savemat(buffer, {"state_ans": cells})
    folder = root / "annotations" / "hand_corrected" / f"training-{letter}_StateAns"
    folder.mkdir(parents=True, exist_ok=True)
    head = f"MATLAB 5.0 MAT-file, {SOUND_MARK}".encode().ljust(116)
    (folder / f"{name}_StateAns.mat").write_bytes(head + buffer.getvalue()[116:])


def _write_tables(root: Path, letter: str, takes: Mapping[str, _Take]) -> None:
    """Write the lists of recordings, labels and qualities of a database."""
    folder = root / f"training-{letter}"
    labels = []
    with_quality = []
    for name, take in takes.items():
        label = 1 if take.abnormal else -1
        labels.append((name, label))
        with_quality.append((name, label, int(take.clean)))
    (folder / "RECORDS").write_text("".join(f"{name}\n" for name in takes))
    write_csv(folder / "REFERENCE.csv", labels)
    write_csv(folder / "REFERENCE-SQI.csv", with_quality)
    updated = root / "annotations" / "updated" / f"training-{letter}"
    updated.mkdir(parents=True, exist_ok=True)
    write_csv(updated / "REFERENCE_withSQI.csv", with_quality)


def _appendix_row(letter: str, name: str, take: _Take) -> Sequence[object]:
    """Return the cells of a recording in the online appendix."""
    n = take.number
    k = take.take + 1
    original = {
        "a": f"C{n}S{k}",
        "b": f"S{n}f{k}",
        "c": f"id{n}",
        "d": f"kh{n}",
        "e": f"{n}" if take.abnormal else f"e{n}",
        "f": f"s{n}",
    }[letter]
    diagnosis = "Normal"
    if take.abnormal:
        diagnosis = "CAD" if letter == "e" else "MVP "
    return (
        name,
        f"training-{letter}",
        original,
        diagnosis,
        1 if take.abnormal else -1,
        n if letter == "b" else "nan",
        n if letter == "e" else "nan",
        k,
        "Apex" if k == 1 else "nan",
        "Rest",
        3 if take.abnormal else 2,
    )


def _write_validation(root: Path) -> None:
    """Copy one abnormal and one normal recording of each database, without headers."""
    folder = root / "validation"
    folder.mkdir(exist_ok=True)
    rows: list[tuple[str, str]] = []
    for letter in "abcdef":
        table = root / f"training-{letter}" / "REFERENCE.csv"
        lines = [line.split(",") for line in table.read_text().splitlines()]
        for label in ("1", "-1"):
            names = [row[0] for row in lines if row[1] == label]
            for name in names[:1]:
                shutil.copyfile(table.parent / f"{name}.wav", folder / f"{name}.wav")
                rows.append((name, label))
    rows.sort()
    write_csv(folder / "REFERENCE.csv", rows)
    records = [f"{name}\n" for name, _ in rows]
    (folder / "RECORDS").write_text("".join(records))
