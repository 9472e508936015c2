"""Aggregate rows to the units that are scored: clips to recordings, images to studies, windows to
recordings and patients.

A head predicts one score a row. If a task scores units of several rows, the scores of these rows
are combined by the rule that the task names. Rules have no free parameters here; a threshold is
chosen on training folds elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from etab.errors import ResultError
from etab.registry import Registry
from etab.types import Array, FloatArray

AggregateRule = Callable[[FloatArray, Array, Array], FloatArray]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A rule that combines the rows of one unit into one prediction.

    Attributes:
        name: Key of the rule in ``AGGREGATES``.
        title: Description for tables.
        rule: Function of the scores (m, columns), recordings (m,) and places (m,) of the m rows
            of a unit; returns (columns,). None if the rule needs the predictions of a second
            probe; then ``etab.runs.studies`` combines the rows.
        beside: Target of the second probe, which uses the same features and training rows; "" if
            there is none.
        windows: Whether the rule needs windows as rows. Other rules use recordings as rows where
            the task allows it.
        ordered: Whether the scores must be probabilities of classes, the most severe class first.
    """

    name: str
    title: str
    rule: AggregateRule | None
    beside: str = ""
    windows: bool = False
    ordered: bool = False


AGGREGATES: Registry[Aggregate] = Registry("aggregation")


def _mean(scores: FloatArray, _: Array, __: Array) -> FloatArray:
    return np.asarray(scores.mean(axis=0))


def _means(scores: FloatArray, names: Array) -> FloatArray:
    """Mean over the rows of each name, (names, columns)."""
    return np.stack([scores[names == name].mean(axis=0) for name in np.unique(names)])


def _mean_of_recordings(
    scores: FloatArray,
    recordings: Array,
    _: Array,
) -> FloatArray:
    return np.asarray(_means(scores, recordings).mean(axis=0))


def _mean_of_places(
    scores: FloatArray,
    recordings: Array,
    places: Array,
) -> FloatArray:
    _, first = np.unique(recordings, return_index=True)
    return np.asarray(_means(_means(scores, recordings), places[first]).mean(axis=0))


def _any(scores: FloatArray) -> FloatArray:
    """Return the most severe prediction of several rows.

    P(class k or more severe) is the largest value that any row predicts. A single column is the
    probability of the more severe of two classes.
    """
    if scores.shape[1] == 1:
        return np.asarray(scores.max(axis=0))
    graver = np.cumsum(scores, axis=1).max(axis=0)
    return np.diff(np.append(graver[:-1], 1.0), prepend=0.0)


def _any_recording(
    scores: FloatArray,
    recordings: Array,
    _: Array,
) -> FloatArray:
    return _any(_means(scores, recordings))


def _any_row(scores: FloatArray, _: Array, __: Array) -> FloatArray:
    return _any(scores)


for _item in (
    Aggregate("mean", "mean over all rows", _mean),
    Aggregate(
        "relevance",
        "mean over images, weighted by how probably they show the aortic valve",
        None,
        "view",
    ),
    Aggregate(
        "recordings", "mean over recordings of the mean over their rows", _mean_of_recordings
    ),
    Aggregate("locations", "mean over places of the mean over their recordings", _mean_of_places),
    Aggregate("any_present", "the gravest answer of any recording", _any_recording, ordered=True),
    Aggregate(
        "windows",
        "windows are rows: mean over recordings of the mean over their windows",
        _mean_of_recordings,
        windows=True,
    ),
    Aggregate(
        "any_window",
        "windows are rows: the gravest answer of any window",
        _any_row,
        windows=True,
        ordered=True,
    ),
):
    AGGREGATES.add(_item.name, _item)


def reduce(
    name: str,
    columns: Mapping[str, FloatArray],
    units: Sequence[str],
    recordings: Sequence[str],
    places: Sequence[str] | None = None,
) -> tuple[list[int], dict[str, FloatArray]]:
    """Combine the rows of each unit into one row.

    Args:
        name: Name of the rule, a key of ``AGGREGATES``.
        columns: "truth" and "score", or "truth" and "score_0", "score_1", ...; each (n,).
        units: Unit of each of the n rows.
        recordings: Recording of each row.
        places: Auscultation place of each row; None uses ``recordings``.

    Returns:
        Index of the first row of each unit, in the order of the rows, and the columns of the
        units.

    Raises:
        ResultError: The rows of a unit differ in their truth, or the rule needs a second probe.
        UnknownNameError: No such rule is registered.
    """
    rule = AGGREGATES[name].rule
    names = [c for c in columns if c != "truth"]
    recording_of_row = np.asarray(recordings)
    place_of_row = recording_of_row if places is None else np.asarray(places)
    scores = np.stack([columns[c] for c in names], axis=1)
    if rule is None:
        raise ResultError(
            f"The rule {name!r} needs the answers of a second probe ({AGGREGATES[name].beside})."
        )
    _, first, inverse = np.unique(
        np.asarray(units),
        return_index=True,
        return_inverse=True,
    )
    order = np.argsort(first)
    reduced = np.empty((len(first), len(names)))
    rows_by_unit = np.argsort(inverse, kind="stable")
    ends = np.cumsum(np.bincount(inverse))
    by_unit = np.split(rows_by_unit, ends[:-1])
    for position, unit in enumerate(order):
        rows = by_unit[unit]
        truths = columns["truth"][rows]
        if (truths != truths[0]).any():
            raise ResultError(
                f"The rows of {units[rows[0]]} differ in their truth ({truths[0]:g} and "
                f"{truths.max():g})."
            )
        reduced[position] = rule(scores[rows], recording_of_row[rows], place_of_row[rows])
    first_rows = first[order]
    of_units = {"truth": columns["truth"][first_rows]}
    for i, name_of_column in enumerate(names):
        of_units[name_of_column] = reduced[:, i]
    return first_rows.tolist(), of_units
