"""``ETABscore``, under its 2022 name: what a pretrained backbone is worth, as (score, 95 %
interval).

As documented in 2022, the score is the mean over categories of the mean over their tasks of metrics
in [0, 1] (Jaccard, AUROC, R2 not below 0), each computed as on a board. The width of its interval
comes from different train and test parts: ``n_fold`` folds of patients, with Student's t over the
folds' scores. ``etab.evaluate``
gives the anchored score, with an interval over patients.
"""

from __future__ import annotations

import html
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from etab import datasets
from etab.backbones.base import BackboneCard
from etab.datasets.dataset import Items
from etab.errors import UndefinedError, UnknownNameError, UnsupportedOptionError
from etab.legacy import names
from etab.legacy.benchmark import first_recordings, task_items
from etab.legacy.evaluate import columns_of
from etab.legacy.models import ETABmodel
from etab.legacy.user_backbones import card_of_module, load_weights
from etab.metrics import base
from etab.registry import unknown
from etab.results import Result
from etab.runs import data as opened
from etab.runs import execute, run
from etab.splits import row_splits
from etab.tasks.base import Task
from etab.tasks.codes import CATEGORIES, DEFAULT_DATASET
from etab.tasks.menu import TASKS, find
from etab.types import Array, Kind, RowSplit

__all__ = ["ETABscore", "ScoreAndInterval", "TaskScore", "torch"]

_TRAINING = (
    "head",
    "n_train",
    "learning_rate",
    "n_epoch",
    "batch_size",
    "side",
    "optimizer",
    "accumulate",
    "augment",
)
_PROBING = ("results", "cache")


class TaskScore(NamedTuple):
    """One task: its ``metric`` (in [0, 1]) as boards compute it, with a 95 % t interval.

    The interval is the value plus or minus Student's t over the folds; ``folds`` holds the metric
    of each fold, NaN where it does not exist.
    """

    value: float
    low: float
    high: float
    metric: str
    folds: tuple[float, ...]
    patients: int


class ScoreAndInterval(tuple[float, tuple[float, float]]):
    """The pair ``(score, (low, high))``, with what it is made of one attribute away.

    backbone  the name of the backbone
    tasks     a ``TaskScore`` for each task code
    weights   the weight of each task in the score; they sum to 1
    folds     the score of each fold on which every task has its metric
    phantom   whether the data are made
    results   the full records where probes were fitted; empty where heads were trained
    """

    backbone: str
    tasks: Mapping[str, TaskScore]
    weights: Mapping[str, float]
    folds: tuple[float, ...]
    phantom: bool
    results: tuple[Result, ...]

    @classmethod
    def of(
        cls,
        backbone: str,
        tasks: Mapping[str, TaskScore],
        weights: Mapping[str, float],
        *,
        phantom: bool,
        results: Sequence[Result] = (),
    ) -> ScoreAndInterval:
        """Weigh the tasks fold by fold; raises UndefinedError where fewer than two folds have every
        metric.
        """
        table = np.array([tasks[code].folds for code in weights])
        folds = tuple(float(v) for v in np.array(list(weights.values())) @ table if np.isfinite(v))
        half = _half_width(folds, "the score")
        score = float(sum(weight * tasks[code].value for code, weight in weights.items()))
        pair = cls((score, (score - half, score + half)))
        pair.backbone, pair.tasks, pair.weights = backbone, dict(tasks), dict(weights)
        pair.folds, pair.phantom, pair.results = folds, phantom, tuple(results)
        return pair

    def _title(self) -> str:
        made = " — PHANTOM data, not patients" if self.phantom else ""
        return (
            f"{self.backbone}: ETAB score {self[0]:.3f} [{self[1][0]:.3f}, {self[1][1]:.3f}]{made}"
        )

    def table(self) -> list[tuple[str, str, str, str, str]]:
        """Rows of code, weight, metric, value and interval."""
        return [
            (
                code,
                f"{self.weights[code]:.3f}",
                t.metric,
                f"{t.value:.3f}",
                f"[{t.low:.3f}, {t.high:.3f}]",
            )
            for code, t in self.tasks.items()
        ]

    def _repr_html_(self) -> str:
        """Show the score and its tasks, as a notebook can."""
        head = "".join(
            f"<th>{w}</th>" for w in ("task", "weight", "metric", "value", "95 % interval")
        )
        rows = "".join(
            "<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in r) + "</tr>"
            for r in self.table()
        )
        return f"<p><b>{html.escape(self._title())}</b></p><table><tr>{head}</tr>{rows}</table>"


