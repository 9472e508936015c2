"""Small trees of the data sets in their published layouts, shared by the tests of their sources."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from etab import phantom
from etab.phantom.tmed import write_tmed
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
def tmed_phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("phantom") / "tmed"
    assert list(write_tmed(root, 21, 5)) == list(range(1, 22))
    return root


@pytest.fixture
def tmed_tree(tmed_trees: dict[str, Path], tmp_path: Path) -> Path:
    shutil.copytree(tmed_trees["folders"], tmp_path / "tree")
    return tmp_path / "tree"


@pytest.fixture(scope="module")
def sound_trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    phantom.write_sounds(folder, patients=SOUND_PATIENTS, seed=SOUND_SEED)
    return folder
