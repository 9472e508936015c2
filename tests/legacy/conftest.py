"""Data for the tests of the names of 2022."""

from __future__ import annotations

from pathlib import Path

import pytest

from etab import phantom


@pytest.fixture(scope="package")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    phantom.write(folder, patients=20, size=64, names=("camus",))
    return folder
