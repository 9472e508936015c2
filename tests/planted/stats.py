"""Faults of metrics and statistics."""

from tests.faults import Fault

FAULTS = [
    Fault(
        "ties are broken by order",
        "etab/metrics/basic.py",
        "(counts - 1) / 2)[inverse]",
        "(counts - 1))[inverse]",
        ("tests/test_metrics.py",),
    ),
    Fault(
        "one class scores a half",
        "etab/metrics/basic.py",
        "    if positive in (0, len(truth)):",
        "    if False:",
        ("tests/test_metrics.py",),
    ),
    Fault(
        "two empty masks score 0",
        "etab/metrics/masks.py",
        "    if known.pixels == 0:\n        raise UndefinedError",
        "    if known.pixels < 0:\n        raise UndefinedError",
        ("tests/test_metrics.py",),
    ),
    Fault(
        "the direction of the error flipped",
        "etab/metrics/basic.py",
        '_metric("mae", "mean absolute error", (Kind.VALUE,), -1',
        '_metric("mae", "mean absolute error", (Kind.VALUE,), 1',
        ("tests/test_metrics.py",),
    ),
    Fault(
        "a mean over frames, not patients",
        "etab/metrics/masks.py",
        "float(per_patient(columns[name], patients)[1].mean())",
        "float(columns[name].mean())",
        ("tests/test_metrics.py",),
    ),
    Fault(
        "spacing is ignored",
        "etab/echo/surface.py",
        "border(mask) * np.asarray(spacing, dtype=np.float64)",
        "border(mask) * np.ones(2)",
        ("tests/test_metrics.py",),
    ),
    Fault(
        "bootstrap over rows",
        "etab/metrics/uncertainty.py",
        "    weights = resample_weights(len(np.unique(patients)), n, rng)\n",
        "    patients = np.arange(len(patients)).astype(str)\n    weights = resample_weights(len(patients), n, rng)\n",
        ("tests/test_stats.py",),
    ),
    Fault(
        "resamples of another task",
        "etab/runs/cell.py",
        'rng_of(Run(task, "", seed=seed), 1)',
        'rng_of(Run("", "", seed=seed), 1)',
        ("tests/test_flow.py::test_intervals_come_from_the_cells_own_resamples",),
    ),
    Fault(
        "the percentile is the lower neighbour",
        "etab/metrics/masks.py",
        "t = float(pair[0]), float(pair[-1]), at - low",
        "t = float(pair[0]), float(pair[-1]), 0.0",
        ("tests/test_metrics.py",),
    ),
    Fault(
        "bootstrap unseeded",
        "etab/metrics/uncertainty.py",
        "    return rng.multinomial(n_patients",
        "    return np.random.default_rng().multinomial(n_patients",
        ("tests/test_stats.py",),
    ),
    Fault(
        "Holm forgotten",
        "etab/metrics/uncertainty.py",
        "(len(values) - np.arange(len(values))) * values[order]",
        "values[order]",
        ("tests/test_stats.py",),
    ),
    Fault(
        "folds taken as independent",
        "etab/metrics/uncertainty.py",
        "(1 / len(d) + test_share)",
        "(1 / len(d))",
        ("tests/test_stats.py",),
    ),
    Fault(
        "no rank is shared",
        "etab/metrics/uncertainty.py",
        "(int(1 + lost), int(len(beats) - won))",
        "(int(1 + lost), int(1 + lost))",
        ("tests/test_stats.py",),
    ),
]
