"""Computing a published cell again, and saying whether the same numbers come out."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from etab import __version__, heads
from etab.datasets.base import SOURCES
from etab.errors import EtabError, ResultError, UnknownNameError
from etab.features.store import has_bf16
from etab.leaderboard.admission.canonical import OTHER_MACHINE
from etab.leaderboard.admission.ranges import out_of_range
from etab.leaderboard.admission.record import contradictions, wrong_intervals
from etab.results import Predictions, Result
from etab.results.table_files import read_table_bytes, table_path
from etab.runs.cell import target_of
from etab.runs.events import Event
from etab.runs.executors import serial
from etab.runs.provenance import provenance
from etab.runs.run import RUNS_VERSION, Run, Settings
from etab.storage.text import printable
from etab.tasks.lists import PREFIX, SHIPPED, list_key
from etab.tasks.own import use_installed
from etab.tasks.protocols import parse

# Facts of a record that no machine changes, and numbers that the same machine computes again.
_FACTS = ("phantom", "n_train", "n_train_patients", "n_test", "n_patients", "missing", "bad")
_NUMBERS = ("value", "low", "high")
_FEWEST_FOLDS = 2
_MOST_FOLDS = 50
_MOST_FITS = 500
_LONGEST_NAME = 80
_LONGEST_FACT = 40
_NOT_STATED = "not stated"

# How names of backbones begin that stand for a file, and those that may stand for a folder.
_FILES = ("local:", "onnx:", "vectors:")
_FOLDERS = "transformers/"

# Facts of a machine that may change the last digits of a sum.
_MACHINE = ("processor", "instructions", "python", "torch", "numpy", "scipy", "device")


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A result beside the same cell, computed here.

    Attributes:
        stored: The result that was handed in.
        computed: The result of this machine.
        other_machine: What differs between the processor and the libraries of the stored result and
            those of this machine, in words; what a record does not state counts as other. Where
            nothing differs, every prediction must be equal.
        rows_differ: Number of rows whose predictions differ; None where the stored predictions are
            not at hand.
        others: Names of what the record states and the computed one does not.
        n_rows: Number of rows of the computed predictions, all divisions into folds together.
    """

    stored: Result
    computed: Result
    other_machine: tuple[str, ...]
    rows_differ: int | None
    others: tuple[str, ...] = ()
    n_rows: int = 0

    @property
    def same_machine(self) -> bool:
        """Whether every prediction must be equal."""
        return not self.other_machine

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
        """The largest difference that counts as the same result on another machine.

        The interval is the one computed here: a record could state any.
        """
        return OTHER_MACHINE * (self.computed.high - self.computed.low) / 2

    @property
    def reproduced(self) -> bool:
        """Whether the stored result came out again."""
        if self.others:
            return False
        if self.identical:
            return True
        return not self.same_machine and abs(self.difference) <= self.allowed


def reproduce(
    path: Path,
    *,
    root: Path | None = None,
    cache: Path | None = None,
    device: str = "cpu",
    lists: Path | None = None,
    backbone: str | None = None,
) -> Reproduction:
    """Compute the cell of a result file again.

    The user's own data are registered first (``etab.tasks.own.use_own_data``), as ``--data`` does;
    those that an installed package brings are found by their name.

    Args:
        path: The record, ``....json``. Its predictions may lie beside it.
        root: Folder of the data; None for the documented places.
        cache: Folder to keep features in; None keeps none, so that everything is computed anew.
        device: Any device of torch.
        lists: File or folder of the published folds that the result follows; None for a list that
            travels with etab, or no list. No list is read from a place that a record names.
        backbone: Name of the backbone of the result on this machine, such as
            "local:mine.safetensors@timm/resnet18"; None for the name in the record. No file is
            opened because a record names it, so a result of a file needs this name.

    Returns:
        The stored and the computed result.

    Raises:
        ResultError: If the file is not a result, is of a fine-tuned backbone or of a file that the
            caller does not name, asks for too many fits, its data, weights or versions are not
            those that are here, or its predictions contradict it.
        UnknownNameError: If this installation has no backbone, task or head of that name.
        EtabError: If the data or the backbone cannot be used.
    """
    stored = Result.load(path)
    _refuse_odd_names(stored)
    _find_list(stored, lists)
    use_installed([stored.dataset])
    _require_known_data(stored)
    run = _run_of(stored, backbone or _named_backbone(stored))
    _refuse_other_versions(stored, run)
    beside = _predictions_beside(stored, path)
    if beside is not None:
        _refuse_contradictions(stored, beside, run)
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
    other_machine = tuple(_other_machine(stored, machine))
    differ = None if beside is None else _differ(beside, table)
    others = tuple(_other_statements(stored, computed, not other_machine))
    return Reproduction(stored, computed, other_machine, differ, others, len(table.items))


def _refuse_odd_names(stored: Result) -> None:
    """Messages name the cell; a line break in a name could end one and begin another."""
    for field in ("task", "backbone", "head", "protocol", "dataset"):
        name = getattr(stored, field)
        if not name.isprintable():
            raise ResultError(
                f"The {field} in the record is {name[:_LONGEST_NAME]!a}; wanted a name of "
                "printable characters. No run writes such a record."
            )


