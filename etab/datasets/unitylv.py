"""UnityLV-MultiX: end-diastolic and end-systolic A4C frames, each outlined by eleven readers.

100 clips give 200 frames; the readers did not see each other's outlines. The layout of the release
has not been seen here. It is taken to be that of Unity Imaging: pictures named
``<class>-<64 hex>-<4 digits>.png`` anywhere below the folder, and in ``labels`` one file for each
reader, ``<reader>.json``, with the curve ``curve-lv-endo`` of each picture (control points of a
spline, as text). The DICOM file stands for the patient. Of the two frames of a clip, the one with
the larger consensus is end-diastole.

The reference of a frame is the consensus of its readers: a pixel belongs to the left ventricle if
more than half of them include it. ``python -m benchmarks.readers`` computes how close a reader is
to the consensus of the others: the human ceiling of the tasks a0.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from etab.datasets.absent import files_absent
from etab.datasets.base import SOURCES, Card, Fault, Source
from etab.datasets.paths import find_folder
from etab.datasets.traced import filled, phase_answers
from etab.errors import CorruptFileError, UnsupportedOptionError
from etab.readers.still import is_phantom_picture, read_still, still_info
from etab.readers.table import parse_number
from etab.readers.text import read_json
from etab.storage.listing import visible, visible_files
from etab.storage.text import counted
from etab.types import Answer, Array, FloatArray, Kind, Record, Target

READERS = 11
"""Readers of the release."""

CURVE = "curve-lv-endo"
"""Name of the outline of the left ventricle in the labels."""

_FEWEST_POINTS = 3
_POINTS_OF_OUTLINE = 200
_NAME = re.compile(r"^(\d\d-[0-9a-f]{64})-(\d{4})\.png$")
_WANTED = "the folder that contains labels/ (a JSON file a reader) and the pictures"

_READERS = 11

_CARD = Card(
    name="unitylv",
    title="UnityLV-MultiX",
    code="V",
    modality="echo",
    views=("A4C",),
    targets=(
        Target(
            "LV_seg",
            Kind.MASK,
            description="left ventricle: pixels that more than half of the readers include",
        ),
        Target(
            "ES/ED",
            Kind.BINARY,
            classes=("ED", "ES"),
            description="frame with the larger (ED) or smaller (ES) consensus of a clip",
        ),
    ),
    licence="CC BY-NC-SA 4.0",
    citation="UWL Centre for Translational Healthcare Research: UnityLV-MultiX",
    access="free download at thrive-centre.com/datasets/UnityLV-MultiX",
    counts={"patients": 100, "recordings": 100, "readers": _READERS},
)


@SOURCES.register("unitylv")
class UnityLvSource(Source):
    """UnityLV-MultiX: a recording is a clip, of which two frames are outlined by every reader.

    Example:
        >>> import tempfile
        >>> from etab.phantom import write
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(Path(folder), patients=10, names=["unitylv"])
        ...     source = UnityLvSource(Path(folder) / "unitylv")
        ...     readings = source.readings(source.records()[0], 0)
        ...     (len(source.records()), len(readings))
        (10, 11)
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
        self._curves: dict[str, dict[str, FloatArray]] = {}
        self._readers: tuple[str, ...] = ()
        self._phantom: bool | None = None

    @property
    def phantom(self) -> bool:
        """Whether the marker file or a text chunk of a picture marks the tree as a phantom."""
        if self._phantom is None:
            marked = (self.root / "PHANTOM").is_file()
            pictures = [path for record in self.records() for path in self._paths(record)]
            self._phantom = marked or any(is_phantom_picture(path) for path in pictures)
        return self._phantom

    @property
    def readers(self) -> tuple[str, ...]:
        """Names of the readers, in alphabetical order."""
        self.records()
        return self._readers

    def records(self) -> Sequence[Record]:
        """List every clip with outlined frames, by name.

        Returns:
            The records.

        Raises:
            LayoutError: A picture with labels is missing.
            CorruptFileError: Labels cannot be read.
        """
        if self._records is None:
            self._read_labels()
            pictures = {
                path.name: path.relative_to(self.root).as_posix()
                for path in visible_files(self.root, ".png")
            }
            self._check_present(pictures)
            clips: dict[str, dict[str, str]] = {}
            for name in sorted(self._curves):
                match = _NAME.match(name)
                if match is not None and name in pictures:
                    frames = clips.setdefault(match.group(1), {})
                    frames[f"frame{len(frames)}"] = pictures[name]
            self._records = tuple(
                Record(clip, clip, "A4C", "", None, frames) for clip, frames in clips.items()
            )
        return self._records

    def n_frames(self, record: Record) -> int:
        """Count the outlined frames of a clip.

        Args:
            record: A recording of this source.
        """
        return len(record.files)

    def still(self, record: Record) -> bool:
        """Return True: the outlined frames of a clip are too far apart to form one.

        Args:
            record: A recording of this source.
        """
        return True

    def frames(self, record: Record, at: Sequence[int] | None = None) -> Array:
        """Read outlined frames; they are numbered from 0 in the order of the clip.

        Args:
            record: A recording of this source.
            at: k frame numbers, from 0; None reads all.

        Returns:
            Grey frames (k, h, w) uint8.

        Raises:
            UnsupportedOptionError: A frame does not exist.
            CorruptFileError: A picture cannot be read, or the pictures differ in size.
        """
        paths = self._paths(record)
        numbers = range(len(paths)) if at is None else [int(number) for number in at]
        outside = [number for number in numbers if not 0 <= number < len(paths)]
        if outside:
            raise UnsupportedOptionError(
                f"{record.id} has frames 0 to {len(paths) - 1}; frame {outside[0]} does not exist."
            )
        frames = [read_still(paths[number]) for number in numbers]
        if len({frame.shape for frame in frames}) > 1:
            raise CorruptFileError(f"{record.id}: its pictures differ in size. Download it again.")
        return np.stack(frames) if frames else np.empty((0, 0, 0), np.uint8)

    def answers(
        self,
        record: Record,
        target: Target,
        at: Collection[int] | None = None,
    ) -> tuple[Answer, ...]:
        """Return the consensus of the readers, or the phases that follow from its size.

        Args:
            record: A recording of this source.
            target: A target of the card.
            at: Frame numbers, from 0; values of other frames are left out. None takes all.

        Returns:
            The values in frame order.

        Raises:
            UnknownNameError: The card has no such target.
            CorruptFileError: A picture cannot be read.
        """
        self.card.target(target.name)
        numbers = range(self.n_frames(record))
        if target.name == "ES/ED":
            masks = {number: self._consensus(record, number) for number in numbers}
            phases = phase_answers(masks)
            return tuple(answer for answer in phases if at is None or answer.at in at)
        return tuple(
            Answer(self._consensus(record, number), number)
            for number in numbers
            if at is None or number in at
        )

    def annotated(self, record: Record, target: Target) -> tuple[int | None, ...]:
        """List the frames with a reference value, without filling outlines.

        Args:
            record: A recording of this source.
            target: A target of the card.
        """
        self.card.target(target.name)
        n = self.n_frames(record)
        if target.name == "ES/ED" and n != 2:
            return ()
        return tuple(range(n))

    def readings(self, record: Record, frame: int) -> dict[str, Array]:
        """Return the mask of every reader who outlined a frame.

        Args:
            record: A recording of this source.
            frame: Number of the frame, from 0.

        Returns:
            Boolean masks (h, w) by reader.

        Raises:
            CorruptFileError: The picture cannot be read.
        """
        self.records()
        path = self._paths(record)[frame]
        info = still_info(path)
        shape = (info.height, info.width)
        return {reader: _mask(points, shape) for reader, points in self._curves[path.name].items()}

    def _consensus(self, record: Record, frame: int) -> Array:
        return consensus(list(self.readings(record, frame).values()))

    def shared_files(self) -> Sequence[str]:
        """Name the labels of the readers."""
        return [f"labels/{path.name}" for path in self._label_files()]

    def tally(self) -> Mapping[str, int]:
        """Count the readers: the reference is what more than half of them include."""
        return {"readers": len(self.readers)}

    def notes(self) -> Sequence[str]:
        """That readers are missing, because the reference is then another one."""
        n = len(self.readers)
        if n == _READERS:
            return ()
        return (f"The reference is the consensus of {n} readers, and {_READERS} were published.",)

    def remarks(self) -> Sequence[str]:
        """Count frames that not every reader outlined."""
        self.records()
        partial = [
            name for name, curves in self._curves.items() if len(curves) < len(self._readers)
        ]
        facts = []
        if partial:
            facts.append(
                f"{counted(len(partial), 'frame is', 'frames are')} not outlined by every "
                f"reader, first {min(partial)}"
            )
        return facts

    def _label_files(self) -> list[Path]:
        """The files of the readers; their suffix may be in upper case."""
        files = visible(self.root / "labels", "*")
        return [path for path in files if path.suffix.lower() == ".json" and path.is_file()]

    def _read_labels(self) -> None:
        """Read the outlines of every reader by picture."""
        paths = self._label_files()
        self._readers = tuple(sorted(path.stem for path in paths))
        self._curves = {}
        for path in sorted(paths):
            for name, points in _outlines(path).items():
                self._curves.setdefault(name, {})[path.stem] = points

    def _check_present(self, pictures: Collection[str]) -> None:
        """Raise LayoutError, or note a fault, for outlined pictures that are missing."""
        absent = sorted(set(self._curves) - set(pictures))
        if not absent:
            return
        error = files_absent(
            [self.root / name for name in absent], "picture", "readers outlined", scores="pictures"
        )
        for name in absent:
            self._give_up(Fault(name.removesuffix(".png"), f"{name} is missing."), error)


