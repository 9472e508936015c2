"""What no label enters of the fits of the stacked probe, kept between tasks on the same rows."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from etab.heads.base import Memo
from etab.heads.pooled.candidates import Candidate
from etab.heads.pooled.kernel_fits import (
    KernelFits,
    Prepared,
    centred,
    principal_components,
    raw_products,
    standardised_fits,
    standardised_parts,
)
from etab.heads.pooled.kernels import Kernels
from etab.heads.pooled.large import LIMIT
from etab.heads.pooled.moment_fits import MomentFits
from etab.types import Array, Features, FloatArray, IntArray, RowSplit, Target

SHARED_BYTES = 1 << 29
"""Memory for what tasks on the same rows share."""

_SHARED = ("stack", "stack columns")


class SharedFits:
    """What no label enters, kept between tasks on the same rows as far as memory allows."""

    def __init__(self, features: Features, memo: MutableMapping[Any, Any]) -> None:
        self.features = features
        self.memo = memo
        self.kernels = Kernels(features, memo, checked=True)
        self.prepared = dict[str, Prepared]()
        self.split_key: tuple[bytes, ...] = ()
        self.split = dict[Any, Any]()

    def is_balanced(self) -> bool:
        """Whether classes are to count alike."""
        return isinstance(self.memo, Memo) and self.memo.balanced

    def has_databases(self, train: IntArray) -> bool:
        """Whether classes are to count alike and the training rows are of several databases."""
        if not isinstance(self.memo, Memo) or not self.memo.balanced or self.memo.groups is None:
            return False
        return len(np.unique(self.memo.groups[train])) > 1

    def values(self, target: Target) -> FloatArray | None:
        """The values (n,) that the classes of a target are cut from; None where they are not."""
        if target.cut is None or not isinstance(self.memo, Memo):
            return None
        return self.memo.cut_values

    def fits(self, candidate: Candidate, rows: Rows) -> KernelFits | MomentFits:
        """The fits of a candidate on the rows of a split."""
        x = self.features.pooled[candidate.key]
        place = ("stack", candidate.name, x.shape, rows.key)
        if place in self.memo:
            kept: KernelFits | MomentFits = self.memo[place]
            return kept
        fits = self._make(candidate, rows, x)
        self._share(place, fits)
        return fits

    def has_raw_products(self, candidate: Candidate, rows: Rows) -> bool:
        """Whether a candidate is fitted on inner products of raw features, shared by all splits."""
        if candidate.standardised or _narrow(self.features.pooled[candidate.key], len(rows.train)):
            return False
        components = self.features.pca.get(candidate.key)
        return components is None or components >= len(rows.train)

    def _share(self, place: tuple[Any, ...], value: KernelFits | MomentFits | Prepared) -> None:
        """Keep a value for other tasks and splits, as far as memory allows."""
        used = sum(kept.nbytes for key, kept in self.memo.items() if key[0] in _SHARED)
        if used + value.nbytes <= SHARED_BYTES:
            self.memo[place] = value

    def _make(
        self,
        candidate: Candidate,
        rows: Rows,
        x: Array,
    ) -> KernelFits | MomentFits:
        frames = self.features.frames
        components = self.features.pca.get(candidate.key)
        if _narrow(x, len(rows.train)):
            return MomentFits.of(
                x,
                rows.train,
                rows.test,
                rows.parts,
                frames=frames,
                standardise=candidate.standardised,
                components=components,
            )
        if components is None or components >= len(rows.train):
            if candidate.standardised:
                return standardised_fits(self._prepared(candidate.key), rows.train, rows.test)
            return KernelFits(*self._products(candidate, rows))
        fitted, others = (x[:, :components] for x in self._components(candidate, rows))
        if 2 * components > len(rows.train):
            return KernelFits(fitted @ fitted.T, others @ fitted.T)
        places = np.arange(len(fitted) + len(others))
        return MomentFits.of(
            np.concatenate([fitted, others]),
            places[: len(fitted)],
            places[len(fitted) :],
            rows.parts,
            frames=1,
            standardise=False,
            components=None,
        )

    def _products(self, candidate: Candidate, rows: Rows) -> tuple[FloatArray, FloatArray]:
        """Centred inner products of the rows of a split."""
        key = self.kernels.same(candidate.key)
        place = ("products", key, candidate.standardised)
        split = self._of_split(rows)
        if place not in split:
            if candidate.standardised:
                split[place] = standardised_parts(self._prepared(key), rows.train, rows.test)
            else:
                split[place] = centred(self.raw_products(key), rows.train, rows.test)
        found: tuple[FloatArray, FloatArray] = split[place]
        return found

    def _components(self, candidate: Candidate, rows: Rows) -> tuple[FloatArray, FloatArray]:
        """Principal components of the rows of a split: several keys of one picture share them."""
        place = ("components", self.kernels.same(candidate.key), candidate.standardised)
        split = self._of_split(rows)
        if place not in split:
            most = min(max(self.features.pca.values()), len(rows.train))
            split[place] = principal_components(*self._products(candidate, rows), most)
        found: tuple[FloatArray, FloatArray] = split[place]
        return found

    def _of_split(self, rows: Rows) -> dict[Any, Any]:
        """What keys with the same features share within one split; of the last split alone."""
        if self.split_key != rows.key:
            self.split_key = rows.key
            self.split = {}
        return self.split

    def raw_products(self, key: str) -> FloatArray:
        """Inner products of all rows of a key."""
        x = self.features.pooled[key]
        place = ("stack raw", key, x.shape)
        if place not in self.memo:
            self.memo[place] = raw_products(x)
        kept: FloatArray = self.memo[place]
        return kept

    def _prepared(self, key: str) -> Prepared:
        """Columns of all rows of a key, for standardisation."""
        x = self.features.pooled[key]
        place = ("stack columns", key, x.shape)
        if place in self.memo:
            kept: Prepared = self.memo[place]
            return kept
        if key not in self.prepared:
            self.prepared[key] = Prepared.of(x, self.features.frames)
            self._share(place, self.prepared[key])
        return self.prepared[key]


def _narrow(x: Array, n_train: int) -> bool:
    """Whether the moments of the columns are smaller than the inner products of the rows."""
    width = x.shape[1]
    return 2 * width <= n_train or (n_train > LIMIT and width < n_train)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a split, with inner parts as indexes into the training rows."""

    train: IntArray
    test: IntArray
    parts: tuple[IntArray, ...]

    @classmethod
    def of(cls, split: RowSplit) -> Rows:
        """Sort the rows of a split."""
        train = np.sort(split.train)
        parts = tuple(np.searchsorted(train, np.sort(part)) for part in split.inner)
        return cls(train, np.asarray(split.test), parts)

    @property
    def key(self) -> tuple[bytes, ...]:
        """What distinguishes these rows from others."""
        return (self.train.tobytes(), self.test.tobytes(), *(p.tobytes() for p in self.parts))
