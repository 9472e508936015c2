"""A small phantom board with a hostile name, and its site."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from etab import datasets
from etab.leaderboard.board import Board
from etab.leaderboard.ranking import rank
from etab.site.write import write_site
from tests import made

NASTY = "<img src=x onerror=alert(1)>=1+1\u202egnp\x1b[2J😀 {{DATA}} </script>"
SKILLS = {"strong": 0.9, "twin_a": 0.7, "twin_b": 0.7, "pixel_pca": 0.3, "random/strong": 0.1}


@pytest.fixture(scope="session")
def site_board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    folder = tmp_path_factory.mktemp("results")
    board = rank(made.board(folder, SKILLS), made.suite(), folder=folder, draws=50)
    rows = []
    for row in board.rows:
        rows.append(replace(row, backbone=NASTY) if row.backbone == "twin_b" else row)
    tables = {
        (NASTY if name == "twin_b" else name, code): table
        for (name, code), table in board.tables.items()
    }
    noises = {NASTY if name == "twin_b" else name: own for name, own in board.noises.items()}
    return replace(board, rows=tuple(rows), tables=tables, noises=noises)


@pytest.fixture(scope="session")
def site(site_board: Board, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    write_site(site_board, datasets.cards(), folder)
    return folder