def consensus(masks: Sequence[Array]) -> Array:
    """Combine the masks of several readers.

    Args:
        masks: Boolean masks (h, w), one a reader.

    Returns:
        Boolean (h, w): pixels that more than half of the readers include.

    Example:
        >>> consensus([np.array([[True]]), np.array([[True]]), np.array([[False]])])
        array([[ True]])
    """
    votes = np.sum([np.asarray(mask, dtype=np.int64) for mask in masks], axis=0)
    return np.asarray(2 * votes > len(masks))


def _outlines(path: Path) -> dict[str, FloatArray]:
    """Read the control points (n, 2), x and y, of a reader by picture."""
    entries = read_json(path)
    if not isinstance(entries, dict):
        raise CorruptFileError(
            f'{path} is not of the form {{picture: {{"labels": ...}}}}. Download it again.'
        )
    outlines = {}
    for name, entry in entries.items():
        label = _label(path, name, entry)
        if label is not None:
            outlines[str(name)] = _points(path, name, label)
    return outlines


def _label(path: Path, name: str, entry: Any) -> Mapping[str, Any] | None:
    """Return the label of the curve of a picture; None if the reader drew none."""
    labels = entry.get("labels") if isinstance(entry, dict) else None
    if not isinstance(labels, dict) or _NAME.match(str(name)) is None:
        raise CorruptFileError(
            f'{path}: the entry {name!r} is not of the form {{picture: {{"labels": ...}}}}. '
            "Download it again."
        )
    label = labels.get(CURVE)
    if isinstance(label, list):
        label = label[0] if label else None
    if not isinstance(label, dict) or label.get("type") != "curve":
        return None
    return label


