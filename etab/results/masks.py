"""The predicted masks of a cell, in one file beside its record, from which overlaps follow.

A file is an ordinary ``.npz`` of three arrays that numpy reads without etab:

* ``shape`` (n, 2): height and width of each mask;
* ``box`` (n, 4): top, left, height and width of the smallest box around its pixels;
* ``bits``: the boxes one after another, their rows packed into bytes by
  ``numpy.packbits(..., axis=1)``.

Masks are in the order of the table of predictions. A file may come from an unknown source: it is
read mask by mask, and only as far as its sizes allow.
"""

from __future__ import annotations

import hashlib
import io
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from etab.errors import ResultError, UnsupportedOptionError
from etab.types import Array

Keep = Literal["all", "sample", "none"]
"""Which masks are written beside a record.

"all" writes the masks of every row, and the stated sample in a second file for folders that are
published without the rest. "sample" writes only the sample, "none" writes no masks.
"""

KEEP: tuple[Keep, ...] = ("all", "sample", "none")

SAMPLE = 20
"""Number of rows in the stated sample of a cell."""

# Limits of a file: its bytes, the side of a mask, and the pixels of all masks.
LARGEST_MASKS = 64 << 20
LARGEST_SIDE = 4096
MOST_PIXELS = 1 << 33

_MEMBERS = ("shape.npy", "box.npy", "bits.npy")
# The record at the end of a zip file without a comment.
_END = struct.Struct("<4s4H2LH")
# Largest size of the directory of a zip file in bytes.
_LARGEST_DIRECTORY = 4096
# What zipfile and numpy raise where a file is damaged. RuntimeError is of a member with a password,
# NotImplementedError of a compression that zipfile does not read.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    ValueError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    struct.error,
)


def keep_named(name: str) -> Keep:
    """Check the option that decides which masks are written.

    Args:
        name: "all", "sample" or "none".

    Returns:
        The name.

    Raises:
        UnsupportedOptionError: For another name.
    """
    for keep in KEEP:
        if name == keep:
            return keep
    raise UnsupportedOptionError(f"keep_masks is {name!r}; possible: {', '.join(KEEP)}.")


def mask_digest(mask: Array) -> str:
    """Digest one mask.

    Args:
        mask: Boolean (h, w).

    Returns:
        Sha256 of "HEIGHT WIDTH", a line feed, and ``numpy.packbits(mask)``.
    """
    height, width = mask.shape
    size = f"{height} {width}\n".encode()
    pixels = np.packbits(mask).tobytes()
    return hashlib.sha256(size + pixels).hexdigest()


def joint_digest(digests: Sequence[str]) -> str:
    """Digest all masks of a cell: sha256 of their digests in order, with a line feed after each."""
    lines = "".join(f"{digest}\n" for digest in digests)
    return hashlib.sha256(lines.encode()).hexdigest()


def sample_rows(items: Sequence[str], repeats: Sequence[int]) -> list[int]:
    """Select the rows of the stated sample, which nobody can choose.

    Args:
        items: Names of the rows of a table of predictions.
        repeats: The division into folds that each row belongs to.

    Returns:
        The indexes, in ascending order, of the 20 rows whose "ITEM REPEAT" has the smallest
        sha256. The rows are the same for every backbone.
    """
    return list(_sample_rows(tuple(items), tuple(repeats)))


@lru_cache(maxsize=256)
def _sample_rows(items: tuple[str, ...], repeats: tuple[int, ...]) -> tuple[int, ...]:
    """The rows of the sample, found once for the tables of all backbones."""

    def key(row: int) -> bytes:
        name = f"{items[row]} {repeats[row]}"
        return hashlib.sha256(name.encode()).digest()

    by_digest = sorted(range(len(items)), key=key)
    return tuple(sorted(by_digest[:SAMPLE]))


def mask_facts(
    items: Sequence[str],
    repeats: Sequence[int],
    digests: Sequence[str],
) -> dict[str, Any]:
    """Make the facts of a record about the masks of its cell.

    Args:
        items: Names of the rows.
        repeats: The division into folds that each row belongs to.
        digests: The digest of the mask of each row.

    Returns:
        "sha256" of all masks, and "sample": [item, repeat, sha256] of each row of the sample.
    """
    sample = [[items[i], repeats[i], digests[i]] for i in sample_rows(items, repeats)]
    return {"sha256": joint_digest(digests), "sample": sample}


