"""Front ends of sound: bands where they are said to be, levels in dB, pictures, and Slaney's mel scale."""

from __future__ import annotations

import numpy as np
import pytest

from etab.errors import UnsupportedOptionError
from etab.sounds.mel import (
    HEART,
    PICTURE,
    Mel,
    log_mel,
    log_mel_bands,
    mel_bank,
    mel_power,
    picture,
    slaney_bank,
    slaney_hz,
    slaney_mel,
)


def tone(hertz: float, rate: int = 2000, seconds: float = 1.0, size: float = 0.5) -> np.ndarray:
    return (size * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


def centre(mel: Mel, band: int) -> float:
    """Centre in Hz of a band, from the formula of the mel scale that heart-sound bands use."""
    edges = np.linspace(np.log1p(mel.low / 700), np.log1p(mel.high / 700), mel.bands + 2)
    return float(700 * np.expm1(edges[band + 1]))


@pytest.mark.parametrize("rate", [2000, 4000])
@pytest.mark.parametrize("hertz", [40, 120, 300, 700])
def test_a_tone_is_in_its_band_whatever_the_rate(rate: int, hertz: float) -> None:
    found = log_mel_bands(tone(hertz, rate), rate)
    assert found.shape == (HEART.bands, 63)
    assert found.dtype == np.float32
    loudest = centre(HEART, int(found[:, 30].argmax()))
    assert abs(loudest - hertz) < 20


def test_levels_are_in_decibels_and_kept() -> None:
    loud, soft = (log_mel_bands(tone(200, size=size), 2000) for size in (0.5, 0.05))
    assert float((loud - soft)[:, 30].max()) == pytest.approx(20, abs=0.1)
    assert float(loud.max()) < 0
    assert np.all(log_mel_bands(np.zeros(2000, np.float32), 2000) == -HEART.floor_db)
    shallow = log_mel_bands(tone(200), 2000, Mel(floor_db=30))
    assert float(shallow.min()) == -30


def test_the_parameters_act() -> None:
    sound = tone(200)
    usual = log_mel_bands(sound, 2000)
    assert log_mel_bands(sound, 2000, Mel(bands=20)).shape == (20, 63)
    assert log_mel_bands(sound, 2000, Mel(hop=0.032)).shape == (40, 32)
    for other in (Mel(window=0.032), Mel(low=100), Mel(high=500)):
        assert not np.allclose(log_mel_bands(sound, 2000, other), usual)
    assert set(Mel().facts()) == {"bands", "low", "high", "window", "hop", "floor_db"}


def test_time_goes_to_the_right() -> None:
    sound = np.concatenate([np.zeros(1000, np.float32), tone(200)])
    found = log_mel_bands(sound, 2000)
    assert found[:, :28].max() == -HEART.floor_db
    assert found[:, 40].max() > -40


@pytest.mark.parametrize("wrong", [np.zeros((2, 100), np.float32), np.zeros(0, np.float32)])
def test_what_is_no_window_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(UnsupportedOptionError, match="one channel"):
        log_mel_bands(wrong, 2000)


def test_power_is_that_of_the_definition() -> None:
    sound, rate = tone(150) + tone(330, size=0.1), 2000
    power = mel_power(sound, rate)
    at = 20 * 32
    padded = np.pad(sound, 64)
    frame = padded[at : at + 128] * np.hanning(129)[:-1]
    wanted = mel_bank(rate, 256) @ np.abs(np.fft.rfft(frame, 256)) ** 2
    np.testing.assert_allclose(power[:, 20], wanted, rtol=1e-4, atol=1e-6 * wanted.max())


def test_pictures_are_the_log_mel_at_a_size() -> None:
    sound = tone(150, 4000, 3.0)
    same = picture(sound, 4000, log_mel(sound, 4000).shape)  # type: ignore[arg-type]
    np.testing.assert_allclose(same, log_mel(sound, 4000), atol=1e-6)
    grey = picture(sound, 4000, (224, 192))
    assert grey.shape == (224, 192)
    assert grey.dtype == np.float32
    assert grey.min() >= 0
    assert grey.max() <= 1
    assert grey[:, 96].argmax() > 112, "low bands are at the bottom"
    assert PICTURE.facts()["high"] == 1000


def test_slaney_scale_and_bank() -> None:
    assert slaney_hz(np.array([3.0, 15.0, 42.0])).tolist() == pytest.approx([200, 1000, 6400])
    assert [slaney_mel(f) for f in (200, 1000, 6400)] == pytest.approx([3, 15, 42])
    bank = slaney_bank(16_000, 512, 40)
    assert bank.shape == (40, 257)
    areas = bank.sum(1) * 16_000 / 512
    assert areas[20:] == pytest.approx(np.ones(20), abs=0.05), "unit area per Hz"
    limited = slaney_bank(16_000, 512, 32, low=60, high=3800)
    hertz = np.fft.rfftfreq(512, 1 / 16_000)
    assert not limited[:, (hertz <= 60) | (hertz >= 3800)].any()


def test_slaney_bank_is_that_of_librosa() -> None:
    """A few numbers of librosa.filters.mel(sr=16000, n_fft=512, n_mels=96), version 0.11.0."""
    bank = slaney_bank(16_000, 512, 96)
    got = [bank[0, 1], bank[10, 11], bank[50, 59], bank[95, 248], bank[95, 253]]
    assert got == pytest.approx(
        [0.0319992229, 0.0304134991, 0.0130777406, 0.00398456026, 0.00149420998], rel=1e-5
    )
