"""EchoXFlow: routine examinations in beamspace, with contours of the left ventricle.

``croissant.json`` lists the recordings and the sha256 of every array; each recording is a Zarr
store. A strain recording links up to three apical B-mode recordings and outlines the left
ventricle in them. Here a recording is such a view. Its frames are scan-converted to square
pixels, because a backbone expects pictures; contours are points in metres, so that masks are drawn
in the same pixels.

The contours come in rows of five points, from the endocardium (first) to the epicardium (last).
A frame has a contour if a contour's time lies within half a frame of it.

Every array is verified when it is read, because a lost chunk of a Zarr array reads as zeros. The
catalogue does not say what its ``data_sha256`` covers; the bytes of the array in C order are
assumed. An examination stands for a patient: the authors publish no patient ids.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from etab.datasets.base import SOURCES, Card, Fault, Source
from etab.datasets.echoxflow_tables import (
    CATALOGUE,
    FOLDS,
    LV_STRAIN,
    Catalogue,
    Panel,
    StoredRecording,
    read_catalogue,
    read_folds,
    read_panels,
)
from etab.datasets.paths import find_folder
from etab.echo.beamspace import on_screen_pixels, polygon_mask, scan_converted, screen_size
from etab.errors import CorruptFileError, LayoutError, UnsupportedOptionError
from etab.files import exists
from etab.readers.zarr_store import ZarrStore
from etab.storage.digests import combine, digests
from etab.storage.listing import visible_files
from etab.storage.text import counted
from etab.types import Answer, Array, FloatArray, Kind, Record, Target

HEIGHT = 256
"""Rows of a scan-converted frame, as in the authors' Cartesian benchmark."""

_GROUP = 5
_KEPT = 6
_WANTED = f"the folder that contains {CATALOGUE}"

_CARD = Card(
    name="echoxflow",
    title="EchoXFlow",
    code="X",
    modality="echo",
    views=("A2C", "A3C", "A4C"),
    targets=(
        Target("LV_seg", Kind.MASK, description="left ventricular cavity, by strain contours"),
        Target("MY_seg", Kind.MASK, description="myocardium of the left ventricle"),
        Target(
            "view",
            Kind.CLASSES,
            classes=("A2C", "A3C", "A4C"),
            description="apical 2-, 3- or 4-chamber view",
        ),
    ),
    licence="CC BY-NC-SA 4.0",
    citation="Stenhede et al., arXiv:2605.05447, 2026, doi:10.48550/arXiv.2605.05447",
    access="free download at the Hugging Face hub: Ahus-AIM/EchoXFlow (a small part: "
    "Ahus-AIM/EchoXFlow-Demo)",
    unit="examination",
)


