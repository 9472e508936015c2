"""A Run is one cell: a task, a backbone, a head, a protocol, a seed. Only here do data, backbones and heads meet."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from etab import (
    __version__,
    backbones,
    cross,
    datasets,
    decisions,
    heads,
    inputs,
    metrics,
    stats,
    studies,
)
from etab.aggregate import AGGREGATES
from etab.backbones.base import BackboneCard
from etab.datasets.base import Source
from etab.errors import EtabError, IncompatibleError, ResultError, UndefinedError
from etab.features import FrameFeatures
from etab.heads.base import FoldFit, Head
from etab.memory import give_back
from etab.opened import clips_at, data_digest, outlines_of, rows_of, source_of
from etab.protocols import cells_of, chosen, parse, protocol_name, remarks, splits_of
from etab.provenance import provenance
from etab.results import Predictions, Result
from etab.rows import Rows
from etab.sieve import left_out
from etab.surface import Outline
from etab.tables import laid_out
from etab.tasks import TASKS, Task, find
from etab.types import Features, IntArray, Kind, RowSplit

PROTOCOLS = ("official", "cv5")
VERSION = 1
BOOTSTRAPS = 2000
_NESTED_REPEATS = 4
_FEW = 1000  # patients: the resamples of cells with more are drawn anew for each backbone

Progress = Callable[[str, int, int], None]
Failed = Callable[["Run", EtabError], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a plan is run: none of these may change a score except ``precision`` and ``skip_bad``, which results record.

    skip_bad: recordings that cannot be read are left out instead of being an error.
    """

    root: Path | None = None
    results: Path = Path("results")
    cache: Path | None = None
    device: str = "cpu"
    precision: str = "auto"
    batch_size: int | None = None
    skip_bad: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """One cell of the board, by names; ``check`` reads cards only, ``execute`` does the work."""

    task: str
    backbone: str
    head: str | None = None
    protocol: str = "cv5"
    seed: int = 0
    n_fold: int = 5
    aggregate: str | None = None
    card: BackboneCard | None = field(default=None, compare=False, repr=False)

    @property
    def row(self) -> Task:
        """The task's row of the menu, with the aggregation asked for in place of its own."""
        task = TASKS[self.task]
        if self.aggregate is None:
            return task
        windows = AGGREGATES[self.aggregate].windows
        return replace(task, aggregate=self.aggregate, inputs="window" if windows else task.inputs)

    @property
    def backbone_card(self) -> BackboneCard:
        """The backbone's card: the one given, or the one the name stands for."""
        return self.card or backbones.card(self.backbone)

    @property
    def head_name(self) -> str:
        """The head asked for, or the task's own."""
        return self.head or self.row.head

    @property
    def protocol_name(self) -> str:
        """Protocol with the number of folds in it."""
        return protocol_name(self.protocol, self.n_fold)

    def check(self) -> None:
        """Read the three cards and list every clash in one message; needs neither data nor weights."""
        clashes: list[str] = []
        for look in (
            lambda: self.row,
            lambda: self.backbone_card,
            lambda: heads.head(self.head_name),
            lambda: self.protocol_name,
        ):
            try:
                look()
            except EtabError as error:
                clashes.append(str(error))
        if not clashes:
            clashes = list(_clashes(self.row, self.backbone_card, heads.head(self.head_name)))
            more = inputs.clash(
                self.row, self.backbone_card, heads.head(self.head_name), self.aggregate
            )
            clashes += [more] if more else []
            if parse(self.protocol_name).tuning:
                clashes.append(
                    f"{self.protocol_name} trains the backbone too: `etab finetune` does that."
                )
        if clashes:
            raise IncompatibleError(f"{self.task} with {self.backbone}: " + " Also: ".join(clashes))

    def execute(self, settings: Settings) -> Result:
        """Run this one cell, save it under ``settings.results`` and return it; a finished cell is read, not redone."""
        self.check()
        return next(iter(execute([self], settings)))


def _clashes(task: Task, card: BackboneCard, head: Head) -> Iterator[str]:
    source = datasets.SOURCES[task.dataset].card
    if task.fit_on and (clash := cross.clash(task)):
        yield clash
    if card.modality not in (source.modality, "image", "record"):
        yield f"{card.name} reads {card.modality}, {source.name} holds {source.modality}."
    if task.kind not in head.kinds:
        fits = [n for n in heads.names() if task.kind in heads.head(n).kinds]
        yield f"the head {head.name!r} cannot answer {task.target} ({task.kind}); these can: {', '.join(fits)}."
    if head.needs_maps and not card.strides:
        yield f"the head {head.name!r} needs feature maps and {card.name} has none."
    if card.clip is not None and task.clip is None:
        yield f"{card.name} embeds clips and the rows of {task.code} are none."
    if (
        head.needs_sequences
        and task.clip is None
        and not (card.over_time and task.kind is Kind.STATES)
    ):
        yield f"the head {head.name!r} needs sequences and the rows of {task.code} are no clips."


