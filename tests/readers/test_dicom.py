"""DICOM: every syntax gives the picture that was put in; pydicom's own ultrasound files; nothing personal comes out."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")

from pydicom.sequence import Sequence  # noqa: E402

from etab.datasets.dataset import Dataset  # noqa: E402
from etab.datasets.dicom import DicomSource  # noqa: E402
from etab.echo.sector import sector  # noqa: E402
from etab.errors import (  # noqa: E402
    CorruptFileError,
    DataNotFoundError,
    LayoutError,
    MissingPackageError,
    UnsupportedOptionError,
)
from etab.readers import dicom as reader  # noqa: E402
from etab.readers.codestream import picture_size  # noqa: E402
from etab.readers.dicom import dicom_info, read_dicom  # noqa: E402
from etab.storage.clipcache import _Part  # noqa: E402
from etab.testing.datasets import check_dataset  # noqa: E402
from tests.trees import dicom as tree  # noqa: E402

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
LOSSY = {
    "jpeg": 12,
    "jpeg_mono": 12,
    "ybr_422": 2,
    "ybr_full": 2,
    "rgb": 1,
    "rgb_planar": 1,
    "rle": 1,
    "j2k": 1,
}


def luma(rgb: np.ndarray) -> np.ndarray:
    return np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in rgb]).astype(int)


@pytest.mark.parametrize("name", tree.KINDS)
def test_each_kind_gives_the_picture_that_was_put_in(tmp_path: Path, name: str) -> None:
    path = tree.save(tree.kind(name), tmp_path / "a.dcm")
    mono = "mono" in name or name == "palette"
    wanted = tree.grey(1).astype(int) if mono else luma(tree.colour(1))
    info, frames = dicom_info(path), read_dicom(path)
    assert (info.n_frames, info.rows, info.columns, info.fps) == (
        tree.N,
        tree.ROWS,
        tree.COLUMNS,
        50,
    )
    assert frames.dtype == np.uint8
    assert np.abs(frames - wanted).max() <= (40 if name.startswith("jpeg") else LOSSY.get(name, 0))
    assert np.abs(frames - wanted).mean() <= (4 if name.startswith("jpeg") else 0.6)
    assert np.array_equal(read_dicom(path, [4, 0, 4]), frames[[4, 0, 4]])
    for beyond in (tree.N, -1):
        with pytest.raises(
            UnsupportedOptionError, match=f"a.dcm has frames 0 to 5; it has no frame {beyond}"
        ):
            read_dicom(path, [beyond])


@pytest.mark.parametrize("name", ["mono", "j2k_mono", "rle_mono"])
def test_a_single_frame(tmp_path: Path, name: str) -> None:
    path = tree.save(tree.kind(name, n=1), tmp_path / "a.dcm")
    assert dicom_info(path).fps is None
    assert np.array_equal(read_dicom(path), tree.grey(1, 1))


@pytest.mark.parametrize(
    ("tags", "fps"),
    [
        ({"FrameTime": "25.0", "CineRate": "9"}, 40),
        ({"FrameTime": None, "FrameTimeVector": [0, 10, 10, 12, 10, 10]}, 100),
        ({"FrameTime": "0", "CineRate": "33"}, 33),
        ({"FrameTime": None, "RecommendedDisplayFrameRate": "60"}, 60),
        ({"FrameTime": None}, None),
        ({"FrameTime": "0.001"}, None),
    ],
)
def test_frame_rate(tmp_path: Path, tags: dict[str, object], fps: float | None) -> None:
    ds = tree.kind("mono")
    for key, value in tags.items():
        if value is None:
            delattr(ds, key)
        else:
            setattr(ds, key, value)
    assert dicom_info(tree.save(ds, tmp_path / "a.dcm")).fps == fps


def test_spacing_by_regions_that_lie_in_the_picture(tmp_path: Path) -> None:
    ds = tree.kind("mono")
    ds.SequenceOfUltrasoundRegions = Sequence([tree.region()])
    assert dicom_info(tree.save(ds, tmp_path / "a")).spacing == pytest.approx((1.0, 0.5))
    ds.SequenceOfUltrasoundRegions = Sequence([tree.region((16, 300, 24, 104))])
    assert dicom_info(tree.save(ds, tmp_path / "a")).spacing is None
    ds.SequenceOfUltrasoundRegions = Sequence([tree.region(), tree.region(mm=0.7)])
    assert dicom_info(tree.save(ds, tmp_path / "a")).spacing is None, (
        "two spacings in one picture are none"
    )
    del ds.SequenceOfUltrasoundRegions
    ds.PixelSpacing = [0.3, 0.4]
    assert dicom_info(tree.save(ds, tmp_path / "a")).spacing == pytest.approx((0.3, 0.4))


# --- pydicom's own ultrasound files: (file, frames, rows, columns, fps, mean grey of frame 0, sector box) ---

FILES = {
    "examples_ybr_color.dcm": (30, 240, 320, 30.0, 9.4816),
    "examples_palette.dcm": (1, 350, 800, None, 19.4428),
    "examples_rgb_color.dcm": (1, 240, 320, None, 35.3283),
    "examples_jpeg2k.dcm": (1, 480, 640, None, 35.5989),
    "ExplVR_BigEnd.dcm": (1, 60, 80, None, 222.4994),
}


@pytest.mark.parametrize("name", FILES)
def test_bundled_files_are_read_as_pydicom_reads_them(name: str) -> None:
    from pydicom.pixels import apply_color_lut, pixel_array

    n, rows, columns, fps, mean = FILES[name]
    info, frames = dicom_info(BUNDLED / name), read_dicom(BUNDLED / name)
    assert (info.n_frames, info.rows, info.columns, info.modality) == (n, rows, columns, "US")
    assert info.fps == (None if fps is None else pytest.approx(fps, abs=1e-3))
    assert info.spacing is None, "none of them has a region of its own size"
    assert frames.shape == (n, rows, columns)
    assert frames[0].mean() == pytest.approx(mean, abs=0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = pydicom.dcmread(BUNDLED / name)
        peer = pixel_array(ds)
        peer = (
            (apply_color_lut(peer, ds) >> 8).astype(np.uint8)
            if info.photometric == "PALETTE COLOR"
            else peer
        )
    assert np.abs(frames - luma(peer if n > 1 else peer[None])).max() <= (6 if n > 1 else 1)


def test_the_region_larger_than_its_picture() -> None:
    info = dicom_info(BUNDLED / "examples_ybr_color.dcm")
    (region,) = info.regions
    assert (region.x0, region.y0, region.x1, region.y1) == (84, 31, 595, 414)
    assert region.spacing is not None
    assert not region.inside(info.rows, info.columns)


def _bundled(tmp_path: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A bundled file as stored, and the same size with only what the source hands out."""
    (tmp_path / name).write_bytes((BUNDLED / name).read_bytes())
    source = DicomSource(tmp_path)
    (record,) = source.records()
    raw, shown = read_dicom(tmp_path / name), source.frames(record)
    whole = np.zeros_like(raw)
    top, bottom, left, right = source._sector(record).box
    whole[:, top:bottom, left:right] = shown
    return raw, whole


