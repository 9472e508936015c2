"""Faults of the feature store."""

from tests.faults import Fault

_TESTS = ("tests/features/test_store.py",)

FAULTS = [
    Fault(
        "features of other versions of libraries are read",
        "etab/features/store.py",
        'f"{key}-{_libraries_digest()}"',
        "key",
        _TESTS,
    ),
    Fault(
        "temporary folders of processes meet",
        "etab/features/entries.py",
        'f"{target.name}.{secrets.token_hex(8)}.part"',
        'f"{target.name}.part"',
        _TESTS,
    ),
    Fault(
        "a failed entry is left behind",
        "etab/features/entries.py",
        "    finally:\n        shutil.rmtree(temp, ignore_errors=True)",
        "    finally:\n        pass",
        _TESTS,
    ),
    Fault(
        "the key of an entry forgets the order of its rows",
        "etab/features/store.py",
        "for piece in self.text:",
        "for piece in sorted(self.text):",
        _TESTS,
    ),
    Fault(
        "reading ahead takes a first part for granted",
        "etab/features/store.py",
        "    if not parts:\n        return\n",
        "",
        _TESTS,
    ),
]
