"""Standard errors and tests in closed form, for two statements about a score.

*These probes on new patients.* The probes are as they are; only the test patients are a sample.

*This encoder, with new training patients too.* The training patients are a sample as well, and
each other draw of them gives other probes.

No number here depends on random draws, so none depends on their number or seed. The derivation is
in ``docs/methods.md``, its check by simulation in ``benchmarks/coverage.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from etab.errors import UndefinedError
from etab.metrics.base import METRICS
from etab.metrics.columns import ScoredRows
from etab.metrics.forms import Units
from etab.metrics.shared import distinct, positions
from etab.types import Array, FloatArray


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Difference a - b of a metric, with its two-sided p value and its 95 % interval."""

    difference: float
    p: float
    low: float
    high: float


TRAINING_OF_ONE_SPLIT = 0.5
"""Part of n_test/n_train that a single split adds for its training draw; see docs/methods.md."""


@dataclass(frozen=True, slots=True)
class FoldDesign:
    """How patients were divided into training and test.

    Attributes:
        n_fold: Fits of one repeat, whose test patients are different people; 1 for one split.
        repeats: Divisions of the same patients into folds.
        test_share: Test patients of a fit over its training patients: 0.25 for five folds.
        alike: Whether the folds are random draws from the same patients. Databases that are left
            out one at a time are not: what they differ by is no noise.
    """

    n_fold: int
    repeats: int
    test_share: float
    alike: bool = True

    @property
    def correction(self) -> float:
        """The factor of Nadeau and Bengio on the variance of one fit: 1/fits + test share.

        A single split has no folds whose test patients train other fits, and its test patients are
        sampled once: half of the test share stands for its training draw, which is more than was
        measured.

        Example:
            >>> FoldDesign(n_fold=5, repeats=5, test_share=0.25).correction
            0.29
            >>> FoldDesign(n_fold=1, repeats=1, test_share=0.25).correction
            1.125
        """
        if self.n_fold * self.repeats == 1:
            return 1 + TRAINING_OF_ONE_SPLIT * self.test_share
        return 1 / (self.n_fold * self.repeats) + self.test_share


@dataclass(frozen=True, slots=True)
class Precision:
    """What the noise of a value, or of a weighted sum of values, is computed from.

    The difference of two values on the same patients has the difference of their arrays
    (``combined``), so that noise which both values share cancels.

    Attributes:
        people: (repeats, patients) by how much each patient moves the value of each repeat. The
            sum of the squares is the variance of that value over patients.
        folds: (repeats, n_fold) value of each fold; NaN where the metric does not exist there.
        design: How patients were divided.
        patients: Number of patients who have rows.

    Example:
        >>> people = np.array([[0.3, -0.3, 0.1, -0.1]])
        >>> folds = np.array([[0.5, 0.7]])
        >>> one = Precision(people, folds, FoldDesign(n_fold=2, repeats=1, test_share=1.0), 4)
        >>> round(one.patient_variance, 3), round(one.encoder_variance, 3)
        (0.2, 0.6)
    """

    people: FloatArray
    folds: FloatArray
    design: FoldDesign
    patients: int

    @property
    def patient_variance(self) -> float:
        """Variance over test patients, the probes given; all repeats of a person move together."""
        return float(np.square(self.people.mean(axis=0)).sum())

    @property
    def encoder_variance(self) -> float:
        """Variance over test patients and over draws of the training patients.

        Nadeau and Bengio (Machine Learning 52, 2003) give the variance of the mean of J fits as
        s2 * (1/J + n_test/n_train), where s2 is the variance of the value of one fit (for a single
        fit see ``FoldDesign.correction``). Two estimates
        of s2 are at hand:

        * between fits: the sample variance of the fold values within a repeat, averaged over
          repeats (Bouckaert and Frank, PAKDD 2004, for repeated folds). It sees patients and
          training draws, but has few degrees of freedom.
        * from patients: n_fold times the variance over patients of the value of one repeat, since
          the test patients of its folds are different people. It has nearly as many degrees of
          freedom as there are patients, but sees no training draw.

        The larger one is taken: they measure the same patients, so they are never added.
        """
        from_patients = float(np.square(_patient_vector(self)).sum())
        between_fits = float(np.square(_fold_vector(self)).sum())
        return self.design.correction * max(from_patients, between_fits)

    @property
    def degrees(self) -> float:
        """Degrees of freedom of both variances: one less than there are patients."""
        return float(self.patients - 1)


def _patient_vector(part: Precision) -> FloatArray:
    """A vector whose squared length is the variance of one fit as patients make it vary."""
    scale = math.sqrt(part.design.n_fold / part.design.repeats)
    return np.asarray(scale * part.people.ravel())


