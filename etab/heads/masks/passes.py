"""Passes over the points of feature maps that all fits under way share.

A fit is a generator: it yields a ``Request`` and goes on with its ``Sums``. Fits that run side by
side have their points read and multiplied together, which takes little longer than one fit alone.

A fit has the same result alone and beside others: OpenBLAS computes each column of a large product
by the same operations whatever the other columns are. It has other code, which sums in another
order, for few columns and for small products, so columns of zeros are added to few columns.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from etab.heads.masks.fields import Field
from etab.storage.watchdog import progressed
from etab.types import Array, FloatArray, IntArray

# Columns that are multiplied together at least.
_FEWEST_COLUMNS = 16

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Request:
    """Logistic fits whose losses and slopes are asked for at some weights.

    Attributes:
        field: The points of all rows.
        rows: The rows that are read, ascending.
        y: (n, points) float32 share of the structure at each point, in [0, 1].
        trains: (n, fits) float32, 1 for the training rows of each fit and 0 for others.
        weights: (channels + positions, fits) on raw channels.
        intercepts: (fits,).
        level: Log odds from which on a point counts as inside, where Dice is asked for.
    """

    field: Field
    rows: IntArray
    y: FloatArray
    trains: FloatArray
    weights: FloatArray
    intercepts: FloatArray
    level: float | None = None


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over points for each fit of a request.

    Attributes:
        loss: (n, fits) log-loss of each row that was read, training row or not.
        dice: (n, fits) Dice of the points of each row that was read; zeros where it was not asked
            for.
        first: (channels + positions, fits) residuals times raw channels, of training rows.
        total: (fits,) residuals of training rows.
    """

    loss: FloatArray
    dice: FloatArray
    first: FloatArray
    total: FloatArray

    @classmethod
    def nothing(cls, request: Request) -> Sums:
        """Sums over no points."""
        count = len(request.intercepts)
        loss, dice = np.zeros((2, *request.trains.shape), dtype=np.float32)
        return cls(loss, dice, np.zeros_like(request.weights), np.zeros(count))


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
    """Answer requests; those on the same rows of one field share a pass over its points.

    Args:
        requests: What is asked for.

    Returns:
        The sums of each request.
    """
    sums = [Sums.nothing(request) for request in requests]
    alike: dict[tuple[int, bytes], list[int]] = {}
    for i, request in enumerate(requests):
        alike.setdefault((id(request.field), request.rows.tobytes()), []).append(i)
    for members in alike.values():
        _pass([requests[i] for i in members], [sums[i] for i in members])
    return sums


def _pass(requests: Sequence[Request], sums: Sequence[Sums]) -> None:
    """Add the points of all rows to the sums of requests on the same rows of one field."""
    field = requests[0].field
    weights = _joined([request.weights for request in requests])
    intercepts = _joined([request.intercepts[None] for request in requests])
    trains = _joined([request.trains for request in requests])
    ends = np.cumsum([len(request.intercepts) for request in requests])
    columns = [slice(e - len(r.intercepts), e) for e, r in zip(ends, requests, strict=True)]
    first = np.zeros(weights.shape)
    total = np.zeros(weights.shape[1])
    scratch: list[FloatArray] = []
    for block in field.blocks(requests[0].rows):
        x = field.points.rows(block)
        if not scratch or scratch[0].shape[0] != len(x):
            scratch = [np.empty((len(x), weights.shape[1]), dtype=np.float32) for _ in range(3)]
        odds, tail, residuals = scratch
        np.matmul(x, weights, out=odds)
        odds += intercepts
        for request, one, these in zip(requests, sums, columns, strict=True):
            if request.level is not None:
                one.dice[block] = _dice(odds[:, these] >= request.level, request.y[block])
        losses_of(odds, [r.y[block].reshape(-1, 1) for r in requests], columns, tail, residuals)
        of_rows = residuals.reshape(len(block), -1, residuals.shape[1])
        of_rows *= trains[block][:, None]
        first += x.T @ residuals
        total += residuals.sum(axis=0, dtype=np.float64)
        losses = odds.reshape(of_rows.shape).sum(axis=1)
        for one, these in zip(sums, columns, strict=True):
            one.loss[block] = losses[:, these]
    for one, these in zip(sums, columns, strict=True):
        one.first[:] = first[:, these]
        one.total[:] = total[these]


def _dice(inside: Array, y: FloatArray) -> FloatArray:
    """Dice (rows, fits) of the points (rows * points, fits) inside and those of a structure."""
    inside = inside.reshape(*y.shape, -1)
    true = y >= 0.5
    sizes = np.count_nonzero(inside, axis=1) + np.count_nonzero(true, axis=1)[:, None]
    common = np.count_nonzero(inside & true[:, :, None], axis=1)
    return np.where(sizes == 0, 1.0, 2 * common / np.maximum(sizes, 1))


def _joined(parts: Sequence[FloatArray]) -> FloatArray:
    """Columns of several arrays side by side in single precision; zeros where they are few."""
    joined = np.concatenate(parts, axis=1).astype(np.float32)
    lacking = max(0, _FEWEST_COLUMNS - joined.shape[1])
    return np.pad(joined, ((0, 0), (0, lacking)))


def losses_of(
    odds: FloatArray,
    labels: Sequence[FloatArray],
    columns: Sequence[slice],
    tail: FloatArray,
    residuals: FloatArray,
) -> None:
    """Compute log-losses and their slopes, in the memory of the arguments.

    Args:
        odds: (points, columns) log odds, which the losses replace.
        labels: (points, 1) labels in [0, 1] of each slice of ``columns``.
        columns: The columns of each label.
        tail: Memory of the same shape.
        residuals: Where the slopes are stored, of the same shape.
    """
    np.abs(odds, out=tail)
    np.negative(tail, out=tail)
    np.exp(tail, out=tail)
    # The logistic function is 1 / (1 + tail) above 0, and 1 minus that below.
    np.add(tail, np.float32(1), out=residuals)
    np.log(residuals, out=tail)
    np.reciprocal(residuals, out=residuals)
    np.subtract(np.float32(1), residuals, out=residuals, where=odds < 0)
    for y, these in zip(labels, columns, strict=True):
        of_label = residuals[:, these]
        of_label -= y
    # log(1 + exp(odds)) - y * odds, where log(1 + tail) is its part below its maximum with 0.
    for y, these in zip(labels, columns, strict=True):
        z = odds[:, these]
        z[:] = np.maximum(z, 0) - y * z
    odds += tail
