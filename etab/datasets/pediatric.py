"""EchoNet-Pediatric: apical four-chamber and short-axis clips of children, EF and LV polygons.

Differences from EchoNet-Dynamic:

* Each view has a folder with its own tables.
* A trace is a closed outline of vertices (``X``, ``Y``), not a list of discs.
* ``Frame`` may be "No Systolic" or "No Diastolic".
* Some traced frames are after the last frame of their video. They are left out, as in the authors'
  code.
* ``Split`` is a fold from 0 to 9. Fold 0 is the test part, fold 1 the validation part, and the
  others are for training, as in CardioBench.
* A video is named ``<patient>-<study>-<instance>.avi``.

The counts on the authors' page (3,176 and 4,424 clips) and in copies in use (3,284 and 4,526)
differ, so that no counts are compared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from etab.datasets.base import SOURCES, Card, Fault
from etab.datasets.paths import find_folder
from etab.datasets.traced import (
    EF_LIMIT,
    check_there,
    check_unique,
    filled,
    maybe,
    number_between,
    phase_answers,
)
from etab.datasets.videos import VideoSource, stem, video_name
from etab.errors import CorruptFileError
from etab.readers.table import is_blank, read_table
from etab.splits import check_leaks
from etab.storage.text import counted
from etab.types import Answer, Array, Cut, FloatArray, Kind, Record, Target

_VIEWS = ("A4C", "PSAX")
UNTRACED = ("No Systolic", "No Diastolic")
_NESTED = Path("pediatric_echo_avi") / "pediatric_echo_avi"
_WANTED = (
    "the folder that contains A4C/ and PSAX/, each with FileList.csv, VolumeTracings.csv and "
    "Videos/"
)
_Traces = Mapping[str, Mapping[int, FloatArray]]

_CARD = Card(
    name="pediatric",
    title="EchoNet-Pediatric",
    code="P",
    modality="echo",
    views=_VIEWS,
    targets=(
        Target("LV_seg", Kind.MASK, description="left ventricular cavity"),
        Target(
            "EF",
            Kind.VALUE,
            unit="%",
            description="ejection fraction (5/6 area-length, from both views)",
        ),
        Target(
            "ES/ED",
            Kind.BINARY,
            classes=("ED", "ES"),
            description="end-diastole or end-systole",
        ),
        Target(
            "CM",
            Kind.BINARY,
            classes=("EF >= 50", "EF < 50"),
            description="cardiomyopathy: EF below 50 %",
            cut=Cut("EF", EF_LIMIT),
        ),
        Target(
            "view",
            Kind.CLASSES,
            classes=_VIEWS,
            description="apical 4-chamber or parasternal short-axis view",
        ),
    ),
    licence="Stanford University Dataset Research Use Agreement: non-commercial, no redistribution",
    citation=(
        "Reddy et al., J Am Soc Echocardiogr 36(5):482-489, 2023, doi:10.1016/j.echo.2023.01.015"
    ),
    access="registration at Stanford AIMI",
)


@SOURCES.register("pediatric")
class PediatricSource(VideoSource):
    """EchoNet-Pediatric as published: the folders ``A4C`` and ``PSAX``."""

    card: ClassVar[Card] = _CARD
    marker_levels: ClassVar[int] = 2

    def __init__(self, root: Path) -> None:
        """Find the data.

        Raises:
            DataNotFoundError: ``root`` is not a folder.
            LayoutError: The folder has another layout; the message names the folder to pass.
        """
        super().__init__(_find(Path(root)))
        self._records: tuple[Record, ...] | None = None
        self._traces: dict[str, _Traces] = {}

    def records(self) -> Sequence[Record]:
        """List every row of both FileList.csv, A4C first; unlisted videos are not in the data set.

        Returns:
            The records.

        Raises:
            LayoutError: A video is missing; the message names the first one.
            CorruptFileError: A row cannot be read.
            SplitError: A patient is in two parts.
        """
        if self._records is None:
            records: list[Record] = []
            for view in self._views():
                table = self.root / view / "FileList.csv"
                listed = self._list(table, view)
                check_unique(table, listed)
                listed = self._there(listed)
                check_there(
                    table,
                    self.root / view / "Videos",
                    (Path(r.files["video"]).name for r in listed),
                )
                records += listed
            check_leaks(records, "each FileList.csv")
            self._records = tuple(records)
        return self._records

    def _list(self, table: Path, view: str) -> list[Record]:
        """Make a record of each row of a table."""

        def known(row: Mapping[str, str]) -> Fault:
            name = stem(row["FileName"] or "")
            return Fault(f"{name}_{view}", "", name.split("-")[0], view)

        rows = read_table(table, ("FileName", "EF", "Split"), ragged=True)
        return self._listed(rows, lambda row: _record(table, view, row), known)

    def answers(
        self,
        record: Record,
        target: Target,
        at: Collection[int] | None = None,
    ) -> tuple[Answer, ...]:
        """Return the reference values.

        A video that is traced in one phase has one mask and no "ES/ED" value.

        Args:
            record: A recording of this source.
            target: A target of the card.
            at: Frame numbers, from 0; values of other frames are left out. None takes all.

        Returns:
            The values in frame order; empty if the authors give none.

        Raises:
            UnknownNameError: The card has no such target.
            CorruptFileError: A file cannot be read, or contradicts another.
            LayoutError: A published file is missing.
        """
        if target.name == "EF":
            return (Answer(float(record.meta["EF"])),)
        if target.name == "CM":
            return (Answer(int(record.meta["EF"] < EF_LIMIT)),)
        if target.name == "view":
            return (Answer(_VIEWS.index(record.view)),)
        self.card.target(target.name)
        masks = self._masks(record)
        if target.name == "LV_seg":
            answers = [Answer(mask, frame) for frame, mask in masks.items()]
        else:
            answers = phase_answers(masks)
        return tuple(answer for answer in answers if at is None or answer.at in at)

    def annotated(self, record: Record, target: Target) -> tuple[int | None, ...]:
        """List the frames with a reference value, from the traces and the header of the video only.

        Args:
            record: A recording of this source.
            target: A target of the card.

        Returns:
            Frame numbers, or None for a value of the whole recording; empty without a value.
        """
        if target.name in ("EF", "CM", "view"):
            return (None,)
        self.card.target(target.name)
        traced = tuple(self._trace(record))
        return traced if target.name == "LV_seg" or len(traced) == 2 else ()

    def shared_files(self) -> Sequence[str]:
        """Name the two tables of each view."""
        return [
            f"{view}/{name}"
            for view in self._views()
            for name in ("FileList.csv", "VolumeTracings.csv")
        ]

    def remarks(self) -> Sequence[str]:
        """Name absent views, and count videos with fewer than two traced frames."""
        remarks = [
            f"no folder {view} is here; this view is left out"
            for view in _VIEWS
            if view not in self._views()
        ]
        lv = self.card.target("LV_seg")
        few = [r.id for r in self.records() if len(self.annotated(r, lv)) < 2]
        if few:
            remarks.append(
                f"{counted(len(few), 'video is', 'videos are')} traced in fewer than two of "
                f"their frames, first {few[0]}"
            )
        return remarks

    def _views(self) -> tuple[str, ...]:
        """Return the views whose folder exists; a copy of one view serves its tasks."""
        return tuple(view for view in _VIEWS if (self.root / view).is_dir())

    def _masks(self, record: Record) -> dict[int, Array]:
        """Map the traced frames of a recording, in order, to masks of the video's size."""
        traces = self._trace(record)
        if not traces:
            return {}
        info = self.video_info(record)
        masks = {
            number: filled(points[:, 0], points[:, 1], (info.height, info.width))
            for number, points in traces.items()
        }
        table = self.root / record.view / "VolumeTracings.csv"
        for number, mask in masks.items():
            if not mask.any():
                raise CorruptFileError(
                    f"{table}: the trace of {record.id}, frame {number}, encloses nothing of its "
                    f"picture of {info.height} x {info.width} pixels. Restore both as published."
                )
        return masks

    def _trace(self, record: Record) -> dict[int, FloatArray]:
        """Map the traced frames that the video has, in order, to their vertices."""
        if record.view not in self._traces:
            self._traces[record.view] = _read_traces(self.root / record.view / "VolumeTracings.csv")
        traces = self._traces[record.view].get(Path(record.files["video"]).stem, {})
        n = self.n_frames(record) if traces else 0
        return {number: traces[number] for number in sorted(traces) if number < n}


