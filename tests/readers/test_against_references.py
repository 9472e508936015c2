"""Readers against SimpleITK and against cv2's own whole-video reading; damaged files are named."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest
import SimpleITK
import simplejpeg

from etab.errors import CorruptFileError, LayoutError, UnsupportedOptionError
from etab.readers.video import read_video, video_info, video_text
from etab.readers.volume import grey, labels, read_volume, volume_info
from tests.trees import camus, echonet


@pytest.fixture
def still(tmp_path: Path) -> Path:
    camus.write_nifti(tmp_path / "a.nii.gz", camus.picture("patient0001", "4CH", 0), "made")
    return tmp_path / "a.nii.gz"


def test_nifti_is_read_as_simpleitk_reads_it(still: Path) -> None:
    peer = SimpleITK.ReadImage(str(still))
    volume = read_volume(still)
    assert np.array_equal(volume.data[0], SimpleITK.GetArrayFromImage(peer))
    assert volume.info.spacing == pytest.approx(peer.GetSpacing()[::-1])
    assert volume.info.shape == (1, *camus.SIZE)
    assert volume.info.description == "made"
    assert volume_info(still) == volume.info
    assert grey(still, volume.data).dtype == np.uint8
    assert np.array_equal(grey(still, volume.data)[0], camus.picture("patient0001", "4CH", 0))


def test_nifti_sequence_has_frames_first_and_depth_downwards(tmp_path: Path) -> None:
    frames = np.stack([camus.picture("patient0001", "4CH", s) for s in (0, 0.5, 1)])
    camus.write_nifti(tmp_path / "s.nii.gz", frames)
    data = read_volume(tmp_path / "s.nii.gz").data
    assert np.array_equal(data, frames)
    assert data[0, 0].mean() > data[0, -1].mean()
    assert np.array_equal(
        data, SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "s.nii.gz")))
    )


@pytest.mark.parametrize(("slope", "inter"), [(2.0, 0.0), (0.5, 3.0)])
def test_nifti_scaling_and_byte_order(tmp_path: Path, slope: float, inter: float) -> None:
    stored = np.arange(12, dtype=">i2").reshape(4, 3)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.dtype(">i2"))
    header.set_data_shape(stored.shape)
    header["pixdim"][1:3] = (0.3, 0.5)
    header["scl_slope"], header["scl_inter"], header["magic"], header["vox_offset"] = (
        slope,
        inter,
        b"n+1",
        352,
    )
    path = tmp_path / "b.nii"
    path.write_bytes(header.binaryblock + b"\0" * 4 + stored.tobytes(order="F"))
    volume = read_volume(path)
    assert np.allclose(volume.data[0], stored.T * slope + inter)
    assert volume.info.spacing == pytest.approx((0.5, 0.3))


def test_mhd_is_read_as_simpleitk_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.mhd"
    camus.write_mhd(path, np.stack([camus.picture("patient0002", "2CH", s) for s in (0, 1)]))
    peer = SimpleITK.ReadImage(str(path))
    volume = read_volume(path)
    assert np.array_equal(volume.data, SimpleITK.GetArrayFromImage(peer))
    assert volume.info.spacing == pytest.approx((peer.GetSpacing()[1], peer.GetSpacing()[0]))


def test_a_member_by_member_gzip_is_one_file(still: Path) -> None:
    plain = gzip.decompress(still.read_bytes())
    before = read_volume(still).data
    still.write_bytes(gzip.compress(plain[:1000]) + gzip.compress(plain[1000:]))
    assert np.array_equal(read_volume(still).data, before)


@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, -9, -3])
def test_truncated_nifti_is_named(still: Path, keep: float) -> None:
    raw = still.read_bytes()
    still.write_bytes(raw[: int(keep * len(raw)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(CorruptFileError, match=r"a\.nii\.gz"):
        read_volume(still)


def test_truncated_plain_nifti_is_named(still: Path) -> None:
    path = still.with_suffix("")
    path.write_bytes(gzip.decompress(still.read_bytes())[:-7])
    with pytest.raises(CorruptFileError, match=r"a\.nii .*ends early"):
        read_volume(path)


@pytest.mark.parametrize("where", [0.1, 0.5, 0.9, -8, -6])
def test_flipped_bit_in_nifti_is_named(still: Path, where: float) -> None:
    raw = bytearray(still.read_bytes())
    raw[int(where * len(raw)) if where > 0 else int(where)] ^= 0x10
    still.write_bytes(raw)
    with pytest.raises(CorruptFileError, match=r"a\.nii\.gz"):
        read_volume(still)


@pytest.mark.parametrize("shape", [(30000, 30000, 1), (8000, 8000, 30000), (-1, 40, 1), (0, 40, 1)])
def test_absurd_sizes_are_refused_before_they_are_loaded(
    still: Path, shape: tuple[int, int, int]
) -> None:
    plain = bytearray(gzip.decompress(still.read_bytes()))
    struct.pack_into("<4h", plain, 40, 3, *shape)
    still.write_bytes(gzip.compress(bytes(plain)))
    with pytest.raises(CorruptFileError, match="limit"):
        read_volume(still)


def test_what_is_no_nifti_and_what_is_absent(tmp_path: Path) -> None:
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(b"not an image" * 100))
    with pytest.raises(CorruptFileError, match="does not begin as a NIfTI"):
        read_volume(tmp_path / "x.nii.gz")
    with pytest.raises(LayoutError, match=r"y\.nii\.gz is missing"):
        read_volume(tmp_path / "y.nii.gz")


def test_damaged_mhd_is_named(tmp_path: Path) -> None:
    camus.write_mhd(tmp_path / "a.mhd", camus.picture("patient0001", "4CH", 0))
    raw = tmp_path / "a.raw"
    raw.write_bytes(raw.read_bytes()[:-5])
    with pytest.raises(CorruptFileError, match=r"a\.raw .*truncated"):
        read_volume(tmp_path / "a.mhd")
    raw.unlink()
    with pytest.raises(LayoutError, match=r"a\.raw is missing"):
        read_volume(tmp_path / "a.mhd")
    (tmp_path / "a.mhd").write_text("NDims = 2\n")
    with pytest.raises(CorruptFileError, match="DimSize"):
        read_volume(tmp_path / "a.mhd")


@pytest.mark.parametrize("bad", [-1.0, 300.0, np.nan])
def test_values_that_are_no_grey_level(tmp_path: Path, bad: float) -> None:
    data = np.full((1, 4, 4), bad, np.float32)
    with pytest.raises(CorruptFileError, match="grey levels"):
        grey(tmp_path / "a.nii.gz", data)


@pytest.mark.parametrize("bad", [4.0, 0.5, -1.0, np.nan])
def test_values_that_are_no_label(tmp_path: Path, bad: float) -> None:
    with pytest.raises(CorruptFileError, match="labels"):
        labels(tmp_path / "a.nii.gz", np.full((1, 4, 4), bad, np.float32), 3)


@pytest.fixture
def clip(tmp_path: Path) -> tuple[Path, list[np.ndarray]]:
    frames = [echonet.frame(0, k) for k in range(20)]
    echonet.write_avi(tmp_path / "v.avi", frames, 50)
    return tmp_path / "v.avi", frames


def _whole(path: Path) -> np.ndarray:
    capture, out = cv2.VideoCapture(str(path)), []
    while True:
        good, picture = capture.read()
        if not good:
            return np.stack(out)
        out.append(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))


def test_indexed_frames_are_those_of_the_whole_video(clip: tuple[Path, list[np.ndarray]]) -> None:
    path, frames = clip
    info = video_info(path)
    assert (info.n_frames, info.fps, info.height, info.width, info.codec) == (
        20,
        50,
        48,
        48,
        "MJPG",
    )
    whole = _whole(path).astype(int)
    mine = read_video(path, [7, 0, 19, 7])
    assert mine.dtype == np.uint8
    assert np.abs(mine.astype(int) - whole[[7, 0, 19, 7]]).max() <= 3
    assert np.abs(read_video(path).astype(int) - whole).max() <= 3
    assert np.abs(mine[0].astype(int) - frames[7]).mean() < 4


def test_only_the_frames_asked_for_are_decoded(
    clip: tuple[Path, list[np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    decode = simplejpeg.decode_jpeg
    monkeypatch.setattr(
        simplejpeg, "decode_jpeg", lambda *a, **k: calls.append(1) or decode(*a, **k)
    )
    read_video(clip[0], [4, 5])
    assert len(calls) == 2


def test_frames_without_an_index_are_found(clip: tuple[Path, list[np.ndarray]]) -> None:
    path, before = clip[0], read_video(clip[0])
    path.write_bytes(path.read_bytes().replace(b"idx1", b"JUNK"))
    assert np.array_equal(read_video(path), before)


def test_other_codecs_go_through_pyav(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV is not installed")
    frames = [echonet.frame(0, k) for k in range(12)]
    path = tmp_path / "v.avi"
    echonet.write_avi(path, frames, 25, "mp4v")
    assert video_info(path).n_frames == 12
    assert np.abs(read_video(path, [11, 2]).astype(int) - _whole(path)[[11, 2]]).max() <= 3


def test_info_chunk(clip: tuple[Path, list[np.ndarray]]) -> None:
    path, before = clip[0], read_video(clip[0])
    echonet.add_info(path, "phantom")
    assert video_text(path)["ICMT"] == "phantom"
    assert video_info(path).text["ICMT"] == "phantom"
    assert np.array_equal(read_video(path), before)


@pytest.mark.parametrize("keep", [0, 6, 200, 0.5])
def test_truncated_video_is_named(clip: tuple[Path, list[np.ndarray]], keep: float) -> None:
    raw = clip[0].read_bytes()
    clip[0].write_bytes(raw[: int(keep * len(raw)) if 0 < keep < 1 else int(keep)])
    for read in (read_video, video_info):
        with pytest.raises(CorruptFileError, match=r"v\.avi"):
            read(clip[0])


def test_frame_that_is_no_jpeg_is_named(clip: tuple[Path, list[np.ndarray]]) -> None:
    raw = clip[0].read_bytes()
    first = raw.index(b"\xff\xd8", raw.index(b"movi"))
    clip[0].write_bytes(raw[:first] + b"\0\0" + raw[first + 2 :])
    with pytest.raises(CorruptFileError, match="frame 0"):
        read_video(clip[0], [0])


def test_absent_video_and_frame_beyond_the_end(clip: tuple[Path, list[np.ndarray]]) -> None:
    with pytest.raises(LayoutError, match=r"w\.avi is missing"):
        read_video(clip[0].with_name("w.avi"))
    with pytest.raises(UnsupportedOptionError, match="no frame 20"):
        read_video(clip[0], [20])
