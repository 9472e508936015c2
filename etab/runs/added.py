"""Digests of the code that users add: heads, metrics, rules of aggregation, inputs, sources."""

from __future__ import annotations

import functools
import secrets
from typing import Any

from etab import datasets
from etab.errors import NamelessError
from etab.features.base import input_of
from etab.heads.base import Head
from etab.metrics import METRICS
from etab.storage.content import content_digest
from etab.tasks.aggregate import AGGREGATES
from etab.tasks.base import Task


def added_code(task: Task, head: Head) -> dict[str, str]:
    """Digest the code outside etab that a score depends on.

    The code of etab has version numbers and is left out. Code that cannot be read gets a new digest
    each time, so that a result of it is never resumed. A source may open files: the digest of the
    data covers them.

    Args:
        task: The task, with the aggregation that was asked for.
        head: The head.

    Returns:
        {"code of the head": sha256, ...}; empty where etab defines everything.
    """
    metric = METRICS[task.metric]
    parts: dict[str, Any] = {
        "head": type(head),
        "metric": metric.weighted or metric.function or metric.form,
        "input": type(input_of(task)),
        "source": datasets.SOURCES[task.dataset],
    }
    if task.aggregate:
        parts["aggregation"] = AGGREGATES[task.aggregate].rule
    return {
        f"code of the {name}": _digest(part, opens_files=name == "source")
        for name, part in parts.items()
        if _is_added(part)
    }


def _is_added(part: Any) -> bool:
    while isinstance(part, functools.partial):
        part = part.func
    module = str(getattr(part, "__module__", None) or type(part).__module__)
    return part is not None and module.partition(".")[0] != "etab"


def _digest(part: Any, *, opens_files: bool) -> str:
    try:
        return content_digest(part, opens_files=opens_files)
    except NamelessError:
        return secrets.token_hex(32)
