"""Lists in a release of its own files: checksums (SHA256SUMS.txt), records (RECORDS), kinds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from etab.errors import CorruptFileError, EtabError, LayoutError
from etab.files import is_file, read_text_file
from etab.readers.text import read_text
from etab.storage.digests import ABSENT, file_sha256
from etab.storage.listing import visible, visible_files
from etab.storage.machine import allowed_cores

SUMS = "SHA256SUMS.txt"
RECORDS = "RECORDS"
_TEXT = (".txt", ".hea", ".tsv", ".csv", ".cfg", ".json")
_LARGEST_TEXT = 1 << 22


@dataclass(slots=True)
class Lists:
    """The result of comparing a folder with the lists that it ships.

    Attributes:
        missing: Files that a list names and that are absent.
        altered: Files whose checksum differs.
        remarks: Further facts that are not faults.
    """

    missing: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def check_lists(root: Path, *, sums: bool = True) -> Lists:
    """Compare the files of a folder with the lists that it ships.

    A text file whose checksum matches after its line ends are changed to those of Windows or Unix
    is unchanged in content, and is only remarked on.

    Args:
        root: The folder.
        sums: Whether checksums are compared; existence always is.

    Returns:
        Missing and altered files.
    """
    lists = Lists()
    try:
        published = read_sums(root / SUMS) if (root / SUMS).is_file() else {}
    except CorruptFileError as error:
        lists.altered.append(str(error))
        published = {}
    names = [name for name in published if is_file(root / name)]
    lists.missing += [str(root / name) for name in published if name not in set(names)]
    if sums and names:
        _compare(root, {name: published[name] for name in names}, lists)
    for table in _record_lists(root):
        for name in _lines(table, lists):
            path = table.parent / name
            present = is_file(path) or any(
                is_file(path.with_name(path.name + end)) for end in (".wav", ".hea", ".dat")
            )
            lists.missing += (
                []
                if present or str(path) in lists.missing
                else [f"{path} (listed in {table.name})"]
            )
    return lists


def read_sums(path: Path) -> dict[str, str]:
    """Read a list of sha256 checksums.

    Args:
        path: A text file with a checksum and a file name on each line.

    Returns:
        Checksums by file name, relative to the folder of the list.

    Raises:
        CorruptFileError: The file cannot be read, or a line is not a checksum and a safe name.
    """
    out: dict[str, str] = {}
    try:
        lines = read_text(path, "Download it again.").splitlines()
    except LayoutError as error:
        raise CorruptFileError(str(error)) from error
    for number, line in enumerate(lines, start=1):
        digest, _, name = line.strip().partition(" ")
        name = name.lstrip(" *")
        if not line.strip():
            continue
        safe = not (
            PurePosixPath(name).is_absolute()
            or ".." in PurePosixPath(name).parts
            or ":" in name
            or "\0" in name
        )
        if (
            len(digest) != 64
            or set(digest.lower()) - set("0123456789abcdef")
            or not name
            or not safe
        ):
            raise CorruptFileError(
                f"{path}, line {number}: {line[:80]!r} is not a sha256 and a name. Download it "
                "again."
            )
        out[name] = digest.lower()
    return out


def damaged(root: Path) -> Iterator[str]:
    """Try to read every file of a known kind.

    Args:
        root: The folder.

    Yields:
        A message for each file that cannot be read.
    """
    readers = _readers()
    for path in visible_files(root):
        read = next((read for end, read in readers.items() if path.name.endswith(end)), None)
        if read is None:
            continue
        try:
            read(path)
        except EtabError as error:
            yield str(error)


def _readers() -> Mapping[str, Callable[[Path], object]]:
    from etab.readers.audio import read_wav, wav_info
    from etab.readers.still import read_still
    from etab.readers.video import read_video
    from etab.readers.volume import read_volume

    return {
        ".avi": read_video,
        ".dcm": _read_object,
        ".png": read_still,
        ".wav": lambda path: read_wav(path, rate=wav_info(path).rate),
        ".nii.gz": read_volume,
        ".nii": read_volume,
        ".mhd": read_volume,
    }


def _read_object(path: Path) -> None:
    """Read the pictures of a DICOM object; reports and other objects may have none."""
    from etab.readers.dicom import dicom_info, read_dicom

    if dicom_info(path).rows:
        read_dicom(path)


def _compare(
    root: Path,
    published: Mapping[str, str],
    lists: Lists,
) -> None:
    with ThreadPoolExecutor(min(4, allowed_cores())) as pool:
        sums = dict(
            zip(published, pool.map(lambda name: file_sha256(root / name), published), strict=True)
        )
    differing = [name for name, digest in sums.items() if digest not in (published[name], ABSENT)]
    other_line_ends = [
        name for name in differing if published[name] in _with_other_ends(root / name)
    ]
    lists.altered += [str(root / name) for name in differing if name not in other_line_ends]
    lists.remarks.append(
        f"{len(sums) - len(differing)} of {len(published)} checksums of {SUMS} agree"
    )
    if other_line_ends:
        lists.remarks.append(
            f"{len(other_line_ends)} text files have other line ends than published and the same "
            "words, "
            f"first {other_line_ends[0]}"
        )


def _with_other_ends(path: Path) -> Iterable[str]:
    """Checksums of a small text file with the line ends of Windows and of Unix."""
    if path.suffix not in _TEXT or path.stat().st_size > _LARGEST_TEXT:
        return ()
    plain = path.read_bytes().replace(b"\r\n", b"\n")
    return [hashlib.sha256(plain.replace(b"\n", end)).hexdigest() for end in (b"\n", b"\r\n")]


def _record_lists(root: Path) -> list[Path]:
    return [path for path in (root / RECORDS, *visible(root, f"*/{RECORDS}")) if path.is_file()]


def _lines(table: Path, lists: Lists) -> list[str]:
    try:
        names = [line.strip() for line in read_text_file(table).splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        lists.altered.append(f"{table} cannot be read: {error}")
        return []
    return [
        name
        for name in names
        if ".." not in PurePosixPath(name).parts and not PurePosixPath(name).is_absolute()
    ]
