"""Wide features of many rows are narrowed by a seeded sketch, some rows at a time, and the error is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import etab
from etab import heads
from etab.features import sketch
from etab.features.frames import row_features
from etab.features.sketch import narrowed, sketched
from etab.heads import LIMIT
from etab.heads.base import Memo
from etab.results import load_results
from etab.runs.cell import _Work
from etab.runs.run import plan
from etab.splits import row_splits
from etab.storage.memory import large_array
from etab.tasks.rows import Rows
from etab.types import Array, Features

N, WIDTH = 80, 900


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of more than 20 rows and 256 columns are narrowed."""
    monkeypatch.setattr(sketch, "LIMIT", 20)
    monkeypatch.setattr(sketch, "WIDEST", 256)
    monkeypatch.setattr(sketch, "_CHUNK_BYTES", 4 * WIDTH * 7)


def _wide(n: int = N, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    few = rng.standard_normal((n, 12)) @ rng.standard_normal((12, WIDTH))
    return (few + rng.standard_normal((n, WIDTH)) + 5).astype(np.float32)


def _distances(x: Array) -> Array:
    square = np.square(x.astype(float)).sum(axis=1)
    return square[:, None] + square - 2 * x.astype(float) @ x.astype(float).T


def test_distances_stay_and_the_error_is_that_of_pairs(small: None) -> None:
    x = _wide()
    values, facts = sketched([(x, np.arange(N))])
    assert values.shape == (N, 256)
    assert values.dtype == np.float32
    pairs = np.triu_indices(N, 1)
    error = (_distances(values)[pairs] / _distances(x)[pairs] - 1).astype(float)
    assert facts["error"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=0.3)
    assert 0 < facts["error"] < 2 * np.sqrt(2 / 256)
    assert (facts["columns"], facts["kept"]) == (WIDTH, 256)


def test_the_sketch_is_the_same_for_any_rows(small: None) -> None:
    """Rows of training and of test, in one call or in two, of one process or of another."""
    x = _wide()
    values, _ = sketched([(x, np.arange(N))])
    order = np.random.default_rng(1).permutation(N)[:30]
    again, _ = sketched([(x, order)])
    assert np.array_equal(again, values[order])
    assert float(values[3, 7]) == pytest.approx(_by_hand(x[3])[7], rel=1e-5)


def _by_hand(row: Array) -> Array:
    rng = np.random.default_rng([15, len(row), 256])
    place = rng.integers(0, 256, len(row))
    sign = rng.choice(np.array([-1, 1], np.float32), len(row))
    return np.bincount(place, weights=sign * row, minlength=256)


def test_two_frames_are_narrowed_alike(small: None) -> None:
    """Their sum and their difference are those of the features."""
    x, y = _wide(seed=0), _wide(seed=1)
    everyone = np.arange(N)
    both, facts = sketched([(x, everyone), (y, everyone)])
    assert both.shape == (N, 256)
    assert facts["columns"] == 2 * WIDTH
    halves = sketched([(x + y, everyone), (x - y, everyone)])[0]
    assert np.allclose(both[:, :128] + both[:, 128:], halves[:, :128], atol=1e-3)
    assert np.allclose(both[:, :128] - both[:, 128:], halves[:, 128:], atol=1e-3)


class _OnDisk:
    """An array of which some rows may be read at once, and never all of them."""

    def __init__(self, values: Array, most: int) -> None:
        self.values = values
        self.most = most
        self.shape = values.shape

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> Array:
        read = self.values[rows]
        assert read.ndim == 1 or len(read) <= self.most, "more rows are in memory than fit"
        return read


def _rows(frames: Array) -> Rows:
    n = len(frames)
    names = tuple(f"r{i}" for i in range(n))
    return Rows(
        items=names,
        patients=np.array(names),
        parts=np.full(n, "train"),
        frames=frames,
        answers=np.zeros(n),
        spacing=(None,) * n,
        missing=(),
        records=names,
        units=names,
    )


@pytest.mark.parametrize("n_frames", [1, 2])
def test_rows_are_narrowed_as_they_are_picked(small: None, n_frames: int) -> None:
    x = _wide()
    frames = np.random.default_rng(2).integers(0, N, (40, n_frames))
    features = Features({"last/grid4": _OnDisk(x, 7), "last/mean": x[:, :50]})
    picked = row_features(features, _rows(frames))
    assert picked.pooled["last/grid4"].shape == (40, 256)
    assert picked.pooled["last/mean"].shape == (40, 50 * n_frames)
    assert picked.frames == n_frames
    assert set(picked.sketches) == {"last/grid4"}
    assert narrowed(picked) is picked


def test_few_rows_and_narrow_features_are_left_as_they_are() -> None:
    x = np.zeros((LIMIT + 1, 3), np.float32)
    features = Features({"a": x})
    assert narrowed(features) is features
    few = Features({"a": np.zeros((3, sketch.WIDEST + 1), np.float32)})
    assert narrowed(few) is few


def test_frames_side_by_side_are_narrowed_alike(small: None) -> None:
    x, y = _wide(seed=0), _wide(seed=1)
    beside = Features({"a": np.concatenate([x, y], axis=1)}, frames=2)
    found = narrowed(beside)
    assert np.array_equal(found.pooled["a"], sketched([(x, np.arange(N)), (y, np.arange(N))])[0])
    assert found.sketches["a"]["columns"] == 2 * WIDTH


def test_a_fit_states_the_sketches_of_what_it_read(small: None) -> None:
    (run,) = plan("b0-A4-C", ["image_stats"], protocols=("cv2",))
    x = _wide()
    features = narrowed(Features({"a/grid4": x, "a/mean": x[:, :3]}))
    patients = np.array([f"p{i // 2}" for i in range(N)])
    splits = row_splits(patients, np.full(N, "train"), protocol="cv", n_fold=3)
    rows = replace(_rows(np.arange(N)[:, None]), patients=patients)
    work = _Work(run, heads.head("ridge"), rows, features, splits, Memo())
    fits = work.fit("EF", x[:, 0].astype(float), splits)
    assert [set(fit.choice["sketches"]) for fit in fits] == [{"a/grid4"}] * 3
    assert all(0 < fit.choice["sketches"]["a/grid4"]["error"] < 0.3 for fit in fits)
    plain = _Work(run, heads.head("ridge"), rows, Features({"a": x[:, :9]}), splits, Memo())
    assert all(
        "sketches" not in fit.choice for fit in plain.fit("EF", x[:, 0].astype(float), splits)
    )


@pytest.mark.slow
def test_a_result_states_its_sketches(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, phantom_tree: Callable[..., Path]
) -> None:
    monkeypatch.setattr(sketch, "LIMIT", 5)
    monkeypatch.setattr(sketch, "WIDEST", 16)
    root = phantom_tree(["camus"]) / "camus"
    etab.evaluate("image_stats", tasks="b0-A4-C", root=root, protocol="cv2", results=tmp_path)
    (result,) = load_results(tmp_path)
    for fold in result.folds:
        sketches = fold["choice"]["sketches"]
        assert {facts["kept"] for facts in sketches.values()} == {16}
        assert all(facts["columns"] > 16 and facts["error"] > 0 for facts in sketches.values())


@pytest.mark.parametrize("held", [0, 1 << 20])
def test_large_arrays_leave_nothing_behind(
    held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    array = large_array((30, 40), held=held)
    array[:] = np.arange(40)
    assert array[7].tolist() == list(range(40))
    assert (array.base is not None) == (held == 0)
    assert list(tmp_path.iterdir()) == []
