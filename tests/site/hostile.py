"""Names that try to be markup, formulas, commands or other text than they are."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from etab.leaderboard.board import Board, Sensitivity

HOSTILE = {
    "script": "<script>window.pwned=1</script>",
    "picture": '<img src=x onerror="window.pwned=1">',
    "attribute": '"><svg onload=window.pwned=1>',
    "formula": '=HYPERLINK("http://x";"y")',
    "directions": "abc\u202e\u2066gnp\u2069",
    "escape codes": "\x1b[2J\x1b]0;pwned\x07\x9b31m",
    "lines": "one\r\ntwo\u2028three",
    "long": "A" * 10_000,
    "emoji": "\U0001fac0❤️",
    "template": "{{DATA}} {% raw %} ${1}`",
    "link": "[a](javascript:window.pwned=1) \\| b;=1+1",
    "commands": "\\input{/etc/passwd} $x_1$ 100 % & #",
}

# Names that attack what the ones above do not: objects of scripts, addresses, other quotes, other
# signs that begin a formula, invisible and stacked letters, and comments.
HOSTILE_TOO = {
    "prototype": "__proto__",
    "constructor": "constructor",
    "method": "hasOwnProperty",
    "frame": "<iframe srcdoc='<script>window.pwned=1</script>'>",
    "title": "</title></textarea><script>window.pwned=1</script>",
    "comment": "<!--<script>window.pwned=1//-->",
    "address": "javascript:window.pwned=1",
    "single quote": "' onmouseover='window.pwned=1' autofocus onfocus='window.pwned=1",
    "entities": "&lt;script&gt;&#60;img src=x onerror=window.pwned=1&#62;",
    "percent": "%3Cscript%3E#a=b&pick=c?x%2F..%2f..",
    "folders": "../../../etc/passwd",
    "sum": "@SUM(1+1)*cmd|' /C calc'!A0",
    "tab": "\t=1+1",
    "wide equals": "\uff1d1+1",
    "markdown": "| --- | `code` **bold** <details><summary>x",
    "terminal link": "\x9d8;;http://x\x9clink\x1b]8;;\x1b\\",
    "stacked": "e" + "\u0301\u0489" * 150,
    "invisible": "\u200b\u200c\ufeff\u00ad",
}


def is_harmless(text: str) -> bool:
    """Whether a text on one line has no character that changes what is shown around it."""
    return not any(
        unicodedata.category(sign) in ("Cc", "Zl", "Zp")
        or (unicodedata.category(sign) == "Cf" and sign not in "\u200d\ufe0f")
        for sign in text
    )


def hostile_board(board: Board, hostile: Mapping[str, str] = HOSTILE) -> Board:
    """A board whose names of backbones, rows, heads, licences, data and notes are hostile."""
    names = list(hostile.values())
    titles = dict(zip([row.backbone for row in board.rows], names, strict=False))
    new_names = {old: titles.get(old, old) for old in titles}
    rows = []
    for row in board.rows:
        cells = {}
        for k, (code, cell) in enumerate(row.cells.items()):
            settings: dict[str, Any] = {**cell.settings, "family": names[k], "size": names[k + 1]}
            provenance = dict.fromkeys(cell.provenance, names[k + 2])
            cells[code] = replace(cell, settings=settings, provenance=provenance, head=names[k + 4])
        sensitive = {code: (Sensitivity("head", names[0] + names[4], 0.01),) for code in cells}
        name = new_names.get(row.backbone, row.backbone)
        rows.append(replace(row, backbone=name, cells=cells, sensitivities=sensitive))
    tables = {}
    for (backbone, code), table in board.tables.items():
        items = [names[k % len(names)] + str(k) for k in range(len(table.items))]
        new = new_names.get(backbone, backbone)
        tables[new, code] = replace(table, items=tuple(items))
    noises = {new_names.get(name, name): noise for name, noise in board.noises.items()}
    suite = replace(board.suite, title=names[0] + names[4] + names[5])
    notes = (*board.notes, *names)
    return replace(board, rows=tuple(rows), tables=tables, noises=noises, suite=suite, notes=notes)
