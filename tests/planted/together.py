"""Faults of metrics of many tables at once, and of facts that tables share."""

from tests.faults import Fault

TESTS = ("tests/metrics/test_together.py",)
FILE = "etab/metrics/together.py"
PAIRS = "etab/metrics/whole_pairs.py"

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
        PAIRS,
        "twice += np.take(of_rows, upper * n_tables + each, axis=0)",
        "twice += np.take(of_rows, lower * n_tables + each, axis=0)",
        TESTS,
    ),
    Fault(
        "together: one byte for any number of pairs",
        PAIRS,
        "many = np.min_scalar_type(int(2 * most_pairs))",
        "many = few",
        TESTS,
    ),
    Fault(
        "by_table: rows are added up out of the order of their folds",
        "etab/metrics/by_table.py",
        "order = np.concatenate(folds)",
        "order = np.sort(np.concatenate(folds))",
        TESTS,
    ),
    Fault(
        "by_table: a repeat stands for all of them",
        "etab/metrics/by_table.py",
        "wholes = np.mean([whole for whole, _ in of_repeats], axis=0).tolist()",
        "wholes = of_repeats[0][0].tolist()",
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
