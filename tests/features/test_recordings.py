"""Layers over time at 50 Hz, and the probe of frames: alignment, lengths, cache, leaks, cells of e0 for any backbone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab import backbones
from etab.backbones.base import BackboneCard, Course
from etab.datasets.base import SoundSource
from etab.datasets.camus import CamusSource
from etab.datasets.circor import CircorSource
from etab.errors import (
    CorruptFileError,
    EtabWarning,
    IncompatibleError,
    SplitError,
    UndefinedError,
    UnsupportedOptionError,
)
from etab.features import kept_sounds, shards
from etab.features import recordings as series
from etab.features.base import Embedding, input_of
from etab.features.entries import SHARDS
from etab.features.series_files import join_series
from etab.heads import head
from etab.heads.states import emissions
from etab.metrics.states import segmentation
from etab.phantom.sounds import STETHOSCOPES, auscultate, draw_chest
from etab.sounds.states import states_at
from etab.splits import row_splits
from etab.tasks.menu import TASKS
from etab.types import Array, Features, FloatArray, IntArray, Kind, Record, RowSplit, Target

pytest.importorskip("torch")
import torch
from torch.nn.functional import avg_pool2d

from etab.features import windows
from etab.runs import execute, run

RATE = 4000
STATES = Target("states", Kind.STATES, "", ("S1", "systole", "S2", "diastole"))
NETS = (
    "musicnn_msd",
    "music_vgg_msd",
    "resemblyzer",
    "speech_embedding",
    "crepe_tiny",
    "silero_vad",
)
HOPS = {
    "musicnn_msd": 0.016,
    "music_vgg_msd": 0.128,
    "resemblyzer": 0.01,
    "speech_embedding": 0.08,
    "crepe_tiny": 0.04,
    "silero_vad": 0.032,
    "mel_stats": 0.02,
    "mel_pca": 0.02,
    "mobilenetv2": 0.32,
    "image_stats": 0.02,
    "pixel_pca": 0.02,
}


class Sounds(SoundSource):
    """Recordings in memory at RATE Hz, with the card of CirCor."""

    card = CircorSource.card
    phantom = True

    def __init__(self, waves: dict[str, FloatArray]) -> None:
        self.waves = waves

    def answers(self, *_: Any) -> Any:
        return ()

    def records(self) -> Any:
        return [Record(name, name, "AV", fps=RATE) for name in self.waves]

    def wave(self, record: Record) -> tuple[FloatArray, int]:
        return self.waves[record.id], RATE

    def n_samples(self, record: Record) -> int:
        return len(self.waves[record.id])

    def digest(self) -> str:
        return "memory"


def series_of(waves: dict[str, FloatArray], name: str | BackboneCard, **options: Any) -> Features:
    source = Sounds(waves)
    card = backbones.card(name) if isinstance(name, str) else name
    keys = [(record, 0.0, 5.0) for record in source.records()]
    return series.recording_series(source, keys, card, **options).features


def noise(seed: int, n: int) -> FloatArray:
    return (0.02 * np.random.default_rng(seed).normal(size=n)).astype(np.float32)


def click(sound: FloatArray, at: float, loud: float = 0.2) -> FloatArray:
    """Sound with a short tone burst of 150 Hz around ``at`` s."""
    t = np.arange(len(sound)) / RATE - at
    return np.asarray(
        sound + loud * np.exp(-((t / 0.008) ** 2)) * np.cos(2 * np.pi * 150 * t), dtype=np.float32
    )


def twin_of(name: str) -> str:
    return f"random/{name}" if backbones.card(name).learned else name


# --- time ---


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow)
        if n in ("music_vgg_msd", "crepe_tiny", "resemblyzer")
        else n
        for n in HOPS
    ],
)
def test_a_click_is_where_it_was(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        series, "levelled", lambda x: x
    )  # a click changes the level of the whole recording
    still = click(
        noise(0, 8 * RATE), 7.0, 0.9
    )  # the loudest point, to which pictures are scaled, stays
    waves = {"still": still} | {f"{at}": click(still, at) for at in (2.0, 3.37)}
    found = series_of(waves, twin_of(name))
    for layer, rows in found.sequences.items():
        for at in (2.0, 3.37):
            moved = np.square(
                rows[f"{at}"].astype(np.float64) - rows["still"].astype(np.float64)
            ).sum(axis=1)
            assert moved.max() > 0, layer
            heard = _where(moved, causal=layer.startswith("lstm"))
            assert abs(heard - at) <= HOPS[name] + 0.021, (layer, at, heard)


def _where(moved: FloatArray, *, causal: bool) -> float:
    """When something changed, in s: the middle of the change, or where it began for a network that goes on hearing it."""
    if causal:
        return float(np.flatnonzero(moved > 0.05 * moved.max())[0] / 50)
    loud = np.where(moved > 0.1 * moved.max(), moved, 0.0)
    return float((loud * np.arange(len(moved))).sum() / loud.sum() / 50)


def test_a_series_is_levelled() -> None:
    """How loud a recording is, and whatever never changes, says nothing of its states."""
    x = np.random.default_rng(0).normal(size=(300, 3)) * [1, 30, 0] + [5, -60, 2]
    found = series.levelled(x)
    assert found.mean(axis=0) == pytest.approx(0, abs=1e-5)
    assert found.std(axis=0) == pytest.approx([1, 1, 0], abs=1e-5)
    soft, loud = (
        series_of({"r": gain * click(noise(4, 3 * RATE), 1.0)}, "mel_stats") for gain in (0.2, 1.0)
    )
    assert np.abs(soft.sequences["log-mel"]["r"] - loud.sequences["log-mel"]["r"]).max() < 0.02
    assert not series_of({"r": noise(0, 3 * RATE)}, "demographics").sequences["facts"]["r"].any()


def test_steps_are_put_between_states() -> None:
    times, values = np.array([0.01, 0.05]), np.array([[1.0], [3.0]])
    assert series.at_states(times, values, 4)[:, 0] == pytest.approx([1.0, 1.5, 2.5, 3.0])


def test_tiles_cover_a_recording_and_meet_in_the_middle() -> None:
    assert series.tiles(100, 224) == [0]
    assert series.tiles(500, 224) == [0, 168, 276]
    shown = np.arange(600)
    columns = np.stack(
        [shown[s : s + 224].reshape(28, 8).mean(axis=1)[:, None] for s in series.tiles(600, 224)]
    )
    times, values = series._joined(columns, series.tiles(600, 224), 224)
    assert (np.diff(times) > 0).all()
    assert values[:, 0] == pytest.approx(times / series.PIXEL)
    assert np.diff(times).max() < 0.161


def test_a_picture_keeps_the_time_of_a_click() -> None:
    found = series.recording_picture(click(np.zeros(3 * RATE, np.float32), 1.5), RATE, 64)
    assert found.shape == (64, 300)
    assert abs(int(found.sum(axis=0).argmax()) - 150) <= 2
    assert series.recording_picture(noise(1, RATE), RATE, 224).shape == (224, 224)


@pytest.mark.parametrize("n", [8001, 8079, 8080, 8081, 12_345])
@pytest.mark.parametrize(
    "name", ["random/silero_vad", "random/speech_embedding", "mel_stats", "image_stats", "constant"]
)
def test_a_series_is_as_long_as_the_states(name: str, n: int) -> None:
    found = series_of({"r": noise(n, n)}, name)
    k = len(states_at([], n, RATE))
    assert found.series["r"].shape == (k, 4)
    for rows in found.sequences.values():
        assert len(rows["r"]) == k
        assert np.isfinite(rows["r"]).all()


@pytest.mark.parametrize(
    "name", ["random/musicnn_msd", "random/resemblyzer", "random/mobilenetv2", "mel_pca"]
)
def test_a_recording_is_the_same_alone_and_among_others(name: str) -> None:
    waves = {f"r{i}": click(noise(i, RATE * (3 + i) + i), 1.0) for i in range(3)}
    together, alone = series_of(waves, name), series_of({"r1": waves["r1"]}, name)
    for layer, rows in alone.sequences.items():
        assert np.array_equal(rows["r1"], together.sequences[layer]["r1"])


def test_layers_are_few_and_narrow() -> None:
    for name in NETS:
        card = backbones.card(f"random/{name}")
        found = series_of({"r": noise(2, 3 * RATE)}, card).sequences
        assert tuple(found) == card.timed
        assert len(found) <= 3
        for rows in found.values():
            assert rows["r"].shape[1] <= series.WIDTH
            assert rows["r"].dtype == np.float16


def test_blocks_give_what_the_whole_gives() -> None:
    x = torch.from_numpy(click(noise(6, 9 * 16_000), 4.0))[None]
    with torch.inference_mode():
        net: Any = backbones.card("random/musicnn_msd").load().network  # type: ignore[attr-defined]
        blocks = dict(net(x))
        for branch in net.front:
            branch.LONGEST = 10_000
        whole = dict(net(x))
        crepe: Any = backbones.card("random/crepe_tiny").load().network  # type: ignore[attr-defined]
        parts, frames = dict(crepe.course(x)), dict(crepe(x))
    for name in ("timbral", "temporal", "cnn3"):
        assert torch.allclose(blocks[name], whole[name], atol=1e-4)
    for name, values in frames.items():
        assert torch.allclose(parts[name], values, atol=1e-4)


def test_a_projection_keeps_distances() -> None:
    x = np.random.default_rng(3).normal(size=(40, 500))
    near = series.narrowed(x)
    assert near.shape == (40, series.WIDTH)
    told = np.linalg.norm(near[:20] - near[20:], axis=1) / np.linalg.norm(x[:20] - x[20:], axis=1)
    assert np.abs(told - 1).max() < 0.25
    assert np.array_equal(near, series.narrowed(x))


# --- the cache ---


def test_series_are_kept_and_read_back(tmp_path: Path) -> None:
    waves = {f"r{i}": click(noise(i, RATE * 3 + 7 * i), 1.0) for i in range(3)}
    source = Sounds(waves)
    keys, card = (
        [(record, 0.0, 5.0) for record in source.records()],
        backbones.card("random/silero_vad"),
    )
    made = [series.recording_series(source, keys, card, cache=tmp_path) for _ in range(2)]
    plain = series.recording_series(source, keys, card)
    assert [m.from_cache for m in made] == [False, True]
    assert made[0].key == made[1].key == plain.key
    for layer, rows in plain.features.sequences.items():
        for name in waves:
            assert np.array_equal(rows[name], made[1].features.sequences[layer][name])
    for name in waves:
        assert np.array_equal(plain.features.series[name], made[1].features.series[name])
    file = next(tmp_path.rglob("series1.bin"))
    file.write_bytes(b"x" + file.read_bytes()[1:])
    with pytest.warns(EtabWarning, match="damaged"):
        assert not series.recording_series(source, keys, card, cache=tmp_path).from_cache


def _entry_files(cache: Path) -> dict[str, bytes]:
    """The files of the one entry of a cache; its time is left out."""
    (text,) = cache.rglob("entry.json")
    files = {path.name: path.read_bytes() for path in text.parent.iterdir()}
    entry = json.loads(files.pop("entry.json"))
    del entry["seconds"], entry["sha256"]
    return {**files, "entry.json": json.dumps(entry).encode()}


def _in_shards(source: Sounds, cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Compute an entry in shards of one recording; return the recordings that were read."""
    monkeypatch.setenv(shards.SIZE_VARIABLE, str(series.TILES))
    read: list[str] = []
    wave = source.wave

    def counted(record: Record) -> tuple[FloatArray, int]:
        read.append(record.id)
        return wave(record)

    monkeypatch.setattr(source, "wave", counted)
    keys = [(record, 0.0, 5.0) for record in source.records()]
    try:
        series.recording_series(source, keys, backbones.card("mel_stats"), cache=cache)
    finally:
        monkeypatch.setattr(source, "wave", wave)
        monkeypatch.delenv(shards.SIZE_VARIABLE)
    return read


