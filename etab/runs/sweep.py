"""Plans from names to boards: which backbones a word means, what is finished, the demo."""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from etab import __version__, backbones, datasets, phantom
from etab.errors import (
    DataNotFoundError,
    EtabWarning,
    StorageError,
    UnreadableResultError,
    UnsupportedOptionError,
)
from etab.leaderboard.board import Board
from etab.leaderboard.page import board_page
from etab.leaderboard.ranking import rank_folder
from etab.results import Result
from etab.runs.data import Data
from etab.runs.earlier_process import EarlierProcess
from etab.runs.events import Event
from etab.runs.execute import CLAIMS, failure_of, finished, require_ready
from etab.runs.executors import Executor, LocalWorkers
from etab.runs.record import brief
from etab.runs.run import Run, Settings, plan
from etab.runs.run_log import logged, require_log
from etab.runs.whole_tables import kept_tables
from etab.storage.atomic import require_writable, write_atomically
from etab.storage.claims import remove_abandoned
from etab.storage.litter import remove_temporary_files
from etab.storage.machine import require_device
from etab.storage.text import counted
from etab.storage.watchdog import remove_empty_notes
from etab.tasks.codes import BOARD_PROTOCOL
from etab.tasks.menu import TASKS
from etab.tasks.rows import undefined_note
from etab.training.distributed import launched

Watch = Callable[[int], AbstractContextManager[Callable[[Event], None]]]
Bar = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
DEMO_BACKBONES = ("efficientnet_lite0", "random/efficientnet_lite0", "image_stats", "pixel_pca")


@dataclass(frozen=True, slots=True)
class Done:
    """The outcome of a sweep.

    Attributes:
        skipped: Number of cells that were finished already.
        ran: The cells that were run, as ``etab.runs.record.brief`` makes them.
        failures: Backbone and reason of each cell that failed.
        failed: Number of cells that have no result now.
        before: The cells that were finished already, likewise.
    """

    skipped: int
    ran: tuple[Result, ...]
    failures: tuple[tuple[str, str], ...]
    failed: int = 0
    before: tuple[Result, ...] = ()

    def said(self) -> str:
        """Summarise the sweep in one line, and each failure in one more."""
        head = (
            f"{counted(len(self.ran), 'cell')} computed, {self.skipped} already finished, "
            f"{self.failed} failed."
        )
        undefined = [undefined_note(result.task, _pairs(result)) for result in self.ran]
        notes = [f"  {note}" for note in dict.fromkeys(undefined) if note]
        # Cells of one task and protocol with other heads fail for the same reason.
        failures = [
            f"  {name}: {why}" if count == 1 else f"  {name}, {count} cells: {why}"
            for (name, why), count in Counter(self.failures).items()
        ]
        return "\n".join([head, *failures, *notes])


def _pairs(result: Result) -> list[tuple[str, str]]:
    return [(name, reason) for name, reason in result.missing]


def backbone_names(words: Sequence[str], tasks: Sequence[str] = ()) -> list[str]:
    """Replace "all" by names: every named backbone and its random twin, then the controls.

    Backbones of pictures read every task. Backbones of sound are included where all tasks are
    tasks of sound.

    Args:
        words: Names of backbones, or "all" alone.
        tasks: Codes of the tasks.

    Returns:
        Names of backbones.
    """
    if list(words) != ["all"]:
        return list(words)
    only_sound = bool(tasks) and all(TASKS[code].modality == "sound" for code in tasks)
    cards, faults = backbones.cards(backbones.names(None if only_sound else "image"))
    for name, fault in faults.items():
        warnings.warn(f"{name} is left out of all backbones: {fault}", EtabWarning, stacklevel=2)
    learned = [c.name for c in cards if c.learned and not c.twin]
    return [*learned, *[f"random/{n}" for n in learned], *[c.name for c in cards if not c.learned]]


def sweep(
    runs: Sequence[Run],
    settings: Settings,
    *,
    workers: int,
    watch: Watch,
    retry_failed: bool = False,
    executor: Executor | None = None,
    earlier: EarlierProcess | None = None,
) -> Done:
    """Run the cells of a plan that are not finished.

    Args:
        runs: The plan.
        settings: How it is run.
        workers: Number of worker processes where no executor is given. 0 starts one for each core
            that this process may use, or one for each GPU.
        watch: Called with the number of cells to run; a context that gives the listener of events.
        retry_failed: Whether to try cells again that failed too often.
        executor: Where the cells are computed; None for processes of this machine.
        earlier: The process of the same command before this one, which was ended in the middle of
            it: the cells that ended it are recorded, and not tried again.

    Returns:
        What was run and what failed.

    Raises:
        EtabError: If data, device or options cannot be used; before any work starts.
    """
    if launched()[1] > 1:
        raise UnsupportedOptionError("torchrun is for `etab finetune`; `etab run` takes --workers.")
    executor = executor or LocalWorkers(workers)
    executor.require_ready(settings)
    if executor.is_here:
        require_device(settings.device)
    settings = settings.needing(code for run in runs for code in run.row.parts).absolute()
    data = Data(settings)
    require_ready(runs, settings, data, is_here=executor.is_here)
    with kept_tables(settings):
        waiting, before, failures = _divided(runs, settings, data, retry_failed)
    if earlier is not None:
        lost = dict(earlier.lost_cells(waiting, settings, data))
        failures += [(run.backbone, words) for run, words in lost.items()]
        waiting = [run for run in waiting if run not in lost]
    given_up = len(failures)
    _remove_dead_claims(settings.results)
    if not waiting:
        return Done(len(before), (), tuple(failures), given_up, tuple(before))
    require_writable(settings.results)
    require_log(settings)
    tell_read_only_cache(settings.cache)
    remove_temporary_files(settings.results)
    facts = {"executor": executor.name, "cells": len(waiting), "etab": __version__}
    with watch(len(waiting)) as listen, logged(settings, "run", **facts) as end:

        def collect(event: Event) -> None:
            if event.kind == "failed":
                failures.extend([(event.backbone, event.error)] * max(1, event.runs))
            listen(event)

        with _without_dead_claims(settings.results):
            saved = executor.run(waiting, settings, collect, data)
        ran = [cell for cell in saved if cell.path(settings.results).exists()]
        failures += _lost(saved, ran, settings.results)
        end["finished_cells"] = len(ran)
    failed = given_up + len(waiting) - len(ran)
    return Done(len(before), tuple(ran), tuple(failures), failed, tuple(before))