def plan(
    tasks: str | Iterable[str] | None,
    names: Sequence[str | BackboneCard],
    *,
    protocols: Sequence[str] | None = PROTOCOLS,
    head: str | Sequence[str] | None = None,
    seed: int = 0,
    n_fold: int = 5,
    aggregate: str | None = None,
) -> list[Run]:
    """Lay out every cell, checked: unknown names and clashes are raised before anything is read.

    Several heads make a cell each; those of one task and backbone stand together and read the same features.
    ``protocols`` None is those of each task. Tasks of states are left out for backbones without time, and, with
    ``aggregate``, tasks that score every row.
    """
    runs: list[Run] = []
    timeless = ""
    wanted = [head] if head is None or isinstance(head, str) else list(dict.fromkeys(head))
    for item in names:
        card = item if isinstance(item, BackboneCard) else backbones.card(item)
        for task in find(tasks):
            if task.kind is Kind.STATES and not card.over_time:
                timeless = f" {card.name} has no layers over time, which {task.code} goes by."
                continue
            if aggregate and not task.unit:
                continue
            for name in chosen(task, protocols, n_fold):
                runs += [
                    Run(task.code, card.name, one, name, seed, n_fold, aggregate, card)
                    for one in wanted
                    if one is None or task.kind in heads.head(one).kinds
                ]
    if not runs:
        said = " or ".join(repr(name) for name in wanted)
        asked = (
            f"the head {said} answers" if head else "these backbones and this aggregation answer"
        )
        raise IncompatibleError(f"Nothing to run: {asked} none of the chosen tasks.{timeless}")
    for run in runs:
        run.check()
    return runs


def _settings_of(run: Run, precision: str, settings: Settings) -> dict[str, Any]:
    """What decides a score beyond data and weights: this is what resuming compares."""
    card, head, task = run.backbone_card, heads.head(run.head_name), run.row
    more: dict[str, Any] = {"sampling": task.family} if task.clip else {}
    if task.fit_on:
        more |= {
            "fit_on": task.fit_on,
            "fit_data_digest": data_digest(task.fit_on, settings.root, settings.skip_bad),
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
        **inputs.settings_of(run.row, card),
    }


def finished(run: Run, settings: Settings) -> Result | None:
    """The saved result of this cell; None when it has to be run.

    Raises ResultError, before any work is done, when a result is there that would not come out today: data, versions,
    precision or anchors differ. Results are never overwritten.
    """
    path = Result.path_of(
        settings.results,
        run.row.dataset,
        run.task,
        run.backbone,
        run.protocol_name,
        run.seed,
        run.head_name,
    )
    if not path.exists():
        return None
    found = Result.load(path)
    there: dict[str, Any] = {
        **found.settings,
        "data": found.data_digest,
        "task version": found.task_version,
        "anchors": [found.anchor_low, found.anchor_high],
    }
    now: dict[str, Any] = {
        **_settings_of(run, resolve_precision(run, settings), settings),
        "task version": run.row.version,
        "data": data_digest(run.row.dataset, settings.root, settings.skip_bad),
        "anchors": [run.row.low, run.row.high],
    }
    differ = [name for name, value in now.items() if there.get(name) != value]
    if differ:
        raise ResultError(
            f"{path} was made under other conditions: {', '.join(differ)} differ. Results are never overwritten: move the "
            "old files away, or choose another results folder."
        )
    return found


def resolve_precision(run: Run, settings: Settings) -> str:
    """What "auto" means for this backbone on this machine."""
    return inputs.precision_of(settings.precision, run.backbone_card, settings.device, run.row)


def execute(
    runs: Sequence[Run],
    settings: Settings,
    *,
    progress: Progress | None = None,
    failed: Failed | None = None,
) -> Iterator[Result]:
    """Run cells, one backbone after the other, saving each as it is done; finished ones are read and given as they are.

    A cell whose metric does not exist (a test part with one class only) is told to ``failed`` and the others go on;
    without ``failed`` it is raised.
    """
    groups: dict[tuple[str, str, str, bool], list[Run]] = {}
    for run in runs:
        shown = (
            run.row.dataset,
            run.backbone,
            run.row.family,
            inputs.layered(run.row, run.backbone_card),
        )
        groups.setdefault(shown, []).append(run)
    for group in groups.values():
        yield from _execute_group(group, settings, progress, failed)


