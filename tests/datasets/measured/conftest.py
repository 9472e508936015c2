"""Trees of EchoNet-LVH, EchoNet-Pediatric and Unity Imaging, by name, for the tests of these sources."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trees.measured import Trees, write_tree


@pytest.fixture(scope="session")
def trees(written_once: Callable[..., Path]) -> Trees:
    """Trees of 8 patients, which no test changes."""
    return Trees(
        lambda name: written_once(f"measured-{name}-8", lambda root: write_tree(name, root, 8))
    )


@pytest.fixture(scope="session")
def tiny(written_once: Callable[..., Path]) -> Trees:
    """Trees of 3 patients, which no test changes."""
    return Trees(
        lambda name: written_once(f"measured-{name}-3", lambda root: write_tree(name, root, 3))
    )


@pytest.fixture
def copy(tiny: Trees, tmp_path: Path) -> Trees:
    """Trees to damage."""
    return Trees(lambda name: Path(shutil.copytree(tiny[name], tmp_path / name)))
