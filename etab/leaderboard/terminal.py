"""A board as tables for a terminal."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from etab.leaderboard.board import PRETRAINED, VECTORS, Board, BoardRow
from etab.leaderboard.summary import (
    BESIDE_HEADER,
    beside_rows,
    category_letters,
    category_mean,
    mean_words,
    part_mean,
    precise_words,
    printable,
    rank_words,
    score_parts,
)
from etab.tasks.codes import CATEGORIES


def board_table(board: Board) -> Table:
    """Make the table of ranks and scores, with the notes below it.

    Args:
        board: The board.

    Returns:
        A table for ``rich``. The anchored mean of each category is in a column named by its
        letter. Names of backbones are shown as plain text, never read as markup.
    """
    means = "; ".join(f"{letter}: {CATEGORIES[letter]}" for letter in category_letters(board))
    notes = (f"Means of categories, anchored: {means}.", *board.notes)
    table = Table(
        title=Text(board.title, style="bold red" if board.phantom else "bold"),
        caption=Text("\n".join(f"- {note}" for note in notes)),
        box=box.SIMPLE_HEAD,
        header_style="bold",
        caption_justify="left",
        padding=0,
    )
    table.add_column("rank", no_wrap=True)
    table.add_column("backbone", overflow="fold")
    precise = ("etab-p",) if board.suite.precision_weights else ()
    for name in (
        "ETAB",
        "95 % encoder",
        *precise,
        "2022",
        *score_parts(board),
        *category_letters(board),
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for row in board.rows:
        style = "" if row.kind in (PRETRAINED, VECTORS) else "dim"
        table.add_row(*[Text(printable(cell)) for cell in _cells(row, board)], style=style)
    return table


def _cells(row: BoardRow, board: Board) -> list[str]:
    if row.ranked:
        interval = f"{row.encoder_low:.3f} to {row.encoder_high:.3f}"
        scores = [f"{row.etab:.3f}", interval, precise_words(row), f"{row.etab2022:.3f}"]
    else:
        reason = f"{len(row.missing)} missing" if row.missing else "seen"
        scores = ["-", reason, "-", "-"]
    if not board.suite.precision_weights:
        del scores[2]
    return [
        rank_words(row),
        _name(row),
        *scores,
        *[mean_words(part_mean(row, part, board)) for part in score_parts(board)],
        *[mean_words(category_mean(row, letter, board)) for letter in category_letters(board)],
    ]


def _name(row: BoardRow) -> str:
    """The backbone of a row, marked where its vectors were made elsewhere."""
    return f"{row.backbone} ({VECTORS})" if row.kind == VECTORS else row.backbone


def beside_table(board: Board) -> Table:
    """Make the table of the results that are no part of the score.

    Args:
        board: The board.

    Returns:
        A table for ``rich``.
    """
    table = Table(
        title="Beside the score: no part of it", box=box.SIMPLE_HEAD, header_style="bold", padding=0
    )
    for name in BESIDE_HEADER:
        table.add_column(name, overflow="fold")
    for row in beside_rows(board):
        table.add_row(*[Text(printable(cell)) for cell in row])
    return table
