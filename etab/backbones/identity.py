"""What a backbone is, by content: the sha256 that features and results are kept under.

A backbone of the package is named by its weights; its code by the package's version numbers. A
backbone that a user brings (a function, a torch module, a card with a loader of their own) is named
by weights *and* code, see ``etab.storage.content``, or by a version that the user gives. A backbone
whose content cannot be read and that has no version is never cached and never resumed.
"""

from __future__ import annotations

import functools
import hashlib
import secrets
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from etab.backbones.base import Backbone, BackboneCard
from etab.errors import IncompatibleError, NamelessError
from etab.storage.content import content_digest

_NEXT_STEP = 'Give it a version to name it by (version="1"), and another one whenever it changes.'


def is_of_package(card: BackboneCard) -> bool:
    """Whether etab itself loads this backbone, so that its card and its weights name all of it."""
    load: Any = card.load
    while isinstance(load, functools.partial):
        if not all(_is_plain(value) for value in (*load.args, *load.keywords.values())):
            return False
        load = load.func
    return _is_plain(load) and not getattr(load, "of_user", False)


def _is_plain(value: object) -> bool:
    """Whether an argument of a loader is plain data, or something that etab defines."""
    if value is None or isinstance(value, str | int | float | PurePath):
        return True
    module = getattr(value, "__module__", None) or type(value).__module__
    return module.partition(".")[0] == "etab"


def identity(card: BackboneCard, backbone: Backbone) -> str:
    """The sha256 that names a loaded backbone in caches and results.

    Args:
        card: The card that the backbone was loaded by.
        backbone: The loaded backbone, before it moves to a device or a precision.

    Returns: 64 hexadecimal digits: ``backbone.digest()`` for a backbone of the package or a named
        function, else a digest of that and of the code of the backbone.
    """
    if is_of_package(card) or getattr(backbone, "of_user", False):
        return backbone.digest()
    try:
        content = content_digest(backbone)
    except NamelessError:
        # The author of a loader gives ``digest`` for this purpose; the code that can be read still counts.
        content = _readable(type(backbone))
    return hashlib.sha256(f"{backbone.digest()} {content}".encode()).hexdigest()


def _readable(kind: type) -> str:
    try:
        return content_digest(kind)
    except NamelessError:
        return kind.__qualname__


def nameless(backbone: Backbone) -> str:
    """Why a backbone cannot be cached or resumed, with the next step; "" for one that can."""
    reason = str(getattr(backbone, "nameless", ""))
    return f"{reason}. {_NEXT_STEP}" if reason else ""


def named_by(function: Any, version: str) -> tuple[str, str]:
    """Identity of a user's function, and why it has none ("" where it has one).

    Args: function: Any callable, a torch module included. version: What the user calls this state
        of its code; "" to read the code. Weights are read in any case.

    Returns:
        (sha256, reason). With a reason the sha256 is random, so that nothing stored has it.
    """
    try:
        if not version:
            return content_digest(function), ""
        state = getattr(function, "state_dict", None)
        tensors = content_digest(dict(state())) if callable(state) else ""
        return hashlib.sha256(f"version {version} {tensors}".encode()).hexdigest(), ""
    except NamelessError as error:
        return secrets.token_hex(32), str(error)


def difference(card: BackboneCard, stored: str) -> str:
    """Compare a backbone with the one that a stored result is of.

    A backbone that its card identifies (by a sha256, a seed, or as a control) is not loaded: the
    facts of cards are compared elsewhere. Others are loaded to compare weights and code.

    Args:
        card: The backbone now.
        stored: The identity kept with the result (``Result.weights_sha256``).

    Returns:
        "" for the same backbone; else what is the matter, with the next step.

    Raises:
        WeightsError: The weights are needed for the comparison, and cannot be fetched or read.
    """
    if is_of_package(card):
        named = card.sha256 or card.twin or not card.learned
        same = bool(named) or _package_identity(card) == stored
    else:
        backbone = card.load()
        reason = nameless(backbone)
        if reason:
            return reason
        same = identity(card, backbone) == stored
    if same:
        return ""
    return (
        f"it is of another backbone called {card.name}, whose weights or code differ from the one "
        "given. Give this one a name of its own (name=), or choose another results folder."
    )


def refuse_homonyms(cards: Sequence[BackboneCard]) -> None:
    """Raise IncompatibleError where two different backbones of a plan have one name."""
    first: dict[str, BackboneCard] = {}
    for card in cards:
        other = first.setdefault(card.name, card)
        both_of_package = is_of_package(card) and is_of_package(other)
        if (
            card is not other
            and card.load is not other.load
            and not (both_of_package and card == other)
        ):
            raise IncompatibleError(
                f"Two backbones of this plan are called {card.name}. Give each a name of its own "
                "(backbones.from_callable(name, function))."
            )


@functools.lru_cache(maxsize=256)
def _package_identity(card: BackboneCard) -> str:
    return card.load().digest()
