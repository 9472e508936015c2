"""Decoding only what is asked for: AVI structure, PyAV from key frames, against whole-video reading by cv2."""

from __future__ import annotations

import multiprocessing
import struct
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from etab.errors import CorruptFileError, EtabError, MissingPackageError, UnsupportedOptionError
from etab.readers import avi as riff
from etab.readers import container
from etab.readers.video import read_video, video_info
from tests.trees import echonet

N = 40


def frames(n: int = N) -> list[np.ndarray]:
    """Frames that tell their number: a bar that grows, over a fixed texture."""
    rows = np.random.default_rng(5).integers(60, 120, (64, 96)).astype(np.uint8)
    out = []
    for k in range(n):
        picture = cv2.GaussianBlur(rows, (0, 0), 2)
        picture[20:40, : 2 * (k + 1)] = 230
        out.append(picture)
    return out


@pytest.fixture
def mjpg(tmp_path: Path) -> Path:
    echonet.write_avi(tmp_path / "v.avi", frames(), 50)
    return tmp_path / "v.avi"


def whole(path: Path) -> np.ndarray:
    """All frames by cv2 in colour, then grey: the way of the loaders before this one."""
    capture, out = cv2.VideoCapture(str(path)), []
    while True:
        good, picture = capture.read()
        if not good:
            return np.stack(out).astype(int)
        out.append(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def jpegs(path: Path) -> list[bytes]:
    with riff.Bytes(path) as data:
        found = riff.parse_avi(data)
        assert found is not None
        where = riff.spans(data, found)
        return [bytes(view) for view in riff.payloads(data, where, range(len(where)))]


def rebuilt(path: Path, movi: bytes, idx1: bytes = b"", n: int = N) -> Path:
    """The headers of an AVI over other frames."""
    raw = path.read_bytes()
    start = raw.index(b"LIST")
    size = struct.unpack_from("<I", raw, start + 4)[0]
    header = bytearray(raw[start : start + 8 + size])
    struct.pack_into("<I", header, header.index(b"strh") + 8 + 32, n)
    body = b"AVI " + bytes(header) + chunk(b"LIST", b"movi" + movi) + idx1
    out = path.with_name("r.avi")
    out.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return out


def test_a_scan_finds_what_the_index_finds(mjpg: Path) -> None:
    before = read_video(mjpg, [3, 39, 0])
    movi = b"".join(chunk(b"00dc", jpeg) for jpeg in jpegs(mjpg))
    assert np.array_equal(read_video(rebuilt(mjpg, movi), [3, 39, 0]), before)
    recs = b"".join(
        chunk(b"LIST", b"rec " + chunk(b"00dc", jpeg) + chunk(b"01wb", b"123"))
        for jpeg in jpegs(mjpg)
    )
    assert np.array_equal(read_video(rebuilt(mjpg, recs), [3, 39, 0]), before)


def test_an_index_from_the_start_of_the_file_and_one_that_lies(mjpg: Path) -> None:
    before, raw = read_video(mjpg), bytearray(mjpg.read_bytes())
    at = raw.rindex(b"idx1") + 8
    movi = raw.index(b"movi")
    entries = [list(struct.unpack_from("<4sIII", raw, at + 16 * k)) for k in range(N)]
    assert raw[movi + entries[0][2] : movi + entries[0][2] + 4] == b"00dc"
    for k, (name, flags, offset, size) in enumerate(entries):
        struct.pack_into("<4sIII", raw, at + 16 * k, name, flags, offset + movi, size)
    mjpg.write_bytes(raw)
    assert np.array_equal(read_video(mjpg), before)
    struct.pack_into("<I", raw, at + 16 * 7 + 8, entries[7][2] + movi + 2)
    mjpg.write_bytes(raw)
    with pytest.raises(CorruptFileError, match=r"v\.avi .*frame 7 is not a valid JPEG"):
        read_video(mjpg, [7])
    struct.pack_into("<I", raw, at + 16 * 7 + 8, 1 << 31)
    mjpg.write_bytes(raw)
    with pytest.raises(CorruptFileError, match=r"v\.avi .*index leads beyond its end"):
        read_video(mjpg, [7])
    struct.pack_into("<I", raw, at + 8, 5)
    mjpg.write_bytes(raw)
    assert np.array_equal(read_video(mjpg), before), (
        "an index that points nowhere is replaced by a scan"
    )


def test_a_second_stream_is_left_out(mjpg: Path) -> None:
    before = read_video(mjpg, [0, 11])
    movi = b"".join(chunk(b"00dc", jpeg) + chunk(b"01dc", b"not a frame") for jpeg in jpegs(mjpg))
    path = rebuilt(mjpg, movi)
    assert video_info(path).n_frames == N
    assert np.array_equal(read_video(path, [0, 11]), before)


def test_an_empty_chunk_repeats_the_frame_before_it(mjpg: Path) -> None:
    parts = jpegs(mjpg)
    parts[5] = parts[6] = b""
    path = rebuilt(mjpg, b"".join(chunk(b"00dc", part) for part in parts))
    found = read_video(path)
    assert np.array_equal(found[5], found[4])
    assert np.array_equal(found[6], found[4])
    assert np.array_equal(found[7], read_video(mjpg, [7])[0])


def test_more_than_one_riff(mjpg: Path) -> None:
    """OpenDML: the second gigabyte is a RIFF of its own; idx1 covers the first only."""
    before, parts = read_video(mjpg), jpegs(mjpg)
    rows, at = b"", 4
    for part in parts[:25]:
        rows += struct.pack("<4sIII", b"00dc", 16, at, len(part))
        at += 8 + len(part) + len(part) % 2
    first = b"".join(chunk(b"00dc", part) for part in parts[:25])
    path = rebuilt(mjpg, first, chunk(b"idx1", rows), n=25)
    assert np.array_equal(read_video(path), before[:25])
    second = b"AVIX" + chunk(
        b"LIST", b"movi" + b"".join(chunk(b"00dc", part) for part in parts[25:])
    )
    path.write_bytes(path.read_bytes() + chunk(b"RIFF", second))
    assert np.array_equal(read_video(path), before)


def test_jpegs_without_huffman_tables(mjpg: Path) -> None:
    """The abbreviated MJPG of capture cards: the standard tables are meant."""

    def stripped(jpeg: bytes) -> bytes:
        out, at = jpeg[:2], 2
        while jpeg[at + 1] != 0xDA:
            size = struct.unpack_from(">H", jpeg, at + 2)[0]
            out += b"" if jpeg[at + 1] == 0xC4 else jpeg[at : at + 2 + size]
            at += 2 + size
        return out + jpeg[at:]

    parts = [cv2.imencode(".jpg", picture)[1].tobytes() for picture in frames()]
    before = read_video(rebuilt(mjpg, b"".join(chunk(b"00dc", part) for part in parts)))
    bare = [stripped(part) for part in parts]
    assert all(len(a) < len(b) for a, b in zip(bare, parts, strict=True))
    assert np.array_equal(
        read_video(rebuilt(mjpg, b"".join(chunk(b"00dc", part) for part in bare))), before
    )


def test_a_truncated_jpeg_is_named_and_never_greyed_over(mjpg: Path) -> None:
    parts = jpegs(mjpg)
    parts[9] = parts[9][: len(parts[9]) // 2]
    path = rebuilt(mjpg, b"".join(chunk(b"00dc", part) for part in parts))
    with pytest.raises(CorruptFileError, match=r"r\.avi .*frame 9 is not a valid JPEG"):
        read_video(path)
    assert len(read_video(path, [8, 10])) == 2


def test_a_jpeg_of_another_size_is_named(mjpg: Path, tmp_path: Path) -> None:
    parts = jpegs(mjpg)
    for shape in ((32, 32), (512, 512)):
        parts[2] = cv2.imencode(".jpg", np.zeros(shape, np.uint8))[1].tobytes()
        path = rebuilt(mjpg, b"".join(chunk(b"00dc", part) for part in parts))
        with pytest.raises(CorruptFileError, match=r"r\.avi .*frame 2"):
            read_video(path, [2])


# --- PyAV ---


av = pytest.importorskip("av", reason="PyAV is not installed")
CODECS = {
    "h264.mp4": ("libx264", "yuv420p", {"bf": "3"}),
    "open.mp4": ("libx264", "yuv420p", {"x264-params": "open-gop=1:bframes=3"}),
    "mpeg4.avi": ("mpeg4", "yuv420p", {}),
    "ffv1.mkv": ("ffv1", "gray", {}),
    "raw.avi": ("rawvideo", "bgr24", {}),
    "full.mp4": ("libx264", "yuvj420p", {}),
    "vp9.webm": ("libvpx-vp9", "yuv420p", {"cpu-used": "8", "deadline": "realtime"}),
}


def encode(path: Path, codec: str, pixels: str, options: dict[str, str]) -> Path:
    return write(path, frames(), codec, pixels, options)


def write(
    path: Path, pictures: list[np.ndarray], codec: str, pixels: str, options: dict[str, str]
) -> Path:
    converter = av.video.reformatter.VideoReformatter()
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = pictures[0].shape
        stream.pix_fmt, stream.gop_size = pixels, 10
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="gray")
            file.mux(stream.encode(converter.reformat(frame, format=pixels)))
        file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", CODECS)
def test_other_codecs_give_the_frames_of_whole_reading(tmp_path: Path, name: str) -> None:
    path = encode(tmp_path / name, *CODECS[name])
    info, all_, peer = video_info(path), read_video(path), whole(path)
    assert (info.n_frames, info.fps, info.height, info.width) == (N, 25, 64, 96)
    assert all_.dtype == np.uint8
    assert np.abs(all_.astype(int) - peer).max() <= 3
    at = [31, 4, 39, 0, 12, 31]
    assert np.array_equal(read_video(path, at), all_[at])
    with pytest.raises(UnsupportedOptionError, match=f"no frame {N}"):
        read_video(path, [N])


def test_a_late_frame_is_had_from_its_key_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encode(tmp_path / "h264.mp4", *CODECS["h264.mp4"])
    seen = []
    convert = container._Grey.__call__
    monkeypatch.setattr(
        container._Grey, "__call__", lambda *frame: seen.append(1) or convert(*frame)
    )
    monkeypatch.setattr(
        container, "_count_and_decode", lambda *a: pytest.fail("decoded from the start")
    )
    assert len(read_video(path, [35, 36])) == 2
    assert len(seen) == 2


def test_frames_are_found_where_seeking_misses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = encode(tmp_path / "h264.mp4", *CODECS["h264.mp4"])
    before = read_video(path, [35, 3])
    monkeypatch.setattr(container, "_seek_and_decode", lambda *a: {})
    assert np.array_equal(read_video(path, [35, 3]), before)


def test_a_frame_is_the_same_alone_where_times_are_damaged(tmp_path: Path) -> None:
    """The decoder then gives frames in another order than their times."""
    sound = encode(tmp_path / "h264.mp4", *CODECS["h264.mp4"])
    path = tmp_path / "damaged.mp4"
    with av.open(str(sound)) as before, av.open(str(path), "w") as after:
        stream = after.add_stream_from_template(before.streams.video[0])
        packets = [packet for packet in before.demux(before.streams.video[0]) if packet.size]
        packets[-2].pts, packets[-1].pts = packets[-1].pts, packets[-2].pts
        for packet in packets:
            packet.stream = stream
            after.mux(packet)
    all_ = read_video(path)
    for number in range(N - 4, N):
        assert np.array_equal(read_video(path, [number])[0], all_[number])


def test_a_forked_process_reads_films_of_another_size(tmp_path: Path) -> None:
    """As a worker of a DataLoader does: it waited for threads that only its parent has."""
    first = encode(tmp_path / "first.mp4", *CODECS["h264.mp4"])
    small = [cv2.resize(picture, (48, 32)) for picture in frames(4)]
    second = write(tmp_path / "second.mp4", small, *CODECS["full.mp4"])
    read_video(first)
    child = multiprocessing.get_context("fork").Process(target=read_video, args=(second,))
    child.start()
    child.join(60)
    is_waiting = child.is_alive()
    child.kill()
    child.join()
    assert not is_waiting
    assert child.exitcode == 0


def test_damage_that_the_decoder_hides_is_named(tmp_path: Path) -> None:
    """It fills what it cannot decode from other frames, so that the same frame differs by a jump."""
    av = pytest.importorskip("av")
    path = encode(tmp_path / "h264.mp4", *CODECS["h264.mp4"])
    with av.open(str(path)) as file:
        packets = [
            (packet.size, packet.pos, packet.pts, packet.is_keyframe)
            for packet in file.demux(file.streams.video[0])
            if packet.size
        ]
    size, position, time, _ = max(packet for packet in packets if not packet[3])
    raw = bytearray(path.read_bytes())
    raw[position + size // 2 : position + size] = b"\xff" * (size - size // 2)
    path.write_bytes(raw)
    damaged = sorted(packet[2] for packet in packets).index(time)
    for at in (None, [damaged], [damaged, 0]):
        with pytest.raises(CorruptFileError, match=r"h264\.mp4.*(found damage|PyAV says)"):
            read_video(path, at)


def test_without_pyav_the_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = encode(tmp_path / "raw.avi", *CODECS["raw.avi"])
    monkeypatch.setitem(sys.modules, "av", None)
    for read in (read_video, video_info):
        with pytest.raises(
            MissingPackageError,
            match=r'raw\.avi is not an MJPG AVI.*pip install "etab-bench\[video\]"',
        ):
            read(path)


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
def test_a_truncated_container_is_named_or_whole(tmp_path: Path, keep: float) -> None:
    path = encode(tmp_path / "h264.mp4", *CODECS["h264.mp4"])
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(EtabError, match=r"h264\.mp4"):
        read_video(path)


def test_what_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"not a video" * 50)
    with pytest.raises(CorruptFileError, match=r"x\.mp4 cannot be read"):
        read_video(tmp_path / "x.mp4")


# --- memory ---

FLAT = """
import sys
from pathlib import Path
from benchmarks.perf.reading import native_cached, flat, numbers
from etab.storage.clipcache import ClipCache
from etab.readers.video import read_video
files, kept = sorted(Path(sys.argv[1]).glob("*.avi")), Path(sys.argv[2])
ways = {"decoding": lambda path: read_video(path, numbers(path)), "cache": native_cached(ClipCache(kept), files)}
for name, way in ways.items():
    found = flat(way, files, 3000)
    print(name, found["at_the_end_mib"] - found["after_a_tenth_mib"])
"""


@pytest.mark.slow
def test_memory_is_flat_over_thousands_of_clips(tmp_path: Path) -> None:
    pytest.importorskip("simplejpeg")
    (tmp_path / "v").mkdir()
    for i in range(3):
        echonet.write_avi(
            tmp_path / "v" / f"0X{i}.avi", [echonet.frame(i, k) for k in range(100)], 50
        )
    words = [sys.executable, "-c", FLAT, str(tmp_path / "v"), str(tmp_path / "kept")]
    run = subprocess.run(
        words, capture_output=True, text=True, timeout=250, cwd=Path(__file__).parents[2]
    )
    assert run.returncode == 0, run.stderr
    grown = {name: float(mib) for name, mib in (line.split() for line in run.stdout.splitlines())}
    assert set(grown) == {"decoding", "cache"}
    assert max(grown.values()) < 4, f"MiB more after 3,000 clips than after 300: {grown}"
