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
    patients = np.array([f"p{i // 2:03d}" for i in range(n)])
    if kind is Kind.MASK:
        loss = error * rng.uniform(0.05, 0.4, n)
        masks = {
            "dice": 1 - loss,
            "jaccard": (1 - loss) / (1 + loss),
            "hd95": 20 * loss,
            "msd": 8 * loss,
        }
        return masks, patients
    if kind is Kind.VALUE:
        ef = rng.normal(50, 12, n)
        return {"truth": ef, "score": ef + error * rng.normal(0, 8, n)}, patients
    if kind is Kind.STATES:
        loss = error * rng.uniform(0.0, 0.4, n)
        timing = dict.fromkeys(TIMING_COLUMNS, 50 * loss)
        return {**dict.fromkeys(STATE_COLUMNS, 1 - loss), **timing}, patients
    truth: Array = np.arange(n) % (2 if kind is Kind.BINARY else 3)
    columns = {
        "truth": truth,
        "group": np.arange(n) // 4 % 3.0,
        "clean": np.arange(n) % 5 > 0,
        "outcome": truth == 1,
    }
    if kind is Kind.BINARY:
        score = 1 / (1 + np.exp(-(4 * truth - 2 + error * rng.normal(0, 3, n))))
        columns |= {"score": score, "answer": score >= 0.5}
    else:
        logits = 4 * np.eye(3)[truth] + error * rng.normal(0, 2, (n, 3))
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        for k in range(3):
            columns[f"score_{k}"] = p[:, k]
        columns["answer"] = p.argmax(axis=1)
    floats = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    return floats, patients


def _permuted(
    columns: Columns,
    patients: Array,
    rng: np.random.Generator,
) -> tuple[dict[str, Array], Array]:
    order = rng.permutation(len(patients))
    return {k: v[order] for k, v in columns.items()}, patients[order]


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
        low, high = sorted((metric.worst, metric.best))
        assert low <= value <= max(high, abs(low)) or metric.better == 0, (
            f"{metric.name} {value} is out of its range"
        )
        perfect, same = sample(kind, np.random.default_rng(seed), error=0.0)
        of_perfect = metric(perfect, same, kind)
        best = metric.best if metric.reached else min(of_perfect, value)
        assert abs(of_perfect - best) < 1e-9, f"{metric.name}: the perfect answer is not the best"
        again = metric(*_permuted(columns, patients, rng), kind)
        assert abs(again - value) < 1e-9, f"{metric.name} depends on the order of rows"
        nearer, _ = sample(kind, np.random.default_rng(seed), error=0.5)
        gain = (metric(nearer, patients, kind) - value) * metric.better
        assert gain >= -1e-12, f"{metric.name}: a nearer answer scores worse"
        _check_repeats(metric, kind, columns, patients)
        _check_weights(metric, kind, columns, patients, rng)
        _check_refusals(metric, kind, columns, patients)


def _check_repeats(
    metric: Metric,
    kind: Kind,
    columns: Columns,
    patients: Array,
) -> None:
    """Two equal repeats have the value of one, under any names of folds."""
    n = len(patients)
    value = metric(columns, patients, kind)
    twice = {name: np.concatenate([values, values]) for name, values in columns.items()}
    folds = np.repeat(["first", "second"], n)
    repeats = np.repeat([0, 1], n)
    both = ScoredRows(kind, twice, np.concatenate([patients, patients]), folds, repeats)
    assert abs(metric.value(both) - value) < 1e-9, f"{metric.name}: two equal repeats differ"


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
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=3)
    rows = ScoredRows(kind, columns, patients)
    draws = metric.draws(rows, counts[:, inverse])
    assert draws.shape == (3,), f"{metric.name} gives {draws.shape} values for weights of 3 draws"
    for drawn, value in zip(counts, draws, strict=True):
        index: list[int] = []
        people: list[str] = []
        for i, times in enumerate(drawn):
            for copy in range(times):
                of_patient = np.flatnonzero(inverse == i).tolist()
                index += of_patient
                people += [f"{names[i]}-{copy}"] * len(of_patient)
        repeated = rows.select(np.array(index))
        direct = metric(repeated.columns, np.array(people), kind)
        assert abs(direct - value) <= 1e-9 * max(1.0, abs(direct)), (
            f"{metric.name}: weights give {value}, repeated rows give {direct}"
        )


def _check_refusals(
    metric: Metric,
    kind: Kind,
    columns: Columns,
    patients: Array,
) -> None:
    nothing = {name: values[:0] for name, values in columns.items()}
    first = np.arange(len(patients)) == 0
    bad = {name: np.where(first, np.nan, values) for name, values in columns.items()}
    for case, who in ((nothing, patients[:0]), (bad, patients)):
        try:
            metric(case, who, kind)
        except UndefinedError:
            continue
        raise AssertionError(f"{metric.name} scored rows that cannot be scored")
