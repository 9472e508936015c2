"""Ten thousand rows, one in a hundred with each of many faults: one report, the others are used, nothing is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etab.datasets.own.description import read_description
from etab.datasets.own.registered import own_source
from etab.datasets.own.table import read_own_table
from tests.datasets.own_tables import describe, write_table

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forget_own_data")]

N = 10_000  # rows
EACH = 100
LABELS = """
[labels.EF]
kind = "value"
unit = "%"
range = [0, 100]
[labels.low]
kind = "classes"
classes = ["no", "yes"]
value = "EF"
below = 50
"""

_Row = dict[str, Any]


def put(**cells: Any) -> Callable[[_Row, _Row], Any]:
    return lambda row, before: row.update(cells)


# A change of a row, given the row before it, and why it does not fit; two rows where both are wrong.
FAULTS: list[tuple[Callable[[_Row, _Row], Any], str, int]] = [
    (put(file="absent.png"), "a missing file", 1),
    (put(file=""), "no file", 1),
    (put(file="/somewhere/else.png"), "a file outside the folder", 1),
    (put(file="D:\\echo\\a.png"), "a file outside the folder", 1),
    (put(file="study.zip"), "a file of another kind", 1),
    (lambda row, _: row.update(file=row["file"].upper()), "a missing file", 1),
    (lambda row, _: row.update(file=row["file"] + "\0"), "a missing file", 1),
    (put(patient=" "), "no patient", 1),
    (put(patient="1.23457E+11"), "a spoiled patient id", 1),
    (put(EF="46,5"), "EF is not a number", 1),
    (put(EF="1.046,5"), "EF is not a number", 1),
    (put(EF="1,046.5"), "EF is not a number", 1),
    (put(EF="46 bpm"), "EF is not a number", 1),
    (put(EF="#DIV/0!"), "EF is not a number", 1),
    (put(EF="05.01.2024"), "EF is not a number", 1),
    (put(EF="inf"), "EF is not a number", 1),
    (put(EF="300"), "EF out of range", 1),
    (put(low="maybe"), "an unknown class of low", 1),
    (put(low="TRUE"), "an unknown class of low", 1),
    (put(low="yes"), "low contradicts EF", 1),
    (put(EF=""), "low without EF", 1),
    (put(view="sideways"), "an unknown view", 1),
    (put(split="holdout"), "an unknown part of the split", 1),
    (put(fps="0"), "fps is not a number above 0", 1),
    (put(fps="inf"), "fps is not a number above 0", 1),
    (put(spacing="0"), "spacing is not in mm", 1),
    (put(spacing="0.3x0"), "spacing is not in mm", 1),
    (put(ed="3", es="3"), "ED and ES are not frames", 1),
    (put(ed="-1", es="3"), "ED and ES are not frames", 1),
    (
        lambda row, before: row.update(file=before["file"], EF=77),
        "a recording listed twice with other cells",
        2,
    ),
    (
        lambda row, before: row.update(patient=before["patient"], split="test"),
        "a patient in two parts of the split",
        2,
    ),
]


def test_one_report_and_nothing_in_silence(tmp_path: Path) -> None:
    rows: list[_Row] = [
        {
            "file": f"r{number:05d}.png",
            "patient": f"p{number:05d}",
            "view": "A4C",
            "split": "train",
            "fps": 25,
            "spacing": 0.3,
            "ed": 0,
            "es": 1,
            "EF": 55 + number % 10,
            "low": "no",
        }
        for number in range(N)
    ]
    for row in rows:
        (tmp_path / row["file"]).touch()
    (tmp_path / "study.zip").touch()
    expected: Counter[str] = Counter()
    for kind, (change, reason, n_bad) in enumerate(FAULTS):
        for place in range(EACH):
            number = (
                place * len(FAULTS) + kind
            ) * 3 + 1  # rows with a fault have two without beside
            change(rows[number], rows[number - 1])
            expected[reason] += n_bad
    write_table(tmp_path, rows)
    description = read_description(describe(tmp_path, LABELS))
    table = read_own_table(description)
    found = Counter(problem.reason for problem in table.problems)
    assert found == expected
    bad = {problem.line for problem in table.problems}
    assert len(bad) == sum(expected.values())
    assert len(table.rows) == N - len(bad)
    report = table.report(description.table)
    assert f"{len(bad):,} of {N:,} rows do not fit" in report
    assert all(f"{count} x {reason}" in report for reason, count in expected.items())
    assert len(report.splitlines()) < len(FAULTS) + 30
    source = own_source(description)(tmp_path).lenient()
    assert len(source.records()) == N - len(bad)
    assert source.faults is not None
    assert len(source.faults) == len(table.problems)
