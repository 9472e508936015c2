"""The import path of 2022 for ``etab.legacy.benchmark``."""

from etab.legacy.benchmark import ETABBenchmark, TaskReader, task_items, torch

__all__ = ["ETABBenchmark", "TaskReader", "task_items", "torch"]
