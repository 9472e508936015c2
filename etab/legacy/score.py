"""``ETABscore`` of 2022: a score of a pretrained backbone, with a 95 % interval.

As documented in 2022, the score is the mean over categories of the mean over their tasks. The
metrics are in [0, 1] (Jaccard, AUROC, R2 not below 0), each computed as on a board. The interval
reflects different training and test parts: it is Student's t over the scores of ``n_fold`` folds
of patients. ``etab.evaluate`` gives the anchored score, with an interval over patients.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from etab import datasets
from etab.backbones.base import BackboneCard
from etab.datasets.dataset import Items
from etab.errors import UnknownNameError, UnsupportedOptionError
from etab.legacy import names
from etab.legacy.benchmark import first_recordings, task_items
from etab.legacy.evaluate import columns_of
from etab.legacy.models import ETABmodel
from etab.legacy.task_scores import ScoreAndInterval, TaskScore, task_score
from etab.legacy.user_backbones import card_of_module, load_weights
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


@dataclass(frozen=True)
class _Parameters:
    """The parameters that ``task_parameters`` can have, with their defaults."""

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
    """Score a backbone over tasks.

    Args:
        backbone_architecture: A name of ``available_backbones()``; None if ``backbone_model`` has
            an architecture without a name.
        backbone_model: A torch module of that architecture, whose weights are scored; None for
            the weights that belong to the name.
        task_weights: Weights by category ("a" to "f") or by task code; None weighs all
            categories of the CAMUS menu equally.
        n_fold: Folds of patients, 2 or more; each is tested by a head trained on the others.
        finetune: True trains backbone and head. False keeps the backbone frozen; it fits the
            board's probes, or trains the head ``head`` if one is named.
        verbose: Whether to print the score of each task.
        **task_parameters: ``root``, ``seed``, ``device`` and ``pretrained`` (use the library's
            weights of a name). For probes also the folders ``results`` and ``cache``. For trained
            heads also ``head``, ``n_train`` (recordings), ``learning_rate``, ``n_epoch``,
            ``batch_size``, ``side`` (pixels), ``optimizer``, ``accumulate`` and ``augment``, as in
            ``ETABmodel.fit``.

    Returns:
        ``(score, (low, high))``, with the attributes ``tasks``, ``weights`` and ``folds``.

    Raises:
        UnknownNameError: There is no such backbone, task, category or parameter.
        UnsupportedOptionError: A value is out of range, or a parameter would have no effect.
        WeightsError: The weights cannot be loaded.
        DataNotFoundError: There are no data.
        UndefinedError: Fewer than two folds have every metric.
    """
    parameters = _parameters(task_parameters, finetune)
    weights = _weights(task_weights, parameters.root)
    if isinstance(n_fold, bool) or not isinstance(n_fold, int) or n_fold < 2:
        raise UnsupportedOptionError(f"n_fold is {n_fold!r}; an interval needs 2 folds or more.")
    card = _card(backbone_architecture, backbone_model, parameters.pretrained)
    if not finetune and parameters.head is None:
        return _probed(card, weights, n_fold, parameters, verbose)
    scores = {}
    phantom = False
    for code in weights:
        task = TASKS[code]
        source = datasets.source(task.dataset, parameters.root)
        items = task_items(task, source, side=parameters.side)
        items = first_recordings(items, parameters.n_train)
        scores[code] = _trained(task, items, card, n_fold, parameters, finetune)
        phantom = phantom or items.reader.source.phantom
        _print_score(verbose, code, scores[code])
    return ScoreAndInterval.of(card.name, scores, weights, phantom=phantom)


def _parameters(named: Mapping[str, Any], finetune: bool) -> _Parameters:
    """Check ``task_parameters``; unknown and ineffective ones are refused."""
    known = [field.name for field in fields(_Parameters)]
    for name in named:
        if name in ("train_frac", "val_frac"):
            raise UnsupportedOptionError(
                f"{name} has no effect here: n_fold decides the parts. Use it with ETABBenchmark."
            )
        if name not in known:
            raise unknown("task parameter", name, known)
    trains = finetune or named.get("head") is not None
    without_effect = _PROBING if trains else _TRAINING
    idle = []
    for name, value in named.items():
        if name in without_effect and value is not None:
            idle.append(name)
    if idle:
        reason = "probes are fitted; leave it out, or train with finetune=True or head="
        if trains:
            reason = "a head is trained; leave it out, or fit probes (finetune=False, no head=)"
        raise UnsupportedOptionError(f"{', '.join(idle)} would have no effect when {reason}.")
    return _Parameters(**named)


def _weights(task_weights: Mapping[str, float] | None, root: Any) -> dict[str, float]:
    """Compute the weight of each task; they sum to 1, and tasks of weight 0 are left out.

    Args:
        task_weights: Weights by category or by task code; None weighs all categories equally.
        root: The folder of the data, or None.
    """
    if task_weights is None:
        categories = sorted({task.category for task in _menu(None, root)})
        task_weights = dict.fromkeys(categories, 1.0)
    invalid = {}
    for key, weight in task_weights.items():
        if isinstance(weight, bool) or not 0 <= weight < float("inf"):
            invalid[key] = weight
    total = sum(task_weights.values())
    if invalid or not total > 0:
        raise UnsupportedOptionError(
            f"task_weights are 0 or more, and not all 0; got {dict(invalid or task_weights)}."
        )
    letters = [key for key in task_weights if len(key) == 1]
    if letters and len(letters) < len(task_weights):
        raise UnsupportedOptionError(
            "task_weights have categories or tasks as keys; these mix both. Use one kind of key."
        )
    out: dict[str, float] = {}
    for key, weight in task_weights.items():
        if len(key) == 1 and key not in CATEGORIES:
            raise unknown("category", key, CATEGORIES)
        if letters:
            codes = [task.code for task in _menu(key, root)]
        else:
            codes = [names.task(key).code]
        for code in codes:
            out[code] = out.get(code, 0.0) + weight / len(codes) / total
    return {code: weight for code, weight in out.items() if weight > 0}


def _menu(category: str | None, root: Any) -> list[Task]:
    """List the tasks of a category (None for all) that the data in ``root`` are for.

    Without a folder, these are the tasks on CAMUS, or all if the category has none on CAMUS.
    """
    letters = set()
    for task in TASKS.values():
        if task.version > 0 and category in (None, task.category):
            letters.add(task.category)
    if not letters:
        raise UnknownNameError(
            f"No task of category {category!r} ({CATEGORIES[str(category)]}) has its anchors yet."
        )
    if root is not None:
        return find(opened.tasks_at(",".join(sorted(letters)), Path(root)))
    tasks = find(sorted(letters))
    on_camus = [task for task in tasks if task.dataset == DEFAULT_DATASET]
    return on_camus or tasks


def _card(name: str | None, module: Any, pretrained: bool) -> BackboneCard:
    """Make the card of the backbone to score: a named one, or a module's weights."""
    if module is None:
        if name is None:
            raise UnsupportedOptionError("Name a backbone_architecture, or give a backbone_model.")
        return names.architecture(name, pretrained=pretrained)
    if pretrained:
        raise UnsupportedOptionError(
            "pretrained=True has no effect with a backbone_model, which has weights of its own."
        )
    if name is None:
        return card_of_module(module, f"module/{type(module).__name__}")
    blank = names.architecture(name)

    def load() -> Any:
        backbone: Any = blank.load()
        load_weights(backbone.network, module.state_dict(), name)
        return type(backbone)(backbone.card, backbone.network, backbone.taps)

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
    card: BackboneCard,
    weights: Mapping[str, float],
    n_fold: int,
    parameters: _Parameters,
    verbose: bool,
) -> ScoreAndInterval:
    """Fit the board's probes on frozen features; each fold is tested by probes of the others."""
    with tempfile.TemporaryDirectory(prefix="etab-") as temporary:
        folder = Path(temporary) if parameters.results is None else Path(parameters.results)
        settings = run.Settings(
            root=_path(parameters.root),
            results=folder,
            cache=_path(parameters.cache),
            device=parameters.device,
        )
        protocols = (f"cv{n_fold}",)
        codes = list(weights)
        plan = run.plan(codes, [card], protocols=protocols, seed=parameters.seed, n_fold=n_fold)
        result_of: dict[str, Result] = {}
        score_of: dict[str, TaskScore] = {}
        for result in execute.execute(plan, settings):
            table = result.predictions(folder)
            patients = np.array(table.patients)
            folds = np.array(table.folds)
            score = task_score(TASKS[result.task], table.columns, patients, folds)
            result_of[result.task] = result
            score_of[result.task] = score
            _print_score(verbose, result.task, score)
    results = tuple(result_of[code] for code in weights)
    scores = {code: score_of[code] for code in weights}
    phantom = results[0].phantom
    return ScoreAndInterval.of(card.name, scores, weights, phantom=phantom, results=results)


