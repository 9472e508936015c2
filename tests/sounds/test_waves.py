"""Pure functions of waves: resampling, states at 50 Hz, heart rate, windows, log-mel pictures."""

from __future__ import annotations

import numpy as np
import pytest

from etab.errors import UnsupportedOptionError
from etab.sounds.mel import log_mel, mel_bank
from etab.sounds.states import choose_start, cut_states, heart_rate, states_at
from etab.sounds.windows import check_rate, cut, resample

# --- waves ---


def test_resampling_lets_no_alias_through() -> None:
    t = np.arange(8000) / 4000
    high, low = (np.sin(2 * np.pi * f * t).astype(np.float32) for f in (900.0, 100.0))
    assert np.abs(resample(high, 4000, 1000)[100:-100]).max() < 0.01
    kept = resample(low, 4000, 1000)
    assert np.abs(kept - low[::4])[50:-50].max() < 0.01
    assert resample(low, 4000, 16_000).shape == (32_000,)
    assert resample(low, 4000, 4000) is low
    assert check_rate(2000.0) == 2000


def test_states_at_50_hz() -> None:
    rows = ((0.02, 0.1, 0), (0.1, 0.3, 1), (0.299, 0.4, 2))
    assert states_at(rows, 2000, 4000).tolist() == [-1, *[0] * 4, *[1] * 10, *[2] * 5, *[-1] * 5]
    assert len(states_at(rows, 2001, 4000)) == 26
    assert states_at(((0.0, 9.0, 3),), 400, 4000).tolist() == [3] * 5


def test_heart_rate_takes_whole_cycles_only() -> None:
    def beat(at: float, period: float) -> list[tuple[float, float, int]]:
        edges = [at, at + 0.1, at + 0.3, at + 0.4, at + period]
        return [(edges[k], edges[k + 1], k) for k in range(4)]

    rows = [*beat(0, 0.8), *beat(0.8, 0.8), *beat(5, 1.0)]
    assert heart_rate(rows) == pytest.approx(75)
    assert heart_rate(beat(0, 0.8)) is None


def test_windows() -> None:
    samples = np.arange(10, dtype=np.float32)
    assert cut(samples, 3, 4, padding=False).tolist() == [3, 4, 5, 6]
    assert cut(samples, 8, 4, padding=False).tolist() == [8, 9, 0, 1]
    assert cut(samples, 8, 4, padding=True).tolist() == [8, 9, 0, 0]
    assert cut_states(np.array([0, 1, 2]), 1, 4).tolist() == [1, 2, -1, -1]
    assert choose_start(np.array([-1, -1, 0, 1, 2, -1]), 3) == 2
    assert choose_start(np.array([-1, -1]), 3) == 0


def test_the_picture_shows_the_tone_where_it_is() -> None:
    t = np.arange(8000) / 4000
    picture = log_mel(np.where(t < 1, np.sin(2 * np.pi * 150 * t), 0).astype(np.float32), 4000)
    assert picture.shape[0] == 64
    assert picture[:, : picture.shape[1] // 3].max() == pytest.approx(1, abs=1e-6)
    assert picture[:, -20:].max() == 0
    high = log_mel(np.sin(2 * np.pi * 700 * t).astype(np.float32), 4000)
    assert high[:, 30].argmax() < picture[:, 30].argmax(), "high bands are on top"
    assert not log_mel(np.zeros(4000, np.float32), 4000).any()
    assert (mel_bank(4000, 1024).sum(axis=1) > 0).all()
    with pytest.raises(UnsupportedOptionError, match="higher fps"):
        mel_bank(50, 64)
