"""Names of backbones that can stand in a result and on a board."""

from __future__ import annotations

import re

NAME = re.compile(r"[A-Za-z0-9._/:@+-]{1,80}")
NAME_IN_WORDS = "1 to 80 of the characters A-Z a-z 0-9 . _ / : @ + -"


def wrong_name(name: str) -> str:
    """Why a board cannot show the name of a backbone; empty where it can.

    A name stands in tables, links and terminals, and people tell backbones apart by it.

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
