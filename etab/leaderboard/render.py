"""A board as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence

from etab.leaderboard.board import Board, BoardRow, kind_of
from etab.leaderboard.people import units_of
from etab.leaderboard.summary import (
    BESIDE_HEADER,
    RELIABILITY_HEADER,
    Cards,
    arrow,
    beside_rows,
    category_letters,
    category_mean,
    data_notices,
    encoder_words,
    headline,
    mean_words,
    metric_words,
    number_words,
    part_mean,
    precise_words,
    rank_words,
    reliability_rows,
    score_parts,
    sensitivity_words,
    target_of,
    value_words,
)
from etab.results import Result
from etab.storage.text import markdown_text, spreadsheet_text
from etab.tasks.codes import CATEGORIES
from etab.tasks.menu import TASKS
from etab.tasks.words import metric_unit

_CSV_HEADER = (
    "backbone",
    "kind",
    "rank_low",
    "rank_high",
    "etab",
    "etab_low",
    "etab_high",
    "etab2022",
    "etab_p",
    "etab_encoder_low",
    "etab_encoder_high",
    "task",
    "metric",
    "unit",
    "value",
    "low",
    "high",
    "encoder_low",
    "encoder_high",
    "anchored",
    "patients",
    "phantom",
    "protocol",
    "seed",
    "depends_on",
)
_NO_SCORE = ("",) * 9
_NO_VALUE = ("",) * 7


def markdown_line(cells: Iterable[object]) -> str:
    """Write the cells of a row as a line of a Markdown table.

    Args:
        cells: Texts and numbers; no text becomes HTML, a link or another cell.

    Returns:
        The line, without its end.
    """
    escaped = [markdown_text(str(cell)).replace("|", "\\|") for cell in cells]
    return "| " + " | ".join(escaped) + " |"


def _markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    rule = "|---" * len(header) + "|"
    return [markdown_line(header), rule, *[markdown_line(row) for row in rows], ""]


def board_markdown(board: Board, cards: Cards) -> str:
    """Write a board as Markdown.

    Args:
        board: The board.
        cards: Cards by the name of the dataset, as ``etab.datasets.cards()`` gives them.

    Returns:
        The text: scores and ranks, the notes, a table of values for each category, the results
        beside the score, the anchors of the tasks, and the licences of the data.
    """
    lines = [f"## {markdown_text(board.title)}", "", *_headline_table(board)]
    lines += [f"* {markdown_text(note)}" for note in board.notes]
    lines.append("")
    for letter in category_letters(board):
        lines += [f"### {CATEGORIES[letter]}", "", *_category_table(board, letter, cards)]
        lines += _sensitivity_table(board, letter)
    if board.reliabilities:
        lines += [
            "### What the board can separate",
            "",
            "Reliability: share of the variance among backbones that other patients would show "
            "again (the mean of half-splits of people, stepped up by Spearman and Brown). Share of "
            "noise: part in the noise of differences of the score. Differences are of anchored "
            "means, for encoders, with Holm over the pairs of the board.",
            "",
            *_markdown_table(RELIABILITY_HEADER, reliability_rows(board)),
        ]
    if board.beside:
        lines += [
            "### Beside the score",
            "",
            "Cells of extra tasks: shown, and no part of any score or rank.",
            "",
            *_markdown_table(BESIDE_HEADER, beside_rows(board, cards, units_of(board, cards))),
        ]
    lines += ["### Anchors", "", *_anchor_table(board, cards), "### Data", ""]
    for notice in data_notices(board, cards):
        facts = [fact for fact in notice.values() if fact]
        lines.append(f"* {markdown_text('. '.join(facts))}.")
    lines.append("")
    return "\n".join(lines)


def _headline_table(board: Board) -> list[str]:
    header = [
        "rank",
        "backbone",
        "kind",
        "ETAB [95 %, these probes]",
        "95 %, this encoder",
        *(["etab-p"] if board.suite.precision_weights else []),
        "etab2022",
        *[f"ETAB of {part}" for part in score_parts(board)],
        *[CATEGORIES[letter] for letter in category_letters(board)],
    ]
    rows = [
        [
            rank_words(row),
            row.backbone,
            row.kind,
            headline(row),
            encoder_words(row),
            *([precise_words(row)] if board.suite.precision_weights else []),
            f"{row.etab2022:.3f}" if row.ranked else "-",
            *[mean_words(part_mean(row, part, board)) for part in score_parts(board)],
            *[mean_words(category_mean(row, letter, board)) for letter in category_letters(board)],
        ]
        for row in board.rows
    ]
    return _markdown_table(header, rows)


def _category_table(board: Board, letter: str, cards: Cards) -> list[str]:
    tasks = [TASKS[code] for code in board.suite.tasks if code[0] == letter]
    words = [f"{t.code} {metric_words(t.metric, t.code, cards)} {arrow(t.better)}" for t in tasks]
    header = ["backbone", *words]
    rows = [
        [row.backbone, *[value_words(row.cells.get(task.code)) for task in tasks]]
        for row in board.rows
    ]
    return _markdown_table(header, rows)


def _sensitivity_table(board: Board, letter: str) -> list[str]:
    """Facts other than the encoder that the cells of a category depend on."""
    codes = [code for code in board.suite.tasks if code[0] == letter]
    rows = [
        [row.backbone, *[sensitivity_words(row.sensitivities.get(code, ())) for code in codes]]
        for row in board.rows
    ]
    return _markdown_table(["what it depends on", *codes], rows)


def _anchor_table(board: Board, cards: Cards) -> list[str]:
    header = ("task", "asked", "metric", "share", "0 (source)", "1 (source)")
    rows: list[tuple[str, ...]] = []
    for code in board.suite.tasks:
        task = TASKS[code]
        low = f"{number_words(task.low)} ({task.anchors.low_source})"
        high = f"{number_words(task.high)} ({task.anchors.high_source})"
        share = f"{board.shares[code]:.3f}"
        metric = metric_words(task.metric, code, cards)
        rows.append((task.code, task.title, metric, share, low, high))
    return _markdown_table(header, rows)


def board_csv(board: Board, cards: Cards) -> str:
    """Write a board as CSV, a line for each backbone and task.

    Args:
        board: The board.
        cards: Cards by the name of the dataset, as ``etab.datasets.cards()`` gives them.

    Returns:
        The text. A missing task has no value, a backbone without a rank has no score. Results
        beside the score come last, without score and rank.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV_HEADER)
    for row in board.rows:
        for code in board.suite.tasks:
            cell = row.cells.get(code)
            # A task may count by a protocol of its own, whatever that of the board is.
            protocol = board.suite.protocols.get(code, board.protocol)
            writer.writerow(
                [
                    spreadsheet_text(row.backbone),
                    row.kind,
                    *_scores(row),
                    code,
                    TASKS[code].metric,
                    _unit(TASKS[code].metric, code, cards),
                    *_values(cell, row.encoder_intervals.get(code)),
                    board.phantom,
                    protocol,
                    board.seed,
                    spreadsheet_text(sensitivity_words(row.sensitivities.get(code, ()))),
                ]
            )
    for cell in board.beside:
        writer.writerow(
            [
                spreadsheet_text(cell.backbone),
                kind_of(cell.backbone, [cell]),
                *_NO_SCORE,
                cell.task,
                cell.metric,
                _unit(cell.metric, cell.task, cards),
                *_values(cell, None),
                cell.phantom,
                cell.protocol,
                cell.seed,
                "",
            ]
        )
    return text.getvalue()


def _unit(metric: str, code: str, cards: Cards) -> str:
    return spreadsheet_text(metric_unit(metric, target_of(code, cards)))


def _scores(row: BoardRow) -> tuple[object, ...]:
    if not row.ranked:
        return _NO_SCORE
    precise = "" if math.isnan(row.etab_p) else row.etab_p
    intervals = (row.encoder_low, row.encoder_high)
    ranks = (row.rank_low, row.rank_high)
    return (*ranks, row.etab, row.low, row.high, row.etab2022, precise, *intervals)


def _values(cell: Result | None, encoder: tuple[float, float] | None) -> tuple[object, ...]:
    if cell is None:
        return _NO_VALUE
    anchored = TASKS[cell.task].anchored(cell.value)
    return (cell.value, cell.low, cell.high, *(encoder or ("", "")), anchored, cell.n_patients)
