"""Volumes as people's tools write them: ranges, colour, orientation, units, placeholders, and names that lead out."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from etab.errors import CorruptFileError, EtabError, LayoutError
from etab.readers.volume import grey, labels, read_volume, volume_info

PICTURE = np.random.default_rng(5).integers(0, 256, (7, 5)).astype(np.uint8)
CLIP = np.random.default_rng(6).integers(0, 256, (3, 7, 5)).astype(np.uint8)
PUBLISHED = np.diag([-0.5, -0.25, 1, 1])
HEAD = "ObjectType = Image\nNDims = 2\nDimSize = 5 7\nElementSpacing = 0.5 0.25\nElementType = MET_UCHAR\n"


def nifti(path: Path, pixels: np.ndarray, affine: Any = PUBLISHED, **fields: Any) -> Path:
    """Store (rows, columns) or (frames, rows, columns) with x first; ``fields`` are set in the header afterwards."""
    image = nib.Nifti1Image(pixels.T, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    if fields:
        plain = bytearray(path.read_bytes())
        stored = nib.Nifti1Header(bytes(plain[:348]), check=False)
        for name, value in fields.items():
            index, number = value if isinstance(value, tuple) else (None, value)
            if index is None:
                stored[name] = number
            else:
                stored[name][index] = number
        plain[:348] = stored.binaryblock
        path.write_bytes(plain)
    return path


def meta(path: Path, lines: str, pixels: bytes = b"") -> Path:
    path.write_text(lines)
    if pixels:
        (path.parent / "a.raw").write_bytes(pixels)
    return path


# --- the range of grey levels ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("top", [1.0, 0.9, 0.3])
def test_fractions_up_to_one_keep_their_levels(tmp_path: Path, dtype: type, top: float) -> None:
    stored = (PICTURE / 255 * top).astype(dtype)
    made = grey(tmp_path / "a.nii", stored)
    assert made.dtype == np.uint8
    assert np.abs(made.astype(float) - PICTURE * top).max() <= 0.7


@pytest.mark.parametrize("slope", [1 / 65535, 1 / 255**2, 1e-6])
def test_fractions_far_below_one_are_not_rounded_to_a_few_levels(
    tmp_path: Path, slope: float
) -> None:
    path = nifti(tmp_path / "a.nii", PICTURE, scl_slope=slope, scl_inter=0)
    with pytest.raises(CorruptFileError, match="not clear which of them is white"):
        grey(path, read_volume(path).data)


def test_a_scale_of_the_header_may_give_fractions(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", PICTURE, scl_slope=1 / 255, scl_inter=0)
    assert np.array_equal(grey(path, read_volume(path).data)[0], PICTURE)


def test_interpolation_may_leave_the_unit_range_by_rounding(tmp_path: Path) -> None:
    stored = PICTURE.astype(np.float32) / 255
    stored[0, 0], stored[0, 1] = -1e-7, 1 + 1e-6
    made = grey(tmp_path / "a.nii", stored)
    assert (made[0, 0], made[0, 1]) == (0, 255)


def test_levels_with_fractions_and_black_pictures_pass(tmp_path: Path) -> None:
    stored = PICTURE.astype(np.float32)
    stored[0, 0] = 12.4
    assert grey(tmp_path / "a.nii", stored)[0, 0] == 12
    assert grey(tmp_path / "a.nii", np.zeros((2, 2), np.float32)).max() == 0
    assert grey(tmp_path / "a.nii", PICTURE.astype(np.int64)).dtype == np.uint8


@pytest.mark.parametrize(
    "stored",
    [
        PICTURE / 255 * 2 - 1,
        PICTURE / 255 * 2,
        PICTURE / 255 * 4.5,
        (PICTURE > 100).astype(np.uint8),
        (PICTURE > 100).astype(np.float32),
        PICTURE.astype(np.uint16) * 257,
        PICTURE.astype(np.int16) - 128,
        np.where(PICTURE > 250, np.inf, PICTURE),
        np.where(PICTURE > 250, np.nan, PICTURE / 255),
    ],
)
def test_ranges_that_cannot_be_told_are_refused(tmp_path: Path, stored: np.ndarray) -> None:
    with pytest.raises(CorruptFileError, match="grey levels are 0 to 255, or fractions"):
        grey(tmp_path / "a.nii", stored)


# --- colour and other numbers --------------------------------------------------------------------------------------


def colour(pixels: np.ndarray) -> np.ndarray:
    return np.stack([pixels, pixels // 2, 255 - pixels], axis=-1)


def luma(pixels: np.ndarray) -> np.ndarray:
    return np.rint(colour(pixels) @ [0.299, 0.587, 0.114]).astype(np.uint8)


@pytest.mark.parametrize("frames", [PICTURE[None], CLIP], ids=["still", "clip"])
def test_metaimage_in_colour_is_turned_to_grey(tmp_path: Path, frames: np.ndarray) -> None:
    image = SimpleITK.GetImageFromArray(colour(frames), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / "a.mhd"))
    volume = read_volume(tmp_path / "a.mhd")
    assert np.array_equal(volume.data, luma(frames))
    assert volume.info.channels == 3


def test_colour_that_is_grey_keeps_its_levels(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(np.stack([PICTURE] * 3, axis=-1), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / "a.mhd"))
    assert np.array_equal(read_volume(tmp_path / "a.mhd").data[0], PICTURE)


@pytest.mark.parametrize("names", ["RGB", "RGBA"])
def test_nifti_of_the_colour_types(tmp_path: Path, names: str) -> None:
    stored = np.zeros(CLIP.T.shape, dtype=[(name, "u1") for name in names])
    for channel, name in enumerate("RGB"):
        stored[name] = colour(CLIP)[..., channel].T
    nib.save(nib.Nifti1Image(stored, PUBLISHED), tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    assert np.array_equal(volume.data, luma(CLIP))
    assert volume.info.shape == CLIP.shape


def test_nifti_with_colour_in_its_fifth_axis(tmp_path: Path) -> None:
    stored = np.moveaxis(colour(PICTURE), (0, 1, 2), (1, 0, 2))[:, :, None, None, :]
    nib.save(nib.Nifti1Image(stored, PUBLISHED), tmp_path / "a.nii")
    assert np.array_equal(read_volume(tmp_path / "a.nii").data[0], luma(PICTURE))


@pytest.mark.parametrize("channels", [2, 5])
def test_other_numbers_of_channels_are_refused(tmp_path: Path, channels: int) -> None:
    image = SimpleITK.GetImageFromArray(np.stack([PICTURE] * channels, axis=-1), isVector=True)
    SimpleITK.WriteImage(image, str(tmp_path / "a.mhd"))
    with pytest.raises(CorruptFileError, match=f"{channels} channels"):
        read_volume(tmp_path / "a.mhd")


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (np.zeros((4, 5, 6, 7), np.uint8), "its shape is"),
        (np.zeros((4, 5, 6, 1, 3), np.complex64), "type complex64"),
        (np.zeros((4, 5, 1, 1, 2), np.uint8), "its shape is"),
        (np.zeros(4, np.uint8), "its shape is"),
    ],
)
def test_nifti_of_other_shapes_and_types_is_refused(
    tmp_path: Path, stored: np.ndarray, message: str
) -> None:
    nib.save(nib.Nifti1Image(stored, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(CorruptFileError, match=message):
        read_volume(tmp_path / "a.nii.gz")


# --- orientation and units -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [(1, 0), (0, 1)], ids=["sform", "qform"])
@pytest.mark.parametrize("names", ["LP", "RP", "LA", "RA", "PL", "AL", "PR", "AR"])
def test_a_reoriented_nifti_is_turned_back(
    tmp_path: Path, names: str, code: tuple[int, int]
) -> None:
    still = nib.Nifti1Image(np.ascontiguousarray(PICTURE.T)[..., None], PUBLISHED)
    start = nib.orientations.io_orientation(still.affine)
    goal = nib.orientations.axcodes2ornt((*names, "S"))
    image = still.as_reoriented(nib.orientations.ornt_transform(start, goal))
    affine = image.affine.copy()
    image.set_sform(affine, code[0])
    image.set_qform(affine, code[1])
    nib.save(image, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    assert np.array_equal(volume.data[0], PICTURE)
    assert volume.info.shape == (1, *PICTURE.shape)
    assert volume.info.spacing == pytest.approx((0.25, 0.5))
    assert volume.info.orientation == names
    assert volume_info(tmp_path / "a.nii.gz") == volume.info


@pytest.mark.parametrize("affine", [np.eye(4), None], ids=["identity", "none"])
def test_tools_without_an_orientation_keep_the_picture(tmp_path: Path, affine: Any) -> None:
    nib.save(nib.Nifti1Image(PICTURE.T, affine), tmp_path / "a.nii")
    volume = read_volume(tmp_path / "a.nii")
    assert np.array_equal(volume.data[0], PICTURE)
    assert volume.info.orientation == ""


def test_an_odd_affine_costs_the_orientation_alone(tmp_path: Path) -> None:
    path = nifti(tmp_path / "a.nii", PICTURE, srow_x=np.full(4, np.nan))
    assert np.array_equal(read_volume(path).data[0], PICTURE)


@pytest.mark.parametrize(
    "affine",
    [
        np.diag([0.5, 0.25, 1, 1]),
        np.array([[-0.5, 0, 0, 0], [0, 0, 1, 0], [0, -0.25, 0, 0], [0, 0, 0, 1]]),
        np.array([[-0.4, 0.4, 0, 0], [-0.4, -0.4, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    ],
    ids=["half a turn or none", "another plane", "between the axes"],
)
def test_orientations_that_cannot_be_put_right_are_refused(
    tmp_path: Path, affine: np.ndarray
) -> None:
    with pytest.raises(CorruptFileError, match=r"affine|columns point along"):
        read_volume(nifti(tmp_path / "a.nii", PICTURE, affine))


@pytest.mark.parametrize("signs", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_a_flipped_metaimage_is_turned_back(tmp_path: Path, signs: tuple[int, int]) -> None:
    stored = PICTURE[:: signs[1], :: signs[0]]
    for axes in (2, 3):
        image = SimpleITK.GetImageFromArray(
            np.ascontiguousarray(stored if axes == 2 else stored[None])
        )
        image.SetDirection(np.diag([*signs, 1][:axes]).astype(float).ravel().tolist())
        image.SetSpacing([0.5, 0.25, 1][:axes])
        SimpleITK.WriteImage(image, str(tmp_path / "a.mhd"))
        volume = read_volume(tmp_path / "a.mhd")
        assert np.array_equal(volume.data[0], PICTURE)
        assert volume.info.spacing == pytest.approx((0.25, 0.5))


def test_a_transposed_metaimage_is_turned_back(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(PICTURE.T))
    image.SetDirection([0.0, 1.0, 1.0, 0.0])
    image.SetSpacing([0.25, 0.5])
    SimpleITK.WriteImage(image, str(tmp_path / "a.mhd"))
    volume = read_volume(tmp_path / "a.mhd")
    assert np.array_equal(volume.data[0], PICTURE)
    assert volume.info.spacing == pytest.approx((0.25, 0.5))
    assert volume_info(tmp_path / "a.mhd") == volume.info


@pytest.mark.parametrize(("unit", "factor"), [(0, 1), (1, 1e-3), (2, 1), (3, 1e3), (10, 1), (7, 1)])
def test_units_of_pixels(tmp_path: Path, unit: int, factor: float) -> None:
    path = nifti(
        tmp_path / "a.nii",
        PICTURE,
        xyzt_units=unit,
        pixdim=np.array([1, 0.5 * factor, 0.25 * factor, 1, 0, 0, 0, 0]),
    )
    assert volume_info(path).spacing == pytest.approx((0.25, 0.5), rel=1e-5)


def test_a_size_that_is_not_given_is_not_invented(tmp_path: Path) -> None:
    zero = np.zeros(8)
    path = nifti(tmp_path / "a.nii", PICTURE, None, pixdim=zero, sform_code=0, qform_code=0)
    assert volume_info(path).spacing is None
    path = nifti(tmp_path / "a.nii", PICTURE, pixdim=zero)
    assert volume_info(path).spacing == pytest.approx((0.25, 0.5))
    lines = HEAD.replace("ElementSpacing = 0.5 0.25\n", "") + "ElementDataFile = a.raw\n"
    assert volume_info(meta(tmp_path / "a.mhd", lines, PICTURE.tobytes())).spacing is None
    lines = lines.replace("NDims", "ElementSpacing = 0,5 0,25\nTransformMatrix = a b c d\nNDims")
    volume = read_volume(meta(tmp_path / "a.mhd", lines, PICTURE.tobytes()))
    assert volume.info.spacing is None
    assert np.array_equal(volume.data[0], PICTURE)


@pytest.mark.parametrize(
    "fields",
    [
        {"descrip": b"\xff\xfe\x00odd"},
        {"cal_max": np.nan},
        {"xyzt_units": 255},
        {"qform_code": 9, "sform_code": 0, "quatern_b": np.nan},
        {"qform_code": 9, "sform_code": 0, "quatern_b": 9.0},
        {"intent_code": 9999},
        {"slice_code": 99},
        {"scl_slope": np.nan},
        {"toffset": np.inf},
        {"bitpix": 0},
        {"vox_offset": 0},
    ],
    ids=str,
)
def test_odd_optional_fields_cost_nothing_else(tmp_path: Path, fields: dict[str, Any]) -> None:
    volume = read_volume(nifti(tmp_path / "a.nii", PICTURE, **fields))
    assert np.array_equal(volume.data[0], PICTURE)


@pytest.mark.parametrize("offset", [np.nan, np.inf, -np.inf, 1e30])
def test_an_offset_that_is_no_place_is_refused(tmp_path: Path, offset: float) -> None:
    with pytest.raises(CorruptFileError, match="pixels begin at byte"):
        read_volume(nifti(tmp_path / "a.nii", PICTURE, vox_offset=offset))


# --- placeholders, byte order, packing -----------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, -1])
@pytest.mark.parametrize("packed", [False, True])
def test_frames_that_the_header_leaves_open_are_counted(
    tmp_path: Path, length: int, packed: bool
) -> None:
    path = nifti(tmp_path / "a.nii", CLIP, dim=(3, length))
    if packed:
        (tmp_path / "a.nii.gz").write_bytes(gzip.compress(path.read_bytes()))
        path = tmp_path / "a.nii.gz"
    assert np.array_equal(read_volume(path).data, CLIP)
    assert volume_info(path).shape == CLIP.shape
    lines = HEAD.replace("NDims = 2\nDimSize = 5 7", f"NDims = 3\nDimSize = 5 7 {length}")
    raw = CLIP.tobytes()
    if packed:
        lines, raw = lines + "CompressedData = True\n", zlib.compress(raw)
    path = meta(tmp_path / "a.mhd", lines + "ElementDataFile = a.raw\n", raw)
    assert np.array_equal(read_volume(path).data, CLIP)
    assert volume_info(path).shape == CLIP.shape


@pytest.mark.parametrize("key", ["BinaryDataByteOrderMSB", "ElementByteOrderMSB"])
@pytest.mark.parametrize("value", ["True", "true", "T", "1"])
def test_metaimage_of_either_byte_order(tmp_path: Path, key: str, value: str) -> None:
    stored = PICTURE.astype(">u2")
    lines = HEAD.replace("UCHAR", "USHORT") + f"{key} = {value}\nElementDataFile = a.raw\n"
    data = read_volume(meta(tmp_path / "a.mhd", lines, stored.tobytes())).data
    assert np.array_equal(data[0], PICTURE)
    assert data.dtype.isnative


@pytest.mark.parametrize("skip", [11, -1])
def test_metaimage_with_a_header_before_its_pixels(tmp_path: Path, skip: int) -> None:
    lines = HEAD + f"HeaderSize = {skip}\nElementDataFile = a.raw\n"
    path = meta(tmp_path / "a.mhd", lines, b"x" * 11 + PICTURE.tobytes())
    assert np.array_equal(read_volume(path).data[0], PICTURE)


@pytest.mark.parametrize("word", [b"LOCAL", b"Local", b"local"])
@pytest.mark.parametrize("packed", [False, True])
def test_metaimage_that_holds_its_pixels(tmp_path: Path, packed: bool, word: bytes) -> None:
    image = SimpleITK.GetImageFromArray(PICTURE)
    SimpleITK.WriteImage(image, str(tmp_path / "a.mha"), useCompression=packed)
    content = (tmp_path / "a.mha").read_bytes().replace(b"LOCAL", word)
    (tmp_path / "a.mhd").write_bytes(content)
    assert np.array_equal(read_volume(tmp_path / "a.mhd").data[0], PICTURE)


def test_packed_pixels_are_read_to_their_promise_and_checked(tmp_path: Path) -> None:
    lines = HEAD + "CompressedData = True\nElementDataFile = a.raw\n"
    whole = zlib.compress(PICTURE.tobytes())
    assert np.array_equal(read_volume(meta(tmp_path / "a.mhd", lines, whole)).data[0], PICTURE)
    for damaged, message in (
        (whole[:-2], "end early"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "damaged"),
        (zlib.compress(PICTURE.tobytes() + b"x"), "more than"),
        (zlib.compress(PICTURE.tobytes()[:-1]), "truncated"),
    ):
        with pytest.raises(CorruptFileError, match=message):
            read_volume(meta(tmp_path / "a.mhd", lines, damaged))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("NDims = 2", "NDims = 3"),
        ("5 7", "5 x"),
        ("5 7", "5"),
        ("5 7", "0 7"),
        ("5 7", "5 7 3 9"),
        ("MET_UCHAR", "MET_STRING"),
        ("MET_UCHAR", "MET_UCHAR_ARRAY"),
        ("NDims = 2", "NDims = two"),
        ("NDims = 2", "BinaryData = False"),
        ("NDims = 2", "DimSize = 4 4"),
        ("NDims = 2", "ElementNumberOfChannels = many"),
        ("ElementType = MET_UCHAR\n", ""),
    ],
)
def test_damaged_metaimage_headers_are_refused(tmp_path: Path, old: str, new: str) -> None:
    lines = HEAD.replace(old, new) + "ElementDataFile = a.raw\n"
    with pytest.raises(CorruptFileError, match=r"a\.mhd cannot be read"):
        read_volume(meta(tmp_path / "a.mhd", lines, PICTURE.tobytes()))


# --- names that lead out -------------------------------------------------------------------------------------------

SECRET = b"0123456789ABCDEF" * 8


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    """A folder of data beside a file that must not be read."""
    (tmp_path / "data" / "below").mkdir(parents=True)
    (tmp_path / "outside.txt").write_bytes(SECRET)
    (tmp_path / "data" / "inside.raw").write_bytes(b"." * 64)
    (tmp_path / "data" / "below" / "inside.raw").write_bytes(b"." * 64)
    (tmp_path / "data" / "link.raw").symlink_to(tmp_path / "outside.txt")
    (tmp_path / "data" / "out").symlink_to(tmp_path)
    os.link(tmp_path / "data" / "inside.raw", tmp_path / "data" / "hard.raw")
    return tmp_path / "data"


@pytest.mark.parametrize(
    "lines",
    [
        "ElementDataFile = ../outside.txt\n",
        "ElementDataFile = below/../../outside.txt\n",
        "ElementDataFile = ..\\outside.txt\n",
        "ElementDataFile = C:\\outside.txt\n",
        "ElementDataFile = {out}\n",
        "ElementDataFile={out}\n",
        "ElementDataFile = {out}\nElementDataFile = inside.raw\n",
        "ElementDataFile = inside.raw\nElementDataFile = {out}\n",
        "ElementDataFile = {out}\nElementDataFile = LOCAL\n",
        "ElementDataFile = LIST\n{out}\n",
        "ElementDataFile = LIST 2\n{out}\n",
        "ElementDataFile = ../outside.%03d 1 1 1\n",
        "ElementDataFile = slice%03d.raw 1 1 1\n",
        "ElementDataFile = link.raw\n",
        "ElementDataFile = out/outside.txt\n",
    ],
)
def test_no_header_names_pixels_outside_its_folder(inside: Path, lines: str) -> None:
    head = HEAD.replace("5 7", "8 8")
    path = inside / "x.mhd"
    path.write_text(head + lines.format(out=inside.parent / "outside.txt"))
    for read in (read_volume, volume_info):
        with pytest.raises(EtabError):
            read(path)


@pytest.mark.parametrize("name", ["inside.raw", "./inside.raw", "below/inside.raw", "hard.raw"])
def test_pixels_inside_the_folder_are_read(inside: Path, name: str) -> None:
    path = inside / "x.mhd"
    path.write_text(HEAD.replace("5 7", "8 8") + f"ElementDataFile = {name}\n")
    assert bytes(read_volume(path).data.ravel()) == b"." * 64
    linked = inside.parent / "linked"
    linked.symlink_to(inside)
    assert read_volume(linked / "x.mhd").data.shape == (1, 8, 8)
    (inside.parent / "y.mhd").symlink_to(path)
    with pytest.raises(LayoutError, match="missing"):
        read_volume(inside.parent / "y.mhd")


def test_masks_in_colour_do_not_pass_as_labels(tmp_path: Path) -> None:
    with pytest.raises(CorruptFileError, match="labels"):
        labels(tmp_path / "a.mhd", np.array([[[0, 76]]], np.uint8), 3)
