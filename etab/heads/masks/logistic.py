"""The linear mask probe fitted by likelihood: logistic regression on the points of feature maps.

The log odds of the structure at each point of a common grid are a linear function of the channels
of all maps there, and of the position of the point. The first inner part of a fold decides the
penalty, by its log-loss, and the level at which masks are cut, by its Dice; the least-squares fit
decides the pooling. Log odds are resampled to the frame's own pixels and cut, and the largest
connected component is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import special

from etab.echo.surface import mask_from_scores
from etab.heads.base import HEADS, FoldFit, Head
from etab.heads.masks.likelihood import (
    LogisticFits,
    Problem,
    fit_logistic,
    least_squares_start,
    log_loss,
)
from etab.heads.masks.moments import Design, PartTable, blocks
from etab.heads.masks.probe import (
    best_level,
    designs_of,
    inner_errors,
    lattice_shares,
    require_maps,
    score_maps,
)
from etab.heads.pooled.probes import refuse_kind
from etab.splits import without
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit, Target

# On weights of standardised channels, beside the mean log-loss; the strongest first.
LOGISTIC_PENALTIES: tuple[float, ...] = tuple(float(p) for p in np.logspace(-2, -6, 6))
# Passes over the points: along the penalties, and again on all training rows from there. What these
# leave of the penalised loss is below what tells penalties apart (see docs/methods.md).
_CHOOSING = 12
_REFITTING = 8
LOGISTIC_THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6)


@dataclass(frozen=True, slots=True)
class _Choice:
    """What the first inner part of a split decided, and the fit that it was decided by."""

    pooling: str
    penalty: float
    threshold: float
    loss: float
    dice: float
    fit: LogisticFits


@HEADS.register("mask_logistic")
class MaskLogistic(Head):
    """Logistic regression of the mask on all feature maps; pooling, penalty and threshold chosen on
    the inner parts.

    Example:
        >>> from etab.testing.heads import made_features, made_splits, made_target
        >>> features, masks = made_features(Kind.MASK)
        >>> patients, splits = made_splits()
        >>> fits = MaskLogistic().cross_fit(
        ...     features, masks, patients, splits, made_target(Kind.MASK), rng=np.random.default_rng(0)
        ... )
        >>> fits[0].predictions[0].shape
        (48, 40)
    """

    name: ClassVar[str] = "mask_logistic"
    version: ClassVar[int] = 1
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.MASK})
    needs_maps: ClassVar[bool] = True

    def __init__(
        self,
        *,
        penalties: Sequence[float] = LOGISTIC_PENALTIES,
        tolerance: float = 1e-5,
        passes: tuple[int, int] = (_CHOOSING, _REFITTING),
        budget: int = 2 << 30,
    ) -> None:
        """Set what is tried, how exactly, and how much memory the sampled points may take.

        Args:
            penalties: Penalties to choose from, each above 0.
            tolerance: How close a penalised loss must come to its minimum.
            passes: At most so many passes over the points to choose by, and to fit again by.
            budget: Bytes. More points lie on disk, with the same predictions.
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
        """Choose, fit and predict for each split; predictions are boolean masks in each frame's own
        pixels.
        """
        refuse_kind(self, target)
        require_maps(self.name, features)
        y = lattice_shares(answers)
        designs = designs_of(features, splits, memo if memo is not None else {}, self.budget)
        labels = {p: d.label(y) for p, d in designs.items()}
        poolings = [_pooling(designs, labels, split) for split in splits]
        out: dict[int, FoldFit] = {}
        for pooling in sorted(set(poolings)):
            folds = [i for i, p in enumerate(poolings) if p == pooling]
            probe = _Probe(designs[pooling], labels[pooling], y, pooling, self)
            chosen = probe.choose([splits[i] for i in folds])
            fits = probe.refit([splits[i] for i in folds], chosen)
            for k, i in enumerate(folds):
                fit = fits.pick([k])
                out[i] = probe.predict(features, answers, splits[i], chosen[k], fit)
        return [out[i] for i in range(len(splits))]


def _pooling(designs: dict[str, Design], labels: dict[str, PartTable], split: RowSplit) -> str:
    """The pooling whose least-squares fit on all maps has the smallest error on the inner parts."""

    def error(pooling: str) -> float:
        design = designs[pooling]
        option = list(design.options())[-1]
        return float(inner_errors(design, split, labels[pooling], [option])[option].min())

    return min(designs, key=error)


