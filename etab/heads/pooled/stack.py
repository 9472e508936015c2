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
from etab.heads.pooled.approximate_fits import ApproximateParts, TrainingSet
from etab.heads.pooled.balanced import balanced_weights
from etab.heads.pooled.candidates import Candidate, candidates_of
from etab.heads.pooled.choices import Approximation, Choice, Fits
from etab.heads.pooled.class_scores import from_logits, onehot
from etab.heads.pooled.combine import BelowCut, ClassWeights, ValueWeights
from etab.heads.pooled.kernel_fits import KernelFits, centred_length
from etab.heads.pooled.linalg import check_features
from etab.heads.pooled.probes import refuse_kind
from etab.heads.pooled.shared_fits import Rows, SharedFits
from etab.heads.pooled.weighted_fits import weighted_fits
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit, Target

SMALLEST_SHARE = 0.01
"""A candidate with less than this share of the weights is left out."""

CLOSE_SHARE = 0.1
"""Shares that differ from the smallest by less than this part of it are computed exactly."""

SMALLEST_SUM = 0.05
"""Weights that add up to less are computed exactly."""

STORED_DECIMALS = 7
"""Decimals of a probability that a table of predictions keeps."""

MANY_ROWS = 200
"""Training rows above which approximate predictions take less time than Cholesky factors."""


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
        shared = SharedFits(features, {} if memo is None else memo)
        works = [_Work.of(shared, answers, split, target) for split in splits]
        _search_raw(shared, works)
        fits: list[FoldFit] = []
        while works:
            # What a split needed is dropped with it.
            fits.append(_fit_split(shared, works.pop(0), target))
        return fits


@dataclass(frozen=True, slots=True)
class _Work:
    """One split.

    Attributes:
        rows: Its rows.
        labels: (n_train, c) answers of the training rows: values, or indicators of classes.
        values: (n_train,) the values that classes are cut from; None where they are not.
        importance: (n_train,) how much each training row counts, 1 on average.
        is_weighted: Whether the fits of the candidates use this importance as well.
        choices: The choice of each candidate, by its name.
    """

    rows: Rows
    labels: FloatArray
    values: FloatArray | None
    importance: FloatArray
    is_weighted: bool
    choices: dict[str, Choice]

    @classmethod
    def of(cls, shared: SharedFits, answers: Any, split: RowSplit, target: Target) -> _Work:
        """Prepare the choice of every candidate; nothing is fitted."""
        rows = Rows.of(split)
        known = np.asarray(answers)[rows.train]
        labels = _columns(known, target)
        values = shared.values(target)
        values = None if values is None else values[rows.train]
        y = labels if values is None else values[:, None]
        importance = _importance(known, rows.train, shared.memo)
        is_weighted = shared.has_databases(rows.train)

        def fits_of(candidate: Candidate) -> Callable[[], Fits]:
            if is_weighted:
                return lambda: weighted_fits(shared.fits(candidate, rows), importance)
            return lambda: shared.fits(candidate, rows)

        choices = {
            candidate.name: Choice(fits_of(candidate), y, rows.parts, importance)
            for candidate in candidates_of(shared.features)
        }
        return cls(rows, labels, values, importance, is_weighted, choices)

    @property
    def y(self) -> FloatArray:
        """What the candidates are fitted to: (n_train, c)."""
        return self.labels if self.values is None else self.values[:, None]

    @property
    def training_set(self) -> TrainingSet:
        """The training rows with their inner parts."""
        return TrainingSet(self.rows.train, self.rows.parts)

    @property
    def gains_from_approximation(self) -> bool:
        """Whether approximate predictions can decide, and take less time."""
        rest = len(self.y) - max(len(part) for part in self.rows.parts)
        return not self.is_weighted and len(self.y) >= MANY_ROWS and rest > 1


def _search_raw(shared: SharedFits, works: Sequence[_Work]) -> None:
    """Choose the penalties of raw features; the inner products of all rows serve every split."""
    for candidate in candidates_of(shared.features):
        alike = [
            work
            for work in works
            if work.gains_from_approximation and shared.has_raw_products(candidate, work.rows)
        ]
        if not alike:
            continue
        products = shared.raw_products(candidate.key)
        y = np.zeros((len(products), alike[0].y.shape[1]))
        for work in alike:
            y[work.rows.train] = work.y
        approximate = ApproximateParts(products, y, [work.training_set for work in alike])
        for number, work in enumerate(alike):
            length = centred_length(products, work.rows.train)
            choice = work.choices[candidate.name]
            choice.search(approximate.of_set(number, length))
            choice.drop_fits()


