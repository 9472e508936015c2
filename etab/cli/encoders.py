"""Encoders as the command line names them: ``mine=local:weights.pth@timm/resnet18`` is ``mine``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etab.backbones.base import BackboneCard


def named_encoders(
    words: Sequence[str],
    size: int | None = None,
    fit: str = "squash",
    pretrained: Sequence[str] = (),
) -> list[str | BackboneCard]:
    """Turn each ``NAME=ENCODER`` into a card called NAME, followed by its random twin.

    Args:
        words: Names of backbones, or ``NAME=ENCODER``, where ENCODER is any name of a backbone.
        size: Side of the input of every backbone in pixels; None for the size of each.
        fit: How frames become squares, as in ``etab.backbones.sized``.
        pretrained: ``NAME=DATA,DATA`` for the data that a backbone called NAME was pretrained on.

    Returns:
        The words as they are, and two cards for each ``NAME=ENCODER``: the encoder, and
        ``random/NAME``, the same network without training. An encoder whose network cannot be
        built without its weights has no twin. With a size or fit, every word becomes a card; so
        does one whose pretraining is told.

    Raises:
        UnsupportedOptionError: NAME cannot stand on a board, or is the name of another backbone,
            or a backbone cannot take the size.
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
        if not is_named or "@" in name:  # local:FILE@timm/resnet18@mean=0.5 has no name
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
    encoders = _with_pretraining(encoders, pretrained)
    if size is None and fit == "squash":
        return encoders
    cards = [backbones.card(each) if isinstance(each, str) else each for each in encoders]
    return [backbones.sized(card, size, fit) for card in cards]


def _with_pretraining(
    encoders: list[str | BackboneCard], pretrained: Sequence[str]
) -> list[str | BackboneCard]:
    """Put the data that ``NAME=DATA,DATA`` lists on the cards of the backbones of these names."""
    from etab import backbones
    from etab.cli.words import words
    from etab.errors import UnsupportedOptionError

    names = [each if isinstance(each, str) else each.name for each in encoders]
    told: dict[str, list[str]] = {}
    for text in pretrained:
        name, _, listed = text.rpartition("=")  # a name may end in @mean=0.5
        sets = words(listed)
        if not name or not sets:
            raise UnsupportedOptionError(
                f"--pretrained-on {text!r} is not NAME=DATA,DATA, as in mine=camus,imagenet-1k."
            )
        if name not in names:
            raise UnsupportedOptionError(
                f"--pretrained-on {text!r}: no backbone of --backbones is called {name!r}. They are: "
                f"{', '.join(names)}."
            )
        told.setdefault(name, []).extend(sets)
    made: list[str | BackboneCard] = []
    for name, each in zip(names, encoders, strict=True):
        if name in told:
            card = backbones.card(each) if isinstance(each, str) else each
            each = backbones.pretrained_on(card, told[name])
        made.append(each)
    return made


def _network(encoder: str) -> str:
    """The network of ``local:FILE@NETWORK``; the encoder itself where no file is named."""
    from etab.backbones.scales import split_scale
    from etab.backbones.sizes import split_size

    stem = split_scale(split_size(encoder)[0])[0]
    network = stem.rpartition("@")[2]
    if stem.startswith("local:") and "/" in network:
        return network + encoder.removeprefix(stem)
    return encoder


def _check_name(name: str, word: str) -> None:
    from etab import backbones
    from etab.errors import UnsupportedOptionError
    from etab.leaderboard.admission.canonical import looks_published
    from etab.results.names import wrong_name

    if name.startswith("random/"):
        raise UnsupportedOptionError(
            f"{word!r}: {name} is the name of another backbone, a random twin. Choose a name of your own."
        )
    problem = wrong_name(name) or looks_published(name)
    if problem:
        raise UnsupportedOptionError(f"{word!r}: {problem}. Choose another name.")
    try:
        backbones.require_own_name(name)
    except UnsupportedOptionError as error:
        raise UnsupportedOptionError(f"{word!r}: {error}") from error
