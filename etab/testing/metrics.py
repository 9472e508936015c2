"""The laws that every metric keeps, as a test for your own: ``check_metric(METRICS["mine"])``."""

from __future__ import annotations

import numpy as np

from etab.errors import UndefinedError
from etab.metrics.base import Metric
from etab.metrics.columns import Columns, ScoredRows
from etab.metrics.heart_sounds import STATE_COLUMNS, TIMING_COLUMNS
from etab.types import Array, Kind

__all__ = ["check_metric", "sample"]


def sample(
    kind: Kind,
    rng: np.random.Generator,
    n: int = 60,
    error: float = 1.0,
) -> tuple[dict[str, Array], Array]:
    """Make the columns of a prediction table, two rows for each patient.

    Args:
        kind: What is predicted.
        rng: Generator of the errors.
        n: Number of rows.
        error: Scale of the errors; 0 for perfect predictions.

    Returns:
        (columns, patients): arrays (n,) by column, and the patient of each row.
    """
    rows = range(n)
    patients = np.array([f"p{row // 2:03d}" for row in rows])
    if kind is Kind.MASK:
        return _mask_columns(rng, n, error), patients
    if kind is Kind.VALUE:
        return _value_columns(rng, n, error), patients
    if kind is Kind.STATES:
        return _state_columns(rng, n, error), patients
    columns = _class_columns(kind, rng, n, error)
    floats = {}
    for name, values in columns.items():
        floats[name] = np.asarray(values, dtype=np.float64)
    return floats, patients


def _mask_columns(rng: np.random.Generator, n: int, error: float) -> dict[str, Array]:
    """Overlaps in [0, 1] and distances in mm of the masks of ``n`` rows."""
    loss = error * rng.uniform(0.05, 0.4, n)
    return {
        "dice": 1 - loss,
        "jaccard": (1 - loss) / (1 + loss),
        "hd95": 20 * loss,
        "msd": 8 * loss,
    }


def _value_columns(rng: np.random.Generator, n: int, error: float) -> dict[str, Array]:
    """Ejection fractions in percent, and predictions that miss them by some percent."""
    truth = rng.normal(50, 12, n)
    miss = error * rng.normal(0, 8, n)
    return {"truth": truth, "score": truth + miss}


def _state_columns(rng: np.random.Generator, n: int, error: float) -> dict[str, Array]:
    """Shares of heart states in [0, 1], numbers of sounds found, and errors of timing in ms."""
    loss = error * rng.uniform(0.0, 0.4, n)
    shares = dict.fromkeys(STATE_COLUMNS, 1 - loss)
    timing = dict.fromkeys(TIMING_COLUMNS, 50 * loss)
    found = dict.fromkeys(("s1_found", "s2_found"), np.full(n, 30.0))
    return {**shares, **timing, **found}


def _class_columns(
    kind: Kind,
    rng: np.random.Generator,
    n: int,
    error: float,
) -> dict[str, Array]:
    """Classes of ``n`` rows, their probabilities, and the facts that challenges weight by."""
    n_classes = 2 if kind is Kind.BINARY else 3
    rows = np.arange(n)
    truth: Array = rows % n_classes
    columns = {
        "truth": truth,
        "group": rows // 4 % 3.0,
        "clean": rows % 5 > 0,
        "outcome": truth == 1,
    }
    if kind is Kind.BINARY:
        noise = rng.normal(0, 3, n)
        log_odds = 4 * truth - 2 + error * noise
        score = 1 / (1 + np.exp(-log_odds))
        columns["score"] = score
        columns["answer"] = score >= 0.5
        return columns
    one_hot = np.eye(3)[truth]
    noise = rng.normal(0, 2, (n, 3))
    weights = np.exp(4 * one_hot + error * noise)
    probabilities = weights / weights.sum(axis=1, keepdims=True)
    for k in range(3):
        columns[f"score_{k}"] = probabilities[:, k]
    columns["answer"] = probabilities.argmax(axis=1)
    return columns


def _permuted(
    columns: Columns, patients: Array, rng: np.random.Generator
) -> tuple[dict[str, Array], Array]:
    """Put the rows in a random order."""
    order = rng.permutation(len(patients))
    permuted = {name: values[order] for name, values in columns.items()}
    return permuted, patients[order]


def check_metric(metric: Metric, seed: int = 0) -> None:
    """Check the laws that every metric keeps.

    The value is in its range, best for perfect predictions, no worse for smaller errors, and does
    not depend on the order of rows. Equal repeats have the value of one of them. A weight counts
    like repeated rows. An empty table, and values that are not finite, raise UndefinedError.

    Args:
        metric: The metric, registered or not.
        seed: Seed of the synthetic tables.

    Raises:
        AssertionError: A law is broken; the message names it.

    Example:
        >>> from etab.metrics import METRICS
        >>> check_metric(METRICS["auroc"])
    """
    for kind in sorted(metric.kinds):
        rng = np.random.default_rng(seed)
        columns, patients = sample(kind, rng)
        value = metric(columns, patients, kind)
        _check_range(metric, value)
        _check_perfect(metric, kind, value, seed)
        permuted, their_patients = _permuted(columns, patients, rng)
        again = metric(permuted, their_patients, kind)
        assert abs(again - value) < 1e-9, f"{metric.name} depends on the order of rows"
        _check_nearer(metric, kind, value, seed)
        _check_repeats(metric, kind, columns, patients)
        _check_weights(metric, kind, columns, patients, rng)
        _check_refusals(metric, kind, columns, patients)


