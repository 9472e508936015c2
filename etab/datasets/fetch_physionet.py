"""Downloads from PhysioNet through its client, which verifies the sha256 of each file."""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
from pathlib import Path
from typing import Any

from etab.datasets.fetch_errors import (
    Unfinished,
    failed_files,
    is_inside,
    is_of_storage,
)
from etab.errors import DataNotFoundError, MissingPackageError, reason_of

OFFICIAL = "https://physionet.org"
"""Address of PhysioNet."""

CIRCOR = "circor-heart-sound"
CINC2016 = "challenge-2016"

_SUM = re.compile(r"[0-9a-f]{64}\s+(\S.*)")
_SECONDS = 60


def attempt(project: str, version: str, place: Path, address: str) -> None:
    """Try once to complete a release.

    Args:
        project: Name of the project.
        version: Its version.
        place: Folder of the release, named ``<project>-<version>``.
        address: Address of the server; at the official one, PhysioNet's own mirror is used, too.

    Raises:
        Unfinished: Files failed, or the server does not answer.
        DataNotFoundError: The server refuses the project.
        OSError: The folder cannot be written.
    """
    client = _client()
    _require_sums(project, version, address)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            client.download(
                project,
                version,
                output_dir=str(place.parent),
                source="auto" if address == OFFICIAL else "physionet",
                base_url=address,
            )
    except client.DownloadError as error:
        for _, reason in error.failures:
            if is_of_storage(reason):
                raise reason from error
        named = [(path, reason_of(reason)) for path, reason in error.failures]
        raise Unfinished(failed_files(named)) from error
    except OSError as error:
        if is_of_storage(error):
            raise
        raise Unfinished(f"{address} does not answer: {reason_of(error)}.") from error
    except Exception as error:  # the client's own errors: no such project, access denied
        raise DataNotFoundError(
            f"{address} refuses {project} {version}: {reason_of(error)}."
        ) from error


def _require_sums(project: str, version: str, address: str) -> None:
    """Check the list of checksums, because the client takes any text for one.

    Raises:
        Unfinished: The server does not answer, or sends no list of checksums.
        DataNotFoundError: The list names a file outside the release.
    """
    import requests

    url = f"{address}/files/{project}/{version}/SHA256SUMS.txt"
    try:
        response = requests.get(url, timeout=_SECONDS)
    except requests.RequestException as error:
        raise Unfinished(f"{address} does not answer: {reason_of(error)}.") from error
    if not response.ok:
        # The client asks next, and tells access denied from a project that is not there.
        return
    lines = [line.strip() for line in response.text.splitlines() if line.strip()]
    matches = [_SUM.fullmatch(line) for line in lines]
    if not lines or None in matches:
        raise Unfinished(
            f"{url} is no list of checksums: it begins with {response.text[:40]!r}. A proxy or a "
            "page of maintenance may answer in its place."
        )
    for match in matches:
        if match is not None and not is_inside(match[1]):
            raise DataNotFoundError(
                f"{url} names the file {match[1][:80]!r}, which is outside the release. Nothing "
                "was downloaded."
            )


def _client() -> Any:
    """The module of the client of PhysioNet that downloads."""
    try:
        return importlib.import_module("physionet.download")
    except ImportError as error:
        raise MissingPackageError(
            'Fetching data needs the client of PhysioNet: pip install "etab-bench[fetch]".'
        ) from error
