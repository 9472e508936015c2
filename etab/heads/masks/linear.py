"""The linear segmentation probe: one weight a channel, fitted in closed form on the feature maps.

A score at each point of a common grid is a linear function of the channels there (and of where the
point is, the same for every backbone). Ridge on the mask needs only second moments, which add over
patients: each fit of each fold is a sum of the moments of its parts. Scores are resampled to the
frame's own pixels, cut at a threshold chosen on the inner parts, and the largest connected
component is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from scipy import linalg

from etab.echo.surface import cut
from etab.errors import UnsupportedOptionError
from etab.heads.base import HEADS, FoldFit, Head, Memo
from etab.heads.masks.points import (
    GRID,
    MAPS_AT_ONCE,
    PHASES,
    POOLINGS,
    POSITIONS,
    Points,
    axis_weights,
    lattice,
    positions,
    sample_points,
    smooth,
    widen,
)
from etab.heads.pooled.linalg import Tridiagonal
from etab.heads.pooled.probes import refuse_kind
from etab.splits import without
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit, Target

MASK_PENALTIES: tuple[float, ...] = tuple(float(p) for p in np.logspace(-3.5, 1.9, 10))
LINEAR_THRESHOLDS = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55)
_CHUNK = 50


@dataclass(frozen=True, slots=True)
class _Moments:
    """Sums over points: count, first and second moments of features; of ``second`` the upper
    triangle alone is kept.
    """

    n: float
    first: FloatArray
    second: FloatArray

    def plus(self, others: Sequence[_Moments]) -> _Moments:
        """Moments of all together."""
        first = self.first.copy()
        second = self.second.copy()
        for other in others:
            first += other.first
            second += other.second
        return _Moments(self.n + sum(o.n for o in others), first, second)


@dataclass(frozen=True, slots=True)
class _Label:
    """Sums over points with the mask: sum of y, of y squared, and of x times y."""

    y: float
    yy: float
    xy: FloatArray

    def plus(self, others: Sequence[_Label]) -> _Label:
        """Sums of all together."""
        every = (self, *others)
        return _Label(
            sum(o.y for o in every), sum(o.yy for o in every), np.sum([o.xy for o in every], axis=0)
        )


def _sum(parts: Sequence[Any]) -> Any:
    return parts[0] if len(parts) == 1 else parts[0].plus(parts[1:])


def _partition(splits: Sequence[RowSplit], n: int, cells: Array | None) -> IntArray:
    """The finest part each row belongs to, so that every train and inner set is a union of parts;
    (n,) from 0.

    ``cells`` (n,) cut finer: with the cells of two protocols, both have the same parts. Numbered as
    they appear.
    """
    marks = (
        np.zeros(n, dtype=object)
        if cells is None
        else np.array([f"{c}" for c in cells], dtype=object)
    )
    for i, split in enumerate(splits):
        for name, rows in (
            ("t", split.train),
            ("e", split.test),
            *[(f"i{j}", p) for j, p in enumerate(split.inner)],
        ):
            for row in rows:
                marks[row] = f"{marks[row] or ''}|{i}{name}"
    _, first, inverse = np.unique(marks.astype(str), return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


class _Parts(dict[int, Any]):
    """What is asked of a part, computed once it is asked for: a draw of few patients leaves most
    parts alone.
    """

    def __init__(self, make: Callable[[IntArray], Any], parts: IntArray) -> None:
        super().__init__()
        self.make, self.parts = make, parts

    def __missing__(self, k: int) -> Any:
        self[k] = self.make(np.flatnonzero(self.parts == k))
        return self[k]


def _moments(points: Points, rows: IntArray) -> _Moments:
    """Moments of some rows. No method of a design, which would then hold itself, and its matrices,
    after its time.
    """
    width = int(points.values.shape[2]) + POSITIONS
    n = 0
    first = np.zeros(width)
    second = np.zeros((width, width), dtype=np.float32, order="F")
    for block in _blocks(rows):
        x = points.rows(block)
        n = n + len(x)
        first = first + x.sum(axis=0, dtype=np.float64)
        second = linalg.blas.ssyrk(1.0, x.T, beta=1.0, c=second, lower=1, overwrite_c=1)
    return _Moments(n, first, second.T)


class _Design:
    """Everything about features and splits that no label enters; kept in the memo for the next
    structure.
    """

    def __init__(self, points: Points, parts: IntArray) -> None:
        self.points, self.parts = points, parts
        self.moments = _Parts(partial(_moments, points), parts)
        self.systems: dict[Any, Any] = {}
        self.sums: dict[tuple[int, ...], _Moments] = {}

    def label(self, y: FloatArray) -> _Parts:
        """Moments with a label, for every part. ``y`` (n, points)."""

        def moments(rows: IntArray) -> _Label:
            xy = np.zeros(())
            for block in _blocks(rows):
                xy = xy + self.points.weighed(block, y[block]).astype(np.float64)
            return _Label(float(y[rows].sum()), float(np.square(y[rows]).sum()), np.asarray(xy))

        return _Parts(moments, self.parts)

    @property
    def width(self) -> int:
        """Channels and positions together."""
        return int(self.points.values.shape[2]) + POSITIONS

    def members(self, rows: IntArray) -> tuple[int, ...]:
        """The parts that make up a set of rows."""
        return tuple(int(k) for k in np.unique(self.parts[rows]))

    def options(self) -> dict[str, IntArray]:
        """Channels of each choice of layers: each map alone, and all together; positions always."""
        width = self.points.values.shape[2]
        position = np.arange(width, width + POSITIONS)
        alone = {
            f"map{i}": np.r_[s.start : s.stop, position] for i, s in enumerate(self.points.layers)
        }
        return {**alone, "all maps": np.arange(width + POSITIONS)} if len(alone) > 1 else alone

    def system(
        self, parts: tuple[int, ...], option: str
    ) -> tuple[IntArray, FloatArray, FloatArray, Tridiagonal]:
        """Which channels, their mean and deviation, and the covariance of the standardised training
        channels, reduced.
        """
        place = (parts, option)
        if place not in self.systems:
            m = self.total(parts)
            index = self.options()[option]
            mean = m.first[index] / m.n
            deviation, correlations = _standardised(_among(m.second, index), m.n, mean)
            self.systems[place] = (index, mean, deviation, Tridiagonal.of(correlations))
        found: tuple[IntArray, FloatArray, FloatArray, Tridiagonal] = self.systems[place]
        return found

    def solve(
        self, parts: tuple[int, ...], option: str, labels: _Parts
    ) -> tuple[IntArray, FloatArray, FloatArray]:
        """Weights (channels, penalties) on raw channels and intercepts (penalties,) for a training
        set.
        """
        index, mean, deviation, system = self.system(parts, option)
        n = sum(self.moments[k].n for k in parts)
        label = _sum([labels[k] for k in parts])
        weights = (
            system.solve((label.xy[index] / n - mean * label.y / n) / deviation, MASK_PENALTIES)
            / deviation[:, None]
        )
        return index, weights, label.y / n - mean @ weights

    def total(self, parts: tuple[int, ...]) -> _Moments:
        """Moments of several parts together; those of the last few sets are at hand."""
        if parts not in self.sums:
            if len(self.sums) >= 3:
                self.sums.pop(next(iter(self.sums)))
            self.sums[parts] = _sum([self.moments[k] for k in parts])
        return self.sums[parts]

    def squared_errors(
        self,
        parts: tuple[int, ...],
        fits: dict[str, tuple[IntArray, FloatArray, FloatArray]],
        labels: _Parts,
    ) -> dict[str, FloatArray]:
        """Sum of squared errors of some parts, for each fit (as ``solve`` gives it) and penalty,
        from their moments alone.
        """
        m = self.total(parts)
        label = _sum([labels[k] for k in parts])
        whole = m.second.astype(np.float64)
        out = {}
        for option, (index, w, b) in fits.items():
            quadratic = np.einsum(
                "cp,cp->p", w, linalg.blas.dsymm(1.0, _among(whole, index).T, w, lower=1)
            )
            cross = w.T @ label.xy[index]
            out[option] = (
                quadratic
                + 2 * b * (w.T @ m.first[index])
                + m.n * b * b
                - 2 * (cross + b * label.y)
                + label.yy
            )
        return out


def _among(second: FloatArray, index: IntArray) -> FloatArray:
    """Rows and columns ``index``, which rise, of a square matrix; the matrix itself where those are
    all.
    """
    return second if len(index) == len(second) else second[np.ix_(index, index)]


def _standardised(second: FloatArray, n: float, mean: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Deviations and correlations (upper triangle) of channels from second moments of ``n`` points.

    The means are taken off in double precision, where a channel far from 0 would lose its variance
    in single.
    """
    wide = linalg.blas.dsyr(-n, mean, lower=1, a=second.astype(np.float64).T, overwrite_a=1).T
    deviation = np.sqrt(np.maximum(np.diag(wide) / n, 1e-12))
    out = wide.astype(np.float32)
    scale = (1 / (deviation * np.sqrt(n))).astype(np.float32)
    out *= scale[:, None]
    out *= scale
    return deviation, out


