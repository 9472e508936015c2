"""``ETABmodel``: a backbone and a head to fit and to predict with, by the names of 2022."""

from __future__ import annotations

import copy
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from etab.backbones.base import BackboneCard
from etab.datasets.dataset import Dataset, Items
from etab.errors import EtabError, UnknownNameError, UnsupportedOptionError, WeightsError
from etab.finetuning.examples import BUDGET, Examples, fit, unit_scale
from etab.finetuning.network import Body, Network
from etab.legacy import names
from etab.storage.machine import require_device
from etab.training.loop import Progress, Recipe
from etab.types import Kind

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["ETABmodel", "available_backbones", "available_heads", "torch"]

_WEIGHT_DECAY = 1e-3


def available_backbones() -> list[str]:
    """Names that ``ETABmodel`` takes: the architectures of 2022 (at random initialisation), then
    etab's own backbones.

    Besides these, "timm/<model>", "torchvision/<model>", "local:<file>@<model>" and
    "random/<name>".
    """
    from etab import backbones

    own, _ = backbones.cards(backbones.names())
    return [
        *names.ARCHITECTURES,
        *(card.name for card in own if card.learned and card.modality == "image"),
    ]


def available_heads(task: str | None = None) -> list[str]:
    """Names of heads: for "segmentation", for "classification" or "regression", or (None) all of
    them.
    """
    if task is None:
        return list(dict.fromkeys([*names.MASK_HEADS, *names.VECTOR_HEADS]))
    return list(names.MASK_HEADS if _sort(task) == "segmentation" else names.VECTOR_HEADS)


def _sort(task: str) -> str:
    if task not in names.KINDS:
        raise UnknownNameError(f"No task is called {task!r}. Known: {', '.join(names.KINDS)}.")
    return task


def card_of_module(module: nn.Module, name: str) -> BackboneCard:
    """The card of a torch module of the user's: timm networks and torchvision-like convolutional
    ones.
    """
    from etab.backbones.base import IMAGENET
    from etab.backbones.image import open as opened
    from etab.backbones.image.networks import TorchBackbone, timm_taps

    config = getattr(module, "pretrained_cfg", None) or {}
    blank = BackboneCard(
        name,
        name,
        lambda: made,
        size=int((config.get("input_size") or (3, 224, 224))[-1]),
        mean=tuple(config.get("mean") or IMAGENET[0]),
        std=tuple(config.get("std") or IMAGENET[1]),
        layers=("-3", "-2", "-1"),
        strides=(8, 16, 32),
        pretraining="the user's",
        licence="the user's",
        source="module",
    )
    own: Any = copy.deepcopy(module)
    if hasattr(own, "forward_intermediates"):
        last = len(own.feature_info)
        made: Any = TorchBackbone(
            blank, own, timm_taps(own, list(range(max(0, last - 3), last)), blank.layers)
        )
    else:
        made = opened.wrap_module(blank, own)
    return blank


@dataclass(frozen=True)
class _Heard:
    """What the model was trained to hear."""

    normalized: bool


