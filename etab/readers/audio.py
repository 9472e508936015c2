"""Mono recordings (WAV): bytes to float32 samples, or an error that names the file.

What a file promises (chunks, rate, length, byte order) is checked before samples are decoded,
because a shortened or re-encoded recording gives other scores without a word. Programs that write
to a pipe cannot know the length of the sound and leave a placeholder in the header; the sound then
reaches to the end of the file.

Source: IBM and Microsoft, Multimedia Programming Interface 1.0 (RIFF, RIFX, LIST); Microsoft,
WAVEFORMATEXTENSIBLE; EBU Tech 3306 (RF64).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

from etab.errors import CorruptFileError
from etab.readers.regular import require_regular
from etab.types import FloatArray

_PCM = 1
_FLOAT = 3
_EXTENSIBLE = 0xFFFE
_BYTE_ORDERS = {
    b"RIFF": "<",
    b"RIFX": ">",
    b"RF64": "<",
}
# Lengths from here on are written by programs that do not know the length: no recording has 2 GiB.
_PLACEHOLDER = 0x7FFFF000
_KNOWN_CHUNKS = (b"data", b"fmt ", b"LIST", b"fact", b"bext", b"cue ", b"id3 ", b"PEAK", b"ds64")
_TAIL = 1 << 16
# Bits of a sample that are read, by the code of the format.
_BITS = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
# Floating-point samples have full scale at 1. Some programs go a little beyond it; others write the
# whole numbers of a recording as they are, which are thousands.
_LOUDEST = 8.0
_FEWEST_BITS = 8
# Heart sounds lie between 20 and 1,000 Hz. Beyond these rates a header is damaged: resampled from
# 1 Hz, a small file fills all memory.
_SLOWEST = 100
_FASTEST = 1_000_000
_CONVERT = "Convert it with: ffmpeg -i IN -c:a pcm_s16le OUT."

ONE_CHANNEL = (
    'Take the first one with: ffmpeg -i IN -af "pan=mono|c0=c0" OUT; or mix them with: '
    "ffmpeg -i IN -ac 1 OUT."
)
"""Advice for a sound of several channels."""


@dataclass(frozen=True, slots=True)
class WavInfo:
    """The checked facts of a WAV file.

    Attributes:
        rate: Samples a second.
        n: Number of samples.
        bits: Bits of a sample: 8, 16, 24 or 32 for whole numbers, 32 or 64 for floating point.
        text: The content of its LIST chunks (title, comment, program).
        start: The byte at which the samples begin.
        order: "<" where the lowest byte of a sample comes first, ">" in RIFX files.
        is_float: Whether samples are floating-point numbers.
    """

    rate: int
    n: int
    bits: int
    text: str = ""
    start: int = 44
    order: str = "<"
    is_float: bool = False


@dataclass(slots=True)
class _Chunks:
    """The facts that one pass over the chunks of a file collects."""

    order: str
    riff_length: int
    fmt: bytes = b""
    text: str = ""
    long_length: int | None = None
    start: int = 0
    length: int | None = None


def wav_info(path: Path) -> WavInfo:
    """Read the chunks of a WAV file without its samples.

    Args:
        path: The file.

    Raises:
        LayoutError: The file is absent.
        CorruptFileError: It is empty, no WAV, shortened, without a sample, not mono, or neither
            PCM of 8, 16, 24 or 32 bits nor floating point of 32 or 64 bits.
    """
    size = filled_size(path)
    with path.open("rb") as file:
        return scan_wav(path, file, size)


def scan_wav(path: Path | str, file: BinaryIO, size: int) -> WavInfo:
    """Read the chunks of an open file, or of bytes inside another file.

    Args:
        path: Names the sound in messages.
        file: The file, at its beginning.
        size: Its length in bytes.

    Raises:
        CorruptFileError: As ``wav_info``.
    """
    head = file.read(12)
    order = _BYTE_ORDERS.get(head[:4])
    if len(head) < 12 or order is None or head[8:] != b"WAVE":
        raise CorruptFileError(
            f"{path} is not a WAV file: it starts with {head[:12]!r}. Download it again."
        )
    chunks = _Chunks(order, struct.unpack(order + "I", head[4:8])[0])
    while file.tell() + 8 <= size:
        name, length = struct.unpack(order + "4sI", file.read(8))
        _take(path, file, size, chunks, name, length)
    return _checked(path, chunks)


def _take(
    path: Path | str,
    file: BinaryIO,
    size: int,
    chunks: _Chunks,
    name: bytes,
    length: int,
) -> None:
    """Note one chunk, whose head was read, and go to the next."""
    start = file.tell()
    if name == b"data":
        length = _data_length(path, file, size, chunks, length)
        if chunks.length is not None:
            raise CorruptFileError(f"{path} has two chunks of sound. Restore it as published.")
        chunks.start = start
        chunks.length = length
    elif name in (b"fmt ", b"LIST", b"ds64"):
        body = file.read(min(length, size - start))
        if name == b"fmt ":
            chunks.fmt = body
        elif name == b"LIST":
            chunks.text += body.decode("latin-1")
        elif len(body) >= 16:
            chunks.long_length = struct.unpack("<Q", body[8:16])[0]
    file.seek(start + length)
    if length % 2:
        _skip_padding(file)


def _skip_padding(file: BinaryIO) -> None:
    """Skip the byte behind a chunk of odd length, which some programs leave out."""
    start = file.tell()
    if file.read(4) not in _KNOWN_CHUNKS:
        start += 1
    file.seek(start)


def _data_length(
    path: Path | str,
    file: BinaryIO,
    size: int,
    chunks: _Chunks,
    length: int,
) -> int:
    """Bytes of sound, with placeholders resolved; raises CorruptFileError where the file holds
    fewer.
    """
    available = size - file.tell()
    if length == 0xFFFFFFFF and chunks.long_length is not None:
        length = chunks.long_length
    unfinished = chunks.riff_length in (0, file.tell() - 8) or chunks.riff_length >= _PLACEHOLDER
    unknown = length >= _PLACEHOLDER and chunks.long_length is None
    if length != available and (unknown or (length == 0 and unfinished)):
        return available - _length_of_last_list(file, available)
    if length > available:
        raise CorruptFileError(
            f"{path} is cut short: its header promises {length} bytes of sound and {available} "
            "are there. "
            "Download it again."
        )
    return length


def _length_of_last_list(file: BinaryIO, available: int) -> int:
    """Bytes of a LIST chunk that ends the file exactly, so that its text is not taken for sound; 0
    without one.
    """
    position = file.tell()
    file.seek(position + max(0, available - _TAIL))
    tail = file.read(_TAIL)
    file.seek(position)
    start = tail.rfind(b"LIST")
    if (
        start < 0
        or len(tail) - start < 12
        or tail[start + 8 : start + 12] not in (b"INFO", b"adtl")
    ):
        return 0
    rest = len(tail) - start
    lengths = {int.from_bytes(tail[start + 4 : start + 8], order) for order in ("little", "big")}
    return rest if lengths & {rest - 8, rest - 9} else 0


def _checked(path: Path | str, chunks: _Chunks) -> WavInfo:
    """The facts of the format chunk, or why this file is not read."""
    if len(chunks.fmt) < 16 or chunks.length is None:
        missing = "format" if len(chunks.fmt) < 16 else "data"
        raise CorruptFileError(f"{path} has no {missing} chunk. Download it again.")
    code, channels, rate, _, block, bits = struct.unpack(chunks.order + "HHIIHH", chunks.fmt[:16])
    if code == _EXTENSIBLE:
        code = _plain_code(chunks)
    if channels != 1:
        step = ONE_CHANNEL if channels else "Download it again."
        raise CorruptFileError(f"{path} has {channels} channels; wanted 1. {step}")
    if bits not in _BITS.get(code, ()):
        kind = {_PCM: "PCM", _FLOAT: "float"}.get(code, f"format {code}")
        raise CorruptFileError(
            f"{path} is {bits}-bit {kind}; wanted PCM of 8, 16, 24 or 32 bits, or float of 32 or "
            f"64 bits. {_CONVERT}"
        )
    if block != bits // 8:
        raise CorruptFileError(
            f"{path} has blocks of {block} bytes; wanted {bits // 8} for one {bits}-bit sample. "
            f"{_CONVERT}"
        )
    n = chunks.length // block
    if n == 0:
        raise CorruptFileError(f"{path} has no samples. Download it again.")
    refuse_rate(path, rate)
    return WavInfo(
        int(rate),
        n,
        int(bits),
        chunks.text,
        chunks.start,
        chunks.order,
        code == _FLOAT,
    )


def refuse_rate(path: Path | str, rate: float) -> None:
    """Refuse a rate at which no heart sound is recorded.

    Args:
        path: Names the sound in the message.
        rate: Samples a second, as its header says.

    Raises:
        CorruptFileError: The rate is below 100 Hz or above 1 MHz.

    Example:
        >>> refuse_rate("a.wav", 4000)
    """
    if not _SLOWEST <= rate <= _FASTEST:
        raise CorruptFileError(
            f"{path} has a rate of {rate:,} Hz; wanted {_SLOWEST} to {_FASTEST:,} Hz. Download it "
            "again."
        )


def _plain_code(chunks: _Chunks) -> int:
    """The format inside WAVE_FORMAT_EXTENSIBLE, or that code itself where it is none of the plain
    ones.
    """
    identifier = chunks.fmt[24:40]
    if len(identifier) < 16 or identifier[4:] != _identifier_end(chunks.order):
        return _EXTENSIBLE
    return int(struct.unpack(chunks.order + "I", identifier[:4])[0])


def _identifier_end(order: str) -> bytes:
    """The last twelve bytes of a plain format's identifier; its two short fields follow the byte
    order of the file.
    """
    return struct.pack(order + "HH", 0x0000, 0x0010) + bytes.fromhex("800000aa00389b71")


def read_wav(path: Path, *, rate: float | None = None) -> tuple[FloatArray, int]:
    """Read a mono WAV file.

    Args:
        path: The file.
        rate: The published rate in Hz, at which no recording has 8 bits; None takes any file.

    Returns:
        Samples (n,) float32 with full scale at 1, and their rate in Hz. Whole numbers are divided
        by the full scale of their bits, which is exact for 24 bits or fewer.

    Raises:
        LayoutError: The file is absent.
        CorruptFileError: As ``wav_info``; or the rate or the bits are not those published, or
            samples are not finite or far beyond full scale.
    """
    info = wav_info(path)
    if rate is not None and info.rate != rate:
        raise CorruptFileError(
            f"{path} is at {info.rate} Hz; wanted {rate:g} Hz, as published. Restore it: etab "
            "resamples by itself."
        )
    if rate is not None and info.bits == _FEWEST_BITS:
        raise CorruptFileError(
            f"{path} has 8 bits a sample, and was published with more. Restore it as published."
        )
    with path.open("rb") as file:
        return _decoded(path, file, info), info.rate


def decode_wav(data: bytes, name: str) -> tuple[FloatArray, int]:
    """Read a mono WAV file from bytes.

    Args:
        data: The content of the file.
        name: The name of the file, for messages.

    Returns:
        (samples (n,) float32 from -1 to 1, their rate in Hz).

    Raises:
        CorruptFileError: The bytes are not a mono WAV file.
    """
    info = scan_wav(name, BytesIO(data), len(data))
    return _decoded(name, BytesIO(data), info), info.rate


def _decoded(
    path: Path | str,
    file: BinaryIO,
    info: WavInfo,
) -> FloatArray:
    """Samples (n,) of a file whose chunks were checked."""
    file.seek(info.start)
    n_bytes = info.n * info.bits // 8
    data = file.read(n_bytes)
    if len(data) != n_bytes:
        raise CorruptFileError(f"{path} has changed while it was read. Try again.")
    if not info.is_float:
        return _from_whole_numbers(data, info)
    with np.errstate(over="ignore"):  # what is beyond float32 becomes inf, and is refused
        stored = np.frombuffer(data, np.dtype(f"{info.order}f{info.bits // 8}"))
        samples = stored.astype(np.float32)
    _refuse_unusable(path, samples)
    return samples


def _from_whole_numbers(data: bytes, info: WavInfo) -> FloatArray:
    """Samples (n,) with full scale at 1 from the bytes of whole numbers."""
    if info.bits == _FEWEST_BITS:
        # Numbers of 8 bits have no sign in WAV files: silence is 128.
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / np.float32(128)
    bits = info.bits
    if bits == 24:
        data = _with_fourth_byte(data, info.order)
        bits = 32
    stored = np.frombuffer(data, np.dtype(f"{info.order}i{bits // 8}"))
    return stored.astype(np.float32) / np.float32(1 << (bits - 1))


def _with_fourth_byte(data: bytes, order: str) -> bytes:
    """Numbers of three bytes as numbers of four, 256 times as large."""
    three = np.frombuffer(data, np.uint8).reshape(-1, 3)
    four = np.zeros((len(three), 4), np.uint8)
    if order == "<":
        four[:, 1:] = three
    else:
        four[:, :3] = three
    return four.tobytes()


def _refuse_unusable(path: Path | str, samples: FloatArray) -> None:
    """Refuse floating-point samples that are not finite, or are not on the scale of sounds."""
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).sum())
        raise CorruptFileError(
            f"{path} holds samples that are not finite (NaN): {bad}. Restore it as published."
        )
    loudest = float(np.abs(samples).max())
    if loudest > _LOUDEST:
        raise CorruptFileError(
            f"{path} has floating-point samples up to {loudest:g}; their full scale is 1. Divide "
            "them by the full scale of the whole numbers that they were (32768 for 16 bits)."
        )


def filled_size(path: Path) -> int:
    """The length of a file in bytes.

    Raises:
        LayoutError: The file is absent.
        CorruptFileError: The file is empty.
    """
    size = require_regular(path)
    if size == 0:
        raise CorruptFileError(f"{path} is an empty file. Download it again.")
    return size
