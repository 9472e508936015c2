"""The file beside a record that holds its predictions: CSV, or CSV compressed by gzip.

Runs write plain CSV. Published folders hold the large tables of repeated folds compressed, which
takes about a third of the space. The sha256 in a record is always of the CSV text.
"""

from __future__ import annotations

import errno
import gzip
import zlib
from pathlib import Path

from etab.files import largest_unpacked, read_file
from etab.storage.atomic import write_atomically

_LARGEST = 256 << 20


def table_path(record: Path) -> Path:
    """Find the predictions of a record.

    Args:
        record: The JSON file of a result.

    Returns:
        The compressed table where there is no plain one, else the plain table, which may be absent.
    """
    plain = record.with_suffix(".csv")
    if plain.exists():
        return plain
    packed = record.with_suffix(".csv.gz")
    return packed if packed.exists() else plain


def read_regular(path: Path) -> bytes:
    """Read a regular file of at most 256 MiB.

    Raises:
        OSError: For a pipe, a device, a folder, a file that cannot be read, or a larger file.
    """
    return read_file(path, _LARGEST)


def read_table_bytes(path: Path) -> bytes:
    """Read a table of predictions, decompressed where the file is compressed.

    Args:
        path: What ``table_path`` returned.

    Returns:
        The CSV text as bytes, at most 256 MiB.

    Raises:
        OSError: If the file is not regular, cannot be read, is damaged, is larger than 256 MiB when
            decompressed, or larger than ``largest_unpacked`` allows for its size.
    """
    data = read_regular(path)
    if path.suffix != ".gz":
        return data
    largest = min(_LARGEST, largest_unpacked(len(data)))
    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        text = decompressor.decompress(data, largest)
    except zlib.error as error:
        raise OSError(errno.EIO, f"it is not a gzip file or damaged: {error}") from error
    if decompressor.unconsumed_tail:
        raise OSError(errno.EFBIG, f"it holds more than {largest >> 20} MiB")
    if not decompressor.eof or decompressor.unused_data:
        raise OSError(errno.EIO, "it is cut short, or more follows the gzip data")
    return text


def compress_tables(folder: Path, *, every: bool = False) -> int:
    """Replace the tables of repeated folds in a folder of results by compressed ones.

    Args:
        folder: A folder of results.
        every: Compress the tables of a single division, too.

    Returns:
        How many tables were compressed.
    """
    count = 0
    for record in sorted(folder.rglob("*.json")):
        plain = record.with_suffix(".csv")
        if not plain.is_file():
            continue
        data = read_regular(plain)
        is_repeated = b",repeat," in data.split(b"\n", 1)[0]
        if not (every or is_repeated):
            continue
        write_atomically(record.with_suffix(".csv.gz"), gzip.compress(data, 9, mtime=0))
        plain.unlink()
        count += 1
    return count
