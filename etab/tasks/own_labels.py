"""Tasks from the labels of a description of a user's own data, one for each label."""

from __future__ import annotations

from etab.datasets.own.description import Description
from etab.datasets.own.labels import MOST_LABELS, Label, category_of
from etab.datasets.own.source import has_outcomes
from etab.echo.clips import Sampling
from etab.echo.views import SIDE_BY_SIDE, VIEW_CODES
from etab.errors import LayoutError
from etab.metrics import METRICS
from etab.registry import unknown
from etab.sounds.states import MURMUR, OUTCOME
from etab.tasks.aggregate import AGGREGATES
from etab.tasks.base import PERFECT, Anchors, Task
from etab.tasks.inputs import ROW_INPUTS, RowInput
from etab.tasks.menu import TASKS
from etab.types import Kind

_CLIP = Sampling(16, 2)
# A task of etab whose head is the default for a kind of label.
_LIKE = {
    Kind.VALUE: "b0-A4-C",
    Kind.BINARY: "c0-AX-C",
    Kind.CLASSES: "c0-AX-C",
    Kind.MASK: "a0-A4-C",
    Kind.STATES: "e0-AL-D",
}
_LIKE_SOUND = {**_LIKE, Kind.VALUE: "e1-AL-D", Kind.BINARY: "f2-AL-D", Kind.CLASSES: "f1-AL-D"}
_YOURS = "anchors in the description of the data"
_NO_SKILL = "default of the metric: an answer without skill"


def own_tasks(description: Description) -> list[Task]:
    """Make the tasks of a description.

    Args:
        description: The description.

    Returns:
        One task for each label. Codes count the labels of a category from 0.

    Raises:
        LayoutError: A category has too many labels, or a label's input does not fit.
    """
    tasks: list[Task] = []
    names: dict[str, list[str]] = {}
    for label in description.labels:
        letter = category_of(label.kind, label.name, sound=description.sound)
        index = len(names.setdefault(letter, []))
        names[letter].append(label.name)
        code = f"{letter}{index}-{_view_code(label)}-{description.code}"
        if index < MOST_LABELS:
            tasks.append(_task(description, label, code))
    for letter, labels in names.items():
        if len(labels) > MOST_LABELS:
            beyond = ", ".join(labels[MOST_LABELS:])
            raise LayoutError(
                f"{description.path}: {len(labels)} labels are of one category ({letter}), at most "
                f"{MOST_LABELS} fit; describe the others in a second file: {beyond}."
            )
    return tasks


def _view_code(label: Label) -> str:
    is_side_by_side = bool(label.input) and ROW_INPUTS[label.input].several_views
    for code, views in VIEW_CODES.items():
        if views == label.views and (is_side_by_side or code not in SIDE_BY_SIDE):
            return code
    return "AL"


def _views(label: Label) -> tuple[str, ...]:
    """The views of a task: those of the label, or every one."""
    return label.views or (*VIEW_CODES["AL"], "PCG", "unknown")


def _anchors(label: Label, low: float, high: float) -> Anchors:
    """The anchors of a label, or the defaults of its metric."""
    if label.anchors is None:
        return Anchors(low, high, _NO_SKILL, PERFECT)
    return Anchors(*label.anchors, _YOURS, _YOURS)


def _task(description: Description, label: Label, code: str) -> Task:
    inputs = label.input or _default_input(description, label)
    metric, metric_2022, low, high = _measure(label)
    _check_metric(description, label, metric)
    row = ROW_INPUTS[inputs]
    if (row.modality == "sound") != description.sound:
        kind = "sounds" if description.sound else "pictures"
        raise LayoutError(
            f"{description.path}: the label {label.name} has input = {inputs!r}, which is not for "
            f"{kind}."
        )
    like = _LIKE_SOUND if description.sound else _LIKE
    clip = _CLIP if row.clip else None
    if label.clip is not None:
        clip = Sampling(*label.clip)  # refused by the task where its input is not a clip
    if label.aggregate and label.aggregate not in AGGREGATES:
        raise unknown("aggregation", label.aggregate, AGGREGATES)
    return Task(
        code=code,
        title=_title(label),
        dataset=description.name,
        target=label.name,
        views=_views(label),
        kind=label.kind,
        metric=metric,
        metric_2022=metric_2022,
        head=label.head or TASKS[like[label.kind]].head,
        inputs=inputs,
        anchors=_anchors(label, low, high),
        unit=_unit(description, label),
        aggregate=_aggregate(description, label, row),
        protocols=("cv", "official", "lodo") if description.sound else ("cv", "official"),
        clip=clip,
    )


def _aggregate(description: Description, label: Label, row: RowInput) -> str:
    """The rule that combines rows; none where a row holds every view of what is scored."""
    if not row.several_views:
        return label.aggregate or ("mean" if label.per else "")
    if label.aggregate:
        raise LayoutError(
            f"{description.path}, [labels.{label.name}]: with input = {row.name!r} there is one "
            f"row for each {label.per or 'patient'}; leave aggregate = {label.aggregate!r} out."
        )
    if label.per == "recording":
        raise LayoutError(
            f"{description.path}, [labels.{label.name}]: with input = {row.name!r} a row holds "
            'several recordings; per is "patient" or "study".'
        )
    return ""


def _unit(description: Description, label: Label) -> str:
    """The unit that is scored as one. The study of a sound is its patient under another id."""
    if description.sound and label.per == "study":
        return "patient"
    return label.per or ("patient" if label.kind is Kind.STATES else "")


def _check_metric(description: Description, label: Label, name: str) -> None:
    """Refuse a metric of another kind, and one that needs columns of another dataset."""
    metric = METRICS[name]
    foreign: list[str] = []
    if label.kind in (Kind.BINARY, Kind.CLASSES):
        is_graded = has_outcomes(description) and label.classes in (MURMUR, OUTCOME[::-1])
        foreign = sorted(set(metric.needs) - {"answer", *(["outcome"] if is_graded else [])})
    if label.kind not in metric.kinds or foreign:
        reason = f"is not for {label.kind}"
        if foreign:
            reason = f"needs {', '.join(foreign)}, which this table does not have"
        raise LayoutError(
            f"{description.path}, [labels.{label.name}]: the metric {name} {reason}. `etab list "
            f"metrics {label.kind}` lists the others."
        )


def _title(label: Label) -> str:
    words = label.title or label.name
    return f"{words}, {label.unit}" if label.unit else words


def _default_input(description: Description, label: Label) -> str:
    if description.sound:
        return "recording"
    has_phases = "ed" in description.columns and "es" in description.columns
    if has_phases and label.kind is Kind.MASK:
        return "frame"
    if has_phases and not label.frames and label.name != "view":
        return "ED+ES"
    return "answer"


def _measure(label: Label) -> tuple[str, str, float, float]:
    """Metric, metric of 2022, and the values of the metric at 0 and 1 of the anchored scale."""
    if label.kind is Kind.MASK:
        return label.metric or "dice", "jaccard", 0.0, 1.0
    if label.kind is Kind.STATES:
        return label.metric or "f1_100", "f1_100", 0.0, 1.0
    if label.kind is Kind.VALUE:
        return label.metric or "r2", "r2", 0.0, 1.0
    if label.kind is Kind.BINARY or len(label.classes) == 2:
        return label.metric or "auroc", "auroc", 0.5, 1.0
    return label.metric or "balanced_accuracy", "auroc", 1 / len(label.classes), 1.0
