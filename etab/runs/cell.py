"""A Run is one cell: a task, a backbone, a head, a protocol, a seed. Only here do data, backbones
and heads meet.
"""

from __future__ import annotations

import time
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import numpy as np

from etab import datasets, heads
from etab.backbones.base import SQUASH
from etab.datasets.integrity.alike import alike_note
from etab.echo.surface import Outline
from etab.errors import UndefinedError
from etab.features.base import input_of
from etab.features.sketch import narrowed
from etab.features.store import FrameFeatures
from etab.features.tokens import row_tokens
from etab.features.windows import COLUMNS_OF_RECORDS
from etab.heads.base import FoldFit, Head, Memo
from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows
from etab.metrics.intervals import BOOTSTRAPS
from etab.results import Predictions, Result
from etab.results.notes import bounded_notes
from etab.runs import cross, leaks, studies
from etab.runs.added import added_code
from etab.runs.data import Data
from etab.runs.record import Answered, Origin, result_of, rng_of
from etab.runs.run import RUNS_VERSION, Run, Settings
from etab.runs.tables import laid_out
from etab.storage.machine import one_thread
from etab.tasks import thresholds
from etab.tasks.aggregate import AGGREGATES
from etab.tasks.base import Task
from etab.tasks.protocol_rows import cells_of, remarks, splits_of
from etab.tasks.rows import Rows
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit, Target


def settings_of(run: Run, precision: str, data: Data) -> dict[str, Any]:
    """List what decides a score beyond data and weights: resuming compares these facts.

    Args:
        run: The cell.
        precision: "fp32" or "bf16", never "auto".
        data: The data of the plan.

    Returns:
        The facts by name.
    """
    card = run.backbone_card
    head = heads.head(run.head_name)
    task = run.row
    more: dict[str, Any] = {"sampling": task.family} if task.clip else {}
    if run.decide is not None:
        more["decide"] = run.decide
    split_version = data.split_version(task, run.protocol_name)
    if split_version > 1:
        more["split_version"] = split_version
    if card.fit != SQUASH:
        more["fit"] = card.fit
    if card.own_scale:
        more |= {"mean": list(card.mean), "std": list(card.std)}
    if task.fit_on:
        more |= {"fit_on": task.fit_on, "fit_data_digest": data.digest(task.fit_on)}
    return {
        **more,
        "runs_version": RUNS_VERSION,
        "head_version": head.version_of(target_of(task)),
        "backbone_version": card.version,
        "family": card.family,
        "size": card.size,
        "interpolation": card.interpolation,
        "precision": precision,
        "sha256": card.sha256,
        "bootstraps": BOOTSTRAPS,
        **input_of(task).facts(task, card),
        **added_code(task, head),
    }


def precision_of_run(run: Run, settings: Settings) -> str:
    """Return the precision in which the backbone of a cell computes, "fp32" or "bf16".

    Args:
        run: The cell.
        settings: The precision ("auto" depends on the backbone and the machine) and the device.
    """
    return input_of(run.row).precision(settings.precision, run.backbone_card, settings.device)


def _splits(run: Run, rows: Rows) -> list[RowSplit]:
    if run.row.fit_on:
        return cross.splits(rows, protocol=run.protocol_name, n_fold=run.n_fold, seed=run.seed)
    return splits_of(run.protocol_name, run.seed, rows, run.row.kind)


def refuse_leaks(run: Run, data: Data) -> None:
    """Refuse a cell that would train on a recording and test a copy of it.

    Args:
        run: The cell.
        data: The data of the plan.

    Raises:
        SplitError: If one of two equal recordings is trained on and the other is tested.
    """
    alike = data.alike(run.row.dataset)
    if not any(pair.exact for pair in alike):
        return
    rows = data.rows_of_people(run.row, run.protocol_name)
    try:
        splits = _splits(run, rows)
    except UndefinedError:
        return  # running the cell says which metric or draw does not exist
    leaks.refuse_copies(run.task, rows.records, splits, alike)


def compute(
    run: Run,
    embedded: FrameFeatures,
    settings: Settings,
    data: Data,
    memo: MutableMapping[Any, Any],
    beside: Sequence[Run] = (),
) -> tuple[Result, Predictions]:
    """Fit and score one cell on features that are already there.

    Args:
        run: The cell.
        embedded: The features of everything that the task's family uses.
        settings: How the plan is run.
        data: The data of the plan.
        memo: Keeps what cells of the same rows share.
        beside: Cells that differ from this one in their task alone, and are computed next on the
            same features with this memo. Those with the same rows may be fitted at the same time.

    Returns:
        The record and the answers to all test rows.

    Raises:
        UndefinedError: If the task's metric does not exist for these rows.
    """
    started = time.perf_counter()
    work = _Work.of(run, embedded, data, memo)
    _refuse_unscored(run.row, work.rows)
    work.memo.beside = work.answers_beside(beside, data)
    work.memo.seconds_beside = 0.0
    with one_thread(torch_too=not work.head.uses_torch):
        result, table = _answered(work, embedded, settings, data)
    seconds = round(time.perf_counter() - started - work.memo.seconds_beside, 3)
    return replace(result, provenance={**result.provenance, "seconds": seconds}), table


