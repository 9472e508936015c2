"""Cells whose process has ended: which they are, how it ended, and their records."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from etab.features.entries import remove_dead_parts
from etab.runs.data import Data
from etab.runs.execute import claim_path, facts_of_cell, features_claim, finished
from etab.runs.failed_cells import record_failure
from etab.runs.run import Run, Settings
from etab.runs.run_log import write_failed_cell
from etab.storage.claims import Holder, is_abandoned, read_claim, remove_abandoned
from etab.storage.machine import signal_name
from etab.storage.watchdog import forget_hang, remove_empty_notes, where_it_hung

_MORE_MEMORY = (
    "Run the same command with --workers 1 --retry-failed, on a machine with more memory."
)


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended that did not come to its end.

    Attributes:
        kind: The kind of the failure, as ``FailedCell`` names it.
        words: Why, and what to do next; goes on from the name of a backbone.
    """

    kind: str
    words: str


def left_at_work(groups: Sequence[list[Run]], settings: Settings) -> list[list[Run]]:
    """Choose the groups of cells that ended processes were at work on.

    Args:
        groups: Groups that are not finished.
        settings: How the plan is run.

    Returns:
        The groups whose claims an ended process has left; all of them where it left none.
    """
    at_work = [
        group
        for group in groups
        if any(
            is_abandoned(path)
            for run in group
            for path in (claim_path(run, settings), features_claim(run, settings))
        )
    ]
    return at_work or list(groups)


def record_killed(
    group: Sequence[Run], settings: Settings, data: Data, end: End
) -> tuple[list[Run], str]:
    """Record the cells that a process was at work on when it ended.

    Args:
        group: The cells of the process.
        settings: How the plan is run.
        data: The data of the plan.
        end: Why the process ended, as far as its exit shows.

    Returns:
        The cell whose claim the worker left; every unfinished cell where it left none, because
        features were computed for all of them. And why it ended, which a process without progress
        has noted itself.
    """
    unfinished = [run for run in group if finished(run, settings, data) is None]
    at_work = [run for run in unfinished if is_abandoned(claim_path(run, settings))]
    killed = at_work or unfinished
    end = hung(killed, settings) or end
    for run in killed:
        record_failure(run, settings, facts_of_cell(run, settings, data), end.kind, end.words)
        write_failed_cell(settings, run, end.words, next(iter(_holders([run], settings)), None))
    for holder in _holders(killed, settings):
        forget_hang(settings.results, holder)
    remove_empty_notes(settings.results)
    remove_abandoned(_claims(killed, settings), pause=lambda _: None)
    if settings.cache is not None:
        remove_dead_parts(settings.cache)
    return killed, end.words


def hung(group: Sequence[Run], settings: Settings) -> End | None:
    """Say that a process made no progress on one of some cells, and where it was.

    Args:
        group: The cells.
        settings: How the plan is run.

    Returns:
        How it ended; None if it was not ended for that.
    """
    if not settings.timeout:
        return None
    for holder in _holders(group, settings):
        where = where_it_hung(settings.results, holder)
        if where is not None:
            return End(
                "timeout",
                f"its process made no progress for {settings.timeout:g} s (--timeout) and was "
                f"ended; it was in {where}. Its finished cells are saved. Run the same command "
                "with --retry-failed and a longer --timeout, correct the code, or leave it out.",
            )
    return None


def _holders(group: Sequence[Run], settings: Settings) -> list[Holder]:
    """The processes that hold, or have left, a claim of some cells or of their features."""
    holders = [read_claim(path) for path in _claims(group, settings)]
    return [holder for holder in holders if holder is not None]


def _claims(group: Sequence[Run], settings: Settings) -> list[Path]:
    """The claims of some cells and of their features."""
    of_features = dict.fromkeys(features_claim(run, settings) for run in group)
    return [*(claim_path(run, settings) for run in group), *of_features]


def how_it_ended(code: int, *, memory_ran_out: bool = False) -> End:
    """Say how a worker process ended, and what to do next.

    Args:
        code: Its exit code; the number of the signal that ended it, times -1, as multiprocessing
            gives it.
        memory_ran_out: Whether the system has counted, meanwhile, a process that it ended because
            memory ran out.

    Returns:
        The kind, and sentences that go on from the name of a backbone.

    Example:
        >>> print(how_it_ended(-11).words.partition(". ")[0])
        its worker process crashed (SIGSEGV) in code of the backbone or of a library
        >>> how_it_ended(-9, memory_ran_out=True).kind
        'memory'
    """
    if code == -signal.SIGKILL and memory_ran_out:
        return End(
            "memory",
            "its worker process was ended by the system because memory ran out. Its finished cells "
            f"are saved. {_MORE_MEMORY}",
        )
    return End("killed", _words_of(code))


def _words_of(code: int) -> str:
    saved = "Its finished cells are saved."
    if code == -signal.SIGKILL:
        return (
            "its worker process was ended by the system, most often because memory ran out. "
            f"{saved} {_MORE_MEMORY}"
        )
    again = "Correct it and run the same command with --retry-failed, or leave it out."
    if code == -signal.SIGTERM:
        return (
            f"its worker process was asked to stop (SIGTERM), twice. {saved} Run the same command "
            "with --retry-failed."
        )
    if code < 0:
        return (
            f"its worker process crashed ({signal_name(-code)}) in code of the backbone or of a "
            f"library. {saved} {again}"
        )
    return (
        f"its worker process ended itself with exit status {code}, as os._exit does. {saved} "
        f"{again}"
    )
