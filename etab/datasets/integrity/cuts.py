"""Copies of sounds that lack their start, or some of their end, found by comparing them at every shift.

Two fingerprints that start at different moments do not correlate. Each is therefore compared with
every other one at shifts of up to five seconds: coarsely for all pairs, then finely for those that
are alike. Hearts beat regularly, so that strangers are alike at some shift; the samples of the few
pairs that are left decide.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from etab.datasets.integrity.fingerprints import BANDS, HOP, SECONDS, STEPS
from etab.storage.machine import allowed_cores, one_thread_of_numpy
from etab.types import FloatArray, IntArray

ALIKE_CUT = 0.95
"""Samples of two sounds that correlate more at some shift are of one recording, cut differently."""

_RATE = 1000  # samples a second that are kept
_COARSE = 0.7  # correlation of the coarse fingerprints of a pair that is compared finely
_FINE = 0.75  # and of the fine ones, for the samples to be compared
_MOST_CUT = 100  # steps of 50 ms
_FEWEST_SHARED = 60  # steps
_BLOCK = 1000  # rows of the table of correlations at once
_FINER = 4  # shifts of samples between two samples
_BETWEEN = (0.0, 0.25, 0.5, 0.75)  # shifts between two steps


def kept_samples(samples: FloatArray, rate: int) -> FloatArray:
    """Keep what decides whether two sounds are one recording.

    Args:
        samples: (n,) float.
        rate: Samples a second.

    Returns:
        (m,) float16, the first ten seconds at 1,000 samples a second, of largest amplitude 1.
    """
    from scipy.signal import resample_poly

    shared = math.gcd(_RATE, rate)
    first = np.asarray(samples[: round(SECONDS * rate)], dtype=np.float64)
    kept = resample_poly(first - first.mean(), _RATE // shared, rate // shared)
    largest = float(np.abs(kept).max())
    return np.asarray(kept / largest if largest > 0 else kept, dtype=np.float16)


def cut_copies(
    prints: FloatArray, people: IntArray, samples: Sequence[FloatArray]
) -> Iterator[tuple[int, int, float]]:
    """Find the sounds of two people that are one recording from some moment on.

    Args:
        prints: (n, 1600) fingerprints of sounds.
        people: (n,) number of the person of each.
        samples: What ``kept_samples`` keeps of each.

    Yields:
        Number of one recording, number of one that begins with it or later in it, and the
        correlation of the samples that both hold, of ``ALIKE_CUT`` or more.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> wave = rng.normal(size=20_000) * np.repeat(rng.uniform(size=200), 100)
        >>> sounds = [wave, wave[3210:]]
        >>> from etab.datasets.integrity.fingerprints import sound_print
        >>> prints = np.stack([sound_print(sound, 2000) for sound in sounds])
        >>> kept = [kept_samples(sound, 2000) for sound in sounds]
        >>> [(i, j) for i, j, _ in cut_copies(prints, np.array([0, 1]), kept)]
        [(0, 1)]
    """
    levels = np.asarray(prints, dtype=np.float32).reshape(-1, STEPS, BANDS)
    # A recording shorter than ten seconds ends in zeros.
    lengths = STEPS - (levels[:, ::-1] != 0).any(axis=2).argmax(axis=1)
    lengths[~levels.any(axis=(1, 2))] = 0
    sums = _coarse_sums(levels)
    cuts: dict[tuple[int, int], tuple[float, int]] = {}
    # Each thread makes its own products; the threads of OpenBLAS would wait for each other.
    with one_thread_of_numpy(), ThreadPoolExecutor(allowed_cores()) as pool:
        of_each = pool.map(
            lambda cut: _coarse_pairs(sums, lengths, people, cut), range(_MOST_CUT + 1)
        )
        for cut, pairs in enumerate(of_each):
            for i, j, correlation in pairs:
                before = cuts.get((i, j), (0.0, 0))
                cuts[i, j] = max(before, (correlation, cut))
    for (i, j), (_, cut) in sorted(cuts.items()):
        if _fine(levels[i, : lengths[i]], levels[j, : lengths[j]], cut) < _FINE:
            continue
        correlation = _of_samples(samples[i], samples[j], cut)
        if correlation >= ALIKE_CUT:
            yield i, j, correlation


def _coarse_pairs(
    sums: FloatArray, lengths: IntArray, people: IntArray, cut: int
) -> list[tuple[int, int, float]]:
    """The pairs whose coarse fingerprints correlate, the second one beginning ``cut`` steps later."""
    first = _coarse(sums, cut, (STEPS - cut) // 2)
    second = _coarse(sums, 0, (STEPS - cut) // 2)
    first[lengths - cut < _FEWEST_SHARED] = 0
    second[lengths < _FEWEST_SHARED] = 0
    found: list[tuple[int, int, float]] = []
    for start in range(0, len(first), _BLOCK):
        table = first[start : start + _BLOCK] @ second.T
        # NumPy searches a flat table faster than one of two dimensions.
        rows, j = np.divmod(np.flatnonzero(table >= _COARSE), len(second))
        others = people[start + rows] != people[j]
        rows, j = rows[others], j[others]
        found += zip((start + rows).tolist(), j.tolist(), table[rows, j].tolist(), strict=True)
    return found


def _coarse_sums(levels: FloatArray) -> FloatArray:
    """Sums over two bands and two steps, from each step on: (n, 200, 8) to (n, 199, 4)."""
    bands = levels[:, :, 0::2] + levels[:, :, 1::2]
    return np.asarray(bands[:, :-1] + bands[:, 1:])


def _coarse(sums: FloatArray, first: int, count: int) -> FloatArray:
    """Every second sum from a step on, as rows of length 1; zeros where there is nothing."""
    rows = sums[:, first : first + 2 * count : 2].reshape(len(sums), -1)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norms > 0, norms, np.inf), dtype=np.float32)


def _fine(first: FloatArray, second: FloatArray, cut: int) -> float:
    """The largest correlation of two fingerprints within a step of a shift, also between steps."""
    best = 0.0
    for near in range(max(cut - 1, 0), cut + 1):
        for share in _BETWEEN:
            late = first[near:]
            if share:
                late = late[:-1] * (1 - share) + late[1:] * share
            shared = min(len(late), len(second))
            if shared < _FEWEST_SHARED - 2:
                continue
            length = np.linalg.norm(late[:shared]) * np.linalg.norm(second[:shared])
            if length > 0:
                best = max(best, float((late[:shared] * second[:shared]).sum() / length))
    return best


def _of_samples(first: FloatArray, second: FloatArray, cut: int) -> float:
    """The largest correlation of the samples within two steps of a shift, whatever their sign.

    A recorder with its poles exchanged turns every sample round.
    """
    step = round(HOP * _RATE)
    start = max(cut - 2, 0) * step
    late = first[start:].astype(np.float64)
    n = min(len(second), len(late) - 4 * step)
    if n < _FEWEST_SHARED * step // 2:
        return 0.0
    window = late[: n + 4 * step]
    query = second[:n].astype(np.float64)
    size = 1 << (len(window) + n).bit_length()
    spectrum = np.fft.rfft(window, size) * np.conj(np.fft.rfft(query, size))
    # A longer inverse transform gives the products between two samples as well.
    products = _FINER * np.fft.irfft(spectrum, _FINER * size)
    energy = np.concatenate([[0.0], np.cumsum(np.square(window))])
    norms = np.sqrt((energy[n:] - energy[:-n]) * (query @ query))
    norms = np.repeat(np.where(norms > 0, norms, np.inf), _FINER)
    return float(np.minimum(np.abs(products[: len(norms)]) / norms, 1.0).max())
