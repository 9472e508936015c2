"""AVI files as recorders leave them: sound before the picture, two streams of video, sizes and counts left open."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from etab.readers.video import read_video, video_info

FRAMES = np.random.default_rng(3).integers(0, 256, (4, 16, 24)).astype(np.uint8)
OPEN = (0, 0xFFFFFFFF)


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    return (
        name
        + struct.pack("<I", len(body) if size is None else size)
        + body
        + b"\0" * (len(body) % 2)
    )


def listed(kind: bytes, *parts: bytes, name: bytes = b"LIST", size: int | None = None) -> bytes:
    return chunk(name, kind + b"".join(parts), size)


def video_stream(n: int, rate: int = 30) -> bytes:
    strh = b"vidsMJPG" + struct.pack("<IHHIIIII", 0, 0, 0, 0, 1, rate, 0, n) + bytes(20)
    strf = struct.pack("<IiiHH4sIiiII", 40, 24, 16, 1, 24, b"MJPG", 0, 0, 0, 0, 0)
    return listed(b"strl", chunk(b"strh", strh), chunk(b"strf", strf))


def sound_stream() -> bytes:
    strh = b"auds" + struct.pack("<IIHHIIIII", 1, 0, 0, 0, 0, 1, 8000, 0, 99) + bytes(16)
    strf = struct.pack("<HHIIHHH", 0xFFFE, 1, 8000, 8000, 1, 8, 22) + bytes(22)
    return listed(b"strl", chunk(b"strh", strh.ljust(56, b"\0")), chunk(b"strf", strf))


def jpegs(frames: np.ndarray) -> list[bytes]:
    return [
        simplejpeg.encode_jpeg(np.ascontiguousarray(f[..., None]), colorspace="GRAY", quality=98)
        for f in frames
    ]


def write(
    path: Path,
    streams: tuple[bytes, ...],
    chunks: list[tuple[bytes, bytes]],
    *,
    index: bool = True,
    open_size: int | None = None,
) -> Path:
    movi, rows, at = b"", b"", 4
    for name, body in chunks:
        rows += name + struct.pack("<III", 16, at, len(body))
        movi += chunk(name, body)
        at = 4 + len(movi)
    header = listed(b"hdrl", chunk(b"avih", bytes(56)), *streams)
    parts = [header, listed(b"movi", movi, size=open_size)]
    parts += [chunk(b"idx1", rows)] if index else []
    path.write_bytes(listed(b"AVI ", *parts, name=b"RIFF", size=open_size))
    return path


def check(path: Path, frames: np.ndarray = FRAMES, rate: float = 30) -> None:
    info = video_info(path)
    assert (info.n_frames, info.height, info.width, info.codec, info.fps) == (
        len(frames),
        16,
        24,
        "MJPG",
        rate,
    )
    wanted = [simplejpeg.decode_jpeg(code, "GRAY")[..., 0] for code in jpegs(frames)]
    assert np.array_equal(read_video(path), wanted)
    assert np.array_equal(read_video(path, [2, 0]), [wanted[2], wanted[0]])


@pytest.mark.parametrize("index", [True, False])
@pytest.mark.parametrize("n", [4, *OPEN])
def test_sound_may_come_first(tmp_path: Path, index: bool, n: int) -> None:
    chunks = []
    for code in jpegs(FRAMES):
        chunks += [(b"00wb", bytes(30)), (b"01dc", code)]
    check(write(tmp_path / "a.avi", (sound_stream(), video_stream(n)), chunks, index=index))


@pytest.mark.parametrize("index", [True, False])
def test_sound_may_come_last(tmp_path: Path, index: bool) -> None:
    chunks = []
    for code in jpegs(FRAMES):
        chunks += [(b"01wb", bytes(30)), (b"00dc", code)]
    check(write(tmp_path / "a.avi", (video_stream(4), sound_stream()), chunks, index=index))


@pytest.mark.parametrize("index", [True, False])
def test_the_first_stream_of_video_is_read_wherever_its_frames_lie(
    tmp_path: Path, index: bool
) -> None:
    chunks = []
    for code, other in zip(jpegs(FRAMES), jpegs(255 - FRAMES), strict=True):
        chunks += [(b"01dc", other), (b"00dc", code)]
    streams = (video_stream(4), video_stream(4, rate=10))
    check(write(tmp_path / "a.avi", streams, chunks, index=index))


@pytest.mark.parametrize("index", [True, False])
def test_chunks_may_have_another_number_than_their_stream(tmp_path: Path, index: bool) -> None:
    chunks = [(b"07dc", code) for code in jpegs(FRAMES)]
    check(write(tmp_path / "a.avi", (video_stream(4),), chunks, index=index))


@pytest.mark.parametrize("size", OPEN)
@pytest.mark.parametrize("n", [4, *OPEN])
def test_sizes_that_were_never_filled_in_reach_to_the_end(
    tmp_path: Path, size: int, n: int
) -> None:
    chunks = [(b"00dc", code) for code in jpegs(FRAMES)]
    path = write(tmp_path / "a.avi", (video_stream(n),), chunks, index=False, open_size=size)
    check(path)


def test_a_rate_that_is_not_given_is_none_that_can_be_used(tmp_path: Path) -> None:
    chunks = [(b"00dc", code) for code in jpegs(FRAMES)]
    check(write(tmp_path / "a.avi", (video_stream(4, rate=0),), chunks), rate=0)
