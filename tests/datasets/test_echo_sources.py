"""The contract of the echo sources, where their folders are looked for, and ``check``."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from etab import datasets
from etab.datasets.camus import CamusSource
from etab.datasets.echonet import EchoNetSource
from etab.datasets.integrity.check import check
from etab.datasets.paths import dataset_folder
from etab.testing.datasets import check_dataset

LAYOUTS = {
    "stills": CamusSource,
    "sequences": CamusSource,
    "old": CamusSource,
    "echonet": EchoNetSource,
}


@pytest.mark.parametrize(
    "layout",
    [pytest.param(n, marks=pytest.mark.slow) if n in ("sequences", "old") else n for n in LAYOUTS],
)
def test_contract(echo_trees: dict[str, Path], layout: str, tmp_path: Path) -> None:
    check_dataset(LAYOUTS[layout], echo_trees[layout], scratch=tmp_path)


# --- where the data is ---


def test_order_of_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {
        k: tmp_path / k for k in ("root", "own", "base/camus", "toml", "work/etab/data/camus")
    }
    for path in places.values():
        path.mkdir(parents=True)
    (tmp_path / "paths.toml").write_text("camus_dir = 'toml'\n")
    monkeypatch.chdir(tmp_path / "work")
    env = {
        "ETAB_CAMUS_DIR": str(places["own"]),
        "ETAB_DATA": str(tmp_path / "base"),
        "ETAB_PATHS": str(tmp_path / "paths.toml"),
    }
    assert dataset_folder("camus", places["root"], env=env) == places["root"]
    for key, expected in (
        ("ETAB_CAMUS_DIR", "own"),
        ("ETAB_DATA", "base/camus"),
        ("ETAB_PATHS", "toml"),
    ):
        assert dataset_folder("camus", env=env) == places[expected]
        del env[key]
    assert dataset_folder("camus", env=env).absolute() == places["work/etab/data/camus"]
    (tmp_path / "work" / "configs").mkdir()
    (tmp_path / "work" / "configs" / "paths.toml").write_text("camus_dir = '../../toml'\n")
    assert dataset_folder("camus", env=env).resolve() == places["toml"]
    monkeypatch.undo()


def test_source_by_name(echo_trees: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETAB_ECHONET_DIR", str(echo_trees["echonet"]))
    assert datasets.source("echonet").root == echo_trees["echonet"]
    assert datasets.card("camus").code == "C"


# --- check ---


def test_check_of_a_sound_phantom_tree(echo_trees: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(echo_trees["stills"], tmp_path / "c")
    report = check("camus", root)
    assert not report.ok
    assert "6 patients; published: 500" in report.differs
    (root / "PHANTOM").write_text("made\n")
    seen = []
    report = check("camus", root, progress=lambda done, total: seen.append((done, total)))
    assert report.ok
    assert report.found["patients"] == 6
    assert report.found["frames"] == 24
    assert seen[-1] == (12, 12)
    assert "phantom" in report.render()
    assert report.as_dict()["ok"] is True


def test_check_lists_and_does_not_crash(echo_trees: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(echo_trees["stills"], tmp_path / "c")
    (root / "PHANTOM").write_text("made\n")
    base = root / "database_nifti"
    (base / "patient0001" / "patient0001_2CH_ED.nii.gz").unlink()
    bad = base / "patient0003" / "patient0003_4CH_ES_gt.nii.gz"
    bad.write_bytes(bad.read_bytes()[:60])
    report = check("camus", root)
    assert not report.ok
    assert [m for m in report.missing if "patient0001_2CH_ED.nii.gz" in m]
    assert [m for m in report.corrupt if "patient0003_4CH_ES_gt.nii.gz" in m]
    assert "problems found: " in report.render()
    (root / "database_split" / "subgroup_testing.txt").write_text("patient0001\n")
    assert "patient0001" in check("camus", root).leaks[0]
