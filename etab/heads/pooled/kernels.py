"""Kernels of pooled features, shared by all fits of a probe."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any

import numpy as np

from etab.heads.pooled.inner_products import InnerProducts, Products
from etab.heads.pooled.large import Wide, WideBasis, partition, wide
from etab.heads.pooled.linalg import Basis, basis, check_features, gram, mean_square
from etab.types import Features, FloatArray, IntArray, RowSplit

MANY_ROWS = 1000
"""Above so many rows, their inner products in double precision take longer than a few products
with them."""


class Kernels:
    """Kernels of every pooled key and the bases of training rows met so far; moments where there
    are too many rows.
    """

    def __init__(
        self,
        features: Features,
        memo: MutableMapping[Any, Any] | None,
        splits: Sequence[RowSplit] = (),
        *,
        checked: bool = False,
    ) -> None:
        if not checked:
            check_features(features)
        self.splits, self._wide = splits, dict[str, Wide]()
        self.features = features
        self.memo = memo if memo is not None else {}

    def same(self, key: str) -> str:
        """The first key that holds the same features: "pca50" and "pca100" of one image share their
        axes.
        """
        if not self.features.pca:
            return key
        place = ("same", key, self.features.pooled[key].shape)
        if place not in self.memo:
            values = self.features.pooled[key]
            twins = (
                k
                for k, v in self.features.pooled.items()
                if v.shape == values.shape and (v == values).all()
            )
            self.memo[place] = next(twins)
        return str(self.memo[place])

    def wide(self, key: str) -> Wide | None:
        """The moments of one key; None where a kernel does. Only the last key's are kept."""
        x = self.features.pooled[key]
        if not wide(x):
            return None
        name = self.same(key)
        if name not in self._wide:
            self._wide = {name: Wide(x, partition(self.splits, len(x)))}
        return self._wide[name]

    def narrow(self, key: str) -> Wide | None:
        """The moments of one key that is fitted in its own columns; None where it is not.

        Keys that are reduced to principal components are fitted in those.
        """
        return None if key in self.features.pca else self.wide(key)

    def is_dual(self, key: str, rows: IntArray) -> bool:
        """Whether a fit of one key on these rows is made of inner products, on all of its axes.

        Where columns are few, or are reduced to components, the axes cost little.
        """
        x = self.features.pooled[key]
        return key not in self.features.pca and not wide(x) and 2 * x.shape[1] >= len(rows)

    def basis(self, key: str, rows: IntArray, *, single: bool = False) -> Basis | WideBasis:
        """Basis of these training rows for one key; ``single`` is enough for a search."""
        moments = self.wide(key)
        if moments is None:
            return self._dual(key, rows, single=single)
        return moments.basis(rows, single=single).first(self.features.pca.get(key))

    def project(self, fit: Basis | WideBasis, key: str, rows: IntArray) -> FloatArray:
        """Compute the coordinates (m, r) of ``rows`` in the basis ``fit`` of ``key``."""
        return (
            fit.project(self.kernel(key), rows)
            if isinstance(fit, Basis)
            else fit.project(None, rows)
        )

    def predict(
        self, fit: Basis | WideBasis, key: str, rows: IntArray, path: FloatArray
    ) -> FloatArray:
        """Predict (m, ...) for ``rows`` of ``key`` from coefficients ``path`` in basis ``fit``."""
        return (
            fit.predict(self.kernel(key), rows, path)
            if isinstance(fit, Basis)
            else fit.predict(None, rows, path)
        )

    def mean_square(self, key: str, rows: IntArray) -> float:
        """Compute the mean squared length of ``rows`` of ``key`` after centring."""
        moments = self.wide(key)
        return mean_square(self.kernel(key), rows) if moments is None else moments.mean_square(rows)

    def kernel(self, key: str) -> FloatArray:
        """Kernel of all rows for one key."""
        place = ("gram", self.same(key), self.features.pooled[key].shape)
        if place not in self.memo:
            self.memo[place] = gram(self.features.pooled[key])
        found: FloatArray = self.memo[place]
        return found

    def inner_products(self, key: str) -> InnerProducts:
        """Inner products of all rows for one key, in double precision.

        As rows where these are narrow. Also where they are many: a few products with the rows take
        less time than all inner products in double precision.
        """
        x = self.features.pooled[key]
        if not self._are_narrow(key) and len(x) <= MANY_ROWS:
            return InnerProducts(self.kernel(key), are_rows=False)
        rows = np.array(x, dtype=np.float64)
        rows -= rows.mean(axis=0)
        rows *= 1 / np.sqrt(max(float(np.vdot(rows, rows)) / max(len(rows), 1), 1e-30))
        return InnerProducts(rows, are_rows=True)

    def products(self, key: str, inner: InnerProducts) -> Products:
        """The inner products of one key in float32, with their axes."""
        place = ("products", self.same(key), self.features.pooled[key].shape)
        if place not in self.memo:
            single = inner.single()
            # A search takes so many products with the rows that they are all multiplied first.
            self.memo[place] = Products.of(single if self._are_narrow(key) else single.multiplied())
        products: Products = self.memo[place]
        return products

    def _are_narrow(self, key: str) -> bool:
        """Whether the rows of one key are smaller than their inner products."""
        x = self.features.pooled[key]
        return wide(x) or 2 * x.shape[1] < len(x)

    def _dual(self, key: str, rows: IntArray, *, single: bool = False) -> Basis:
        """Basis of these training rows from the kernel."""
        place = ("basis", self.same(key), rows.tobytes(), single)
        if place not in self.memo:
            self.memo[place] = basis(
                self.kernel(key), rows, self.features.pooled[key], single=single
            )
        found: Basis = self.memo[place]
        return found.first(self.features.pca.get(key))