def _blocks(rows: IntArray) -> Iterator[IntArray]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]


def _grid_masks(masks: Sequence[Array]) -> FloatArray:
    """Share of the structure in each grid cell: (n, GRID, GRID)."""

    import cv2

    size = (GRID, GRID)
    return np.stack(
        [cv2.resize(m.astype(np.float32), size, interpolation=cv2.INTER_AREA) for m in masks]
    )


@HEADS.register("linear_seg")
class LinearSeg(Head):
    """Linear segmentation probe on feature maps; maps, pooling, penalty and threshold chosen on the
    inner parts.
    """

    name: ClassVar[str] = "linear_seg"
    version: ClassVar[int] = 5
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.MASK})
    needs_maps: ClassVar[bool] = True

    def __init__(self, *, budget: int = 2 << 30) -> None:
        """``budget``: bytes of sampled points held in memory; more of them lie on disk, and change
        no answer.
        """
        self.budget = budget

    def cross_fit(
        self,
        features: Features,
        answers: Any,
        patients: Array,
        splits: Sequence[RowSplit],
        target: Target,
        *,
        rng: np.random.Generator,
        memo: MutableMapping[Any, Any] | None = None,
    ) -> list[FoldFit]:
        """Choose, fit and predict for each split; predictions are boolean masks in each frame's own
        pixels.
        """
        refuse_kind(self, target)
        if not features.maps:
            raise UnsupportedOptionError(
                "The head 'linear_seg' needs feature maps; these features have none."
            )
        cells = _grid_masks(answers)
        y = np.stack([c.ravel()[lattice(i % PHASES)] for i, c in enumerate(cells)])
        designs = self._designs(features, splits, memo if memo is not None else {})
        labels = {p: d.label(y) for p, d in designs.items()}
        return [self._split(features, answers, y, split, designs, labels) for split in splits]

    def _designs(
        self, features: Features, splits: Sequence[RowSplit], memo: MutableMapping[Any, Any]
    ) -> dict[str, _Design]:
        """Points serve all that is asked of these rows; moments and systems all that has the same
        parts.

        The parts come from these splits and from ``memo.cells``, which the rows decide: a cell of
        the board must not depend on what else is run beside it.
        """
        shapes = tuple(m.shape for m in features.maps)
        parts = _partition(splits, shapes[0][0], memo.cells if isinstance(memo, Memo) else None)
        place = (shapes, parts.tobytes())
        if memo.get("linear_seg points", (None,))[0] != shapes:
            memo["linear_seg points"] = (shapes, sample_points(features.maps, self.budget))
        if memo.get("linear_seg", (None,))[0] != place:
            memo["linear_seg"] = (None,)
            points: dict[str, Points] = memo["linear_seg points"][1]
            memo["linear_seg"] = (place, {p: _Design(points[p], parts) for p in POOLINGS})
        found: dict[str, _Design] = memo["linear_seg"][1]
        return found

    def _split(
        self,
        features: Features,
        masks: Sequence[Array],
        y: FloatArray,
        split: RowSplit,
        designs: dict[str, _Design],
        labels: dict[str, _Parts],
    ) -> FoldFit:
        errors = {
            (p, o): e
            for p, d in designs.items()
            for o, e in self._inner(d, split, labels[p]).items()
        }
        pooling, option = min(errors, key=lambda k: float(errors[k].min()))
        best = int(errors[pooling, option].argmin())
        design = designs[pooling]
        label = labels[pooling]
        threshold = self._threshold(design, option, best, split, label, y)
        index, w, b = design.solve(design.members(split.train), option, label)
        grids = _score(
            features, split.test, index, w[:, best], float(b[best]), design.points.layers, pooling
        )
        predicted = [
            cut(g, masks[i].shape, threshold) for g, i in zip(grids, split.test, strict=True)
        ]
        points = y.shape[1] * sum(len(p) for p in split.inner)
        choice = {
            "maps": option,
            "pooling": pooling,
            "penalty": MASK_PENALTIES[best],
            "threshold": threshold,
            "inner_brier": float(errors[pooling, option][best] / points),
        }
        return FoldFit(predicted, choice)

    def _inner(self, design: _Design, split: RowSplit, labels: _Parts) -> dict[str, FloatArray]:
        """Squared error of each choice of maps and penalty over the inner parts, from moments
        alone.
        """
        total: dict[str, FloatArray] = {
            option: np.zeros(len(MASK_PENALTIES)) for option in design.options()
        }
        for part in split.inner:
            rest = design.members(without(split.train, part))
            fits = {option: design.solve(rest, option, labels) for option in total}
            for option, errors in design.squared_errors(design.members(part), fits, labels).items():
                total[option] += errors
        return total

    def _threshold(
        self,
        design: _Design,
        option: str,
        best: int,
        split: RowSplit,
        labels: _Parts,
        y: FloatArray,
    ) -> float:
        """The cut with the best mean Dice of the lattice points of the first inner part."""
        totals = np.zeros(len(LINEAR_THRESHOLDS))
        part = split.inner[0]
        index, w, b = design.solve(design.members(without(split.train, part)), option, labels)
        whole = np.zeros(design.width, dtype=np.float32)
        whole[index] = w[:, best]
        for block in _blocks(part):
            score = (design.points.rows(block) @ whole + b[best]).reshape(len(block), -1)
            true = y[block] >= 0.5
            for i, level in enumerate(LINEAR_THRESHOLDS):
                hit = score >= level
                size = hit.sum(axis=1) + true.sum(axis=1)
                totals[i] += (2 * (hit & true).sum(axis=1) / np.maximum(size, 1)).sum()
        return LINEAR_THRESHOLDS[int(totals.argmax())]


