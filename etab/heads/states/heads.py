"""Heads that predict the state of the heart at every frame of a recording."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from etab.errors import UndefinedError, UnsupportedOptionError
from etab.heads.base import HEADS, FoldFit, Head
from etab.heads.pooled.probes import refuse_kind
from etab.heads.states import emissions, hsmm
from etab.sounds.semimarkov import HOMOMORPHIC, WAVELET, Timing
from etab.storage.memory import freed_memory_kept
from etab.training.loop import Recipe
from etab.types import Array, Features, Kind, RowSplit, Target

CROPS = 24_000
FEWEST_EPOCHS = 8
MOST_EPOCHS = 30


@HEADS.register("hsmm")
class HSMM(Head):
    """Duration-dependent hidden semi-Markov model with logistic emissions (Springer et al.).

    The series is envelopes, as in the paper (``etab.heads.states.hsmm``), or a layer of a backbone
    over time, chosen with its penalty inside the training part (``etab.heads.states.emissions``).
    Heart rates come from the homomorphic envelope in both.
    """

    name: ClassVar[str] = "hsmm"
    beat: ClassVar[str] = HOMOMORPHIC
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.STATES})
    uses_torch: ClassVar[bool] = False
    needs_series: ClassVar[bool] = True
    reads_layers: ClassVar[bool] = True
    context: ClassVar[int] = 2
    candidates: ClassVar[int] = 5

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
        """Fit and segment for each split.

        Args:
            features: Features of all rows.
            answers: States (k_i,) of each recording, -1 where not annotated.
            patients: (n,) the patient of each row.
            splits: The rows to train on, the inner parts to choose by, and the rows to predict.
            target: What is predicted.
            rng: Source of random numbers.
            memo: Results without labels that calls on the same features and splits share.

        Returns:
            A fit for each split. Predictions are a list of states (k_i,) of the test recordings.
        """
        refuse_kind(self, target)
        if features.series is None:
            raise UnsupportedOptionError(
                f"The head {self.name!r} needs a series at 50 Hz for each recording."
            )
        timings = self._timings(memo)
        if features.sequences:
            with freed_memory_kept():  # every fit allocates the same large arrays
                segmented_layers = emissions.cross_segment_layers(
                    list(features.series),
                    features.sequences,
                    answers,
                    patients,
                    splits,
                    candidates=self.candidates,
                    beat=self.beat,
                    timings=timings,
                )
            return [FoldFit(states, choice) for states, choice in segmented_layers]
        choice = {"context": self.context, "candidates": self.candidates}
        segmented = hsmm.cross_segment(
            list(features.series),
            answers,
            patients,
            splits,
            context=self.context,
            candidates=self.candidates,
            beat=self.beat,
            timings=timings,
        )
        return [FoldFit(states, choice) for _, states in segmented]

    def _timings(
        self, memo: MutableMapping[Any, Any] | None
    ) -> MutableMapping[int, tuple[Timing, ...]]:
        """The timings of recordings that fits on the same rows share: no label enters them."""
        if memo is None:
            return {}
        key = ("heart timings", self.beat, self.candidates)
        shared: MutableMapping[int, tuple[Timing, ...]] = memo.setdefault(key, {})
        return shared


@HEADS.register("hsmm_wavelet")
class HSMMWavelet(HSMM):
    """The same model with heart rates from the wavelet envelope, which is right more often.

    The series begins with the four envelopes of ``etab.sounds.envelopes``, as that of every
    backbone of sounds here does.
    """

    name: ClassVar[str] = "hsmm_wavelet"
    beat: ClassVar[str] = WAVELET


@HEADS.register("state_unet")
class StateUNetHead(Head):
    """Small trained U-Net over time, then the order and the durations of the heart's states."""

    name: ClassVar[str] = "state_unet"
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.STATES})
    needs_series: ClassVar[bool] = True

    def __init__(
        self,
        recipe: Recipe | None = None,
        *,
        width: int = 16,
        frames: int = 320,
        repeats: int = 2,
        networks: int = 1,
    ) -> None:
        """Set how the networks are trained.

        Args:
            recipe: How to train; None for the epochs of ``epochs_for``.
            width: Channels of the network at 50 Hz, a multiple of 16.
            frames: Length of a crop, a multiple of 16, 64 or more.
            repeats: Number of crops of each recording in an epoch.
            networks: Number of networks that are averaged. Each one stops on another inner part of
                the training patients.

        Raises:
            UnsupportedOptionError: An option is out of its range.
        """
        bad_frames = frames % 16 or frames < 64
        bad_width = width % 16 or width < 16
        if bad_frames or bad_width or repeats < 1 or networks < 1:
            raise UnsupportedOptionError(
                f"frames {frames}, width {width}, repeats {repeats}, networks {networks}; wanted "
                "multiples of 16 (64 and 16 at least), and one or more."
            )
        self.recipe = recipe
        self.width = width
        self.frames = frames
        self.repeats = repeats
        self.networks = networks

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
        """Train and segment for each split.

        Args:
            features: Features of all rows.
            answers: States (k_i,) of each recording, -1 where not annotated.
            patients: (n,) the patient of each row.
            splits: The rows to train on, the inner parts to choose by, and the rows to predict.
            target: What is predicted.
            rng: Source of random numbers.
            memo: Results without labels that calls on the same features and splits share.

        Returns:
            A fit for each split. Predictions are a list of states (k_i,) of the test recordings.

        Raises:
            SplitError: A patient is in training and in test; the message names them.
            UndefinedError: A series does not have the length of its states.
            TrainingError: The training diverges.
        """
        refuse_kind(self, target)
        if features.series is None:
            raise UnsupportedOptionError(
                f"The head {self.name!r} needs a series at 50 Hz for each recording."
            )
        from etab.heads.states import unet as statenet

        series = [np.asarray(x, dtype=np.float32) for x in features.series]
        for i, (x, y) in enumerate(zip(series, answers, strict=True)):
            if x.ndim != 2 or len(x) != len(y):
                raise UndefinedError(
                    f"Recording {i} has a series {x.shape} and {len(y)} states. Align them."
                )
        seeds = [int(seed) for seed in rng.integers(0, 2**31, len(splits))]
        fits = []
        for split, seed in zip(splits, seeds, strict=True):
            hsmm.refuse_shared_people(patients, split)
            parts = [split.inner[i % len(split.inner)] for i in range(self.networks)]
            recipe = self._recipe(len(split.train))
            model, progress = statenet.fit_networks(
                series,
                answers,
                split.train,
                parts,
                replace(recipe, seed=seed),
                width=self.width,
                frames=self.frames,
                repeats=self.repeats,
            )
            choice = {
                "epochs": ",".join(str(done.best_epoch + 1) for done in progress),
                "validation_loss": float(np.mean([done.best_loss for done in progress])),
            }
            states = [model.predict(series[i]) for i in split.test]
            fits.append(FoldFit(states, choice))
        return fits

    def _recipe(self, recordings: int) -> Recipe:
        """The given recipe, or the default one for this many training recordings."""
        if self.recipe is not None:
            return self.recipe
        epochs = epochs_for(recordings, self.repeats)
        return Recipe(
            epochs=epochs,
            batch=16,
            learning_rate=3e-3,
            patience=8,
        )


def epochs_for(recordings: int, repeats: int = 2) -> int:
    """Compute the epochs for about 24,000 crops in all, at least 8 and at most 30.

    A network needs a number of steps and not of passes: with thousands of recordings, 30 epochs
    would take hours and change nothing.

    Args:
        recordings: Number of training recordings.
        repeats: Crops of each in an epoch.

    Returns:
        The number of epochs.

    Example:
        >>> [epochs_for(n) for n in (100, 800, 2500)]
        [30, 15, 8]
    """
    epochs = CROPS // max(recordings * repeats, 1)
    return min(max(epochs, FEWEST_EPOCHS), MOST_EPOCHS)
