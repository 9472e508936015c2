"""The linear mask probe fitted by likelihood: logistic regression on the points of feature maps.

The log odds of the structure at each point of a common grid are a linear function of the channels
of all maps there, and of the position of the point. The first inner part of a fold decides

* the pooling, by the Dice of the points, from fits with the middle penalty that take a few steps;
* the penalty, by its log-loss;
* the threshold, and whether only the largest connected component is kept, by the Dice of masks.

Log odds are resampled to the pixels of the frame, then cut at the threshold.

Structures of the same frames that are predicted next (``Memo.beside``) are fitted at the same time,
and all divisions into folds together: they share every pass over the points.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy

from etab.echo.surface import mask_from_scores
from etab.heads.base import HEADS, FoldFit, Head, Memo
from etab.heads.masks.fields import Field
from etab.heads.masks.likelihood import LogisticFits, Problem, fitting_logistic, rates_alone
from etab.heads.masks.passes import Fitting, side_by_side
from etab.heads.masks.points import POOLINGS
from etab.heads.masks.probe import (
    Linear,
    best_cut,
    coarse_masks,
    lattice_shares,
    points_of,
    require_maps,
)
from etab.heads.masks.scoring import scores_of
from etab.heads.pooled.probes import refuse_kind
from etab.splits import without
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit, Target

# Penalties on weights of standardised channels, relative to the mean log-loss, strongest first.
LOGISTIC_PENALTIES: tuple[float, ...] = tuple(float(p) for p in np.logspace(-2, -6, 6))
# Passes over the points: over some rows; over all rows, to choose the pooling; for each penalty from
# there; and again on all training rows. The loss that remains is smaller than the differences between
# penalties (see docs/methods.md).
_PASSES = (12, 5, 7, 10)
# One row in so many is taken first, at least so many: each phase of the points has its share.
_EVERY = 5
_FEWEST = 30
# Log odds at which points are cut to choose the pooling, a usual level of masks.
_LEVEL = float(scipy.special.logit(0.4))
# Index of the penalty at which the search starts.
_MIDDLE = 2
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
    """The choice of a split, its fit on all training rows, and the log odds of both fits as maps.

    Attributes:
        choice: The choice.
        fit: The fit on all training rows.
        of_part: Log odds of the first inner part, by the fit without it.
        of_test: Log odds of the test rows, by the fit on all others.
    """

    choice: _Choice
    fit: LogisticFits
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
    version: ClassVar[int] = 3
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.MASK})
    uses_torch: ClassVar[bool] = False
    needs_maps: ClassVar[bool] = True
    fits_beside: ClassVar[bool] = True
    fits_repeats: ClassVar[bool] = True

    def __init__(
        self,
        *,
        penalties: Sequence[float] = LOGISTIC_PENALTIES,
        tolerance: float = 1e-5,
        passes: tuple[int, int, int, int] = _PASSES,
        budget: int = 2 << 30,
    ) -> None:
        """Set the search and its precision.

        Args:
            penalties: Penalties to choose from, each above 0.
            tolerance: Largest distance of a penalised loss from its minimum.
            passes: Largest numbers of passes: over the points of some rows, over all to choose the
                pooling, for each penalty from there, and to fit again.
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
        fitted = self._fitted(lattice_shares(answers), features, splits, memo)
        coarse = coarse_masks(answers)
        return [
            _predicted(answers, coarse, split, of_split, len(features.maps))
            for split, of_split in zip(splits, fitted, strict=True)
        ]

    def _fitted(
        self,
        y: FloatArray,
        features: Features,
        splits: Sequence[RowSplit],
        memo: MutableMapping[Any, Any],
    ) -> list[_Fitted]:
        """Fit each split for the shares ``y`` of a structure, and for those of ``memo.beside``.

        Fits are found again by what they were fitted to, so that no cell takes those of another.
        """
        found: dict[bytes, list[_Fitted]] = memo.setdefault("mask_logistic fits", {})
        wanted = {self._key(y, splits): y}
        for answers in memo.beside if isinstance(memo, Memo) else ():
            beside = lattice_shares(answers)
            wanted[self._key(beside, splits)] = beside
        missing = {key: shares for key, shares in wanted.items() if key not in found}
        began = time.perf_counter()
        if missing:
            fields = _fields(features, memo, self.budget)
            searches = [_Search(fields, shares, splits, self) for shares in missing.values()]
            chosen = side_by_side([search.fitting() for search in searches])
            found.update(zip(missing, _with_scores(features, splits, chosen), strict=True))
        mine = next(iter(wanted))
        if isinstance(memo, Memo):
            memo.share_time(mine, list(missing), time.perf_counter() - began)
        return found.pop(mine)  # each cell takes its own fits once

    def _key(self, y: FloatArray, splits: Sequence[RowSplit]) -> bytes:
        """A digest of everything that fits on one set of features and their maps follow from."""
        settings = (self.penalties, self.tolerance, self.passes, y.shape)
        digest = hashlib.sha256(repr(settings).encode())
        digest.update(np.ascontiguousarray(y).tobytes())
        for split in splits:
            for rows in (split.train, *split.inner[:1], split.test):
                digest.update(len(rows).to_bytes(8, "little"))
                digest.update(np.asarray(rows, dtype=np.int64).tobytes())
        return digest.digest()


