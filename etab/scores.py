"""The import path of 2022 for ``etab.legacy.score``."""

from etab.legacy.score import ETABscore, ScoreAndInterval, TaskScore, torch

__all__ = ["ETABscore", "ScoreAndInterval", "TaskScore", "torch"]
