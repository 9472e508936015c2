"""Downloads of data sets of the Hugging Face hub through its client, verified file by file.

The client compares only the size of a file with that of the release, and forgets the half of a file
when its process ends. Here each file lies beside its place as ``<name>.part`` until it has the sha256
that the hub keeps for large files, or the git digest that it keeps for small ones.
"""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

from etab.datasets.fetch_errors import (
    Unfinished,
    failed_files,
    is_inside,
    is_of_storage,
)
from etab.errors import DataNotFoundError, MissingPackageError, reason_of

OFFICIAL = "https://huggingface.co"
"""Address of the hub."""

_CHUNK = 1 << 20
_REFUSALS = (401, 403)
_REFUSED = ("GatedRepoError", "RepositoryNotFoundError", "DisabledRepoError")


def attempt(project: str, version: str, place: Path, address: str) -> None:
    """Try once to complete a data set.

    Args:
        project: Owner and name of the repository.
        version: A revision; "" for the newest.
        place: Folder that the files are written to.
        address: Address of the hub.

    Raises:
        Unfinished: Files failed, or the hub does not answer.
        DataNotFoundError: The hub refuses the repository, or names a file outside of it.
        OSError: The folder cannot be written.
    """
    hub = _client()
    api = hub.HfApi(endpoint=address)
    try:
        # One commit, so that a release that changes meanwhile is not mixed.
        commit = api.dataset_info(project, revision=version or None).sha
        tree = api.list_repo_tree(project, repo_type="dataset", revision=commit, recursive=True)
        files = {item.path: item for item in tree if hasattr(item, "blob_id")}
    except Exception as error:
        if _is_refused(error):
            raise DataNotFoundError(
                f"{address} refuses {project}: {reason_of(error)}. If its page asks for it, accept "
                "the terms there and sign in: hf auth login."
            ) from error
        raise Unfinished(f"{project} at {address}: {reason_of(error)}.") from error
    _require_inside(project, files)
    headers = hub.utils.build_hf_headers()
    failed = []
    for name, item in files.items():
        url = hub.hf_hub_url(project, name, repo_type="dataset", revision=commit, endpoint=address)
        try:
            _complete(place / name, item, url, headers)
        except Exception as error:
            if is_of_storage(error):
                raise
            failed.append((name, reason_of(error)))
    if failed:
        raise Unfinished(failed_files(failed))


def _is_refused(error: Exception) -> bool:
    """Whether the hub wants a signature, or has no such repository."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return type(error).__name__ in _REFUSED or status in _REFUSALS


def _complete(path: Path, item: Any, url: str, headers: dict[str, str]) -> None:
    """Download a file, or the rest of it.

    Raises:
        Unfinished: Other bytes came than those of the release; they are removed.
        OSError: The folder cannot be written.
        Exception: An error of the client.
    """
    from huggingface_hub.file_download import http_get

    if path.is_file() and _is_right(path, item):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    if path.is_file():  # the beginning of the file, or another one: its digest will tell
        path.replace(part)
    begun = part.stat().st_size if part.is_file() else 0
    if begun >= item.size:
        part.unlink(missing_ok=True)
        begun = 0
    with part.open("ab") as file:
        http_get(url, file, resume_size=begun, headers=headers, expected_size=item.size)
    if not _is_right(part, item):
        part.unlink()
        raise Unfinished("its checksum is not that of the release")
    part.replace(path)


def _require_inside(project: str, files: dict[str, Any]) -> None:
    """Refuse a repository that lists no file, or one outside of it."""
    if not files:
        raise DataNotFoundError(f"{project} holds no file at the hub.")
    for name in files:
        if not is_inside(name):
            raise DataNotFoundError(
                f"{project} names the file {name[:80]!r}, which is outside the release. Nothing "
                "was downloaded."
            )


def _is_right(path: Path, item: Any) -> bool:
    """Whether a file has the size and the digest that the hub keeps."""
    if path.stat().st_size != item.size:
        return False
    if item.lfs is not None:
        return _digest(path, hashlib.sha256()) == str(item.lfs.sha256)
    git = hashlib.sha1(f"blob {item.size}\0".encode(), usedforsecurity=False)
    return _digest(path, git) == str(item.blob_id)


def _digest(path: Path, digest: Any) -> str:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return str(digest.hexdigest())


def _client() -> Any:
    """The client of the hub."""
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise MissingPackageError(
            'Fetching data needs the client of the hub: pip install "etab-bench[fetch]".'
        ) from error
