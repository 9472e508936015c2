"""Training examples: the inputs and answers of rows, and how they are augmented."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from etab.datasets.base import Source
from etab.errors import UnsupportedOptionError, skippable
from etab.features.frames import resize
from etab.finetuning.augment import clinical
from etab.finetuning.network import FINER, decoder_grid
from etab.tasks.base import Task
from etab.tasks.rows import Rows
from etab.types import Array, IntArray, Kind


class Examples(ABC):
    """Numbered rows with an input and an answer each."""

    @abstractmethod
    def inputs(self, rows: IntArray) -> Tensor:
        """Read the inputs of rows.

        Args:
            rows: (n,) numbers of rows.

        Returns:
            Frames (n, c, h, w) or clips (n, frames, c, h, w) in [0, 1].
        """

    @abstractmethod
    def answers(self, rows: IntArray) -> Tensor:
        """Read the answers of rows.

        Args:
            rows: (n,) numbers of rows.

        Returns:
            Values or classes (n,), or the share of each structure at every point (n, structures,
            h, w), NaN where the structure was not drawn.
        """

    def pieces(self, rows: IntArray) -> tuple[Tensor, IntArray | None]:
        """Read all that is predicted of rows in a test.

        Args:
            rows: (n,) numbers of rows.

        Returns:
            Inputs (m, ...), and the position in ``rows`` (m,) that each belongs to: the prediction
            of a row is the mean over its inputs. None: one input for each row.
        """
        return self.inputs(rows), None

    def augmented(self, rows: IntArray) -> tuple[Tensor, Tensor]:
        """Read inputs and answers, and change them as another recording might differ.

        See ``etab.finetuning.augment.clinical``.

        Args:
            rows: (n,) numbers of rows.

        Returns:
            Clips (n, frames, 1, h, w) in [0, 1], and the answers; masks move with the frames.

        Raises:
            UnsupportedOptionError: If the frames have colours.
        """
        inputs = self.inputs(rows)
        answers = self.answers(rows)
        clips = inputs[:, None] if inputs.ndim == 4 else inputs
        grey = clips[:, :, :1]
        if not torch.allclose(grey.expand_as(clips), clips, atol=1e-3):
            raise UnsupportedOptionError(
                "augment='clinical' is made for grey ultrasound; these frames have colours. "
                "Train with augment='none'."
            )
        masks = answers if answers.ndim == 4 else None
        # bfloat16 has too few digits for the coordinates of points
        with torch.autocast("cpu", enabled=False):
            frames, masks = clinical(grey, masks)
        return frames, answers if masks is None else masks


def rows_of_tasks(rows: Sequence[Rows]) -> Rows:
    """Join the rows of tasks on the same data.

    Args:
        rows: The rows of each task.

    Returns:
        One row for each item, in the order of first use. The answers are those of the first task:
        only masks are learned together, and no split depends on masks.
    """
    if len(rows) == 1:
        return rows[0]
    first_use: dict[str, tuple[Rows, int]] = {}
    for of_task in rows:
        for row, item in enumerate(of_task.items):
            first_use.setdefault(item, (of_task, row))
    uses = list(first_use.values())
    return Rows(
        items=tuple(first_use),
        patients=np.array([str(of_task.patients[row]) for of_task, row in uses]),
        parts=np.array([str(of_task.parts[row]) for of_task, row in uses]),
        frames=np.array([of_task.frames[row] for of_task, row in uses]),
        answers=rows[0].answers,
        spacing=tuple(of_task.spacing[row] for of_task, row in uses),
        missing=(),
        records=tuple(of_task.records[row] for of_task, row in uses),
        units=tuple(of_task.units[row] for of_task, row in uses),
    )


class FrameTable(Examples):
    """Examples of the board: all frames and answers in memory, as bytes where possible.

    Attributes:
        frames: uint8 frames (rows, frames, side, side).
        targets: Values or classes (rows,), or uint8 shares of each structure times 255
            (rows, structures, grid, grid).
        known: Which masks were drawn (rows, structures); None for values and classes.
    """

    def __init__(
        self,
        frames: Array,
        targets: Array,
        known: Array | None = None,
    ) -> None:
        """Hold the arrays as tensors.

        Args:
            frames: uint8 frames (rows, frames, side, side).
            targets: As the attribute.
            known: As the attribute.
        """
        self.frames = torch.from_numpy(frames)
        self.targets = torch.from_numpy(targets)
        self.known = None if known is None else torch.from_numpy(known)

    @property
    def n_frames(self) -> int:
        """Number of frames of a row."""
        return int(self.frames.shape[1])

    def inputs(self, rows: IntArray) -> Tensor:
        """Return clips (n, frames, 1, side, side) of ``rows``, in [0, 1]."""
        clips = self.frames[torch.as_tensor(rows)].float()
        return clips[:, :, None] / 255

    def answers(self, rows: IntArray) -> Tensor:
        """Return the answers of ``rows``.

        Values or classes (n,), or shares (n, structures, grid, grid) with NaN if not drawn.
        """
        indices = torch.as_tensor(rows)
        if self.known is None:
            return self.targets[indices]
        masks = self.targets[indices].float() / 255
        drawn = self.known[indices][:, :, None, None]
        return torch.where(drawn, masks, torch.nan)


def frames_of(
    source: Source,
    keys: Sequence[Any],
    indices: Sequence[Array],
    side: int,
) -> Array:
    """Read the frames of rows.

    Args:
        source: The data set.
        keys: All frames of the data set as (record, frame number).
        indices: For each row, the indices into ``keys`` of its frames; equally many for all.
        side: Height and width in pixels.

    Returns:
        uint8 frames (rows, frames, side, side).
    """
    out = np.empty((len(indices), len(indices[0]), side, side), np.uint8)
    for row, of_row in enumerate(indices):
        for position, index in enumerate(of_row):
            record, number = keys[int(index)]
            with skippable():
                frame = source.frames(record, [number])[0]
                out[row, position] = resize(frame, side)
    return out


def table_of(
    tasks: Sequence[Task],
    rows: Mapping[str, Rows],
    items: Mapping[str, int],
    frames: Array,
    side: int,
) -> FrameTable:
    """Join frames to the answers of all tasks that are trained together.

    Args:
        tasks: Mask tasks of one data set, or a single task of another kind.
        rows: The rows of each task, by its code.
        items: The row in the table of each item.
        frames: uint8 frames (rows, frames, side, side).
        side: Height and width of the frames in pixels.

    Returns:
        The table. Its structures are in the order in which the tasks name them first.
    """
    import cv2

    if tasks[0].kind is not Kind.MASK:
        return FrameTable(frames, np.asarray(rows[tasks[0].code].answers))
    structures = list(dict.fromkeys(task.target for task in tasks))
    grid = FINER * decoder_grid(side)
    shares = np.zeros((len(items), len(structures), grid, grid), np.uint8)
    known = np.zeros((len(items), len(structures)), bool)
    for task in tasks:
        structure = structures.index(task.target)
        of_task = rows[task.code]
        for item, mask in zip(of_task.items, of_task.answers, strict=True):
            row = items[item]
            share = cv2.resize(mask.astype(np.float32), (grid, grid), interpolation=cv2.INTER_AREA)
            shares[row, structure] = np.rint(255 * share)
            known[row, structure] = True
    return FrameTable(frames, shares, known)