class ETABmodel:
    """A backbone with a head. ``.backbone`` and ``.head`` are torch modules; change them as you
    like before ``fit``.

    task         "segmentation", "classification" or "regression"
    backbone     a 2022 name ("ResNet-50", at random initialisation unless ``pretrained``), any name
                 of etab's, a card, or a torch module (which is copied)
    head         a name of ``available_heads(task)``; None is "SegFormer" for masks and "Linear"
                 otherwise
    num_classes  classes of a classification; masks are one structure against the rest (2)
    pretrained   take a 2022 architecture with the weights of its library (these need a network
                 once)
    frames       frames of a clip that "Linear" and "MLP" see side by side
    side         of the frames that it will be given, in pixels; decides the grid that masks are
                 answered on
    seed         decides the head's first weights, and the order of training

    Unlike 2022, the module that is trained is not the model itself but ``model.network``.
    Raises UnknownNameError, UnsupportedOptionError, WeightsError, MissingPackageError.
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
        """Load the backbone and put a new head on it."""
        self.task, self.num_classes, self.frames, self.side, self.seed = (
            _sort(task),
            num_classes,
            frames,
            side,
            seed,
        )
        self.head_name = names.head(
            head or ("SegFormer" if task == "segmentation" else "Linear"), task
        )
        card = _card(backbone, pretrained=pretrained)
        self.backbone_name = card.name
        if self.task == "segmentation" and num_classes != 2:
            raise UnsupportedOptionError(
                f"Segmentation is one structure against the rest: num_classes=2, not {num_classes}."
            )
        body = Body(card.load())  # type: ignore[arg-type]
        self.network = Network(
            body,
            self._plain_head(),
            self._kind(),
            outputs=self._outputs(),
            frames=frames,
            side=side,
            seed=seed,
        )
        self._heard = _Heard(normalized=True)

    @property
    def backbone(self) -> nn.Module:
        """The torch network of the backbone; its state dict is that of its library."""
        found: nn.Module = self.network.body.network
        return found

    @property
    def head(self) -> nn.Module:
        """The torch module of the head."""
        return self.network.head

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.network.parameters()).device

    @property
    def frozen(self) -> bool:
        """Whether the backbone is kept as it is."""
        return self.network.frozen

    def __repr__(self) -> str:
        state = "frozen" if self.frozen else "trained with the head"
        return f"ETABmodel({self.task!r}, backbone={self.backbone_name!r} ({state}), head={self.head_name!r})"

    def freeze_backbone(self) -> None:
        """Tune the head alone: no gradient reaches the backbone and its batch-norm statistics stand
        still.
        """
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
        """Put another new head on the backbone as it is now, for another task where one is named.

        The model stays as it was where the task, the head or the backbone's maps are refused.
        """
        sort = _sort(task or self.task)
        before = (self.task, self.head_name, self.num_classes, self.frames)
        self.task, self.head_name = sort, names.head(new_head, sort)
        self.num_classes = self.num_classes if num_classes is None else num_classes
        self.frames = self.frames if frames is None else frames
        self.network.kind = self._kind()
        try:
            self.network.shape(
                self._plain_head(),
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
        """Train on the rows of one loader and keep the weights that do best on those of the other.

        The loaders (or data sets) say which rows, and the first the batch; the order is decided by
        the model's ``seed``. ``task_code`` ("EA40", "a0-A4-E", "a0") is checked against model and
        data. ``ckpt_dir`` keeps checkpoints: the same call goes on where it was interrupted,
        another training has its own place there. ``normalized`` says whether loaders that are not
        etab's remove ImageNet's mean (None: yes); etab's say it themselves. ``patience`` epochs
        without a better validation loss stop the training (0: never). ``optimizer`` is "adamw" or
        "sgd" (Nesterov, momentum 0.9); ``accumulate`` batches make one step; ``augment="clinical"``
        shows another plausible recording of every training row each time
        (``etab.finetuning.augment``). Raises what ``etab.training.loop.train`` raises, and
        UnsupportedOptionError where code, data and model do not fit.
        """
        sets = [_rows_of(train_loader), _rows_of(valid_loader)]
        self._check(sets, task_code)
        self._heard = _Heard(_normalized(sets, normalized))
        require_device(str(device))
        self.network.to(device)
        examples = Examples(sets, self._heard.normalized, BUDGET, str(device))
        recipe = Recipe(
            epochs=n_epoch,
            batch=getattr(train_loader, "batch_size", None) or 32,
            learning_rate=learning_rate,
            weight_decay=_WEIGHT_DECAY,
            patience=patience,
            seed=self.seed,
            optimizer=optimizer,
            accumulate=accumulate,
        )
        folder = None if ckpt_dir is None else Path(ckpt_dir) / self._training(sets)
        told = _Teller(n_epoch) if verbose else None
        done = fit(
            self.network,
            examples,
            examples.part(0),
            examples.part(1),
            recipe,
            folder=folder,
            report=told,
            augment=augment,
        )
        if told is not None:
            told.end(done)
        return done

    def predict(self, inputs: Tensor) -> Tensor:
        """Answers on the CPU: masks (n, h, w) of 0 and 1, classes (n,), or values (n,) in the
        target's unit.

        ``inputs`` are frames (n, 3, h, w) or clips (n, t, 3, h, w) as the loaders of ``fit`` give
        them.
        """
        said = self.predict_scores(inputs)
        if self.task == "regression":
            return said
        return (said >= 0.5).long() if self.task == "segmentation" else said.argmax(dim=1)

    def predict_scores(self, inputs: Tensor) -> Tensor:
        """As ``predict``, but the probability of the structure at each pixel, or of each class (n,
        classes).
        """
        return self.network.answer(
            unit_scale(inputs.to(self.device), normalized=self._heard.normalized)
        ).cpu()

    def _plain_head(self) -> str:
        return (names.MASK_HEADS if self.task == "segmentation" else names.VECTOR_HEADS)[
            self.head_name
        ]

    def _kind(self) -> Kind:
        return names.KINDS[self.task][-1]

    def _outputs(self) -> int:
        if self.task == "classification" and self.num_classes < 2:
            raise UnsupportedOptionError(
                f"A classification has 2 classes or more; got num_classes={self.num_classes}."
            )
        return self.num_classes if self.task == "classification" else 1

    def _check(self, sets: Sequence[Any], task_code: str | None) -> None:
        """Refuse data of another kind, another number of classes, or another target than the
        code's.
        """
        targets = [s.reader.target for s in sets if isinstance(s, Items)]
        if task_code is not None:
            names.check_code(task_code, self.task, targets[0].name if targets else "")
        for target in targets:
            if target.kind not in names.KINDS[self.task]:
                raise UnsupportedOptionError(
                    f"The loader gives {target.name} ({target.kind.value}); this model is for {self.task}."
                )
            if target.kind is Kind.CLASSES and len(target.classes) != self.num_classes:
                raise UnsupportedOptionError(
                    f"{target.name} has {len(target.classes)} classes ({', '.join(target.classes)}); the model was made for "
                    f"num_classes={self.num_classes}."
                )

    def _training(self, sets: Sequence[Any]) -> str:
        """The folder name of this training: weights, head, freezing and rows decide it."""
        from etab.backbones.weights.index import digest

        h = hashlib.sha256(f"{self.head_name} {self.frozen} {self.task} {self._heard}".encode())
        h.update(digest(self.network.state_dict()).encode())
        for rows in sets:
            said = (
                [
                    rows.reader.target.name,
                    str(rows.reader.options),
                    str(rows.reader.source.root),
                    *rows.ids,
                ]
                if (isinstance(rows, Items))
                else [type(rows).__name__, str(len(rows))]
            )
            h.update("\0".join(said).encode())
        return h.hexdigest()[:16]


def _card(backbone: Any, *, pretrained: bool) -> BackboneCard:
    if isinstance(backbone, str):
        return names.architecture(backbone, pretrained=pretrained)
    if pretrained:
        raise UnsupportedOptionError(
            "pretrained=True acts with a name; this backbone brings its weights."
        )
    if isinstance(backbone, BackboneCard):
        return backbone
    if isinstance(backbone, torch.nn.Module):
        return card_of_module(backbone, f"module/{type(backbone).__name__}")
    raise UnsupportedOptionError(
        f"backbone is {type(backbone).__name__}; wanted a name, a card or a torch module."
    )


def _rows_of(loader: Any) -> Any:
    rows = getattr(loader, "dataset", loader)
    rows = rows.data if isinstance(rows, Dataset) else rows
    if not hasattr(rows, "__getitem__") or not hasattr(rows, "__len__"):
        raise UnsupportedOptionError(
            f"Wanted a DataLoader over a map-style data set, or such a data set; got {type(loader).__name__}."
        )
    return rows


def _normalized(sets: Sequence[Any], said: bool | None) -> bool:
    """Whether the tensors are normalised: etab's own data say it, and must agree with each other
    and with the caller.
    """
    found = {bool(s.reader.options.normalize) for s in sets if isinstance(s, Items)}
    found |= set() if said is None else {said}
    if len(found) > 1:
        raise UnsupportedOptionError(
            "Training and validation rows differ in normalize=, or normalized= says otherwise."
        )
    return found.pop() if found else True


def load_weights(network: Any, state: Any, what: str) -> None:
    """Load the tensors of a user's network into one of the same architecture; classifiers may
    differ, nothing else.
    """
    own = network.state_dict()
    tails = ("fc.", "head.", "head.fc.", "classifier.", "heads.", "last_linear.")
    kept = {k: v for k, v in state.items() if k in own and own[k].shape == v.shape}
    lost = [k for k in own if k not in kept and not k.startswith(tails)]
    lost += [k for k in state if k not in kept and k not in own and not k.startswith(tails)]
    if lost:
        raise WeightsError(
            f"The weights given are not of {what}: {len(lost)} of {len(own)} keys differ, first {', '.join(lost[:4])}. "
            "Name the architecture that the module has."
        )
    network.load_state_dict(kept, strict=False)


class _Teller:
    """One line an epoch."""

    def __init__(self, epochs: int) -> None:
        self.epochs, self.told = epochs, 0

    def __call__(self, now: Progress) -> None:
        self._tell(now)

    def end(self, now: Progress) -> None:
        """Say the last epochs, and which one is kept."""
        self._tell(now)
        sys.stdout.write(f"kept: epoch {now.best_epoch + 1}, validation loss {now.best_loss:.4f}\n")

    def _tell(self, now: Progress) -> None:
        for i in range(self.told, len(now.history)):
            row = now.history[i]
            sys.stdout.write(
                f"Epoch: {i + 1}/{self.epochs} loss: {row['train']:.4f} val_loss: {row['validation']:.4f}\n"
            )
        self.told = max(self.told, len(now.history))
