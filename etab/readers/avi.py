"""The RIFF structure of AVI files: stream facts, and where the bytes of each frame lie.

Only the header, the index and the chunks asked for are read. Where the index is absent or does not
point at frames, the frames are found by walking the chunks. Sources: Microsoft's AVI RIFF
reference; OpenDML 1.02 for files of many RIFFs.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np

from etab.errors import CorruptFileError, LayoutError
from etab.types import Array

MAX_VIDEO_SIDE = 8192
MAX_CLIP_BYTES = 1 << 29
"""Grey pixels of a video that are decoded at once. Entries of an index may all point at one frame."""
_BLOCK = 8192
_MODE = (
    os.O_RDONLY
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_PREAD = getattr(os, "pread", None)
_HEAD = struct.Struct("<4sI")
_DEPTH = 4
_FRAME = (b"dc", b"db")
_LISTS = (b"RIFF", b"LIST")
_OPEN_SIZES = (0, 0xFFFFFFFF)
_NEAR = 1.5


def corrupt_video(
    path: Path,
    fault: str,
    then: str = "Download it again, or restore it as published.",
) -> CorruptFileError:
    """Build the error of a video file that exists and cannot be read.

    Args:
        path: The file.
        fault: The fault of the file, as part of a sentence.
        then: The next step for the user.
    """
    return CorruptFileError(f"{path} cannot be read: {fault}. {then}")


class Bytes:
    """The bytes of a file by position. Nothing is mapped: a failing disk is an error, never a
    signal.
    """

    def __init__(self, path: Path) -> None:
        """Name the file; it is opened by ``with``, which raises LayoutError or CorruptFileError."""
        self.path = path
        self.size = 0
        self._first = b""
        self._start = 0
        self._block = b""

    def __enter__(self) -> Bytes:
        try:
            self._number = os.open(self.path, _MODE)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise _missing(self.path) from error
        except (OSError, ValueError) as error:
            raise corrupt_video(self.path, f"it is unreadable ({error})") from error
        try:
            facts = os.fstat(self._number)
            if not stat.S_ISREG(facts.st_mode):
                raise _missing(self.path)
            self.size = facts.st_size
            self._first = self._block = self.exact(0, _BLOCK)
            if not self._block:
                raise corrupt_video(self.path, "it is empty")
        except BaseException:
            os.close(self._number)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        os.close(self._number)

    def read(self, offset: int, n: int) -> bytes:
        """Read ``n`` bytes starting at ``offset``, or fewer at the end of the file.

        The first and the latest small block are kept in memory.
        """
        if offset >= 0 and offset + n <= len(self._first):
            return self._first[offset : offset + n]
        lead = offset - self._start
        if lead >= 0 and lead + n <= len(self._block):
            return self._block[lead : lead + n]
        if n >= _BLOCK:
            return self.exact(offset, n)
        self._start, self._block = offset, self.exact(offset, _BLOCK)
        return self._block[:n]

    def exact(self, offset: int, n: int) -> bytes:
        """Read ``n`` bytes starting at ``offset``, unbuffered, or as many as the file has."""
        n = min(n, max(self.size - offset, 0))
        try:
            if _PREAD is not None:
                return bytes(_PREAD(self._number, n, offset))
            os.lseek(self._number, offset, os.SEEK_SET)
            return os.read(self._number, n)
        except (OSError, OverflowError) as error:
            raise corrupt_video(self.path, f"the disk refuses ({error})") from error

    def each(self, rows: Sequence[Sequence[int]]) -> Sequence[bytes | memoryview]:
        """Read rows of (start, size), those that follow each other at once; raises CorruptFileError
        for one beyond the file.

        With other bytes between them they are read one by one: copying what is skipped takes longer
        than asking again.
        """
        if not rows:
            return []
        begin = self.size
        end = 0
        total = 0
        for offset, size in rows:
            begin = offset if offset < begin else begin
            end = offset + size if offset + size > end else end
            total = total + size
        if begin < 0 or end > self.size:
            raise corrupt_video(self.path, "its index leads beyond its end")
        if end - begin <= _NEAR * total:
            block = memoryview(self.exact(begin, end - begin))
            return [block[offset - begin : offset - begin + size] for offset, size in rows]
        if _PREAD is None:
            return [self.exact(offset, size) for offset, size in rows]
        try:
            return [_PREAD(self._number, size, offset) for offset, size in rows]
        except (OSError, OverflowError) as error:
            raise corrupt_video(self.path, f"the disk refuses ({error})") from error


def _missing(path: Path) -> LayoutError:
    return LayoutError(f"{path} is missing. Restore it, or leave out its recording.")


@dataclass(slots=True)
class Avi:
    """Facts in the header of an AVI about its first stream of video.

    ``movi`` holds (start, size) of each list of frames, ``index`` that of idx1. ``n_frames`` is 0
    where the header leaves their number open, ``stream`` is the number of the stream, -1 where no
    header names one.
    """

    n_frames: int = 0
    fps: float = 0.0
    height: int = 0
    width: int = 0
    codec: str = ""
    movi: list[tuple[int, int]] = field(default_factory=list)
    index: tuple[int, int] = (0, 0)
    text: dict[str, str] = field(default_factory=dict)
    stream: int = -1


def parse_avi(data: Bytes, *, text: bool = True) -> Avi | None:
    """Parse the headers and lists of an AVI file.

    Args:
        data: The file.
        text: Whether to read the INFO texts too.

    Returns:
        The headers, or None if the file is not an AVI.

    Raises:
        CorruptFileError: The file is damaged.
    """
    head = data.read(0, 12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"AVI ":
        return None
    avi = Avi()
    for name, start, size in _chunks(data, 0, data.size):
        if name == b"RIFF" and (not avi.movi or data.read(start, 4) == b"AVIX"):
            for chunk in _chunks(data, start + 4, start + size):
                _part(data, avi, chunk, text)
                if not text and chunk[0] == b"idx1":
                    break
    if not avi.movi:
        raise corrupt_video(data.path, "it holds no frames")
    if not (0 < avi.height <= MAX_VIDEO_SIDE and 0 < avi.width <= MAX_VIDEO_SIDE):
        raise corrupt_video(
            data.path, f"its header claims frames of {avi.width} x {avi.height} pixels"
        )
    return avi


def spans(data: Bytes, avi: Avi) -> Array:
    """Locate the bytes of each frame: by the index if it is consistent, else frame by frame.

    Args:
        data: The file.
        avi: Its headers.

    Returns:
        (n, 2) offset and size.

    Raises:
        CorruptFileError: The file has fewer frames than its header states.
    """
    rows = _indexed(data, avi)
    if rows is None or len(rows) < avi.n_frames:
        rows = np.array(list(_walked(data, avi)), dtype=np.int64).reshape(-1, 2)
    if len(rows) < max(avi.n_frames, 1):
        raise corrupt_video(
            data.path, f"its header promises {avi.n_frames} frames and {len(rows)} are there"
        )
    return rows


def payloads(
    data: Bytes,
    where: Array,
    numbers: Sequence[int],
) -> Sequence[bytes | memoryview]:
    """Read the bytes of frames; an empty chunk repeats the frame before it.

    Args:
        data: The file.
        where: (n, 2) offset and size of each frame.
        numbers: The frames to read, from 0.

    Raises:
        CorruptFileError: A frame lies beyond the end of the file.

    Source:
        The AVI RIFF file reference (Microsoft), for empty chunks.
    """
    if not where[:, 1].all():
        numbers = [_filled(where, number) for number in numbers]
    return data.each(where[list(numbers)].tolist())


def _filled(where: Array, number: int) -> int:
    while number > 0 and not where[number, 1]:
        number -= 1
    return number


def _chunks(
    data: Bytes,
    start: int,
    end: int,
) -> Iterator[tuple[bytes, int, int]]:
    """Walk RIFF chunks: name, start of the content, size.

    Writers put a placeholder in the size of a list until the recording ends: such a list goes on to
    the end of the file. Raises CorruptFileError where a chunk runs past the end.
    """
    while start + 8 <= end:
        head = data.read(start, 8)
        if len(head) < 8:
            raise corrupt_video(data.path, "it is truncated in the header of a chunk")
        name, size = _HEAD.unpack(head)
        available = data.size - start - 8
        if name in _LISTS and size in _OPEN_SIZES:
            size = available
        if size > available:
            raise _cut(data, size, available)
        yield name, start + 8, size
        start += 8 + size + size % 2


def _part(
    data: Bytes,
    avi: Avi,
    chunk: tuple[bytes, int, int],
    text: bool,
) -> None:
    name, start, size = chunk
    kind = data.read(start, 4) if name == b"LIST" else b""
    if name == b"idx1":
        avi.index = (start, size)
    elif kind == b"movi":
        avi.movi.append((start, size))
    elif kind == b"hdrl":
        _header(data, avi, start, data.read(start, size))
    elif kind == b"INFO" and text:
        for key, offset, length in _chunks(data, start + 4, start + size):
            words = data.read(offset, min(length, _BLOCK)).split(b"\0")[0]
            avi.text[key.decode("latin-1")] = words.decode("latin-1")


def _header(
    data: Bytes,
    avi: Avi,
    start: int,
    block: bytes,
) -> None:
    """Read the header list, which begins at ``start`` of the file and is ``block``: the first
    stream of video counts.

    A recording may hold sound too, and its stream may come first.
    """
    number = 0
    for name, offset, size in _parts(data, start, block):
        if name == b"LIST" and block[offset : offset + 4] == b"strl":
            if avi.stream < 0 and _stream(
                data,
                avi,
                start + offset,
                block[offset : offset + size],
            ):
                avi.stream = number
            number += 1


def _parts(
    data: Bytes,
    start: int,
    block: bytes,
) -> Iterator[tuple[bytes, int, int]]:
    """Walk the chunks of a list in memory: name, start of the content in ``block``, size."""
    offset = 4
    while offset + 8 <= len(block):
        name, size = _HEAD.unpack_from(block, offset)
        offset += 8
        if start + offset + size > data.size:
            raise _cut(data, size, data.size - start - offset)
        yield name, offset, size
        offset += size + size % 2


def _stream(
    data: Bytes,
    avi: Avi,
    start: int,
    block: bytes,
) -> bool:
    """Read the headers of one stream; whether it is one of video."""
    is_video = (
        True  # a stream without a header is taken for the picture, as the first writers left it out
    )
    for name, offset, size in _parts(data, start, block):
        if name == b"strh" and size >= 36 and offset + 36 <= len(block):
            is_video = block[offset : offset + 4] == b"vids"
            if is_video:
                scale, rate, _, length = struct.unpack_from("<4I", block, offset + 20)
                avi.fps = rate / scale if scale else 0.0
                avi.n_frames = 0 if length in _OPEN_SIZES else length
        elif name == b"strf" and is_video and size >= 20 and offset + 20 <= len(block):
            avi.width, height, _, code = struct.unpack_from("<iiI4s", block, offset + 4)
            avi.height = abs(height)
            avi.codec = code.decode("latin-1").strip("\0 ").upper()
    return is_video


def _cut(
    data: Bytes,
    promised: int,
    available: int,
) -> CorruptFileError:
    return corrupt_video(
        data.path, f"it is truncated: a chunk promises {promised} bytes and {available} are left"
    )


def _indexed(data: Bytes, avi: Avi) -> Array | None:
    """Frames by idx1, (n, 2); None where there is no index, it covers a part only, or it points at
    something else.
    """
    start, size = avi.index
    if size < 16 or len(avi.movi) > 1:
        return None
    rows = np.frombuffer(data.read(start, size // 16 * 16), dtype="<u4").reshape(-1, 4)
    first = int(rows[0, 0])
    if first >> 16 not in _CODES or not (rows[:, 0] == first).all():
        rows = _rows_of_stream(rows, avi.stream)
    if len(rows) == 0:
        return None
    frames = rows[:, 2:].astype(np.int64)
    for base in (avi.movi[0][0], 0):
        if data.read(base + int(frames[0, 0]), 4) == rows[0, :1].tobytes():
            frames[:, 0] += base + 8
            return frames
    return None


_CODES = tuple(int.from_bytes(kind, "little") for kind in _FRAME)


def _stream_name(number: int) -> bytes:
    """The two digits with which the chunks of a stream begin; empty for a stream without a number
    of two digits.
    """
    return b"%02d" % number if 0 <= number < 100 else b""


def _rows_of_stream(rows: Array, number: int) -> Array:
    """The rows of idx1 that are frames of a stream; of the first stream in the index where none has
    its number.
    """
    kinds = rows[:, 0] >> 16
    rows = rows[(kinds == _CODES[0]) | (kinds == _CODES[1])]
    streams = rows[:, 0] & 0xFFFF
    stream = int.from_bytes(_stream_name(number), "little")
    if not (streams == stream).any():
        return np.asarray(rows[streams == streams[:1]])
    return np.asarray(rows[streams == stream])


def _walked(data: Bytes, avi: Avi) -> Iterator[tuple[int, int]]:
    """The frames of the stream of video, chunk by chunk, also inside ``rec`` lists.

    Where no chunk has the number of the stream, the frames are those of the stream that comes
    first.
    """
    frames = [
        (name[:2], start, length)
        for begin, size in avi.movi
        for name, start, length in _flat(data, begin + 4, begin + size, 0)
        if name[2:] in _FRAME
    ]
    stream = _stream_name(avi.stream)
    if frames and all(name != stream for name, _, _ in frames):
        stream = frames[0][0]
    for name, start, length in frames:
        if name == stream:
            yield start, length


def _flat(
    data: Bytes,
    start: int,
    end: int,
    depth: int,
) -> Iterator[tuple[bytes, int, int]]:
    for name, offset, size in _chunks(data, start, end):
        if name == b"LIST" and depth < _DEPTH:
            yield from _flat(data, offset + 4, offset + size, depth + 1)
        else:
            yield name, offset, size
