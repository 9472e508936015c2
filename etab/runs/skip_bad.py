"""Going on without the recordings that cannot be read: which they are, and how many patients a score then lacks.

What a run would read of each recording is read once before anything else, in the way the run reads it: answers, the
frames that tasks show (every frame where a task shows clips), the whole sound. A recording that fails in any of this
is left out of every task of the data set, so that all of them are of the same data and one digest names these.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from etab.datasets.base import Fault, SoundSource, Source
from etab.errors import CorruptFileError, EtabError, LayoutError, MissingPackageError, StorageError
from etab.features.frames import record_rows, shown_frames
from etab.tasks.base import Task
from etab.tasks.menu import TASKS
from etab.tasks.protocols import parse
from etab.types import Record

_STILLS = frozenset({"frame", "ED", "ED+ES", "answer"})


def sift(source: Source) -> Source:
    """Leave the recordings that cannot be read out of a source; ``source.faults`` then lists them.

    Raises CorruptFileError where not one is left, and what concerns all recordings (a table of labels that cannot be
    read, a folder of another layout) as without it.
    """
    records = source.lenient().records()
    found = [_fault(source, record) for record in records]
    source.leave_out([fault for fault in found if fault is not None])
    faults = source.faults or []
    if not source.records():
        first = faults[0].reason if faults else "the folder lists none"
        raise CorruptFileError(
            f"{source.root}: not one of {len(faults)} recordings of {source.card.name} can be read. The first: {first}"
        )
    return source


def _fault(source: Source, record: Record) -> Fault | None:
    """What is wrong with a recording; None for one that reads."""
    try:
        _read(source, record)
    except (MissingPackageError, StorageError):
        raise
    except (EtabError, OSError) as error:
        return Fault(record.id, str(error), record.patient, record.view, record.split)
    return None


def _read(source: Source, record: Record) -> None:
    """Read what a run reads of a recording; raises what is wrong with it."""
    for name in record.files.values():
        if (source.root / name).is_dir():
            raise LayoutError(f"{source.root / name} is a folder; wanted a file. Restore it.")
    tasks = {(t.target, t.inputs): t for t in TASKS.values() if t.dataset == source.card.name}
    for task in tasks.values():
        if task.inputs in _STILLS:
            record_rows(task, source, record)
        else:
            source.answers(record, source.card.target(task.target))
    if isinstance(source, SoundSource):
        source.wave(record)
        return
    if not tasks or (
        any(t.inputs not in _STILLS for t in tasks.values()) and not source.still(record)
    ):
        source.frames(record)
    for at in shown_frames(source, record):
        if not source.frames(record, [at]).size:
            raise CorruptFileError(f"{record.id}: frame {at} has no pixels. Restore its file.")
    source.spacing(record)


def left_out(
    task: Task, faults: Sequence[Fault], patients: Iterable[str], *, protocol: str
) -> dict[str, Any]:
    """What a result says of the recordings that were left out: see ``Result.bad``.

    Args:
        task: The task; recordings of other views are no loss to it.
        faults: The recordings that were left out.
        patients: The test patients of the result.
        protocol: Name of the protocol. Where it tests the authors' test part alone, with all training patients or
            few, frozen or fine-tuned, a recording of another part is no loss. A recording whose view or part is
            not known counts as lost.
    """
    if not faults:
        return {}
    official = parse(protocol).sort == "official"
    there = set(patients)
    mine = [
        f
        for f in faults
        if f.view in ("", *task.views) and (not official or f.split in ("", "test"))
    ]
    hurt = {f.patient for f in mine if f.patient}
    lost = sorted(hurt - there)
    return {
        "recordings": [[f.id, f.reason] for f in faults],
        "lost": lost,
        "partly": sorted(hurt & there),
        "patients": len(there) + len(lost),
    }


def lists_leniently(source: Source) -> bool:
    """Whether a list that cannot be made as it is could be made without some recordings."""
    try:
        source.records()
    except EtabError:
        try:
            return bool(type(source)(source.root).lenient().records())
        except EtabError:
            return False
    return False
