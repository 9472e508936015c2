"""Standard errors and tests in closed form, for two statements about a score.

*These probes on new patients.* The probes are as they are; only the test patients are a sample.

*This encoder, with new training patients too.* The training patients are a sample as well, and
each other draw of them gives other probes.

No number here depends on random draws, so none depends on their number or seed. The derivation is
in ``docs/methods.md``, its check by simulation in ``benchmarks/coverage_stack.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy

from etab.errors import UndefinedError
from etab.metrics.base import METRICS
from etab.metrics.by_table import sums_by_table, tables_alike, without_each_by_table
from etab.metrics.columns import ScoredRows
from etab.metrics.design import FoldDesign
from etab.metrics.forms import Units
from etab.metrics.least import least_variance
from etab.metrics.shared import distinct, positions
from etab.types import Array, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Difference a - b of a metric, with its two-sided p value and its 95 % interval."""

    difference: float
    p: float
    low: float
    high: float


OF_DIVISIONS = 1.25
"""How much the draw of the training patients adds to the variance over patients of a value, as a
multiple of what a patient's part of the value varies by from one division into folds to another.
"""


@dataclass(frozen=True, slots=True)
class Precision:
    """The variance of a value, or of a weighted sum of values, split by patients and divisions.

    The difference of two values on the same patients has the difference of their arrays
    (``combined``), so that noise which both values share cancels.

    Attributes:
        people: (repeats, patients) by how much each patient moves the value of each repeat. The
            sum of the squares is the variance of that value over patients.
        design: How patients were divided.
        patients: Number of patients who have rows.
        added: What is added to the variance of the encoder of a metric that has a least variance
            (``etab.metrics.least``).

    Example:
        >>> people = np.array([[0.3, -0.3, 0.1, -0.1]])
        >>> one = Precision(people, FoldDesign(n_fold=1, repeats=1, test_share=1.0), 4)
        >>> round(one.patient_variance, 3), round(one.encoder_variance, 3)
        (0.2, 0.224)
    """

    people: FloatArray
    design: FoldDesign
    patients: int
    added: float = 0.0

    @property
    def patient_variance(self) -> float:
        """Variance over test patients, the probes given; all repeats of a person move together."""
        return float(np.square(self.people.mean(axis=0)).sum())

    @property
    def encoder_variance(self) -> float:
        """Variance over test patients and over draws of the training patients.

        Each repeat of the folds predicts every patient after training on other patients. The
        variance over patients is therefore taken within a repeat and averaged over repeats: what
        one person's part varies by from repeat to repeat comes from the training draw, and the mean
        over repeats would hide it. ``FoldDesign.value_factor`` adds what no repeat shows,
        because the training sets of two repeats overlap and those of one split are the same.

        That factor was measured where heads are stable. With few patients the choices of a head can
        hang on who is trained on. Parts of patients then differ much between divisions, and
        ``OF_DIVISIONS`` times that is added where it is more. ``added`` comes on top of both.
        """
        factor = self.design.value_factor
        within = float(np.square(_patient_vector(self)).sum())
        of_scores = max(factor * within, within + OF_DIVISIONS * self.division_variance)
        return of_scores + self.added

    @property
    def division_variance(self) -> float:
        """Variance of the parts of patients between divisions, summed; 0 for one division.

        Example:
            >>> moves = np.array([[0.3, -0.3], [0.1, -0.1]])
            >>> design = FoldDesign(n_fold=2, repeats=2, test_share=1.0)
            >>> round(Precision(moves, design, 2).division_variance, 3)
            0.04
        """
        repeats = len(self.people)
        if repeats < 2:
            return 0.0
        within = float(np.square(_patient_vector(self)).sum())
        return (within - self.patient_variance) * repeats / (repeats - 1)

    @property
    def encoder_difference_variance(self) -> float:
        """``encoder_variance`` of a difference of two backbones, which these arrays are then of.

        Noise of test patients that both share cancels, noise of the training draw less so:
        measured, its share is larger.
        """
        return self.design.difference_factor * float(np.square(_patient_vector(self)).sum())

    @property
    def degrees(self) -> float:
        """Degrees of freedom of all variances: one less than there are patients."""
        return float(self.patients - 1)


def _patient_vector(part: Precision) -> FloatArray:
    """A vector whose squared length is the mean over repeats of the variance over patients."""
    return np.asarray(part.people.ravel() / math.sqrt(len(part.people)))


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
    for r, of_repeat in enumerate(repeats):
        people[r, columns] = _moved_by(metric, rows.select(of_repeat), present)
    return _precision(metric, rows, people, design)


def _precision(metric: str, rows: ScoredRows, people: FloatArray, design: FoldDesign) -> Precision:
    """The arrays of a value, with what is added where the metric has a least variance."""
    part = Precision(people, design, len(distinct(rows.patients)[0]))
    least = least_variance(metric, rows)
    if least is None:
        return part
    within = float(np.square(_patient_vector(part)).sum())
    missing = _factor_of_least(metric, design) * max(least, within) - part.encoder_variance
    return replace(part, added=max(0.0, missing))


def _factor_of_least(metric: str, design: FoldDesign) -> float:
    """Factor of the training draw for a metric that has a least variance."""
    if METRICS[metric].decides:
        return design.fixed_decision_factor
    return design.decision_factor if METRICS[metric].of_decisions else design.value_factor


