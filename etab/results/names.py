"""Names of backbones: what can stand in a result and on a board, and the size that a name ends with."""

from __future__ import annotations

import re

NAME = re.compile(r"[A-Za-z0-9._/:@+-]{1,80}")
NAME_IN_WORDS = "1 to 80 of the characters A-Z a-z 0-9 . _ / : @ + -"
SQUASH = "squash"
"""The fit that resizes a frame to a square and ignores its aspect ratio; names do not mention it."""

_SIZE = re.compile(r"(?P<stem>.+)@(?P<size>\d+)(?:\+(?P<fit>[a-z]+))?")

OF_WEIGHTS = ("timm/", "hf-hub:", "torchvision/", "torchaudio/")
"""How names begin that stand for published weights, and never for a file or folder."""


def is_of_published_weights(name: str) -> bool:
    """Whether a name stands for weights that its library publishes.

    Args:
        name: Name of a backbone, as results record it.

    Returns:
        False for a file, a function, a name that a user chose, and where it may be a folder.

    Example:
        >>> is_of_published_weights("timm/resnet18")
        True
        >>> is_of_published_weights("local:x.pth@timm/resnet18")
        False
    """
    return name.startswith(OF_WEIGHTS)


def wrong_name(name: str) -> str:
    """Why a board cannot show the name of a backbone; empty where it can.

    A name stands in tables, links and terminals, and people distinguish backbones by it.

    Args:
        name: The name in a result.

    Returns:
        The reason, with the name as Python's ``ascii`` writes it.

    Example:
        >>> wrong_name("random/mobilenetv2")
        ''
    """
    if not NAME.fullmatch(name):
        shown = ascii(name if len(name) <= 80 else f"{name[:77]}...")
        return f"the name of the backbone is {shown}; wanted {NAME_IN_WORDS}"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return f"the name of the backbone is {name!r}; no part of it may be empty, '.' or '..'"
    return ""


def wrong_own_name(name: str) -> str:
    """Why a board that a user makes cannot show the name of a backbone; empty where it can.

    Words may be apart by single spaces, as people write them in a notebook. A result that is handed
    in has the stricter name of ``wrong_name``.

    Args:
        name: The name that a user gave, or that a result holds.

    Returns:
        The reason, as from ``wrong_name``.

    Example:
        >>> wrong_own_name("my encoder")
        ''
        >>> wrong_own_name("my encoder ").endswith("and single spaces between words")
        True
    """
    joined = name if name != name.strip() or "  " in name else name.replace(" ", "_")
    if not wrong_name(joined):
        return ""
    problem = wrong_name(name)
    return f"{problem}, and single spaces between words" if NAME_IN_WORDS in problem else problem


def split_size(name: str) -> tuple[str, int | None, str]:
    """Split the name of a backbone from the size and the fit that it ends with.

    Args:
        name: Name of a backbone. After "transformers/...@", a number without a fit is a sampling
            rate and no size.

    Returns:
        The name without them, the size in pixels or None, and the fit.

    Example:
        >>> split_size("timm/resnet18@448+letterbox")
        ('timm/resnet18', 448, 'letterbox')
        >>> split_size("timm/resnet18")
        ('timm/resnet18', None, 'squash')
    """
    match = _SIZE.fullmatch(name)
    if match is None:
        return name, None, SQUASH
    fit = match["fit"]
    if fit is None and name.removeprefix("random/").startswith("transformers/"):
        return name, None, SQUASH
    return match["stem"], int(match["size"]), fit or SQUASH
