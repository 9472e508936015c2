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

from etab import __version__, backbones, datasets, heads, metrics, stats, studies
from etab.aggregate import AGGREGATES, reduce
from etab.backbones.base import BackboneCard
from etab.datasets.base import Source
from etab.errors import EtabError, IncompatibleError, ResultError, UndefinedError, skippable
from etab.features import FrameFeatures, frame_features
from etab.features import resolve_precision as features_precision
from etab.heads.base import FoldFit, Head
from etab.protocols import parse
from etab.provenance import provenance
from etab.results import Predictions, Result
from etab.rows import FrameKey, Rows, annotated_frames, row_features, task_rows
from etab.sieve import left_out, lists_leniently, sift
from etab.splits import folds
from etab.surface import Outline, outline
from etab.tasks import TASKS, Task, find
from etab.types import Array, Features, Kind, RowSplit

PROTOCOLS = ("official", "cv5")
VERSION = 1
BOOTSTRAPS = 2000
_NESTED_REPEATS = 4

Progress = Callable[[str, int, int], None]
Failed = Callable[["Run", EtabError], None]


def protocol_name(protocol: str, n_fold: int) -> str:
    """Name a protocol as results carry it: "official", or "cv" with its number of folds ("cv5"), see ``etab.protocols``."""
    return parse(protocol, n_fold).name


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
    card: BackboneCard | None = field(default=None, compare=False, repr=False)

    @property
    def row(self) -> Task:
        """The task's row of the menu."""
        return TASKS[self.task]

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
        for look in (lambda: self.row, lambda: self.backbone_card, lambda: heads.head(self.head_name),
                     lambda: self.protocol_name):  # fmt: skip
            try:
                look()
            except EtabError as error:
                clashes.append(str(error))
        if not clashes:
            clashes = list(_clashes(self.row, self.backbone_card, heads.head(self.head_name)))
            if parse(self.protocol_name).tuning:
                clashes.append(f"{self.protocol_name} trains the backbone too: `etab finetune` does that.")
        if clashes:
            raise IncompatibleError(f"{self.task} with {self.backbone}: " + " Also: ".join(clashes))

    def execute(self, settings: Settings) -> Result:
        """Run this one cell, save it under ``settings.results`` and return it; a finished cell is read, not redone."""
        self.check()
        return next(iter(execute([self], settings)))


def _clashes(task: Task, card: BackboneCard, head: Head) -> Iterator[str]:
    source = datasets.SOURCES[task.dataset].card
    if card.modality != source.modality and card.modality != "image":
        yield f"{card.name} reads {card.modality}, {source.name} holds {source.modality}."
    if task.kind not in head.kinds:
        fits = [n for n in heads.names() if task.kind in heads.head(n).kinds]
        yield f"the head {head.name!r} cannot answer {task.target} ({task.kind}); these can: {', '.join(fits)}."
    if head.needs_maps and not card.strides:
        yield f"the head {head.name!r} needs feature maps and {card.name} has none."


def plan(
    tasks: str | Iterable[str] | None,
    names: Sequence[str | BackboneCard],
    *,
    protocols: Sequence[str] = PROTOCOLS,
    head: str | None = None,
    seed: int = 0,
    n_fold: int = 5,
) -> list[Run]:
    """Lay out every cell, checked: unknown names and clashes are raised before anything is read."""
    runs = []
    for item in names:
        card = item if isinstance(item, BackboneCard) else backbones.card(item)
        for task in find(tasks):
            if head is not None and task.kind not in heads.head(head).kinds:
                continue
            for protocol in protocols:
                name = protocol_name(protocol, n_fold)
                runs.append(Run(task.code, card.name, head, name, seed, n_fold, card))
    if not runs:
        raise IncompatibleError(f"Nothing to run: the head {head!r} answers none of the chosen tasks.")
    for run in runs:
        run.check()
    return runs


def tasks_at(tasks: str | Iterable[str] | None, root: Path | None) -> list[str]:
    """Codes of the tasks asked for; with ``root``, the folder of one dataset, those of a prefix that it can serve.

    A prefix ("c") may name tasks of several datasets. A task asked for by its whole code is kept, and where the folder fits
    no dataset all are: opening it then says what is wrong. Raises UnknownNameError for a word that names nothing.
    """
    tasks = tasks if tasks is None or isinstance(tasks, str) else list(tasks)
    found, words = find(tasks), ",".join([tasks] if isinstance(tasks, str) else tasks or []).replace(" ", "").split(",")
    names = list(dict.fromkeys(task.dataset for task in found))
    fits = names if root is None or len(names) == 1 else [name for name in names if _opens(name, root)]
    return [task.code for task in found if task.dataset in (fits or names) or task.code in words]


