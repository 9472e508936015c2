"""The twenty timing and amplitude features of the sample entry of CinC 2016, from a segmentation of
the recording.

After Liu et al. (Physiol. Meas. 37:2181-2213, 2016), as listed in doi:10.22489/CinC.2016.171-159:
means and deviations of the heart cycle, of the four states, of their ratios in a cycle, and of the
mean magnitude of the sound in systole over S1 and in diastole over S2. The states come from a
hidden semi-Markov model whose parameters were fitted on phantom sounds alone (``python -m
benchmarks.fit_segmenter``), so that no person of any data set is in them; its two settings (no
context, five hypotheses of the beat) were picked by their F1 on the public part of CirCor.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.sounds.envelopes import BAND, RATE, band_pass, envelopes
from etab.sounds.semimarkov import HEART_RATES, HOMOMORPHIC, WAVELET, HeartSoundModel, Spreads
from etab.sounds.states import S1, STATE_RATE
from etab.sounds.windows import resample
from etab.types import FloatArray, IntArray

TIMING_FEATURES = tuple(
    f"{what}_{name}"
    for name in (
        "cycle",
        "s1",
        "s2",
        "systole",
        "diastole",
        "systole_cycle",
        "diastole_cycle",
        "systole_diastole",
        "level_systole_s1",
        "level_diastole_s2",
    )
    for what in ("mean", "sd")
)
_MEAN = (0.0, 0.0, 0.0, 0.0, -0.9628, -0.7214, -1.7691, -0.9059)
_WEIGHTS = (
    (0.0603, 0.5679, -0.85, 0.2218),
    (0.1146, 0.6806, 2.3494, -3.1446),
    (-0.8622, 1.6885, -2.032, 1.2056),
    (1.8196, -5.0525, 2.2707, 0.9624),
    (1.5885, -0.7675, 1.3281, -2.1491),
    (-1.4916, 0.6278, -0.0973, 0.961),
    (0.9363, -0.3518, -0.2026, -0.3819),
    (0.1096, 0.3163, -0.5274, 0.1015),
)
_INTERCEPT = (-0.0068, 0.0149, -0.3337, 0.3257)
_PRIOR = (-1.7223, -1.3618, -1.8895, -0.8819)
# How long states last depends on the envelope that the heart rate is read from.
_SPREADS: Mapping[str, Spreads] = MappingProxyType(
    {
        HOMOMORPHIC: Spreads((0.1038, 0.0166), (0.08765, 0.01366), 0.01419, 0.07, 0.0029),
        WAVELET: Spreads((0.1038, 0.0166), (0.08765, 0.01366), 0.01792, 0.07, 0.0038),
    }
)


def segmenter(beat: str = HOMOMORPHIC) -> HeartSoundModel:
    """Build the fixed model: four envelopes, no context, five hypotheses of the beat.

    Args:
        beat: The envelope that the heart rate is read from, ``"homomorphic"`` or ``"wavelet"``.

    Returns:
        The model.

    Raises:
        UnsupportedOptionError: If ``beat`` is unknown.
    """
    if beat not in _SPREADS:
        raise UnsupportedOptionError(f"beat is {beat!r}; possible: {', '.join(_SPREADS)}.")
    return HeartSoundModel(
        np.array(_MEAN),
        np.array(_WEIGHTS),
        np.array(_INTERCEPT),
        np.array(_PRIOR),
        _SPREADS[beat],
        context=0,
        candidates=5,
        rates=HEART_RATES,
        beat=beat,
    )


def timing_features(states: IntArray, level: FloatArray) -> FloatArray:
    """Compute the features from a segmentation.

    A cycle goes from the start of an S1 to the start of the next; cycles that are cut at either
    end do not count.

    Args:
        states: (n,) states 0 to 3 at 50 Hz.
        level: (n,) mean magnitude of the sound at each state.

    Returns:
        (20,) seconds and ratios in the order of TIMING_FEATURES; zeros without a whole cycle.
    """
    starts = np.flatnonzero(np.diff(states, prepend=states[0]) != 0)
    onsets = starts[states[starts] == S1]
    rows = []
    for start, end in pairwise(onsets):
        cycle_states = states[start:end]
        frames = np.bincount(cycle_states, minlength=4).astype(np.float64)
        if (frames == 0).any():
            continue
        s1, systole, s2, diastole = frames / STATE_RATE
        loudness = np.bincount(cycle_states, weights=level[start:end], minlength=4) / frames
        cycle = (end - start) / STATE_RATE
        rows.append(
            [
                cycle,
                s1,
                s2,
                systole,
                diastole,
                systole / cycle,
                diastole / cycle,
                systole / diastole,
                loudness[1] / max(loudness[0], 1e-12),
                loudness[3] / max(loudness[2], 1e-12),
            ]
        )
    if not rows:
        return np.zeros(len(TIMING_FEATURES))
    cycles = np.array(rows)
    return np.stack([cycles.mean(axis=0), cycles.std(axis=0)], axis=1).ravel()


def timing_of(
    samples: FloatArray,
    rate: int,
    name: str = "This recording",
    beat: str = HOMOMORPHIC,
) -> FloatArray:
    """Compute the features of a sound.

    Args:
        samples: (n,) the sound.
        rate: Its samples a second.
        name: Name of the recording, for errors.
        beat: The envelope that the heart rate is read from.

    Returns:
        (20,) in the order of TIMING_FEATURES.

    Raises:
        UndefinedError: As ``envelopes`` and the model raise it.
        UnsupportedOptionError: If ``beat`` is unknown.
    """
    states = segmenter(beat).predict(envelopes(samples, rate, name=name))
    sound: FloatArray = np.asarray(resample(np.asarray(samples), rate, RATE), dtype=np.float64)
    sound = np.abs(band_pass(sound - sound.mean(), RATE, BAND[0], min(BAND[1], 0.45 * rate)))
    step = RATE // STATE_RATE
    padded = np.pad(sound, (step // 2, step + step * len(states)))[: step * len(states)]
    return timing_features(states, padded.reshape(-1, step).mean(axis=1))
