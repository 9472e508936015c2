"""What the stacked probe combines: every key of pooled features, raw and standardised.

Raw features are centred. Standardised features are divided by their standard deviation in the
training rows of the fit. Where a row holds the features of two frames side by side, their sum and
their difference are standardised instead: one penalty on two frames side by side would shrink away
the difference between them, which is small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etab.types import Array, Features, FloatArray

SMALLEST_DEVIATION = 1e-6
"""A column that varies less than this, relative to its root mean square, counts as constant."""

LARGEST = 5.0
"""Standardised values beyond this many standard deviations count as this many. A column that hardly
varies in the training rows can be far out in a test row, which would then decide its prediction."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One key of pooled features, in one scaling.

    Attributes:
        key: Key of ``Features.pooled``.
        standardised: Whether columns are divided by their standard deviation in the training rows.
    """

    key: str
    standardised: bool

    @property
    def name(self) -> str:
        """The name that results carry: "stride8/mean raw" or "stride8/mean standardised"."""
        return f"{self.key} {'standardised' if self.standardised else 'raw'}"


def candidates_of(features: Features) -> list[Candidate]:
    """List the candidates of some features: two for each key, in the order of the keys.

    The mean of a layer is left out where the layer is also given as a grid of cells: the mean of
    the cells is a linear function of them, so that it adds time and noise and no information. The
    mean over time is left out likewise where it stands beside the standard deviation in another
    key.

    Args:
        features: Features with pooled keys.

    Returns:
        The candidates.

    Example:
        >>> x = np.zeros((4, 2))
        >>> features = Features({"last/mean": x, "last/grid4": x})
        >>> [candidate.name for candidate in candidates_of(features)]
        ['last/grid4 raw', 'last/grid4 standardised']
    """
    keys = [key for key in features.pooled if not _is_part_of_another(key, features)]
    return [Candidate(key, scaled) for key in keys for scaled in (False, True)]


def _is_part_of_another(key: str, features: Features) -> bool:
    """Whether the features of a key are a linear function of those of another key."""
    words = key.split("/")
    for other in features.pooled:
        if other in features.pca or len(other.split("/")) != len(words):
            continue
        changes = [pair for pair in zip(words, other.split("/"), strict=True) if pair[0] != pair[1]]
        if len(changes) == 1 and changes[0][0] == "mean":
            finer = changes[0][1]
            if finer == "mean+std" or (finer.startswith("grid") and finer[4:].isdigit()):
                return True
    return False


def sum_and_difference(x: Array) -> Array:
    """Turn two frames side by side into their sum and their difference.

    Args:
        x: (n, 2 d), the first frame before the second.

    Returns:
        (n, 2 d), the sum before the difference (second minus first).

    Example:
        >>> sum_and_difference(np.array([[1.0, 5.0]])).tolist()
        [[6.0, 4.0]]
    """
    width = x.shape[1] // 2
    first = x[:, :width]
    second = x[:, width:]
    return np.concatenate([first + second, second - first], axis=1)


def inverse_deviations(variance: FloatArray, mean: FloatArray) -> FloatArray:
    """Factors that standardise columns.

    Args:
        variance: (d,) variance of each column over the training rows.
        mean: (d,) mean of each column over the training rows.

    Returns:
        (d,) one over the standard deviation; 0 for a constant column, which drops it.

    Example:
        >>> inverse_deviations(np.array([4.0, 0.0]), np.array([1.0, 1.0])).tolist()
        [0.5, 0.0]
    """
    deviation = np.sqrt(np.maximum(variance, 0))
    root_mean_square = np.sqrt(np.maximum(variance, 0) + np.square(mean))
    varies = deviation > SMALLEST_DEVIATION * root_mean_square
    factors = np.zeros(len(deviation))
    factors[varies] = 1 / deviation[varies]
    return factors
