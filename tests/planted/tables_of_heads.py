"""Faults of the tables that compare heads."""

from tests.faults import Fault

TESTS = ("tests/benchmarks/test_head_tables.py",)

FAULTS = [
    Fault(
        "the table of probes compares the head of the task with itself",
        "benchmarks/probes.py",
        "            one_layer = ONE_LAYER[task.kind]\n",
        "            one_layer = task.head\n",
        TESTS,
    ),
    Fault(
        "masks of an earlier version of a head stay in the table",
        "benchmarks/masks.py",
        "        and is_current(cell)\n",
        "",
        TESTS,
    ),
]
