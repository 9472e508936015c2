"""Backbones at another input size, or with frames fitted in another way.

The size of the input and how a frame is fitted to it are factors of a result, not details: both
stand in the name of the backbone, as in ``timm/resnet18@448+letterbox``.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from etab.backbones.base import FITS, BackboneCard
from etab.errors import UnknownNameError, UnsupportedOptionError
from etab.options import whole_number
from etab.results.names import SQUASH, split_size

SIZES = (32, 2048)
"""Smallest and largest side of an input, in pixels."""


def sized(card: BackboneCard, size: int | None = None, fit: str = SQUASH) -> BackboneCard:
    """Make the card of a backbone at another input size, or with another fit.

    Args:
        card: The card of a backbone of frames.
        size: Side of the square input in pixels, 32 to 2048; None for the size of the card.
        fit: How frames that are not squares become squares: "squash" ignores the aspect ratio,
            "letterbox" keeps it and pads the short side with black, "crop" keeps it and cuts out
            the middle square. Feature maps are mapped back to the frame.

    Returns:
        A card whose name ends with "@<size>" and, for another fit than "squash", "+<fit>"; the
        card itself where nothing changes.

    Raises:
        UnknownNameError: There is no such fit.
        UnsupportedOptionError: The backbone cannot take the size or the fit; the error says why.

    Example:
        >>> from etab import backbones
        >>> card = sized(backbones.card("mobilenetv2"), 448, "letterbox")
        >>> card.name, card.size, card.fit
        ('mobilenetv2@448+letterbox', 448, 'letterbox')
    """
    if fit not in FITS:
        raise UnknownNameError(f"No fit is called {fit!r}: {', '.join(FITS)}.")
    if size is None and fit == SQUASH:
        return card  # nothing is asked for; its name may have a size and a fit
    size = card.size if size is None else whole_number(f"{card.name}: size", size, *SIZES, "px")
    if size == card.size and fit == card.fit:
        return card
    _check(card, size)
    suffix = f"@{size}"
    if fit != SQUASH:
        suffix = f"{suffix}+{fit}"
    twin = f"{card.twin}{suffix}" if card.twin else ""
    made = replace(
        card,
        name=f"{card.name}{suffix}",
        title=f"{card.title}, {size} px, {fit}",
        size=size,
        fit=fit,
        twin=twin,
    )
    if size != card.size and card.load_at is not None:
        made = replace(made, load=partial(card.load_at, size))
    return made


def _check(card: BackboneCard, size: int) -> None:
    """Raise UnsupportedOptionError for a card that cannot take the size or has no frames."""
    what = f"{card.name} cannot take --size or --fit"
    if card.fit != SQUASH or split_size(card.name)[1] is not None:
        raise UnsupportedOptionError(f"{what}: its name has a size already.")
    if card.clip is not None:
        raise UnsupportedOptionError(
            f"{what}: it reads clips of {card.clip.size} px, prepared as its authors did."
        )
    if card.modality != "image":
        raise UnsupportedOptionError(
            f"{what}: they are for backbones of frames, and its input is {card.modality}."
        )
    if size != card.size and card.load_at is None:
        raise UnsupportedOptionError(
            f"{card.name} reads pictures of {card.size} px only: the size is part of what its "
            "author, its processor or its graph declares. For a function, declare another one: "
            f"etab.Frames(size={size}). --fit without --size is possible."
        )