class _Probe:
    """The fits of the folds that share a pooling; their points are read together."""

    def __init__(
        self, design: Design, labels: PartTable, y: FloatArray, pooling: str, head: MaskLogistic
    ) -> None:
        self.design = design
        self.labels = labels
        self.y = y
        self.pooling = pooling
        self.head = head

    def choose(self, splits: Sequence[RowSplit]) -> list[_Choice]:
        """Penalty and threshold of each split, by its first inner part."""
        trains = [self.design.members(without(split.train, split.inner[0])) for split in splits]
        problems = [
            Problem(parts, penalty)
            for parts in dict.fromkeys(trains)
            for penalty in self.head.penalties
        ]
        start = least_squares_start(self.design, self.labels, self.y, problems)
        fits = fit_logistic(
            self.design,
            self.y,
            problems,
            start,
            tolerance=self.head.tolerance,
            passes=self.head.passes[1],
        )
        chosen = []
        for split, parts in zip(splits, trains, strict=True):
            path = [i for i, p in enumerate(problems) if p.parts == parts]
            chosen.append(self._best(fits.pick(path), split.inner[0]))
        return chosen

    def _best(self, path: LogisticFits, part: IntArray) -> _Choice:
        """Which fit of a path has the smallest log-loss on some rows, and where it is cut."""
        losses = np.zeros(len(path.intercepts))
        for block in blocks(part):
            z = self._log_odds(path, block)
            losses += log_loss(z, self.y[block].reshape(-1, 1))[0].sum(axis=0)
        best = int(losses.argmin())
        fit = path.pick([best])

        def scored() -> Iterator[tuple[FloatArray, FloatArray]]:
            for block in blocks(part):
                odds = self._log_odds(fit, block).reshape(len(block), -1)
                yield special.expit(odds), self.y[block]

        threshold, dice = best_level(scored(), LOGISTIC_THRESHOLDS)
        loss = float(losses[best]) / (len(part) * self.y.shape[1])
        penalty = self.head.penalties[best]
        return _Choice(self.pooling, penalty, threshold, loss, dice, fit)

    def _log_odds(self, fits: LogisticFits, rows: IntArray) -> FloatArray:
        """Log odds (rows * points, fits) at the points of some rows."""
        odds = self.design.points.rows(rows) @ fits.weights.astype(np.float32) + fits.intercepts
        return np.asarray(odds)

    def refit(self, splits: Sequence[RowSplit], chosen: Sequence[_Choice]) -> LogisticFits:
        """Fit each split on all its training rows with its penalty, from its inner fit."""
        problems = [
            Problem(self.design.members(split.train), choice.penalty)
            for split, choice in zip(splits, chosen, strict=True)
        ]
        start = LogisticFits(
            np.concatenate([c.fit.weights for c in chosen], axis=1),
            np.concatenate([c.fit.intercepts for c in chosen]),
            np.concatenate([c.fit.gaps for c in chosen]),
        )
        return fit_logistic(
            self.design,
            self.y,
            problems,
            start,
            tolerance=self.head.tolerance,
            passes=self.head.passes[1],
        )

    def predict(
        self,
        features: Features,
        masks: Sequence[Array],
        split: RowSplit,
        choice: _Choice,
        fit: LogisticFits,
    ) -> FoldFit:
        """Masks of the test rows of a split, and what was chosen."""
        odds = score_maps(
            features,
            split.test,
            fit.weights[:, 0],
            float(fit.intercepts[0]),
            self.design.points.layers,
            choice.pooling,
        )
        level = float(special.logit(choice.threshold))
        predicted = [
            mask_from_scores(grid, masks[i].shape, level)
            for grid, i in zip(odds, split.test, strict=True)
        ]
        facts = {
            "maps": list(self.design.options())[-1],
            "pooling": choice.pooling,
            "penalty": choice.penalty,
            "threshold": choice.threshold,
            "inner_log_loss": choice.loss,
            "inner_dice": choice.dice,
            "gap": float(fit.gaps[0]),
        }
        return FoldFit(predicted, facts)
