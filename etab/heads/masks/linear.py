"""The linear segmentation probe: one weight a channel, fitted in closed form on the feature maps.

A score at each point of a common grid is a linear function of the channels there (and of where the point is, the same
for every backbone). Ridge on the mask needs only second moments, which add over patients: each fit of each fold
is a sum of the moments of its parts. Scores are resampled to the frame's own pixels, cut at a threshold chosen on the
inner parts, and the largest connected component is kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from typing import Any, ClassVar

import numpy as np
from scipy import linalg, sparse

from etab.echo.surface import cut
from etab.errors import UnsupportedOptionError
from etab.heads.base import HEADS, FoldFit, Head
from etab.heads.pooled.linalg import Tridiagonal
from etab.heads.pooled.probes import refuse_kind
from etab.splits import without
from etab.storage.memory import Spill
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit, Target

GRID = 28
PENALTIES: tuple[float, ...] = tuple(float(p) for p in np.logspace(-3.5, 1.9, 10))
POOLINGS = ("point", "mean3x3")
THRESHOLDS = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55)
_CHUNK = 50
_READ = 8
_PHASES = 8
_WAVES = 6
_POSITIONS = _WAVES**2 - 1


@cache
def _lattice(phase: int) -> IntArray:
    """The points (flat indexes into the grid) that rows of this phase contribute to the moments: one in eight."""
    rows, cols = np.mgrid[0:GRID, 0:GRID]
    return np.flatnonzero(((rows + 2 * (cols // 4) + 4 * cols) % _PHASES == phase).ravel())


@lru_cache(maxsize=1)
def _positions() -> FloatArray:
    """Where a grid point is, as the lowest 6 x 6 cosine waves over the frame without the constant: (points, 35).

    A smooth atlas is linear in them, so that no backbone is scored on whether its maps leak position.
    """
    line = (np.arange(GRID) + 0.5) / GRID
    waves = np.cos(np.pi * np.arange(_WAVES)[:, None] * line)
    both = np.einsum("ay,bx->yxab", waves, waves).reshape(GRID * GRID, -1)
    return np.asarray(both[:, 1:], dtype=np.float32)


@lru_cache(maxsize=1)
def _of_lattices() -> FloatArray:
    """``_positions`` of the points of each phase: (phases, points, 35)."""
    return np.stack([_positions()[_lattice(phase)] for phase in range(_PHASES)])


def _axis(size: int) -> FloatArray:
    """Linear resampling (GRID, size) between pixel centres, as image libraries do it."""
    at = np.clip((np.arange(GRID) + 0.5) * size / GRID - 0.5, 0, size - 1)
    low = np.minimum(at.astype(int), max(size - 2, 0))
    out = np.zeros((GRID, size), dtype=np.float32)
    out[np.arange(GRID), low] += 1 - (at - low)
    out[np.arange(GRID), np.minimum(low + 1, size - 1)] += at - low
    return out


def _smooth(scores: FloatArray) -> FloatArray:
    """Mean over the 3x3 neighbourhood of the last two axes, edges repeated."""
    p = np.pad(scores, [(0, 0)] * (scores.ndim - 2) + [(1, 1), (1, 1)], mode="edge")
    rows = p[..., :-2, :] + p[..., 1:-1, :] + p[..., 2:, :]
    return np.asarray((rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9)


def _operator(h: int, w: int, pooling: str, phase: int) -> FloatArray:
    """Linear map (points, h * w) from a feature map to the lattice of a phase, smoothing included."""
    eye = np.eye(h * w, dtype=np.float32).reshape(h * w, h, w)
    maps = _smooth(eye) if pooling == "mean3x3" else eye
    return np.asarray((_axis(h) @ maps @ _axis(w).T).reshape(h * w, -1)[:, _lattice(phase)].T)


@dataclass(frozen=True, slots=True)
class _Points:
    """Features of the lattice points of every row: (n, points, channels) float16, without positions."""

    values: Spill
    layers: tuple[slice, ...]
    scratch: list[FloatArray] = field(default_factory=list, compare=False)

    def rows(self, index: IntArray) -> FloatArray:
        """Design matrix of some rows: (rows * points, channels + positions), until the next call takes its memory."""
        n, points, width = len(index), self.values.shape[1], self.values.shape[2]
        if not self.scratch or len(self.scratch[0]) < n:
            self.scratch[:] = [np.empty((n, points, width + _POSITIONS), dtype=np.float32)]
        x = self.scratch[0][:n]
        self.values.widened(index, x[:, :, :width])
        x[:, :, width:] = _of_lattices()[index % _PHASES]
        return x.reshape(n * points, -1)

    def weighed(self, index: IntArray, y: FloatArray) -> FloatArray:
        """Sum over the points of some rows of y (rows, points) times the design there: (channels + positions,).

        A structure covers a part of the frame: only points where y is not 0 are read.
        """
        row, point = np.nonzero(y)
        share, some = y[row, point], self.values[index[row], point]
        channels = share @ widen(some, np.empty(some.shape, dtype=np.float32))
        return np.concatenate([channels, share @ _of_lattices()[index[row] % _PHASES, point]])


def _narrow(values: FloatArray, out: Array) -> None:
    """Store single precision as float16."""
    import torch

    torch.from_numpy(out).copy_(torch.from_numpy(values))


def widen(half: Array, out: FloatArray, *, turned: bool = False) -> FloatArray:
    """Put float16 values into single precision ``out``: torch does it many times faster than NumPy.

    ``turned``: the last two axes are exchanged on the way.
    """
    import torch

    if half.dtype != np.float16:
        half = half.astype(np.float16)
    values = torch.from_numpy(half)
    torch.from_numpy(out).copy_(values.transpose(-1, -2).contiguous() if turned else values)
    return out


def _sample(maps: Sequence[Any], budget: int) -> dict[str, _Points]:
    """Read every map once and keep the lattice points of each row, for each pooling: in memory under ``budget`` bytes."""
    edges = np.concatenate([[0], np.cumsum([m.shape[1] for m in maps])])
    layers = tuple(slice(int(a), int(b)) for a, b in itertools.pairwise(edges))
    n, points, path = len(maps[0]), len(_lattice(0)), getattr(maps[0], "path", None)
    kept = [
        Spill(
            (n, points, int(edges[-1])),
            budget=budget // len(POOLINGS),
            folder=path and path.parent.parent,
        )
        for _ in POOLINGS
    ]
    operators = [
        [
            sparse.csr_array(
                np.vstack([_operator(m.shape[2], m.shape[3], p, phase) for p in POOLINGS])
            )
            for phase in range(_PHASES)
        ]
        for m in maps
    ]
    for start in range(0, n, _READ):
        blocks = np.empty(
            (len(POOLINGS), min(_READ, n - start), points, int(edges[-1])), dtype=np.float16
        )
        for level, m in enumerate(maps):
            half = np.asarray(m[start : start + _READ])
            half = half.reshape(*half.shape[:2], -1)
            block = widen(
                half, np.empty(half.shape[:1] + half.shape[:0:-1], dtype=np.float32), turned=True
            )
            _refuse_bad(block, level, start)
            for i, frame in enumerate(block):
                at = operators[level][(start + i) % _PHASES] @ frame
                for k, out in enumerate(blocks):
                    _narrow(at[k * points : (k + 1) * points], out[i, :, layers[level]])
        for values, some in zip(kept, blocks, strict=True):
            values.put(start, some)
    return {
        pooling: _Points(values, layers) for pooling, values in zip(POOLINGS, kept, strict=True)
    }


def _refuse_bad(block: FloatArray, level: int, start: int) -> None:
    if not np.isfinite(block).all():
        raise UnsupportedOptionError(
            f"Feature map {level} holds values that are not finite (rows {start} to {start + len(block)}). "
            "The backbone overflows on this input: try --precision fp32."
        )


@dataclass(frozen=True, slots=True)
class _Moments:
    """Sums over points: count, first and second moments of features; of ``second`` the upper triangle alone is kept."""

    n: float
    first: FloatArray
    second: FloatArray

    def plus(self, others: Sequence[_Moments]) -> _Moments:
        """Moments of all together."""
        first, second = self.first.copy(), self.second.copy()
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
    """The finest part each row belongs to, so that every train and inner set is a union of parts; (n,) from 0.

    ``cells`` (n,) cut finer: with the cells of two protocols, both have the same parts. Numbered as they appear.
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
    """What is asked of a part, computed once it is asked for: a draw of few patients leaves most parts alone."""

    def __init__(self, make: Callable[[IntArray], Any], parts: IntArray) -> None:
        super().__init__()
        self.make, self.parts = make, parts

    def __missing__(self, k: int) -> Any:
        self[k] = self.make(np.flatnonzero(self.parts == k))
        return self[k]