def _named_backbone(stored: Result) -> str:
    """The backbone that the record names, unless that would open a file or folder."""
    base = stored.backbone.removeprefix("random/")
    place = base.removeprefix(_FOLDERS).partition("@")[0]
    is_folder = base.startswith(_FOLDERS) and (place.startswith("/") or Path(place).exists())
    if base.startswith(_FILES) or is_folder:
        raise ResultError(
            f"{stored.task} is of {stored.backbone[:_LONGEST_NAME]}, which is a file or folder; none "
            "is opened because a record names it. If you have it, name it by --backbone, as for "
            "`etab run`: --backbone local:FILE@timm/resnet18."
        )
    return stored.backbone


def _find_list(stored: Result, lists: Path | None) -> None:
    """Read the list of folds that the caller names, and refuse a result that follows another one."""
    wanted = stored.protocol.removeprefix(PREFIX)
    if wanted == stored.protocol:
        if lists is not None:
            raise ResultError(
                f"{stored.task} ({stored.protocol}) follows no list: leave --lists out."
            )
        return
    if lists is None:
        if wanted.partition("@")[0] not in SHIPPED:
            raise ResultError(
                f"The folds of {stored.protocol[:_LONGEST_NAME]} are not at hand. Name their file "
                "by --lists."
            )
        return
    key = list_key(str(lists))
    if wanted != key and not wanted.startswith(f"{key}-"):
        raise ResultError(
            f"{lists} is the list {key}; the result follows {wanted[:_LONGEST_NAME]}. Name its "
            "file by --lists."
        )


def _require_known_data(stored: Result) -> None:
    """Refuse a result of a user's own data that the caller did not name."""
    if stored.dataset in SOURCES:
        return
    raise UnknownNameError(
        f"{stored.task} is of {stored.dataset[:_LONGEST_NAME]}, which is not a data set of etab. "
        "If it is your own, name it as for `etab run`: --data clinic.toml, or --data my_echo.py "
        "--root FOLDER."
    )


def _run_of(stored: Result, backbone: str) -> Run:
    if "-finetune" in stored.protocol or "-partial" in stored.protocol:
        raise ResultError(
            f"{stored.task} with {stored.backbone} ({stored.protocol}) was trained; only cells of "
            "frozen backbones are computed again. Train it with `etab finetune` and compare."
        )
    aggregate = stored.settings.get("aggregate")
    decide = stored.settings.get("decide")
    run = Run(
        task=stored.task,
        backbone=backbone,
        head=stored.head,
        protocol=stored.protocol,
        seed=stored.seed,
        n_fold=_n_fold(stored),
        decide=None if decide is None else str(decide),
    )
    if aggregate is not None and aggregate != run.row.aggregate:
        run = replace(run, aggregate=str(aggregate))
    run.check()
    _refuse_many_fits(stored, run.n_fold)
    return run


def _refuse_many_fits(stored: Result, n_fold: int) -> None:
    """A protocol of 50 folds, 999 times, would keep a machine busy for days."""
    protocol = parse(stored.protocol, n_fold)
    n_fits = protocol.n_fold * protocol.repeats if protocol.sort == "cv" else 1
    if n_fits > _MOST_FITS:
        raise ResultError(
            f"{stored.task} with {stored.backbone}: the protocol {stored.protocol} has {n_fits} "
            f"fits; at most {_MOST_FITS} are computed again. Run it with `etab run` if you want to."
        )


def _n_fold(stored: Result) -> int:
    n_fold = stored.settings.get("n_fold", 5)
    is_number = isinstance(n_fold, int) and not isinstance(n_fold, bool)
    if not is_number or not _FEWEST_FOLDS <= n_fold <= _MOST_FOLDS:
        raise ResultError(
            f"{stored.task} with {stored.backbone}: n_fold is {str(n_fold)[:40]!r}; wanted a "
            f"number from {_FEWEST_FOLDS} to {_MOST_FOLDS}."
        )
    return int(n_fold)


def _refuse_other_versions(stored: Result, run: Run) -> None:
    """Another version of task, head or run is another question, whatever comes out."""
    task = run.row
    head = heads.head(run.head_name)
    here = {
        "task_version": (stored.task_version, task.version),
        "metric": (stored.metric, task.metric),
        "dataset": (stored.dataset, task.dataset),
        "anchor_low": (stored.anchor_low, task.low),
        "anchor_high": (stored.anchor_high, task.high),
        "head_version": (stored.settings.get("head_version"), head.version_of(target_of(task))),
        "runs_version": (stored.settings.get("runs_version"), RUNS_VERSION),
    }
    for name, (before, now) in here.items():
        if before == now:
            continue
        raise ResultError(
            f"{stored.task} with {stored.backbone}: {name} is {str(before)[:40]} in the result and "
            f"{now} here. Only the same version can reproduce it: install the etab that made it."
        )


