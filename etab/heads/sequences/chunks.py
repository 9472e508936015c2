"""Series of other lengths as chunks of one length, so that they can be trained on together, and
back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.sounds.states import UNANNOTATED
from etab.types import Array, FloatArray, IntArray, RowSplit

LENGTH = 256


@dataclass(frozen=True, slots=True)
class Chunks:
    """Chunks of ``length`` steps: ``owner`` (m,) is the row of each and ``start`` (m,) its first
    step in that row.

    The last chunk of a row ends with it, so it may overlap the one before. A shorter row is one
    chunk, continued by its last step without an answer.
    """

    lengths: IntArray
    owner: IntArray
    start: IntArray
    length: int

    @classmethod
    def of(cls, lengths: Sequence[int], length: int = LENGTH) -> Chunks:
        """Cut rows of these lengths; raises UnsupportedOptionError for an empty one."""
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
        """(m, length, d) chunks of series (k_i, d)."""
        steps = [
            np.minimum(s + np.arange(self.length), self.lengths[i] - 1) for i, s in self._places()
        ]
        return np.stack(
            [
                np.asarray(series[i], dtype=np.float32)[at]
                for i, at in zip(self.owner, steps, strict=True)
            ]
        )

    def answers(self, states: Sequence[Any]) -> IntArray:
        """(m, length) states of the chunks, -1 behind the end of a row."""
        out = np.full((len(self.owner), self.length), UNANNOTATED, dtype=np.int64)
        for chunk, (i, s) in zip(out, self._places(), strict=True):
            part = np.asarray(states[i])[s : s + self.length]
            chunk[: len(part)] = part
        return out

    def rows(self, rows: IntArray) -> IntArray:
        """Chunks of some rows."""
        return np.flatnonzero(np.isin(self.owner, rows))

    def split(self, split: RowSplit) -> RowSplit:
        """A split of rows as one of chunks."""
        inner = tuple(self.rows(part) for part in split.inner)
        return replace(
            split,
            train=self.rows(split.train),
            inner=inner,
            test=self.rows(split.test),
        )

    def join(self, scores: FloatArray, rows: IntArray) -> list[Array]:
        """From scores (chunks of ``rows``, length, classes) the likeliest class of each step of
        each row; overlaps add up.
        """
        total = {int(i): np.zeros((int(self.lengths[i]), scores.shape[2])) for i in rows}
        for k, chunk in zip(self.rows(rows), scores, strict=True):
            found = total[int(self.owner[k])][self.start[k] : self.start[k] + self.length]
            found += chunk[: len(found)]
        return [total[int(i)].argmax(axis=1) for i in rows]

    def _places(self) -> list[tuple[int, int]]:
        return [(int(i), int(s)) for i, s in zip(self.owner, self.start, strict=True)]
