"""What is reported when a backbone fails.

Networks are code of other people. Whatever one of them raises ends that backbone and nothing else.
"""

from __future__ import annotations

import traceback
from pathlib import Path

from etab.errors import EtabError

_LONGEST = 600  # characters; torch lists every key of a state_dict that does not fit


def is_interruption(error: BaseException) -> bool:
    """Tell whether an exception asks the whole process to stop, and not one backbone.

    Args:
        error: Any exception.

    Returns:
        True for Ctrl-C, and for a generator that its user has closed.

    Example:
        >>> is_interruption(KeyboardInterrupt()), is_interruption(SystemExit(1))
        (True, False)
    """
    return isinstance(error, KeyboardInterrupt | GeneratorExit)


def describe_failure(error: BaseException) -> str:
    """Describe in one line why a backbone failed.

    Args:
        error: Any exception, as it was caught.

    Returns:
        The message of an error of etab; for any other exception its type, its text, where it was
        raised, and the next step.

    Example:
        >>> describe_failure(ValueError("no weights"))
        'ValueError: no weights. Finished cells are saved. Correct it, or leave it out.'
    """
    if isinstance(error, EtabError):
        return str(error)
    name = f"{type(error).__name__}: {_text(error)}"
    calls = traceback.extract_tb(error.__traceback__)
    if calls:
        last = calls[-1]
        name += f" (raised in {last.name}, {Path(last.filename).name} line {last.lineno})"
    return f"{name}. Finished cells are saved. Correct it, or leave it out."


def _text(error: BaseException) -> str:
    """The text of an exception on one line, however the exception makes it."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # a faulty __str__ must not hide the type
        return "its message cannot be read"
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}..."
    return text.rstrip(".") or "no message"
