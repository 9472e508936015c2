"""The contract of an input: what the rows of a task are, and how they are read and embedded."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etab.backbones.base import BackboneCard
from etab.datasets.base import Card, Source
from etab.errors import IncompatibleError
from etab.features.entries import Report
from etab.features.store import FrameFeatures, resolve_precision
from etab.registry import Registry
from etab.tasks.base import Task
from etab.tasks.inputs import ROW_INPUTS
from etab.tasks.rows import Rows
from etab.types import Features

PHASES = "ES/ED"
"""The target by which a dataset marks its end-diastolic and end-systolic frames."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """How features are computed and where they are kept.

    cache        folder of the feature cache; None keeps nothing
    device       as torch names it: "cpu", "cuda", "cuda:1"
    precision    "auto", "fp32" or "bf16"
    batch_size   rows or frames that are embedded at once; None is the default of the device
    progress     called with (rows done, rows in all)
    data_digest  sha256 of the data; None computes it
    """

    cache: Path | None = None
    device: str = "cpu"
    precision: str = "auto"
    batch_size: int | None = None
    progress: Report | None = None
    data_digest: str | None = None


class Input(ABC):
    """One way of making rows from recordings.

    ``keys`` names what is embedded, in order, for all tasks of a family; features have one row for
    each key. ``rows`` builds the rows of one task and refers to keys by index; ``pick`` gives each
    row its features.
    """

    def check(self, task: Task, data: Card) -> None:
        """Raise IncompatibleError where the data of a card cannot have such rows; reads no data."""
        row = ROW_INPUTS[task.inputs]
        if (row.modality == "sound") != (data.modality == "sound"):
            raise IncompatibleError(
                f"{task.code}: its rows are {row.words} (inputs={task.inputs!r}), and {data.name} holds "
                f"{data.modality}. Take one of: {_names(data.modality == 'sound')}."
            )
        if row.phases and all(target.name != PHASES for target in data.targets):
            raise IncompatibleError(
                f"{task.code}: its rows are {row.words} (inputs={task.inputs!r}), and {data.name} marks no ED and ES "
                'frames. Take inputs="answer", the frame that each answer belongs to.'
            )

    @abstractmethod
    def keys(self, task: Task, source: Source) -> Any:
        """What is embedded for the tasks of this family on a source, in order; it has a length.

        Raises LayoutError where the data give nothing.
        """

    @abstractmethod
    def rows(self, task: Task, source: Source, keys: Any) -> Rows:
        """Build the rows of a task; raises LayoutError where the data give none."""

    @abstractmethod
    def embed(
        self, task: Task, source: Source, keys: Any, card: BackboneCard, how: Embedding
    ) -> FrameFeatures:
        """Compute the features of the keys, or read them back."""

    @abstractmethod
    def pick(self, features: Features, rows: Rows, *, maps: bool, sequences: bool) -> Features:
        """Pick the features of each row; maps and sequences where they are wanted and exist."""

    def facts(self, task: Task, card: BackboneCard) -> dict[str, Any]:
        """What of the rows decides a score, beside the names of task and backbone."""
        return {"aggregate": task.aggregate} if task.aggregate else {}

    def precision(self, precision: str, card: BackboneCard, device: str) -> str:
        """What a precision ("auto", "fp32", "bf16") means for a backbone on this machine."""
        return resolve_precision(precision, card, device)


INPUTS: Registry[Input] = Registry("input of tasks")


def register(*names: str) -> Callable[[type[Input]], type[Input]]:
    """Register a class of inputs under names of ``etab.tasks.inputs.ROW_INPUTS``."""

    def add(kind: type[Input]) -> type[Input]:
        instance = kind()
        for name in names:
            INPUTS.add(ROW_INPUTS[name].name, instance)
        return kind

    return add


def input_of(task: Task) -> Input:
    """Look up the input of a task, importing its module when it is first needed.

    Raises:
        UnknownNameError: If no input has the name.
    """
    row = ROW_INPUTS[task.inputs]
    if row.name not in INPUTS:
        importlib.import_module(row.module)
    return INPUTS[row.name]


def _names(sound: bool) -> str:
    return ", ".join(row.name for row in ROW_INPUTS.values() if (row.modality == "sound") == sound)
