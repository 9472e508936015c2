"""Nearest rows by cosine, from inner products of all rows."""

from __future__ import annotations

import numpy as np

from etab.types import FloatArray, IntArray

_ROUNDING = 1e-13
"""Squared lengths below this share of the largest inner product are rounding."""


def cosines(kernel: FloatArray, train: IntArray, rows: IntArray) -> FloatArray:
    """Compare rows with training rows by the cosine of their angle at the mean of the training
    rows.

    Lengths of the rows themselves are left out: they change no order of the training rows.

    Args:
        kernel: (n, n) inner products of all rows, from any origin.
        train: (t,) training rows.
        rows: (m,) rows to compare with them.

    Returns:
        (m, t) cosines, each row times a factor of its own; 0 for training rows at the mean.

    Example:
        >>> x = np.array([[0.0, 1.0], [0.0, -1.0], [0.0, 3.0]])
        >>> cosines(x @ x.T, np.arange(2), np.array([2])).tolist()
        [[3.0, -3.0]]
    """
    share = np.bincount(train, minlength=len(kernel)) / len(train)
    to_mean = kernel @ share
    mean_square = float(share @ to_mean)
    squares = np.diag(kernel)[train] - 2 * to_mean[train] + mean_square
    is_long = squares > _ROUNDING * float(np.diag(kernel).max())
    lengths = np.sqrt(np.where(is_long, squares, np.inf))
    products = kernel[np.ix_(rows, train)]
    products -= to_mean[train] - mean_square
    products -= to_mean[rows, None]
    return np.asarray(products / lengths)


def most_similar(similarity: FloatArray, k: int) -> IntArray:
    """Find the columns with the largest similarities.

    Args:
        similarity: (m, t), the more the more similar.
        k: Number of columns.

    Returns:
        (m, min(k, t)) indexes of columns, the most similar first; of equal ones, the first first.

    Example:
        >>> most_similar(np.array([[0.1, 0.9, 0.9, 0.5]]), 2).tolist()
        [[1, 2]]
    """
    k = min(k, similarity.shape[1])
    cut = np.partition(similarity, -k, axis=1)[:, -k]
    is_near = similarity >= cut[:, None]
    order = np.empty((len(similarity), k), dtype=np.int64)
    # Where more than k columns reach the k-th similarity, the first of equal ones are taken.
    is_exact = is_near.sum(axis=1) == k
    columns = np.nonzero(is_near[is_exact])[1].reshape(-1, k)
    values = np.take_along_axis(similarity[is_exact], columns, axis=1)
    sorted_columns = np.argsort(-values, axis=1, kind="stable")
    order[is_exact] = np.take_along_axis(columns, sorted_columns, axis=1)
    order[~is_exact] = np.argsort(-similarity[~is_exact], axis=1, kind="stable")[:, :k]
    return order
