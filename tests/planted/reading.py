"""Faults of reading: videos, the clip cache, DICOM, damaged files."""

from tests.faults import Fault

READERS = ("tests/test_readers.py",)
AVI = "etab/readers/avi.py"

FAULTS = [
    Fault(
        "the index is read one frame late",
        AVI,
        "where[list(numbers)].tolist()",
        "where[[max(n - 1, 0) for n in numbers]].tolist()",
        READERS,
    ),
]
