"""A challenge entry (folder, .zip, .tar.gz) laid out in a folder of its own; what could write elsewhere is refused.

Nothing is executed here. Names that are absolute or climb, links, devices, encrypted members, names given twice, and
archives that grow beyond a limit are refused before or while they are unpacked, whatever their headers promise.
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

from etab.errors import DataNotFoundError, EntryError

MOST_BYTES = 1 << 30
MOST_FILES = 20_000
_CHUNK = 1 << 20
_SUFFIXES = (".zip", ".tar.gz", ".tgz")
# what zipfile and tarfile raise of damaged archives
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
    UnicodeError,
    ValueError,
    gzip.BadGzipFile,
    RecursionError,
)


def unpack(
    entry: Path, folder: Path, *, most_bytes: int = MOST_BYTES, most_files: int = MOST_FILES
) -> Path:
    """Write the files of ``entry`` into ``folder``, which must not exist; returns it.

    most_bytes, most_files: what the entry may hold unpacked. Raises DataNotFoundError where there is no entry and
    EntryError naming what is refused; nothing is left behind then.
    """
    if not entry.exists():
        raise DataNotFoundError(
            f"{entry} does not exist. Pass the folder, .zip or .tar.gz of an entry."
        )
    if entry.is_file() and not entry.name.lower().endswith(_SUFFIXES):
        raise EntryError(
            f"{entry} is neither a folder nor a {', '.join(_SUFFIXES)}. Pack it as one of these."
        )
    folder.mkdir(parents=True)
    budget = _Budget(entry, most_bytes, most_files)
    try:
        if entry.is_dir():
            _copy(entry, folder, budget)
        elif entry.name.lower().endswith(".zip"):
            try:
                _zip(entry, folder, budget)
            except NotImplementedError as error:  # so zipfile names a packing that it does not read
                raise EntryError(
                    f"{entry} is packed in a way that is not read here: {error}. Pack it with deflate."
                ) from error
        else:
            _tar(entry, folder, budget)
    except _BROKEN as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, EntryError):
            raise
        raise EntryError(f"{entry} cannot be unpacked: {error}. Pack it again.") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def fingerprint(folder: Path) -> str:
    """sha256 over names, execute permissions and contents of every file below ``folder``."""
    whole = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        whole.update(
            f"{path.relative_to(folder).as_posix()}\0{path.stat().st_mode & 0o100}\0".encode()
        )
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


class _Budget:
    """Counts what an entry unpacks to; refuses more than is allowed, names that climb, and names given twice."""

    def __init__(self, entry: Path, most_bytes: int, most_files: int) -> None:
        self.entry, self.bytes, self.files = entry, most_bytes, most_files
        self.most = (most_bytes, most_files)
        self.seen: set[str] = set()

    def place(self, name: str, folder: Path) -> Path:
        """Where a member of this name goes; raises EntryError."""
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
                f"{self.entry} holds {name!r}, a name that leads out of the entry; nothing was unpacked."
            )
        kept = "/".join(parts)
        if kept in self.seen:
            raise EntryError(f"{self.entry} holds {kept!r} twice. Pack it again.")
        self.seen.add(kept)
        self.files -= 1
        if self.files < 0:
            raise EntryError(f"{self.entry} holds more than {self.most[1]} files.")
        return folder.joinpath(*parts)

    def write(self, source: IO[bytes], path: Path, mode: int) -> None:
        """Copy one member, counting every byte that comes out."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as out:
            while chunk := source.read(_CHUNK):
                self.spend(len(chunk))
                out.write(chunk)
        path.chmod(0o755 if mode & 0o100 else 0o644)

    def spend(self, n: int) -> None:
        """Take ``n`` bytes off what is left."""
        self.bytes -= n
        if self.bytes < 0:
            raise EntryError(
                f"{self.entry} unpacks to more than {self.most[0]:,} bytes, which is refused."
            )


def _copy(entry: Path, folder: Path, budget: _Budget) -> None:
    """A folder, file by file; links are followed inside the entry and refused where they lead out."""
    inside = entry.resolve()
    for path in _files(entry, budget):
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise EntryError(
                f"{path} is a link that leads out of the entry. Copy the file in its place."
            )
        if not path.is_file():
            raise EntryError(f"{path} is no plain file. Take it out of the entry.")
        target = budget.place(path.relative_to(entry).as_posix(), folder)
        with path.open("rb") as source:
            budget.write(source, target, path.stat().st_mode)


def _files(folder: Path, budget: _Budget) -> Iterator[Path]:
    """Everything below that is no folder; linked folders are handed out, not walked."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from _files(path, budget)
        else:
            yield path


def _zip(entry: Path, folder: Path, budget: _Budget) -> None:
    with zipfile.ZipFile(entry) as archive:
        for info in archive.infolist():
            path, mode = budget.place(info.filename, folder), info.external_attr >> 16
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
    """The archive is decompressed under the limit first: headers of a tar are read whole, and could be a bomb too."""
    with tempfile.TemporaryFile() as plain:
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


def _member(archive: tarfile.TarFile, info: tarfile.TarInfo, folder: Path, budget: _Budget) -> None:
    if info.name in (".", "./"):
        return
    path = budget.place(info.name, folder)
    if info.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    source = archive.extractfile(info) if info.isreg() else None
    if source is None:
        raise EntryError(
            f"{budget.entry} holds {info.name!r}, which is a link or device. Pack plain files."
        )
    budget.write(source, path, info.mode)
