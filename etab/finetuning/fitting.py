"""Fit a network to examples with the training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from etab.errors import UnsupportedOptionError
from etab.finetuning.augment import AUGMENTATIONS
from etab.finetuning.examples import Examples
from etab.finetuning.network import Network, answer_loss
from etab.training.loop import Progress, Recipe, Report, train
from etab.types import IntArray, Kind

BUDGET = 2 << 30
"""Bytes of features, and of inputs, that are held in memory."""

_STANDARDISING_ROWS = 64
_CHUNK = 16


class _FeatureCache:
    """Features of rows; those of a frozen body are computed once and held in half precision.

    Nothing is held unless all rows fit the budget, and unless the network rounds its features
    to half precision anyway.
    """

    def __init__(
        self,
        network: Network,
        examples: Examples,
        n_rows: int,
        budget: int,
    ) -> None:
        self.network = network
        self.examples = examples
        self.n_rows = n_rows
        self.budget = budget
        self.held: dict[int, list[Tensor]] = {}
        self.active = network.frozen and network.half_features

    def __call__(self, rows: IntArray) -> list[Tensor]:
        missing = [int(row) for row in rows if int(row) not in self.held]
        if not self.active or (missing and not self._has_room(missing[0])):
            return self._compute(rows)
        if missing:
            computed = self._compute(np.asarray(missing))
            for position, row in enumerate(missing):
                self.held[row] = [level[position].half().clone() for level in computed]
        by_row = [self.held[int(row)] for row in rows]
        by_level = zip(*by_row, strict=True)
        return [torch.stack(level).float() for level in by_level]

    def _compute(self, rows: IntArray) -> list[Tensor]:
        inputs = self.examples.inputs(rows).to(self.network.device)
        return self.network.features(inputs)

    def _has_room(self, row: int) -> bool:
        """Decide with the first row whether the features of all rows fit the budget."""
        if not self.held:
            features = self._compute(np.asarray([row]))
            bytes_per_row = sum(2 * level.numel() for level in features)
            self.active = self.n_rows * bytes_per_row <= self.budget
        return self.active


def standardise(
    network: Network,
    examples: Examples,
    rows: IntArray,
    features: _FeatureCache | None = None,
) -> None:
    """Standardise a new head with training rows.

    Args:
        network: The network with a new head; it is left in evaluation mode.
        examples: The examples.
        rows: The training rows. Features of at most 64 of them, evenly spread, are used, and the
            values of all.
        features: Where features are held; None computes them.
    """
    features = features or _FeatureCache(network, examples, 0, 0)
    n_used = min(len(rows), _STANDARDISING_ROWS)
    used = rows[np.linspace(0, len(rows) - 1, n_used).astype(int)]
    values = examples.answers(rows).float() if network.kind is Kind.VALUE else None
    network.eval()
    with torch.no_grad():
        blocks = []
        for start in range(0, n_used, _CHUNK):
            chunk = used[start : start + _CHUNK]
            blocks.append(features(chunk))
        network.standardise_head(blocks, values)


def fit(
    network: Network,
    examples: Examples,
    rows: IntArray,
    validation: IntArray,
    recipe: Recipe,
    *,
    augment: str = "none",
    folder: Path | None = None,
    about: Mapping[str, Any] | None = None,
    report: Report | None = None,
    budget: int = BUDGET,
) -> Progress:
    """Train the head, and the body unless it is frozen.

    A new head is standardised first. Training stops by the loss of the validation rows.

    Args:
        network: The network, on the device on which it is trained.
        examples: The examples.
        rows: Training rows.
        validation: Validation rows.
        recipe: How to train.
        augment: "none", or "clinical": every training row is changed anew in each epoch as
            another recording might differ (``etab.finetuning.augment``). Features of a frozen
            body are then computed in each epoch.
        folder: The folder of checkpoints; None for none.
        about: Other facts that decide the result, to compare with the checkpoint.
        report: Called after every step.
        budget: Bytes of features that may be held.

    Returns:
        The progress at the end of training.

    Raises:
        UnsupportedOptionError: If there is no such augmentation, or frames to augment have
            colours.
        EtabError: All that ``etab.training.loop.train`` raises.
    """
    if augment not in AUGMENTATIONS:
        raise UnsupportedOptionError(
            f"No augmentation is called {augment!r}. Known: {', '.join(AUGMENTATIONS)}."
        )
    cache = _FeatureCache(network, examples, len(rows) + len(validation), budget)
    if network.is_new:
        standardise(network, examples, rows, cache)

    def loss(batch: IntArray) -> Tensor:
        features: Sequence[Tensor]
        if augment == "none" or not network.training:
            features = cache(batch)
            answers = examples.answers(batch)
        else:
            inputs, answers = examples.augmented(batch)
            features = network.features(inputs.to(network.device))
        output = network.predict_from(features)
        return answer_loss(network, output, answers.to(network.device))

    return train(
        network,
        loss,
        rows,
        validation,
        recipe,
        folder=folder,
        report=report,
        about=about,
    )
