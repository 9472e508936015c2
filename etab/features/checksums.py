"""Checksums of the files of entries, against damage: maps of gigabytes need a fast one."""

from __future__ import annotations

from pathlib import Path

import xxhash

from etab.files import open_regular

_BLOCK = 1 << 22


def checksum(path: Path) -> str:
    """Compute the checksum of a file (xxh3, 128 bits), as hexadecimal digits.

    Args:
        path: The file.

    Raises:
        OSError: It cannot be read, or is not a regular file.
    """
    digest = xxhash.xxh3_128()
    with open_regular(path) as handle:
        while block := handle.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


class SummedFile:
    """A new file whose checksum is computed from what is written, not by reading it again.

    Attributes:
        path: The file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = SummedFile(Path(folder) / "map0.npy")
        ...     file.write(b"first row")
        ...     file.close()
        ...     file.checksum == checksum(file.path)
        True
    """

    def __init__(self, path: Path) -> None:
        """Create the file, or empty it."""
        self.path = path
        self._file = path.open("wb")
        self._digest = xxhash.xxh3_128()

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes.

        Args:
            data: Bytes, or the memory of an array in C order.

        Raises:
            OSError: The disk refuses.
        """
        self._file.write(data)
        self._digest.update(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def checksum(self) -> str:
        """Checksum of everything written so far."""
        return self._digest.hexdigest()
