"""Feature maps are computed and stored where a head of the plan reads them, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from etab.results import Result
from etab.results.folder import read_results
from etab.runs.events import Event
from etab.runs.executors import serial
from etab.runs.failed_cells import failed_cells
from etab.runs.run import Settings, plan


@pytest.fixture(scope="module")
def camus(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"]) / "camus"


def _maps(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.rglob("map*.npy"))


def _run(tasks: str, camus: Path, folder: Path, results: str) -> list[Result]:
    """Run with features in one cache; the backbone has maps."""
    events: list[Event] = []
    runs = plan(tasks, ["pixel_pca"], protocols=("cv",))
    settings = Settings(root=camus, results=folder / results, cache=folder / "cache")
    serial(runs, settings, events.append)
    assert [event.error for event in events if event.kind == "failed"] == []
    found = read_results(folder / results).results
    assert found
    return list(found)


def test_a_plan_without_masks_stores_no_maps(camus: Path, tmp_path: Path) -> None:
    (without,) = _run("b0-A4-C", camus, tmp_path, "r1")
    assert _maps(tmp_path / "cache") == []
    _run("a0-A4-C", camus, tmp_path, "r2")
    assert _maps(tmp_path / "cache") != []
    # With the maps there, the same features are read, and the record is the same but for times.
    entries = sorted(path.parent for path in (tmp_path / "cache").rglob("entry.json"))
    (again,) = _run("b0-A4-C", camus, tmp_path, "r3")
    assert sorted(path.parent for path in (tmp_path / "cache").rglob("entry.json")) == entries
    assert without.predictions_sha256 == again.predictions_sha256
    keys = [each.provenance.get("features_key") for each in (without, again)]
    assert keys[0] == keys[1]


def test_an_entry_with_maps_serves_a_plan_without(camus: Path, tmp_path: Path) -> None:
    _run("a0-A4-C", camus, tmp_path, "r1")
    entries = list((tmp_path / "cache").rglob("entry.json"))
    _run("b0-A4-C", camus, tmp_path, "r2")
    assert len(list((tmp_path / "cache").rglob("entry.json"))) == len(entries)


class OddExit(BaseException):
    """An exception that is no Exception, as exits are."""


@pytest.mark.parametrize("error", [SystemExit(3), OddExit(), ValueError("\ud800\x1b[2J")])
def test_whatever_a_network_raises_is_recorded(
    error: BaseException, camus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what is no Exception: otherwise it would be tried for ever, and `etab status` is silent."""
    from etab.runs import execute

    def compute(*_: object) -> object:
        raise error

    monkeypatch.setattr(execute, "compute", compute)
    events: list[Event] = []
    runs = plan("b0-A4-C,b1-A4-C", ["image_stats"], protocols=("cv",))
    serial(runs, Settings(root=camus, results=tmp_path), events.append)
    failed = [event for event in events if event.kind == "failed"]
    assert sum(event.runs for event in failed) == 2
    assert all(event.error.isprintable() for event in failed)
    assert {cell.task for cell in failed_cells(tmp_path)} == {"b0-A4-C", "b1-A4-C"}
    assert all("etab run" in cell.command for cell in failed_cells(tmp_path))