def _points(path: Path, name: str, label: Mapping[str, Any]) -> FloatArray:
    """Read the control points (n, 2) of a curve."""
    axes = []
    for axis in "xy":
        cells = str(label.get(axis, "")).split()
        values = [parse_number(cell) for cell in cells]
        axes.append([value for value in values if value is not None])
        if len(axes[-1]) < len(cells):
            raise CorruptFileError(
                f"{path}: {CURVE} of {name} has a coordinate that is not a number."
            )
    xs, ys = axes
    if len(xs) != len(ys) or len(xs) < _FEWEST_POINTS:
        raise CorruptFileError(
            f"{path}: {CURVE} of {name} has {len(xs)} x and {len(ys)} y; wanted as many of both, "
            f"{_FEWEST_POINTS} or more. Download it again."
        )
    return np.column_stack([xs, ys])


def _mask(points: FloatArray, shape: tuple[int, int]) -> Array:
    """Fill the spline through control points, closed by a straight line at the mitral valve."""
    from scipy.interpolate import CubicSpline

    steps = np.hypot(*np.diff(points, axis=0).T)
    distinct = points[np.concatenate([[True], steps > 0])]
    distances = np.concatenate([[0.0], np.cumsum(steps[steps > 0])])
    if len(distinct) < _FEWEST_POINTS:
        return np.zeros(shape, dtype=bool)
    along = np.linspace(0.0, distances[-1], _POINTS_OF_OUTLINE)
    curve = CubicSpline(distances, distinct)(along)
    return filled(curve[:, 0], curve[:, 1], shape)


def _find(root: Path) -> Path:
    """Find the folder of the labels at or near ``root``."""
    near = [root, root / "UnityLV-MultiX"]
    if root.name == "labels":
        near.append(root.absolute().parent)
    return find_folder(
        root,
        title="UnityLV-MultiX",
        wanted=_WANTED,
        near=near,
        holds=lambda path: bool(visible(path / "labels", "*.json")),
        lacks=lambda: f"{root / 'labels'} holds no JSON file of a reader",
    )
