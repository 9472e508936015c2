"""The stacked probe: every layer and pooling, each with its own penalty, in one combination.

Each candidate (``candidates.py``) is a ridge regression on the values, or on the indicators of the
classes, which is Fisher's discriminant. Everything is chosen in three steps inside the training
rows of a split:

1. Each candidate predicts every inner part without it, for every penalty, and takes the penalty
   with the smallest squared error.
2. Weights of 0 or more combine these predictions: linearly for values, in logits for classes
   (``combine.py``). Weights of 0 leave the constant.
3. Candidates with a weight are fitted on all training rows and predict the test rows.

Two classes that are cut from a value (EF below 50) are fitted by the value, which says more than the
class: candidates and weights are those of the value, and a logistic function of one slope turns
their combination into the probability of the class.

Means, deviations and principal components come from the training rows of the split and do not
depend on labels.

Where the metric of the task counts all classes alike and the rows are of several databases, the
rows of a candidate are weighted so that the classes count alike, and so do the databases in each
class (``balanced.py``). Otherwise any property of a database with many abnormal recordings would be
taken for a sign of disease, and decide the predictions for a database that is left out.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from etab.heads.base import HEADS, FoldFit, Head, Memo
from etab.heads.pooled.balanced import balanced_weights
from etab.heads.pooled.candidates import Candidate, candidates_of
from etab.heads.pooled.class_scores import from_logits, onehot
from etab.heads.pooled.combine import CONSTANT, BelowCut, ClassWeights, ValueWeights
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
from etab.heads.pooled.linalg import check_features
from etab.heads.pooled.moment_fits import MomentFits
from etab.heads.pooled.probes import refuse_kind
from etab.heads.pooled.weighted_fits import WeightedFits, WeightedKernelFits, weighted_fits
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit, Target

_PENALTIES: FloatArray = np.logspace(-3, 3, 13)
"""Penalties relative to the mean squared length of a training row."""

START = 6
"""Index of the penalty at which the search starts: the mean squared length itself."""

SHARED_BYTES = 1 << 29
"""Memory for what tasks on the same rows share."""

_SHARED = ("stack", "stack columns")

SMALLEST_SHARE = 0.01
"""A candidate with less than this share of the weights is left out."""

STORED_DECIMALS = 7
"""Decimals of a probability that a table of predictions keeps."""

Fits = KernelFits | MomentFits | WeightedFits | WeightedKernelFits


@HEADS.register("stack")
class Stack(Head):
    """All layers and poolings, raw and standardised, combined by non-negative weights; chosen on
    the inner parts.
    """

    name: ClassVar[str] = "stack"
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.VALUE, Kind.BINARY, Kind.CLASSES})
    uses_torch: ClassVar[bool] = False
    balances: ClassVar[bool] = True

    def version_of(self, target: Target) -> int:
        """Classes that are cut from a value were fitted without it in version 1."""
        return self.version if target.cut is None else self.version + 1

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
            answers: (n,) values or class indexes.
            patients: (n,) the patient of each row.
            splits: The rows to train on, the inner parts to choose by, and the rows to predict.
            target: What is predicted.
            rng: Source of random numbers.
            memo: Results without labels that calls on the same features and splits share.

        Returns:
            A fit for each split. Predictions are (n_test,) values in the target's unit,
            probabilities (n_test,) of the second of two classes, or (n_test, classes).
        """
        refuse_kind(self, target)
        check_features(features)
        shared = _Shared(features, {} if memo is None else memo)

        def weigh(train: IntArray) -> FloatArray:
            return _importance(np.asarray(answers)[train], train, memo)

        return [_fit_split(shared, answers, split, target, weigh) for split in splits]


