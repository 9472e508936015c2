"""Small trees of the data sets in their published layouts, shared by the tests of their sources."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.trees import camus, echonet, tmed

SOUND_PATIENTS = 12
SOUND_SEED = 3


@pytest.fixture(scope="module")
def echo_trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("trees")
    return {
        "stills": camus.write(base / "stills", cfg_4ch=False, reversed_2ch="patient0002"),
        "sequences": camus.write(base / "sequences", sequences=True, reversed_2ch="patient0002"),
        "old": camus.write_old(base / "old"),
        "echonet": echonet.write(base / "echonet"),
    }


@pytest.fixture(scope="module")
def tmed_trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("tmed")
    return {
        "folders": tmed.write(base / "folders"),
        "beside": tmed.write(base / "beside", folders=False),
        "no labels": tmed.write(base / "no labels", labels=False),
        "first": tmed.write_first(base / "first"),
    }


@pytest.fixture(scope="module")
def tmed_phantom(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["tmed"], patients=21, seed=5) / "tmed"


@pytest.fixture
def tmed_tree(tmed_trees: dict[str, Path], tmp_path: Path) -> Path:
    shutil.copytree(tmed_trees["folders"], tmp_path / "tree")
    return tmp_path / "tree"


@pytest.fixture(scope="module")
def sound_trees(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["circor", "cinc2016"], patients=SOUND_PATIENTS, seed=SOUND_SEED)
