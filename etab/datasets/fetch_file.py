"""Downloads of single files: they go on where they ended, stay within a size, and are verified.

A file lies beside its place as ``<name>.part`` until it has the checksum of the release. What turns
out to be another file, such as a page to sign in, is removed.

The clients of the two servers list the files, sign in and, for PhysioNet, hold the connection. Their
own downloads are not used, as none of them gives all of this: ``huggingface_hub`` keeps a file of the
right size with other bytes, begins a file again after its process ended, and has no limit;
``physionet`` has no limit either, writes where the list of checksums says, even outside the folder,
and leaves half a file under its final name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from etab.datasets.fetch_errors import Absent, Unfinished, failed_files
from etab.errors import DataNotFoundError, reason_of

if TYPE_CHECKING:
    import requests

SECONDS = 60
"""Seconds that a server may be silent."""

_CHUNK = 1 << 16
_REFUSALS = (401, 403)
_ABSENT = (404, 410)
_BEGINS_PAGE = re.compile(rb"\s*<(!doctype\s+html|html)", re.IGNORECASE)
_BEGINNING = 512

SIGN_IN = (
    "If the page of the data asks for it, accept the terms there and sign in: hf auth login for the "
    "hub, PHYSIONET_USERNAME and PHYSIONET_PASSWORD for PhysioNet. If the data are free, your "
    "network may want you to sign in: open the address in a browser."
)
"""What a user can do where a server wants a name and a password."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file of a release.

    Attributes:
        name: Its path inside the release.
        url: Its address.
        most: Size in bytes that it has at most; more is never written.
        is_right: Whether a file on the disk has the checksum of the release.
        is_exact: Whether ``most`` is the size of the file itself.
        headers: Headers of the request.
    """

    name: str
    url: str
    most: int
    is_right: Callable[[Path], bool]
    is_exact: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


def complete_all(
    session: requests.Session,
    files: Sequence[Wanted],
    place: Path,
    progress: Callable[[int, int], None],
) -> None:
    """Download files, or the rest of them; one that fails does not hinder the others.

    Args:
        session: What asks the server.
        files: The files.
        place: Folder that they are written to.
        progress: Called with the number of files that were tried, and of all.

    Raises:
        Unfinished: Files failed.
        DataNotFoundError: The server refuses access, or wants the user to sign in.
        OSError: The folder cannot be written.
    """
    import requests

    failed = []
    for number, file in enumerate(files, start=1):
        try:
            _complete(session, file, place / file.name)
        except Unfinished as error:
            failed.append((file.name, str(error)))
        except requests.RequestException as error:
            failed.append((file.name, reason_of_network(error)))
        progress(number, len(files))
    if failed:
        raise Unfinished(failed_files(failed))


def _complete(session: requests.Session, file: Wanted, path: Path) -> None:
    """Download a file, or the rest of it."""
    if path.is_file() and file.is_right(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    if path.is_file():  # the beginning of the file, or another one: its checksum will show
        path.replace(part)
    if not (part.is_file() and file.is_right(part)):
        _receive(session, file, part)
    if file.is_right(part):
        part.replace(path)
        return
    is_page = _is_page(part)
    if file.is_exact and part.stat().st_size < file.most and not is_page:
        raise Unfinished("it ended early")
    part.unlink()
    raise Unfinished(
        "a web page came in its place" if is_page else "its checksum is not that of the release"
    )


def _receive(session: requests.Session, file: Wanted, part: Path) -> None:
    """Write the rest of a file behind its beginning, or all of it where the server sends all."""
    begun = part.stat().st_size if part.is_file() else 0
    if begun >= file.most:
        begun = 0
    # Packed bytes could not go on in their middle.
    headers = {**file.headers, "Accept-Encoding": "identity"}
    if begun:
        headers["Range"] = f"bytes={begun}-"
    with session.get(file.url, headers=headers, stream=True, timeout=SECONDS) as response:
        if not (begun and _is_other_part(response, begun)):
            _write(response, file, part, begun)
            return
    part.unlink()
    _receive(session, file, part)


def _write(response: requests.Response, file: Wanted, part: Path, begun: int) -> None:
    """Write what a server answers.

    Raises:
        Unfinished: More came than the file can have; it is removed.
    """
    require_answer(response)
    goes_on = begun > 0 and response.status_code == 206
    size = begun if goes_on else 0
    with part.open("ab" if goes_on else "wb") as written:
        for chunk in response.iter_content(_CHUNK):
            size += len(chunk)
            if size > file.most:
                break
            written.write(chunk)
    if size > file.most:
        part.unlink()
        raise Unfinished(
            f"the server sends more than the {file.most:,} bytes that the release states"
        )


def _is_other_part(response: requests.Response, begun: int) -> bool:
    """Whether a server answers a request for the rest of a file with another part, or with none."""
    if response.status_code == 416:
        return True
    if response.status_code != 206:
        return False
    said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    return said is None or int(said[1]) != begun


def require_answer(response: requests.Response) -> None:
    """Refuse an answer that holds no file.

    Args:
        response: The answer; of its content nothing was read.

    Raises:
        Absent: The server has no such file.
        Unfinished: The server reports an error that may pass.
        DataNotFoundError: The server refuses access, or wants the user to sign in.
    """
    first = (response.history or [response])[0].url
    if response.status_code in _REFUSALS:
        raise DataNotFoundError(f"{first} refuses access (HTTP {response.status_code}). {SIGN_IN}")
    if not response.ok:
        status = f"HTTP {response.status_code} {response.reason}".rstrip()
        raise (Absent if response.status_code in _ABSENT else Unfinished)(status)
    is_page = response.headers.get("Content-Type", "").lower().startswith("text/html")
    wants_page = first.partition("?")[0].lower().endswith((".htm", ".html"))
    if response.history and is_page and not wants_page:
        raise DataNotFoundError(
            f"{first} wants you to sign in: it leads to the web page "
            f"{response.url.partition('?')[0]}, of which nothing is kept. {SIGN_IN}"
        )


def read_text_answer(session: requests.Session, url: str, most: int) -> str:
    """Ask for a text of limited size.

    Args:
        session: What asks the server.
        url: Address of the text.
        most: Size in bytes that it has at most.

    Returns:
        The text; bytes that are not UTF-8 are replaced.

    Raises:
        Absent: The server has no such file.
        Unfinished: The server reports an error that may pass, or sends more.
        DataNotFoundError: The server refuses access, or wants the user to sign in.
        requests.RequestException: The server does not answer.
    """
    content = bytearray()
    with session.get(url, stream=True, timeout=SECONDS) as response:
        require_answer(response)
        for chunk in response.iter_content(_CHUNK):
            content += chunk
            if len(content) > most:
                raise Unfinished(f"more than {most:,} bytes come")
    return content.decode("utf-8", errors="replace")


def reason_of_network(error: requests.RequestException) -> str:
    """Why no answer came, or not all of it, for the middle of a sentence."""
    import requests
    from urllib3.exceptions import ProtocolError

    if isinstance(error, requests.Timeout):
        return f"nothing came for {SECONDS} seconds"
    if error.args and isinstance(error.args[0], ProtocolError):
        return "the connection broke off"
    return reason_of(error)


def _is_page(path: Path) -> bool:
    """Whether a file begins as a web page does."""
    with path.open("rb") as file:
        return _BEGINS_PAGE.match(file.read(_BEGINNING)) is not None
