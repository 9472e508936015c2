"""The command ``etab list``: datasets, tasks, backbones, heads, metrics and more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from etab.cli.options import JsonOption
from etab.cli.words import say

if TYPE_CHECKING:
    from etab.cli.listing import ListTable

_KINDS = (
    "datasets, targets, views, backbones, video, heads, metrics, tasks, cross, lists, timm or "
    "torchvision"
)

# Columns that a narrow terminal shows beside the name, by list.
_BRIEF = {
    "tasks": (0, 2, 5),
    "datasets": (0, 2),
    "targets": (0, 1, 2),
    "cross": (0, 1),
    "lists": (0, 1, 2),
}


def list_command(
    what: Annotated[str | None, typer.Argument(help=f"What to list: {_KINDS}.")] = None,
    containing: Annotated[
        list[str] | None,
        typer.Argument(
            help="Show only lines that contain all of these words: etab list tasks camus dice."
        ),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, as in the documentation.")
    ] = False,
    as_json: JsonOption = False,
    wide: Annotated[
        bool, typer.Option("--wide", help="Print every column, one line for each row.")
    ] = False,
) -> None:
    """List datasets, backbones, heads, metrics, tasks and more.

    A pipe or file gets one line for each row.
    """
    from etab.cli import show
    from etab.cli.listing import TABLES
    from etab.errors import UnsupportedOptionError

    if what is None:
        raise UnsupportedOptionError(f"etab list needs to know what to list: {_KINDS}.")
    table = _containing(TABLES[what](), containing or [])
    if markdown:
        say(table.markdown())
    elif as_json:
        rows = [dict(zip(table.header, row, strict=True)) for row in table.rows]
        say(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        brief = _BRIEF.get(what, (0, 1))
        show.table(table.title, table.header, table.rows, brief=brief, wide=wide)


def _containing(table: ListTable, wanted: list[str]) -> ListTable:
    """The rows that contain each of the words, in any column and case."""
    from dataclasses import replace

    from etab.errors import UnsupportedOptionError

    rows = []
    for row in table.rows:
        line = " ".join(row).lower()
        if all(word.lower() in line for word in wanted):
            rows.append(row)
    if not rows:
        raise UnsupportedOptionError(f"No row of the list contains {' and '.join(wanted)}.")
    return replace(table, rows=tuple(rows))