def _fields(features: Features, memo: MutableMapping[Any, Any], budget: int) -> dict[str, Field]:
    """The points of each pooling, with what follows from them; the memo keeps both."""
    points = points_of(features, memo, budget)
    kept: dict[str, Field] = memo.setdefault("mask_logistic fields", {})
    for pooling in POOLINGS:
        if pooling not in kept or kept[pooling].points is not points[pooling]:
            kept[pooling] = Field(points[pooling])
    return kept


_Chosen = tuple[_Choice, LogisticFits]


class _Search:
    """The choices and fits of all splits for one structure."""

    def __init__(
        self,
        fields: dict[str, Field],
        y: FloatArray,
        splits: Sequence[RowSplit],
        head: MaskLogistic,
    ) -> None:
        self.fields = fields
        self.y = y
        self.splits = splits
        self.head = head
        self.rows = np.unique(np.concatenate([split.train for split in splits]))
        self.trains = [_sorted(without(split.train, split.inner[0])) for split in splits]
        self.middle = min(_MIDDLE, len(head.penalties) - 1)

    def fitting(self) -> Fitting[list[_Chosen]]:
        """Fit each split; those of a pooling take their passes together."""
        tried: dict[str, dict[Problem, LogisticFits]] = {}
        middle = self.head.penalties[self.middle]
        sets = list(dict.fromkeys(self.trains))
        for pooling, field in self.fields.items():
            # A few rows ask for a stronger penalty than all of them.
            stronger = self.head.penalties[max(self.middle - 1, 0)]
            few = [Problem(self._some(rows), stronger) for rows in sets]
            start = rates_alone(field.width, self.y, few)
            start = yield from self._fits(pooling, few, start, self.head.passes[0], few=True)
            problems = [Problem(rows, middle) for rows in sets]
            fits = yield from self._fits(
                pooling, problems, start, self.head.passes[1], level=_LEVEL
            )
            tried[pooling] = {problem: fits.pick([i]) for i, problem in enumerate(problems)}
        poolings = []
        for k, rows in enumerate(self.trains):
            part = self.splits[k].inner[0]
            dice = {p: of[Problem(rows, middle)].dice[part].mean() for p, of in tried.items()}
            poolings.append(max(dice, key=lambda p: dice[p]))
        out: dict[int, _Chosen] = {}
        for pooling in self.fields:
            folds = [k for k, p in enumerate(poolings) if p == pooling]
            if folds:
                chosen = yield from self._choose(pooling, folds, tried[pooling])
                fits = yield from self._refit(pooling, folds, chosen)
                out.update({k: (chosen[i], fits.pick([i])) for i, k in enumerate(folds)})
        return [out[k] for k in range(len(self.splits))]

    def _fits(
        self,
        pooling: str,
        problems: Sequence[Problem],
        start: LogisticFits,
        passes: int,
        *,
        level: float | None = None,
        few: bool = False,
    ) -> Fitting[LogisticFits]:
        """Fit problems; with ``few``, the rows that they are trained on are read and no others."""
        rows = self.rows
        if few:
            rows = np.unique(np.concatenate([problem.rows for problem in problems]))
        return (
            yield from fitting_logistic(
                self.fields[pooling],
                self.y,
                problems,
                start,
                rows=rows,
                tolerance=self.head.tolerance,
                passes=passes,
                level=level,
            )
        )

    def _loss(self, k: int, fit: LogisticFits) -> float:
        """Mean log-loss of a fit over the first inner part of a split."""
        return float(fit.losses[self.splits[k].inner[0], 0].mean(dtype=np.float64))

    def _choose(
        self, pooling: str, folds: Sequence[int], tried: dict[Problem, LogisticFits]
    ) -> Fitting[list[_Choice]]:
        """Choose the penalty of some splits by their first inner parts.

        The loss is smooth along the penalties. The search starts in their middle and ends where
        both neighbours of the best penalty have been fitted, each from the fit beside it.
        """
        penalties = self.head.penalties
        fitted: dict[Problem, LogisticFits] = {}
        losses: dict[int, dict[int, float]] = {k: {} for k in folds}
        near = range(max(self.middle - 1, 0), min(self.middle + 2, len(penalties)))
        wanted = {k: list(near) for k in folds}
        while any(wanted.values()):
            starts: dict[Problem, LogisticFits] = {}
            for k, indexes in wanted.items():
                for i in indexes:
                    problem = Problem(self.trains[k], penalties[i])
                    if problem not in fitted:
                        starts[problem] = self._nearest(problem.rows, i, {**tried, **fitted})
            if starts:
                start = LogisticFits.joined(list(starts.values()))
                fits = yield from self._fits(pooling, list(starts), start, self.head.passes[2])
                fitted.update({problem: fits.pick([i]) for i, problem in enumerate(starts)})
            for k, indexes in wanted.items():
                for i in indexes:
                    problem = Problem(self.trains[k], penalties[i])
                    losses[k][i] = self._loss(k, fitted[problem])
                wanted[k] = _neighbours(losses[k], len(penalties))
        chosen = []
        for k in folds:
            of_split = losses[k]
            best = min(of_split, key=lambda i: of_split[i])
            fit = fitted[Problem(self.trains[k], penalties[best])]
            chosen.append(_Choice(pooling, penalties[best], of_split[best], fit))
        return chosen

    def _nearest(
        self, rows: tuple[int, ...], i: int, fitted: dict[Problem, LogisticFits]
    ) -> LogisticFits:
        """The fit of a training set whose penalty is nearest to that with index ``i``."""
        penalties = self.head.penalties
        known = [j for j, p in enumerate(penalties) if Problem(rows, p) in fitted]
        nearest = min(known, key=lambda j: abs(j - i))
        return fitted[Problem(rows, penalties[nearest])]

    def _refit(
        self, pooling: str, folds: Sequence[int], chosen: Sequence[_Choice]
    ) -> Fitting[LogisticFits]:
        """Fit splits on all their training rows with their penalties, from their inner fits."""
        problems = [
            Problem(_sorted(self.splits[k].train), choice.penalty)
            for k, choice in zip(folds, chosen, strict=True)
        ]
        start = LogisticFits.joined([choice.fit for choice in chosen])
        return (yield from self._fits(pooling, problems, start, self.head.passes[3]))

    def _some(self, rows: tuple[int, ...]) -> tuple[int, ...]:
        """One in ``_EVERY`` of some rows; all of them where too few would be left."""
        some = tuple(row for row in rows if row % _EVERY == 0)
        return some if len(some) >= _FEWEST else rows


