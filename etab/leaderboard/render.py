"""The forms of a board: Markdown, CSV, JSON, a terminal table, and one self-contained page."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from etab.datasets import SOURCES
from etab.leaderboard.ranking import Board, Row, kind_of
from etab.metrics.base import METRICS
from etab.results import Result
from etab.tasks.codes import CATEGORIES, PARTS, parse_code
from etab.tasks.menu import TASKS

if TYPE_CHECKING:
    from rich.table import Table

_CSV = [
    "backbone",
    "kind",
    "rank_low",
    "rank_high",
    "etab",
    "etab_low",
    "etab_high",
    "etab2022",
    "task",
    "metric",
    "value",
    "low",
    "high",
    "anchored",
    "patients",
    "phantom",
    "protocol",
    "seed",
]


def rank_words(row: Row) -> str:
    """A rank interval in words: "1", "1-4", or a dash where there is none."""
    if row.rank_low is None:
        return "-"
    return str(row.rank_low) if row.rank_low == row.rank_high else f"{row.rank_low}-{row.rank_high}"


def headline(row: Row) -> str:
    """The score with its interval, or what is missing."""
    if not row.ranked:
        return f"no score: {len(row.missing)} task{'s' if len(row.missing) > 1 else ''} missing"
    return f"{row.etab:.3f} [{row.low:.3f}, {row.high:.3f}]"


def number(value: float) -> str:
    """A value as the board shows it: three decimals, two from 2 on (errors in %, distances in mm)."""
    return f"{value:.2f}" if abs(value) >= 2 else f"{value:.3f}"


def letters(board: Board) -> list[str]:
    """Categories of the suite, in order."""
    return sorted({t[0] for t in board.suite.tasks})


def category_mean(row: Row, letter: str, board: Board) -> float | None:
    """Weighted mean of the anchored metrics of a category; None where one of its tasks is missing or none counts."""
    share = {t: s for t, s in board.shares.items() if t[0] == letter and s > 0}
    if not share or any(t not in row.cells for t in share):
        return None
    return sum(s * TASKS[t].anchored(row.cells[t].value) for t, s in share.items()) / sum(
        share.values()
    )


def parts(board: Board) -> list[str]:
    """The parts of the score (echo, heart sounds) that a board speaks of; none where there is one only."""
    found = [name for name, those in PARTS.items() if set(those) & set(letters(board))]
    return found if len(found) > 1 else []


def part_mean(row: Row, part: str, board: Board) -> float | None:
    """The ETAB score of one part, the weighted mean over its categories; None where one of its tasks is missing."""
    share = {t: s for t, s in board.shares.items() if t[0] in PARTS[part] and s > 0}
    if not share or any(t not in row.cells for t in share):
        return None
    return sum(s * TASKS[t].anchored(row.cells[t].value) for t, s in share.items()) / sum(
        share.values()
    )


def data_notices(board: Board) -> list[dict[str, str]]:
    """Title, licence and citation of each dataset behind the board; phantom data have no licence to state."""
    codes = [parse_code(t) for t in (*board.suite.tasks, *[c.task for c in board.beside])]
    names = sorted(
        {name for code in codes for name in (code.dataset, code.test_dataset)} & set(SOURCES)
    )
    cards = [SOURCES[name].card for name in names]
    if board.phantom:
        said = "made data in the published layout; no patient is in it"
        return [{"title": f"phantom of {c.title}", "licence": said, "citation": ""} for c in cards]
    return [{"title": c.title, "licence": c.licence, "citation": c.citation} for c in cards]


def _mean_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _line(cells: Iterable[object]) -> str:
    return (
        "| "
        + " | ".join(
            str(c).replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") for c in cells
        )
        + " |"
    )


def _markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    return [_line(header), "|---" * len(header) + "|", *[_line(r) for r in rows], ""]


def markdown(board: Board) -> str:
    """Write the board as Markdown: headline, how to read it, a table a category with intervals, anchors, licences."""
    heads = [
        "rank",
        "backbone",
        "kind",
        "ETAB [95 %]",
        "etab2022",
        *[f"ETAB of {p}" for p in parts(board)],
        *[CATEGORIES[c] for c in letters(board)],
    ]
    top = [
        [
            rank_words(r),
            r.backbone,
            r.kind,
            headline(r),
            f"{r.etab2022:.3f}" if r.ranked else "-",
            *[_mean_text(part_mean(r, p, board)) for p in parts(board)],
            *[_mean_text(category_mean(r, c, board)) for c in letters(board)],
        ]
        for r in board.rows
    ]
    lines = [
        f"## {board.title}",
        "",
        *_markdown_table(heads, top),
        *[f"* {note}" for note in board.notes],
        "",
    ]
    for letter in letters(board):
        lines += [f"### {CATEGORIES[letter]}", "", *_category_table(board, letter)]
    if board.beside:
        lines += [
            "### Beside the score",
            "",
            "Cells of extra tasks: shown, and no part of any score or rank.",
            "",
            *_markdown_table(_BESIDE, _beside(board)),
        ]
    lines += [
        "### Anchors",
        "",
        *_markdown_table(
            ["task", "asked", "metric", "share", "0 (source)", "1 (source)"],
            [
                [
                    t["code"],
                    t["title"],
                    t["metric"],
                    f"{t['share']:.3f}",
                    f"{number(t['low'])} ({t['low_source']})",
                    f"{number(t['high'])} ({t['high_source']})",
                ]
                for t in _tasks(board)
            ],
        ),
    ]
    lines += ["### Data", ""]
    lines += [
        f"* {'. '.join(w for w in (d['title'], d['licence'], d['citation']) if w)}."
        for d in data_notices(board)
    ]
    return "\n".join([*lines, ""])


_BESIDE = ("task", "asked", "backbone", "metric", "value [95 %]", "anchored", "patients")


def _beside(board: Board) -> list[tuple[str, ...]]:
    """A line a cell outside the score, in words."""
    rows = [(TASKS[c.task], c) for c in board.beside]
    return [
        (
            t.code,
            t.title,
            c.backbone,
            f"{c.metric} {_arrow(t.better)}",
            _value_text(c),
            f"{t.anchored(c.value):.3f}",
            str(c.n_patients),
        )
        for t, c in rows
    ]


def rich_beside(board: Board) -> Table:
    """Make a table for a terminal of the cells outside the score."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title="Beside the score: no part of it", box=box.SIMPLE_HEAD, header_style="bold", padding=0
    )
    for name in _BESIDE:
        table.add_column(name, overflow="fold")
    for row in _beside(board):
        table.add_row(*[Text(c) for c in row])
    return table


