"""From rows to what is scored: clips to a recording, images to a study, windows to a recording to a patient.

A head answers rows. Where a task says that several rows together answer for one unit, their scores are put together
here, by a rule that the task names. Nothing is chosen here: a rule with a threshold takes it from training folds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from etab.errors import ResultError
from etab.registry import Registry
from etab.types import Array, FloatArray

Rule = Callable[[FloatArray, Array], FloatArray]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """How the rows of one unit become one answer.

    ``rule`` takes the scores of the unit's rows (m, columns) and the recording of each row (m,), and gives (columns,).
    None where that takes more: ``beside`` then names the target that a second probe answers, on the same features and
    training rows, and ``etab.studies`` puts the rows together by both.
    """

    name: str
    title: str
    rule: Rule | None
    beside: str = ""


AGGREGATES: Registry[Aggregate] = Registry("aggregation")


def _mean(scores: FloatArray, _: Array) -> FloatArray:
    return np.asarray(scores.mean(axis=0))


def _mean_of_recordings(scores: FloatArray, recordings: Array) -> FloatArray:
    return np.asarray(np.mean([scores[recordings == name].mean(axis=0) for name in np.unique(recordings)], axis=0))


for _item in (
    Aggregate("mean", "mean over all rows", _mean),
    Aggregate("relevance", "mean over images, weighted by how probably they show the aortic valve", None, "view"),
    Aggregate("recordings", "mean over recordings of the mean over their rows", _mean_of_recordings),
):
    AGGREGATES.add(_item.name, _item)


def reduce(
    name: str, columns: Mapping[str, FloatArray], units: Sequence[str], recordings: Sequence[str]
) -> tuple[list[int], dict[str, FloatArray]]:
    """Put the rows of each unit together: the first row of each unit, in order, and the columns of the units.

    ``columns`` holds "truth" and "score", or "truth" and "score_0" ..., each (n,). Raises ResultError where the rows of
    a unit differ in their truth or the rule needs a second probe, and UnknownNameError for one that is not registered.
    """
    rule, names, of = AGGREGATES[name].rule, [c for c in columns if c != "truth"], np.asarray(recordings)
    scores = np.stack([columns[c] for c in names], axis=1)
    if rule is None:
        raise ResultError(f"The rule {name!r} needs the answers of a second probe ({AGGREGATES[name].beside}).")
    _, first, inverse = np.unique(np.asarray(units), return_index=True, return_inverse=True)
    order = np.argsort(first)
    found = np.empty((len(first), len(names)))
    by_unit = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    for place, unit in enumerate(order):
        rows = by_unit[unit]
        said = columns["truth"][rows]
        if (said != said[0]).any():
            raise ResultError(f"The rows of {units[rows[0]]} differ in their truth ({said[0]:g} and {said.max():g}).")
        found[place] = rule(scores[rows], of[rows])
    kept = first[order]
    return kept.tolist(), {"truth": columns["truth"][kept], **{c: found[:, i] for i, c in enumerate(names)}}
