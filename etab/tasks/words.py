"""Tasks and protocols in words, for pages that a stranger reads."""

from __future__ import annotations

from etab.echo.views import VIEW_TITLES
from etab.metrics import METRICS
from etab.metrics.base import OF_TARGET
from etab.tasks.base import Task
from etab.tasks.inputs import ROW_INPUTS
from etab.tasks.protocols import Protocol, parse
from etab.types import Kind, Target

_SORTS = {
    "official": "the authors' own division of the patients",
    "lodo": "one database is left out at a time: its recordings are predicted by probes that were "
    "trained on the other databases",
    "lists": "the folds of a published list",
}


def protocol_words(name: str, unit: str = "patient") -> str:
    """Say how the patients are divided, and on which of them the probes are trained.

    Args:
        name: The name of a protocol, as results state it.
        unit: What a patient of the data stands for, as on their card.

    Returns:
        The protocol in words.

    Raises:
        IncompatibleError: No protocol has this name.

    Example:
        >>> protocol_words("cv5")
        'patients in 5 folds: each fold is predicted by probes that were trained on the other folds'
        >>> protocol_words("official-10pct-d0")
        "the authors' own division of the patients; trained on 10 % of the training patients"
        >>> protocol_words("cv2", "recording")
        'recordings in 2 folds: each fold is predicted by probes that were trained on the other folds'
    """
    protocol = parse(name)
    parts = [_SORTS.get(protocol.sort) or _folds(protocol)]
    if protocol.percent:
        parts.append(f"trained on {protocol.percent:g} % of the training patients")
    if protocol.shots:
        parts.append(f"trained on {protocol.shots} patients of each class")
    if protocol.tuning:
        parts.append("the backbone is trained too")
    return "; ".join(parts).replace("patients", f"{unit}s")


def _folds(protocol: Protocol) -> str:
    """Folds of cross-validation."""
    often = f", divided anew {protocol.repeats} times" if protocol.repeats > 1 else ""
    return (
        f"patients in {protocol.n_fold} folds{often}: each fold is predicted by probes that were "
        "trained on the other folds"
    )


def target_words(task: Task, target: Target | None) -> str:
    """Say what a task predicts.

    Args:
        task: The task.
        target: Its target on the card of its data; None where there is no such card.

    Returns:
        The target, with its unit or classes.

    Example:
        >>> from etab.tasks.menu import TASKS
        >>> ejection = Target("EF", Kind.VALUE, "%", description="ejection fraction")
        >>> target_words(TASKS["b0-A4-C"], ejection)
        'ejection fraction, in %'
        >>> murmur = Target("murmur", Kind.CLASSES, classes=("Present", "Absent"))
        >>> target_words(TASKS["f1-AL-D"], murmur)
        'murmur present, unknown or absent; classes: Present, Absent'
    """
    if target is None:
        return task.title
    words = target.description or task.title
    if target.kind is Kind.MASK:
        return f"the outline of the {words}" if target.description else words
    if target.unit:
        return f"{words}, in {target.unit}"
    if target.classes:
        return f"{words}; classes: {', '.join(target.classes)}"
    return words


def metric_unit(metric: str, target: Target | None) -> str:
    """Return the unit of the values of a metric.

    Args:
        metric: Name of the metric.
        target: What is predicted; None where the card of its data is not known.

    Returns:
        The unit, or "" where the values have none. Errors of a share are differences of two shares,
        not percentages of the truth: "% points".

    Example:
        >>> ejection = Target("EF", Kind.VALUE, "%")
        >>> metric_unit("mae", ejection), metric_unit("hd95", None), metric_unit("r2", ejection)
        ('% points', 'mm', '')
    """
    unit = METRICS[metric].unit if metric in METRICS else ""
    if unit != OF_TARGET:
        return unit
    of_target = target.unit if target else ""
    return "% points" if of_target == "%" else of_target


def with_unit(words: str, unit: str) -> str:
    """Write a unit behind the name of a metric.

    Example:
        >>> with_unit("mae", "bpm"), with_unit("dice", "")
        ('mae, bpm', 'dice')
    """
    return f"{words}, {unit}" if unit else words


def input_words(task: Task) -> str:
    """Say what an encoder sees of a recording, and in which views.

    Args:
        task: The task.

    Returns:
        The rows of the task and their views in words.

    Example:
        >>> from etab.tasks.menu import TASKS
        >>> input_words(TASKS["b0-A4-C"])
        'the ED and ES frames of a recording; apical four-chamber view (A4C)'
    """
    row = ROW_INPUTS[task.inputs]
    titles = [f"{VIEW_TITLES[v]} ({v})" if v in VIEW_TITLES else v for v in task.views]
    if set(VIEW_TITLES) <= set(task.views):  # of a user's own table, whose label names none
        titles = ["every place" if row.modality == "sound" else "every view"]
    parts = [row.words, ", ".join(titles)]
    if task.unit:
        parts.append(f"scored per {task.unit}")
    return "; ".join(part for part in parts if part)