def masks_path(record: Path, keep: Keep) -> Path:
    """Make the path of the masks beside a record.

    Args:
        record: Path of the record.
        keep: "all" for ``NAME.masks.npz``, otherwise ``NAME.masks-sample.npz``.
    """
    suffix = ".masks.npz" if keep == "all" else ".masks-sample.npz"
    return record.with_suffix(suffix)


def packed_masks(masks: Sequence[Array]) -> bytes:
    """Make the content of a file of masks.

    Args:
        masks: Boolean masks (h, w), of any sizes.

    Returns:
        The bytes of the file; equal masks give equal bytes with one version of zlib.

    Example:
        >>> import numpy as np
        >>> content = packed_masks([np.eye(3, dtype=bool)])
        >>> np.load(io.BytesIO(content))["box"].tolist()
        [[0, 0, 3, 3]]
    """
    shapes = []
    boxes = []
    bits = [np.empty(0, dtype=np.uint8)]
    for mask in masks:
        box = _box(mask)
        rows = np.packbits(_inside(mask, box), axis=1)
        shapes.append(mask.shape)
        boxes.append(box)
        bits.append(rows.ravel())
    out = io.BytesIO()
    np.savez_compressed(
        out,
        shape=np.array(shapes, dtype=np.uint16).reshape(-1, 2),
        box=np.array(boxes, dtype=np.uint16).reshape(-1, 4),
        bits=np.concatenate(bits),
    )
    return out.getvalue()