def test_the_apical_cine_keeps_its_sector_and_loses_its_text(tmp_path: Path) -> None:
    raw, shown = _bundled(tmp_path, "examples_ybr_color.dcm")
    for text in (
        np.s_[:, :25, :40],
        np.s_[:, :130, 290:],
        np.s_[:, 215:, :],
    ):  # labels, settings, the bar of buttons
        assert raw[text].max() > 60
        assert shown[text].max() == 0
    assert shown[:, 60:190, 130:230].sum() > 0.999 * raw[:, 60:190, 130:230].sum(), (
        "the heart is whole"
    )
    assert shown.sum() > 0.75 * raw[:, 20:210, 45:290].sum()


@pytest.mark.parametrize(
    ("name", "text", "picture"),
    [
        ("examples_jpeg2k.dcm", (np.s_[:, :105, :], np.s_[:, 345:, :]), np.s_[:, 130:300, 80:560]),
        ("examples_rgb_color.dcm", (np.s_[:, :50, :], np.s_[:, 175:, :]), np.s_[:, 70:150, 40:280]),
        (
            "examples_palette.dcm",
            (np.s_[:, :60, :], np.s_[:, :, :300], np.s_[:, :, 700:]),
            np.s_[:, 90:110, 360:560],
        ),
    ],
)
def test_stills_lose_their_text(
    tmp_path: Path, name: str, text: tuple[object, ...], picture: object
) -> None:
    raw, shown = _bundled(tmp_path, name)
    for part in text:
        assert raw[part].max() > 60  # type: ignore[index]
        assert shown[part].max() == 0  # type: ignore[index]
    assert np.array_equal(raw[picture], shown[picture])  # type: ignore[index]