class _Shared:
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

    def fits(self, candidate: Candidate, rows: _Rows) -> KernelFits | MomentFits:
        """The fits of a candidate on the rows of a split."""
        x = self.features.pooled[candidate.key]
        place = ("stack", candidate.name, x.shape, rows.key)
        if place in self.memo:
            kept: KernelFits | MomentFits = self.memo[place]
            return kept
        fits = self._make(candidate, rows, x)
        self._share(place, fits)
        return fits

    def _share(self, place: tuple[Any, ...], value: KernelFits | MomentFits | Prepared) -> None:
        """Keep a value for other tasks and splits, as far as memory allows."""
        used = sum(kept.nbytes for key, kept in self.memo.items() if key[0] in _SHARED)
        if used + value.nbytes <= SHARED_BYTES:
            self.memo[place] = value

    def _make(
        self,
        candidate: Candidate,
        rows: _Rows,
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

    def _products(self, candidate: Candidate, rows: _Rows) -> tuple[FloatArray, FloatArray]:
        """Centred inner products of the rows of a split."""
        key = self.kernels.same(candidate.key)
        place = ("products", key, candidate.standardised)
        split = self._of_split(rows)
        if place not in split:
            if candidate.standardised:
                split[place] = standardised_parts(self._prepared(key), rows.train, rows.test)
            else:
                split[place] = centred(self._raw_products(key), rows.train, rows.test)
        found: tuple[FloatArray, FloatArray] = split[place]
        return found

    def _components(self, candidate: Candidate, rows: _Rows) -> tuple[FloatArray, FloatArray]:
        """Principal components of the rows of a split: several keys of one picture share them."""
        place = ("components", self.kernels.same(candidate.key), candidate.standardised)
        split = self._of_split(rows)
        if place not in split:
            most = min(max(self.features.pca.values()), len(rows.train))
            split[place] = principal_components(*self._products(candidate, rows), most)
        found: tuple[FloatArray, FloatArray] = split[place]
        return found

    def _of_split(self, rows: _Rows) -> dict[Any, Any]:
        """What keys with the same features share within one split; of the last split alone."""
        if self.split_key != rows.key:
            self.split_key = rows.key
            self.split = {}
        return self.split

    def _raw_products(self, key: str) -> FloatArray:
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
class _Rows:
    """The rows of a split, with inner parts as indexes into the training rows."""

    train: IntArray
    test: IntArray
    parts: tuple[IntArray, ...]

    @classmethod
    def of(cls, split: RowSplit) -> _Rows:
        train = np.sort(split.train)
        parts = tuple(np.searchsorted(train, np.sort(part)) for part in split.inner)
        return cls(train, np.asarray(split.test), parts)

    @property
    def key(self) -> tuple[bytes, ...]:
        """What tells these rows from others."""
        return (self.train.tobytes(), self.test.tobytes(), *(p.tobytes() for p in self.parts))


@dataclass(frozen=True, slots=True)
class _Choice:
    """The penalty of a candidate, and its predictions of the inner parts at that penalty."""

    penalty: float
    left_out: FloatArray


def _fit_split(
    shared: _Shared,
    answers: Any,
    split: RowSplit,
    target: Target,
    weigh: Callable[[IntArray], FloatArray],
) -> FoldFit:
    """Choose penalties and weights, refit, and predict the test rows of a split."""
    rows = _Rows.of(split)
    values = shared.values(target)
    classes = _columns(np.asarray(answers)[rows.train], target)
    y = classes if values is None else values[rows.train, None]
    importance = weigh(rows.train)
    candidates = candidates_of(shared.features)
    unweighted = [shared.fits(candidate, rows) for candidate in candidates]
    fits: list[Fits] = [*unweighted]
    is_weighted = shared.has_databases(rows.train)
    if is_weighted:
        fits = [weighted_fits(fit, importance) for fit in unweighted]
    choices = [_choose(fit, y, rows.parts, importance) for fit in fits]
    inner = np.concatenate(rows.parts)
    left_out = np.stack([choice.left_out[inner] for choice in choices], axis=1)
    usable = [_tells_rows_apart(choice.left_out, rows.parts) for choice in choices]
    reads_values = target.kind is Kind.VALUE or values is not None
    fit_weights = _value_weights if reads_values else ClassWeights.fit
    combination = _combination(left_out, y[inner], importance[inner], fit_weights, usable)
    tested = np.zeros((len(rows.test), len(candidates), y.shape[1]))
    for k in np.flatnonzero(combination.weights):
        tested[:, k] = fits[k].predict(y, choices[k].penalty)
    record = {
        candidate.name: {
            "weight": round(float(weight), 6),
            "penalty": choice.penalty,
        }
        for candidate, weight, choice in zip(candidates, combination.weights, choices, strict=True)
        if weight > 0
    }
    if isinstance(combination, ClassWeights):
        predictions = from_logits(combination(tested), target)
    else:
        predictions = combination(tested[:, :, 0])
        if values is not None:
            of_inner = combination(left_out[:, :, 0])
            below = BelowCut.fit(of_inner, classes[inner, 0], importance[inner])
            predictions = from_logits(below(predictions), target)
    if shared.is_balanced():
        # In balance, a constant is 1/2 up to rounding, and what only marks a database has a weight
        # of 0 up to rounding. No threshold may lie between scores that are equal in the digits of
        # a stored table.
        predictions = np.round(predictions, STORED_DECIMALS)
    fitted_on = {} if values is None or target.cut is None else {"fitted_on": target.cut.target}
    return FoldFit(predictions, {"candidates": record, **fitted_on})


def _columns(answers: Array, target: Target) -> FloatArray:
    """Answers as columns (n, c): values, or indicators of classes."""
    if target.kind is Kind.VALUE:
        return np.asarray(answers, dtype=np.float64)[:, None]
    return onehot(answers, target)


def _importance(
    answers: Array,
    train: IntArray,
    memo: MutableMapping[Any, Any] | None,
) -> FloatArray:
    """How much each training row counts, 1 on average.

    All rows count alike, unless the metric of the task counts all classes alike. Classes then do so
    here, and so do the databases in each class.
    """
    if not isinstance(memo, Memo) or not memo.balanced:
        return np.ones(len(train))
    groups = np.zeros(len(train)) if memo.groups is None else memo.groups[train]
    return balanced_weights(answers.astype(np.int64), groups)


def _choose(
    fit: Fits,
    y: FloatArray,
    parts: Sequence[IntArray],
    importance: FloatArray,
) -> _Choice:
    """Take the penalty with the smallest squared error over the inner parts.

    The error is smooth along the penalties. The search starts in their middle and goes downhill.
    """
    inner = np.concatenate(parts)
    left_out: dict[int, FloatArray] = {}
    predict = fit.search(y, parts)

    def loss(index: int) -> float:
        if not 0 <= index < len(_PENALTIES):
            return np.inf
        if index not in left_out:
            left_out[index] = predict(float(_PENALTIES[index]))
        errors = np.square(left_out[index][inner] - y[inner]).sum(axis=1)
        return float(errors @ importance[inner])

    best = START
    step = 1 if loss(best + 1) < loss(best) else -1
    while loss(best + step) < loss(best):
        best += step
    return _Choice(float(_PENALTIES[best]), left_out[best])


def _tells_rows_apart(left_out: FloatArray, parts: Sequence[IntArray]) -> bool:
    """Whether the predictions (n, c) of a candidate differ within any inner part.

    Where features never change, the prediction of a part is the mean of the other rows, which
    differs from part to part and knows nothing of the rows.
    """
    spreads = [float(np.ptp(left_out[part], axis=0).max(initial=0.0)) for part in parts]
    size = max(float(np.abs(left_out[part]).max(initial=0.0)) for part in parts)
    return max(spreads) > CONSTANT * max(size, 1e-30)


def _combination(
    left_out: FloatArray,
    y: FloatArray,
    importance: FloatArray,
    fit_weights: Callable[[FloatArray, FloatArray, FloatArray], ValueWeights | ClassWeights],
    usable: Sequence[bool],
) -> ValueWeights | ClassWeights:
    """Fit the weights of the usable candidates, again without those that have hardly any."""
    used = np.flatnonzero(usable)
    for _ in range(2):
        fitted = fit_weights(left_out[:, used], y, importance)
        weights = np.zeros(left_out.shape[1])
        weights[used] = fitted.weights
        used = np.flatnonzero(weights > SMALLEST_SHARE * weights.sum())
        if not len(used):
            break
    return replace(fitted, weights=weights)


def _value_weights(left_out: FloatArray, y: FloatArray, importance: FloatArray) -> ValueWeights:
    """Fit the weights of predicted values; all rows count alike."""
    return ValueWeights.fit(left_out[:, :, 0], y[:, 0])