def _opens(dataset: str, root: Path) -> bool:
    try:
        datasets.source(dataset, root)
    except EtabError:
        return False
    return True


def lacking(runs: Iterable[Run], root: Path | None) -> list[str]:
    """What a person should hear of these cells: how many published patients the data at hand do not hold."""
    names = dict.fromkeys(run.row.dataset for run in runs)
    return [said for name in names if (said := datasets.told(datasets.source(name, root)))]


@lru_cache(maxsize=4)
def _open(dataset: str, root: Path | None, skip_bad: bool = False) -> tuple[Source, tuple[FrameKey, ...]]:
    source = datasets.source(dataset, root)
    if skip_bad:
        source = sift(source)
    elif lists_leniently(source):
        with skippable():
            source.records()
    return source, tuple(annotated_frames(source))


@lru_cache(maxsize=64)
def _rows(task: str, dataset: str, root: Path | None, skip_bad: bool = False) -> Rows:
    source, frames = _open(dataset, root, skip_bad)
    return task_rows(TASKS[task], source, frames)


@lru_cache(maxsize=16)
def _outlines(task: str, dataset: str, root: Path | None, skip_bad: bool = False) -> tuple[Outline, ...]:
    """The authors' masks of a task ready for scoring, once a process; none for other kinds of answers."""
    rows = _rows(task, dataset, root, skip_bad)
    if TASKS[task].kind is not Kind.MASK:
        return ()
    return tuple(outline(m, s or (1.0, 1.0)) for m, s in zip(rows.answers, rows.spacing, strict=True))


@lru_cache(maxsize=4)
def data_digest(dataset: str, root: Path | None, skip_bad: bool = False) -> str:
    """sha256 of the data that decide frames and answers, without what ``skip_bad`` leaves out; read once a process."""
    with skippable():
        return _open(dataset, root, skip_bad)[0].digest()


def forget() -> None:
    """Drop the sources and rows that this process holds (after the data on disk have changed)."""
    for cached in (_open, _rows, _outlines, data_digest):
        cached.cache_clear()


def _settings_of(run: Run, precision: str) -> dict[str, Any]:
    """What decides a score beyond data and weights: this is what resuming compares."""
    card, head = run.backbone_card, heads.head(run.head_name)
    return {
        "runs_version": VERSION,
        "head_version": head.version,
        "backbone_version": card.version,
        "family": card.family,
        "size": card.size,
        "interpolation": card.interpolation,
        "precision": precision,
        "sha256": card.sha256,
        "bootstraps": BOOTSTRAPS,
    }


def finished(run: Run, settings: Settings) -> Result | None:
    """The saved result of this cell; None when it has to be run.

    Raises ResultError, before any work is done, when a result is there that would not come out today: data, versions,
    precision or anchors differ. Results are never overwritten.
    """
    path = Result.path_of(settings.results, run.row.dataset, run.task, run.backbone, run.protocol_name, run.seed,
                          run.head_name)  # fmt: skip
    if not path.exists():
        return None
    found = Result.load(path)
    there: dict[str, Any] = {**found.settings, "data": found.data_digest, "task version": found.task_version,
                             "anchors": [found.anchor_low, found.anchor_high]}  # fmt: skip
    now: dict[str, Any] = {**_settings_of(run, resolve_precision(run, settings)), "task version": run.row.version,
                           "data": data_digest(run.row.dataset, settings.root, settings.skip_bad),
                           "anchors": [run.row.low, run.row.high]}  # fmt: skip
    differ = [name for name, value in now.items() if there.get(name) != value]
    if differ:
        raise ResultError(
            f"{path} was made under other conditions: {', '.join(differ)} differ. Results are never overwritten: move the "
            "old files away, or choose another results folder."
        )
    return found


def resolve_precision(run: Run, settings: Settings) -> str:
    """What "auto" means for this backbone on this machine."""
    return features_precision(settings.precision, run.backbone_card, settings.device)


