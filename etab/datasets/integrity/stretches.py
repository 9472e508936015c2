"""Sounds that share a stretch sample by sample, wherever it lies: pieces of one long recording.

Two pieces of a recording may overlap by a second, or begin a minute apart, so that fingerprints of
their beginnings say nothing. Each recording therefore keeps marks, which are hashes of 48 samples:
all of them near its ends, where pieces overlap, and elsewhere the few whose hash is a multiple of
256, which are the same samples in every piece. Marks that two recordings share at one shift are
the stretch. A copy with another gain or rate has other samples and is left to the fingerprints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from etab.types import Array, FloatArray, IntArray

_WINDOW = 48  # samples of a mark
_EDGE = 500  # windows at each end that are all marks
_EVERY = np.uint64(256)  # elsewhere one window in so many is a mark
_FEWEST_LEVELS = 16  # different samples of a mark: quiet stretches are alike by chance
_FEWEST_SHARED = 3  # marks at one shift
_MOST_HOLDERS = 10  # recordings beside each other that hold a mark and are compared
_BASE = 6364136223846793005  # of the polynomial of a hash, modulo 2 ** 64
_MIX = 0xBF58476D1CE4E5B9


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of one recording.

    Attributes:
        hashes: (m,) uint64, hash of the samples of each mark.
        positions: (m,) int64, first sample of each mark.
    """

    hashes: Array
    positions: IntArray


def marks_of(samples: FloatArray) -> Marks:
    """Choose the marks of a recording.

    Args:
        samples: (n,) float, at any rate.

    Returns:
        About 1,000 marks, and one more for each 256 samples; none where there is hardly a sound.
    """
    exact = np.ascontiguousarray(samples, dtype=np.float32)
    if len(exact) < _WINDOW:
        return Marks(np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64))
    hashes = _hashes(exact.view(np.uint32).astype(np.uint64))
    chosen = hashes % _EVERY == 0
    chosen[:_EDGE] = True
    chosen[-_EDGE:] = True
    positions = np.flatnonzero(chosen)
    windows = np.sort(exact[positions[:, None] + np.arange(_WINDOW)], axis=1)
    levels = 1 + (np.diff(windows, axis=1) != 0).sum(axis=1)
    positions = positions[levels >= _FEWEST_LEVELS]
    return Marks(hashes[positions], positions.astype(np.int64))


def shared_stretches(marks: Sequence[Marks], people: IntArray) -> Iterator[tuple[int, int]]:
    """Find the recordings of two people that share a stretch.

    Args:
        marks: The marks of each recording.
        people: (n,) number of the person of each.

    Yields:
        Numbers of two recordings, the smaller one first, in ascending order.

    Example:
        >>> sound = np.random.default_rng(0).normal(size=90_000)
        >>> pieces = [sound[:40_000], sound[60_000:], sound[38_000:62_000]]
        >>> list(shared_stretches([marks_of(piece) for piece in pieces], np.arange(3)))
        [(0, 2), (1, 2)]
    """
    if not marks:
        return
    hashes = np.concatenate([of_one.hashes for of_one in marks])
    positions = np.concatenate([of_one.positions for of_one in marks])
    owners = np.repeat(np.arange(len(marks)), [len(of_one.hashes) for of_one in marks])
    order = np.argsort(hashes, kind="stable")
    hashes, positions, owners = hashes[order], positions[order], owners[order]
    found = []
    for step in range(1, _MOST_HOLDERS):
        first, second = owners[:-step], owners[step:]
        shared = (hashes[:-step] == hashes[step:]) & (people[first] != people[second])
        shifts = positions[:-step] - positions[step:]
        found.append(np.stack([first, second, shifts], axis=1)[shared])
    rows, counts = np.unique(np.concatenate(found), axis=0, return_counts=True)
    pairs = np.unique(rows[counts >= _FEWEST_SHARED, :2], axis=0)
    yield from ((i, j) for i, j in pairs.tolist())


def _hashes(words: Array) -> Array:
    """Hash every window of ``_WINDOW`` words: (n,) uint64 to (n - 47,) uint64.

    A polynomial of 16 words is made by doubling, and three of them are joined. Sums of uint64 are
    modulo 2 ** 64.
    """
    sums, width = words, 1
    while width < _WINDOW // 3:
        sums = sums[:-width] + sums[width:] * _power(width)
        width *= 2
    n = len(words) - _WINDOW + 1
    joined = sums[:n] + sums[width:][:n] * _power(width) + sums[2 * width :][:n] * _power(2 * width)
    mixed = _folded(joined, 29) * np.uint64(_MIX)
    return _folded(mixed, 32)


def _folded(words: Array, bits: int) -> Array:
    """Words with their upper bits added to the lower ones."""
    return np.bitwise_xor(words, np.right_shift(words, np.uint64(bits)))


def _power(exponent: int) -> np.uint64:
    return np.uint64(pow(_BASE, exponent, 1 << 64))
