"""Entries' answers from results made here: answers.txt of CinC 2016, one csv a patient of the Challenge 2022.

The predictions beside a result are out-of-fold: each record is answered by a model that was not fitted on its fold. Where
the table holds decided classes (column "answer", by thresholds chosen on training folds), those are written, unless
the caller names a threshold, which is then said in the facts written beside the answers.
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
from etab.sounds.states import MURMUR, OUTCOME
from etab.storage.atomic import write_atomically
from etab.tasks.codes import parse_code
from etab.types import FloatArray, Kind

_RECORD, _PATIENT = re.compile(r"^[a-f]\d{4,5}$"), re.compile(r"^\d+$")
_TASKS = {"cinc2016": {0: "abnormal"}, "circor": {1: "murmur", 2: "outcome"}}
_UNSURE = 0.5


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: the folder, how many answers, how they were decided, and their scores where data were named."""

    folder: str
    answers: int
    decided: str
    scores: Mapping[str, Entry2016 | Entry2022]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return asdict(self)

    def render(self) -> str:
        """A few lines for a terminal."""
        lines = [f"{self.answers} answers in {self.folder}; {self.decided}"]
        return "\n".join([*lines, *(score.render() for score in self.scores.values())])


def read_table(path: Path, wanted: Sequence[str]) -> tuple[str, Result, Predictions]:
    """(what is answered, the record, its predictions) of a result's .json whose task is one of ``wanted``.

    Raises ResultError where the file, its table or its task is not what it should be.
    """
    result = Result.load(path)
    table = path.with_suffix(".csv")
    data = table.read_bytes() if table.is_file() else b""
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
            f"{path} is of {result.task} on {result.dataset}; wanted a result of {' or '.join(wanted)}."
        )
    return str(what), result, Predictions.from_csv(data.decode(), str(table))


def answers_2016(
    table: Predictions, threshold: float | None = None, unsure: tuple[float, float] | None = None
) -> tuple[dict[str, int], str]:
    """(answers 1, -1, 0 by record, how they were decided) of a table of scores.

    threshold: abnormal from this probability on; None takes the table's own decisions, or 0.5 where it has none.
    unsure: answer 0 where low <= probability < high. Raises UnsupportedOptionError for numbers outside 0 to 1 or both
    options at once, ResultError where items are no records of the challenge.
    """
    _check_items(table, _RECORD, "records such as a0001")
    if threshold is not None and unsure is not None:
        raise UnsupportedOptionError("threshold and unsure decide the same: give one of them.")
    score = table.columns["score"]
    if unsure is not None:
        low, high = unsure
        if not 0 <= low < high <= 1:
            raise UnsupportedOptionError(
                f"unsure is {low:g} to {high:g}; wanted 0 <= low < high <= 1."
            )
        said = np.where(score >= high, 1, np.where(score < low, -1, 0))
        how = f"abnormal from {high:g} on, normal below {low:g}, unsure between"
    elif threshold is None and "answer" in table.columns:
        own = table.columns["answer"]
        said = np.where(own == _UNSURE, 0, np.where(own > _UNSURE, 1, -1))
        how = "decided by the thresholds of the result, which were chosen on training folds"
    else:
        at = _probability(0.5 if threshold is None else threshold)
        said, how = np.where(score >= at, 1, -1), f"abnormal from {at:g} on"
    return dict(zip(table.items, said.tolist(), strict=True)), how


def write_cinc2016(
    path: Path,
    out: Path,
    *,
    data: Path | None = None,
    part: str = "validation",
    threshold: float | None = None,
    unsure: tuple[float, float] | None = None,
) -> Written:
    """Write ``out/answers.txt`` (and answers.json: whose they are) from a result of normal or abnormal.

    data: the release; then only the records of ``data/part`` are written, and scored by both rules. Raises ResultError
    where the result leaves one of these out, and as ``answers_2016`` and ``read_table``.
    """
    _, result, table = read_table(path, ["abnormal"])
    given, how = answers_2016(table, threshold, unsure)
    scores: dict[str, Entry2016 | Entry2022] = {}
    if data is not None:
        labels, quality = read_references(data / part)
        absent = sorted(set(labels) - set(given))
        if absent:
            raise ResultError(
                f"{path} answers {len(given)} records, and not {len(absent)} of {part}, first {absent[0]}: "
                "it was made from other data. Evaluate the model on this data first."
            )
        given = {name: given[name] for name in sorted(labels)}
        scores = {
            rule: score_cinc2016(labels, given, quality, rule=rule)
            for rule in ("official", "phase1")
        }
    write_atomically(
        out / "answers.txt", "".join(f"{name},{value}\n" for name, value in sorted(given.items()))
    )
    _write_facts(out / "answers.json", [result], how)
    return Written(str(out), len(given), how, scores)


