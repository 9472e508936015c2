"""Checks of the sequences that heads read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from etab.errors import UnsupportedOptionError, not_finite


def refuse_sequences(name: str, sequences: Mapping[str, Any]) -> None:
    """Check that features hold usable sequences.

    Args:
        name: Name of the head in errors.
        sequences: Arrays (n, T, d) by name.

    Raises:
        UnsupportedOptionError: There are no sequences, or one has another shape or values that are
            not finite.
    """
    refuse_shapes(name, sequences)
    for key, values in sequences.items():
        if not np.isfinite(values).all():
            raise not_finite(f"The sequence {key!r}")


def refuse_shapes(name: str, sequences: Mapping[str, Any]) -> None:
    """Check that features hold sequences of the right shape.

    Args:
        name: Name of the head in errors.
        sequences: Arrays (n, T, d) by name.

    Raises:
        UnsupportedOptionError: There are no sequences, or one has another shape.
    """
    if not sequences:
        raise UnsupportedOptionError(
            f"The head {name!r} needs features as sequences (n, T, d); these features have none. "
            "Take a task whose rows are clips, or a head on pooled embeddings (ridge, logistic, "
            "knn)."
        )
    for key, values in sequences.items():
        if len(values.shape) != 3 or 0 in values.shape:
            raise UnsupportedOptionError(
                f"The sequence {key!r} has shape {tuple(values.shape)}; wanted (n, T, d)."
            )