@pytest.fixture
def source() -> Sounds:
    return Sounds({f"r{i}": click(noise(i, RATE * 3 + 7 * i), 1.0) for i in range(4)})


def test_shards_of_series_give_the_entry_of_one_piece(
    source: Sounds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [(record, 0.0, 5.0) for record in source.records()]
    series.recording_series(source, keys, backbones.card("mel_stats"), cache=tmp_path / "one")
    assert _in_shards(source, tmp_path / "many", monkeypatch) == list(source.waves)
    assert _entry_files(tmp_path / "many") == _entry_files(tmp_path / "one")
    assert not list(tmp_path.rglob(f"*{SHARDS}"))


def test_a_stopped_series_goes_on_after_the_last_whole_shard(
    source: Sounds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = tmp_path / "one"
    keys = [(record, 0.0, 5.0) for record in source.records()]
    series.recording_series(source, keys, backbones.card("mel_stats"), cache=one)
    levelled = series.levelled
    count = iter(range(2))

    def stopped(values: FloatArray) -> FloatArray:
        if next(count, None) is None:
            raise KeyboardInterrupt
        return levelled(values)

    monkeypatch.setattr(series, "levelled", stopped)
    with pytest.raises(KeyboardInterrupt):
        _in_shards(source, tmp_path / "many", monkeypatch)
    monkeypatch.setattr(series, "levelled", levelled)
    (folder,) = (tmp_path / "many").rglob(f"*{SHARDS}")
    done = [path for path in folder.iterdir() if path.is_dir()]
    assert len(done) == 2
    # One of the two was damaged meanwhile: it is computed again, with the two that are missing.
    damaged = done[0] / "series1.bin"
    damaged.write_bytes(b"x" + damaged.read_bytes()[1:])
    with pytest.warns(EtabWarning, match="damaged"):
        read = _in_shards(source, tmp_path / "many", monkeypatch)
    assert len(read) == 3
    assert _entry_files(tmp_path / "many") == _entry_files(one)


def test_shards_with_other_layers_are_refused(tmp_path: Path) -> None:
    for name, layers in (("a", ["beat"]), ("b", ["beat", "more"])):
        (tmp_path / name).mkdir()
        entry = {"series": [[layer, "<f4", 1] for layer in layers], "lengths": []}
        (tmp_path / name / "entry.json").write_text(json.dumps(entry))
    with pytest.raises(CorruptFileError, match="other layers in b than in a"):
        join_series([tmp_path / "a", tmp_path / "b"], tmp_path)


def test_what_has_no_time_is_refused() -> None:
    for name in ("timing_features", "birdnet"):
        with pytest.raises(IncompatibleError, match=f"{name} has no layers over time"):
            run.Run("e0-AL-D", name, protocol="cv").check()
    with pytest.raises(
        IncompatibleError, match="timing_features has no layers over time, which e0-AL-D needs"
    ):
        run.plan("e0-AL-D", ["timing_features"], protocols=None)
    with pytest.raises(UnsupportedOptionError, match="no layers over time"):
        series_of({"r": noise(0, 3 * RATE)}, "timing_features")
    with pytest.raises(IncompatibleError, match="reads one series of envelopes"):
        run.Run("e0-AL-D", "musicnn_msd", "state_unet", protocol="cv").check()
    assert {r.task for r in run.plan("circor", ["timing_features"], protocols=None)} == {
        "e1-AL-D",
        "f1-AL-D",
        "f2-AL-D",
    }


def test_a_function_with_maps_has_time() -> None:
    card = backbones.from_callable(
        "blocks", lambda x: [avg_pool2d(x[:, :2], 8), x.mean(dim=(2, 3))], size=64
    )
    found = series_of({"r": click(noise(7, 3 * RATE), 1.0)}, card).sequences
    assert abs(int(np.asarray(found["map0"]["r"]).sum(axis=1).argmax()) - 50) <= 3
    flat = backbones.from_callable("flat", lambda x: x.mean(dim=(2, 3)), size=64)
    with pytest.raises(UnsupportedOptionError, match="has no feature maps"):
        series_of({"r": noise(7, 3 * RATE)}, flat)


def test_a_network_that_overflows_is_named() -> None:
    class Wild:
        def digest(self) -> str:
            return "wild"

        def to(self, *_: str) -> Wild:
            return self

        def course(self, x: torch.Tensor) -> dict[str, Course]:
            return {"log-mel": Course(np.full((200, 2), np.inf), 0.02, 0.0)}

    card = replace(backbones.card("mel_stats"), name="wild", load=Wild)  # type: ignore[arg-type]
    with pytest.raises(UndefinedError, match="wild: layer log-mel of r is not finite"):
        series_of({"r": noise(0, 3 * RATE)}, card)


# --- the probe ---


def heart(seed: int, seconds: float = 8.0) -> tuple[Array, IntArray]:
    rng = np.random.default_rng(seed)
    chest = draw_chest(rng, murmur=seed % 3 == 0, third=False, rate=65.0 + 4 * seed)
    sound, intervals = auscultate(
        chest, STETHOSCOPES["circor"], rate=RATE, seconds=seconds, loud=0.5, noise=0.0, rng=rng
    )
    return sound / 32768, states_at(intervals, len(sound), RATE)


@pytest.fixture(scope="module")
def made() -> tuple[Features, list[IntArray], Array, list[RowSplit]]:
    """12 made recordings of 6 people with two layers: log-mel bands, and noise that says nothing."""
    pairs = [heart(seed) for seed in range(12)]
    told = series_of(
        {f"r{i}": np.asarray(x, np.float32) for i, (x, _) in enumerate(pairs)}, "mel_stats"
    )
    beats, bands, empty = (np.empty(12, dtype=object) for _ in range(3))
    for i in range(12):
        beats[i], bands[i] = told.series[f"r{i}"], told.sequences["log-mel"][f"r{i}"]
        empty[i] = np.random.default_rng(i).normal(size=(len(beats[i]), 5)).astype(np.float16)
    people = np.array([f"p{i // 2}" for i in range(12)])
    states = [np.where(np.arange(len(y)) < 50, -1, y) for _, y in pairs]
    features = Features({}, sequences={"empty": empty, "bands": bands}, series=beats)
    return features, states, people, row_splits(people, people, protocol="cv", n_fold=3, seed=0)


def fits(
    made: Any, features: Features | None = None, states: Any = None, splits: Any = None
) -> list[Any]:
    own, truth, people, mine = made
    return head("hsmm").cross_fit(
        features or own,
        states or truth,
        people,
        splits or mine,
        STATES,
        rng=np.random.default_rng(0),
    )


def test_it_segments_people_it_never_heard_and_chooses_the_layer(made: Any) -> None:
    _, truth, _, splits = made
    for split, found in zip(splits, fits(made), strict=True):
        scores = [
            segmentation(truth[i], s, tolerance_ms=100).f1
            for i, s in zip(split.test, found.predictions, strict=True)
        ]
        assert np.mean(scores) > 0.9
        assert found.choice["features"] == "bands"
        assert found.choice["penalty"] in emissions.EMISSION_PENALTIES


def test_test_people_teach_nothing(made: Any) -> None:
    """Whatever the test people's frames are, the probe, its basis, its layer and its durations stay as they were."""
    features, truth, _, splits = made
    split = splits[0]
    wild, lies = {}, list(truth)
    for name, rows in features.sequences.items():
        wild[name] = rows.copy()
        for i in split.test:
            wild[name][i] = (30 * rows[i][::-1] + 7).astype(np.float16)
    for i in split.test:
        lies[i] = np.where(truth[i] >= 0, (truth[i] + 2) % 4, -1)
    seen: list[Any] = []
    plain, odd = (
        _probe_of(made, f, s, split, seen)
        for f, s in ((features, truth), (replace(features, sequences=wild), lies))
    )
    assert plain.choice == odd.choice
    one, two = seen
    assert len(one) == len(two) > 5
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.basis.mean, b.basis.mean)
        assert np.array_equal(a.basis.turn, b.basis.turn)
        assert np.array_equal(a.weights, b.weights)


def _probe_of(made: Any, features: Features, states: Any, split: RowSplit, seen: list[Any]) -> Any:
    """One split's answer; every probe that was fitted on the way is put in a list at the end of ``seen``."""
    held: list[Any] = []
    real = emissions.fit_emissions

    def watched(*args: Any, **options: Any) -> Any:
        found = real(*args, **options)
        held.extend(found)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emissions, "fit_emissions", watched)
        answer = fits(made, features, states, [split])[0]
    seen.append(held)
    return answer


