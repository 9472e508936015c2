"""Models of the hub that ask for access before they can be fetched."""

from __future__ import annotations

ASK = "Ask for access on the model's page at huggingface.co, and sign in with `hf auth login`."
"""What to do about a model that is not open."""

_REFUSALS = ("gated repo", "401 client error", "403 client error")


def asks_for_access(error: Exception) -> bool:
    """Whether the hub refused to hand a model out without access.

    Args:
        error: What its client, or a library that calls it, raised.

    Example:
        >>> asks_for_access(OSError("403 Client Error."))
        True
    """
    words = str(error).lower()
    return any(refusal in words for refusal in _REFUSALS)
