"""One exception per question a user asks; every message names the thing, what was wanted, what came, and the next step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

SKIP = "To go on without the recordings that cannot be read: --skip-bad (in Python: skip_bad=True)."


class EtabError(Exception):
    """Base of every error that etab raises on purpose. Catch it to treat 'etab said no' apart from a bug."""


class UnknownNameError(EtabError, LookupError):
    """A name (dataset, target, view, backbone, head, metric, task) that no registry holds."""


class UnsupportedOptionError(EtabError, ValueError):
    """An option, or a combination of options, that the thing asked cannot obey."""


class DataNotFoundError(EtabError, FileNotFoundError):
    """No folder for a dataset: says where it was looked for and how to point at it."""


class LayoutError(EtabError, FileNotFoundError):
    """A folder that is not laid out as its dataset was published; ``missing`` lists every file or folder that is absent.

    The list is empty where the message names the only one.
    """

    missing: tuple[str, ...] = ()

    @classmethod
    def of(cls, message: str, missing: Iterable[str]) -> LayoutError:
        """Make the error with the list of what is missing, as text."""
        error = cls(message)
        error.missing = tuple(missing)
        return error


class CorruptFileError(EtabError, ValueError):
    """A file that is there and cannot be read as what it claims to be."""


class SplitError(EtabError, ValueError):
    """A split that leaks (one patient in two parts) or leaves a part empty."""


class WeightsError(EtabError, ValueError):
    """Weights that are missing, differ from their sha256, do not fit the network, or would run code."""


class UndefinedError(EtabError, ValueError):
    """A metric or statistic that does not exist for this input (one class only, two empty masks, no patients)."""


class IncompatibleError(EtabError, ValueError):
    """A run whose parts cannot work together; lists every clash at once."""


class ResultError(EtabError, ValueError):
    """A result that cannot be read, is of another schema, or differs from the one already saved under its name."""


class MixedDataError(EtabError, ValueError):
    """Phantom and real results in one leaderboard."""


class StorageError(EtabError, OSError):
    """A file that could not be written (disk full, no permission); finished work stays as it was."""


class EntryError(EtabError, ValueError):
    """A challenge entry made elsewhere that cannot be scored as it is; lists every fault found."""


class MissingPackageError(EtabError, ImportError):
    """A package that only some data need is not installed; the message holds the command that installs it."""


class TrainingError(EtabError, RuntimeError):
    """A training that cannot go on: a loss that is not finite, or one row that does not fit memory."""


class NamelessError(EtabError, TypeError):
    """An object whose content cannot be read, so that no digest can name it; the message says which part."""


class EtabWarning(UserWarning):
    """Something a user may safely ignore: an option printed on the 2022 pages that has no effect, a cache recomputed."""


@contextmanager
def skippable() -> Iterator[None]:
    """Where one recording is read: an error of its files says how to go on without it."""
    try:
        yield
    except (CorruptFileError, LayoutError) as error:
        if SKIP in str(error):
            raise
        raise type(error)(f"{error} {SKIP}") from error
