"""From a task on clips to rows: which clips are cut from each recording, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from etab import beats
from etab.clipfeatures import Clip, Clips
from etab.clips import Sampling
from etab.datasets.base import Source
from etab.errors import IncompatibleError, LayoutError
from etab.rows import Rows, stack
from etab.tasks import TASKS, Task
from etab.types import Record

STILLS = "only stills of ED and ES are here, no sequence"
Cut = Mapping[str, tuple[int, int]]


def clips_of(task: Task, source: Source) -> tuple[Clips, Cut]:
    """Every clip that the tasks of this family show, ordered by view, and [first, last) of each recording in them.

    Recordings of stills have none. Raises LayoutError where no recording has any.
    """
    alike = [t for t in TASKS.values() if t.dataset == task.dataset and t.family == task.family]
    views = {view for t in (task, *alike) for view in t.views}
    found: list[Clip] = []
    place: dict[str, tuple[int, int]] = {}
    for record in sorted((r for r in source.records() if r.view in views), key=lambda r: r.view):
        if not source.still(record):
            n = source.n_frames(record)
            mine: list[Clip] = [
                (record, tuple(map(int, _sampling(task).clip(n, s))))
                for s in starts(task, source, record)
            ]
            place[record.id] = (len(found), len(found) + len(mine))
            found += mine
    if not found:
        raise LayoutError(
            f"{source.root} gives not one clip for {task.code}: {STILLS}. Restore the sequences, or run "
            f"the task on the ED and ES frames, b0-{task.code[3:]}."
        )
    return Clips(tuple(found), task.family), place


def starts(task: Task, source: Source, record: Record) -> list[int]:
    """Where the clips of a recording begin, by the task's ``inputs``.

    Raises IncompatibleError for inputs that are not clips.
    """
    sampling, n = _sampling(task), source.n_frames(record)
    if task.inputs == "clip":
        return [sampling.middle(n)]
    if task.inputs == "clips":
        return sampling.starts(n)
    if task.inputs == "beats":
        phases = source.phases(record)
        fps = record.fps or source.card.fps
        return sampling.around(
            n, beats.systoles(source.frames(record), fps, phases[1] if phases else None).tolist()
        )
    raise IncompatibleError(
        f"{task.code}: its inputs are {task.inputs!r}; of clips there are clip, clips and beats."
    )


def _sampling(task: Task) -> Sampling:
    if task.clip is None:
        raise IncompatibleError(
            f"{task.code} does not say how its clips are cut; give its row a Sampling."
        )
    return task.clip


def clip_rows(task: Task, source: Source, clips: Clips, place: Cut) -> Rows:
    """Build the rows of a task on clips; raises LayoutError when the data hold none at all."""
    target = source.card.target(task.target)
    kept: list[tuple[int, Record, object]] = []
    missing: list[tuple[str, str]] = []
    for record in sorted(
        (r for r in source.records() if r.view in task.views), key=lambda r: r.view
    ):
        answers = [a for a in source.answers(record, target) if a.at is None]
        if record.id in place and answers:
            kept += [(i, record, answers[0].value) for i in range(*place[record.id])]
        else:
            missing.append(
                (record.id, STILLS if record.id not in place else f"no {task.target} is given")
            )
    if not kept:
        raise LayoutError(
            f"{source.root} gives not one row for {task.code} ({task.target}, {', '.join(task.views)}): "
            f"{missing[0][1] if missing else 'no recording of that view'}. Run `etab data check {source.card.name}`."
        )
    records = tuple(r.id for _, r, _ in kept)
    patients = tuple(r.patient for _, r, _ in kept)
    items = _items([i for i, _, _ in kept], clips)
    return Rows(
        items=items,
        patients=np.array(patients),
        parts=np.array([r.split for _, r, _ in kept]),
        frames=np.array([[i] for i, _, _ in kept]),
        answers=stack(target.kind, [v for _, _, v in kept]),
        spacing=(None,) * len(kept),
        missing=tuple(missing),
        records=records,
        units={"": items, "recording": records, "patient": patients}[task.unit],
    )


def _items(numbers: Sequence[int], clips: Clips) -> tuple[str, ...]:
    """Name rows by recording, and first and last frame of the clip."""
    shown = (clips.clips[i] for i in numbers)
    return tuple(f"{record.id}#{at[0]}-{at[-1]}" for record, at in shown)
