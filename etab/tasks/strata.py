"""Strata of patients, so that the folds of a stratified division are alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from etab.types import Array, IntArray, Kind

_BINS = 10


def strata_of(
    patients: Array,
    answers: Any,
    kind: Kind,
    groups: Sequence[str] = (),
) -> dict[str, tuple[int, str]]:
    """Find the stratum of each patient, so that stratified folds are alike.

    The stratum is the class of the patient's rows. Where a patient has rows of both of two classes,
    or of values, it is one of ten quantile bins of the patient's mean. Where a patient has rows of
    several of more classes, it is the most frequent class. All patients with masks are one stratum,
    and so are all with heart states: the structures of one picture then share their folds.

    Args:
        patients: (n,) the patient of each row.
        answers: (n,) the true answers.
        kind: Kind of the answers.
        groups: (n,) the database of each row; empty where there are none.

    Returns:
        The stratum and the database of each patient.

    Example:
        >>> strata_of(np.array(["p1", "p1", "p2"]), np.array([1, 1, 0]), Kind.BINARY)
        {'p1': (1, ''), 'p2': (0, '')}
    """
    people, first, person = np.unique(
        np.asarray(patients, dtype=str),
        return_index=True,
        return_inverse=True,
    )
    levels: IntArray = np.zeros(len(people), dtype=np.int64)
    if kind in (Kind.BINARY, Kind.CLASSES, Kind.VALUE):
        levels = _levels(person, np.asarray(answers, dtype=np.float64), kind)
    databases = [str(groups[i]) if len(groups) else "" for i in first]
    pairs = zip(levels.tolist(), databases, strict=True)
    return dict(zip(people.tolist(), pairs, strict=True))


def _levels(person: IntArray, answers: Array, kind: Kind) -> IntArray:
    """The class, the most frequent class or the quantile bin of each patient, (people,)."""
    means = np.bincount(person, weights=answers) / np.bincount(person)
    if kind is not Kind.VALUE:
        if (answers == means[person]).all():
            return means.astype(np.int64)
        if kind is Kind.CLASSES:
            counts = np.zeros((len(means), int(answers.max()) + 1), dtype=np.int64)
            np.add.at(counts, (person, answers.astype(np.int64)), 1)
            return np.asarray(counts.argmax(axis=1))
    edges = np.quantile(means, np.arange(1, _BINS) / _BINS)
    return np.asarray(np.searchsorted(edges, means, side="right"))
