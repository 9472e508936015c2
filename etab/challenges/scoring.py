"""Score the answers of an entry by the official rules of CinC 2016 and of the Challenge 2022.

All answers are validated first. An entry is refused where an answer is missing, given twice, of an
unknown record, or not a value of the challenge. No row is ever dropped or repaired.
"""

from __future__ import annotations

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
from etab.files import read_text_file
from etab.metrics.challenge2022 import Score2022, challenge2022
from etab.metrics.cinc2016 import (
    TRAINING_2016,
    VALIDATION_2016,
    Score2016,
    Weights2016,
    cinc2016,
    cinc2016_phase1,
)
from etab.readers.table import parse_number, parse_whole
from etab.sounds.states import MURMUR, OUTCOME
from etab.types import Array

RULES = ("official", "phase1")
WEIGHTS: Mapping[str, Weights2016 | None] = {
    "own": None,
    "training": TRAINING_2016,
    "validation": VALIDATION_2016,
}
# Words that stand for 1 and 0 in the outputs of 2022, in any case.
_FLAGS = {
    "true": 1,
    "t": 1,
    "false": 0,
    "f": 0,
}
# Number of names that a message lists.
_LISTED = 5
# Characters of a cell that a message shows.
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Entry2016:
    """The score of an entry of CinC 2016.

    Attributes:
        rule: ``"official"`` or ``"phase1"``.
        score: Sensitivity, specificity and MAcc.
        records: Number of records.
        abnormal: Number of abnormal records.
        noisy: Number of records of bad signal quality.
        unsure: Number of records that were answered unsure.
        quality: Of which records the signal quality is known, in words.
    """

    rule: str
    score: Score2016
    records: int
    abnormal: int
    noisy: int
    unsure: int
    quality: str

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)

    def render(self) -> str:
        """The score in a few lines of text."""
        score = self.score
        lines = [
            f"CinC 2016, {self.rule} rule: Se {_shown(score.se, 4)}  Sp {_shown(score.sp, 4)}  "
            f"MAcc {_shown(score.macc, 4)}",
            f"  {self.records} records, {self.abnormal} abnormal, {self.noisy} noisy, "
            f"{self.unsure} answered unsure",
            f"  signal quality: {self.quality}",
        ]
        shares = score.weights
        if shares is not None:
            lines.append(
                f"  weights: abnormal {shares.abnormal_clean:.4f} clean, "
                f"{shares.abnormal_noisy:.4f} noisy; "
                f"normal {shares.normal_clean:.4f} clean, {shares.normal_noisy:.4f} noisy"
            )
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Entry2022:
    """The scores of an entry of the Challenge 2022, as the official script prints them.

    Attributes:
        murmur: Scores for the murmur.
        outcome: Scores for the outcome.
        patients: Number of patients.
        repaired: Number of answers with no class or several, which the rule reads as Present or
            Abnormal.
    """

    murmur: Score2022
    outcome: Score2022
    patients: int
    repaired: int

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)

    def render(self) -> str:
        """The score in a few lines of text."""
        lines = [f"Challenge 2022, {self.patients} patients"]
        for name, score in (("murmur", self.murmur), ("outcome", self.outcome)):
            lines.append(
                f"  {name:8} AUROC {_shown(score.auroc, 3)}  AUPRC {_shown(score.auprc, 3)}  "
                f"F {_shown(score.f_measure, 3)}  accuracy {score.accuracy:.3f}  "
                f"weighted accuracy {score.weighted_accuracy:.3f}  cost {score.cost:.3f}"
            )
        lines.append(
            "  murmurs are ranked by weighted accuracy, outcomes by cost (lower is better)"
        )
        if self.repaired:
            lines.append(
                f"  {self.repaired} answers named no class or several; the rule reads them as "
                "Present or Abnormal"
            )
        return "\n".join(lines)


def _shown(value: float | None, digits: int) -> str:
    """A score with so many digits; "nan" where it does not exist, as the official scripts print."""
    return "nan" if value is None else f"{value:.{digits}f}"


