"""Writes phantom heart sounds in the published layouts of CirCor 1.0.3 and CinC 2016."""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from etab.phantom.sounds import GRADES, STETHOSCOPES, Chest, auscultate, draw_chest, ecg
from etab.sounds.states import DIASTOLE, S1, STATES, Interval
from etab.types import Array

SOUND_MARK = "phantom"
_NOTICE = (
    "This tree is PHANTOM data: made heart sounds, not patients. "
    "It must never enter a real leaderboard.\n"
)
_LOCATIONS = ("AV", "PV", "TV", "MV")
_CIRCOR_RATE = 4000
_CINC_RATE = 2000
# Of ten patients of CirCor.
_MURMURS = (
    "Absent",
    "Present",
    "Absent",
    "Unknown",
    "Absent",
    "Present",
    "Absent",
    "Present",
    "Absent",
    "Absent",
)
_ABNORMAL_SHARE = {"Present": 0.84, "Absent": 0.38, "Unknown": 0.63}
# Patients of CirCor with a quirk, by their index.
_REPEATED_LOCATION = 4
_OTHER_LOCATION = 5
_COLUMNS = (
    "Patient ID",
    "Recording locations:",
    "Age",
    "Sex",
    "Height",
    "Weight",
    "Pregnancy status",
    "Murmur",
    "Murmur locations",
    "Most audible location",
    "Systolic murmur timing",
    "Systolic murmur shape",
    "Systolic murmur grading",
    "Systolic murmur pitch",
    "Systolic murmur quality",
    "Diastolic murmur timing",
    "Diastolic murmur shape",
    "Diastolic murmur grading",
    "Diastolic murmur pitch",
    "Diastolic murmur quality",
    "Outcome",
    "Campaign",
    "Additional ID",
)
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


def wav_bytes(samples: Array, rate: int, mark: str = SOUND_MARK) -> bytes:
    """Encode a mono 16-bit WAV like those of the releases, with its samples from byte 44 on.

    Args:
        samples: (n,) values of int16.
        rate: Samples per second.
        mark: The text of the INFO chunk after the samples.
    """
    body = samples.astype("<i2").tobytes()
    padding = "\0" * (2 - len(mark) % 2)
    text = (mark + padding).encode()
    info = b"INFO" + _chunk(b"ICMT", text)
    layout = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    sound = _chunk(b"fmt ", layout) + _chunk(b"data", body)
    return _chunk(b"RIFF", b"WAVE" + sound + _chunk(b"LIST", info))


def _chunk(name: bytes, content: bytes) -> bytes:
    """Return a RIFF chunk: its name of four bytes, its length and its content."""
    return name + struct.pack("<I", len(content)) + content


# --- CirCor ---


@dataclass(frozen=True, slots=True)
class _Child:
    """One patient of CirCor.

    Attributes:
        chest: The sounds of the patient.
        murmur: "Present", "Absent" or "Unknown".
        outcome: "Normal" or "Abnormal".
        locations: The locations of the chest that are recorded.
        loudness: The loudness of the murmur at each location, from 0 to 1.
        facts: The cells of ``training_data.csv`` by column.
    """

    chest: Chest
    murmur: str
    outcome: str
    locations: tuple[str, ...]
    loudness: Mapping[str, float]
    facts: Mapping[str, str]


