"""Heads that give the state of the heart at every moment of a recording."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any, ClassVar

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.heads import hsmm
from etab.heads.base import HEADS, FoldFit, Head
from etab.heads.probes import refuse_kind
from etab.types import Array, Features, Kind, RowSplit, Target


@HEADS.register("hsmm")
class HSMM(Head):
    """Duration-dependent hidden semi-Markov model of Springer et al. on envelopes; logistic-regression emissions."""

    name: ClassVar[str] = "hsmm"
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.STATES})
    needs_series: ClassVar[bool] = True
    context: ClassVar[int] = 2
    candidates: ClassVar[int] = 5

    def cross_fit(
        self, features: Features, answers: Any, patients: Array, splits: Sequence[RowSplit], target: Target, *,
        rng: np.random.Generator, memo: MutableMapping[Any, Any] | None = None,
    ) -> list[FoldFit]:  # fmt: skip
        """Fit and segment for each split: a list of states (k_i,), one a test recording."""
        refuse_kind(self, target)
        if not features.maps:
            raise UnsupportedOptionError(f"The head {self.name!r} needs a series at 50 Hz for each recording.")
        choice = {"context": self.context, "candidates": self.candidates}
        found = hsmm.cross_segment(list(features.maps[0]), answers, patients, splits, **choice)
        return [FoldFit(states, choice) for _, states in found]
