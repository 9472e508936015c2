"""Published results that stand below a board, marked and without a rank."""

from __future__ import annotations

import tomllib
from typing import Any

from etab.leaderboard.board import Board
from etab.storage import resources


def published_rows(board: Board) -> list[dict[str, Any]]:
    """List the published results on tasks of a board.

    Args:
        board: The board. Nothing is published on a phantom.

    Returns:
        Rows with ``who``, ``data`` (what was trained and tested on), ``source`` and ``values`` by
        task code. Training, input and patients differ from those of the board.
    """
    if board.phantom:
        return []
    content = tomllib.loads(resources.text("configs/published.toml"))
    rows: list[dict[str, Any]] = []
    for row in content["rows"]:
        values = {code: v for code, v in row["values"].items() if code in board.suite.tasks}
        if values:
            rows.append({**row, "values": values})
    return rows