def _refuse_unscored(task: Task, rows: Rows) -> None:
    """Refuse a task whose metric needs what the data say of some recordings alone, or of none."""
    needed = METRICS[task.metric].needs & set(COLUMNS_OF_RECORDS)
    absent = sorted(needed - set(rows.extras))
    if absent:
        raise UndefinedError(
            f"{task.code}: {task.metric} needs {absent[0]} of every recording, and the data do not "
            f"have it. `etab list metrics {task.kind}` lists other metrics."
        )


def _answered(
    work: _Work, embedded: FrameFeatures, settings: Settings, data: Data
) -> tuple[Result, Predictions]:
    """Fit and score one cell."""
    run = work.run
    fits, table = work.answers(data)
    more_metrics = studies.upstream_metrics(run.row, ScoredRows.of(table))
    origin = Origin(
        embedded.weights_sha256,
        embedded.key,
        work.settings(embedded, data),
        {"device": settings.device, "started": datetime.now(UTC).isoformat()},
    )
    cell = Answered(run, work.rows, work.splits, fits, table)
    result = result_of(cell, origin, data, more_metrics=more_metrics)
    return result, table


@dataclass(frozen=True, slots=True)
class _Work:
    """Everything that the fits of one cell need."""

    run: Run
    head: Head
    rows: Rows
    features: Features
    splits: list[RowSplit]
    memo: Memo

    @staticmethod
    def of(run: Run, embedded: FrameFeatures, data: Data, memos: MutableMapping[Any, Any]) -> _Work:
        """Select the features of the task's rows and split the rows."""
        task = run.row
        head = heads.head(run.head_name)
        rows = data.rows_of_people(task, run.protocol_name)
        if head.needs_tokens:
            features = row_tokens(task, embedded.features, rows)
        else:
            picked = input_of(task).pick(
                embedded.features, rows, maps=head.needs_maps, sequences=head.needs_sequences
            )
            features = narrowed(picked)
        cells: Array | None = rows.parts
        if not task.fit_on:
            cells = cells_of(run.protocol_name, run.n_fold, run.seed, rows)
        memo = memos.setdefault(rows.items, Memo())
        memo.cells = cells
        memo.groups = np.array(rows.groups) if rows.groups else None
        memo.precision = embedded.settings["precision"]
        memo.balanced = thresholds.needed(task)
        memo.cut_values = data.values_of_classes(task)
        return _Work(run, head, rows, features, _splits(run, rows), memo)

    def answers_beside(self, others: Sequence[Run], data: Data) -> list[Any]:
        """The answers of those of the cells that come next that have the same rows.

        A cell whose rows cannot be read is left out: it says so itself when it is computed.
        """
        if not self.head.fits_beside:
            return []
        found = []
        for other in others:
            try:
                rows = data.rows_of_people(other.row, other.protocol_name)
            except Exception:  # of a class of the user's own it may be any
                continue
            if other.row.kind is self.run.row.kind and rows.items == self.rows.items:
                found.append(rows.answers)
        return found

    def answers(self, data: Data) -> tuple[list[FoldFit], Predictions]:
        """Fit every split and lay the answers to the test rows out as a table."""
        task = self.run.row
        rows = self.rows
        fits = self.fit(task.target, rows.answers, self.splits)
        if task.aggregate and AGGREGATES[task.aggregate].beside:
            views = studies.view_answers(data.source(task.dataset), rows)
            table, fits = studies.diagnosed(task, rows, views, self.splits, fits, self.fit)
            return fits, table
        rules = self._rules()
        if rules:
            fits = [
                replace(fit, choice={**fit.choice, **rule.facts()})
                for fit, rule in zip(fits, rules, strict=True)
            ]
        return fits, predictions_of(task, rows, data.outlines(task), self.splits, fits, rules)

    def fit(
        self, target: str, answers: Any, splits: Sequence[RowSplit], stream: int = 0
    ) -> list[FoldFit]:
        """Fit the head for a target of the dataset on the rows of the cell.

        Splits of several repeats are fitted one repeat after another. They share what no label and
        no split enters, such as kernels.
        """
        fits: list[FoldFit] = []
        for repeat, of_repeat in groupby(splits, key=lambda split: split.repeat):
            if fits:
                self.memo.forget_fits()
            predicted = datasets.SOURCES[self.run.row.dataset].card.target(target)
            fits += self._fit_repeat(predicted, answers, list(of_repeat), stream, repeat)
        return fits

    def _fit_repeat(
        self, target: Target, answers: Any, splits: list[RowSplit], stream: int, repeat: int
    ) -> list[FoldFit]:
        """Fit the splits of one repeat, with cells beside this one where that goes well."""

        def fitted() -> list[FoldFit]:
            fits = self.head.cross_fit(
                self.features,
                answers,
                self.rows.patients,
                splits,
                target,
                rng=rng_of(self.run, stream, repeat),
                memo=self.memo,
            )
            sketches = {key: dict(facts) for key, facts in self.features.sketches.items()}
            if self.head.needs_maps or not sketches:
                return fits
            return [replace(fit, choice={**fit.choice, "sketches": sketches}) for fit in fits]

        if not self.memo.beside:
            return fitted()
        try:
            return fitted()
        except Exception:
            # A cell beside this one may be at fault, and fails by itself when its turn comes. If this
            # one is, the fit alone fails too, and its error is reported.
            self.memo.beside = ()
            return fitted()

    def _rules(self) -> list[thresholds.Rule]:
        """For each split, how scores become classes; none where the metric is of scores."""
        task = self.run.row
        rows = self.rows
        if not thresholds.needed(task):
            return []

        def answers(inner: Sequence[RowSplit]) -> list[Any]:
            fits = self.fit(task.target, rows.answers, inner, stream=3)
            return [fit.predictions for fit in fits]

        def columns(order: IntArray, scores: FloatArray) -> dict[str, FloatArray]:
            return laid_out(task, rows, (), order, [scores])[2]

        if self.run.decide == "balanced":
            return thresholds.balanced(task, self.splits, columns, even=self.head.balances)
        return thresholds.choose(task, self.splits, rows.patients, answers, columns)

    def settings(self, embedded: FrameFeatures, data: Data) -> dict[str, Any]:
        """The facts that the record of the cell holds, with notes on the data and the protocol."""
        run = self.run
        facts = settings_of(run, embedded.settings["precision"], data)
        source = data.source(run.row.dataset)
        alike = leaks.within(self.rows.records, data.alike(run.row.dataset))
        notes = [
            *leaks.seen_notes(source, run.backbone_card),
            *source.notes(),
            *alike_note(alike),
            *remarks(run.row, run.protocol_name, self.rows),
        ]
        return {**facts, "n_fold": run.n_fold, **({"notes": bounded_notes(notes)} if notes else {})}


