"""Suites: which tasks make up a score, and with what weights."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from etab.errors import DataNotFoundError, UnsupportedOptionError
from etab.registry import unknown
from etab.storage import resources
from etab.tasks.base import Task
from etab.tasks.menu import TASKS
from etab.types import FloatArray

_SUITE_KEYS = {"name", "version", "title", "tasks", "task_weights", "category_weights", "protocols"}


class Tasks(Protocol):
    """Whatever gives a task's row by its code: the menu, or a plain dict in a test."""

    def __getitem__(self, code: str, /) -> Task:
        """Look a task up."""
        ...


@dataclass(frozen=True, slots=True)
class Suite:
    """A named list of tasks with weights; a weight that is not given is 1.

    ``protocols`` names, for a task, the protocol that counts whatever the board's is: leave-one-database-out for f0.
    """

    name: str
    version: int
    tasks: tuple[str, ...]
    title: str = ""
    task_weights: Mapping[str, float] = field(default_factory=dict)
    category_weights: Mapping[str, float] = field(default_factory=dict)
    protocols: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_toml(cls, text: str, name: str = "this suite") -> Suite:
        """Read a suite file; raises UnknownNameError or UnsupportedOptionError for a wrong key, task or weight."""
        try:
            found = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise UnsupportedOptionError(f"{name} is not TOML: {error}.") from error
        for key in sorted(set(found) - _SUITE_KEYS):
            raise unknown("key of a suite", key, _SUITE_KEYS)
        _check_suite(found, name)
        suite = cls(**{**found, "tasks": tuple(found["tasks"])})
        suite.weights({}, {})
        return suite

    def weights(self, tasks: Mapping[str, float], categories: Mapping[str, float]) -> FloatArray:
        """Share of each task in the score, in the order of ``tasks``; the shares sum to 1.

        Mean over categories of the mean over their tasks, both weighted. ``tasks`` (by code) and ``categories`` (by
        letter) take the place of the suite's own weights one by one. A category whose tasks all weigh 0 drops out.
        Raises UnknownNameError for a weight of something that is not in the suite, UnsupportedOptionError for one that
        is negative or not finite, or when nothing is left.
        """
        task_weights = {**self.task_weights, **tasks}
        category_weights = {**self.category_weights, **categories}
        letters = sorted({t[0] for t in self.tasks})
        _check_weights(task_weights, f"task of the suite {self.name}", self.tasks)
        _check_weights(category_weights, f"category of the suite {self.name}", letters)
        raw = np.array([task_weights.get(t, 1.0) for t in self.tasks])
        return _shares(self.tasks, raw, {c: category_weights.get(c, 1.0) for c in letters})


def _check_suite(found: Mapping[str, Any], name: str) -> None:
    for key, kind in (("name", str), ("version", int), ("tasks", list)):
        if not isinstance(found.get(key), kind) or not found[key]:
            raise UnsupportedOptionError(
                f"{name}: {key} is {found.get(key)!r}; wanted a {kind.__name__} that says it."
            )
    if not isinstance(found.get("title", ""), str):
        raise UnsupportedOptionError(f"{name}: title is {found['title']!r}; wanted a str.")
    for code, protocol in found.get("protocols", {}).items():
        if code not in found["tasks"] or not isinstance(protocol, str) or not protocol:
            raise UnsupportedOptionError(
                f"{name}: protocols has {code} = {protocol!r}; wanted a task of the suite and a "
                "protocol's name."
            )
    for code in found["tasks"]:
        TASKS[code]
        if found["tasks"].count(code) > 1:
            raise UnsupportedOptionError(
                f"{name} lists {code} twice; a weight is what makes a task count more."
            )


def _check_weights(weights: Mapping[str, float], what: str, known: Sequence[str]) -> None:
    for name, weight in weights.items():
        if name not in known:
            raise unknown(what, name, known)
        if (
            isinstance(weight, bool)
            or not isinstance(weight, int | float)
            or not math.isfinite(weight)
            or weight < 0
        ):
            raise UnsupportedOptionError(
                f"The weight of {name} is {weight!r}; a weight is a number, 0 or more."
            )


def _shares(tasks: Sequence[str], raw: FloatArray, categories: Mapping[str, float]) -> FloatArray:
    within = {c: sum(w for t, w in zip(tasks, raw, strict=True) if t[0] == c) for c in categories}
    alive = {c: w for c, w in categories.items() if within[c] > 0}
    total = sum(alive.values())
    if total <= 0:
        raise UnsupportedOptionError("Every weight is 0: there is nothing left to score.")
    return np.array(
        [
            w / within[t[0]] * alive[t[0]] / total if within[t[0]] > 0 else 0.0
            for t, w in zip(tasks, raw, strict=True)
        ]
    )


def suite_named(name: str) -> Suite:
    """A packaged suite by its name, or one from a .toml file."""
    path = Path(name)
    if path.suffix == ".toml":
        if not path.exists():
            raise DataNotFoundError(
                f"There is no suite file {path}. A packaged suite goes by its name, e.g. camus."
            )
        return Suite.from_toml(path.read_text())
    return Suite.from_toml(resources.text(f"configs/suites/{name}.toml"))
