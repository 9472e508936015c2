"""The contract of an input: which rows a task has, and how they are read and embedded."""

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
from etab.features.batches import OnRows
from etab.features.store import FrameFeatures, resolve_precision
from etab.registry import Registry
from etab.tasks.base import Task
from etab.tasks.inputs import ROW_INPUTS
from etab.tasks.rows import Rows
from etab.types import Features

PHASE_TARGET = "ES/ED"
"""The target by which a dataset marks its end-diastolic and end-systolic frames."""


@dataclass(frozen=True, slots=True)
class Embedding:
    """How features are computed and where they are stored.

    Attributes:
        cache: Folder of the feature cache; None stores nothing.
        device: The device, as torch names it: "cpu", "cuda", "cuda:1".
        precision: "auto", "fp32" or "bf16".
        batch_size: Rows or frames that are embedded at once; None is the default of the device.
        progress: Called with (rows done, rows in all).
        data_digest: sha256 of the data; None computes it.
        maps: Whether feature maps are computed and stored; False where no head reads them.
    """

    cache: Path | None = None
    device: str = "cpu"
    precision: str = "auto"
    batch_size: int | None = None
    progress: OnRows | None = None
    data_digest: str | None = None
    maps: bool = True


class Input(ABC):
    """One way of making rows from recordings.

    ``keys`` names what is embedded, in order, for all tasks of a family; features have one row for
    each key. ``rows`` builds the rows of one task and refers to keys by index; ``pick`` gives each
    row its features.
    """

    def check(self, task: Task, data: Card) -> None:
        """Check, without reading data, that a dataset can have the rows of a task.

        Args:
            task: The task.
            data: The card of the dataset.

        Raises:
            IncompatibleError: The dataset cannot have such rows.
        """
        row = ROW_INPUTS[task.inputs]
        if (row.modality == "sound") != (data.modality == "sound"):
            raise IncompatibleError(
                f"{task.code}: its rows are {row.words} (inputs={task.inputs!r}), "
                f"and {data.name} holds {data.modality}. "
                f"Take one of: {_names(data.modality == 'sound')}."
            )
        if row.phases and all(target.name != PHASE_TARGET for target in data.targets):
            raise IncompatibleError(
                f"{task.code}: its rows are {row.words} (inputs={task.inputs!r}), "
                f"and {data.name} marks no ED and ES frames. "
                'Take inputs="answer", the frame that each answer belongs to.'
            )

    @abstractmethod
    def keys(self, task: Task, source: Source) -> Any:
        """List the keys to embed for the tasks of this family on a source, in order.

        Args:
            task: Any task of the family.
            source: The data.

        Returns:
            The keys; they have a length.

        Raises:
            LayoutError: The data have no key.
        """

    @abstractmethod
    def rows(self, task: Task, source: Source, keys: Any) -> Rows:
        """Build the rows of a task.

        Args:
            task: The task.
            source: The data.
            keys: The keys of the task's family.

        Raises:
            LayoutError: The data have no row.
        """

    @abstractmethod
    def embed(
        self, task: Task, source: Source, keys: Any, card: BackboneCard, embedding: Embedding
    ) -> FrameFeatures:
        """Compute the features of the keys, or read them from the cache.

        Args:
            task: Any task of the family.
            source: The data.
            keys: The keys of the family.
            card: The backbone.
            embedding: How features are computed and where they are stored.
        """

    @abstractmethod
    def pick(self, features: Features, rows: Rows, *, maps: bool, sequences: bool) -> Features:
        """Pick the features of each row.

        Args:
            features: Features with one row for each key.
            rows: The rows of the task.
            maps: Whether to pick feature maps, if there are any.
            sequences: Whether to pick sequences, if there are any.
        """

    def facts(self, task: Task, card: BackboneCard) -> dict[str, Any]:
        """Collect the facts of the rows that affect a score, beside ``task`` and ``card``."""
        if not task.aggregate:
            return {}
        return {"aggregate": task.aggregate}

    resolve = staticmethod(resolve_precision)
    """The rule of precisions of this kind of input."""

    def precision(self, precision: str, card: BackboneCard, device: str) -> str:
        """Resolve a precision for a backbone on this machine.

        Args:
            precision: "auto", "fp32" or "bf16".
            card: The backbone.
            device: "cpu", "cuda" or another device of torch.
        """
        return self.resolve(precision, card, device)


INPUTS: Registry[Input] = Registry("input of tasks")


def register_input(*names: str) -> Callable[[type[Input]], type[Input]]:
    """Register a class of inputs.

    Args:
        names: Keys of ``etab.tasks.inputs.ROW_INPUTS``.

    Returns:
        A decorator of a subclass of ``Input``.
    """

    def add(kind: type[Input]) -> type[Input]:
        instance = kind()
        for name in names:
            INPUTS.add(ROW_INPUTS[name].name, instance)
        return kind

    return add


def input_of(task: Task) -> Input:
    """Look up the input of a task, importing its module when it is first needed.

    Args:
        task: The task.

    Raises:
        UnknownNameError: No input has the name.
    """
    row = ROW_INPUTS[task.inputs]
    if row.name not in INPUTS:
        importlib.import_module(row.module)
    return INPUTS[row.name]


def _names(sound: bool) -> str:
    return ", ".join(row.name for row in ROW_INPUTS.values() if (row.modality == "sound") == sound)
