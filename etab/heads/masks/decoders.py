"""Trained segmentation heads over frozen feature maps: U-Net, FPN, SegFormer, DPT and others.

Each outer split trains on its training patients without the first inner part, with every learning
rate at once on the same batches, until the loss on that part no longer falls. Where the best rate
is the smallest or largest tried, the next one beyond it is tried too. The inner part decides the
rate, the number of epochs and the threshold of masks. The network is then trained with that rate on
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
# Factor to the next rate beyond an edge, and the largest number of such rates.
_RATIO = 3.0
_EXTENSIONS = 2
# Steps of a training that is not stopped early, rows in a step, and the limits of its epochs.
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
            rates: Learning rates to choose from. None: the rate of ``recipe``, or without a recipe
                ``LEARNING_RATES`` and up to two more beyond an edge.
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
        default = (recipe.learning_rate,) if recipe else LEARNING_RATES
        self.rates = tuple(rates or default)
        self.grid = grid
        self.width = width
        self.budget = budget

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
        # A missing package raises an error here, before anything is read.
        self.network((1,) * LEVELS, 0)
        pyramid = self._pyramid(features, memo)
        share = self._shares(answers)
        seeds = [int(s) for s in rng.integers(0, 2**31, len(splits))]
        precision = memo.precision if isinstance(memo, Memo) else "fp32"
        fits = []
        for split, seed in zip(splits, seeds, strict=True):
            recipe = self._recipe(len(split.train), seed, precision)
            fits.append(self._split(pyramid, answers, share, split, recipe))
        return fits

    def _recipe(self, rows: int, seed: int, precision: str) -> Recipe:
        """The recipe for this number of rows."""
        if self.recipe is not None:
            return replace(self.recipe, seed=seed)
        epochs = round(_STEPS * _BATCH / rows)
        epochs = min(max(epochs, _FEWEST_EPOCHS), _MOST_EPOCHS)
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
        """Make a new network.

        Args:
            channels: Number of channels of the maps of the four levels.
            seed: Seed of the initial weights.
            sides: Points on a side of each level, see ``SegmentationNetwork``.
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
        key = (self.grid, sides, self.budget, shapes)
        if memo.get("segmentation pyramid", (None,))[0] != key:
            made = Pyramid(features.maps, self.grid, self.budget, sides)
            memo["segmentation pyramid"] = (key, made)
        pyramid: Pyramid = memo["segmentation pyramid"][1]
        return pyramid

    def _shares(self, masks: Sequence[Array]) -> FloatArray:
        """Share of the structure in each cell of the grid: (n, grid, grid)."""
        import cv2

        size = (self.grid, self.grid)
        shares = []
        for mask in masks:
            single = mask.astype(np.float32)
            shares.append(cv2.resize(single, size, interpolation=cv2.INTER_AREA))
        return np.stack(shares)

    def _split(
        self,
        pyramid: Pyramid,
        masks: Sequence[Array],
        share: FloatArray,
        split: RowSplit,
        recipe: Recipe,
    ) -> FoldFit:
        validation = split.inner[0]
        rows = without(split.train, validation)
        tried = self._tried(pyramid, share, rows, validation, recipe)
        rate, network, done = min(tried, key=lambda t: t[2].best_loss)
        of_validation = self._probabilities(network, pyramid, validation)
        threshold = _threshold(of_validation, share[validation])
        again = ending_at(recipe, done.best_epoch + 1)
        nothing = validation[:0]
        ((_, network, _),) = self._trained(
            pyramid,
            share,
            split.train,
            nothing,
            again,
            (rate,),
        )
        scores = self._probabilities(network, pyramid, split.test)
        predicted = []
        for of_row, i in zip(scores, split.test, strict=True):
            predicted.append(mask_from_scores(of_row, masks[i].shape, threshold))
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
        """The results of ``_trained`` for every rate, also beyond an edge, the smallest first."""
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
        """Train a new network on rows for each learning rate.

        They are standardised by these rows. Networks that diverged are left out.
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

            def loss(batch: IntArray) -> torch.Tensor:
                logits = network(read(batch)).float()
                return mask_loss(logits, wanted[torch.as_tensor(batch)])

            return loss

        recipes = [replace(recipe, learning_rate=rate) for rate in rates]
        losses = [of(network) for network in networks]
        progress = train_together(networks, losses, rows, validation, recipes)
        trained = []
        for rate, network, done in zip(rates, networks, progress, strict=True):
            if done is not None:
                trained.append((rate, network, done))
        return trained

    def _probabilities(
        self,
        network: Any,
        pyramid: Pyramid,
        rows: IntArray,
    ) -> FloatArray:
        """Probabilities (rows, grid, grid) of some rows."""
        import torch

        out = np.empty((len(rows), self.grid, self.grid), dtype=np.float32)
        with torch.inference_mode():
            for start in range(0, len(rows), MAP_CHUNK):
                chunk = rows[start : start + MAP_CHUNK]
                logits = network(pyramid.rows(chunk))
                out[start : start + len(chunk)] = logits.sigmoid().numpy()
        return out


def ending_at(recipe: Recipe, epochs: int) -> Recipe:
    """A recipe whose schedule falls to zero after exactly this many epochs, without validation.

    A schedule of more epochs that is merely cut there would end at a high learning rate.
    """
    return replace(recipe, epochs=epochs, stop=epochs)


def rate_beyond(losses: Mapping[float, float]) -> float | None:
    """Find the learning rate to try next.

    Args:
        losses: The loss of each rate tried.

    Returns:
        The next rate beyond the best; None where the best lies between two others.

    Example:
        >>> rate_beyond({0.002: 0.3, 0.006: 0.2})
        0.018
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
        predicted = scores >= level
        sizes = predicted.sum(axis=(1, 2)) + true.sum(axis=(1, 2))
        common = (predicted & true).sum(axis=(1, 2))
        of_rows = 2 * common / np.maximum(sizes, 1)
        dice.append(of_rows.mean())
    best = int(np.argmax(dice))
    return DECODER_THRESHOLDS[best]


