"""Suites: the tasks that make up a score, and their weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from etab.errors import DataNotFoundError, UnknownNameError, UnsupportedOptionError
from etab.files import parse_toml, read_text_file
from etab.options import path_option
from etab.registry import unknown
from etab.storage import resources
from etab.tasks.base import Task
from etab.tasks.menu import TASKS
from etab.types import FloatArray

_TABLES = ("task_weights", "category_weights", "precision_weights", "protocols")
_SUITE_KEYS = {"name", "version", "title", "tasks", *_TABLES}


class Tasks(Protocol):
    """Tasks by code: the tasks of etab, or any dictionary of tasks."""

    def __getitem__(self, code: str, /) -> Task:
        """Return the task of a code."""
        ...


@dataclass(frozen=True, slots=True)
class Suite:
    """The tasks that make up a score, with their weights.

    The score is the weighted mean over categories of the weighted mean over their tasks.

    Attributes:
        name: Name of the suite.
        version: Version of the suite; it changes when the tasks or weights do.
        tasks: Codes of the tasks, each once.
        title: Title on the board; the name where it is empty.
        task_weights: Weights by task code, 0 or more; 1 where none is given.
        category_weights: Weights by category letter, 0 or more; 1 where none is given.
        protocols: Protocols by task code, for tasks that count by another protocol than that of
            the board. Tasks of f0, for example, count by ``"lodo"``, leave-one-database-out.
        precision_weights: Weights by task code of the score ``etab-p``, inside the categories;
            frozen with the version. Empty for a suite without that score.

    Example:
        >>> suite = Suite(name="mine", version=1, tasks=("a0-A4-C", "a1-A4-C", "b0-A4-C"))
        >>> suite.weights({}, {}).tolist()
        [0.25, 0.25, 0.5]
    """

    name: str
    version: int
    tasks: tuple[str, ...]
    title: str = ""
    task_weights: Mapping[str, float] = field(default_factory=dict)
    category_weights: Mapping[str, float] = field(default_factory=dict)
    protocols: Mapping[str, str] = field(default_factory=dict)
    precision_weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.tasks, str) or not isinstance(self.tasks, Sequence):
            raise UnsupportedOptionError(
                f"Suite(tasks=) is {self.tasks!r}; wanted a tuple of codes."
            )
        for name in _TABLES:
            table = getattr(self, name)
            if not isinstance(table, Mapping):
                raise UnsupportedOptionError(f"Suite({name}=) is {table!r}; wanted a mapping.")

    @classmethod
    def from_toml(cls, text: str, name: str = "this suite") -> Suite:
        """Read a suite from the text of a TOML file.

        Args:
            text: The text; ``name``, ``version`` and ``tasks`` are required.
            name: What messages call the suite.

        Returns:
            The suite.

        Raises:
            UnknownNameError: If a key, a task or the name of a weight is unknown.
            UnsupportedOptionError: If the text is not TOML, or a value is not what its key needs.
        """
        try:
            content = parse_toml(text)
        except ValueError as error:
            raise UnsupportedOptionError(f"{name} is not TOML: {error}.") from error
        for key in sorted(set(content) - _SUITE_KEYS):
            raise unknown(f"key of {name}", key, _SUITE_KEYS)
        try:
            _check_suite(content, name)
            suite = cls(**{**content, "tasks": tuple(content["tasks"])})
            suite.weights({}, {})  # raises where a weight cannot be used
            suite.precision_shares()
        except UnknownNameError as error:
            raise UnknownNameError(f"In {name}: {error}") from error
        return suite

    def weights(self, tasks: Mapping[str, float], categories: Mapping[str, float]) -> FloatArray:
        """Compute the share of each task in the score.

        Args:
            tasks: Weights by task code that replace those of the suite.
            categories: Weights by category letter that replace those of the suite.

        Returns:
            Shares that sum to 1, shape (n_tasks,), in the order of ``tasks``. A category whose
            tasks all weigh 0 has no share.

        Raises:
            UnknownNameError: If a weight is for something that is not in the suite.
            UnsupportedOptionError: If a weight is negative or not finite, or all weights are 0.
        """
        task_weights = {**self.task_weights, **tasks}
        category_weights = {**self.category_weights, **categories}
        letters = sorted({code[0] for code in self.tasks})
        _check_weights(task_weights, f"task of the suite {self.name}", self.tasks)
        _check_weights(category_weights, f"category of the suite {self.name}", letters)
        of_tasks = np.array([task_weights.get(code, 1.0) for code in self.tasks])
        of_categories = {letter: category_weights.get(letter, 1.0) for letter in letters}
        return _shares(self.tasks, of_tasks, of_categories)

    def precision_shares(self) -> dict[str, float]:
        """Compute the share of each task in the score ``etab-p``.

        Returns:
            Shares by task code that sum to 1: each category has the share that it has in the score,
            and its tasks divide it by ``precision_weights``. Empty where the suite has none.

        Raises:
            UnsupportedOptionError: If a task has no weight there.
        """
        if not self.precision_weights:
            return {}
        absent = sorted(set(self.tasks) - set(self.precision_weights))
        if absent:
            raise UnsupportedOptionError(
                f"The suite {self.name} has no precision weight for {absent[0]}; give one to each "
                "task (0 leaves it out), or to none."
            )
        shares = self.weights(self.precision_weights, {})
        return dict(zip(self.tasks, shares.tolist(), strict=True))


def _check_suite(content: Mapping[str, Any], name: str) -> None:
    for key, kind in (("name", str), ("version", int), ("tasks", list)):
        value = content.get(key)
        if not isinstance(value, kind) or not value:
            raise UnsupportedOptionError(
                f"{name}: {key} is {value!r}; wanted a {kind.__name__} that is not empty."
            )
    if not isinstance(content.get("title", ""), str):
        raise UnsupportedOptionError(
            f"{name}: title is {content['title']!r}; wanted a string in quotes."
        )
    for key in _TABLES:
        if not isinstance(content.get(key, {}), dict):
            raise UnsupportedOptionError(f"{name}: {key} is {content[key]!r}; wanted a table.")
    for code, protocol in content.get("protocols", {}).items():
        if code not in content["tasks"] or not isinstance(protocol, str) or not protocol:
            raise UnsupportedOptionError(
                f"{name}: protocols has {code} = {protocol!r}; wanted a task of the suite and a "
                "protocol's name."
            )
    for code in content["tasks"]:
        if not isinstance(code, str):
            raise UnsupportedOptionError(f"{name}: tasks holds {code!r}; wanted codes of tasks.")
        TASKS[code]  # raises where there is no such task
        if content["tasks"].count(code) > 1:
            raise UnsupportedOptionError(
                f"{name} lists {code} twice; a weight is what makes a task count more."
            )


def _check_weights(weights: Mapping[str, float], what: str, known: Sequence[str]) -> None:
    for name, weight in weights.items():
        if name not in known:
            raise unknown(what, name, known)
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not math.isfinite(weight) or weight < 0:
            raise UnsupportedOptionError(
                f"The weight of {name} is {weight!r}; a weight is a number, 0 or more."
            )


def _shares(
    tasks: Sequence[str], of_tasks: FloatArray, of_categories: Mapping[str, float]
) -> FloatArray:
    letters = [code[0] for code in tasks]
    # Total weight of the tasks of each category; one whose tasks all weigh 0 drops out.
    within = dict.fromkeys(of_categories, 0.0)
    for letter, weight in zip(letters, of_tasks, strict=True):
        within[letter] += weight
    total = sum(weight for letter, weight in of_categories.items() if within[letter] > 0)
    if total <= 0:
        raise UnsupportedOptionError("Every weight is 0: there is nothing left to score.")
    shares = np.zeros(len(tasks))
    for i, letter in enumerate(letters):
        if within[letter] > 0:
            shares[i] = of_tasks[i] / within[letter] * of_categories[letter] / total
    return shares


def suite_named(name: str) -> Suite:
    """Open a packaged suite, or one from a file.

    Args:
        name: Name of a packaged suite, such as ``"camus"``, or path of a ``.toml`` file.

    Returns:
        The suite.

    Raises:
        DataNotFoundError: If there is no such file.
        UnknownNameError: If a key, task or weight in the file is unknown.
        UnsupportedOptionError: If a value in the file is not what its key needs.

    Example:
        >>> suite_named("camus").name
        'camus'
    """
    path = path_option("suite", name)
    if path.suffix == ".toml":
        if not path.exists():
            raise DataNotFoundError(
                f"There is no suite file {path}. A packaged suite goes by its name, e.g. camus."
            )
        try:
            text = read_text_file(path)
        except (OSError, ValueError) as error:
            raise UnsupportedOptionError(f"The suite {path} cannot be read: {error}.") from error
        return Suite.from_toml(text, str(path))
    return Suite.from_toml(resources.text(f"configs/suites/{name}.toml"))