def _category_table(board: Board, letter: str) -> list[str]:
    codes = [t for t in board.suite.tasks if t[0] == letter]
    heads = ["backbone", *[f"{t} {TASKS[t].metric} {_arrow(TASKS[t].better)}" for t in codes]]
    return _markdown_table(
        heads, [[r.backbone, *[_value_text(r.cells.get(t)) for t in codes]] for r in board.rows]
    )


def _arrow(better: int) -> str:
    return "↑" if better > 0 else "↓"


def _value_text(cell: Result | None) -> str:
    return (
        "missing"
        if cell is None
        else f"{number(cell.value)} [{number(cell.low)}, {number(cell.high)}]"
    )


def csv_text(board: Board) -> str:
    """Write the board as CSV: a line a backbone and task, raw and anchored; a missing task has no value.

    Cells beside the score come last, without score and rank.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_CSV)
    for row in board.rows:
        scores = (
            [row.rank_low, row.rank_high, row.etab, row.low, row.high, row.etab2022]
            if row.ranked
            else [""] * 6
        )
        for task in board.suite.tasks:
            c = row.cells.get(task)
            values = (
                ["", "", "", "", ""]
                if c is None
                else [c.value, c.low, c.high, TASKS[task].anchored(c.value), c.n_patients]
            )
            writer.writerow(
                [
                    row.backbone,
                    row.kind,
                    *scores,
                    task,
                    TASKS[task].metric,
                    *values,
                    board.phantom,
                    board.protocol,
                    board.seed,
                ]
            )
    for c in board.beside:
        writer.writerow(
            [
                c.backbone,
                kind_of(c.backbone, [c]),
                *[""] * 6,
                c.task,
                c.metric,
                c.value,
                c.low,
                c.high,
                TASKS[c.task].anchored(c.value),
                c.n_patients,
                c.phantom,
                c.protocol,
                c.seed,
            ]
        )
    return out.getvalue()


def json_text(board: Board) -> str:
    """Write everything the page shows as JSON; what does not exist is null."""
    return json.dumps(facts(board), indent=1, allow_nan=False) + "\n"


def rich_table(board: Board) -> Table:
    """Make a table for a terminal: ranks, scores, and the anchored mean of each category by its letter."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    means = "; ".join(f"{c}: {CATEGORIES[c]}" for c in letters(board))
    notes = Text(
        "\n".join(f"- {n}" for n in (f"Means of categories, anchored: {means}.", *board.notes))
    )
    table = Table(
        title=Text(board.title, style="bold red" if board.phantom else "bold"),
        caption=notes,
        box=box.SIMPLE_HEAD,
        header_style="bold",
        caption_justify="left",
        padding=0,
    )
    table.add_column("rank", no_wrap=True)
    table.add_column("backbone", overflow="fold")
    for name in ("ETAB", "95 %", "2022", *parts(board), *letters(board)):
        table.add_column(name, justify="right", no_wrap=True)
    for row in board.rows:
        scores = [f"{row.etab:.3f}", f"{row.low:.3f} to {row.high:.3f}", f"{row.etab2022:.3f}"]
        scores = scores if row.ranked else ["-", f"{len(row.missing)} missing", "-"]
        cells = [
            rank_words(row),
            row.backbone,
            *scores,
            *[_mean_text(part_mean(row, p, board)) for p in parts(board)],
            *[_mean_text(category_mean(row, c, board)) for c in letters(board)],
        ]
        table.add_row(*[Text(c) for c in cells], style="" if row.kind == "pretrained" else "dim")
    return table


