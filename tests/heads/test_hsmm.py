"""Envelopes against closed forms, and the duration-dependent HSMM: it learns, it is exact, it refuses, it does not leak."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from etab import heads
from etab.errors import SplitError, UndefinedError, UnsupportedOptionError
from etab.heads.states import hsmm
from etab.metrics.states import frame_accuracy, segmentation
from etab.phantom.sounds import STETHOSCOPES, auscultate, draw_chest
from etab.sounds import envelopes as env
from etab.sounds import semimarkov
from etab.sounds.states import (
    DIASTOLE,
    S1,
    S2,
    STATE_RATE,
    SYSTOLE,
    Interval,
    heart_rate,
    states_at,
)
from etab.splits import row_splits
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit, Target

RATE = 2000


def tone(hertz: float, seconds: float = 6.0, rate: int = 1000) -> FloatArray:
    return np.asarray(np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate))


def heart(
    seed: int, seconds: float = 12.0, rate: float = 85.0, noise: float = 0.0
) -> tuple[Array, IntArray]:
    rng = np.random.default_rng(seed)
    chest = draw_chest(rng, murmur=seed % 3 == 0, third=False, rate=rate)
    sound, intervals = auscultate(
        chest, STETHOSCOPES["circor"], rate=RATE, seconds=seconds, loud=0.5, noise=noise, rng=rng
    )
    return sound / 32768, states_at(intervals, len(sound), RATE)


@pytest.fixture(scope="module")
def made() -> tuple[list[FloatArray], list[IntArray], Array]:
    """16 made recordings of 8 people: envelopes, states, people."""
    pairs = [heart(seed, rate=60 + 5 * seed) for seed in range(16)]
    return (
        [env.envelopes(x, RATE) for x, _ in pairs],
        [y for _, y in pairs],
        np.array([f"p{i // 2}" for i in range(16)]),
    )


# --- envelopes ---


def test_the_envelope_of_a_tone_is_its_amplitude() -> None:
    slow = 1 + 0.5 * np.cos(2 * np.pi * 2 * np.arange(6000) / 1000)
    middle = slice(500, -500)
    np.testing.assert_allclose(env.magnitude(slow * tone(100))[middle], slow[middle], atol=2e-3)
    np.testing.assert_allclose(env.homomorphic(3 * tone(100))[middle], 3.0, rtol=2e-3)


def test_homomorphic_is_geometric_where_hilbert_is_not() -> None:
    fast = np.exp(
        1.5 * np.cos(2 * np.pi * 40 * np.arange(8000) / 1000)
    )  # far above 8 Hz: its logarithm averages to 0
    smooth = env.homomorphic(fast * tone(200, 8.0))[2000:-2000].mean()
    assert abs(smooth - 1) < 0.08
    assert env.magnitude(fast * tone(200, 8.0))[2000:-2000].mean() > 1.5


def test_band_power_of_tones() -> None:
    inside = env.band_power(2 * tone(50))[10:-10]
    np.testing.assert_allclose(env.band_power(6 * tone(50))[10:-10], 9 * inside, rtol=1e-9)
    assert inside.mean() == pytest.approx(4 / 4, rel=0.25)
    assert inside.mean() > 50 * env.band_power(2 * tone(180))[10:-10].mean()
    assert len(env.band_power(tone(50, 2.01))) == 101


def test_wavelet_has_nine_vanishing_moments_and_its_octave() -> None:
    taps, n = env.spline_wavelet(1), np.arange(20)
    assert len(taps) == 20
    for power in range(9):
        assert abs(float(taps @ (n / 20.0) ** power)) < 1e-12
    assert abs(float(taps @ (n / 20.0) ** 9)) > 1e-7
    gain = {f: float(env.wavelet(tone(f))[500:-500].mean()) for f in (30, 90, 250)}
    assert gain[90] > 5 * gain[30]
    assert gain[90] > 5 * gain[250]
    bang = np.zeros(1000)
    bang[500] = 1.0
    there = env.wavelet(bang)
    assert abs(float((np.arange(1000) * there).sum() / there.sum()) - 500) <= 0.5


def test_wavelet_filters_reconstruct() -> None:
    low, high = np.array([1.0, 3.0, 3.0, 1.0]) / 8, env.spline_wavelet(1)
    dual = high * (-1.0) ** np.arange(20)
    dual = dual / dual.sum()
    product_filter = np.convolve(low, dual)
    middle = len(product_filter) // 2
    offsets = np.arange(len(product_filter)) - middle
    even = product_filter[(offsets % 2 == 0) & (offsets != 0)]
    assert product_filter[middle] == pytest.approx(
        0.5, abs=1e-12
    )  # a half-band filter: perfect reconstruction
    np.testing.assert_allclose(even, 0.0, atol=1e-12)


def test_band_pass_keeps_the_band_in_place() -> None:
    np.testing.assert_allclose(
        env.band_pass(tone(100), 1000)[500:-500], tone(100)[500:-500], atol=0.02
    )
    assert np.abs(env.band_pass(tone(5), 1000)[500:-500]).max() < 0.01
    with pytest.raises(UnsupportedOptionError, match="wanted 0 < low < high"):
        env.band_pass(tone(5), 1000, 400, 25)


def test_spikes_go_and_the_rest_stays() -> None:
    clean = tone(50)
    knocked = clean.copy()
    knocked[3000:3010] += 50 * np.hanning(10)
    healed = env.remove_spikes(knocked, 1000)
    assert np.abs(healed).max() < 1.1
    changed = np.flatnonzero(healed != clean)
    assert 2950 < changed.min() <= changed.max() < 3050
    np.testing.assert_array_equal(env.remove_spikes(clean, 1000), clean)


@pytest.mark.parametrize("rate", [1000, 2000, 4000, 44100])
def test_envelopes_are_aligned_with_states(rate: int) -> None:
    n = round(3.333 * rate)
    rng = np.random.default_rng(0)
    x = 0.01 * rng.standard_normal(n)
    burst = slice(round(1.5 * rate), round(1.6 * rate))
    x[burst] += np.sin(2 * np.pi * 70 * np.arange(burst.stop - burst.start) / rate)
    found = env.envelopes(x, rate, spikes=False)
    assert found.shape == (len(states_at((), n, rate)), 4)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(found.std(axis=0), 1, atol=1e-9)
    assert (np.abs(found.argmax(axis=0) / STATE_RATE - 1.55) < 0.06).all()
    hilbert = env.envelopes(x, rate, spikes=False, kinds=("hilbert",))
    np.testing.assert_allclose(hilbert[:, 0], found[:, 1], atol=1e-12)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.zeros(8000), "rec7 is flat"),
        (np.ones(1000), "rec7 lasts 0.50 s"),
        (np.ones((9000, 2)), "one channel"),
        (np.r_[np.nan, np.ones(8000)], "not finite"),
    ],
)
def test_recordings_without_a_heart_are_refused(x: FloatArray, said: str) -> None:
    with pytest.raises(UndefinedError, match=said):
        env.envelopes(x, RATE, name="rec7")


def test_unknown_envelope() -> None:
    with pytest.raises(
        UnsupportedOptionError, match="possible: homomorphic, hilbert, psd, wavelet"
    ):
        env.envelopes(heart(0)[0], RATE, kinds=("hilbrt",))


# --- timing ---


def test_the_beat_is_read_off() -> None:
    t = np.arange(600) / STATE_RATE
    beat, systole = 0.83, 0.31
    sounds = sum(
        np.exp(-(((t - k * beat - d) / 0.03) ** 2)) * g
        for k in range(15)
        for d, g in ((0, 1.0), (systole, 0.6))
    )
    timing = hsmm.heart_timings(np.asarray(sounds))[0]
    assert timing.period == pytest.approx(beat, abs=0.006)
    assert timing.systole == pytest.approx(systole, abs=0.01)


def test_durations_are_what_the_timing_says() -> None:
    spreads = hsmm.Spreads()
    table = hsmm.duration_table(hsmm.Timing(0.9, 0.33), spreads)
    np.testing.assert_allclose(np.exp(table).sum(axis=1), 1.0)
    means = np.exp(table) @ np.arange(1, table.shape[1] + 1) / STATE_RATE
    np.testing.assert_allclose(means, [0.122, 0.33 - 0.122, 0.092, 0.9 - 0.33 - 0.092], atol=0.01)


def rumbling_sound(seed: int, rate: float) -> tuple[FloatArray, list[Interval]]:
    """A made heart under a rumble below 45 Hz that is louder than itself, and its annotation."""
    rng = np.random.default_rng(seed)
    chest = draw_chest(rng, murmur=False, third=False, rate=rate)
    sound, intervals = auscultate(
        chest, STETHOSCOPES["circor"], rate=RATE, seconds=12, loud=0.5, noise=0.0, rng=rng
    )
    heard = sound / 32768
    noise = env.band_pass(rng.standard_normal(len(heard)), RATE, 28, 45)
    swell = env.band_pass(rng.standard_normal(len(heard)), RATE, 0.1, 2)
    noise = noise / noise.std() * np.exp(swell / swell.std())
    return heard + noise / noise.std() * 1.5 * heard.std(), list(intervals)


def rumble(seed: int, rate: float) -> tuple[FloatArray, IntArray, float]:
    """A rumbling sound: envelopes, states, beats a minute."""
    heard, intervals = rumbling_sound(seed, rate)
    true_rate = heart_rate(intervals)
    assert true_rate is not None
    return env.envelopes(heard, RATE), states_at(intervals, len(heard), RATE), true_rate


@pytest.mark.parametrize("rate", [90.0, 110.0, 130.0, 150.0])
def test_the_wavelet_envelope_gives_the_rate_under_a_rumble(rate: float) -> None:
    right = {"homomorphic": 0, "wavelet": 0}
    for seed in range(8):
        series, _, true_rate = rumble(seed, rate)
        for beat in right:
            timing = semimarkov.heart_timings(semimarkov.beat_envelope(series, beat))[0]
            right[beat] += abs(60 / timing.period / true_rate - 1) < 0.1
    assert right["wavelet"] >= 7
    assert right["homomorphic"] < right["wavelet"]


@pytest.mark.parametrize("layered", [False, True])
def test_the_head_reads_the_wavelet_envelope(layered: bool) -> None:
    """On a series of envelopes, and on layers of a backbone beside the envelopes.

    The homomorphic envelope is noise here, so it holds no heart rate, and neither do the layers.
    """
    pairs = [heart(seed, rate=60.0 + 8 * seed) for seed in range(10)]
    series = np.empty(10, dtype=object)
    layers = np.empty(10, dtype=object)
    rng = np.random.default_rng(0)
    for i, (sound, _) in enumerate(pairs):
        series[i] = env.envelopes(sound, RATE)
        series[i][:, 0] = rng.standard_normal(len(series[i]))
        noise = rng.standard_normal((len(series[i]), 3))
        layers[i] = (0.2 * series[i][:, 1:] + noise).astype(np.float32)
    features = Features({}, sequences={"layer": layers} if layered else {}, series=series)
    truth = [states for _, states in pairs]
    people = np.arange(10).astype(str)
    splits = row_splits(people, people, protocol="cv", n_fold=2, seed=0)
    target = Target("states", Kind.STATES, "", ("S1", "systole", "S2", "diastole"))
    f1 = {}
    for name in ("hsmm", "hsmm_wavelet"):
        rng = np.random.default_rng(0)
        fits = heads.head(name).cross_fit(features, truth, people, splits, target, rng=rng)
        scores = []
        for split, fit in zip(splits, fits, strict=True):
            for i, states in zip(split.test, fit.predictions, strict=True):
                scores.append(segmentation(truth[i], states, tolerance_ms=60).f1)
        f1[name] = float(np.mean(scores))
    gain = 0.15 if layered else 0.03
    assert f1["hsmm_wavelet"] > f1["hsmm"] + gain, f1


def test_an_envelope_that_is_not_there_is_named() -> None:
    with pytest.raises(UnsupportedOptionError, match="possible: homomorphic, wavelet"):
        semimarkov.beat_envelope(np.zeros((100, 4)), "hilbert")
    with pytest.raises(UnsupportedOptionError, match=r"\(100, 2\) has no wavelet envelope"):
        semimarkov.beat_envelope(np.zeros((100, 2)), "wavelet")


# --- search ---


def textbook(emission: FloatArray, table: FloatArray) -> tuple[float, list[list[int]]]:
    """Every sequence of states there is, by exhaustion: best log-likelihood and the sequences that have it."""
    n, longest = len(emission), table.shape[1]
    tail = np.log(np.maximum(np.cumsum(np.exp(table)[:, ::-1], axis=1)[:, ::-1], 1e-300))
    best: list[tuple[float, list[int]]] = []

    def walk(at: int, state: int, score: float, path: list[int]) -> None:
        for d in range(1, longest + 1):
            end = min(at + d, n)
            if at + d > n:
                break
            first, last = at == 0, end == n
            if first and last:
                continue
            weight = tail[state, d - 1] if first or last else table[state, d - 1]
            value = score + weight + float(emission[at:end, state].sum())
            longer = [*path, *([state] * d)]
            if last:
                best.append((value, longer))
            else:
                walk(end, (state + 1) % 4, value, longer)

    for state in range(4):
        walk(0, state, 0.0, [])
    top = max(v for v, _ in best)
    return top, [p for v, p in best if v > top - 1e-9]


@pytest.mark.parametrize("seed", range(8))
def test_search_is_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, longest = int(rng.integers(9, 15)), int(rng.integers(3, 6))
    emission = rng.normal(0, 2, (n, 4))
    weight = rng.random((4, longest))
    if seed % 2:
        weight[:, 0] = 0  # the shortest lasts two frames: blocks of two are searched together
    with np.errstate(divide="ignore"):
        table = np.log(weight / weight.sum(axis=1, keepdims=True))
    score, paths = textbook(emission, table)
    states, found, chosen = hsmm.viterbi(emission, [table])
    assert found == pytest.approx(score, abs=1e-9)
    assert states.tolist() in paths
    assert chosen == 0
    other = np.full((4, longest), -np.log(longest))
    both = hsmm.viterbi(emission, [other, table])
    alone = hsmm.viterbi(emission, [other])
    assert both[1] == pytest.approx(max(score, alone[1]))
    assert both[2] == int(score > alone[1])


def test_known_states_come_back() -> None:
    truth = np.concatenate(
        [np.repeat(s, d) for _, (s, d) in product(range(8), ((0, 6), (1, 9), (2, 5), (3, 20)))]
    )[3:-4]
    emission = np.where(np.arange(4) == truth[:, None], 0.0, -3.0)
    rng = np.random.default_rng(0)
    noisy = emission + rng.normal(0, 1.5, emission.shape)
    table = hsmm.duration_table(hsmm.Timing(0.8, 0.3), hsmm.Spreads())
    assert (hsmm.viterbi(emission, [table])[0] == truth).all()
    assert (hsmm.viterbi(noisy, [table])[0] == truth).mean() > 0.95
    assert (noisy.argmax(axis=1) == truth).mean() < 0.95


def test_durations_decide_where_frames_say_nothing() -> None:
    states, _, _ = hsmm.viterbi(
        np.zeros((400, 4)), [hsmm.duration_table(hsmm.Timing(0.8, 0.3), hsmm.Spreads())]
    )
    edges = np.flatnonzero(np.diff(states) != 0) + 1
    lengths, order = np.diff(edges), states[edges[:-1]]
    assert set(np.diff(np.append(order, (order[-1] + 1) % 4)) % 4) == {1}
    for state, frames in ((S1, 6), (SYSTOLE, 9), (S2, 5), (DIASTOLE, 20)):
        assert abs(float(lengths[order == state].mean()) - frames) <= 1


def test_too_short_to_search() -> None:
    with pytest.raises(UndefinedError, match="5 frames are not longer"):
        hsmm.viterbi(np.zeros((5, 4)), [np.zeros((4, 6))])


# --- model ---


def test_it_learns(made: tuple[list[FloatArray], list[IntArray], Array]) -> None:
    x, y, people = made
    splits = row_splits(people, people, protocol="cv", n_fold=2, seed=0)
    scores, frames = [], []
    for split, answers in hsmm.cross_segment(x, y, people, splits):
        scores += [
            segmentation(y[i], p, tolerance_ms=60).f1
            for i, p in zip(split.test, answers, strict=True)
        ]
        frames += [frame_accuracy(y[i], p) for i, p in zip(split.test, answers, strict=True)]
    assert len(scores) == 16
    assert np.mean(scores) > 0.9
    assert np.mean(frames) > 0.85


def test_regression_is_scikit_learns(made: tuple[list[FloatArray], list[IntArray], Array]) -> None:
    sk = pytest.importorskip("sklearn.linear_model")
    x, y, _ = made
    model = hsmm.fit_hsmm(x[:4], y[:4])
    z, answer = np.concatenate([hsmm.state_features(e, 0) for e in x[:4]]), np.concatenate(y[:4])
    reference = sk.LogisticRegression(C=1e4, max_iter=2000).fit((z - z.mean(0)) / z.std(0), answer)
    theirs = reference.predict_log_proba((z - z.mean(0)) / z.std(0))
    mine = np.concatenate([model.emission(e) for e in x[:4]]) + model.prior
    picked = np.arange(len(answer))
    assert mine[picked, answer].mean() == pytest.approx(theirs[picked, answer].mean(), abs=0.01)


def test_unannotated_frames_teach_nothing(
    made: tuple[list[FloatArray], list[IntArray], Array],
) -> None:
    x, y, _ = made
    part = [np.where(np.arange(len(s)) < 400, s, -1).astype(np.int8) for s in y[:6]]
    wild = [e.copy() for e in x[:6]]
    for e in wild:
        e[450:] = e[450:][::-1]
    one, two = hsmm.fit_hsmm(x[:6], part), hsmm.fit_hsmm(wild, part)
    np.testing.assert_allclose(one.prior, two.prior)
    assert one.spreads.s1 == two.spreads.s1


def test_a_person_in_training_and_test_is_refused(
    made: tuple[list[FloatArray], list[IntArray], Array],
) -> None:
    x, y, people = made
    leak = RowSplit(np.arange(0, 9), (), np.arange(9, 16), "fold0")
    with pytest.raises(SplitError, match="fold0: p4 is in training and in test"):
        list(hsmm.cross_segment(x, y, people, [leak]))


def test_test_recordings_teach_nothing(
    made: tuple[list[FloatArray], list[IntArray], Array],
) -> None:
    x, y, people = made
    split = RowSplit(np.arange(0, 8), (), np.arange(8, 16), "fold0")
    plain = next(hsmm.cross_segment(x, y, people, [split]))[1]
    lies = [*y[:8], *[(s + 2) % 4 for s in y[8:]]]
    for one, two in zip(plain, next(hsmm.cross_segment(x, lies, people, [split]))[1], strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (np.zeros((500, 4)), "flat"),
        (np.ones((60, 4)), "1.20 s"),
        (np.full((500, 4), np.nan), "not finite"),
        (np.ones((500, 3)), r"wanted \(n, 4\)"),
    ],
)
def test_bad_recordings_are_refused(
    made: tuple[list[FloatArray], list[IntArray], Array], bad: FloatArray, said: str
) -> None:
    x, y, _ = made
    with pytest.raises(UndefinedError, match=said):
        hsmm.fit_hsmm(x[:2], y[:2]).predict(bad)


def test_training_without_a_state_is_refused(
    made: tuple[list[FloatArray], list[IntArray], Array],
) -> None:
    x, y, _ = made
    with pytest.raises(UndefinedError, match="wanted some of each"):
        hsmm.fit_hsmm(x[:2], [np.where(s == S2, -1, s) for s in y[:2]])
    with pytest.raises(UndefinedError, match="No recording"):
        hsmm.fit_hsmm([], [])
    with pytest.raises(UndefinedError, match="Align them"):
        hsmm.fit_hsmm(x[:2], [s[:-1] for s in y[:2]])


def test_the_beat_of_the_recording_matters(
    made: tuple[list[FloatArray], list[IntArray], Array],
) -> None:
    x, y, _ = made
    model = hsmm.fit_hsmm(x[:8], y[:8])
    right = hsmm.heart_timings(x[9][:, 0])
    wrong = (replace(right[0], period=2.2 * right[0].period, systole=1.8 * right[0].systole),)
    assert (
        frame_accuracy(y[9], model.predict(x[9], right))
        > frame_accuracy(y[9], model.predict(x[9], wrong)) + 0.2
    )


@pytest.mark.slow
def test_half_a_minute_takes_well_under_50_ms(
    made: tuple[list[FloatArray], list[IntArray], Array],
) -> None:
    x, y, _ = made
    model = hsmm.fit_hsmm(x, y)
    sound, _ = heart(40, seconds=30.0)
    spent = []
    for _ in range(10):
        start = time.process_time()
        model.predict(env.envelopes(sound, RATE))
        spent.append(time.process_time() - start)
    assert min(spent) < 0.05


@pytest.mark.real
def test_real_heart_rates(real_data: Path) -> None:
    """The wavelet envelope gives the heart rate of real recordings more often, and better states."""
    from benchmarks.heart_rate import load, rates_of, segmented

    if not (real_data / "circor" / "training_data").is_dir():
        pytest.skip("no real data: circor is absent")
    rows = load(real_data / "circor")
    truth = np.array([row.rate for row in rows])
    near = {}
    f1 = {}
    for beat in semimarkov.BEATS:
        rates = rates_of(rows, lambda series, beat=beat: semimarkov.beat_envelope(series, beat))
        near[beat] = np.mean(np.abs(rates / truth - 1) <= 0.1)
        f1[beat] = segmented(rows, beat, n_fold=5, seed=0).mean()
    assert near["wavelet"] > 0.9
    assert near["homomorphic"] < 0.8
    assert f1["wavelet"] > f1["homomorphic"] + 0.01


@pytest.mark.real
def test_real_recordings(real_data: Path) -> None:
    from benchmarks.hsmm_circor import load, score, segment

    if not (real_data / "circor" / "training_data").is_dir():
        pytest.skip("no real data: circor is absent")
    rows = load(real_data / "circor")
    table = score(rows, segment(rows, n_fold=5, seed=0)[0])
    assert np.mean(table["f1_100"]) > 0.8
