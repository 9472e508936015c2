"""Fetching data sets that are free: through the client of PhysioNet (extra ``fetch``).

The client goes on where a download was interrupted, and verifies the sha256 of each file against
the list of the release. Data that need a signature are not fetched; the error names the place and
what is wanted there.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from etab.datasets.base import SOURCES
from etab.errors import (
    DataNotFoundError,
    MissingPackageError,
    StorageError,
    UnsupportedOptionError,
)
from etab.registry import unknown

PROJECTS = {
    "circor": ("circor-heart-sound", "1.0.3"),
    "cinc2016": ("challenge-2016", "1.0.0"),
}
"""Project and version at PhysioNet of each data set that is free there."""

_ADDRESS = "https://physionet.org"
_NAMED = 3


def fetch_data(
    name: str,
    folder: Path,
    *,
    attempts: int = 5,
    wait: float = 2.0,
    address: str = _ADDRESS,
    report: Callable[[str], None] = lambda _: None,
) -> Path:
    """Download a data set that is free.

    Files that are there already, and whose sha256 is right, are kept; half a file goes on where it
    ended.

    Args:
        name: Name of the data set, a key of PROJECTS.
        folder: Folder that the release is written to, as ``<project>-<version>``.
        attempts: How often files that failed are tried, 1 or more.
        wait: Seconds before the second attempt; each further one waits twice as long.
        address: Address of PhysioNet, or of a mirror with its interface.
        report: Called with a sentence before each further attempt.

    Returns:
        The folder of the release, for ``--root``.

    Raises:
        UnknownNameError: There is no such data set.
        UnsupportedOptionError: The data set is not free at PhysioNet; the message says where it is.
        MissingPackageError: The client is not installed.
        DataNotFoundError: The server refuses, does not answer, or sends wrong bytes each time.
        StorageError: The folder cannot be written.
    """
    if name not in SOURCES:
        raise unknown("dataset", name, SOURCES)
    if name not in PROJECTS:
        raise UnsupportedOptionError(
            f"{name} cannot be fetched here. It is available so: {SOURCES[name].card.access}. Then "
            f"name its folder: --root FOLDER, or export ETAB_{name.upper()}_DIR=FOLDER. These are "
            f"fetched: {', '.join(PROJECTS)}."
        )
    client = _client()
    project, version = PROJECTS[name]
    failure = ""
    for attempt in range(attempts):
        if attempt:
            report(f"{failure} Trying again ({attempt + 1} of {attempts}).")
            time.sleep(wait * 2 ** (attempt - 1))
        try:
            return _download(client, project, version, folder, address)
        except client.DownloadError as error:
            failure = _failures(error)
        except OSError as error:  # errors of requests are of this kind, too
            if type(error).__module__ == "builtins":
                raise StorageError(
                    f"{folder} could not be written: {error.strerror or error}. Free some space, "
                    "or name another folder."
                ) from error
            failure = f"{address} does not answer: {_first_line(error)}."
        except Exception as error:  # the client's own errors: no such project, access denied
            raise DataNotFoundError(
                f"{address} refuses {project} {version}: {_first_line(error)}."
            ) from error
    raise DataNotFoundError(
        f"{name} is not complete after {attempts} attempts. {failure} Run the same command again: "
        f"what is in {folder} is kept."
    )


def _client() -> Any:
    """The module of the client of PhysioNet that downloads."""
    try:
        return importlib.import_module("physionet.download")
    except ImportError as error:
        raise MissingPackageError(
            'Fetching data needs the client of PhysioNet: pip install "etab-bench[fetch]".'
        ) from error


def _download(client: Any, project: str, version: str, folder: Path, address: str) -> Path:
    """One attempt; what the client prints goes to the stream of messages."""
    source = "auto" if address == _ADDRESS else "physionet"
    with contextlib.redirect_stdout(sys.stderr):
        release = client.download(
            project,
            version,
            output_dir=str(folder),
            source=source,
            base_url=address,
        )
    return Path(release)


def _failures(error: Any) -> str:
    """The files that failed, the first ones by name."""
    named = [f"{path} ({_first_line(reason)})" for path, reason in error.failures[:_NAMED]]
    more = len(error.failures) - len(named)
    rest = f" and {more} more" if more > 0 else ""
    return f"{len(error.failures)} files failed: {', '.join(named)}{rest}."


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
