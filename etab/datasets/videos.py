"""Sources with one video a recording, and the names of videos in their tables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

from etab.datasets.base import Source
from etab.errors import CorruptFileError
from etab.readers.video import VideoInfo, read_video, video_info, video_text
from etab.types import Array, Record


class VideoSource(Source):
    """A data set whose recordings are videos: the file of a recording has the role "video".

    ``marker_levels`` is how many folders above the root may hold the marker file of a phantom.
    """

    marker_levels: ClassVar[int] = 0
    _phantom: bool | None = None

    @property
    def phantom(self) -> bool:
        """Whether the marker file or the INFO chunk of a video marks the tree as a phantom."""
        if self._phantom is None:
            folders = [self.root, *list(self.root.absolute().parents)[: self.marker_levels]]
            has_marker = any((folder / "PHANTOM").is_file() for folder in folders)
            self._phantom = has_marker or any(
                _names_phantom(self.video(record)) for record in self.records()
            )
        return self._phantom

    def video(self, record: Record) -> Path:
        """Return the path of the video of ``record``."""
        return self.root / record.files["video"]

    def video_info(self, record: Record) -> VideoInfo:
        """Read the header of ``record``'s video; counts and rates of tables are not trusted."""
        return video_info(self.video(record))

    def n_frames(self, record: Record) -> int:
        """Count the frames of ``record``, from its file."""
        return self.video_info(record).n_frames

    def frames(self, record: Record, at: Sequence[int] | None = None) -> Array:
        """Read frames; only the requested ones are decoded.

        Args:
            record: A recording of this source.
            at: k frame numbers, from 0; None reads all.

        Returns:
            Grey frames (k, h, w) uint8.

        Raises:
            UnsupportedOptionError: A frame does not exist.
            CorruptFileError: A file cannot be read.
        """
        return read_video(self.video(record), at)


def _names_phantom(path: Path) -> bool:
    return "phantom" in " ".join(video_text(path).values()).lower()


def stem(name: str) -> str:
    """Remove the suffix .avi from ``name``; only some tables write it."""
    return name.strip().removesuffix(".avi")


def video_name(table: Path, text: str) -> str:
    """Return the name of a video in a table, without its suffix.

    Args:
        table: The file, for messages.
        text: The cell of the table.

    Returns:
        The name.

    Raises:
        CorruptFileError: The cell is no name of a file in the folder of videos.
    """
    name = stem(text)
    path = PurePosixPath(name.replace("\\", "/"))
    if len(path.parts) != 1 or name in (".", "..") or re.match(r"[A-Za-z]:", name):
        raise CorruptFileError(
            f"{table} names the video {text[:80]!r}; wanted the name of a file in the folder of "
            "videos. "
            "Restore it as published."
        )
    return name
