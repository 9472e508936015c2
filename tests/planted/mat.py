"""Faults of MATLAB files that are read with every length checked."""

from tests.faults import Fault

MAT = "etab/readers/mat.py"
TESTS = ("tests/readers/test_mat.py",)

FAULTS = [
    Fault(
        "mat: lengths are trusted", MAT, "if body_start + length > len(data):", "if False:", TESTS
    ),
    Fault("mat: shapes are trusted", MAT, "if count != len(self.values):", "if False:", TESTS),
    Fault(
        "mat: columns are rows",
        MAT,
        'return flat.reshape(self.shape, order="F")',
        "return flat.reshape(self.shape)",
        TESTS,
    ),
    Fault(
        "mat: unpacks without a bound",
        MAT,
        "decoder.decompress(data, LARGEST_MAT)",
        "decoder.decompress(data)",
        TESTS,
    ),
    Fault("mat: cells without end", MAT, "if depth > _DEEPEST:", "if False:", TESTS),
    Fault(
        "mat: byte order ignored",
        MAT,
        'order = "<" if mark == b"IM" else ">"',
        'order = "<"',
        TESTS,
    ),
    Fault(
        "cinc2016: half a sample",
        "etab/datasets/cinc2016_states.py",
        "or sample != int(sample)",
        "",
        TESTS,
    ),
]
