"""Inner products of rows, as a matrix or as the rows themselves, and their longest axes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from etab.types import FloatArray, IntArray

_AXES = 96

_OWN = {"float64": 1e-11, "float32": 1e-6}
"""Square of a feature that each row has alone, where the mean squared length of a row is 1.

Rows that depend on each other have coefficients that change no logit. With the feature they change
one a little, and cannot grow from step to step.
"""


@dataclass(frozen=True, slots=True)
class InnerProducts:
    """Inner products of n rows, as a matrix (n, n), or as the rows that they are of.

    Attributes:
        matrix: (n, n) inner products, or (n, d) rows.
        are_rows: Whether the matrix holds rows.
    """

    matrix: FloatArray
    are_rows: bool

    def __call__(self, dual: FloatArray) -> FloatArray:
        """Multiply the inner products by dual coefficients (n, ...)."""
        flat = dual.reshape(len(dual), -1)
        # With the rows of the matrix as the second factor, the product is faster.
        products = np.ascontiguousarray(flat.T) @ self.matrix
        products = self.matrix @ products.T if self.are_rows else np.ascontiguousarray(products.T)
        products += _OWN[self.matrix.dtype.name] * flat
        return np.asarray(products.reshape(dual.shape))

    def multiplied(self) -> InnerProducts:
        """The same as a matrix (n, n)."""
        return InnerProducts(self.matrix @ self.matrix.T, False) if self.are_rows else self

    def diagonal(self) -> FloatArray:
        """(n,) squared lengths of the rows."""
        if self.are_rows:
            return np.asarray(np.einsum("nd,nd->n", self.matrix, self.matrix))
        return np.diag(self.matrix)

    def single(self) -> InnerProducts:
        """The same in float32."""
        return InnerProducts(self.matrix.astype(np.float32), self.are_rows)

    def of(self, rows: IntArray) -> InnerProducts:
        """Inner products of some of the rows."""
        part = self.matrix[rows] if self.are_rows else self.matrix[np.ix_(rows, rows)]
        return InnerProducts(part, self.are_rows)

    def across(self, rows: IntArray, others: IntArray, dual: FloatArray) -> FloatArray:
        """Multiply the inner products of rows (m,) with others (k,) by (k, c): (m, c)."""
        if self.are_rows:
            return np.asarray(self.matrix[rows] @ (self.matrix[others].T @ dual))
        return np.asarray(self.matrix[np.ix_(rows, others)] @ dual)

    def mean_squares(self, sets: list[IntArray]) -> FloatArray:
        """Mean squared lengths (sets,) of the rows of each set after centring."""
        counted = np.zeros((len(self.matrix), len(sets)), dtype=self.matrix.dtype)
        for number, rows in enumerate(sets):
            counted[rows, number] = 1
        numbers = np.array([len(rows) for rows in sets])
        if self.are_rows:
            together = np.square(counted.T @ self.matrix).sum(axis=1)
        else:
            together = np.einsum("ns,ns->s", counted, self(counted))
        return np.asarray((self.diagonal() @ counted - together / numbers) / numbers)


@dataclass(frozen=True, slots=True)
class Products:
    """Inner products of rows, with their longest axes.

    Attributes:
        inner: The inner products.
        axes: (n, k) directions of unit length, near the longest axes.
        spread: (k,) squared lengths along them.
        rest: Mean squared length along other directions.
    """

    inner: InnerProducts
    axes: FloatArray
    spread: FloatArray
    rest: float

    @classmethod
    def of(cls, inner: InnerProducts) -> Products:
        """Find the axes by multiplying random directions."""
        n = len(inner.matrix)
        k = min(n, _AXES)
        kind = inner.matrix.dtype
        directions = np.random.default_rng(0).standard_normal((n, k)).astype(kind)
        for _ in range(2):
            directions, _ = np.linalg.qr(inner(directions))
        spread, turn = np.linalg.eigh(directions.T @ inner(directions))
        spread = np.maximum(spread, 0)
        rest = (float(inner.diagonal().sum()) - float(spread.sum())) / max(n - k, 1)
        return cls(inner, directions @ turn, spread, max(rest, 0.0))

    def double(self, inner: InnerProducts) -> Products:
        """The same axes with the inner products in float64."""
        kind = np.float64
        return Products(inner, self.axes.astype(kind), self.spread.astype(kind), self.rest)

    def __call__(self, dual: FloatArray) -> FloatArray:
        """Multiply dual coefficients (n, ...) by the inner products."""
        return self.inner(dual)
