"""WAV files as programs write them: placeholders, byte orders and chunks are understood, and nothing else is sound."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from etab.errors import CorruptFileError
from etab.readers.audio import decode_wav, read_wav, wav_info

SOUND = np.array([1, -2, 300, 32767, -32768, 5], dtype=np.int16)
PCM_IDENTIFIER = bytes.fromhex("0100000000001000800000aa00389b71")
FLOAT_IDENTIFIER = bytes.fromhex("0300000000001000800000aa00389b71")


def chunk(
    name: bytes, body: bytes, length: int | None = None, order: str = "<", pad: bool = True
) -> bytes:
    head = name + struct.pack(order + "I", len(body) if length is None else length)
    return head + body + bytes(len(body) % 2 if pad else 0)


def fmt(
    kind: int = 1, bits: int = 16, order: str = "<", more: bytes = b"", block: int | None = None
) -> bytes:
    size = bits // 8 if block is None else block
    return chunk(
        b"fmt ",
        struct.pack(order + "HHIIHH", kind, 1, 2000, 2000 * size, size, bits) + more,
        order=order,
    )


def extensible(bits: int, identifier: bytes, valid: int = 0) -> bytes:
    return fmt(0xFFFE, bits, more=struct.pack("<HHI", 22, valid, 4) + identifier)


def riff(
    *chunks: bytes, head: bytes = b"RIFF", length: int | None = None, order: str = "<"
) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return head + struct.pack(order + "I", len(body) if length is None else length) + body


LIST = chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"Lavf60.3.100\0"))
PCM = SOUND.astype("<i2").tobytes()
FLOAT = (SOUND / 32768).astype("<f4").tobytes()

UNDERSTOOD = {
    "plain": riff(fmt(), chunk(b"data", PCM)),
    "ffmpeg to a pipe": riff(fmt(), LIST, chunk(b"data", PCM, 0xFFFFFFFF), length=0xFFFFFFFF),
    "sox to a pipe": riff(fmt(), chunk(b"data", PCM, 0x7FFFF000), length=0x7FFFF024),
    "arecord to a pipe": riff(fmt(), chunk(b"data", PCM, 0x80000000), length=0x80000024),
    "header never finished": riff(fmt(), chunk(b"data", PCM, 0), length=0),
    "header of an empty file": riff(fmt(), chunk(b"data", PCM, 0), length=36),
    "unknown length, list behind": riff(
        fmt(), chunk(b"data", PCM, 0xFFFFFFFF), LIST, length=0xFFFFFFFF
    ),
    "never finished, list behind": riff(fmt(), chunk(b"data", PCM, 0), LIST, length=0),
    "length right, outer length wrong": riff(fmt(), chunk(b"data", PCM), length=0xFFFFFFFF),
    "lists before and behind": riff(LIST, fmt(), LIST, chunk(b"data", PCM), LIST),
    "odd list": riff(chunk(b"LIST", b"INFOabc"), fmt(), chunk(b"data", PCM)),
    "odd list without its padding": riff(
        chunk(b"LIST", b"INFOabc", pad=False), fmt(), chunk(b"data", PCM)
    ),
    "format behind the sound": riff(chunk(b"data", PCM), fmt()),
    "extensible": riff(extensible(16, PCM_IDENTIFIER, 16), chunk(b"data", PCM)),
    "extensible float": riff(extensible(32, FLOAT_IDENTIFIER, 32), chunk(b"data", FLOAT)),
    "float": riff(fmt(3, 32, more=bytes(2)), chunk(b"fact", bytes(4)), chunk(b"data", FLOAT)),
    "big-endian": riff(
        fmt(order=">"),
        chunk(b"data", SOUND.astype(">i2").tobytes(), order=">"),
        head=b"RIFX",
        order=">",
    ),
    "RF64": riff(
        chunk(b"ds64", struct.pack("<QQQI", 100, len(PCM), len(SOUND), 0)),
        fmt(),
        chunk(b"data", PCM, 0xFFFFFFFF),
        LIST,
        head=b"RF64",
        length=0xFFFFFFFF,
    ),
    "rubbish behind the sound": riff(
        fmt(), chunk(b"data", PCM), b"\xff\xff\xff\xff\xff\xff\xff\xff\xff"
    ),
}


@pytest.mark.parametrize("how", UNDERSTOOD)
def test_the_same_sound_in_every_writing(tmp_path: Path, how: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(UNDERSTOOD[how])
    samples, rate = read_wav(path)
    assert rate == 2000
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples * 32768, SOUND)
    assert wav_info(path).n == len(SOUND)
    np.testing.assert_array_equal(decode_wav(path.read_bytes(), "cell")[0], samples)


def test_text_of_lists_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    for how in ("ffmpeg to a pipe", "lists before and behind"):
        path.write_bytes(UNDERSTOOD[how])
        assert "Lavf60" in wav_info(path).text


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (riff(fmt(), chunk(b"data", b"")), "has no samples"),
        (riff(fmt(), chunk(b"data", b"", 0), LIST), "has no samples"),
        (riff(fmt(), chunk(b"data", b"", 0xFFFFFFFF), length=0xFFFFFFFF), "has no samples"),
        (riff(fmt(), chunk(b"data", b"", 0xFFFFFFFF), LIST, length=0xFFFFFFFF), "has no samples"),
        (riff(fmt(), chunk(b"data", PCM, 500)), "cut short: its header promises 500 bytes"),
        (riff(fmt(), chunk(b"data", PCM), chunk(b"data", PCM)), "two chunks of sound"),
        (riff(fmt(block=4), chunk(b"data", PCM)), "blocks of 4 bytes; wanted 2"),
        (riff(extensible(16, bytes(16)), chunk(b"data", PCM)), "16-bit format 65534"),
        (riff(fmt(0xFFFE), chunk(b"data", PCM)), "16-bit format 65534"),
        (riff(extensible(16, b"\x06\x00" + PCM_IDENTIFIER[2:]), chunk(b"data", PCM)), "format 6"),
        (riff(fmt(), chunk(b"data", PCM), head=b"RIFX"), "has no data chunk"),
        (
            riff(
                chunk(b"ds64", struct.pack("<QQQI", 100, 900, 450, 0)),
                fmt(),
                chunk(b"data", PCM, 0xFFFFFFFF),
                head=b"RF64",
            ),
            "cut short: its header promises 900 bytes",
        ),
    ],
)
def test_what_is_no_sound_of_ours(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    with pytest.raises(CorruptFileError, match=message):
        read_wav(path)
