"""Encoders as the command line names them: ``mine=local:weights.pth@timm/resnet18`` is ``mine``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etab.backbones.base import BackboneCard


def named_encoders(words: Sequence[str]) -> list[str | BackboneCard]:
    """Turn each ``NAME=ENCODER`` into a card called NAME, followed by its random twin.

    Args:
        words: Names of backbones, or ``NAME=ENCODER``, where ENCODER is any name of a backbone.

    Returns:
        The words as they are, and two cards for each ``NAME=ENCODER``: the encoder, and
        ``random/NAME``, the same network without training. An encoder whose network cannot be
        built without its weights has no twin.

    Raises:
        UnsupportedOptionError: NAME cannot stand on a board, or is the name of another backbone.
        UnknownNameError: There is no backbone called ENCODER.

    Example:
        >>> cards = named_encoders(["mine=mobilenetv2", "pixel_pca"])
        >>> [getattr(card, "name", card) for card in cards]
        ['mine', 'random/mine', 'pixel_pca']
    """
    from etab import backbones
    from etab.errors import EtabError

    encoders: list[str | BackboneCard] = []
    for word in words:
        name, is_named, encoder = word.partition("=")
        if not is_named:
            encoders.append(word)
            continue
        _check_name(name, word)
        card = backbones.card(encoder)
        encoders.append(replace(card, name=name, title=name))
        try:
            twin = backbones.card(f"random/{_network(encoder)}")
        except EtabError:
            continue
        if not card.twin:
            encoders.append(replace(twin, name=f"random/{name}", twin=name))
    return encoders


def _network(encoder: str) -> str:
    """The network of ``local:FILE@NETWORK``; the encoder itself where no file is named."""
    if encoder.startswith("local:") and "@" in encoder:
        network = encoder.rpartition("@")[2]
        return network if "/" in network else encoder
    return encoder


def _check_name(name: str, word: str) -> None:
    from etab import backbones
    from etab.errors import UnsupportedOptionError
    from etab.leaderboard.admission.files import wrong_name

    if name in backbones.BACKBONES or name.startswith("random/"):
        raise UnsupportedOptionError(
            f"{word!r}: {name} is the name of another backbone. Choose a name of your own."
        )
    problem = wrong_name(name)
    if problem:
        raise UnsupportedOptionError(f"{word!r}: {problem}.")