def precisions_of(
    metric: str, tables: Sequence[ScoredRows], order: Array, designs: Sequence[FoldDesign]
) -> list[Precision]:
    """Compute ``precision_of`` for several tables, those of the same patients together.

    Args:
        metric: Its name in ``METRICS``.
        tables: The prediction tables.
        order: (patients,) sorted names that the arrays refer to.
        designs: How the patients of each table were divided.

    Returns:
        The arrays of each value.

    Raises:
        UndefinedError: As ``precision_of`` does.
    """
    parts: dict[int, Precision] = {}
    for places in tables_alike(tables):
        alike = [tables[place] for place in places]
        people = _people_together(metric, alike, order)
        for number, place in enumerate(places):
            if people is None:
                parts[place] = precision_of(metric, tables[place], order, designs[place])
            else:
                parts[place] = _precision(metric, tables[place], people[number], designs[place])
    return [parts[place] for place in range(len(tables))]


def _people_together(metric: str, tables: Sequence[ScoredRows], order: Array) -> FloatArray | None:
    """``Precision.people`` of tables of the same patients; None where each needs a look."""
    present, _, _ = distinct(tables[0].patients)
    repeats = tables[0].of_repeats()
    if len(present) < 2:
        return None
    columns = positions(order, present)
    people = np.zeros((len(tables), len(repeats), len(order)))
    for r, of_repeat in enumerate(repeats):
        values = _without_each(metric, tables, present, of_repeat)
        if values is None or not np.isfinite(values).all():
            return None
        people[:, r, columns] = _jackknife(values)
    return people


def _without_each(
    metric: str, tables: Sequence[ScoredRows], patients: Array, rows: IntArray
) -> FloatArray | None:
    """Values (tables, patients) of some rows without each patient; None where each needs a look."""
    sums = sums_by_table(metric, tables, patients, rows)
    if sums is not None:
        return without_each_by_table(sums)
    selected = [table.select(rows) for table in tables]
    units = Units(positions(patients, selected[0].patients), len(patients))
    together = METRICS[metric].prepared_together(selected, units)
    return None if together is None else together.without_each()


def _jackknife(values: FloatArray) -> FloatArray:
    """By how much each of n patients moves a value, from the values without one (..., n)."""
    n = values.shape[-1]
    return np.asarray((values.mean(axis=-1, keepdims=True) - values) * math.sqrt((n - 1) / n))


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
    return _jackknife(values)


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
        >>> one = Precision(np.array([[0.5, -0.5]]), design, 2)
        >>> combined([one, one], [1, -1]).encoder_difference_variance
        0.0
    """
    people = np.zeros_like(parts[0].people)
    for weight, part in zip(weights, parts, strict=True):
        people = people + weight * part.people
    widest = max(parts, key=lambda part: part.design.test_share)
    added = sum(w**2 * part.added for w, part in zip(weights, parts, strict=True))
    return Precision(people, widest.design, min(part.patients for part in parts), added)


def paired_variances(parts: Sequence[Precision]) -> FloatArray:
    """``encoder_difference_variance`` of every pair of values.

    Args:
        parts: n values on the same patients, with the same folds.

    Returns:
        (n, n), 0 on the diagonal.
    """
    factor = parts[0].design.difference_factor
    return factor * _squared_distances(np.stack([_patient_vector(part) for part in parts]))


def paired_patient_variances(parts: Sequence[Precision]) -> FloatArray:
    """``patient_variance`` of the difference of every pair of values: (n, n)."""
    return _squared_distances(np.stack([part.people.mean(axis=0) for part in parts]))


def _squared_distances(vectors: FloatArray) -> FloatArray:
    """Squared distance of every pair of vectors (n, d): (n, n), 0 on the diagonal.

    Vectors are subtracted, so that close ones keep the digits of their difference, and no pair
    depends on the other vectors.
    """
    above = np.zeros((len(vectors), len(vectors)))
    room = np.empty_like(vectors)  # memory that the system hands out anew for each row takes longer
    for row, vector in enumerate(vectors):
        others = vectors[row + 1 :]
        differences = np.subtract(others, vector, out=room[: len(others)])
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


def deciding_p(
    differences: FloatArray, variances: FloatArray, degrees: float, error: float
) -> FloatArray:
    """Two-sided p values as far as Holm's correction needs them to decide at an error.

    Holm rejects every p below the error divided by the number of tests, and none above the error.
    Only p values between the two are computed, since Student's t takes long for many pairs.

    Args:
        differences: (n,) differences; Holm may correct over them all or over some of them.
        variances: (n,) their variances.
        degrees: Degrees of freedom of the variances.
        error: The error that the corrected p values are compared with, such as 0.05.

    Returns:
        (n,) p values: 0 in place of small ones that are always rejected, 1 in place of large ones.

    Example:
        >>> variances = np.ones(3)
        >>> deciding_p(np.array([9.0, 2.3, 0.1]), variances, 30, 0.05).round(3).tolist()
        [0.0, 0.029, 1.0]
    """
    sizes = np.abs(_ratios(differences, variances))
    always = scipy.special.stdtrit(degrees, 1 - error / 2 / max(len(sizes), 1)) * (1 + 1e-6)
    never = scipy.special.stdtrit(degrees, 1 - error / 2) * (1 - 1e-6)
    p = np.where(sizes > always, 0.0, 1.0)
    between = (sizes >= never) & (sizes <= always)
    p[between] = 2 * scipy.special.stdtr(degrees, -sizes[between])
    return p


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
    variance = between.encoder_difference_variance if design else between.patient_variance
    difference = METRICS[metric].value(a) - METRICS[metric].value(b)
    p = two_sided_p(np.array(difference), np.array(variance), between.degrees)
    half = float(half_widths(np.array(variance), between.degrees))
    return PairedTest(difference, float(p), difference - half, difference + half)


def _most_folds(rows: ScoredRows) -> int:
    return max(len(rows.select(part).of_folds()) for part in rows.of_repeats())
