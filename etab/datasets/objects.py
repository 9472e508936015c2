"""Shared by sources whose recordings are DICOM objects: frames of the sector, rates, tables."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from etab.datasets.absent import files_absent
from etab.datasets.base import Fault, Source
from etab.echo.sector import Sector, sector
from etab.errors import CorruptFileError
from etab.files import is_file
from etab.readers.dicom import DicomInfo, Region, dicom_info, read_dicom
from etab.types import Array, Record

OBJECT = "object"
"""Role of the DICOM file among the files of a recording."""

_LOOKED_AT = 12
_SECTORS_KEPT = 64
_TISSUE = 1
_COLOUR = 2


class ObjectSource(Source):
    """A data set with one DICOM object a recording: its file has the role "object".

    Frames are cut to the ultrasound sector, so that text, traces and logos around it, which
    identify people and scanners, never reach a backbone.
    """

    def __init__(self, root: Path) -> None:
        """Take the folder as published.

        Args:
            root: The folder.
        """
        super().__init__(root)
        self._infos: dict[str, DicomInfo] = {}
        self._sectors: OrderedDict[str, Sector] = OrderedDict()

    def n_frames(self, record: Record) -> int:
        """Count the frames of the object.

        Args:
            record: A recording of this source.
        """
        return self._info(record).n_frames

    def still(self, record: Record) -> bool:
        """Whether the recording is a single picture.

        Args:
            record: A recording of this source.
        """
        return self.n_frames(record) == 1

    def spacing(self, record: Record) -> tuple[float, float] | None:
        """Return the height and width of a pixel in mm.

        Args:
            record: A recording of this source.

        Returns:
            The two sizes; None if no region of the size of the picture states them.
        """
        return self._info(record).spacing

    def frames(self, record: Record, at: Sequence[int] | None = None) -> Array:
        """Read frames cropped to the ultrasound sector, with 0 outside it.

        Args:
            record: A recording of this source.
            at: k frame numbers, from 0; None reads all.

        Returns:
            Grey frames (k, h, w) uint8.

        Raises:
            UnsupportedOptionError: A frame does not exist.
            CorruptFileError: The file cannot be read, or no sector is found: an image is never
                returned unmasked.
        """
        return self._sector(record).cut(read_dicom(self._path(record), at))

    def _is_phantom(self) -> bool:
        """Whether the marker file, or a patient's name or a comment in an object, marks a phantom.

        Of objects that a table lists, the first one decides.
        """
        if (self.root / "PHANTOM").is_file():
            return True
        records = self.records()
        if records:
            self._info(records[0])
        return any("phantom" in info.comment.lower() for info in self._infos.values())

    def _with_rates(self, records: Sequence[Record]) -> list[Record]:
        """Read the frame rate of each object from its header.

        Objects that are missing or damaged are left out if the source is lenient.

        Raises:
            CorruptFileError: An object cannot be read, or holds no picture.
        """

        def rated(record: Record) -> Record:
            info = self._info(record)
            if not info.rows:
                raise CorruptFileError(f"{self._path(record)} holds no picture. Leave it out.")
            return replace(record, fps=info.fps)

        def fault(record: Record) -> Fault:
            return Fault(record.id, "", record.patient, record.view, record.split)

        return self._listed(self._there(records), rated, fault)

    def _path(self, record: Record) -> Path:
        return self.root / record.files[OBJECT]

    def _info(self, record: Record) -> DicomInfo:
        """Read the header of a recording once."""
        name = record.files[OBJECT]
        if name not in self._infos:
            self._infos[name] = dicom_info(self._path(record))
        return self._infos[name]

    def _sector(self, record: Record) -> Sector:
        """Find the sector of a recording from its regions and from up to 12 of its frames.

        The sectors of the 64 recordings that were read last stay in memory.
        """
        region = self._sectors.get(record.id)
        if region is None:
            info = self._info(record)
            numbers = np.unique(np.linspace(0, info.n_frames - 1, _LOOKED_AT).astype(int)).tolist()
            region = sector(read_dicom(self._path(record), numbers), _boxes(info))
            if region is None:
                raise CorruptFileError(
                    f"{self._path(record)}: the ultrasound sector cannot be separated from its "
                    "surroundings, where text may name a person, so the picture is not used. "
                    "Leave it out."
                )
            self._sectors[record.id] = region
            while len(self._sectors) > _SECTORS_KEPT:
                self._sectors.popitem(last=False)
        return region


def tissue_planes(info: DicomInfo) -> list[Region]:
    """Select the regions of an object that show 2-D pictures of tissue or colour flow.

    Args:
        info: The facts of its header.
    """
    return [region for region in info.regions if region.plane and region.data in (_TISSUE, _COLOUR)]


def _boxes(info: DicomInfo) -> list[tuple[int, int, int, int]]:
    """List the regions that show 2-D pictures.

    If one lies outside the frame, all were given for another frame size: the list is then empty.
    """
    planes = tissue_planes(info)
    if not all(region.inside(info.rows, info.columns) for region in planes):
        return []
    return [(region.y0, region.y1 + 1, region.x0, region.x1 + 1) for region in planes]


def object_path(
    table: Path,
    row: str,
    text: str,
) -> str:
    """Check the path of an object in a table.

    Args:
        table: The file, for messages.
        row: The key of the row, for messages.
        text: The cell: a path relative to a folder of the data set.

    Returns:
        The path with slashes.

    Raises:
        CorruptFileError: The path is absolute, or leads out of the folder.
    """
    name = text.strip().replace("\\", "/")
    path = PurePosixPath(name)
    has_drive = len(name) > 1 and name[1] == ":"
    if path.is_absolute() or has_drive or ".." in path.parts or not path.name:
        raise CorruptFileError(
            f"{table}: {row} names the file {text[:80]!r}; wanted a path inside the folder of the "
            "data set. Restore it as published."
        )
    return path.as_posix()


def check_objects(table: Path, root: Path, names: Sequence[str]) -> None:
    """Check that all listed objects exist.

    Args:
        table: The file that lists them, for messages.
        root: The folder that the names are relative to.
        names: The listed names of files.

    Raises:
        LayoutError: Objects are missing; the message names the first one.
    """
    absent = [name for name in names if not is_file(root / name)]
    if absent:
        raise files_absent([root / name for name in absent], "object", f"{table.name} lists")


def check_once(table: Path, rows_by_name: Mapping[str, Sequence[str]]) -> None:
    """Check that no object is listed in two rows.

    Args:
        table: The file, for messages.
        rows_by_name: The keys of the rows that list each object.

    Raises:
        CorruptFileError: An object is listed twice; the message names the first one.
    """
    for name, rows in rows_by_name.items():
        if len(rows) > 1:
            raise CorruptFileError(
                f"{table} lists {name} twice: in {rows[0]} and in {rows[1]}. Restore it as "
                "published."
            )
