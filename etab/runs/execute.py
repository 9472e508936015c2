"""Running a plan: features first, then every cell that needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

from etab.backbones.base import BackboneCard
from etab.backbones.identity import difference
from etab.errors import ResultError, UndefinedError
from etab.features.base import Embedding, input_of
from etab.features.recordings import layered
from etab.features.store import FrameFeatures
from etab.results import Result
from etab.runs import cross
from etab.runs.cell import _settings_of, compute, resolve_precision
from etab.runs.data import data_digest, keys_of, source_of
from etab.runs.run import Failed, Progress, Run, Settings
from etab.storage.machine import limit_threads, require_device
from etab.storage.memory import give_back
from etab.tasks.menu import TASKS


def finished(run: Run, settings: Settings) -> Result | None:
    """The saved result of this cell; None when it has to be run.

    Raises ResultError, before any work is done, when a result is there that would not come out today: data, versions,
    precision or anchors differ. Results are never overwritten.
    """
    path = Result.path_of(
        settings.results,
        run.row.dataset,
        run.task,
        run.backbone,
        run.protocol_name,
        run.seed,
        run.head_name,
    )
    if not path.exists():
        return None
    found = Result.load(path)
    there: dict[str, Any] = {
        **found.settings,
        "data": found.data_digest,
        "task version": found.task_version,
        "anchors": [found.anchor_low, found.anchor_high],
    }
    now: dict[str, Any] = {
        **_settings_of(run, resolve_precision(run, settings), settings),
        "task version": run.row.version,
        "data": data_digest(run.row.dataset, *settings.where),
        "anchors": [run.row.low, run.row.high],
    }
    differ = [name for name, value in now.items() if there.get(name) != value]
    if differ:
        raise ResultError(
            f"{path} was made under other conditions: {', '.join(differ)} differ. Results are never overwritten: move the "
            "old files away, or choose another results folder."
        )
    try:
        reason = difference(run.backbone_card, found.weights_sha256)
    except Exception:
        # The backbone cannot be loaded, so nothing tells whether it is the same. Running the cell
        # reports why, and ends this backbone alone.
        return None
    if reason:
        raise ResultError(f"{path} is not served again: {reason}")
    return found


def require_ready(runs: Sequence[Run], settings: Settings) -> None:
    """Raise what is wrong for all cells of a plan, before any work starts.

    Args:
        runs: The plan.
        settings: How it is to be run.

    Raises:
        UnsupportedOptionError: If the device is absent, or a backbone cannot compute in the
            precision.
        DataNotFoundError: If the data of a task are not found; other errors of the data likewise.
    """
    require_device(settings.device)
    for run in runs:
        resolve_precision(run, settings)
    for dataset in {name for run in runs for name in run.row.datasets}:
        data_digest(dataset, *settings.where)


def execute(
    runs: Sequence[Run],
    settings: Settings,
    *,
    progress: Progress | None = None,
    failed: Failed | None = None,
) -> Iterator[Result]:
    """Run cells, one backbone after the other, saving each as it is done; finished ones are read and given as they are.

    A cell whose metric does not exist (a test part with one class only) is told to ``failed`` and the others go on;
    without ``failed`` it is raised.
    """
    require_device(settings.device)
    limit_threads()
    settings = settings.needing(code for run in runs for code in run.row.parts)
    groups: dict[tuple[str, str, str, str, bool], list[Run]] = {}
    for run in runs:
        shown = (
            run.row.dataset,
            run.backbone,
            run.row.family,
            TASKS[run.task].reader,
            layered(run.row, run.backbone_card),
        )
        groups.setdefault(shown, []).append(run)
    for group in groups.values():
        yield from _execute_group(group, settings, progress, failed)


def _execute_group(
    group: list[Run], settings: Settings, progress: Progress | None, failed: Failed | None
) -> Iterator[Result]:
    waiting = []
    for run in group:
        done = finished(run, settings)
        if done is None:
            waiting.append(run)
        else:
            yield done
    if not waiting:
        return
    task, card = waiting[0].row, waiting[0].backbone_card
    report = (lambda done, total: progress(card.name, done, total)) if progress else None
    parts = [_embedded(code, card, settings, report) for code in task.parts]
    embedded = cross.joined_features(parts) if task.fit_on else parts[0]
    for _, alike in groupby(sorted(waiting, key=_order), key=_shared_by):
        memo: dict[Any, Any] = {}
        for run in alike:
            try:
                result, predictions = compute(run, embedded, settings, memo)
            except UndefinedError as error:
                if failed is None:
                    raise
                failed(run, error)
                continue
            result.save(settings.results, predictions)
            yield result
        del memo
        give_back()


def _embedded(
    code: str, card: BackboneCard, settings: Settings, report: Callable[[int, int], None] | None
) -> FrameFeatures:
    """Features of everything that the family of this row of the menu shows: annotated frames, clips, or windows."""
    task = TASKS[code]
    source = source_of(task.dataset, *settings.where)
    how = Embedding(
        cache=settings.cache,
        device=settings.device,
        precision=settings.precision,
        batch_size=settings.batch_size,
        progress=report,
        data_digest=data_digest(task.dataset, *settings.where),
    )
    keys = keys_of(task, *settings.where)
    return input_of(task).embed(task, source, keys, card, how)


def _shared_by(run: Run) -> tuple[Any, ...]:
    """Cells with the same rows stand together, so that what no label enters is computed once and dropped."""
    return (run.row.inputs, run.row.views)


def _order(run: Run) -> tuple[Any, ...]:
    """Within these, cells with the same splits stand together."""
    return (*_shared_by(run), run.protocol_name, run.seed)
