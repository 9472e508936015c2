"""Cells whose process has ended: which they are, how it ended, and their records."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from etab.runs.data import Data
from etab.runs.execute import claim_path, facts_of_cell, features_claim, finished
from etab.runs.failed_cells import record_failure
from etab.runs.run import Run, Settings
from etab.storage.claims import is_abandoned
from etab.storage.machine import signal_name


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


def record_killed(group: Sequence[Run], settings: Settings, data: Data, words: str) -> list[Run]:
    """Record the cells that a process was at work on when it ended.

    Args:
        group: The cells of the process.
        settings: How the plan is run.
        data: The data of the plan.
        words: Why the process ended, and what to do next.

    Returns:
        The cell whose claim the worker left; every unfinished cell where it left none, because
        features were computed for all of them.
    """
    unfinished = [run for run in group if finished(run, settings, data) is None]
    at_work = [run for run in unfinished if is_abandoned(claim_path(run, settings))]
    killed = at_work or unfinished
    for run in killed:
        facts = facts_of_cell(run, settings, data)
        record_failure(run, settings, facts, "killed", words)
    return killed


def how_it_ended(code: int) -> str:
    """Say how a worker process ended, and what to do next.

    Args:
        code: Its exit code; the number of the signal that ended it, times -1, as multiprocessing
            gives it.

    Returns:
        Sentences that go on from the name of a backbone.

    Example:
        >>> print(how_it_ended(-11).partition(". ")[0])
        its worker process crashed (SIGSEGV) in code of the backbone or of a library
    """
    saved = "Its finished cells are saved."
    if code == -signal.SIGKILL:
        return (
            "its worker process was ended by the system, most often because memory ran out. "
            f"{saved} Run the same command with --workers 1 --retry-failed, on a machine with more "
            "memory."
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