def test_inner_parts_are_not_fitted_when_they_are_scored(made: Any) -> None:
    _, _, _, splits = made
    fitted: list[set[int]] = []
    real = emissions.AnnotatedFrames.of

    def watched(self: Any, rows: IntArray, every: int = 1) -> Any:
        fitted.append(set(np.asarray(rows).tolist()))
        return real(self, rows, every)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emissions.AnnotatedFrames, "of", watched)
        fits(made, splits=splits[:1])
    test = set(splits[0].test.tolist())
    assert all(not rows & test for rows in fitted)
    pairs = list(zip(fitted[: 2 * len(splits[0].inner)][::2], fitted[1::2], strict=False))
    assert all(not rest & part for rest, part in pairs)


def test_a_person_in_training_and_test_is_refused(made: Any) -> None:
    features, _, _, splits = made
    leak = replace(splits[0], test=np.concatenate([splits[0].test, splits[0].train[:1]]))
    with pytest.raises(SplitError, match="in training and in test"):
        fits(made, splits=[leak])
    short = replace(
        features,
        sequences={"bands": np.array([x[:-1] for x in features.sequences["bands"]], dtype=object)},
    )
    with pytest.raises(UndefinedError, match="Align them"):
        fits(made, features=short)


def test_a_constant_is_left_with_the_durations(made: Any) -> None:
    """Emissions of a series that never changes are 0: the answer comes from heart rate and durations alone."""
    features, truth, _, splits = made
    same = np.empty(12, dtype=object)
    for i, y in enumerate(truth):
        same[i] = np.ones((len(y), 3), np.float32)
    frames = emissions.select_frames(list(same), truth)
    probe = emissions.fit_emissions(frames, (1e-3,))[0]
    assert np.abs(probe.of(same[0])).max() < 1e-12
    found = fits(made, features=replace(features, sequences={"same": same}), splits=splits[:1])[0]
    for states in found.predictions:
        steps = np.diff(states)
        assert np.isin(steps[steps != 0] % 4, 1).all()


