"""The head ``ridge_loo``: ridge regression whose penalty is chosen by leaving each patient out.

A ridge regression that is fitted without some rows predicts them as the fit on all rows does, but
for the part that these rows have in their own predictions. One set of axes therefore gives the
predictions of every patient by a fit without the patient, for every penalty, and nothing is fitted
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.heads.base import HEADS
from etab.heads.pooled.kernels import Kernels
from etab.heads.pooled.large import WideBasis
from etab.heads.pooled.linalg import PENALTIES, Basis, ridge_path
from etab.heads.pooled.probes import Ridge
from etab.types import Array, FloatArray, IntArray, RowSplit


@HEADS.register("ridge_loo")
class LeftOutRidge(Ridge):
    """Ridge regression in closed form; chosen by the mean absolute error of patients left out one
    by one.
    """

    name: ClassVar[str] = "ridge_loo"

    def _errors(
        self,
        kernels: Kernels,
        key: str,
        y: FloatArray,
        patients: Array,
        splits: Sequence[RowSplit],
    ) -> list[FloatArray]:
        """Mean absolute error of each penalty over the patients left out, for each split."""
        errors: list[FloatArray] = []
        for split in splits:
            train = split.train
            fit = kernels.basis(key, train, single=True)
            predicted = left_out(fit, y[train], patients[train])
            errors.append(np.abs(predicted - y[train, None]).mean(axis=0))
        return errors


def left_out(fit: Basis | WideBasis, y: FloatArray, groups: Array) -> FloatArray:
    """Predict every group of training rows by the ridge regression that is fitted without it.

    Args:
        fit: The axes of the training rows.
        y: (n,) values of the training rows.
        groups: (n,) the group of each row.

    Returns:
        (n, penalties) predictions, for each of ``PENALTIES``. A penalty is relative to the mean
        squared length of all training rows, also where some are left out.

    Raises:
        UnsupportedOptionError: All rows are of one group.

    Example:
        >>> from etab.heads.pooled.linalg import basis, gram
        >>> x = np.array([[0.0], [1.0], [2.0], [4.0]])
        >>> fit = basis(gram(x), np.arange(4))
        >>> left_out(fit, np.array([1.0, 3.0, 5.0, 9.0]), np.arange(4))[:, 0].round(2).tolist()
        [1.0, 3.0, 5.0, 9.0]
    """
    n = len(y)
    if len(np.unique(groups)) < 2:
        raise UnsupportedOptionError(
            "Leaving patients out takes at least two patients to train on; these rows are of one. "
            "Use the head 'ridge'."
        )
    path, mean = ridge_path(fit, y)
    along = fit.train.astype(np.float64)
    residuals = (y - mean)[:, None] - along @ path
    penalties = np.asarray(PENALTIES) * fit.spread.sum() / n
    # The share that the value of row j has in the prediction of row i is 1 / n, by the mean, and
    # the sum over the axes of what both have of an axis, times these factors.
    factors = 1 / (fit.spread[:, None] + penalties)
    own = 1 / n + np.square(along) @ factors
    out = y[:, None] - residuals / (1 - own)
    for rows in _of_several(groups):
        shares = 1 / n + np.einsum("ir,rp,jr->pij", along[rows], factors, along[rows])
        of_others = np.eye(len(rows)) - shares
        wrong = np.linalg.solve(of_others, residuals[rows].T[:, :, None])
        out[rows] = y[rows, None] - wrong[:, :, 0].T
    return np.asarray(out)


def _of_several(groups: Array) -> list[IntArray]:
    """The rows of each group that has several."""
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    rows = np.split(order, np.cumsum(counts)[:-1])
    return [of_group for of_group in rows if len(of_group) > 1]
