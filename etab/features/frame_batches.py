"""Batches of frames as square inputs of a network, read one batch ahead of their use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from etab.backbones.base import BackboneCard
from etab.datasets.base import Source
from etab.errors import skippable
from etab.features.fit import Box, fitted
from etab.features.overlap import ahead
from etab.types import Array, Record


class FrameBatches:
    """Batches of frames as square inputs, and where the frames of each batch lie in them.

    Args:
        source: The source of the recordings.
        frames: The frames: (record, frame number).
        card: The backbone, whose size, interpolation and fit make the inputs.
        n: Frames of a batch; the last one may have fewer.
    """

    def __init__(
        self, source: Source, frames: Sequence[tuple[Record, int]], card: BackboneCard, n: int
    ) -> None:
        self.source = source
        self.frames = frames
        self.card = card
        self.n = n
        self._boxes: dict[int, list[Box]] = {}

    @property
    def starts(self) -> list[int]:
        """The first frame of each batch."""
        return list(range(0, len(self.frames), self.n))

    def __iter__(self) -> Iterator[Array]:
        """Yield uint8 batches (n, size, size), reading one batch ahead."""
        return ahead(self.starts, self._read)

    def _read(self, start: int) -> Array:
        card = self.card
        chosen = self.frames[start : start + self.n]
        pictures: list[Array] = []
        boxes: list[Box] = []
        with skippable():
            raw = [self.source.frames(record, [at])[0] for record, at in chosen]
            for frame in raw:
                picture, box = fitted(frame, card.size, card.interpolation, card.fit)
                pictures.append(picture)
                boxes.append(box)
            self._boxes[start] = boxes
            return np.stack(pictures)

    def boxes(self) -> Iterator[list[Box]]:
        """Yield where the frames of each batch lie; the batch must have been read."""
        for start in self.starts:
            yield self._boxes.pop(start)