# --- the source ---


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tree.write(tmp_path_factory.mktemp("dicom") / "made")


def test_contract(root: Path, tmp_path: Path) -> None:
    check_dataset(DicomSource, root, scratch=tmp_path)


def test_studies_become_recordings(root: Path) -> None:
    source = DicomSource(root)
    records = source.records()
    assert len(records) == 7
    assert dict(source.skipped) == {
        "study2/IM8": "it shows spectra or M-mode alone",
        "study2/IM9": "its modality is CT",
        "study2/SR1": "its modality is SR",
        "study2/notes.txt": "not a DICOM file",
    }
    assert {r.split for r in records} == {"train", "val", "test"}
    assert [r.view for r in records] == [
        "A4C",
        "unknown",
        "A2C",
        "unknown",
        "PLAX",
        "unknown",
        "unknown",
    ]
    assert len({r.patient for r in records}) == 3
    assert [source.still(r) for r in records] == [False] * 6 + [True]
    assert source.spacing(records[0]) == pytest.approx((1.0, 0.5))
    assert source.phantom


def test_nothing_personal_comes_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> str:
        return repr(
            [(r.id, r.patient, r.view, r.split, r.fps, r.meta) for r in DicomSource(root).records()]
        )

    plain = told()
    for word in ("PHANTOM", "MADE", "1.2.826", "498"):
        assert word not in plain
    monkeypatch.setenv("ETAB_DICOM_KEY", "a secret")
    assert told() != plain


def test_frames_hold_the_sector_and_nothing_else(root: Path) -> None:
    source = DicomSource(root)
    for record in source.records():
        raw = read_dicom(root / record.files["object"])
        found = source._sector(record)
        top, bottom, left, right = found.box
        assert top >= 12, "the name is in the box"
        assert bottom <= 92
        assert right <= 118
        shown = source.frames(record)
        inside = tree.inside()[top:bottom, left:right]
        assert np.array_equal(
            shown[:, inside & found.mask], raw[:, top:bottom, left:right][:, inside & found.mask]
        )
        assert (found.mask & inside).sum() > 0.93 * tree.inside().sum()
        assert (found.mask & ~inside).sum() < 0.12 * tree.inside().sum()
        assert shown[:, ~found.mask].max() == 0


def test_without_regions_the_sector_is_found_by_what_moves() -> None:
    frames = tree.grey(3)
    found = sector(frames)
    assert found is not None
    whole = np.zeros((tree.ROWS, tree.COLUMNS), bool)
    whole[found.box[0] : found.box[1], found.box[2] : found.box[3]] = found.mask
    assert (whole & tree.inside()).sum() > 0.93 * tree.inside().sum()
    assert not (whole & ~tree.inside())[:12].any()


