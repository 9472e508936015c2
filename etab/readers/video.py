"""Video files to grey uint8 frames, decoding only the frames asked for.

MJPG in AVI (EchoNet-Dynamic) is found by its RIFF index and decoded frame by frame straight to
grey, in this thread; anything else goes through PyAV from the last key frame before each frame
asked for (``pip install "etab-bench[video]"``). Grey is the luma of the file: it differs from
RGB-then-grey by rounding at most (3 grey levels).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from etab.readers import container
from etab.readers.avi import Avi, Bytes, corrupt_video, parse_avi, payloads, spans
from etab.types import Array

_NO_INFO: Mapping[str, str] = MappingProxyType({})
_HARMLESS = ("extraneous bytes", "Unknown Adobe color transform")


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video's header says; ``text`` holds the INFO chunk of an AVI ("ICMT": a comment,
    "INAM": a title).
    """

    n_frames: int
    fps: float
    height: int
    width: int
    codec: str
    text: Mapping[str, str] = field(default_factory=lambda: _NO_INFO)


def video_info(path: Path) -> VideoInfo:
    """Read the header. Raises LayoutError where the file is absent, CorruptFileError where it is
    damaged, MissingPackageError where it is not an MJPG AVI and PyAV is not installed.
    """
    with Bytes(path) as data:
        avi = parse_avi(data)
        if avi is not None and avi.codec == "MJPG":
            return VideoInfo(
                len(spans(data, avi)), avi.fps, avi.height, avi.width, avi.codec, avi.text
            )
    info = container.container_info(path)
    return VideoInfo(
        info.n_frames,
        info.fps,
        info.height,
        info.width,
        info.codec,
        avi.text if avi else _NO_INFO,
    )


def video_text(path: Path) -> Mapping[str, str]:
    """Read the INFO chunk of an AVI file alone; empty for other containers. Raises as
    ``video_info``.
    """
    with Bytes(path) as data:
        avi = parse_avi(data)
        return avi.text if avi else {}


def read_video(path: Path, at: Sequence[int] | None = None) -> Array:
    """Decode frames of a video.

    Bit errors that leave a JPEG valid cannot be detected, because AVI has no checksums;
    ``Source.digest`` detects them.

    Args:
        path: The file.
        at: k frame numbers, from 0, in any order; None for all frames.

    Returns:
        Grey frames (k, h, w) uint8.

    Raises:
        LayoutError: There is no such file.
        CorruptFileError: The file cannot be read.
        UnsupportedOptionError: A frame does not exist.

    Example:
        >>> import tempfile
        >>> from etab.phantom import write
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(Path(folder), patients=10, names=["lvh"])
        ...     path = next(Path(folder).glob("lvh/Batch1/*.avi"))
        ...     frames = read_video(path, [0, 5])
        >>> frames.shape, frames.dtype
        ((2, 192, 256), dtype('uint8'))
    """
    try:
        with Bytes(path) as data:
            avi = parse_avi(data, text=False)
            if avi is not None and avi.codec == "MJPG":
                return _read_mjpg(data, avi, at)
        return container.read_container(path, at)
    except MemoryError as error:
        raise corrupt_video(path, "it takes more memory than there is") from error


def _read_mjpg(
    data: Bytes,
    avi: Avi,
    frames_wanted: Sequence[int] | None,
) -> Array:
    """Decode each JPEG to grey into its place; only what the codec calls damaged is looked at
    again.
    """
    from simplejpeg import decode_jpeg

    frame_spans = spans(data, avi)
    numbers = container.wanted(data.path, frames_wanted, len(frame_spans), (avi.height, avi.width))
    out = np.empty((len(numbers), avi.height, avi.width, 1), np.uint8)
    shape_in_header = out.shape[1:]
    for jpeg, frame, number in zip(payloads(data, frame_spans, numbers), out, numbers, strict=True):
        try:
            shape = decode_jpeg(jpeg, "GRAY", buffer=frame).shape
        except ValueError as error:
            shape = _decode_again(data.path, jpeg, frame, number, error)
        if shape != shape_in_header:
            raise corrupt_video(
                data.path,
                f"frame {number} has {shape[:2]} pixels; its header says {shape_in_header[:2]}",
            )
    return out[..., 0]


def _decode_again(
    path: Path,
    jpeg: bytes | memoryview,
    frame: Array,
    number: int,
    error: ValueError,
) -> tuple[int, ...]:
    """Decode a JPEG that the codec complained of, where the complaint is harmless; gives its shape
    (h, w, 1).
    """
    from simplejpeg import decode_jpeg

    try:
        if not any(text in str(error) for text in _HARMLESS):
            raise error
        return tuple(decode_jpeg(jpeg, "GRAY", buffer=frame, strict=False).shape)
    except ValueError as worse:
        raise corrupt_video(
            path, f"frame {number} is not a valid JPEG of {frame.shape[:2]} pixels ({worse})"
        ) from worse
