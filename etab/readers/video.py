"""Video files to grey uint8 frames, decoding only the frames asked for.

MJPG in AVI (EchoNet-Dynamic) is found by its RIFF index and decoded frame by frame straight to grey; anything else
goes through cv2.VideoCapture. The two differ by rounding at most (3 grey levels on MJPG).
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from etab.errors import CorruptFileError, LayoutError, UnsupportedOptionError
from etab.types import Array

MAX_SIDE = 8192
_NO_INFO: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video's header says; ``text`` holds the INFO chunk of an AVI ("ICMT": a comment, "INAM": a title)."""

    n_frames: int
    fps: float
    height: int
    width: int
    codec: str
    text: Mapping[str, str] = field(default_factory=lambda: _NO_INFO)


@dataclass(slots=True)
class _Avi:
    """The parts of an AVI file that are needed: stream facts and where each frame's bytes lie."""

    n_frames: int = 0
    fps: float = 0.0
    height: int = 0
    width: int = 0
    codec: str = ""
    movi: tuple[int, int] = (0, 0)
    index: tuple[int, int] = (0, 0)
    many: bool = False
    text: dict[str, str] = field(default_factory=dict)


def video_info(path: Path) -> VideoInfo:
    """Read the header. Raises LayoutError where the file is absent, CorruptFileError where it is damaged."""
    with _Mapped(path) as data:
        avi = _parse(path, data)
        if avi is None or avi.many:
            return _capture_info(path)
        frames = len(_spans(path, data, avi)) if avi.codec == "MJPG" else avi.n_frames
        return VideoInfo(frames, avi.fps, avi.height, avi.width, avi.codec, avi.text)


def video_text(path: Path) -> Mapping[str, str]:
    """Read the INFO chunk of an AVI file alone; empty for other containers. Raises as ``video_info``."""
    with _Mapped(path) as data:
        avi = _parse(path, data)
        return avi.text if avi else {}


def read_video(path: Path, at: Sequence[int] | None = None) -> Array:
    """Decode grey frames (k, h, w) uint8; ``at`` holds 0-based frame numbers in any order, None is every frame.

    Raises LayoutError, CorruptFileError as ``video_info``, UnsupportedOptionError for a frame beyond the end.
    """
    with _Mapped(path) as data:
        avi = _parse(path, data)
        if avi is not None and avi.codec == "MJPG" and not avi.many:
            spans = _spans(path, data, avi)
            wanted = _wanted(path, at, len(spans))
            frames = [_decode(path, data, spans[i], i) for i in wanted]
            if all(frame is not None for frame in frames):
                return _stack(path, frames)
    return _capture(path, at)


class _Mapped:
    """A file mapped into memory for reading, so that only the frames asked for are read from disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> mmap.mmap:
        try:
            with self._path.open("rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise LayoutError(f"{self._path} is missing. Restore it, or leave out its recording.") from error
        except (OSError, ValueError) as error:
            raise _corrupt(self._path, f"it is empty or unreadable ({error})") from error
        return self._map

    def __exit__(self, *_: object) -> None:
        self._map.close()


def _corrupt(path: Path, what: str) -> CorruptFileError:
    return CorruptFileError(f"{path} cannot be read: {what}. Download it again, or restore it as published.")


def _chunks(path: Path, data: mmap.mmap, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Walk RIFF chunks: (name, start of content, size); raises CorruptFileError where one runs past the end."""
    while start + 8 <= end:
        name, size = struct.unpack_from("<4sI", data, start)
        if start + 8 + size > len(data):
            raise _corrupt(path, f"it is truncated: a chunk promises {size} bytes and {len(data) - start - 8} are left")
        yield name, start + 8, size
        start += 8 + size + size % 2


def _parse(path: Path, data: mmap.mmap) -> _Avi | None:
    """Find the stream header, the frames and the index of an AVI file; None where the file is no AVI."""
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"AVI ":
        return None
    avi = _Avi()
    for name, start, size in _chunks(path, data, 0, len(data)):
        if name != b"RIFF":
            continue
        avi.many = avi.many or data[start : start + 4] == b"AVIX"
        for inner, at, length in _chunks(path, data, start + 4, start + size):
            _part(path, data, avi, (inner, at, length))
    if not avi.movi[1]:
        raise _corrupt(path, "it holds no frames")
    if not (0 < avi.height <= MAX_SIDE and 0 < avi.width <= MAX_SIDE):
        raise _corrupt(path, f"its header claims frames of {avi.width} x {avi.height} pixels")
    return avi


