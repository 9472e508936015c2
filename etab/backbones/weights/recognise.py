"""Recognition of files without weights: HTML pages, Git LFS pointers, archives of other files."""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path

from etab.errors import CorruptFileError, LayoutError, WeightsError
from etab.files import is_bomb, open_regular
from etab.readers.regular import require_regular
from etab.readers.signatures import HEAD_BYTES, LFS, kind_of_content

# What zipfile raises where an archive is damaged or of an unknown version.
_DAMAGED_ZIP = (zipfile.BadZipFile, NotImplementedError, OSError, ValueError)
# torch.save writes one of these into its archive.
_OF_TORCH = ("data.pkl", "constants.pkl", "code/")


def require_file(path: Path, absent: str) -> None:
    """Check that the file that the name of a backbone holds is an ordinary file.

    Args:
        path: The file.
        absent: The sentence to print if there is none.

    Raises:
        WeightsError: There is no such file.
        CorruptFileError: The path leads to a folder, a pipe or a device, no file could have such a
            name, or the file begins with zeros. Such a file may be large, and is not read further.

    Example:
        >>> require_file(Path("absent.pth"), "There is no weights file absent.pth.")
        Traceback (most recent call last):
            ...
        etab.errors.WeightsError: There is no weights file absent.pth.
    """
    try:
        size = require_regular(path, "Name the file itself.")
    except LayoutError as error:
        raise WeightsError(absent) from error
    with open_regular(path) as file:
        begins_with_zeros = size and not any(file.read(HEAD_BYTES))
    if begins_with_zeros:
        raise CorruptFileError(
            f"{path} begins with zeros, as a download that was stopped leaves it ({size:,} bytes). "
            "Download or write it again."
        )


def not_weights(path: Path) -> str:
    """Explain why a file cannot hold weights, with the next step.

    Args:
        path: A file.

    Returns:
        The explanation, or "" where the file may hold weights.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "weights.pth"
        ...     _ = path.write_text("<!DOCTYPE html><html></html>")
        ...     print(not_weights(path).partition(". ")[0].replace(str(path), "weights.pth"))
        weights.pth holds no weights: it is an HTML page of 28 bytes
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(HEAD_BYTES)
    kind = _kind(path, start)
    if not kind:
        return ""
    step = "Download the weights again, from the address of the file itself"
    if start.startswith(LFS):
        step = "Fetch the file itself with `git lfs pull`, or download it from its page"
    elif "archive" in kind:
        step = "Unpack it, and name the file of weights inside"
    return f"{path} holds no weights: it is {kind} of {size} bytes. {step}."


def is_torchscript(path: Path) -> bool:
    """Whether a file is a TorchScript program, which holds code beside weights.

    Args:
        path: A file.
    """
    try:
        if not _is_whole_archive(path):
            return False
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except _DAMAGED_ZIP:
        return False
    is_program = any("/code/" in name for name in names)
    return is_program and any(name.endswith("/constants.pkl") for name in names)


def is_cut_archive(path: Path) -> bool:
    """Whether a file begins as an archive of ``torch.save`` and lacks the list at its end.

    Args:
        path: A file.
    """
    with path.open("rb") as file:
        begins = file.read(2) == b"PK"
    return begins and not _is_whole_archive(path)


def unpacked_bomb(path: Path) -> int:
    """Bytes that an archive claims to unpack to, where they are far more than it has; otherwise 0.

    ``torch.save`` packs nothing.

    Args:
        path: A file.
    """
    try:
        if not _is_whole_archive(path):
            return 0
        with zipfile.ZipFile(path) as archive:
            claimed = sum(member.file_size for member in archive.infolist())
    except _DAMAGED_ZIP:
        return 0
    return claimed if is_bomb(claimed, path.stat().st_size) else 0


def _is_whole_archive(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except _DAMAGED_ZIP:  # the archive claims to span several disks
        return False


def is_pickle(path: Path) -> bool:
    """Whether a file begins with a complete pickle, or is an archive that may hold one.

    The pickle is not run.

    Args:
        path: A file.
    """
    with path.open("rb") as file:
        if file.read(2) == b"PK":
            return True
        file.seek(0)
        try:
            for _ in pickletools.genops(file):
                pass
        except Exception:  # bytes at random stop the parser in many ways
            return False
    return True


def _kind(path: Path, start: bytes) -> str:
    """The kind of a file by its first bytes; "" if it may hold weights."""
    kind = kind_of_content(start)
    if kind:
        return kind
    if start.startswith(b"PK"):
        return _kind_of_zip(path)
    return "text" if _is_text(start) else ""


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except _DAMAGED_ZIP:
        # Not another kind of file but a damaged one: the reader of weights names the damage.
        return ""
    if any(mark in name for name in names for mark in _OF_TORCH):
        return ""
    listed = ", ".join(names[:3]) or "no files"
    return f"a zip archive of other files ({listed})"


def _is_text(start: bytes) -> bool:
    """Whether the first bytes are readable text. A pickle of protocol 0 is text and ends in '.'."""
    if start.rstrip().endswith(b".") or start.startswith((b"(", b"c")):
        return False
    try:
        text = start.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in text)
