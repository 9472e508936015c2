"""Training examples of sound: windows of the log-mel pictures of recordings.

A row is a recording. In training, a window is drawn anywhere in it, anew in each epoch; the loss of
the validation rows is of their middle windows; and a recording that is tested has the mean of the
predictions of all of its windows, one after another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from etab.datasets.base import SoundSource
from etab.errors import skippable
from etab.features.windows import WINDOW, window_starts
from etab.finetuning.augment import other_room
from etab.finetuning.examples import Examples
from etab.sounds.mel import log_mel
from etab.types import Array, FloatArray, IntArray, Record

_COLUMNS = 2.5  # columns of the picture of a window for each row


def window_columns(side: int) -> int:
    """Return the width of the picture of a window of 5 s.

    Args:
        side: Height of the picture in pixels.

    Example:
        >>> window_columns(64)
        160
    """
    return round(_COLUMNS * side)


def whole_picture(samples: FloatArray, rate: int, side: int) -> Array:
    """Draw the log-mel picture of a whole recording.

    A recording that is shorter than a window is repeated until it fills one.

    Args:
        samples: The waveform (n,).
        rate: Samples per second.
        side: Height of the picture in pixels.

    Returns:
        uint8 picture (side, columns), high bands on top, with ``window_columns(side)`` columns for
        every 5 s, and at least as many.
    """
    import cv2

    mel = log_mel(samples, rate)
    wanted = window_columns(side)
    seconds = len(samples) / rate
    columns = max(1, round(seconds / WINDOW * wanted))
    resized = cv2.resize(mel, (columns, side), interpolation=cv2.INTER_AREA)
    grey = np.round(np.clip(resized, 0, 1) * 255).astype(np.uint8).reshape(side, columns)
    missing = max(0, wanted - columns)
    return np.pad(grey, ((0, 0), (0, missing)), mode="wrap")


class SoundTable(Examples):
    """Recordings as log-mel pictures in memory, and their answers.

    Attributes:
        pictures: uint8 pictures (side, columns) of the rows; widths differ.
        targets: Values or classes (rows,).
        width: Columns of a window.
    """

    known = None

    def __init__(self, pictures: Sequence[Array], targets: Array) -> None:
        """Hold the pictures and answers.

        Args:
            pictures: As the attribute, at least as wide as a window.
            targets: As the attribute.
        """
        self.pictures = list(pictures)
        self.targets = torch.from_numpy(targets)
        self.width = window_columns(len(self.pictures[0]))

    @property
    def n_frames(self) -> int:
        """Number of pictures that the head takes at once."""
        return 1

    def inputs(self, rows: IntArray) -> Tensor:
        """Cut the middle window of each row.

        Args:
            rows: (n,) numbers of rows.

        Returns:
            Windows (n, 1, side, width) in [0, 1]; 1 is the loudest point of the window.
        """
        starts = [self._last_start(row) // 2 for row in rows]
        return self._windows(rows, starts)

    def answers(self, rows: IntArray) -> Tensor:
        """Return the values or classes (n,) of ``rows``."""
        return self.targets[torch.as_tensor(rows)]

    def augmented(self, rows: IntArray) -> tuple[Tensor, Tensor]:
        """Cut a window anywhere in each row, and change it as another recording might differ.

        Args:
            rows: (n,) numbers of rows.

        Returns:
            Windows (n, 1, side, width) in [0, 1], and the answers.
        """
        chances = torch.rand(len(rows)).tolist()
        starts = []
        for row, chance in zip(rows, chances, strict=True):
            starts.append(int(chance * (self._last_start(row) + 1)))
        return other_room(self._windows(rows, starts)), self.answers(rows)

    def pieces(self, rows: IntArray) -> tuple[Tensor, IntArray | None]:
        """Cut every window of each row.

        Args:
            rows: (n,) numbers of rows.

        Returns:
            Windows (m, 1, side, width) in [0, 1], and the position in ``rows`` of each.
        """
        owners: list[int] = []
        starts: list[int] = []
        for position, row in enumerate(rows):
            last_start = self._last_start(row)
            seconds = (last_start + self.width) / self.width * WINDOW
            for start in window_starts(seconds):
                owners.append(position)
                starts.append(min(round(start / WINDOW * self.width), last_start))
        positions = np.array(owners)
        return self._windows(rows[positions], starts), positions

    def _last_start(self, row: int) -> int:
        """Return the first column of the last window of a row."""
        columns: int = self.pictures[int(row)].shape[1]
        return columns - self.width

    def _windows(self, rows: IntArray, starts: Sequence[int]) -> Tensor:
        """Cut one window for each row, and set its loudest point to 1."""
        cut = []
        for row, start in zip(rows, starts, strict=True):
            cut.append(self.pictures[int(row)][:, start : start + self.width])
        windows = torch.from_numpy(np.stack(cut)).float()[:, None] / 255
        loudest = windows.amax(dim=(1, 2, 3), keepdim=True)
        levelled = (windows + (1 - loudest)) * (windows > 0)
        return levelled


def sound_table(
    source: SoundSource, records: Sequence[Record], targets: Array, side: int
) -> SoundTable:
    """Read the sounds of recordings as pictures.

    Args:
        source: The data set.
        records: The recording of each row.
        targets: Values or classes (rows,).
        side: Height of the pictures in pixels.

    Returns:
        The table.
    """
    pictures = []
    for record in records:
        with skippable():
            samples, rate = source.wave(record)
        pictures.append(whole_picture(samples, rate, side))
    return SoundTable(pictures, targets)
