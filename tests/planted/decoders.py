"""Faults of the table of decoders."""

from tests.faults import Fault

_TESTS = ("tests/benchmarks/test_decoder_table.py",)
FAULTS = [
    Fault(
        "rows are paired as they come",
        "benchmarks/decoders.py",
        "[[place[item] for item in one.items]]",
        "",
        _TESTS,
    ),
    Fault(
        "the interval is not of the difference",
        "benchmarks/decoders.py",
        '{"dice": theirs}',
        '{"dice": 0 * theirs}',
        _TESTS,
    ),
    Fault(
        "draws of few labels stand beside whole cells",
        "benchmarks/decoders.py",
        "        if not how.few:\n",
        "        if True:\n",
        _TESTS,
    ),
    Fault(
        "other data are compared",
        "benchmarks/decoders.py",
        '("task_version", "data_digest")',
        '("task_version",)',
        _TESTS,
    ),
    Fault(
        "a line of another sign wins",
        "benchmarks/decoders.py",
        "line.difference > 0 and q < 0.05",
        "q < 0.05",
        _TESTS,
    ),
]