def _part(path: Path, data: mmap.mmap, avi: _Avi, chunk: tuple[bytes, int, int]) -> None:
    name, start, size = chunk
    kind = data[start : start + 4]
    if name == b"idx1":
        avi.index = (start, size)
    elif name == b"LIST" and kind == b"movi" and not avi.movi[1]:
        avi.movi = (start, size)
    elif name == b"LIST" and kind in (b"hdrl", b"strl"):
        for inner in _chunks(path, data, start + 4, start + size):
            _part(path, data, avi, inner)
    elif name == b"LIST" and kind == b"INFO":
        for key, at, length in _chunks(path, data, start + 4, start + size):
            avi.text[key.decode("latin-1")] = data[at : at + length].split(b"\0")[0].decode("latin-1")
    elif name == b"strh" and kind == b"vids" and size >= 36 and not avi.fps:
        scale, rate, _, length = struct.unpack_from("<4I", data, start + 20)
        avi.fps, avi.n_frames = (rate / scale if scale else 0.0), length
    elif name == b"strf" and size >= 20 and not avi.codec:
        avi.width, height = struct.unpack_from("<ii", data, start + 4)
        avi.height = abs(height)
        avi.codec = data[start + 16 : start + 20].decode("latin-1").strip("\0 ").upper()


def _spans(path: Path, data: mmap.mmap, avi: _Avi) -> list[tuple[int, int]]:
    """Where each frame's JPEG lies: by the index where it is sound, else by walking the frames."""
    spans = _indexed(data, avi) or [
        (start, size)
        for name, start, size in _chunks(path, data, avi.movi[0] + 4, sum(avi.movi))
        if name[2:] in (b"dc", b"db")
    ]
    if avi.n_frames and len(spans) < avi.n_frames:
        raise _corrupt(path, f"its header promises {avi.n_frames} frames and {len(spans)} are there")
    return spans


def _indexed(data: mmap.mmap, avi: _Avi) -> list[tuple[int, int]]:
    start, size = avi.index
    rows = np.frombuffer(data[start : start + size // 16 * 16], dtype="<u4").reshape(-1, 4)
    names = rows[:, 0].tobytes()
    rows = rows[[names[4 * i + 2 : 4 * i + 4] in (b"dc", b"db") for i in range(len(rows))]]
    if len(rows) == 0:
        return []
    name, first = rows[0, 0].tobytes(), int(rows[0, 2])
    for base in (avi.movi[0], 0):
        if data[base + first : base + first + 4] == name:
            spans = [(base + int(at) + 8, int(length)) for _, _, at, length in rows.tolist()]
            return spans if all(at + length <= len(data) for at, length in spans) else []
    return []


def _wanted(path: Path, at: Sequence[int] | None, n: int) -> Sequence[int]:
    wanted = range(n) if at is None else [int(i) for i in at]
    for i in wanted:
        if not 0 <= i < n:
            raise UnsupportedOptionError(f"{path} has frames 0 to {n - 1}; it has no frame {i}.")
    return wanted


def _decode(path: Path, data: mmap.mmap, span: tuple[int, int], number: int) -> Array | None:
    """Decode one JPEG to grey; None where it needs the tables of another decoder (abbreviated MJPG)."""
    import cv2

    start, size = span
    if size == 0:
        return None
    jpeg = np.frombuffer(data[start : start + size], dtype=np.uint8)
    frame = cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE)
    if frame is None and b"\xff\xc4" in jpeg.tobytes():
        raise _corrupt(path, f"frame {number} is no JPEG")
    return None if frame is None else np.asarray(frame)


def _stack(path: Path, frames: Sequence[Array | None]) -> Array:
    shapes = {frame.shape for frame in frames if frame is not None}
    if len(shapes) > 1:
        raise _corrupt(path, f"its frames differ in size: {sorted(shapes)}")
    return np.stack([frame for frame in frames if frame is not None]) if frames else np.empty((0, 0, 0), np.uint8)


def _capture_open(path: Path) -> Any:
    import cv2

    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise _corrupt(path, "it is no video that cv2 can open")
    return capture


def _capture_info(path: Path) -> VideoInfo:
    import cv2

    capture = _capture_open(path)
    n, fps = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), float(capture.get(cv2.CAP_PROP_FPS))
    height, width = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    code = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little", signed=False).decode("latin-1")
    capture.release()
    if n < 1:
        raise _corrupt(path, "it holds no frames")
    return VideoInfo(n, fps, height, width, code.strip("\0 ").upper())


def _capture(path: Path, at: Sequence[int] | None) -> Array:
    """Decode from the start up to the last frame asked for, keeping only those asked for."""
    import cv2

    capture = _capture_open(path)
    promised = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = _wanted(path, at, promised)
    kept: dict[int, Array] = {}
    for i in range(max(wanted, default=-1) + 1):
        good, frame = capture.read()
        if not good:
            capture.release()
            raise _corrupt(path, f"its header promises {promised} frames and frame {i} cannot be decoded")
        if i in wanted:
            kept[i] = np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))
    capture.release()
    return _stack(path, [kept[i] for i in wanted])
