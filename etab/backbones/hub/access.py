"""The hub as its clients see it: out of reach, or closed to those without access to a model."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

ASK = "Ask for access on the model's page at huggingface.co, and sign in with `hf auth login`."
"""What to do about a model that is not open."""

_REFUSALS = ("gated repo", "401 client error", "403 client error")
_NOT_CACHED = ("LocalEntryNotFoundError", "OfflineModeIsEnabled")
_SECONDS = 5.0


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


@contextmanager
def hub_or_cache() -> Iterator[None]:
    """Read models of the hub from its cache alone, at once, while the hub cannot be reached.

    Its client would try each file six times before it looks into the cache.

    Raises:
        OSError: The hub cannot be reached, and what is wanted is not in the cache.
    """
    from huggingface_hub import constants

    problem = "" if constants.HF_HUB_OFFLINE else unreachable(constants.ENDPOINT)
    if not problem:
        yield
        return
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    except Exception as error:
        if not _is_not_cached(error):
            raise
        raise OSError(
            f"{constants.ENDPOINT} cannot be reached ({problem}), and the model is not in the "
            f"cache {constants.HF_HUB_CACHE}"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = False


def unreachable(address: str) -> str:
    """Say why a server cannot be reached; "" where it answers, with whatever words.

    Args:
        address: The address of the server.

    Example:
        >>> unreachable("file:///no/such/hub")
        'No such file or directory'
    """
    request = urllib.request.Request(address, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS):
            return ""
    except urllib.error.HTTPError:
        return ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        # The client of the hub may know certificates that Python does not.
        if isinstance(reason, ssl.SSLError) or not isinstance(reason, OSError):
            return ""
        return reason.strerror or str(reason) or type(reason).__name__


def _is_not_cached(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, is that of a file that the cache lacks."""
    while error is not None:
        if type(error).__name__ in _NOT_CACHED:
            return True
        error = error.__cause__ or error.__context__
    return False
