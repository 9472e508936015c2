"""WAV files as programs write them: placeholders, byte orders and chunks are understood, and nothing else is sound."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

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


# --- other widths of samples ---------------------------------------------------------------------

UNSIGNED = np.array([0, 1, 64, 127, 128, 129, 255], dtype=np.uint8)
WHOLE = np.array([-(1 << 31), -1, 0, 1, 1 << 30, (1 << 31) - 1], dtype=np.int64)


def whole(bits: int, order: str = "<", identifier: bytes = b"") -> tuple[bytes, np.ndarray]:
    """A file of whole numbers, and its samples by the definition of full scale."""
    if bits == 8:
        return riff(fmt(1, 8), chunk(b"data", UNSIGNED.tobytes())), (UNSIGNED - 128.0) / 128
    numbers = WHOLE >> (32 - bits)
    bytes_of = [
        int(number).to_bytes(bits // 8, "little" if order == "<" else "big", signed=True)
        for number in numbers
    ]
    head = extensible(bits, identifier, bits) if identifier else fmt(1, bits, order)
    sound = chunk(b"data", b"".join(bytes_of), order=order)
    head_bytes = b"RIFF" if order == "<" else b"RIFX"
    return riff(head, sound, head=head_bytes, order=order), numbers / 2.0 ** (bits - 1)


@pytest.mark.parametrize("bits", [8, 16, 24, 32])
@pytest.mark.parametrize("order", ["<", ">"])
def test_whole_numbers_of_every_width_have_full_scale_at_one(
    tmp_path: Path, bits: int, order: str
) -> None:
    path = tmp_path / "a.wav"
    data, expected = whole(bits, order if bits > 8 else "<")
    path.write_bytes(data)
    samples, rate = read_wav(path)
    assert rate == 2000
    assert wav_info(path).bits == bits
    np.testing.assert_array_equal(samples, expected.astype(np.float32))
    if bits < 32:
        np.testing.assert_array_equal(samples.astype(np.float64), expected)


@pytest.mark.parametrize("bits", [24, 32])
def test_wide_samples_of_the_extensible_format(tmp_path: Path, bits: int) -> None:
    data, expected = whole(bits, identifier=PCM_IDENTIFIER)
    np.testing.assert_array_equal(decode_wav(data, "cell")[0], expected.astype(np.float32))


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "f8"])
def test_what_scipy_writes_is_read_as_it_was(tmp_path: Path, dtype: str) -> None:
    wave = np.sin(np.arange(997) / 9)
    full = {"u1": 127, "i2": 32767, "i4": 2**31 - 1}.get(dtype, 1)
    whole_or_not = np.rint(wave * full) if full > 1 else wave
    stored = (whole_or_not + (128 if dtype == "u1" else 0)).astype(dtype)
    wavfile.write(tmp_path / "a.wav", 8000, stored)
    samples, rate = read_wav(tmp_path / "a.wav")
    assert (rate, len(samples)) == (8000, 997)
    np.testing.assert_allclose(samples, wave, atol=0.02 if dtype == "u1" else 1e-4)


def test_floating_point_of_64_bits(tmp_path: Path) -> None:
    numbers = np.array([-1.0, 0.1, 1 / 3, 1.25])
    path = tmp_path / "a.wav"
    path.write_bytes(riff(fmt(3, 64), chunk(b"data", numbers.astype("<f8").tobytes())))
    np.testing.assert_array_equal(read_wav(path)[0], numbers.astype(np.float32))


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([0.0, 1e300], r"holds samples that are not finite \(NaN\): 1"),
        ([0.0, np.nan], r"holds samples that are not finite \(NaN\): 1"),
        ([0.0, -20000.0], "floating-point samples up to 20000; their full scale is 1. Divide"),
    ],
)
def test_floating_point_that_is_no_sound(tmp_path: Path, numbers: list[float], said: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(riff(fmt(3, 64), chunk(b"data", np.array(numbers, "<f8").tobytes())))
    with pytest.raises(CorruptFileError, match=said):
        read_wav(path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (riff(fmt(1, 12, block=2), chunk(b"data", PCM)), "12-bit PCM; wanted PCM of 8, 16, 24 or"),
        (riff(fmt(1, 64), chunk(b"data", bytes(16))), "64-bit PCM; wanted PCM of 8, 16, 24 or 32"),
        (riff(fmt(3, 16), chunk(b"data", PCM)), "16-bit float; wanted PCM .* or float of 32 or 64"),
        (riff(fmt(7, 8), chunk(b"data", PCM)), r"8-bit format 7; .* ffmpeg -i IN -c:a pcm_s16le"),
    ],
)
def test_widths_that_are_not_read(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    with pytest.raises(CorruptFileError, match=said):
        wav_info(path)


def test_several_channels_are_refused_with_both_ways_out(tmp_path: Path) -> None:
    wavfile.write(tmp_path / "a.wav", 2000, np.zeros((9, 2), np.int16))
    with pytest.raises(CorruptFileError, match=r"2 channels; wanted 1\. Take the first .*or mix"):
        read_wav(tmp_path / "a.wav")


def test_published_recordings_of_fewer_bits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(whole(8)[0])
    with pytest.raises(CorruptFileError, match="has 8 bits a sample, and was published with more"):
        read_wav(path, rate=2000)
