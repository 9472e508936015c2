"""Heart sounds of the best, median and worst recordings of a backbone, with their states."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from etab.datasets.base import SoundSource
from etab.errors import ResultError
from etab.plots.sounds import listen, plot_states
from etab.results import Predictions, Result
from etab.sounds.states import STATE_RATE
from etab.tasks.menu import TASKS

_SECONDS = 6.0
_SCORE = "f1_100"


@dataclass(frozen=True, slots=True)
class SoundExample:
    """One recording of a task of states as a page plays it.

    Attributes:
        task: Code of the task.
        case: "best", "median" or "worst".
        recording: Name of the recording.
        score: F1 of the beginnings of S1 and S2 within 100 ms, 0 to 1, the mean over repeats.
        sound: Up to six seconds from the first annotated state on, a WAV file.
        picture: The same stretch over its annotated states, a PNG file.
    """

    task: str
    case: str
    recording: str
    score: float
    sound: bytes
    picture: bytes


def draw_sounds(cell: Result, table: Predictions, source: SoundSource) -> list[SoundExample]:
    """Cut and draw the best, the median and the worst recording of a cell of states.

    Recordings are sorted by their F1 within 100 ms; ties go by name. Results hold no predicted
    states, so the pictures show the annotated ones alone.

    Args:
        cell: The result.
        table: Its predictions.
        source: The data.

    Returns:
        Three examples; fewer recordings repeat among them.

    Raises:
        ResultError: If the data at hand lack a recording of the table, or its states.
    """
    items, place = np.unique(table.items, return_inverse=True)
    scores = np.bincount(place, weights=table.columns[_SCORE]) / np.bincount(place)
    order = np.lexsort((items, -scores))
    cases = {"best": 0, "median": (len(order) - 1) // 2, "worst": len(order) - 1}
    examples: list[SoundExample] = []
    for case, number in cases.items():
        name = str(items[order[number]])
        sound, picture = _stretch(cell, name, source)
        score = float(scores[order[number]])
        examples.append(SoundExample(cell.task, case, name, score, sound, picture))
    return examples


def _stretch(cell: Result, recording: str, source: SoundSource) -> tuple[bytes, bytes]:
    """Sound and picture of a recording from its first annotated state on."""
    known = {record.id: record for record in source.records()}
    if recording not in known:
        raise ResultError(f"{recording} of {cell.task} is no recording of the data at hand.")
    samples, rate = source.wave(known[recording])
    target = source.card.target(TASKS[cell.task].target)
    answers = source.answers(known[recording], target)
    annotated = [np.flatnonzero(answer.value >= 0) for answer in answers]
    if not annotated or not len(annotated[0]):
        raise ResultError(f"{recording} of {cell.task} has no annotated state in the data at hand.")
    states = np.asarray(answers[0].value)
    start = float(annotated[0][0]) / STATE_RATE
    clip = listen(samples, rate, start=start, seconds=_SECONDS)
    figure = plot_states(samples, rate, states, start=start, seconds=_SECONDS)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=90)
    return clip.data, out.getvalue()
