"""Videos of any container and codec through PyAV: from the last key frame before each frame asked
for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import (
    CorruptFileError,
    LayoutError,
    MissingPackageError,
    UnsupportedOptionError,
)
from etab.readers.avi import MAX_CLIP_BYTES, MAX_VIDEO_SIDE, corrupt_video
from etab.types import Array

# Pixels of a frame: codecs keep up to 17 frames in memory.
_MAX_PIXELS = 1 << 24
# Relative difference of the rate in a header from that of the frames, up to which the header counts.
_RATE_TOLERANCE = 0.05


@dataclass(frozen=True, slots=True)
class ContainerInfo:
    """Frames (counted, not promised), frames per second, size in pixels, and the codec's name in
    capitals.
    """

    n_frames: int
    fps: float
    height: int
    width: int
    codec: str


def wanted(
    path: Path,
    at: Sequence[int] | None,
    n: int,
    size: tuple[int, int],
) -> Sequence[int]:
    """Check requested frame numbers.

    Args:
        path: The file, for messages.
        at: The requested numbers, from 0; None for all frames.
        n: The number of frames of the file.
        size: Height and width of a frame in pixels.

    Raises:
        UnsupportedOptionError: A frame does not exist.
        CorruptFileError: The frames are too large to be decoded at once.
    """
    numbers: Sequence[int] = range(n) if at is None else [int(i) for i in at]
    for i in numbers:
        if not 0 <= i < n:
            raise UnsupportedOptionError(f"{path} has frames 0 to {n - 1}; it has no frame {i}.")
    if len(numbers) * size[0] * size[1] > MAX_CLIP_BYTES:
        raise CorruptFileError(
            f"{path}: {len(numbers)} frames of {size[1]} x {size[0]} pixels are more than "
            f"{MAX_CLIP_BYTES >> 20} MiB. Ask for fewer frames at once, or cut the video into "
            "parts."
        )
    return numbers


def container_info(path: Path) -> ContainerInfo:
    """Read the header and count the packets; raises LayoutError, CorruptFileError,
    MissingPackageError.
    """
    with _opened(path) as (file, stream):
        times = _times(path, file, stream)
        size = stream.codec_context
        return ContainerInfo(
            times.n,
            _rate(stream, times),
            size.height,
            size.width,
            size.name.upper(),
        )


def read_container(path: Path, at: Sequence[int] | None) -> Array:
    """Decode frames of a video file.

    Args:
        path: The file.
        at: k frame numbers, from 0; None for all frames.

    Returns:
        Grey frames (k, h, w) uint8, in the order of ``at``.

    Raises:
        CorruptFileError: The file cannot be read.
        UnsupportedOptionError: A frame does not exist.
    """
    with _opened(path) as (file, stream):
        times = _times(path, file, stream)
        size = stream.codec_context.height, stream.codec_context.width
        numbers = wanted(path, at, times.n, size)
        decoded = _seek_and_decode(path, file, stream, times, sorted(set(numbers)))
    if len(decoded) < len(set(numbers)):
        decoded = _count_and_decode(path, set(numbers))
    missing = sorted(set(numbers) - set(decoded))
    if missing:
        raise corrupt_video(
            path, f"it holds {times.n} frames and frame {missing[0]} cannot be decoded"
        )
    shapes = {frame.shape for frame in decoded.values()}
    if len(shapes) > 1:
        raise corrupt_video(path, f"its frames differ in size: {sorted(shapes)}")
    return np.stack([decoded[i] for i in numbers]) if decoded else np.empty((0, 0, 0), np.uint8)


def open_with_pyav(path: Path) -> Any:
    """Open a film or sound with PyAV, whatever the encoding of its comments.

    Args:
        path: The file.

    Returns:
        PyAV's input container, which is a context manager.

    Raises:
        ImportError: PyAV is not installed.
        av.error.FFmpegError: The file cannot be opened.
    """
    import av

    # Comments need not be UTF-8. PyAV keeps the other bytes by itself from version 19 on, which has
    # no such option any more; older versions stop at them unless they are replaced.
    is_older = int(av.__version__.partition(".")[0]) < 19
    options: dict[str, Any] = {"metadata_errors": "replace"} if is_older else {}
    return av.open(str(path), **options)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    try:
        import av
    except ImportError as error:
        raise MissingPackageError(
            f"{path} is not an MJPG AVI, and PyAV, which reads such videos, is not installed: pip "
            'install "etab-bench[video]".'
        ) from error
    if not path.is_file():
        raise LayoutError(f"{path} is missing. Restore it, or leave out its recording.")
    try:
        with open_with_pyav(path) as file:
            stream = next(iter(file.streams.video), None)
            if stream is None or stream.codec_context is None:
                raise corrupt_video(path, "it holds no video")
            size = stream.codec_context
            if not (
                0 < size.height <= MAX_VIDEO_SIDE
                and 0 < size.width <= MAX_VIDEO_SIDE
                and size.height * size.width <= _MAX_PIXELS
            ):
                raise corrupt_video(
                    path, f"its header claims frames of {size.width} x {size.height} pixels"
                )
            size.options = {"max_pixels": str(_MAX_PIXELS)}  # frames may grow on the way
            stream.thread_type = "NONE"
            yield file, stream
    except av.error.FFmpegError as error:
        raise corrupt_video(path, f"PyAV says {error.strerror or error}") from error


@dataclass(frozen=True, slots=True)
class _Times:
    """Presentation time of each frame in order, empty where the container has none; numbers of the
    key frames.
    """

    n: int
    time: tuple[int, ...]
    keys: tuple[int, ...]


def _times(path: Path, file: Any, stream: Any) -> _Times:
    """Read the packets without decoding them."""
    packets = [(packet.pts, packet.is_keyframe) for packet in file.demux(stream) if packet.size]
    if not packets:
        raise corrupt_video(path, "it holds no frames")
    known = {time: key for time, key in packets if time is not None}
    if len(known) < len(packets):
        return _Times(len(packets), (), ())
    order = sorted(known)
    return _Times(len(order), tuple(order), tuple(i for i, time in enumerate(order) if known[time]))


def _rate(stream: Any, times: _Times) -> float:
    """Frames a second: as the header says, unless the times of the frames say something else."""
    stated = float(stream.average_rate or stream.guessed_rate or 0)
    span = float((times.time[-1] - times.time[0]) * stream.time_base) if times.time else 0.0
    if span <= 0:
        return stated
    measured = (times.n - 1) / span
    # Times are rounded, to milliseconds in some containers.
    return stated if abs(stated - measured) <= _RATE_TOLERANCE * measured else measured


def _seek_and_decode(
    path: Path,
    file: Any,
    stream: Any,
    times: _Times,
    numbers: Sequence[int],
) -> dict[int, Array]:
    """Decode from the key frame before each frame asked for; a key frame on the way is jumped to.
    What is found.
    """
    grey = _Grey(path)
    decoded: dict[int, Array] = {}
    number_of = {time: i for i, time in enumerate(times.time)}
    frames: Iterator[Any] = iter(())
    last = -1
    for i in numbers if times.time else ():
        key = max((k for k in times.keys if k <= i), default=0)
        is_first = last < 0 or key > last
        if is_first:
            file.seek(times.time[key], stream=stream, backward=True)
            frames = file.decode(stream)
        for frame in frames:
            number = number_of.get(frame.pts, -1)
            follows = frame.key_frame if is_first else number == last + 1
            if frame.is_corrupt or number < 0 or not follows:
                # Damage, times that are not those of the frames, or a frame that needs others from
                # before the jump: only decoding from the start shows it.
                return decoded
            is_first = False
            last = number
            if last == i:
                decoded[i] = grey(frame)
            if last >= i:
                break
        else:
            last = -1
    return decoded


def _count_and_decode(path: Path, numbers: set[int]) -> dict[int, Array]:
    """Decode from the start and count: for streams without times, or whose seeking misses."""
    grey = _Grey(path)
    decoded: dict[int, Array] = {}
    with _opened(path) as (file, stream):
        for i, frame in enumerate(file.decode(stream)):
            if frame.is_corrupt:
                raise corrupt_video(path, f"the decoder found damage in frame {i}")
            if i in numbers:
                decoded[i] = grey(frame)
            if i >= max(numbers):
                break
    return decoded


class _Grey:
    """Converts the frames of one file to luma.

    Every file has a converter of its own. PyAV 19 would keep one for each thread, and a converter has
    threads that a forked process, such as a worker of a DataLoader, lacks and waits for without end.
    """

    def __init__(self, path: Path) -> None:
        from av.video.reformatter import VideoReformatter

        self._path = path
        self._converter = VideoReformatter()

    def __call__(self, frame: Any) -> Array:
        """Return the luma of a frame as full-range uint8 (h, w).

        Raises CorruptFileError where players turn the frame: a film and its masks would lie
        differently.
        """
        degrees = getattr(frame, "rotation", 0)
        if degrees:
            raise corrupt_video(
                self._path,
                f"its frames are stored turned by {abs(degrees)} degrees",
                "Write it upright: ffmpeg -i IN OUT.",
            )
        luma = self._converter.reformat(frame, format="gray")
        return np.ascontiguousarray(luma.to_ndarray())
