"""Executors by name, with options as they are written on the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from etab.errors import UnsupportedOptionError
from etab.runs.executors import Executor, LocalWorkers

EXECUTORS = ("local", "ray", "slurm")


def named_executor(name: str, options: Sequence[str] = (), *, workers: int = 0) -> Executor:
    """Make an executor.

    Args:
        name: "local", "ray" or "slurm".
        options: Its options, each as "KEY=VALUE". The keys are the attributes of ``LocalWorkers``,
            ``RayCluster`` and ``Slurm``.
        workers: Number of processes on this machine ("local"); 0 for as many as fit.

    Returns:
        The executor.

    Raises:
        UnsupportedOptionError: If the name or an option is unknown, or a value is not of its kind.

    Example:
        >>> named_executor("ray", ["gpus=0.5"]).gpus
        0.5
    """
    if name not in EXECUTORS:
        raise UnsupportedOptionError(
            f"No executor is called {name!r}. Known: {', '.join(EXECUTORS)}."
        )
    if name != "local" and workers:
        raise UnsupportedOptionError(
            f"--workers counts processes on this machine and has no meaning with --executor {name}."
            " Leave it out; the options of the executor say how many units run at once."
        )
    kind = _class_of(name)
    values = _values(name, kind, options)
    if name == "local" and workers:
        values["workers"] = workers
    executor: Executor = kind(**values)
    return executor


def _class_of(name: str) -> Any:
    if name == "ray":
        from etab.runs.ray_cluster import RayCluster

        return RayCluster
    if name == "slurm":
        from etab.runs.slurm import Slurm

        return Slurm
    return LocalWorkers


def _values(name: str, kind: Any, options: Sequence[str]) -> dict[str, Any]:
    """Read options; each kind of number is known by the annotation of its attribute."""
    kinds = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for option in options:
        key, _, text = option.partition("=")
        if key not in kinds:
            raise UnsupportedOptionError(
                f"--executor-option {option!r}: the executor {name} has no option {key!r}. Known: "
                f"{', '.join(kinds)}, each with a value: {next(iter(kinds))}=..."
            )
        values[key] = _value(option, kinds[key], text)
    return values


def _value(option: str, kind: str, text: str) -> Any:
    if kind == "str":
        return text
    expected = "a whole number, 0 or more" if kind.startswith("int") else "a number, 0 or more"
    try:
        number = int(text) if kind.startswith("int") else float(text)
    except ValueError:
        number = -1
    if not 0 <= number < float("inf"):
        raise UnsupportedOptionError(f"--executor-option {option!r}: wanted {expected}.")
    return number