def test_frames_are_thinned_and_unannotated_ones_left_out(made: Any) -> None:
    features, truth, _, _ = made
    frames = emissions.select_frames(features.sequences["bands"], truth, limit=500)
    assert 300 < len(frames.y) <= 520
    assert frames.x.shape == (len(frames.y), len(emissions.AROUND), 40)
    assert frames.y.min() >= 0
    assert set(frames.row) == set(range(12))
    everything = emissions.select_frames(features.sequences["bands"], truth)
    assert len(everything.y) == sum(int((s >= 0).sum()) for s in truth)


# --- what several backbones share ---


def test_sounds_of_several_backbones_are_resampled_once(
    source: Sounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    real = kept_sounds.resample

    def counted(samples: FloatArray, rate: int, wanted: int) -> FloatArray:
        made.append(wanted)
        return real(samples, rate, wanted)

    monkeypatch.setattr(kept_sounds, "resample", counted)
    keys = [(record, 0.0, 2.0) for record in source.records()]
    for name in ("random/silero_vad", "random/speech_embedding", "mel_stats"):
        card = backbones.card(name)
        together = windows.window_features(source, keys, card).features.pooled
        alone = windows.window_features(Sounds(source.waves), keys, card).features.pooled
        assert all(np.array_equal(together[layer], alone[layer]) for layer in together)
    n = len(source.waves)
    # Each time alone, and the first time together: 16 kHz by two networks, 2 kHz by the control.
    assert (made.count(16_000), made.count(2000)) == (3 * n, 2 * n)


def test_kept_sounds_stay_within_their_budget(
    source: Sounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, *_ = source.records()
    monkeypatch.setattr(kept_sounds, "BUDGET", len(source.waves[one.id]) * 4)
    first, rate = kept_sounds.sound_at(source, one, RATE)
    assert rate == RATE
    assert kept_sounds.sound_at(source, one, RATE)[0] is first
    assert not first.flags.writeable
    assert source.waves[one.id].flags.writeable  # what a source holds stays its own
    second = kept_sounds.sound_at(source, two, RATE)[0]
    assert kept_sounds.sound_at(source, two, RATE)[0] is not second
    assert kept_sounds.kept_sounds(source).size == first.nbytes


# --- cells ---


@pytest.fixture(scope="module")
def tree(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["circor"]) / "circor"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("random/silero_vad", marks=pytest.mark.slow),
        pytest.param("random/mobilenetv2", marks=pytest.mark.slow),
        "mel_stats",
        pytest.param("constant", marks=pytest.mark.slow),
    ],
)
def test_a_cell_of_any_backbone(name: str, tree: Path, tmp_path: Path) -> None:
    settings = run.Settings(root=tree, results=tmp_path / "results", cache=tmp_path / "cache")
    plan = run.plan("e0-AL-D", [name], protocols=None, n_fold=3)
    cell = next(iter(execute.execute(plan, settings)))
    assert (cell.head, cell.metric, cell.phantom) == ("hsmm_wavelet", "f1_100", True)
    assert cell.settings["series_version"] == series.SERIES_VERSION
    assert all({"features", "penalty"} <= set(fold["choice"]) for fold in cell.folds)
    assert execute.finished(plan[0], settings) is not None
    if name == "mel_stats":
        assert cell.value > 0.8
    else:
        assert 0 <= cell.value <= 1


