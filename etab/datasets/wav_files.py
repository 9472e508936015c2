"""Shared by data sets of heart sounds with one WAV file a recording."""

from __future__ import annotations

from pathlib import Path

from etab.datasets.base import SoundSource
from etab.readers.audio import WavInfo, wav_info
from etab.types import Record


class WavSource(SoundSource):
    """A data set of WAV files: that of a recording has the role "audio"."""

    def __init__(self, root: Path) -> None:
        """Take the folder as published.

        Args:
            root: The folder.
        """
        super().__init__(root)
        self._phantom: bool | None = None

    @property
    def phantom(self) -> bool:
        """Whether the marker file or the INFO chunk of a recording marks the tree as a phantom."""
        if self._phantom is None:
            has_marker = any((folder / "PHANTOM").is_file() for folder in self._marked_folders())
            self._phantom = has_marker or any(
                "phantom" in self._info(record).text.lower() for record in self.records()
            )
        return self._phantom

    def n_samples(self, record: Record) -> int:
        """Count the samples, from the header of the audio file.

        Args:
            record: A recording of this source.
        """
        return self._info(record).n

    def _marked_folders(self) -> tuple[Path, ...]:
        """Folders whose marker file marks a phantom."""
        return (self.root,)

    def _info(self, record: Record) -> WavInfo:
        return wav_info(self.root / record.files["audio"])
