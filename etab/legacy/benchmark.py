"""``ETABBenchmark``, under its 2022 name: train and score a model on one task, then on another."""

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
from etab.datasets.dataset import Items
from etab.datasets.options import Options
from etab.datasets.pictures import IMAGENET_MEAN, IMAGENET_STD, PictureReader
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
    """Reads the rows of a task as tensors with the task's answer.

    A tensor is one frame (3, h, w), or the ED and the ES frame (2, 3, h, w). A row is (record,
    number of the row), as ``etab.features.frames.task_rows`` numbers them.

    Attributes:
        pictures: Reads the frames.
        frames: Frame numbers of each row.
        answers: Answers of the rows.
    """

    pictures: PictureReader
    frames: tuple[tuple[int, ...], ...]
    answers: Any

    @property
    def source(self) -> Source:
        """The source of the pictures."""
        return self.pictures.source

    @property
    def target(self) -> Target:
        """The target of the task."""
        return self.pictures.target

    @property
    def options(self) -> Options:
        """Size and normalisation of the pictures."""
        return self.pictures.options

    def sample(self, row: tuple[Record, int | None]) -> Sample:
        """Read the tensor and the answer of a row.

        Args:
            row: (record, number of the row).
        """
        record = row[0]
        number = int(row[1] or 0)
        frames = self.frames[number]
        if self.target.kind is Kind.MASK:
            return self.pictures.sample((record, frames[0]))
        grey = self.pictures.grey(record, frames).astype(np.float32) / 255
        unit = torch.from_numpy(grey)[:, None].repeat(1, 3, 1, 1)
        if self.options.normalize:
            mean = torch.tensor(IMAGENET_MEAN).view(3, 1, 1)
            std = torch.tensor(IMAGENET_STD).view(3, 1, 1)
            unit = (unit - mean) / std
        x = unit if len(frames) > 1 else unit[0]
        return Sample(x, self.answers[number].item(), f"{record.id}#{number}", record.patient)


def task_items(
    task: Task,
    source: Source,
    *,
    side: int = SIDE,
    normalize: bool = True,
) -> Items:
    """List every row of a task as a lazy sequence of (tensor, answer), in the order of the source.

    Args:
        task: The task.
        source: The data.
        side: Side of the frames, in px.
        normalize: Whether ImageNet's normalisation is applied.

    Raises:
        LayoutError: The data hold no row of the task.
        UnsupportedOptionError: There is no 2022 model for this kind of task.
    """
    names.sort_of(task.kind)
    frames = annotated_frames(source)
    rows = task_rows(task, source, frames)
    records = []
    frame_numbers = []
    for row in rows.frames:
        keys = [frames[int(i)] for i in row]  # (record, frame number)
        records.append(keys[0][0])
        frame_numbers.append(tuple(number for _, number in keys))
    options = Options(False, normalize, (side, side), 1, None, False)
    pictures = PictureReader(source, source.card.target(task.target), options)
    reader: Any = TaskReader(pictures, tuple(frame_numbers), rows.answers)
    return Items(reader, [(record, number) for number, record in enumerate(records)])


def first_recordings(items: Items, n: int | None) -> Items:
    """Select the rows of the first recordings.

    Args:
        items: The rows.
        n: Number of recordings; None for all.

    Raises:
        UnsupportedOptionError: There are fewer recordings, or ``n`` is below 1.
    """
    if n is None:
        return items
    ids = list(dict.fromkeys(record.id for record, _ in items.rows))
    if not 1 <= n <= len(ids):
        raise UnsupportedOptionError(
            f"n_train is {n}; the task has {len(ids)} recordings: "
            f"choose from 1 to {len(ids)}, or None for all."
        )
    chosen = set(ids[:n])
    positions = [i for i, (record, _) in enumerate(items.rows) if record.id in chosen]
    return items.select(positions)


