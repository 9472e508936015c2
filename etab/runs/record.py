"""The record of a cell: made from the answers to its test rows, found again when a plan is resumed.

Frozen and fine-tuned cells are recorded, and compared with a stored record, by this code alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from etab import __version__
from etab.backbones.base import BackboneCard
from etab.backbones.identity import difference
from etab.backbones.pretraining import stated_pretraining
from etab.datasets.base import SOURCES
from etab.datasets.own.source import OwnRecordings
from etab.errors import ResultError, UndefinedError
from etab.heads.base import FoldFit
from etab.leaderboard.seen import seen_tasks
from etab.metrics import METRICS
from etab.metrics import basic as metrics
from etab.metrics.columns import ScoredRows
from etab.metrics.intervals import LEVEL, cell_rng, interval_of
from etab.results import Predictions, Result
from etab.results.masks import mask_digest, mask_facts
from etab.runs.data import Data
from etab.runs.leaks import seen_notes
from etab.runs.provenance import provenance
from etab.runs.run import Run, Settings
from etab.runs.skip_bad import left_out
from etab.runs.whole_tables import has_its_table
from etab.storage.text import printable
from etab.tasks.base import Task
from etab.tasks.protocols import parse
from etab.tasks.rows import Rows
from etab.types import RowSplit

_LONGEST_PRETRAINING = 200


@dataclass(frozen=True, slots=True)
class Answered:
    """A cell whose test rows are answered.

    Attributes:
        run: The cell.
        rows: All rows of its task.
        splits: The splits, with indexes into ``rows``.
        fits: The answers and choices of each split.
        table: The answers to all test rows, as they are saved.
    """

    run: Run
    rows: Rows
    splits: Sequence[RowSplit]
    fits: Sequence[FoldFit]
    table: Predictions


@dataclass(frozen=True, slots=True)
class Origin:
    """The inputs from which the answers of a cell were computed.

    Attributes:
        weights_sha256: Identity of the backbone.
        features_key: Key of the features; for a fine-tuned backbone, of the training.
        settings: Whatever else decides the scores.
        provenance: Facts of this computation that decide nothing: times, the device.
    """

    weights_sha256: str
    features_key: str
    settings: Mapping[str, Any]
    provenance: Mapping[str, Any]


def result_of(
    cell: Answered,
    origin: Origin,
    data: Data,
    *,
    more_metrics: Mapping[str, float] | None = None,
) -> Result:
    """Score the answers of a cell and make its record.

    Args:
        cell: The answered cell.
        origin: What the answers were computed from.
        data: The data of the plan.
        more_metrics: Metrics besides those of the task's kind.

    Returns:
        The record, with a 95 % interval over resamples of the patients.

    Raises:
        UndefinedError: If the task's metric does not exist for these answers.
    """
    run = cell.run
    task = cell.run.row
    table = cell.table
    values = {
        **metrics.evaluate_rows(ScoredRows.of(table)),
        **(more_metrics or {}),
    }
    interval = interval_of(task.code, task.metric, run.seed, table)
    faults = data.source(task.dataset).faults or ()
    return Result(
        task=task.code,
        task_version=task.version,
        backbone=run.backbone,
        head=run.head_name,
        protocol=run.protocol_name,
        seed=run.seed,
        dataset=task.dataset,
        phantom=any(data.source(name).phantom for name in task.datasets),
        metric=task.metric,
        value=values[task.metric],
        low=interval.low,
        high=interval.high,
        level=LEVEL,
        interval=interval.method,
        metrics=values,
        folds=_folds(cell),
        nested=None,
        n_train=int(np.mean([len(split.train) for split in cell.splits])),
        n_test=len(set(table.items)),
        n_patients=len(set(table.patients)),
        weights_sha256=origin.weights_sha256,
        data_digest=data.digest(task.dataset),
        features_key=origin.features_key,
        settings=origin.settings,
        missing=[list(pair) for pair in cell.rows.missing],
        predictions_sha256=table.sha256(),
        anchor_low=task.low,
        anchor_high=task.high,
        provenance={
            **provenance(__version__),
            **_pretraining(run.backbone_card),
            **origin.provenance,
        },
        bad=left_out(task, faults, table.patients, protocol=run.protocol_name),
        masks=_masks(table),
        n_train_patients=_training_patients(cell),
    )


def _pretraining(card: BackboneCard) -> Mapping[str, str]:
    """What the backbone was pretrained on, for boards of users who do not have its card."""
    stated = stated_pretraining(card)
    return {"pretraining": printable(stated)[:_LONGEST_PRETRAINING]} if stated else {}


def _training_patients(cell: Answered) -> int:
    """Number of training patients, the mean over the splits, where only the run can know it.

    0 where the table of predictions has the rows of training, and where every fit trains on the
    patients that other fits test.
    """
    task = cell.run.row
    rotates = parse(cell.run.protocol_name).sort in ("cv", "lodo") and not task.fit_on
    if rotates or not task.aggregate:
        return 0
    counts = [len(set(cell.rows.patients[split.train].tolist())) for split in cell.splits]
    return round(float(np.mean(counts)))


def _masks(table: Predictions) -> Mapping[str, Any]:
    """Digests of the predicted masks of a table; empty where it has none."""
    if not table.masks:
        return {}
    digests = [mask_digest(mask) for mask in table.masks]
    return mask_facts(table.items, table.repeats, digests)


def brief(result: Result) -> Result:
    """Leave out what only the file of a result needs, most of its size: tens of thousands fit.

    Args:
        result: A result that is saved.

    Returns:
        The result without folds, facts of masks, provenance and settings except its notes.
    """
    kept = {name: result.settings[name] for name in ("notes",) if name in result.settings}
    return replace(result, folds=[], settings=kept, masks={}, provenance={}, as_written=True)


def path_of_run(run: Run, results: Path) -> Path:
    """Name the file of the record of a cell.

    Args:
        run: The cell.
        results: Folder of the results.

    Example:
        >>> path_of_run(Run("b0-A4-E", "image_stats"), Path("results")).parts[:2]
        ('results', 'echonet')
    """
    return Result.path_of(
        results,
        run.row.dataset,
        run.task,
        run.backbone,
        run.protocol_name,
        run.seed,
        run.head_name,
    )


def stored_result(
    run: Run, facts: Mapping[str, Any], settings: Settings, data: Data
) -> Result | None:
    """Find the record of a cell in the results folder.

    Args:
        run: The cell.
        facts: What decides its scores beyond data and weights, as a new record would hold it.
        settings: Where the results are.
        data: The data of the plan.

    Returns:
        The record, or None where the cell has to be run: it is absent, or its predictions are
        absent or not those of the record, which a warning reports.

    Raises:
        ResultError: If a record is there that would not come out today: data, versions,
            precision or anchors differ. Results are never overwritten.
    """
    task = run.row
    path = path_of_run(run, settings.results)
    if not path.exists():
        return None
    stored = Result.load(path)
    before = {
        **stored.settings,
        "data": stored.data_digest,
        "task version": stored.task_version,
        "anchors": [stored.anchor_low, stored.anchor_high],
    }
    now = {
        **facts,
        "data": data.digest(task.dataset),
        "task version": task.version,
        "anchors": [task.low, task.high],
    }
    differ = [name for name, value in now.items() if before.get(name) != value]
    seen = bool(seen_notes(data.source(task.dataset), run.backbone_card))
    if seen != bool(seen_tasks({task.code: stored})):
        differ.append("data of the pretraining")
    if differ:
        raise ResultError(
            f"{path} was made with different {_in_words(differ, task)}. Results are "
            "never overwritten: move the old files away, or choose another results folder."
        )
    # Where the predictions beside it are gone or damaged, saving the same cell again writes them.
    return stored if has_its_table(path, stored) else None


def is_of_backbone(run: Run, stored: Result, settings: Settings) -> bool:
    """Check that a record is of the backbone of a cell, and not of another one of its name.

    Args:
        run: The cell.
        stored: Its record, as ``stored_result`` finds it.
        settings: Where the results are.

    Returns:
        False where the backbone cannot be loaded, so that nothing is known. Running the cell reports
        why, and ends this backbone alone.

    Raises:
        ResultError: The record is of another backbone. Results are never overwritten.
    """
    try:
        reason = difference(run.backbone_card, stored.weights_sha256)
    except Exception:  # of a file or a class of the user's own it may be any
        return False
    if reason:
        raise ResultError(f"{stored.path(settings.results)} is not reused: {reason}")
    return True


def _in_words(names: Sequence[str], task: Task) -> str:
    """The facts of a record as a message names them."""
    words = {"sha256": "weights"}
    if issubclass(SOURCES[task.dataset], OwnRecordings):
        words["data"] = "data (the table, its description or its files changed)"
    return ", ".join(words.get(name, name.replace("_", " ")) for name in names)


def rng_of(run: Run, stream: int = 0, repeat: int = 0) -> np.random.Generator:
    """Make the random generator of a cell.

    It is the same for every backbone, so that backbones share folds and resamples.

    Args:
        run: The cell; its task and seed decide.
        stream: A number for each use: 0 for heads, 1 for resamples, 3 for thresholds.
        repeat: The division into folds. Repeat r has the generator of a run with the seed s + r.

    Returns:
        A new generator.
    """
    return cell_rng(run.task, run.seed + repeat, stream)


def _folds(cell: Answered) -> list[Mapping[str, Any]]:
    """Value and choice of each split; the value is None where a metric does not exist."""
    folds: list[Mapping[str, Any]] = []
    for split, fit in zip(cell.splits, cell.fits, strict=True):
        tested = rows_of_split(cell.table, split.name, split.repeat)
        fold: dict[str, Any] = {
            "name": split.name,
            "value": value_or_none(cell.run.row.metric, tested),
            "n_test": len(tested),
            "choice": dict(fit.choice),
        }
        if cell.table.n_repeats > 1:
            fold["repeat"] = split.repeat
        folds.append(fold)
    return folds


def rows_of_split(table: Predictions, name: str, repeat: int) -> ScoredRows:
    """Select the rows that one split tested.

    Args:
        table: The predictions of a cell.
        name: Name of the split.
        repeat: The division into folds that the split belongs to.

    Returns:
        The rows.
    """
    tested = (np.array(table.folds) == name) & (np.array(table.repeats) == repeat)
    return ScoredRows.of(table).select(tested)


def value_or_none(metric: str, rows: ScoredRows) -> float | None:
    """Compute a metric; None where it does not exist for these rows."""
    try:
        return METRICS[metric].value(rows)
    except UndefinedError:
        return None