def read_answers(path: Path) -> dict[str, int]:
    """Read the answers.txt of an entry of CinC 2016.

    Args:
        path: The file; each line is a record and its answer, as in ``a0001,1``.

    Returns:
        Answers by record: 1 abnormal, -1 normal, 0 unsure.

    Raises:
        DataNotFoundError: If there is no such file.
        EntryError: Listing every line that is not an answer and every record answered twice.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "answers.txt"
        ...     _ = path.write_text("a0001,1\\na0002,-1\\n")
        ...     read_answers(path)
        {'a0001': 1, 'a0002': -1}
    """
    if not path.is_file():
        raise DataNotFoundError(f"{path} is not a file. Pass the answers.txt of the entry.")
    answers: dict[str, int] = {}
    no_answers: list[str] = []
    twice: list[str] = []
    for number, row in enumerate(rows_of(path), start=1):
        name = row[0]
        value = parse_whole(row[1]) if len(row) == 2 else None
        if value not in (1, -1, 0):
            no_answers.append(f"line {number}: {','.join(row)[:_SHOWN]!r}")
        elif name in answers:
            twice.append(name)
        else:
            answers[name] = value
    _refuse(
        path,
        {
            "not 'record,1', 'record,-1' or 'record,0'": no_answers,
            "answered twice": twice,
        },
    )
    return answers


def read_references(folder: Path) -> tuple[dict[str, Reference], str]:
    """Read the labels and the signal quality of records of CinC 2016.

    Quality comes from REFERENCE-SQI.csv or annotations/updated/, also for the records of
    ``validation``, which are copies of training records.

    Args:
        folder: A folder with REFERENCE.csv (``validation``, ``training-a``), or the root of the
            release, which stands for all its training folders.

    Returns:
        Labels by record, and in words for which of them the quality is known.

    Raises:
        DataNotFoundError: If there is no such folder.
        LayoutError: If the folder has no labels.
        CorruptFileError: If the tables contradict each other.
    """
    if not folder.is_dir():
        raise DataNotFoundError(
            f"{folder} is not a folder. Pass the folder that holds REFERENCE.csv."
        )
    single = folder / "REFERENCE.csv"
    is_single = single.is_file()
    tables = [single] if is_single else sorted(folder.glob("training-?/REFERENCE.csv"))
    if not tables:
        raise LayoutError(
            f"{folder} holds neither REFERENCE.csv nor training-a/ to training-f/. Pass one that "
            "does."
        )
    labels: dict[str, Reference] = {}
    for table in tables:
        labels.update(read_reference(table))
    root = folder.absolute().parent if is_single else folder
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
    if unknown:
        return labels, f"unknown of {unknown} of {len(labels)} records, read as clean"
    return labels, "of every record"


