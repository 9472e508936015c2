"""The pretraining of a backbone: whether it is stated, and its data where only a user knows them.

A file of weights, a graph or a model of a hub does not say what it was trained on. Whoever knows
says it, on the card: no feature depends on it, and boards do not rank a backbone on such data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from etab.backbones.base import NOT_STATED, UNKNOWN_DATA, BackboneCard
from etab.errors import UnsupportedOptionError

__all__ = ["checked_sets", "pretrained_on", "stated_pretraining"]


def stated_pretraining(card: BackboneCard) -> str:
    """Say what a backbone was pretrained on, as far as anybody stated it.

    Args:
        card: The card.

    Returns:
        The data, or the words of the card; "" for a control, a random twin, and an encoder of a
        user who states nothing.

    Example:
        >>> from etab import backbones
        >>> stated_pretraining(backbones.card("mobilenetv2"))
        'imagenet-1k'
    """
    if card.twin or not card.learned:
        return ""
    if card.pretraining_sets and card.pretraining_sets != UNKNOWN_DATA:
        return ", ".join(card.pretraining_sets)
    return "" if card.pretraining == NOT_STATED else card.pretraining


def checked_sets(label: str, sets: Sequence[str]) -> tuple[str, ...]:
    """Check the names of the data that a user gives.

    Args:
        label: Name of the backbone, for errors.
        sets: Names of data sets.

    Returns:
        The names.

    Raises:
        UnsupportedOptionError: It is not a list, or holds something else than names.
    """
    if isinstance(sets, str):
        raise UnsupportedOptionError(
            f"{label}: pretrained_on is {sets!r}; wanted a list: [{sets!r}]."
        )
    if not isinstance(sets, Iterable):
        raise UnsupportedOptionError(
            f"{label}: pretrained_on is {sets!r}; wanted a list of names, such as ['camus']."
        )
    for data in sets:
        if not isinstance(data, str) or not data.strip():
            raise UnsupportedOptionError(
                f"{label}: pretrained_on lists {data!r}; wanted names of data sets, such as "
                "'camus' or 'imagenet-1k', or 'unknown'."
            )
    return tuple(sets)


def pretrained_on(card: BackboneCard, sets: Sequence[str]) -> BackboneCard:
    """Say what a backbone was pretrained on, beside what its card lists.

    Args:
        card: The card of a backbone with learned weights.
        sets: Datasets of the pretraining: by their name in etab ("camus", "echonet") where they
            have one, in any case and with any punctuation.

    Returns:
        The card with these data in ``pretraining_sets``. Name, features and their key stay.

    Raises:
        UnsupportedOptionError: The backbone has no pretraining, or the data are not names.

    Example:
        >>> from etab import backbones
        >>> card = pretrained_on(backbones.card("vits14_saliency"), ["camus"])
        >>> card.pretraining_sets
        ('camus',)
        >>> pretrained_on(backbones.card("mobilenetv2"), ["camus"]).pretraining_sets
        ('imagenet-1k', 'camus')
    """
    said = checked_sets(card.name, sets)
    if not said:
        raise UnsupportedOptionError(
            f"{card.name}: pretrained_on lists nothing; wanted names of data sets, or 'unknown'."
        )
    if not card.learned or card.twin:
        kind = "a random twin" if card.twin else "a control"
        raise UnsupportedOptionError(
            f"{card.name} is {kind}, without pretraining: it was trained on no data."
        )
    listed = () if card.pretraining_sets == UNKNOWN_DATA else card.pretraining_sets
    return replace(card, pretraining_sets=tuple(dict.fromkeys((*listed, *said))))