def test_a_picture_without_a_sector_is_not_handed_out(tmp_path: Path) -> None:
    ds = tree.new("1", 1, 1, 3)
    text = np.zeros((3, 96, 128), np.uint8)
    for picture in text:
        cv2.putText(picture, "DOE JOHN", (2, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255, 1)
    tree.save(tree.fill(ds, text, "MONOCHROME2"), tmp_path / "a.dcm")
    source = DicomSource(tmp_path)
    with pytest.raises(CorruptFileError, match=r"a\.dcm: the ultrasound sector .*is not used"):
        source.frames(source.records()[0])


def test_a_cache_holds_masked_frames(root: Path, tmp_path: Path) -> None:
    options = {
        "root": root,
        "video": True,
        "clip_l": 4,
        "frame_l": 40,
        "frame_w": 40,
        "normalize": False,
    }
    kept = [Dataset("dicom", "EF", cache=tmp_path / "c", **options)[0][0] for _ in range(2)]  # type: ignore[arg-type]
    plain = Dataset("dicom", "EF", **options)[0][0]  # type: ignore[arg-type]
    assert kept[0].equal(plain)
    assert kept[1].equal(plain)


def test_what_is_hidden_never_reaches_the_disk(tmp_path: Path) -> None:
    """A name beside the sector, inside the box that is handed out: not in the clips that the cache wrote."""
    frames = tree.grey(1)
    for picture in frames:
        cv2.putText(picture, "DOE", (26, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.35, 255, 1)
    name = np.s_[:, 18:34, 26:44]
    assert not tree.inside()[name[1:]].any()
    ds = tree.fill(tree.new("1", 1, 1, len(frames)), frames, "MONOCHROME2")
    ds.SequenceOfUltrasoundRegions = Sequence([tree.region()])
    tree.save(ds, tmp_path / "t" / "IM0")
    (tmp_path / "t" / "labels.csv").write_text("file,view,patient,split,EF\nIM0,A4C,,train,50\n")
    source = DicomSource(tmp_path / "t")
    top, bottom, left, right = source._sector(source.records()[0]).box
    assert top < 20
    assert left < 30
    options = {
        "video": True,
        "clip_l": 4,
        "frame_l": bottom - top,
        "frame_w": right - left,
        "normalize": False,
    }
    Dataset("dicom", "EF", root=tmp_path / "t", cache=tmp_path / "c", **options)[0]  # type: ignore[arg-type]
    assert read_dicom(tmp_path / "t" / "IM0")[name].max() > 200
    (path,) = (tmp_path / "c").glob("*.clips")
    part = _Part(path)
    ((_, entry),) = part.scan()
    kept = part.view(entry)
    assert kept is not None
    assert kept.shape == (4, bottom - top, right - left)
    assert kept[:, 18 - top : 34 - top, 26 - left : 44 - left].max() == 0
    assert kept.max() > 100


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        ("../secret.dcm,,,,", CorruptFileError, "wanted a name inside the folder"),
        ("/etc/passwd,,,,", CorruptFileError, "wanted a name inside the folder"),
        ("study0/../../x,,,,", CorruptFileError, "wanted a name inside the folder"),
        ("study0/IM9,,,,", LayoutError, "study0/IM9 is missing"),
        ("study0/IM0,A4C,,train,120", CorruptFileError, "EF is '120'"),
        ("study0/IM0,A4C,,train,inf", CorruptFileError, "EF is 'inf'"),
        ("study0/IM0,A4C,,train,4_6", CorruptFileError, "EF is '4_6'"),
        ("study0/IM0,A9C,,train,", CorruptFileError, "No view is called 'A9C'"),
        ("study0/IM0,A4C,,trian,", CorruptFileError, "split is 'trian'"),
        ("study0/IM0,A4C,,train,\nstudy0/IM0,A4C,,train,", CorruptFileError, "listed twice"),
    ],
)
def test_labels_that_cannot_be(
    root: Path, tmp_path: Path, row: str, error: type[Exception], message: str
) -> None:
    tree.save(tree.kind("mono"), tmp_path / "study0" / "IM0")
    (tmp_path / "labels.csv").write_text(f"file,view,patient,split,EF\n{row}\n")
    with pytest.raises(error, match=message):
        DicomSource(tmp_path).records()


