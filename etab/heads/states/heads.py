"""Heads that give the state of the heart at every moment of a recording."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from etab.errors import UndefinedError, UnsupportedOptionError
from etab.heads.base import HEADS, FoldFit, Head
from etab.heads.pooled.probes import refuse_kind
from etab.heads.states import emissions, hsmm
from etab.sounds.semimarkov import HOMOMORPHIC, WAVELET
from etab.training.loop import Recipe
from etab.types import Array, Features, Kind, RowSplit, Target

CROPS = 24_000
FEWEST_EPOCHS = 8
MOST_EPOCHS = 30


@HEADS.register("hsmm")
class HSMM(Head):
    """Duration-dependent hidden semi-Markov model of Springer et al.; emissions by logistic
    regression on a series.

    The series is envelopes, as in the paper (``etab.heads.states.hsmm``), or a layer of a backbone
    over time, chosen with its penalty inside the training part (``etab.heads.states.emissions``).
    Heart rates come from the homomorphic envelope in both.
    """

    name: ClassVar[str] = "hsmm"
    beat: ClassVar[str] = HOMOMORPHIC
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.STATES})
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
        """Fit and segment for each split: a list of states (k_i,), one a test recording."""
        refuse_kind(self, target)
        if features.series is None:
            raise UnsupportedOptionError(
                f"The head {self.name!r} needs a series at 50 Hz for each recording."
            )
        if features.sequences:
            told = emissions.cross_segment_layers(
                list(features.series),
                features.sequences,
                answers,
                patients,
                splits,
                candidates=self.candidates,
                beat=self.beat,
            )
            return [FoldFit(states, choice) for states, choice in told]
        choice = {"context": self.context, "candidates": self.candidates}
        segmented = hsmm.cross_segment(
            list(features.series),
            answers,
            patients,
            splits,
            context=self.context,
            candidates=self.candidates,
            beat=self.beat,
        )
        return [FoldFit(states, choice) for _, states in segmented]


@HEADS.register("hsmm_wavelet")
class HSMMWavelet(HSMM):
    """The same model with heart rates from the wavelet envelope, which gives them more often.

    The series begins with the four envelopes of ``etab.sounds.envelopes``, as that of every
    backbone of sounds here does.
    """

    name: ClassVar[str] = "hsmm_wavelet"
    beat: ClassVar[str] = WAVELET


@HEADS.register("state_unet")
class StateUNetHead(Head):
    """Small U-Net in time on a series at 50 Hz, then the order and the durations of the heart's
    states; trained.
    """

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
        """``frames`` of a crop (a multiple of 16), ``repeats`` crops a recording and epoch,
        ``networks`` averaged.

        Each network stops on an inner part of its own of the training people. Without ``recipe``,
        training lasts for the epochs of ``epochs_for``.
        """
        if frames % 16 or frames < 64 or width % 16 or width < 16 or repeats < 1 or networks < 1:
            raise UnsupportedOptionError(
                f"frames {frames}, width {width}, repeats {repeats}, networks {networks}; wanted "
                "multiples of 16 (64 and "
                "16 at least), and one or more."
            )
        self.recipe = recipe
        self.width, self.frames, self.repeats, self.networks = width, frames, repeats, networks

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
        """Train and segment for each split: a list of states (k_i,), one a test recording.

        Raises SplitError naming a person who is in training and in test, UndefinedError for a
        series that does not fit its states, TrainingError.
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
        found = []
        for split, seed in zip(
            splits, [int(s) for s in rng.integers(0, 2**31, len(splits))], strict=True
        ):
            hsmm.refuse_shared_people(patients, split)
            parts = [split.inner[i % len(split.inner)] for i in range(self.networks)]
            recipe = self._recipe(len(split.train))
            model, told = statenet.fit_networks(
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
                "epochs": ",".join(str(t.best_epoch + 1) for t in told),
                "validation_loss": float(np.mean([t.best_loss for t in told])),
            }
            found.append(FoldFit([model.predict(series[i]) for i in split.test], choice))
        return found

    def _recipe(self, recordings: int) -> Recipe:
        """The recipe that was given, or the usual one for so many training recordings."""
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
    """Epochs in which a network sees some 24,000 crops, at least 8 and at most 30.

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
