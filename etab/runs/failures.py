"""The report of a backbone that fails.

Networks are code of other people. Whatever one of them raises ends that backbone and nothing else.
"""

from __future__ import annotations

import contextlib
import re
import signal
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from etab.errors import EtabError
from etab.storage.text import printable

_LONGEST = 600  # characters; torch lists every key of a state_dict that does not fit
_MEMORY = ("MemoryError", "OutOfMemoryError")
# How torch says on a GPU and on a processor, and the library of C++, that there is no more memory.
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "bad_alloc")
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x1f\x7f]")  # of terminals


class TerminatedError(KeyboardInterrupt):
    """A signal that asks this process to stop: Ctrl-C, or SIGTERM of SLURM, Docker or a parent."""


@contextlib.contextmanager
def stopped_by(*numbers: signal.Signals) -> Iterator[None]:
    """Let signals stop a block as Ctrl-C does, so that it releases its claims.

    A second signal of the same number does what it did before the block, as a rule ending the
    process. Outside the main thread nothing changes, since Python delivers no signals there.

    Args:
        numbers: The signals.

    Raises:
        TerminatedError: Inside the block, when one of the signals arrives.

    Example:
        >>> import signal
        >>> with stopped_by(signal.SIGTERM):
        ...     pass
    """
    before: dict[int, Any] = {}

    def stop(number: int, _: Any) -> None:
        signal.signal(number, before[number])
        raise TerminatedError

    with contextlib.suppress(ValueError):  # outside the main thread no signal can be caught
        for number in numbers:
            before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for changed, handler in before.items():
            signal.signal(changed, handler)


def is_interruption(error: BaseException) -> bool:
    """Tell whether an exception asks the whole process to stop, and not one backbone.

    Args:
        error: Any exception.

    Returns:
        True for Ctrl-C, for a signal that asks this process to stop, and for a generator that its
        user has closed. False for a KeyboardInterrupt that a backbone raises by itself, where it
        can be distinguished from Ctrl-C: in ``etab run``, and in its worker processes.

    Example:
        >>> is_interruption(TerminatedError()), is_interruption(SystemExit(1))
        (True, False)
    """
    if isinstance(error, KeyboardInterrupt) and not isinstance(error, TerminatedError):
        # Where Ctrl-C is ignored it raises nothing, and where etab handles it, TerminatedError.
        handler = signal.getsignal(signal.SIGINT)
        is_of_etab = str(getattr(handler, "__module__", "")).startswith("etab.")
        return handler is not signal.SIG_IGN and not is_of_etab
    return isinstance(error, TerminatedError | GeneratorExit)


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
    if is_lack_of_memory(error):
        return (
            f"{name}. Memory ran out; finished cells are saved. Run the same command with "
            "--retry-failed and --workers 1, or with more memory (--executor-option memory_gb=...)."
        )
    return f"{name}. Finished cells are saved. Correct it, or leave it out."


def is_lack_of_memory(error: BaseException) -> bool:
    """Tell whether an exception says that memory ran out, of the machine, a limit or a GPU.

    Args:
        error: Any exception.

    Example:
        >>> is_lack_of_memory(MemoryError()), is_lack_of_memory(ValueError("no weights"))
        (True, False)
    """
    words = _text(error).lower()
    return type(error).__name__ in _MEMORY or any(sign in words for sign in _MEMORY_WORDS)


def _text(error: BaseException) -> str:
    """The text of an exception on one line, however the exception makes it."""
    try:
        words = str(error).split()
        text = printable(_COLOURS.sub("", " ".join(words)))
    except Exception:  # a faulty __str__ must not hide the type
        return "its message cannot be read"
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}..."
    return text.rstrip(".") or "no message"
