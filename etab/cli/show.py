"""Output to a terminal: tables, progress bars, the board. Everything goes through rich."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
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

from etab.cli.words import say

if TYPE_CHECKING:
    from etab.cli.doctor import SystemFinding
    from etab.leaderboard.board import Board
    from etab.results import Result
    from etab.runs.events import Event


def table(
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    brief: Sequence[int] = (),
    wide: bool = False,
) -> None:
    """Print a table.

    A terminal gets a table of the columns that fit; where not even ``brief`` fits, it gets a
    paragraph for each row. Names in the first column always stay on one line, so that they can be
    copied. Anything but a terminal (a file, ``grep``) gets one line for each row.

    Args:
        title: Title of the table.
        header: Names of the columns.
        rows: Cells of each row.
        brief: Indexes of the columns that a narrow terminal shows; empty for all of them.
        wide: Whether to print one line for each row in a terminal, too.
    """
    from etab.storage.text import printable

    title = _shortened(printable(title))
    rows = [[_shortened(printable(cell)) for cell in row] for row in rows]
    console = Console()
    if wide or not console.is_terminal:
        _lines(title, header, rows)
        return
    for columns in (range(len(header)), brief):
        names = [header[column] for column in columns]
        cells = [[row[column] for column in columns] for row in rows]
        room = console.width - _BORDER * len(names) - 1
        widths = _widths(names, cells, room) if names else None
        if widths is not None:
            _columns(console, title, names, cells, widths)
            return
    _paragraphs(console, title, header, rows)


def _shortened(text: str) -> str:
    """A text that a terminal can show: a name of thousands of letters would fill it."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _columns(
    console: Console,
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
) -> None:
    """Print a table with columns of these widths."""
    out = Table(title=escape(title), header_style="bold")
    for name, width in zip(header, widths, strict=True):
        out.add_column(name, width=width)
    for row in rows:
        out.add_row(*[Text(cell) for cell in row])
    console.print(out)


def _lines(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print one line for each row, with two spaces between columns."""
    say(title)
    cells = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        say("  ".join(padded).rstrip())


_BORDER = 3  # a line and a space on each side of a cell
_LONGEST = 300  # letters of a cell


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


def board(ranking: Board) -> None:
    """Print a leaderboard, with its notes at the width of the terminal."""
    from etab import datasets
    from etab.leaderboard import terminal

    console = Console()
    notes = None
    for out in terminal.board_tables(ranking, console.width):
        notes = out.caption
        out.caption = None
        console.print(out)
    if notes is not None:
        console.print(notes)
    if ranking.beside:
        console.print(terminal.beside_table(ranking, datasets.cards()))


def cell_table(results: Sequence[Result], which: str = "") -> None:
    """Print the value and interval of each cell.

    Args:
        results: The cells.
        which: Words after the title that say which cells these are.
    """
    from etab import datasets
    from etab.leaderboard.plain import CELL_HEADER, cell_rows, table_title

    title = f"{table_title(results)}: {which}" if which else table_title(results)
    table(title, CELL_HEADER, cell_rows(results, datasets.cards()), brief=(0, 1, 2, 3, 4))


def noted_cells(results: Sequence[Result]) -> None:
    """Print cells as ``cell_table`` does, and what their reader should know.

    Boards have notes of their own. The notes of plain cells go to the standard error, so that a pipe
    gets the lines of the table alone.

    Args:
        results: The cells.
    """
    from etab.leaderboard.notes import incomplete, notes_of_results, supplied_vectors

    cell_table(results)
    for note in (*incomplete(results), *supplied_vectors(results), *notes_of_results(results)):
        say(f"- {note}", error=True)


def findings(found: Sequence[SystemFinding]) -> None:
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
            # On one line, so that a command can be copied.
            step = f"[bold]{escape(f.name)}[/]: {escape(f.next_step)}"
            console.print(step, highlight=False, soft_wrap=True)


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
def late_bar(words: str) -> Iterator[Callable[[int, int], None]]:
    """Show one bar from the first report on; work that reports nothing shows none."""
    reporters: list[Callable[[int, int], None]] = []
    with ExitStack() as shown:

        def report(done: int, total: int) -> None:
            if not reporters:
                reporters.append(shown.enter_context(bar(words)))
            reporters[0](done, total)

        yield report


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
    from etab.storage.text import printable

    name = escape(_shortened(printable(event.backbone)))
    if event.kind == "frames":
        if event.backbone not in lines:
            lines[event.backbone] = progress.add_task(f"{name} frames", total=event.total)
        progress.update(lines[event.backbone], completed=event.done)
        if event.done >= event.total:
            progress.remove_task(lines.pop(event.backbone))
    elif event.kind == "cell":
        progress.advance(cells)
    else:
        progress.console.print(f"[red]{name}[/] failed")
        progress.advance(cells, event.runs)
