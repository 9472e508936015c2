"""Encoders as the command line names them: ``mine=local:weights.pth@timm/resnet18`` is ``mine``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from etab.backbones.base import BackboneCard

# How the names of backbones begin that a file is named in, and the longest name that is proposed.
_OF_FILES = ("local:", "onnx:", "vectors:", "transformers/")
_LONGEST = 40


def named_encoders(
    words: Sequence[str],
    size: int | None = None,
    fit: str = "squash",
    pretrained: Sequence[str] = (),
    *,
    twins: bool = True,
) -> list[str | BackboneCard]:
    """Turn each ``NAME=ENCODER`` into a card called NAME, followed by its random twin.

    Args:
        words: Names of backbones, or ``NAME=ENCODER``, where ENCODER is any name of a backbone.
        size: Side of the input of every backbone in pixels; None for the size of each.
        fit: How frames become squares, as in ``etab.backbones.sized``.
        pretrained: ``NAME=DATA,DATA`` for the data that a backbone called NAME was pretrained on.
        twins: Whether a random twin follows each ``NAME=ENCODER``.

    Returns:
        The words as they are, and two cards for each ``NAME=ENCODER``: the encoder, and
        ``random/NAME``, the same network without training. An encoder whose network cannot be
        built without its weights has no twin. With a size or fit, every word becomes a card; so
        does one whose pretraining is stated.

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
    from etab.backbones.scales import refuse_parted
    from etab.errors import EtabError

    encoders: list[str | BackboneCard] = []
    for word in words:
        refuse_parted(word)
        name, is_named, encoder = word.partition("=")
        # local:FILE@timm/resnet18@mean=0.5 has no name, and neither has onnx:a=b/c.onnx.
        if not is_named or "@" in name or name.startswith(_OF_FILES):
            encoders.append(word)
            continue
        _check_name(name, word)
        card = backbones.card(encoder)
        encoders.append(backbones.renamed(card, name))
        if not twins or card.twin:
            continue
        try:
            twin = backbones.card(f"random/{_network(encoder)}")
        except EtabError:
            continue
        encoders.append(backbones.renamed(twin, f"random/{name}"))
    encoders = _with_pretraining(encoders, pretrained)
    if size is None and fit == "squash":
        return encoders
    cards = [backbones.card(each) if isinstance(each, str) else each for each in encoders]
    return [backbones.sized(card, size, fit) for card in cards]


def require_board_names(encoders: Sequence[str | BackboneCard]) -> None:
    """Check, before anything is computed, that a board can show the name of every encoder.

    The name of a file or folder can be too long, begin at the root of the disk, or hold spaces.

    Args:
        encoders: Encoders as ``named_encoders`` gives them.

    Raises:
        UnsupportedOptionError: A board would refuse the results of one of them; the message shows
            how to give it a name.

    Example:
        >>> require_board_names(["mobilenetv2", "local:weights.pth@timm/resnet18"])
    """
    from etab.errors import UnsupportedOptionError
    from etab.results.names import wrong_own_name

    for encoder in encoders:
        name = encoder if isinstance(encoder, str) else encoder.name
        problem = wrong_own_name(name)
        if problem:
            raise UnsupportedOptionError(
                f"No board would show the results: {problem}. Give it a name of your own: "
                f"--backbones {shlex.quote(f'{_proposed_name(name)}={name}')}"
            )


def _proposed_name(encoder: str) -> str:
    """A name for the board, after the file or the folder that an encoder is named by."""
    place = encoder.partition("@")[0]
    for beginning in _OF_FILES:
        place = place.removeprefix(beginning)
    stem = Path(place).stem
    return re.sub(r"[^A-Za-z0-9]+", "_", stem).strip("_")[:_LONGEST] or "mine"


def _with_pretraining(
    encoders: list[str | BackboneCard], pretrained: Sequence[str]
) -> list[str | BackboneCard]:
    """Put the data that ``NAME=DATA,DATA`` lists on the cards of the backbones of these names."""
    from etab import backbones
    from etab.cli.words import words
    from etab.errors import UnsupportedOptionError

    names = [each if isinstance(each, str) else each.name for each in encoders]
    sets_of: dict[str, list[str]] = {}
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
        sets_of.setdefault(name, []).extend(sets)
    made: list[str | BackboneCard] = []
    for name, each in zip(names, encoders, strict=True):
        if name in sets_of:
            card = backbones.card(each) if isinstance(each, str) else each
            each = backbones.pretrained_on(card, sets_of[name])
        made.append(each)
    return made


def _network(encoder: str) -> str:
    """The network of ``local:FILE@NETWORK``; the encoder itself where no file is named."""
    from etab.backbones.scales import split_scale
    from etab.results.names import split_size

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
