"""Heads over sequences of embeddings: pooling, recurrent, convolutional and transformer, one answer
a clip or a step.

Answers for steps are a list of states, one array a row, also where rows are of other lengths
(series of heart sounds). Each outer split trains on its training patients without the first inner
part, which decides when to stop and which sequence, learning rate and weight decay are taken. Time
steps that nobody annotated (-1) have no loss.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from etab.errors import SplitError, TrainingError, UnsupportedOptionError
from etab.heads.base import HEADS, FoldFit, Head
from etab.heads.pooled.probes import refuse_kind
from etab.heads.probabilities import class_probabilities, probability
from etab.heads.sequences.chunks import Chunks
from etab.sounds.states import UNANNOTATED
from etab.splits import without
from etab.training.loop import Recipe, seeded, train
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit, Target

if TYPE_CHECKING:
    import torch

    from etab.heads.sequences.networks import TemporalNetwork

RECIPES = ((3e-3, 1e-2), (1e-3, 1e-2), (1e-3, 0.3))
_CHUNK = 256
_ONE = frozenset({Kind.VALUE, Kind.BINARY, Kind.CLASSES})


@dataclass(frozen=True, slots=True)
class _Fit:
    """A trained network with what it was trained on and how well it does on the validation part."""

    network: TemporalNetwork
    key: str
    rate: float
    decay: float
    loss: float
    epoch: int


def refuse_sequences(name: str, sequences: Any) -> None:
    """Raise UnsupportedOptionError for features that hold no usable sequences."""
    if not sequences:
        raise UnsupportedOptionError(
            f"The head {name!r} needs features as sequences (n, T, d); these features have none. "
            "Take a task whose rows "
            "are clips, or a head on pooled embeddings (ridge, logistic, knn)."
        )
    for key, values in sequences.items():
        if len(values.shape) != 3 or 0 in values.shape:
            raise UnsupportedOptionError(
                f"The sequence {key!r} has shape {tuple(values.shape)}; wanted (n, T, d)."
            )
        if not np.isfinite(values).all():
            raise UnsupportedOptionError(
                f"The sequence {key!r} holds values that are not finite. The backbone overflows on "
                "this input: try "
                "--precision fp32."
            )


class TemporalHead(Head):
    """A network over sequences; what is searched are pairs (learning rate, weight decay)."""

    kinds: ClassVar[frozenset[Kind]] = _ONE
    needs_sequences: ClassVar[bool] = True

    def __init__(
        self,
        recipe: Recipe | None = None,
        *,
        width: int = 64,
        searched: Sequence[tuple[float, float]] = RECIPES,
    ) -> None:
        """``width``: channels inside the network, a multiple of 4; ``searched``: one pair or more."""
        if width % 4 or width < 4 or not searched:
            raise UnsupportedOptionError(
                f"The head {self.name!r} wants a width that is a multiple of 4 and pairs (learning "
                "rate, weight decay) "
                f"to search; got {width} and {len(searched)} pairs."
            )
        self.recipe = recipe or Recipe(epochs=40, batch=32, patience=6)
        self.width, self.searched = width, tuple(searched)

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
        """Choose, train and predict for each split.

        Args:
            features: Features of all rows.
            answers: (n,) values or class indexes, or states (k_i,) of each row, -1 where not annotated.
            patients: (n,) the patient of each row.
            splits: The rows to train on, the inner parts to choose by, and the rows to predict.
            target: What is predicted.
            rng: Source of random numbers.
            memo: Results without labels that calls on the same features and splits share.

        Returns:
            A fit for each split. Predictions are (n_test,) values in the target's unit,
            probabilities (n_test,) of the second of two classes, probabilities (n_test, classes),
            or a list of states (k_i,).
        """
        refuse_kind(self, target)
        seeds = [int(s) for s in rng.integers(0, 2**31, len(splits))]
        if target.kind is Kind.STATES:
            return self._label(_series(features), answers, splits, target, seeds)
        refuse_sequences(self.name, features.sequences)
        y = _answers(answers, features.sequences, target)
        fits = [
            self._split(features.sequences, y, s, target, n)
            for s, n in zip(splits, seeds, strict=True)
        ]
        return [FoldFit(_predictions(scores, target), choice) for scores, choice in fits]

    def _label(
        self,
        series: Mapping[str, Any],
        states: Any,
        splits: Sequence[RowSplit],
        target: Target,
        seeds: Sequence[int],
    ) -> list[FoldFit]:
        """States of every step, trained on chunks of one length."""
        if not series:
            refuse_sequences(self.name, series)
        lengths = [len(row) for row in states]
        for key, rows in series.items():
            if [len(row) for row in rows] != lengths:
                raise UnsupportedOptionError(
                    f"{target.name}: {sum(lengths)} states of {len(lengths)} rows for "
                    f"{sum(map(len, rows))} steps of "
                    f"{len(rows)} rows of {key!r}; wanted a state, or {UNANNOTATED}, for every "
                    "step."
                )
        chunks = Chunks.of(lengths)
        sequences = {key: chunks.cut(rows) for key, rows in series.items()}
        refuse_sequences(self.name, sequences)
        y = _answers(chunks.answers(states), sequences, target)
        found = []
        for split, seed in zip(splits, seeds, strict=True):
            scores, choice = self._split(sequences, y, chunks.split(split), target, seed)
            found.append(FoldFit(chunks.join(scores, split.test), choice))
        return found

    def network(
        self,
        channels: int,
        target: Target,
        seed: int,
    ) -> TemporalNetwork:
        """A new network for sequences of ``channels``; ``seed`` decides its first weights."""
        from etab.heads.sequences.networks import TemporalNetwork

        answers = len(target.classes) if target.kind in (Kind.CLASSES, Kind.STATES) else 1
        with seeded(seed):
            return TemporalNetwork(
                self.name,
                channels,
                answers,
                steps=target.kind is Kind.STATES,
                width=self.width,
            )

    def _split(
        self,
        sequences: Mapping[str, Any],
        y: Array,
        split: RowSplit,
        target: Target,
        seed: int,
    ) -> tuple[FloatArray, dict[str, Any]]:
        """Logits of the test rows (for values the values), and what was chosen."""
        validation = _annotated(y, split.inner[0], target)
        rows = _annotated(y, without(split.train, split.inner[0]), target)
        if not len(rows) or not len(validation):
            raise SplitError(
                f"{target.name}: {len(rows)} training and {len(validation)} validation sequences "
                "are annotated; the head "
                f"{self.name!r} needs both. Take fewer folds, or more patients."
            )
        shift, scale = _scale(y[rows], target)
        scaled = (y - shift) / scale if target.kind is Kind.VALUE else y
        best = self._search(sequences, scaled, rows, validation, target, seed)
        logits = _logits(best.network, sequences[best.key], split.test) * scale + shift
        choice = {
            "features": best.key,
            "learning_rate": best.rate,
            "weight_decay": best.decay,
            "epoch": best.epoch,
            "validation_loss": best.loss,
        }
        return logits, choice

    def _search(
        self,
        sequences: Mapping[str, Any],
        y: Array,
        rows: IntArray,
        validation: IntArray,
        target: Target,
        seed: int,
    ) -> _Fit:
        """Choose the sequence by the first pair, then the pair for that sequence, by the validation
        loss.
        """

        def fit(key: str, pair: tuple[float, float]) -> _Fit | TrainingError:
            try:
                return self._train(key, sequences[key], y, rows, validation, target, pair, seed)
            except TrainingError as error:
                return error

        fits = [fit(key, self.searched[0]) for key in sequences]
        good = [f for f in fits if isinstance(f, _Fit)]
        key = min(good, key=lambda f: f.loss).key if good else next(iter(sequences))
        fits += [fit(key, pair) for pair in self.searched[1:]]
        good = [f for f in fits if isinstance(f, _Fit)]
        if not good:
            raise TrainingError(
                f"The head {self.name!r} could not be trained by any recipe searched: {fits[0]}"
            )
        return min(good, key=lambda f: f.loss)

    def _train(
        self,
        key: str,
        values: Any,
        y: Array,
        rows: IntArray,
        validation: IntArray,
        target: Target,
        pair: tuple[float, float],
        seed: int,
    ) -> _Fit:
        import torch

        network = self.network(values.shape[2], target, seed)
        flat = np.asarray(values[rows], dtype=np.float64).reshape(-1, values.shape[2])
        network.standardise(
            torch.from_numpy(flat.mean(axis=0)),
            torch.from_numpy(np.maximum(flat.std(axis=0), 1e-6)),
        )
        wanted = torch.as_tensor(
            y, dtype=torch.float32 if target.kind in (Kind.VALUE, Kind.BINARY) else torch.int64
        )

        def loss(some: IntArray) -> torch.Tensor:
            return _loss(network(_tensor(values, some)), wanted[torch.as_tensor(some)], target)

        rate, decay = pair
        done = train(
            network,
            loss,
            rows,
            validation,
            replace(
                self.recipe,
                learning_rate=rate,
                weight_decay=decay,
                seed=seed,
            ),
        )
        return _Fit(network, key, rate, decay, done.best_loss, done.best_epoch + 1)


def _series(features: Features) -> Mapping[str, Any]:
    """Sequences of one length, or, without any, the series (k_i, d) of rows of several lengths."""
    if features.sequences or features.series is None:
        return features.sequences
    return {"series": features.series}


def _answers(
    answers: Any,
    sequences: Mapping[str, Any],
    target: Target,
) -> Array:
    """Answers as an array: (n,) numbers, or (n, T) classes of time steps; refuses another shape or
    class.
    """
    n, steps = next(iter(sequences.values())).shape[:2]
    y = np.asarray(answers, dtype=np.float64 if target.kind is Kind.VALUE else np.int64)
    wanted = (n, steps) if target.kind is Kind.STATES else (n,)
    if y.shape != wanted or any(v.shape[:2] != (n, steps) for v in sequences.values()):
        shapes = ", ".join(f"{k} {tuple(v.shape)}" for k, v in sequences.items())
        raise UnsupportedOptionError(
            f"{target.name}: answers of shape {y.shape} for sequences {shapes}; wanted {wanted}."
        )
    low = UNANNOTATED if target.kind is Kind.STATES else 0
    if target.kind is not Kind.VALUE and (y.min() < low or y.max() >= len(target.classes)):
        raise UnsupportedOptionError(
            f"{target.name}: classes from {y.min()} to {y.max()} for the {len(target.classes)} "
            "classes "
            f"{', '.join(target.classes)}; wanted {low} to {len(target.classes) - 1}."
        )
    return y


def _annotated(y: Array, rows: IntArray, target: Target) -> IntArray:
    """Rows with at least one step that somebody annotated."""
    return rows[(y[rows] != UNANNOTATED).any(axis=1)] if target.kind is Kind.STATES else rows


def _scale(y: Array, target: Target) -> tuple[float, float]:
    """Mean and deviation of the training values."""
    return (float(y.mean()), float(y.std()) or 1.0) if target.kind is Kind.VALUE else (0.0, 1.0)


def _tensor(values: Any, rows: IntArray) -> torch.Tensor:
    import torch

    return torch.from_numpy(np.asarray(values[np.asarray(rows)], dtype=np.float32))


def _loss(
    logits: torch.Tensor,
    wanted: torch.Tensor,
    target: Target,
) -> torch.Tensor:
    """Mean over rows: squared error, cross-entropy, or cross-entropy of the annotated steps of each
    sequence.
    """
    from torch.nn import functional

    if target.kind is Kind.VALUE:
        return functional.mse_loss(logits[:, 0], wanted)
    if target.kind is Kind.BINARY:
        return functional.binary_cross_entropy_with_logits(logits[:, 0], wanted)
    if target.kind is Kind.CLASSES:
        return functional.cross_entropy(logits, wanted)
    steps = functional.cross_entropy(
        logits.transpose(1, 2),
        wanted,
        ignore_index=UNANNOTATED,
        reduction="none",
    )
    return (steps.sum(dim=1) / (wanted != UNANNOTATED).sum(dim=1)).mean()


def _logits(
    network: TemporalNetwork,
    values: Any,
    rows: IntArray,
) -> FloatArray:
    import torch

    with torch.inference_mode():
        parts = [
            network(_tensor(values, rows[at : at + _CHUNK])).numpy()
            for at in range(0, len(rows), _CHUNK)
        ]
    return np.concatenate(parts).astype(np.float64)


def _predictions(logits: FloatArray, target: Target) -> FloatArray:
    """What a target of this kind wants, from logits."""
    if target.kind is Kind.VALUE:
        return np.asarray(logits[:, 0])
    if target.kind is Kind.BINARY:
        return probability(logits[:, 0])
    return class_probabilities(logits)


@HEADS.register("mean_pool")
class MeanPool(TemporalHead):
    """Linear layer on the mean over time, trained with early stopping."""

    name: ClassVar[str] = "mean_pool"


@HEADS.register("attention_pool")
class AttentionPool(TemporalHead):
    """Linear layer on a mean over time whose weights are learned (gated attention)."""

    name: ClassVar[str] = "attention_pool"


class _Labels(TemporalHead):
    """Answers for a whole sequence or for each of its steps."""

    kinds: ClassVar[frozenset[Kind]] = _ONE | {Kind.STATES}


@HEADS.register("rnn")
class RNN(_Labels):
    """Recurrent network in both directions over the frames of a clip."""

    name: ClassVar[str] = "rnn"


@HEADS.register("lstm")
class LSTM(_Labels):
    """LSTM in both directions over the frames of a clip."""

    name: ClassVar[str] = "lstm"


@HEADS.register("gru")
class GRU(_Labels):
    """GRU in both directions over the frames of a clip."""

    name: ClassVar[str] = "gru"


@HEADS.register("tcn")
class TCN(_Labels):
    """Residual dilated convolutions over time."""

    name: ClassVar[str] = "tcn"


@HEADS.register("transformer")
class Transformer(_Labels):
    """Transformer encoder of two layers over the frames of a clip."""

    name: ClassVar[str] = "transformer"
