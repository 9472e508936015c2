"""Errors of a user's own files: what the file is by its content, and what its owner can do."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from etab.errors import CorruptFileError
from etab.files import open_regular
from etab.readers.signatures import HEAD_BYTES, kind_of_content

_Options = ParamSpec("_Options")
_Read = TypeVar("_Read")

# What readers advise for files that somebody published.
_OF_PUBLISHED = (
    "Download it again, or restore it as published.",
    "Download it again.",
    "Restore it as published.",
)
_OF_OWN = "Export it again."
_KIND_OF_SUFFIX = {
    ".png": "a PNG picture",
    ".jpg": "a JPEG picture",
    ".jpeg": "a JPEG picture",
    ".tif": "a TIFF picture",
    ".tiff": "a TIFF picture",
    ".avi": "an AVI video",
    ".mp4": "an MP4 video",
    ".mov": "an MP4 video",
    ".wav": "a WAV sound",
    ".flac": "a FLAC sound",
    ".dcm": "a DICOM object",
    ".dicom": "a DICOM object",
    ".ima": "a DICOM object",
    ".gz": "a gzip archive",
}


def in_own_words(
    read: Callable[Concatenate[Path, _Options], _Read],
) -> Callable[Concatenate[Path, _Options], _Read]:
    """Let a function that reads a file advise the file's owner where the file is damaged.

    Args:
        read: The function; its first argument is the path.

    Returns:
        The function with other words in its errors.
    """

    @wraps(read)
    def reading(path: Path, /, *args: _Options.args, **options: _Options.kwargs) -> _Read:
        try:
            return read(path, *args, **options)
        except CorruptFileError as error:
            raise type(error)(_own_words(path, str(error))) from error

    return reading


def _own_words(path: Path, text: str) -> str:
    for advice in _OF_PUBLISHED:
        text = text.replace(advice, _OF_OWN)
    try:
        with open_regular(path) as file:
            kind = kind_of_content(file.read(HEAD_BYTES))
    except OSError:
        return text
    wanted = _KIND_OF_SUFFIX.get(path.suffix.lower(), "")
    if not kind or not wanted or kind == wanted or kind in text:
        return text
    return f"{text} By its content it is {kind}: name it so, or put the right file in its place."