@dataclass(frozen=True)
class _Parameters:
    """What ``task_parameters`` may say."""

    root: Path | str | None = None
    seed: int = 0
    device: str = "cpu"
    pretrained: bool = False
    results: Path | str | None = None
    cache: Path | str | None = None
    head: str | None = None
    n_train: int | None = None
    learning_rate: float = 1e-3
    n_epoch: int = 50
    batch_size: int = 32
    side: int = 224
    optimizer: str = "adamw"
    accumulate: int = 1
    augment: str = "none"


def ETABscore(  # noqa: N802  (its name since 2022)
    backbone_architecture: str | None,
    backbone_model: torch.nn.Module | None = None,
    task_weights: Mapping[str, float] | None = None,
    n_fold: int = 5,
    finetune: bool = False,
    verbose: bool = False,
    **task_parameters: Any,
) -> ScoreAndInterval:
    """Score a backbone over tasks: ``(score, (low, high))``, with ``.tasks``, ``.weights`` and
    ``.folds``.

    backbone_architecture  a name of ``available_backbones()``, or (None) none: the module stands
                           for itself
    backbone_model  a torch module of that architecture, whose weights are scored; None: the weights
                    of the name
    task_weights    weights by category ("a".."f") or by task code; None: every category of the
                    CAMUS menu alike
    n_fold          folds of patients (2 or more), each tested by a head that never saw it
    finetune        False keeps the backbone frozen and fits the board's probes, or trains ``head`` where one is named;
                    True trains backbone and head
    task_parameters root, seed, device, pretrained (the library's weights of a name), and for probes: results, cache
                    (folders to keep and reuse); for trained heads: head, n_train (recordings), learning_rate, n_epoch,
                    batch_size, side (pixels), optimizer, accumulate, augment (as in ``ETABmodel.fit``)

    Raises UnknownNameError, UnsupportedOptionError (also for a parameter that would not act),
    WeightsError, DataNotFoundError, UndefinedError (too few folds on which every metric exists).
    """
    asked = _parameters(task_parameters, finetune)
    weights = _weights(task_weights, asked.root)
    if isinstance(n_fold, bool) or not isinstance(n_fold, int) or n_fold < 2:
        raise UnsupportedOptionError(f"n_fold is {n_fold!r}; an interval needs 2 folds or more.")
    card = _card(backbone_architecture, backbone_model, asked.pretrained)
    if not finetune and asked.head is None:
        return _probed(card, weights, n_fold, asked, verbose)
    scores = {}
    phantom = False
    for code in weights:
        task = TASKS[code]
        items = first_recordings(
            task_items(task, datasets.source(task.dataset, asked.root), side=asked.side),
            asked.n_train,
        )
        scores[code] = _trained(task, items, card, n_fold, asked, finetune)
        phantom = phantom or items.reader.source.phantom
        _say(verbose, code, scores[code])
    return ScoreAndInterval.of(card.name, scores, weights, phantom=phantom)


def _parameters(given: Mapping[str, Any], finetune: bool) -> _Parameters:
    """The parameters given, checked: unknown ones and those that would not act are refused."""
    known = [f.name for f in fields(_Parameters)]
    for name in given:
        if name in ("train_frac", "val_frac"):
            raise UnsupportedOptionError(
                f"{name} does not act here: n_fold decides the parts. ETABBenchmark takes it."
            )
        if name not in known:
            raise unknown("task parameter", name, known)
    trains = finetune or given.get("head") is not None
    idle = [n for n in given if n in (_PROBING if trains else _TRAINING) and given[n] is not None]
    if idle:
        how = (
            "probes are fitted (finetune=False and no head=)"
            if trains
            else "finetune=True or head= trains"
        )
        raise UnsupportedOptionError(f"{', '.join(idle)} would not act: only where {how}.")
    return _Parameters(**given)


