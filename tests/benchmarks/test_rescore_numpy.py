"""The script that shares no code with etab: it agrees with published records and sees every edit."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import rescore_numpy
from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows
from etab.results.masks import (
    Keep,
    mask_digest,
    mask_facts,
    masks_path,
    packed_masks,
    sample_rows,
)
from etab.types import Kind

BENCHMARKS = Path(rescore_numpy.__file__).parent
CELLS = (
    "results/camus/a0-A4-C/image_stats",
    "results/camus/b0-A4-C/image_stats",
    "results/camus/c0-AX-C/image_stats",
    "results/camus/d0-A4-C/image_stats",
)


def copy_of(cell: str, folder: Path) -> Path:
    shutil.copytree(BENCHMARKS / cell, folder / "cells")
    return folder / "cells"


def test_it_imports_nothing_but_numpy_and_the_standard_library() -> None:
    names = set()
    for node in ast.walk(ast.parse(Path(rescore_numpy.__file__).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module).split(".")[0])
    assert names == {
        "__future__",
        "collections",
        "csv",
        "gzip",
        "hashlib",
        "io",
        "json",
        "numpy",
        "pathlib",
        "sys",
        "typing",
    }


@pytest.mark.parametrize("keep", ["all", "sample"])
def test_it_sees_another_mask(keep: Keep, tmp_path: Path, capsys: Any) -> None:
    path = min(copy_of(CELLS[0], tmp_path).glob("*.json"))
    for other in path.parent.glob("*.npz"):
        other.unlink()
    items, table = rescore_numpy.read_table(path.with_suffix(".csv"))
    repeats = [int(repeat) for repeat in table.repeats]
    masks = [np.eye(9, 12, k=i % 7, dtype=bool) for i in range(len(items))]
    record = json.loads(path.read_text())
    record["masks"] = mask_facts(items, repeats, [mask_digest(mask) for mask in masks])
    path.write_text(json.dumps(record))
    if keep == "sample":
        masks = [masks[i] for i in sample_rows(items, repeats)]
    masks_path(path, keep).write_bytes(packed_masks(masks))
    assert rescore_numpy.main([str(path.parent)]) == 0
    masks[3] = ~masks[3]
    masks_path(path, keep).write_bytes(packed_masks(masks))
    assert rescore_numpy.main([str(path.parent)]) == 1
    assert "the masks are not those of the record" in capsys.readouterr().out


def test_it_knows_every_metric_of_published_records() -> None:
    stored = set()
    for folder in ("results", "results_sounds", "results_sounds_full", "results_states"):
        for path in (BENCHMARKS / folder).rglob("*.json"):
            stored |= set(json.loads(path.read_text())["metrics"])
    assert stored <= set(rescore_numpy.METRICS)


@pytest.mark.parametrize("cell", CELLS)
def test_published_cells_agree(cell: str, tmp_path: Path, capsys: Any) -> None:
    assert rescore_numpy.main([str(copy_of(cell, tmp_path))]) == 0
    assert "different" not in capsys.readouterr().out


EDITS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "value": lambda r: r.update(value=r["value"] + 1e-8),
    "low": lambda r: r.update(low=r["low"] - 1e-8),
    "high": lambda r: r.update(high=r["high"] + 1e-8),
    "n_test": lambda r: r.update(n_test=r["n_test"] + 1),
    "n_patients": lambda r: r.update(n_patients=r["n_patients"] - 1),
    "auprc": lambda r: r["metrics"].update(auprc=r["metrics"]["auprc"] + 1e-8),
    "fold1 value": lambda r: r["folds"][1].update(value=r["folds"][1]["value"] + 1e-8),
    "fold2 n_test": lambda r: r["folds"][2].update(n_test=1),
    "fold0 value": lambda r: r["folds"][0].update(value=None),
}


@pytest.mark.parametrize("number", EDITS)
def test_an_edited_number_is_seen(number: str, tmp_path: Path, capsys: Any) -> None:
    folder = copy_of(CELLS[3], tmp_path)
    path = next(folder.glob("cv5-*.json"))
    record = json.loads(path.read_text())
    EDITS[number](record)
    path.write_text(json.dumps(record))
    assert rescore_numpy.main([str(folder)]) == 1
    shown = capsys.readouterr().out
    assert f"{path}: {number} is" in shown
    assert "1 different" in shown


def test_an_empty_folder_is_no_success(tmp_path: Path) -> None:
    assert rescore_numpy.main([str(tmp_path)]) == 1


@pytest.mark.parametrize("name", ["auroc", "auprc", "balanced_accuracy", "auroc_pooled"])
def test_repeats_count_as_in_etab(name: str) -> None:
    rng = np.random.default_rng(0)
    n = 80
    repeats = np.repeat([0, 1], n // 2)
    folds = np.array([f"fold{i % 3}" for i in range(n)])
    patients = np.array([f"p{i % (n // 2)}" for i in range(n)])
    truth = np.tile(rng.integers(0, 2, n // 2), 2).astype(float)
    columns = {"truth": truth, "score": np.round(rng.random(n), 1)}
    rows = ScoredRows(Kind.BINARY, columns, patients, folds, repeats)
    table = rescore_numpy.Table("binary", patients, folds, repeats.astype(str), columns)
    weights = rng.integers(0, 3, (4, n // 2))[:, np.tile(np.arange(n // 2), 2)].astype(float)
    np.testing.assert_allclose(
        rescore_numpy.draws(name, table, weights), METRICS[name].draws(rows, weights), atol=1e-12
    )
