"""Training examples: frames or clips with their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from etab.datasets.base import Source
from etab.datasets.dataset import IMAGENET_MEAN, IMAGENET_STD, Items
from etab.errors import UnsupportedOptionError, skippable
from etab.features.frames import resize
from etab.finetuning.augment import AUGMENTATIONS, clinical
from etab.finetuning.network import _CHUNK, FINER, Network
from etab.tasks.base import Task
from etab.tasks.rows import Rows
from etab.training.loop import Progress, Recipe, Report, train
from etab.types import Array, IntArray, Kind

BUDGET = 2 << 30


_FIRST_LOOK = 64


@dataclass
class Examples:
    """Rows of one or more map-style data sets of (tensor, answer), held once read while they fit
    ``budget`` bytes.

    ``normalized``: whether ImageNet's mean and deviation were applied to the tensors; they are
    undone. Frames of etab's own data sets are held as the bytes they come from.
    """

    sets: Sequence[Any]
    normalized: bool
    budget: int = BUDGET
    device: str = "cpu"

    def __post_init__(self) -> None:
        self._edges = np.cumsum([0, *[len(s) for s in self.sets]])
        self._held: dict[int, tuple[Tensor, Any]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return int(self._edges[-1])

    def part(self, which: int) -> IntArray:
        """Rows of one of the data sets."""
        return np.arange(self._edges[which], self._edges[which + 1])

    def _row(self, row: int) -> tuple[Tensor, Any]:
        if row in self._held:
            return self._held[row]
        which = int(np.searchsorted(self._edges, row, side="right")) - 1
        x, y = self.sets[which][int(row - self._edges[which])]
        unit = unit_scale(x, normalized=self.normalized)
        if isinstance(self.sets[which], Items):
            unit = (unit[..., 0, :, :] * 255).round().to(torch.uint8)
        size = unit.numel() * unit.element_size() + (
            y.numel() * y.element_size() if isinstance(y, Tensor) else 8
        )
        if self._bytes + size <= self.budget:
            self._held[row], self._bytes = (unit, y), self._bytes + size
        return unit, y

    def inputs(self, rows: IntArray) -> Tensor:
        """Frames (n, 3, h, w) or clips (n, t, 3, h, w) in [0, 1]."""
        x = torch.stack([self._row(int(r))[0] for r in rows]).to(self.device)
        if x.dtype is not torch.uint8:
            return x
        return (x.float() / 255).unsqueeze(-3).expand(*x.shape[:-2], 3, *x.shape[-2:])

    def answers(self, rows: IntArray) -> Tensor:
        """The answers as one tensor: (n,), or masks (n, h, w)."""
        found = torch.stack([torch.as_tensor(self._row(int(r))[1]) for r in rows]).to(self.device)
        return found[:, 0] if found.ndim == 4 else found


def unit_scale(x: Tensor, *, normalized: bool) -> Tensor:
    """Frames (..., 3, h, w) in [0, 1]: ImageNet's normalisation undone where it was applied."""
    if not normalized:
        return x.float()
    mean, std = (x.new_tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return x.float() * std + mean


class _Said:
    """What a frozen body says of rows, once each, in half precision, while it fits the budget."""

    def __init__(self, network: Network, examples: Examples, rows: int, budget: int) -> None:
        self.network, self.examples = network, examples
        self.rows, self.budget = rows, budget
        self.held: dict[int, list[Tensor]] = {}
        self.holds = network.frozen

    def __call__(self, rows: IntArray) -> list[Tensor]:
        missing = [int(r) for r in rows if int(r) not in self.held]
        if not self.holds or (missing and not self._room(missing)):
            return self.network.features(self.examples.inputs(rows))
        if missing:
            for row, parts in zip(missing, zip(*self._ask(missing), strict=True), strict=True):
                self.held[row] = [p.half().clone() for p in parts]
        each = [self.held[int(r)] for r in rows]
        return [torch.stack([row[k] for row in each]).float() for k in range(len(each[0]))]

    def _ask(self, rows: Sequence[int]) -> list[Tensor]:
        return self.network.features(self.examples.inputs(np.asarray(rows)))

    def _room(self, missing: Sequence[int]) -> bool:
        if not self.held:
            self.holds = (
                self.rows * sum(2 * p.numel() for p in self._ask(missing[:1])) <= self.budget
            )
        return self.holds


def fit(
    network: Network,
    examples: Examples,
    rows: IntArray,
    validation: IntArray,
    recipe: Recipe,
    *,
    folder: Path | None = None,
    report: Report | None = None,
    budget: int = BUDGET,
    augment: str = "none",
) -> Progress:
    """Train the head, and the body unless it is frozen, stopping by the validation rows' loss.

    A head that is new is standardised first, from training rows. ``augment`` "clinical" shows
    another plausible recording of every training row each time (``etab.finetuning.augment``), of a
    frozen body too, which is then asked again each time. Raises what ``etab.training.loop.train``
    raises, and UnsupportedOptionError for an unknown augmentation or pictures in colour.
    """
    if augment not in AUGMENTATIONS:
        raise UnsupportedOptionError(
            f"No augmentation is called {augment!r}: {', '.join(AUGMENTATIONS)}."
        )
    said = _Said(network, examples, len(rows) + len(validation), budget)
    if network.fresh:
        _prepare(network, examples, rows, said)

    def loss(some: IntArray) -> Tensor:
        if augment == "none" or not network.training:
            return _loss(network, network.head(said(some)), examples.answers(some))
        x, y = _changed(network, examples.inputs(some), examples.answers(some))
        return _loss(network, network.head(network.features(x)), y)

    about = {} if augment == "none" else {"augment": augment}
    return train(network, loss, rows, validation, recipe, folder=folder, report=report, about=about)


def _changed(network: Network, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Frames or clips in [0, 1] as another recording would show them, with their masks."""
    clip = x[:, None] if x.ndim == 4 else x
    grey = clip[:, :, :1]
    if not torch.allclose(grey.expand_as(clip), clip, atol=1e-3):
        raise UnsupportedOptionError(
            "augment='clinical' is of grey ultrasound; these pictures have colours."
        )
    masks = y[:, None].float() if network.kind is Kind.MASK else None
    moved, masks = clinical(grey, masks)
    moved = moved.expand_as(clip)
    return moved if x.ndim == 5 else moved[:, 0], y if masks is None else masks[:, 0]


def _prepare(network: Network, examples: Examples, rows: IntArray, said: _Said) -> None:
    """Set what a new head standardises by, from the first training rows as the body sees them now."""
    some = rows[np.linspace(0, len(rows) - 1, min(len(rows), _FIRST_LOOK)).astype(int)]
    network.eval()
    with torch.no_grad():
        blocks = [said(some[i : i + _CHUNK]) for i in range(0, len(some), _CHUNK)]
        head: Any = network.head
        if network.kind is not Kind.MASK:
            head.standardise(torch.cat([b[0] for b in blocks]))
            if network.kind is Kind.VALUE:
                head.scale_answers(examples.answers(rows).float())
            network.fresh = False
            return
        from etab.heads.masks.networks import resize_map

        for level in range(len(network.picked)):
            maps = torch.cat([resize_map(b[level], head.sides[level]) for b in blocks])
            head.standardise(
                level,
                maps.mean(dim=(0, 2, 3)),
                maps.std(dim=(0, 2, 3), correction=0).clamp_min(1e-4),
            )
    network.fresh = False


def _loss(network: Network, said: Tensor, answers: Tensor) -> Tensor:
    if network.kind is Kind.MASK:
        from etab.heads.masks import networks

        share = functional.interpolate(answers[:, None].float(), size=said.shape[-2:], mode="area")[
            :, 0
        ]
        return networks.mask_loss(said, share)
    if network.kind is Kind.VALUE:
        spread: Any = network.head.spread
        error: Tensor = (said - answers.float()) / spread
        return error.square().mean()
    found: Tensor = functional.cross_entropy(said, answers.long())
    return found


class Table:
    """Frames and answers of all rows, held once read: uint8 frames (rows, k, side, side)."""

    def __init__(self, frames: Array, answers: Any, kind: Kind, augment: str = "none") -> None:
        """``answers``: uint8 shares of each structure times 255 (rows, c, g, g) with ``known``
        rows, or (rows,).
        """
        self.frames, self.kind, self.augment = torch.from_numpy(frames), kind, augment
        self.known: Tensor | None = None
        if kind is Kind.MASK:
            answers, known = answers
            self.known = torch.from_numpy(known)
        self.answers = torch.from_numpy(answers)

    def batch(self, rows: IntArray, *, train: bool) -> tuple[Tensor, Tensor]:
        """Frames (n, k, 1, side, side) in [0, 1] and answers; augmented where asked for, in
        training.
        """
        at = torch.as_tensor(rows)
        x = self.frames[at].float()[:, :, None] / 255
        y = self.answers[at]
        masks = y.float() / 255 if self.kind is Kind.MASK else None
        if train and self.augment == "clinical":
            with torch.autocast(
                "cpu", enabled=False
            ):  # where a point comes from needs all its digits
                x, masks = clinical(x, masks)
        if masks is None or self.known is None:
            return x, y
        return x, torch.where(self.known[at][:, :, None, None], masks, torch.nan)


def frames_of(source: Source, keys: Sequence[Any], shown: Sequence[Array], side: int) -> Array:
    """The frames of each row as uint8 (rows, k, side, side); ``shown`` says which of ``keys``
    (record, frame) a row has.
    """
    out = np.empty((len(shown), len(shown[0]), side, side), np.uint8)
    for i, at in enumerate(shown):
        for k, frame in enumerate(at):
            record, number = keys[int(frame)]
            with skippable():
                out[i, k] = resize(source.frames(record, [number])[0], side)
    return out


def table_of(
    tasks: Sequence[Task],
    rows: Mapping[str, Rows],
    items: Mapping[str, int],
    frames: Array,
    side: int,
    augment: str,
) -> Table:
    """Frames with the answers of all tasks; ``items`` says which row of the table each row of a
    task is.
    """
    import cv2

    kind = tasks[0].kind
    if kind is not Kind.MASK:
        return Table(frames, np.asarray(rows[tasks[0].code].answers), kind, augment)
    names = list(dict.fromkeys(t.target for t in tasks))
    grid = FINER * max(16, 8 * round(side / 32))
    shares = np.zeros((len(items), len(names), grid, grid), np.uint8)
    known = np.zeros((len(items), len(names)), bool)
    for task in tasks:
        k = names.index(task.target)
        mine = rows[task.code]
        for item, mask in zip(mine.items, mine.answers, strict=True):
            share = cv2.resize(mask.astype(np.float32), (grid, grid), interpolation=cv2.INTER_AREA)
            shares[items[item], k], known[items[item], k] = np.rint(255 * share), True
    return Table(frames, (shares, known), kind, augment)
