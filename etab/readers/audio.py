"""Mono recordings (WAV) and the headers and signals of PhysioNet (.hea, .dat): bytes to float32 samples, or an error.

Samples are decoded by scipy; what a file promises (chunks, rate, length) is checked here first, because a shortened
or re-encoded recording gives other scores without a word.
"""

from __future__ import annotations

import re
import struct
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from etab.errors import CorruptFileError, LayoutError
from etab.types import FloatArray

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_CONVERT = "Convert it with: ffmpeg -i IN -ac 1 -c:a pcm_s16le OUT."


@dataclass(frozen=True, slots=True)
class WavInfo:
    """What a WAV file says of itself, checked: ``rate`` in Hz, ``n`` samples, 16-bit PCM or 32-bit float, its text."""

    rate: int
    n: int
    bits: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Signal:
    """One line of a PhysioNet header: a file, its format, and how its numbers become physical ones."""

    file: str
    fmt: int
    offset: int
    gain: float
    zero: int
    name: str


@dataclass(frozen=True, slots=True)
class Header:
    """A PhysioNet header: the record's name, rate in Hz, samples a signal, signals, and the comment lines."""

    name: str
    rate: float
    n: int
    signals: tuple[Signal, ...]
    comments: tuple[str, ...] = ()


def wav_info(path: Path) -> WavInfo:
    """Read the chunks of a WAV file without its samples.

    Raises LayoutError where the file is absent; CorruptFileError where it is empty, no WAV, shortened, without a
    sample, not mono, or neither 16-bit PCM nor 32-bit float.
    """
    size = _size(path)
    with path.open("rb") as file:
        return scan_wav(path, file, size)


def scan_wav(path: Path | str, file: BinaryIO, size: int) -> WavInfo:
    """``wav_info`` of an open file, or of bytes from elsewhere; ``path`` names it in messages. Raises as that does."""
    head = file.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
        raise CorruptFileError(
            f"{path} is not a WAV file: it starts with {head[:12]!r}. Download it again."
        )
    fmt, data, text = b"", None, ""
    while data is None or file.tell() + 8 <= size:
        chunk = file.read(8)
        if len(chunk) < 8:
            break
        length = struct.unpack("<I", chunk[4:])[0]
        if chunk[:4] == b"data":
            data = length
            _check_there(path, length, size - file.tell())
        if chunk[:4] in (b"fmt ", b"LIST"):
            body = file.read(min(length, size))
            fmt, text = (
                (body, text) if chunk[:4] == b"fmt " else (fmt, text + body.decode("latin-1"))
            )
            file.seek(length % 2, 1)
        else:
            file.seek(length + length % 2, 1)
    return _checked(path, fmt, data, text)


def _check_there(path: Path | str, promised: int, there: int) -> None:
    if promised > there:
        raise CorruptFileError(
            f"{path} is cut short: its header promises {promised} bytes of sound and {there} are there. "
            "Download it again."
        )


def _checked(path: Path | str, fmt: bytes, data: int | None, text: str) -> WavInfo:
    """The facts of the format chunk, or why this file is not read."""
    if len(fmt) < 16 or data is None:
        raise CorruptFileError(
            f"{path} has no {'format' if len(fmt) < 16 else 'data'} chunk. Download it again."
        )
    code, channels, rate, _, _, bits = struct.unpack("<HHIIHH", fmt[:16])
    if code == _EXTENSIBLE and len(fmt) >= 26:
        code = struct.unpack("<H", fmt[24:26])[0]
    if channels != 1:
        raise CorruptFileError(
            f"{path} has {channels} channels; wanted 1, as published. {_CONVERT}"
        )
    if (code, bits) not in ((_PCM, 16), (_FLOAT, 32)):
        kind = {_PCM: "PCM", _FLOAT: "float"}.get(code, f"format {code}")
        raise CorruptFileError(
            f"{path} is {bits}-bit {kind}; wanted 16-bit PCM, as published. {_CONVERT}"
        )
    if rate == 0 or data == 0:
        what = "a rate of 0 Hz" if rate == 0 else "no samples"
        raise CorruptFileError(f"{path} has {what}. Download it again.")
    return WavInfo(int(rate), data // (bits // 8), int(bits), text)


def read_wav(path: Path, *, rate: float | None = None) -> tuple[FloatArray, int]:
    """Read a mono WAV: (float32 samples (n,) with full scale at 1, rate in Hz); ``rate`` is the one wanted, if any.

    Raises as ``wav_info``, and CorruptFileError for another rate than wanted or samples that are not finite.
    """
    info = wav_info(path)
    if rate is not None and info.rate != rate:
        raise CorruptFileError(
            f"{path} is at {info.rate} Hz; wanted {rate:g} Hz, as published. Restore it: etab resamples by itself."
        )
    return _decoded(path, path, info), info.rate


def decode_wav(data: bytes, name: str) -> tuple[FloatArray, int]:
    """``read_wav`` of bytes that stand in a table; ``name`` says whose they are. Raises CorruptFileError."""
    info = scan_wav(name, BytesIO(data), len(data))
    return _decoded(name, BytesIO(data), info), info.rate


def _decoded(path: Path | str, file: Path | BytesIO, info: WavInfo) -> FloatArray:
    """Samples (n,) of a file whose chunks were checked."""
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", wavfile.WavFileWarning
            )  # chunks of other programs, which are skipped
            _, samples = wavfile.read(file)
    except ValueError as error:
        raise CorruptFileError(f"{path} cannot be decoded: {error}. Download it again.") from error
    if info.bits == 16:
        return np.asarray(samples.astype(np.float32) / np.float32(32768))
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).sum())
        raise CorruptFileError(
            f"{path} holds {bad} samples that are not finite (NaN). Restore it as published."
        )
    return np.asarray(samples.astype(np.float32))


