"""``ETABmodel``, under its 2022 name: a backbone and a head to fit and to predict with."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional

from etab.backbones.base import BackboneCard
from etab.datasets.dataset import Dataset, Items
from etab.errors import EtabError, UnknownNameError, UnsupportedOptionError
from etab.finetuning.body import Body
from etab.finetuning.fitting import BUDGET, fit
from etab.finetuning.network import Network
from etab.legacy import names
from etab.legacy.epochs import EpochPrinter
from etab.legacy.examples import ItemExamples, unit_scale
from etab.legacy.user_backbones import card_of
from etab.legacy.visualization import as_tensor
from etab.options import path_option
from etab.storage.machine import require_device
from etab.training.loop import Progress, Recipe
from etab.types import Kind

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["ETABmodel", "available_backbones", "available_heads", "torch"]

_WEIGHT_DECAY = 1e-3
_BATCH = 32


def available_backbones() -> list[str]:
    """List backbones that ``ETABmodel`` takes.

    Also valid: "timm/<model>", "torchvision/<model>", "local:<file>@<model>" and "random/<name>".

    Returns:
        The architectures of 2022, then etab's own backbones for images.

    Example:
        >>> "ResNet-50" in available_backbones()
        True
    """
    from etab import backbones

    cards, _ = backbones.cards(backbones.names())
    etab_names = [card.name for card in cards if card.learned and card.modality == "image"]
    return [*names.ARCHITECTURES, *etab_names]


def available_heads(task: str | None = None) -> list[str]:
    """List heads that ``ETABmodel`` takes.

    Args:
        task: "segmentation", "classification" or "regression"; None lists all heads.

    Returns:
        The names of the heads.

    Raises:
        UnknownNameError: If there is no such task.

    Example:
        >>> available_heads("regression")
        ['Linear', 'MLP', 'RNN', 'LSTM', 'GRU']
    """
    if task is None:
        return list(dict.fromkeys([*names.MASK_HEADS, *names.VECTOR_HEADS]))
    return list(_heads_for(_known_task(task)))


def _known_task(task: str) -> str:
    """Return the task; raises UnknownNameError for an unknown one."""
    if task not in names.TASK_KINDS:
        raise UnknownNameError(f"No task is called {task!r}. Known: {', '.join(names.TASK_KINDS)}.")
    return task


def _heads_for(task: str) -> Mapping[str, str]:
    """Map the printed name of each head for a task to its internal name."""
    return names.MASK_HEADS if task == "segmentation" else names.VECTOR_HEADS


class ETABmodel:
    """A backbone with a head. ``backbone`` and ``head`` are torch modules that can be changed.

    Unlike in 2022, the module that is trained is not the model itself but ``model.network``.
    """

    def __init__(
        self,
        task: str = "segmentation",
        backbone: str | BackboneCard | nn.Module = "ResNet-50",
        head: str | None = None,
        num_classes: int = 2,
        *,
        pretrained: bool = False,
        frames: int = 1,
        side: int = 224,
        seed: int = 0,
    ) -> None:
        """Load the backbone and put a new head on it.

        Args:
            task: "segmentation", "classification" or "regression".
            backbone: A name of 2022 (randomly initialised unless ``pretrained``), any name that
                etab knows, a card, or a torch module, which is copied.
            head: One of ``available_heads(task)``; None: "SegFormer" for masks, else "Linear".
            num_classes: Number of classes; 2 for masks, which are one structure against the rest.
            pretrained: Whether an architecture of 2022 has the weights of its library. They are
                downloaded once.
            frames: Frames of a clip that "Linear" and "MLP" take side by side.
            side: Height and width of the frames in pixels; decides the grid of masks.
            seed: Seed of the head's first weights and of the order of training.

        Raises:
            UnknownNameError: If the task, backbone or head is unknown.
            UnsupportedOptionError: If the backbone, head and task do not fit together.
            WeightsError: If weights cannot be loaded.
            MissingPackageError: If a package of the backbone or head is not installed.
        """
        self.task = _known_task(task)
        self.num_classes = num_classes
        self.frames = frames
        self.side = side
        self.seed = seed
        default_head = "SegFormer" if task == "segmentation" else "Linear"
        self.head_name = names.printed_head(head or default_head, task)
        card = card_of(backbone, pretrained=pretrained)
        self.backbone_name = card.name
        if self.task == "segmentation" and num_classes != 2:
            raise UnsupportedOptionError(
                "Segmentation separates one structure from the rest: num_classes=2, not "
                f"{num_classes}."
            )
        self.network = Network(
            Body(card.load()),  # type: ignore[arg-type]
            self._internal_head(),
            self._kind(),
            outputs=self._outputs(),
            frames=frames,
            side=side,
            seed=seed,
            half_features=True,
        )
        self._normalized = True

    @property
    def backbone(self) -> nn.Module:
        """The torch network of the backbone, with the keys of its library in its state dict."""
        network: nn.Module = self.network.body.network
        return network

    @property
    def head(self) -> nn.Module:
        """The torch module of the head."""
        return self.network.head

    @property
    def device(self) -> torch.device:
        """The device that holds the model."""
        return self.network.device

    @property
    def frozen(self) -> bool:
        """Whether the backbone is frozen."""
        return self.network.frozen

    def __repr__(self) -> str:
        state = "frozen" if self.frozen else "trained with the head"
        return (
            f"ETABmodel({self.task!r}, backbone={self.backbone_name!r} ({state}), "
            f"head={self.head_name!r})"
        )

    def freeze_backbone(self) -> None:
        """Train only the head; weights and batch-norm statistics of the backbone stay constant."""
        self.network.freeze()

    def unfreeze_backbone(self) -> None:
        """Train backbone and head together again."""
        self.network.unfreeze()

    def switch_head(
        self,
        new_head: str,
        *,
        task: str | None = None,
        num_classes: int | None = None,
        frames: int | None = None,
    ) -> None:
        """Replace the head by a new one; the backbone stays as it is.

        If this fails, the model is unchanged.

        Args:
            new_head: One of ``available_heads(task)``.
            task: Another task; None keeps it.
            num_classes: Another number of classes; None keeps it.
            frames: Another number of frames of a clip; None keeps it.

        Raises:
            UnknownNameError: If the task or head is unknown.
            UnsupportedOptionError: If the head suits neither the task nor the maps of the backbone.
        """
        new_task = _known_task(task or self.task)
        printed = names.printed_head(new_head, new_task)
        before = (self.task, self.head_name, self.num_classes, self.frames)
        self.task = new_task
        self.head_name = printed
        if num_classes is not None:
            self.num_classes = num_classes
        if frames is not None:
            self.frames = frames
        self.network.kind = self._kind()
        try:
            self.network.set_head(
                self._internal_head(),
                outputs=self._outputs(),
                frames=self.frames,
                side=self.side,
                seed=self.seed,
            )
        except EtabError:
            self.task, self.head_name, self.num_classes, self.frames = before
            self.network.kind = self._kind()
            raise

    def fit(
        self,
        train_loader: Any,
        valid_loader: Any,
        task_code: str | None = None,
        n_epoch: int = 50,
        learning_rate: float = 1e-3,
        ckpt_dir: Path | str | None = None,
        device: Any = "cpu",
        verbose: bool = True,
        *,
        normalized: bool | None = None,
        patience: int = 0,
        optimizer: str = "adamw",
        accumulate: int = 1,
        augment: str = "none",
    ) -> Progress:
        """Train, and keep the weights with the lowest validation loss.

        Args:
            train_loader: A DataLoader, or a data set, with the training rows. It decides the
                batch size, but not the order, which follows from the model's seed.
            valid_loader: A DataLoader, or a data set, with the validation rows.
            task_code: A task ("a0-A4-E", "EA40" or "a0") to check model and data against.
            n_epoch: Passes over the training rows.
            learning_rate: Peak of the learning rate.
            ckpt_dir: Folder of checkpoints, with a subfolder for each training; None for no
                checkpoints. The same call continues an interrupted training.
            device: A torch device, such as "cpu" or "cuda".
            verbose: Whether to print a line for each epoch.
            normalized: Whether loaders other than etab's apply ImageNet's mean and deviation; None
                is True. Loaders of etab know it themselves.
            patience: Epochs without improvement after which training stops; 0: never.
            optimizer: "adamw", or "sgd" (Nesterov, momentum 0.9).
            accumulate: Batches in one step.
            augment: "none" or "clinical" (``etab.finetuning.augment``).

        Returns:
            The progress at the end of training.

        Raises:
            UnsupportedOptionError: If code, data and model do not fit together, or the device is
                absent.
            TrainingError: If the loss is not finite, or one row does not fit memory.
            CorruptFileError: If the checkpoint cannot be read.
            StorageError: If a checkpoint cannot be written.
        """
        sets = [_rows_of(train_loader), _rows_of(valid_loader)]
        self._check(sets, task_code)
        self._normalized = _is_normalized(sets, normalized)
        require_device(str(device))
        self.network.to(device)
        examples = ItemExamples(sets, self._normalized, BUDGET, str(device))
        recipe = Recipe(
            epochs=n_epoch,
            batch=getattr(train_loader, "batch_size", None) or _BATCH,
            learning_rate=learning_rate,
            weight_decay=_WEIGHT_DECAY,
            patience=patience,
            seed=self.seed,
            optimizer=optimizer,
            accumulate=accumulate,
        )
        folder = None
        if ckpt_dir is not None:
            folder = path_option("ckpt_dir", ckpt_dir) / self._training_name(sets)
        printer = EpochPrinter(n_epoch) if verbose else None
        done = fit(
            self.network,
            examples,
            examples.rows_of(0),
            examples.rows_of(1),
            recipe,
            augment=augment,
            folder=folder,
            about={} if augment == "none" else {"augment": augment},
            report=printer,
        )
        if printer is not None:
            printer.finish(done)
        return done

    def predict(self, inputs: Tensor) -> Tensor:
        """Predict masks, classes or values.

        Args:
            inputs: Frames (n, 3, h, w) or clips (n, frames, 3, h, w), scaled as those of the
                loaders of ``fit``.

        Returns:
            On the CPU: masks (n, h, w) of 0 and 1, classes (n,), or values (n,) in the unit of
            the target.
        """
        scores = self.predict_scores(inputs)
        if self.task == "regression":
            return scores
        if self.task == "segmentation":
            return (scores >= 0.5).long()
        return scores.argmax(dim=1)

    def predict_scores(self, inputs: Tensor) -> Tensor:
        """Predict probabilities, or values.

        Args:
            inputs: As for ``predict``.

        Returns:
            On the CPU: the probability of the structure at each pixel (n, h, w), of each class
            (n, classes; float64), or values (n,).
        """
        unit = unit_scale(as_tensor("inputs", inputs).to(self.device), normalized=self._normalized)
        with torch.no_grad():
            output = self.network.eval()(unit)
            if self.network.kind is not Kind.MASK:
                return self.network.probabilities(output).cpu()
            size = unit.shape[-2:]
            resized = functional.interpolate(
                output,
                size=size,
                mode="bilinear",
                align_corners=False,
            )
            return self.network.probabilities(resized)[:, 0].cpu()

    def _internal_head(self) -> str:
        """Return the internal name of the head."""
        return _heads_for(self.task)[self.head_name]

    def _kind(self) -> Kind:
        """Return the kind of the predictions."""
        return names.TASK_KINDS[self.task][-1]

    def _outputs(self) -> int:
        """Return the number of outputs of the head."""
        if self.task != "classification":
            return 1
        if self.num_classes < 2:
            raise UnsupportedOptionError(
                f"A classification has 2 classes or more; got num_classes={self.num_classes}."
            )
        return self.num_classes

    def _check(self, sets: Sequence[Any], task_code: str | None) -> None:
        """Raise UnsupportedOptionError if the data do not fit the model and the task code."""
        targets = [rows.reader.target for rows in sets if isinstance(rows, Items)]
        if task_code is not None:
            names.check_code(task_code, self.task, targets[0].name if targets else "")
        for target in targets:
            if target.kind not in names.TASK_KINDS[self.task]:
                raise UnsupportedOptionError(
                    f"The loader returns {target.name} ({target.kind.value}); this model is for "
                    f"{self.task}."
                )
            if target.kind is Kind.CLASSES and len(target.classes) != self.num_classes:
                raise UnsupportedOptionError(
                    f"{target.name} has {len(target.classes)} classes "
                    f"({', '.join(target.classes)}); the model was made for "
                    f"num_classes={self.num_classes}."
                )

    def _training_name(self, sets: Sequence[Any]) -> str:
        """Name the folder of a training, from its weights, head, freezing and rows."""
        from etab.backbones.weights.index import digest

        options = f"{self.head_name} {self.frozen} {self.task} normalized={self._normalized}"
        identity = hashlib.sha256(options.encode())
        identity.update(digest(self.network.state_dict()).encode())
        for rows in sets:
            words = "\0".join(_identity_of(rows))
            identity.update(words.encode())
        return identity.hexdigest()[:16]


def _identity_of(rows: Any) -> list[str]:
    """List words that identify the rows of a data set."""
    if not isinstance(rows, Items):
        return [type(rows).__name__, str(len(rows))]
    reader = rows.reader
    return [
        reader.target.name,
        str(reader.options),
        str(reader.source.root),
        *rows.ids,
    ]


def _rows_of(loader: Any) -> Any:
    """Return the map-style data set of a loader, or the data set itself."""
    rows = getattr(loader, "dataset", loader)
    if isinstance(rows, Dataset):
        rows = rows.data
    if not hasattr(rows, "__getitem__") or not hasattr(rows, "__len__"):
        raise UnsupportedOptionError(
            "Wanted a DataLoader of a map-style data set, or such a data set; got "
            f"{type(loader).__name__}."
        )
    return rows


def _is_normalized(sets: Sequence[Any], stated: bool | None) -> bool:
    """Whether tensors are normalised, according to etab's data sets and to the caller."""
    values = set()
    for rows in sets:
        if isinstance(rows, Items):
            values.add(bool(rows.reader.options.normalize))
    if stated is not None:
        values.add(stated)
    if len(values) > 1:
        raise UnsupportedOptionError(
            "Training and validation rows have different normalize=, or normalized= contradicts "
            "them."
        )
    return values.pop() if values else True
