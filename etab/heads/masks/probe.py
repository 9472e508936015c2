"""Steps that the linear mask probes share: labels, designs, maps of scores, and their threshold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

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
    """Check that features have maps.

    Args:
        name: Name of the head in errors.
        features: The features.

    Raises:
        UnsupportedOptionError: There are no maps.
    """
    if not features.maps:
        raise UnsupportedOptionError(
            f"The head {name!r} needs feature maps; these features have none."
        )


def lattice_shares(masks: Sequence[Array]) -> FloatArray:
    """Compute the share of the structure in the grid cell of each lattice point.

    Args:
        masks: Boolean masks (h, w), one for each row, in the pixels of its frame.

    Returns:
        (n, points) in [0, 1].
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
    """Make the design of each pooling; the memo keeps points and designs for the next structure.

    The parts follow from the splits and from ``memo.cells``, which depend on the rows only: a cell
    of the board must not depend on which other cells are run.

    Args:
        features: Features of all rows.
        splits: The fits.
        memo: Results without labels that calls on the same features and splits share.
        budget: Bytes that points may take in memory; more is stored on disk.
    """
    shapes = tuple(m.shape for m in features.maps)
    n = shapes[0][0]
    cells = memo.cells if isinstance(memo, Memo) else None
    parts = parts_of_rows(splits, n, cells)
    key = parts.tobytes()
    if memo.get("linear_seg points", (None,))[0] != shapes:
        memo["linear_seg"] = {}
        memo["linear_seg points"] = (shapes, sample_points(features.maps, budget))
    designs_of: dict[bytes, dict[str, Design]] = memo.setdefault("linear_seg", {})
    if key not in designs_of:
        _make_room(designs_of)
        points: dict[str, Points] = memo["linear_seg points"][1]
        designs_of[key] = {p: Design(points[p], parts) for p in POOLINGS}
    return designs_of[key]


def _make_room(designs_of: dict[bytes, dict[str, Design]]) -> None:
    """Drop designs until another one fits.

    Every structure goes through the same divisions of the rows in the same order. The division
    that was made last is therefore the one that is needed last.
    """
    while designs_of:
        sizes = []
        for designs in designs_of.values():
            sizes.append(sum(design.nbytes for design in designs.values()))
        if sum(sizes) + max(sizes) <= DESIGN_BYTES:
            return
        del designs_of[next(reversed(designs_of))]


def inner_errors(
    design: Design,
    split: RowSplit,
    labels: PartTable,
    options: Iterable[str],
) -> dict[str, FloatArray]:
    """Sum the squared errors of least squares over the inner parts.

    Args:
        design: The points and parts of all rows.
        split: The training rows and their inner parts.
        labels: The sums of the label, from ``Design.label``.
        options: Names of choices of maps, keys of ``Design.options``.

    Returns:
        (penalties,) for each of ``options``, summed over the points of the inner parts.
    """
    total: dict[str, FloatArray] = {option: np.zeros(len(MASK_PENALTIES)) for option in options}
    for part in split.inner:
        rest = design.members(without(split.train, part))
        fits = {option: design.solve(rest, option, labels) for option in total}
        of_part = design.squared_errors(design.members(part), fits, labels)
        for option, errors in of_part.items():
            total[option] += errors
    return total


def best_level(
    blocks: Iterable[tuple[FloatArray, FloatArray]], levels: Sequence[float]
) -> tuple[float, float]:
    """Find the level with the best mean Dice over the lattice points of some rows.

    Args:
        blocks: Scores (rows, points) and shares of the structure (rows, points), block by block.
        levels: Thresholds to choose from.

    Returns:
        (level, dice): the level, and the mean Dice at this level over the rows.
    """
    totals = np.zeros(len(levels))
    n = 0
    for scores, shares in blocks:
        true = shares >= 0.5
        n += len(scores)
        for i, level in enumerate(levels):
            predicted = scores >= level
            sizes = predicted.sum(axis=1) + true.sum(axis=1)
            common = (predicted & true).sum(axis=1)
            dice = 2 * common / np.maximum(sizes, 1)
            totals[i] += dice.sum()
    best = int(totals.argmax())
    return levels[best], float(totals[best] / max(n, 1))


@dataclass(frozen=True, slots=True)
class Cut:
    """The rule that turns a map of scores into a mask.

    Attributes:
        level: Scores of at least this are inside.
        largest: Whether only the largest connected component counts.
        dice: Mean Dice of the masks that the rule was chosen on.
    """

    level: float
    largest: bool
    dice: float


