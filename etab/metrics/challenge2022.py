"""The official scores of the Challenge of 2022 (Reyna et al., PLOS Digital Health 2(9), 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etab.errors import UndefinedError
from etab.metrics.base import weighted_mean
from etab.metrics.basic import weighted_auprc, weighted_auroc
from etab.metrics.forms import Sums, Units, mean_of, ratio, sums
from etab.sounds.states import MURMUR, OUTCOME
from etab.types import Array, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Score2022:
    """Every number of the Challenge 2022 for one of its two questions.

    ``weighted_accuracy`` ranks murmurs (higher is better), ``cost`` ranks outcomes (mean per
    patient, lower is better). The per-class tuples are in the order of ``classes``, None where a
    class has no such number. A mean over classes is None where no class has the number; the
    official script then prints nan.
    """

    classes: tuple[str, ...]
    auroc: float | None
    auprc: float | None
    f_measure: float | None
    accuracy: float
    weighted_accuracy: float
    cost: float
    auroc_classes: tuple[float | None, ...]
    auprc_classes: tuple[float | None, ...]
    f_measure_classes: tuple[float | None, ...]
    accuracy_classes: tuple[float | None, ...]


def enforce_positives(chosen: Array, positive: int = 0) -> Array:
    """Give every row one active class: rows with none or several become class ``positive`` alone.

    Args:
        chosen: (n, classes) of 0 and 1; it is left as it is.
        positive: The index of the class.
    """
    single = np.asarray(chosen).astype(bool).copy()
    ambiguous = single.sum(axis=1) != 1
    single[ambiguous] = False
    single[ambiguous, positive] = True
    return single


def confusion(labels: Array, outputs: Array) -> IntArray:
    """Count answers: a row for each class *answered*, a column for each true class.

    Args:
        labels: (n, classes) of 0 and 1 with one active class in each row.
        outputs: The answers, likewise.
    """
    return np.asarray(outputs, dtype=np.int64).T @ np.asarray(labels, dtype=np.int64)


def weighted_accuracy_2022(
    labels: Array,
    outputs: Array,
    weights: Sequence[float],
) -> float:
    """Accuracy in which each true class counts ``weights`` times.

    Args:
        labels: (n, classes) of 0 and 1 with one active class in each row.
        outputs: The answers, likewise.
        weights: One number per class: 5, 3, 1 for murmurs, 5, 1 for outcomes.

    Raises:
        UndefinedError: For no patients.
    """
    importance = np.asarray(labels) @ np.asarray(weights, dtype=np.float64)
    if not importance.sum() > 0:
        raise UndefinedError("Weighted accuracy of no patients does not exist.")
    right = (np.asarray(labels).astype(bool) & np.asarray(outputs).astype(bool)).any(axis=1)
    return float(weighted_mean(right, importance[None])[0])


def cost_2022(abnormal: Array, referred: Array) -> float:
    """Mean cost per patient in US dollars: the algorithm, experts, treatment, and errors.

    Args:
        abnormal: (n,) bool, the true *outcome* is abnormal.
        referred: (n,) bool, the patients whom the answers send to an expert.

    Raises:
        UndefinedError: For no patients, or another number of answers.
    """
    abnormal = np.asarray(abnormal, dtype=bool)
    referred = np.asarray(referred, dtype=bool)
    n = len(abnormal)
    if n == 0 or len(referred) != n:
        raise UndefinedError(
            f"The cost needs patients with an answer each, got {n} and {len(referred)}."
        )
    return mean_cost(abnormal, referred, Units.single_rows(n)).value()


def mean_cost(abnormal: Array, referred: Array, units: Units) -> Sums:
    """Prepare ``cost_2022`` for many weightings.

    Args:
        abnormal: (n,) bool, the true *outcome* is abnormal.
        referred: (n,) bool, the patients whom the answers send to an expert.
        units: The unit of each of the n rows.
    """

    def cost(totals: FloatArray) -> FloatArray:
        n = totals[0]
        share = ratio(totals[1], n)
        expert = 25 + 397 * share - 1718 * share**2 + 11296 * share**4
        return 10 + expert + 10_000 * ratio(totals[2], n) + 50_000 * ratio(totals[3], n)

    treated = referred & abnormal
    missed = ~referred & abnormal
    return sums([np.ones(len(abnormal)), referred, treated, missed], units, cost)


def class_f_measure(of_class: Array, answered: Array, units: Units) -> Sums:
    """Prepare the F-measure of one class.

    Args:
        of_class: (n,) bool, rows of the class.
        answered: (n,) bool, rows for which the class is answered.
        units: The unit of each of the n rows.

    Returns:
        The form; its values are in 0 to 1, NaN where the class is neither true nor answered.
    """
    columns = [of_class & answered, of_class, answered]
    return sums(columns, units, lambda totals: ratio(2 * totals[0], totals[1] + totals[2]))


def roc_pr_2022(truth: Array, score: FloatArray) -> tuple[float | None, float | None]:
    """AUROC and AUPRC of one class over its distinct scores, as the official code defines them.

    Its trapezoids and steps are the areas of ``etab.metrics.basic``.

    Args:
        truth: (n,) bool.
        score: (n,) numbers.

    Returns:
        The two areas, None where one does not exist.
    """
    positive = np.asarray(truth, dtype=bool)
    values = np.asarray(score, dtype=np.float64)
    once = np.ones((1, len(positive)))
    auroc = float(weighted_auroc(positive, values, once)[0])
    auprc = float(weighted_auprc(positive, values, once)[0])
    return _number_or_none(auroc), _number_or_none(auprc)


def _number_or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def _macro(values: Sequence[float | None]) -> float | None:
    """The mean over the classes that have a value; None where none has."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def _score_2022(
    classes: tuple[str, ...],
    weights: Sequence[float],
    labels: Array,
    outputs: Array,
    scores: FloatArray,
    cost: float,
) -> Score2022:
    counts = confusion(labels, outputs)
    records = Units.single_rows(len(labels))
    auroc: list[float | None] = []
    auprc: list[float | None] = []
    f_measure: list[float | None] = []
    recall: list[float | None] = []
    for k in range(len(classes)):
        of_class = labels[:, k]
        answered = outputs[:, k]
        areas = roc_pr_2022(of_class, scores[:, k])
        auroc.append(areas[0])
        auprc.append(areas[1])
        f_measure.append(_number_or_none(class_f_measure(of_class, answered, records).value()))
        recall.append(_number_or_none(mean_of(answered, records, of_class).value()))
    return Score2022(
        classes,
        _macro(auroc),
        _macro(auprc),
        _macro(f_measure),
        float(np.trace(counts) / counts.sum()),
        weighted_accuracy_2022(labels, outputs, weights),
        cost,
        tuple(auroc),
        tuple(auprc),
        tuple(f_measure),
        tuple(recall),
    )


