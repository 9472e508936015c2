"""The linear mask probe fitted by likelihood: logistic regression on the points of feature maps.

The log odds of the structure at each point of a common grid are a linear function of the channels
of all maps there, and of the position of the point. The first inner part of a fold decides

* the pooling, by the error of the least-squares fit;
* the penalty, by its log-loss;
* the threshold, and whether only the largest connected component is kept, by the Dice of masks.

Log odds are resampled to the pixels of the frame, then cut at the threshold.

Structures of the same frames that are predicted next (``Memo.beside``) are fitted at the same time:
they share every pass over the points.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import scipy

from etab.echo.surface import mask_from_scores
from etab.heads.base import HEADS, FoldFit, Head, Memo
from etab.heads.masks.likelihood import (
    FitScale,
    LogisticFits,
    Problem,
    fitting_logistic,
    least_squares_start,
    scales_of,
)
from etab.heads.masks.moments import Design, PartTable, blocks
from etab.heads.masks.passes import Fitting, logistic_losses, side_by_side
from etab.heads.masks.probe import (
    Linear,
    best_cut,
    designs_of,
    inner_errors,
    lattice_shares,
    require_maps,
    score_maps,
)
from etab.heads.pooled.probes import refuse_kind
from etab.splits import without
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit, Target

# Penalties on weights of standardised channels, relative to the mean log-loss, strongest first.
LOGISTIC_PENALTIES: tuple[float, ...] = tuple(float(p) for p in np.logspace(-2, -6, 6))
# Passes over the points: along the penalties, and again on all training rows from there. The loss
# that remains is smaller than the differences between penalties (see docs/methods.md).
_CHOOSING = 12
_REFITTING = 12
# Index of the penalty at which the search starts, and of its neighbours.
_MIDDLE = (1, 2, 3)
LOGISTIC_THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)


@dataclass(frozen=True, slots=True)
class _Choice:
    """The choice made on the first inner part of a split, with the fit it was made with."""

    pooling: str
    penalty: float
    loss: float
    fit: LogisticFits


@dataclass(frozen=True, slots=True)
class _Fitted:
    """The choice of a split, and its fit on all training rows."""

    choice: _Choice
    fit: LogisticFits

    def scored(self, split: RowSplit) -> list[Linear]:
        """What is scored: the first inner part without it, and the test rows by all others."""
        rows = (split.inner[0], split.test)
        return [
            Linear(of_fit, fit.weights[:, 0], float(fit.intercepts[0]), self.choice.pooling)
            for of_fit, fit in zip(rows, (self.choice.fit, self.fit), strict=True)
        ]


@dataclass(frozen=True, slots=True)
class _Scored:
    """A fitted split, with its log odds as maps (rows, GRID, GRID) float32.

    Attributes:
        fitted: The fits.
        of_part: Log odds of the first inner part.
        of_test: Log odds of the test rows.
    """

    fitted: _Fitted
    of_part: FloatArray
    of_test: FloatArray


@HEADS.register("mask_logistic")
class MaskLogistic(Head):
    """Logistic regression of the mask on all feature maps.

    Pooling, penalty and threshold are chosen on the inner parts.

    Example:
        >>> from etab.testing.heads import made_features, made_splits, made_target
        >>> features, masks = made_features(Kind.MASK)
        >>> patients, splits = made_splits()
        >>> target = made_target(Kind.MASK)
        >>> rng = np.random.default_rng(0)
        >>> fits = MaskLogistic().cross_fit(features, masks, patients, splits, target, rng=rng)
        >>> fits[0].predictions[0].shape
        (48, 40)
    """

    name: ClassVar[str] = "mask_logistic"
    version: ClassVar[int] = 2
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.MASK})
    uses_torch: ClassVar[bool] = False
    needs_maps: ClassVar[bool] = True
    fits_beside: ClassVar[bool] = True

    def __init__(
        self,
        *,
        penalties: Sequence[float] = LOGISTIC_PENALTIES,
        tolerance: float = 1e-5,
        passes: tuple[int, int] = (_CHOOSING, _REFITTING),
        budget: int = 2 << 30,
    ) -> None:
        """Set the search and its precision.

        Args:
            penalties: Penalties to choose from, each above 0.
            tolerance: Largest distance of a penalised loss from its minimum.
            passes: Largest numbers of passes over the points, to choose and to fit again.
            budget: Bytes that sampled points may take in memory. More points are stored on disk,
                with the same predictions.
        """
        self.penalties = tuple(penalties)
        self.tolerance = tolerance
        self.passes = passes
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
        """Choose, fit and predict for each split.

        Args:
            features: Features of all rows.
            answers: Boolean masks (h, w), one for each row, in the pixels of its frame.
            patients: (n,) the patient of each row.
            splits: The rows to train on, the inner parts to choose by, and the rows to predict.
            target: What is predicted.
            rng: Source of random numbers.
            memo: What calls on the same features share: results without labels, and the fits of the
                structures in ``Memo.beside``.

        Returns:
            A fit for each split. Predictions are boolean masks of the same form.
        """
        refuse_kind(self, target)
        require_maps(self.name, features)
        memo = {} if memo is None else memo
        designs = designs_of(features, splits, memo, self.budget)
        scored = self._scored(lattice_shares(answers), features, designs, splits, memo)
        return [
            _predicted(answers, split, of_split, designs[of_split.fitted.choice.pooling])
            for split, of_split in zip(splits, scored, strict=True)
        ]

    def _scored(
        self,
        y: FloatArray,
        features: Features,
        designs: dict[str, Design],
        splits: Sequence[RowSplit],
        memo: MutableMapping[Any, Any],
    ) -> list[_Scored]:
        """Fit each split for the shares ``y`` of a structure, and for those of ``memo.beside``.

        Fits are found again by what they were fitted to, so that no cell takes those of another.
        """
        found: dict[bytes, list[_Scored]] = memo.setdefault("mask_logistic fits", {})
        parts = next(iter(designs.values())).parts
        wanted = {self._key(y, parts, splits): y}
        for answers in memo.beside if isinstance(memo, Memo) else ():
            beside = lattice_shares(answers)
            wanted[self._key(beside, parts, splits)] = beside
        missing = {key: shares for key, shares in wanted.items() if key not in found}
        began = time.perf_counter()
        fittings = [_fitting(designs, shares, splits, self) for shares in missing.values()]
        fitted = side_by_side(fittings)
        layers = next(iter(designs.values())).points.layers
        found.update(zip(missing, _score(features, fitted, splits, layers), strict=True))
        mine = next(iter(wanted))
        if isinstance(memo, Memo):
            memo.share_time(mine, list(missing), time.perf_counter() - began)
        return found.pop(mine)  # each cell takes its own fits once

    def _key(self, y: FloatArray, parts: IntArray, splits: Sequence[RowSplit]) -> bytes:
        """A digest of everything that fits on one set of features and their maps follow from.

        The parts of the design decide the order of sums, and so the last digits.
        """
        settings = (self.penalties, self.tolerance, self.passes, y.shape)
        digest = hashlib.sha256(repr(settings).encode())
        digest.update(np.ascontiguousarray(y).tobytes())
        digest.update(np.asarray(parts, dtype=np.int64).tobytes())
        for split in splits:
            for rows in (split.train, *split.inner[:1], split.test):
                digest.update(len(rows).to_bytes(8, "little"))
                digest.update(np.asarray(rows, dtype=np.int64).tobytes())
        return digest.digest()


def _fitting(
    designs: dict[str, Design],
    y: FloatArray,
    splits: Sequence[RowSplit],
    head: MaskLogistic,
) -> Fitting[list[_Fitted]]:
    """Fit each split, the splits of a pooling together."""
    labels = {pooling: design.label(y) for pooling, design in designs.items()}
    poolings = [_pooling(designs, labels, split) for split in splits]
    out: dict[int, _Fitted] = {}
    for pooling in sorted(set(poolings)):
        folds = [i for i, p in enumerate(poolings) if p == pooling]
        of_pooling = [splits[i] for i in folds]
        probe = _Probe(designs[pooling], labels[pooling], y, pooling, head)
        chosen, scales = yield from probe.choose(of_pooling)
        fits = yield from probe.refit(of_pooling, chosen, scales)
        out.update({i: _Fitted(chosen[k], fits.pick([k])) for k, i in enumerate(folds)})
    return [out[i] for i in range(len(splits))]


def _pooling(
    designs: dict[str, Design],
    labels: dict[str, PartTable],
    split: RowSplit,
) -> str:
    """The pooling with the smallest least-squares error on the first inner part, on all maps."""
    first = replace(split, inner=split.inner[:1])

    def error(pooling: str) -> float:
        design = designs[pooling]
        all_maps = list(design.options())[-1]
        errors = inner_errors(design, first, labels[pooling], [all_maps])
        return float(errors[all_maps].min())

    return min(designs, key=error)


class _Probe:
    """The fits of the folds that share a pooling; their points are read together."""

    def __init__(
        self,
        design: Design,
        labels: PartTable,
        y: FloatArray,
        pooling: str,
        head: MaskLogistic,
    ) -> None:
        self.design = design
        self.labels = labels
        self.y = y
        self.pooling = pooling
        self.head = head

    def choose(self, splits: Sequence[RowSplit]) -> Fitting[tuple[list[_Choice], list[FitScale]]]:
        """Choose the penalty of each split by its first inner part; returns the scales as well.

        The loss is smooth along the penalties. The search starts in their middle and ends where
        both neighbours of the best penalty have been fitted.
        """
        trains = []
        for split in splits:
            rows = without(split.train, split.inner[0])
            trains.append(self.design.members(rows))
        distinct = [Problem(parts, 0.0) for parts in dict.fromkeys(trains)]
        start = least_squares_start(self.design, self.labels, self.y, distinct)
        scales = scales_of(self.design, self.y, distinct, start)
        starts = {problem.parts: start.pick([i]) for i, problem in enumerate(distinct)}
        fitted: dict[Problem, LogisticFits] = {}
        losses: list[dict[int, float]] = [{} for _ in splits]
        first = [i for i in _MIDDLE if i < len(self.head.penalties)] or [0]
        wanted = [list(first) for _ in splits]
        while any(wanted):
            problems = []
            for parts, indexes in zip(trains, wanted, strict=True):
                problems += [Problem(parts, self.head.penalties[i]) for i in indexes]
            yield from self._fit(problems, starts, scales, fitted)
            for k, split in enumerate(splits):
                path = [Problem(trains[k], self.head.penalties[i]) for i in wanted[k]]
                values = self._losses([fitted[p] for p in path], split.inner[0])
                losses[k].update(zip(wanted[k], values, strict=True))
                wanted[k] = _neighbours(losses[k], len(self.head.penalties))
        chosen = []
        for parts, of_split in zip(trains, losses, strict=True):
            best = min(of_split, key=lambda i: of_split[i])
            penalty = self.head.penalties[best]
            fit = fitted[Problem(parts, penalty)]
            chosen.append(_Choice(self.pooling, penalty, of_split[best], fit))
        return chosen, [scales[parts] for parts in trains]

    def _fit(
        self,
        problems: Sequence[Problem],
        starts: dict[tuple[int, ...], LogisticFits],
        scales: dict[tuple[int, ...], FitScale],
        fitted: dict[Problem, LogisticFits],
    ) -> Fitting[None]:
        """Fit the problems that are not ``fitted`` yet, and add them."""
        missing = [p for p in dict.fromkeys(problems) if p not in fitted]
        if not missing:
            return
        fits = yield from fitting_logistic(
            self.design,
            self.y,
            missing,
            LogisticFits.joined([starts[p.parts] for p in missing]),
            scales=scales,
            tolerance=self.head.tolerance,
            passes=self.head.passes[0],
        )
        fitted.update({problem: fits.pick([i]) for i, problem in enumerate(missing)})

    def _losses(self, fits: Sequence[LogisticFits], part: IntArray) -> list[float]:
        """Mean log-loss of each fit over the points of some rows."""
        if not fits:
            return []
        path = LogisticFits.joined(fits)
        losses = np.zeros(len(fits))
        for block in blocks(part):
            z = self._log_odds(path, block)
            of_points, _ = logistic_losses(z, self.y[block].reshape(-1, 1))
            losses += of_points.sum(axis=0)
        points = len(part) * self.y.shape[1]
        return [float(loss) / points for loss in losses]

    def _log_odds(self, fits: LogisticFits, rows: IntArray) -> FloatArray:
        """Log odds (rows * points, fits) at the points of some rows."""
        single = fits.weights.astype(np.float32)
        odds = self.design.points.rows(rows) @ single + fits.intercepts
        return np.asarray(odds)

    def refit(
        self, splits: Sequence[RowSplit], chosen: Sequence[_Choice], inner: Sequence[FitScale]
    ) -> Fitting[LogisticFits]:
        """Fit each split on all its training rows with its penalty, from its inner fit."""
        problems = []
        scales = {}
        for split, choice, scale in zip(splits, chosen, inner, strict=True):
            parts = self.design.members(split.train)
            problems.append(Problem(parts, choice.penalty))
            scales[parts] = scale.moved(self.design, parts)
        return (
            yield from fitting_logistic(
                self.design,
                self.y,
                problems,
                LogisticFits.joined([choice.fit for choice in chosen]),
                scales=scales,
                tolerance=self.head.tolerance,
                passes=self.head.passes[1],
            )
        )


def _score(
    features: Features,
    structures: Sequence[Sequence[_Fitted]],
    splits: Sequence[RowSplit],
    layers: Sequence[slice],
) -> list[list[_Scored]]:
    """Compute the log odds of all structures and splits together: each map is read once."""
    asked = [
        linear
        for fitted in structures
        for of_split, split in zip(fitted, splits, strict=True)
        for linear in of_split.scored(split)
    ]
    maps = iter(score_maps(features, asked, layers))
    return [
        [
            _Scored(of_split, next(maps).astype(np.float32), next(maps).astype(np.float32))
            for of_split in fitted
        ]
        for fitted in structures
    ]


def _predicted(masks: Sequence[Array], split: RowSplit, scored: _Scored, design: Design) -> FoldFit:
    """Predict the masks of the test rows of a split."""
    fitted = scored.fitted
    choice = fitted.choice
    levels = [float(level) for level in scipy.special.logit(LOGISTIC_THRESHOLDS)]
    cut = best_cut(scored.of_part, [masks[i] for i in split.inner[0]], levels)
    predicted = []
    for grid, i in zip(scored.of_test, split.test, strict=True):
        mask = mask_from_scores(grid, masks[i].shape, cut.level, whole=not cut.largest)
        predicted.append(mask)
    facts = {
        "maps": list(design.options())[-1],
        "pooling": choice.pooling,
        "penalty": choice.penalty,
        "threshold": LOGISTIC_THRESHOLDS[levels.index(cut.level)],
        "components": "largest" if cut.largest else "all",
        "inner_log_loss": choice.loss,
        "inner_dice": cut.dice,
        "gap": float(fitted.fit.gaps[0]),
    }
    return FoldFit(predicted, facts)


def _neighbours(losses: dict[int, float], count: int) -> list[int]:
    """The neighbours of the best penalty that have no loss yet."""
    best = min(losses, key=lambda i: losses[i])
    return [i for i in (best - 1, best + 1) if 0 <= i < count and i not in losses]
