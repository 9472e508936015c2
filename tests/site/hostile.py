"""Names that try to be markup, formulas, commands or other text than they are."""

from __future__ import annotations

import re
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

# Names that look like others, or that scripts, tables and terminals read as something else.
HOSTILE_THREE = {
    "joiner": "mobile\u200dnetv2",
    "isolates": "a\u2067b\u2068c\u2069\u2066d",
    "marks": "a\u200fb\u061cc\u200ed",
    "nothing": "\x00",
    "nothing inside": "vit\x00.txt",
    "ticks": "`rm -rf ~` and one more `",
    "three ticks": "```\n$(touch pwned)\n```",
    "bars": "a|b||c\\|d",
    "dollars": "$$\\frac{1}{0}$$ ${HOME} $(id)",
    "percents": "100 % %n %s %00 %2e%2e",
    "prototype's": "__proto__",
    "own keys": "__defineGetter__",
    "text of all": "toString",
    "value of all": "valueOf",
    "emphasis": "__bold__ *it* ~~gone~~ _a_b_",
    "reference": "[a]: javascript:window.pwned=1",
    "family": "\U0001f468\u200d\u2695\ufe0f \U0001f469\U0001f3fd\u200d\U0001f52c",
    "scripts of the world": "\u5fc3\u810f \u0642\u0644\u0628 \u05dc\u05d1",
    "spaces": "a\u00a0b\u3000c",
    "very long": "x_" * 5_000,
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

# Names that end other elements, other attributes, other languages and other lines than those above,
# and names of which nobody sees a part.
HOSTILE_FOUR = {
    "no scripts": "</noscript></bdi></table><img src=x onerror=window.pwned=1>",
    "svg text": "</text></svg><svg><animate onbegin=window.pwned=1 attributeName=x dur=1s>",
    "json": '"]}};window.pwned=1;//\\u003c/script\\u003e',
    "view": "a&board=0&pick=b#q=c?sort=d.up%26e+f",
    "unseen": "\u3164\u2800\u115f",
    "selectors": "mobile\ufe00net\U000e0100v2\u034f\ufe0f",
    "tags": "vit\U000e0041\U000e0042\u2060\u180e\u206a",
    "tower": "Z" + "\u0361\u20dd\u0334" * 200,
    "tabular": "\\end{tabular}\\write18{touch pwned}^^5cinput{x}\\catcode`\\%=0 %\\\\[1cm]",
    "picture of markdown": "![x](http://x/y.png) <http://x> [^1] :smile: @user #1 &#60;b&#62;\n# head",
    "clipboard": "\x1b]52;c;cHduZWQ=\x07\x1bP+q\x1b\\\r\x1b[K\x08\x08\x7f\x85\x90",
    "embedded": "\u05d0\u202b\u05d1\u202c(\u061c) 1-2 \u202d",
    "exchange": "-2+3+cmd|' /C calc'!A0;\n@x\t=1",
    "quotes": '"";=1+1;""\r\n"=2',
    "emoji": "1\ufe0f\u20e3 \u2764\ufe0e \U0001f3f3\ufe0f\u200d\U0001f308",
    "words": "word " * 2_000,
}

# Names that are values, files or devices elsewhere, formulas behind spaces that nobody sees, elements
# that fetch or lead elsewhere, and letters that join, annotate or have no meaning.
HOSTILE_FIVE = {
    "not a number": "NaN",
    "infinity": "-Infinity",
    "null": "null",
    "zero": "-0",
    "power": "1e5",
    "device": "CON",
    "end of a name": "aux.txt. .",
    "page": "index.html?x#main",
    "formula behind a mark": "\ufeff=1+1",
    "formula behind a space": "\u00a0\u2003=1+1",
    "formula behind nothing": "\u200b\u2060+1",
    "formula in quotes": '\'=1+1;"\r=IMPORTXML("http://x";"//a")',
    "wide markup": "\uff1cscript\uff1ewindow.pwned=1\uff1c/script\uff1e",
    "style": "<style>@import 'http://x';*{display:none}</style>",
    "base": "<base href=//x><meta http-equiv=refresh content='0;url=//x'>",
    "object": "<object data='data:text/html,<script>window.pwned=1</script>'></object>",
    "expression": "{{constructor.constructor('window.pwned=1')()}}",
    "music": "vit\U0001d173\U0001d17a",
    "annotation": "\ufff9a\ufffab\ufffb\u0600\u06dd",
    "no letters": "a\ufffeb\ufdd0c\U0001ffffd\ue000",
    "one letter, two forms": "\u00c5 A\u030a \u212b \u0130",
    "separators": "a\x1cb\x1dc\x1ed\x1fe\x0bf\x0cg",
    "half of a keycap": "\ufe0f\u20e3#\ufe0f",
}

ALL = (HOSTILE, HOSTILE_TOO, HOSTILE_THREE, HOSTILE_FOUR, HOSTILE_FIVE)
IDS = ("first", "second", "third", "fourth", "fifth")

# What a font draws as nothing.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
# A selector behind a symbol or before a keycap.
_SELECTED = re.compile("(?<=[\u00a9-\u32ff\U0001f000-\U0001faff])[\ufe0e\ufe0f]|\ufe0f(?=\u20e3)")


# A joiner between two symbols, which makes one emoji of them.
_JOINED = re.compile(
    r"(?<=[\U0001f300-\U0001faff\u2600-\u27bf\ufe0f])\u200d(?=[\U0001f300-\U0001faff\u2600-\u27bf])"
)


def is_harmless(text: str) -> bool:
    """Whether a text on one line has no character that changes what is shown around it, or that
    nobody sees."""
    plain = _SELECTED.sub("", _JOINED.sub("", text))
    is_plain = not any(
        unicodedata.category(sign) in ("Cc", "Cf", "Zl", "Zp") for sign in set(plain)
    )
    return is_plain and not _UNSEEN.search(plain)


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
            cells[code] = replace(
                cell, settings=settings, provenance=provenance, head=names[k + 4][:255]
            )
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
