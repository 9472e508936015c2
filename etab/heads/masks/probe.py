"""What the linear probes of masks share: labels and designs of the points, scores as maps, and the
level at which scores are cut.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from etab.echo.surface import largest
from etab.errors import UnsupportedOptionError
from etab.heads.base import Memo
from etab.heads.masks.moments import MASK_PENALTIES, Design, PartTable, parts_of_rows
from etab.heads.masks.points import (
    GRID,
    MAPS_AT_ONCE,
    PHASES,
    POOLINGS,
    Points,
    axis_weights,
    lattice,
    positions,
    sample_points,
    smooth,
    widen,
)
from etab.splits import without
from etab.types import Array, Features, FloatArray, IntArray, RowSplit

# Memory for the designs of several divisions of the same rows.
DESIGN_BYTES = 1 << 30
# Points a side of the grid on which masks are compared to choose where scores are cut.
_CUT_GRID = 2 * GRID


def require_maps(name: str, features: Features) -> None:
    """Raise UnsupportedOptionError for features that have no maps."""
    if not features.maps:
        raise UnsupportedOptionError(
            f"The head {name!r} needs feature maps; these features have none."
        )


def lattice_shares(masks: Sequence[Array]) -> FloatArray:
    """Share of the structure in the grid cell of each lattice point: (n, points) in [0, 1].

    Args:
        masks: Boolean masks (h, w), one for each row, in the pixels of its frame.
    """
    import cv2

    size = (GRID, GRID)
    shares = []
    for row, mask in enumerate(masks):
        cells = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        shares.append(cells.ravel()[lattice(row % PHASES)])
    return np.stack(shares)


def designs_of(
    features: Features,
    splits: Sequence[RowSplit],
    memo: MutableMapping[Any, Any],
    budget: int,
) -> dict[str, Design]:
    """The design of each pooling; the memo keeps points and designs for the next structure.

    The parts follow from these splits and from ``memo.cells``, which depend on the rows only: a
    cell of the board must not depend on which other cells are run.
    """
    shapes = tuple(m.shape for m in features.maps)
    parts = parts_of_rows(splits, shapes[0][0], memo.cells if isinstance(memo, Memo) else None)
    key = parts.tobytes()
    if memo.get("linear_seg points", (None,))[0] != shapes:
        memo["linear_seg"] = {}
        memo["linear_seg points"] = (shapes, sample_points(features.maps, budget))
    kept: dict[bytes, dict[str, Design]] = memo.setdefault("linear_seg", {})
    if key not in kept:
        _make_room(kept)
        points: dict[str, Points] = memo["linear_seg points"][1]
        kept[key] = {p: Design(points[p], parts) for p in POOLINGS}
    return kept[key]


def _make_room(kept: dict[bytes, dict[str, Design]]) -> None:
    """Drop designs until another one fits.

    Every structure goes through the same divisions of the rows in the same order. The division
    that was made last is therefore the one that is needed last.
    """
    while kept:
        sizes = [sum(design.nbytes for design in designs.values()) for designs in kept.values()]
        if sum(sizes) + max(sizes) <= DESIGN_BYTES:
            return
        del kept[next(reversed(kept))]


def inner_errors(
    design: Design,
    split: RowSplit,
    labels: PartTable,
    options: Iterable[str],
) -> dict[str, FloatArray]:
    """Squared error of least squares over the inner parts, for each option and penalty.

    Returns:
        (penalties,) for each of ``options``, summed over the points of the inner parts.
    """
    total: dict[str, FloatArray] = {option: np.zeros(len(MASK_PENALTIES)) for option in options}
    for part in split.inner:
        rest = design.members(without(split.train, part))
        fits = {option: design.solve(rest, option, labels) for option in total}
        for option, errors in design.squared_errors(design.members(part), fits, labels).items():
            total[option] += errors
    return total


def best_level(
    blocks: Iterable[tuple[FloatArray, FloatArray]], levels: Sequence[float]
) -> tuple[float, float]:
    """The level with the best mean Dice over the lattice points of some rows.

    Args:
        blocks: Scores (rows, points) and shares of the structure (rows, points), block by block.
        levels: What scores may be cut at.

    Returns:
        The level, and the mean Dice at this level over the rows.
    """
    totals = np.zeros(len(levels))
    n = 0
    for scores, shares in blocks:
        true = shares >= 0.5
        n += len(scores)
        for i, level in enumerate(levels):
            hit = scores >= level
            size = hit.sum(axis=1) + true.sum(axis=1)
            totals[i] += (2 * (hit & true).sum(axis=1) / np.maximum(size, 1)).sum()
    best = int(totals.argmax())
    return levels[best], float(totals[best] / max(n, 1))


@dataclass(frozen=True, slots=True)
class Cut:
    """How a map of scores becomes a mask.

    Attributes:
        level: Scores from here on are inside.
        largest: Whether the largest connected component alone is kept.
        dice: Mean Dice of the masks that this was chosen by.
    """

    level: float
    largest: bool
    dice: float


def best_cut(
    grids: FloatArray,
    masks: Sequence[Array],
    levels: Sequence[float],
) -> Cut:
    """Choose the level, and whether to keep the largest component alone, by the mean Dice.

    A level that is best for all points may cut a thin structure into pieces. It is therefore chosen
    on masks as they are predicted, at twice the resolution of the scores.

    Args:
        grids: (n, GRID, GRID) scores.
        masks: n boolean masks (h, w), in the pixels of their frames.
        levels: The levels to choose from.

    Returns:
        The best choice; where several are equal, the first level, with the largest component alone.
    """
    import cv2

    size = (_CUT_GRID, _CUT_GRID)
    totals = np.zeros((2, len(levels)))
    for grid, mask in zip(grids, masks, strict=True):
        scores = cv2.resize(grid.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
        shares = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        true = shares >= 0.5
        for k, level in enumerate(levels):
            whole = scores >= level
            totals[0, k] += _dice(largest(whole), true)
            totals[1, k] += _dice(whole, true)
    rule, best = np.unravel_index(totals.argmax(), totals.shape)
    dice = float(totals[rule, best]) / max(len(masks), 1)
    return Cut(float(levels[int(best)]), bool(rule == 0), dice)


def _dice(mask: Array, true: Array) -> float:
    """Dice of two masks, 1 where both are empty."""
    size = np.count_nonzero(mask) + np.count_nonzero(true)
    if size == 0:
        return 1.0
    return 2 * np.count_nonzero(mask & true) / size


def score_maps(
    features: Features,
    rows: IntArray,
    weights: FloatArray,
    intercept: float,
    layers: Sequence[slice],
    pooling: str,
) -> FloatArray:
    """Scores of some rows as maps (rows, GRID, GRID).

    The channels of each map are weighed at its own resolution, then resampled and added.

    Args:
        features: The features of all rows.
        rows: Which rows.
        weights: (channels + positions,) on raw channels.
        intercept: Added everywhere.
        layers: The channels of each map.
        pooling: "point", or "mean3x3" for the mean over each neighbourhood.
    """
    channels = layers[-1].stop
    flat = (positions() @ weights[channels:] + intercept).reshape(GRID, GRID)
    total = np.tile(flat, (len(rows), 1, 1))
    for s, m in zip(layers, features.maps, strict=True):
        if not weights[s].any():
            continue
        up = axis_weights(m.shape[2])
        across = axis_weights(m.shape[3]).T
        kernel = weights[s].astype(np.float32)
        scratch = np.empty((MAPS_AT_ONCE, *m.shape[1:]), dtype=np.float32)
        for start in range(0, len(rows), MAPS_AT_ONCE):
            chosen = rows[start : start + MAPS_AT_ONCE]
            block = widen(np.asarray(m[chosen]), scratch[: len(chosen)])
            plane = np.matmul(kernel, block.reshape(len(block), len(kernel), -1)).reshape(
                -1, *block.shape[2:]
            )
            plane = smooth(plane) if pooling == "mean3x3" else plane
            total[start : start + MAPS_AT_ONCE] += up @ plane @ across
    return total
