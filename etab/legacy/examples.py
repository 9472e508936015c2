"""Training examples from the data sets and loaders that ``ETABmodel.fit`` takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from etab.datasets.dataset import Items
from etab.datasets.pictures import IMAGENET_MEAN, IMAGENET_STD
from etab.finetuning.examples import Examples
from etab.finetuning.fitting import BUDGET
from etab.types import IntArray


class ItemExamples(Examples):
    """Rows of one or more map-style data sets of (tensor, answer).

    Rows that were read are held in memory while they fit the budget; frames of etab's own data
    sets are held as bytes.
    """

    def __init__(
        self,
        sets: Sequence[Any],
        normalized: bool,
        budget: int = BUDGET,
        device: str = "cpu",
    ) -> None:
        """Number the rows of all data sets consecutively.

        Args:
            sets: Data sets with ``len`` and ``[i]``, which returns a tensor (3, h, w) or
                (frames, 3, h, w) and an answer.
            normalized: Whether ImageNet's mean and deviation were applied to the tensors; if so,
                they are undone.
            budget: Bytes of rows that may be held.
            device: The device of the returned inputs and answers.
        """
        self.sets = sets
        self.normalized = normalized
        self.budget = budget
        self.device = device
        self._starts = np.cumsum([0, *[len(rows) for rows in sets]])
        self._held: dict[int, tuple[Tensor, Any]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return int(self._starts[-1])

    def rows_of(self, index: int) -> IntArray:
        """List the numbers of the rows of one data set.

        Args:
            index: The position of the data set in ``sets``.
        """
        first = self._starts[index]
        after_last = self._starts[index + 1]
        return np.arange(first, after_last)

    def inputs(self, rows: IntArray) -> Tensor:
        """Stack the inputs of ``rows``; frames of etab's data sets are grey.

        Returns:
            Frames (n, c, h, w) or clips (n, frames, c, h, w) in [0, 1].
        """
        tensors = [self._row(int(row))[0] for row in rows]
        inputs = torch.stack(tensors).to(self.device)
        if inputs.dtype is not torch.uint8:
            return inputs
        return (inputs.float() / 255).unsqueeze(-3)

    def answers(self, rows: IntArray) -> Tensor:
        """Stack the answers of ``rows``.

        Returns:
            Values or classes (n,), or masks (n, 1, h, w) of 0 and 1.
        """
        answers = [torch.as_tensor(self._row(int(row))[1]) for row in rows]
        stacked = torch.stack(answers).to(self.device)
        if stacked.ndim < 3:
            return stacked
        masks = stacked[:, :1] if stacked.ndim == 4 else stacked[:, None]
        return masks.float()

    def _row(self, row: int) -> tuple[Tensor, Any]:
        """Return the input and the answer of a row, from memory if they are held there."""
        if row in self._held:
            return self._held[row]
        set_index = int(np.searchsorted(self._starts, row, side="right")) - 1
        rows = self.sets[set_index]
        index = int(row - self._starts[set_index])
        tensor, answer = rows[index]
        unit = unit_scale(tensor, normalized=self.normalized)
        if isinstance(rows, Items):  # grey frames that were read from bytes
            grey = unit[..., 0, :, :]
            unit = (grey * 255).round().to(torch.uint8)
        size = _n_bytes(unit)
        size += _n_bytes(answer) if isinstance(answer, Tensor) else 8
        if self._bytes + size <= self.budget:
            self._held[row] = (unit, answer)
            self._bytes += size
        return unit, answer


def _n_bytes(tensor: Tensor) -> int:
    """Count the bytes of the numbers of a tensor."""
    return tensor.numel() * tensor.element_size()


def unit_scale(frames: Tensor, *, normalized: bool) -> Tensor:
    """Scale frames to [0, 1], undoing ImageNet's normalisation if it was applied.

    Args:
        frames: Frames (..., 3, h, w).
        normalized: Whether ImageNet's normalisation was applied.
    """
    if not normalized:
        return frames.float()
    mean = frames.new_tensor(IMAGENET_MEAN).view(3, 1, 1)
    deviation = frames.new_tensor(IMAGENET_STD).view(3, 1, 1)
    return frames.float() * deviation + mean