def _box(mask: Array) -> tuple[int, int, int, int]:
    """Top, left, height and width of the smallest box around the pixels; zeros where none is."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return (0, 0, 0, 0)
    top = int(rows[0])
    left = int(columns[0])
    height = int(rows[-1]) + 1 - top
    width = int(columns[-1]) + 1 - left
    return (top, left, height, width)


def _inside(mask: Array, box: Sequence[int]) -> Array:
    """The part of a mask in a box, as a view."""
    top, left, height, width = box
    return mask[top : top + height, left : left + width]


def read_masks(path: Path, n_rows: int) -> Iterator[Array]:
    """Read a file of masks, one mask at a time.

    Everything is checked: the file is a zip file of three arrays whose sizes agree with each other
    and with the number of rows, no mask is larger than 4096 pixels a side, and no more bytes are
    decompressed than these sizes need.

    Args:
        path: The file; the caller has checked that it is regular and not too large.
        n_rows: Number of masks that it must hold.

    Yields:
        Boolean masks (h, w).

    Raises:
        ResultError: If the file cannot be read, or is not such a file.
    """
    if not path.is_file():
        raise ResultError(f"{path.name} is not an ordinary file.")
    try:
        with path.open("rb") as handle:
            _refuse_other_end(handle)
            with zipfile.ZipFile(handle) as archive:
                yield from _unpacked(archive, n_rows)
    except OSError as error:
        reason = error.strerror or error
        raise ResultError(f"{path.name} cannot be read ({reason}).") from error
    except _DAMAGE as error:
        reason = str(error)[:200]  # zipfile prints names of members, which a stranger chooses
        raise ResultError(
            f"{path.name} is not a file of masks, or is damaged: {reason}."
        ) from error


def _refuse_other_end(handle: IO[bytes]) -> None:
    """Refuse a zip file with more than three members before its directory is read."""
    handle.seek(0, io.SEEK_END)
    size = handle.tell()
    handle.seek(max(size - _END.size, 0))
    end = handle.read(_END.size)
    mark, _, _, _, members, directory, _, comment = _END.unpack(end)
    if mark != b"PK\x05\x06" or comment:
        raise ValueError("it does not end as a zip file does")
    if members != len(_MEMBERS) or directory > _LARGEST_DIRECTORY:
        raise ValueError(f"it has {members} members; wanted {', '.join(_MEMBERS)}")


def _unpacked(archive: zipfile.ZipFile, n_rows: int) -> Iterator[Array]:
    """The masks of an open file, one at a time."""
    members = {member.filename: member for member in archive.infolist()}
    if set(members) != set(_MEMBERS):
        raise ValueError(f"its members are not {', '.join(_MEMBERS)}")
    methods = {member.compress_type for member in members.values()}
    if not methods <= {zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED}:
        raise ValueError("it is compressed otherwise than by deflate")
    shapes = _array(archive, "shape.npy", np.uint16, (n_rows, 2)).astype(np.int64)
    boxes = _array(archive, "box.npy", np.uint16, (n_rows, 4)).astype(np.int64)
    _refuse_sizes(shapes, boxes)
    heights = boxes[:, 2]
    bytes_of_row = (boxes[:, 3] + 7) // 8
    n_bytes = heights * bytes_of_row
    with archive.open("bits.npy") as stream:
        _refuse_header(stream, "bits.npy", np.uint8, (int(n_bytes.sum()),))
        rows = zip(shapes.tolist(), boxes.tolist(), n_bytes.tolist(), strict=True)
        for shape, box, length in rows:
            content = _exactly(stream, length)
            yield _unpacked_mask(shape, box, content)
        if stream.read(1):
            raise ValueError("bits.npy is longer than its masks")


def _refuse_sizes(shapes: Array, boxes: Array) -> None:
    """Refuse masks that are too large, and boxes outside of their masks."""
    if not len(shapes):
        return
    if shapes.min() < 1 or shapes.max() > LARGEST_SIDE:
        raise ValueError(f"a mask has a side of {shapes.max()} pixels; wanted 1 to {LARGEST_SIDE}")
    if shapes.prod(axis=1).sum() > MOST_PIXELS:
        raise ValueError(f"its masks have more than {MOST_PIXELS} pixels together")
    ends = boxes[:, :2] + boxes[:, 2:]
    if (ends > shapes).any():
        raise ValueError("a box lies outside of its mask")


def _unpacked_mask(
    shape: Sequence[int],
    box: Sequence[int],
    content: bytes,
) -> Array:
    """A mask from the packed rows of its box."""
    mask = np.zeros(tuple(shape), dtype=bool)
    _, _, height, width = box
    bytes_of_row = (width + 7) // 8
    rows = np.frombuffer(content, dtype=np.uint8).reshape(height, bytes_of_row)
    bits = np.unpackbits(rows, axis=1, count=width)
    _inside(mask, box)[:] = bits.astype(bool)
    return mask


def _array(
    archive: zipfile.ZipFile,
    name: str,
    dtype: Any,
    shape: tuple[int, ...],
) -> Array:
    """Read a whole array of a known type and shape."""
    kind = np.dtype(dtype)
    length = int(np.prod(shape)) * kind.itemsize
    with archive.open(name) as stream:
        _refuse_header(stream, name, dtype, shape)
        content = _exactly(stream, length)
        if stream.read(1):
            raise ValueError(f"{name} is longer than its header states")
    numbers = np.frombuffer(content, dtype=kind.newbyteorder("<"))
    return numbers.reshape(shape)


def _refuse_header(
    stream: IO[bytes],
    name: str,
    dtype: Any,
    shape: tuple[int, ...],
) -> None:
    """Read the header of an array, and refuse one of another type, order or shape."""
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError(f"{name} has another version of the format than 1.0")
    try:
        stated, fortran, kind = np.lib.format.read_array_header_1_0(stream)
    except (SyntaxError, tokenize.TokenError) as error:
        raise ValueError(f"{name} has a header that is none: {error}") from error
    wanted = np.dtype(dtype)
    is_turned = fortran and len(shape) > 1
    if kind != wanted or is_turned or stated != shape:
        raise ValueError(f"{name} is {kind} {stated}; wanted {wanted} {shape}")


def _exactly(stream: IO[bytes], length: int) -> bytes:
    """Read so many bytes, or raise EOFError."""
    content = stream.read(length)
    if len(content) < length:
        raise EOFError("an array ends too early")
    return content
