"""Segmentation heads that are trained: U-Net, FPN, DeepLabV3+ and SegFormer over frozen feature maps.

Each outer split trains twice: on its training patients without the first inner part, which decides after how many epochs
to stop and at which level the answer is cut, and then on all of them, from the same first weights and on the same
schedule, for that many epochs. Predictions are resampled to the frame's own pixels and the largest component is kept.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.heads.base import HEADS, FoldFit, Head
from etab.heads.decoders import cut
from etab.heads.probes import refuse_kind, without
from etab.training import Progress, Recipe, seeded, train
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit, Target

if TYPE_CHECKING:
    from etab.heads.networks import SegmentationNetwork

LEVELS = 4
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
_CHUNK = 32
_STEPS, _BATCH = 300, 16


def choose_levels(shapes: Sequence[tuple[int, ...]], grid: int) -> tuple[int, ...]:
    """Which map feeds each of the four levels (grid, grid/2, grid/4, grid/8 points a side).

    Maps of one size (a transformer) are spread over the levels, shallow to fine; else each level takes the map nearest
    in size, the deepest of equals. Sizes that no map has are made by resampling. ``shapes`` are (n, c, h, w).
    """
    sides = [float(np.sqrt(s[2] * s[3])) for s in shapes]
    if len(set(sides)) == 1:
        return tuple(int(i) for i in np.linspace(0, len(sides) - 1, LEVELS).round())
    far = [[abs(np.log2(side / (grid >> level))) for side in sides] for level in range(LEVELS)]
    return tuple(max(i for i, d in enumerate(row) if d == min(row)) for row in far)


class Pyramid:
    """The maps of every row at the four levels: held in memory (float16) under ``budget`` bytes, else read as needed."""

    def __init__(self, maps: Sequence[Any], grid: int, budget: int) -> None:
        """Choose the levels and read what fits."""
        self.maps, self.grid = maps, grid
        self.levels = choose_levels([m.shape for m in maps], grid)
        self.channels = tuple(int(maps[i].shape[1]) for i in self.levels)
        n = len(maps[0])
        size = sum(2 * n * c * (grid >> k) ** 2 for k, c in enumerate(self.channels))
        self.held: list[Any] | None = None
        if size <= budget:
            import torch

            held = [torch.empty((n, c, grid >> k, grid >> k), dtype=torch.float16)
                    for k, c in enumerate(self.channels)]  # fmt: skip
            for start in range(0, n, _CHUNK):
                rows = np.arange(start, min(start + _CHUNK, n))
                for level, block in zip(held, self._read(rows), strict=True):
                    level[start : start + len(rows)] = block
            self.held = held

    def rows(self, index: IntArray) -> list[Any]:
        """Float32 tensors (rows, channels, side, side) of the four levels."""
        import torch

        if self.held is None:
            return self._read(index)
        at = torch.as_tensor(np.asarray(index, dtype=np.int64))
        return [level[at].float() for level in self.held]

    def _read(self, index: IntArray) -> list[Any]:
        import torch

        from etab.heads.networks import resample

        read = {i: torch.from_numpy(np.asarray(self.maps[i][index], dtype=np.float32)) for i in set(self.levels)}
        for i, block in read.items():
            if not bool(torch.isfinite(block).all()):
                raise UnsupportedOptionError(
                    f"Feature map {i} holds values that are not finite (rows {index[0]} to {index[-1]}). "
                    "The backbone overflows on this input: try --precision fp32."
                )
        # halves in both cases, so that what fits in memory never changes a result
        return [resample(read[i], self.grid >> k).half().float() for k, i in enumerate(self.levels)]

    def moments(self, rows: IntArray) -> list[tuple[Any, Any]]:
        """Mean and deviation (channels,) of each level over these rows."""
        import torch

        sums = [torch.zeros(2, c, dtype=torch.float64) for c in self.channels]
        for start in range(0, len(rows), _CHUNK):
            for total, block in zip(sums, self.rows(rows[start : start + _CHUNK]), strict=True):
                wide = block.double()
                total += torch.stack([wide.sum(dim=(0, 2, 3)), wide.square().sum(dim=(0, 2, 3))])
        out = []
        for level, total in enumerate(sums):
            mean, square = total / (len(rows) * (self.grid >> level) ** 2)
            out.append((mean.float(), (square - mean.square()).clamp_min(1e-8).sqrt().float()))
        return out


def refuse_maps(name: str, maps: Sequence[Any]) -> None:
    """Raise UnsupportedOptionError for features that no decoder can answer in pixels from."""
    if not maps:
        raise UnsupportedOptionError(
            f"The head {name!r} needs feature maps; these features have none. Take a backbone with maps (a convolutional "
            "network or a transformer with patch tokens), or a head on pooled embeddings."
        )
    shapes = ", ".join(str(tuple(m.shape[1:])) for m in maps)
    if any(len(m.shape) != 4 for m in maps):
        raise UnsupportedOptionError(f"The head {name!r} needs maps (channels, h, w) for each frame; got {shapes}.")
    if max(min(m.shape[2:]) for m in maps) < 4:
        raise UnsupportedOptionError(
            f"The head {name!r} needs a map of at least 4 x 4 points; the maps (channels, h, w) are {shapes}. "
            "Take the backbone at a larger input size, or layers with a smaller stride."
        )


class TrainedSegmentation(Head):
    """A decoder of segmentation_models_pytorch trained on frozen maps."""

    version: ClassVar[int] = 2
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.MASK})
    needs_maps: ClassVar[bool] = True

    def __init__(self, recipe: Recipe | None = None, *, grid: int = 56, width: int = 64, budget: int = 2 << 30) -> None:
        """Without a ``recipe`` about 300 steps of 16 frames, but 6 to 40 epochs, in the precision of the features.

        ``grid``: points a side of the answer (a multiple of 8); ``budget``: bytes of maps held in memory.
        """
        if grid % 8 or grid < 16:
            raise UnsupportedOptionError(f"The grid of {self.name!r} is a multiple of 8 from 16 on; got {grid}.")
        self.recipe = recipe
        self.grid, self.width, self.budget = grid, width, budget

    def cross_fit(
        self, features: Features, answers: Any, patients: Array, splits: Sequence[RowSplit], target: Target, *,
        rng: np.random.Generator, memo: MutableMapping[Any, Any] | None = None,
    ) -> list[FoldFit]:  # fmt: skip
        """Train and predict for each split; predictions are boolean masks in each frame's own pixels."""
        refuse_kind(self, target)
        refuse_maps(self.name, features.maps)
        self.network((1,) * LEVELS, 0)  # the extra is missed before anything is read
        pyramid = self._pyramid(features, memo)
        share = self._shares(answers)
        seeds = [int(s) for s in rng.integers(0, 2**31, len(splits))]
        precision = str((memo or {}).get("precision", "fp32"))
        return [self._split(pyramid, answers, share, split, self._recipe(len(split.train), seed, precision))
                for split, seed in zip(splits, seeds, strict=True)]  # fmt: skip

    def _recipe(self, rows: int, seed: int, precision: str) -> Recipe:
        """How to train on this many rows."""
        if self.recipe is not None:
            return replace(self.recipe, seed=seed)
        epochs = min(max(round(_STEPS * _BATCH / rows), 6), 40)
        return Recipe(epochs=epochs, batch=_BATCH, learning_rate=2e-3, patience=max(4, epochs // 3), seed=seed,
                      precision=precision)  # fmt: skip

    def network(self, channels: Sequence[int], seed: int) -> SegmentationNetwork:
        """A new network for maps of ``channels`` at the four levels; its first weights are decided by ``seed``."""
        from etab.heads.networks import SegmentationNetwork

        with seeded(seed):
            return SegmentationNetwork(self.name, channels, grid=self.grid, width=self.width)

    def _pyramid(self, features: Features, memo: MutableMapping[Any, Any] | None) -> Pyramid:
        memo = {} if memo is None else memo
        place = (self.grid, self.budget, tuple(m.shape for m in features.maps))
        if memo.get("segmentation pyramid", (None,))[0] != place:
            memo["segmentation pyramid"] = (place, Pyramid(features.maps, self.grid, self.budget))
        found: Pyramid = memo["segmentation pyramid"][1]
        return found

    def _shares(self, masks: Sequence[Array]) -> FloatArray:
        """Share of the structure in each cell of the grid: (n, grid, grid)."""
        import cv2

        size = (self.grid, self.grid)
        return np.stack([cv2.resize(m.astype(np.float32), size, interpolation=cv2.INTER_AREA) for m in masks])

    def _split(
        self, pyramid: Pyramid, masks: Sequence[Array], share: FloatArray, split: RowSplit, recipe: Recipe
    ) -> FoldFit:
        validation = split.inner[0]
        network, done = self._trained(pyramid, share, without(split.train, validation), validation, recipe)
        threshold = _threshold(self._probabilities(network, pyramid, validation), share[validation])
        again = replace(recipe, stop=done.best_epoch + 1)
        network, _ = self._trained(pyramid, share, split.train, validation[:0], again)
        scores = self._probabilities(network, pyramid, split.test)
        predicted = [cut(s, masks[i].shape, threshold) for s, i in zip(scores, split.test, strict=True)]
        choice = {"epoch": done.best_epoch + 1, "epochs": done.epoch, "threshold": threshold,
                  "validation_loss": done.best_loss, "maps": ",".join(map(str, pyramid.levels)),
                  "precision": recipe.precision}  # fmt: skip
        return FoldFit(predicted, choice)

    def _trained(
        self, pyramid: Pyramid, share: FloatArray, rows: IntArray, validation: IntArray, recipe: Recipe
    ) -> tuple[SegmentationNetwork, Progress]:
        """A new network trained on some rows, standardised by them alone."""
        import torch

        from etab.heads.networks import loss

        network = self.network(pyramid.channels, recipe.seed)
        for level, (mean, deviation) in enumerate(pyramid.moments(rows)):
            network.standardise(level, mean, deviation)
        wanted = torch.from_numpy(share)

        def of(some: IntArray) -> torch.Tensor:
            return loss(network(pyramid.rows(some)).float(), wanted[torch.as_tensor(some)])

        return network, train(network, of, rows, validation, recipe)

    def _probabilities(self, network: Any, pyramid: Pyramid, rows: IntArray) -> FloatArray:
        import torch

        out = np.empty((len(rows), self.grid, self.grid), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(rows), _CHUNK):
                some = rows[start : start + _CHUNK]
                out[start : start + len(some)] = network(pyramid.rows(some)).sigmoid().numpy()
        return out


def _threshold(scores: FloatArray, share: FloatArray) -> float:
    """The cut with the best mean Dice on the grid."""
    true = share >= 0.5
    dice = []
    for level in THRESHOLDS:
        hit = scores >= level
        size = hit.sum(axis=(1, 2)) + true.sum(axis=(1, 2))
        dice.append((2 * (hit & true).sum(axis=(1, 2)) / np.maximum(size, 1)).mean())
    return THRESHOLDS[int(np.argmax(dice))]


@HEADS.register("unet")
class UNet(TrainedSegmentation):
    """U-Net decoder trained on frozen maps for as long as a validation part of the training patients says."""

    name: ClassVar[str] = "unet"


@HEADS.register("fpn")
class FPN(TrainedSegmentation):
    """Feature pyramid decoder trained on frozen maps for as long as a validation part of the training patients says."""

    name: ClassVar[str] = "fpn"


@HEADS.register("deeplabv3plus")
class DeepLabV3Plus(TrainedSegmentation):
    """DeepLabV3+ decoder trained on frozen maps for as long as a validation part of the training patients says."""

    name: ClassVar[str] = "deeplabv3plus"


@HEADS.register("segformer")
class SegFormer(TrainedSegmentation):
    """SegFormer decoder trained on frozen maps for as long as a validation part of the training patients says."""

    name: ClassVar[str] = "segformer"
