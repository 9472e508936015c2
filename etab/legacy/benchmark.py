"""``ETABBenchmark``, under its 2022 name: one task, one model, trained and scored; then another
task on the same backbone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from etab import datasets
from etab.datasets.base import Source
from etab.datasets.dataset import IMAGENET_MEAN, IMAGENET_STD, Items, PictureReader
from etab.datasets.options import Options
from etab.errors import UnsupportedOptionError
from etab.features.frames import annotated_frames, task_rows
from etab.legacy import names
from etab.legacy.data_tools import training_data_split
from etab.legacy.evaluate import evaluate_model
from etab.legacy.models import ETABmodel
from etab.tasks.base import Task
from etab.types import Kind, Record, Sample, Target

__all__ = ["ETABBenchmark", "TaskReader", "task_items", "torch"]

SIDE = 224


@dataclass(frozen=True)
class TaskReader:
    """Rows of a task as tensors: one frame (3, h, w), or the ED and the ES frame (2, 3, h, w), with
    the task's answer.

    A row is (record, number of the row): the frames and answers are those of
    ``etab.features.frames.task_rows``.
    """

    pictures: PictureReader
    frames: tuple[tuple[int, ...], ...]
    answers: Any

    @property
    def source(self) -> Source:
        """Where the pictures come from."""
        return self.pictures.source

    @property
    def target(self) -> Target:
        """What is asked."""
        return self.pictures.target

    @property
    def options(self) -> Options:
        """Size and normalisation of the pictures."""
        return self.pictures.options

    def sample(self, row: tuple[Record, int | None]) -> Sample:
        """The tensor and the answer of a row."""
        record = row[0]
        number = int(row[1] or 0)
        shown = self.frames[number]
        if self.target.kind is Kind.MASK:
            return self.pictures.sample((record, shown[0]))
        unit = torch.from_numpy(self.pictures.grey(record, shown).astype(np.float32) / 255)[
            :, None
        ].repeat(1, 3, 1, 1)
        if self.options.normalize:
            mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
            unit = (unit - mean) / std
        x = unit if len(shown) > 1 else unit[0]
        return Sample(x, self.answers[number].item(), f"{record.id}#{number}", record.patient)


def task_items(task: Task, source: Source, *, side: int = SIDE, normalize: bool = True) -> Items:
    """Every row of a task on a source, in the source's order, as a lazy sequence of (tensor,
    answer).

    Raises LayoutError where the data hold no row of the task, UnsupportedOptionError for kinds
    without a 2022 model.
    """
    names.sort_of(task.kind)
    frames = annotated_frames(source)
    rows = task_rows(task, source, frames)
    keys = [[frames[int(i)] for i in row] for row in rows.frames]
    options = Options(False, normalize, (side, side), 1, None, False)
    reader: Any = TaskReader(
        PictureReader(source, source.card.target(task.target), options),
        tuple(tuple(at for _, at in row) for row in keys),
        rows.answers,
    )
    return Items(reader, [(row[0][0], number) for number, row in enumerate(keys)])


def first_recordings(items: Items, n: int | None) -> Items:
    """The rows of the first ``n`` recordings, or (None) all; raises UnsupportedOptionError where
    there are fewer.
    """
    ids = list(dict.fromkeys(record.id for record, _ in items.rows))
    if n is None:
        return items
    if not 1 <= n <= len(ids):
        raise UnsupportedOptionError(
            f"n_train is {n}; the task has {len(ids)} recordings: choose from 1 to {len(ids)}, or None for all."
        )
    kept = set(ids[:n])
    return items.select([i for i, (record, _) in enumerate(items.rows) if record.id in kept])


class ETABBenchmark:
    """One experiment: the rows of a task, cut by patient, a model fitted on them, and its score on
    the test part.

    benchmark_task_code  a code of the menu ("a0-A4-E"), or "EA40"
    n_train              recordings to load, the first ones (None: all)
    batch_size, learning_rate, n_epoch   of the training
    train_frac, val_frac fractions of patients; the rest is the test part
    backbone, head       names as in ``ETABmodel``; head None: "SegFormer" for masks, "Linear"
                         otherwise
    ckpt_dir             where checkpoints are kept (None: nowhere); every training has its own
                         place in it
    root                 the data folder (None: the documented places)
    side                 of the frames, in pixels
    pretrained, device, seed   as in ``ETABmodel`` and its ``fit``; ``seed`` also draws the parts
    optimizer, accumulate, augment   as in ``ETABmodel.fit``
    """

    _OPTIONS = (
        "n_train",
        "batch_size",
        "train_frac",
        "val_frac",
        "learning_rate",
        "n_epoch",
        "ckpt_dir",
        "root",
        "device",
        "optimizer",
        "accumulate",
        "augment",
    )

    def __init__(
        self,
        benchmark_task_code: str = "a0-A4-E",
        n_train: int | None = 50,
        batch_size: int = 16,
        train_frac: float = 0.6,
        val_frac: float = 0.1,
        learning_rate: float = 0.001,
        n_epoch: int = 10,
        backbone: Any = "ResNet-50",
        head: str | None = None,
        ckpt_dir: Path | str | None = None,
        *,
        root: Path | str | None = None,
        side: int = SIDE,
        pretrained: bool = False,
        device: str = "cpu",
        seed: int = 0,
        optimizer: str = "adamw",
        accumulate: int = 1,
        augment: str = "none",
    ) -> None:
        """Open the data of the task and compose the model; nothing is trained. Raises what those
        two raise.
        """
        self.n_train, self.batch_size, self.train_frac, self.val_frac = (
            n_train,
            batch_size,
            train_frac,
            val_frac,
        )
        self.learning_rate, self.n_epoch, self.ckpt_dir = learning_rate, n_epoch, ckpt_dir
        self.root, self.side, self.device, self.seed, self.backbone = (
            root,
            side,
            device,
            seed,
            backbone,
        )
        self.optimizer, self.accumulate, self.augment = optimizer, accumulate, augment
        self._open(benchmark_task_code)
        self.model = ETABmodel(
            self._sort,
            backbone,
            head,
            self._classes,
            pretrained=pretrained,
            frames=self._frames,
            side=side,
            seed=seed,
        )
        self.head = self.model.head_name
        self.test_loader: Any = None

    def _open(self, code: str) -> None:
        self.task = names.task(code)
        self.task_code, self.dataset_name = self.task.code, self.task.dataset
        self.target_name, self.view_name = self.task.target, self.task.code.split("-")[1]
        self.dataset = task_items(
            self.task, datasets.source(self.task.dataset, self.root), side=self.side
        )
        self._sort = names.sort_of(self.task.kind)
        self._classes = (
            max(2, len(self.dataset.reader.target.classes)) if self._sort == "classification" else 2
        )
        self._frames = 2 if self.task.inputs == "ED+ES" else 1

    def run(self, freeze_backbone: bool = False, verbose: bool = True) -> None:
        """Cut the rows by patient and fit the model; ``freeze_backbone`` False trains the backbone
        too.

        Raises SplitError where a part would be empty, and what ``ETABmodel.fit`` raises.
        """
        rows = first_recordings(self.dataset, self.n_train)
        if verbose:
            _say(
                f"{len({r.id for r, _ in rows.rows})} recordings, {self.view_name} of {self.dataset_name}; "
                f"{self.backbone} with {self.head}, backbone {'frozen' if freeze_backbone else 'trained'}"
            )
        self.train_loader, self.valid_loader, self.test_loader = training_data_split(
            rows,
            self.train_frac,
            self.val_frac,
            self.batch_size,
            return_loaders=True,
            seed=self.seed,
        )
        if freeze_backbone:
            self.model.freeze_backbone()
        else:
            self.model.unfreeze_backbone()
        self.model.fit(
            self.train_loader,
            self.valid_loader,
            task_code=self.task_code,
            n_epoch=self.n_epoch,
            learning_rate=self.learning_rate,
            ckpt_dir=self.ckpt_dir,
            device=self.device,
            verbose=verbose,
            optimizer=self.optimizer,
            accumulate=self.accumulate,
            augment=self.augment,
        )

    def evaluate(self) -> float:
        """Jaccard index, AUROC or mean squared error on the test part of the last ``run``
        (``evaluate_model``).
        """
        if self.test_loader is None:
            raise UnsupportedOptionError("Nothing to evaluate: call run() first.")
        return evaluate_model(self.model, self.test_loader, task_code=self.task_code)

    def switch_benchmark(
        self, benchmark_task_code: str = "a0-A4-C", head: str | None = None, **options: Any
    ) -> None:
        """Turn to another task with the backbone as it is now, and a new head (None: of the same
        name where it fits).

        ``options`` change n_train, batch_size, train_frac, val_frac, learning_rate, n_epoch,
        ckpt_dir, root, device, optimizer, accumulate or augment from now on. Raises
        UnsupportedOptionError for another option.
        """
        odd = sorted(set(options) - set(self._OPTIONS))
        if odd:
            raise UnsupportedOptionError(
                f"switch_benchmark has no option {', '.join(odd)}; it has {', '.join(self._OPTIONS)}. The backbone stays."
            )
        before = dict(vars(self))
        try:
            self._switch(benchmark_task_code, head, options)
        except BaseException:  # also Ctrl-C: nothing of the switch stays behind
            vars(self).clear()
            vars(self).update(before)
            raise

    def _switch(self, code: str, head: str | None, options: Mapping[str, Any]) -> None:
        for name, value in options.items():
            setattr(self, name, value)
        sort = self._sort
        if "root" not in options and names.task(code).dataset != self.dataset_name:
            self.root = None if self.root is None else _beside(self.root, names.task(code).dataset)
        self._open(code)
        default = "SegFormer" if self._sort == "segmentation" else "Linear"
        self.model.switch_head(
            head or (self.head if sort == self._sort else default),
            task=self._sort,
            num_classes=self._classes,
            frames=self._frames,
        )
        self.head, self.test_loader = self.model.head_name, None


def _beside(root: Path | str, dataset: str) -> Path:
    """The folder of another data set beside this one's, or the root itself where it holds none of
    that name.
    """
    other = Path(root).parent / dataset
    return other if other.is_dir() else Path(root)


def _say(text: str) -> None:
    sys.stdout.write(f"ETAB benchmark: {text}\n")