def read_header(path: Path) -> Header:
    """Read a PhysioNet ``.hea`` (WFDB) header, LF or CRLF; only what the two challenges use of the format.

    Raises LayoutError where it is absent, CorruptFileError naming the line that cannot be read.
    """
    _size(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise CorruptFileError(f"{path} is not text: {error}. Download it again.") from error
    comments = tuple(line.lstrip("# ").strip() for line in lines if line.startswith("#"))
    rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    try:
        name, count, rate, n = (
            rows[0][0],
            int(rows[0][1]),
            float(rows[0][2].split("/")[0]),
            int(rows[0][3]),
        )
        signals = tuple(_signal(row) for row in rows[1 : count + 1])
    except (IndexError, ValueError) as error:
        raise CorruptFileError(
            f"{path} is not a header of a recording: {error}. Download it again."
        ) from error
    if len(signals) != count or count < 1 or not rate > 0 or n < 1:
        raise CorruptFileError(
            f"{path} promises {count} signals of {n} samples at {rate:g} Hz and describes {len(signals)}. "
            "Download it again."
        )
    return Header(name, rate, n, signals, comments)


def _signal(row: list[str]) -> Signal:
    """One signal line: file, format[+offset], gain, resolution, zero, first value, checksum, block, name."""
    fmt, _, offset = row[1].partition("+")
    gain = re.match(r"[-+.\deE]+", row[2]) if len(row) > 2 else None
    return Signal(
        row[0],
        int(fmt),
        int(offset or 0),
        float(gain.group()) if gain else 200.0,
        int(row[4]) if len(row) > 4 else 0,
        " ".join(row[8:]),
    )


def check_header(path: Path, header: Header, info: WavInfo, wav: Path) -> None:
    """Raise CorruptFileError where header and audio disagree: file name, rate, number of samples."""
    named = [signal.file for signal in header.signals]
    for what, said, found in (
        ("rate in Hz", f"{header.rate:g}", f"{info.rate:g}"),
        ("number of samples", str(header.n), str(info.n)),
        ("file", wav.name if wav.name in named else ", ".join(named), wav.name),
    ):
        if said != found:
            raise CorruptFileError(
                f"{path} and {wav.name} disagree on the {what}: {said} and {found}. Restore both as published."
            )


def read_dat(path: Path, header: Header, name: str) -> FloatArray:
    """One signal of a format-16 ``.dat`` file in physical units (mV for ECG): float32 (n,).

    Raises LayoutError where it is absent, CorruptFileError where the header has no such signal, the format is another,
    or the file has another length than the header promises.
    """
    found = [
        signal for signal in header.signals if signal.name == name and signal.file == path.name
    ]
    if not found:
        raise CorruptFileError(
            f"The header of {header.name} has no signal {name!r} in {path.name}."
        )
    signal = found[0]
    if signal.fmt != 16 or signal.gain == 0:
        raise CorruptFileError(
            f"{path} is in format {signal.fmt}; wanted 16 (two bytes a sample), as published."
        )
    mine = [s.name for s in header.signals if s.file == path.name]
    size, wanted = _size(path), signal.offset + 2 * header.n * len(mine)
    if size != wanted:
        raise CorruptFileError(
            f"{path} has {size} bytes; its header promises {wanted}. Download it again."
        )
    raw: Any = np.fromfile(path, dtype="<i2", offset=signal.offset).reshape(header.n, len(mine))[
        :, mine.index(name)
    ]
    return np.asarray(
        (raw.astype(np.float32) - signal.zero) / np.float32(signal.gain), dtype=np.float32
    )


def _size(path: Path) -> int:
    """Bytes of a file that must be there and not empty."""
    try:
        size = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError) as error:
        raise LayoutError(f"{path} is missing. Restore it as published.") from error
    if size == 0:
        raise CorruptFileError(f"{path} is an empty file. Download it again.")
    return size
