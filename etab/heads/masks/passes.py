"""Passes over the points of feature maps that all fits under way share.

A fit is a generator: it yields a ``Request`` and goes on with its ``Sums``. Fits that run side by
side have their points read and multiplied together, which takes little longer than one fit alone.

A fit has the same result alone and beside others. OpenBLAS computes each column of a large product by
the same operations whatever the other columns are. It has other code, which sums in another order,
for a single column and for small products: fits that it applies to are multiplied by themselves.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from etab.heads.masks.moments import Design, blocks
from etab.storage.watchdog import progressed
from etab.types import FloatArray, IntArray

# Rows whose points stay in the cache of a processor while they are multiplied twice.
_CACHED_ROWS = 16

# Up to so many multiplications OpenBLAS may take its code for small products.
_SMALL = 1_000_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """Logistic fits whose losses and slopes are asked for at some weights.

    Attributes:
        design: The points and parts of all rows.
        y: (n, points) float32 share of the structure at each point, in [0, 1].
        columns: The fits that are trained on each part, as indexes of columns of ``weights``.
        weights: (channels + positions, fits) on raw channels.
        intercepts: (fits,).
    """

    design: Design
    y: FloatArray
    columns: Mapping[int, IntArray]
    weights: FloatArray
    intercepts: FloatArray


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over the training points of each fit of a request.

    Attributes:
        loss: (fits,) log-loss.
        first: (channels + positions, fits) residuals times raw channels.
        total: (fits,) residuals.
    """

    loss: FloatArray
    first: FloatArray
    total: FloatArray

    @classmethod
    def nothing(cls, request: Request) -> Sums:
        """Sums over no points."""
        count = len(request.intercepts)
        return cls(np.zeros(count), np.zeros_like(request.weights), np.zeros(count))


Fitting = Generator[Request, Sums, T]


def side_by_side(fits: Sequence[Fitting[T]]) -> list[T]:
    """Run fits to their ends; whatever they ask for at the same time shares its passes.

    Args:
        fits: Fits that have not begun.

    Returns:
        The result of each fit.
    """
    results: dict[int, T] = {}
    asked: dict[int, Request] = {}

    def go_on(i: int, answer: Sums | None) -> None:
        try:
            # A generator begins with None.
            asked[i] = next(fits[i]) if answer is None else fits[i].send(answer)
        except StopIteration as end:
            results[i] = end.value
            asked.pop(i, None)

    for i in range(len(fits)):
        go_on(i, None)
    while asked:
        running = list(asked)
        for i, answer in zip(running, sums_of([asked[i] for i in running]), strict=True):
            go_on(i, answer)
        # The fits of several cells take longer than those of one.
        progressed()
    return [results[i] for i in range(len(fits))]


def sums_of(requests: Sequence[Request]) -> list[Sums]:
    """Answer requests; those on one design share a pass over its points.

    Args:
        requests: What is asked for.

    Returns:
        The sums of each request.
    """
    sums = [Sums.nothing(request) for request in requests]
    by_design: dict[int, list[int]] = {}
    for i, request in enumerate(requests):
        by_design.setdefault(id(request.design), []).append(i)
    for members in by_design.values():
        asked = [(requests[i], sums[i]) for i in members]
        for part in sorted({k for request, _ in asked for k in request.columns}):
            _add_part(part, asked)
    return sums


def _add_part(part: int, asked: Sequence[tuple[Request, Sums]]) -> None:
    """Add the points of a part to the sums of requests on one design."""
    columns = [
        _Columns.of(request, sums, request.columns[part])
        for request, sums in asked
        if len(request.columns.get(part, ()))
    ]
    if not columns:
        return
    design = asked[0][0].design
    joined: dict[int, list[_Group]] = {}
    for block in blocks(np.flatnonzero(design.parts == part), _CACHED_ROWS):
        x = design.points.rows(block)
        if len(block) not in joined:
            joined[len(block)] = _groups(columns, x.size)
        for group, weights in joined[len(block)]:
            _add_block(x, block, group, weights)
    for column in columns:
        column.sums.first[:, column.which] = column.first


def _groups(columns: list[_Columns], size: int) -> list[_Group]:
    """Group fits that are multiplied together with ``size`` numbers, and join their weights."""
    alone = [c for c in columns if c.count == 1 or c.count * size <= _SMALL]
    several = [c for c in columns if c not in alone]
    groups = [[c] for c in alone] + ([several] if several else [])
    return [(group, np.concatenate([c.weights for c in group], axis=1)) for group in groups]


def _add_block(x: FloatArray, block: IntArray, group: list[_Columns], weights: FloatArray) -> None:
    """Add the points ``x`` of some rows to the sums of some fits."""
    odds = x @ weights
    residuals = np.empty_like(odds)
    start = 0
    for fits in group:
        these = slice(start, start + fits.count)
        residuals[:, these] = fits.add(odds[:, these], block)
        start += fits.count
    slopes = x.T @ residuals
    start = 0
    for fits in group:
        fits.first += slopes[:, start : start + fits.count]
        start += fits.count


@dataclass(slots=True, eq=False)
class _Columns:
    """The fits of one request that are trained on a part."""

    request: Request
    sums: Sums
    which: IntArray
    weights: FloatArray
    intercepts: FloatArray
    first: FloatArray

    @classmethod
    def of(cls, request: Request, sums: Sums, which: IntArray) -> _Columns:
        """Select fits of a request, with the sums so far."""
        return cls(
            request,
            sums,
            which,
            request.weights[:, which].astype(np.float32),
            request.intercepts[which].astype(np.float32),
            sums.first[:, which],
        )

    @property
    def count(self) -> int:
        """The number of fits."""
        return len(self.which)

    def add(self, products: FloatArray, block: IntArray) -> FloatArray:
        """Add the losses and residuals of some rows; returns the residuals."""
        y = self.request.y[block].reshape(-1, 1)
        losses, residuals = logistic_losses(products + self.intercepts, y)
        self.sums.loss[self.which] += losses.sum(axis=0, dtype=np.float64)
        self.sums.total[self.which] += residuals.sum(axis=0, dtype=np.float64)
        return residuals


_Group = tuple[list[_Columns], FloatArray]


def logistic_losses(z: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compute the log-loss and its slope.

    Args:
        z: Log odds.
        y: Labels in [0, 1], of the same shape or one that broadcasts to it.

    Returns:
        (loss, slope) in the precision of ``z``.
    """
    tail = np.exp(-np.abs(z))
    loss = np.log1p(tail)
    loss += np.maximum(z, 0)
    loss -= y * z
    residual = np.where(z >= 0, np.float32(1), tail)
    residual /= 1 + tail
    residual -= y
    return loss, residual