def _fold_vector(part: Precision) -> FloatArray:
    """A vector whose squared length is the variance of the fold values within a repeat.

    Empty where no repeat has two folds with a value, and where the folds are not alike.
    """
    vectors: list[FloatArray] = []
    for values in part.folds:
        defined = values[np.isfinite(values)]
        if part.design.alike and len(defined) >= 2:
            vectors.append((defined - defined.mean()) / math.sqrt(len(defined) - 1))
    if not vectors:
        return np.zeros(0)
    return np.asarray(np.concatenate(vectors) / math.sqrt(len(vectors)))


def precision_of(metric: str, rows: ScoredRows, order: Array, design: FoldDesign) -> Precision:
    """Measure what a value varies by.

    Args:
        metric: Its name in ``METRICS``.
        rows: The prediction table, with its folds and repeats.
        order: (patients,) sorted names that the arrays refer to; those without rows move nothing.
        design: How patients were divided.

    Returns:
        The arrays of the value.

    Raises:
        UndefinedError: Where there are fewer than two patients, or the metric does not exist
            without one of them.
    """
    present, _, _ = distinct(rows.patients)
    if len(present) < 2:
        raise UndefinedError(
            f"{metric}: noise over patients needs at least two of them, got {len(present)}."
        )
    columns = positions(order, present)
    repeats = rows.of_repeats()
    people = np.zeros((len(repeats), len(order)))
    folds = np.full((len(repeats), design.n_fold), np.nan)
    for r, of_repeat in enumerate(repeats):
        part = rows.select(of_repeat)
        people[r, columns] = _moved_by(metric, part, present)
        for k, of_fold in enumerate(part.of_folds()):
            folds[r, k] = _value(metric, part.select(of_fold))
    return Precision(people, folds, design, len(present))


def _moved_by(metric: str, rows: ScoredRows, patients: Array) -> FloatArray:
    """By how much each of n patients moves a value, by the jackknife: (n,).

    It is the mean of the values without one patient, minus the value without this patient, times
    sqrt((n - 1) / n): the sum of the squares is the jackknife variance (Efron and Stein, Ann. Stat.
    9(3), 1981).
    """
    n = len(patients)
    units = Units(positions(patients, rows.patients), n)
    values = METRICS[metric].prepared(rows, units).without_each()
    missing = np.flatnonzero(~np.isfinite(values))
    if len(missing):
        raise UndefinedError(
            f"{metric} does not exist without {patients[missing[0]]}: there are too few patients "
            "of one class for a standard error."
        )
    return np.asarray((values.mean() - values) * math.sqrt((n - 1) / n))


def _value(metric: str, rows: ScoredRows) -> float:
    return METRICS[metric].prepared(rows, Units.single_rows(len(rows))).value()


def combined(parts: Sequence[Precision], weights: Sequence[float]) -> Precision:
    """Precision of a weighted sum of values on the same patients.

    Args:
        parts: One for each value, all of the same patients in the same folds. Where some are of
            fewer training patients, their test share is the one of the sum: none is too narrow.
        weights: One for each value; 1 and -1 for a difference.

    Returns:
        The arrays of the sum.

    Example:
        >>> design = FoldDesign(n_fold=2, repeats=1, test_share=1.0)
        >>> one = Precision(np.array([[0.5, -0.5]]), np.array([[1.0, 2.0]]), design, 2)
        >>> combined([one, one], [1, -1]).encoder_variance
        0.0
    """
    people = np.zeros_like(parts[0].people)
    folds = np.zeros_like(parts[0].folds)
    for weight, part in zip(weights, parts, strict=True):
        people = people + weight * part.people
        folds = folds + weight * part.folds
    widest = max(parts, key=lambda part: part.design.test_share)
    return Precision(people, folds, widest.design, min(part.patients for part in parts))


def paired_variances(parts: Sequence[Precision]) -> FloatArray:
    """``encoder_variance`` of the difference of every pair of values.

    Args:
        parts: n values on the same patients, with the same folds.

    Returns:
        (n, n), 0 on the diagonal.
    """
    by_patients = np.stack([_patient_vector(part) for part in parts])
    by_folds = np.stack([_fold_vector(part) for part in parts])
    from_patients = _squared_distances(by_patients)
    between_fits = _squared_distances(by_folds)
    return np.asarray(parts[0].design.correction * np.maximum(from_patients, between_fits))


def paired_patient_variances(parts: Sequence[Precision]) -> FloatArray:
    """``patient_variance`` of the difference of every pair of values: (n, n)."""
    return _squared_distances(np.stack([part.people.mean(axis=0) for part in parts]))


