"""Probes on pooled features: ridge, logistic, kNN and the trivial predictor.

Layer, pooling and penalty are chosen on the inner parts of the training rows and then refitted on
all of them. Centring, and the principal components of a control that asks for them, come from the
training rows of each fit.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any, ClassVar

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.heads.base import HEADS, FoldFit, Head
from etab.heads.pooled.class_scores import as_scores, from_logits, log_loss, onehot
from etab.heads.pooled.kernels import Kernels
from etab.heads.pooled.large import WideRidge, nearest_rows
from etab.heads.pooled.linalg import (
    PENALTIES,
    DualLogistic,
    logistic_path,
    probabilities,
    ridge_path,
)
from etab.heads.pooled.neighbours import cosines, most_similar
from etab.heads.pooled.solved_logistic import close_calls, solved_key
from etab.splits import without
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit, Target

_SEARCH, _FINAL = 60, 600
_COARSE = 1e-4
_AT_ONCE = 10
# Mean squared length of training rows, relative to that of all rows, below which they are the same.
_SAME = 1e-9


def refuse_kind(head: Head, target: Target) -> None:
    """Raise UnsupportedOptionError when the head cannot answer this kind of target."""
    if target.kind not in head.kinds:
        kinds = ", ".join(sorted(head.kinds))
        raise UnsupportedOptionError(
            f"The head {head.name!r} answers {kinds}; {target.name} is {target.kind}."
        )


@HEADS.register("ridge")
class Ridge(Head):
    """Ridge regression in closed form; chosen by the mean absolute error of the inner parts."""

    name: ClassVar[str] = "ridge"
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.VALUE})
    uses_torch: ClassVar[bool] = False

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
            answers: (n,) values.
            patients: (n,) the patient of each row.
            splits: The rows to train on, the inner parts to choose by, and the rows to predict.
            target: What is predicted.
            rng: Source of random numbers.
            memo: Results without labels that calls on the same features and splits share.

        Returns:
            A fit for each split. Predictions are (n_test,) values in the target's unit.
        """
        refuse_kind(self, target)
        kernels = Kernels(features, memo, splits)
        y = np.asarray(answers, dtype=np.float64)
        errors = {key: self._errors(kernels, key, y, patients, splits) for key in features.pooled}
        return [
            self._split(kernels, {k: e[i] for k, e in errors.items()}, y, s)
            for i, s in enumerate(splits)
        ]

    def _errors(
        self,
        kernels: Kernels,
        key: str,
        y: FloatArray,
        patients: Array,
        splits: Sequence[RowSplit],
    ) -> list[FloatArray]:
        """Mean absolute error of each penalty over the inner parts, for each split."""
        moments = kernels.narrow(key)
        if moments is None:
            return [self._inner(kernels, key, y, split) for split in splits]
        search = WideRidge(moments, y, PENALTIES)
        return [search.inner_errors(split) for split in splits]

    def _split(
        self, kernels: Kernels, errors: dict[str, FloatArray], y: FloatArray, split: RowSplit
    ) -> FoldFit:
        key = min(errors, key=lambda k: float(errors[k].min()))
        best = int(errors[key].argmin())
        moments = kernels.narrow(key)
        if moments is None:
            fit = kernels.basis(key, split.train)
            path, mean = ridge_path(fit, y[split.train])
            predicted = kernels.predict(fit, key, split.test, path[:, best]) + mean
        else:
            predicted = WideRidge(moments, y, PENALTIES).predict(split.train, split.test, best)
        choice = {
            "features": key,
            "penalty": PENALTIES[best],
            "inner_mae": float(errors[key][best]),
        }
        return FoldFit(predicted, choice)

    def _inner(self, kernels: Kernels, key: str, y: FloatArray, split: RowSplit) -> FloatArray:
        """Mean absolute error of each penalty over the inner parts."""
        total = np.zeros(len(PENALTIES))
        for part in split.inner:
            rows = without(split.train, part)
            fit = kernels.basis(key, rows, single=True)
            path, mean = ridge_path(fit, y[rows])
            total += np.abs(kernels.predict(fit, key, part, path) + mean - y[part, None]).sum(
                axis=0
            )
        return np.asarray(total / sum(len(p) for p in split.inner))


