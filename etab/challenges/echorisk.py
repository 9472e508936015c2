"""Score the predictions of an entry of the EchoRisk challenge by its official rules.

The files are validated first: a prediction for each examination, none twice, none out of range.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import (
    CorruptFileError,
    DataNotFoundError,
    EntryError,
    EtabError,
    UnsupportedOptionError,
)
from etab.files import read_text_file
from etab.metrics.echorisk import cardiotoxicity_scores, dysfunction_scores, ejection_scores
from etab.readers.table import is_blank, parse_number, plain_identifier, read_rows, read_table
from etab.storage.text import counted

Exam = tuple[str, str]
_KEYS = ("patient_id", "timepoint")
_LISTED = 5
_WORDS = {"true": 1.0, "false": 0.0}
_INFINITE = ("inf", "-inf", "+inf", "infinity", "-infinity")


@dataclass(frozen=True, slots=True)
class RiskTask:
    """One task of the challenge.

    Attributes:
        number: 1, 2 or 3.
        title: Description for tables.
        predicted: Column of the predictions.
        truth: Column of the reference values.
        highest: Largest value of a prediction; the smallest is 0.
        score: Function of the reference values (n,) and the predictions (n,).
    """

    number: int
    title: str
    predicted: str
    truth: str
    highest: float
    score: Callable[..., Mapping[str, float | None]]

    @property
    def is_binary(self) -> bool:
        """Whether the reference values are 0 or 1."""
        return self.highest == 1


RISK_TASKS: Mapping[int, RiskTask] = {
    1: RiskTask(1, "ejection fraction", "lvef_pred", "lvef", 100.0, ejection_scores),
    2: RiskTask(2, "LV dysfunction", "dysfunction_pred", "lv_dysfunction", 1.0, dysfunction_scores),
    3: RiskTask(
        3, "cardiotoxicity", "cardiotoxicity_pred", "cardiotoxicity", 1.0, cardiotoxicity_scores
    ),
}


@dataclass(frozen=True, slots=True)
class EntryRisk:
    """The scores of an entry of one task of EchoRisk.

    Attributes:
        task: 1, 2 or 3.
        scores: The values of the official scorer by its names, with "n" and, for classes,
            "n_positive"; None where a value does not exist.
        extra: Number of predictions of examinations that have no reference value. The official
            scorer leaves them out, too.
    """

    task: int
    scores: Mapping[str, float | None]
    extra: int

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain values."""
        return {**asdict(self), "scores": dict(self.scores)}

    def render(self) -> str:
        """The scores in a few lines of text; the first one ranks."""
        task = RISK_TASKS[self.task]
        lines = [f"EchoRisk, task {task.number} ({task.title})"]
        for name, value in self.scores.items():
            text = "not defined" if value is None else f"{value:.6g}"
            lines.append(f"  {name:30} {text}")
        if self.extra:
            lines.append(
                f"  {counted(self.extra, 'prediction')} not counted: the examination has no "
                "reference "
                "value"
            )
        return "\n".join(lines)


def evaluate_echorisk(predictions: Path, truth: Path, task: int) -> EntryRisk:
    """Score the predictions of an entry of EchoRisk.

    Args:
        predictions: CSV with patient_id, timepoint and the column of the task: lvef_pred,
            dysfunction_pred or cardiotoxicity_pred.
        truth: CSV with patient_id, timepoint and lvef, lv_dysfunction or cardiotoxicity; the
            manifest of a part that has labels is one.
        task: 1 ejection fraction, 2 LV dysfunction, 3 cardiotoxicity.

    Returns:
        The scores.

    Raises:
        UnsupportedOptionError: There is no such task.
        DataNotFoundError: A file does not exist.
        CorruptFileError: A file lacks a column, or a reference value is not what it should be.
        EntryError: Examinations are missing or predicted twice, or a value is out of range; the
            message lists every fault.
        UndefinedError: The reference values hold one class only.

    Source:
        github.com/EchoRisk-MICCAI/echorisk-benchmark, version 1.0.0 of the scorer.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     made = Path(folder) / "predictions.csv"
        ...     _ = made.write_text("patient_id,timepoint,lvef_pred\\nA,T1,52\\nB,T1,57\\n")
        ...     truth = Path(folder) / "manifest.csv"
        ...     _ = truth.write_text("patient_id,timepoint,lvef\\nA,T1,50\\nB,T1,60\\n")
        ...     evaluate_echorisk(made, truth, 1).scores["mae"]
        2.5
    """
    if task not in RISK_TASKS:
        raise UnsupportedOptionError(f"task is {task}; the tasks of EchoRisk are 1, 2 and 3.")
    chosen = RISK_TASKS[task]
    for path, words in ((predictions, "predictions of the entry"), (truth, "reference values")):
        if not path.is_file():
            raise DataNotFoundError(f"{path} is not a file. Pass the CSV with the {words}.")
    cells_of_truth = _read(truth, chosen.truth, CorruptFileError)
    _require_form(predictions, chosen.predicted)
    cells = _read(predictions, chosen.predicted, EntryError)
    absent = [exam for exam in cells_of_truth if exam not in cells]
    expected = _values(truth, cells_of_truth, chosen, CorruptFileError, is_truth=True)
    scored = {exam: cells[exam] for exam in cells_of_truth if exam in cells}
    _refuse(predictions, "without a prediction", absent, EntryError)
    cells = _without_words(cells)
    scored = {exam: cells[exam] for exam in scored}
    texts = [exam for exam, text in cells.items() if exam not in scored and _is_text(text)]
    _refuse(
        predictions,
        f"without a reference value, with a {chosen.predicted} in words",
        texts,
        EntryError,
    )
    values = _values(predictions, scored, chosen, EntryError, is_truth=False)
    scores = dict(chosen.score(expected, values))
    scores["n"] = len(expected)
    if chosen.is_binary:
        scores["n_positive"] = int(expected.sum())
    return EntryRisk(task, scores, len(cells) - len(scored))


