"""Reduction of wide features of many rows by a seeded sketch (feature hashing), with its error.

Probes on many rows are fitted from moments, whose memory grows with the square of the number of
columns: 8 GB for the 32,768 columns of a grid of a ResNet-50. A sketch adds each column, with a
random sign, to one of a few thousand sums. The expected squared distances between rows stay the
same, and the draw depends on neither the answers nor the rows.

Source: Charikar, Chen and Farach-Colton, Theoretical Computer Science 312 (2004); Weinberger et al.,
ICML 2009.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from etab.heads import LIMIT
from etab.storage.memory import large_array
from etab.types import Array, Features, FloatArray, IntArray

WIDEST = 4096
"""Features of more than ``LIMIT`` rows are reduced to this number of columns if they have more."""

_SEED = 15
_CHUNK_BYTES = 64 << 20
_ON_DISK_ABOVE = 256 << 20
_PAIRS = 200


def is_too_wide(n_rows: int, width: int) -> bool:
    """Whether features are reduced.

    Args:
        n_rows: Number of rows.
        width: Number of columns.

    Example:
        >>> is_too_wide(5000, 32_768), is_too_wide(5001, 4096), is_too_wide(5001, 4097)
        (False, False, True)
    """
    return n_rows > LIMIT and width > WIDEST


def sketched(blocks: Sequence[tuple[Any, IntArray]]) -> tuple[Array, Mapping[str, float]]:
    """Reduce features whose rows consist of several blocks, such as those of two frames.

    The same sketch is applied to each block, so that blocks can still be added and subtracted. Rows
    are read in parts. A sketch of more than 256 MB is kept in a temporary file.

    Args:
        blocks: For each block, an array (m, d), and the indices (n,) of the rows to use.

    Returns:
        The sketch (n, w), float32, with at most ``WIDEST`` columns, and its facts: ``columns``, the
        number before; ``kept``, the number after; and ``error``, the root mean square of the
        relative error of squared distances between pairs of rows.

    Example:
        >>> x = np.random.default_rng(0).standard_normal((300, 9000), dtype=np.float32)
        >>> values, facts = sketched([(x, np.arange(300))])
        >>> values.shape, facts["columns"], facts["kept"], round(facts["error"], 2)
        ((300, 4096), 9000, 4096, 0.02)
    """
    n = len(blocks[0][1])
    width = int(blocks[0][0].shape[1])
    kept = WIDEST // len(blocks)
    sums = _sums(width, kept)
    out = large_array((n, kept * len(blocks)), held=_ON_DISK_ABOVE)
    for number, (values, rows) in enumerate(blocks):
        columns = slice(number * kept, (number + 1) * kept)
        for part in _parts(n, width):
            out[part, columns] = np.asarray(values[rows[part]], dtype=np.float32) @ sums
    facts = {
        "columns": width * len(blocks),
        "kept": kept * len(blocks),
        "error": round(_error(blocks, out), 4),
    }
    return out, facts


def narrowed(features: Features) -> Features:
    """Reduce the pooled features that are too wide, and record that in ``sketches``.

    Args:
        features: Features of the rows of a task.

    Returns:
        The features; the same object if none are too wide.
    """
    n = len(features)
    wide = [key for key, values in features.pooled.items() if is_too_wide(n, values.shape[1])]
    if not wide:
        return features
    pooled = dict(features.pooled)
    sketches = dict(features.sketches)
    everyone = np.arange(n)
    for key in wide:
        size = pooled[key].shape[1] // features.frames
        frames = [pooled[key][:, k * size : (k + 1) * size] for k in range(features.frames)]
        pooled[key], sketches[key] = sketched([(values, everyone) for values in frames])
    return replace(features, pooled=pooled, sketches=sketches)


def _sums(width: int, kept: int) -> Any:
    """The matrix (width, kept) of a sketch, with a single 1 or -1 in each row."""
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng([_SEED, width, kept])
    place = rng.integers(0, kept, width)
    sign = rng.choice(np.array([-1, 1], np.float32), width)
    return csr_matrix((sign, (np.arange(width), place)), shape=(width, kept))


def _parts(n: int, width: int) -> Iterator[slice]:
    size = max(1, _CHUNK_BYTES // (4 * width))
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _error(blocks: Sequence[tuple[Any, IntArray]], out: Array) -> float:
    """Root mean square of the relative error of squared distances between some pairs of rows."""
    n = len(out)
    rng = np.random.default_rng([_SEED, n])
    one, other = rng.integers(0, n, (2, _PAIRS))
    before: FloatArray = np.zeros(_PAIRS)
    for values, rows in blocks:
        for k in range(_PAIRS):
            difference = np.subtract(values[rows[one[k]]], values[rows[other[k]]], dtype=np.float64)
            before[k] += float(difference @ difference)
    after = np.square(np.subtract(out[one], out[other], dtype=np.float64)).sum(axis=1)
    differ = before > 0
    if not differ.any():
        return 0.0
    return float(np.sqrt(np.mean(np.square(after[differ] / before[differ] - 1))))
