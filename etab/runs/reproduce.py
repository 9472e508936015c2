"""Computing a published cell again, and saying whether the same numbers come out."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from etab import __version__
from etab.errors import EtabError, ResultError
from etab.results import Predictions, Result
from etab.results.table_files import read_table_bytes, table_path
from etab.runs.executors import Event, serial
from etab.runs.provenance import provenance
from etab.runs.run import Run, Settings

_TOLERANCE = 0.25
"""Share of the half width of a result's 95 % interval by which another machine may differ."""

# Facts of a machine that may change the last digits of a sum.
_MACHINE = ("processor", "python", "torch", "numpy", "scipy", "device")


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A result beside the same cell, computed here.

    Attributes:
        stored: The result that was handed in.
        computed: The result of this machine.
        same_machine: Whether the processor and the libraries that compute are those of the stored
            result. If so, every prediction must be equal.
        rows_differ: Number of rows whose predictions differ; None where the stored predictions are
            not at hand.
    """

    stored: Result
    computed: Result
    same_machine: bool
    rows_differ: int | None

    @property
    def identical(self) -> bool:
        """Whether the tables of predictions are equal byte for byte."""
        return self.stored.predictions_sha256 == self.computed.predictions_sha256

    @property
    def difference(self) -> float:
        """Value computed here minus stored value, in the unit of the metric."""
        return self.computed.value - self.stored.value

    @property
    def allowed(self) -> float:
        """The largest difference that counts as the same result on another machine."""
        return _TOLERANCE * (self.stored.high - self.stored.low) / 2

    @property
    def reproduced(self) -> bool:
        """Whether the stored result came out again."""
        if self.identical:
            return True
        return not self.same_machine and abs(self.difference) <= self.allowed


def reproduce(
    path: Path,
    *,
    root: Path | None = None,
    cache: Path | None = None,
    device: str = "cpu",
) -> Reproduction:
    """Compute the cell of a result file again.

    Args:
        path: The record, ``....json``. Its predictions may lie beside it.
        root: Folder of the data; None for the documented places.
        cache: Folder to keep features in; None keeps none, so that everything is computed anew.
        device: Any device of torch.

    Returns:
        The stored and the computed result.

    Raises:
        ResultError: If the file is no result, is of a fine-tuned backbone, or its data or weights
            are not those that are here.
        UnknownNameError: If this installation has no backbone, task or head of that name.
        EtabError: If the data or the backbone cannot be used.
    """
    stored = Result.load(path)
    run = _run_of(stored)
    with tempfile.TemporaryDirectory(prefix="etab-reproduce-") as folder:
        settings = Settings(
            root=root,
            results=Path(folder),
            cache=cache,
            device=device,
            precision=str(stored.settings.get("precision", "auto")),
            skip_bad=bool(stored.bad),
            keep_masks="none",
        )
        failures: list[str] = []
        cells = serial([run], settings, lambda event: _collect(event, failures))
        if failures or not cells:
            raise EtabError("; ".join(failures) or f"{stored.task} gave no result.")
        computed = cells[0]
        table = computed.predictions(Path(folder))
    _refuse_other_inputs(stored, computed)
    machine = {**provenance(__version__), **computed.provenance}
    return Reproduction(stored, computed, _same_machine(stored, machine), _differ(path, table))


def _run_of(stored: Result) -> Run:
    if "-finetune" in stored.protocol or "-partial" in stored.protocol:
        raise ResultError(
            f"{stored.task} with {stored.backbone} ({stored.protocol}) was trained; only cells of "
            "frozen backbones are computed again. Train it with `etab finetune` and compare."
        )
    aggregate = stored.settings.get("aggregate")
    decide = stored.settings.get("decide")
    run = Run(
        task=stored.task,
        backbone=stored.backbone,
        head=stored.head,
        protocol=stored.protocol,
        seed=stored.seed,
        n_fold=int(stored.settings.get("n_fold", 5)),
        decide=None if decide is None else str(decide),
    )
    if aggregate is not None and aggregate != run.row.aggregate:
        run = replace(run, aggregate=str(aggregate))
    run.check()
    return run


def _collect(event: Event, failures: list[str]) -> None:
    if event.kind == "failed":
        failures.append(f"{event.backbone}: {event.error}")


def _refuse_other_inputs(stored: Result, computed: Result) -> None:
    """Other data or weights give other numbers, which would say nothing about the result."""
    for name, words in (("data_digest", "data"), ("weights_sha256", "weights")):
        before = getattr(stored, name)
        now = getattr(computed, name)
        if before != now:
            raise ResultError(
                f"The {words} here are not those of the result: {name} begins with {now[:12]} here "
                f"and with {before[:12]} there. Only the same {words} can reproduce it."
            )


def _same_machine(stored: Result, machine: Mapping[str, Any]) -> bool:
    return all(stored.provenance.get(name) == machine.get(name) for name in _MACHINE)


def _differ(path: Path, computed: Predictions) -> int | None:
    """Count the rows whose stored predictions are other numbers than the computed ones."""
    table = table_path(path)
    if not table.is_file():
        return None
    stored = Predictions.from_csv(read_table_bytes(table).decode(), str(table))
    if stored.items != computed.items or set(stored.columns) != set(computed.columns):
        return len(computed.items)
    unequal = np.zeros(len(stored.items), dtype=bool)
    for name, values in stored.columns.items():
        unequal |= values != computed.columns[name]
    return int(unequal.sum())