def _score(
    features: Features,
    rows: IntArray,
    index: IntArray,
    w: FloatArray,
    b: float,
    layers: Sequence[slice],
    pooling: str,
) -> FloatArray:
    """Score maps (rows, GRID, GRID): channels are weighed at each map's own resolution, then
    resampled and added.
    """
    channels = layers[-1].stop
    weights = np.zeros(channels + POSITIONS)
    weights[index] = w
    total = np.tile((positions() @ weights[channels:] + b).reshape(GRID, GRID), (len(rows), 1, 1))
    for s, m in zip(layers, features.maps, strict=True):
        if not weights[s].any():
            continue
        up = axis_weights(m.shape[2])
        across = axis_weights(m.shape[3]).T
        kernel = weights[s].astype(np.float32)
        scratch = np.empty((MAPS_AT_ONCE, *m.shape[1:]), dtype=np.float32)
        for start in range(0, len(rows), MAPS_AT_ONCE):
            some = rows[start : start + MAPS_AT_ONCE]
            block = widen(np.asarray(m[some]), scratch[: len(some)])
            plane = np.matmul(kernel, block.reshape(len(block), len(kernel), -1)).reshape(
                -1, *block.shape[2:]
            )
            plane = smooth(plane) if pooling == "mean3x3" else plane
            total[start : start + MAPS_AT_ONCE] += up @ plane @ across
    return total