@SOURCES.register("echoxflow")
class EchoXFlowSource(Source):
    """The views of EchoXFlow whose left ventricle is outlined.

    ``meta["fold"]`` is the authors' fold of the examination, where ``splits.csv`` gives it.
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
        self._catalogue: Catalogue | None = None
        self._panels: dict[str, Panel] = {}
        self._arrays: OrderedDict[tuple[str, str], Array] = OrderedDict()

    @property
    def phantom(self) -> bool:
        """Whether the marker file, or the attributes of a store, mark a phantom."""
        if (self.root / "PHANTOM").is_file():
            return True
        records = self.records()
        if not records:
            return False
        store = ZarrStore(self.root / records[0].files["strain"])
        return "phantom" in str(store.attributes.get("comment", "")).lower()

    def records(self) -> Sequence[Record]:
        """List the outlined views, in the order of the catalogue.

        Raises:
            LayoutError: A store is missing; the message names it.
            CorruptFileError: The catalogue, the folds or a store cannot be read.
            MissingPackageError: zarr is not installed.
        """
        if self._records is None:
            catalogue = read_catalogue(self.root / CATALOGUE)
            self._catalogue = catalogue
            self._panels = {}
            table = self._fold_table()
            folds = read_folds(table) if table is not None else {}
            listed: list[Record] = []
            for item in catalogue.recordings.values():
                if LV_STRAIN not in item.content_types:
                    continue
                try:
                    listed += self._views(item, catalogue, folds)
                except (CorruptFileError, LayoutError) as error:
                    self._give_up(Fault(item.name, str(error), item.exam), error)
            self._records = tuple(self._there(listed))
        return self._records

    def frames(self, record: Record, at: Sequence[int] | None = None) -> Array:
        """Read frames, scan-converted to square pixels.

        Args:
            record: A recording of this source.
            at: k frame numbers, from 0; None reads all.

        Returns:
            Grey frames (k, 256, w) uint8, 0 outside the sector.

        Raises:
            UnsupportedOptionError: A frame does not exist.
            CorruptFileError: An array cannot be read, or is not the published one.
        """
        panel = self._panel(record)
        stored = self._stored(panel.source, panel.frames)
        if stored.ndim != 3 or stored.dtype != np.uint8:
            raise CorruptFileError(
                f"{self.root / record.files['frames']}: {panel.frames} is {stored.dtype} "
                f"{stored.shape}; wanted uint8 (frames, depths, angles)."
            )
        numbers = range(len(stored)) if at is None else [int(i) for i in at]
        beyond = [i for i in numbers if not 0 <= i < len(stored)]
        if beyond:
            raise UnsupportedOptionError(
                f"{record.id} has frames 0 to {len(stored) - 1}; it has no frame {beyond[0]}."
            )
        return scan_converted(stored[list(numbers)], panel.geometry, HEIGHT)

    def n_frames(self, record: Record) -> int:
        """Count the frames of the view, from the header of its array.

        Args:
            record: A recording of this source.
        """
        panel = self._panel(record)
        return ZarrStore(self.root / record.files["frames"]).shape(panel.frames)[0]

    def spacing(self, record: Record) -> tuple[float, float] | None:
        """Return the height and width of a pixel of ``frames(record)`` in mm.

        Args:
            record: A recording of this source.
        """
        geometry = self._panel(record).geometry
        rows, columns = screen_size(geometry, HEIGHT)
        left, right, top, bottom = geometry.box
        return 1000 * (bottom - top) / (rows - 1), 1000 * (right - left) / (columns - 1)

    def answers(
        self,
        record: Record,
        target: Target,
        at: Collection[int] | None = None,
    ) -> tuple[Answer, ...]:
        """Return the view, or the masks of the outlined frames.

        Args:
            record: A recording of this source.
            target: A target of the card.
            at: Frame numbers, from 0; values of other frames are left out. None takes all.

        Returns:
            The values in frame order.
        """
        self.card.target(target.name)
        if target.name == "view":
            return (Answer(self.card.views.index(record.view)),)
        answers = []
        for number, points in self._outlines(record):
            if at is None or number in at:
                answers.append(Answer(self._mask(record, points, target.name), number))
        return tuple(answers)

    def annotated(self, record: Record, target: Target) -> tuple[int | None, ...]:
        """List the outlined frames, without drawing masks.

        Args:
            record: A recording of this source.
            target: A target of the card.
        """
        if target.name == "view":
            return (None,)
        return tuple(number for number, _ in self._outlines(record))

    def shared_files(self) -> Sequence[str]:
        """Name the catalogue and the folds."""
        table = self._fold_table()
        return (CATALOGUE,) if table is None else (CATALOGUE, table.name)

    def tally(self) -> Mapping[str, int]:
        """Count the views, and the examinations of each fold."""
        records = self.records()
        views = Counter(record.view for record in records)
        folds = Counter({(r.patient, r.meta["fold"]) for r in records if "fold" in r.meta})
        by_fold = Counter(fold for _, fold in folds)
        return {view: views[view] for view in self.card.views} | {
            f"examinations in fold {fold}": by_fold[fold] for fold in sorted(by_fold)
        }

    def remarks(self) -> Sequence[str]:
        """Tell what the release does not: patients, and arrays without a digest."""
        records = self.records()
        catalogue = self._known()
        remarks = ["the release has no patient ids: examinations stand for patients"]
        if self._fold_table() is None:
            remarks.append(f"neither {FOLDS[0]} nor {FOLDS[1]} is here: folds are unknown")
        without = [
            record.id
            for record in records
            if (self._panels[record.id].source, self._panels[record.id].frames)
            not in catalogue.digests
        ]
        if without:
            remarks.append(
                f"{counted(len(without), 'view has', 'views have')} no sha256 of their frames in "
                f"{CATALOGUE}, first {without[0]}: lost chunks cannot be distinguished from black ones"
            )
        return remarks

    def digest(self) -> str:
        """Compute the sha256 of all views: facts, and every file of their stores."""
        rows = []
        names: set[str] = set(self.shared_files())
        for record in self.records():
            rows.append((record.id, record.patient, record.view, str(record.meta.get("fold"))))
            names |= {name for path in self._paths(record) for name in self._files(path)}
        return combine(rows, digests(self.root, sorted(names)))

    def _files(self, store: Path) -> Iterator[str]:
        """Yield the files of a store, relative to the root."""
        paths = visible_files(store) if store.is_dir() else [store]
        for path in paths:
            yield path.relative_to(self.root).as_posix()

    def _known(self) -> Catalogue:
        self.records()
        if self._catalogue is None:
            self._catalogue = read_catalogue(self.root / CATALOGUE)
        return self._catalogue

    def _fold_table(self) -> Path | None:
        return next((self.root / name for name in FOLDS if (self.root / name).is_file()), None)

    def _views(
        self,
        item: StoredRecording,
        catalogue: Catalogue,
        folds: Mapping[str, int],
    ) -> Iterator[Record]:
        """List the outlined views of a strain recording."""
        path = self.root / item.path
        for panel in read_panels(path, item.name, ZarrStore(path).attributes):
            source = catalogue.recordings.get(panel.source)
            if source is None or source.exam != item.exam:
                raise CorruptFileError(
                    f"{path} outlines the recording {panel.source!r}, which {CATALOGUE} does not "
                    f"list for its examination {item.exam}. Download both again."
                )
            if not exists(self.root / source.path):
                raise LayoutError(
                    f"{self.root / source.path} is missing, and {item.name} outlines it. Restore "
                    "it, or leave out its recording."
                )
            meta = {"fold": folds[item.exam]} if item.exam in folds else {}
            name = f"{item.name}_{panel.role}"
            self._panels[name] = panel
            files = {"strain": item.path, "frames": source.path}
            yield Record(name, item.exam, panel.view, "", None, files, meta)

    def _panel(self, record: Record) -> Panel:
        self.records()
        return self._panels[record.id]

    def _stored(self, owner: str, name: str) -> Array:
        """Read an array of a recording, verified; the last arrays stay in memory."""
        key = (owner, name)
        if key not in self._arrays:
            catalogue = self._known()
            store = ZarrStore(self.root / catalogue.recordings[owner].path)
            self._arrays[key] = store.array(name, catalogue.digests.get(key, ""))
            while len(self._arrays) > _KEPT:
                self._arrays.popitem(last=False)
        self._arrays.move_to_end(key)
        return self._arrays[key]

    def _outlines(self, record: Record) -> list[tuple[int, FloatArray]]:
        """List the outlined frames with their points (n, 2) in metres, in frame order."""
        panel = self._panel(record)
        owner = record.id.removesuffix(f"_{panel.role}")
        contours = np.asarray(self._stored(owner, panel.contour), dtype=np.float64)
        if contours.ndim != 3 or contours.shape[2] != 2 or contours.shape[1] % _GROUP:
            raise CorruptFileError(
                f"{self.root / record.files['strain']}: {panel.contour} is {contours.shape}; "
                "wanted (contours, points, 2) with five points across the wall."
            )
        n = self.n_frames(record)
        times = self._times(panel.source, panel.times, n)
        contour_times = self._times(owner, panel.contour_times, len(contours))
        outlined = []
        for number, k in _matched(times, contour_times):
            points = contours[k]
            grid = points.reshape(-1, _GROUP, 2)
            finite = grid[np.isfinite(grid).all(axis=(1, 2))]
            if len(finite) > 1:
                outlined.append((number, finite.reshape(-1, 2)))
        return outlined

    def _times(self, owner: str, name: str, count: int) -> FloatArray:
        """Read the times of frames; their numbers where the release gives none."""
        if not name:
            return np.arange(count, dtype=np.float64)
        times = np.asarray(self._stored(owner, name), dtype=np.float64).reshape(-1)
        if len(times) != count:
            raise CorruptFileError(
                f"{self.root}: {name} of {owner} has {len(times)} times for {count} frames. "
                "Download the recording again."
            )
        return times

    def _mask(self, record: Record, points: FloatArray, name: str) -> Array:
        """Draw the cavity, or the myocardium: what lies between the inner and the outer outline."""
        geometry = self._panel(record).geometry
        shape = screen_size(geometry, HEIGHT)
        pixels = on_screen_pixels(points, geometry, HEIGHT).reshape(-1, _GROUP, 2)
        inner = polygon_mask(pixels[:, 0], shape)
        if name == "LV_seg":
            return inner
        wall = np.concatenate([pixels[:, 0], pixels[::-1, -1]])
        return polygon_mask(wall, shape) & ~inner


def _find(root: Path) -> Path:
    """Find the folder of the catalogue at or near ``root``."""
    return find_folder(
        root,
        title="EchoXFlow",
        wanted=_WANTED,
        near=[root, root / "EchoXFlow"],
        holds=lambda path: (path / CATALOGUE).is_file(),
        lacks=lambda: f"{root / CATALOGUE} is missing",
    )


def _matched(times: FloatArray, contour_times: FloatArray) -> list[tuple[int, int]]:
    """Match contours to the nearest frame, half a frame away at most.

    Args:
        times: (n,) times of the frames.
        contour_times: (k,) times of the contours.

    Returns:
        (frame, contour) in frame order; of two contours of a frame, the nearer one.
    """
    steps = np.diff(np.sort(times))
    positive: FloatArray = steps[steps > 0]
    tolerance = float(np.median(positive)) / 2 + 1e-6 if len(positive) else np.inf
    best: dict[int, tuple[float, int]] = {}
    for k, time in enumerate(contour_times):
        distances = np.abs(times - time)
        number = int(np.argmin(distances))
        distance = float(distances[number])
        if distance > tolerance or not np.isfinite(distance):
            continue
        if number not in best or distance < best[number][0]:
            best[number] = (distance, k)
    return [(number, best[number][1]) for number in sorted(best)]