@HEADS.register("logistic")
class Logistic(Head):
    """L2 logistic regression, all penalties and inner parts solved at once; chosen by the log-loss
    of the inner parts.
    """

    name: ClassVar[str] = "logistic"
    version: ClassVar[int] = 2
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.BINARY, Kind.CLASSES})
    uses_torch: ClassVar[bool] = False

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
            answers: (n,) class indexes.
            patients: (n,) the patient of each row.
            splits: The rows to train on, the inner parts to choose by, and the rows to predict.
            target: What is predicted.
            rng: Source of random numbers.
            memo: Results without labels that calls on the same features and splits share.

        Returns:
            A fit for each split. Predictions are probabilities (n_test,) of the second of
            two classes, or (n_test, classes).
        """
        refuse_kind(self, target)
        kernels = Kernels(features, memo, splits)
        y = onehot(answers, target)
        found = {key: solved_key(kernels, key, y, splits, _SAME) for key in features.pooled}
        solved = {key: search for key, search in found.items() if search is not None}
        losses = {
            key: solved[key].losses if key in solved else self._search(kernels, key, y, splits)
            for key in features.pooled
        }
        for key in close_calls(losses) & set(solved):
            del solved[key]
            losses[key] = self._search(kernels, key, y, splits)
        keys = [
            min(losses, key=lambda k: float(losses[k][number].min()))
            for number in range(len(splits))
        ]
        logits: dict[int, FloatArray] = {}
        for key in set(keys) & set(solved):
            logits |= solved[key].predict([i for i, best in enumerate(keys) if best == key])
        fits: list[FoldFit] = []
        for number, (key, split) in enumerate(zip(keys, splits, strict=True)):
            best = int(losses[key][number].argmin())
            if number not in logits:
                logits[number] = self._logits_of_test(kernels, key, y, split, best)
            choice = {
                "features": key,
                "penalty": PENALTIES[best],
                "inner_log_loss": float(losses[key][number][best]),
            }
            fits.append(FoldFit(from_logits(logits[number], target), choice))
        return fits

    def _logits_of_test(
        self, kernels: Kernels, key: str, y: FloatArray, split: RowSplit, best: int
    ) -> FloatArray:
        """Logits (m, c) of the test rows, by the fit on all training rows at the best penalty."""
        train = split.train
        penalty = float(_scaled(kernels, key, train)[best])
        # Where training rows hardly differ, only the axes separate rounding errors from features.
        differ = kernels.mean_square(key, train) > _SAME
        if differ and kernels.is_dual(key, train):
            kernel = kernels.kernel(key)
            dual = DualLogistic.fit(kernel, train, y[train], penalty, iterations=_FINAL)
            return dual.logits(kernel, split.test)
        fit = kernels.basis(key, train)
        everyone = np.ones((len(train), 1))
        w, b = logistic_path(fit.train, y[train], everyone, [penalty], iterations=_FINAL)
        return np.asarray(kernels.predict(fit, key, split.test, w[0]) + b[0])

    def _search(
        self, kernels: Kernels, key: str, y: FloatArray, splits: Sequence[RowSplit]
    ) -> list[FloatArray]:
        """For each split, the mean log-loss of each penalty over its inner parts.

        Leaving out folds j and k is one fit, whichever of them is the outer one.
        """
        sets = {
            rows.tobytes(): rows
            for s in splits
            for rows in (without(s.train, part) for part in s.inner)
        }
        logits = dict(zip(sets, self._logits(kernels, key, y, list(sets.values())), strict=True))
        losses = []
        for s in splits:
            parts = [
                log_loss(probabilities(logits[without(s.train, p).tobytes()][:, p]), y[p])
                for p in s.inner
            ]
            losses.append(np.average(parts, axis=0, weights=[len(p) for p in s.inner]))
        return losses

    def _logits(
        self, kernels: Kernels, key: str, y: FloatArray, sets: list[IntArray]
    ) -> list[FloatArray]:
        """Logits (penalties, rows, c) of every row for the fit on each set of training rows.

        The axes of all rows are a mere rotation of the features (an unpenalised intercept absorbs
        the centre), so that fits share them and differ in row weights. Where all fits together see
        few rows, the axes of these hold every solution. With principal components, each fit has the
        axes of its own rows.
        """
        everyone = np.arange(len(y))
        out = list[FloatArray]()
        if key in kernels.features.pca:
            for rows in sets:
                fit = kernels.basis(key, rows)
                z = kernels.project(fit, key, everyone).astype(np.float32)
                out += self._paths(
                    z[rows], y[rows], [np.arange(len(rows))], [_scaled(kernels, key, rows)], z
                )
            return out
        seen = np.unique(np.concatenate(sets))
        if 2 * len(seen) < len(y):
            z = kernels.project(kernels.basis(key, seen, single=True), key, everyone).astype(
                np.float32
            )
            fitted, y = z[seen], y[seen]
        else:
            seen = everyone
            z = kernels.basis(key, everyone, single=True).train.astype(np.float32)
            fitted = z
        for start in range(0, len(sets), _AT_ONCE):
            some = sets[start : start + _AT_ONCE]
            places: list[IntArray] = [np.searchsorted(seen, rows) for rows in some]
            out += self._paths(fitted, y, places, [_scaled(kernels, key, rows) for rows in some], z)
        return out

    def _paths(
        self,
        z: FloatArray,
        y: FloatArray,
        sets: list[IntArray],
        penalties: list[FloatArray],
        shown: FloatArray,
    ) -> list[FloatArray]:
        weights = np.zeros((len(z), len(sets), len(PENALTIES)))
        for i, rows in enumerate(sets):
            weights[rows, i] = 1
        w, b = logistic_path(
            z,
            y,
            weights.reshape(len(z), -1),
            np.concatenate(penalties),
            iterations=_SEARCH,
            tolerance=_COARSE,
        )
        p, r, c = w.shape
        logits = (shown @ w.transpose(1, 0, 2).reshape(r, p * c)).reshape(-1, p, c).transpose(
            1, 0, 2
        ) + b[:, None]
        return np.split(logits, len(sets))


def _scaled(kernels: Kernels, key: str, rows: IntArray) -> FloatArray:
    """Penalties on the mean log-loss of these rows, relative to their mean squared length."""
    return np.asarray(PENALTIES) * kernels.mean_square(key, rows) / len(rows)


@HEADS.register("knn")
class KNN(Head):
    """Cosine nearest neighbours; the number of neighbours and the features are chosen on the inner
    parts.
    """

    name: ClassVar[str] = "knn"
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.VALUE, Kind.BINARY, Kind.CLASSES})
    uses_torch: ClassVar[bool] = False
    neighbours: ClassVar[tuple[int, ...]] = (1, 3, 5, 7, 10, 15, 20, 30, 50, 80)

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
        kernels = Kernels(features, memo, splits)
        value = target.kind is Kind.VALUE
        y = np.asarray(answers, dtype=np.float64)[:, None] if value else onehot(answers, target)
        losses = {
            key: [self._inner(kernels, key, y, s, value) for s in splits] for key in features.pooled
        }
        fits = [
            self._split(kernels, {k: v[i] for k, v in losses.items()}, y, s)
            for i, s in enumerate(splits)
        ]
        if value:
            return [FoldFit(f.predictions[:, 0], f.choice) for f in fits]
        return [FoldFit(as_scores(f.predictions, target), f.choice) for f in fits]

    def _split(
        self, kernels: Kernels, losses: dict[str, FloatArray], y: FloatArray, split: RowSplit
    ) -> FoldFit:
        key = min(losses, key=lambda k: float(losses[k].min()))
        best = int(losses[key].argmin())
        answers = self._answers(kernels, key, split.train, split.test, y)[best]
        choice = {
            "features": key,
            "neighbours": self.neighbours[best],
            "inner_loss": float(losses[key][best]),
        }
        return FoldFit(answers, choice)

    def _inner(
        self, kernels: Kernels, key: str, y: FloatArray, split: RowSplit, value: bool
    ) -> FloatArray:
        total = np.zeros(len(self.neighbours))
        for part in split.inner:
            answers = self._answers(kernels, key, without(split.train, part), part, y)
            loss = (
                np.abs(answers - y[part]).mean(axis=(1, 2))
                if value
                else np.square(answers - y[part]).mean(axis=(1, 2))
            )
            total += loss * len(part)
        return np.asarray(total / sum(len(p) for p in split.inner))

    def _answers(
        self, kernels: Kernels, key: str, train: IntArray, rows: IntArray, y: FloatArray
    ) -> FloatArray:
        """Mean answer of the k nearest training rows, for every k: (len(neighbours), m, c)."""
        moments = kernels.wide(key)
        if moments is not None:
            order = nearest_rows(
                moments, train, rows, kernels.features.pca.get(key), max(self.neighbours)
            )
        elif key in kernels.features.pca:
            fit = kernels.basis(key, train)
            known = fit.train
            lengths = np.linalg.norm(known, axis=1)
            near = fit.project(kernels.kernel(key), rows) @ known.T / np.maximum(lengths, 1e-12)
            order = most_similar(near, max(self.neighbours))
        else:
            order = most_similar(cosines(kernels.kernel(key), train, rows), max(self.neighbours))
        sums = np.cumsum(y[train][order], axis=1)
        return np.stack(
            [sums[:, min(k, len(train)) - 1] / min(k, len(train)) for k in self.neighbours]
        )


@HEADS.register("trivial")
class Trivial(Head):
    """Knows only the training answers: their median, their class shares, or their mean mask. The
    lower anchor.
    """

    name: ClassVar[str] = "trivial"
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.VALUE, Kind.BINARY, Kind.CLASSES, Kind.MASK})
    uses_torch: ClassVar[bool] = False
    grid: ClassVar[int] = 56

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
        """Predict the average answer of the training rows for every test row.

        Args:
            features: Features of all rows.
            answers: (n,) values or class indexes, or n boolean masks.
            patients: (n,) the patient of each row.
            splits: The rows to train on, the inner parts to choose by, and the rows to predict.
            target: What is predicted.
            rng: Source of random numbers.
            memo: Results without labels that calls on the same features and splits share.

        Returns:
            A fit for each split. Predictions are the median of values, the shares of
            classes, or the mean mask.
        """
        refuse_kind(self, target)
        if target.kind is Kind.MASK:
            return [FoldFit(self._atlas(answers, s)) for s in splits]
        y = np.asarray(answers, dtype=np.float64)
        if target.kind is Kind.VALUE:
            return [FoldFit(np.full(len(s.test), np.median(y[s.train]))) for s in splits]
        columns = onehot(answers, target)
        means = [np.tile(columns[s.train].mean(axis=0), (len(s.test), 1)) for s in splits]
        return [FoldFit(as_scores(m, target)) for m in means]

    def _atlas(self, masks: Sequence[Array], split: RowSplit) -> list[Array]:
        """Mean training mask on a common grid, put back to each test frame's size, at 0.5."""
        import cv2

        size = (self.grid, self.grid)
        mean = np.mean(
            [
                cv2.resize(masks[i].astype(np.float32), size, interpolation=cv2.INTER_AREA)
                for i in split.train
            ],
            axis=0,
        )
        out = []
        for i in split.test:
            h, w = masks[i].shape
            out.append(cv2.resize(mean, (w, h), interpolation=cv2.INTER_LINEAR) >= 0.5)
        return out
