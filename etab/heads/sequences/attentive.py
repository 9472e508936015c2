"""Attentive probes: a learned query reads the tokens of a frozen backbone.

With one block the query attends to the tokens and passes a small network. With four blocks, three
blocks of self-attention on the tokens come before it. Tokens that do not exist are masked.

Source: the attentive probes of Bardes et al., Revisiting Feature Prediction for Learning Visual
Representations from Video, TMLR 2024, and of Assran et al., V-JEPA 2, arXiv:2506.09985, 2025.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from etab.errors import UnsupportedOptionError, not_finite
from etab.heads.base import HEADS
from etab.heads.sequences.checks import refuse_shapes
from etab.heads.sequences.heads import TemporalHead
from etab.training.loop import Recipe, seeded
from etab.types import Array, FloatArray, IntArray, Kind, Target

if TYPE_CHECKING:
    from etab.heads.sequences.attentive_network import AttentiveNetwork

# Pairs of learning rate and weight decay.
_PAIRS = ((1e-3, 1e-2), (3e-3, 1e-2), (3e-4, 1e-2))
# Rows that are read at once.
_READ = 64


class AttentiveProbe(TemporalHead):
    """An attentive probe of some number of blocks, as wide as the tokens."""

    needs_sequences: ClassVar[bool] = False
    needs_tokens: ClassVar[bool] = True
    blocks: ClassVar[int] = 1

    def __init__(
        self, recipe: Recipe | None = None, *, searched: Sequence[tuple[float, float]] = _PAIRS
    ) -> None:
        """Set how the probe is trained.

        Args:
            recipe: How to train, except for the learning rate, weight decay and seed. None: 20
                epochs with batches of 16 rows and a patience of 5 epochs.
            searched: Pairs of learning rate and weight decay, at least one.
        """
        super().__init__(recipe or Recipe(epochs=20, batch=16, patience=5), searched=searched)

    def refuse(self, sequences: Mapping[str, Any]) -> None:
        """Check tokens: whole tokens may be NaN, but not every token of a row.

        Args:
            sequences: Tokens (n, T, d) by name.

        Raises:
            UnsupportedOptionError: There are no tokens, they have another shape, values are not
                finite, or a row has no token.
        """
        refuse_shapes(self.name, sequences)
        for key, values in sequences.items():
            for start in range(0, len(values), _READ):
                _refuse_tokens(key, np.asarray(values[start : start + _READ]), start)

    def network(self, channels: int, target: Target, seed: int) -> AttentiveNetwork:  # type: ignore[override]
        """Make a new network.

        Args:
            channels: Width of the tokens.
            target: What is predicted.
            seed: Seed of the initial weights.
        """
        from etab.heads.sequences.attentive_network import AttentiveNetwork

        answers = max(1, len(target.classes)) if target.kind is Kind.CLASSES else 1
        with seeded(seed):
            return AttentiveNetwork(channels, answers, self.blocks)

    def moments(self, values: Any, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        """Compute the mean and deviation (d,) of the tokens of some rows that exist.

        Args:
            values: Tokens (n, T, d).
            rows: The rows.
        """
        width = values.shape[2]
        count = 0
        total = np.zeros(width)
        squares = np.zeros(width)
        for start in range(0, len(rows), _READ):
            chunk = np.asarray(values[rows[start : start + _READ]], dtype=np.float64)
            tokens = chunk[~np.isnan(chunk).any(axis=2)]
            count += len(tokens)
            total += tokens.sum(axis=0)
            squares += np.square(tokens).sum(axis=0)
        mean = total / count
        variance = np.maximum(squares / count - np.square(mean), 0)
        return mean, np.sqrt(variance)


def _refuse_tokens(key: str, chunk: FloatArray, start: int) -> None:
    is_missing: Array = np.isnan(chunk)
    is_absent: Array = np.all(is_missing, axis=2)
    is_broken = (is_missing.any(axis=2) & ~is_absent) | np.isinf(chunk).any(axis=2)
    if is_broken.any():
        raise not_finite(f"The layer of tokens {key!r}")
    if is_absent.all(axis=1).any():
        row = start + int(np.flatnonzero(is_absent.all(axis=1))[0])
        raise UnsupportedOptionError(f"Row {row} has no token of {key!r}; leave the row out.")


@HEADS.register("attentive_1")
class AttentiveOne(AttentiveProbe):
    """A learned query that attends to the tokens of a frozen backbone, in one block."""

    name: ClassVar[str] = "attentive_1"


@HEADS.register("attentive_4")
class AttentiveFour(AttentiveProbe):
    """The attentive probe with three blocks of self-attention before the query."""

    name: ClassVar[str] = "attentive_4"
    blocks: ClassVar[int] = 4