def challenge2022(
    murmur: Array,
    outcome: Array,
    murmur_chosen: Array,
    outcome_chosen: Array,
    murmur_scores: FloatArray,
    outcome_scores: FloatArray,
) -> tuple[Score2022, Score2022]:
    """Score an entry as the official code does.

    Both costs are of the true *outcome*; for murmurs, patients answered Unknown are referred to the
    expert as those answered Present are.

    Args:
        murmur: Truth (n, 3) in the order of MURMUR, one active class in each row; other rows count
            as Present.
        outcome: Truth (n, 2) in the order of OUTCOME; rows without one active class count as
            Abnormal.
        murmur_chosen: Answers (n, 3), likewise.
        outcome_chosen: Answers (n, 2), likewise.
        murmur_scores: (n, 3) finite numbers.
        outcome_scores: (n, 2) finite numbers.

    Returns:
        The scores of murmurs and those of outcomes.

    Raises:
        UndefinedError: For other shapes, no patients, or numbers that are not finite.
    """
    parts = (murmur, outcome, murmur_chosen, outcome_chosen, murmur_scores, outcome_scores)
    shapes = [np.shape(part) for part in parts]
    n = len(murmur)
    if n == 0 or shapes != [(n, 3), (n, 2)] * 3:
        raise UndefinedError(
            f"Challenge 2022 needs (n, 3) murmurs and (n, 2) outcomes with n > 0, got {shapes}."
        )
    if not all(np.isfinite(np.asarray(part, dtype=np.float64)).all() for part in parts):
        raise UndefinedError("Challenge 2022 needs finite labels and scores.")
    murmur, outcome, murmur_chosen, outcome_chosen = map(enforce_positives, parts[:4])
    abnormal = outcome[:, 0]
    of_murmur = _score_2022(
        MURMUR,
        (5, 3, 1),
        murmur,
        murmur_chosen,
        np.asarray(murmur_scores, dtype=np.float64),
        cost_2022(abnormal, ~murmur_chosen[:, 2]),
    )
    of_outcome = _score_2022(
        OUTCOME,
        (5, 1),
        outcome,
        outcome_chosen,
        np.asarray(outcome_scores, dtype=np.float64),
        cost_2022(abnormal, outcome_chosen[:, 0]),
    )
    return of_murmur, of_outcome
