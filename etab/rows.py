"""From a task and a source to rows: which frames a row shows, what the authors say of it, whose it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from etab.datasets.base import Source
from etab.errors import LayoutError, skippable
from etab.features import PickedMap, StoredMap
from etab.tasks import TASKS, Task
from etab.types import Answer, Array, Features, FloatArray, Kind, Record

FrameKey = tuple[Record, int]


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one task on one source, in the source's order.

    items     one id a row ("patient0001_4CH#0")
    patients  (n,) whose row it is
    parts     (n,) the authors' split of the patient
    frames    (n, k) indexes into the list of annotated frames: k = 2 for "ED+ES"
    answers   (n,) numbers, or n boolean masks
    spacing   (row, column) mm for each row, or None
    missing   (id, reason) of recordings that gave no row
    records   the recording of each row
    units     what each row answers for: the row itself, its recording, its study or its patient (the task's ``unit``)
    places    where each row was recorded (auscultation), groups its database: empty where there are no such things
    extras    further facts that the task's metrics need of each row, by the name of their column
    """

    items: tuple[str, ...]
    patients: Array
    parts: Array
    frames: Array
    answers: Any
    spacing: tuple[tuple[float, float] | None, ...]
    missing: tuple[tuple[str, str], ...]
    records: tuple[str, ...]
    units: tuple[str, ...]
    places: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    extras: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def n_patients(self) -> int:
        """Count the patients."""
        return len(set(self.patients.tolist()))


def annotated_frames(source: Source) -> list[FrameKey]:
    """List the frames that the tasks of this dataset show, ordered by view so that one view is one slice.

    These are the ED and ES frame of every recording, and the frames of what tasks with the input "answer" ask for.
    """
    keys: list[FrameKey] = []
    for record in sorted(source.records(), key=lambda r: r.view):
        with skippable():
            keys += [(record, at) for at in shown_frames(source, record)]
    return keys


def shown_frames(source: Source, record: Record) -> list[int]:
    """The frames of one recording that the tasks of its dataset show, in order."""
    card = source.card
    shown = set(_phases(source, record).values())
    for name in {
        t.target for t in TASKS.values() if t.dataset == card.name and t.inputs == "answer"
    }:
        shown |= {at or 0 for at in source.annotated(record, card.target(name))}
    return sorted(shown)


def _phases(source: Source, record: Record) -> dict[int, int]:
    """Phase value (0 ED, 1 ES) to frame; empty where the dataset knows no phases."""
    if all(t.name != "ES/ED" for t in source.card.targets):
        return {}
    return _at(source.answers(record, source.card.target("ES/ED")))


def _at(answers: Sequence[Answer]) -> dict[int, int]:
    """Phase value (0 ED, 1 ES) to frame."""
    return {int(a.value): int(a.at) for a in answers if a.at is not None}


def _rows_of(
    task: Task, answers: Sequence[Answer], at: dict[int, int]
) -> list[tuple[list[int], Any]]:
    """Frames and answer of each row that this recording gives."""
    if task.inputs == "answer":
        return [([int(a.at or 0)], a.value) for a in answers]
    if task.inputs == "frame":
        wanted = set(at.values())
        return [([int(a.at)], a.value) for a in answers if a.at in wanted and a.at is not None]
    if not answers:
        return []
    phases = (0,) if task.inputs == "ED" else (0, 1)
    return [([at[p] for p in phases], answers[0].value)] if all(p in at for p in phases) else []


def record_rows(task: Task, source: Source, record: Record) -> list[tuple[list[int], Any]]:
    """Frames and answer of each row that a recording gives for a task; reads the answers."""
    at_phase = _phases(source, record)
    at = sorted(at_phase.values()) if task.inputs == "frame" else None
    return _rows_of(task, source.answers(record, source.card.target(task.target), at), at_phase)


def task_rows(task: Task, source: Source, frames: Sequence[FrameKey]) -> Rows:
    """Build the rows of a task; raises LayoutError when the data hold none at all."""
    target = source.card.target(task.target)
    place = {(record.id, at): i for i, (record, at) in enumerate(frames)}
    items: list[str] = []
    kept: list[tuple[Record, list[int], Any]] = []
    missing: list[tuple[str, str]] = []
    for record in sorted(
        (r for r in source.records() if r.view in task.views), key=lambda r: r.view
    ):
        with skippable():
            rows = record_rows(task, source, record)
        if not rows:
            frame = "" if task.inputs == "answer" else " or no ED/ES frame"
            missing.append((record.id, f"no {task.target}{frame} is given"))
        kept += [(record, shown, value) for shown, value in rows]
        items += [f"{record.id}#{'+'.join(map(str, shown))}" for shown, _ in rows]
    if not kept:
        raise LayoutError(
            f"{source.root} gives not one row for {task.code} ({task.target}, {', '.join(task.views)}): "
            f"{missing[0][1] if missing else 'no recording of that view'}. Run `etab data check {source.card.name}`."
        )
    records = tuple(r.id for r, _, _ in kept)
    return Rows(
        items=tuple(items),
        patients=np.array([r.patient for r, _, _ in kept]),
        parts=np.array([r.split for r, _, _ in kept]),
        frames=np.array([[place[r.id, a] for a in at] for r, at, _ in kept]),
        answers=stack(target.kind, [v for _, _, v in kept]),
        spacing=tuple(source.spacing(r) for r, _, _ in kept),
        missing=tuple(missing),
        records=records,
        units={
            "": tuple(items),
            "recording": records,
            "study": tuple(str(r.meta.get("study", r.id)) for r, _, _ in kept),
            "patient": tuple(r.patient for r, _, _ in kept),
        }[task.unit],
    )


def stack(kind: Kind, values: list[Any]) -> Any:
    """Answers as ``Rows`` holds them: boolean masks in a list, numbers in an array."""
    if kind is Kind.MASK:
        return [np.asarray(v, dtype=bool) for v in values]
    return np.asarray(values, dtype=np.float64 if kind is Kind.VALUE else np.int64)


def _picked(whole: Any, rows: Any) -> Any:
    """Rows of a map: a view of what is in memory, and nothing read yet of what is not, whatever rows these are."""
    if isinstance(whole, np.ndarray) or (isinstance(whole, StoredMap) and isinstance(rows, slice)):
        return whole[rows]
    return PickedMap(whole, np.arange(len(whole))[rows])


def row_features(
    features: Features, rows: Rows, *, maps: bool = True, sequences: bool = True
) -> Features:
    """Pick the features of each row, maps and sequences too unless told not to.

    Two frames of a row are laid side by side, without maps and sequences.
    """
    columns = rows.frames.T
    lo, hi = int(columns[0].min()), int(columns[0].max()) + 1
    whole = (
        len(columns) == 1 and hi - lo == len(columns[0]) and bool((np.diff(columns[0]) == 1).all())
    )
    if whole:  # a view: with many rows, features may be larger than memory
        pooled = {k: v[lo:hi] for k, v in features.pooled.items()}
    else:
        pooled = {
            k: np.concatenate([v[c] for c in columns], axis=1) for k, v in features.pooled.items()
        }
    shown: tuple[Any, ...] = ()
    if maps and len(columns) == 1:
        shown = tuple(_picked(m, slice(lo, hi) if whole else columns[0]) for m in features.maps)
    steps = (
        {k: v[columns[0]] for k, v in features.sequences.items()}
        if sequences and len(columns) == 1
        else {}
    )
    return Features(pooled=pooled, maps=shown, pca=features.pca, sequences=steps)
