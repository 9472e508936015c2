"""A diagnosis of studies by two linear probes on their images.

One probe predicts the view of each image, the other the diagnosis; both are fitted on training
images alone. Thresholds decide which images count (``etab.metrics.diagnosis``). They are chosen on
studies that neither probe was fitted on: for each inner part of a split, both are fitted without
it. No patient, and so no study, is in two parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from etab.datasets.base import Source
from etab.errors import UndefinedError
from etab.heads.base import FoldFit
from etab.metrics import diagnosis
from etab.metrics.basic import decided
from etab.metrics.columns import (
    Columns,
    ScoredRows,
    class_scores,
    n_classes,
    score_columns,
    two_classes,
)
from etab.results import Predictions
from etab.splits import inner_fits
from etab.tasks.base import Task
from etab.tasks.rows import Rows
from etab.types import Array, FloatArray, IntArray, Kind, RowSplit

UPSTREAM = "balanced_accuracy_qualified"
UPSTREAM_VIEWS = "balanced_accuracy_without_other"
Fit = Callable[[str, Array, Sequence[RowSplit]], list[FoldFit]]


@dataclass(frozen=True, slots=True)
class _Images:
    """Outputs of both probes for some images.

    Attributes:
        rows: (n,) rows of the images.
        views: (n, views) probabilities.
        classes: (n, classes) probabilities.
    """

    rows: IntArray
    views: FloatArray
    classes: FloatArray


def view_answers(source: Source, rows: Rows) -> Array:
    """Return the view of each row as an index into the views of the card.

    Args:
        source: The data.
        rows: The n rows.

    Returns:
        (n,) indexes.
    """
    target = source.card.target("view")
    records = {r.id: r for r in source.records()}
    known = {
        name: int(source.answers(records[name], target)[0].value)
        for name in dict.fromkeys(rows.records)
    }
    return np.array([known[name] for name in rows.records])


def diagnosed(
    task: Task,
    rows: Rows,
    views: Array,
    splits: Sequence[RowSplit],
    fits: Sequence[FoldFit],
    fit: Fit,
) -> tuple[Predictions, list[FoldFit]]:
    """Diagnose every test study.

    Args:
        task: The task.
        rows: The n rows of the task.
        views: (n,) the view of each row.
        splits: The splits of the rows.
        fits: The diagnosis of the test rows of each split.
        fit: Fits a probe on the rows: ``fit(target, answers, splits)``.

    Returns:
        The table, with a line for each study; and the fit of each split, with the thresholds of
        the split in its choice.

    Raises:
        UndefinedError: The inner studies lack a class, or a study has two diagnoses.
    """
    truth = np.asarray(rows.answers).astype(np.int64)
    keys = np.asarray(rows.units, dtype=object)
    view_fits = fit("view", views, splits)
    inside = _inside(task, rows, views, splits, fit)
    parts = []
    done = []
    tested_by: list[RowSplit] = []
    for split, own_fit, view_fit, inner in zip(splits, fits, view_fits, inside, strict=True):
        inner_keys = keys[inner.rows].tolist()
        chosen_thresholds = diagnosis.choose_thresholds(
            inner_keys, inner.views, inner.classes, truth[inner.rows]
        )
        parts.append(
            diagnosis.diagnose(
                keys[split.test].tolist(),
                _two(view_fit.predictions),
                _two(own_fit.predictions),
                chosen_thresholds,
            )
        )
        chosen: dict[str, Any] = {
            "relevance": chosen_thresholds.relevance,
            "entropy": chosen_thresholds.entropy,
        }
        if "features" in view_fit.choice:  # the trivial head chooses none
            chosen["view features"] = view_fit.choice["features"]
        done.append(replace(own_fit, choice={**own_fit.choice, **chosen}))
        diagnosis.study_truth(keys[split.test].tolist(), truth[split.test])
        tested_by += [split] * len(parts[-1].keys)
    return _table(task, rows, parts, tested_by), done


def upstream_metrics(task: Task, rows: ScoredRows) -> dict[str, float]:
    """Compute metrics as the authors of TMED-2 do, as means over repeats.

    Args:
        task: The task.
        rows: The scored rows of the task.

    Returns:
        The metrics by name; empty for other tasks.
    """
    of_repeats = []
    for index in rows.of_repeats():
        columns = rows.select(index).columns
        of_repeats.append({**upstream(task.kind, columns), **upstream_views(task, columns)})
    shared = [name for name in of_repeats[0] if all(name in values for values in of_repeats)]
    return {name: float(np.mean([values[name] for values in of_repeats])) for name in shared}


def upstream(kind: Kind, columns: Columns) -> dict[str, float]:
    """Compute the balanced accuracy of studies in which an image qualified.

    The authors of TMED-2 leave out the other studies.

    Args:
        kind: The kind of the task.
        columns: The columns of the table.

    Returns:
        The metric by its name; empty for other tasks, or if a class has no such study.
    """
    if "used" not in columns:
        return {}
    qualified = columns["used"] > 0
    answers = decided(kind, columns)
    try:
        value = diagnosis.study_balanced_accuracy(
            columns["truth"][qualified], answers[qualified], n_classes(kind, columns)
        )
    except UndefinedError:
        return {}
    return {UPSTREAM: value}


def upstream_views(task: Task, columns: Columns) -> dict[str, float]:
    """Compute the balanced accuracy over the views of TMED-2 without the last one, "other".

    The authors score view classifiers in this way.

    Args:
        task: The task.
        columns: The columns of the table.

    Returns:
        The metric by its name; empty for other tasks, or if a view is absent.
    """
    if (
        task.kind is not Kind.CLASSES
        or task.target != "view"
        or not task.views
        or task.views[-1] != "other"
    ):
        return {}
    scores = class_scores(task.kind, columns)
    try:
        accuracy = diagnosis.upstream_view_accuracy(
            columns["truth"], scores.argmax(axis=1), scores.shape[1]
        )
    except UndefinedError:
        return {}
    return {UPSTREAM_VIEWS: accuracy}


def _two(p: Array) -> FloatArray:
    """Probabilities (n, classes) from those, or from (n,) of the second of two classes."""
    return two_classes(p) if np.ndim(p) == 1 else np.asarray(p, dtype=np.float64)


def _inside(
    task: Task, rows: Rows, views: Array, splits: Sequence[RowSplit], fit: Fit
) -> list[_Images]:
    """For each split, the predictions for its inner parts by probes fitted without them."""
    fits, fit_of = inner_fits(splits, rows.patients)
    of_views = [_two(one.predictions) for one in fit("view", views, fits)]
    of_classes = [_two(one.predictions) for one in fit(task.target, np.asarray(rows.answers), fits)]
    images = []
    for split, indexes in zip(splits, fit_of, strict=True):
        views_of_parts = []
        classes_of_parts = []
        for part, i in zip(split.inner, indexes, strict=True):
            places = np.searchsorted(fits[i].test, part)
            views_of_parts.append(of_views[i][places])
            classes_of_parts.append(of_classes[i][places])
        images.append(
            _Images(
                np.concatenate(split.inner),
                np.concatenate(views_of_parts),
                np.concatenate(classes_of_parts),
            )
        )
    return images


def _table(
    task: Task, rows: Rows, parts: Sequence[diagnosis.Studies], tested_by: Sequence[RowSplit]
) -> Predictions:
    """Lay the studies out as a table; ``tested_by`` is the split of each of them."""
    keys = [key for part in parts for key in part.keys]
    row_of_unit = {unit: i for i, unit in enumerate(rows.units)}
    scores = np.concatenate([p.scores for p in parts])
    used = np.concatenate([p.used for p in parts])
    truth = np.array([float(rows.answers[row_of_unit[key]]) for key in keys])
    of_kind = scores[:, 1] if task.kind is Kind.BINARY else scores
    return Predictions(
        kind=task.kind,
        items=tuple(keys),
        patients=tuple(str(rows.patients[row_of_unit[key]]) for key in keys),
        folds=tuple(split.name for split in tested_by),
        repeats=tuple(split.repeat for split in tested_by),
        columns={
            "truth": truth,
            **score_columns(task.kind, of_kind),
            "used": used.astype(np.float64),
        },
    )