def write_circor(root: Path, patients: int, seed: int) -> Iterator[int]:
    """Write a CirCor tree, and yield the number of patients written after each.

    Quirks: two ids of one person (the second and third, and the last two: Additional ID), a
    recording at another location (Phc), a repeated location (``_1``, ``_2``), a state file with
    the single line "0 0 28", CRLF line ends, unannotated beginnings and ends.

    Args:
        root: The folder to write to.
        patients: The number of ids.
        seed: The same seed gives the same bytes.
    """
    folder = root / "training_data"
    folder.mkdir(parents=True, exist_ok=True)
    (root / "PHANTOM").write_text(_NOTICE)
    drawn = np.random.default_rng([seed, 11]).choice(80_000, patients, replace=False)
    ids = (np.sort(drawn) + 2500).tolist()
    last = patients - 1
    other_id = {1: 2, 2: 1, last - 1: last, last: last - 1}
    table: list[Sequence[str]] = []
    names: list[str] = []
    for i, number in enumerate(ids):
        person = min(i, other_id.get(i, i))
        child = _child(np.random.default_rng([seed, 12, person]), person)
        facts = dict(child.facts)
        if i in other_id:
            additional = ids[other_id[i]]
            facts["Additional ID"] = str(additional)
        rng = np.random.default_rng([seed, 13, i])
        names += _write_child(folder, str(number), replace(child, facts=facts), rng, i)
        cells = [facts[key] for key in _COLUMNS[2:]]
        table.append([str(number), "+".join(child.locations), *cells])
        yield i + 1
    with (root / "training_data.csv").open("w", newline="") as out:
        csv.writer(out, lineterminator="\n").writerows([_COLUMNS, *table])
    records = [f"training_data/{name}\n" for name in names]
    (root / "RECORDS").write_text("".join(records))
    (root / "LICENSE.txt").write_bytes(b"Phantom data, not the release.\r\n")
    _write_digests(root)


def _write_digests(root: Path) -> None:
    """Write the SHA-256 digest of every file but the marker to ``SHA256SUMS.txt``."""
    lines = []
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.name not in ("SHA256SUMS.txt", "PHANTOM"):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            lines.append(f"{digest} {path.relative_to(root).as_posix()}\n")
    (root / "SHA256SUMS.txt").write_text("".join(lines))


def _child(rng: np.random.Generator, i: int) -> _Child:
    """Draw a patient; the outcome depends on the murmur, as it does in children."""
    murmur = _MURMURS[i % 10]
    abnormal = bool(rng.random() < _ABNORMAL_SHARE[murmur])
    ages = ["Child", "Infant", "Adolescent", "Neonate", "nan"]
    age = str(rng.choice(ages, p=[0.66, 0.14, 0.09, 0.03, 0.08]))
    rate = 125 if age in ("Infant", "Neonate") else 98
    has_murmur = murmur == "Present"
    chest = draw_chest(rng, murmur=has_murmur, third=abnormal, rate=rate)
    loudness = _draw_loudness(rng)
    facts = dict.fromkeys(_COLUMNS[2:], "nan") | {
        "Age": age,
        "Sex": str(rng.choice(["Female", "Male"])),
        "Height": f"{rng.normal(115, 18):.1f}",
        "Weight": f"{rng.gamma(9, 2.6):.1f}",
        "Pregnancy status": "False",
        "Murmur": murmur,
        "Outcome": "Abnormal" if abnormal else "Normal",
        "Campaign": str(rng.choice(["CC2014", "CC2015"])),
    }
    if chest.murmur is not None:
        audible = [location for location in sorted(loudness) if loudness[location] > 0]
        facts["Murmur locations"] = "+".join(audible)
        facts["Most audible location"] = max(loudness, key=lambda location: loudness[location])
        facts["Systolic murmur timing"] = chest.murmur.timing
        facts["Systolic murmur shape"] = chest.murmur.shape
        facts["Systolic murmur grading"] = GRADES[chest.murmur.grade]
        facts["Systolic murmur pitch"] = chest.murmur.pitch
        facts["Systolic murmur quality"] = chest.murmur.quality
    return _Child(chest, murmur, facts["Outcome"], tuple(loudness), loudness, facts)


def _draw_loudness(rng: np.random.Generator) -> dict[str, float]:
    """Draw the recorded locations, and the loudness of a murmur at each (1 at the loudest)."""
    locations: tuple[str, ...] = _LOCATIONS
    if rng.random() >= 0.6:
        locations = tuple(name for name in _LOCATIONS if rng.random() < 0.6) or ("MV",)
    loudness = {}
    for location in locations:
        is_audible = rng.random() < 0.75
        loudness[location] = float(rng.uniform(0.25, 1.0)) if is_audible else 0.0
    loudest = max(loudness, key=lambda location: loudness[location])
    loudness[loudest] = 1.0
    return loudness