def _weights(asked: Mapping[str, float] | None, root: Any) -> dict[str, float]:
    """Weight of each task, summing to 1; those without weight are left out."""
    if asked is None:
        asked = dict.fromkeys(sorted({t.category for t in _menu(None, root)}), 1.0)
    wrong = {k: v for k, v in asked.items() if isinstance(v, bool) or not 0 <= v < float("inf")}
    if wrong or not sum(asked.values()) > 0:
        raise UnsupportedOptionError(
            f"task_weights are 0 or more, and not all 0; got {dict(wrong or asked)}."
        )
    letters = [k for k in asked if len(k) == 1]
    if letters and len(letters) < len(asked):
        raise UnsupportedOptionError(
            "task_weights name either categories or tasks; these mix both. Use one sort of key."
        )
    out: dict[str, float] = {}
    for key, weight in asked.items():
        if len(key) == 1 and key not in CATEGORIES:
            raise unknown("category", key, CATEGORIES)
        codes = [t.code for t in _menu(key, root)] if letters else [names.task(key).code]
        for code in codes:
            out[code] = out.get(code, 0.0) + weight / len(codes) / sum(asked.values())
    return {code: weight for code, weight in out.items() if weight > 0}


def _menu(category: str | None, root: Any) -> list[Task]:
    """Tasks of a category that the folder can serve; without a folder those on CAMUS, or where it
    has none, all.
    """
    letters = sorted(
        {t.category for t in TASKS.values() if t.version > 0 and category in (None, t.category)}
    )
    if not letters:
        raise UnknownNameError(
            f"No task of category {category!r} ({CATEGORIES[str(category)]}) has its anchors yet."
        )
    if root is not None:
        return find(opened.tasks_at(",".join(letters), Path(root)))
    found = find(letters)
    return [t for t in found if t.dataset == DEFAULT_DATASET] or found


def _card(name: str | None, module: Any, pretrained: bool) -> BackboneCard:
    """The card of what is scored: the named weights, or a module's in the architecture named."""
    if module is None:
        if name is None:
            raise UnsupportedOptionError("Name a backbone_architecture, or give a backbone_model.")
        return names.architecture(name, pretrained=pretrained)
    if pretrained:
        raise UnsupportedOptionError(
            "pretrained=True does not act with a backbone_model: that one brings its weights."
        )
    if name is None:
        return card_of_module(module, f"module/{type(module).__name__}")
    blank = names.architecture(name)

    def load() -> Any:
        made: Any = blank.load()
        load_weights(made.network, module.state_dict(), name)
        return type(made)(made.card, made.network, made.taps)

    load()  # another architecture is refused before any data are read
    return replace(
        blank,
        name=f"module/{name}",
        title=f"{name}, weights given",
        load=load,
        pretraining="the user's",
        licence="the user's",
        sha256="",
        twin="",
        seed=None,
    )


def _probed(
    card: BackboneCard, weights: Mapping[str, float], n_fold: int, asked: _Parameters, verbose: bool
) -> ScoreAndInterval:
    """Fit the board's probes on frozen features, each fold by the others."""
    with tempfile.TemporaryDirectory(prefix="etab-") as temp:
        place = Path(temp) if asked.results is None else Path(asked.results)
        settings = run.Settings(
            root=None if asked.root is None else Path(asked.root),
            results=place,
            cache=None if asked.cache is None else Path(asked.cache),
            device=asked.device,
        )
        plan = run.plan(
            list(weights), [card], protocols=(f"cv{n_fold}",), seed=asked.seed, n_fold=n_fold
        )
        found: dict[str, tuple[Result, TaskScore]] = {}
        for result in execute.execute(plan, settings):
            table = result.predictions(place)
            score = _task_score(
                TASKS[result.task], table.columns, np.array(table.patients), np.array(table.folds)
            )
            found[result.task] = result, score
            _say(verbose, result.task, score)
    results = tuple(found[code][0] for code in weights)
    return ScoreAndInterval.of(
        card.name,
        {code: found[code][1] for code in weights},
        weights,
        phantom=results[0].phantom,
        results=results,
    )