def _divided(
    runs: Sequence[Run], settings: Settings, data: Data, retry_failed: bool
) -> tuple[list[Run], list[Result], list[tuple[str, str]]]:
    """Divide a plan into cells to compute, finished ones, and those that cannot be computed.

    These have failed too often, or a file that is not a result lies in the place of theirs.
    """
    waiting: list[Run] = []
    before: list[Result] = []
    failures: list[tuple[str, str]] = []
    for run in runs:
        try:
            stored = finished(run, settings, data)
        except UnreadableResultError as error:
            failures.append((run.backbone, str(error)))
            continue
        if stored is not None:
            before.append(brief(stored))
            continue
        reason = "" if retry_failed else _given_up(run, settings, data)
        if reason:
            failures.append((run.backbone, reason))
        else:
            waiting.append(run)
    return waiting, before, failures


def tell_read_only_cache(cache: Path | None) -> None:
    """Warn of a cache that cannot be written; features that it holds already can be read.

    Args:
        cache: Folder of stored features; None for none.
    """
    if cache is None:
        return
    try:
        require_writable(cache)
    except StorageError as error:
        warnings.warn(
            f"{error} Cells fail whose features the cache does not hold yet; those that it holds "
            "are read.",
            EtabWarning,
            stacklevel=3,
        )


def _remove_dead_claims(results: Path) -> None:
    """Remove the claims of killed processes, some of which had just saved their cells."""
    with contextlib.suppress(OSError):  # the folder is read-only
        remove_abandoned([*(results / CLAIMS).glob("*")], pause=lambda _: None)
        remove_empty_notes(results)


@contextlib.contextmanager
def _without_dead_claims(results: Path) -> Iterator[None]:
    """Remove, after a run, the claims of workers that were too busy to do it when it was stopped.

    And those of other machines that were old when the run began, and were not touched meanwhile.
    """
    try:
        yield
    finally:
        _remove_dead_claims(results)


def _lost(saved: Sequence[Result], there: Sequence[Result], results: Path) -> list[tuple[str, str]]:
    """Name the backbones whose results were deleted while the run went on."""
    gone = Counter(cell.backbone for cell in saved)
    gone.subtract(cell.backbone for cell in there)
    return [
        (
            name,
            f"{counted(number, 'finished cell')} can no longer be found in {results}: files were "
            "deleted while this run went on. Run the same command again.",
        )
        for name, number in gone.items()
        if number
    ]


def _given_up(run: Run, settings: Settings, data: Data) -> str:
    """Say why a cell is not tried again; "" if it is tried."""
    record = failure_of(run, settings, data)
    if record is None or not record.is_given_up:
        return ""
    return (
        f"{run.task} ({run.protocol_name}): {record.words} It failed before and is not tried again "
        "without --retry-failed."
    )


@dataclass(frozen=True, slots=True)
class Demo:
    """The outcome of the demo."""

    board: Board
    page: Path


def demo(folder: Path, *, patients: int, seed: int, workers: int, watch: Watch, bar: Bar) -> Demo:
    """Write a phantom cohort, run the suite on it and write the page.

    The same seed gives the same result files.

    Args:
        folder: The folder to write to.
        patients: Number of patients of the cohort.
        seed: Seed of the cohort.
        workers: Number of processes.
        watch: Opens a display of the progress of the sweep.
        bar: Displays the progress of the cohort.
    """
    data = folder / "data"
    results = folder / "results"
    marker = data / f".patients-{patients}-seed-{seed}"
    if not marker.exists():
        with bar("phantom patients") as advance:
            phantom.write(data, patients=patients, seed=seed, progress=advance)
        marker.touch()
    settings = Settings(root=data / "camus", results=results, cache=folder / "cache")
    runs = plan("camus", list(DEMO_BACKBONES), protocols=(BOARD_PROTOCOL,), seed=seed)
    done = sweep(runs, settings, workers=workers, watch=watch)
    if done.failures:
        raise DataNotFoundError(done.said())
    board = rank_folder(results, "camus", protocol=BOARD_PROTOCOL, seed=seed)
    page = folder / "leaderboard.html"
    write_atomically(page, board_page(board, datasets.cards()))
    return Demo(board, page)