@pytest.mark.parametrize(
    ("text", "patient", "view", "split", "ef"),
    [
        ("file,view,patient,split,EF\nstudy0/IM0,A4C,7,train,46\n", "7", "A4C", "train", 46.0),
        ("file;view;patient;split;EF\nstudy0/IM0;A4C;7.0;train;46,5\n", "7", "A4C", "train", 46.5),
        ("file,view,patient,split,EF\nstudy0/IM0,nan,7.0,NA,null\n", "7", "unknown", "", None),
        (",file,EF,patient\n0,study0/IM0,4.6e1,p07\n", "p07", "unknown", "", 46.0),
    ],
)
def test_labels_saved_by_other_programs(
    tmp_path: Path, text: str, patient: str, view: str, split: str, ef: float | None
) -> None:
    tree.save(tree.kind("mono"), tmp_path / "study0" / "IM0")
    (tmp_path / "labels.csv").write_text(text)
    (record,) = DicomSource(tmp_path).records()
    assert (record.patient, record.view, record.split) == (patient, view, split)
    assert record.meta.get("EF") == ef


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("filename;ef", "has no column 'file'; it has 'filename, ef'. Its columns are file, view"),
        ("file;ef", "has the column 'ef'; wanted 'EF'"),
        ("File,EF", "has no column 'file'; it has 'File, EF'"),
    ],
)
def test_labels_under_other_names_are_told(tmp_path: Path, header: str, message: str) -> None:
    tree.save(tree.kind("mono"), tmp_path / "IM0")
    (tmp_path / "labels.csv").write_text(f"{header}\n{header.replace('f', 'g')}\n")
    with pytest.raises(CorruptFileError, match=message):
        DicomSource(tmp_path).records()


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="nowhere is not a folder"):
        DicomSource(tmp_path / "nowhere")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(LayoutError, match="holds no ultrasound: 1 files, 0 of them DICOM"):
        DicomSource(tmp_path).records()
    for k in range(2):
        tree.save(tree.kind("mono"), tmp_path / f"copy{k}")
    with pytest.raises(CorruptFileError, match=r"copy1 is the same object as copy0"):
        DicomSource(tmp_path).records()


def test_without_pydicom_the_command_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingPackageError, match=r'pip install "etab-bench\[dicom\]"'):
        dicom_info(root / "study0" / "IM0")


# --- damage ---


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"Rows": 60000}, "claims 6 frames of 128 x 60000"),
        ({"NumberOfFrames": 2_000_000_000}, "claims 2000000000 frames"),
        ({"NumberOfFrames": 60}, "truncated"),
        ({"Columns": 0}, "claims"),
        ({"BitsAllocated": 64}, "64 bits"),
        ({"SamplesPerPixel": 4}, "4 samples"),
        ({"PhotometricInterpretation": "CMYK"}, "its pixels are CMYK"),
    ],
)
def test_headers_that_lie(tmp_path: Path, tags: dict[str, object], message: str) -> None:
    ds = tree.kind("mono")
    for key, value in tags.items():
        setattr(ds, key, value)
    with pytest.raises(CorruptFileError, match=rf"a\.dcm .*{message}"):
        read_dicom(tree.save(ds, tmp_path / "a.dcm"))


@pytest.mark.parametrize("name", ["jpeg", "rle"])
def test_a_file_that_ends_inside_its_pixels_says_so(tmp_path: Path, name: str) -> None:
    path = tree.save(tree.kind(name), tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(CorruptFileError, match=r"a\.dcm cannot be read: it ends inside its pixels"):
        read_dicom(path)


@pytest.mark.parametrize("name", ["jpeg", "j2k"])
def test_a_codestream_of_another_size_is_refused_before_it_is_decoded(
    tmp_path: Path, name: str
) -> None:
    ds = tree.kind(name)
    ds.Rows, ds.Columns = 64, 64
    with pytest.raises(
        CorruptFileError, match=r"frame 0 is coded as 128 x 96 pixels, the header says 64 x 64"
    ):
        read_dicom(tree.save(ds, tmp_path / "a.dcm"))


def test_sizes_of_codestreams() -> None:
    assert picture_size(tree.jpegs(tree.grey(1, 1))[0]) == (tree.ROWS, tree.COLUMNS)
    assert picture_size(b"\xff\xd8\xff") is None
    assert picture_size(b"") is None


def test_the_reader_decodes_only_what_is_asked_for(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    jpeg = reader._jpeg
    monkeypatch.setattr(reader, "_jpeg", lambda *a: seen.append(1) or jpeg(*a))
    read_dicom(root / "study0" / "IM0", [2, 5, 2])
    assert len(seen) == 2
