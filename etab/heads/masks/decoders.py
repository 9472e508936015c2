"""Segmentation heads that are trained: U-Net, FPN, SegFormer, DPT and others over frozen feature
maps.

Each outer split trains on its training patients without the first inner part, with every learning
rate at once on the same batches, until that part gains no more. Where the best rate lies on an edge
of those that were tried, the next one beyond it is tried too. The inner part decides the rate, the
number of epochs and the level at which masks are cut. The network is then trained with that rate on
all training patients, from the same first weights, on a schedule that ends after that many epochs.
Predictions are resampled to the frame's own pixels and the largest component is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from etab.echo.surface import mask_from_scores
from etab.errors import TrainingError, UnsupportedOptionError
from etab.heads.base import HEADS, FoldFit, Head, Memo
from etab.heads.masks.pyramid import LEVELS, MAP_CHUNK, LastRows, Pyramid, refuse_maps, sides_of
from etab.heads.pooled.probes import refuse_kind
from etab.splits import without
from etab.training.loop import Progress, Recipe, seeded, train_together
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit, Target

if TYPE_CHECKING:
    from etab.heads.masks.networks import SegmentationNetwork

DECODER_THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7)
LEARNING_RATES = (2e-3, 6e-3, 1.8e-2)
# The next rate beyond an edge, and how many of them are tried.
_RATIO = 3.0
_EXTENSIONS = 2
# Steps and rows a step of a training that never stops gaining, and the epochs that these may make.
_STEPS = 1200
_BATCH = 16
_FEWEST_EPOCHS = 12
_MOST_EPOCHS = 60
_PATIENCE = 5


class TrainedSegmentation(Head):
    """A decoder of segmentation_models_pytorch trained on frozen maps."""

    version: ClassVar[int] = 4
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.MASK})
    needs_maps: ClassVar[bool] = True

    def __init__(
        self,
        recipe: Recipe | None = None,
        *,
        rates: Sequence[float] | None = None,
        grid: int = 56,
        width: int = 64,
        budget: int = 2 << 30,
    ) -> None:
        """Set how the decoder is trained.

        Args:
            recipe: How to train. None: at most about 1,200 steps of 16 frames, but 12 to 60 epochs,
                and no longer than 5 epochs (or a quarter of them) without a better validation
                loss, in the precision of the features.
            rates: Learning rates to choose from. None: that of ``recipe``, or, without one,
                ``LEARNING_RATES`` and up to two more beyond the edge that the best lies on.
            grid: Points a side of the predicted map, a multiple of 8.
            width: Channels of each level.
            budget: Bytes of maps held in memory.
        """
        if grid % 8 or grid < 16:
            raise UnsupportedOptionError(
                f"The grid of {self.name!r} is a multiple of 8 from 16 on; got {grid}."
            )
        self.recipe = recipe
        self.extends = rates is None and recipe is None
        self.rates = tuple(rates or ((recipe.learning_rate,) if recipe else LEARNING_RATES))
        self.grid, self.width, self.budget = grid, width, budget

    def cross_fit(
        self,
        features: Features,
        answers: Any,
        patients: Array,
        splits: Sequence[RowSplit],
        target: Target,
        *,
        rng: np.random.Generator,
        memo: MutableMapping[Any, Any] | None = None,
    ) -> list[FoldFit]:
        """Train and predict for each split.

        Args:
            features: Features of all rows.
            answers: Boolean masks (h, w), one for each row, in the pixels of its frame.
            patients: (n,) the patient of each row.
            splits: The rows to train on, the inner parts to choose by, and the rows to predict.
            target: What is predicted.
            rng: Source of random numbers.
            memo: Results without labels that calls on the same features and splits share.

        Returns:
            A fit for each split. Predictions are boolean masks of the same form.
        """
        refuse_kind(self, target)
        refuse_maps(self.name, features.maps)
        self.network((1,) * LEVELS, 0)  # the extra is missed before anything is read
        pyramid = self._pyramid(features, memo)
        share = self._shares(answers)
        seeds = [int(s) for s in rng.integers(0, 2**31, len(splits))]
        precision = memo.precision if isinstance(memo, Memo) else "fp32"
        return [
            self._split(
                pyramid, answers, share, split, self._recipe(len(split.train), seed, precision)
            )
            for split, seed in zip(splits, seeds, strict=True)
        ]

    def _recipe(self, rows: int, seed: int, precision: str) -> Recipe:
        """How to train on this many rows."""
        if self.recipe is not None:
            return replace(self.recipe, seed=seed)
        epochs = min(max(round(_STEPS * _BATCH / rows), _FEWEST_EPOCHS), _MOST_EPOCHS)
        return Recipe(
            epochs=epochs,
            batch=_BATCH,
            patience=max(_PATIENCE, epochs // 4),
            seed=seed,
            precision=precision,
        )

    def network(
        self,
        channels: Sequence[int],
        seed: int,
        sides: Sequence[int] | None = None,
    ) -> SegmentationNetwork:
        """A new network for maps of ``channels`` at the four levels; its first weights are decided
        by ``seed``.
        """
        from etab.heads.masks.networks import SegmentationNetwork

        with seeded(seed):
            return SegmentationNetwork(
                self.name,
                channels,
                grid=self.grid,
                width=self.width,
                sides=sides,
            )

    def _pyramid(self, features: Features, memo: MutableMapping[Any, Any] | None) -> Pyramid:
        memo = {} if memo is None else memo
        shapes = tuple(m.shape for m in features.maps)
        sides = sides_of(self.name, shapes, self.grid)
        place = (self.grid, sides, self.budget, shapes)
        if memo.get("segmentation pyramid", (None,))[0] != place:
            memo["segmentation pyramid"] = (
                place,
                Pyramid(features.maps, self.grid, self.budget, sides),
            )
        found: Pyramid = memo["segmentation pyramid"][1]
        return found

    def _shares(self, masks: Sequence[Array]) -> FloatArray:
        """Share of the structure in each cell of the grid: (n, grid, grid)."""
        import cv2

        size = (self.grid, self.grid)
        return np.stack(
            [cv2.resize(m.astype(np.float32), size, interpolation=cv2.INTER_AREA) for m in masks]
        )

    def _split(
        self,
        pyramid: Pyramid,
        masks: Sequence[Array],
        share: FloatArray,
        split: RowSplit,
        recipe: Recipe,
    ) -> FoldFit:
        validation = split.inner[0]
        tried = self._tried(pyramid, share, without(split.train, validation), validation, recipe)
        rate, network, done = min(tried, key=lambda t: t[2].best_loss)
        threshold = _threshold(self._probabilities(network, pyramid, validation), share[validation])
        again = ending_at(recipe, done.best_epoch + 1)
        ((_, network, _),) = self._trained(
            pyramid, share, split.train, validation[:0], again, (rate,)
        )
        scores = self._probabilities(network, pyramid, split.test)
        predicted = [
            mask_from_scores(s, masks[i].shape, threshold)
            for s, i in zip(scores, split.test, strict=True)
        ]
        choice = {
            "learning_rate": rate,
            "rates": ",".join(f"{r:g}" for r, _, _ in tried),
            "epoch": done.best_epoch + 1,
            "epochs": done.epoch,
            "threshold": threshold,
            "validation_loss": done.best_loss,
            "maps": ",".join(map(str, pyramid.levels)),
            "precision": recipe.precision,
        }
        return FoldFit(predicted, choice)

    def _tried(
        self,
        pyramid: Pyramid,
        share: FloatArray,
        rows: IntArray,
        validation: IntArray,
        recipe: Recipe,
    ) -> list[tuple[float, SegmentationNetwork, Progress]]:
        """What ``_trained`` gives for every rate, the smallest first, and for rates beyond an edge
        that the best lies on.
        """
        tried = self._trained(pyramid, share, rows, validation, recipe, self.rates)
        for _ in range(_EXTENSIONS if self.extends else 0):
            beyond = rate_beyond({rate: done.best_loss for rate, _, done in tried})
            if beyond is None:
                break
            try:
                tried += self._trained(pyramid, share, rows, validation, recipe, (beyond,))
            except TrainingError:
                # A rate this large diverges: the edge is the largest that trains.
                break
        return sorted(tried, key=lambda t: t[0])

    def _trained(
        self,
        pyramid: Pyramid,
        share: FloatArray,
        rows: IntArray,
        validation: IntArray,
        recipe: Recipe,
        rates: Sequence[float],
    ) -> list[tuple[float, SegmentationNetwork, Progress]]:
        """New networks trained on some rows, one a learning rate, standardised by these rows; none
        that diverged.
        """
        import torch

        from etab.heads.masks.networks import mask_loss

        moments = pyramid.moments(rows)
        read = LastRows(pyramid.rows)
        wanted = torch.from_numpy(share)
        networks = [self.network(pyramid.channels, recipe.seed, pyramid.sides) for _ in rates]

        def of(network: SegmentationNetwork) -> Callable[[IntArray], torch.Tensor]:
            for level, (mean, deviation) in enumerate(moments):
                network.standardise(level, mean, deviation)
            return lambda some: mask_loss(
                network(read(some)).float(), wanted[torch.as_tensor(some)]
            )

        recipes = [replace(recipe, learning_rate=rate) for rate in rates]
        done = train_together(networks, [of(n) for n in networks], rows, validation, recipes)
        return [(r, n, d) for r, n, d in zip(rates, networks, done, strict=True) if d is not None]

    def _probabilities(
        self,
        network: Any,
        pyramid: Pyramid,
        rows: IntArray,
    ) -> FloatArray:
        import torch

        out = np.empty((len(rows), self.grid, self.grid), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(rows), MAP_CHUNK):
                some = rows[start : start + MAP_CHUNK]
                out[start : start + len(some)] = network(pyramid.rows(some)).sigmoid().numpy()
        return out


def ending_at(recipe: Recipe, epochs: int) -> Recipe:
    """A recipe whose schedule falls to zero after exactly this many epochs, without validation.

    A schedule of more epochs that is merely cut there would end at a high learning rate.
    """
    return replace(recipe, epochs=epochs, stop=epochs)


def rate_beyond(losses: Mapping[float, float]) -> float | None:
    """The learning rate to try next, from the losses of those tried; None where the best lies
    between two others.
    """
    best = min(losses, key=lambda rate: losses[rate])
    # Six digits, so that a result records the very rate.
    if best == max(losses):
        return float(f"{best * _RATIO:.6g}")
    if best == min(losses):
        return float(f"{best / _RATIO:.6g}")
    return None


def _threshold(scores: FloatArray, share: FloatArray) -> float:
    """The cut with the best mean Dice on the grid."""
    true = share >= 0.5
    dice = []
    for level in DECODER_THRESHOLDS:
        hit = scores >= level
        size = hit.sum(axis=(1, 2)) + true.sum(axis=(1, 2))
        dice.append((2 * (hit & true).sum(axis=(1, 2)) / np.maximum(size, 1)).mean())
    return DECODER_THRESHOLDS[int(np.argmax(dice))]


@HEADS.register("unet")
class UNet(TrainedSegmentation):
    """U-Net decoder trained on frozen maps for as long as a validation part of the training
    patients says.
    """

    name: ClassVar[str] = "unet"


@HEADS.register("fpn")
class FPN(TrainedSegmentation):
    """Feature pyramid decoder trained on frozen maps for as long as a validation part of the
    training patients says.
    """

    name: ClassVar[str] = "fpn"


@HEADS.register("deeplabv3plus")
class DeepLabV3Plus(TrainedSegmentation):
    """DeepLabV3+ decoder trained on frozen maps for as long as a validation part of the training
    patients says.
    """

    name: ClassVar[str] = "deeplabv3plus"


@HEADS.register("segformer")
class SegFormer(TrainedSegmentation):
    """SegFormer decoder trained on frozen maps for as long as a validation part of the training
    patients says.
    """

    name: ClassVar[str] = "segformer"


@HEADS.register("dpt")
class DPT(TrainedSegmentation):
    """DPT decoder trained on frozen maps for as long as a validation part of the training patients
    says.
    """

    name: ClassVar[str] = "dpt"


@HEADS.register("unetplusplus")
class UNetPlusPlus(TrainedSegmentation):
    """U-Net++ decoder trained on frozen maps for as long as a validation part of the training
    patients says.
    """

    name: ClassVar[str] = "unetplusplus"


@HEADS.register("manet")
class MAnet(TrainedSegmentation):
    """MAnet decoder trained on frozen maps for as long as a validation part of the training
    patients says.
    """

    name: ClassVar[str] = "manet"


@HEADS.register("linknet")
class Linknet(TrainedSegmentation):
    """LinkNet decoder trained on frozen maps for as long as a validation part of the training
    patients says.
    """

    name: ClassVar[str] = "linknet"


@HEADS.register("pspnet")
class PSPNet(TrainedSegmentation):
    """PSPNet decoder trained on frozen maps for as long as a validation part of the training
    patients says.
    """

    name: ClassVar[str] = "pspnet"


@HEADS.register("deeplabv3")
class DeepLabV3(TrainedSegmentation):
    """DeepLabV3 decoder trained on frozen maps for as long as a validation part of the training
    patients says.
    """

    name: ClassVar[str] = "deeplabv3"


@HEADS.register("upernet")
class UPerNet(TrainedSegmentation):
    """UPerNet decoder trained on frozen maps for as long as a validation part of the training
    patients says.
    """

    name: ClassVar[str] = "upernet"


@HEADS.register("topformer")
class TopFormer(TrainedSegmentation):
    """TopFormer-like head trained on frozen maps for as long as a validation part of the training
    patients says.
    """

    name: ClassVar[str] = "topformer"