def _predictions_beside(stored: Result, path: Path) -> Predictions | None:
    """The stored predictions; None where they are not at hand."""
    table = table_path(path)
    if not table.exists():
        return None
    try:
        data = read_table_bytes(table)
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ResultError(
            f"{table} cannot be read as predictions: {error}. Restore it, or move it away."
        ) from error
    if hashlib.sha256(data).hexdigest() != stored.predictions_sha256:
        raise ResultError(
            f"{table} is not the table its record was made from (sha256 differs). Restore it, or "
            "move it away to compare the record alone."
        )
    return Predictions.from_csv(text, str(table))


def _refuse_contradictions(stored: Result, table: Predictions, run: Run) -> None:
    """A record that its own predictions contradict is none that could come out again."""
    wrong = out_of_range(table)
    reasons = [wrong] if wrong else contradictions(stored, table, run.row)
    reasons = reasons or wrong_intervals([(stored, table)])[0]
    if reasons:
        raise ResultError(
            f"{stored.task} with {stored.backbone}: its predictions contradict it, so nothing was "
            f"computed: {'; '.join(reasons[:3])}."
        )


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
    before, now = (r.settings.get("split_version", 1) for r in (stored, computed))
    if before != now:
        raise ResultError(
            f"{stored.task} with {stored.backbone}: its folds are of version {str(before)[:40]} of "
            f"configs/splits, and here of version {now}. Only the same version can reproduce it: "
            "install the etab that made it."
        )


def _other_machine(stored: Result, machine: Mapping[str, Any]) -> Iterator[str]:
    """What of a machine may change the last digits of a sum, and is not the same there and here."""
    for name in _MACHINE:
        before = stored.provenance.get(name, _NOT_STATED)
        now = machine.get(name, _NOT_STATED)
        if before != now:
            yield f"{name} {_short(before)}, here {_short(now)}"
    precision = str(stored.settings.get("precision"))
    if precision.startswith("bf16") and not has_bf16(str(machine.get("device", "cpu"))):
        yield f"precision {_short(precision)}, which this machine only emulates"


def _short(fact: Any) -> str:
    """A fact of a record as text that can be printed."""
    return printable(str(fact)[:_LONGEST_FACT])


def _other_statements(stored: Result, computed: Result, same_machine: bool) -> Iterator[str]:
    """Names of what a record states and the computed one does not.

    Equal predictions have equal values, metrics and folds on any machine. Where predictions differ
    on another machine, the ends of the interval may differ as the value may, and values of folds,
    further metrics and masks are not compared. A setting that only one of them has is of another
    version of etab, as are notes.
    """
    for name in _FACTS:
        if getattr(stored, name) != getattr(computed, name):
            yield name
    for name in sorted(stored.settings.keys() & computed.settings.keys() - {"notes"}):
        if stored.settings[name] != computed.settings[name]:
            yield f"the setting {name}"
    if stored.masks and (same_machine or not computed.masks) and stored.masks != computed.masks:
        yield "masks"
    if not same_machine and stored.predictions_sha256 != computed.predictions_sha256:
        allowed = OTHER_MACHINE * (computed.high - computed.low) / 2
        for name in ("low", "high"):
            # Written so that a number that is none is another one.
            if not abs(getattr(stored, name) - getattr(computed, name)) <= allowed:
                yield name
        return
    for name in _NUMBERS:
        if not _equal(getattr(stored, name), getattr(computed, name)):
            yield name
    if not _alike(stored.metrics, computed.metrics):
        yield "metrics"
    if not _alike(_folds_of(stored, same_machine), _folds_of(computed, same_machine)):
        yield "folds"


def _folds_of(result: Result, same_machine: bool) -> list[dict[str, Any]]:
    """The folds of a result; what a fold chose is compared on the same machine alone."""
    if same_machine:
        return [dict(fold) for fold in result.folds]
    return [{name: fold[name] for name in fold if name != "choice"} for fold in result.folds]


def _alike(stored: Any, computed: Any) -> bool:
    """Whether values of JSON are equal, numbers up to rounding."""
    if isinstance(stored, Mapping) and isinstance(computed, Mapping):
        same_names = stored.keys() == computed.keys()
        return same_names and all(_alike(stored[name], computed[name]) for name in stored)
    if isinstance(stored, list | tuple) and isinstance(computed, list | tuple):
        pairs = zip(stored, computed, strict=False)
        return len(stored) == len(computed) and all(_alike(one, two) for one, two in pairs)
    if isinstance(stored, float) and isinstance(computed, float):
        return _equal(stored, computed)
    return bool(stored == computed)


def _equal(stored: float | None, computed: float | None) -> bool:
    if stored is None or computed is None:
        return stored is computed
    return math.isclose(stored, computed, rel_tol=1e-6, abs_tol=1e-9)


def _differ(stored: Predictions, computed: Predictions) -> int:
    """Count the rows whose stored predictions are other numbers than the computed ones."""
    if stored.items != computed.items or set(stored.columns) != set(computed.columns):
        return len(computed.items)
    unequal = np.zeros(len(stored.items), dtype=bool)
    for name, values in stored.columns.items():
        unequal |= values != computed.columns[name]
    return int(unequal.sum())
