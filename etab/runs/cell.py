"""A Run is one cell: a task, a backbone, a head, a protocol, a seed. Only here do data, backbones and heads meet."""

from __future__ import annotations

import time
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

import numpy as np

from etab import __version__, datasets, heads
from etab.datasets.base import Source
from etab.echo.surface import Outline
from etab.features.base import input_of
from etab.features.store import FrameFeatures
from etab.heads.base import FoldFit, Head
from etab.metrics import basic as metrics
from etab.metrics import uncertainty as stats
from etab.results import Predictions, Result
from etab.runs import cross, studies
from etab.runs import thresholds as decisions
from etab.runs.data import data_digest, outlines_of, rows_of, source_of
from etab.runs.provenance import provenance
from etab.runs.run import BOOTSTRAPS, VERSION, Run, Settings
from etab.runs.skip_bad import left_out
from etab.runs.tables import laid_out
from etab.tasks.aggregate import AGGREGATES
from etab.tasks.base import Task
from etab.tasks.protocols import cells_of, parse, remarks, splits_of
from etab.tasks.rows import Rows
from etab.types import Features, IntArray, RowSplit

_NESTED_REPEATS = 4
_FEW = 1000  # patients: the resamples of cells with more are drawn anew for each backbone


def _settings_of(run: Run, precision: str, settings: Settings) -> dict[str, Any]:
    """What decides a score beyond data and weights: this is what resuming compares."""
    card, head, task = run.backbone_card, heads.head(run.head_name), run.row
    more: dict[str, Any] = {"sampling": task.family} if task.clip else {}
    if task.fit_on:
        more |= {
            "fit_on": task.fit_on,
            "fit_data_digest": data_digest(task.fit_on, *settings.where),
        }
    return {
        **more,
        "runs_version": VERSION,
        "head_version": head.version,
        "backbone_version": card.version,
        "family": card.family,
        "size": card.size,
        "interpolation": card.interpolation,
        "precision": precision,
        "sha256": card.sha256,
        "bootstraps": BOOTSTRAPS,
        **input_of(run.row).facts(run.row, card),
    }


def resolve_precision(run: Run, settings: Settings) -> str:
    """What "auto" means for this backbone on this machine."""
    return input_of(run.row).precision(settings.precision, run.backbone_card, settings.device)


def _splits(run: Run, rows: Rows) -> list[RowSplit]:
    if run.row.fit_on:
        return cross.splits(rows, protocol=run.protocol_name, n_fold=run.n_fold, seed=run.seed)
    return splits_of(run.protocol_name, run.seed, rows, run.row.kind)


def compute(
    run: Run, embedded: FrameFeatures, settings: Settings, memo: MutableMapping[Any, Any]
) -> tuple[Result, Predictions]:
    """Fit and score one cell on features that are already there; ``memo`` serves cells of the same rows."""
    started = time.perf_counter()
    task, head = run.row, heads.head(run.head_name)
    rows = rows_of(task, *settings.where)
    features = input_of(task).pick(
        embedded.features, rows, maps=head.needs_maps, sequences=head.needs_sequences
    )
    splits = _splits(run, rows)
    shared = memo.setdefault(rows.items, {})
    shared["cells"] = (
        rows.parts if task.fit_on else cells_of(run.protocol_name, run.n_fold, run.seed, rows)
    )
    shared["precision"] = embedded.settings["precision"]
    fits = head.cross_fit(
        features, rows.answers, rows.patients, splits, target_of(task), rng=rng_of(run), memo=shared
    )
    outlines = outlines_of(task, *settings.where)
    if task.aggregate and AGGREGATES[task.aggregate].beside:
        beside = studies.view_answers(source_of(task.dataset, *settings.where), rows)
        fit = partial(_fit, run, head, features, rows, shared)
        predictions, fits = studies.diagnosed(task, rows, beside, splits, fits, fit)
    else:
        rules = _rules(run, head, features, rows, splits, shared)
        if rules:
            fits = [
                replace(f, choice={**f.choice, **rule.facts()})
                for f, rule in zip(fits, rules, strict=True)
            ]
        predictions = predictions_of(task, rows, outlines, splits, fits, rules)
    nested = _nested(run, rows, features, shared)
    result = _result(run, rows, splits, fits, predictions, nested, embedded, settings)
    seconds = round(time.perf_counter() - started, 3)
    return replace(result, provenance={**result.provenance, "seconds": seconds}), predictions


def _fit(
    run: Run,
    head: Head,
    features: Features,
    rows: Rows,
    memo: MutableMapping[Any, Any],
    target: str,
    answers: Any,
    splits: Sequence[RowSplit],
) -> list[FoldFit]:
    """Fit a second probe on the rows of a cell."""
    about = datasets.SOURCES[run.row.dataset].card.target(target)
    return head.cross_fit(
        features, answers, rows.patients, splits, about, rng=rng_of(run), memo=memo
    )


def target_of(task: Task) -> Any:
    """What a task asks, as the card of its data says it."""
    return datasets.SOURCES[task.dataset].card.target(task.target)


def rng_of(run: Run, stream: int = 0) -> np.random.Generator:
    """One stream a cell, the same for every backbone, so that backbones share folds and resamples."""
    return np.random.default_rng([run.seed, stream, *run.task.encode()])


@lru_cache(maxsize=64)
def _resamples(task: str, seed: int, n_patients: int) -> IntArray:
    """How often each patient is drawn in each resample of a cell, for every backbone."""
    rng = rng_of(Run(task, "", seed=seed), 1)
    return stats.resample_weights(n_patients, BOOTSTRAPS, rng).astype(np.uint16)


