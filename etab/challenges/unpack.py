"""Unpack a challenge entry (folder, .zip, .tar.gz) into a folder of its own and nowhere else.

Nothing is executed here. Absolute names and names that climb, links, devices, encrypted members,
names given twice, and archives that grow beyond a limit are refused before or while they are
unpacked, whatever their headers promise.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from etab.errors import DataNotFoundError, EntryError, StorageError
from etab.files import resolved
from etab.storage.atomic import REFUSED_BY_DISK

MOST_BYTES = 1 << 30
MOST_FILES = 20_000
_CHUNK = 1 << 20
_SUFFIXES = (".zip", ".tar.gz", ".tgz")
# What zipfile and tarfile raise for damaged archives and for names that no file can have.
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    UnicodeError,
    ValueError,
    gzip.BadGzipFile,
    RecursionError,
    OSError,
    MemoryError,
)


def unpack_entry(
    entry: Path,
    folder: Path,
    *,
    most_bytes: int = MOST_BYTES,
    most_files: int = MOST_FILES,
) -> Path:
    """Copy or unpack the files of an entry.

    Args:
        entry: A folder, ``.zip``, ``.tar.gz`` or ``.tgz``.
        folder: Where the files go; it must not exist.
        most_bytes: Size that the unpacked files may have.
        most_files: Number of files that the entry may hold.

    Returns:
        The folder.

    Raises:
        DataNotFoundError: If there is no entry.
        EntryError: If anything of the entry is refused; the folder is then removed.
        StorageError: If the disk is full, or the folder cannot be written.
    """
    if not entry.exists():
        raise DataNotFoundError(
            f"{entry} does not exist. Pass the folder, .zip or .tar.gz of an entry."
        )
    if not entry.is_dir() and not entry.is_file():
        raise EntryError(
            f"{entry} is a pipe, a device or a socket. Pass the folder, .zip or .tar.gz of an "
            "entry."
        )
    if entry.is_file() and not entry.name.lower().endswith(_SUFFIXES):
        raise EntryError(
            f"{entry} is neither a folder nor a {', '.join(_SUFFIXES)}. Pack it as one of these."
        )
    budget = _Budget(entry, most_bytes, most_files)
    try:
        folder.mkdir(parents=True)
        if entry.is_dir():
            _copy(entry, folder, budget)
        elif entry.name.lower().endswith(".zip"):
            try:
                _zip(entry, folder, budget)
            except NotImplementedError as error:  # a compression that zipfile does not read
                raise EntryError(
                    f"{entry} is packed in a way that is not read here: {error}. Pack it with "
                    "deflate."
                ) from error
        else:
            _tar(entry, folder, budget)
    except _BROKEN as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, EntryError):
            raise
        if isinstance(error, OSError) and error.errno in REFUSED_BY_DISK:
            raise StorageError(
                f"{entry} cannot be unpacked: {error.strerror}, in {folder}. Free some space, or "
                "set TMPDIR to another folder."
            ) from error
        raise EntryError(f"{entry} cannot be unpacked: {error}. Pack it again.") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def fingerprint(folder: Path) -> str:
    """Compute one sha256 over the names, execute permissions and contents of all files in a folder.

    Args:
        folder: The folder.

    Returns:
        64 hexadecimal digits.
    """
    whole = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        whole.update(
            f"{path.relative_to(folder).as_posix()}\0{path.stat().st_mode & 0o100}\0".encode()
        )
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


class _Budget:
    """Count what is unpacked; refuse too much of it, names that climb, and names given twice."""

    def __init__(
        self,
        entry: Path,
        most_bytes: int,
        most_files: int,
    ) -> None:
        self.entry = entry
        self.bytes = most_bytes
        self.files = most_files
        self.most = (most_bytes, most_files)
        self.seen: set[str] = set()

    def path_for(self, name: str, folder: Path) -> Path:
        """The path of a member of this name; raises EntryError where it leads out."""
        parts = PurePosixPath(name).parts
        if (
            not parts
            or name.startswith("/")
            or ".." in parts
            or "\\" in name
            or "\0" in name
            or ":" in parts[0]
        ):
            raise EntryError(
                f"{self.entry} holds {name!r}, a name that leads out of the entry; nothing was "
                "unpacked."
            )
        plain_name = "/".join(parts)
        if plain_name in self.seen:
            raise EntryError(f"{self.entry} holds {plain_name!r} twice. Pack it again.")
        self.seen.add(plain_name)
        self.files -= 1
        if self.files < 0:
            raise EntryError(f"{self.entry} holds more than {self.most[1]} files.")
        return folder.joinpath(*parts)

    def write(self, source: IO[bytes], path: Path, mode: int) -> None:
        """Write one member, counting every unpacked byte."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as out:
            while chunk := source.read(_CHUNK):
                self.spend(len(chunk))
                out.write(chunk)
        path.chmod(0o755 if mode & 0o100 else 0o644)

    def spend(self, n: int) -> None:
        """Subtract ``n`` bytes from the budget; raises EntryError where it is used up."""
        self.bytes -= n
        if self.bytes < 0:
            raise EntryError(
                f"{self.entry} unpacks to more than {self.most[0]:,} bytes, which is refused."
            )


