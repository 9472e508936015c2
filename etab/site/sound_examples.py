"""Heart sounds of the best, median and worst recordings of a backbone, with their states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etab.datasets.base import SoundSource
from etab.errors import ResultError
from etab.metrics.states import segmentation
from etab.plots.sounds import listen, runs_between
from etab.results import Predictions, Result
from etab.results.states import SHOWN_SCORE, read_kept_states, shown_cases, states_path
from etab.sounds.states import STATE_RATE
from etab.tasks.menu import TASKS
from etab.types import Array, FloatArray

_SECONDS = 6.0
# The waveform is drawn as the range of the samples in each of so many columns.
_COLUMNS = 480
_TOLERANCE = 1e-5

Run = tuple[float, float, int]
"""Beginning and end of equal states in seconds of the clip, and the state."""

KeptStates = Mapping[tuple[str, int], Array]
"""Predicted states at 50 Hz by recording and repeat."""


@dataclass(frozen=True, slots=True)
class SoundExample:
    """One recording of a task of states as a page plays it.

    Attributes:
        task: Code of the task.
        case: "best", "median" or "worst".
        recording: Name of the recording.
        score: F1 of the beginnings of S1 and S2 within 100 ms, 0 to 1, the mean over repeats.
        sound: Up to six seconds from the first annotated state on, a WAV file.
        seconds: Duration of the clip.
        wave: Lowest and highest sample in each of the columns of the clip, (2, 480) or fewer,
            as shares of the loudest one.
        truth: Runs of annotated states; parts without annotation are left out.
        predicted: Runs of predicted states, or None where the results hold none.
    """

    task: str
    case: str
    recording: str
    score: float
    sound: bytes
    seconds: float
    wave: FloatArray
    truth: list[Run]
    predicted: list[Run] | None


def draw_sounds(
    cell: Result,
    table: Predictions,
    source: SoundSource,
    folder: Path | None = None,
) -> list[SoundExample]:
    """Cut the best, the median and the worst recording of a cell of states.

    Recordings are sorted by their F1 within 100 ms; ties go by name. Predicted states are those
    that lie beside the record; they are scored again before they are shown.

    Args:
        cell: The result.
        table: Its predictions.
        source: The data.
        folder: The folder of results; None shows the annotated states alone.

    Returns:
        Three examples; fewer recordings repeat among them.

    Raises:
        ResultError: If the data at hand lack a recording of the table, or its states, or if the
            predicted states do not give the score that the table states.
    """
    predicted = _kept_states(cell, folder)
    items, rows = np.unique(table.items, return_inverse=True)
    scores = np.bincount(rows, weights=table.columns[SHOWN_SCORE]) / np.bincount(rows)
    score_of = dict(zip(items.tolist(), scores.tolist(), strict=True))
    examples: list[SoundExample] = []
    for case, recording in shown_cases(table).items():
        stretch = _stretch(cell, table, recording, source, predicted)
        example = SoundExample(cell.task, case, recording, score_of[recording], *stretch)
        examples.append(example)
    return examples


def _kept_states(cell: Result, folder: Path | None) -> KeptStates:
    """The states beside a record; empty where there are none."""
    if folder is None:
        return {}
    path = states_path(cell.path(folder))
    return read_kept_states(path) if path.exists() or path.is_symlink() else {}


def _stretch(
    cell: Result,
    table: Predictions,
    recording: str,
    source: SoundSource,
    kept: KeptStates,
) -> tuple[bytes, float, FloatArray, list[Run], list[Run] | None]:
    """Sound, duration, waveform and states of a recording from its first annotated state on."""
    known = {record.id: record for record in source.records()}
    if recording not in known:
        raise ResultError(f"{recording} of {cell.task} is not a recording of the data at hand.")
    samples, rate = source.wave(known[recording])
    target = source.card.target(TASKS[cell.task].target)
    answers = source.answers(known[recording], target)
    annotated = [np.flatnonzero(answer.value >= 0) for answer in answers]
    if not annotated or not len(annotated[0]):
        raise ResultError(f"{recording} of {cell.task} has no annotated state in the data at hand.")
    truth = np.asarray(answers[0].value)
    start = float(annotated[0][0]) / STATE_RATE
    end = min(start + _SECONDS, len(samples) / rate)
    clip = listen(samples, rate, start=start, seconds=_SECONDS)
    states = kept.get((recording, min(table.repeats)))
    shown = None
    if states is not None:
        _check(cell, table, recording, truth, states)
        shown = _runs(states, start, end)
    wave = _wave(samples[round(start * rate) : round(end * rate)])
    return clip.data, end - start, wave, _runs(truth, start, end), shown


def _check(cell: Result, table: Predictions, recording: str, truth: Array, states: Array) -> None:
    """Refuse predicted states that do not give the score that the table states."""
    first_repeat = min(table.repeats)
    rows = zip(table.items, table.repeats, strict=True)
    row = list(rows).index((recording, first_repeat))
    stated = float(table.columns[SHOWN_SCORE][row])
    score = float("nan")
    if states.shape == truth.shape:
        score = segmentation(truth, states, tolerance_ms=100).f1
    if not abs(score - stated) <= _TOLERANCE:
        raise ResultError(
            f"{cell.task} with {cell.backbone} states an F1 of {stated:.4f} for {recording}; the "
            f"predicted states beside it give {score:.4f} on the data at hand. Name the folder of "
            "the data that the results are of with --root."
        )


def _runs(states: Array, start: float, end: float) -> list[Run]:
    """Runs of states between two times, in seconds from the first."""
    runs: list[Run] = []
    for begin, stop, state in runs_between(states, start, end):
        if state >= 0:
            runs.append((round(begin - start, 3), round(stop - start, 3), state))
    return runs


def _wave(samples: FloatArray) -> FloatArray:
    """The range of the samples in each column, as shares of the loudest sample."""
    columns = np.array_split(samples, min(_COLUMNS, len(samples)))
    lowest = np.array([column.min() for column in columns])
    highest = np.array([column.max() for column in columns])
    peak = float(max(highest.max(), -lowest.min())) or 1.0
    return np.round(np.stack([lowest, highest]) / peak, 3)


def sound_facts(example: SoundExample) -> dict[str, Any]:
    """Collect what a page draws of a recording.

    Args:
        example: The recording.

    Returns:
        Plain JSON values: ``seconds``, ``low`` and ``high`` of the waveform, and runs of states as
        ``truth`` and ``predicted``, which is None where the results hold none.
    """
    low, high = example.wave.tolist()
    return {
        "seconds": round(example.seconds, 3),
        "low": low,
        "high": high,
        "truth": example.truth,
        "predicted": example.predicted,
    }
