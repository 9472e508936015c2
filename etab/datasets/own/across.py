"""What is wrong with rows of a table of one's own that fit, each taken alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from etab.datasets.own.description import Description
from etab.datasets.own.rows import RowProblem, TableRow

METRICS_OF_OUTCOMES = ("weighted_accuracy", "cost")
"""Metrics of the Challenge 2022, which need the outcome of every recording that they score."""


def duplicates(rows: Iterable[TableRow]) -> list[RowProblem]:
    """Rows whose recording, file or id another row has already.

    Where two rows of one file contradict each other, both are wrong: nobody knows which one is
    right.
    """
    problems: dict[int, RowProblem] = {}
    first_of: dict[tuple[str, str], TableRow] = {}
    for row in rows:
        # Roles with a slash are masks and states, which recordings may share.
        own = [name for role, name in row.files.items() if "/" not in role]
        keys = [*(("file", name) for name in own), ("id", row.id)]
        earlier = [key for key in keys if key in first_of]
        if not earlier:
            first_of.update(dict.fromkeys(keys, row))
            continue
        role, name = earlier[0]
        first = first_of[earlier[0]]
        told = _listed_twice(row, first, role, name)
        problems[row.line] = _problem(row, *told)
        if told[0] == _TWO_STORIES:
            problems.setdefault(first.line, _problem(first, *_listed_twice(first, row, role, name)))
    return list(problems.values())


_TWO_STORIES = "a recording listed twice with other cells"


def _listed_twice(row: TableRow, other: TableRow, role: str, name: str) -> tuple[str, str]:
    """The reason why a row repeats the file or the id of another one, and the whole sentence."""
    line = other.line
    if role == "file" and _contradict(row, other):
        return (
            _TWO_STORIES,
            f"{name} is also in line {line}, with another patient, view, part or label; keep the "
            "right one of the two rows.",
        )
    if role == "file":
        return (
            "a recording listed twice",
            f"{name} is also in line {line}; keep one of the two rows.",
        )
    return (
        "an id given twice",
        f"{row.files['file0']} has the id {name!r}, as line {line} has; give each row an id of its "
        "own in the column id.",
    )


def _contradict(row: TableRow, other: TableRow) -> bool:
    """Whether two rows of one file say different things of it; a blank cell says nothing."""
    if (row.patient, row.view, row.split) != (other.patient, other.view, other.split):
        return True
    both = row.values.keys() & other.values.keys()
    return any(row.values[name] != other.values[name] for name in both)


def split_patients(rows: Sequence[TableRow]) -> list[RowProblem]:
    """Rows of patients that lie in two parts of the split."""
    parts: dict[str, set[str]] = {}
    for row in rows:
        parts.setdefault(row.patient, set()).add(row.split)
    problems: list[RowProblem] = []
    for row in rows:
        own = sorted(parts[row.patient])
        if len(own) > 1:
            words = " and ".join(part or "no part" for part in own)
            text = f"patient {row.patient} is in {words}; a patient belongs to one part."
            problems.append(_problem(row, "a patient in two parts of the split", text))
    return problems


def without_outcome(description: Description, rows: Sequence[TableRow]) -> list[RowProblem]:
    """Rows with a label of the Challenge 2022 whose outcome is not known.

    Args:
        description: The description, which names the metrics of its labels.
        rows: The rows that fit.
    """
    scored = [
        (label.name, label.metric)
        for label in description.labels
        if label.metric in METRICS_OF_OUTCOMES
    ]
    problems: list[RowProblem] = []
    for row in rows:
        for name, metric in scored:
            if name in row.values and "outcome" not in row.values:
                text = (
                    f"{name} is scored by {metric}, which needs the outcome of every recording, and "
                    "outcome is blank; fill it in, or name another metric in "
                    f"{description.path.name}."
                )
                problems.append(_problem(row, "no outcome", text))
                break
    return problems


def _problem(row: TableRow, reason: str, text: str) -> RowProblem:
    return RowProblem(row.line, row.id, reason, text, row.patient, row.view, row.split)