def _trained(
    task: Task, items: Items, card: BackboneCard, n_fold: int, asked: _Parameters, finetune: bool
) -> TaskScore:
    """Train a model for each fold on the others, the first of which decides when to stop."""
    patients = np.array(items.patients)
    parts = list(_folds(patients, n_fold, asked.seed))
    columns: list[dict[str, Any]] = []
    for split in parts:
        validation = split.inner[0]
        rows = np.setdiff1d(split.train, validation)
        model = _model(task, items, card, asked)
        if not finetune:
            model.freeze_backbone()
        loader = torch.utils.data.DataLoader(
            items.select(rows.tolist()), batch_size=asked.batch_size
        )
        model.fit(
            loader,
            items.select(validation.tolist()),
            task_code=task.code,
            n_epoch=asked.n_epoch,
            learning_rate=asked.learning_rate,
            device=asked.device,
            verbose=False,
            optimizer=asked.optimizer,
            accumulate=asked.accumulate,
            augment=asked.augment,
        )
        columns.append(columns_of(model, items.select(split.test.tolist()), batch=asked.batch_size))
    order = np.concatenate([s.test for s in parts])
    marks = np.concatenate([[s.name] * len(s.test) for s in parts])
    together = {k: np.concatenate([c[k] for c in columns]) for k in columns[0]}
    return _task_score(task, together, patients[order], marks)


def _folds(patients: Array, n_fold: int, seed: int) -> Iterator[RowSplit]:
    yield from row_splits(
        patients, np.full(len(patients), "train"), protocol="cv", n_fold=n_fold, seed=seed
    )


def _model(task: Task, items: Items, card: BackboneCard, asked: _Parameters) -> ETABmodel:
    sort = names.sort_of(task.kind)
    classes = max(2, len(items.reader.target.classes)) if sort == "classification" else 2
    head = asked.head
    if head is not None and names.plain_name(head) not in {
        names.plain_name(h) for h in names.VECTOR_HEADS
    }:
        head = head if task.kind is Kind.MASK else None  # a decoder is for the tasks with masks
    return ETABmodel(
        sort,
        card,
        head,
        classes,
        frames=2 if task.inputs == "ED+ES" else 1,
        side=asked.side,
        seed=asked.seed,
    )


def _task_score(task: Task, columns: Mapping[str, Any], patients: Array, folds: Array) -> TaskScore:
    """Score a table, and each of its folds, by the task's 2022 metric in [0, 1]."""
    metric = base.METRICS[task.metric_2022]
    of_folds = []
    for name in dict.fromkeys(folds.tolist()):
        tested = folds == name
        of_fold = {column: np.asarray(values)[tested] for column, values in columns.items()}
        try:
            value = metric(of_fold, patients[tested])
        except UndefinedError:
            value = float("nan")
        of_folds.append(max(value, 0.0))
    defined = [value for value in of_folds if np.isfinite(value)]
    half = _half_width(defined, task.code)
    whole = max(metric(columns, patients, folds=folds), 0.0)
    return TaskScore(
        whole,
        whole - half,
        whole + half,
        task.metric_2022,
        tuple(of_folds),
        len(set(patients.tolist())),
    )


def _half_width(values: Sequence[float], what: str) -> float:
    """Half the width of the 95 % interval of the mean over folds, by Student's t."""
    from scipy import stats

    if len(values) < 2:
        raise UndefinedError(
            f"The interval of {what} needs two folds on which its metric exists; {len(values)} has "
            "it (a fold of one class has no AUROC). Take fewer folds, or more patients."
        )
    return float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))


def _say(verbose: bool, code: str, score: TaskScore) -> None:
    if verbose:
        sys.stdout.write(
            f"ETAB score: {code} {score.metric} {score.value:.3f} "
            f"[{score.low:.3f}, {score.high:.3f}]\n"
        )
