"""``Dataset`` on heart sounds, and what the phantom of sounds holds."""

from __future__ import annotations

import pickle
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from etab.datasets import Cinc2016Source, CircorSource, Dataset
from etab.errors import UnsupportedOptionError
from etab.phantom.sounds import STETHOSCOPES, auscultate, draw_chest
from etab.sounds.states import choose_start, states_at
from etab.sounds.windows import resample

# --- what the phantom holds ---


def _spectrum(samples: np.ndarray, rate: int) -> np.ndarray:
    power = np.abs(np.fft.rfft(samples)) ** 2
    edges = np.searchsorted(np.fft.rfftfreq(len(samples), 1 / rate), np.geomspace(20, 900, 25))
    return np.log([power[a:b].mean() for a, b in pairwise(edges)])


def test_the_stethoscope_gives_the_database_away() -> None:
    """The confound is there on purpose: other people, and yet the device is recognised from 24 bands."""
    rng = np.random.default_rng(0)
    people = [draw_chest(rng, murmur=i % 2 == 0, third=False, rate=75) for i in range(8)]
    rows, devices, who = [], [], []
    for i, chest in enumerate(people):
        for letter in "abcdef":
            sound, _ = auscultate(
                chest, STETHOSCOPES[letter], rate=2000, seconds=5, loud=1, noise=0.05, rng=rng
            )
            rows.append(_spectrum(sound / 32768, 2000))
            devices.append(letter)
            who.append(i)
    x = np.array(rows) - np.mean(rows, axis=1, keepdims=True)
    letters, owners = np.array(devices), np.array(who)
    near = {k: [x[(owners != i) & (letters == k)].mean(axis=0) for i in range(8)] for k in "abcdef"}
    guessed = [
        min(near, key=lambda k: float(np.square(near[k][i] - v).sum()))
        for v, i in zip(x, owners, strict=True)
    ]
    assert np.mean(np.array(guessed) == letters) > 0.7


def test_states_are_where_the_sounds_are(sound_trees: Path) -> None:
    source = CircorSource(sound_trees / "circor")
    louder, systolic = [], {"Present": [], "Absent": []}
    for record in source.records():
        if not source.intervals(record) or record.meta["murmur"] == "Unknown":
            continue
        samples, rate = source.wave(record)
        power = {state: [] for state in range(4)}
        for start, end, state in source.intervals(record):
            power[state].append(np.square(samples[int(start * rate) : int(end * rate)]).mean())
        mean = {state: float(np.mean(values)) for state, values in power.items()}
        louder.append(min(mean[0], mean[2]) > 3 * mean[3])
        if record.meta["murmur"] == "Absent" or record.view == record.meta["most_audible"]:
            systolic[record.meta["murmur"]].append(mean[1] / mean[3])
    assert np.mean(louder) > 0.8
    assert np.median(systolic["Present"]) > 2 * np.median(systolic["Absent"])


def test_marks_in_the_mat_files_agree_with_the_sounds(sound_trees: Path) -> None:
    source = Cinc2016Source(sound_trees / "cinc2016")
    noisy = 0
    for record in source.records():
        (states,) = source.answers(record, source.card.target("states"))
        (rate,) = source.answers(record, source.card.target("HR"))
        noisy += int(states.value[0] == -1)
        assert 40 < rate.value < 190
        assert (states.value >= 0).mean() > 0.8
    assert 0 < noisy < 25, "some recordings begin with a stretch marked as noise"


# --- Dataset ---


def test_waveforms(sound_trees: Path) -> None:
    ds = Dataset(
        "circor",
        "murmur",
        root=sound_trees / "circor",
        video=True,
        normalize=False,
        clip_l=6000,
        fps=2000,
    )
    source = CircorSource(sound_trees / "circor")
    x, y = ds[0]
    samples, rate = source.wave(source.records()[0])
    assert (x.shape, x.dtype, type(y)) == ((6000,), torch.float32, int)
    assert np.array_equal(x.numpy(), resample(samples, rate, 2000)[:6000])
    normal = Dataset(
        "circor", "murmur", root=sound_trees / "circor", video=True, clip_l=6000, fps=2000
    )[0][0]
    assert abs(float(normal.mean())) < 1e-6
    assert float(normal.std()) == pytest.approx(1, abs=1e-3)
    assert len(Dataset("circor", "murmur", view="mitral", root=sound_trees / "circor")) < len(ds)
    assert Dataset("circor", "HR", root=sound_trees / "circor", video=True)[0][0].shape == (20_000,)


