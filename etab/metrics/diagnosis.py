"""Aortic stenosis of a study from the probabilities of its images, as the authors of TMED-2 do it.

Each image has the probabilities of its views and of the diagnoses. Only images that probably show
the aortic valve count, and each counts by that probability (its relevance). Where no image of a
study qualifies, all of them count alike. The two thresholds are chosen on validation studies, never
on those that are scored. Source: Huang et al., TMED 2, 2022, and the authors' notebooks for the
level of patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etab.errors import UndefinedError, UnsupportedOptionError
from etab.types import Array, FloatArray, IntArray

RELEVANT = (0, 1)
RELEVANCES = tuple(float(x) for x in np.round(np.linspace(0.8, 0.99, 20), 2))
ENTROPIES = tuple(float(x) for x in np.round(np.linspace(0.0, 1.6, 17), 1))


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Which images count: relevance (0 to 1) at least, entropy of the views (nats) at most this."""

    relevance: float
    entropy: float


@dataclass(frozen=True, slots=True)
class Studies:
    """What is said of each study, in the order in which the studies first appear.

    keys    (s,) the studies
    scores  (s, classes) probabilities that sum to 1
    used    (s,) images that counted; 0 where none qualified, so that all of them were averaged
    """

    keys: tuple[str, ...]
    scores: FloatArray
    used: IntArray

    @property
    def answers(self) -> IntArray:
        """(s,) the most probable class; the first of equal ones."""
        return np.asarray(self.scores.argmax(axis=1), dtype=np.int64)


def relevance(views: Array, relevant: Sequence[int] = RELEVANT) -> FloatArray:
    """Probability (n,) that an image shows a relevant view (PLAX, PSAX), from (n, views)."""
    return np.asarray(np.asarray(views, dtype=np.float64)[:, list(relevant)].sum(axis=1))


def entropy(views: Array) -> FloatArray:
    """(n,) entropy in nats of the view probabilities (n, views), 0 for a certain view."""
    p = np.asarray(views, dtype=np.float64)
    p = p / p.sum(axis=1, keepdims=True)
    return np.asarray(-(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1)) + 0.0


def study_truth(studies: Sequence[str], truth: Array) -> IntArray:
    """Class (s,) of each study, in order of appearance; UndefinedError where one has two."""
    keys, inverse = _numbered(studies)
    truth = np.asarray(truth).astype(np.int64)
    found = np.zeros(len(keys), dtype=np.int64)
    found[inverse] = truth
    odd = np.flatnonzero(found[inverse] != truth)
    if len(odd):
        raise UndefinedError(
            f"Study {studies[int(odd[0])]} has two diagnoses; a study has one. Check the labels."
        )
    return found


def diagnose(
    studies: Sequence[str],
    views: Array,
    diagnoses: Array,
    thresholds: Thresholds | None = None,
    *,
    relevant: Sequence[int] = RELEVANT,
) -> Studies:
    """Average the probabilities of the images of each study that count, weighted by relevance.

    studies: (n,) the study of each image. views: (n, views). diagnoses: (n, classes). thresholds
    None: the plain mean of all images. Raises UnsupportedOptionError where the numbers of images
    differ or a probability is not finite.
    """
    views = _probabilities("views", views, len(studies))
    p = _probabilities("diagnoses", diagnoses, len(studies))
    keys, inverse = _numbered(studies)
    weight: FloatArray = np.zeros(len(studies))
    if thresholds is not None:
        shown = relevance(views, relevant)
        weight = shown * ((shown >= thresholds.relevance) & (entropy(views) <= thresholds.entropy))
    used = np.bincount(inverse, weights=weight > 0, minlength=len(keys)).astype(np.int64)
    weight = np.where(used[inverse] > 0, weight, 1.0)
    total = np.bincount(inverse, weights=weight, minlength=len(keys))
    sums = [
        np.bincount(
            inverse,
            weights=weight * p[:, k],
            minlength=len(keys),
        )
        for k in range(p.shape[1])
    ]
    scores = np.stack(sums, axis=1) / total[:, None]
    return Studies(keys, scores / scores.sum(axis=1, keepdims=True), used)


def choose_thresholds(
    studies: Sequence[str],
    views: Array,
    diagnoses: Array,
    truth: Array,
    *,
    relevant: Sequence[int] = RELEVANT,
    relevances: Sequence[float] = RELEVANCES,
    entropies: Sequence[float] = ENTROPIES,
) -> Thresholds:
    """Choose the thresholds with the best balanced accuracy on these (validation) studies.

    Among equal ones the strictest: the highest relevance, then the lowest entropy, as the authors
    did (0.91 and 1.0 on their first fold). truth: (n,) class of the study of each image. Raises
    UndefinedError where a class has no study.
    """
    right = study_truth(studies, truth)
    n = np.asarray(diagnoses).shape[1]

    def value(at: Thresholds) -> float:
        found = diagnose(studies, views, diagnoses, at, relevant=relevant)
        return round(study_balanced_accuracy(right, found.answers, n), 12)

    grid = [Thresholds(r, e) for r in relevances for e in entropies]
    return max(grid, key=lambda at: (value(at), at.relevance, -at.entropy))


def recalls(truth: Array, answers: Array, n_classes: int) -> FloatArray:
    """(n_classes,) recall of each class; raises UndefinedError naming a class that is not there."""
    truth = np.asarray(truth)
    answers = np.asarray(answers)
    absent = [k for k in range(n_classes) if not (truth == k).any()]
    if absent:
        raise UndefinedError(f"Balanced accuracy needs every class, got none of class {absent[0]}.")
    return np.array([float((answers[truth == k] == k).mean()) for k in range(n_classes)])


def study_balanced_accuracy(
    truth: Array,
    answers: Array,
    n_classes: int,
) -> float:
    """Mean recall over all classes."""
    return float(recalls(truth, answers, n_classes).mean())


def upstream_view_accuracy(
    truth: Array,
    answers: Array,
    n_classes: int,
) -> float:
    """Mean recall over all classes but the last one, as the authors score view classifiers.

    With the class order of the card that leaves out 'other'. To be shown beside
    ``balanced_accuracy``, not for it.
    """
    return float(recalls(truth, answers, n_classes)[:-1].mean())


def _numbered(studies: Sequence[str]) -> tuple[tuple[str, ...], IntArray]:
    """The studies in order of first appearance, and the place of each image's study among them."""
    if len(studies) == 0:
        raise UndefinedError("A diagnosis of no image at all does not exist.")
    place = {key: i for i, key in enumerate(dict.fromkeys(studies))}
    return tuple(place), np.array([place[key] for key in studies])


def _probabilities(name: str, values: Array, n: int) -> FloatArray:
    found = np.asarray(values, dtype=np.float64)
    if found.ndim != 2 or len(found) != n:
        raise UnsupportedOptionError(
            f"{name} has shape {found.shape}; wanted one row for each of {n} images."
        )
    if not np.isfinite(found).all() or (found < 0).any() or (found.sum(axis=1) <= 0).any():
        raise UnsupportedOptionError(f"{name} holds values that are no probabilities.")
    return found