class ETABBenchmark:
    """One experiment: a task whose rows are split by patient, a model, and its test score.

    ``run`` trains the model, ``evaluate`` scores it on the test part, and ``switch_benchmark``
    continues with another task on the same backbone.
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
        """Open the data of the task and build the model; nothing is trained.

        Args:
            benchmark_task_code: A code of the menu ("a0-A4-E"), or a 2022 code ("EA40").
            n_train: Number of recordings to load, from the first on; None for all.
            batch_size: Rows of a batch.
            train_frac: Fraction of the patients in the training part.
            val_frac: Fraction of the patients in the validation part. The other patients are the
                test part.
            learning_rate: Learning rate of the training.
            n_epoch: Epochs of the training.
            backbone: Name of the backbone, as in ``ETABmodel``.
            head: Name of the head; None is "SegFormer" for masks, else "Linear".
            ckpt_dir: Folder of checkpoints, with a subfolder for each training; None for no
                checkpoints.
            root: Folder of the data; None for the documented locations.
            side: Side of the frames, in px.
            pretrained: Whether the backbone has its published weights.
            device: The device, as torch names it.
            seed: Seed of the initialisation, of the training and of the parts.
            optimizer: Name of the optimizer, as in ``ETABmodel.fit``.
            accumulate: Batches of one step, as in ``ETABmodel.fit``.
            augment: "none" or "clinical".

        Raises:
            EtabError: The data cannot be opened, or the model cannot be built.
        """
        self.n_train = n_train
        self.batch_size = batch_size
        self.train_frac = train_frac
        self.val_frac = val_frac
        self.learning_rate = learning_rate
        self.n_epoch = n_epoch
        self.ckpt_dir = ckpt_dir
        self.root = root
        self.side = side
        self.device = device
        self.seed = seed
        self.backbone = backbone
        self.optimizer = optimizer
        self.accumulate = accumulate
        self.augment = augment
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
        """Look up the task and open its data."""
        self.task = names.task(code)
        self.task_code = self.task.code
        self.dataset_name = self.task.dataset
        self.target_name = self.task.target
        self.view_name = self.task.code.split("-")[1]
        source = datasets.source(self.task.dataset, self.root)
        self.dataset = task_items(self.task, source, side=self.side)
        self._sort = names.sort_of(self.task.kind)
        self._classes = 2
        if self._sort == "classification":
            self._classes = max(2, len(self.dataset.reader.target.classes))
        self._frames = 2 if self.task.inputs == "ED+ES" else 1

    def run(self, freeze_backbone: bool = False, verbose: bool = True) -> None:
        """Split the rows by patient and fit the model.

        Args:
            freeze_backbone: Whether only the head is trained.
            verbose: Whether progress is printed.

        Raises:
            SplitError: A part would be empty.
            EtabError: As for ``ETABmodel.fit``.
        """
        rows = first_recordings(self.dataset, self.n_train)
        if verbose:
            n_recordings = len({record.id for record, _ in rows.rows})
            state = "frozen" if freeze_backbone else "trained"
            _print(
                f"{n_recordings} recordings, {self.view_name} of {self.dataset_name}; "
                f"{self.backbone} with {self.head}, backbone {state}"
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
        """Compute the Jaccard index, AUROC or mean squared error on the test part.

        Returns:
            The score of ``evaluate_model`` on the test part of the last ``run``.

        Raises:
            UnsupportedOptionError: ``run`` was not called yet.
            UndefinedError: The metric is not defined on the test part.
        """
        if self.test_loader is None:
            raise UnsupportedOptionError("Nothing to evaluate: call run() first.")
        return evaluate_model(self.model, self.test_loader, task_code=self.task_code)

    def switch_benchmark(
        self,
        benchmark_task_code: str = "a0-A4-C",
        head: str | None = None,
        **options: Any,
    ) -> None:
        """Switch to another task, with the same backbone and a new head.

        Args:
            benchmark_task_code: Code of the task.
            head: Name of the head; None is the name of the current head if it fits the task.
            options: New values of n_train, batch_size, train_frac, val_frac, learning_rate,
                n_epoch, ckpt_dir, root, device, optimizer, accumulate or augment.

        Raises:
            UnsupportedOptionError: An option is not in this list.
            EtabError: The data cannot be opened, or the head does not fit. Nothing is changed then.
        """
        unknown = sorted(set(options) - set(self._OPTIONS))
        if unknown:
            raise UnsupportedOptionError(
                f"switch_benchmark has no option {', '.join(unknown)}; "
                f"it has {', '.join(self._OPTIONS)}. The backbone cannot be changed."
            )
        before = dict(vars(self))
        try:
            self._switch(benchmark_task_code, head, options)
        except BaseException:  # also Ctrl-C: the switch is undone
            vars(self).clear()
            vars(self).update(before)
            raise

    def _switch(
        self,
        code: str,
        head: str | None,
        options: Mapping[str, Any],
    ) -> None:
        """Open the data of another task, and put a new head on the model."""
        for name, value in options.items():
            setattr(self, name, value)
        earlier_sort = self._sort
        dataset = names.task(code).dataset
        if "root" not in options and self.root is not None and dataset != self.dataset_name:
            self.root = _beside(self.root, dataset)
        self._open(code)
        default = "SegFormer" if self._sort == "segmentation" else "Linear"
        if earlier_sort == self._sort:
            default = self.head
        self.model.switch_head(
            head or default,
            task=self._sort,
            num_classes=self._classes,
            frames=self._frames,
        )
        self.head = self.model.head_name
        self.test_loader = None


def _beside(root: Path | str, dataset: str) -> Path:
    """Name the folder of another dataset beside ``root``, or ``root`` if there is none."""
    other = Path(root).parent / dataset
    return other if other.is_dir() else Path(root)


def _print(text: str) -> None:
    sys.stdout.write(f"ETAB benchmark: {text}\n")
