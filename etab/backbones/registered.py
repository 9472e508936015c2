"""The registry of backbones: their names, and the function that makes the card of each.

To add your own backbone, decorate the function that loads it::

    card = BackboneCard("my_encoder", "My encoder", layers=("stage2", "stage3", "stage4"))

    @register(card)
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
from etab.results.names import OF_WEIGHTS, wrong_own_name

CardMaker = Callable[[str, "int | None"], BackboneCard]
Loader = Callable[[BackboneCard], Backbone]


@dataclass(frozen=True, slots=True)
class Entry:
    """One registered backbone.

    Attributes:
        make: Makes the card from the name and the seed of a random twin (None for the backbone
            itself). It is called only when the card is needed, so that a faulty entry raises for
            that backbone alone.
        group: "image", "sound" (which includes the controls that read metadata), or "clip".
        listed: Whether "all" includes it. False for a backbone that needs an extra or whose
            weights are not free for every use.
    """

    make: CardMaker
    group: str
    listed: bool = True


BACKBONES: Registry[Entry] = Registry("backbone")

LIBRARIES = (*OF_WEIGHTS, "transformers/", "open_clip/", "local:", "vectors:", "onnx:")
"""How the names of backbones begin that are named by a library or a file instead."""


def require_own_name(name: object) -> None:
    """Check the name that a user gives to a backbone of their own.

    Args:
        name: The name, or "random/<name>" for its random twin.

    Raises:
        UnsupportedOptionError: The name cannot stand on a board, or is that of another backbone.

    Example:
        >>> require_own_name("my_encoder")
    """
    if not isinstance(name, str):
        raise UnsupportedOptionError(
            f"The name of a backbone is {name!r}, {type(name).__name__}; wanted a string."
        )
    problem = wrong_own_name(name)
    if problem:
        raise UnsupportedOptionError(f"{problem[0].upper()}{problem[1:]}.")
    own = name.removeprefix("random/")
    if own in BACKBONES or own.startswith(LIBRARIES):
        raise UnsupportedOptionError(
            f"{name} is the name of another backbone. Choose a name of your own."
        )


def name_of_function(function: object) -> str:
    """Name a function or torch module that its user gives no name.

    Args:
        function: The function, or an object of a class.

    Returns:
        "callable/<name>", which a board can show, as that of a lambda too.

    Example:
        >>> name_of_function(lambda x: x)
        'callable/lambda'
    """
    own = str(getattr(function, "__name__", type(function).__name__))
    return f"callable/{own.strip('<>')}"


def renamed(card: BackboneCard, name: str) -> BackboneCard:
    """Give a backbone a name of the user's own, under which results and boards show it.

    Args:
        card: The card of any backbone.
        name: The name, or "random/<name>" for a random twin, which becomes the twin of ``name``.

    Returns:
        The card under this name.

    Example:
        >>> from etab import backbones
        >>> renamed(backbones.card("pixel_pca"), "mine").name
        'mine'
    """
    twin = name.removeprefix("random/") if name.startswith("random/") else card.twin
    return replace(card, name=name, title=name, twin=twin, own_name=True)


def register(card: BackboneCard, *, listed: bool = True) -> Callable[[Loader], Loader]:
    """Register your own backbone by decorating the function that loads it.

    Args:
        card: The facts of the backbone; its ``load`` is filled in.
        listed: Whether ``etab run --backbones all`` includes it.

    Returns:
        A decorator for a function ``load(card)`` that returns the loaded backbone. The function
        itself is returned unchanged.

    Raises:
        UnsupportedOptionError: The name is taken.

    Example:
        >>> from etab import backbones
        >>> from etab.backbones.image.controls import ImageStats
        >>> mine = backbones.BackboneCard("my_statistics", "My statistics", learned=False)
        >>> @backbones.register(mine)
        ... def load(card):
        ...     return ImageStats(card)
        >>> backbones.card("my_statistics").title
        'My statistics'
        >>> backbones.BACKBONES.remove("my_statistics")
    """

    def decorate(load: Loader) -> Loader:
        complete = replace(card, load=partial(load, card))
        group = "image"
        if card.clip is not None:
            group = "clip"
        if card.modality in ("sound", "record"):
            group = "sound"
        BACKBONES.add(card.name, Entry(partial(_registered_card, complete), group, listed))
        return load

    return decorate


def _registered_card(
    card: BackboneCard,
    name: str,
    seed: int | None,
) -> BackboneCard:
    if seed is not None:
        raise UnsupportedOptionError(
            f"{name} was registered without a random twin. "
            f"Register a backbone named random/{name} to be its twin."
        )
    return card
