"""Writes phantom heart sounds in the published layout of CirCor 1.0.3."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from etab.phantom.sound_files import NOTICE, wav_bytes
from etab.phantom.sounds import GRADES, STETHOSCOPES, Chest, auscultate, draw_chest
from etab.sounds.states import DIASTOLE, S1, Interval

_LOCATIONS = ("AV", "PV", "TV", "MV")
_CIRCOR_RATE = 4000
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
    (root / "PHANTOM").write_text(NOTICE)
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