def _short(value: float | None) -> float | None:
    """Six significant digits; None for what does not exist."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


def _shorts(values: Mapping[str, float] | None) -> dict[str, float | None] | None:
    return None if values is None else {k: _short(v) for k, v in values.items()}


def _cell(cell: Result) -> dict[str, Any]:
    return {
        "value": _short(cell.value),
        "low": _short(cell.low),
        "high": _short(cell.high),
        "anchored": _short(TASKS[cell.task].anchored(cell.value)),
        "metrics": _shorts(cell.metrics),
        "nested": _shorts(cell.nested),
        "patients": cell.n_patients,
        "rows": cell.n_test,
        "head": cell.head,
        "interval": cell.interval,
        "left_out": len(cell.missing),
    }


def _row(row: Row, board: Board) -> dict[str, Any]:
    first = next(iter(row.cells.values()))
    settings = {
        k: str(first.settings[k])
        for k in ("family", "size", "precision", "interpolation")
        if k in first.settings
    }
    return {
        "backbone": row.backbone,
        "kind": row.kind,
        "twin": row.twin,
        "rank": rank_words(row).replace("-", "–"),
        "rank_low": row.rank_low,
        "rank_high": row.rank_high,
        "etab": _short(row.etab),
        "low": _short(row.low),
        "high": _short(row.high),
        "etab2022": _short(row.etab2022),
        "missing": list(row.missing),
        "categories": {c: _short(category_mean(row, c, board)) for c in letters(board)},
        "parts": {p: _short(part_mean(row, p, board)) for p in parts(board)},
        "cells": {t: _cell(c) for t, c in row.cells.items()},
        "weights": first.weights_sha256,
        "settings": settings,
    }


def _tasks(board: Board) -> list[dict[str, Any]]:
    rows = [TASKS[t] for t in board.suite.tasks]
    return [
        {
            "code": t.code,
            "title": t.title,
            "letter": t.category,
            "category": CATEGORIES[t.category],
            "metric": t.metric,
            "metric_title": METRICS[t.metric].title,
            "metric_2022": t.metric_2022,
            "better": t.better,
            "low": t.low,
            "high": t.high,
            "low_source": t.anchors.low_source,
            "high_source": t.anchors.high_source,
            "version": t.version,
            "share": board.shares[t.code],
        }
        for t in rows
    ]


def _origins(board: Board) -> dict[str, list[str]]:
    """Where the numbers came from, over all cells: versions, commits, processors, digests of the data."""
    cells = [c for row in board.rows for c in row.cells.values()]
    found = {
        "etab": {str(c.provenance.get("etab", "")) for c in cells},
        "commit": {_commit(c) for c in cells},
        "computed on": {str(c.provenance.get("processor", "")) for c in cells},
        "torch": {str(c.provenance.get("torch", "")) for c in cells},
        "data digest": {f"{c.dataset} {c.data_digest[:12]}" for c in cells},
    }
    return {k: sorted(v - {""}) for k, v in found.items() if v - {""}}


def _commit(cell: Result) -> str:
    commit = str(cell.provenance.get("commit", ""))[:10]
    return f"{commit} with local changes" if commit and cell.provenance.get("dirty") else commit


def facts(board: Board) -> dict[str, Any]:
    """Everything the page shows, as plain JSON values; what does not exist is null."""
    return {
        "title": board.title,
        "suite": board.suite.title or board.suite.name,
        "suite_version": board.suite.version,
        "phantom": board.phantom,
        "protocol": board.protocol,
        "seed": board.seed,
        "gap": _short(board.gap),
        "categories": {c: CATEGORIES[c] for c in letters(board)},
        "parts": parts(board),
        "tasks": _tasks(board),
        "rows": [_row(r, board) for r in board.rows],
        "p_better": [[_short(p) for p in row] for row in board.p_better],
        "beats": [list(b) for b in board.beats],
        "beside": {"heads": list(_BESIDE), "rows": [list(r) for r in _beside(board)]},
        "notes": list(board.notes),
        "origins": _origins(board),
        "data": data_notices(board),
    }


def _static_table(board: Board) -> str:
    """The headline table for a browser without scripts."""
    heads = "".join(
        f'<th scope="col">{w}</th>' for w in ("Rank", "Backbone", "Kind", "ETAB [95 %]", "etab2022")
    )
    body = "".join(
        f'<tr><td>{rank_words(r)}</td><th scope="row">{html.escape(r.backbone)}</th><td>{html.escape(r.kind)}</td>'
        f"<td>{headline(r)}</td><td>{f'{r.etab2022:.3f}' if r.ranked else '-'}</td></tr>"
        for r in board.rows
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def page(board: Board) -> str:
    """One HTML file that needs nothing else: the template with the facts embedded as JSON.

    Every string of a result file reaches the page as JSON text (with <, > and & escaped) that the script writes as
    text nodes, or HTML-escaped.
    """
    template = (resources.files("etab.leaderboard") / "template.html").read_text(encoding="utf-8")
    data = json.dumps(facts(board), allow_nan=False)
    for sign in "<>&":
        data = data.replace(sign, f"\\u{ord(sign):04x}")
    parts = {"TITLE": html.escape(board.title), "STATIC": _static_table(board), "DATA": data}
    return re.sub(r"\{\{(TITLE|STATIC|DATA)\}\}", lambda m: parts[m[1]], template)