@HEADS.register("unet")
class UNet(TrainedSegmentation):
    """U-Net decoder trained on frozen maps, with early stopping on validation patients."""

    name: ClassVar[str] = "unet"


@HEADS.register("fpn")
class FPN(TrainedSegmentation):
    """Feature pyramid decoder trained on frozen maps, with early stopping on validation patients."""

    name: ClassVar[str] = "fpn"


@HEADS.register("deeplabv3plus")
class DeepLabV3Plus(TrainedSegmentation):
    """DeepLabV3+ decoder trained on frozen maps, with early stopping on validation patients."""

    name: ClassVar[str] = "deeplabv3plus"


@HEADS.register("segformer")
class SegFormer(TrainedSegmentation):
    """SegFormer decoder trained on frozen maps, with early stopping on validation patients."""

    name: ClassVar[str] = "segformer"


@HEADS.register("dpt")
class DPT(TrainedSegmentation):
    """DPT decoder trained on frozen maps, with early stopping on validation patients."""

    name: ClassVar[str] = "dpt"


@HEADS.register("unetplusplus")
class UNetPlusPlus(TrainedSegmentation):
    """U-Net++ decoder trained on frozen maps, with early stopping on validation patients."""

    name: ClassVar[str] = "unetplusplus"


@HEADS.register("manet")
class MAnet(TrainedSegmentation):
    """MAnet decoder trained on frozen maps, with early stopping on validation patients."""

    name: ClassVar[str] = "manet"


@HEADS.register("linknet")
class Linknet(TrainedSegmentation):
    """LinkNet decoder trained on frozen maps, with early stopping on validation patients."""

    name: ClassVar[str] = "linknet"


@HEADS.register("pspnet")
class PSPNet(TrainedSegmentation):
    """PSPNet decoder trained on frozen maps, with early stopping on validation patients."""

    name: ClassVar[str] = "pspnet"


@HEADS.register("deeplabv3")
class DeepLabV3(TrainedSegmentation):
    """DeepLabV3 decoder trained on frozen maps, with early stopping on validation patients."""

    name: ClassVar[str] = "deeplabv3"


@HEADS.register("upernet")
class UPerNet(TrainedSegmentation):
    """UPerNet decoder trained on frozen maps, with early stopping on validation patients."""

    name: ClassVar[str] = "upernet"


@HEADS.register("topformer")
class TopFormer(TrainedSegmentation):
    """TopFormer-like head trained on frozen maps, with early stopping on validation patients."""

    name: ClassVar[str] = "topformer"