def write_circor2022(
    paths: Sequence[Path], out: Path, *, data: Path | None = None, threshold: float | None = None
) -> Written:
    """Write ``out/outputs/ID.csv`` (and answers.json) from two results: one of murmur, one of outcome.

    threshold: abnormal outcome from this probability on; None takes the results' own decisions, or the largest class.
    data: CirCor as published; then the outputs are scored. Raises ResultError where one of the two is missing, they are
    of other patients, or ``out`` already holds outputs.
    """
    found = [(path, *read_table(path, ["murmur", "outcome"])) for path in paths]
    by = {what: (path, result, table) for path, what, result, table in found}
    if sorted(by) != ["murmur", "outcome"] or len(found) != 2:
        came = ", ".join(what for _, what, _, _ in found) or "none"
        raise ResultError(
            f"An entry of 2022 answers murmur and outcome: give --from twice, one result of each; got {came}."
        )
    if (out / "outputs").is_dir() and any((out / "outputs").iterdir()):
        raise ResultError(
            f"{out / 'outputs'} already holds outputs. Choose another folder with --out."
        )
    murmur, outcome = (by[what][2] for what in ("murmur", "outcome"))
    for table in (murmur, outcome):
        _check_items(table, _PATIENT, "patients such as 2530")
    odd = sorted(set(murmur.items) ^ set(outcome.items))
    if odd:
        raise ResultError(
            f"The two results are of other patients: {len(odd)} are in one of them alone, first {odd[0]}."
        )
    m, o = _murmur(murmur), _outcome(outcome, threshold)
    for name in sorted(m):
        _write_output(out / "outputs" / f"{name}.csv", name, m[name], o[name])
    how = "decided by the rules of the results, which were chosen on training folds"
    if threshold is not None or "answer" not in outcome.columns:
        how = f"outcome abnormal from {0.5 if threshold is None else threshold:g} on"
    _write_facts(out / "answers.json", [by["murmur"][1], by["outcome"][1]], how)
    scores: dict[str, Entry2016 | Entry2022] = {}
    if data is not None:
        scores = {"2022": evaluate_circor2022(out / "outputs", data)}
    return Written(str(out / "outputs"), len(m), how, scores)


Row = tuple[list[int], list[float]]


def _murmur(table: Predictions) -> dict[str, Row]:
    """0 or 1 and a score for Present, Unknown, Absent of each patient."""
    scores = class_scores(Kind.CLASSES, table.columns)
    chosen = (
        table.columns["answer"].astype(int) if "answer" in table.columns else scores.argmax(axis=1)
    )
    return _rows(table.items, np.eye(len(MURMUR), dtype=int)[chosen], scores)


def _outcome(table: Predictions, threshold: float | None) -> dict[str, Row]:
    """0 or 1 and a score for Abnormal, Normal of each patient."""
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


def _rows(items: Sequence[str], chosen: Any, scores: FloatArray) -> dict[str, Row]:
    return {
        name: (c, s) for name, c, s in zip(items, chosen.tolist(), scores.tolist(), strict=True)
    }


def _write_output(path: Path, name: str, murmur: Row, outcome: Row) -> None:
    lines = [
        f"#{name}",
        ",".join((*MURMUR, *OUTCOME)),
        ",".join(str(v) for v in (*murmur[0], *outcome[0])),
        ",".join(number_text(v) for v in (*murmur[1], *outcome[1])),
    ]
    write_atomically(path, "\n".join(lines) + "\n")


def _write_facts(path: Path, results: Sequence[Result], how: str) -> None:
    """Whose answers these are, and how scores became answers: what answers.txt itself has no room for."""
    facts = {
        "decided": how,
        "results": [
            {
                "identity": r.identity(),
                "task": r.task,
                "backbone": r.backbone,
                "head": r.head,
                "protocol": r.protocol,
                "phantom": r.phantom,
            }
            for r in results
        ],
    }
    write_atomically(path, json.dumps(facts, indent=1) + "\n")


def _check_items(table: Predictions, name: re.Pattern[str], words: str) -> None:
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