def target_of(task: Task) -> Target:
    """Find the target of a task on the card of its dataset."""
    return datasets.SOURCES[task.dataset].card.target(task.target)


def predictions_of(
    task: Task,
    rows: Rows,
    outlines: Sequence[Outline],
    splits: Sequence[RowSplit],
    fits: Sequence[FoldFit],
    rules: Sequence[thresholds.Rule],
) -> Predictions:
    """Lay the answers of all folds out as one table, one line per row (or unit) of the test parts.

    Repeats follow one after another: the rows of a unit are of one repeat only.

    Args:
        task: The task.
        rows: The rows of the task.
        outlines: The true masks, prepared for scoring; empty for other kinds of tasks.
        splits: The splits of the rows.
        fits: The fitted probe of each split, with the predictions of its test rows.
        rules: The decision rule of each split; empty for tasks without decisions.
    """
    parts: list[Predictions] = []
    for repeat in sorted({split.repeat for split in splits}):
        chosen = [i for i, split in enumerate(splits) if split.repeat == repeat]
        parts.append(
            _of_one_repeat(
                task,
                rows,
                outlines,
                [splits[i] for i in chosen],
                [fits[i] for i in chosen],
                [rules[i] for i in chosen] if rules else [],
            )
        )
    return _joined(parts)


def _of_one_repeat(
    task: Task,
    rows: Rows,
    outlines: Sequence[Outline],
    splits: Sequence[RowSplit],
    fits: Sequence[FoldFit],
    rules: Sequence[thresholds.Rule],
) -> Predictions:
    """The table of the splits of one repeat."""
    order = np.concatenate([s.test for s in splits])
    positions, items, columns = laid_out(task, rows, outlines, order, [f.predictions for f in fits])
    tested = [s.name for s in splits for _ in s.test]
    names = [tested[i] for i in positions]
    if rules:
        columns["answer"] = thresholds.applied(rules, names, splits, columns)
    masks: list[Array] = []
    if task.kind is Kind.MASK:
        masks = [np.asarray(mask, dtype=bool) for fit in fits for mask in fit.predictions]
    states: list[Array] = []
    if task.kind is Kind.STATES and not task.aggregate:
        states = [np.asarray(row, dtype=np.int8) for fit in fits for row in fit.predictions]
    return Predictions(
        kind=task.kind,
        items=tuple(items),
        patients=tuple(str(rows.patients[i]) for i in order[positions]),
        folds=tuple(names),
        columns=columns,
        repeats=(splits[0].repeat,) * len(items),
        masks=masks,
        states=states,
    )


def _joined(parts: Sequence[Predictions]) -> Predictions:
    """The tables of all repeats, one after another."""
    if len(parts) == 1:
        return parts[0]
    columns = {
        name: np.concatenate([part.columns[name] for part in parts]) for name in parts[0].columns
    }
    return Predictions(
        kind=parts[0].kind,
        items=tuple(item for part in parts for item in part.items),
        patients=tuple(patient for part in parts for patient in part.patients),
        folds=tuple(fold for part in parts for fold in part.folds),
        columns=columns,
        repeats=tuple(repeat for part in parts for repeat in part.repeats),
        masks=[mask for part in parts for mask in part.masks],
        states=[states for part in parts for states in part.states],
    )