def _check_range(metric: Metric, value: float) -> None:
    """Check that a value lies between the worst and the best; a bias may have either sign."""
    if metric.better == 0:
        return
    low, high = sorted((metric.worst, metric.best))
    highest = max(high, abs(low))
    assert low <= value <= highest, f"{metric.name} {value} is out of its range"


def _check_perfect(metric: Metric, kind: Kind, value: float, seed: int) -> None:
    """Check that perfect predictions have the best value."""
    perfect, patients = sample(kind, np.random.default_rng(seed), error=0.0)
    of_perfect = metric(perfect, patients, kind)
    best = metric.best if metric.reached else min(of_perfect, value)
    assert abs(of_perfect - best) < 1e-9, f"{metric.name}: the perfect answer is not the best"


def _check_nearer(metric: Metric, kind: Kind, value: float, seed: int) -> None:
    """Check that errors of half the size do not score worse."""
    nearer, patients = sample(kind, np.random.default_rng(seed), error=0.5)
    of_nearer = metric(nearer, patients, kind)
    gain = (of_nearer - value) * metric.better
    assert gain >= -1e-12, f"{metric.name}: a nearer answer scores worse"


def _check_repeats(
    metric: Metric,
    kind: Kind,
    columns: Columns,
    patients: Array,
) -> None:
    """Two equal repeats have the value of one, under any names of folds."""
    n = len(patients)
    value = metric(columns, patients, kind)
    twice = {}
    for name, values in columns.items():
        twice[name] = np.concatenate([values, values])
    both = ScoredRows(
        kind,
        twice,
        patients=np.concatenate([patients, patients]),
        folds=np.repeat(["first", "second"], n),
        repeats=np.repeat([0, 1], n),
    )
    of_both = metric.value(both)
    assert abs(of_both - value) < 1e-9, f"{metric.name}: two equal repeats differ"


def _check_weights(
    metric: Metric,
    kind: Kind,
    columns: Columns,
    patients: Array,
    rng: np.random.Generator,
) -> None:
    """Check that weights 0, 1, 2, ... count like rows repeated so many times.

    Copies of a patient are new patients.
    """
    names, inverse = np.unique(patients, return_inverse=True)
    n_patients = len(names)
    chances = np.full(n_patients, 1 / n_patients)
    counts = rng.multinomial(n_patients, chances, size=3)
    rows = ScoredRows(kind, columns, patients)
    weights = counts[:, inverse]
    draws = metric.draws(rows, weights)
    assert draws.shape == (3,), f"{metric.name} gives {draws.shape} values for weights of 3 draws"
    for drawn, value in zip(counts, draws, strict=True):
        index, people = _copies(names, inverse, drawn)
        repeated = rows.select(index)
        direct = metric(repeated.columns, people, kind)
        tolerance = 1e-9 * max(1.0, abs(direct))
        assert abs(direct - value) <= tolerance, (
            f"{metric.name}: weights give {value}, repeated rows give {direct}"
        )


def _copies(names: Array, patient_of_row: Array, counts: Array) -> tuple[Array, Array]:
    """Repeat the rows of patients.

    Args:
        names: The patients, (patients,).
        patient_of_row: Index of the patient of each row, (rows,).
        counts: How often each patient is drawn, (patients,).

    Returns:
        (index, people): the rows with their copies, and a new patient for each copy.
    """
    index: list[int] = []
    people: list[str] = []
    for patient, times in enumerate(counts):
        of_patient = np.flatnonzero(patient_of_row == patient).tolist()
        for copy in range(times):
            name = f"{names[patient]}-{copy}"
            index += of_patient
            people += [name] * len(of_patient)
    return np.array(index), np.array(people)


def _check_refusals(
    metric: Metric,
    kind: Kind,
    columns: Columns,
    patients: Array,
) -> None:
    """Check that an empty table, and values that are not finite, raise UndefinedError."""
    is_first = np.arange(len(patients)) == 0
    empty = {}
    not_finite = {}
    for name, values in columns.items():
        empty[name] = values[:0]
        not_finite[name] = np.where(is_first, np.nan, values)
    for table, of_rows in ((empty, patients[:0]), (not_finite, patients)):
        try:
            metric(table, of_rows, kind)
        except UndefinedError:
            continue
        raise AssertionError(f"{metric.name} scored rows that cannot be scored")
