"""Faults of boards that join phantoms and published results."""

from tests.faults import Fault

FAULTS = [
    Fault(
        "merge: a phantom takes the place of a published cell",
        "etab/results/merge.py",
        "aside = _phantom_cells(cells) if of_patients else set()",
        "aside: set[Path] = set()",
        ("tests/test_merge.py::test_results_on_phantoms_never_replace_published_ones",),
    ),
]