def _squared_distances(vectors: FloatArray) -> FloatArray:
    """Squared distance of every pair of vectors (n, d): (n, n), 0 on the diagonal.

    Vectors are subtracted, so that close ones keep the digits of their difference, and no pair
    depends on the other vectors.
    """
    above = np.zeros((len(vectors), len(vectors)))
    for row, vector in enumerate(vectors):
        differences = vectors[row + 1 :] - vector
        above[row, row + 1 :] = np.einsum("ij,ij->i", differences, differences)
    return np.asarray(above + above.T)


def two_sided_p(differences: FloatArray, variances: FloatArray, degrees: float) -> FloatArray:
    """Two-sided p values of differences against 0, from the tail of Student's t.

    Args:
        differences: Any shape.
        variances: Their variances, the same shape. Without variance, p is 1 for no difference and
            0 for any other.
        degrees: Degrees of freedom of the variances.

    Returns:
        p values, the same shape.

    Example:
        >>> two_sided_p(np.array([0.0, 2.0]), np.array([1.0, 1.0]), 10).round(3).tolist()
        [1.0, 0.073]
    """
    return np.asarray(2 * scipy.special.stdtr(degrees, -np.abs(_ratios(differences, variances))))


def p_above(differences: FloatArray, variances: FloatArray, degrees: float) -> FloatArray:
    """P(a above b) of differences a - b: where Student's t puts the true difference.

    Args:
        differences: Any shape.
        variances: Their variances, the same shape.
        degrees: Degrees of freedom of the variances.

    Returns:
        Probabilities, the same shape; 0.5 for no difference.

    Example:
        >>> p_above(np.array([0.0, 2.0]), np.array([1.0, 1.0]), 10).round(3).tolist()
        [0.5, 0.963]
    """
    return np.asarray(scipy.special.stdtr(degrees, _ratios(differences, variances)))


def _ratios(differences: FloatArray, variances: FloatArray) -> FloatArray:
    """Differences in standard errors; infinite for a difference without variance."""
    scale = np.sqrt(variances)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.asarray(differences / scale)
    return np.where(differences == 0, 0.0, ratios)


def half_widths(variances: FloatArray, degrees: float, level: float = 0.95) -> FloatArray:
    """Half widths of intervals by Student's t.

    Args:
        variances: Variances of values, any shape.
        degrees: Degrees of freedom of the variances.
        level: Coverage, 0 to 1.

    Returns:
        The half widths, in the unit of the values, the same shape.

    Example:
        >>> half_widths(np.array([1.0, 4.0]), 30).round(2).tolist()
        [2.04, 4.08]
    """
    return np.asarray(scipy.special.stdtrit(degrees, (1 + level) / 2) * np.sqrt(variances))


def paired_test(
    metric: str, a: ScoredRows, b: ScoredRows, design: FoldDesign | None = None
) -> PairedTest:
    """Test the difference a - b of a metric on the same rows, by Student's t.

    Args:
        metric: Its name in ``METRICS``.
        a: A prediction table.
        b: Another one with the same rows in the same order, in the same folds.
        design: How patients were divided: the test is then of the encoders, with new training
            patients too. None: the test is of these probes, on new patients.

    Returns:
        Difference, two-sided p and 95 % interval. They depend on no random draw.

    Raises:
        UndefinedError: Where the metric, or its noise over patients, does not exist.

    Example:
        >>> from etab.types import Kind
        >>> names = np.arange(6).astype(str)
        >>> truth = np.zeros(6)
        >>> near = ScoredRows(Kind.VALUE, {"truth": truth, "score": truth + 1.0}, names)
        >>> score = np.array([1.0, 2.0, 3.0, 2.0, 1.0, 3.0])
        >>> far = ScoredRows(Kind.VALUE, {"truth": truth, "score": score}, names)
        >>> test = paired_test("mae", far, near)
        >>> test.difference, round(test.p, 3)
        (1.0, 0.041)
    """
    order, _, _ = distinct(a.patients)
    division = design or FoldDesign(
        n_fold=_most_folds(a), repeats=len(a.of_repeats()), test_share=0
    )
    parts = [precision_of(metric, rows, order, division) for rows in (a, b)]
    between = combined(parts, [1, -1])
    variance = between.patient_variance if design is None else between.encoder_variance
    difference = METRICS[metric].value(a) - METRICS[metric].value(b)
    p = two_sided_p(np.array(difference), np.array(variance), between.degrees)
    half = float(half_widths(np.array(variance), between.degrees))
    return PairedTest(difference, float(p), difference - half, difference + half)


def _most_folds(rows: ScoredRows) -> int:
    return max(len(rows.select(part).of_folds()) for part in rows.of_repeats())
