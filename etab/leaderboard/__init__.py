"""The leaderboard: results of cells in, ranks with their uncertainty out."""

from etab.leaderboard.board import Board
from etab.leaderboard.frames import results_frame
from etab.leaderboard.ranking import rank, rank_folder
from etab.leaderboard.suites import Suite

__all__ = ["Board", "Suite", "rank", "rank_folder", "results_frame"]
