"""The errors of etab, one for each kind of question a user asks.

Every message names the thing, what was wanted, what came instead, and the next step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

SKIP = "To go on without the recordings that cannot be read: --skip-bad (in Python: skip_bad=True)."


# What no reader needs whole, the content of a damaged file: a word without end, numbers without end,
# and a text in quotes without end.
_ENDLESS = re.compile("[^ ]{400,}|[^A-Za-z]{400,}|(?<![^ (])'[^'\n]{1000,}'(?![^ .,;:)])")


def _shown(message: object) -> object:
    """A message whose longest words and lists of numbers are cut in the middle."""
    if not isinstance(message, str):
        return message
    return _ENDLESS.sub(lambda word: f"{word[0][:200]}...{word[0][-100:]}", message)


def reason_of(error: BaseException, longest: int = 300) -> str:
    """The first line of a message of another library, for the middle of a sentence.

    Args:
        error: What the library raised.
        longest: Characters that are shown. A longer line ends after its last whole sentence, or
            after its last whole word and "[...]".

    Returns:
        The line, without a full stop at its end; the name of the error where it says nothing.

    Example:
        >>> reason_of(OSError("No such model. Please check your connection and try again."), 30)
        'No such model'
    """
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if len(line) > longest:
        shown = line[:longest]
        sentences, stop, _ = shown.rpartition(". ")
        line = sentences if stop else f"{shown.rpartition(' ')[0] or shown} [...]"
        return line
    return line.rstrip(".")


class EtabError(Exception):
    """Base of every error that etab raises on purpose. Any other exception is a bug.

    Args:
        args: The message; words and lists of numbers of 400 or more characters are cut in the
            middle, and so are texts in quotes of 1,000 or more.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(_shown(message) for message in args))


class UnknownNameError(EtabError, LookupError):
    """A name of a dataset, target, view, backbone, head, metric or task that is not registered."""


class UnsupportedOptionError(EtabError, ValueError):
    """An option, or a combination of options, that cannot take effect."""


def not_finite(what: str) -> UnsupportedOptionError:
    """Build the error for features that hold NaN or infinity.

    Args:
        what: The features, as the beginning of a sentence: "Row 3 of the features 'late'".
    """
    return UnsupportedOptionError(
        f"{what} holds values that are not finite. The backbone overflows on this input (try "
        "--precision fp32), or its weights hold NaN."
    )


class DataNotFoundError(EtabError, FileNotFoundError):
    """A dataset that was not found. The message lists where it was searched and how to name it."""


class LayoutError(EtabError, FileNotFoundError):
    """A folder that is not laid out as its dataset was published.

    Attributes:
        missing: The files and folders that are missing; empty where the message names the only one.
    """

    missing: tuple[str, ...] = ()

    @classmethod
    def of(cls, message: str, missing: Iterable[str]) -> LayoutError:
        """Make the error together with the list of what is missing.

        Args:
            message: Text of the error.
            missing: The files and folders that are missing.

        Returns:
            The error, to be raised.
        """
        error = cls(message)
        error.missing = tuple(missing)
        return error


class CorruptFileError(EtabError, ValueError):
    """A file that exists but cannot be read as what it claims to be."""


class SplitError(EtabError, ValueError):
    """A split that leaks (one patient in two parts) or has an empty part."""


class WeightsError(EtabError, ValueError):
    """Weights that are missing, have another sha256, do not fit the network, or would run code."""


class UndefinedError(EtabError, ValueError):
    """A metric or statistic that does not exist for its input, such as AUROC of a single class."""


class IncompatibleError(EtabError, ValueError):
    """A run whose parts do not fit together. The message lists every conflict."""


class ResultError(EtabError, ValueError):
    """A result that cannot be read, has another schema, or differs from the one saved before."""


class UnreadableResultError(ResultError):
    """A file in the place of a result that is none, or is one of another schema."""


class MixedDataError(EtabError, ValueError):
    """Phantom and real results on one leaderboard."""


class StorageError(EtabError, OSError):
    """A file that could not be written (full disk, no permission). Finished work is kept."""


class FeaturesLostError(EtabError, FileNotFoundError):
    """Cached features that were deleted while they were in use. They can be computed again."""


class EntryError(EtabError, ValueError):
    """A challenge entry that cannot be run or scored as it is. The message lists every fault."""


class MissingPackageError(EtabError, ImportError):
    """An optional package that is not installed. The message holds the command that installs it."""


class TrainingError(EtabError, RuntimeError):
    """A training that cannot go on: a loss is not finite, or a single row exceeds memory."""


class ClusterError(EtabError, RuntimeError):
    """A cluster that cannot be reached, or does not come back. Finished cells are kept."""


class NamelessError(EtabError, TypeError):
    """An object whose content cannot be read, so that no digest can name it."""


class EtabWarning(UserWarning):
    """Something that may safely be ignored, such as an option of 2022 that has no effect."""


@contextmanager
def skippable() -> Iterator[None]:
    """Add the hint about ``--skip-bad`` to errors of the files of one recording.

    Raises:
        CorruptFileError: If the block raises it, with the hint at the end of the message.
        LayoutError: If the block raises it, with the hint at the end of the message.

    Example:
        >>> try:
        ...     with skippable():
        ...         raise CorruptFileError("a.avi is cut short.")
        ... except CorruptFileError as error:
        ...     print(str(error)[:44])
        a.avi is cut short. To go on without the rec
    """
    try:
        yield
    except (CorruptFileError, LayoutError) as error:
        if SKIP in str(error):
            raise
        raise type(error)(f"{error} {SKIP}") from error
