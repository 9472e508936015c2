"""What is wrong with rows of a user's own table that fit, each taken alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from etab.datasets.own.description import Description
from etab.datasets.own.labels import Label
from etab.datasets.own.remarks import INPUTS_OF_SEVERAL_VIEWS
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
        problem = _listed_twice(row, first, role, name)
        problems[row.line] = RowProblem.of(row, *problem)
        if problem[0] == _TWO_STORIES:
            problems.setdefault(
                first.line, RowProblem.of(first, *_listed_twice(first, row, role, name))
            )
    return list(problems.values())


_TWO_STORIES = "a recording listed twice with other cells"


def _listed_twice(row: TableRow, other: TableRow, role: str, name: str) -> tuple[str, str]:
    """The reason why a row repeats the file or the id of another one, and the whole sentence."""
    line = other.line
    if role == "file" and _contradict(row, other):
        return (
            _TWO_STORIES,
            f"{name} is also in line {line}, with another patient, view, part or label; keep only "
            "the correct row.",
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
            problems.append(RowProblem.of(row, "a patient in two parts of the split", text))
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
                    f"{name} is scored by {metric}, which needs the outcome of every recording, "
                    "and outcome is blank; fill it in, or name another metric in "
                    f"{description.path.name}."
                )
                problems.append(RowProblem.of(row, "no outcome", text))
                break
    return problems


def against_cut(description: Description, rows: Sequence[TableRow]) -> list[RowProblem]:
    """Rows whose class is not the one that their value gives.

    Args:
        description: The description, which says what classes are cut from.
        rows: The rows that fit.

    Returns:
        A problem for each row with a class and no value, or with a class that the value contradicts.
    """
    problems: list[RowProblem] = []
    labels = [label for label in description.labels if label.cut is not None]
    for row in rows:
        found = next((fault for label in labels if (fault := _fault_of_cut(row, label))), None)
        if found:
            problems.append(RowProblem.of(row, *found))
    for label in labels:
        if label.input in INPUTS_OF_SEVERAL_VIEWS:
            problems += _several_values(label, rows)
    return problems


def _several_values(label: Label, rows: Sequence[TableRow]) -> list[RowProblem]:
    """Rows of units whose views have different values: a row of the task is cut from one value."""
    values: dict[str, set[float]] = {}
    cut = label.cut
    if cut is None:
        return []
    for row in rows:
        if cut.target in row.values:
            values.setdefault(_unit(label, row), set()).add(row.values[cut.target])
    problems: list[RowProblem] = []
    for row in rows:
        own = values.get(_unit(label, row), set())
        if label.name in row.values and len(own) > 1:
            words = " and ".join(f"{value:.10g}" for value in sorted(own))
            text = (
                f"{label.per or 'patient'} {_unit(label, row)} has {cut.target} {words} in its "
                f"views, and {label.name} is cut from one value; give its rows the same one."
            )
            problems.append(
                RowProblem.of(row, f"{label.name} of several values of {cut.target}", text)
            )
    return problems


def _unit(label: Label, row: TableRow) -> str:
    """What a row of several views is about: the study, or the patient."""
    return str(row.meta.get("study", "")) if label.per == "study" else row.patient


def _fault_of_cut(row: TableRow, label: Label) -> tuple[str, str] | None:
    """Why the class of a row is not that of its value, and the whole sentence; None where it is."""
    cut = label.cut
    if cut is None or label.name not in row.values:
        return None
    name = label.classes[int(row.values[label.name])]
    value = row.values.get(cut.target)
    rule = f"{label.name} is {label.classes[1]!r} where {cut.target} is below {cut.below:.10g}"
    if value is None:
        return (
            f"{label.name} without {cut.target}",
            f"{label.name} is {name!r} and {cut.target} is blank; {rule}. Fill {cut.target} in, or "
            f"leave {label.name} blank.",
        )
    if row.frames.get(label.name) != row.frames.get(cut.target):
        return (
            f"{label.name} and {cut.target} of other frames",
            f"{label.name} and {cut.target}, which it is cut from, name different frames; give "
            "both the same frames.",
        )
    if (value < cut.below) != (row.values[label.name] == 1):
        return (
            f"{label.name} contradicts {cut.target}",
            f"{label.name} is {name!r} and {cut.target} is {value:.10g}; {rule}. Correct one of "
            "two.",
        )
    return None
