"""Figures of samples, by the names of the first ETAB."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from etab.errors import EtabWarning, UnsupportedOptionError
from etab.types import IMAGENET, FloatArray

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["plot_segment", "to_display"]

_MEAN = IMAGENET[0]
_STD = IMAGENET[1]


def warn_unnormalised() -> None:
    """Warn that a sample seems to lack the normalisation that is undone for display."""
    warnings.warn(
        "All values of the sample are from 0 to 1, as with normalize=False; undoing ImageNet's "
        "normalisation makes such an image brown and pale. Pass normalized=False.",
        EtabWarning,
        stacklevel=4,
    )


def as_tensor(what: str, value: Any) -> Tensor:
    """Take a sample as a tensor; NumPy arrays count.

    Args:
        what: The option, as it is written.
        value: What it was given.

    Raises:
        UnsupportedOptionError: It is neither a tensor nor an array of numbers.

    Example:
        >>> as_tensor("image", np.zeros((3, 4, 4))).shape
        torch.Size([3, 4, 4])
    """
    import torch

    if isinstance(value, torch.Tensor):
        return value
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
        raise UnsupportedOptionError(
            f"{what} is {type(value).__name__}; wanted a tensor, or an array of numbers."
        )
    # torch refuses reversed axes and another order of bytes.
    return torch.from_numpy(np.ascontiguousarray(value, value.dtype.newbyteorder("=")))


def to_display(image: Tensor, *, normalized: bool) -> FloatArray:
    """Convert a frame of a sample for display, undoing ImageNet's normalisation.

    Args:
        image: A frame (3, h, w).
        normalized: Whether the normalisation was applied.

    Returns:
        The frame (h, w, 3) in [0, 1].

    Raises:
        UnsupportedOptionError: The frame has another shape.
    """
    if image.ndim != 3 or image.shape[0] != 3:
        raise UnsupportedOptionError(f"A frame of a sample is (3, h, w); got {tuple(image.shape)}.")
    values = image.detach().cpu().numpy().astype(np.float64)
    values = np.moveaxis(values, 0, -1)
    if normalized:
        if values.size and values.min() >= 0 and values.max() <= 1:
            warn_unnormalised()
        values = values * _STD + _MEAN
    return np.asarray(np.clip(values, 0, 1))


def plot_segment(
    image: Tensor,
    segment: Tensor,
    overlay: bool = True,
    color: str = "r",
    *,
    normalized: bool = True,
    ax: Any = None,
) -> Any:
    """Draw a frame with the outline of its mask.

    Args:
        image: A frame (3, h, w).
        segment: Its mask (h, w) or (1, h, w).
        overlay: Whether to draw the frame; otherwise only the mask is drawn.
        color: Colour of the outline, as Matplotlib names it.
        normalized: Whether ImageNet's normalisation was applied to the frame.
        ax: Matplotlib axes to draw on; None makes a new figure.

    Returns:
        The axes. A notebook displays a new figure; a script saves it with ``ax.figure.savefig``.

    Raises:
        UnsupportedOptionError: Mask and frame differ in size, or there is no such colour.
    """
    from matplotlib import pyplot
    from matplotlib.colors import is_color_like

    if not is_color_like(color):
        raise UnsupportedOptionError(
            f"Matplotlib has no colour {color!r}. Take one such as 'red', 'C0' or '#ff0000'."
        )

    image = as_tensor("image", image)
    mask = np.squeeze(as_tensor("segment", segment).detach().cpu().numpy())
    if mask.shape != tuple(image.shape[-2:]):
        raise UnsupportedOptionError(
            f"The mask is {mask.shape}, the frame is {tuple(image.shape[-2:])}."
        )
    axes = ax if ax is not None else pyplot.subplots(figsize=(4, 4))[1]
    axes.imshow(
        to_display(image, normalized=normalized) if overlay else mask,
        cmap="gray",
        interpolation="nearest",
    )
    if mask.any():
        axes.contour(
            mask,
            levels=[0.5],
            colors=color,
            linewidths=2,
        )
        if overlay:
            axes.imshow(
                np.ma.masked_equal(mask, 0),
                cmap="gray",
                vmin=0,
                vmax=1,
                alpha=0.25,
                interpolation="nearest",
            )
    axes.set_axis_off()
    return axes
