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
_PLACES = ("AV", "PV", "TV", "MV")
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
_REPEATED_PLACE = 4
_OTHER_PLACE = 5
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
    text = (mark + "\0" * (2 - len(mark) % 2)).encode()
    info = b"INFOICMT" + struct.pack("<I", len(text)) + text
    tail = b"LIST" + struct.pack("<I", len(info)) + info
    head = (
        b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
        + b"data"
        + struct.pack("<I", len(body))
    )
    return b"RIFF" + struct.pack("<I", len(head) + len(body) + len(tail)) + head + body + tail


# --- CirCor ---


@dataclass(frozen=True, slots=True)
class _Child:
    """One patient of CirCor, and the facts in their .txt file."""

    chest: Chest
    murmur: str
    outcome: str
    places: tuple[str, ...]
    loudness: Mapping[str, float]
    facts: Mapping[str, str]


def write_circor(root: Path, patients: int, seed: int) -> Iterator[int]:
    """Write a CirCor tree, and yield the number of patients written after each.

    Quirks: two ids of one person (the second and third, and the last two: Additional ID), a
    recording at another place (Phc), a repeated place (``_1``, ``_2``), a state file with the
    single line "0 0 28", CRLF line ends, unannotated beginnings and ends.

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
    same = {1: 2, 2: 1, patients - 2: patients - 1, patients - 1: patients - 2}
    table: list[Sequence[str]] = []
    names: list[str] = []
    for i, number in enumerate(ids):
        person = min(i, same.get(i, i))
        child = _child(np.random.default_rng([seed, 12, person]), person)
        rng = np.random.default_rng([seed, 13, i])
        facts = {**child.facts, "Additional ID": str(ids[same[i]]) if i in same else "nan"}
        names += _write_child(folder, str(number), replace(child, facts=facts), rng, i)
        listed = [str(number), "+".join(child.places), *(facts[key] for key in _COLUMNS[2:])]
        table.append(listed)
        yield i + 1
    with (root / "training_data.csv").open("w", newline="") as out:
        csv.writer(out, lineterminator="\n").writerows([_COLUMNS, *table])
    (root / "RECORDS").write_text("".join(f"training_data/{name}\n" for name in names))
    (root / "LICENSE.txt").write_bytes(b"Phantom data, not the release.\r\n")
    lines = []
    for path in sorted(root.rglob("*")):
        if path.is_file() and path.name not in ("SHA256SUMS.txt", "PHANTOM"):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            lines.append(f"{digest} {path.relative_to(root).as_posix()}\n")
    (root / "SHA256SUMS.txt").write_text("".join(lines))


def _child(rng: np.random.Generator, i: int) -> _Child:
    """Draw a patient; the outcome depends on the murmur, as it does in children."""
    murmur = _MURMURS[i % 10]
    sick = bool(rng.random() < _ABNORMAL_SHARE[murmur])
    ages = ["Child", "Infant", "Adolescent", "Neonate", "nan"]
    age = str(rng.choice(ages, p=[0.66, 0.14, 0.09, 0.03, 0.08]))
    rate = 125 if age in ("Infant", "Neonate") else 98
    chest = draw_chest(rng, murmur=murmur == "Present", third=sick, rate=rate)
    places: tuple[str, ...] = _PLACES
    if rng.random() >= 0.6:
        places = tuple(p for p in _PLACES if rng.random() < 0.6) or ("MV",)
    loudness = {}
    for place in places:
        audible_here = rng.random() < 0.75
        loudness[place] = float(rng.uniform(0.25, 1.0)) if audible_here else 0.0
    best = max(loudness, key=lambda p: loudness[p])
    loudness[best] = 1.0
    audible = [p for p in sorted(places) if loudness[p] > 0]
    facts = dict.fromkeys(_COLUMNS[2:], "nan") | {
        "Age": age,
        "Sex": str(rng.choice(["Female", "Male"])),
        "Height": f"{rng.normal(115, 18):.1f}",
        "Weight": f"{rng.gamma(9, 2.6):.1f}",
        "Pregnancy status": "False",
        "Murmur": murmur,
        "Outcome": "Abnormal" if sick else "Normal",
        "Campaign": str(rng.choice(["CC2014", "CC2015"])),
    }
    if chest.murmur is not None:
        m = chest.murmur
        attributes = (m.timing, m.shape, GRADES[m.grade], m.pitch, m.quality)
        facts |= {"Murmur locations": "+".join(audible), "Most audible location": best}
        facts |= dict(zip(_COLUMNS[10:15], attributes, strict=True))
    return _Child(chest, murmur, facts["Outcome"], places, loudness, facts)


def _write_child(
    folder: Path, name: str, child: _Child, rng: np.random.Generator, i: int
) -> list[str]:
    """Write the .txt and the recordings of one id; return the names of the recordings."""
    takes = [(location, f"{name}_{location}") for location in child.places]
    if i == _REPEATED_PLACE:
        location, take = takes.pop()
        takes += [(location, f"{take}_1"), (location, f"{take}_2")]
    if i == _OTHER_PLACE:
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
        if i == _REPEATED_PLACE and k == len(takes) - 1:
            text = "0\t0\t28"
        else:
            end = "\r\n" if (i + k) % 20 == 3 else "\n"
            text = "".join(line + end for line in _tsv(intervals, seconds, rng))
        (folder / f"{take}.tsv").write_bytes(text.encode())
    (folder / f"{name}.txt").write_text("\n".join(_patient_lines(name, child, takes)) + "\n")
    return [take for _, take in takes]


def _patient_lines(name: str, child: _Child, takes: Sequence[tuple[str, str]]) -> list[str]:
    """Return the lines of the .txt file of one id; ``takes`` are (place, name of recording)."""
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
        sick: Whether the recording is labelled abnormal.
        clean: Whether its quality is good.
    """

    subject: int
    number: int
    take: int
    sick: bool
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
            takes_of_subject = [take for take in takes.items() if take[1].subject == subject]
            sick = takes_of_subject[0][1].sick
            chest = _draw_subject(np.random.default_rng([seed, 22, subject]), sick)
            for name, take in takes_of_subject:
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
        sick = number == 1
        if number > 2:
            sick = bool(rng.random() < _ABNORMAL_SUBJECTS[letter])
        for k in range(_TAKES[letter]):
            takes.append(_Take(subject, number, k, sick, bool(rng.random() < 0.85)))
    digits = 5 if letter == "e" else 4
    numbers = (rng.permutation(len(takes)) + 1).tolist()
    named = {f"{letter}{n:0{digits}d}": take for n, take in zip(numbers, takes, strict=True)}
    return dict(sorted(named.items()))


