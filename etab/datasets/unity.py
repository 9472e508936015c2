"""Unity Imaging: expert-labelled stills of four views with the positions of anatomical points.

As published: ``png-cache/01/<2 hex>/<2 hex>/01-<64 hex>-<4 digits>.png`` (class, DICOM file, frame)
and ``labels/labels-{train,tune,ival}.json``: for each picture each structure, as a "point" or
"curve" with coordinates in text, "off" (not in the picture) or "blurred" (not known). The views are
a table of their own, ``view_index_20220705.csv`` (file, view); ``01_database_physical.csv``
(FileHash, PhysicalDeltaX and Y in cm) is used where it is. The release of 2020-12-05 has no
``labels-ival.json`` and so no test part. Patients are not named: the DICOM file stands for the
patient, as in the authors' own split.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from etab.datasets.absent import files_absent
from etab.datasets.base import SOURCES, Card, Source
from etab.datasets.paths import find_folder
from etab.datasets.traced import maybe
from etab.echo.views import aliases
from etab.errors import (
    CorruptFileError,
    SplitError,
    UnsupportedOptionError,
)
from etab.readers.still import is_phantom_picture, read_still, still_info
from etab.readers.table import read_table
from etab.readers.text import read_json
from etab.splits import check_leaks
from etab.storage.listing import visible_files
from etab.types import Answer, Array, FloatArray, Kind, Record, Target

_VIEWS = ("A2C", "A3C", "A4C", "PLAX")
POINTS = (
    "ao-sinus-bottom-inner",
    "ao-sinus-top-inner",
    "ao-sinus-top-outer",
    "ao-stj-bottom-inner",
    "ao-stj-top-inner",
    "ao-stj-top-outer",
    "ao-valve-top-inner",
    "ao-valve-top-outer",
    "la-bottom-inner",
    "la-top-inner",
    "lv-apex-endo",
    "lv-apex-epi",
    "lv-antsep-endo-apex",
    "lv-antsep-endo-base",
    "lv-antsep-rv-apex",
    "lv-antsep-rv-base",
    "lv-ivs-bottom",
    "lv-ivs-top",
    "lv-post-endo-apex",
    "lv-post-endo-base",
    "lv-post-epi-apex",
    "lv-post-epi-base",
    "lv-pw-bottom",
    "lv-pw-top",
    "mv-ant-hinge",
    "mv-post-hinge",
    "rv-apex-endo",
    "rv-bottom-inner",
    "rv-top-inner",
    "tv-ant-hinge",
    "tv-sep-hinge",
)
_PARTS = {
    "train": "train",
    "tune": "val",
    "ival": "test",
}
_NAME = re.compile(r"^(\d\d)-([0-9a-f]{64})-(\d{4})\.png$")
_VIEW_TABLE, _PHYSICAL = "view_index_20220705.csv", "01_database_physical.csv"
_WANTED = f"the folder that contains labels/, png-cache/ and {_VIEW_TABLE}"

_CARD = Card(
    name="unity",
    title="Unity Imaging",
    code="U",
    modality="echo",
    views=_VIEWS,
    targets=(
        Target(
            "view",
            Kind.CLASSES,
            classes=_VIEWS,
            description="apical 2-, 3- or 4-chamber or parasternal long axis",
        ),
        Target(
            "keypoints",
            Kind.KEYPOINTS,
            description="(31, 2) pixels x, y of the points of "
            "etab.datasets.unity.POINTS; NaN where one is off, blurred or outside the picture",
        ),
    ),
    licence="CC BY-NC-SA 4.0",
    citation=(
        "Howard et al., Circ Cardiovasc Imaging 14(5):e011951, 2021, "
        "doi:10.1161/CIRCIMAGING.119.011951"
    ),
    access="free download at data.unityimaging.net",
)


@SOURCES.register("unity")
class UnitySource(Source):
    """Unity Imaging as published: the folders ``labels`` and ``png-cache``.

    A recording is one picture.

    Example:
        >>> import tempfile
        >>> from etab.phantom import write
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write(Path(folder), patients=10, names=["unity"])
        ...     source = UnitySource(Path(folder) / "unity")
        ...     points = source.answers(source.records()[0], source.card.target("keypoints"))
        ...     points[0].value.shape
        (31, 2)
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
        self._points: dict[str, FloatArray] = {}
        self._left_out: dict[str, list[str]] = {}
        self._spacing: dict[str, tuple[float, float]] | None = None
        self._phantom: bool | None = None

    @property
    def phantom(self) -> bool:
        """Whether the marker file or a text chunk of a picture marks the tree as a phantom."""
        if self._phantom is None:
            has_marker = (self.root / "PHANTOM").is_file()
            pictures = (self.root / record.files["still"] for record in self.records())
            self._phantom = has_marker or any(is_phantom_picture(path) for path in pictures)
        return self._phantom

    def records(self) -> Sequence[Record]:
        """List every labelled picture of one of the four views, by part and name.

        Malformed names of pictures (the release has one) and pictures of other views are left out
        with a remark.

        Returns:
            The records.

        Raises:
            LayoutError: A file is missing.
            CorruptFileError: Labels cannot be read.
            SplitError: A DICOM file is in two parts.
        """
        if self._records is None:
            views = self._views()
            records: list[Record] = []
            home: dict[str, str] = {}
            for word, part in _PARTS.items():
                path = self.root / "labels" / f"labels-{word}.json"
                if part == "test" and not path.exists():
                    continue
                for name, labels in _labels(path).items():
                    if home.setdefault(name, part) != part:
                        raise SplitError(
                            f"{name} is labelled in two parts, {home[name]!r} and, by {path}, "
                            f"{part!r}."
                        )
                    record = self._record(name, part, views)
                    if record is not None:
                        self._points[record.id] = _points(path, name, labels)
                        records.append(record)
            check_leaks(records)
            records = self._there(records)
            self._check_present(records)
            self._records = tuple(records)
        return self._records

    def n_frames(self, record: Record) -> int:
        """Return 1: a recording is a picture.

        Args:
            record: A recording of this source.
        """
        return 1

    def still(self, record: Record) -> bool:
        """Return True: the labelled frames of a clip are too far apart to form one.

        Args:
            record: A recording of this source.
        """
        return True

    def frames(self, record: Record, at: Sequence[int] | None = None) -> Array:
        """Read the picture.

        Args:
            record: A recording of this source.
            at: k frame numbers, from 0; None reads all.

        Returns:
            Grey frames (k, h, w) uint8.

        Raises:
            UnsupportedOptionError: A frame does not exist.
            CorruptFileError: A file cannot be read.
        """
        numbers = [0] if at is None else [int(i) for i in at]
        if any(i != 0 for i in numbers):
            raise UnsupportedOptionError(
                f"{record.id} is one picture, frame 0; asked for {numbers}."
            )
        frame = read_still(self.root / record.files["still"])
        return np.repeat(frame[None], len(numbers), axis=0)

    def answers(
        self,
        record: Record,
        target: Target,
        at: Collection[int] | None = None,
    ) -> tuple[Answer, ...]:
        """Return the view, or the points that experts marked inside the picture.

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
        if target.name == "view":
            return (Answer(_VIEWS.index(record.view)),)
        self.card.target(target.name)
        if at is not None and 0 not in at:
            return ()
        self.records()
        info = still_info(self.root / record.files["still"])
        points = self._points[record.id]
        outside = ~((points >= 0) & (points < (info.width, info.height))).all(
            axis=1,
            keepdims=True,
        )
        points = np.where(outside, np.nan, points)
        return (Answer(points, 0),) if np.isfinite(points).any() else ()

    def spacing(self, record: Record) -> tuple[float, float] | None:
        """Return the height and width of a pixel in mm.

        They come from a table that the authors give on request; None without it.

        Args:
            record: A recording of this source.
        """
        if self._spacing is None:
            self._spacing = _spacings(self.root / _PHYSICAL)
        return self._spacing.get(record.patient)

    def shared_files(self) -> Sequence[str]:
        """Name the tables of labels, views and pixel sizes."""
        return [*(f"labels/labels-{word}.json" for word in _PARTS), _VIEW_TABLE, _PHYSICAL]

    def remarks(self) -> Sequence[str]:
        """Count the pictures that are left out, by reason."""
        self.records()
        return [
            f"{len(names)} labelled pictures left out, {reason}, first {names[0]}"
            for reason, names in self._left_out.items()
        ]

    def _views(self) -> dict[str, str]:
        """Read the view of each picture from the table."""
        rows = read_table(self.root / _VIEW_TABLE, ("file", "view"), ragged=True)
        return {(row["file"] or "").strip(): (row["view"] or "").strip() for row in rows}

    def _record(
        self,
        name: str,
        part: str,
        views: Mapping[str, str],
    ) -> Record | None:
        """Make the record of a picture; None, with a remark, if it is left out."""
        match = _NAME.match(name)
        if match is None:
            self._left_out.setdefault("their names are not those of pictures", []).append(name)
            return None
        word = views.get(name) or views.get(name.removesuffix(".png"), "")
        view = aliases().get(re.split(r"[-_ ]", word.upper())[0])
        if view not in _VIEWS:
            reason = f"{_VIEW_TABLE} says {word!r}" if word else f"{_VIEW_TABLE} does not list them"
            self._left_out.setdefault(reason, []).append(name)
            return None
        group, code, _ = match.groups()
        still = f"png-cache/{group}/{code[:2]}/{code[2:4]}/{name}"
        return Record(
            name.removesuffix(".png"),
            f"{group}-{code}",
            view,
            part,
            None,
            {"still": still},
        )

    def _check_present(self, records: Sequence[Record]) -> None:
        """Raise LayoutError if a picture with labels is missing."""
        names = {path.name for path in visible_files(self.root / "png-cache", ".png")}
        pictures = [record.files["still"] for record in records]
        absent = [picture for picture in pictures if Path(picture).name not in names]
        if absent:
            raise files_absent(
                [self.root / name for name in absent],
                "picture",
                "the labels name",
                scores="pictures",
            )


def _find(root: Path) -> Path:
    """Find the folder of the labels at or near ``root``."""
    near = [root]
    if root.name in ("labels", "png-cache"):
        near.append(root.absolute().parent)
    return find_folder(
        root,
        title="Unity Imaging",
        wanted=_WANTED,
        near=near,
        holds=lambda path: (path / "labels").is_dir(),
        lacks=lambda: f"{root / 'labels' / 'labels-train.json'} is missing",
    )


def _labels(path: Path) -> dict[str, dict[str, Any]]:
    """Read the labels of structures by picture.

    Raises:
        LayoutError: The file is missing.
        CorruptFileError: The file has another form than published.
    """
    entries = read_json(path)
    good = isinstance(entries, dict) and all(
        isinstance(v, dict) and isinstance(v.get("labels"), dict) for v in entries.values()
    )
    if not good:
        raise CorruptFileError(
            f'{path} is not of the form {{picture: {{"labels": ...}}}}. Download it again.'
        )
    return {name: entry["labels"] for name, entry in entries.items()}


def _points(
    path: Path,
    name: str,
    labels: Mapping[str, Any],
) -> FloatArray:
    """Read the positions (31, 2) of one picture; NaN for a structure that is not a point."""
    out = np.full((len(POINTS), 2), np.nan)
    for row, key in enumerate(POINTS):
        label = labels.get(key, {})
        label = label[0] if isinstance(label, list) and label else label
        if not isinstance(label, dict) or label.get("type") != "point":
            continue
        x, y = (maybe(str(label.get(axis))) for axis in "xy")
        if x is None or y is None:
            raise CorruptFileError(
                f"{path}: {key} of {name} is a point at {label.get('x')!r}, {label.get('y')!r}."
            )
        out[row] = x, y
    return out


def _spacings(table: Path) -> dict[str, tuple[float, float]]:
    if not table.is_file():
        return {}
    spacings: dict[str, tuple[float, float]] = {}
    for row in read_table(table, ("FileHash", "PhysicalDeltaX", "PhysicalDeltaY"), ragged=True):
        x, y = (maybe(row[f"PhysicalDelta{axis}"]) for axis in "XY")
        if x is not None and y is not None and 0 < x < 1 and 0 < y < 1:
            spacings[(row["FileHash"] or "").strip()] = (10 * y, 10 * x)
    return spacings