def _find(root: Path) -> Path:
    """Find the folder of the views at or near ``root``."""
    near = [
        root,
        root / _NESTED,
        root / "pediatric_echo_avi",
        root / "EchoNet-Pediatric" / _NESTED,
    ]
    if root.name in _VIEWS:
        near.append(root.absolute().parent)
    return find_folder(
        root,
        title="EchoNet-Pediatric",
        wanted=_WANTED,
        near=near,
        holds=lambda path: any((path / view).is_dir() for view in _VIEWS),
        lacks=lambda: f"{root / 'A4C' / 'FileList.csv'} is missing",
    )


def _record(table: Path, view: str, row: Mapping[str, str]) -> Record:
    """Make the record of a row of FileList.csv."""
    name = video_name(table, row["FileName"])
    fold = int(number_between(table, row, "Split", 0, 9))
    meta: dict[str, object] = {
        "EF": number_between(table, row, "EF", 0, 100),
        "fold": fold,
    }
    for key in ("Age", "Weight", "Height"):
        value = maybe(row.get(key))
        if value is not None:
            meta[key] = value
    sex = (row.get("Sex") or "").strip()[:1].upper()
    if sex in ("F", "M"):
        meta["Sex"] = sex
    part = {0: "test", 1: "val"}.get(fold, "train")
    patient = name.split("-")[0]
    return Record(
        f"{name}_{view}",
        patient,
        view,
        part,
        None,
        {"video": f"{view}/Videos/{name}.avi"},
        meta,
    )


def _read_traces(table: Path) -> _Traces:
    """Read the vertices (n, 2) by video and frame, in the order of the table.

    Rows for phases that are not traced are left out.

    Raises:
        CorruptFileError: A line holds neither a vertex nor a word of the release.
    """
    rows_of_videos: dict[str, dict[int, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    for line, row in enumerate(
        read_table(table, ("FileName", "X", "Y", "Frame"), ragged=True), start=2
    ):
        frame_cell = (row["Frame"] or "").strip()
        if frame_cell in UNTRACED:
            continue
        cells = [maybe(row[key]) for key in ("X", "Y", "Frame")]
        if cells[2] is not None and is_blank(row["X"]) and is_blank(row["Y"]):
            continue
        x, y, frame = cells
        if x is None or y is None or frame is None or frame < 0 or frame != int(frame):
            raise CorruptFileError(
                f"{table}, line {line}: X {row['X']!r}, Y {row['Y']!r}, Frame {frame_cell!r} are "
                "not a vertex. Download it again."
            )
        rows_of_videos[stem(row["FileName"])][int(frame)].append([x, y])
    return {
        video: {number: np.array(rows) for number, rows in frames.items()}
        for video, frames in rows_of_videos.items()
    }
