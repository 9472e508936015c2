"""The linear segmentation probe: one weight a channel, fitted in closed form on the feature maps.

The score at each point of a common grid is a linear function of the channels there and of the
position of the point. Ridge regression on the mask needs only second moments. Scores are resampled
to the pixels of the frame and cut at a threshold chosen on the inner parts; the largest connected
component is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any, ClassVar

import numpy as np

from etab.echo.surface import mask_from_scores
from etab.heads.base import HEADS, FoldFit, Head
from etab.heads.masks.moments import MASK_PENALTIES, Design, PartTable, blocks
from etab.heads.masks.probe import (
    Linear,
    best_level,
    designs_of,
    inner_errors,
    lattice_shares,
    require_maps,
    score_maps,
)
from etab.heads.pooled.probes import refuse_kind
from etab.splits import without
from etab.types import Array, Features, FloatArray, Kind, RowSplit, Target

LINEAR_THRESHOLDS = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55)


@HEADS.register("linear_seg")
class LinearSeg(Head):
    """Linear segmentation probe on feature maps.

    Maps, pooling, penalty and threshold are chosen on the inner parts.
    """

    name: ClassVar[str] = "linear_seg"
    version: ClassVar[int] = 5
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.MASK})
    uses_torch: ClassVar[bool] = False
    needs_maps: ClassVar[bool] = True

    def __init__(self, *, budget: int = 2 << 30) -> None:
        """Set the memory of the sampled points.

        Args:
            budget: Bytes. More points are stored on disk, with the same predictions.
        """
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
        """Choose, fit and predict for each split.

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
        require_maps(self.name, features)
        y = lattice_shares(answers)
        memo = {} if memo is None else memo
        designs = designs_of(features, splits, memo, self.budget)
        labels = {p: d.label(y) for p, d in designs.items()}
        return [self._split(features, answers, y, split, designs, labels) for split in splits]

    def _split(
        self,
        features: Features,
        masks: Sequence[Array],
        y: FloatArray,
        split: RowSplit,
        designs: dict[str, Design],
        labels: dict[str, PartTable],
    ) -> FoldFit:
        errors = {}
        for pooling, design in designs.items():
            of_options = inner_errors(design, split, labels[pooling], design.options())
            for option, of_penalties in of_options.items():
                errors[pooling, option] = of_penalties
        pooling, option = min(errors, key=lambda k: float(errors[k].min()))
        best = int(errors[pooling, option].argmin())
        design = designs[pooling]
        label = labels[pooling]
        threshold = self._threshold(design, option, best, split, label, y)
        weights, b = _weights(design, design.members(split.train), option, label, best)
        fit = Linear(split.test, weights, b, pooling)
        (grids,) = score_maps(features, [fit], design.points.layers)
        predicted = [
            mask_from_scores(g, masks[i].shape, threshold)
            for g, i in zip(grids, split.test, strict=True)
        ]
        points = y.shape[1] * sum(len(p) for p in split.inner)
        choice = {
            "maps": option,
            "pooling": pooling,
            "penalty": MASK_PENALTIES[best],
            "threshold": threshold,
            "inner_brier": float(errors[pooling, option][best] / points),
        }
        return FoldFit(predicted, choice)

    def _threshold(
        self,
        design: Design,
        option: str,
        best: int,
        split: RowSplit,
        labels: PartTable,
        y: FloatArray,
    ) -> float:
        """The cut with the best mean Dice of the lattice points of the first inner part."""
        part = split.inner[0]
        rest = design.members(without(split.train, part))
        weights, b = _weights(design, rest, option, labels, best)
        single = weights.astype(np.float32)

        def scored() -> Iterator[tuple[FloatArray, FloatArray]]:
            for block in blocks(part):
                scores = (design.points.rows(block) @ single + b).reshape(len(block), -1)
                yield scores, y[block]

        return best_level(scored(), LINEAR_THRESHOLDS)[0]


def _weights(
    design: Design,
    parts: tuple[int, ...],
    option: str,
    labels: PartTable,
    penalty: int,
) -> tuple[FloatArray, float]:
    """Weights (channels + positions,), 0 outside the option, and intercept of one penalty."""
    index, w, b = design.solve(parts, option, labels)
    weights = np.zeros(design.width)
    weights[index] = w[:, penalty]
    return weights, float(b[penalty])
