"""Score an entry made elsewhere by the official rules of CinC 2016 and of the Challenge 2022.

An entry is validated first and whole: an answer that is missing, given twice, for a record nobody labelled, or not a
value of the challenge refuses it. No row is ever dropped, and none is repaired.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etab.datasets.cinc2016_layout import Reference, read_reference, rows_of
from etab.datasets.circor_layout import Patient, read_patient
from etab.errors import (
    CorruptFileError,
    DataNotFoundError,
    EntryError,
    LayoutError,
    UnsupportedOptionError,
)
from etab.metrics.challenge2022 import Score2022, challenge2022
from etab.metrics.cinc2016 import (
    TRAINING_2016,
    VALIDATION_2016,
    Score2016,
    Weights2016,
    cinc2016,
    cinc2016_phase1,
)
from etab.sounds.states import MURMUR, OUTCOME
from etab.types import Array

RULES = ("official", "phase1")
WEIGHTS: Mapping[str, Weights2016 | None] = {
    "own": None,
    "training": TRAINING_2016,
    "validation": VALIDATION_2016,
}
_TRUE, _FALSE = ("1", "1.0", "true", "t"), ("0", "0.0", "false", "f")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Entry2016:
    """An entry of CinC 2016 scored: the rule, the numbers, and what they rest on."""

    rule: str
    score: Score2016
    records: int
    abnormal: int
    noisy: int
    unsure: int
    quality: str

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return asdict(self)

    def render(self) -> str:
        """A few lines for a terminal."""
        s = self.score
        lines = [
            f"CinC 2016, {self.rule} rule: Se {s.se:.4f}  Sp {s.sp:.4f}  MAcc {s.macc:.4f}",
            f"  {self.records} records, {self.abnormal} abnormal, {self.noisy} noisy, {self.unsure} answered unsure",
            f"  signal quality: {self.quality}",
        ]
        if s.weights is not None:
            w = s.weights
            lines.append(
                f"  weights: abnormal {w.abnormal_clean:.4f} clean, {w.abnormal_noisy:.4f} noisy; "
                f"normal {w.normal_clean:.4f} clean, {w.normal_noisy:.4f} noisy"
            )
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Entry2022:
    """An entry of the Challenge 2022 scored: both questions, as the official script prints them."""

    murmur: Score2022
    outcome: Score2022
    patients: int
    repaired: int

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return asdict(self)

    def render(self) -> str:
        """A few lines for a terminal."""
        lines = [f"Challenge 2022, {self.patients} patients"]
        for name, s in (("murmur", self.murmur), ("outcome", self.outcome)):
            lines.append(
                f"  {name:8} AUROC {s.auroc:.3f}  AUPRC {s.auprc:.3f}  F {s.f_measure:.3f}  accuracy "
                f"{s.accuracy:.3f}  weighted accuracy {s.weighted_accuracy:.3f}  cost {s.cost:.3f}"
            )
        lines.append(
            "  murmurs are ranked by weighted accuracy, outcomes by cost (lower is better)"
        )
        if self.repaired:
            lines.append(
                f"  {self.repaired} answers named no class or several; the rule reads them as Present or Abnormal"
            )
        return "\n".join(lines)


# --- CinC 2016 ---


def read_answers(path: Path) -> dict[str, int]:
    """Answers of ``answers.txt`` by record: lines 'a0001,1' with 1 abnormal, -1 normal, 0 unsure.

    Raises DataNotFoundError where there is no file, EntryError listing every line that is no answer or comes again.
    """
    if not path.is_file():
        raise DataNotFoundError(f"{path} is not a file. Pass the answers.txt of the entry.")
    found: dict[str, int] = {}
    bad: list[str] = []
    twice: list[str] = []
    for number, row in enumerate(rows_of(path), start=1):
        name, value = row[0], row[1] if len(row) == 2 else ""
        if value not in ("1", "-1", "0", "+1"):
            bad.append(f"line {number}: {','.join(row)!r}")
        elif name in found:
            twice.append(name)
        else:
            found[name] = int(value)
    _refuse(path, {"no answer of 'record,1', '-1' or '0'": bad, "answered twice": twice})
    return found


def read_references(folder: Path) -> tuple[dict[str, Reference], str]:
    """Labels and signal quality of a folder, and where the quality is from.

    folder: one with REFERENCE.csv (``validation``, ``training-a``), or the root of the release: then all its training
    folders. Quality comes from REFERENCE-SQI.csv or annotations/updated/, also for the copies of ``validation``.
    Raises DataNotFoundError, LayoutError where there are no labels, CorruptFileError for tables that disagree.
    """
    if not folder.is_dir():
        raise DataNotFoundError(
            f"{folder} is not a folder. Pass the folder that holds REFERENCE.csv."
        )
    alone = (folder / "REFERENCE.csv").is_file()
    tables = (
        [folder / "REFERENCE.csv"] if alone else sorted(folder.glob("training-?/REFERENCE.csv"))
    )
    if not tables:
        raise LayoutError(
            f"{folder} holds neither REFERENCE.csv nor training-a/ to training-f/. Pass one that does."
        )
    labels = {name: row for table in tables for name, row in read_reference(table).items()}
    root = folder.absolute().parent if alone else folder
    sources = [
        folder / "REFERENCE-SQI.csv",
        *root.glob("training-?/REFERENCE-SQI.csv"),
        *root.glob("annotations/updated/training-?/REFERENCE_withSQI.csv"),
    ]
    known: dict[str, Reference] = {}
    for table in (path for path in sources if path.is_file()):
        known = read_reference(table) | known
    for name, row in labels.items():
        other = known.get(name, row)
        if other.label != row.label:
            raise CorruptFileError(
                f"{name} is {row.label} in REFERENCE.csv and {other.label} beside its quality."
            )
        labels[name] = other if row.good is None else row
    unknown = sum(row.good is None for row in labels.values())
    said = (
        "of every record"
        if not unknown
        else f"unknown of {unknown} of {len(labels)} records, read as clean"
    )
    return labels, said


def evaluate_cinc2016(
    answers: Path, reference: Path, *, rule: str = "official", weights: str | Weights2016 = "own"
) -> Entry2016:
    """Score ``answers.txt`` against a folder of labels.

    rule: "official" (unsure is right on noisy records alone) or "phase1" (unsure is half right). weights: "own" (the
    shares of these records), "training", "validation" (the published ones), or Weights2016.
    Raises EntryError where records are missing, unknown, answered twice or not with 1, -1 or 0.
    """
    if rule not in RULES:
        raise UnsupportedOptionError(f"rule is {rule!r}; possible: {', '.join(RULES)}.")
    if isinstance(weights, str) and weights not in WEIGHTS:
        raise UnsupportedOptionError(
            f"weights are {weights!r}; possible: {', '.join(WEIGHTS)}, or four shares."
        )
    if rule == "phase1" and weights != "own":
        raise UnsupportedOptionError("The rule of phase 1 has no weights; leave them out.")
    labels, quality = read_references(reference)
    given = read_answers(answers)
    _refuse(
        answers,
        {
            "without an answer": sorted(set(labels) - set(given)),
            f"unknown to {reference}": sorted(set(given) - set(labels)),
        },
    )
    shares = WEIGHTS[weights] if isinstance(weights, str) else weights
    return score_cinc2016(labels, given, quality, rule=rule, weights=shares)


def score_cinc2016(
    labels: Mapping[str, Reference],
    given: Mapping[str, int],
    quality: str,
    *,
    rule: str = "official",
    weights: Weights2016 | None = None,
) -> Entry2016:
    """Score answers that are there for every label; ``quality`` says where the signal quality is from."""
    names = sorted(labels)
    truth = np.array([labels[name].label for name in names])
    said = np.array([given[name] for name in names])
    clean = np.array([labels[name].good is not False for name in names])
    score = (
        cinc2016(truth, said, clean, weights)
        if rule == "official"
        else cinc2016_phase1(truth, said)
    )
    return Entry2016(
        rule,
        score,
        len(names),
        int((truth == 1).sum()),
        int((~clean).sum()),
        int((said == 0).sum()),
        quality,
    )


# --- Challenge 2022 ---


def read_output(path: Path) -> tuple[str, dict[str, tuple[bool, float]]]:
    """One patient's csv: (id, {class: (chosen, score)}), the four lines '#ID', classes, 0 or 1, scores.

    Raises EntryError naming what is wrong: lines, a class missing or unknown or twice, a value that is not 0 or 1, a
    score that is no finite number. The official script reads such values as 0 without a word.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise EntryError(f"{path} is not text: {error}.") from error
    cells = [[cell.strip().strip("\"'") for cell in line.split(",")] for line in lines]
    if len(lines) != 4 or not lines[0].startswith("#") or len({len(row) for row in cells[1:]}) != 1:
        raise EntryError(
            f"{path} has {len(lines)} lines; wanted four: '#ID', classes, 0 or 1 each, a score each."
        )
    classes = {name.casefold(): name for name in (*MURMUR, *OUTCOME)}
    named = [classes.get(name.casefold(), "") for name in cells[1]]
    if "" in named or sorted(named) != sorted(classes.values()):
        raise EntryError(
            f"{path} answers {', '.join(cells[1])}; wanted each of {', '.join(classes.values())} once."
        )
    out = {}
    for name, chosen, score in zip(named, cells[2], cells[3], strict=True):
        if chosen.lower() not in (*_TRUE, *_FALSE):
            raise EntryError(f"{path}: {name} is {chosen!r}; wanted 0 or 1.")
        out[name] = (chosen.lower() in _TRUE, _finite(path, name, score))
    return lines[0].replace("#", "").strip(), out


