"""Files of one's own as other programs write them: read with the values that viewers show, or refused with a next step."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from etab.datasets.own.description import read_description
from etab.datasets.own.draft import write_draft
from etab.datasets.own.files import (
    file_fps,
    frame_count,
    mask_values,
    read_frames,
    read_mask,
    read_sound,
)
from etab.datasets.own.registered import own_source
from etab.errors import CorruptFileError
from tests.datasets.own_tables import describe, film, write_table

pytestmark = pytest.mark.usefixtures("forget_own_data")

LABEL = '[labels.EF]\nkind = "value"\n'


@pytest.mark.parametrize("name", ["a.mha", "a.MHA", "a.mhd", "a.MHD", "a.nii", "a.NII.GZ"])
def test_suffixes_of_volumes_in_any_case(name: str, tmp_path: Path) -> None:
    import nibabel
    import SimpleITK

    frames = film(1, 3)
    path = tmp_path / name.lower()
    if ".m" in path.name:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(frames), str(path))
    else:
        nibabel.save(nibabel.Nifti1Image(frames.transpose(2, 1, 0), np.diag([-1, -1, 1, 1])), path)
    path = path.rename(tmp_path / name)
    assert frame_count(path) == 3
    assert np.array_equal(read_frames(path), frames)
    assert read_mask(path, None).shape == frames.shape


def test_pixels_beside_a_header_belong_to_the_data(tmp_path: Path) -> None:
    import SimpleITK

    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(film(1, 3)), str(tmp_path / "a.mhd"))
    write_table(tmp_path, [{"file": "a.mhd", "patient": "p1", "EF": 50}])
    description = read_description(describe(tmp_path, LABEL))
    before = own_source(description)(tmp_path)
    digest = before.digest()
    assert before.shared_files() == ["a.raw"]
    pixels = bytearray((tmp_path / "a.raw").read_bytes())
    pixels[100] ^= 1
    (tmp_path / "a.raw").write_bytes(pixels)
    assert own_source(description)(tmp_path).digest() != digest


def test_init_takes_metaimage_of_one_file(tmp_path: Path) -> None:
    import SimpleITK

    for name in ("p1", "p2"):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(film(1, 3)), str(tmp_path / f"{name}.mha"))
    assert write_draft(tmp_path).recordings == 2


# --- pictures ------------------------------------------------------------------------------------

_NOISE = np.random.default_rng(0).integers(0, 256, (40, 48)).astype(np.uint8)
GREY = cv2.GaussianBlur(_NOISE, (9, 9), 4)
COLOUR = np.stack([GREY, np.roll(GREY, 5, 1), np.roll(GREY, 9, 0)], -1)
# How a picture is turned that a camera stored with each orientation of EXIF.
TURNED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.T,
    6: lambda x: np.rot90(x, -1),
    7: lambda x: np.rot90(x, 2).T,
    8: lambda x: np.rot90(x, 1),
}


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("suffix", ["grey.jpg", "colour.jpg", "grey.png", "grey.tif", "colour.tif"])
def test_a_picture_lies_as_its_camera_says(suffix: str, orientation: int, tmp_path: Path) -> None:
    path = tmp_path / suffix
    pixels = GREY if "grey" in suffix else np.repeat(GREY[..., None], 3, -1)
    if suffix.endswith("tif"):
        Image.fromarray(pixels).save(path, tiffinfo={0x0112: orientation})
    else:
        Image.fromarray(pixels).save(path, exif=exif(orientation), quality=100)
    found = read_frames(path)[0].astype(int)
    expected = TURNED[orientation](GREY)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= (4 if suffix.endswith("jpg") else 0)


def _palette(pixels: np.ndarray, colours: list[int]) -> Image.Image:
    picture = Image.fromarray(pixels, mode="P")
    picture.putpalette(colours + [0] * (768 - len(colours)))
    return picture


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_palettes_are_the_colours_that_they_name(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    picture = Image.fromarray(COLOUR).quantize(64)
    picture.save(path)
    expected = np.asarray(picture.convert("RGB")) @ np.array([0.299, 0.587, 0.114])
    assert np.abs(read_frames(path)[0] - expected).max() <= 1.5


def test_cmyk_is_read_as_it_is_printed(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.tif"):
        picture = Image.fromarray(COLOUR).convert("CMYK")
        picture.save(tmp_path / name, quality=95)
        expected = np.asarray(Image.open(tmp_path / name).convert("RGB").convert("L")).astype(int)
        assert np.abs(read_frames(tmp_path / name)[0] - expected).max() <= 3


@pytest.mark.parametrize("name", ["grey.png", "colour.png", "colour.tif"])
@pytest.mark.parametrize(
    ("opacity", "level", "is_read"),
    [(255, 9, True), (0, 0, True), (0, 9, False), (128, 99, False)],
)
def test_what_is_transparent_is_black_or_refused(
    name: str, opacity: int, level: int, is_read: bool, tmp_path: Path
) -> None:
    alpha = np.full_like(GREY, 255)
    alpha[:5] = opacity
    grey = GREY.copy()
    grey[:5] = level
    channels = [grey, alpha] if name.startswith("grey") else [grey, grey, grey, alpha]
    bands = [Image.fromarray(channel) for channel in channels]
    Image.merge("LA" if len(bands) == 2 else "RGBA", bands).save(tmp_path / name)
    if name.endswith("tif") and opacity == 0:
        grey[:5] = 0  # libtiff lays a picture on black
        is_read = True
    if is_read:
        assert np.array_equal(read_frames(tmp_path / name)[0], grey)
        return
    with pytest.raises(CorruptFileError, match=r"240 pixels that are transparent and not black"):
        read_frames(tmp_path / name)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int32])
def test_more_than_eight_bits_are_refused(dtype: Any, tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(dtype)).save(tmp_path / "a.tif")
    with pytest.raises(CorruptFileError, match=r"bits a pixel; wanted 8\. Scale it to 0 to 255"):
        read_frames(tmp_path / "a.tif")


# --- masks ---------------------------------------------------------------------------------------

MASK = (GREY > 120).astype(np.uint8) + (GREY > 140)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_masks_with_a_palette_of_colours_hold_its_places(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    _palette(MASK, [0, 0, 0, 255, 0, 0, 0, 255, 0]).save(path)
    assert mask_values(path) == [1, 2]
    for pixel in (1, 2):
        assert np.array_equal(read_mask(path, pixel)[0], pixel == MASK)


def test_masks_with_a_palette_of_greys_hold_its_greys(tmp_path: Path) -> None:
    _palette(MASK, [0, 0, 0, 128, 128, 128, 255, 255, 255]).save(tmp_path / "a.png")
    assert mask_values(tmp_path / "a.png") == [128, 255]
    assert np.array_equal(read_mask(tmp_path / "a.png", 255)[0], MASK == 2)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (
            lambda path: Image.fromarray(MASK.astype(np.float32) / 2).save(path),
            "has fractions, as after interpolation",
        ),
        (lambda path: Image.fromarray(COLOUR).save(path), "is a colour picture; a mask has one"),
    ],
)
def test_masks_without_whole_numbers_are_refused(
    write: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    write(tmp_path / "a.tif")
    with pytest.raises(CorruptFileError, match=said):
        read_mask(tmp_path / "a.tif", 1)


def test_a_mask_drawn_as_opacity_is_refused(tmp_path: Path) -> None:
    white = np.full((*MASK.shape, 3), 255, np.uint8)
    opacity = 255 * (MASK > 0).astype(np.uint8)
    Image.fromarray(np.dstack([white, opacity])).save(tmp_path / "a.png")
    with pytest.raises(CorruptFileError, match="transparent and not black"):
        read_mask(tmp_path / "a.png", None)


def test_a_mask_that_is_to_be_turned_is_refused(tmp_path: Path) -> None:
    Image.fromarray(MASK).save(tmp_path / "a.png", exif=exif(3))
    with pytest.raises(
        CorruptFileError, match=r"to be turned before it is shown \(EXIF orientation 3\)"
    ):
        read_mask(tmp_path / "a.png", None)
    Image.fromarray(MASK).save(tmp_path / "a.png", exif=exif(1))
    assert np.array_equal(read_mask(tmp_path / "a.png", 1)[0], MASK == 1)


@pytest.mark.parametrize("note", [b"II*\0", b"xx"])
def test_a_damaged_note_of_how_a_mask_lies_is_an_error_of_the_file(
    note: bytes, tmp_path: Path
) -> None:
    """Pillow raises errors of several types for it."""
    path = tmp_path / "a.png"
    Image.fromarray(MASK).save(path)
    content = path.read_bytes()
    chunk = b"eXIf" + note
    size, checksum = (number.to_bytes(4, "big") for number in (len(note), zlib.crc32(chunk)))
    place = content.index(b"IDAT") - 4
    path.write_bytes(content[:place] + size + chunk + checksum + content[place:])
    with pytest.raises(CorruptFileError, match=r"a\.png cannot be read as a picture"):
        read_mask(path, None)


# --- films and sounds ----------------------------------------------------------------------------


def write_film(path: Path, times: list[int] | None = None) -> Path:
    """A film of 11 frames, 25 a second, or at times in ms."""
    av = pytest.importorskip("av")
    from fractions import Fraction

    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=25)
        stream.height, stream.width = GREY.shape
        stream.pix_fmt = "yuv420p"
        for number in range(11):
            frame = av.VideoFrame.from_ndarray(np.roll(GREY, number, 1), format="gray")
            frame = frame.reformat(format="yuv420p")
            if times is not None:
                frame.pts = times[number]
                frame.time_base = Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


def test_the_rate_of_a_film_is_that_of_its_frames(tmp_path: Path) -> None:
    assert file_fps(write_film(tmp_path / "a.mkv")) == 25
    uneven = [0, 40, 80, 160, 200, 400, 440, 480, 900, 940, 1000]
    # The header of this container says 25.
    assert file_fps(write_film(tmp_path / "b.mkv", uneven)) == pytest.approx(10, rel=0.01)


def test_a_film_that_players_turn_is_refused(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4")
    raw = bytearray(path.read_bytes())
    matrix = raw.find(b"tkhd") + 4 + 40
    raw[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(raw)
    with pytest.raises(CorruptFileError, match=r"turned by 90 degrees\. .* ffmpeg -i IN OUT"):
        read_frames(path)


@pytest.mark.parametrize(("form", "bits"), [("s16", 16), ("s32", 32)])
def test_flac_of_more_bits_is_exact(form: str, bits: int, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    kind = np.int16 if bits == 16 else np.int32
    wave = (np.array([0, 1, -1, 32767, -32768, 1234] * 200) << (bits - 16)).astype(kind)
    with av.open(str(tmp_path / "a.flac"), "w") as file:
        stream = file.add_stream("flac", rate=4000, layout="mono")
        stream.format = form
        part = av.AudioFrame.from_ndarray(wave[None], format=form, layout="mono")
        part.sample_rate = 4000
        file.mux([*stream.encode(part), *stream.encode(None)])
    samples, rate = read_sound(tmp_path / "a.flac")
    assert rate == 4000
    assert np.array_equal(samples, wave / 2.0 ** (bits - 1))
