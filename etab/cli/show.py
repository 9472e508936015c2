"""What a terminal shows: tables, progress bars, the board. Everything goes through rich."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from etab.cli.doctor import Finding
    from etab.leaderboard.board import Board
    from etab.runs.executors import Event


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, or a paragraph for each row where the terminal is too narrow for its words.

    Names in the first column always stay on one line, so that they can be copied.
    """
    console = Console()
    room = console.width - _BORDER * len(header) - 1
    widths = _widths(header, rows, room)
    if widths is None:
        _paragraphs(console, title, header, rows)
        return
    out = Table(title=title, header_style="bold")
    for name, width in zip(header, widths, strict=True):
        out.add_column(name, width=width)
    for row in rows:
        out.add_row(*row)
    console.print(out)


_BORDER = 3  # a line and a space on each side of a cell


def _widths(header: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """Share ``room`` characters among columns so that no word, and no name of the first one, is
    broken.

    Returns:
        A width for each column, or None where there is not enough room.
    """
    columns = [[name, *(row[place] for row in rows)] for place, name in enumerate(header)]
    whole = [max(len(cell) for cell in cells) for cells in columns]
    least = [max(len(word) for cell in cells for word in cell.split() or [""]) for cells in columns]
    least[0] = whole[0]
    spare = room - sum(least)
    if spare < 0:
        return None
    widths = list(least)
    for place, width in enumerate(whole):
        more = min(width - widths[place], spare // (len(whole) - place))
        widths[place] += more
        spare -= more
    return widths


def _paragraphs(
    console: Console, title: str, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Print each row as its name on a line of its own, with its other cells below it."""
    console.print(f"[bold]{escape(title)}[/]")
    for name, *cells in rows:
        console.print(Text(name, style="bold", no_wrap=True, overflow="ignore"), crop=False)
        facts = [f"{word}: {cell}" for word, cell in zip(header[1:], cells, strict=True) if cell]
        console.print(Padding(Text("; ".join(facts)), (0, 0, 0, 4)))


def board(found: Board) -> None:
    """Print a leaderboard."""
    from etab.leaderboard import terminal

    Console().print(terminal.board_table(found))
    if found.beside:
        Console().print(terminal.beside_table(found))


def findings(found: Sequence[Finding]) -> None:
    """Print the doctor's report and, under it, what to do next."""
    marks = {True: "[green]ok[/]", False: "[red]no[/]", None: "[dim]-[/]"}
    out = Table(title="etab doctor", header_style="bold")
    for name in ("", "what", "", "found"):
        out.add_column(name, overflow="fold")
    for f in found:
        out.add_row(f.topic, f.name, marks[f.ok], f.detail)
    console = Console()
    console.print(out)
    for f in found:
        if f.next_step:
            console.print(f"[bold]{f.name}[/]: {f.next_step}")


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=False)


@contextmanager
def bar(words: str) -> Iterator[Callable[[int, int], None]]:
    """Show one bar; the caller reports (done, total)."""
    with _progress() as progress:
        line = progress.add_task(words, total=None)
        yield lambda done, total: progress.update(line, completed=done, total=total)


@contextmanager
def watch(total: int) -> Iterator[Callable[[Event], None]]:
    """Show the bar of cells, and one of frames for each backbone at work."""
    lines: dict[str, TaskID] = {}
    with _progress() as progress:
        cells = progress.add_task("cells", total=total)

        def listen(event: Event) -> None:
            _show(progress, cells, lines, event)

        yield listen


def _show(progress: Progress, cells: TaskID, lines: dict[str, Any], event: Event) -> None:
    if event.kind == "frames":
        if event.backbone not in lines:
            lines[event.backbone] = progress.add_task(f"{event.backbone} frames", total=event.total)
        progress.update(lines[event.backbone], completed=event.done)
        if event.done >= event.total:
            progress.remove_task(lines.pop(event.backbone))
    elif event.kind == "cell":
        progress.advance(cells)
    else:
        progress.console.print(f"[red]{event.backbone}[/]: {event.error}")
        progress.advance(cells, event.runs)