@pytest.mark.slow
def test_tasks_of_one_backbone_keep_their_own_features(tree: Path, tmp_path: Path) -> None:
    """e0 reads series and e1 windows: run together or alone, the cells are the same."""
    found: dict[str, list[Any]] = {}
    for code in ("e0-AL-D,e1-AL-D", "e0-AL-D", "e1-AL-D"):
        settings = run.Settings(root=tree, results=tmp_path / code, cache=None)
        for cell in execute.execute(
            run.plan(code, ["mel_stats"], protocols=None, n_fold=3), settings
        ):
            found.setdefault(cell.task, []).append((cell.value, cell.features_key))
    assert all(len(cells) == 2 and cells[0] == cells[1] for cells in found.values())
    assert found["e0-AL-D"][0][1] != found["e1-AL-D"][0][1]


def test_envelopes_stay_the_series_they_were(tree: Path) -> None:
    """The HSMM on envelopes goes the way of the paper: no layer is chosen, nothing else is computed."""
    card, task = backbones.card("envelopes"), TASKS["e0-AL-D"]
    assert not series.layered(task, card)
    assert "series_version" not in input_of(task).facts(task, card)
    source = CircorSource(tree)
    keys = windows.windows(source)[:2]
    told = input_of(task).embed(task, source, keys, card, Embedding(data_digest=""))
    assert not told.features.sequences
    beat = series.recording_series(source, keys, backbones.card("mel_stats")).features.series
    for name, rows in told.features.series.items():
        assert beat[name] == pytest.approx(rows, abs=1e-5)