def evaluate_cinc2016(
    answers: Path,
    reference: Path,
    *,
    rule: str = "official",
    weights: str | Weights2016 = "own",
) -> Entry2016:
    """Score the answers.txt of an entry of CinC 2016.

    Args:
        answers: The file of the answers.
        reference: Folder of the labels, as for ``read_references``.
        rule: ``"official"``, where unsure is right for noisy records alone, or ``"phase1"``, where
            unsure is half right.
        weights: Shares of the four groups of records in the official rule: ``"own"`` (those of
            these records), ``"training"``, ``"validation"`` (the published ones), or the shares.

    Returns:
        The score.

    Raises:
        UnsupportedOptionError: If the rule or the weights are unknown.
        EntryError: If records are missing, unknown, answered twice, or not answered by 1, -1 or 0.

    Source:
        https://physionetchallenges.org/2016/
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
    return score_cinc2016(
        labels,
        given,
        quality,
        rule=rule,
        weights=shares,
    )


def score_cinc2016(
    labels: Mapping[str, Reference],
    given: Mapping[str, int],
    quality: str,
    *,
    rule: str = "official",
    weights: Weights2016 | None = None,
) -> Entry2016:
    """Score answers that were validated before.

    Args:
        labels: Labels by record.
        given: An answer (1, -1 or 0) for each of these records.
        quality: Of which records the signal quality is known, in words.
        rule: ``"official"`` or ``"phase1"``.
        weights: Shares of the four groups of records in the official rule; None takes those of
            these records.

    Returns:
        The score.
    """
    names = sorted(labels)
    truth = np.array([labels[name].label for name in names])
    answers = np.array([given[name] for name in names])
    clean = np.array([labels[name].good is not False for name in names])
    if rule == "official":
        score = cinc2016(truth, answers, clean, weights)
    else:
        score = cinc2016_phase1(truth, answers)
    return Entry2016(
        rule=rule,
        score=score,
        records=len(names),
        abnormal=int((truth == 1).sum()),
        noisy=int((~clean).sum()),
        unsure=int((answers == 0).sum()),
        quality=quality,
    )


def read_output(path: Path) -> tuple[str, dict[str, tuple[bool, float]]]:
    """Read the output of an entry of 2022 for one patient.

    The file has four lines: ``#ID``, the names of the classes, 0 or 1 for each, and a score for
    each. The official script silently reads values that are neither as 0; here they are refused.

    Args:
        path: The csv file of the patient.

    Returns:
        The id, and for each class whether it was chosen and its score.

    Raises:
        EntryError: If lines are missing, a class is missing, unknown or given twice, a value is
            not 0 or 1, or a score is not a finite number.
    """
    try:
        lines = [line for line in read_text_file(path).splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise EntryError(f"{path} is not text: {error}.") from error
    cells = [[cell.strip().strip("\"'") for cell in line.split(",")] for line in lines]
    if len(lines) != 4 or not lines[0].startswith("#") or len({len(row) for row in cells[1:]}) != 1:
        raise EntryError(
            f"{path} has {len(lines)} lines; wanted four: '#ID', classes, 0 or 1 each, a score "
            "each."
        )
    classes = {name.casefold(): name for name in (*MURMUR, *OUTCOME)}
    named = [classes.get(name.casefold(), "") for name in cells[1]]
    if "" in named or sorted(named) != sorted(classes.values()):
        raise EntryError(
            f"{path} answers {', '.join(cells[1])[: 4 * _SHOWN]}; wanted each of "
            f"{', '.join(classes.values())} once."
        )
    answers: dict[str, tuple[bool, float]] = {}
    for name, chosen, score in zip(named, cells[2], cells[3], strict=True):
        flag = _FLAGS.get(chosen.lower(), parse_whole(chosen))
        if flag not in (0, 1):
            raise EntryError(f"{path}: {name} is {chosen[:_SHOWN]!r}; wanted 0 or 1.")
        answers[name] = (flag == 1, _finite(path, name, score))
    return lines[0].replace("#", "").strip(), answers


def evaluate_circor2022(outputs: Path, labels: Path) -> Entry2022:
    """Score the outputs of an entry of the Challenge 2022, as the official script does.

    Args:
        outputs: Folder of the outputs, one ``ID.csv`` for each patient.
        labels: Folder of the labels, one ``ID.txt`` for each patient.

    Returns:
        The scores for murmur and outcome.

    Raises:
        DataNotFoundError: If a folder does not exist.
        LayoutError: If the folder of the labels holds no patient.
        EntryError: If patients are missing or unknown, a file is of another patient, or a value is
            not what the challenge asks for.

    Source:
        https://github.com/physionetchallenges/evaluation-2022
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
    rows: list[dict[str, tuple[bool, float]]] = []
    of_others: list[str] = []
    for name in patients:
        identifier, row = read_output(files[name])
        rows.append(row)
        if identifier != name:
            of_others.append(f"{name}.csv is #{identifier}")
    _refuse(outputs, {"of another patient than its name says": of_others})
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
    """Patients by id, from a folder of .txt files or from the training_data/ below it."""
    below = folder / "training_data"
    where = below if below.is_dir() else folder
    paths = [path for path in sorted(where.glob("*.txt")) if path.stem.isdigit()]
    if not paths:
        raise LayoutError(f"{folder} holds no patient (ABCDE.txt). Pass the folder of the labels.")
    return {path.stem: read_patient(path) for path in paths}


def _one_hot(words: Sequence[str], classes: Sequence[str]) -> Array:
    return np.array([[word == name for name in classes] for word in words], dtype=np.int64)


def _table(
    rows: Sequence[Mapping[str, tuple[bool, float]]],
    classes: Sequence[str],
    part: int,
) -> Array:
    return np.array([[row[name][part] for name in classes] for row in rows], dtype=np.float64)


def _finite(path: Path, name: str, text: str) -> float:
    value = parse_number(text)
    if value is None:
        raise EntryError(
            f"{path}: the score of {name} is {text[:_SHOWN]!r}; wanted a finite number."
        )
    return value


def _refuse(where: Path, faults: Mapping[str, Iterable[str]]) -> None:
    """Raise one EntryError with all faults, which are names by what is wrong with them."""
    sentences: list[str] = []
    for what, names in faults.items():
        listed = list(names)
        if not listed:
            continue
        more = f", and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
        shown = ", ".join(name[: 2 * _SHOWN] for name in listed[:_LISTED])
        sentences.append(f"{len(listed)} {what}: {shown}{more}")
    if sentences:
        raise EntryError(
            f"{where} is not scored. {'. '.join(sentences)}. Correct the entry; no row is dropped."
        )
