"""Scores of masks: overlap and surface distances of each frame."""

from __future__ import annotations

import numpy as np

from etab.echo.surface import Outline, outline, surface_distances
from etab.errors import UndefinedError
from etab.metrics.base import metric_of_patients
from etab.metrics.columns import ScoredRows
from etab.metrics.forms import Form, Units, mean_of
from etab.metrics.shared import distinct
from etab.types import Array, FloatArray, Kind

MASK_COLUMNS = ("dice", "jaccard", "hd95", "msd")


def mask_scores(
    truth: Array | Outline,
    predicted: Array,
    *,
    spacing: tuple[float, float],
) -> dict[str, float]:
    """Score one predicted mask against the authors' mask.

    HD95 is the larger of the two directed 95th percentiles of the distances between borders, as
    MONAI computes it. The mean surface distance is the mean over both directions together. An empty
    prediction has overlap 0, and the diagonal of the frame for its distances: the worst there is.

    Args:
        truth: Boolean (h, w), or its ``etab.echo.surface.outline`` with this spacing where it is
            scored often.
        predicted: Boolean (h, w).
        spacing: Height and width of a pixel in mm.

    Returns:
        ``dice`` and ``jaccard`` in 0 to 1, ``hd95`` and ``msd`` in mm.

    Raises:
        UndefinedError: Where the shapes differ, or the truth is empty: then overlap does not exist.

    Example:
        >>> import numpy as np
        >>> truth = np.array([[True, True], [False, False]])
        >>> predicted = np.array([[True, False], [False, False]])
        >>> round(mask_scores(truth, predicted, spacing=(1.0, 1.0))["dice"], 3)
        0.667
    """
    known = truth if isinstance(truth, Outline) else outline(truth, spacing)
    if known.mask.shape != predicted.shape:
        raise UndefinedError(
            f"The predicted mask is {predicted.shape}, the authors' is {known.mask.shape}; "
            "resize it first."
        )
    if known.pixels == 0:
        raise UndefinedError(
            "The authors' mask is empty: Dice and distances do not exist for this frame."
        )
    answer = outline(predicted, spacing)
    both = int(np.count_nonzero(known.mask & predicted))
    scores = {
        "dice": 2 * both / (known.pixels + answer.pixels),
        "jaccard": both / (known.pixels + answer.pixels - both),
    }
    if answer.pixels == 0:
        diagonal = float(np.hypot(predicted.shape[0] * spacing[0], predicted.shape[1] * spacing[1]))
        return {
            **scores,
            "hd95": diagonal,
            "msd": diagonal,
        }
    to_answer, to_truth = surface_distances(known, answer)
    farthest = max(_percentile95(to_answer), _percentile95(to_truth))
    mean = float(np.concatenate([to_answer, to_truth]).mean())
    return {
        **scores,
        "hd95": farthest,
        "msd": mean,
    }


def _percentile95(values: FloatArray) -> float:
    """95th percentile as ``numpy.percentile`` interpolates it, in a quarter of its time."""
    position = 0.95 * (len(values) - 1)
    low = int(position)
    pair = np.partition(values, (low, min(low + 1, len(values) - 1)))[low : low + 2]
    below = float(pair[0])
    above = float(pair[-1])
    part = position - low
    # Both forms are the same number; numpy rounds as the nearer end does.
    if part >= 0.5:
        return above - (above - below) * (1 - part)
    return below + (above - below) * part


def _mean_over_patients(rows: ScoredRows, units: Units, name: str) -> Form:
    """Mean over patients of the mean over their frames."""
    _, inverse, counts = distinct(rows.patients)
    return mean_of(rows[name], units, 1 / counts[inverse])


_MASKS = (Kind.MASK,)


@metric_of_patients(
    "dice",
    "Dice overlap",
    _MASKS,
    better=1,
    best=1.0,
    worst=0.0,
    by_row=True,
)
def dice(rows: ScoredRows, units: Units) -> Form:
    """Dice overlap, the mean over patients of the mean over their frames.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    return _mean_over_patients(rows, units, "dice")


@metric_of_patients(
    "jaccard",
    "Jaccard overlap",
    _MASKS,
    better=1,
    best=1.0,
    worst=0.0,
    by_row=True,
)
def jaccard(rows: ScoredRows, units: Units) -> Form:
    """Jaccard overlap, the mean over patients of the mean over their frames.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    return _mean_over_patients(rows, units, "jaccard")


@metric_of_patients(
    "hd95",
    "95th percentile Hausdorff distance",
    _MASKS,
    better=-1,
    best=0.0,
    worst=np.inf,
    unit="mm",
    by_row=True,
)
def hd95(rows: ScoredRows, units: Units) -> Form:
    """95th percentile Hausdorff distance, the mean over patients of the mean over frames.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    return _mean_over_patients(rows, units, "hd95")


@metric_of_patients(
    "msd",
    "mean surface distance",
    _MASKS,
    better=-1,
    best=0.0,
    worst=np.inf,
    unit="mm",
    by_row=True,
)
def msd(rows: ScoredRows, units: Units) -> Form:
    """Mean surface distance, the mean over patients of the mean over their frames.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    return _mean_over_patients(rows, units, "msd")
