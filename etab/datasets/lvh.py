"""EchoNet-LVH: 12,000 parasternal long-axis clips with wall thickness and cavity diameter.

Each measurement is a pair of points. ``MeasurementsList.csv`` has one row per measurement, with
columns in the order X1, X2, Y1, Y2. About a dozen rows are shifted in the columns Frames to
Height, and some have no FPS. Therefore the size and the number of frames are read from the video,
and so is the rate if no row gives it. One video is one patient, as in the authors' split.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from etab.datasets.absent import files_absent
from etab.datasets.base import SOURCES, Card, Fault
from etab.datasets.paths import find_folder
from etab.datasets.traced import maybe, number_between
from etab.datasets.videos import VideoSource, stem
from etab.errors import CorruptFileError, LayoutError
from etab.readers.table import read_table
from etab.readers.video import video_info
from etab.splits import check_leaks
from etab.storage.listing import visible
from etab.storage.text import counted
from etab.types import Answer, FloatArray, Kind, Record, Target

DIASTOLIC_CALCS = ("LVIDd", "IVSd", "LVPWd")
SYSTOLIC_CALCS = ("LVIDs", "IVSs", "LVPWs")
LARGEST_CM = 20.0
_TABLE = "MeasurementsList.csv"
_COLUMNS = ("HashedFileName", "Calc", "CalcValue", "Frame", "X1", "X2", "Y1", "Y2", "split")
_WANTED = f"the folder that contains {_TABLE} and Batch1/ to Batch4/"
_WORDS = {
    "LVID": "internal diameter of the left ventricle",
    "IVS": "thickness of the interventricular septum",
    "LVPW": "thickness of the posterior wall",
}
_PHASE = {"d": "end-diastole", "s": "end-systole"}


def _measurement_target(calc: str) -> Target:
    """Return the target of a measurement, such as "LVIDd"."""
    description = f"{_WORDS[calc[:-1]]} at {_PHASE[calc[-1]]}"
    return Target(
        calc,
        Kind.VALUE,
        unit="cm",
        description=description,
    )


_MEASUREMENT_TARGETS = [_measurement_target(calc) for calc in (*DIASTOLIC_CALCS, *SYSTOLIC_CALCS)]

_CARD = Card(
    name="lvh",
    title="EchoNet-LVH",
    code="L",
    modality="echo",
    views=("PLAX",),
    targets=(
        *_MEASUREMENT_TARGETS,
        Target(
            "ES/ED",
            Kind.BINARY,
            classes=("ED", "ES"),
            description="frame of the first LVIDd or of the first LVIDs",
        ),
        Target(
            "keypoints",
            Kind.KEYPOINTS,
            description="(6, 2) pixels x, y: the ends of IVSd, LVIDd and LVPWd; "
            "NaN where one was not measured in that frame or lies outside it",
        ),
    ),
    licence="Stanford University Dataset Research Use Agreement: non-commercial, no redistribution",
    citation="Duffy et al., JAMA Cardiology 7(4):386-395, 2022, doi:10.1001/jamacardio.2021.6059",
    access="registration at Stanford AIMI",
    counts={"patients": 12_000, "recordings": 12_000},
)


@dataclass(frozen=True, slots=True)
class Measure:
    """One measurement.

    Attributes:
        calc: Its name, such as "LVIDd".
        value: The distance in cm.
        at: The frame, from 0.
        points: (2, 2) x and y of both ends in pixels.
    """

    calc: str
    value: float
    at: int
    points: FloatArray


@SOURCES.register("lvh")
class LvhSource(VideoSource):
    """EchoNet-LVH as published: ``MeasurementsList.csv`` and the folders Batch1 to Batch4.

    Example:
        >>> import tempfile
        >>> from etab.phantom import write
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(Path(folder), patients=10, names=["lvh"])
        ...     source = LvhSource(Path(folder) / "lvh")
        ...     record = source.records()[0]
        ...     source.answers(record, source.card.target("LVIDd"))[0].at
        2
    """

    card: ClassVar[Card] = _CARD

    def __init__(self, root: Path) -> None:
        """Find the data.

        Raises:
            DataNotFoundError: ``root`` is not a folder.
            LayoutError: The folder has another layout; the message names the folder to pass.
        """
        super().__init__(_find(Path(root)))
        self._records: tuple[Record, ...] | None = None
        self._measures: dict[str, tuple[Measure, ...]] = {}
        self._repeated = 0
        self._rateless: list[str] = []

    def records(self) -> Sequence[Record]:
        """List every measured video, in the order of its first row.

        Raises:
            LayoutError: No batch contains a listed video; the message names the first one.
            CorruptFileError: A row cannot be read.
            SplitError: A video is in two parts.
        """
        if self._records is None:
            rows: dict[str, list[dict[str, str]]] = defaultdict(list)
            for row in read_table(self.root / _TABLE, _COLUMNS, ragged=True):
                rows[stem(row["HashedFileName"] or "")].append(row)
            videos = _videos(self.root)
            self._note_absent(rows, videos)
            self._check_present(rows, videos)
            check_leaks(
                Record(name, name, "PLAX", _part(self.root / _TABLE, row))
                for name in rows
                for row in rows[name]
            )
            self._records = tuple(self._record(name, rows[name], videos[name]) for name in rows)
        return self._records

    def _note_absent(
        self, rows: dict[str, list[dict[str, str]]], videos: Mapping[str, str]
    ) -> None:
        """Leave out videos that are in no batch, if the source is lenient."""
        if self.faults is None:
            return
        for name in [name for name in rows if name not in videos]:
            part = _part(self.root / _TABLE, rows.pop(name)[0])
            reason = f"{name}.avi is in no batch of {self.root}."
            self._give_up(Fault(name, reason, name, "PLAX", part), LayoutError(reason))

    def answers(
        self,
        record: Record,
        target: Target,
        at: Collection[int] | None = None,
    ) -> tuple[Answer, ...]:
        """Return the reference values.

        "ES/ED" has values only if the two phases were measured in different frames.

        Args:
            record: A recording of this source.
            target: A target of the card.
            at: Frame numbers, from 0; values of other frames are left out. None takes all.

        Returns:
            The values in frame order: cm for a measurement.

        Raises:
            UnknownNameError: The card has no such target.
            CorruptFileError: A file cannot be read, or contradicts another.
        """
        self.card.target(target.name)
        if target.name == "keypoints":
            answers = self._keypoints(record)
        elif target.name == "ES/ED":
            answers = self._ends(record)
        else:
            answers = [Answer(m.value, m.at) for m in self._measured(record, (target.name,))]
        return tuple(answer for answer in answers if at is None or answer.at in at)

    def spacing(self, record: Record) -> tuple[float, float] | None:
        """Compute the height and width of a pixel in mm from the longest measurement.

        Args:
            record: A recording of this source.

        Returns:
            Two equal sizes, or None without a plausible measurement.
        """
        measures = self._measured(record, (*DIASTOLIC_CALCS, *SYSTOLIC_CALCS))
        if not measures:
            return None
        longest = max(measures, key=lambda measure: measure.value)
        pixels = float(np.hypot(*(longest.points[1] - longest.points[0])))
        size = 10 * longest.value / pixels if pixels > 0 else 0.0
        return (size, size) if 0 < size < 10 else None

    def shared_files(self) -> Sequence[str]:
        """Name the table of measurements."""
        return (_TABLE,)

    def remarks(self) -> Sequence[str]:
        """Count repeated measurements, which are left out, and videos without a frame rate."""
        self.records()
        remarks = []
        if self._repeated:
            remarks.append(
                f"{self._repeated} rows repeat a measurement of an earlier row of that frame: "
                "left out"
            )
        if self._rateless:
            first = self._rateless[0]
            remarks.append(
                f"{counted(len(self._rateless), 'video has', 'videos have')} no rate in "
                f"{_TABLE}, first {first}: their headers give it"
            )
        return remarks

    def _check_present(self, listed: Collection[str], videos: Mapping[str, str]) -> None:
        """Raise LayoutError if a listed video is in no batch."""
        absent = [name for name in listed if name not in videos]
        if absent:
            raise files_absent(
                [self.root / "Batch1" / f"{name}.avi" for name in absent],
                "video",
                f"{_TABLE} lists and no other batch holds",
            )

    def _record(
        self,
        name: str,
        rows: Sequence[Mapping[str, str]],
        video: str,
    ) -> Record:
        """Make the record of a video and note its measurements; the first of a kind counts."""
        table = self.root / _TABLE
        measures: dict[tuple[str, int], Measure] = {}
        for row in rows:
            measure = _measure(table, row)
            if (measure.calc, measure.at) in measures:
                self._repeated += 1
            measures.setdefault((measure.calc, measure.at), measure)
        self._measures[name] = tuple(measures.values())
        rates = [rate for rate in map(_rate, rows) if rate is not None]
        if rates:
            fps: float | None = rates[0]
        else:
            self._rateless.append(name)
            fps = video_info(self.root / video).fps or None
        return Record(
            name,
            name,
            "PLAX",
            _part(table, rows[0]),
            fps,
            {"video": video},
        )

    def _measured(self, record: Record, calcs: Sequence[str]) -> list[Measure]:
        """Select measurements by name, in frame order.

        Raises:
            CorruptFileError: The video has no such frame.
        """
        self.records()
        measures = [m for m in self._measures[record.id] if m.calc in calcs]
        measures.sort(key=lambda measure: measure.at)
        if measures and measures[-1].at >= self.n_frames(record):
            raise CorruptFileError(
                f"{self.root / _TABLE} measures {measures[-1].calc} in frame {measures[-1].at} of "
                f"{record.id}, whose video has {self.n_frames(record)} frames. Restore both as "
                "published."
            )
        return measures

    def _ends(self, record: Record) -> list[Answer]:
        """Find ED and ES: the frames of LVIDd and LVIDs, or else of another measurement."""
        ends = []
        for phase, calcs in enumerate((DIASTOLIC_CALCS, SYSTOLIC_CALCS)):
            measures = self._measured(record, calcs)
            diameters = [measure for measure in measures if measure.calc == calcs[0]]
            for measure in (diameters or measures)[:1]:
                ends.append(Answer(phase, measure.at))
        ends.sort(key=lambda answer: answer.at or 0)
        return ends if len({answer.at for answer in ends}) == 2 else []

    def _keypoints(self, record: Record) -> list[Answer]:
        """Collect the ends of the diastolic measurements of each frame; NaN outside the image."""
        info = self.video_info(record)
        points: dict[int, FloatArray] = {}
        for measure in self._measured(record, DIASTOLIC_CALCS):
            row = 2 * ("IVSd", "LVIDd", "LVPWd").index(measure.calc)
            outside = (measure.points < 0) | (measure.points >= (info.width, info.height))
            points_inside = np.where(outside.any(axis=1, keepdims=True), np.nan, measure.points)
            points.setdefault(measure.at, np.full((6, 2), np.nan))[row : row + 2] = points_inside
        return [
            Answer(value, number)
            for number, value in sorted(points.items())
            if np.isfinite(value).any()
        ]


def _find(root: Path) -> Path:
    """Find the folder of the table at or near ``root``."""
    near = [root, root / "EchoNet-LVH"]
    if root.name.startswith("Batch"):
        near.append(root.absolute().parent)
    return find_folder(
        root,
        title="EchoNet-LVH",
        wanted=_WANTED,
        near=near,
        holds=lambda path: (path / _TABLE).is_file(),
        lacks=lambda: f"{root / _TABLE} is missing",
    )


def _videos(root: Path) -> dict[str, str]:
    """Map the names of the videos in all Batch folders to their files, relative to the root."""
    videos: dict[str, str] = {}
    for path in visible(root, "Batch*/*.avi"):
        videos[path.stem] = f"{path.parent.name}/{path.name}"
    return videos


def _part(table: Path, row: Mapping[str, str]) -> str:
    """Read the split of a row."""
    part = (row["split"] or "").strip().lower()
    if part not in ("train", "val", "test"):
        raise CorruptFileError(
            f"{table}: {row['HashedFileName']} is in split {row['split']!r}; wanted train, val or "
            "test."
        )
    return part


def _measure(table: Path, row: Mapping[str, str]) -> Measure:
    """Read the measurement of a row; CorruptFileError for a cell that cannot be right."""
    calc = (row["Calc"] or "").strip()
    if calc not in (*DIASTOLIC_CALCS, *SYSTOLIC_CALCS):
        possible = ", ".join((*DIASTOLIC_CALCS, *SYSTOLIC_CALCS))
        raise CorruptFileError(
            f"{table}: {row['HashedFileName']} has Calc {row['Calc']!r}; wanted one of {possible}."
        )

    def cell(key: str, low: float, high: float) -> float:
        return number_between(table, row, key, low, high, name="HashedFileName")

    value = cell("CalcValue", 0.01, LARGEST_CM)
    number = cell("Frame", 0, 1e6)
    points = [[cell(f"{axis}{end}", -1e5, 1e5) for axis in "XY"] for end in (1, 2)]
    return Measure(calc, value, int(number), np.array(points))


def _rate(row: Mapping[str, str]) -> float | None:
    """Read the frames per second of a row.

    None if the row has none, or if its columns are shifted: then the width is implausible.
    """
    rate = maybe(row.get("FPS"))
    width = maybe(row.get("Width"))
    aligned = width is not None and width >= 64 and width == int(width)
    return rate if aligned and rate is not None and 1 <= rate <= 1000 else None
