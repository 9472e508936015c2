"""A board as one self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from typing import Any

from etab.leaderboard.answers import board_answers
from etab.leaderboard.board import Board, BoardRow
from etab.leaderboard.people import patients_of, plural_of, units_of
from etab.leaderboard.summary import (
    BESIDE_HEADER,
    RELIABILITY_HEADER,
    Cards,
    beside_rows,
    category_letters,
    category_mean,
    data_notices,
    encoder_words,
    headline,
    part_mean,
    rank_words,
    reliability_rows,
    score_parts,
    sensitivity_words,
    target_of,
    unit_of,
)
from etab.metrics import METRICS
from etab.results import Result
from etab.storage.text import printable
from etab.tasks.codes import CATEGORIES
from etab.tasks.menu import TASKS
from etab.tasks.words import metric_unit, with_unit

# Settings of a result that the page shows.
_SETTINGS = ("family", "size", "precision", "interpolation")


def board_facts(board: Board, cards: Cards) -> dict[str, Any]:
    """Collect everything the page shows.

    Args:
        board: The board.
        cards: Cards by the name of the dataset, as ``etab.datasets.cards()`` gives them.

    Returns:
        Plain JSON values; numbers have six significant digits, and what does not exist is None.
    """
    units = units_of(board, cards)
    patients = {name: len(names) for name, names in patients_of(board).items()}
    tasks = [
        {**_task_facts(code, board, cards), "unit": unit_of(code, units)}
        for code in board.suite.tasks
    ]
    return {
        "title": board.title,
        "suite": board.suite.title or board.suite.name,
        "suite_version": board.suite.version,
        "answers": [list(both) for both in board_answers(board, cards, patients, units)],
        "phantom": board.phantom,
        "protocol": board.protocol,
        "seed": board.seed,
        "separation": _six_digits_each(asdict(board.separation)),
        "reliability": {
            "heads": list(RELIABILITY_HEADER),
            "rows": [list(row) for row in reliability_rows(board)],
        },
        "precise": bool(board.suite.precision_weights),
        "categories": {letter: CATEGORIES[letter] for letter in category_letters(board)},
        "parts": score_parts(board),
        "tasks": tasks,
        "people": plural_of(task["unit"] for task in tasks),
        "rows": [_row_facts(row, board) for row in board.rows],
        "p_better": [[_six_digits(p) for p in row] for row in board.p_better],
        "beats": [list(row) for row in board.beats],
        "encoder_half": [[_six_digits(half) for half in row] for row in board.encoder_half],
        "probe_half": [[_six_digits(half) for half in row] for row in board.probe_half],
        "beside": {
            "heads": list(BESIDE_HEADER),
            "rows": [list(row) for row in beside_rows(board, cards, units)],
        },
        "notes": list(board.notes),
        "origins": _origins(board),
        "data": data_notices(board, cards),
    }


def board_page(board: Board, cards: Cards) -> str:
    """Write a board as one HTML file that needs no other file and no network.

    Every string of a result file reaches the page as JSON (with <, > and & escaped) that the
    script writes as text nodes, or HTML-escaped. No string can become markup.

    Args:
        board: The board.
        cards: Cards by the name of the dataset, as ``etab.datasets.cards()`` gives them.

    Returns:
        The HTML text.
    """
    template = (resources.files("etab.leaderboard") / "template.html").read_text(encoding="utf-8")
    data = json.dumps(_printable_each(board_facts(board, cards)), allow_nan=False)
    for sign in "<>&":
        data = data.replace(sign, f"\\u{ord(sign):04x}")
    title = html.escape(printable(board.title))
    inserts = {"TITLE": title, "STATIC": _static_table(board), "DATA": data}
    inserts |= {f"{name.upper()}_HASH": _hash_of(template, name) for name in ("style", "script")}
    # One pass over the template, so that text which is put in is never searched for a mark itself.
    return re.sub(
        r"\{\{(TITLE|STATIC|DATA|STYLE_HASH|SCRIPT_HASH)\}\}",
        lambda match: inserts[match[1]],
        template,
    )


def _hash_of(template: str, name: str) -> str:
    """The hash by which the policy of the page allows its one style sheet or script, and no other."""
    text = template.partition(f"<{name}>")[2].partition(f"</{name}>")[0]
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _printable_each(facts: Any) -> Any:
    """Plain JSON values in which every text is printable."""
    if isinstance(facts, str):
        return printable(facts)
    if isinstance(facts, list):
        return [_printable_each(item) for item in facts]
    if isinstance(facts, dict):
        return {name: _printable_each(item) for name, item in facts.items()}
    return facts


def _static_table(board: Board) -> str:
    """The table of scores for a browser without scripts."""
    names = (
        "Rank",
        "Backbone",
        "Kind",
        "ETAB [95 %, these probes]",
        "95 %, this encoder",
        "etab2022",
    )
    header = "".join(f'<th scope="col">{name}</th>' for name in names)
    body = "".join(_static_row(row) for row in board.rows)
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"


def _static_row(row: BoardRow) -> str:
    etab2022 = f"{row.etab2022:.3f}" if row.ranked else "-"
    return (
        f"<tr><td>{rank_words(row)}</td>"
        f'<th scope="row">{html.escape(printable(row.backbone))}</th>'
        f"<td>{html.escape(row.kind)}</td>"
        f"<td>{headline(row)}</td>"
        f"<td>{encoder_words(row)}</td>"
        f"<td>{etab2022}</td></tr>"
    )


def _six_digits(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")


def _six_digits_each(values: Mapping[str, float] | None) -> dict[str, float | None] | None:
    if values is None:
        return None
    return {name: _six_digits(value) for name, value in values.items()}


def _known(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that etab has computed again; a number that nobody can check is not shown."""
    return {name: value for name, value in metrics.items() if name in METRICS}


