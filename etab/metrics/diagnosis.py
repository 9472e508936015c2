"""Aortic stenosis of a study from the probabilities of its images, as the authors of TMED-2 do it.

Each image has probabilities of views and of diagnoses. Only images that probably show the aortic
valve are averaged, weighted by that probability (their relevance). Where no image of a study
qualifies, all of them count alike. The two thresholds are chosen on validation studies, never on
the scored ones.

Source:
    Huang et al., TMED 2 (2022), and the authors' notebooks for the level of patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etab.errors import UndefinedError, UnsupportedOptionError
from etab.types import Array, FloatArray, IntArray

# Indexes of the views that show the aortic valve: PLAX and PSAX.
RELEVANT = (0, 1)
# Thresholds to choose from.
RELEVANCES = tuple(float(x) for x in np.round(np.linspace(0.8, 0.99, 20), 2))
ENTROPIES = tuple(float(x) for x in np.round(np.linspace(0.0, 1.6, 17), 1))


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits for the images that are averaged.

    Attributes:
        relevance: Smallest relevance, 0 to 1.
        entropy: Largest entropy of the views in nats.
    """

    relevance: float
    entropy: float


@dataclass(frozen=True, slots=True)
class Studies:
    """Diagnoses of studies, in the order in which the studies first appear.

    Attributes:
        keys: (s,) the studies.
        scores: (s, classes) probabilities that sum to 1.
        used: (s,) number of images that qualified; where it is 0, all images were averaged.
    """

    keys: tuple[str, ...]
    scores: FloatArray
    used: IntArray

    @property
    def answers(self) -> IntArray:
        """(s,) the most probable class; the first of equal ones."""
        return np.asarray(self.scores.argmax(axis=1), dtype=np.int64)


def relevance(views: Array, relevant: Sequence[int] = RELEVANT) -> FloatArray:
    """Compute the probability that each image shows a relevant view.

    Args:
        views: (n, views) probabilities.
        relevant: Indexes of the relevant views.

    Returns:
        (n,).
    """
    p = np.asarray(views, dtype=np.float64)
    return np.asarray(p[:, list(relevant)].sum(axis=1))


def entropy(views: Array) -> FloatArray:
    """(n,) entropy in nats of the view probabilities (n, views), 0 for a certain view."""
    p = np.asarray(views, dtype=np.float64)
    p = p / p.sum(axis=1, keepdims=True)
    logarithms = np.log(np.where(p > 0, p, 1.0))
    return np.asarray(-(p * logarithms).sum(axis=1)) + 0.0


def study_truth(studies: Sequence[str], truth: Array) -> IntArray:
    """Find the class of each study.

    Args:
        studies: (n,) the study of each image.
        truth: (n,) class of the study of each image.

    Returns:
        (s,) classes, in order of appearance.

    Raises:
        UndefinedError: A study has two classes.
    """
    keys, inverse = _numbered(studies)
    truth = np.asarray(truth).astype(np.int64)
    of_study = np.zeros(len(keys), dtype=np.int64)
    of_study[inverse] = truth
    odd = np.flatnonzero(of_study[inverse] != truth)
    if len(odd):
        raise UndefinedError(
            f"Study {studies[int(odd[0])]} has two diagnoses; a study has one. Check the labels."
        )
    return of_study


def diagnose(
    studies: Sequence[str],
    views: Array,
    diagnoses: Array,
    thresholds: Thresholds | None = None,
    *,
    relevant: Sequence[int] = RELEVANT,
) -> Studies:
    """Average the probabilities of the images of each study that count, weighted by relevance.

    Args:
        studies: (n,) the study of each image.
        views: (n, views) probabilities.
        diagnoses: (n, classes) probabilities.
        thresholds: Limits for the images that are averaged; None for the plain mean of all images.
        relevant: Indexes of the relevant views.

    Raises:
        UnsupportedOptionError: The numbers of images differ, or a probability is not finite.
    """
    views = _probabilities("views", views, len(studies))
    p = _probabilities("diagnoses", diagnoses, len(studies))
    keys, inverse = _numbered(studies)
    weight: FloatArray = np.zeros(len(studies))
    if thresholds is not None:
        relevances = relevance(views, relevant)
        is_relevant = relevances >= thresholds.relevance
        is_certain = entropy(views) <= thresholds.entropy
        weight = relevances * (is_relevant & is_certain)
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
    """Choose the thresholds with the best balanced accuracy on validation studies.

    Of equally good ones the strictest are chosen: the highest relevance, then the lowest entropy,
    as the authors did (0.91 and 1.0 on their first fold).

    Args:
        studies: (n,) the study of each image.
        views: (n, views) probabilities.
        diagnoses: (n, classes) probabilities.
        truth: (n,) class of the study of each image.
        relevant: Indexes of the relevant views.
        relevances: Thresholds of relevance to choose from.
        entropies: Thresholds of entropy to choose from, in nats.

    Raises:
        UndefinedError: A class has no study.
    """
    right = study_truth(studies, truth)
    n = np.asarray(diagnoses).shape[1]

    def value(at: Thresholds) -> float:
        diagnosed = diagnose(studies, views, diagnoses, at, relevant=relevant)
        return round(study_balanced_accuracy(right, diagnosed.answers, n), 12)

    grid = [Thresholds(r, e) for r in relevances for e in entropies]
    return max(grid, key=lambda at: (value(at), at.relevance, -at.entropy))


def recalls(truth: Array, answers: Array, n_classes: int) -> FloatArray:
    """Compute the recall of each class.

    Args:
        truth: (n,) classes.
        answers: (n,) predicted classes.
        n_classes: Number of classes.

    Returns:
        (n_classes,) recalls.

    Raises:
        UndefinedError: A class has no rows; the message names it.
    """
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
    """Compute the mean recall over all classes.

    Args:
        truth: (n,) classes.
        answers: (n,) predicted classes.
        n_classes: Number of classes.

    Raises:
        UndefinedError: A class has no rows.
    """
    return float(recalls(truth, answers, n_classes).mean())


def upstream_view_accuracy(
    truth: Array,
    answers: Array,
    n_classes: int,
) -> float:
    """Compute the mean recall over all classes but the last one.

    The authors score view classifiers so. In the class order of the card this leaves out 'other'.
    Report it beside ``balanced_accuracy``, not instead of it.

    Args:
        truth: (n,) classes.
        answers: (n,) predicted classes.
        n_classes: Number of classes.

    Raises:
        UndefinedError: A class has no rows.
    """
    return float(recalls(truth, answers, n_classes)[:-1].mean())


def _numbered(studies: Sequence[str]) -> tuple[tuple[str, ...], IntArray]:
    """The studies in order of first appearance, and the index of the study of each image."""
    if len(studies) == 0:
        raise UndefinedError("A diagnosis of no image at all does not exist.")
    distinct = dict.fromkeys(studies)
    index = {key: i for i, key in enumerate(distinct)}
    return tuple(index), np.array([index[key] for key in studies])


def _probabilities(name: str, values: Array, n: int) -> FloatArray:
    """Check probabilities (n, k) and return them as float64."""
    p = np.asarray(values, dtype=np.float64)
    if p.ndim != 2 or len(p) != n:
        raise UnsupportedOptionError(
            f"{name} has shape {p.shape}; wanted one row for each of {n} images."
        )
    is_finite = np.isfinite(p).all()
    if not is_finite or (p < 0).any() or (p.sum(axis=1) <= 0).any():
        raise UnsupportedOptionError(f"{name} holds values that are not probabilities.")
    return p
