"""DICOM as scanners and archives write it: optional facts that do not parse, no preamble, counts left open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")

from pydicom.dataelem import RawDataElement  # noqa: E402
from pydicom.sequence import Sequence  # noqa: E402
from pydicom.tag import Tag  # noqa: E402

from etab.datasets.dicom import DicomSource  # noqa: E402
from etab.datasets.integrity.check import check  # noqa: E402
from etab.errors import CorruptFileError, EtabError  # noqa: E402
from etab.readers.dicom import dicom_info, is_dicom, read_dicom  # noqa: E402
from tests.trees import dicom as tree  # noqa: E402

# pydicom warns when it writes what these tests want written.
pytestmark = pytest.mark.filterwarnings("ignore")


def raw(keyword: str, vr: str, value: bytes) -> RawDataElement:
    """An element whose text is written as it is."""
    tag = Tag(pydicom.datadict.tag_for_keyword(keyword))
    value += b" " * (len(value) % 2)
    return RawDataElement(tag, vr, len(value), value, 0, False, True)


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("FrameTime", "DS", b"33,333"),
        ("FrameTime", "DS", b"n/a"),
        ("FrameTime", "DS", b"33.3.3"),
        ("FrameTimeVector", "DS", b"0\\33,3\\33,3"),
        ("CineRate", "IS", b"30,5"),
        ("CineRate", "IS", b"fast"),
        ("RecommendedDisplayFrameRate", "IS", b"x"),
        ("PixelSpacing", "DS", b"0,3\\0,3"),
        ("PixelSpacing", "DS", b"0.3"),
        ("HeartRate", "IS", b"72,5"),
        ("WindowCenter", "DS", b"127,5"),
        ("PatientWeight", "DS", b"80 kg"),
        ("StudyDate", "DA", b"yesterday"),
        ("SpecificCharacterSet", "CS", b"ISO_IR 999"),
        ("ImageComments", "LT", b"\xff\xfe\xfd"),
    ],
)
def test_an_optional_fact_that_does_not_parse_costs_that_fact(
    tmp_path: Path, keyword: str, vr: str, value: bytes
) -> None:
    ds = tree.kind("mono")
    del ds.FrameTime
    ds[keyword] = raw(keyword, vr, value)
    path = tree.save(ds, tmp_path / "a.dcm")
    assert value[:3] in path.read_bytes()
    info = dicom_info(path)
    assert (info.n_frames, info.fps, info.spacing) == (tree.N, None, None)
    assert np.array_equal(read_dicom(path), tree.grey(1))


def test_a_bad_frame_time_leaves_the_other_tags(tmp_path: Path) -> None:
    ds = tree.kind("mono")
    ds["FrameTime"] = raw("FrameTime", "DS", b"33,333")
    ds.CineRate = 25
    assert dicom_info(tree.save(ds, tmp_path / "a.dcm")).fps == 25


@pytest.mark.parametrize(
    ("keyword", "vr", "value"),
    [
        ("PhysicalDeltaX", "DS", b"0,05"),
        ("PhysicalDeltaY", "DS", b"bad"),
        ("PhysicalUnitsXDirection", "IS", b"3,0"),
        ("RegionLocationMinX0", "IS", b"16,5"),
        ("RegionDataType", "IS", b"one"),
    ],
)
def test_a_region_that_does_not_parse_costs_the_region(
    tmp_path: Path, keyword: str, vr: str, value: bytes
) -> None:
    part = tree.region()
    part[keyword] = raw(keyword, vr, value)
    ds = tree.kind("mono")
    ds.SequenceOfUltrasoundRegions = Sequence([part])
    path = tree.save(ds, tmp_path / "a.dcm")
    assert np.array_equal(read_dicom(path), tree.grey(1))
    if keyword != "RegionDataType":
        assert dicom_info(path).spacing is None


@pytest.mark.parametrize("kind", ["mono", "rgb", "ybr_422", "jpeg", "jpeg_mono", "rle_mono"])
@pytest.mark.parametrize("value", [b"0", b"", b"6,0"])
def test_a_count_that_is_left_open_is_taken_from_the_pixels(
    tmp_path: Path, kind: str, value: bytes
) -> None:
    ds = tree.kind(kind)
    whole = read_dicom(tree.save(ds, tmp_path / "a.dcm"))
    ds["NumberOfFrames"] = raw("NumberOfFrames", "IS", value)
    path = tree.save(ds, tmp_path / "b.dcm")
    assert dicom_info(path).n_frames == tree.N
    assert np.array_equal(read_dicom(path), whole)


@pytest.mark.parametrize("kind", ["mono", "jpeg", "rle_mono"])
@pytest.mark.parametrize("cut", [128, 132, "meta"])
def test_objects_without_a_preamble_are_read(tmp_path: Path, kind: str, cut: int | str) -> None:
    ds = tree.kind(kind)
    path = tree.save(ds, tmp_path / "a")
    whole = path.read_bytes()
    frames, info = read_dicom(path), dicom_info(path)
    if cut == "meta":
        # Without its file meta information an object names no transfer syntax.
        length = int.from_bytes(whole[140:144], "little")
        cut = 144 + length
    path.write_bytes(whole[int(cut) :])
    assert is_dicom(path)
    if kind != "mono" and int(cut) > 132:
        with pytest.raises(CorruptFileError, match="names no transfer syntax, and its pixels"):
            read_dicom(path)
        return
    assert np.array_equal(read_dicom(path), frames)
    assert dicom_info(path) == info


def test_implicit_objects_without_a_preamble_are_read(tmp_path: Path) -> None:
    ds = tree.kind("mono")
    for name, implicit, little in (("a", True, True), ("b", False, True)):
        pydicom.dcmwrite(
            tmp_path / name,
            pydicom.dataset.Dataset({e.tag: e for e in ds}),
            implicit_vr=implicit,
            little_endian=little,
        )
        assert np.array_equal(read_dicom(tmp_path / name), tree.grey(1))


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\x08\x00", b"hello " * 40, bytes(200), b"\x89PNG" * 9]
)
def test_other_files_are_no_dicom(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    assert not is_dicom(tmp_path / "a")
    with pytest.raises(CorruptFileError, match="does not begin as a DICOM file"):
        dicom_info(tmp_path / "a")


def test_nothing_in_a_folder_is_left_out_in_silence(tmp_path: Path) -> None:
    tree.save(tree.kind("mono", number=1), tmp_path / "a" / "clip0.dcm")
    plain = tree.save(tree.kind("mono", seed=2, number=2), tmp_path / "a" / "clip1")
    plain.write_bytes(plain.read_bytes()[132:])
    for name in ("a/notes.txt", "report.pdf", "a/picture.png", "scan"):
        (tmp_path / name).write_bytes(b"not an object, only text that is long enough to be one")
    for name in (".DS_Store", "a/._clip0.dcm", "__MACOSX/a/clip0.dcm", "Thumbs.db"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 200)
    source = DicomSource(tmp_path)
    assert len(source.records()) == 2
    names = "a/notes.txt, a/picture.png, report.pdf, scan"
    assert source.remarks() == [f"4 files left out, not a DICOM file: {names}"]
    assert names in check("dicom", tmp_path).render()


@pytest.mark.parametrize("name", ["clip.dcm", "clip.DCM", "clip.dicom", "clip.ima"])
def test_a_file_that_is_called_like_an_object_is_a_fault(tmp_path: Path, name: str) -> None:
    tree.save(tree.kind("mono"), tmp_path / "good.dcm")
    (tmp_path / name).write_bytes(b"<html>404</html>" * 20)
    with pytest.raises(CorruptFileError, match=f"{name} is named like a DICOM file"):
        DicomSource(tmp_path).records()
    source = DicomSource(tmp_path).lenient()
    assert len(source.records()) == 1
    assert [fault.id for fault in source.faults or ()] == [name]


# --- grey levels ---------------------------------------------------------------------------------------------------


def deep(pixels: np.ndarray, **facts: object) -> pydicom.dataset.FileDataset:
    return tree.fill(tree.new("1", 1, 1, len(pixels)), pixels, "MONOCHROME2", **facts)


def test_few_bits_fill_the_range(tmp_path: Path) -> None:
    pixels = (tree.grey(1) >> 4).astype(np.uint8)
    path = tree.save(deep(pixels, BitsStored=4, HighBit=3), tmp_path / "a.dcm")
    assert np.array_equal(read_dicom(path), np.rint(pixels * (255 / 15)).astype(np.uint8))


def test_a_window_says_what_is_white(tmp_path: Path) -> None:
    pixels = tree.grey(1).astype(np.uint16)
    facts = {"WindowCenter": "128", "WindowWidth": "256"}
    made = read_dicom(tree.save(deep(pixels, **facts), tmp_path / "a.dcm"))
    assert np.abs(made.astype(int) - tree.grey(1)).max() <= 1


@pytest.mark.parametrize("facts", [{}, {"BitsStored": 12, "HighBit": 11}])
def test_levels_in_too_many_bits_are_refused(tmp_path: Path, facts: dict[str, int]) -> None:
    path = tree.save(deep(tree.grey(1).astype(np.uint16), **facts), tmp_path / "a.dcm")
    with pytest.raises(CorruptFileError, match="no window says which of them is white"):
        read_dicom(path)


def test_fractions_are_refused_by_name(tmp_path: Path) -> None:
    ds = tree.kind("mono")
    del ds.PixelData
    ds.BitsAllocated = 32
    ds.FloatPixelData = (tree.grey(1) / 255).astype(np.float32).tobytes()
    with pytest.raises(EtabError, match="FloatPixelData"):
        read_dicom(tree.save(ds, tmp_path / "a.dcm"))
