"""EchoNet-Dynamic: 10,030 apical four-chamber clips with EF, and the LV traced in two frames.

ED is the traced frame with the larger area. The order of the published table does not identify
the phases.
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
    number_between,
    phase_answers,
)
from etab.datasets.videos import VideoSource, stem, video_name
from etab.errors import CorruptFileError
from etab.readers.table import is_blank, parse_number, parse_whole, read_table
from etab.splits import check_leaks
from etab.types import Answer, Array, Cut, FloatArray, Kind, Record, Target

_SPLITS = {
    "TRAIN": "train",
    "VAL": "val",
    "TEST": "test",
    "": "",
}
_WANTED = "the folder that contains FileList.csv, VolumeTracings.csv and Videos/"

_CARD = Card(
    name="echonet",
    title="EchoNet-Dynamic",
    code="E",
    modality="echo",
    views=("A4C",),
    targets=(
        Target("LV_seg", Kind.MASK, description="left ventricular cavity"),
        Target(
            "EF",
            Kind.VALUE,
            unit="%",
            description="ejection fraction of the left ventricle",
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
    ),
    licence="Stanford University Dataset Research Use Agreement: non-commercial, no redistribution",
    citation="Ouyang et al., Nature 580:252-256, 2020, doi:10.1038/s41586-020-2145-8",
    access="registration at Stanford AIMI",
    fps=50.0,
    counts={
        "patients": 10_030,
        "recordings": 10_030,
        "train": 7465,
        "val": 1288,
        "test": 1277,
    },
)


@SOURCES.register("echonet")
class EchoNetSource(VideoSource):
    """EchoNet-Dynamic as published: ``FileList.csv``, ``VolumeTracings.csv`` and ``Videos/``."""

    card: ClassVar[Card] = _CARD

    def __init__(self, root: Path) -> None:
        """Find the tables.

        Args:
            root: The folder of ``FileList.csv``, or the folder above it.

        Raises:
            DataNotFoundError: ``root`` is not a folder.
            LayoutError: The folder has another layout; the message names the folder to pass.
        """
        super().__init__(_find(Path(root)))
        self._records: tuple[Record, ...] | None = None
        self._traces: dict[str, dict[int, FloatArray]] | None = None

    def records(self) -> Sequence[Record]:
        """List every row of FileList.csv, in its order.

        One video is one patient, as in the authors' split.

        Raises:
            LayoutError: A video is missing; the message names the first one.
            CorruptFileError: A row cannot be read.
            SplitError: A name is in two splits.
        """
        if self._records is None:
            table = self.root / "FileList.csv"
            rows = read_table(table, ("FileName", "EF"), ragged=True)
            records = self._listed(
                rows, lambda row: _record(table, row), lambda row: _known(row["FileName"])
            )
            check_leaks(records)
            check_unique(table, records)
            records = self._there(records)
            check_there(table, self.root / "Videos", (Path(r.files["video"]).name for r in records))
            self._records = tuple(records)
        return self._records

    def answers(
        self,
        record: Record,
        target: Target,
        at: Collection[int] | None = None,
    ) -> tuple[Answer, ...]:
        """Return the reference values.

        Six videos have no tracings, and therefore neither masks nor phases.

        Args:
            record: A recording of this source.
            target: A target of the card.
            at: Frame numbers, from 0; values of other frames are left out. None takes all.

        Returns:
            The values in frame order; empty if the authors give none.

        Raises:
            UnknownNameError: The card has no such target.
            CorruptFileError: A file cannot be read, or contradicts another.
        """
        if target.name == "EF":
            return (Answer(float(record.meta["EF"])),)
        if target.name == "CM":
            return (Answer(int(record.meta["EF"] < EF_LIMIT)),)
        self.card.target(target.name)
        masks = self._masks(record)
        if target.name == "LV_seg":
            answers = [Answer(mask, frame) for frame, mask in masks.items()]
        else:
            answers = phase_answers(masks)
        return tuple(answer for answer in answers if at is None or answer.at in at)

    def annotated(self, record: Record, target: Target) -> tuple[int | None, ...]:
        """List the frames with a reference value, from the table of tracings only.

        Args:
            record: A recording of this source.
            target: A target of the card.

        Returns:
            Frame numbers, or None for a value of the whole recording; empty without a value.
        """
        if target.name in ("EF", "CM"):
            return (None,)
        self.card.target(target.name)
        traced = tuple(sorted(self._trace(record)))
        return traced if target.name == "LV_seg" or len(traced) == 2 else ()

    def shared_files(self) -> Sequence[str]:
        """Name the two tables."""
        return "FileList.csv", "VolumeTracings.csv"

    def _masks(self, record: Record) -> dict[int, Array]:
        """Map the traced frames of a recording, in order, to masks of the video's size."""
        traces = self._trace(record)
        if not traces:
            return {}
        info = self.video_info(record)
        if max(traces) >= info.n_frames or min(traces) < 0:
            raise CorruptFileError(
                f"{self.root / 'VolumeTracings.csv'} traces frame {max(traces)} of {record.id}, "
                f"whose video has {info.n_frames} frames. Restore both as published."
            )
        short = [number for number, trace in traces.items() if len(trace) < 3]
        if short:
            raise CorruptFileError(
                f"{self.root / 'VolumeTracings.csv'} has {len(traces[short[0]])} rows for frame "
                f"{short[0]} of {record.id}; an outline needs 3 or more. Restore it as published."
            )
        return {
            number: traced_mask(traces[number], (info.height, info.width))
            for number in sorted(traces)
        }

    def _trace(self, record: Record) -> Mapping[int, FloatArray]:
        if self._traces is None:
            self._traces = _read_traces(self.root / "VolumeTracings.csv")
        return self._traces.get(record.id, {})