def test_a_source_of_pictures_has_no_series(phantom_tree: Callable[..., Path]) -> None:
    root = phantom_tree(["camus"]) / "camus"
    with pytest.raises(UnsupportedOptionError, match="holds no sound"):
        series.recording_series(CamusSource(root), [], backbones.card("mel_stats"))


def test_a_wav2vec_says_when_its_steps_are(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from etab.backbones.sound.open import TransformersNetwork

    config = transformers.Wav2Vec2Config(
        conv_dim=(8, 8),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_hidden_layers=1,
        num_feat_extract_layers=2,
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=32,
    )
    network = TransformersNetwork(transformers.Wav2Vec2Model(config), None, 8000)
    hop, first = network.STEPS["last"]
    assert (hop, first) == (20, 4.5 + 5 * 3.5)
    assert math.isclose(series.state_count(8001, 4000), 101)


@pytest.mark.parametrize("kind", ["Wav2Vec2", "Hubert", "SEW", "SEWD"])
def test_the_steps_of_a_network_end_with_the_recording(kind: str) -> None:
    """Steps and times agree with the layers that a network gives, also where it squeezes time."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from etab.backbones.sound.open import TransformersNetwork

    squeeze = {"squeeze_factor": 2} if kind.startswith("SEW") else {}
    config = getattr(transformers, f"{kind}Config")(
        conv_dim=(8, 8),
        conv_stride=(5, 4),
        conv_kernel=(10, 8),
        num_hidden_layers=4,
        num_feat_extract_layers=2,
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=32,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        apply_spec_augment=False,
        **squeeze,
    )
    network = TransformersNetwork(getattr(transformers, f"{kind}Model")(config).eval(), None, 8000)
    network.extractor = _Unprepared()
    n = 8000
    for name, layer in network(torch.randn(1, n)):
        hop, first = network.STEPS[name]
        last = first + hop * (layer.shape[1] - 1)
        assert n - 2 * hop < last < n


class _Unprepared:
    """A feature extractor that hands windows on."""

    model_input_names = ("input_values",)

    def __call__(self, windows: list[Array], **_: Any) -> dict[str, Any]:
        return {"input_values": torch.from_numpy(np.stack(windows))}
