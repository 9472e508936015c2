"""Rows as tokens, for the attentive probes: what a backbone computed before it was pooled.

Tokens of frames are the places of the last feature map, one frame of the row after the other.
Tokens of clips are the steps of their sequence, and tokens of a sound are its windows. A token
that does not exist (a view that a patient does not have, a window beyond the end of a recording)
is NaN in every channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.features.base import input_of
from etab.tasks.base import Task
from etab.tasks.inputs import ROW_INPUTS
from etab.tasks.rows import ABSENT, Rows
from etab.types import Array, Features, FloatArray, IntArray

_SPATIAL = ("mean", "cls", "moments", "vector")


class MapTokens:
    """The places of a feature map as tokens, read when rows are chosen.

    Args:
        values: Feature map (frames, c, h, w), an array or a map on disk.
        frames: Frames of each row (n, k); negative where there is none.
    """

    def __init__(self, values: Any, frames: IntArray) -> None:
        self._values = values
        self._frames = np.asarray(frames)
        _, channels, height, width = values.shape
        self.shape = (len(self._frames), self._frames.shape[1] * height * width, channels)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> FloatArray:
        """Read rows.

        Args:
            rows: Row numbers (m,), or a slice.

        Returns:
            float32 tokens (m, k * h * w, c).
        """
        frames = self._frames[rows]
        parts: list[Array] = []
        for column in frames.T:
            is_present = column >= 0
            # Any frame stands for one that does not exist; it is overwritten.
            numbers = np.where(is_present, column, column.max())
            maps = np.asarray(self._values[numbers], dtype=np.float32)
            tokens = maps.reshape(*maps.shape[:2], -1).transpose(0, 2, 1)
            tokens[~is_present] = np.nan
            parts.append(tokens)
        return np.concatenate(parts, axis=1)


def row_tokens(task: Task, features: Features, rows: Rows) -> Features:
    """Pick the tokens of each row of a task.

    Args:
        task: The task.
        features: The features of everything that the family of the task embeds.
        rows: The rows of the task.

    Returns:
        Features with one sequence (n, tokens, d).

    Raises:
        UnsupportedOptionError: The features hold nothing that tokens are made of.
    """
    row = ROW_INPUTS[task.inputs]
    if row.several_views and (row.clip or row.modality == "sound"):
        return Features({}, sequences=_view_tokens(_steps(features, row.clip), rows.frames))
    if row.clip:
        steps = input_of(task).pick(features, rows, maps=False, sequences=True).sequences
        return Features({}, sequences=steps)
    if row.modality == "sound":
        return Features({}, sequences=_window_tokens(features, rows))
    if not features.maps:
        raise UnsupportedOptionError(
            f"{task.code}: the head reads tokens of feature maps and these features have none. "
            "Take a backbone with maps, or a head on pooled embeddings (stack, ridge)."
        )
    return Features({}, sequences={"last map": MapTokens(features.maps[-1], rows.frames)})


def _pooled_last(features: Features) -> tuple[str, FloatArray]:
    """The last pooled features (n, d) that are not statistics over time, and their name."""
    names = [name for name in features.pooled if name.split("/")[-1] in _SPATIAL]
    name = (names or list(features.pooled))[-1]
    return name, np.asarray(features.pooled[name], dtype=np.float32)


def _steps(features: Features, is_clip: bool) -> dict[str, FloatArray]:
    """The steps (keys, T, d) of clips, or windows as clips of one step."""
    if is_clip:
        return {
            name: np.asarray(steps, dtype=np.float32) for name, steps in features.sequences.items()
        }
    name, values = _pooled_last(features)
    return {name: values[:, None]}


def _view_tokens(steps: dict[str, FloatArray], frames: IntArray) -> dict[str, FloatArray]:
    """The steps of everything in a row, view by view; NaN where there is none."""
    tokens: dict[str, FloatArray] = {}
    for name, values in steps.items():
        of_rows = values[frames]
        of_rows[frames == ABSENT] = np.nan
        tokens[name] = of_rows.reshape(len(frames), -1, values.shape[2])
    return tokens


def _window_tokens(features: Features, rows: Rows) -> dict[str, FloatArray]:
    """The pooled features of the windows of each row, padded to the longest row."""
    name, values = _pooled_last(features)
    counts = rows.frames[:, -1] - rows.frames[:, 0] + 1
    tokens = np.full((len(counts), int(counts.max()), values.shape[1]), np.nan, dtype=np.float32)
    for i, first in enumerate(rows.frames[:, 0]):
        tokens[i, : counts[i]] = values[first : first + counts[i]]
    return {name: tokens}
