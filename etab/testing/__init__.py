"""Contracts that third parties run on their own classes; what they break is an AssertionError."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from etab.testing.backbones import check_backbone
    from etab.testing.datasets import check_dataset
    from etab.testing.heads import check_head
    from etab.testing.metrics import check_metric
    from etab.testing.video import check_video_backbone

_HOME = {
    "check_backbone": "etab.testing.backbones",
    "check_dataset": "etab.testing.datasets",
    "check_head": "etab.testing.heads",
    "check_metric": "etab.testing.metrics",
    "check_video_backbone": "etab.testing.video",
}

__all__ = [
    "check_backbone",
    "check_dataset",
    "check_head",
    "check_metric",
    "check_video_backbone",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(
            f"module 'etab.testing' has no attribute {name!r}; it has {', '.join(__all__)}"
        )
    return getattr(importlib.import_module(_HOME[name]), name)
