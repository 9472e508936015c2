"""Which backbones of a board can be told apart, and how large a difference must be for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from etab.leaderboard.board import Reliability, Separation
from etab.leaderboard.noise import Noise, difference_patient_variances, difference_variances
from etab.metrics.inference import deciding_p, half_widths, p_above
from etab.metrics.uncertainty import holm
from etab.types import Array, FloatArray

ERROR = 0.05  # chance that any two equal backbones are told apart
POWER = 0.8


@dataclass(frozen=True, slots=True)
class Comparison:
    """All pairs of n scores, in the order in which the scores were given.

    Attributes:
        p_better: (n, n) probability that the row is above the column.
        beats: (n, n) bool, whether the row is told apart from the column and above it.
        encoder_half: (n, n) half width of the 95 % interval of the difference of the encoders.
        probe_half: (n, n) half width of that of these probes on new patients.
        separation: What the comparison can tell apart.
    """

    p_better: FloatArray
    beats: Array
    encoder_half: FloatArray
    probe_half: FloatArray
    separation: Separation


def compare(points: Sequence[float], noises: Sequence[Noise], digests: Sequence[str]) -> Comparison:
    """Compare all pairs of scores, with new test and training patients in mind.

    A difference is tested by Student's t, on the variance over patients and training draws, and
    Holm corrects over the family of tests: the pairs of entries with different weights.

    Args:
        points: The n scores.
        noises: Their noise.
        digests: sha256 of the weights of each. Entries with the same weights are one member of the
            family, whatever their names, so that copies of an entry cost nobody a verdict. They
            are not tested against each other.

    Returns:
        The comparison.
    """
    if not len(points):
        none = np.zeros((0, 0))
        return Comparison(none, none.astype(bool), none, none, NOTHING_TO_SEPARATE)
    tests = _tests(points, noises, digests)
    return Comparison(
        p_better=p_above(tests.differences, tests.variances, tests.degrees),
        beats=tests.apart & (tests.differences > 0),
        encoder_half=half_widths(tests.variances, tests.degrees),
        probe_half=half_widths(difference_patient_variances(noises), tests.degrees),
        separation=_separation(tests, digests),
    )


def separation_of(
    points: Sequence[float], noises: Sequence[Noise], digests: Sequence[str]
) -> Separation:
    """Compute the ``separation`` of ``compare`` alone; the arguments are the same."""
    if not len(points):
        return NOTHING_TO_SEPARATE
    return _separation(_tests(points, noises, digests), digests)


@dataclass(frozen=True, slots=True)
class _Tests:
    """Differences (n, n) of all pairs, their variances, and which were told apart."""

    differences: FloatArray
    variances: FloatArray
    degrees: float
    apart: Array


def _tests(points: Sequence[float], noises: Sequence[Noise], digests: Sequence[str]) -> _Tests:
    """Test the difference of every pair."""
    values = np.asarray(points, dtype=np.float64)
    differences = values[:, None] - values[None, :]
    variances = difference_variances(noises)
    degrees = min(noise.degrees for noise in noises)
    # Both sides of the diagonal have the same p.
    above = np.triu_indices(len(values), 1)
    p = np.ones(differences.shape)
    p[above] = deciding_p(differences[above], variances[above], degrees, ERROR)
    p.T[above] = p[above]
    return _Tests(differences, variances, degrees, _told_apart(p, digests))


def _told_apart(p: FloatArray, digests: Sequence[str]) -> Array:
    """(n, n) bool: pairs whose p, corrected by Holm over the family, is below the error.

    Of p that Holm rejects or accepts in any family, ``p`` holds 0 and 1.
    """
    first: dict[str, int] = {}
    for i, digest in enumerate(digests):
        first.setdefault(digest, i)
    apart = np.asarray(_corrected(p, list(first.values())) < ERROR)
    if len(first) == len(digests):
        return apart
    for i, one in enumerate(digests):
        for j, other in enumerate(digests[:i]):
            is_copy = i != first[one] or j != first[other]
            if one != other and is_copy:
                # A copy stands in the family in place of the first entry with its weights.
                others = [k for digest, k in first.items() if digest not in (one, other)]
                verdict = _corrected(p, [*others, i, j])[j, i] < ERROR
                apart[i, j] = verdict
                apart[j, i] = verdict
    return apart


def _corrected(p: FloatArray, members: Sequence[int]) -> FloatArray:
    """Corrected p (n, n) of each pair of members, on both sides of the diagonal; others are NaN."""
    ordered = np.sort(np.asarray(members, dtype=np.int64))
    first, second = np.triu_indices(len(ordered), 1)
    rows = ordered[first]
    columns = ordered[second]
    corrected = np.full(p.shape, np.nan)
    if len(rows):
        values = holm(p[rows, columns].tolist())
        corrected[rows, columns] = values
        corrected[columns, rows] = values
    return corrected


NOTHING_TO_SEPARATE = Separation(0, 0, math.nan, math.nan, math.nan)


def _separation(tests: _Tests, digests: Sequence[str]) -> Separation:
    """The differences that were and were not told apart, and the one that would be found."""
    family = len(set(digests))
    n_tests = family * (family - 1) // 2
    _, weights = np.unique(np.array(digests), return_inverse=True)
    rows, columns = np.triu_indices(len(digests), 1)
    tested = weights[rows] != weights[columns]
    rows = rows[tested]
    columns = columns[tested]
    if not len(rows):
        return NOTHING_TO_SEPARATE
    gaps = np.abs(tests.differences[rows, columns])
    verdicts = tests.apart[rows, columns]
    error = math.sqrt(float(np.median(tests.variances[rows, columns])))
    steps = scipy.special.stdtrit(tests.degrees, 1 - ERROR / 2 / n_tests) + scipy.special.stdtrit(
        tests.degrees, POWER
    )
    return Separation(
        pairs=len(rows),
        told_apart=int(verdicts.sum()),
        smallest=float(gaps[verdicts].min()) if verdicts.any() else math.nan,
        largest_tie=float(gaps[~verdicts].max()) if not verdicts.all() else math.nan,
        found=float(steps) * error,
    )


Moves = Mapping[str, FloatArray]
"""By how much each patient moves each of n values, beyond what they share: (n, patients) by dataset."""


def own_moves(noises: Sequence[Noise]) -> Moves:
    """Take what patients move backbones by, each for itself.

    Noise that all n backbones share is left out: it moves no difference.

    Args:
        noises: Noise of n means of the same tasks.

    Returns:
        (n, patients) by dataset.
    """
    of_backbones = [noise.by_patient() for noise in noises]
    moves: dict[str, FloatArray] = {}
    for dataset in of_backbones[0]:
        of_dataset = np.stack([of_backbone[dataset] for of_backbone in of_backbones])
        moves[dataset] = of_dataset - of_dataset.mean(axis=0)
    return moves


def reliability_of(
    points: Sequence[float],
    noises: Sequence[Noise],
    share: float,
    totals: Moves,
    digests: Sequence[str],
) -> Reliability:
    """Measure the reliability of a task or category on a board.

    The patients are the items of a test and the backbones its subjects. The reliability is
    Cronbach's alpha (Psychometrika 16, 1951): the mean over all half-splits of the patients of the
    correlation between halves, stepped up to the whole by Spearman and Brown.

    Args:
        points: Anchored means of n backbones.
        noises: Their noise.
        share: Weight of the mean in the score.
        totals: What patients move the n scores by, as ``own_moves`` takes it.
        digests: sha256 of the weights of each.

    Returns:
        The reliability.
    """
    separation = separation_of(points, noises, digests)
    if len(points) < 2:
        return Reliability(math.nan, math.nan, separation)
    moves = own_moves(noises)
    own = _shared_noise(moves, moves)
    total = _shared_noise(totals, totals)
    variance = float(np.var(points, ddof=1))
    return Reliability(
        reliability=1 - own / variance if variance > 0 else math.nan,
        noise_share=share * _shared_noise(moves, totals) / total if total > 0 else math.nan,
        separation=separation,
    )


def _shared_noise(ones: Moves, others: Moves) -> float:
    """Covariance over patients of two means, for what backbones differ by."""
    total = 0.0
    for dataset, one in ones.items():
        total += float((one * others[dataset]).sum())
    return total / (len(one) - 1)


def plain_matrix(matrix: Array) -> tuple[tuple[Any, ...], ...]:
    """Turn a matrix into tuples of plain values.

    Args:
        matrix: Array (n, m).

    Returns:
        n tuples of m values.
    """
    return tuple(tuple(row) for row in matrix.tolist())
