"""Faults of the share of test patients in a design."""

from tests.faults import Fault

TESTS = ("tests/leaderboard/test_designs.py",)
MODULE = "etab/leaderboard/designs.py"

FAULTS = [
    Fault(
        "test patients are divided by training recordings",
        MODULE,
        '    if within and protocol.sort in ("cv", "lodo"):\n',
        "    if False:\n",
        TESTS,
    ),
    Fault(
        "the number of training patients in a record is not used",
        MODULE,
        "    if cell.n_train_patients:\n",
        "    if False:\n",
        TESTS,
    ),
    Fault(
        "a draw of few patients counts as all of them",
        MODULE,
        "    if protocol.percent:\n",
        "    if False:\n",
        TESTS,
    ),
    Fault(
        "shots of one class stand for those of every class",
        MODULE,
        "    return len(set(class_of.values()))\n",
        "    return 1\n",
        TESTS,
    ),
    Fault(
        "the first task decides the test share of a sum",
        "etab/metrics/inference.py",
        "    widest = max(parts, key=lambda part: part.design.test_share)\n",
        "    widest = parts[0]\n",
        ("tests/metrics/test_inference.py",),
    ),
]
