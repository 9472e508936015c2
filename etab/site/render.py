"""The forms of a board: Markdown, CSV, a terminal table, and one self-contained page."""

from __future__ import annotations

import csv
import html
import io
import json
from importlib import resources
from typing import Any

from etab.leaderboard import Board, Row
from etab.results import Result
from etab.tasks import CATEGORIES, TASKS


def rank_words(row: Row) -> str:
    """A rank interval in words: "1", "1-4", or a dash where there is none."""
    if row.rank_low is None:
        return "-"
    return str(row.rank_low) if row.rank_low == row.rank_high else f"{row.rank_low}-{row.rank_high}"


def headline(row: Row) -> str:
    """The score with its interval, or what is missing."""
    if row.missing:
        return f"no score: {len(row.missing)} tasks missing"
    return f"{row.etab:.3f} [{row.low:.3f}, {row.high:.3f}]"


def number(cell: Result | None) -> str:
    """A task's value as the board shows it."""
    if cell is None:
        return "missing"
    return f"{cell.value:.2f}" if abs(cell.value) >= 2 else f"{cell.value:.3f}"


def markdown(board: Board) -> str:
    """Write the board as Markdown with its notes."""
    tasks = board.suite.tasks
    heads = [f"{t} {TASKS[t].metric}" for t in tasks]
    lines = [f"## {board.title}", ""]
    lines += ["| rank | backbone | kind | ETAB | etab2022 | " + " | ".join(heads) + " |", "|---" * (5 + len(tasks)) + "|"]
    for row in board.rows:
        old = "" if row.missing else f"{row.etab2022:.3f}"
        cells = " | ".join(number(row.cells.get(t)) for t in tasks)
        lines.append(f"| {rank_words(row)} | {row.backbone} | {row.kind} | {headline(row)} | {old} | {cells} |")
    return "\n".join([*lines, "", *[f"* {note}" for note in board.notes], ""])


def csv_text(board: Board) -> str:
    """Write the board as CSV: a line a backbone and task, raw and anchored."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["backbone", "kind", "rank_low", "rank_high", "etab", "etab_low", "etab_high", "etab2022", "task",
                     "metric", "value", "low", "high", "anchored", "patients", "phantom", "protocol"])  # fmt: skip
    for row in board.rows:
        front = [row.backbone, row.kind, row.rank_low, row.rank_high, row.etab, row.low, row.high, row.etab2022]
        for task, c in sorted(row.cells.items()):
            writer.writerow([*front, task, c.metric, c.value, c.low, c.high, TASKS[task].anchored(c.value), c.n_patients,
                             board.phantom, board.protocol])  # fmt: skip
    return out.getvalue()


def rich_table(board: Board) -> Any:
    """Make a table for a terminal: ranks, scores, and the anchored mean of each category."""
    from rich.table import Table

    letters = sorted({t[0] for t in board.suite.tasks})
    table = Table(title=board.title, caption="\n".join(board.notes), header_style="bold", caption_justify="left")
    for name in ("rank", "backbone", "ETAB", "etab2022"):
        table.add_column(name, no_wrap=True)
    for c in letters:
        table.add_column(f"{c} {CATEGORIES[c].split()[-1]}", overflow="fold")
    for row in board.rows:
        means = [_category(row, c, board) for c in letters]
        old = "" if row.missing else f"{row.etab2022:.3f}"
        style = {"control": "dim", "random twin": "dim"}.get(row.kind, "")
        table.add_row(rank_words(row), row.backbone, headline(row), old, *means, style=style)
    return table


def _category(row: Row, letter: str, board: Board) -> str:
    share = {t: s for t, s in board.shares.items() if t[0] == letter and t in row.cells}
    if not sum(share.values()):
        return "-"
    total = sum(s * TASKS[t].anchored(row.cells[t].value) for t, s in share.items())
    return f"{total / sum(share.values()):.3f}"


def _cell_facts(cell: Result) -> dict[str, Any]:
    return {
        "value": cell.value, "low": cell.low, "high": cell.high, "metric": cell.metric,
        "anchored": TASKS[cell.task].anchored(cell.value), "patients": cell.n_patients,
        "metrics": dict(cell.metrics), "nested": cell.nested, "head": cell.head,
    }  # fmt: skip


def facts(board: Board) -> dict[str, Any]:
    """Everything the page shows, as plain JSON values; NaN becomes null."""
    rows = [
        {"backbone": r.backbone, "kind": r.kind, "rank": rank_words(r), "rank_low": r.rank_low, "rank_high": r.rank_high,
         "etab": None if r.missing else r.etab, "low": None if r.missing else r.low,
         "high": None if r.missing else r.high, "etab2022": None if r.missing else r.etab2022, "missing": list(r.missing),
         "cells": {t: _cell_facts(c) for t, c in r.cells.items()}}
        for r in board.rows
    ]  # fmt: skip
    tasks = [
        {"code": t, "title": TASKS[t].title, "category": CATEGORIES[t[0]], "metric": TASKS[t].metric,
         "better": TASKS[t].better, "low": TASKS[t].low, "high": TASKS[t].high, "low_source": TASKS[t].anchors.low_source,
         "high_source": TASKS[t].anchors.high_source, "share": board.shares[t]}
        for t in board.suite.tasks
    ]  # fmt: skip
    return {"title": board.title, "phantom": board.phantom, "protocol": board.protocol, "rows": rows, "tasks": tasks,
            "p_better": [list(r) for r in board.p_better], "notes": list(board.notes)}  # fmt: skip


def page(board: Board) -> str:
    """One HTML file that needs nothing else: the template with the facts embedded as JSON."""
    template = (resources.files("etab.site") / "template.html").read_text(encoding="utf-8")
    data = json.dumps(facts(board), allow_nan=False).replace("<", "\\u003c").replace("&", "\\u0026")
    return template.replace("{{TITLE}}", html.escape(board.title)).replace("{{DATA}}", data)
