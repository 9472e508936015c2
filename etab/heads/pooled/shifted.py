"""Symmetric systems with a multiple of the identity added: those of ridge regressions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy

from etab.types import FloatArray

# Share of the norm of a matrix that single precision may turn its eigenvalues by.
_SAFE_SHIFT = 1e-5
# A shift is large above the norm of a matrix divided by this.
_EASY = 30.0
# Steps of conjugate gradients, and the part of the right side that they may leave.
_STEPS = 20
_ACCURACY = 1e-6


def solve_path(scatter: FloatArray, shifts: FloatArray, products: FloatArray) -> FloatArray:
    """Solve (scatter + shift I) w = products for each shift, well enough to choose a shift by.

    Systems with a large shift are solved by a few steps of conjugate gradients, others by a
    Cholesky factor in single precision. Rounding would harm the smallest shifts: there the factor
    for a larger shift leads the steps, whose products are in double precision.

    Args:
        scatter: (d, d), symmetric, with eigenvalues of 0 or more up to rounding.
        shifts: (shifts,) above 0.
        products: (d,) right side.

    Returns:
        (d, shifts) solutions.

    Example:
        >>> solve_path(np.diag([1.0, 3.0]), np.array([1.0, 5.0]), np.array([4.0, 8.0])).round(4)
        array([[2.    , 0.6667],
               [2.    , 1.    ]])
    """
    single = scatter.astype(np.float32)
    norm = float(np.linalg.norm(single))
    # Rounding moves eigenvalues by about this much: only larger shifts are safe from it.
    safe = _SAFE_SHIFT * norm
    weights = np.empty((len(products), len(shifts)))
    leading = None
    for k, shift in enumerate(shifts.tolist()):
        found = None
        if shift > norm / _EASY:
            found = _conjugate_gradients(single, shift, products, lambda left: left)
        elif shift <= safe:
            if leading is None:
                leading = _factor(single, 2 * safe)
            if leading is not None:
                found = _conjugate_gradients(scatter, shift, products, leading)
        if found is None:
            matrix = single if shift > safe else scatter
            found = solve_one(matrix, shift, products)
        weights[:, k] = found
    return weights


def _factor(matrix: FloatArray, shift: float) -> Callable[[FloatArray], FloatArray] | None:
    """A function that divides by (matrix + shift I) in its precision; None where it is singular."""
    system = matrix.copy()
    system.flat[:: len(system) + 1] += matrix.dtype.type(shift)
    try:
        factor = scipy.linalg.cho_factor(
            system.T,
            lower=True,
            overwrite_a=True,
            check_finite=False,
        )
    except scipy.linalg.LinAlgError:
        return None

    def divide(left: FloatArray) -> FloatArray:
        narrow = left.astype(matrix.dtype)
        return np.asarray(scipy.linalg.cho_solve(factor, narrow, check_finite=False), np.float64)

    return divide


def _conjugate_gradients(
    matrix: FloatArray,
    shift: float,
    products: FloatArray,
    divide: Callable[[FloatArray], FloatArray],
) -> FloatArray | None:
    """Solve (matrix + shift I) w = products (d,) in a few steps; None where these are not enough.

    Args:
        matrix: (d, d).
        shift: Added to its diagonal.
        products: (d,) right side.
        divide: Divides a vector by a matrix that is near to (matrix + shift I).
    """
    found = np.zeros(len(products))
    left = products
    wanted = _ACCURACY * float(np.linalg.norm(products))
    direction = np.zeros(len(products))
    before = np.inf
    for _ in range(_STEPS):
        if float(np.linalg.norm(left)) <= wanted:
            return found
        divided = divide(left)
        length = float(left @ divided)
        direction = divided + (length / before) * direction
        change = matrix @ direction.astype(matrix.dtype) + shift * direction
        found = found + (length / float(direction @ change)) * direction
        left = left - (length / float(direction @ change)) * change
        before = length
    return None


def solve_one(
    matrix: FloatArray,
    shift: float,
    products: FloatArray,
) -> FloatArray:
    """Solve (matrix + shift I) w = products (d,) in the precision of the matrix."""
    divide = _factor(matrix, shift)
    if divide is not None:
        return divide(products)
    # Rounding took the smallest eigenvalue below minus the shift.
    exact = matrix.astype(np.float64) + shift * np.eye(len(matrix))
    return np.asarray(scipy.linalg.lstsq(exact, products)[0])
