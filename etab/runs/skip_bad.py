"""Going on without the recordings that cannot be read: which they are, and how many patients a
score then lacks.

What the tasks of a run would read of each recording is read once before anything else, in the way
the run reads it: answers, the frames that tasks show (every frame where a task shows clips), the
whole sound. A recording that fails in any of this is left out of every task of the run, so that all
of them are of the same data and one digest names these. Files that no task of the run needs are not
judged: an Info file without EF is not a fault of a run on masks alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from etab.datasets.base import Fault, SoundSource, Source
from etab.datasets.integrity.alike import Alike
from etab.errors import CorruptFileError, EtabError, LayoutError, MissingPackageError, StorageError
from etab.features.frames import record_rows, shown_frames
from etab.tasks.base import Task
from etab.tasks.menu import TASKS
from etab.tasks.protocols import parse
from etab.types import Record

_STILLS = frozenset({"frame", "ED", "ED+ES", "answer"})


def sift(source: Source, tasks: Sequence[Task] | None = None) -> Source:
    """Leave the recordings that cannot be read out of a source; ``source.faults`` then lists them.

    Args:
        source: A source whose recordings were not listed yet.
        tasks: The tasks whose files are needed; None stands for every task of the data set.

    Raises: CorruptFileError: Not one recording is left; and what concerns all recordings, as
        without ``sift``.
    """
    if tasks is None:
        tasks = [task for task in TASKS.values() if task.dataset == source.card.name]
    source.lenient()
    faults: list[Fault] = []
    readable: list[Record] = []
    for record in source.records():
        fault = _fault(source, record, tasks)
        if fault is None:
            readable.append(record)
        elif _is_needed(source, record, tasks):
            faults.append(fault)
    source.keep(readable)
    source.leave_out(faults)
    if not source.records():
        known = source.faults or []
        first = known[0].reason if known else "the folder lists none"
        raise CorruptFileError(
            f"{source.root}: not one of {len(known)} recordings of {source.card.name} can be read. "
            f"The first: {first}"
        )
    return source


def leave_copies_out(source: Source, alike: Sequence[Alike]) -> None:
    """Leave out both recordings of each pair of copies; ``source.faults`` then lists them.

    Nobody but the owner of the data knows which of the two patients the recording is of.

    Args:
        source: The data after ``sift``.
        alike: Its recordings of different patients that are alike; equal ones are left out.
    """
    copy_of: dict[str, str] = {}
    for pair in alike:
        if pair.exact:
            copy_of.setdefault(pair.first, pair.second)
            copy_of.setdefault(pair.second, pair.first)
    records = {record.id: record for record in source.records()}
    faults: list[Fault] = []
    for name, other in copy_of.items():
        record = records[name]
        owner = records[other].patient
        reason = f"{name} of patient {record.patient} equals {other} of patient {owner}."
        faults.append(Fault(name, reason, record.patient, record.view, record.split))
    source.leave_out(faults)


def leave_unneeded(source: Source, tasks: Sequence[Task]) -> None:
    """Leave out recordings with a missing file whose view no task uses.

    Args:
        source: The data, from which the recordings are removed.
        tasks: The tasks that will be computed.
    """
    needed: list[Record] = []
    for record in source.records():
        is_whole = all((source.root / name).exists() for name in record.files.values())
        if is_whole or _is_needed(source, record, tasks):
            needed.append(record)
    if needed:
        source.keep(needed)


def _is_needed(source: Source, record: Record, tasks: Sequence[Task]) -> bool:
    """Whether any of the tasks shows recordings of this view."""
    if isinstance(source, SoundSource) or not tasks:
        return True
    return any(record.view in task.views for task in tasks)


def _fault(source: Source, record: Record, tasks: Sequence[Task]) -> Fault | None:
    """The error of a recording; None for one that can be read."""
    try:
        _read(source, record, tasks)
    except (MissingPackageError, StorageError):
        raise
    except (EtabError, OSError) as error:
        return Fault(record.id, str(error), record.patient, record.view, record.split)
    return None


def _read(source: Source, record: Record, tasks: Sequence[Task]) -> None:
    """Read what the tasks read of a recording; raises what is wrong with it."""
    for name in record.files.values():
        if (source.root / name).is_dir():
            raise LayoutError(f"{source.root / name} is a folder; wanted a file. Restore it.")
    is_sound = isinstance(source, SoundSource)
    relevant = [task for task in tasks if is_sound or record.view in task.views]
    for task in {(task.target, task.inputs): task for task in relevant}.values():
        if task.one_view.inputs in _STILLS:
            record_rows(task.one_view, source, record)
        else:
            source.answers(record, source.card.target(task.target))
    if isinstance(source, SoundSource):
        samples, _ = source.wave(record)
        if len(samples) == 0 or samples.min() == samples.max():
            raise CorruptFileError(
                f"{record.id} is blank: every sample in it is the same. Leave it out, or restore "
                "its file."
            )
        return
    shows_clips = any(task.one_view.inputs not in _STILLS for task in relevant)
    if not tasks or (shows_clips and not source.still(record)):
        source.frames(record)
    for position in shown_frames(source, record):
        if not source.frames(record, [position]).size:
            raise CorruptFileError(
                f"{record.id}: frame {position} has no pixels. Restore its file."
            )
    source.spacing(record)


def left_out(
    task: Task, faults: Sequence[Fault], patients: Iterable[str], *, protocol: str
) -> dict[str, Any]:
    """The record of the recordings that were left out: see ``Result.bad``.

    Args:
        task: The task; recordings of other views are no loss to it.
        faults: The recordings that were left out.
        patients: The test patients of the result.
        protocol: Name of the protocol. Where it tests the authors' test part alone, with all
            training patients or few, frozen or fine-tuned, a recording of another part is no loss.
            A recording whose view or part is not known counts as lost.
    """
    if not faults:
        return {}
    official = parse(protocol).sort == "official"
    scored = set(patients)
    relevant = [
        fault
        for fault in faults
        if fault.view in ("", *task.views) and (not official or fault.split in ("", "test"))
    ]
    affected = {fault.patient for fault in relevant if fault.patient}
    lost = sorted(affected - scored)
    return {
        "recordings": [[fault.id, fault.reason] for fault in faults],
        "lost": lost,
        "partly": sorted(affected & scored),
        "patients": len(scored) + len(lost),
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