def _path(folder: Path | str | None) -> Path | None:
    return None if folder is None else Path(folder)


def _trained(
    task: Task,
    items: Items,
    card: BackboneCard,
    n_fold: int,
    parameters: _Parameters,
    finetune: bool,
) -> TaskScore:
    """Train a model per fold on the other folds; the first of these decides when to stop."""
    patients = np.array(items.patients)
    splits = list(_folds(patients, n_fold, parameters.seed))
    tables: list[dict[str, Any]] = []
    for split in splits:
        validation = split.inner[0]
        rows = np.setdiff1d(split.train, validation)
        model = _model(task, items, card, parameters)
        if not finetune:
            model.freeze_backbone()
        training_items = items.select(rows.tolist())
        loader = torch.utils.data.DataLoader(training_items, batch_size=parameters.batch_size)
        model.fit(
            loader,
            items.select(validation.tolist()),
            task_code=task.code,
            n_epoch=parameters.n_epoch,
            learning_rate=parameters.learning_rate,
            device=parameters.device,
            verbose=False,
            optimizer=parameters.optimizer,
            accumulate=parameters.accumulate,
            augment=parameters.augment,
        )
        test_items = items.select(split.test.tolist())
        tables.append(columns_of(model, test_items, batch=parameters.batch_size))
    order = np.concatenate([split.test for split in splits])
    fold_names: list[str] = []
    for split in splits:
        fold_names += [split.name] * len(split.test)
    folds = np.array(fold_names)
    columns = {}
    for name in tables[0]:
        columns[name] = np.concatenate([table[name] for table in tables])
    return task_score(task, columns, patients[order], folds)