def evaluate_circor2022(outputs: Path, labels: Path) -> Entry2022:
    """Score a folder of ``ID.csv`` against a folder of ``ID.txt``, as the official script does.

    Raises EntryError where patients are missing or unknown, a file is of another patient, or a value is none.
    """
    for folder, what in (
        (outputs, "the .csv files of the entry"),
        (labels, "the .txt files of the patients"),
    ):
        if not folder.is_dir():
            raise DataNotFoundError(f"{folder} is not a folder. Pass the one with {what}.")
    patients = _patients(labels)
    files = {
        path.stem: path for path in sorted(outputs.glob("*.csv")) if not path.name.startswith(".")
    }
    _refuse(
        outputs,
        {
            "without an output": sorted(set(patients) - set(files)),
            f"unknown to {labels}": sorted(set(files) - set(patients)),
        },
    )
    read = {name: read_output(files[name]) for name in patients}
    _refuse(
        outputs,
        {
            "of another patient than its name says": [
                f"{n}.csv is #{i}" for n, (i, _) in read.items() if i != n
            ]
        },
    )
    rows = [row for _, row in read.values()]
    chosen = [_table(rows, classes, 0) for classes in (MURMUR, OUTCOME)]
    scores = [_table(rows, classes, 1) for classes in (MURMUR, OUTCOME)]
    truth = [
        _one_hot([p.facts[key] for p in patients.values()], classes)
        for key, classes in (("Murmur", MURMUR), ("Outcome", OUTCOME))
    ]
    murmur, outcome = challenge2022(truth[0], truth[1], chosen[0], chosen[1], scores[0], scores[1])
    repaired = sum(int((part.sum(axis=1) != 1).sum()) for part in chosen)
    return Entry2022(murmur, outcome, len(rows), repaired)