def _cell_facts(cell: Result, row: BoardRow) -> dict[str, Any]:
    encoder = row.encoder_intervals.get(cell.task)
    return {
        "value": _six_digits(cell.value),
        "low": _six_digits(cell.low),
        "high": _six_digits(cell.high),
        "anchored": _six_digits(TASKS[cell.task].anchored(cell.value)),
        "metrics": _six_digits_each(_known(cell.metrics)),
        "encoder": None if encoder is None else [_six_digits(end) for end in encoder],
        "patients": cell.n_patients,
        "rows": cell.n_test,
        "head": cell.head,
        "interval": cell.interval,
        "left_out": len(cell.missing),
        "depends_on": sensitivity_words(row.sensitivities.get(cell.task, ())),
    }


def _row_facts(row: BoardRow, board: Board) -> dict[str, Any]:
    first = next(iter(row.cells.values()))
    categories = {letter: category_mean(row, letter, board) for letter in category_letters(board)}
    by_part = {part: part_mean(row, part, board) for part in score_parts(board)}
    return {
        "backbone": row.backbone,
        "kind": row.kind,
        "twin": row.twin,
        "rank": rank_words(row).replace("-", "–"),
        "rank_low": row.rank_low,
        "rank_high": row.rank_high,
        "etab": _six_digits(row.etab),
        "low": _six_digits(row.low),
        "high": _six_digits(row.high),
        "encoder_low": _six_digits(row.encoder_low),
        "encoder_high": _six_digits(row.encoder_high),
        "etab_p": _six_digits(row.etab_p),
        "etab2022": _six_digits(row.etab2022),
        "missing": list(row.missing),
        "categories": {letter: _six_digits(mean) for letter, mean in categories.items()},
        "parts": {part: _six_digits(mean) for part, mean in by_part.items()},
        "cells": {code: _cell_facts(cell, row) for code, cell in row.cells.items()},
        "weights": first.weights_sha256,
        "settings": {
            name: str(first.settings[name]) for name in _SETTINGS if name in first.settings
        },
    }


def _task_facts(code: str, board: Board, cards: Cards) -> dict[str, Any]:
    task = TASKS[code]
    target = target_of(code, cards)
    units = {name: metric_unit(name, target) for name, m in METRICS.items() if task.kind in m.kinds}
    return {
        "code": task.code,
        "title": task.title,
        "letter": task.category,
        "category": CATEGORIES[task.category],
        "metric": task.metric,
        "metric_title": with_unit(METRICS[task.metric].title, units[task.metric]),
        "metric_units": {name: unit for name, unit in units.items() if unit},
        "metric_2022": task.metric_2022,
        "better": task.better,
        "low": task.low,
        "high": task.high,
        "low_source": task.anchors.low_source,
        "high_source": task.anchors.high_source,
        "version": task.version,
        "share": board.shares[task.code],
    }


def _origins(board: Board) -> dict[str, list[str]]:
    """Where the results were computed: versions, commits, processors, and digests of the data."""
    origins: dict[str, set[str]] = {
        "etab": set(),
        "commit": set(),
        "computed on": set(),
        "torch": set(),
        "data digest": set(),
    }
    for cell in (cell for row in board.rows for cell in row.cells.values()):
        origins["etab"].add(str(cell.provenance.get("etab", "")))
        origins["commit"].add(_commit(cell))
        origins["computed on"].add(str(cell.provenance.get("processor", "")))
        origins["torch"].add(str(cell.provenance.get("torch", "")))
        origins["data digest"].add(f"{cell.dataset} {cell.data_digest[:12]}")
    known = {name: sorted(values - {""}) for name, values in origins.items()}
    return {name: values for name, values in known.items() if values}


def _commit(cell: Result) -> str:
    commit = str(cell.provenance.get("commit", ""))[:10]
    if commit and cell.provenance.get("dirty"):
        return f"{commit} with local changes"
    return commit
