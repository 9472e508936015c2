"""The whole path on a phantom cohort: plan, run, resume, board, page; bad input stops with words."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab import datasets
from etab.errors import (
    CorruptFileError,
    DataNotFoundError,
    EtabWarning,
    IncompatibleError,
    MixedDataError,
    ResultError,
    StorageError,
    UnknownNameError,
)
from etab.features import frames, lazy
from etab.features import frames as features
from etab.leaderboard.page import board_page
from etab.leaderboard.ranking import rank
from etab.leaderboard.render import board_csv, board_markdown
from etab.leaderboard.suites import Suite, suite_named
from etab.metrics import uncertainty as stats
from etab.results import Result, load_results
from etab.runs.execute import execute, finished
from etab.runs.executors import groups
from etab.runs.record import rng_of
from etab.runs.run import Run, Settings, plan
from etab.runs.sweep import backbone_names
from etab.tasks.menu import TASKS, find

CAMUS = [t.code for t in find("camus")]
CONTROLS = ["image_stats", "pixel_pca"]
OFFICIAL = ["a", "b0"]  # with two test patients a class metric does not exist


@pytest.fixture(scope="module")
def cohort(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"], patients=20) / "camus"


@pytest.fixture(scope="module")
def done(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("done")
    settings = Settings(root=cohort, results=folder / "results", cache=folder / "cache")
    runs_ = [
        *plan("camus", CONTROLS, protocols=("cv5",)),
        *plan(OFFICIAL, CONTROLS, protocols=("official",)),
    ]
    assert len(list(execute(runs_, settings))) == len(runs_)
    return settings


def test_every_task_ends_with_a_result(done: Settings) -> None:
    results = load_results(done.results)
    assert {(r.task, r.backbone, r.protocol) for r in results} == {
        (t, b, p)
        for t in CAMUS
        for b in CONTROLS
        for p in ("official", "cv5")
        if p == "cv5" or t.startswith(tuple(OFFICIAL))
    }
    for r in results:
        assert r.phantom
        assert r.low <= r.value <= r.high
        table = r.predictions(done.results)
        assert len(table.items) == len(set(table.items)) == r.n_test
        if r.protocol == "cv5":
            assert r.n_patients == 20
            assert len(r.folds) == 5
        assert all(f["choice"] for f in r.folds)
    assert all(r.nested is None for r in results)


def test_no_patient_is_in_two_folds(done: Settings) -> None:
    for r in load_results(done.results):
        table = r.predictions(done.results)
        assert len(set(zip(table.patients, table.folds, strict=True))) == len(set(table.patients))


def _facts(result: Result) -> dict[str, Any]:
    """What decides the identity of a result; numbers that the folds chose by have three digits.

    On some processors, structures that are fitted together are added up in another order than one
    alone, which moves the last digits of these numbers, and no prediction.
    """
    facts = json.loads(json.dumps(result._facts()))
    for fold in facts["folds"]:
        for name, value in fold["choice"].items():
            if isinstance(value, float):
                fold["choice"][name] = f"{value:.3g}"
    return facts


def test_same_run_same_bytes(done: Settings, tmp_path: Path) -> None:
    again = replace(done, results=tmp_path)
    for r in execute(
        plan(["a0-A4-C", "b0-A4-C", "c0-AX-C"], ["pixel_pca"], protocols=("cv5",)), again
    ):
        mine, theirs = r.path(tmp_path), r.path(done.results)
        assert mine.with_suffix(".csv").read_bytes() == theirs.with_suffix(".csv").read_bytes()
        assert _facts(r) == _facts(Result.load(theirs))


def test_a_second_run_does_nothing(done: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        frames, "frame_features", lambda *a, **k: pytest.fail("a finished cell was run again")
    )
    assert len(list(execute(plan("camus", CONTROLS, protocols=("cv5",)), done))) == 2 * len(CAMUS)


def test_predictions_that_are_gone_are_written_again(done: Settings, tmp_path: Path) -> None:
    """A record without them was called finished, and no board took it."""
    (run,) = plan("b0-A4-C", ["image_stats"], protocols=("cv5",))
    there = finished(run, done)
    assert there is not None
    again = replace(done, results=tmp_path)
    record = there.path(tmp_path)
    shutil.copytree(there.path(done.results).parent, record.parent)
    table = record.with_suffix(".csv")
    before = [record.read_bytes(), table.read_bytes()]
    assert finished(run, again) is not None
    table.unlink()
    assert finished(run, again) is None
    list(execute([run], again))
    assert [record.read_bytes(), table.read_bytes()] == before


def test_what_decides_a_score_decides_what_is_finished(
    done: Settings, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan("b0-A4-C", ["pixel_pca"], protocols=("cv5",))[0]
    assert finished(run, done) is not None
    assert finished(replace(run, seed=1), done) is None
    assert finished(replace(run, protocol="cv4"), done) is None
    assert finished(replace(run, head="knn"), done) is None
    copy = tmp_path / "camus"
    shutil.copytree(cohort, copy)
    cfg = copy / "database_nifti" / "patient0001" / "Info_4CH.cfg"
    cfg.write_text(cfg.read_text().replace("Age: ", "Age: 1"))
    with pytest.raises(ResultError, match=r"made with different data.*never overwritten"):
        finished(run, replace(done, root=copy))
    task = TASKS["b0-A4-C"]
    monkeypatch.setitem(
        TASKS._items, task.code, replace(task, anchors=replace(task.anchors, low=10.0))
    )
    with pytest.raises(ResultError, match="different anchors"):
        finished(run, done)


def test_a_damaged_cache_is_computed_again_and_said_so(cohort: Path, tmp_path: Path) -> None:
    settings = Settings(root=cohort, results=tmp_path / "a", cache=tmp_path / "cache")
    run = plan("b1-A4-C", ["image_stats"], protocols=("cv5",))
    first = next(iter(execute(run, settings)))
    target = next((tmp_path / "cache").rglob("pooled.safetensors"))
    data = bytearray(target.read_bytes())
    data[-5] ^= 255
    target.write_bytes(bytes(data))
    with pytest.warns(EtabWarning, match="damaged"):
        second = next(iter(execute(run, replace(settings, results=tmp_path / "b"))))
    assert second.identity() == first.identity()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        next(iter(execute(run, replace(settings, results=tmp_path / "c"))))


@pytest.mark.slow
def test_features_are_not_served_to_another_backbone_or_precision(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from etab import backbones, datasets
    from etab.backbones.image import named
    from etab.features.frames import annotated_frames

    source = datasets.source("camus", cohort)
    frames = annotated_frames(source)[:6]
    card = backbones.card("efficientnet_lite0")
    found = {
        name: features.frame_features(source, frames, c, cache=tmp_path, precision=p)
        for name, c, p in (
            ("fp32", card, "fp32"),
            ("bf16", card, "bf16"),
            ("twin", backbones.card(f"random/{card.name}"), "fp32"),
            ("size", replace(card, version=2), "fp32"),
        )
    }
    assert len({f.key for f in found.values()}) == 4
    assert not any(f.from_cache for f in found.values())
    monkeypatch.setattr(named, "_build", lambda *_: pytest.fail("cached features need no network"))
    again = features.frame_features(source, frames, card, cache=tmp_path, precision="fp32")
    assert again.from_cache
    assert again.weights_sha256 == found["fp32"].weights_sha256
    for key, values in again.features.pooled.items():
        assert np.array_equal(values, found["fp32"].features.pooled[key])


def test_a_full_disk_keeps_finished_work(
    cohort: Path, done: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    settings = replace(done, results=tmp_path)
    run = plan(["b0-A4-C", "d0-A4-C"], ["pixel_pca"], protocols=("cv5",))
    next(iter(execute(run[:1], settings)))

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        list(execute(run, settings))
    monkeypatch.undo()
    assert [r.task for r in load_results(tmp_path)] == ["b0-A4-C"]
    assert not list(tmp_path.rglob("*.part"))
    assert len(list(execute(run, settings))) == 2


def test_clashes_are_said_before_anything_is_read() -> None:
    with pytest.raises(IncompatibleError, match=r"'ridge' cannot answer LV_seg"):
        Run("a0-A4-C", "pixel_pca", head="ridge").check()
    with pytest.raises(
        IncompatibleError, match=r"No task is called.*Also: No backbone.*Also: .*No head"
    ):
        Run("a0-A4-Q", "pixel_pcb", head="rigde").check()
    with pytest.raises(UnknownNameError, match="Did you mean 'pixel_pca'"):
        plan("camus", ["pixel_pcaa"])
    with pytest.raises(IncompatibleError, match="No protocol"):
        plan("camus", CONTROLS, protocols=("loo",))


def test_a_missing_folder_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ETAB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataNotFoundError, match="nowhere"):
        list(execute(plan("b0", ["pixel_pca"]), Settings(results=tmp_path)))


def board_of(done: Settings, **more):
    return rank(
        load_results(done.results),
        suite_named("camus"),
        folder=done.results,
        **{"protocol": "cv5", **more},
    )


def test_the_board_says_phantom_everywhere(done: Settings) -> None:
    board = board_of(done)
    assert board.phantom
    for text in (
        board_markdown(board, datasets.cards()),
        board_csv(board, datasets.cards()),
        board_page(board, datasets.cards()),
        board.title,
    ):
        assert "phantom" in text.lower()
    assert [r.kind for r in board.rows] == ["control", "control"]


def test_phantom_and_real_are_not_mixed(done: Settings) -> None:
    results = load_results(done.results)
    mixed = [replace(r, phantom=False) if r.backbone == "image_stats" else r for r in results]
    with pytest.raises(MixedDataError, match="is phantom"):
        rank(mixed, suite_named("camus"), folder=done.results, protocol="cv5")


def test_a_missing_task_takes_the_headline_away(done: Settings) -> None:
    results = [
        r for r in load_results(done.results) if (r.backbone, r.task) != ("image_stats", "b0-A4-C")
    ]
    board = rank(results, suite_named("camus"), folder=done.results, protocol="cv5")
    row = next(r for r in board.rows if r.backbone == "image_stats")
    assert row.missing == ("b0-A4-C",)
    assert row.rank_low is None
    assert "missing" in board_markdown(board, datasets.cards())


def test_weights_act(done: Settings) -> None:
    def points(**more):
        return {r.backbone: r.etab for r in board_of(done, **more).rows}

    plain = points()
    assert points(category_weights={"a": 3.0}) != plain
    assert points(task_weights={"b0-A4-C": 0.0}) != plain
    with pytest.raises(UnknownNameError, match="category"):
        points(category_weights={"z": 1.0})


def test_headline_is_the_mean_over_categories_of_the_mean_over_tasks(done: Settings) -> None:
    board = board_of(done)
    for row in board.rows:
        means = []
        for letter in "abcd":
            codes = [t for t in board.suite.tasks if t[0] == letter]
            means.append(np.mean([TASKS[t].anchored(row.cells[t].value) for t in codes]))
        assert row.etab == pytest.approx(np.mean(means))


def test_the_order_of_files_does_not_matter(done: Settings) -> None:
    results = load_results(done.results)
    a = rank(results, suite_named("camus"), folder=done.results, protocol="cv5")
    b = rank(results[::-1], suite_named("camus"), folder=done.results, protocol="cv5")
    assert board_csv(a, datasets.cards()) == board_csv(b, datasets.cards())


def test_a_suite_of_unknown_tasks_or_keys_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="No task"):
        Suite.from_toml('name="x"\nversion=1\ntasks=["a0-A4-Q"]')
    with pytest.raises(UnknownNameError, match="No key of this suite is called 'weight'"):
        Suite.from_toml('name="x"\nversion=1\ntasks=["a0-A4-C"]\nweight=3')
    with pytest.raises(UnknownNameError, match="Did you mean 'camus'"):
        suite_named("camuz")


def test_results_of_another_protocol_are_asked_for_by_name(done: Settings) -> None:
    with pytest.raises(ResultError, match="cv5"):
        board_of(done, protocol="cv7")


def test_the_page_escapes_what_files_say(done: Settings) -> None:
    evil = "</script><script>alert(1)</script>"
    results = [
        replace(r, backbone=evil) if r.backbone == "image_stats" else r
        for r in load_results(done.results)
    ]
    board = rank(
        [r for r in results if r.backbone != evil],
        suite_named("camus"),
        folder=done.results,
        protocol="cv5",
    )
    bad = replace(board, rows=(replace(board.rows[0], backbone=evil), *board.rows[1:]))
    assert "<script>alert" not in board_page(bad, datasets.cards())


def test_all_means_every_named_backbone_with_its_twin() -> None:
    names = backbone_names(["all"])
    assert len(names) == len(set(names)) == 12
    assert sum(n.startswith("random/") for n in names) == 5
    assert {"image_stats", "pixel_pca"} <= set(names)


def test_evaluate_in_one_call(cohort: Path, done: Settings) -> None:
    import etab

    score = etab.evaluate(
        "pixel_pca",
        tasks="camus",
        root=cohort,
        protocol="cv5",
        results=done.results,
        cache=done.cache,
    )
    row = next(r for r in board_of(done).rows if r.backbone == "pixel_pca")
    assert score.value == pytest.approx(row.etab)
    assert "PHANTOM" in repr(score)
    assert "<table" in score._repr_html_()
    assert len(score.tasks) == 13


def test_evaluate_a_callable(cohort: Path) -> None:
    import etab

    def shrink(x):
        return x[:, :1, ::8, ::8]

    score = etab.evaluate(shrink, tasks=["a0-A4-C", "b1-A4-C"], root=cohort, size=64)
    assert score.backbone == "callable/shrink"
    assert score.low <= score.value <= score.high
    assert json.dumps(dict(score.tasks[0]))


def test_a_metric_that_does_not_exist_fails_its_cell_alone(
    cohort: Path, done: Settings, tmp_path: Path
) -> None:
    said: list[str] = []
    runs_ = plan(["b1-A4-C", "d0-A4-C", "b0-A4-C"], ["pixel_pca"], protocols=("official",))
    got = list(
        execute(
            runs_,
            replace(done, results=tmp_path),
            failed=lambda run, error: said.append(f"{run.task} {error}"),
        )
    )
    assert {r.task for r in got} == {"b0-A4-C", "b1-A4-C"}
    assert said == [
        "d0-A4-C auroc does not exist for these 2 rows: it needs rows of every class "
        "in one fold; got 2 of class 0."
    ]


def test_intervals_come_from_the_cells_own_resamples(done: Settings) -> None:
    for result in load_results(done.results):
        table = result.predictions(done.results)
        rng = np.random.default_rng([result.seed, 1, *result.task.encode()])
        want = stats.bootstrap(
            result.metric,
            table.kind,
            table.columns,
            np.array(table.patients),
            rng=rng,
            folds=np.array(table.folds),
        )
        assert (result.value, result.low, result.high) == pytest.approx(
            (want.value, want.low, want.high), abs=1e-12
        )


def test_maps_on_disk_read_like_arrays(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(9, 2, 3, 3)).astype(np.float16)
    np.save(tmp_path / "map0.npy", values)
    stored = lazy.StoredMap(tmp_path / "map0.npy")
    assert stored.shape == values.shape
    assert np.array_equal(stored, values)
    assert np.array_equal(stored[2:8][1:4], values[3:6])
    assert np.array_equal(stored[2:8][np.array([5, 0])], values[[7, 2]])
    assert np.array_equal(stored[::2], values[::2])
    assert len(stored[4:]) == 5
    assert np.array_equal(stored[[6, 7, 8, 1, -1]], values[[6, 7, 8, 1, -1]])
    assert np.array_equal(stored[3], values[3])
    assert stored[np.array([], dtype=int)].shape == (0, 2, 3, 3)
    with pytest.raises(IndexError):
        stored[9]


def test_a_map_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    np.save(tmp_path / "map0.npy", np.ones((9, 2, 3, 3), dtype=np.float16))
    stored = lazy.StoredMap(tmp_path / "map0.npy")
    with (tmp_path / "map0.npy").open("r+b") as file:
        file.truncate(300)
    assert np.array_equal(stored[:3], np.ones((3, 2, 3, 3)))
    with pytest.raises(CorruptFileError, match="ends early"):
        np.asarray(stored)


def test_the_cheapest_backbone_runs_last() -> None:
    order = [
        g[0].backbone
        for g in groups(
            plan("b0-A4-C", ["image_stats", "pixel_pca", "mobilenetv2", "efficientnet_lite0"])
        )
    ]
    assert order == ["efficientnet_lite0", "mobilenetv2", "pixel_pca", "image_stats"]


def test_a_cell_has_a_generator_of_its_own() -> None:
    """Nothing that ran before a cell, and no backbone, changes its folds and resamples."""
    run = Run("b0-A4-C", "image_stats")
    drawn = [rng_of(run).random(3), rng_of(run).random(3)]
    assert np.array_equal(*drawn)
    assert np.array_equal(rng_of(replace(run, backbone="pixel_pca")).random(3), drawn[0])
    others = [
        rng_of(replace(run, task="d0-A4-C")),
        rng_of(run, stream=1),
        rng_of(run, repeat=1),
        rng_of(replace(run, seed=7)),
    ]
    for other in others:
        assert not np.array_equal(other.random(3), drawn[0])
