"""The rows of a training as one table of frames or sounds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from etab.datasets.base import SoundSource
from etab.finetuning.examples import FrameTable, frames_of, table_of
from etab.finetuning.plan import Tuning
from etab.finetuning.sounds import SoundTable, sound_table
from etab.runs.data import Data
from etab.tasks.rows import Rows


def joined_table(
    tuning: Tuning, data: Data, rows: Mapping[str, Rows], joined: Rows, items: Mapping[str, int]
) -> FrameTable | SoundTable:
    """Read the frames or sounds of the rows, and join them to the answers of all tasks.

    Args:
        tuning: The plan of the training.
        data: The data of the plan.
        rows: The rows of each task, by its code.
        joined: The rows of all tasks.
        items: The row in the table of each item.

    Returns:
        The table.
    """
    tasks = tuning.rows
    source = data.source(tasks[0].dataset)
    if isinstance(source, SoundSource):
        record_of = {record.id: record for record in source.records()}
        records = [record_of[name] for name in joined.records]
        return sound_table(source, records, np.asarray(joined.answers), tuning.side)
    frames = frames_of(source, data.keys(tasks[0]), list(joined.frames), tuning.side)
    return table_of(tasks, rows, items, frames, tuning.side)