def _approximate(fits: Fits, work: _Work) -> Approximation | None:
    """Approximate predictions of the inner parts of a split; None where they save no time."""
    if not work.gains_from_approximation or not isinstance(fits, KernelFits):
        return None
    every_row = np.arange(len(work.y))
    approximate = ApproximateParts(fits.train, work.y, [TrainingSet(every_row, work.rows.parts)])
    return approximate.of_set(0, fits.length)


def _fit_split(shared: SharedFits, work: _Work, target: Target) -> FoldFit:
    """Choose penalties and weights, refit, and predict the test rows of a split."""
    choices = list(work.choices.values())
    for choice in choices:
        if not choice.is_made:
            choice.search(_approximate(choice.fits, work))
    reads_values = target.kind is Kind.VALUE or work.values is not None
    fit_weights = _value_weights if reads_values else ClassWeights.fit
    combination, left_out = _combination(work, fit_weights)
    tested = np.zeros((len(work.rows.test), len(choices), work.y.shape[1]))
    for k in np.flatnonzero(combination.weights):
        tested[:, k] = choices[k].fits.predict(work.y, choices[k].penalty)
    record = {
        name: {
            "weight": round(float(weight), 6),
            "penalty": choice.penalty,
        }
        for (name, choice), weight in zip(work.choices.items(), combination.weights, strict=True)
        if weight > 0
    }
    if isinstance(combination, ClassWeights):
        predictions = from_logits(combination(tested), target)
    else:
        predictions = combination(tested[:, :, 0])
        if work.values is not None:
            inner = np.concatenate(work.rows.parts)
            of_inner = combination(left_out[:, :, 0])
            below = BelowCut.fit(of_inner, work.labels[inner, 0], work.importance[inner])
            predictions = from_logits(below(predictions), target)
    if shared.is_balanced():
        # In balance, a constant is 1/2 up to rounding, and what only marks a database has a weight
        # of 0 up to rounding. No threshold may lie between scores that are equal in the digits of
        # a stored table.
        predictions = np.round(predictions, STORED_DECIMALS)
    fitted_on = {}
    if work.values is not None and target.cut is not None:
        fitted_on = {"fitted_on": target.cut.target}
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


def _combination(
    work: _Work,
    fit_weights: Callable[[FloatArray, FloatArray, FloatArray], ValueWeights | ClassWeights],
) -> tuple[ValueWeights | ClassWeights, FloatArray]:
    """Fit the weights of the usable candidates, again without those that have hardly any.

    Approximate predictions suffice to see which have hardly any, unless it is a close call.

    Returns:
        The weights, and the predictions (n_inner, candidates, c) of the inner parts, which are exact
        for candidates with a weight.
    """
    choices = list(work.choices.values())
    inner = np.concatenate(work.rows.parts)
    y = work.y[inner]
    importance = work.importance[inner]
    used = np.flatnonzero([choice.tells_rows_apart() for choice in choices])
    left_out = np.stack([choice.left_out[inner] for choice in choices], axis=1)

    def fitted() -> ValueWeights | ClassWeights:
        of_used = fit_weights(left_out[:, used], y, importance)
        weights = np.zeros(len(choices))
        weights[used] = of_used.weights
        return replace(of_used, weights=weights)

    def make_exact() -> None:
        for k in used:
            left_out[:, k] = choices[k].exact()[inner]

    combination = fitted()
    if not _is_clear(combination.weights):
        make_exact()
        combination = fitted()
    weights = combination.weights
    with_some = np.flatnonzero(weights > SMALLEST_SHARE * weights.sum())
    if len(with_some):
        used = with_some
        make_exact()
        combination = fitted()
    return combination, left_out


def _is_clear(weights: FloatArray) -> bool:
    """Whether it is clear which candidates have hardly any weight, with errors of some thousandths."""
    total = float(weights.sum())
    if total < SMALLEST_SUM:
        return False
    away = np.abs(weights / total - SMALLEST_SHARE)
    return bool(away.min() > CLOSE_SHARE * SMALLEST_SHARE)


def _value_weights(left_out: FloatArray, y: FloatArray, importance: FloatArray) -> ValueWeights:
    """Fit the weights of predicted values; all rows count alike."""
    return ValueWeights.fit(left_out[:, :, 0], y[:, 0])