def _copy(entry: Path, folder: Path, budget: _Budget) -> None:
    """Copy a folder; links are followed inside the entry and refused where they lead out of it."""
    inside = resolved(entry)
    for path in _files(entry, budget):
        if path.is_symlink() and not resolved(path).is_relative_to(inside):
            raise EntryError(
                f"{path} is a link that leads out of the entry. Copy the file in its place."
            )
        if not path.is_file():
            raise EntryError(f"{path} is not a plain file. Take it out of the entry.")
        target = budget.path_for(path.relative_to(entry).as_posix(), folder)
        with path.open("rb") as source:
            budget.write(source, target, path.stat().st_mode)


def _files(folder: Path, budget: _Budget) -> Iterator[Path]:
    """Everything below a folder but folders; links to folders are listed and not entered."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from _files(path, budget)
        else:
            yield path


def _zip(entry: Path, folder: Path, budget: _Budget) -> None:
    with zipfile.ZipFile(entry) as archive:
        for info in archive.infolist():
            path = budget.path_for(info.filename, folder)
            mode = info.external_attr >> 16  # the upper half holds the mode of Unix
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise EntryError(
                    f"{entry} holds {info.filename!r}, which is a link or device. Pack plain files."
                )
            if info.flag_bits & 1:
                raise EntryError(f"{entry} is encrypted. Pack it without a password.")
            if info.is_dir():
                path.mkdir(parents=True, exist_ok=True)
            else:
                with archive.open(info) as source:
                    budget.write(source, path, mode)


def _tar(entry: Path, folder: Path, budget: _Budget) -> None:
    """Unpack a tar. Its headers could be a bomb too: it is first decompressed under the limit."""
    with tempfile.TemporaryFile() as plain:
        # Each file may add a header and padding of at most 1 KiB.
        counting = _Budget(entry, budget.bytes + (1 << 10) * MOST_FILES + _CHUNK, 0)
        counting.most = budget.most
        with gzip.open(entry) as source:
            while chunk := source.read(_CHUNK):
                counting.spend(len(chunk))
                plain.write(chunk)
        plain.seek(0)
        with tarfile.open(fileobj=plain, mode="r:") as archive:
            for info in archive:
                _member(archive, info, folder, budget)


def _member(
    archive: tarfile.TarFile,
    info: tarfile.TarInfo,
    folder: Path,
    budget: _Budget,
) -> None:
    if info.name in (".", "./"):
        return
    path = budget.path_for(info.name, folder)
    if info.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    source = archive.extractfile(info) if info.isreg() else None
    if source is None:
        raise EntryError(
            f"{budget.entry} holds {info.name!r}, which is a link or device. Pack plain files."
        )
    budget.write(source, path, info.mode)
