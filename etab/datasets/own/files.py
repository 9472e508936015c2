"""Frames, masks and sounds of any file that etab reads, chosen by the suffix of its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from etab.datasets.own.advice import in_own_words
from etab.echo.sector import sector
from etab.errors import CorruptFileError, LayoutError, MissingPackageError, UnsupportedOptionError
from etab.readers.audio import ONE_CHANNEL, read_wav, refuse_rate, wav_info
from etab.readers.container import open_with_pyav
from etab.readers.dicom import dicom_info, read_dicom
from etab.readers.dicom_header import is_dicom
from etab.readers.flac import require_flac
from etab.readers.metaimage import pixel_file
from etab.readers.pictures import read_mask_picture, read_picture
from etab.readers.still import read_still
from etab.readers.video import read_video, video_info
from etab.readers.volume import METAIMAGES, grey, labels, read_volume, volume_info
from etab.storage.listing import unread_links
from etab.storage.text import counted
from etab.types import Array, FloatArray, IntArray

_STILLS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
VOLUMES = (".nii", ".nii.gz", *METAIMAGES)
VIDEOS = (".avi", ".mp4", ".mov", ".mkv", ".webm", ".wmv")
DICOM = (".dcm", ".dicom", ".ima")
SOUNDS = (".wav", ".flac")
# Suffixes of files that lie beside recordings.
_OTHER = (".csv", ".tsv", ".txt", ".json", ".toml", ".xlsx", ".xls", ".md", ".pdf", ".parquet")
PICTURES = (*_STILLS, *VOLUMES, *VIDEOS, *DICOM)

# Samples of a packed sound beyond which it is not unpacked: seven hours at 4 kHz.
_LONGEST_SOUND = 100_000_000

# Frames that the ultrasound sector of a DICOM file is found from.
_LOOKED_AT = 12


def suffix_of(path: Path) -> str:
    """The suffix that decides how a file is read: ".nii.gz" is one suffix.

    Example:
        >>> suffix_of(Path("a/b.nii.gz")), suffix_of(Path("x.PNG"))
        ('.nii.gz', '.png')
    """
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def name_without_suffix(name: str) -> str:
    """A name without the suffix that decides how the file is read.

    Example:
        >>> name_without_suffix("a/b.nii.gz"), name_without_suffix("1.2.840.7")
        ('a/b', '1.2.840.7')
    """
    suffix = suffix_of(Path(name))
    return name[: -len(suffix)] if suffix in (*PICTURES, *SOUNDS) else name


def form_of(path: Path) -> str:
    """The suffix that decides how a file is read: of its name, or ".dcm" of its content.

    Scanners and archives export DICOM files without a suffix, or called by an identifier such as
    "1.2.840.7".

    Args:
        path: The file.

    Returns:
        The suffix as ``suffix_of``; ".dcm" for a DICOM file whose suffix is none that etab reads.
        The index of a medium (DICOMDIR) is not a recording.
    """
    suffix = suffix_of(path)
    if suffix in (*PICTURES, *SOUNDS) or path.name.upper() == "DICOMDIR":
        return suffix
    return ".dcm" if suffix not in _OTHER and is_dicom(path) else suffix


def files_beside(path: Path) -> list[Path]:
    """Find the files that hold a part of a recording and that no table lists.

    Args:
        path: The file that a table lists.

    Returns:
        The pixels of a MetaImage header; nothing where the header cannot be read, or for others.
    """
    if suffix_of(path) not in METAIMAGES:
        return []
    try:
        pixels = pixel_file(path)
    except (CorruptFileError, LayoutError):
        return []  # reported where the file is read
    return [] if pixels == path else [pixels]


@in_own_words
def frame_count(path: Path) -> int:
    """Count the frames of a picture or clip, from its header.

    Args:
        path: The file.

    Returns:
        The number of frames, 1 for a still.

    Raises:
        LayoutError: The file is absent, or its suffix is none of PICTURES.
        CorruptFileError: The file is damaged.
    """
    suffix = form_of(path)
    if suffix in _STILLS:
        _require(path)
        return 1
    if suffix in VOLUMES:
        return volume_info(path).shape[0]
    if suffix in DICOM:
        return dicom_info(path).n_frames
    if suffix in VIDEOS:
        return video_info(path).n_frames
    raise _unread(path, PICTURES)


@in_own_words
def file_fps(path: Path) -> float | None:
    """Frames a second that the header of a clip gives; None where it gives none."""
    suffix = form_of(path)
    if suffix in VIDEOS:
        return video_info(path).fps or None
    if suffix in DICOM:
        return dicom_info(path).fps
    return None


@in_own_words
def file_spacing(path: Path) -> tuple[float, float] | None:
    """Pixel spacing (row, column) in mm that a header gives; None where it gives none."""
    suffix = form_of(path)
    if suffix in VOLUMES:
        return volume_info(path).spacing
    if suffix in DICOM:
        return dicom_info(path).spacing
    return None


@in_own_words
def read_frames(path: Path, at: Sequence[int] | None = None) -> Array:
    """Read grey frames.

    Frames of DICOM files are 0 outside the ultrasound sector, where text may name a person.

    Args:
        path: The file.
        at: Frame numbers, from 0; None reads all.

    Returns:
        Frames (k, h, w) uint8.

    Raises:
        LayoutError: The file is absent, or its suffix is none of PICTURES.
        CorruptFileError: The file is damaged, or its numbers are not grey levels.
        UnsupportedOptionError: A frame does not exist.
    """
    suffix = form_of(path)
    if suffix in VIDEOS:
        return read_video(path, at)
    if suffix in DICOM:
        return _read_dicom(path, at)
    if suffix == ".png":
        frames = read_still(path)[None]
    elif suffix in _STILLS:
        frames = read_picture(path)[None]
    elif suffix in VOLUMES:
        frames = grey(path, read_volume(path).data)
    else:
        raise _unread(path, PICTURES)
    if at is None:
        return frames
    beyond = [number for number in at if not 0 <= number < len(frames)]
    if beyond:
        raise UnsupportedOptionError(
            f"{path} has frames 0 to {len(frames) - 1}; frame {beyond[0]} does not exist."
        )
    return frames[list(at)]


def _read_dicom(path: Path, at: Sequence[int] | None) -> Array:
    n = dicom_info(path).n_frames
    numbers = np.unique(np.linspace(0, n - 1, _LOOKED_AT).astype(int)).tolist()
    region = sector(read_dicom(path, numbers), [])
    if region is None:
        raise CorruptFileError(
            f"{path}: the ultrasound sector cannot be separated from its surroundings, where text may "
            "name a person. Leave the file out, or store its frames as pictures."
        )
    frames = read_dicom(path, at)
    top, bottom, left, right = region.box
    # Frames keep their size, so that masks drawn on them still fit.
    blanked = np.zeros_like(frames)
    blanked[:, top:bottom, left:right] = region.cut(frames)
    return blanked


@in_own_words
def mask_values(path: Path) -> list[int]:
    """The values above 0 of a mask, in order.

    Args:
        path: A mask, as for ``read_mask``.

    Raises:
        LayoutError: The file is absent, or no mask by its suffix.
        CorruptFileError: The file is damaged, or holds other numbers than whole ones.
    """
    values = np.unique(_whole_numbers(path))
    return [int(value) for value in values if value > 0]


@in_own_words
def read_mask(path: Path, pixel: int | None) -> Array:
    """Read masks of one structure.

    Args:
        path: A PNG picture, a TIFF picture, or a NIfTI or MetaImage volume, with one whole number
            for each pixel.
        pixel: Value of the structure; None for every value above 0.

    Returns:
        Masks (k, h, w), boolean.

    Raises:
        LayoutError: The file is absent, or of another kind.
        CorruptFileError: The file is damaged, or a pixel has several values.
    """
    values = _whole_numbers(path)
    return np.asarray(values > 0 if pixel is None else values == pixel)


def _whole_numbers(path: Path) -> IntArray:
    """Read the numbers of masks (k, h, w)."""
    suffix = form_of(path)
    if suffix in VOLUMES:
        return labels(path, read_volume(path).data, 255)
    if suffix in (".png", ".tif", ".tiff", ".bmp"):
        return read_mask_picture(path)[None]
    raise _unread(path, (".png", ".tif", ".bmp", *VOLUMES))


@in_own_words
def read_sound(path: Path) -> tuple[FloatArray, int]:
    """Read all samples of a sound.

    Args:
        path: A WAV or FLAC file with one channel. FLAC needs the extra "video" (PyAV).

    Returns:
        Samples (n,) float32 with full scale at 1, and their rate in Hz.

    Raises:
        LayoutError: The file is absent, or of another kind.
        CorruptFileError: The file is damaged, or has several channels.
        MissingPackageError: A FLAC file without PyAV.
    """
    suffix = form_of(path)
    if suffix == ".wav":
        return read_wav(path)
    if suffix == ".flac":
        return _read_flac(path)
    raise _unread(path, SOUNDS)


@in_own_words
def sound_facts(path: Path) -> tuple[int, int]:
    """Number of samples and rate in Hz of a sound; a WAV file is not read beyond its header."""
    if suffix_of(path) == ".wav":
        info = wav_info(path)
        return info.n, info.rate
    samples, rate = read_sound(path)
    return len(samples), rate


def _read_flac(path: Path) -> tuple[FloatArray, int]:
    require_flac(path, _LONGEST_SOUND)
    try:
        import av
    except ImportError as error:
        raise MissingPackageError(f'{path} needs PyAV: pip install "etab-bench[video]".') from error
    try:
        with open_with_pyav(path) as container:
            stream = container.streams.audio[0]
            if stream.codec_context.channels != 1:
                raise CorruptFileError(
                    f"{path} has {stream.codec_context.channels} channels; wanted 1. {ONE_CHANNEL}"
                )
            resampler = av.AudioResampler(format="flt", layout="mono")
            rate = int(stream.codec_context.sample_rate)
            refuse_rate(path, rate)
            parts = []
            n = 0
            for frame in container.decode(stream):
                parts += [part.to_ndarray().ravel() for part in resampler.resample(frame)]
                n += frame.samples
                if n > _LONGEST_SOUND:
                    raise CorruptFileError(
                        f"{path} holds more than {_LONGEST_SOUND:,} samples. Cut it into parts."
                    )
    except (av.FFmpegError, IndexError, OSError, MemoryError) as error:
        raise CorruptFileError(f"{path} is not a whole FLAC file: {error}.") from error
    if not parts:
        raise CorruptFileError(f"{path} holds no sound.")
    return np.concatenate(parts).astype(np.float32), rate


def _require(path: Path) -> None:
    if not path.is_file():
        raise LayoutError(f"{path} is missing. Restore it, or drop its row from the table.")


def _unread(path: Path, suffixes: Sequence[str]) -> LayoutError:
    return LayoutError(
        f"{path} ends with {suffix_of(path) or 'no suffix'}; wanted one of {', '.join(suffixes)}."
    )


def link_remarks(folder: Path) -> list[str]:
    """Say which links below a folder are not read: those to folders, and those to nothing.

    Args:
        folder: The folder of recordings.

    Returns:
        At most one sentence.
    """
    links = unread_links(folder)
    if not links:
        return []
    return [
        f"{counted(len(links), 'link')} to folders, or to files that are not there, "
        f"{'is' if len(links) == 1 else 'are'} not read: "
        f"{links[0].relative_to(folder).as_posix()}"
    ]
