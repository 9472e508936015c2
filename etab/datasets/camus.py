"""CAMUS: 500 patients, apical 2- and 4-chamber views, chambers outlined at end-diastole and
    end-systole.

Every published layout: the NIfTI release (``database_nifti/``, ``database_split/``, half sequences
where present), the older one (``training/``, ``testing/``, MetaImage), and TED (``database/``,
MetaImage): full cycles of 98 of the patients, 4-chamber view alone, every frame outlined, no split.
A recording is one view of one patient. Its frames are the sequence where that is present, else the
two stills in the order of their frame numbers. The stills are what was outlined: in a sequence they
stand for the ED and the ES frame.
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
from etab.types import Answer, Array, Kind, Record, Target

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
            self._phantom = (self.root / "PHANTOM").is_file() or any(
                map(self._says_phantom, self.records())
            )
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
        """Whether the recording has only the ED and the ES still."""
        return "sequence" not in record.files

    def n_frames(self, record: Record) -> int:
        """Return 2 for stills, otherwise the length of the sequence."""
        return (
            2 if self.still(record) else self._header(self.root / record.files["sequence"]).shape[0]
        )

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
        named = (
            None
            if not {"ED", "ES"} <= set(cfg)
            else (self._number(record, "ED"), self._number(record, "ES"))
        )
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
        ed, es = self.phases(record)
        roles = {i: role for role, i in (("ED", ed), ("ES", es)) if role in record.files}
        stills = {i: self._grey(record, roles[i])[0] for i in sorted(set(numbers) & set(roles))}
        rest = None if set(numbers) <= set(roles) else self._grey(record, "sequence")
        out = [stills[i] if i in stills or rest is None else rest[i] for i in numbers]
        if len({frame.shape for frame in out}) > 1:
            raise CorruptFileError(
                f"{record.id}: its frames differ in size, {sorted({f.shape for f in out})}."
            )
        return np.stack(out) if out else np.empty((0, 0, 0), np.uint8)

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
            return (
                () if ef is None else (Answer(ef if target.name == "EF" else int(ef < EF_LIMIT)),)
            )
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
        """Pixel spacing (row, column) in mm as the header gives it; differs by axis in the older
        release.
        """
        return self._header(self._image(record)).spacing

    def published(self) -> Mapping[str, int]:
        """Published numbers of patients and recordings of this release."""
        return {"patients": 98, "recordings": 98} if self.layout.ted else self.card.counts

    def shared_files(self) -> Sequence[str]:
        """The split files."""
        return self.layout.split_files()

    def canonical(self) -> str:
        """The split of the NIfTI release; the older one numbers and parts its patients in another
        way.
        """
        return self.card.name if self.layout.nifti else ""

    def notes(self) -> Sequence[str]:
        """Patients that are one person under two ids."""
        return same_person_notes(self)

    def remarks(self) -> Sequence[str]:
        """The views without any picture in this copy."""
        views = {record.view for record in self.records()}
        absent = [] if self.layout.ted else [view for view in self.card.views if view not in views]
        return [f"no picture of the view {view} is here; it is left out" for view in absent]

    def _views(self, rows: Sequence[tuple[str, str, str, frozenset[str]]]) -> tuple[str, ...]:
        """The views of this copy: those of which any patient has a picture, or all where there is
        none at all.
        """
        if self.layout.ted:
            return ("A4C",)
        chambers = {
            chamber for patient, _, _, names in rows for chamber in pictured(patient, names)
        }
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
            # A rate that is no number is a rate that is not known.
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

    def _says_phantom(self, record: Record) -> bool:
        if any(
            self._optional_cfg(record.files.get(role)).get("Phantom")
            for role in ("info", "info_other")
        ):
            return True
        images = [
            self.root / record.files[r] for r in ("ED", "ES", "sequence") if r in record.files
        ]
        return any(
            "phantom" in self._header(image).description.lower()
            for image in images
            if image.is_file()
        )

    def _ef(self, record: Record) -> float | None:
        """EF in % from whichever view's cfg is there; None for TED without it and the older
        release's testing patients.
        """
        for role in ("info", "info_other"):
            cfg = self._cfg_of(record.files.get(role))
            for key in ("EF", "LVef"):
                if key in cfg:
                    return cfg_number(self.root / record.files[role], cfg, key, 0, 100)
        if self.layout.ted or (not self.layout.nifti and record.split == "test"):
            return None
        where = self._image(record).parent
        if "info" in record.files or "info_other" in record.files:
            raise CorruptFileError(
                f"{where}: no Info file gives EF for {record.patient}. Restore it as published."
            )
        raise LayoutError(
            f"{where / 'Info_2CH.cfg'} is missing, and Info_4CH.cfg too; one of them gives EF. "
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
        """Labels (k, h, w), refused where they do not lie on the picture that they outline."""
        path = self.root / record.files[role]
        image = self.root / record.files.get(
            role.removesuffix("_gt"), record.files.get("sequence", "")
        )
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
        """Masks (h, w) by frame; a still's own mask stands for its frame of the sequence, which is
        then not read.
        """
        roles = zip(self.phases(record), ("ED_gt", "ES_gt"), strict=True)
        role_of_frame = {frame: role for frame, role in roles if role in record.files}
        numbers = (
            set(self._annotated(record)) if at is None else set(at) & set(self._annotated(record))
        )
        masks = {
            frame: self._labels(record, role_of_frame[frame])[0]
            for frame in numbers & set(role_of_frame)
        }
        if numbers - set(role_of_frame):
            sequence_labels = self._labels(record, "sequence_gt")
            if len(sequence_labels) != self.n_frames(record):
                raise CorruptFileError(
                    f"{self.root / record.files['sequence_gt']} has {len(sequence_labels)} frames "
                    "and "
                    f"{record.files['sequence']} has {self.n_frames(record)}. Restore both as "
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
    """Refuse a mask that is of another size than its picture, or was turned where the picture was
    not.
    """
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
            f"{names[1] or 'unknown'}, so "
            "that it cannot be told whether one lies on the other. Write both with one direction."
        )