def _require_form(path: Path, column: str) -> None:
    """Refuse a form of an entry that etab could read and the official scorer refuses.

    Raises:
        EntryError: The header is not separated by commas or has blanks around a name, or an
            examination has blanks around its keys.
    """
    wanted = (*_KEYS, column)
    read_rows(path)  # what is no table at all is told as that
    try:
        reader = csv.DictReader(io.StringIO(read_text_file(path)))
        names = reader.fieldnames or ()
        absent = [name for name in wanted if name not in names]
        keys = () if absent else [(row[_KEYS[0]] or "", row[_KEYS[1]] or "") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise EntryError(f"{path} is not a CSV in UTF-8: {error}. Write it again.") from error
    if absent:
        header = ",".join(names)[:80]
        raise EntryError(
            f"{path} has no column {absent[0]!r} for the official scorer: its first line is "
            f"{header!r}; wanted {','.join(wanted)}, separated by commas, without blanks."
        )
    blanks = [exam for exam in keys if any(key != key.strip() for key in exam)]
    _refuse(path, "with blanks around the patient_id or timepoint", blanks, EntryError)


def _without_words(cells: Mapping[Exam, str]) -> dict[Exam, str]:
    """Replace true and false by 1 and 0 where every prediction is one of them."""
    words = {exam: _WORDS.get(text.casefold()) for exam, text in cells.items()}
    if None in words.values():
        return dict(cells)
    return {exam: f"{value:g}" for exam, value in words.items()}


def _is_text(text: str) -> bool:
    """Whether a cell is neither blank nor a number."""
    return not is_blank(text) and parse_number(text) is None and text.casefold() not in _INFINITE


def _read(
    path: Path,
    column: str,
    error: type[EtabError],
) -> dict[Exam, str]:
    """Read a column by examination; a blank key or an examination in two rows is an error."""
    rows = read_table(
        path,
        (*_KEYS, column),
        hint=f"Wanted the columns {', '.join((*_KEYS, column))}.",
    )
    cells: dict[Exam, str] = {}
    twice: list[Exam] = []
    for row in rows:
        exam = (plain_identifier(row["patient_id"]), row["timepoint"])
        if "" in exam and error is not EntryError:
            raise error(f"{path} has a row without a patient_id or a timepoint. Complete it.")
        if exam in cells:
            twice.append(exam)
        cells[exam] = row[column]
    _refuse(path, "in more than one row", twice, error)
    if not cells:
        raise error(f"{path} holds no examination. Pass a file with a row for each one.")
    return cells


def _values(
    path: Path,
    cells: Mapping[Exam, str],
    task: RiskTask,
    error: type[EtabError],
    *,
    is_truth: bool,
) -> Any:
    """Parse the cells (n,); every cell that is not a value of the task is named."""
    column = task.truth if is_truth else task.predicted
    values: list[float] = []
    wrong: list[Exam] = []
    for exam, text in cells.items():
        value = None if is_blank(text) else parse_number(text)
        if is_truth and task.is_binary:
            value = _WORDS.get(text.casefold(), value)
            is_right = value in (0, 1)
        else:
            is_right = value is not None and 0 <= value <= task.highest
        if not is_right or value is None:
            wrong.append(exam)
            continue
        values.append(value)
    wanted = "0 or 1" if is_truth and task.is_binary else f"a number from 0 to {task.highest:g}"
    _refuse(path, f"with a {column} that is not {wanted}", wrong, error)
    return np.array(values, dtype=np.int64 if is_truth and task.is_binary else np.float64)


def _refuse(
    path: Path,
    words: str,
    exams: list[Exam],
    error: type[EtabError],
) -> None:
    """Raise an error that names the first examinations, if there are any."""
    if not exams:
        return
    named = ", ".join(" ".join(exam) for exam in exams[:_LISTED])
    more = f" and {len(exams) - _LISTED} more" if len(exams) > _LISTED else ""
    raise error(
        f"{path} is not scored: {counted(len(exams), 'examination')} {words}: {named}{more}. "
        "Correct the file; no row is "
        "dropped."
    )
