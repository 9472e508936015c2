"""Data for the tests of the names of 2022."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="package")
def cohort(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"], patients=20)
