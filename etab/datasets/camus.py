"""CAMUS: apical 2- and 4-chamber views of 500 patients, outlined at end-diastole and end-systole.

Three published layouts are read:

* the NIfTI release: ``database_nifti/``, ``database_split/``, and half sequences where present;
* the older release: ``training/`` and ``testing/``, as MetaImage;
* TED: ``database/``, as MetaImage. It holds full cycles of 98 of the patients in the 4-chamber
  view, with every frame outlined, and has no split.

A recording is one view of one patient. Its frames are the sequence if there is one, and otherwise
the two stills in the order of their frame numbers. The authors outlined the stills, so in a
sequence the stills replace the ED and the ES frame.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import numpy as np

from etab.datasets.base import SOURCES, Card, Fault, Source
from etab.datasets.camus_layout import CHAMBERS, CamusLayout, cfg_number, pictured, read_cfg
from etab.datasets.integrity.canonical import same_person_notes
from etab.datasets.traced import EF_LIMIT
from etab.errors import CorruptFileError, LayoutError, UnsupportedOptionError
from etab.readers.geometry import AS_PUBLISHED
from etab.readers.volume import VolumeInfo, grey, labels, read_volume, volume_info
from etab.splits import check_leaks
from etab.types import Answer, Array, Cut, Kind, Record, Target

_LABELS = {"LV_seg": 1, "MY_seg": 2, "LA_seg": 3}


_CARD = Card(
    name="camus",
    title="CAMUS",
    code="C",
    modality="echo",
    views=("A2C", "A4C"),
    targets=(
        Target("LV_seg", Kind.MASK, description="left ventricular cavity"),
        Target("LA_seg", Kind.MASK, description="left atrium"),
        Target("MY_seg", Kind.MASK, description="myocardium of the left ventricle"),
        Target(
            "EF",
            Kind.VALUE,
            unit="%",
            description="biplane ejection fraction of the left ventricle",
        ),
        Target(
            "ES/ED", Kind.BINARY, classes=("ED", "ES"), description="end-diastole or end-systole"
        ),
        Target(
            "view", Kind.CLASSES, classes=("A2C", "A4C"), description="apical 2- or 4-chamber view"
        ),
        Target(
            "CM",
            Kind.BINARY,
            classes=("EF >= 50", "EF < 50"),
            description="cardiomyopathy: EF below 50 %",
            cut=Cut("EF", EF_LIMIT),
        ),
    ),
    licence="CC BY-NC-SA 4.0",
    citation=(
        "Leclerc et al., IEEE Trans Med Imaging 38(9):2198-2210, 2019, doi:10.1109/TMI.2019.2900516"
    ),
    access="free registration at the data set's page of the University of Lyon (CREATIS)",
    counts={"patients": 500, "recordings": 1000, "train": 400, "val": 50, "test": 50},
    last_seen_real="2026-11-21",
)


@SOURCES.register("camus")
class CamusSource(Source):
    """CAMUS as published, from the folder that holds ``database_nifti/`` or ``training/``."""

    card: ClassVar[Card] = _CARD

    def __init__(self, root: Path) -> None:
        """Find the data.

        Raises:
            DataNotFoundError: ``root`` is not a folder.
            LayoutError: The folder has another layout; the message names the folder to pass.
        """
        self.layout = CamusLayout.find(Path(root))
        super().__init__(self.layout.root)
        self._records: tuple[Record, ...] | None = None
        self._cfg: dict[str, Mapping[str, str]] = {}
        self._phantom: bool | None = None
        self._headers: dict[Path, VolumeInfo] = {}
        self._last: tuple[Path | None, Array] = (None, np.empty(0))

    @property
    def phantom(self) -> bool:
        """Whether the marker file, a cfg or the header of a volume marks the tree as a phantom."""
        if self._phantom is None:
            self._phantom = (self.root / "PHANTOM").is_file()
            if not self._phantom:
                self._phantom = any(self._is_marked(record) for record in self.records())
        return self._phantom

    def records(self) -> Sequence[Record]:
        """List the 2- and 4-chamber recording of every patient, by patient.

        Returns:
            The records.

        Raises:
            LayoutError: A file is missing.
            CorruptFileError: A file cannot be read.
            SplitError: A patient is in two parts.
        """
        if self._records is None:
            rows = self.layout.patients(absent=None if self.faults is None else self._absent)
            views = self._views(rows)
            records = [self._record(*row, view) for row in rows for view in views]
            check_leaks(records)
            self._records = tuple(records)
        return self._records

    def still(self, record: Record) -> bool:
        """Whether the recording has only the ED and the ES still.

        Args:
            record: A recording of this source.
        """
        return "sequence" not in record.files

    def n_frames(self, record: Record) -> int:
        """Count the frames: 2 for stills, otherwise the length of the sequence.

        Args:
            record: A recording of this source.
        """
        if self.still(record):
            return 2
        return self._header(self.root / record.files["sequence"]).shape[0]

    def phases(self, record: Record) -> tuple[int, int]:
        """Return the ED and ES frame.

        They come from the view's cfg, where frames count from 1. Without it they are the ends of
        the sequence, or in a full cycle (TED) the frames with the largest and the smallest
        cavity. In a few recordings ES comes first.

        Args:
            record: A recording of this source.

        Returns:
            (ED, ES), from 0.

        Raises:
            CorruptFileError: The cfg names a frame that does not exist.
        """
        cfg = self._info(record)
        named = None
        if "ED" in cfg and "ES" in cfg:
            named = (self._number(record, "ED"), self._number(record, "ES"))
        if self.still(record):
            return (1, 0) if named and named[0] > named[1] else (0, 1)
        n = self.n_frames(record)
        if named is None:
            return self._ends(record, n)
        if not all(1 <= k <= n for k in named) or named[0] == named[1]:
            raise CorruptFileError(
                f"{self.root / record.files['info']} says ED {named[0]:g} and ES {named[1]:g}; "
                f"{record.files['sequence']} has frames 1 to {n}. Restore both as published."
            )
        return int(named[0]) - 1, int(named[1]) - 1

    def frames(self, record: Record, at: Sequence[int] | None = None) -> Array:
        """Read frames, probe at the top; a sequence is read only if the stills are not enough.

        Args:
            record: A recording of this source.
            at: k frame numbers, from 0; None reads all.

        Returns:
            Grey frames (k, h, w) uint8.

        Raises:
            UnsupportedOptionError: A frame does not exist.
            CorruptFileError: A file cannot be read, or its frames differ in size.
        """
        n = self.n_frames(record)
        numbers = range(n) if at is None else [int(i) for i in at]
        if any(not 0 <= i < n for i in numbers):
            raise UnsupportedOptionError(
                f"{record.id} has frames 0 to {n - 1}; asked for {list(numbers)}."
            )
        phases = zip(("ED", "ES"), self.phases(record), strict=True)
        role_of = {number: role for role, number in phases if role in record.files}
        frame_of: dict[int, Array] = {}
        for number in sorted(set(numbers) & set(role_of)):
            frame_of[number] = self._grey(record, role_of[number])[0]
        for number in sorted(set(numbers) - set(role_of)):
            frame_of[number] = self._grey(record, "sequence")[number]
        shapes = {frame.shape for frame in frame_of.values()}
        if len(shapes) > 1:
            raise CorruptFileError(f"{record.id}: its frames differ in size, {sorted(shapes)}.")
        if not frame_of:
            return np.empty((0, 0, 0), np.uint8)
        return np.stack([frame_of[number] for number in numbers])

    def answers(
        self, record: Record, target: Target, at: Collection[int] | None = None
    ) -> tuple[Answer, ...]:
        """Return the reference values; in a full release the masks of all frames from ED to ES.

        The older release has none for its testing patients.

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
        if target.name in _LABELS:
            return self._masks(record, _LABELS[target.name], at)
        if target.name == "view":
            return (Answer(_CARD.views.index(record.view)),)
        if target.name == "ES/ED":
            ed, es = self.phases(record)
            labelled_phases = sorted(((ed, 0), (es, 1)))
            return tuple(
                Answer(value, frame)
                for frame, value in labelled_phases
                if at is None or frame in at
            )
        if target.name in ("EF", "CM"):
            ef = self._ef(record)
            if ef is None:
                return ()
            return (Answer(ef if target.name == "EF" else int(ef < EF_LIMIT)),)
        self.card.target(target.name)
        return ()

    def annotated(self, record: Record, target: Target) -> tuple[int | None, ...]:
        """List the frames with a reference value, from file names and headers only.

        Args:
            record: A recording of this source.
            target: A target of the card.

        Returns:
            Frame numbers, or None for a value of the whole recording; empty without a value.
        """
        if target.name not in _LABELS:
            return super().annotated(record, target)
        return self._annotated(record)

    def spacing(self, record: Record) -> tuple[float, float] | None:
        """Return the height and width in mm of a pixel, as the header gives them.

        They differ from one another in the older release.

        Args:
            record: A recording of this source.
        """
        return self._header(self._image(record)).spacing

    def published(self) -> Mapping[str, int]:
        """Published numbers of patients and recordings of this release."""
        return {"patients": 98, "recordings": 98} if self.layout.ted else self.card.counts

    def shared_files(self) -> Sequence[str]:
        """The split files."""
        return self.layout.split_files()

    def canonical(self) -> str:
        """Name the canonical split of the NIfTI release.

        The older release has other numbers of patients and other parts: "" for it.
        """
        return self.card.name if self.layout.nifti else ""

    def notes(self) -> Sequence[str]:
        """Patients that are one person under two ids."""
        return same_person_notes(self)

    def remarks(self) -> Sequence[str]:
        """Name the views without any picture in this copy, and folders that are not patients."""
        views = {record.view for record in self.records()}
        absent = [] if self.layout.ted else [view for view in self.card.views if view not in views]
        remarks = [f"no picture of the view {view} is here; it is left out" for view in absent]
        others = self.layout.other_folders()
        if others:
            remarks.append(
                "folders left out because their names are not those of patients: "
                f"{len(others)}, first {others[0]}"
            )
        return remarks

    def _views(self, rows: Sequence[tuple[str, str, str, frozenset[str]]]) -> tuple[str, ...]:
        """List the views of which any patient has a picture; all views if there is no picture."""
        if self.layout.ted:
            return ("A4C",)
        chambers: set[str] = set()
        for patient, _, _, names in rows:
            chambers.update(pictured(patient, names))
        views = tuple(view for view in self.card.views if CHAMBERS[view] in chambers)
        return views or self.card.views

    def _absent(self, patient: str, split: str) -> None:
        """Note both recordings of a patient whom the split files list and who has no folder."""
        reason = f"{self.root / 'database_nifti' / patient} is missing."
        for view in self.card.views:
            self._give_up(
                Fault(f"{patient}_{CHAMBERS[view]}", reason, patient, view, split),
                LayoutError(reason),
            )

    def _record(
        self, patient: str, folder: str, split: str, present: frozenset[str], view: str
    ) -> Record:
        files = self.layout.files(patient, folder, CHAMBERS[view], present)
        own_cfg = self._optional_cfg(files.get("info"))
        cfg = own_cfg or self._optional_cfg(files.get("info_other"))
        facts = {"quality": "ImageQuality", "sex": "Sex", "age": "Age"}
        if "info" not in files:
            del facts["quality"]
        fps = None
        if "sequence" in files and "FrameRate" in own_cfg:
            # A rate that is not a number is a rate that is not known.
            with suppress(CorruptFileError):
                fps = cfg_number(self.root / files["info"], own_cfg, "FrameRate", 1, 1000)
        meta = {name: cfg[key] for name, key in facts.items() if key in cfg}
        return Record(f"{patient}_{CHAMBERS[view]}", patient, view, split, fps, files, meta)

    def _cfg_of(self, name: str | None) -> Mapping[str, str]:
        """An Info file's pairs, read once; empty where there is none."""
        if name is None:
            return {}
        if name not in self._cfg:
            self._cfg[name] = read_cfg(self.root / name)
        return self._cfg[name]

    def _optional_cfg(self, name: str | None) -> Mapping[str, str]:
        """As ``_cfg_of`` for facts that nothing depends on: empty where the file cannot be read."""
        try:
            return self._cfg_of(name)
        except (CorruptFileError, LayoutError):
            return {}

    def _info(self, record: Record) -> Mapping[str, str]:
        return self._cfg_of(record.files.get("info"))

    def _is_marked(self, record: Record) -> bool:
        """Whether a cfg or the header of a volume marks the recording as a phantom."""
        for role in ("info", "info_other"):
            if self._optional_cfg(record.files.get(role)).get("Phantom"):
                return True
        for role in ("ED", "ES", "sequence"):
            if role not in record.files:
                continue
            image = self.root / record.files[role]
            if image.is_file() and "phantom" in self._header(image).description.lower():
                return True
        return False

    def _ef(self, record: Record) -> float | None:
        """Return the EF in % from the cfg of either view.

        It is None for the testing patients of the older release, and for TED without a cfg.
        """
        for role in ("info", "info_other"):
            cfg = self._cfg_of(record.files.get(role))
            for key in ("EF", "LVef"):
                if key in cfg:
                    return cfg_number(self.root / record.files[role], cfg, key, 0, 100)
        if self.layout.ted or (not self.layout.nifti and record.split == "test"):
            return None
        folder = self._image(record).parent
        if "info" in record.files or "info_other" in record.files:
            raise CorruptFileError(
                f"{folder}: no Info file gives EF for {record.patient}. Restore it as published."
            )
        raise LayoutError(
            f"{folder / 'Info_2CH.cfg'} is missing, and Info_4CH.cfg too; one of them gives EF. "
            "Restore one."
        )

    def _number(self, record: Record, key: str) -> float:
        return cfg_number(self.root / record.files["info"], self._info(record), key, 1, 10_000)

    def _ends(self, record: Record, n: int) -> tuple[int, int]:
        """ED and ES of a sequence without a cfg: its ends, ED the one with the larger cavity."""
        if "sequence_gt" not in record.files:
            return 0, n - 1
        areas = (self._labels(record, "sequence_gt") == _LABELS["LV_seg"]).sum(axis=(1, 2))
        if self.layout.ted:
            return int(areas.argmax()), int(areas.argmin())
        return (n - 1, 0) if areas[-1] > areas[0] else (0, n - 1)

    def _header(self, path: Path) -> VolumeInfo:
        """Read the header of a volume once; every task needs thousands of them."""
        if path not in self._headers:
            self._headers[path] = volume_info(path)
        return self._headers[path]

    def _image(self, record: Record) -> Path:
        return self.root / record.files["ED" if "ED" in record.files else "sequence"]

    def _grey(self, record: Record, role: str) -> Array:
        path = self.root / record.files[role]
        if not role.startswith("sequence"):
            frames = grey(path, read_volume(path).data)
            _check_one_frame(path, frames)
            return frames
        if self._last[0] != path:
            self._last = (path, grey(path, read_volume(path).data))
        return self._last[1]

    def _labels(self, record: Record, role: str) -> Array:
        """Read labels (k, h, w); refuse them if they do not fit the picture that they outline."""
        path = self.root / record.files[role]
        sequence = record.files.get("sequence", "")
        image = self.root / record.files.get(role.removesuffix("_gt"), sequence)
        volume = read_volume(path)
        if volume.info.channels != 1:
            raise CorruptFileError(
                f"{path} has {volume.info.channels} channels; a mask has one label a pixel. "
                "Restore it as published."
            )
        mask = labels(path, volume.data, max(_LABELS.values()))
        if not role.startswith("sequence"):
            _check_one_frame(path, mask)
        if image.is_file():
            _check_overlay(path, volume.info, image, self._header(image))
        return mask

    def _masks(self, record: Record, label: int, at: Collection[int] | None) -> tuple[Answer, ...]:
        """Read masks (h, w) in frame order.

        The mask of a still replaces that of its frame of the sequence. The sequence is read only
        if other frames are wanted.
        """
        roles = zip(self.phases(record), ("ED_gt", "ES_gt"), strict=True)
        role_of_frame = {frame: role for frame, role in roles if role in record.files}
        numbers = set(self._annotated(record))
        if at is not None:
            numbers &= set(at)
        masks: dict[int, Array] = {}
        for frame in numbers & set(role_of_frame):
            masks[frame] = self._labels(record, role_of_frame[frame])[0]
        if numbers - set(role_of_frame):
            sequence_labels = self._labels(record, "sequence_gt")
            if len(sequence_labels) != self.n_frames(record):
                raise CorruptFileError(
                    f"{self.root / record.files['sequence_gt']} has {len(sequence_labels)} frames "
                    f"and {record.files['sequence']} has {self.n_frames(record)}. Restore both as "
                    "published."
                )
            masks |= {frame: sequence_labels[frame] for frame in numbers - set(role_of_frame)}
        return tuple(Answer(mask == label, frame) for frame, mask in sorted(masks.items()))

    def _annotated(self, record: Record) -> tuple[int, ...]:
        if "sequence" in record.files and "sequence_gt" in record.files:
            return tuple(range(self.n_frames(record)))
        phases = zip(("ED_gt", "ES_gt"), self.phases(record), strict=True)
        return tuple(sorted(frame for role, frame in phases if role in record.files))


def _check_one_frame(path: Path, frames: Array) -> None:
    if len(frames) != 1:
        raise CorruptFileError(
            f"{path} holds {len(frames)} frames; the picture of one phase is one frame. Restore "
            "it as published."
        )


def _check_overlay(path: Path, mask: VolumeInfo, image: Path, picture: VolumeInfo) -> None:
    """Refuse a mask that differs from its picture in size, or in whether it was turned."""
    if mask.shape[1:] != picture.shape[1:]:
        raise CorruptFileError(
            f"{path} is {mask.shape[1]} x {mask.shape[2]} pixels and its picture {image.name} is "
            f"{picture.shape[1]} x {picture.shape[2]}. Restore both as published."
        )
    names = (mask.orientation, picture.orientation)
    is_one_unknown = "" in names and not set(names) <= {"", AS_PUBLISHED}
    if is_one_unknown:
        raise CorruptFileError(
            f"{path} has the orientation {names[0] or 'unknown'} and its picture {image.name} "
            f"{names[1] or 'unknown'}, so the two cannot be aligned. Save both in the same "
            "orientation."
        )