def best_cut(
    grids: FloatArray,
    masks: Sequence[Array],
    levels: Sequence[float],
) -> Cut:
    """Choose the level, and whether to keep only the largest component, by the mean Dice.

    A level that is best for all points may cut a thin structure into pieces. It is therefore chosen
    on masks as they are predicted, at twice the resolution of the scores.

    Args:
        grids: (n, GRID, GRID) scores.
        masks: n boolean masks (h, w), in the pixels of their frames.
        levels: The levels to choose from.

    Returns:
        The best choice; of equal ones the first level with only the largest component.
    """
    import cv2

    true = np.empty((len(masks), _CUT_GRID, _CUT_GRID), dtype=bool)
    scores = np.empty(true.shape, dtype=np.float32)
    size = (_CUT_GRID, _CUT_GRID)
    for i, (grid, mask) in enumerate(zip(grids, masks, strict=True)):
        scores[i] = cv2.resize(grid.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
        true[i] = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
    pixels = np.count_nonzero(true, axis=(1, 2))
    totals = np.zeros((2, len(levels)))
    for k, level in enumerate(levels):
        inside = scores >= level
        of_whole = (
            np.count_nonzero(inside & true, axis=(1, 2)),
            np.count_nonzero(inside, axis=(1, 2)),
        )
        for of_rule, sizes in zip(totals, (_of_largest(inside, true), of_whole), strict=True):
            # Added one after another, as long as there are masks: the order decides the last digit.
            of_rule[k] = np.append(0.0, _dice(*sizes, pixels)).cumsum()[-1]
    rule, best = np.unravel_index(totals.argmax(), totals.shape)
    dice = float(totals[rule, best]) / max(len(masks), 1)
    return Cut(float(levels[int(best)]), bool(rule == 0), dice)


def _of_largest(masks: Array, true: Array) -> tuple[IntArray, IntArray]:
    """Pixels that the largest component of each mask shares with the true one, and its size.

    The masks (n, h, w) lie one below the other with an empty row between them, so that the
    components of all are found at once.
    """
    import cv2

    n, height, width = masks.shape
    tall = np.zeros((n, height + 1, width), dtype=np.uint8)
    tall[:, :height] = masks
    count, labels = cv2.connectedComponents(tall.reshape(-1, width), connectivity=4)
    of_masks = labels.reshape(tall.shape)[:, :height]
    areas = np.bincount(of_masks[masks], minlength=count)
    shared = np.bincount(of_masks[true], minlength=count)
    # Labels ascend from the first mask to the last; label 0 is the background.
    last = np.maximum.accumulate(of_masks.max(axis=(1, 2), initial=0))
    owners = np.repeat(np.arange(n), np.diff(last, prepend=0))
    # Of each mask the largest component, of equal ones the first.
    order = np.lexsort((-areas[1:], owners))
    found, first = np.unique(owners[order], return_index=True)
    common = np.zeros(n, dtype=np.int64)
    size = np.zeros(n, dtype=np.int64)
    common[found] = shared[1:][order][first]
    size[found] = areas[1:][order][first]
    return common, size


def _dice(common: IntArray, ones: IntArray, others: IntArray) -> FloatArray:
    """Dice of pairs of masks from the pixels they share and their sizes; 1 where both are empty."""
    both = ones + others
    return np.where(both == 0, 1.0, 2 * common / np.maximum(both, 1))


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear fit, and the rows that it is asked to score.

    Attributes:
        rows: The rows.
        weights: (channels + positions,) on raw channels.
        intercept: Added everywhere.
        pooling: "point", or "mean3x3" for the mean over each neighbourhood.
    """

    rows: IntArray
    weights: FloatArray
    intercept: float
    pooling: str


def score_maps(
    features: Features, fits: Sequence[Linear], layers: Sequence[slice]
) -> list[FloatArray]:
    """Compute the scores of rows as maps, for several fits that each ask for rows of their own.

    The channels of each map are weighted at its own resolution, then resampled and added. A row is
    read once, whatever the number of fits that ask for it.

    Args:
        features: The features of all rows.
        fits: The fits with their rows.
        layers: The channels of each map.

    Returns:
        (rows, GRID, GRID) float64 for each fit.
    """
    channels = layers[-1].stop
    totals: list[FloatArray] = []
    for fit in fits:
        flat = (positions() @ fit.weights[channels:] + fit.intercept).reshape(GRID, GRID)
        totals.append(np.tile(flat, (len(fit.rows), 1, 1)))
    orders = [np.argsort(fit.rows, kind="stable") for fit in fits]
    ascending = [fit.rows[order] for fit, order in zip(fits, orders, strict=True)]
    for s, m in zip(layers, features.maps, strict=True):
        weighing = [k for k, fit in enumerate(fits) if fit.weights[s].any()]
        for chosen, block in _maps_of(m, [fits[k].rows for k in weighing]):
            for k in weighing:
                # The rows of a block follow each other among all rows that are asked for.
                first, end = np.searchsorted(ascending[k], (chosen[0], chosen[-1] + 1))
                places = orders[k][first:end]
                if len(places):
                    maps = [block[i] for i in np.searchsorted(chosen, ascending[k][first:end])]
                    totals[k][places] += _resampled(maps, fits[k], s)
    return totals


def _maps_of(m: Any, asked: Sequence[IntArray]) -> Iterator[tuple[IntArray, FloatArray]]:
    """Read the rows of a map that are asked for: some at a time, each once, in ascending order."""
    if not asked:
        return
    rows = np.unique(np.concatenate(asked))
    scratch = np.empty((MAPS_AT_ONCE, *m.shape[1:]), dtype=np.float32)
    for start in range(0, len(rows), MAPS_AT_ONCE):
        chosen = rows[start : start + MAPS_AT_ONCE]
        yield chosen, widen(np.asarray(m[chosen]), scratch[: len(chosen)])


def _resampled(maps: Sequence[FloatArray], fit: Linear, layer: slice) -> FloatArray:
    """The weighted channels of maps (channels, h, w) of several rows, on the common grid."""
    channels, height, width = maps[0].shape
    kernel = fit.weights[layer].astype(np.float32)
    plane = np.empty((len(maps), height * width), dtype=np.float32)
    for out, one in zip(plane, maps, strict=True):
        np.matmul(kernel, one.reshape(channels, -1), out=out)
    plane = plane.reshape(-1, height, width)
    if fit.pooling == "mean3x3":
        plane = smooth(plane)
    return np.asarray(axis_weights(height) @ plane @ axis_weights(width).T)