def execute(
    runs: Sequence[Run], settings: Settings, *, progress: Progress | None = None, failed: Failed | None = None
) -> Iterator[Result]:
    """Run cells, one backbone after the other, saving each as it is done; finished ones are read and given as they are.

    A cell whose metric does not exist (a test part with one class only) is told to ``failed`` and the others go on;
    without ``failed`` it is raised.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.row.dataset, run.backbone), []).append(run)
    for (dataset, _), group in groups.items():
        yield from _execute_group(dataset, group, settings, progress, failed)


def _execute_group(
    dataset: str, group: list[Run], settings: Settings, progress: Progress | None, failed: Failed | None
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
    source, frames = _open(dataset, settings.root, settings.skip_bad)
    card = waiting[0].backbone_card
    report = (lambda done, total: progress(card.name, done, total)) if progress else None
    embedded = frame_features(
        source, frames, card, cache=settings.cache, device=settings.device, precision=settings.precision,
        batch_size=settings.batch_size, progress=report, maps=_has_masks(source),
        data_digest=data_digest(dataset, settings.root, settings.skip_bad),
    )  # fmt: skip
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


def _has_masks(source: Source) -> bool:
    """Whether any task on this data can need feature maps: they are many times the pooled features."""
    return any(target.kind is Kind.MASK for target in source.card.targets)


def _cells(run: Run, rows: Rows) -> Array | None:
    """(n,) the authors' part and the fold of each row: what both protocols of this many folds are made of."""
    how = parse(run.protocol_name)
    if how.few:
        return None
    n_fold = how.n_fold or run.n_fold
    if n_fold > rows.n_patients:
        return np.asarray(rows.parts)
    place = folds(rows.patients.tolist(), n_fold, run.seed)
    return np.array(
        [f"{part} {place[patient]}" for part, patient in zip(rows.parts, rows.patients.tolist(), strict=True)]
    )


def _splits(run: Run, rows: Rows) -> list[RowSplit]:
    return parse(run.protocol_name).splits(rows.patients, rows.parts, rows.answers, run.row.kind, run.seed)


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
    rows = _rows(run.task, task.dataset, settings.root, settings.skip_bad)
    features = row_features(embedded.features, rows, maps=head.needs_maps)
    splits = _splits(run, rows)
    shared = memo.setdefault(rows.items, {})
    shared["cells"], shared["precision"] = _cells(run, rows), embedded.settings["precision"]
    fits = head.cross_fit(features, rows.answers, rows.patients, splits, target_of(task), rng=_rng(run), memo=shared)
    outlines = _outlines(task.code, task.dataset, settings.root, settings.skip_bad)
    if task.aggregate and AGGREGATES[task.aggregate].beside:
        beside = studies.view_answers(_open(task.dataset, settings.root, settings.skip_bad)[0], rows)
        fit = partial(_fit, run, head, features, rows, shared)
        predictions, fits = studies.diagnosed(task, rows, beside, splits, fits, fit)
    else:
        predictions = _predictions(task, rows, outlines, splits, fits)
    nested = _nested(run, rows, features, shared)
    result = _result(run, rows, splits, fits, predictions, nested, embedded, settings)
    seconds = round(time.perf_counter() - started, 3)
    return replace(result, provenance={**result.provenance, "seconds": seconds}), predictions


def _fit(
    run: Run, head: Head, features: Features, rows: Rows, memo: MutableMapping[Any, Any], target: str, answers: Any,
    splits: Sequence[RowSplit],
) -> list[FoldFit]:  # fmt: skip
    """Fit a second probe on the rows of a cell."""
    about = datasets.SOURCES[run.row.dataset].card.target(target)
    return head.cross_fit(features, answers, rows.patients, splits, about, rng=_rng(run), memo=memo)


def target_of(task: Task) -> Any:
    """What a task asks, as the card of its data says it."""
    return datasets.SOURCES[task.dataset].card.target(task.target)


def _rng(run: Run, stream: int = 0) -> np.random.Generator:
    """One stream a cell, the same for every backbone, so that backbones share folds and resamples."""
    return np.random.default_rng([run.seed, stream, *run.task.encode()])


def _predictions(
    task: Task, rows: Rows, outlines: Sequence[Outline], splits: Sequence[RowSplit], fits: Sequence[FoldFit]
) -> Predictions:
    """Lay the answers of all folds out as one table, a line a row (or unit) of the test parts."""
    order = np.concatenate([s.test for s in splits])
    names = [s.name for s in splits for _ in s.test]
    columns = _columns(task.kind, rows, outlines, order, [f.predictions for f in fits])
    items = [rows.items[i] for i in order]
    if task.aggregate:
        items = [rows.units[i] for i in order]
        kept, columns = reduce(task.aggregate, columns, items, [rows.records[i] for i in order])
        order, names, items = order[kept], [names[i] for i in kept], [items[i] for i in kept]
    return Predictions(
        kind=task.kind,
        items=tuple(items),
        patients=tuple(str(rows.patients[i]) for i in order),
        folds=tuple(names),
        columns=columns,
    )


