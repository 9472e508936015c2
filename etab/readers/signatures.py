"""Recognition of files by their first bytes, whatever their names are."""

from __future__ import annotations

LFS = b"version https://git-lfs"
"""First bytes of a pointer that Git LFS leaves in place of a file."""

HEAD_BYTES = 1024
"""Bytes that identify the format of a file."""

_SIGNATURES = (
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"II*\0", "a TIFF picture"),
    (0, b"MM\0*", "a TIFF picture"),
    (0, b"GIF8", "a GIF picture"),
    (8, b"WEBP", "a WebP picture"),
    (8, b"AVI ", "an AVI video"),
    (8, b"WAVE", "a WAV sound"),
    (0, b"fLaC", "a FLAC sound"),
    (0, b"ID3", "an MP3 sound"),
    (0, b"OggS", "an Ogg sound"),
    (4, b"ftyp", "an MP4 video"),
    (128, b"DICM", "a DICOM object"),
    (0, b"%PDF", "a PDF document"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"7z\xbc\xaf", "a 7z archive"),
    (0, b"Rar!", "a RAR archive"),
    (0, b"\x89HDF", "an HDF5 file"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"GGUF", "a GGUF file"),
)


def kind_of_content(start: bytes) -> str:
    """Recognise a file by its first bytes.

    Args:
        start: The first ``HEAD_BYTES`` bytes, or all of a shorter file.

    Returns:
        Such as "a PNG picture"; "" where the bytes do not identify a format.

    Example:
        >>> kind_of_content(b"<!DOCTYPE html><html>"), kind_of_content(b"abc")
        ('an HTML page', '')
    """
    if not start:
        return "an empty file"
    if start.startswith(LFS):
        return "a Git LFS pointer"
    for offset, signature, kind in _SIGNATURES:
        if start[offset : offset + len(signature)] == signature:
            return kind
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    return "an XML text" if text.startswith((b"<?xml", b"<error")) else ""
