"""Faults of fetching: data that need a signature are tried."""

from tests.faults import Fault

_FILE = "etab/datasets/fetch.py"


def _tests(name: str) -> tuple[str, ...]:
    return (f"tests/datasets/test_fetch.py::{name}",)


FAULTS = [
    Fault(
        "fetch: data that need a signature are tried",
        _FILE,
        "    if name not in PROJECTS:\n",
        "    if False:\n",
        _tests("test_data_that_need_a_signature_are_not_fetched"),
    ),
]
