"""Chunks of one length from series of several lengths, so that they can be trained on together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.sounds.states import UNANNOTATED
from etab.types import Array, FloatArray, IntArray, RowSplit

# Largest length of a chunk in steps.
LENGTH = 256


@dataclass(frozen=True, slots=True)
class Chunks:
    """The division of rows into chunks of one length.

    The last chunk of a row ends with it, so it may overlap the one before. A row shorter than a
    chunk is continued by repeating its last step, without an answer.

    Attributes:
        lengths: (n,) number of steps of each row.
        owner: (m,) the row of each chunk.
        start: (m,) first step of each chunk in its row.
        length: Number of steps of a chunk.
    """

    lengths: IntArray
    owner: IntArray
    start: IntArray
    length: int

    @classmethod
    def of(cls, lengths: Sequence[int], length: int = LENGTH) -> Chunks:
        """Divide rows into chunks.

        Args:
            lengths: Number of steps of each row.
            length: Largest number of steps of a chunk.

        Raises:
            UnsupportedOptionError: A row is empty.

        Example:
            >>> Chunks.of([5, 2], 3).start.tolist()
            [0, 2, 0]
        """
        if not len(lengths) or min(lengths) < 1:
            raise UnsupportedOptionError(
                f"Series of {min(lengths, default=0)} steps; wanted at least one step."
            )
        length = min(length, max(lengths))
        owner = []
        start = []
        for row, k in enumerate(lengths):
            last = max(k - length, 0)
            starts = sorted({*range(0, last, length), last})
            owner += [row] * len(starts)
            start += starts
        return cls(np.asarray(lengths), np.asarray(owner), np.asarray(start), length)

    def cut(self, series: Sequence[Any]) -> FloatArray:
        """Cut series (k_i, d) of the rows into chunks (m, length, d)."""
        chunks = []
        for row, start in self._rows_and_starts():
            steps = start + np.arange(self.length)
            last = self.lengths[row] - 1
            values = np.asarray(series[row], dtype=np.float32)
            chunks.append(values[np.minimum(steps, last)])
        return np.stack(chunks)

    def answers(self, states: Sequence[Any]) -> IntArray:
        """Cut states (k_i,) of the rows into chunks (m, length), -1 beyond the end of a row."""
        out = np.full((len(self.owner), self.length), UNANNOTATED, dtype=np.int64)
        for chunk, (row, start) in zip(out, self._rows_and_starts(), strict=True):
            of_row = np.asarray(states[row])
            part = of_row[start : start + self.length]
            chunk[: len(part)] = part
        return out

    def rows(self, rows: IntArray) -> IntArray:
        """Find the chunks of some rows."""
        return np.flatnonzero(np.isin(self.owner, rows))

    def split(self, split: RowSplit) -> RowSplit:
        """Convert a split of rows to a split of chunks."""
        inner = tuple(self.rows(part) for part in split.inner)
        return replace(
            split,
            train=self.rows(split.train),
            inner=inner,
            test=self.rows(split.test),
        )

    def join(self, scores: FloatArray, rows: IntArray) -> list[Array]:
        """Find the most likely class of each step of some rows.

        Args:
            scores: (m, length, classes) of the chunks of ``rows``. Scores are added where chunks
                overlap.
            rows: The rows.

        Returns:
            Classes (k_i,) of each row.
        """
        n_classes = scores.shape[2]
        total = {int(row): np.zeros((int(self.lengths[row]), n_classes)) for row in rows}
        for index, chunk in zip(self.rows(rows), scores, strict=True):
            of_row = total[int(self.owner[index])]
            start = self.start[index]
            part = of_row[start : start + self.length]
            part += chunk[: len(part)]
        return [total[int(row)].argmax(axis=1) for row in rows]

    def _rows_and_starts(self) -> list[tuple[int, int]]:
        """The row and the first step of each chunk."""
        pairs = zip(self.owner, self.start, strict=True)
        return [(int(row), int(start)) for row, start in pairs]
