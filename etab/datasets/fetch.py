"""Fetching data sets that are free: from PhysioNet and from the Hugging Face hub (extra ``fetch``).

A download lies in ``.unfinished`` below the folder until every file has the checksum of the release,
and only then gets its name. An interrupted one goes on when the same command is given again. Data
that need a signature are not fetched; the error names the place and what is wanted there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from etab.datasets import fetch_hub, fetch_physionet
from etab.datasets.base import SOURCES
from etab.datasets.fetch_errors import Unfinished, is_of_storage
from etab.errors import DataNotFoundError, StorageError, UnsupportedOptionError
from etab.registry import unknown

UNFINISHED = ".unfinished"
"""Folder of downloads that are not complete, below the folder that is named."""


@dataclass(frozen=True, slots=True)
class Release:
    """A data set that is free.

    Attributes:
        address: Address of the server.
        project: Name of the project or repository there.
        version: Version at PhysioNet; "" for the newest state of a repository of the hub.
        dataset: The data set of etab that reads it.
    """

    address: str
    project: str
    version: str
    dataset: str

    @property
    def folder(self) -> str:
        """Name of the folder of the finished release."""
        name = self.project.rsplit("/", 1)[-1]
        return f"{name}-{self.version}" if self.version else name


_PHYSIONET = fetch_physionet.OFFICIAL
_HUB = fetch_hub.OFFICIAL
_PARQUET = "miguellmartins/circor-digiscope-physionet22-processed"

RELEASES: Mapping[str, Release] = {
    "circor": Release(_PHYSIONET, fetch_physionet.CIRCOR, "1.0.3", "circor"),
    "cinc2016": Release(_PHYSIONET, fetch_physionet.CINC2016, "1.0.0", "cinc2016"),
    "circor_hf": Release(_HUB, _PARQUET, "", "circor_hf"),
    "circor_hf_processed": Release(_HUB, _PARQUET, "", "circor_hf_processed"),
    "echoxflow": Release(_HUB, "Ahus-AIM/EchoXFlow", "", "echoxflow"),
    "echoxflow-demo": Release(_HUB, "Ahus-AIM/EchoXFlow-Demo", "", "echoxflow"),
}
"""The data sets that are fetched, by name."""

ELSEWHERE: Mapping[str, str] = {
    "yaseen": "github.com/yaseen21khan/Classification-of-Heart-Sound-Signal-Using-Multiple-Features-, "
    "an archive for each class. Unpack them into one folder",
    "zchsound": "the authors' page, zchsound.ncrcch.org.cn, whose terms are shown there (Jia et al., IEEE "
    "TBME 71(8), 2024). Unpack the 941 clean recordings into one folder",
}
"""Where data sets are that etab describes but has no source for."""


def fetch_data(
    name: str,
    folder: Path,
    *,
    attempts: int = 5,
    wait: float = 2.0,
    address: str | None = None,
    report: Callable[[str], None] = lambda _: None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Path:
    """Download a data set that is free.

    Files that are there already, and whose checksum is right, are kept; half a file goes on where it
    ended.

    Args:
        name: Name of the data set, a key of RELEASES.
        folder: Folder that the release is written to, in a folder of its own.
        attempts: How often files that failed are tried, 1 or more.
        wait: Seconds before the second attempt; each further one waits twice as long.
        address: Address of a mirror with the same interface; None for the server of the release.
        report: Called with a sentence before each further attempt.
        progress: Called with the number of files that were tried in an attempt, and of all.

    Returns:
        The folder of the release, for ``--root``.

    Raises:
        UnknownNameError: There is no such data set.
        UnsupportedOptionError: The data set is not fetched; the message says where it is.
        MissingPackageError: The client is not installed.
        DataNotFoundError: The server refuses, wants the user to sign in, does not answer, or sends
            wrong bytes each time.
        StorageError: The folder cannot be written.
    """
    release = _release(name)
    server = release.address if address is None else address
    final = folder / release.folder
    # A release that is there under its name already is verified and mended where it is.
    place = final if final.exists() else folder / UNFINISHED / release.folder
    client = fetch_physionet if release.version else fetch_hub
    failure = ""
    for attempt in range(attempts):
        if attempt:
            report(f"{failure} Trying again ({attempt + 1} of {attempts}).")
            time.sleep(wait * 2 ** (attempt - 1))
        try:
            client.attempt(release.project, release.version, place, server, progress)
            return _finish(place, final)
        except Unfinished as error:
            failure = str(error)
        except OSError as error:
            if not is_of_storage(error):
                raise
            raise StorageError(
                f"{folder} could not be written: {error.strerror or error}. Free some space, or "
                "name another folder; what is there is kept."
            ) from error
    raise DataNotFoundError(
        f"{name} is not complete after {attempts} attempts. {failure} Run the same command again: "
        f"what is in {place} is kept."
    )


def _release(name: str) -> Release:
    """Find a release; an error says where data are that are not fetched."""
    if name in RELEASES:
        return RELEASES[name]
    fetched = f"`etab data fetch` downloads {', '.join(RELEASES)}."
    if name in ELSEWHERE:
        raise UnsupportedOptionError(
            f"{name} cannot be fetched here. How to get it: {ELSEWHERE[name]}, then write its "
            f"table: etab data init FOLDER --as {name}. {fetched}"
        )
    if name not in SOURCES:
        raise unknown("dataset", name, (*SOURCES, *RELEASES, *ELSEWHERE))
    raise UnsupportedOptionError(
        f"{name} cannot be fetched here. How to get it: {SOURCES[name].card.access}. Then "
        f"name its folder: --root FOLDER, or export ETAB_{name.upper()}_DIR=FOLDER. {fetched}"
    )


def _finish(place: Path, final: Path) -> Path:
    """Give a complete release its name."""
    if place != final:
        place.rename(final)
        with suppress(OSError):  # another download may be there
            place.parent.rmdir()
    return final
