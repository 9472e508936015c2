"""EchoNet-LVH: 12,000 parasternal long-axis clips with wall thickness and cavity diameter, each a
pair of points.

``MeasurementsList.csv`` has a row a measurement; its columns run X1, X2, Y1, Y2. About a dozen of
its rows are shifted in the columns Frames to Height and some lack FPS, so the size and the number
of frames come from the video, and the rate too where its rows do not give one. One video is one
patient, as the authors split them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from etab.datasets.base import SOURCES, Card, Fault
from etab.datasets.paths import find_folder
from etab.datasets.traced import maybe, number_between
from etab.datasets.videos import VideoSource, stem
from etab.errors import CorruptFileError, LayoutError
from etab.readers.table import read_table
from etab.readers.video import video_info
from etab.splits import check_leaks
from etab.storage.listing import visible
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

_CARD = Card(
    name="lvh",
    title="EchoNet-LVH",
    code="L",
    modality="echo",
    views=("PLAX",),
    targets=(
        *(
            Target(
                calc,
                Kind.VALUE,
                unit="cm",
                description=f"{_WORDS[calc[:-1]]} at {_PHASE[calc[-1]]}",
            )
            for calc in (*DIASTOLIC_CALCS, *SYSTOLIC_CALCS)
        ),
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
    """One measurement: cm, in a frame (0-based), between two points (2, 2) of x, y in pixels."""

    calc: str
    value: float
    at: int
    points: FloatArray


@SOURCES.register("lvh")
class LvhSource(VideoSource):
    """EchoNet-LVH as published, from the folder that holds ``MeasurementsList.csv`` and the four
    batches.
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
        self._again = 0
        self._rateless: list[str] = []

    def records(self) -> Sequence[Record]:
        """Every measured video, in the order of its first row.

        Raises LayoutError naming the first video that no batch holds, CorruptFileError for a row
        that cannot be read, SplitError for a video in two parts.
        """
        if self._records is None:
            rows: dict[str, list[dict[str, str]]] = defaultdict(list)
            for row in read_table(self.root / _TABLE, _COLUMNS, ragged=True):
                rows[stem(row["HashedFileName"] or "")].append(row)
            videos = _videos(self.root)
            self._note_absent(rows, videos)
            self._check_there(rows, videos)
            check_leaks(
                Record(name, name, "PLAX", _part(self.root / _TABLE, r))
                for name in rows
                for r in rows[name]
            )
            self._records = tuple(self._record(name, rows[name], videos[name]) for name in rows)
        return self._records

    def _note_absent(
        self, rows: dict[str, list[dict[str, str]]], videos: Mapping[str, str]
    ) -> None:
        """Leave out, where that is asked for, the videos that no batch holds."""
        for name in (
            [name for name in rows if name not in videos] if self.faults is not None else []
        ):
            part = _part(self.root / _TABLE, rows.pop(name)[0])
            reason = f"{name}.avi is in no batch of {self.root}."
            self._give_up(Fault(name, reason, name, "PLAX", part), LayoutError(reason))

    def answers(
        self, record: Record, target: Target, at: Collection[int] | None = None
    ) -> tuple[Answer, ...]:
        """Measurements in cm, each of its frame; ES/ED only where both phases were measured in
        frames of their own.
        """
        self.card.target(target.name)
        if target.name == "keypoints":
            answers = self._keypoints(record)
        elif target.name == "ES/ED":
            answers = self._ends(record)
        else:
            answers = [Answer(m.value, m.at) for m in self._of(record, (target.name,))]
        return tuple(answer for answer in answers if at is None or answer.at in at)

    def spacing(self, record: Record) -> tuple[float, float] | None:
        """Pixel spacing (row, column) in mm: cm over pixels of the longest measurement; None
        without one.
        """
        best = max(
            self._of(record, (*DIASTOLIC_CALCS, *SYSTOLIC_CALCS)),
            key=lambda m: m.value,
            default=None,
        )
        if best is None:
            return None
        pixels = float(np.hypot(*(best.points[1] - best.points[0])))
        size = 10 * best.value / pixels if pixels > 0 else 0.0
        return (size, size) if 0 < size < 10 else None

    def shared_files(self) -> Sequence[str]:
        """The table of measurements."""
        return (_TABLE,)

    def remarks(self) -> Sequence[str]:
        """Rows left out because their measurement is there already, and videos whose rows give no
        frame rate.
        """
        self.records()
        remarks = [
            f"{self._again} rows measure again what an earlier row of that frame measured: left out"
        ]
        remarks = remarks if self._again else []
        if self._rateless:
            first = self._rateless[0]
            remarks.append(
                f"{len(self._rateless)} videos have no rate in {_TABLE}, first {first}: their "
                "headers give it"
            )
        return remarks

    def _check_there(self, listed: Collection[str], videos: Mapping[str, str]) -> None:
        absent = [name for name in listed if name not in videos]
        if absent:
            raise LayoutError.of(
                f"{self.root / 'Batch1' / absent[0]}.avi is missing, and no other batch holds it; "
                "with it "
                f"{len(absent) - 1} more videos that {_TABLE} lists. Restore them; without them "
                "the scores are of other "
                "patients.",
                [str(self.root / "Batch1" / f"{name}.avi") for name in absent],
            )

    def _record(self, name: str, rows: Sequence[Mapping[str, str]], video: str) -> Record:
        table = self.root / _TABLE
        measures = dict[tuple[str, int], Measure]()
        for row in rows:
            measure = _measure(table, row)
            self._again += (measure.calc, measure.at) in measures
            measures.setdefault((measure.calc, measure.at), measure)
        self._measures[name] = tuple(measures.values())
        fps = next((rate for row in rows if (rate := _rate(row)) is not None), None)
        if fps is None:
            self._rateless.append(name)
            fps = video_info(self.root / video).fps or None
        return Record(name, name, "PLAX", _part(table, rows[0]), fps, {"video": video})

    def _of(self, record: Record, calcs: Sequence[str]) -> list[Measure]:
        """Measurements of some kinds in frame order, refused where the video has no such frame."""
        self.records()
        measures = sorted(
            (m for m in self._measures[record.id] if m.calc in calcs), key=lambda m: m.at
        )
        if measures and measures[-1].at >= (n := self.n_frames(record)):
            raise CorruptFileError(
                f"{self.root / _TABLE} measures {measures[-1].calc} in frame {measures[-1].at} of "
                f"{record.id}, whose video has "
                f"{n} frames. Restore both as published."
            )
        return measures

    def _ends(self, record: Record) -> list[Answer]:
        ends = []
        for phase, calcs in enumerate((DIASTOLIC_CALCS, SYSTOLIC_CALCS)):
            measures = self._of(record, calcs)
            ends += (
                [Answer(phase, next((m for m in measures if m.calc == calcs[0]), measures[0]).at)]
                if measures
                else []
            )
        ends.sort(key=lambda answer: answer.at or 0)
        return ends if len({answer.at for answer in ends}) == 2 else []

    def _keypoints(self, record: Record) -> list[Answer]:
        info = self.video_info(record)
        points: dict[int, FloatArray] = {}
        for measure in self._of(record, DIASTOLIC_CALCS):
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
    """Video names to their files relative to the root, over every Batch folder."""
    videos: dict[str, str] = {}
    for path in visible(root, "Batch*/*.avi"):
        videos[path.stem] = f"{path.parent.name}/{path.name}"
    return videos


def _part(table: Path, row: Mapping[str, str]) -> str:
    part = (row["split"] or "").strip().lower()
    if part not in ("train", "val", "test"):
        raise CorruptFileError(
            f"{table}: {row['HashedFileName']} is in split {row['split']!r}; wanted train, val or "
            "test."
        )
    return part


def _measure(table: Path, row: Mapping[str, str]) -> Measure:
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
    """Frames per second of a row; None where it gives none or its columns are shifted (the width is
    then no width).
    """
    rate = maybe(row.get("FPS"))
    width = maybe(row.get("Width"))
    aligned = width is not None and width >= 64 and width == int(width)
    return rate if aligned and rate is not None and 1 <= rate <= 1000 else None
