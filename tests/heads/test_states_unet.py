"""The U-Net in time: it learns, its durations and masks act, it refuses, it is the same again, it does not leak."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from etab import backbones, heads
from etab.backbones.sound import timing
from etab.errors import (
    CorruptFileError,
    SplitError,
    UndefinedError,
    UnsupportedOptionError,
    WeightsError,
)
from etab.heads.states.heads import StateUNetHead, epochs_for
from etab.metrics.states import segmentation
from etab.phantom.sounds import STETHOSCOPES, auscultate, draw_chest
from etab.sounds import envelopes as env
from etab.sounds.states import S2, heart_rate, states_at
from etab.splits import row_splits
from etab.testing.heads import made_features, made_splits, made_target
from etab.training.loop import Recipe
from etab.types import Array, Features, FloatArray, IntArray, Kind, Record, RowSplit, Target

pytest.importorskip("torch")
import torch

from etab.heads.states import unet as statenet

RATE = 2000
STATES = Target("states", Kind.STATES, "", ("S1", "systole", "S2", "diastole"))
FAST = Recipe(epochs=6, batch=16, learning_rate=4e-3, patience=6)


def heart(seed: int, seconds: float = 8.0) -> tuple[Array, IntArray]:
    rng = np.random.default_rng(seed)
    chest = draw_chest(rng, murmur=seed % 3 == 0, third=False, rate=65.0 + 4 * seed)
    sound, intervals = auscultate(
        chest, STETHOSCOPES["circor"], rate=RATE, seconds=seconds, loud=0.5, noise=0.0, rng=rng
    )
    return sound / 32768, states_at(intervals, len(sound), RATE)


@pytest.fixture(scope="module")
def made() -> tuple[Features, list[IntArray], Array, list[RowSplit]]:
    """12 made recordings of 6 people, the states of the first second of each not annotated."""
    pairs = [heart(seed) for seed in range(12)]
    series = np.empty(12, dtype=object)
    for i, (x, _) in enumerate(pairs):
        series[i] = np.hstack([env.envelopes(x, RATE), env.band_levels(x, RATE)])
    states = [np.where(np.arange(len(y)) < 50, -1, y) for _, y in pairs]
    people = np.array([f"p{i // 2}" for i in range(12)])
    return (
        Features({}, series=series),
        states,
        people,
        row_splits(people, people, protocol="cv", n_fold=2, seed=0),
    )


def run(
    made: tuple[Features, list[IntArray], Array, list[RowSplit]],
    states: list[IntArray] | None = None,
    seed: int = 0,
) -> list[Array]:
    features, truth, people, splits = made
    head = StateUNetHead(FAST, frames=128, repeats=4)
    rng = np.random.default_rng(seed)
    found = head.cross_fit(features, states or truth, people, splits[:1], STATES, rng=rng)
    return list(found[0].predictions)


@pytest.fixture(scope="module")
def plain(made: tuple[Features, list[IntArray], Array, list[RowSplit]]) -> list[Array]:
    return run(made)


def test_it_learns_the_states_of_people_it_never_heard(made: tuple, plain: list[Array]) -> None:  # type: ignore[type-arg]
    _, truth, _, splits = made
    scores = [
        segmentation(truth[i], s, tolerance_ms=100).f1
        for i, s in zip(splits[0].test, plain, strict=True)
    ]
    assert np.mean(scores) > 0.85
    for states in plain:
        steps = np.diff(states)
        assert np.isin(
            steps[steps != 0] % 4, 1
        ).all()  # S1, systole, S2, diastole, and no other order


def test_the_seed_decides_and_torchs_generator_is_left_alone(
    made: tuple, plain: list[Array]
) -> None:  # type: ignore[type-arg]
    torch.manual_seed(7)
    before = torch.get_rng_state()
    again = run(made)
    assert torch.equal(before, torch.get_rng_state())
    assert all((a == b).all() for a, b in zip(plain, again, strict=True))


def test_test_recordings_teach_nothing(made: tuple, plain: list[Array]) -> None:  # type: ignore[type-arg]
    _, truth, _, splits = made
    lies = [np.roll(y, 13) if i in splits[0].test else y for i, y in enumerate(truth)]
    assert all((a == b).all() for a, b in zip(plain, run(made, lies), strict=True))


def test_unannotated_frames_have_no_loss() -> None:
    logits, states = torch.randn(2, 4, 64), torch.randint(0, 4, (2, 64))
    states[:, 20:] = -1
    other = logits.clone()
    other[:, :, 20:] += 5 * torch.randn(2, 4, 44)
    assert float(statenet.labelling_loss(logits, states)) == float(
        statenet.labelling_loss(other, states)
    )


def test_crops_keep_sound_and_states_together() -> None:
    state = np.repeat(np.tile(np.arange(4), 20), 9)
    series = np.eye(4)[state]
    x, y = statenet.crops([series], [state], 256, varied=False)
    assert (x[0].argmax(dim=0)[y[0] >= 0] == y[0][y[0] >= 0]).all()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        agree = []
        for _ in range(20):
            x, y = statenet.crops([3 * series], [state], 256, varied=True)
            near = y[0] >= 0
            silent = x[0].abs().sum(dim=1) == 0
            near &= ~silent[y[0].clamp_min(0)]
            agree.append(float((x[0].argmax(dim=0)[near] == y[0][near]).float().mean()))
    assert np.mean(agree) > 0.9


def test_short_recordings_are_filled_and_not_annotated() -> None:
    state = np.repeat(np.arange(4), 20)
    x, y = statenet.crops([np.ones((80, 3))], [state], 256, varied=False)
    assert int((y[0] >= 0).sum()) == 80
    assert float(x[0][:, y[0] < 0].abs().max()) == 0.0


def test_durations_are_those_of_training() -> None:
    states = [np.repeat(np.tile(np.arange(4), 9), np.tile([6, 9, 5, 20], 9)) for _ in range(3)]
    table = np.exp(statenet.learn_durations(states))
    assert (table.argmax(axis=1) + 1 == [6, 9, 5, 20]).all()
    np.testing.assert_allclose(table.sum(axis=1), 1.0, atol=1e-6)
    assert (table[:, 0] == 0).all()
    with pytest.raises(UndefinedError, match="has not one whole stretch"):
        statenet.learn_durations([np.where(s == S2, -1, s) for s in states])


def test_a_person_in_training_and_test_is_refused(made: tuple) -> None:  # type: ignore[type-arg]
    features, truth, people, splits = made
    leak = replace(splits[0], train=np.concatenate([splits[0].train, splits[0].test[:1]]))
    with pytest.raises(SplitError, match="is in training and in test"):
        StateUNetHead(FAST).cross_fit(
            features, truth, people, [leak], STATES, rng=np.random.default_rng(0)
        )


def test_cards_without_a_series_and_other_targets_are_refused(made: tuple) -> None:  # type: ignore[type-arg]
    features, truth, people, splits = made
    rng = np.random.default_rng(0)
    head = heads.head("state_unet")
    with pytest.raises(UnsupportedOptionError, match="needs a series at 50 Hz"):
        head.cross_fit(Features({"a": np.zeros((12, 2))}), truth, people, splits, STATES, rng=rng)
    with pytest.raises(UnsupportedOptionError, match="answers states"):
        head.cross_fit(features, truth, people, splits, Target("HR", Kind.VALUE, "bpm"), rng=rng)
    with pytest.raises(UndefinedError, match="Align them"):
        head.cross_fit(features, [y[:-1] for y in truth], people, splits, STATES, rng=rng)
    with pytest.raises(UnsupportedOptionError, match="multiples of 16"):
        StateUNetHead(frames=100)


def test_training_is_as_long_in_steps_with_many_recordings() -> None:
    """The small board keeps its 30 epochs; with thousands of recordings an epoch has more steps."""
    assert epochs_for(107) == 30
    assert epochs_for(2530) == 8
    crops = [n * 2 * epochs_for(n) for n in (400, 600, 1000, 1500)]
    assert all(20_000 <= n <= 24_000 for n in crops)


def model() -> statenet.StateModel:
    states = [np.repeat(np.tile(np.arange(4), 9), np.tile([6, 9, 5, 20], 9))]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return statenet.StateModel(
            (statenet.StateUNet(4, width=16).eval(),), statenet.learn_durations(states)
        )


def test_a_saved_model_says_the_same(tmp_path: Path) -> None:
    one, x = model(), np.random.default_rng(0).normal(size=(300, 4))
    one.save(tmp_path / "m")
    two = statenet.StateModel.load(tmp_path / "m")
    assert (one.predict(x) == two.predict(x)).all()
    np.testing.assert_array_equal(one.durations, two.durations)
    tensors = next((tmp_path / "m").glob("*.safetensors"))
    tensors.write_bytes(tensors.read_bytes()[:-4] + b"abcd")
    with pytest.raises(CorruptFileError):
        statenet.StateModel.load(tmp_path / "m")


def test_checkpoints_of_other_things_are_refused(tmp_path: Path) -> None:
    from etab.training.loop import Progress, write_checkpoint

    state = {"progress": {k: getattr(Progress(), k) for k in Progress.__dataclass_fields__}}
    write_checkpoint(tmp_path, state, {"a": torch.zeros(1)})
    with pytest.raises(WeightsError, match="not of a state_unet"):
        statenet.StateModel.load(tmp_path)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.zeros((300, 5)), "wanted \\(n, 4\\)"),
        (np.full((300, 4), np.nan), "not finite"),
        (np.zeros((50, 4)), "longer"),
    ],
)
def test_series_that_do_not_fit_are_refused(x: FloatArray, words: str) -> None:
    with pytest.raises(UndefinedError, match=words):
        model().predict(x)


def test_thirty_seconds_take_well_under_fifty_milliseconds() -> None:
    one, x = model(), np.random.default_rng(0).normal(size=(1500, 4))
    one.predict(x)
    spent = []
    for _ in range(5):
        start = time.process_time()
        one.predict(x)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.05 * max(1, torch.get_num_threads())


def test_bands_hear_their_tone_where_it_is() -> None:
    t = np.arange(6000) / 1000
    tone = np.sin(2 * np.pi * 202 * t) * ((t > 2) & (t < 3)) + 0.4 * np.random.default_rng(
        0
    ).normal(size=6000)
    levels = env.band_levels(tone, 1000)
    assert levels.shape == (300, env.BANDS)
    band = round((202 - 25) / (375 / (env.BANDS + 1))) - 1
    heard = levels[105:145].mean(axis=0)
    assert abs(int(heard.argmax()) - band) <= 1
    assert levels[105:145, band].mean() > levels[:95, band].mean() + 1
    with pytest.raises(UndefinedError, match="flat"):
        env.band_levels(np.zeros(6000), 1000)


def test_the_card_gives_a_series_and_pooled_statistics() -> None:
    card = backbones.card("heart_series")
    assert card.series == 50
    found: FloatArray = card.load().series(heart(3)[0], RATE, "r")  # type: ignore[attr-defined]
    assert found.shape == (400, 4 + env.BANDS)
    np.testing.assert_array_equal(found[:, :4], env.envelopes(heart(3)[0], RATE))


def test_timing_features_of_a_known_heart() -> None:
    state = np.concatenate([[3] * 7, np.tile(np.repeat(np.arange(4), [6, 9, 5, 20]), 5), [0] * 3])
    level = np.array([4.0, 1.0, 2.0, 0.5])[state]
    got = dict(zip(timing.TIMING_FEATURES, timing.timing_features(state, level), strict=True))
    wanted = {
        "cycle": 0.8,
        "s1": 0.12,
        "systole": 0.18,
        "s2": 0.1,
        "diastole": 0.4,
        "systole_cycle": 0.225,
        "diastole_cycle": 0.5,
        "systole_diastole": 0.45,
        "level_systole_s1": 0.25,
        "level_diastole_s2": 0.25,
    }
    assert len(got) == 20
    for name, value in wanted.items():
        assert got[f"mean_{name}"] == pytest.approx(value)
        assert got[f"sd_{name}"] == pytest.approx(0.0, abs=1e-12)
    assert (timing.timing_features(np.full(200, 3), np.ones(200)) == 0).all()


@pytest.mark.parametrize("beat", ["homomorphic", "wavelet"])
def test_timing_features_hold_the_rate_of_a_phantom(beat: str) -> None:
    sound, truth = heart(4)
    row = timing.timing_of(sound, RATE, beat=beat)
    got = dict(zip(timing.TIMING_FEATURES, row, strict=True))
    onsets = np.flatnonzero((truth[1:] == 0) & (truth[:-1] != 0))
    assert got["mean_cycle"] == pytest.approx(np.diff(onsets).mean() / 50, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("beat", ["homomorphic", "wavelet"])
def test_the_segmenter_is_the_one_fitted_on_the_phantom(beat: str) -> None:
    from benchmarks.fit_segmenter import segmenter

    again = segmenter(beat)
    fixed = timing.segmenter(beat)
    for name in ("mean", "weights", "intercept", "prior"):
        np.testing.assert_allclose(getattr(fixed, name), getattr(again, name), atol=0.02)
    for name in ("systole", "offset"):
        one = getattr(fixed.spreads, name)
        assert one == pytest.approx(getattr(again.spreads, name), abs=2e-4)
    assert fixed.beat == beat


def test_the_control_with_the_wavelet_rate_reads_the_wavelet_envelope() -> None:
    """Under a rumble the two controls differ, and the right cycle is that of ``timing_wavelet``."""
    from tests.heads.test_hsmm import rumbling_sound

    wrong = {"timing_features": 0, "timing_wavelet": 0}
    for seed in range(8):
        sound, intervals = rumbling_sound(seed, 130.0)
        true_rate = heart_rate(intervals)
        assert true_rate is not None
        for name, missed in wrong.items():
            control = backbones.card(name).load()
            row = control.facts(_OneSound(sound), [Record("r", "p", "AV", "", RATE, {}, {})])[0]
            wrong[name] = missed + int(abs(60 / row[0] / true_rate - 1) > 0.1)
    assert wrong["timing_wavelet"] < wrong["timing_features"]


class _OneSound:
    """A source with one sound for every record."""

    def __init__(self, sound: FloatArray) -> None:
        self.sound = sound

    def wave(self, record: Record) -> tuple[FloatArray, int]:
        return self.sound, RATE


@pytest.mark.parametrize("name", ["hsmm", "state_unet", "gru"])
def test_a_series_is_a_field_and_no_map(name: str) -> None:
    """A map of objects is no series: heads go by the field, not by the type of numbers in a map."""
    features, answers = made_features(Kind.STATES, n=12)
    patients, splits = made_splits(12)
    assert len(features) == 12
    assert not features.maps
    wrong = Features({}, (features.series,))
    with pytest.raises(UnsupportedOptionError, match=r"series|sequences"):
        heads.head(name).cross_fit(
            wrong, answers, patients, splits, made_target(Kind.STATES), rng=np.random.default_rng(0)
        )