def test_pictures(sound_trees: Path) -> None:
    ds = Dataset(
        "cinc2016",
        "abnormal",
        root=sound_trees / "cinc2016",
        normalize=False,
        frame_l=48,
        frame_w=96,
        clip_l=4000,
    )
    x, y = ds[0]
    assert x.shape == (3, 48, 96)
    assert y in (0, 1)
    assert 0 <= float(x.min()) < float(x.max()) <= 1
    assert torch.equal(x[0], x[1])
    shown = Dataset(
        "cinc2016", "abnormal", root=sound_trees / "cinc2016", frame_l=48, frame_w=96, clip_l=4000
    )[0][0]
    assert torch.allclose(shown[0], (x[0] - 0.485) / 0.229, atol=1e-5)


def test_states_go_with_the_window(sound_trees: Path) -> None:
    root = sound_trees / "circor"
    source = CircorSource(root)
    record = source.records()[0]
    whole = states_at(source.intervals(record), source.n_samples(record), 4000)
    for rate, clip in ((4000, 8000), (1000, 2000), (16_000, 32_000)):
        x, y = Dataset("circor", "states", root=root, video=True, fps=rate, clip_l=clip)[0]
        assert (len(x), y.shape, y.dtype) == (clip, (100,), torch.int64)
        start = choose_start(whole, 100)
        assert np.array_equal(y.numpy(), whole[start : start + 100])
        assert (y >= 0).all(), "the window is where the annotation is"
    long = Dataset("circor", "states", root=root, video=True, clip_l=4000 * 30)[0][1]
    assert (long[len(whole) :] == -1).all(), "a repeated recording is not scored twice"
    assert Dataset("circor", "states", root=root, clip_l=4000)[0][1].shape == (50,)


def test_a_short_recording_is_repeated_or_padded(sound_trees: Path) -> None:
    n = CircorSource(sound_trees / "circor").n_samples(
        CircorSource(sound_trees / "circor").records()[0]
    )
    options = {"root": sound_trees / "circor", "video": True, "normalize": False, "clip_l": n + 50}
    again, zeros = (
        Dataset("circor", "outcome", **options, padding=flag)[0][0] for flag in (False, True)
    )
    assert torch.equal(again[n:], again[:50])
    assert (zeros[n:] == 0).all()
    assert torch.equal(again[:n], zeros[:n])


def test_loaders_and_workers(sound_trees: Path) -> None:
    ds = Dataset("circor", "states", root=sound_trees / "circor", video=True, fps=1000, clip_l=1000)
    one = [x for x, _ in DataLoader(ds, batch_size=4)]
    two = [x for x, _ in DataLoader(ds, batch_size=4, num_workers=2)]
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert torch.equal(pickle.loads(pickle.dumps(ds))[3][0], ds[3][0])
    assert len(ds.load_data(n_clips=5).data) == 5
    assert ds.data.patients[0] == ds.sample(0).patient


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"fps": 99}, "for sound: 100 to 192000 Hz"),
        ({"fps": 1000.5}, "whole"),
        ({"fps": True}, "fps is True"),
        ({"clip_l": 0}, "clip_l is 0"),
        ({"clip_l": 1 << 25}, "wanted a whole number, 1 to 16777216 samples"),
        ({"video": True, "frame_l": 64}, "have nothing to size"),
        ({"view": "A4C"}, "circor has no view 'A4C'"),
        ({"normalize": 1}, "normalize is 1"),
    ],
)
def test_options_are_refused(sound_trees: Path, options: dict, said: str) -> None:
    with pytest.raises(UnsupportedOptionError, match=said):
        Dataset("circor", "murmur", root=sound_trees / "circor", **options)
