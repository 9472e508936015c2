"""Writes phantom heart sounds in the published layout of BMD-HS."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from etab.phantom.sound_files import NOTICE, wav_bytes, write_csv
from etab.phantom.sounds import STETHOSCOPES, Chest, Murmur, auscultate, draw_chest

_RATE = 4000
_SECONDS = 6.0
_DISEASES = ("AS", "AR", "MR", "MS")
# Persons in turn: every disease alone, none, and some combinations of the release, whose first
# person has all four.
_COMBINATIONS = (
    ("AS", "AR", "MR", "MS"),
    ("AS",),
    (),
    ("MR",),
    ("AR",),
    (),
    ("MS",),
    ("MR", "MS"),
)
_POSITIONS = tuple(
    (posture, place) for posture in ("sup", "sit") for place in ("Mit", "Tri", "Pul", "Aor")
)
_LOUDEST = {"AS": "Aor", "AR": "Aor", "MR": "Mit", "MS": "Mit"}
# The chests of the phantom have systolic murmurs only, so that diseases differ in sound, not phase.
_MURMURS = {
    "AS": Murmur(2, "Mid-systolic", "Diamond", "High", "Harsh"),
    "AR": Murmur(1, "Early-systolic", "Decrescendo", "High", "Blowing"),
    "MR": Murmur(2, "Holosystolic", "Plateau", "Medium", "Blowing"),
    "MS": Murmur(1, "Late-systolic", "Crescendo", "Low", "Harsh"),
}


def write_bmdhs(root: Path, patients: int, seed: int) -> Iterator[int]:
    """Write a BMD-HS tree, and yield the number of people written after each.

    Quirks of the release: a file with a longer name than its row, eight recordings of a person
    whom the table does not list, and two byte-identical recordings of one person.

    Args:
        root: The folder to write to.
        patients: The number of listed people.
        seed: The same seed gives the same bytes.
    """
    folder = root / "train"
    folder.mkdir(parents=True, exist_ok=True)
    (root / "PHANTOM").write_text(NOTICE)
    labels: list[tuple[object, ...]] = []
    facts: list[tuple[object, ...]] = []
    for index in range(patients):
        rng = np.random.default_rng([seed, 61, index])
        diseases = _COMBINATIONS[index % len(_COMBINATIONS)]
        number = index + 1
        names = _write_person(folder, number, diseases, rng)
        flags = [int(name in diseases) for name in _DISEASES]
        person = f"patient_{number:03d}"
        labels.append((person, *flags, int(not diseases), *names))
        facts.append((person, *_draw_facts(rng)))
        yield number
    _write_quirks(folder, labels, seed)
    header = ("patient_id", *_DISEASES, "N", *(f"recording_{n}" for n in range(1, 9)))
    write_csv(root / "train.csv", [header, *labels])
    columns = ("patient_id", "Age", "Gender", "Smoker", "Lives")
    write_csv(root / "additional_metadata.csv", [columns, *facts])


def _write_person(
    folder: Path,
    number: int,
    diseases: tuple[str, ...],
    rng: np.random.Generator,
) -> list[str]:
    """Write the eight recordings of a person; return their names."""
    prefix = diseases[0] if diseases else "N"
    if len(diseases) > 1:
        prefix = "MD"
    chest = _draw_person(rng, diseases)
    loudest = {_LOUDEST[name] for name in diseases}
    names = []
    for posture, place in _POSITIONS:
        loud = 1.0 if place in loudest else 0.4
        samples, _ = auscultate(
            chest,
            STETHOSCOPES["circor"],
            rate=_RATE,
            seconds=_SECONDS,
            loud=loud,
            noise=0.05,
            rng=rng,
        )
        name = f"{prefix}_{number:03d}_{posture}_{place}"
        (folder / f"{name}.wav").write_bytes(wav_bytes(samples, _RATE))
        names.append(name)
    return names


def _draw_person(rng: np.random.Generator, diseases: tuple[str, ...]) -> Chest:
    """Draw an adult; the first of several diseases gives the murmur."""
    chest = draw_chest(rng, murmur=False, third=False, rate=75)
    return replace(chest, murmur=_MURMURS[diseases[0]]) if diseases else chest


def _draw_facts(rng: np.random.Generator) -> tuple[object, ...]:
    """Draw age, sex, smoking and home (urban or rural)."""
    age = int(rng.integers(18, 70))
    sex = str(rng.choice(["M", "F"]))
    smoker = int(rng.random() < 0.3)
    home = str(rng.choice(["U", "R"]))
    return age, sex, smoker, home


def _write_quirks(folder: Path, labels: list[tuple[object, ...]], seed: int) -> None:
    """Rename a file, repeat one, and write the recordings of a person without a row."""
    renamed = str(labels[-1][11])
    (folder / f"{renamed}.wav").rename(folder / f"{renamed}6_06.wav")
    original = folder / f"{labels[0][11]}.wav"
    shutil.copyfile(original, folder / f"{labels[0][12]}.wav")
    rng = np.random.default_rng([seed, 62])
    _write_person(folder, len(labels) + 1, ("AS", "MR"), rng)
