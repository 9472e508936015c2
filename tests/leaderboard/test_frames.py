"""Results and boards as pandas data frames hold the numbers of their files."""

from __future__ import annotations

from pathlib import Path

import pytest

import etab
from etab.errors import ResultError
from etab.leaderboard import rank_folder
from etab.results import load_results

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def test_a_row_for_each_cell() -> None:
    frame = etab.results_frame(RESULTS)
    cells = load_results(RESULTS)
    assert len(frame) == len(cells)
    cell = next(c for c in cells if (c.task, c.backbone) == ("b0-A4-C", "mobilenetv2"))
    row = frame[
        (frame.task == cell.task)
        & (frame.backbone == cell.backbone)
        & (frame.protocol == cell.protocol)
    ].iloc[0]
    assert (row.value, row.low, row.high) == (cell.value, cell.low, cell.high)
    assert row["metrics.r2"] == cell.metrics["r2"]
    assert row.phantom is False or not row.phantom
    assert frame[frame.task == "b0-A4-C"]["metrics.dice"].isna().all()


def test_an_empty_folder_is_an_empty_frame(tmp_path: Path) -> None:
    frame = etab.results_frame(str(tmp_path))
    assert len(frame) == 0
    assert "value" in frame.columns


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ResultError):
        etab.results_frame(tmp_path)


def test_a_board_in_its_order() -> None:
    board = rank_folder(RESULTS, "camus", protocol="cv5", seed=0)
    frame = board.frame()
    assert list(frame.index) == [row.backbone for row in board.rows]
    first = board.rows[0]
    assert frame.iloc[0].etab == first.etab
    assert frame.iloc[0].rank_low == first.rank_low
    assert frame["b0-A4-C"].iloc[0] == first.cells["b0-A4-C"].value
    assert str(frame.rank_low.dtype) == "Int64"
