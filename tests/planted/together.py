"""Faults of metrics of many tables at once, and of facts that tables share."""

from tests.faults import Fault

TESTS = ("tests/metrics/test_together.py",)
FILE = "etab/metrics/together.py"

FAULTS = [
    Fault(
        "together: rows of another truth share a layout",
        FILE,
        "groups.setdefault((_rows_of(form), form.n), [])",
        "groups.setdefault((_rows_of(forms[0]), form.n), [])",
        TESTS,
    ),
    Fault(
        "together: ties are right",
        FILE,
        "twice += rank < part.upper[:, None]",
        "twice += rank < part.lower[:, None]",
        TESTS,
    ),
    Fault(
        "together: float32 for any number of pairs",
        FILE,
        " and 2 * of_block.max(initial=0) < EXACT:",
        ":",
        TESTS,
    ),
    Fault(
        "together: rows of one patient overwrite each other",
        FILE,
        "alone = _differ(rows) and _differ(columns)",
        "alone = True",
        TESTS,
    ),
    Fault(
        "together: ties of patients with one row are right",
        FILE,
        "for below in (part.lower, part.upper):",
        "for below in (part.lower, part.lower):",
        TESTS,
    ),
    Fault(
        "shared: facts of arrays that change are kept",
        "etab/metrics/shared.py",
        "return not array.flags.writeable and array.base is None",
        "return True",
        TESTS,
    ),
]
