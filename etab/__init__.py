"""etab, the cardiac representation benchmark: how well does a pretrained encoder represent the
heart?

``Dataset`` opens a dataset of echocardiograms or heart sounds, ``backbone`` makes an encoder of any
Python function, ``evaluate`` scores a backbone on a list of tasks, and ``rank`` turns results into
a leaderboard. Importing ``etab`` imports none of them; each one is imported when it is first used.

Example:
    >>> import etab
    >>> "rank" in dir(etab)
    True
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from etab.api import Score, evaluate
    from etab.backbones.own.function import backbone
    from etab.backbones.own.inputs import Clip, Frames, Sound
    from etab.datasets import Dataset, ETAB_dataset
    from etab.leaderboard import Suite, rank, results_frame
    from etab.results import Result
    from etab.runs.run import Run

__version__ = "0.3.0"

_HOME = {
    "Clip": "etab.backbones.own.inputs",
    "Dataset": "etab.datasets",
    "ETAB_dataset": "etab.datasets",
    "Frames": "etab.backbones.own.inputs",
    "Result": "etab.results",
    "Run": "etab.runs.run",
    "Score": "etab.api",
    "Sound": "etab.backbones.own.inputs",
    "Suite": "etab.leaderboard",
    "backbone": "etab.backbones.own.function",
    "evaluate": "etab.api",
    "rank": "etab.leaderboard",
    "results_frame": "etab.leaderboard",
}

__all__ = [
    "Clip",
    "Dataset",
    "ETAB_dataset",
    "Frames",
    "Result",
    "Run",
    "Score",
    "Sound",
    "Suite",
    "backbone",
    "evaluate",
    "rank",
    "results_frame",
    "__version__",
]


# Modules that were beside this file before 0.3.0; `from etab import sweep` still finds them.
_MOVED = {
    "denoise": "etab.sounds.denoise",
    "diagnosis": "etab.metrics.diagnosis",
    "executors": "etab.runs.executors",
    "plots_sound": "etab.plots.sounds",
    "series": "etab.features.recordings",
    "show": "etab.cli.show",
    "stats": "etab.metrics.uncertainty",
    "sweep": "etab.runs.sweep",
    "tuned": "etab.finetuning.cells",
    "volumes": "etab.echo.volumes",
}


def __getattr__(name: str) -> Any:
    if name in _MOVED:
        return importlib.import_module(_MOVED[name])
    if name not in _HOME:
        raise AttributeError(
            f"module 'etab' has no attribute {name!r}; it has {', '.join(__all__)}"
        )
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
