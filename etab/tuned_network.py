"""A backbone that trains together with its head, on all of its blocks or the last few.

Needs torch; ``etab.tuned`` imports it when something is to be trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from etab.augment import clinical
from etab.datasets.base import Source
from etab.errors import UnsupportedOptionError, skippable
from etab.features import resize
from etab.finetune import Body, VectorHead
from etab.heads import networks
from etab.heads.segmentation import choose_levels, refuse_maps, sides_of
from etab.rows import Rows
from etab.tasks import Task
from etab.training import seeded
from etab.types import Array, IntArray, Kind

FINER = 2


def blocks_of(network: nn.Module) -> list[tuple[str, nn.Module]]:
    """The blocks of a network in order, by name: the parts of the sequence that holds most of its parameters."""

    def size(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    found: list[tuple[str, nn.Module]] = []
    for name, module in network.named_modules():
        parts = [(k, m) for k, m in module.named_children() if size(m)]
        lists = isinstance(module, nn.Sequential | nn.ModuleList) or module is network
        if lists and len(parts) > 1 and (not found or 2 * size(module) > size(network)):
            found = [(f"{name}.{k}" if name else k, m) for k, m in parts]
            if max(size(m) for _, m in parts) < 0.8 * size(network):
                break
    return found


def freeze_before(body: Body, last: int | None) -> list[nn.Module]:
    """Train the last blocks of a body and whatever follows them (None: all of it, 0: nothing); gives what stands still.

    Raises UnsupportedOptionError where it has no more blocks than ``last``.
    """
    body.requires_grad_(True)
    if last is None:
        return []
    if last == 0:
        body.requires_grad_(False)
        return list(body.modules())
    blocks = blocks_of(body.network)
    if not last < len(blocks):
        raise UnsupportedOptionError(
            f"This backbone has {len(blocks)} blocks to train the last of; got {last}. Take 1 to {len(blocks) - 1}, or "
            "finetune for all of it."
        )
    first = f"{blocks[-last][0]}."
    free = False
    for name, parameter in body.network.named_parameters():
        free = free or name.startswith(first)
        parameter.requires_grad_(free)
    still = [m for m in body.network.modules() if not any(p.requires_grad for p in m.parameters())]
    return still


class TunedNetwork(nn.Module):
    """A body of which some trains, and a head: frames (n, k, 1, side, side) in [0, 1] to logits or values.

    Masks: (n, structures, g, g), one channel a structure, from single frames (k = 1). Classes: (n, classes). Values: (n,).
    """

    def __init__(
        self,
        body: Body,
        head: str,
        kind: Kind,
        *,
        outputs: int,
        frames: int,
        side: int,
        last: int | None,
        seed: int,
    ) -> None:
        """Join ``body`` and a new head whose first weights ``seed`` decides; ``last``: see ``freeze_before``."""
        super().__init__()
        self.body, self.kind, self.side = body, kind, side
        self.still = freeze_before(body, last)
        size = body.size if body.fixed else side
        with torch.no_grad():
            maps, vector = body.eval()(torch.zeros(1, 3, size, size))
        self.picked: tuple[int, ...] = ()
        with seeded(seed):
            if kind is Kind.MASK:
                self.head: nn.Module = self._decoder(head, maps, outputs)
            else:
                self.head = VectorHead(head, vector.shape[1], outputs, frames=frames)
        self.to(memory_format=torch.channels_last)

    def _decoder(self, name: str, maps: Sequence[Tensor], outputs: int) -> nn.Module:
        refuse_maps(name, maps)
        grid = max(16, 8 * round(self.side / 32))
        shapes = [tuple(m.shape) for m in maps]
        self.picked = choose_levels(shapes, grid)
        channels = [maps[i].shape[1] for i in self.picked]
        sides = sides_of(name, shapes, grid)
        return networks.SegmentationNetwork(
            name, channels, grid=grid, outputs=outputs, finer=FINER, sides=sides
        )

    @property
    def grid(self) -> int:
        """Points a side of the answer in masks."""
        head: Any = self.head
        return int(head.grid) * FINER

    def train(self, mode: bool = True) -> TunedNetwork:
        """Set the mode of all that trains; what stands still keeps its statistics."""
        super().train(mode)
        for module in self.still:
            module.eval()
        return self

    def features(self, frames: Tensor) -> list[Tensor]:
        """What the head sees."""
        flat = (
            frames.flatten(0, 1).expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        )
        maps, vector = self.body(flat)
        if self.kind is Kind.MASK:
            return [maps[i].float() for i in self.picked]
        return [vector.float().unflatten(0, frames.shape[:2])]

    def forward(self, frames: Tensor) -> Tensor:
        """Logits or values, float32."""
        said: Tensor = self.head(self.features(frames)).float()
        return said[:, None] if self.kind is Kind.MASK and said.ndim == 3 else said

    @torch.no_grad()
    def prepare(self, frames: Tensor, answers: Tensor | None) -> None:
        """Standardise a new head by frames of training rows (n, k, 1, side, side), and by all their values."""
        self.eval()
        blocks = [self.features(frames[i : i + 16]) for i in range(0, len(frames), 16)]
        head: Any = self.head
        if self.kind is not Kind.MASK:
            head.standardise(torch.cat([b[0] for b in blocks]))
            if self.kind is Kind.VALUE and answers is not None:
                head.scale_answers(answers)
            return
        for level in range(len(self.picked)):
            maps = torch.cat([networks.resample(b[level], head.sides[level]) for b in blocks])
            head.standardise(
                level,
                maps.mean(dim=(0, 2, 3)),
                maps.std(dim=(0, 2, 3), correction=0).clamp_min(1e-4),
            )


def answer_loss(network: TunedNetwork, said: Tensor, answers: Tensor) -> Tensor:
    """Mean loss of rows. Masks that nobody drew are NaN in ``answers`` (n, structures, g, g) and do not count."""
    if network.kind is Kind.MASK:
        known = ~answers.isnan().flatten(2).any(dim=2)
        return networks.loss(said[known], answers[known])
    if network.kind is Kind.VALUE:
        spread: Any = network.head.spread
        error: Tensor = (said - answers.float()) / spread
        return error.square().mean()
    return functional.cross_entropy(said, answers.long())


class Table:
    """Frames and answers of all rows, held once read: uint8 frames (rows, k, side, side)."""

    def __init__(self, frames: Array, answers: Any, kind: Kind, augment: str = "none") -> None:
        """``answers``: uint8 shares of each structure times 255 (rows, c, g, g) with ``known`` rows, or (rows,)."""
        self.frames, self.kind, self.augment = torch.from_numpy(frames), kind, augment
        self.known: Tensor | None = None
        if kind is Kind.MASK:
            answers, known = answers
            self.known = torch.from_numpy(known)
        self.answers = torch.from_numpy(answers)

    def batch(self, rows: IntArray, *, train: bool) -> tuple[Tensor, Tensor]:
        """Frames (n, k, 1, side, side) in [0, 1] and answers; augmented where asked for, in training."""
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
    """The frames of each row as uint8 (rows, k, side, side); ``shown`` says which of ``keys`` (record, frame) a row has."""
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
    """Frames with the answers of all tasks; ``items`` says which row of the table each row of a task is."""
    import cv2

    kind = tasks[0].kind
    if kind is not Kind.MASK:
        return Table(frames, np.asarray(rows[tasks[0].code].answers), kind, augment)
    names = list(dict.fromkeys(t.target for t in tasks))
    grid = FINER * max(16, 8 * round(side / 32))
    shares = np.zeros((len(items), len(names), grid, grid), np.uint8)
    known = np.zeros((len(items), len(names)), bool)
    for task in tasks:
        k, mine = names.index(task.target), rows[task.code]
        for item, mask in zip(mine.items, mine.answers, strict=True):
            share = cv2.resize(mask.astype(np.float32), (grid, grid), interpolation=cv2.INTER_AREA)
            shares[items[item], k], known[items[item], k] = np.rint(255 * share), True
    return Table(frames, (shares, known), kind, augment)