def traced_mask(trace: FloatArray, shape: tuple[int, int]) -> Array:
    """Fill the outline of a trace, as the authors do.

    The first row, the long axis, is left out; coordinates are rounded; parts outside the image
    are cut off.

    Args:
        trace: (n, 4) rows of x1, y1, x2, y2 in pixels.
        shape: Height and width of the image.

    Returns:
        The mask, boolean (h, w).

    Example:
        >>> discs = [[5, 1, 5, 8], [3, 2, 7, 2], [3, 5, 7, 5], [4, 7, 6, 7]]
        >>> int(traced_mask(np.array(discs), (10, 10)).sum())
        26
    """
    x = np.concatenate([trace[1:, 0], trace[1:, 2][::-1]])
    y = np.concatenate([trace[1:, 1], trace[1:, 3][::-1]])
    return filled(x, y, shape)


def _find(root: Path) -> Path:
    """Find the folder of the tables at or near ``root``."""
    near = [root, root / "EchoNet-Dynamic", root / "echonet"]
    if root.name == "Videos":
        near.append(root.absolute().parent)
    return find_folder(
        root,
        title="EchoNet-Dynamic",
        wanted=_WANTED,
        near=near,
        holds=lambda path: (path / "FileList.csv").is_file(),
        lacks=lambda: f"{root / 'FileList.csv'} is missing",
    )


def _record(table: Path, row: Mapping[str, str]) -> Record:
    """Make the record of a row of FileList.csv."""
    name = video_name(table, row["FileName"])
    part = (row.get("Split") or "").strip().upper()
    if part not in _SPLITS:
        raise CorruptFileError(
            f"{table}: {name} is in Split {row['Split']!r}; wanted TRAIN, VAL or TEST."
        )
    meta = {"EF": number_between(table, row, "EF", 0, 100)}
    volumes = [key for key in ("ESV", "EDV") if not is_blank(row.get(key))]
    meta |= {key: number_between(table, row, key, 0, 10_000) for key in volumes}
    fps = None if is_blank(row.get("FPS")) else number_between(table, row, "FPS", 1, 1000)
    return Record(
        name,
        name,
        "A4C",
        _SPLITS[part],
        fps,
        {"video": f"Videos/{name}.avi"},
        meta,
    )


def _known(name: str | None) -> Fault:
    """Describe a row that gives no record."""
    return Fault(stem(name or ""), "", stem(name or ""), "A4C")


def _read_traces(table: Path) -> dict[str, dict[int, FloatArray]]:
    """Read the traces by video and frame: rows of (x1, y1, x2, y2), the long axis first."""
    rows_of_videos: dict[str, dict[int, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    keys = ("X1", "Y1", "X2", "Y2")
    for line, row in enumerate(
        read_table(table, ("FileName", *keys, "Frame"), ragged=True), start=2
    ):
        frame = parse_whole(row["Frame"])
        vertices = [value for key in keys if (value := parse_number(row[key])) is not None]
        if frame is None or len(vertices) < len(keys):
            cells = ", ".join(f"{key} {row[key]!r}" for key in (*keys, "Frame"))
            raise CorruptFileError(
                f"{table}, line {line}: {cells[:160]} are not four numbers and a frame. Download "
                "it again."
            )
        rows_of_videos[stem(row["FileName"])][frame].append(vertices)
    return {
        video: {number: np.array(rows) for number, rows in frames.items()}
        for video, frames in rows_of_videos.items()
    }
