"""TMED-2 and TMED-1: stills of routine echocardiograms with view and aortic stenosis.

A recording is one labelled image: the first frame of a clip, cropped by the authors. The default
fold is the first fold of the largest development set (``DEV479/TMED2_fold0_labeledpart.csv``,
``TMED-156-52_fold0.csv``). The fold files are in their own folder or beside
``labels_per_image.csv``. Images without a diagnosis (the view-labelled set) are left out by
default, as in the authors' own diagnosis task.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar

from etab.datasets.absent import files_absent
from etab.datasets.base import SOURCES, Card, Source
from etab.datasets.tmed_layout import (
    LABEL_TABLE,
    NOT_PROVIDED,
    TMED1,
    TMED2,
    TmedRelease,
    find_release,
    fold_table,
)
from etab.errors import (
    CorruptFileError,
    LayoutError,
    SplitError,
    UnsupportedOptionError,
)
from etab.readers.still import is_phantom_picture, read_still
from etab.readers.table import Row, is_blank, read_table, same_cell
from etab.splits import SPLIT_PARTS, check_leaks
from etab.storage.listing import visible_names
from etab.types import Answer, Array, Kind, Record, Target

PARASTERNAL = ("PLAX", "PSAX")


def _targets(
    views: tuple[str, ...],
    severities: tuple[str, ...],
    words: str,
) -> tuple[Target, ...]:
    return (
        Target(
            "view",
            Kind.CLASSES,
            classes=views,
            description="view of the heart; 'other' may hide an apical one",
        ),
        Target(
            "PLAX/PSAX",
            Kind.BINARY,
            classes=PARASTERNAL,
            description="parasternal long or short axis view",
        ),
        Target(
            "AS",
            Kind.CLASSES,
            classes=severities,
            description=f"aortic stenosis of the study: {words}",
        ),
        Target(
            "any_AS",
            Kind.BINARY,
            classes=("no AS", "AS"),
            description="any aortic stenosis of the study",
        ),
    )


_TMED2_VIEWS = ("PLAX", "PSAX", "A2C", "A4C", "other")
_TMED1_VIEWS = ("PLAX", "PSAX", "other")
_ACCESS = "application at tmed.cs.tufts.edu"
_LICENCE = "TMED Health Data License: academic research, by application, no redistribution"


@SOURCES.register("tmed")
class TmedSource(Source):
    """TMED-2 as published.

    Args:
        root: Folder with ``labels_per_image.csv`` or the fold files.
        part: Development set ("DEV165"). None takes the set that ``root`` itself is, otherwise the
            largest one.
        fold: Number of the fold: 0, 1 or 2.
        diagnosed: Whether images without a diagnosis are left out. Otherwise those that no fold
            file lists have the part of their patient, or none.
    """

    release: ClassVar[TmedRelease] = TMED2
    card: ClassVar[Card] = Card(
        name="tmed",
        title="TMED-2",
        code="T",
        modality="echo",
        views=_TMED2_VIEWS,
        targets=_targets(
            _TMED2_VIEWS,
            ("no AS", "early AS", "significant AS"),
            "none, mild or mild to moderate, moderate or severe",
        ),
        licence=_LICENCE,
        citation=(
            "Huang et al., TMED 2: A Dataset for Semi-Supervised Classification of "
            "Echocardiograms, DataPerf 2022"
        ),
        access=_ACCESS,
        counts={
            "patients": 576,
            "recordings": 17_270,
            "train": 338,
            "val": 119,
            "test": 119,
            "studies": 598,
            "PLAX": 4808,
            "PSAX": 1725,
            "A2C": 1670,
            "A4C": 2206,
            "other": 6861,
            "studies with no AS": 126,
            "studies with early AS": 171,
            "studies with significant AS": 301,
        },
    )

    def __init__(
        self,
        root: Path,
        *,
        part: str | None = None,
        fold: int = 0,
        diagnosed: bool = True,
    ) -> None:
        """Find the tables.

        Raises:
            DataNotFoundError: ``root`` is not a folder.
            LayoutError: The tables are missing; the message names the folder to pass.
        """
        folder, part_of_root = find_release(Path(root), self.release)
        super().__init__(folder)
        self.part, self.fold, self.diagnosed = (
            part or part_of_root or self.release.parts[0],
            fold,
            diagnosed,
        )
        self.table = fold_table(
            folder,
            self.release,
            self.part,
            fold,
            required=part is not None or part_of_root is not None,
        )
        self._records: tuple[Record, ...] | None = None
        self._names: dict[str, frozenset[str]] = {}
        self._phantom: bool | None = None

    @property
    def phantom(self) -> bool:
        """Whether the marker file or the text of an image marks the tree as a phantom."""
        if self._phantom is None:
            images = (self.root / record.files["still"] for record in self.records())
            self._phantom = (self.root / "PHANTOM").is_file() or any(
                is_phantom_picture(path) for path in images
            )
        return self._phantom

    def records(self) -> Sequence[Record]:
        """List every labelled image, in the order of the tables.

        Returns:
            One record an image.

        Raises:
            CorruptFileError: A row cannot be read, an image is listed twice, or two tables differ.
            LayoutError: An image is missing; the message names the first one.
            SplitError: A patient is in two parts.
        """
        if self._records is None:
            labels = self._labels()
            rows = (
                [] if self.table is None else [(self.table, row) for row in self._read(self.table)]
            )
            if self.table is None or not self.diagnosed:
                listed = {row["query_key"] for _, row in rows}
                rows += [
                    (self.root / LABEL_TABLE, row)
                    for key, row in labels.items()
                    if key not in listed
                ]
            records = list(self._some(rows))
            self._check_agreement(rows, labels)
            _check_unique(records, self.table or self.root / LABEL_TABLE)
            if not records:
                raise LayoutError(
                    f"{self.table or self.root / LABEL_TABLE} lists no image with a view and a "
                    "diagnosis. Pass the folder as "
                    "published, or another fold."
                )
            check_leaks(records)
            records = self._there(records)
            self._check_images(records)
            self._records = tuple(records)
        return self._records

    def still(self, record: Record) -> bool:
        """Return True: every recording is one picture.

        Args:
            record: A recording of this source.
        """
        return True

    def n_frames(self, record: Record) -> int:
        """Return 1: every recording is one picture.

        Args:
            record: A recording of this source.
        """
        return 1

    def frames(self, record: Record, at: Sequence[int] | None = None) -> Array:
        """Read the picture, with the authors' zero padding below it or to its right.

        Args:
            record: A recording of this source.
            at: Frame numbers, all 0; None is [0].

        Returns:
            Grey frames (k, h, w) uint8.

        Raises:
            UnsupportedOptionError: A frame number is not 0.
            CorruptFileError: The image cannot be read.
        """
        numbers = [0] if at is None else [int(i) for i in at]
        if any(i != 0 for i in numbers):
            raise UnsupportedOptionError(
                f"{record.id} is a still: it has only frame 0; asked for {numbers}."
            )
        return read_still(self.root / record.files["still"])[None].repeat(len(numbers), axis=0)

    def answers(
        self,
        record: Record,
        target: Target,
        at: Collection[int] | None = None,
    ) -> tuple[Answer, ...]:
        """Return the view of the image or the stenosis of its study.

        Args:
            record: A recording of this source.
            target: A target of the card.
            at: Ignored: a still has one frame.

        Returns:
            One value, or none if the authors give none.
        """
        self.card.target(target.name)
        if target.name == "view":
            return (Answer(self.card.views.index(record.view)),)
        if target.name == "PLAX/PSAX":
            return (Answer(PARASTERNAL.index(record.view)),) if record.view in PARASTERNAL else ()
        severity = self.release.severities.get(record.meta.get("diagnosis", ""))
        if severity is None:
            return ()
        return (Answer(severity if target.name == "AS" else int(severity > 0)),)

    def shared_files(self) -> Sequence[str]:
        """The fold file and the table of labels."""
        tables = [] if self.table is None else [self.table.relative_to(self.root).as_posix()]
        return (*tables, LABEL_TABLE)

    def published(self) -> Mapping[str, int]:
        """The counts of the card for the default fold; no counts of other folds are published."""
        return self.card.counts if self._default() else {}

    def canonical(self) -> str:
        """The name of the split of the default fold; other folds have no canonical split."""
        return self.card.name if self._default() else ""

    def _default(self) -> bool:
        return (self.part, self.fold, self.diagnosed) == (self.release.parts[0], 0, True)

    def tally(self) -> Mapping[str, int]:
        """Count studies, studies of each diagnosis, images of each view, and unlisted images."""
        records = self.records()
        target = self.card.target("AS")
        studies = {r.meta["study"]: self.answers(r, target) for r in records}
        classes = Counter(int(answers[0].value) for answers in studies.values() if answers)
        views = Counter(r.view for r in records)
        listed = {Path(r.files["still"]).name for r in records}
        present = {name for folder in self.release.folders[:1] for name in self._listing(folder)}
        return {
            "studies": len(studies),
            **{view: views[view] for view in self.card.views},
            **{f"studies with {name}": classes[k] for k, name in enumerate(target.classes)},
            f"unlisted files in {self.release.folders[0]}": len(present - listed),
        }

    def _read(self, table: Path) -> list[Row]:
        splits = () if table.name == LABEL_TABLE else self.release.splits[:1]
        return read_table(table, ("query_key", "view_label", "diagnosis_label", *splits))

    def _labels(self) -> dict[str, Row]:
        """Rows of labels_per_image.csv by image; empty if the file is absent and not needed."""
        path = self.root / LABEL_TABLE
        if self.table is not None and self.diagnosed and not path.is_file():
            return {}
        rows = self._read(path)
        rows_by_image = {row["query_key"]: row for row in rows}
        if len(rows_by_image) < len(rows):
            key = next(key for key, n in Counter(row["query_key"] for row in rows).items() if n > 1)
            raise CorruptFileError(f"{path} lists {key} twice. Restore it as published.")
        return rows_by_image

    def _check_agreement(self, rows: Sequence[tuple[Path, Row]], labels: Mapping[str, Row]) -> None:
        for table, row in rows:
            label_row = labels.get(row["query_key"], row)
            for column in ("view_label", "diagnosis_label"):
                if not same_cell(row[column], label_row[column]):
                    raise CorruptFileError(
                        f"{table} says {column} {row[column]!r} of {row['query_key']}, "
                        f"{self.root / LABEL_TABLE} says "
                        f"{label_row[column]!r}. Restore both as published; the fold file alone is "
                        "enough."
                    )

    def _some(self, rows: Sequence[tuple[Path, Row]]) -> Iterator[Record]:
        """The records of the rows that are labelled and, where there is a fold file, used by it."""
        home: dict[str, str] = {}
        for table, row in rows:
            patient, study = self._whose(table, row["query_key"])
            view = self._known(table, row, "view_label", self.release.views)
            diagnosis = self._known(table, row, "diagnosis_label", self.release.severities)
            listed = table.name != LABEL_TABLE
            part = self._part(table, row) if listed else home.get(patient, "")
            if view is None or (diagnosis is None and self.diagnosed) or (listed and not part):
                continue
            home.setdefault(patient, part)
            meta = {"study": study} | ({} if diagnosis is None else {"diagnosis": diagnosis})
            name = row["query_key"]
            yield Record(
                name.removesuffix(".png"),
                patient,
                self.release.views[view],
                part,
                None,
                {"still": self._place(table, row)},
                meta,
            )

    def _whose(self, table: Path, key: str) -> tuple[str, str]:
        """Patient and study of an image, from its name."""
        match = self.release.key.fullmatch(key)
        if match is None:
            raise CorruptFileError(
                f"{table} lists {key!r}, which is not an image name of {self.release.title} "
                f"(wanted {'4860s1_0.png' if self.release is TMED2 else '477_38.png'} or alike). "
                "Restore it as published."
            )
        return match["patient"], match["study"]

    def _known(
        self,
        table: Path,
        row: Row,
        column: str,
        known: Collection[str],
    ) -> str | None:
        """Return a label that is in use, or None if the cell gives none."""
        label = row[column]
        if is_blank(label) or label == NOT_PROVIDED:
            return None
        if label not in known:
            raise CorruptFileError(
                f"{table}: {row['query_key']} has {column} {label!r}; wanted one of "
                f"{', '.join(known)}, or Not_Provided."
            )
        return label

    def _part(self, table: Path, row: Row) -> str:
        """train, val or test; nothing for what the authors use as unlabelled, or not at all."""
        named = {row.get(column, "").lower() for column in self.release.splits} & set(SPLIT_PARTS)
        if len(named) > 1:
            raise SplitError(
                f"{table} has {row['query_key']} in two parts, {' and '.join(sorted(named))}: one "
                "for the view, one for the "
                "diagnosis. Restore it as published."
            )
        return next(iter(named), "")

    def _place(self, table: Path, row: Row) -> str:
        """The image's path relative to the root; refused where it climbs out of it."""
        key = row["query_key"]
        folder = row.get("SourceFolder", "")
        if not is_blank(folder):
            path = PurePosixPath(folder.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or ":" in folder:
                raise CorruptFileError(
                    f"{table}: {key} has SourceFolder {folder!r}, which leaves the data folder."
                )
            return (path / key).as_posix()
        homes = [name for name in self.release.folders if key in self._listing(name)]
        return f"{homes[0] if homes else self.release.folders[0]}/{key}"

    def _listing(self, folder: str) -> frozenset[str]:
        """Names in a folder of images, read once."""
        if folder not in self._names:
            self._names[folder] = visible_names(self.root / folder)
        return self._names[folder]

    def _check_images(self, records: Sequence[Record]) -> None:
        absent = []
        for record in records:
            folder, _, name = record.files["still"].rpartition("/")
            absent += [] if name in self._listing(folder) else [record.files["still"]]
        if absent:
            raise files_absent([self.root / name for name in absent], "image", "the tables list")


@SOURCES.register("tmed1")
class Tmed1Source(TmedSource):
    """TMED-1 as published: 64 x 64 pixels, three views.

    Its middle grade is mild or moderate stenosis.
    """

    release: ClassVar[TmedRelease] = TMED1
    card: ClassVar[Card] = Card(
        name="tmed1",
        title="TMED-1",
        code="O",
        modality="echo",
        views=_TMED1_VIEWS,
        targets=_targets(
            _TMED1_VIEWS,
            ("no AS", "mild or moderate AS", "severe AS"),
            "none, mild or moderate, severe",
        ),
        licence=_LICENCE,
        citation="Huang et al., A New Semi-supervised Learning Benchmark for Classifying View and "
        "Diagnosing Aortic Stenosis from Echocardiograms, MLHC 2021",
        access=_ACCESS,
        counts={"recordings": 27_788},
    )


def _check_unique(records: Sequence[Record], table: Path) -> None:
    twice = [name for name, n in Counter(record.id for record in records).items() if n > 1]
    if twice:
        raise CorruptFileError(f"{table} lists {twice[0]}.png twice. Restore it as published.")
