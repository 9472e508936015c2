"""A board as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from etab.leaderboard.board import VECTORS, Board, BoardRow, is_reference
from etab.leaderboard.summary import (
    BESIDE_HEADER,
    Cards,
    beside_rows,
    category_letters,
    category_mean,
    mean_words,
    part_mean,
    precise_words,
    rank_words,
    score_parts,
)
from etab.storage.text import printable
from etab.tasks.codes import CATEGORIES

# Wider than any board.
_WIDE = 10_000


def board_table(board: Board) -> Table:
    """Make the table of ranks and scores, with the notes below it.

    Args:
        board: The board.

    Returns:
        A table for ``rich``. The anchored mean of each category is in a column named by its
        letter. Names of backbones are shown as plain text, never read as markup.
    """
    return _table(board, [*_scores(board), *_means(board)], last=True)


def board_tables(board: Board, width: int) -> list[Table]:
    """Make the tables of a board for a terminal.

    Args:
        board: The board.
        width: Width of the terminal in characters.

    Returns:
        One table where all columns fit. Otherwise a table of scores and one of the means of
        categories, so that no name is broken. The notes are below the last one.
    """
    whole = board_table(board)
    console = Console(width=_WIDE)
    if Measurement.get(console, console.options, whole).maximum <= width:
        return [whole]
    return [
        _table(board, _scores(board), last=False),
        _table(board, _means(board), last=True),
    ]


def _table(board: Board, columns: Sequence[str], *, last: bool) -> Table:
    """A table of some columns; the last one of a board has the notes."""
    means = "; ".join(f"{letter}: {CATEGORIES[letter]}" for letter in category_letters(board))
    notes = (f"Means of categories, anchored: {means}.", *board.notes)
    table = Table(
        title=Text(printable(board.title), style="bold red" if board.phantom else "bold"),
        caption=Text("\n".join(f"- {printable(note)}" for note in notes)) if last else None,
        box=box.SIMPLE_HEAD,
        header_style="bold",
        caption_justify="left",
        padding=0,
    )
    table.add_column("rank", no_wrap=True)
    table.add_column("backbone", overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    names = [*_scores(board), *_means(board)]
    for row in board.rows:
        style = "dim" if is_reference(row.kind) else ""
        first, cells = _cells(row, board)
        cell_of = dict(zip(names, cells, strict=True))
        shown = [*first, *(cell_of[name] for name in columns)]
        table.add_row(*[Text(printable(cell)) for cell in shown], style=style)
    return table


def _scores(board: Board) -> list[str]:
    """Headers of the scores."""
    precise = ["etab-p"] if board.suite.precision_weights else []
    return ["ETAB", "95 % encoder", *precise, "2022"]


def _means(board: Board) -> list[str]:
    """Headers of the means of parts and categories."""
    return [*score_parts(board), *category_letters(board)]


def _cells(row: BoardRow, board: Board) -> tuple[list[str], list[str]]:
    """Rank and name of a row, and its scores and means."""
    if row.ranked:
        interval = f"{row.encoder_low:.3f} to {row.encoder_high:.3f}"
        scores = [f"{row.etab:.3f}", interval, precise_words(row), f"{row.etab2022:.3f}"]
    else:
        reason = f"{len(row.missing)} missing" if row.missing else "seen"
        scores = ["-", reason, "-", "-"]
    if not board.suite.precision_weights:
        del scores[2]
    means = [
        *[mean_words(part_mean(row, part, board)) for part in score_parts(board)],
        *[mean_words(category_mean(row, letter, board)) for letter in category_letters(board)],
    ]
    return [rank_words(row), _name(row)], [*scores, *means]


def _name(row: BoardRow) -> str:
    """The backbone of a row, marked where its vectors were made elsewhere."""
    return f"{row.backbone} ({VECTORS})" if row.kind == VECTORS else row.backbone


def beside_table(board: Board, cards: Cards) -> Table:
    """Make the table of the results that are not part of the score.

    Args:
        board: The board.
        cards: Cards by the name of the dataset, as ``etab.datasets.cards()`` gives them.

    Returns:
        A table for ``rich``.
    """
    table = Table(
        title="Beside the score: no part of it", box=box.SIMPLE_HEAD, header_style="bold", padding=0
    )
    for name in BESIDE_HEADER:
        table.add_column(name, overflow="fold")
    for row in beside_rows(board, cards):
        table.add_row(*[Text(printable(cell)) for cell in row])
    return table
