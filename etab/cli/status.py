"""The command ``etab status``: what runs have finished, are at work on, and could not do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etab.cli.options import CacheOption
from etab.cli.words import say
from etab.storage.text import counted

if TYPE_CHECKING:
    from etab.results import Result


def status_command(
    results: Annotated[Path, typer.Argument(help="Folder of the result files.")] = Path("results"),
    log: Annotated[
        Path | None, typer.Option(help="The log file, if the runs were started with --log.")
    ] = None,
    cache: CacheOption = None,
) -> None:
    """Show the cells of a results folder: finished, at work now, and failed.

    A cell is finished where its table of predictions is the one its record was made from, as in
    `etab run`. The cache of the runs remembers tables that were read: name it where they named one,
    or every table is read. Call the command from another terminal while runs are at work. Each failed cell is
    listed with the command that tries it again.
    """
    from etab.errors import DataNotFoundError
    from etab.files import is_file
    from etab.runs.execute import CLAIMS
    from etab.runs.failed_cells import failed_cells
    from etab.runs.fit_claims import PREFIX
    from etab.storage.claims import STALE, read_claim

    if not results.exists():
        raise DataNotFoundError(f"There is no folder {results}; name the --results of a run.")
    if log is not None and not is_file(log):
        raise DataNotFoundError(
            f"There is no log {log}. Name the file that runs were given with --log, or leave it out."
        )
    n_finished, problems = _finished(results, cache)
    failed = failed_cells(results)
    at_work = []
    for path in sorted((results / CLAIMS).glob("*")):
        holder = read_claim(path)
        if holder is None or holder.is_dead() or path.name.startswith(PREFIX):
            continue
        quiet = _seconds_since(path)
        note = f", no sign of life for {quiet / 60:.0f} minutes" if quiet > STALE else ""
        if quiet < -STALE:
            note = f", whose clock is {-quiet / 60:.0f} minutes ahead"
        at_work.append(f"  {holder.work} (process {holder.pid} on {holder.host}{note})")
    say(
        f"{counted(n_finished, 'cell')} finished, {len(at_work)} at work, {len(failed)} failed in "
        f"{results}."
    )
    for line in at_work:
        say(line)
    _say_activity(results, log)
    for cell in failed:
        tried = "once" if cell.attempts == 1 else f"{cell.attempts} times"
        later = "is not tried again unless asked for" if cell.is_given_up else "is tried again"
        say(f"{cell.task} {cell.backbone} ({cell.kind}, tried {tried}, {later}): {cell.words}")
        say(f"  {cell.command or 'Run the command of its plan again with --retry-failed.'}")
    for problem in problems:
        say(problem)
    raise typer.Exit(1 if failed or problems else 0)


def _finished(results: Path, cache: Path | None) -> tuple[int, list[str]]:
    """Count the finished cells of a folder, and say what is wrong with the other records."""
    from etab.cli.cache import default_cache
    from etab.results.folder import each_result
    from etab.runs.run import Settings
    from etab.runs.whole_tables import kept_tables

    n_finished = 0
    problems: list[str] = []
    settings = Settings(results=results, cache=cache or default_cache())
    with kept_tables(settings, writes=False):
        for item in each_result(results):
            fault = item if isinstance(item, str) else _fault(item, results)
            if fault:
                problems.append(fault)
            else:
                n_finished += 1
    return n_finished, problems


def _fault(result: Result, results: Path) -> str:
    """Why a cell with a record is not finished; "" where it is."""
    from etab.errors import UnreadableResultError
    from etab.runs.whole_tables import table_fault

    try:
        return table_fault(result.path(results), result)
    except UnreadableResultError as error:
        return str(error)


def _say_activity(results: Path, log: Path | None) -> None:
    """Say what the logs of runs show about the last hour, if anything."""
    from etab.cli.cache import size_words
    from etab.runs.run_log import last_hour, read_lines

    activity = last_hour(read_lines(results, log))
    if activity.processes:
        say(
            f"In the last hour: {counted(activity.finished, 'cell')} finished and "
            f"{activity.failed} failed in {counted(activity.processes, 'process', 'processes')}; a "
            f"cell took {activity.seconds:.1f} s (median), a process at most "
            f"{size_words(activity.peak_memory)} of memory."
        )


def _seconds_since(path: Path) -> float:
    """Seconds since a claim was touched, by the clock of this machine; it is only shown."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0  # it was released just now
