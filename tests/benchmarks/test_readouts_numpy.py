"""Clinical read-outs computed again with numpy alone."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from benchmarks import readouts_numpy, volumes_numpy
from tests.commands import ROOT, etab

PUBLISHED = ROOT / "benchmarks"
CELLS = (
    ("results", "camus/a0-A4-C/pixel_pca"),
    ("results", "camus/b0-A4-C/pixel_pca"),
    ("results", "camus/c0-AX-C/pixel_pca"),
    ("results", "camus/d0-A4-C/pixel_pca"),
    ("results_sounds", "circor/e0-AL-D/envelopes"),
    ("results_sounds", "circor/e1-AL-D/envelopes"),
)


@pytest.mark.slow
def test_read_outs_are_what_numpy_alone_computes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    for folder, cell in CELLS:
        (results / cell).mkdir(parents=True)
        # The first results of states have no timing.
        protocol = "cv5x5" if "/e0-" in cell else "cv5"
        for path in (PUBLISHED / folder / cell).glob(f"{protocol}-*"):
            shutil.copy(path, results / cell)
    stored = json.loads(etab("results", results, "--clinical", "--json").stdout)
    path = tmp_path / "readouts.json"
    path.write_text(json.dumps(stored))
    assert readouts_numpy.main([str(results), str(path)]) == 0
    assert " 0 different" in capsys.readouterr().out
    cell = next(iter(stored))
    stored[cell][0]["high"] += 1e-6
    path.write_text(json.dumps(stored))
    assert readouts_numpy.main([str(results), str(path)]) == 1
    assert "1 different" in capsys.readouterr().out


@pytest.mark.slow
def test_volumes_of_kept_masks_are_what_numpy_alone_computes(
    tmp_path: Path, phantom_tree: Callable[..., Path]
) -> None:
    """Bias and limits of agreement at ED and ES in ml, in one view and in two, from every mask."""
    root = phantom_tree(["camus"]) / "camus"
    results = tmp_path / "results"
    run = ("run", "--backbones", "image_stats", "--tasks", "a0-A2-C,a0-A4-C", "--protocol", "cv5")
    places = ("--root", root, "--results", results, "--cache", tmp_path / "cache")
    etab(*run, *places, "--keep-masks", "all")
    shown = json.loads(etab("results", results, "--clinical", "--root", root, "--json").stdout)
    for cell, rows in shown.items():
        views = ("", "biplane ") if cell.startswith("a0-A4-C") else ("",)
        found = {row["name"]: row for row in rows if "volume" in row["name"] or "EF" in row["name"]}
        for view, title in product(views, ("ED volume, ml", "ES volume, ml", "EF of masks")):
            bias = found[f"{view}{title}: bias"]
            assert bias["n"] > 10
            assert found[f"{view}{title}: lower limit of agreement"]["value"] < bias["value"]
        (path,) = results.rglob(f"{cell.split()[0]}/**/*.json")
        record = json.loads(path.read_text())
        items, table = readouts_numpy.read_table(path.with_suffix(".csv"))
        computed = dict(readouts_numpy.of_volumes(path, record, items, table, root))
        assert computed.keys() == found.keys()
        for name, numbers in computed.items():
            stored = [found[name][key] for key in ("value", "low", "high", "n")]
            assert stored == pytest.approx(list(numbers), abs=1e-9)


def test_other_numbers_of_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert readouts_numpy.main(["results"]) == 2
    assert "usage" in capsys.readouterr().err


def test_the_script_shares_no_code_with_etab() -> None:
    for script in (readouts_numpy, volumes_numpy):
        text = Path(script.__file__).read_text()
        assert not re.search(r"^\s*(import|from) (etab|scipy|pandas)", text, re.MULTILINE)