def _sorted(rows: IntArray) -> tuple[int, ...]:
    return tuple(np.sort(rows).tolist())


def _with_scores(
    features: Features, splits: Sequence[RowSplit], structures: Sequence[Sequence[_Chosen]]
) -> list[list[_Fitted]]:
    """Compute the log odds of all structures and splits together: each map is read once."""
    asked = []
    for chosen in structures:
        for split, (choice, fit) in zip(splits, chosen, strict=True):
            for rows, one in ((split.inner[0], choice.fit), (split.test, fit)):
                weights, intercept = one.weights[:, 0], float(one.intercepts[0])
                asked.append(Linear(rows, weights, intercept, choice.pooling))
    maps = iter(scores_of(features.maps, asked))
    return [
        [_Fitted(choice, fit, next(maps), next(maps)) for choice, fit in chosen]
        for chosen in structures
    ]


def _predicted(
    masks: Sequence[Array],
    coarse: Array,
    split: RowSplit,
    fitted: _Fitted,
    n_maps: int,
) -> FoldFit:
    """Predict the masks of the test rows of a split."""
    choice = fitted.choice
    levels = [float(level) for level in scipy.special.logit(LOGISTIC_THRESHOLDS)]
    cut = best_cut(fitted.of_part, coarse[split.inner[0]], levels)
    predicted = []
    for grid, i in zip(fitted.of_test, split.test, strict=True):
        mask = mask_from_scores(grid, masks[i].shape, cut.level, whole=not cut.largest)
        predicted.append(mask)
    facts = {
        "maps": "all maps" if n_maps > 1 else "map0",
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
