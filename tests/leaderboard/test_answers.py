"""What a board says of itself in its first lines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from etab import datasets
from etab.leaderboard.answers import board_answers
from etab.leaderboard.board import Board, BoardRow
from etab.leaderboard.ranking import rank
from tests import made

SKILLS = {"strong": 0.9, "other": 0.895, "pixel_pca": 0.3, "random/strong": 0.1}


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Board:
    folder = tmp_path_factory.mktemp("results")
    suite = made.suite()
    results = made.board(folder, SKILLS, suite.tasks, n_train=96, protocol="official")
    return rank(results, suite, folder=folder, protocol="official", draws=50)


def ranked_as(board: Board, ranks: list[tuple[int, int]], beats: list[list[bool]]) -> Board:
    """The board with other verdicts."""
    rows = [
        replace(row, rank_low=low, rank_high=high)
        for row, (low, high) in zip(board.rows, ranks, strict=True)
    ]
    return replace(board, rows=tuple(rows), beats=tuple(tuple(line) for line in beats))


def answers(board: Board) -> dict[str, str]:
    return dict(board_answers(board, datasets.cards(), {"camus": 1200}))


def test_a_lead_is_stated_as_far_as_it_is_told_apart(board: Board) -> None:
    names = [row.backbone for row in board.rows]
    none = [[False] * 4 for _ in range(4)]
    first_wins = [[False, True, True, True], *none[1:]]
    sole = answers(ranked_as(board, [(1, 1), (2, 4), (2, 4), (2, 4)], first_wins))
    assert sole["Who is first?"] == f"{names[0]}, told apart from all 3 others."
    shared = answers(ranked_as(board, [(1, 2), (1, 3), (2, 4), (3, 4)], none))
    assert shared["Who is first?"].startswith(f"{names[0]} and {names[1]} share the first rank")
    nobody = answers(ranked_as(board, [(1, 4)] * 4, none))
    assert nobody["Who is first?"] == "Nobody: the 4 ranked rows are not told apart."
    some = answers(ranked_as(board, [(1, 3), (2, 4), (2, 4), (2, 4)], none))
    assert some["Who is first?"] == f"{names[0]}, told apart from some of the 3 others."


def test_encoders_are_counted_against_the_best_of_each_reference(board: Board) -> None:
    kinds = [row.kind for row in board.rows]
    control, twin = kinds.index("control"), kinds.index("random twin")
    beats = [[False] * 4 for _ in range(4)]
    beats[0][control] = beats[1][control] = beats[0][twin] = True
    told = answers(replace(board, beats=tuple(map(tuple, beats))))["Better than no pretraining?"]
    assert told == (
        "Told apart above the best control, pixel_pca: 2 of 2 encoders; "
        "above the best random twin, random/strong: 1 of 2."
    )


def test_a_control_that_leads_is_called_one(board: Board) -> None:
    def as_control(row: BoardRow) -> BoardRow:
        return replace(row, kind="control")

    rows = (as_control(board.rows[0]), *board.rows[1:])
    first = answers(replace(board, rows=rows))["Who is first?"]
    assert f"{board.rows[0].backbone} (control)" in first


def test_boards_without_ranks_and_with_one_are_worded(board: Board) -> None:
    unranked = tuple(replace(row, rank_low=None, rank_high=None) for row in board.rows)
    empty = answers(replace(board, rows=unranked))
    assert empty["Who is first?"] == "Nobody: no backbone is ranked."
    assert set(empty) == {"Who is first?", "On which data?"}
    alone = answers(replace(board, rows=(board.rows[0], *unranked[1:])))
    assert alone["Who is first?"] == f"{board.rows[0].backbone}, the only row with a rank."
    assert alone["Better than no pretraining?"].startswith("Not known")


def test_data_are_named_and_names_are_short_and_harmless(board: Board) -> None:
    assert answers(board)["On which data?"].endswith(
        "CAMUS: echocardiograms of 1,200 test patients."
    )
    assert answers(board)["On which data?"].startswith("Phantoms") == board.phantom
    hostile = replace(board.rows[0], backbone="\x1b[2J\u202e" + "A" * 10_000)
    first = answers(replace(board, rows=(hostile, *board.rows[1:])))["Who is first?"]
    assert len(first) < 250
    assert first.isprintable()


def test_recordings_without_patients_are_no_patients(board: Board) -> None:
    cards = datasets.cards()
    units = {"cinc2016": "recording"}
    told = dict(board_answers(board, cards, {"cinc2016": 3240}, units))["On which data?"]
    assert told.endswith("heart sounds in 3,240 recordings, each counted as a patient.")


def test_a_dataset_that_is_not_installed_is_named(board: Board) -> None:
    told = dict(board_answers(board, {}, {"clinic": 1}))["On which data?"]
    assert told.endswith("clinic: 1 test patient.")