def _write_child(
    folder: Path, name: str, child: _Child, rng: np.random.Generator, i: int
) -> list[str]:
    """Write the .txt and the recordings of one id; return the names of the recordings."""
    takes = [(location, f"{name}_{location}") for location in child.locations]
    if i == _REPEATED_LOCATION:
        location, take = takes.pop()
        takes += [(location, f"{take}_1"), (location, f"{take}_2")]
    if i == _OTHER_LOCATION:
        takes.append(("Phc", f"{name}_Phc"))
    noise = 0.9 if child.murmur == "Unknown" else 0.05
    for k, (location, take) in enumerate(takes):
        seconds = round(float(rng.uniform(8, 12)), 2)
        noise_of_take = noise * float(rng.uniform(0.6, 1.1))
        samples, intervals = auscultate(
            child.chest,
            STETHOSCOPES["circor"],
            rate=_CIRCOR_RATE,
            seconds=seconds,
            loud=child.loudness.get(location, 0.5),
            noise=noise_of_take,
            rng=rng,
        )
        (folder / f"{take}.wav").write_bytes(wav_bytes(samples, _CIRCOR_RATE))
        header = f"{take} 1 {_CIRCOR_RATE} {len(samples)}\r\n"
        header += f"{take}.wav 16+44 1 16 0 0 0 0 {location}\r\n"
        (folder / f"{take}.hea").write_bytes(header.encode())
        is_last = k == len(takes) - 1
        if i == _REPEATED_LOCATION and is_last:
            text = "0\t0\t28"
        else:
            line_end = "\r\n" if (i + k) % 20 == 3 else "\n"
            lines = _tsv(intervals, seconds, rng)
            text = "".join(line + line_end for line in lines)
        (folder / f"{take}.tsv").write_bytes(text.encode())
    facts = _patient_lines(name, child, takes)
    (folder / f"{name}.txt").write_text("\n".join(facts) + "\n")
    return [take for _, take in takes]


def _patient_lines(name: str, child: _Child, takes: Sequence[tuple[str, str]]) -> list[str]:
    """Return the lines of the .txt file of one id; ``takes`` are (location, name of recording)."""
    lines = [f"{name} {len(takes)} {_CIRCOR_RATE}"]
    for location, take in takes:
        lines.append(f"{location} {take}.hea {take}.wav {take}.tsv")
    for key in _COLUMNS[2:]:
        if key not in ("Outcome", "Campaign", "Additional ID"):
            lines.append(f"#{key}: {child.facts[key]}")
    lines.append(f"#Outcome: {child.outcome}")
    lines.append(f"#Campaign: {child.facts['Campaign']}")
    lines.append(f"#Additional ID: {child.facts['Additional ID']}")
    return lines


def _tsv(intervals: Sequence[Interval], seconds: float, rng: np.random.Generator) -> list[str]:
    """Return the lines of a state file: whole beats, with state 0 before and after them."""
    firsts = []
    lasts = []
    for k, (start, end, state) in enumerate(intervals):
        if state == S1 and start > 0.1:
            firsts.append(k)
        if state == DIASTOLE and end < seconds - 0.1:
            lasts.append(k)
    first = firsts[int(rng.integers(0, 2))]
    last = lasts[-1 - int(rng.integers(0, 2))]
    rows = [(0.0, intervals[first][0], 0)]
    for start, end, state in intervals[first : last + 1]:
        rows.append((start, end, state + 1))
    rows.append((intervals[last][1], seconds, 0))
    return [f"{start:.6g}\t{end:.6g}\t{state}" for start, end, state in rows]


# --- CinC 2016 ---


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
    (root / "PHANTOM").write_text(_NOTICE)
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
    _write_csv(appendix_path, [_APPENDIX, *appendix], "utf-8-sig")
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
    _write_csv(folder / "REFERENCE.csv", labels)
    _write_csv(folder / "REFERENCE-SQI.csv", with_quality)
    updated = root / "annotations" / "updated" / f"training-{letter}"
    updated.mkdir(parents=True, exist_ok=True)
    _write_csv(updated / "REFERENCE_withSQI.csv", with_quality)


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
    _write_csv(folder / "REFERENCE.csv", rows)
    records = [f"{name}\n" for name, _ in rows]
    (folder / "RECORDS").write_text("".join(records))


def _write_csv(path: Path, rows: Sequence[Sequence[object]], encoding: str = "utf-8") -> None:
    """Write rows of cells as a table with Unix line ends."""
    with path.open("w", newline="", encoding=encoding) as out:
        csv.writer(out, lineterminator="\n").writerows(rows)
