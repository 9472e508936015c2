"""The commands by which a reader adds an encoder to a board."""

from __future__ import annotations

from etab.datasets import SOURCES
from etab.datasets.own.registered import is_own
from etab.leaderboard.board import Board
from etab.leaderboard.plain import SUITES
from etab.tasks.codes import BOARD_PROTOCOL, parse_code


def adding_commands(board: Board) -> list[str]:
    """Write the commands that add a row to a board.

    Args:
        board: The board.

    Returns:
        A line for each dataset, one that makes the site again, and for the boards of etab one that
        checks the results for a submission. Words in capitals stand for what the reader fills in.
    """
    by_dataset: dict[str, list[str]] = {}
    for code in board.suite.tasks:
        by_dataset.setdefault(parse_code(code).dataset, []).append(code)
    # Tasks with a protocol of their own have it in `etab run`, too.
    protocol = "" if board.protocol == BOARD_PROTOCOL else f" --protocol {board.protocol}"
    seed = f" --seed {board.seed}" if board.seed else ""
    lines = [
        f"etab run {_data(name, codes)} --backbones NAME{protocol}{seed} --results MINE"
        for name, codes in by_dataset.items()
    ]
    is_packaged = board.suite.name in SUITES
    suite = f" --suite {board.suite.name}" if is_packaged else ""
    lines.append(f"etab leaderboard RESULTS MINE{suite} --html SITE")
    if is_packaged and not board.phantom:
        lines.append(f"etab submit check MINE{suite}")
    return lines


def _data(name: str, codes: list[str]) -> str:
    """The options that name the data and the tasks."""
    if name in SOURCES and is_own(SOURCES[name]):
        return "--data DESCRIPTION"
    return f"--tasks {','.join(codes)} --root DATA"
