"""Made data of both challenges, one tree a module."""

from __future__ import annotations

from pathlib import Path

import pytest

from etab import phantom
from etab.challenges.scoring import read_references


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("challenge")
    phantom.write_sounds(folder, patients=12, seed=7)
    return folder


@pytest.fixture(scope="module")
def truth(made: Path) -> dict[str, int]:
    return {
        name: row.label
        for name, row in read_references(made / "cinc2016" / "validation")[0].items()
    }
