"""Clips as inputs: which frames they show, where beats are, features over time, rows and runs; full cycles of TED."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from etab import backbones
from etab.datasets import Dataset, source
from etab.datasets.camus import CamusSource
from etab.echo.beats import beat_length, frame_autocorrelation, systoles
from etab.echo.clips import Sampling
from etab.errors import (
    IncompatibleError,
    LayoutError,
    ResultError,
    SplitError,
    UnsupportedOptionError,
)
from etab.features.clips import Clips, _instead_of_clips, clip_rows, clips_of
from etab.features.frames import annotated_frames, frame_features
from etab.phantom.anatomy import draw_heart
from etab.phantom.sector import draw_scanner
from etab.results import Result
from etab.runs import data as opened
from etab.runs.execute import execute, finished
from etab.runs.run import Settings, plan
from etab.tasks.menu import TASKS, find
from etab.testing.datasets import check_dataset
from etab.types import Features
from tests.trees import camus as tiny_camus

SHORT = Sampling(8, 2, 8)


@pytest.fixture(scope="module")
def trees(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["echonet", "camus", "ted"])


# --- which frames ---


def test_clips_by_hand() -> None:
    cut = Sampling(4, 2, 3)
    assert cut.span == 7
    assert cut.clip(20, 5).tolist() == [5, 7, 9, 11]
    assert cut.clip(20, 18).tolist() == [13, 15, 17, 19]
    assert cut.clip(5).tolist() == [0, 2, 4, 0]
    assert cut.middle(20) == 6
    assert cut.starts(16) == [0, 3, 6, 9]
    assert cut.starts(5) == [0]
    assert cut.around(20, [0, 10, 19, 19]) == [0, 6, 13]
    assert Sampling(0).clip(5).tolist() == [0, 1, 2, 3, 4]
    assert Sampling(0).starts(5) == [Sampling(0).middle(5)] == [0]


def test_upstream_numbers() -> None:
    assert {str(TASKS[f"b{i}-A4-E"].clip) for i in (6, 8)} == {"32 frames, one frame in 2"}
    assert TASKS["b6-A4-E"].clip.span == 63
    assert TASKS["b8-A4-E"].clip.around(200, [80]) == [
        48
    ]  # upstream: the clip that begins 32 frames before systole


# --- beats ---


def _beat(i: int, seed: int = 0) -> int:
    rng = np.random.default_rng([seed, 2, i])
    rng.integers(1 << 60, (1 << 63) - 1)
    draw_heart(rng)
    draw_scanner(rng)
    return int(rng.integers(32, 46))


def test_beats_of_made_hearts_are_found(trees: Path) -> None:
    found = source("echonet", trees / "echonet")
    near = 0
    for i, record in enumerate(found.records()):
        frames, phases, beat = found.frames(record), found.phases(record), _beat(i)
        assert abs(beat_length(frames, record.fps) - beat) <= 1
        if phases is not None:
            free, told = systoles(frames, record.fps), systoles(frames, record.fps, phases[1])
            assert phases[1] in told
            assert set(np.diff(told)) <= {beat_length(frames, record.fps)}
            off = (free[0] - phases[1]) % beat
            near += min(off, beat - off) <= 3
    assert near >= 10


def test_beats_without_motion_or_time() -> None:
    still = np.full((60, 20, 20), 90, np.uint8)
    assert beat_length(still, 50.0) is None
    assert systoles(still, 50.0, 7).tolist() == [7]
    assert systoles(still, 50.0).tolist() == [0]
    assert beat_length(still[:4], 50.0) is None
    assert frame_autocorrelation(np.array([[1.0], [-1], [1], [-1]])).tolist() == [1, -1, 1, -1]


def test_the_rate_bounds_the_beat() -> None:
    t = np.arange(120)
    frames = (100 + 50 * np.sin(2 * np.pi * t / 24))[:, None, None] + 30 * np.sin(
        2 * np.pi * t / 24 + 1
    )[:, None, None] * (np.arange(16) > 8)
    frames = np.broadcast_to(frames, (120, 16, 16)).astype(np.uint8)
    assert beat_length(frames, 30.0) in (24, 25)  # 0.8 s
    assert beat_length(frames, 120.0) % 24 in (
        0,
        1,
        23,
    )  # 24 frames would be 0.2 s, 300 a minute: not a heart
    assert beat_length(frames, 120.0) >= 36


# --- features over time ---


class _Mean:
    def __call__(self, x: torch.Tensor) -> Features:
        f = x.to(torch.float32)
        return Features(
            {"a/mean": torch.stack([f.mean((1, 2)), f.amax((1, 2))], 1)},
            (f[:, None],),
            {"a/mean": 3},
        )

    def digest(self) -> str:
        return "0" * 64


@pytest.mark.parametrize("n", [1, 5, 64])
def test_mean_and_spread_over_time(trees: Path, n: int) -> None:
    found = source("echonet", trees / "echonet")
    records = found.records()[:3]
    shown = ((0, 2, 4, 6), (3, 5, 3, 3), (10,))
    clips = Clips(tuple(zip(records, shown, strict=True)), "made")
    over = clips.over(_Mean(), n)
    parts = [over(torch.from_numpy(b)) for b in clips.batches(found, 112, n)]
    pooled = {k: torch.cat([p.pooled[k] for p in parts]).numpy() for k in parts[0].pooled}
    assert all(p.maps == () for p in parts)
    assert parts[0].pca == {"a/mean/mean": 3, "a/mean/mean+std": 3}
    for row, (record, at) in enumerate(zip(records, shown, strict=True)):
        frames = found.frames(record, list(at)).astype(float)
        values = np.stack([frames.mean((1, 2)), frames.max((1, 2))], 1)
        assert pooled["a/mean/mean"][row] == pytest.approx(values.mean(0), rel=1e-5)
        wanted = np.concatenate([values.mean(0), values.std(0)])
        assert pooled["a/mean/mean+std"][row] == pytest.approx(wanted, rel=1e-4, abs=1e-3)


def test_the_sampling_is_in_the_key_and_the_entry_is_read_back(trees: Path, tmp_path: Path) -> None:
    found, card = source("echonet", trees / "echonet"), backbones.card("image_stats")
    record = found.records()[0]
    clips = Clips(((record, (0, 2, 4)), (record, (1, 3))), "made")

    def embed(asked: Clips) -> tuple[str, bool, int]:
        out = frame_features(found, asked.frames, card, cache=tmp_path, maps=False, over=asked)
        return out.key, out.from_cache, len(out.features)

    first = embed(clips)
    assert first[1:] == (False, 2)
    assert embed(clips) == (first[0], True, 2)
    other = Clips(((record, (0, 2)), (record, (4, 1, 3))), "made")
    assert embed(replace(clips, sampling="otherwise"))[0] != first[0]
    assert embed(other)[0] != first[0]
    assert frame_features(found, clips.frames, card, cache=tmp_path, maps=False).key != first[0]


# --- rows ---


def test_one_clip_all_clips_and_beats(trees: Path) -> None:
    found = source("echonet", trees / "echonet")
    for inputs in ("clip", "clips", "beats"):
        task = replace(TASKS["b6-A4-E"], inputs=inputs, clip=SHORT)
        clips = clips_of(task, found)
        rows = clip_rows(task, found, clips)
        assert rows.frames[:, 0].tolist() == list(range(len(clips)))
        assert len(set(rows.items)) == len(rows.items)
        assert set(rows.units) == {r.id for r in found.records()}
        for record in found.records():
            n = found.n_frames(record)
            mine = [at[0] for r, at in clips.clips if r.id == record.id]
            phases = found.phases(record)
            if inputs == "beats":
                told = systoles(found.frames(record), record.fps, phases[1] if phases else None)
                assert mine == SHORT.around(n, told.tolist())
            else:
                assert mine == (
                    [SHORT.middle(n)] if inputs == "clip" else list(range(0, n - 14, 8))
                )
            assert {rows.answers[i] for i in range(*clips.ranges[record.id])} == {record.meta["EF"]}
    with pytest.raises(IncompatibleError, match=r"clip= would have no effect.*clip, clips, beats"):
        replace(task, inputs="frame")
    with pytest.raises(IncompatibleError, match="does not say how its clips are cut"):
        replace(task, clip=None)


def test_a_task_of_stills_is_not_advised_to_itself() -> None:
    task = replace(TASKS["b6-A4-C"], code="b0-A4-C", inputs="clips")
    assert "The input 'clips' of its label needs videos" in _instead_of_clips(task)


def test_stills_have_no_clips(tmp_path: Path) -> None:
    root = tiny_camus.write(tmp_path, n=4)
    with pytest.raises(
        LayoutError,
        match=r"no clip for b6-A4-C: only stills.*run the task on the ED and ES frames, b0-A4-C",
    ):
        clips_of(TASKS["b6-A4-C"], source("camus", root))


def test_recordings_without_a_sequence_are_named(tmp_path: Path) -> None:
    root = tiny_camus.write(tmp_path, n=4, sequences=True)
    for path in (root / "database_nifti" / "patient0002").glob("*4CH_half*"):
        path.unlink()
    found = source("camus", root)
    clips = clips_of(TASKS["b6-A4-C"], found)
    rows = clip_rows(TASKS["b6-A4-C"], found, clips)
    assert [name for name, _ in rows.missing] == ["patient0002_4CH"]
    assert rows.records == ("patient0001_4CH", "patient0003_4CH", "patient0004_4CH")
    assert [at for _, at in clips.clips][-1] == (0, 1, 2, 3, 4, 5)
    two = clip_rows(TASKS["b6-A2-C"], found, clips)  # both views share the entry of their family
    assert len(two.items) == 4
    assert not set(two.frames[:, 0]) & set(rows.frames[:, 0])


def test_clip_tasks_are_asked_for_by_name(trees: Path) -> None:
    assert {t.code for t in find("b6")} == {"b6-A2-C", "b6-A4-C", "b6-A4-E", "b6-A4-P", "b6-PS-P"}
    assert [t.code for t in find("b8-A4-E")] == ["b8-A4-E"]
    for word in ("echonet", "pediatric", "camus", "b"):
        assert not [t for t in find(word) if t.extra]
    assert opened.tasks_at("b6", trees / "camus") == ["b6-A2-C", "b6-A4-C"]


# --- what the other tasks need stays as it was ---


def test_clip_tasks_add_no_frame_to_the_other_tasks(
    trees: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = source("camus", trees / "camus")
    frames = annotated_frames(found)
    assert len(frames) == 2 * len(found.records())
    monkeypatch.setattr(
        TASKS, "_items", {code: task for code, task in TASKS.items() if not task.extra}
    )
    assert annotated_frames(found) == frames


# --- runs ---


@pytest.fixture(scope="module")
def done(trees: Path, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("done")
    settings = Settings(root=trees / "echonet", results=folder / "results", cache=folder / "cache")
    asked = plan("b0-A4-E,b6-A4-E,b7-A4-E,b8-A4-E", ["image_stats"], protocols=("cv3",), head="knn")
    assert [r.task for r in execute(asked, settings)] == [
        "b0-A4-E",
        "b6-A4-E",
        "b7-A4-E",
        "b8-A4-E",
    ]
    return settings


def _one(code: str, settings: Settings) -> Result:
    return next(
        iter(execute(plan(code, ["image_stats"], protocols=("cv3",), head="knn"), settings))
    )


@pytest.mark.slow
def test_recordings_are_scored(done: Settings) -> None:
    ids = {r.id for r in source("echonet", done.root).records()}
    for code in ("b6-A4-E", "b7-A4-E", "b8-A4-E"):
        result = _one(code, done)
        table = result.predictions(done.results)
        assert set(table.items) == ids
        assert result.n_test == result.n_patients == 12
        assert result.phantom
        assert result.settings["sampling"] == TASKS[code].family
    assert "sampling" not in _one("b0-A4-E", done).settings
    assert len(list((done.cache / "features" / "image_stats").glob("*/entry.json"))) == 4


@pytest.mark.slow
def test_another_sampling_is_another_result(
    done: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan("b6-A4-E", ["image_stats"], protocols=("cv3",), head="knn")[0]
    assert finished(run, done) is not None
    monkeypatch.setitem(TASKS._items, "b6-A4-E", replace(TASKS["b6-A4-E"], clip=Sampling(16, 2)))
    with pytest.raises(ResultError, match=r"different.*sampling"):
        finished(run, done)


@pytest.mark.slow
def test_clips_of_a_recording_are_averaged(
    done: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = replace(TASKS["b7-A4-E"], code="b9-A4-E", clip=SHORT)
    loose = replace(row, code="b9-PX-E", unit="", aggregate="")
    for made in (row, loose):
        monkeypatch.setitem(TASKS._items, made.code, made)
    settings = replace(done, results=tmp_path)
    tables = {}
    for made in (row, loose):
        tables[made.code] = _one(made.code, settings).predictions(tmp_path)
    clips = tables["b9-PX-E"]
    assert len(clips.items) > 4 * 12
    for item, score in zip(
        tables["b9-A4-E"].items, tables["b9-A4-E"].columns["score"], strict=True
    ):
        mine = [
            s
            for name, s in zip(clips.items, clips.columns["score"], strict=True)
            if name.startswith(f"{item}#")
        ]
        assert score == pytest.approx(np.mean(mine), rel=1e-5)


@pytest.mark.slow
def test_half_sequences_and_full_cycles_run(trees: Path, tmp_path: Path) -> None:
    for name in ("camus", "ted"):
        settings = Settings(root=trees / name, results=tmp_path / name)
        result = _one("b6-A4-C", settings)
        assert result.n_patients == 12
        assert result.task_version == 0
        assert result.folds[0]["choice"]["features"].split("/")[-1] in ("mean", "mean+std")


# --- TED ---


def test_full_cycles(trees: Path) -> None:
    found = source("camus", trees / "ted" / "database")
    assert found.phantom
    assert {(r.view, r.split, r.fps) for r in found.records()} == {("A4C", "", None)}
    lv = found.card.target("LV_seg")
    for record in found.records():
        areas = [int(a.value.sum()) for a in found.answers(record, lv)]
        ed, es = found.phases(record)
        assert len(areas) == found.n_frames(record)
        assert areas[ed] == max(areas)
        assert areas[es] <= min(areas) + 8
        assert es not in (0, len(areas) - 1)
    assert found.published() == {"patients": 98, "recordings": 98}


def test_full_cycles_pass_the_contract(trees: Path) -> None:
    check_dataset(CamusSource, trees / "ted")


def test_a_cycle_without_its_cfg(trees: Path, tmp_path: Path) -> None:
    import shutil

    root = tmp_path / "ted"
    shutil.copytree(trees / "ted", root)
    with_cfg = source("camus", root)
    wanted = [with_cfg.phases(r) for r in with_cfg.records()]
    for path in (root / "database").rglob("*.cfg"):
        path.unlink()
    (root / "database" / "patient001" / "patient001_4CH_sequence_cut.mhd").write_text("not read")
    found = source("camus", root)
    lv = found.card.target("LV_seg")
    for record, (ed, es) in zip(found.records(), wanted, strict=True):
        areas = [int(a.value.sum()) for a in found.answers(record, lv)]
        mine = found.phases(record)
        assert (areas[mine[0]], areas[mine[1]]) == (max(areas), min(areas))
        assert areas[ed] == areas[mine[0]]
        assert areas[es] - areas[mine[1]] <= 8
        assert found.answers(record, found.card.target("EF")) == ()
    (root / "database" / "patient003" / "patient003_4CH_sequence_gt.mhd").unlink()
    broken = source("camus", root)
    with pytest.raises(LayoutError, match=r"patient003_4CH_sequence_gt\.mhd"):
        broken.answers(broken.records()[2], lv)


def test_a_cycle_as_a_dataset(trees: Path, tmp_path: Path) -> None:
    clips = Dataset(
        "camus", "LV_seg", video=True, root=trees / "ted", clip_l=20, frame_l=32, frame_w=32
    )
    x, (masks, at) = clips[0]
    n = clips.source.n_frames(clips.source.records()[0])
    assert x.shape == (20, 3, 32, 32)
    assert masks.shape == (n, 32, 32)
    assert at.tolist() == list(range(n))
    ed, es = Dataset("camus", "ES/ED", video=True, root=trees / "ted", clip_l=20)[0][1]
    assert (ed, es) == clips.source.phases(clips.source.records()[0])
    with pytest.raises(UnsupportedOptionError, match="cannot give fps"):
        Dataset("camus", "EF", video=True, root=trees / "ted", fps=10)
    with pytest.raises(SplitError, match="use protocol 'cv'"):
        list(
            execute(
                plan("b0-A4-C", ["image_stats"], protocols=("official",)),
                Settings(trees / "ted", tmp_path),
            )
        )
