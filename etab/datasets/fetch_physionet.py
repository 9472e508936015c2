"""Downloads from PhysioNet: its client knows the releases, and each file has a sha256."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from etab.datasets.fetch_errors import Absent, Unfinished, is_inside
from etab.datasets.fetch_file import (
    SECONDS,
    Wanted,
    complete_all,
    read_text_answer,
    reason_of_network,
)
from etab.errors import DataNotFoundError, MissingPackageError
from etab.storage.digests import file_sha256

OFFICIAL = "https://physionet.org"
"""Address of PhysioNet."""

CIRCOR = "circor-heart-sound"
CINC2016 = "challenge-2016"

_MIRROR = "https://physionet-open.s3.amazonaws.com"
_SUM = re.compile(r"([0-9a-f]{64})\s+(\S.*)")
_MOST_OF_SUMS = 64 << 20
_MOST_OF_FACTS = 8 << 20
# For a release whose server does not state its size; the free ones here have below 1 GB.
_MOST_OF_RELEASE = 64 << 30


def attempt(
    project: str, version: str, place: Path, address: str, progress: Callable[[int, int], None]
) -> None:
    """Try once to complete a release.

    Args:
        project: Name of the project.
        version: Its version.
        place: Folder that the files are written to.
        address: Address of the server; at the official one, PhysioNet's own mirror is used, too.
        progress: Called with the number of files that were tried, and of all.

    Raises:
        Unfinished: Files failed, or the server does not answer.
        DataNotFoundError: The server refuses the project, or wants the user to sign in.
        OSError: The folder cannot be written.
    """
    import requests

    with _client(address) as client:
        try:
            sums = _sums(client.session, project, version, address)
            most = _size_of_release(client, project, version)
            base = _base(client.session, project, version, address)
        except requests.RequestException as error:
            raise Unfinished(f"{address} does not answer: {reason_of_network(error)}.") from error
        files = [
            Wanted(name, f"{base}/{name}", most, partial(_has_sum, digest=digest))
            for name, digest in sums.items()
        ]
        place.mkdir(parents=True, exist_ok=True)
        complete_all(client.session, files, place, progress)


def _sums(session: Any, project: str, version: str, address: str) -> dict[str, str]:
    """The sha256 of each file, by its name in the release.

    Raises:
        Unfinished: The server does not answer, or sends no list of checksums.
        DataNotFoundError: The server has no such release, wants the user to sign in, or names a
            file outside the release.
    """
    url = f"{address}/files/{project}/{version}/SHA256SUMS.txt"
    try:
        text = read_text_answer(session, url, _MOST_OF_SUMS)
    except Absent as error:
        raise DataNotFoundError(
            f"{address} has no release {project} {version}: {error} for {url}."
        ) from error
    except Unfinished as error:
        raise Unfinished(f"{url}: {error}.") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    sums: dict[str, str] = {}
    for line in lines:
        match = _SUM.fullmatch(line)
        if match is None:
            sums.clear()
            break
        sums[match[2]] = match[1]
    if not sums:
        raise Unfinished(
            f"{url} is not a list of checksums: it begins with {text[:40]!r}. A proxy, a page of "
            "maintenance or a page to sign in may answer in its place."
        )
    for name in sums:
        if not is_inside(name):
            raise DataNotFoundError(
                f"{url} names the file {name[:80]!r}, which is outside the release. Nothing "
                "was downloaded."
            )
    return sums


def _size_of_release(client: Any, project: str, version: str) -> int:
    """Size in bytes of all files together, as the server states it: no file is larger."""
    url = f"{client.api_base}projects/{project}/versions/{version}/"
    try:
        facts = json.loads(read_text_answer(client.session, url, _MOST_OF_FACTS))
    except (Unfinished, DataNotFoundError, ValueError):
        return _MOST_OF_RELEASE
    size = facts.get("main_storage_size") if isinstance(facts, dict) else None
    return size if isinstance(size, int) and size > 0 else _MOST_OF_RELEASE


def _base(session: Any, project: str, version: str, address: str) -> str:
    """Address of the folder of the release: the mirror where it has the release, or the server."""
    import requests

    if address == OFFICIAL:
        folder = f"{_MIRROR}/{project}/{version}"
        try:
            if session.head(f"{folder}/SHA256SUMS.txt", timeout=SECONDS).status_code == 200:
                return folder
        except requests.RequestException:
            pass  # the server itself has the files, too
    return f"{address}/files/{project}/{version}"


def _has_sum(path: Path, digest: str) -> bool:
    return file_sha256(path) == digest


def _client(address: str) -> Any:
    """A client of PhysioNet; it signs in where the environment holds a name and a password."""
    try:
        api = importlib.import_module("physionet.api.client")
        utils = importlib.import_module("physionet.api.utils")
    except ImportError as error:
        raise MissingPackageError(
            'Fetching data needs the client of PhysioNet: pip install "etab-bench[fetch]".'
        ) from error
    name, password = utils.get_credentials_from_env()
    return api.PhysioNetClient(base_url=address, username=name, password=password, timeout=SECONDS)