def _rules(
    run: Run,
    head: Head,
    features: Features,
    rows: Rows,
    splits: Sequence[RowSplit],
    memo: MutableMapping[Any, Any],
) -> list[decisions.Rule]:
    """For each split, how scores become classes; none where the metric is of scores."""
    task = run.row

    def answers(inner: Sequence[RowSplit]) -> list[Any]:
        fits = head.cross_fit(
            features,
            rows.answers,
            rows.patients,
            inner,
            target_of(task),
            rng=rng_of(run, 3),
            memo=memo,
        )
        return [fit.predictions for fit in fits]

    if not decisions.needed(task):
        return []
    return decisions.choose(
        task, splits, rows.patients, answers, lambda i, s: laid_out(task, rows, (), i, [s])[2]
    )


def predictions_of(
    task: Task,
    rows: Rows,
    outlines: Sequence[Outline],
    splits: Sequence[RowSplit],
    fits: Sequence[FoldFit],
    rules: Sequence[decisions.Rule],
) -> Predictions:
    """Lay the answers of all folds out as one table, a line a row (or unit) of the test parts."""
    order = np.concatenate([s.test for s in splits])
    kept, items, columns = laid_out(task, rows, outlines, order, [f.predictions for f in fits])
    tested = [s.name for s in splits for _ in s.test]
    names = [tested[i] for i in kept]
    if rules:
        columns["answer"] = decisions.applied(rules, names, splits, columns)
    return Predictions(
        kind=task.kind,
        items=tuple(items),
        patients=tuple(str(rows.patients[i]) for i in order[kept]),
        folds=tuple(names),
        columns=columns,
    )


def _nested(
    run: Run, rows: Rows, features: Features, memo: MutableMapping[Any, Any]
) -> dict[str, float] | None:
    """Nested cross-validation interval where the head is ridge, a patient is a row, and the rows fit a kernel."""
    how = parse(run.protocol_name)
    if (
        run.head_name != "ridge"
        or not how.n_fold
        or how.few
        or rows.n_patients != len(rows.items)
        or run.row.fit_on
    ):
        return None
    if len(rows.items) > heads.LIMIT or how.n_fold < 3:  # the inner fits leave two folds out
        return None
    losses = heads.ridge_losses(features, rows.answers, rows.patients, memo=memo)
    found = stats.nested_cv(
        losses, rows.n_patients, n_fold=how.n_fold, repeats=_NESTED_REPEATS, rng=rng_of(run, 2)
    )
    return {"value": found.value, "low": found.low, "high": found.high}


def folds_of(
    task: Task, splits: Sequence[RowSplit], fits: Sequence[FoldFit], table: Predictions
) -> list[Mapping[str, Any]]:
    """Value and choice of each fold; a fold on which the metric does not exist says so with None."""
    out: list[Mapping[str, Any]] = []
    names = np.array(table.folds)
    for split, fit in zip(splits, fits, strict=True):
        mask = names == split.name
        columns = {k: v[mask] for k, v in table.columns.items()}
        scored = metrics.evaluate(task.kind, columns, np.array(table.patients)[mask])
        out.append(
            {
                "name": split.name,
                "value": scored.get(task.metric),
                "n_test": int(mask.sum()),
                "choice": dict(fit.choice),
            }
        )
    return out


def _result(
    run: Run,
    rows: Rows,
    splits: Sequence[RowSplit],
    fits: Sequence[FoldFit],
    table: Predictions,
    nested: Mapping[str, float] | None,
    embedded: FrameFeatures,
    settings: Settings,
) -> Result:
    task, patients = run.row, np.array(table.patients)
    scored = metrics.evaluate(task.kind, table.columns, patients) | studies.upstream(
        task.kind, table.columns
    )
    scored |= studies.upstream_views(task, table.columns)
    n = len(set(table.patients))
    resamples = (_resamples if n <= _FEW else _resamples.__wrapped__)(run.task, run.seed, n)
    interval = stats.resampled(task.metric, task.kind, table.columns, patients, resamples)
    source = source_of(task.dataset, *settings.where)
    phantom = any(source_of(name, *settings.where).phantom for name in task.datasets)
    return Result(
        task=task.code,
        task_version=task.version,
        backbone=run.backbone,
        head=run.head_name,
        protocol=run.protocol_name,
        seed=run.seed,
        dataset=task.dataset,
        phantom=phantom,
        metric=task.metric,
        value=scored[task.metric],
        low=interval.low,
        high=interval.high,
        level=0.95,
        interval=interval.method,
        metrics=scored,
        folds=folds_of(task, splits, fits, table),
        nested=nested,
        n_train=int(np.mean([len(s.train) for s in splits])),
        n_test=len(table.items),
        n_patients=len(set(table.patients)),
        weights_sha256=embedded.weights_sha256,
        data_digest=data_digest(task.dataset, *settings.where),
        features_key=embedded.key,
        settings={
            **_settings_of(run, embedded.settings["precision"], settings),
            "n_fold": run.n_fold,
            **_said(source, remarks(task, run.protocol_name, rows)),
        },
        missing=[list(pair) for pair in rows.missing],
        predictions_sha256=table.sha256(),
        anchor_low=task.low,
        anchor_high=task.high,
        provenance={
            **provenance(__version__),
            "device": settings.device,
            "started": datetime.now(UTC).isoformat(),
        },
        bad=left_out(task, source.faults or (), table.patients, protocol=run.protocol_name),
    )


def _said(source: Source, more: Sequence[str]) -> dict[str, Any]:
    """What a reader of the result must know of the data and of the protocol; nothing where there is nothing."""
    notes = [*source.notes(), *more]
    return {"notes": notes} if notes else {}
