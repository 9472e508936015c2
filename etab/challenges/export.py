"""Write an entry's answers from results: answers.txt of CinC 2016, csv files of the Challenge 2022.

The predictions beside a result are out-of-fold: each record is answered by a model that was not
fitted on its fold. Where the table holds decided classes (column "answer", by thresholds chosen on
training folds), those are written, unless the caller gives a threshold. How answers were decided is
recorded in answers.json beside them.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etab.challenges.scoring import (
    Entry2016,
    Entry2022,
    evaluate_circor2022,
    read_references,
    score_cinc2016,
)
from etab.errors import ResultError, UnknownNameError, UnsupportedOptionError
from etab.metrics.columns import class_scores
from etab.results import Predictions, Result, number_text
from etab.results.table_files import read_table_bytes, table_path
from etab.sounds.states import MURMUR, OUTCOME
from etab.storage.atomic import write_atomically
from etab.tasks.codes import parse_code
from etab.types import FloatArray, Kind

_RECORD = re.compile(r"^[a-f]\d{4,5}$")
_PATIENT = re.compile(r"^\d+$")
# What the tasks of category f predict, by dataset and number.
_TASKS = {
    "cinc2016": {0: "abnormal"},
    "circor": {1: "murmur", 2: "outcome"},
}
_UNSURE = 0.5


@dataclass(frozen=True, slots=True)
class WrittenEntry:
    """Answers that were written.

    Attributes:
        folder: Where they are.
        answers: Number of answers.
        decided: How scores became answers, in words.
        scores: Official scores by rule; empty without data.
    """

    folder: str
    answers: int
    decided: str
    scores: Mapping[str, Entry2016 | Entry2022]

    def as_dict(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)

    def render(self) -> str:
        """The written files, in a few lines of text."""
        lines = [f"{self.answers} answers in {self.folder}; {self.decided}"]
        return "\n".join([*lines, *(score.render() for score in self.scores.values())])


def read_result_table(path: Path, wanted: Sequence[str]) -> tuple[str, Result, Predictions]:
    """Read a result and its predictions, if it answers what a challenge asks.

    Args:
        path: The .json of the result; the table is beside it.
        wanted: What it may answer: ``"abnormal"``, ``"murmur"`` or ``"outcome"``.

    Returns:
        What it answers, the result, and its predictions.

    Raises:
        ResultError: If the file or its table cannot be read, or it answers something else.
    """
    result = Result.load(path)
    table = table_path(path)
    try:
        data = read_table_bytes(table)
    except OSError:
        data = b""
    if hashlib.sha256(data).hexdigest() != result.predictions_sha256:
        raise ResultError(
            f"{table} is missing or not the table that {path.name} was made from. Restore it."
        )
    try:
        code = parse_code(result.task)
    except UnknownNameError as error:
        raise ResultError(f"{path} is of {result.task}: {error}") from error
    what = _TASKS.get(result.dataset, {}).get(code.index) if code.category == "f" else None
    if what not in wanted:
        raise ResultError(
            f"{path} is of {result.task} on {result.dataset}; wanted a result of "
            f"{' or '.join(wanted)}."
        )
    predictions = Predictions.from_csv(data.decode(), str(table))
    if predictions.n_repeats > 1:
        raise ResultError(
            f"{path} is of {result.protocol}: it predicts every row {predictions.n_repeats} times, "
            "and an entry answers once. Take a result of cv5, official or lodo."
        )
    return str(what), result, predictions


def answers_2016(
    table: Predictions,
    threshold: float | None = None,
    unsure: tuple[float, float] | None = None,
) -> tuple[dict[str, int], str]:
    """Turn the scores of a table into answers of CinC 2016.

    Args:
        table: Predictions of normal or abnormal, a row for each record.
        threshold: Probability at or above which a record is abnormal. None takes the decisions of
            the table, or 0.5 where it has none.
        unsure: Low and high probability; a record between them is unsure.

    Returns:
        Answers by record (1 abnormal, -1 normal, 0 unsure), and in words how they were decided.

    Raises:
        UnsupportedOptionError: If a number is outside 0 to 1, or both options are given.
        ResultError: If rows of the table are not records of the challenge.
    """
    _check_items(table, _RECORD, "records such as a0001")
    if threshold is not None and unsure is not None:
        raise UnsupportedOptionError(
            "threshold and unsure decide the same thing: give only one of them."
        )
    score = table.columns["score"]
    if unsure is not None:
        low, high = unsure
        if not 0 <= low < high <= 1:
            raise UnsupportedOptionError(
                f"unsure is {low:g} to {high:g}; wanted 0 <= low < high <= 1."
            )
        answers = np.where(score >= high, 1, np.where(score < low, -1, 0))
        rule = f"abnormal at {high:g} or above, normal below {low:g}, unsure between"
    elif threshold is None and "answer" in table.columns:
        decided = table.columns["answer"]
        answers = np.where(decided == _UNSURE, 0, np.where(decided > _UNSURE, 1, -1))
        rule = "decided by the thresholds of the result, which were chosen on training folds"
    else:
        lowest = _probability(0.5 if threshold is None else threshold)
        answers = np.where(score >= lowest, 1, -1)
        rule = f"abnormal at {lowest:g} or above"
    return dict(zip(table.items, answers.tolist(), strict=True)), rule


def export_cinc2016(
    path: Path,
    out: Path,
    *,
    data: Path | None = None,
    part: str = "validation",
    threshold: float | None = None,
    unsure: tuple[float, float] | None = None,
) -> WrittenEntry:
    """Write answers.txt and answers.json of CinC 2016 from a result of normal or abnormal.

    Args:
        path: The .json of the result.
        out: Folder to write to.
        data: The release. If given, only the records of ``data/part`` are written, and they are
            scored by both rules.
        part: Folder of the release whose records are written.
        threshold: As for ``answers_2016``.
        unsure: As for ``answers_2016``.

    Returns:
        What was written.

    Raises:
        ResultError: If the result cannot be read, answers something else, or lacks a record.
        UnsupportedOptionError: If a number is outside 0 to 1, or both options are given.
    """
    _, result, table = read_result_table(path, ["abnormal"])
    given, rule = answers_2016(table, threshold, unsure)
    scores: dict[str, Entry2016 | Entry2022] = {}
    if data is not None:
        labels, quality = read_references(data / part)
        absent = sorted(set(labels) - set(given))
        if absent:
            raise ResultError(
                f"{path} answers {len(given)} records, and not {len(absent)} of {part}, first "
                f"{absent[0]}: it was made from other data. Evaluate the model on this data first."
            )
        given = {name: given[name] for name in sorted(labels)}
        scores = {
            rule: score_cinc2016(labels, given, quality, rule=rule)
            for rule in ("official", "phase1")
        }
    lines = [f"{name},{value}\n" for name, value in sorted(given.items())]
    write_atomically(out / "answers.txt", "".join(lines))
    _write_facts(out / "answers.json", [result], rule)
    return WrittenEntry(str(out), len(given), rule, scores)


def export_circor2022(
    paths: Sequence[Path],
    out: Path,
    *,
    data: Path | None = None,
    threshold: float | None = None,
) -> WrittenEntry:
    """Write the csv files of the Challenge 2022 and answers.json from two results.

    Args:
        paths: The .json of a result of murmur and of one of outcome, in any order.
        out: Folder to write to; the csv files go to ``outputs/`` in it.
        data: CirCor as published. If given, the outputs are scored.
        threshold: Probability at or above which the outcome is abnormal. None takes the decisions
            of the results, or the largest class.

    Returns:
        What was written.

    Raises:
        ResultError: If one of the results is missing, they are of different patients, or ``out``
            already holds outputs.
        UnsupportedOptionError: If ``threshold`` is outside 0 to 1.
    """
    read = [read_result_table(path, ["murmur", "outcome"]) for path in paths]
    results = {what: result for what, result, _ in read}
    tables = {what: table for what, _, table in read}
    if sorted(tables) != ["murmur", "outcome"] or len(read) != 2:
        came = ", ".join(what for what, _, _ in read) or "none"
        raise ResultError(
            "An entry of 2022 answers murmur and outcome: give --from twice, one result of each; "
            f"got {came}."
        )
    if (out / "outputs").is_dir() and any((out / "outputs").iterdir()):
        raise ResultError(
            f"{out / 'outputs'} already holds outputs. Choose another folder with --out."
        )
    murmur = tables["murmur"]
    outcome = tables["outcome"]
    for table in (murmur, outcome):
        _check_items(table, _PATIENT, "patients such as 2530")
    odd = sorted(set(murmur.items) ^ set(outcome.items))
    if odd:
        raise ResultError(
            f"The two results are of different patients: {len(odd)} are in only one of them, "
            f"first {odd[0]}."
        )
    murmur_rows = _murmur(murmur)
    outcome_rows = _outcome(outcome, threshold)
    for name in sorted(murmur_rows):
        path = out / "outputs" / f"{name}.csv"
        _write_output(path, name, murmur_rows[name], outcome_rows[name])
    rule = "decided by the rules of the results, which were chosen on training folds"
    if threshold is not None or "answer" not in outcome.columns:
        rule = f"outcome abnormal at {0.5 if threshold is None else threshold:g} or above"
    _write_facts(out / "answers.json", [results["murmur"], results["outcome"]], rule)
    scores: dict[str, Entry2016 | Entry2022] = {}
    if data is not None:
        scores = {"2022": evaluate_circor2022(out / "outputs", data)}
    return WrittenEntry(str(out / "outputs"), len(murmur_rows), rule, scores)


# For each class: 0 or 1, and a score.
AnswerRow = tuple[list[int], list[float]]


def _murmur(table: Predictions) -> dict[str, AnswerRow]:
    """The answers for Present, Unknown and Absent, by patient."""
    scores = class_scores(Kind.CLASSES, table.columns)
    chosen = scores.argmax(axis=1)
    if "answer" in table.columns:
        chosen = table.columns["answer"].astype(int)
    return _rows(table.items, np.eye(len(MURMUR), dtype=int)[chosen], scores)


def _outcome(table: Predictions, threshold: float | None) -> dict[str, AnswerRow]:
    """The answers for Abnormal and Normal, by patient."""
    score = table.columns["score"]
    if threshold is None and "answer" in table.columns:
        chosen = table.columns["answer"] > _UNSURE
    else:
        chosen = score >= _probability(0.5 if threshold is None else threshold)
    return _rows(
        table.items,
        np.stack([chosen, ~chosen], axis=1).astype(int),
        np.stack([score, 1 - score], axis=1),
    )


def _rows(
    items: Sequence[str],
    chosen: Any,
    scores: FloatArray,
) -> dict[str, AnswerRow]:
    rows = zip(chosen.tolist(), scores.tolist(), strict=True)
    return dict(zip(items, rows, strict=True))


def _write_output(
    path: Path,
    name: str,
    murmur: AnswerRow,
    outcome: AnswerRow,
) -> None:
    lines = [
        f"#{name}",
        ",".join((*MURMUR, *OUTCOME)),
        ",".join(str(v) for v in (*murmur[0], *outcome[0])),
        ",".join(number_text(v) for v in (*murmur[1], *outcome[1])),
    ]
    write_atomically(path, "\n".join(lines) + "\n")


def _write_facts(path: Path, results: Sequence[Result], rule: str) -> None:
    """Write what answers.txt has no room for: the results, and how scores became answers."""
    facts = {
        "decided": rule,
        "results": [
            {
                "identity": result.identity(),
                "task": result.task,
                "backbone": result.backbone,
                "head": result.head,
                "protocol": result.protocol,
                "phantom": result.phantom,
            }
            for result in results
        ],
    }
    write_atomically(path, json.dumps(facts, indent=1) + "\n")


def _check_items(
    table: Predictions,
    name: re.Pattern[str],
    words: str,
) -> None:
    odd = [item for item in table.items if not name.match(item)]
    if odd:
        raise ResultError(
            f"{len(odd)} rows of the result are no {words}, first {odd[0]!r}: answers are of whole "
            "recordings or patients."
        )


def _probability(value: float) -> float:
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise UnsupportedOptionError(f"threshold is {value!r}; wanted a probability from 0 to 1.")
    return value
