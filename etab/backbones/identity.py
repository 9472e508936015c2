"""The identity of a backbone: the sha256 under which its features and results are stored.

A backbone of this package is identified by its weights, and its code by version numbers. A user's
backbone (a function, a torch module, a card with its own loader) is identified by its weights
*and* code, see ``etab.storage.content``, or by a version that the user gives. A backbone whose
content cannot be read and that has no version is never cached and never resumed.
"""

from __future__ import annotations

import functools
import hashlib
import secrets
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

from etab.backbones.base import Backbone, BackboneCard
from etab.errors import IncompatibleError, NamelessError
from etab.storage.content import content_digest

_NEXT_STEP = 'Give it a version (version="1"), and another one whenever it changes.'


def is_of_package(card: BackboneCard) -> bool:
    """Whether etab itself loads this backbone, so that its card and weights identify it."""
    load: Any = card.load
    while isinstance(load, functools.partial):
        if not all(_is_plain(value) for value in (*load.args, *load.keywords.values())):
            return False
        load = load.func
    return _is_plain(load) and not getattr(load, "of_user", False)


def _is_plain(value: object) -> bool:
    """Whether a loader or an argument of it is plain data, or is defined by etab."""
    if value is None or isinstance(value, str | int | float | PurePath):
        return True
    module = getattr(value, "__module__", None) or type(value).__module__
    return module.partition(".")[0] == "etab"


def identity(card: BackboneCard, backbone: Backbone) -> str:
    """Compute the sha256 that identifies a loaded backbone in caches and results.

    Args:
        card: The card of the backbone.
        backbone: The loaded backbone, before it moves to a device or a precision.

    Returns:
        64 hexadecimal digits: ``backbone.digest()`` for a backbone of the package or a callable,
        otherwise a digest of ``backbone.digest()`` and the code of the backbone.
    """
    if is_of_package(card) or getattr(backbone, "of_user", False):
        return backbone.digest()
    try:
        content = content_digest(backbone)
    except NamelessError:
        # The loader's author wrote ``digest`` for this purpose; readable code still counts.
        content = _class_digest(type(backbone))
    return hashlib.sha256(f"{backbone.digest()} {content}".encode()).hexdigest()


def _class_digest(kind: type) -> str:
    """Digest of the code of a class, or its name where the code cannot be read."""
    try:
        return content_digest(kind)
    except NamelessError:
        return kind.__qualname__


def nameless(backbone: Backbone) -> str:
    """Explain why a backbone cannot be cached or resumed, with the next step; "" if it can.

    Args:
        backbone: The loaded backbone.
    """
    reason = str(getattr(backbone, "nameless", ""))
    return f"{reason}. {_NEXT_STEP}" if reason else ""


def named_by(function: Any, version: str) -> tuple[str, str]:
    """Compute the identity of a user's function.

    Args:
        function: Any callable, a torch module included.
        version: The user's version of its code; "" to read the code. Weights are always read.

    Returns:
        (sha256, reason). ``reason`` is "" for a function with an identity. Otherwise it explains
        what cannot be read, and the sha256 is random, so that nothing stored has it.
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
    """Compare a backbone with the backbone of a stored result.

    A backbone that is identified by its card (by a sha256, a seed, or as a control) is not loaded:
    the facts of cards are compared elsewhere. Others are loaded to compare weights and code, and so
    are twins and controls that the user named, for the name may have stood for another one.

    Args:
        card: The current backbone.
        stored: The identity stored with the result (``Result.weights_sha256``).

    Returns:
        "" for the same backbone; otherwise the difference, with the next step.

    Raises:
        WeightsError: The weights are needed for the comparison, and cannot be fetched or read.
    """
    if is_of_package(card):
        identified = card.sha256 or ((card.twin or not card.learned) and not card.own_name)
        same = bool(identified) or _package_identity(card, card.load) == stored
    else:
        backbone = card.load()
        reason = nameless(backbone)
        if reason:
            return reason
        same = identity(card, backbone) == stored
    if same:
        return ""
    return (
        f"it belongs to another backbone called {card.name}, with other weights or code than the "
        "given one. Give this one a name of its own (name=), or choose another results folder."
    )


def refuse_homonyms(cards: Sequence[BackboneCard]) -> None:
    """Check that different backbones of a plan have different names.

    Args:
        cards: The cards of the plan; the same backbone may occur several times.

    Raises:
        IncompatibleError: Two different backbones have one name.
    """
    first: dict[str, BackboneCard] = {}
    for card in cards:
        other = first.setdefault(card.name, card)
        if card is other or card.load is other.load:
            continue
        both_of_package = is_of_package(card) and is_of_package(other)
        if both_of_package and card == other:
            continue
        raise IncompatibleError(
            f"Two backbones of this plan are called {card.name}. Give each a name of its own "
            "(backbones.from_callable(name, function))."
        )


@functools.lru_cache(maxsize=256)
def _package_identity(card: BackboneCard, load: Callable[[], Backbone]) -> str:
    """Load a backbone of the package and return its digest.

    Cards of one name can be equal with other loaders.
    """
    return load().digest()
