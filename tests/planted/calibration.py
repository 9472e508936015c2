"""Faults of the precision that is measured."""

from tests.faults import Fault

_TESTS = ("tests/features/test_calibration.py",)
_FILE = "etab/features/calibration.py"

FAULTS = [
    Fault(
        "features that differ from fp32 are chosen because they are fast",
        _FILE,
        "agrees = differences[precision] <= TOLERANCE",
        "agrees = True",
        _TESTS,
    ),
    Fault(
        "features that are not finite agree with fp32",
        _FILE,
        'share if np.isfinite(share) else float("inf")',
        "share if np.isfinite(share) else 0.0",
        _TESTS,
    ),
    Fault(
        "a choice is kept for another version of a backend",
        _FILE,
        '        *(f"{name} {release_version(name)}" for name in _LIBRARIES),\n',
        "",
        _TESTS,
    ),
    Fault(
        "every cell measures again",
        _FILE,
        "        write_atomically(path, json.dumps(asdict(stored), indent=1)",
        "        str(json.dumps(asdict(stored), indent=1)",
        _TESTS,
    ),
    Fault(
        "machines of a cluster choose the fastest precision for themselves",
        "etab/runs/units.py",
        "if settings.precision in (AUTO, FASTEST):",
        "if settings.precision == AUTO:",
        _TESTS,
    ),
]