def _execute_group(
    group: list[Run], settings: Settings, progress: Progress | None, failed: Failed | None
) -> Iterator[Result]:
    waiting = []
    for run in group:
        done = finished(run, settings)
        if done is None:
            waiting.append(run)
        else:
            yield done
    if not waiting:
        return
    task, card = waiting[0].row, waiting[0].backbone_card
    report = (lambda done, total: progress(card.name, done, total)) if progress else None
    parts = [_embedded(code, card, settings, report) for code in task.parts]
    embedded = cross.joined_features(parts) if task.fit_on else parts[0]
    for _, alike in groupby(sorted(waiting, key=_order), key=_shared_by):
        memo: dict[Any, Any] = {}
        for run in alike:
            try:
                result, predictions = compute(run, embedded, settings, memo)
            except UndefinedError as error:
                if failed is None:
                    raise
                failed(run, error)
                continue
            result.save(settings.results, predictions)
            yield result
        del memo
        give_back()


def _embedded(
    code: str, card: BackboneCard, settings: Settings, report: Callable[[int, int], None] | None
) -> FrameFeatures:
    """Features of everything that the family of this row of the menu shows: annotated frames, clips, or windows."""
    task = TASKS[code]
    source, keys = source_of(task.dataset, settings.root, settings.skip_bad)
    clips = clips_at(task, settings.root, settings.skip_bad)[0] if task.clip else None
    return inputs.embed(
        source,
        clips.frames if clips else keys,
        card,
        cache=settings.cache,
        device=settings.device,
        precision=settings.precision,
        batch_size=settings.batch_size,
        progress=report,
        over=clips,
        data_digest=data_digest(task.dataset, settings.root, settings.skip_bad),
        series=inputs.layered(task, card),
    )


def _splits(run: Run, rows: Rows) -> list[RowSplit]:
    if run.row.fit_on:
        return cross.splits(rows, protocol=run.protocol_name, n_fold=run.n_fold, seed=run.seed)
    return splits_of(run.protocol_name, run.seed, rows, run.row.kind)


def _shared_by(run: Run) -> tuple[Any, ...]:
    """Cells with the same rows stand together, so that what no label enters is computed once and dropped."""
    return (run.row.inputs, run.row.views)


def _order(run: Run) -> tuple[Any, ...]:
    """Within these, cells with the same splits stand together."""
    return (*_shared_by(run), run.protocol_name, run.seed)


def compute(
    run: Run, embedded: FrameFeatures, settings: Settings, memo: MutableMapping[Any, Any]
) -> tuple[Result, Predictions]:
    """Fit and score one cell on features that are already there; ``memo`` serves cells of the same rows."""
    started = time.perf_counter()
    task, head = run.row, heads.head(run.head_name)
    rows = rows_of(task, settings.root, settings.skip_bad)
    features = inputs.pick(embedded.features, rows, task, head)
    splits = _splits(run, rows)
    shared = memo.setdefault(rows.items, {})
    shared["cells"] = (
        rows.parts if task.fit_on else cells_of(run.protocol_name, run.n_fold, run.seed, rows)
    )
    shared["precision"] = embedded.settings["precision"]
    fits = head.cross_fit(
        features, rows.answers, rows.patients, splits, target_of(task), rng=rng_of(run), memo=shared
    )
    outlines = outlines_of(task, settings.root, settings.skip_bad)
    if task.aggregate and AGGREGATES[task.aggregate].beside:
        beside = studies.view_answers(
            source_of(task.dataset, settings.root, settings.skip_bad)[0], rows
        )
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
    scored = metrics.evaluate(task.kind, table.columns, patients) | studies.upstream(table.columns)
    scored |= studies.upstream_views(task, table.columns)
    n = len(set(table.patients))
    resamples = (_resamples if n <= _FEW else _resamples.__wrapped__)(run.task, run.seed, n)
    interval = stats.resampled(task.metric, task.kind, table.columns, patients, resamples)
    source = source_of(task.dataset, settings.root, settings.skip_bad)[0]
    phantom = any(
        source_of(name, settings.root, settings.skip_bad)[0].phantom for name in task.datasets
    )
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
        data_digest=data_digest(task.dataset, settings.root, settings.skip_bad),
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
        bad=left_out(
            task, source.faults or (), table.patients, official=run.protocol_name == "official"
        ),
    )


def _said(source: Source, more: Sequence[str]) -> dict[str, Any]:
    """What a reader of the result must know of the data and of the protocol; nothing where there is nothing."""
    notes = [*source.notes(), *more]
    return {"notes": notes} if notes else {}
