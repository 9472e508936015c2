"""Faults of putting rows together."""

from tests.faults import Fault

FILE, TESTS = "etab/tasks/aggregate.py", ("tests/tasks/test_aggregate.py",)

FAULTS = [
    Fault(
        "aggregate: windows count, not recordings",
        FILE,
        "np.asarray(_means(scores, recordings).mean(axis=0))",
        "np.asarray(scores.mean(axis=0))",
        TESTS,
    ),
    Fault(
        "aggregate: units in alphabetical order",
        FILE,
        "order = np.argsort(first)",
        "order = np.arange(len(first))",
        TESTS,
    ),
    Fault(
        "aggregate: two truths pass", FILE, "if (truths != truths[0]).any():", "if False:", TESTS
    ),
    Fault(
        "aggregate: runs score rows",
        "etab/runs/tables.py",
        "    if task.aggregate:",
        "    if False:",
        TESTS,
    ),
]