def _draw_subject(rng: np.random.Generator, sick: bool) -> Chest:
    """Draw a subject; most abnormal subjects have a murmur, the others a third heart sound."""
    murmur = sick and bool(rng.random() < 0.8)
    return draw_chest(rng, murmur=murmur, third=sick and not murmur, rate=75)


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
    with_ecg = letter == "a" and not (take.number == 2 and take.take == 0)
    header = f"{name} {1 + with_ecg} {_CINC_RATE} {len(samples)}\r\n"
    header += f"{name}.wav 16+44 1 16 0 0 0 0 PCG\r\n"
    if with_ecg:
        trace = ecg(intervals, len(samples), _CINC_RATE, rng)
        (folder / f"{name}.dat").write_bytes(trace.tobytes())
        checksum = int(trace.astype(np.int64).sum() + 32768) % 65536 - 32768
        header += f"{name}.dat 16 1000 16 0 {trace[0]} {checksum} 0 ECG\r\n"
    header += f"# {'Abnormal' if take.sick else 'Normal'}\r\n"
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
        marks.append((max(1, round(start * _CINC_RATE) + 1), STATES[state]))
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
    plain = [(name, 1 if take.sick else -1) for name, take in takes.items()]
    quality = [(*row, int(takes[row[0]].clean)) for row in plain]
    (folder / "RECORDS").write_text("".join(f"{name}\n" for name in takes))
    _write_csv(folder / "REFERENCE.csv", plain)
    _write_csv(folder / "REFERENCE-SQI.csv", quality)
    updated = root / "annotations" / "updated" / f"training-{letter}"
    updated.mkdir(parents=True, exist_ok=True)
    _write_csv(updated / "REFERENCE_withSQI.csv", quality)


def _appendix_row(letter: str, name: str, take: _Take) -> Sequence[object]:
    """Return the cells of a recording in the online appendix."""
    n = take.number
    k = take.take + 1
    original = {
        "a": f"C{n}S{k}",
        "b": f"S{n}f{k}",
        "c": f"id{n}",
        "d": f"kh{n}",
        "e": f"{n}" if take.sick else f"e{n}",
        "f": f"s{n}",
    }[letter]
    diagnosis = "Normal"
    if take.sick:
        diagnosis = "CAD" if letter == "e" else "MVP "
    return (
        name,
        f"training-{letter}",
        original,
        diagnosis,
        1 if take.sick else -1,
        n if letter == "b" else "nan",
        n if letter == "e" else "nan",
        k,
        "Apex" if k == 1 else "nan",
        "Rest",
        3 if take.sick else 2,
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
    _write_csv(folder / "REFERENCE.csv", sorted(rows))
    (folder / "RECORDS").write_text("".join(f"{row[0]}\n" for row in sorted(rows)))


def _write_csv(path: Path, rows: Sequence[Sequence[object]], encoding: str = "utf-8") -> None:
    with path.open("w", newline="", encoding=encoding) as out:
        csv.writer(out, lineterminator="\n").writerows(rows)
