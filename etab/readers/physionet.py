"""Headers and signals of PhysioNet (WFDB: .hea and .dat), as far as the two challenges of heart
sounds use them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import CorruptFileError
from etab.files import read_text_file
from etab.readers.audio import WavInfo, filled_size
from etab.types import FloatArray

# A header has a line for each signal and a few comments.
_LARGEST_HEADER = 1 << 20


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal line of a PhysioNet header.

    Attributes:
        file: The file that holds the signal.
        fmt: The format of its samples; 16 is two bytes, low byte first.
        offset: Bytes before the first sample.
        gain: Steps of the converter per physical unit.
        zero: The value of the converter at 0.
        name: The description of the signal, such as "ECG".
    """

    file: str
    fmt: int
    offset: int
    gain: float
    zero: int
    name: str


@dataclass(frozen=True, slots=True)
class Header:
    """A PhysioNet header.

    Attributes:
        name: The record.
        rate: Samples a second of each signal.
        n: Samples of each signal.
        signals: The signals in the order of the header.
        comments: The comment lines, without "#".
    """

    name: str
    rate: float
    n: int
    signals: tuple[Signal, ...]
    comments: tuple[str, ...] = ()


def read_wfdb_header(path: Path) -> Header:
    """Read a PhysioNet ``.hea`` (WFDB) header, LF or CRLF; only what the two challenges use of the
    format.

    Raises LayoutError where it is absent, CorruptFileError naming the line that cannot be read.
    """
    filled_size(path)
    try:
        lines = read_text_file(path, _LARGEST_HEADER).splitlines()
    except (OSError, ValueError) as error:
        raise CorruptFileError(f"{path} is not text: {error}. Download it again.") from error
    comments = tuple(line.lstrip("# ").strip() for line in lines if line.startswith("#"))
    rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    try:
        name = rows[0][0]
        count = int(rows[0][1])
        rate = float(rows[0][2].split("/")[0])
        n = int(rows[0][3])
        signals = tuple(_signal(row) for row in rows[1 : count + 1])
    except (IndexError, ValueError) as error:
        raise CorruptFileError(
            f"{path} is not a header of a recording: {error}. Download it again."
        ) from error
    if len(signals) != count or count < 1 or not rate > 0 or n < 1:
        raise CorruptFileError(
            f"{path} promises {count} signals of {n} samples at {rate:g} Hz and describes "
            f"{len(signals)}. "
            "Download it again."
        )
    return Header(name, rate, n, signals, comments)


def _signal(row: list[str]) -> Signal:
    """One signal line: file, format[+offset], gain, resolution, zero, first value, checksum, block,
    name.
    """
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


def check_header(
    path: Path,
    header: Header,
    info: WavInfo,
    wav: Path,
) -> None:
    """Check that header and audio agree.

    Args:
        path: The header file, for messages.
        header: Its content.
        info: The facts of the audio file.
        wav: The audio file.

    Raises:
        CorruptFileError: File name, rate or length differ.
    """
    named = [signal.file for signal in header.signals]
    for quantity, in_header, in_audio in (
        ("rate in Hz", f"{header.rate:g}", f"{info.rate:g}"),
        ("number of samples", str(header.n), str(info.n)),
        ("file", wav.name if wav.name in named else ", ".join(named), wav.name),
    ):
        if in_header != in_audio:
            raise CorruptFileError(
                f"{path} and {wav.name} disagree on the {quantity}: {in_header} and {in_audio}. "
                "Restore both as published."
            )


def read_dat(path: Path, header: Header, name: str) -> FloatArray:
    """Read one signal of a format-16 ``.dat`` file.

    Args:
        path: The header file; the signal file is beside it.
        header: Its content.
        name: The name of the signal, such as "ECG".

    Returns:
        (n,) float32 in physical units (mV for ECG).

    Raises:
        LayoutError: The file is missing.
        CorruptFileError: The header has no such signal, or the file has another format or length.

    Source:
        PhysioNet, signal(5), format 16.
    """
    named = [
        signal for signal in header.signals if signal.name == name and signal.file == path.name
    ]
    if not named:
        raise CorruptFileError(
            f"The header of {header.name} has no signal {name!r} in {path.name}."
        )
    signal = named[0]
    if signal.fmt != 16 or signal.gain == 0:
        raise CorruptFileError(
            f"{path} is in format {signal.fmt}; wanted 16 (two bytes a sample), as published."
        )
    columns = [s.name for s in header.signals if s.file == path.name]
    size = filled_size(path)
    promised = signal.offset + 2 * header.n * len(columns)
    if size != promised:
        raise CorruptFileError(
            f"{path} has {size} bytes; its header promises {promised}. Download it again."
        )
    raw: Any = np.fromfile(path, dtype="<i2", offset=signal.offset).reshape(header.n, len(columns))[
        :, columns.index(name)
    ]
    return np.asarray(
        (raw.astype(np.float32) - signal.zero) / np.float32(signal.gain), dtype=np.float32
    )
