"""Heads over sequences of embeddings: pooling, recurrent, convolutional and transformer networks.

They predict one answer for each clip, or one for each step. Answers for steps are a list of states,
one array for each row; rows may have several lengths (series of heart sounds). Each outer split
trains on its training patients without the first inner part. That part decides when training stops,
and which sequence, learning rate and weight decay are used. Steps that are not annotated (-1) have
no loss.
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
from etab.heads.sequences.checks import refuse_sequences
from etab.heads.sequences.chunks import Chunks
from etab.sounds.states import UNANNOTATED
from etab.splits import without
from etab.training.loop import Recipe, seeded, train
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit, Target

if TYPE_CHECKING:
    import torch

    from etab.heads.sequences.networks import TemporalNetwork

# Pairs of learning rate and weight decay.
RECIPES = ((3e-3, 1e-2), (1e-3, 1e-2), (1e-3, 0.3))
# Rows that are predicted at once.
_CHUNK = 256
_ONE = frozenset({Kind.VALUE, Kind.BINARY, Kind.CLASSES})


@dataclass(frozen=True, slots=True)
class _Fit:
    """A trained network, its recipe, and its loss on the validation part.

    Attributes:
        network: The network.
        key: Name of the sequence that it reads.
        rate: Learning rate.
        decay: Weight decay.
        loss: Best validation loss.
        epoch: Epoch of the best loss, from 1.
    """

    network: TemporalNetwork
    key: str
    rate: float
    decay: float
    loss: float
    epoch: int


class TemporalHead(Head):
    """A network over sequences, with a search over pairs of learning rate and weight decay."""

    kinds: ClassVar[frozenset[Kind]] = _ONE
    needs_sequences: ClassVar[bool] = True

    def __init__(
        self,
        recipe: Recipe | None = None,
        *,
        width: int = 64,
        searched: Sequence[tuple[float, float]] = RECIPES,
    ) -> None:
        """Set how the network is trained.

        Args:
            recipe: How to train, except for the learning rate, weight decay and seed. None: 40
                epochs with batches of 32 rows and a patience of 6 epochs.
            width: Channels inside the network, a multiple of 4.
            searched: Pairs of learning rate and weight decay, at least one.

        Raises:
            UnsupportedOptionError: The width is not a multiple of 4, or there is no pair.
        """
        if width % 4 or width < 4 or not searched:
            raise UnsupportedOptionError(
                f"The head {self.name!r} needs a width that is a multiple of 4 and pairs (learning "
                f"rate, weight decay) to search; got {width} and {len(searched)} pairs."
            )
        self.recipe = recipe or Recipe(epochs=40, batch=32, patience=6)
        self.width = width
        self.searched = tuple(searched)

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
            answers: (n,) values or class indexes, or states (k_i,) of each row with -1 where not
                annotated.
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
        self.refuse(features.sequences)
        y = _answers(answers, features.sequences, target)
        fits = []
        for split, seed in zip(splits, seeds, strict=True):
            logits, choice = self._split(features.sequences, y, split, target, seed)
            fits.append(FoldFit(_predictions(logits, target), choice))
        return fits

    def refuse(self, sequences: Mapping[str, Any]) -> None:
        """Check that the head can read sequences.

        Args:
            sequences: Arrays (n, T, d) by name.

        Raises:
            UnsupportedOptionError: As ``refuse_sequences``.
        """
        refuse_sequences(self.name, sequences)

    def moments(self, values: Any, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        """Compute the mean and deviation (d,) over all steps of some rows.

        Args:
            values: Array (n, T, d).
            rows: The rows.
        """
        flat = np.asarray(values[rows], dtype=np.float64).reshape(-1, values.shape[2])
        return flat.mean(axis=0), flat.std(axis=0)

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
                steps = sum(map(len, rows))
                raise UnsupportedOptionError(
                    f"{target.name}: {sum(lengths)} states of {len(lengths)} rows for "
                    f"{steps} steps of {len(rows)} rows of {key!r}; wanted a state, or "
                    f"{UNANNOTATED}, for every step."
                )
        chunks = Chunks.of(lengths)
        sequences = {key: chunks.cut(rows) for key, rows in series.items()}
        refuse_sequences(self.name, sequences)
        y = _answers(chunks.answers(states), sequences, target)
        fits = []
        for split, seed in zip(splits, seeds, strict=True):
            of_chunks = chunks.split(split)
            scores, choice = self._split(sequences, y, of_chunks, target, seed)
            states_of_rows = chunks.join(scores, split.test)
            fits.append(FoldFit(states_of_rows, choice))
        return fits

    def network(
        self,
        channels: int,
        target: Target,
        seed: int,
    ) -> TemporalNetwork:
        """Make a new network.

        Args:
            channels: Width of the sequences.
            target: What is predicted.
            seed: Seed of the initial weights.
        """
        from etab.heads.sequences.networks import TemporalNetwork

        has_classes = target.kind in (Kind.CLASSES, Kind.STATES)
        answers = len(target.classes) if has_classes else 1
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
        """Logits of the test rows (values for a target of values), and what was chosen."""
        validation = _annotated(y, split.inner[0], target)
        rows = _annotated(y, without(split.train, split.inner[0]), target)
        if not len(rows) or not len(validation):
            raise SplitError(
                f"{target.name}: {len(rows)} training and {len(validation)} validation sequences "
                f"are annotated; the head {self.name!r} needs both. Take fewer folds, or more "
                "patients."
            )
        shift, scale = _scale(y[rows], target)
        scaled = y
        if target.kind is Kind.VALUE:
            scaled = (y - shift) / scale
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
        """Choose by the validation loss: the sequence with the first pair, then the pair."""

        def fit(key: str, pair: tuple[float, float]) -> _Fit | TrainingError:
            try:
                return self._train(key, sequences[key], y, rows, validation, target, pair, seed)
            except TrainingError as error:
                return error

        first_pair, *other_pairs = self.searched
        fits = [fit(key, first_pair) for key in sequences]
        good = [f for f in fits if isinstance(f, _Fit)]
        key = next(iter(sequences))
        if good:
            key = min(good, key=lambda f: f.loss).key
        fits += [fit(key, pair) for pair in other_pairs]
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
        """Train a network on one sequence with one pair of learning rate and weight decay."""
        import torch

        width = values.shape[2]
        network = self.network(width, target, seed)
        mean, deviation = self.moments(values, rows)
        deviation = np.maximum(deviation, 1e-6)
        network.standardise(torch.from_numpy(mean), torch.from_numpy(deviation))
        is_real = target.kind in (Kind.VALUE, Kind.BINARY)
        wanted = torch.as_tensor(y, dtype=torch.float32 if is_real else torch.int64)

        def loss(batch: IntArray) -> torch.Tensor:
            logits = network(_tensor(values, batch))
            return _loss(logits, wanted[torch.as_tensor(batch)], target)

        rate, decay = pair
        recipe = replace(
            self.recipe,
            learning_rate=rate,
            weight_decay=decay,
            seed=seed,
        )
        done = train(network, loss, rows, validation, recipe)
        return _Fit(
            network,
            key,
            rate,
            decay,
            loss=done.best_loss,
            epoch=done.best_epoch + 1,
        )


def _series(features: Features) -> Mapping[str, Any]:
    """Sequences of one length, or else the series (k_i, d) of rows of several lengths."""
    if features.sequences or features.series is None:
        return features.sequences
    return {"series": features.series}


def _answers(
    answers: Any,
    sequences: Mapping[str, Any],
    target: Target,
) -> Array:
    """Answers as an array: (n,) numbers, or (n, T) classes of steps.

    Raises UnsupportedOptionError for another shape or an unknown class.
    """
    n, steps = next(iter(sequences.values())).shape[:2]
    y = np.asarray(answers, dtype=np.float64 if target.kind is Kind.VALUE else np.int64)
    wanted = (n, steps) if target.kind is Kind.STATES else (n,)
    is_even = all(values.shape[:2] == (n, steps) for values in sequences.values())
    if y.shape != wanted or not is_even:
        shapes = ", ".join(f"{name} {tuple(values.shape)}" for name, values in sequences.items())
        raise UnsupportedOptionError(
            f"{target.name}: answers of shape {y.shape} for sequences {shapes}; wanted {wanted}."
        )
    low = UNANNOTATED if target.kind is Kind.STATES else 0
    if target.kind is Kind.VALUE:
        return y
    count = len(target.classes)
    if y.min() < low or y.max() >= count:
        raise UnsupportedOptionError(
            f"{target.name}: classes from {y.min()} to {y.max()} for the {count} classes "
            f"{', '.join(target.classes)}; wanted {low} to {count - 1}."
        )
    return y


def _annotated(y: Array, rows: IntArray, target: Target) -> IntArray:
    """Rows with at least one annotated step."""
    if target.kind is not Kind.STATES:
        return rows
    is_annotated = y[rows] != UNANNOTATED
    annotated: IntArray = rows[is_annotated.any(axis=1)]
    return annotated


def _scale(y: Array, target: Target) -> tuple[float, float]:
    """Mean and deviation of the training values; 0 and 1 for other targets."""
    if target.kind is not Kind.VALUE:
        return 0.0, 1.0
    deviation = float(y.std()) or 1.0
    return float(y.mean()), deviation


def _tensor(values: Any, rows: IntArray) -> torch.Tensor:
    import torch

    of_rows = values[np.asarray(rows)]
    return torch.from_numpy(np.asarray(of_rows, dtype=np.float32))


def _loss(
    logits: torch.Tensor,
    wanted: torch.Tensor,
    target: Target,
) -> torch.Tensor:
    """Mean loss of the rows.

    The loss is the squared error, the cross-entropy, or the mean cross-entropy over the annotated
    steps of a sequence.
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
    annotated = (wanted != UNANNOTATED).sum(dim=1)
    of_rows = steps.sum(dim=1) / annotated
    return of_rows.mean()


def _logits(
    network: TemporalNetwork,
    values: Any,
    rows: IntArray,
) -> FloatArray:
    """Logits of some rows, float64."""
    import torch

    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), _CHUNK):
            chunk = _tensor(values, rows[start : start + _CHUNK])
            parts.append(network(chunk).numpy())
    return np.concatenate(parts).astype(np.float64)


def _predictions(logits: FloatArray, target: Target) -> FloatArray:
    """Predictions in the form of a target, from logits."""
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
    """Linear layer on a weighted mean over time; gated attention learns the weights."""

    name: ClassVar[str] = "attention_pool"


class _Labels(TemporalHead):
    """A network that predicts one answer for a sequence, or one for each of its steps."""

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
