"""The predicted masks of a cell, in one file beside its record, so that overlap can be computed anew.

A file is an ordinary ``.npz`` of three arrays that numpy reads without etab: ``shape`` (n, 2), the
height and width of each mask; ``box`` (n, 4), the top, left, height and width of the smallest box
around its pixels; and ``bits``, the boxes one after another, their rows packed into bytes by
``numpy.packbits(..., axis=1)``. Masks stand in the order of the table of predictions.

A file may come from a stranger: it is read mask by mask, and only as far as its sizes allow.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from etab.errors import ResultError, UnsupportedOptionError
from etab.types import Array

Keep = Literal["all", "sample", "none"]
"""Which masks are written beside a record: those of every row (and the stated sample in a file of its
own, for folders that are published without the rest), of the sample alone, or none."""

KEEP: tuple[Keep, ...] = ("all", "sample", "none")

SAMPLE = 20
"""Number of rows in the stated sample of a cell."""

LARGEST_MASKS = 64 << 20
LARGEST_SIDE = 4096
MOST_PIXELS = 1 << 33

_MEMBERS = ("shape.npy", "box.npy", "bits.npy")
_END = struct.Struct("<4s4H2LH")  # the record that closes a zip file without a comment
_LARGEST_DIRECTORY = 4096
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
    """Check a choice of which masks are kept.

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
    size = f"{mask.shape[0]} {mask.shape[1]}\n".encode()
    return hashlib.sha256(size + np.packbits(mask).tobytes()).hexdigest()


def joint_digest(digests: Sequence[str]) -> str:
    """Digest all masks of a cell: sha256 of their digests in order, with a line feed after each."""
    return hashlib.sha256("".join(f"{digest}\n" for digest in digests).encode()).hexdigest()


def sample_rows(items: Sequence[str], repeats: Sequence[int]) -> list[int]:
    """Select the rows of the stated sample, which nobody can choose.

    Args:
        items: Names of the rows of a table of predictions.
        repeats: The division into folds that each row belongs to.

    Returns:
        The indexes, in ascending order, of the 20 rows whose "ITEM REPEAT" has the smallest
        sha256. The rows are the same for every backbone.
    """

    def key(row: int) -> str:
        return hashlib.sha256(f"{items[row]} {repeats[row]}".encode()).hexdigest()

    return sorted(sorted(range(len(items)), key=key)[:SAMPLE])


