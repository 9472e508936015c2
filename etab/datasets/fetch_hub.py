"""Downloads of data sets of the Hugging Face hub through its client, verified file by file.

The client lists the files. Each has the sha256 that the hub keeps for large files, or the git digest
that it keeps for small ones; the client itself compares only sizes.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from etab.datasets.fetch_errors import Unfinished, is_inside
from etab.datasets.fetch_file import SIGN_IN, Wanted, complete_all
from etab.errors import DataNotFoundError, MissingPackageError, reason_of

OFFICIAL = "https://huggingface.co"
"""Address of the hub."""

_CHUNK = 1 << 20
_REFUSALS = (401, 403)
_REFUSED = ("GatedRepoError", "RepositoryNotFoundError", "DisabledRepoError")


def attempt(
    project: str, version: str, place: Path, address: str, progress: Callable[[int, int], None]
) -> None:
    """Try once to complete a data set.

    Args:
        project: Owner and name of the repository.
        version: A revision; "" for the newest.
        place: Folder that the files are written to.
        address: Address of the hub.
        progress: Called with the number of files that were tried, and of all.

    Raises:
        Unfinished: Files failed, or the hub does not answer.
        DataNotFoundError: The hub refuses the repository, wants the user to sign in, or names a
            file outside of the repository.
        OSError: The folder cannot be written.
    """
    hub = _client()
    import requests

    api = hub.HfApi(endpoint=address)
    try:
        # One commit, so that a release that changes meanwhile is not mixed.
        commit = api.dataset_info(project, revision=version or None).sha
        tree = api.list_repo_tree(project, repo_type="dataset", revision=commit, recursive=True)
        files = {item.path: item for item in tree if hasattr(item, "blob_id")}
    except Exception as error:
        if _is_refused(error):
            raise DataNotFoundError(
                f"{address} refuses {project}: {reason_of(error)}. {SIGN_IN}"
            ) from error
        if isinstance(error, ValueError):
            raise Unfinished(
                f"{address} answers with a page in place of the list of files of {project}: it may "
                f"want you to sign in, or be under maintenance. {SIGN_IN}"
            ) from error
        raise Unfinished(f"{project} at {address}: {reason_of(error)}.") from error
    _require_inside(project, files)
    headers = hub.utils.build_hf_headers()
    wanted = [
        Wanted(
            name,
            hub.hf_hub_url(project, name, repo_type="dataset", revision=commit, endpoint=address),
            item.size,
            partial(_is_right, item=item),
            is_exact=True,
            headers=headers,
        )
        for name, item in files.items()
    ]
    place.mkdir(parents=True, exist_ok=True)
    with requests.Session() as session:
        complete_all(session, wanted, place, progress)


def _is_refused(error: Exception) -> bool:
    """Whether the hub wants a signature, or has no such repository."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    return type(error).__name__ in _REFUSED or status in _REFUSALS


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