def _columns(kind: Kind, rows: Rows, outlines: Sequence[Outline], order: Any, answers: list[Any]) -> dict[str, Any]:
    if kind is Kind.MASK:
        masks = [m for part in answers for m in part]
        scores = [
            metrics.mask_scores(outlines[i], m, spacing=rows.spacing[i] or (1.0, 1.0))
            for i, m in zip(order, masks, strict=True)
        ]
        return {name: np.array([s[name] for s in scores]) for name in ("dice", "jaccard", "hd95", "msd")}
    truth = np.asarray(rows.answers)[order].astype(np.float64)
    score = np.concatenate([np.asarray(a, dtype=np.float64) for a in answers])
    if kind is Kind.CLASSES:
        return {"truth": truth, **{f"score_{k}": score[:, k] for k in range(score.shape[1])}}
    return {"truth": truth, "score": score}


def _nested(run: Run, rows: Rows, features: Features, memo: MutableMapping[Any, Any]) -> dict[str, float] | None:
    """Nested cross-validation interval where the head is ridge, a patient is a row, and the rows fit a kernel."""
    how = parse(run.protocol_name)
    if run.head_name != "ridge" or not how.n_fold or how.few or rows.n_patients != len(rows.items):
        return None
    if len(rows.items) > heads.LIMIT or how.n_fold < 3:  # the inner fits leave two folds out
        return None
    losses = heads.ridge_losses(features, rows.answers, rows.patients, memo=memo)
    found = stats.nested_cv(losses, rows.n_patients, n_fold=how.n_fold, repeats=_NESTED_REPEATS, rng=_rng(run, 2))
    return {"value": found.value, "low": found.low, "high": found.high}


def _folds(
    task: Task, splits: Sequence[RowSplit], fits: Sequence[FoldFit], table: Predictions
) -> list[Mapping[str, Any]]:
    """Value and choice of each fold; a fold on which the metric does not exist says so with None."""
    out: list[Mapping[str, Any]] = []
    names = np.array(table.folds)
    for split, fit in zip(splits, fits, strict=True):
        mask = names == split.name
        columns = {k: v[mask] for k, v in table.columns.items()}
        scored = metrics.evaluate(task.kind, columns, np.array(table.patients)[mask])
        out.append({"name": split.name, "value": scored.get(task.metric), "n_test": int(mask.sum()),
                    "choice": dict(fit.choice)})  # fmt: skip
    return out


def _result(
    run: Run, rows: Rows, splits: Sequence[RowSplit], fits: Sequence[FoldFit], table: Predictions,
    nested: Mapping[str, float] | None, embedded: FrameFeatures, settings: Settings,
) -> Result:  # fmt: skip
    task, patients = run.row, np.array(table.patients)
    scored = metrics.evaluate(task.kind, table.columns, patients) | studies.upstream(table.columns)
    interval = stats.bootstrap(task.metric, task.kind, table.columns, patients, rng=_rng(run, 1), n=BOOTSTRAPS)
    source = _open(task.dataset, settings.root, settings.skip_bad)[0]
    return Result(
        task=task.code, task_version=task.version, backbone=run.backbone, head=run.head_name,
        protocol=run.protocol_name, seed=run.seed, dataset=task.dataset, phantom=source.phantom, metric=task.metric,
        value=scored[task.metric], low=interval.low, high=interval.high, level=0.95, interval=interval.method,
        metrics=scored, folds=_folds(task, splits, fits, table), nested=nested,
        n_train=int(np.mean([len(s.train) for s in splits])), n_test=len(table.items),
        n_patients=len(set(table.patients)), weights_sha256=embedded.weights_sha256,
        data_digest=data_digest(task.dataset, settings.root, settings.skip_bad), features_key=embedded.key,
        settings={**_settings_of(run, embedded.settings["precision"]), "n_fold": run.n_fold},
        missing=[list(pair) for pair in rows.missing], predictions_sha256=table.sha256(),
        anchor_low=task.low, anchor_high=task.high,
        provenance={**provenance(__version__), "device": settings.device, "started": datetime.now(UTC).isoformat()},
        bad=left_out(task, source.faults or (), table.patients, official=run.protocol_name == "official"),
    )  # fmt: skip


opened, rows_of, outlines_of, predictions_of, folds_of, rng_of = _open, _rows, _outlines, _predictions, _folds, _rng