def _folds(patients: Array, n_fold: int, seed: int) -> Iterator[RowSplit]:
    """Split the rows into folds of patients."""
    parts = np.full(len(patients), "train")
    yield from row_splits(patients, parts, protocol="cv", n_fold=n_fold, seed=seed)


def _model(task: Task, items: Items, card: BackboneCard, parameters: _Parameters) -> ETABmodel:
    """Build the model of a task with a backbone and the named head."""
    sort = names.sort_of(task.kind)
    classes = 2
    if sort == "classification":
        classes = max(2, len(items.reader.target.classes))
    head = parameters.head
    vector_heads = {names.plain_name(name) for name in names.VECTOR_HEADS}
    is_decoder = head is not None and names.plain_name(head) not in vector_heads
    if is_decoder and task.kind is not Kind.MASK:
        head = None  # a decoder is for tasks with masks; other tasks take their default head
    frames = 2 if task.inputs == "ED+ES" else 1
    return ETABmodel(
        sort, card, head, classes, frames=frames, side=parameters.side, seed=parameters.seed
    )


def _print_score(verbose: bool, code: str, score: TaskScore) -> None:
    """Print the score of a task if ``verbose``."""
    if verbose:
        sys.stdout.write(
            f"ETAB score: {code} {score.metric} {score.value:.3f} "
            f"[{score.low:.3f}, {score.high:.3f}]\n"
        )
