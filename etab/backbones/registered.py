"""The registry of backbones: names, and how the card of each is made.

A backbone of a user's own is one function, registered by its card::

    @register(BackboneCard("my_encoder", "My encoder", size=224, layers=("stage2", "stage3", "stage4")))
    def load(card):
        return TorchBackbone(card, network, taps)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from etab.backbones.base import Backbone, BackboneCard
from etab.errors import UnsupportedOptionError
from etab.registry import Registry

CardMaker = Callable[[str, "int | None"], BackboneCard]
Loader = Callable[[BackboneCard], Backbone]


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered backbone.

    Attributes:
        make: Its card, from its name and the seed of a random twin or None. Called when the card is wanted, so that a
            mistake in one entry is an error of that backbone alone.
        group: "image", "sound" (which includes records of facts), or "clip".
        listed: Whether it is among "all" backbones; False for one that needs an extra or has weights that are not
            free for every use.
    """

    make: CardMaker
    group: str
    listed: bool = True


BACKBONES: Registry[Entry] = Registry("backbone")


def register(card: BackboneCard, *, listed: bool = True) -> Callable[[Loader], Loader]:
    """Register a backbone of your own by a decorator of the function that loads it.

    Args:
        card: Its facts; ``load`` is filled in.
        listed: Whether ``etab run --backbones all`` takes it.

    Returns: A decorator of ``load(card)``, which returns the loaded backbone and is itself returned
        unchanged.

    Raises:
        UnsupportedOptionError: The name is taken.

    Example:
        >>> from etab import backbones
        >>> from etab.backbones.image.controls import ImageStats
        >>> @backbones.register(backbones.BackboneCard("my_statistics", "My statistics", learned=False))
        ... def load(card):
        ...     return ImageStats(card)
        >>> backbones.card("my_statistics").title
        'My statistics'
        >>> backbones.BACKBONES.remove("my_statistics")
    """

    def decorate(load: Loader) -> Loader:
        whole = replace(card, load=partial(load, card))
        group = "clip" if card.clip is not None else "image"
        if card.modality in ("sound", "record"):
            group = "sound"
        BACKBONES.add(card.name, Entry(partial(_own_card, whole), group, listed))
        return load

    return decorate


def _own_card(card: BackboneCard, name: str, seed: int | None) -> BackboneCard:
    if seed is not None:
        raise UnsupportedOptionError(
            f"{name} was registered without a random twin. Register one of its own, named random/{name}."
        )
    return card