def mask_facts(
    items: Sequence[str],
    repeats: Sequence[int],
    digests: Sequence[str],
) -> dict[str, Any]:
    """Put together what a record holds of the masks of its cell.

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
    """Path of the masks beside a record: ``NAME.masks.npz`` or ``NAME.masks-sample.npz``."""
    return record.with_suffix(".masks.npz" if keep == "all" else ".masks-sample.npz")


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
    boxes = [_box(mask) for mask in masks]
    bits = [
        np.packbits(_inside(mask, box), axis=1).ravel()
        for mask, box in zip(masks, boxes, strict=True)
    ]
    out = io.BytesIO()
    np.savez_compressed(
        out,
        shape=np.array([mask.shape for mask in masks], dtype=np.uint16).reshape(-1, 2),
        box=np.array(boxes, dtype=np.uint16).reshape(-1, 4),
        bits=np.concatenate([np.empty(0, dtype=np.uint8), *bits]),
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
    return (top, left, int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left)


def _inside(mask: Array, box: Sequence[int]) -> Array:
    top, left, height, width = box
    return mask[top : top + height, left : left + width]


def read_masks(path: Path, n_rows: int) -> Iterator[Array]:
    """Read a file of masks, one mask at a time.

    Nothing is believed: the file is a zip file of three arrays whose sizes agree with each other
    and with the number of rows, no mask is larger than 4096 pixels a side, and no byte is
    decompressed beyond what these sizes need.

    Args:
        path: The file; the caller has made sure that it is regular and not too large.
        n_rows: Number of masks that it must hold.

    Yields:
        Boolean masks (h, w).

    Raises:
        ResultError: If the file cannot be read, or is not such a file.
    """
    try:
        with path.open("rb") as handle:
            _refuse_other_end(handle)
            with zipfile.ZipFile(handle) as archive:
                yield from _unpacked(archive, n_rows)
    except OSError as error:
        reason = error.strerror or error
        raise ResultError(f"{path.name} cannot be read ({reason}).") from error
    except _DAMAGE as error:
        raise ResultError(f"{path.name} is no file of masks, or is damaged: {error}.") from error


def _refuse_other_end(handle: IO[bytes]) -> None:
    """Refuse a zip file with more than three members before its directory is read."""
    handle.seek(0, io.SEEK_END)
    handle.seek(max(handle.tell() - _END.size, 0))
    mark, _, _, _, members, directory, _, comment = _END.unpack(handle.read(_END.size))
    if mark != b"PK\x05\x06" or comment:
        raise ValueError("it does not end as a zip file does")
    if members != len(_MEMBERS) or directory > _LARGEST_DIRECTORY:
        raise ValueError(f"it has {members} members; wanted {', '.join(_MEMBERS)}")


def _unpacked(archive: zipfile.ZipFile, n_rows: int) -> Iterator[Array]:
    members = {member.filename: member for member in archive.infolist()}
    if set(members) != set(_MEMBERS):
        raise ValueError(f"its members are not {', '.join(_MEMBERS)}")
    if any(
        m.compress_type not in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED) for m in members.values()
    ):
        raise ValueError("it is compressed otherwise than by deflate")
    shapes = _array(archive, "shape.npy", np.uint16, (n_rows, 2)).astype(np.int64)
    boxes = _array(archive, "box.npy", np.uint16, (n_rows, 4)).astype(np.int64)
    _refuse_sizes(shapes, boxes)
    n_bytes = boxes[:, 2] * ((boxes[:, 3] + 7) // 8)
    with archive.open("bits.npy") as stream:
        _refuse_header(stream, "bits.npy", np.uint8, (int(n_bytes.sum()),))
        for shape, box, length in zip(
            shapes.tolist(), boxes.tolist(), n_bytes.tolist(), strict=True
        ):
            yield _unpacked_mask(shape, box, _exactly(stream, length))
        if stream.read(1):
            raise ValueError("bits.npy is longer than its masks")


def _refuse_sizes(shapes: Array, boxes: Array) -> None:
    if not len(shapes):
        return
    if shapes.min() < 1 or shapes.max() > LARGEST_SIDE:
        raise ValueError(f"a mask has a side of {shapes.max()} pixels; wanted 1 to {LARGEST_SIDE}")
    if shapes.prod(axis=1).sum() > MOST_PIXELS:
        raise ValueError(f"its masks have more than {MOST_PIXELS} pixels together")
    if (boxes[:, :2] + boxes[:, 2:] > shapes).any():
        raise ValueError("a box lies outside of its mask")


def _unpacked_mask(
    shape: Sequence[int],
    box: Sequence[int],
    content: bytes,
) -> Array:
    mask = np.zeros(tuple(shape), dtype=bool)
    _, _, height, width = box
    rows = np.frombuffer(content, dtype=np.uint8).reshape(height, (width + 7) // 8)
    _inside(mask, box)[:] = np.unpackbits(rows, axis=1, count=width).astype(bool)
    return mask


def _array(
    archive: zipfile.ZipFile,
    name: str,
    dtype: Any,
    shape: tuple[int, ...],
) -> Array:
    """Read a whole array of a known type and shape."""
    with archive.open(name) as stream:
        _refuse_header(stream, name, dtype, shape)
        content = _exactly(stream, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        if stream.read(1):
            raise ValueError(f"{name} is longer than it says")
    return np.frombuffer(content, dtype=np.dtype(dtype).newbyteorder("<")).reshape(shape)


def _refuse_header(
    stream: IO[bytes],
    name: str,
    dtype: Any,
    shape: tuple[int, ...],
) -> None:
    """Read the header of an array, and refuse one of another type, order or shape."""
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError(f"{name} has another version of the format than 1.0")
    stated, fortran, kind = np.lib.format.read_array_header_1_0(stream)
    if kind != np.dtype(dtype) or (fortran and len(shape) > 1) or stated != shape:
        raise ValueError(f"{name} is {kind} {stated}; wanted {np.dtype(dtype)} {shape}")


def _exactly(stream: IO[bytes], length: int) -> bytes:
    content = stream.read(length)
    if len(content) < length:
        raise EOFError("an array ends too early")
    return content