def _moments(points: _Points, rows: IntArray) -> _Moments:
    """Moments of some rows. No method of a design, which would then hold itself, and its matrices, after its time."""
    width = int(points.values.shape[2]) + _POSITIONS
    n, first, second = 0, np.zeros(width), np.zeros((width, width), dtype=np.float32, order="F")
    for block in _blocks(rows):
        x = points.rows(block)
        n, first = n + len(x), first + x.sum(axis=0, dtype=np.float64)
        second = linalg.blas.ssyrk(1.0, x.T, beta=1.0, c=second, lower=1, overwrite_c=1)
    return _Moments(n, first, second.T)


class _Design:
    """Everything about features and splits that no label enters; kept in the memo for the next structure."""

    def __init__(self, points: _Points, parts: IntArray) -> None:
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
        return int(self.points.values.shape[2]) + _POSITIONS

    def members(self, rows: IntArray) -> tuple[int, ...]:
        """The parts that make up a set of rows."""
        return tuple(int(k) for k in np.unique(self.parts[rows]))

    def options(self) -> dict[str, IntArray]:
        """Channels of each choice of layers: each map alone, and all together; positions always."""
        width = self.points.values.shape[2]
        position = np.arange(width, width + _POSITIONS)
        alone = {
            f"map{i}": np.r_[s.start : s.stop, position] for i, s in enumerate(self.points.layers)
        }
        return {**alone, "all maps": np.arange(width + _POSITIONS)} if len(alone) > 1 else alone

    def system(
        self, parts: tuple[int, ...], option: str
    ) -> tuple[IntArray, FloatArray, FloatArray, Tridiagonal]:
        """Which channels, their mean and deviation, and the covariance of the standardised training channels, reduced."""
        place = (parts, option)
        if place not in self.systems:
            m, index = self.total(parts), self.options()[option]
            mean = m.first[index] / m.n
            deviation, correlations = _standardised(_among(m.second, index), m.n, mean)
            self.systems[place] = (index, mean, deviation, Tridiagonal.of(correlations))
        found: tuple[IntArray, FloatArray, FloatArray, Tridiagonal] = self.systems[place]
        return found

    def solve(
        self, parts: tuple[int, ...], option: str, labels: _Parts
    ) -> tuple[IntArray, FloatArray, FloatArray]:
        """Weights (channels, penalties) on raw channels and intercepts (penalties,) for a training set."""
        index, mean, deviation, system = self.system(parts, option)
        n, label = sum(self.moments[k].n for k in parts), _sum([labels[k] for k in parts])
        weights = (
            system.solve((label.xy[index] / n - mean * label.y / n) / deviation, PENALTIES)
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
        """Sum of squared errors of some parts, for each fit (as ``solve`` gives it) and penalty, from their moments alone."""
        m, label = self.total(parts), _sum([labels[k] for k in parts])
        whole, out = m.second.astype(np.float64), {}
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
    """Rows and columns ``index``, which rise, of a square matrix; the matrix itself where those are all."""
    return second if len(index) == len(second) else second[np.ix_(index, index)]


def _standardised(second: FloatArray, n: float, mean: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Deviations and correlations (upper triangle) of channels from second moments of ``n`` points.

    The means are taken off in double precision, where a channel far from 0 would lose its variance in single.
    """
    wide = linalg.blas.dsyr(-n, mean, lower=1, a=second.astype(np.float64).T, overwrite_a=1).T
    deviation = np.sqrt(np.maximum(np.diag(wide) / n, 1e-12))
    out, scale = wide.astype(np.float32), (1 / (deviation * np.sqrt(n))).astype(np.float32)
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
    """Linear segmentation probe on feature maps; maps, pooling, penalty and threshold chosen on the inner parts."""

    name: ClassVar[str] = "linear_seg"
    version: ClassVar[int] = 5
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.MASK})
    needs_maps: ClassVar[bool] = True

    def __init__(self, *, budget: int = 2 << 30) -> None:
        """``budget``: bytes of sampled points held in memory; more of them lie on disk, and change no answer."""
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
        """Choose, fit and predict for each split; predictions are boolean masks in each frame's own pixels."""
        refuse_kind(self, target)
        if not features.maps:
            raise UnsupportedOptionError(
                "The head 'linear_seg' needs feature maps; these features have none."
            )
        cells = _grid_masks(answers)
        y = np.stack([c.ravel()[_lattice(i % _PHASES)] for i, c in enumerate(cells)])
        designs = self._designs(features, splits, memo if memo is not None else {})
        labels = {p: d.label(y) for p, d in designs.items()}
        return [self._split(features, answers, y, split, designs, labels) for split in splits]

    def _designs(
        self, features: Features, splits: Sequence[RowSplit], memo: MutableMapping[Any, Any]
    ) -> dict[str, _Design]:
        """Points serve all that is asked of these rows; moments and systems all that has the same parts.

        The parts come from these splits and from ``memo["cells"]``, which the rows decide: a cell of the board must not
        depend on what else is run beside it.
        """
        shapes = tuple(m.shape for m in features.maps)
        parts = _partition(splits, shapes[0][0], memo.get("cells"))
        place = (shapes, parts.tobytes())
        if memo.get("linear_seg points", (None,))[0] != shapes:
            memo["linear_seg points"] = (shapes, _sample(features.maps, self.budget))
        if memo.get("linear_seg", (None,))[0] != place:
            memo["linear_seg"] = (None,)
            points: dict[str, _Points] = memo["linear_seg points"][1]
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
        design, label = designs[pooling], labels[pooling]
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
            "penalty": PENALTIES[best],
            "threshold": threshold,
            "inner_brier": float(errors[pooling, option][best] / points),
        }
        return FoldFit(predicted, choice)

    def _inner(self, design: _Design, split: RowSplit, labels: _Parts) -> dict[str, FloatArray]:
        """Squared error of each choice of maps and penalty over the inner parts, from moments alone."""
        total: dict[str, FloatArray] = {
            option: np.zeros(len(PENALTIES)) for option in design.options()
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
        totals, part = np.zeros(len(THRESHOLDS)), split.inner[0]
        index, w, b = design.solve(design.members(without(split.train, part)), option, labels)
        whole = np.zeros(design.width, dtype=np.float32)
        whole[index] = w[:, best]
        for block in _blocks(part):
            score = (design.points.rows(block) @ whole + b[best]).reshape(len(block), -1)
            true = y[block] >= 0.5
            for i, level in enumerate(THRESHOLDS):
                hit = score >= level
                size = hit.sum(axis=1) + true.sum(axis=1)
                totals[i] += (2 * (hit & true).sum(axis=1) / np.maximum(size, 1)).sum()
        return THRESHOLDS[int(totals.argmax())]


def _score(
    features: Features,
    rows: IntArray,
    index: IntArray,
    w: FloatArray,
    b: float,
    layers: Sequence[slice],
    pooling: str,
) -> FloatArray:
    """Score maps (rows, GRID, GRID): channels are weighed at each map's own resolution, then resampled and added."""
    channels = layers[-1].stop
    weights = np.zeros(channels + _POSITIONS)
    weights[index] = w
    total = np.tile((_positions() @ weights[channels:] + b).reshape(GRID, GRID), (len(rows), 1, 1))
    for s, m in zip(layers, features.maps, strict=True):
        if not weights[s].any():
            continue
        up, across, kernel = _axis(m.shape[2]), _axis(m.shape[3]).T, weights[s].astype(np.float32)
        scratch = np.empty((_READ, *m.shape[1:]), dtype=np.float32)
        for start in range(0, len(rows), _READ):
            some = rows[start : start + _READ]
            block = widen(np.asarray(m[some]), scratch[: len(some)])
            plane = np.matmul(kernel, block.reshape(len(block), len(kernel), -1)).reshape(
                -1, *block.shape[2:]
            )
            plane = _smooth(plane) if pooling == "mean3x3" else plane
            total[start : start + _READ] += up @ plane @ across
    return total
