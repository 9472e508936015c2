"""The command ``etab rescore``: records computed anew from their stored predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etab.cli.words import say, say_left_out
from etab.storage.text import counted

if TYPE_CHECKING:
    from etab.runs.rescore import Moved, Rescored


def rescore_command(
    results: Annotated[Path, typer.Argument(help="Folder of results.")] = Path("results"),
    check: Annotated[
        bool, typer.Option("--check", help="Compare only; exit status 1 if a number moved.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--every", help="Show every number that moved, not only scores.")
    ] = False,
) -> None:
    """Compute every metric, fold value and interval again from stored predictions.

    No data, features or networks are needed. Records of which a number moved are written anew,
    with the version that their task has now, and a table shows what moved.
    """
    from etab.cli import show
    from etab.errors import DataNotFoundError
    from etab.runs.rescore import rescore
    from etab.tasks.own import use_results

    left_out: list[str] = []
    # Nothing is written into a folder that is partly damaged.
    report = left_out.append if check else None
    use_results(results, report)
    records = rescore(results, check=check, left_out=report)
    for reason in left_out:
        say_left_out(reason)
    if not records and not left_out:
        raise DataNotFoundError(f"{results} holds no result files: there is nothing to score.")
    moved = [number for record in records for number in _shown(record, every)]
    if moved:
        header = ("task", "backbone", "protocol", "number", "before", "after", "change")
        show.table("numbers that moved", header, [_line(number) for number in moved])
    changed = [record for record in records if record.moved]
    done = "differ from" if check else "were written anew from"
    typer.echo(f"{len(changed)} of {len(records):,} records {done} their predictions.")
    if left_out:
        say(f"{counted(len(left_out), 'file')} could not be computed.", error=True)
    raise typer.Exit(1 if check and (changed or left_out) else 0)


def _shown(record: Rescored, every: bool) -> list[Moved]:
    """The numbers of a record to show: its value and its metric of 2022, or all that moved."""
    from etab.tasks.menu import TASKS

    if every:
        return list(record.moved)
    scores = (record.result.metric, TASKS[record.result.task].metric_2022)
    return [number for number in record.moved if number.number in scores]


def _line(moved: Moved) -> tuple[str, ...]:
    change = ""
    if moved.before is not None and moved.after is not None:
        change = f"{moved.after - moved.before:+.4f}"
    numbers = ["" if n is None else f"{n:.4f}" for n in (moved.before, moved.after)]
    return (moved.task, moved.backbone, moved.protocol, moved.number, *numbers, change)
