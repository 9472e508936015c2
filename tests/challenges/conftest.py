"""Made data of both challenges, one tree a module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from etab.challenges.scoring import read_references


@pytest.fixture(scope="module")
def made(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["circor", "cinc2016"], seed=7)


@pytest.fixture(scope="module")
def truth(made: Path) -> dict[str, int]:
    return {
        name: row.label
        for name, row in read_references(made / "cinc2016" / "validation")[0].items()
    }