def _patients(folder: Path) -> dict[str, Patient]:
    """The patients of a folder of .txt, or of the training_data/ below it, by id."""
    where = folder / "training_data" if (folder / "training_data").is_dir() else folder
    found = {
        path.stem: read_patient(path) for path in sorted(where.glob("*.txt")) if path.stem.isdigit()
    }
    if not found:
        raise LayoutError(f"{folder} holds no patient (ABCDE.txt). Pass the folder of the labels.")
    return found


def _one_hot(words: Sequence[str], classes: Sequence[str]) -> Array:
    return np.array([[word == name for name in classes] for word in words], dtype=np.int64)


def _table(
    rows: Sequence[Mapping[str, tuple[bool, float]]], classes: Sequence[str], part: int
) -> Array:
    return np.array([[row[name][part] for name in classes] for row in rows], dtype=np.float64)


def _finite(path: Path, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise EntryError(f"{path}: the score of {name} is {text!r}; wanted a finite number.")
    return value


def _refuse(where: Path, faults: Mapping[str, Iterable[str]]) -> None:
    """Raise EntryError with every sort of fault that there is."""
    said = []
    for what, names in faults.items():
        listed = list(names)
        if listed:
            more = f", and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
            said.append(f"{len(listed)} {what}: {', '.join(listed[:_SHOWN])}{more}")
    if said:
        raise EntryError(
            f"{where} is not scored. {'. '.join(said)}. Correct the entry; no row is dropped."
        )
