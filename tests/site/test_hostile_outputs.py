"""Hostile names outside a browser: CSV, Markdown, the page of one file, JSON, and the terminal."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest

from etab import datasets
from etab.cli import show
from etab.leaderboard.board import Board
from etab.leaderboard.page import board_page
from etab.leaderboard.render import board_csv, board_markdown
from etab.site.write import site_files
from etab.storage.text import printable
from tests.site.hostile import ALL, IDS, hostile_board, is_harmless

_FIRST, _TOO, _THREE, _FOUR, _FIVE = ALL


@pytest.fixture(
    scope="module",
    params=[
        _FIRST,
        _TOO,
        _THREE,
        *(pytest.param(o, marks=pytest.mark.slow) for o in (_FOUR, _FIVE)),
    ],
    ids=IDS,
)
def board(site_board: Board, request: pytest.FixtureRequest) -> Board:
    return hostile_board(site_board, request.param)


def test_letters_that_nobody_sees_are_replaced() -> None:
    assert printable("a\u3164b\ufe00c\u034f\u2800") == "a\ufffdb\ufffdc\ufffd\ufffd"
    kept = "\u2764\ufe0f 1\ufe0f\u20e3 \U0001f3f3\ufe0f\u200d\U0001f308 \uc2ec\uc7a5"
    assert printable(kept) == kept
    assert printable("vit\ufe0f") == "vit\ufffd"


class Markup(HTMLParser):
    """What a page runs or loads beyond the files of the site."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag in ("iframe", "object", "embed", "style", "base", "form", "details") and (
            values.get("class") != "drop"
        ):
            self.found.append(tag)
        self.found += [f"{tag} {name}" for name in values if name.startswith("on")]
        for name in ("href", "src"):
            if (values.get(name) or "").strip().lower().startswith("javascript:"):
                self.found.append(f"{tag} {values[name]}")
        if tag == "img" and not (values.get("src") or "").startswith("../examples/"):
            self.found.append(self.get_starttag_text() or tag)


def test_csv_holds_no_formula_and_no_control(board: Board) -> None:
    text = board_csv(board, datasets.cards())
    assert is_harmless(text.replace("\n", " "))
    rows = list(csv.reader(io.StringIO(text)))
    assert len(rows) == len(board.rows) * len(board.suite.tasks) + 1
    cells = [cell for row in rows for cell in row]
    assert not [cell for cell in cells if re.match(r"\s*[=+@]|\s*-[^\d]", cell) and cell != "-"]
    assert not [cell for cell in cells if re.search(r";\s*[=+@]", cell)]


def bars(row: str) -> int:
    """Bars that begin or end a cell: signs after a backslash are read first, as GitHub does."""
    return sum(found == "|" for found in re.findall(r"\\.|\|", row))


def test_markdown_holds_no_markup(board: Board) -> None:
    text = board_markdown(board, datasets.cards())
    assert is_harmless(text.replace("\n", " "))
    assert "<script" not in text
    assert "<img" not in text
    assert "<svg" not in text
    assert "](javascript" not in text
    for block in text.split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({bars(row) for row in rows}) <= 1


def test_pages_hold_no_markup(board: Board) -> None:
    cards = datasets.cards()
    texts = [board_page(board, cards)]
    files = site_files(board, cards)
    texts += [str(text) for name, text in files.items() if name.endswith((".html", "/board.js"))]
    pages = [str(text) for name, text in files.items() if name.endswith(".html")]
    assert [found for text in pages for found in Markup(text).found] == []
    for text in texts:
        assert "<script>window" not in text
        assert "<img src=x" not in text
        assert "<svg onload" not in text
        assert "\x1b" not in text


def test_json_gives_the_names_back(board: Board) -> None:
    content = json.loads(str(site_files(board, datasets.cards())["data/board.json"]))
    names = {row["backbone"] for row in content["rows"]}
    assert {row.backbone for row in board.rows} == names
    assert names & {name for names in ALL for name in names.values()}


def test_the_terminal_shows_no_command(
    board: Board, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")
    show.board(board)
    show.cell_table([cell for row in board.rows for cell in row.cells.values()])
    assert is_harmless(capsys.readouterr().out.replace("\n", " "))
