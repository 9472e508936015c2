"""``Dataset``: recordings and labels as tensors for torch. In 2022 it was ``ETAB_dataset``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset as TorchDataset

from etab.datasets.base import SOURCES, Card, SoundSource, Source
from etab.datasets.integrity.canonical import verify_split
from etab.datasets.options import Options, checked_options, checked_views
from etab.datasets.paths import dataset_folder
from etab.datasets.pictures import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    PHASE,
    ItemRow,
    PictureReader,
    item_id,
)
from etab.datasets.windows import SoundOptions, SoundReader, sound_rows
from etab.echo.clips import frame_grid, place_clip
from etab.errors import SplitError, UnsupportedOptionError
from etab.options import path_option, require_flag, whole_number
from etab.registry import unknown
from etab.splits import SPLIT_PARTS
from etab.storage.clipcache import ClipCache
from etab.types import Record, Sample, Target


class Items(TorchDataset[tuple[Any, Any]]):
    """A lazy sequence of (tensor, label) tuples: items are read when indexed; slices are lazy."""

    def __init__(self, reader: PictureReader | SoundReader, rows: Sequence[ItemRow]) -> None:
        """Hold rows of (record, frame or None)."""
        self.reader = reader
        self.rows = tuple(rows)

    def __len__(self) -> int:
        """Count the items."""
        return len(self.rows)

    def __getitem__(self, i: Any) -> Any:
        """The (tensor, label) of item ``i``; of a slice, the items in it."""
        if isinstance(i, slice):
            return Items(self.reader, self.rows[i])
        sample = self.sample(i)
        return sample.x, sample.y

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """One item after the other."""
        return (self[i] for i in range(len(self)))

    def sample(self, i: int) -> Sample:
        """Item ``i`` with its id and patient."""
        return self.reader.sample(self.rows[i])

    def select(self, indexes: Sequence[int]) -> Items:
        """Select the items at ``indexes``, in that order, without reading them."""
        return Items(self.reader, [self.rows[int(i)] for i in indexes])

    @property
    def patients(self) -> list[str]:
        """The patient of each item."""
        return [record.patient for record, _ in self.rows]

    @property
    def ids(self) -> list[str]:
        """The id of each item: that of its recording, with ``@frame`` for an annotated frame."""
        return [item_id(row) for row in self.rows]


class Dataset(TorchDataset[tuple[Any, Any]]):
    """A dataset by name, as a map-style torch dataset of ``(tensor, label)`` tuples.

    The folder is read as the authors publish it: CAMUS as
    ``database_nifti/patient0001/patient0001_4CH_ED.nii.gz``, EchoNet-Dynamic as ``Videos/`` beside
    ``FileList.csv``, CirCor as ``training_data/`` and so on; ``docs/reference/datasets.md`` lists
    the datasets. Nothing is decoded before an item is read.

    Items are, by kind of data and ``video``:

    * pictures, False: float32 ``(3, frame_l, frame_w)``; one item for each annotated frame where
      the target is a mask, keypoints or the phase, else for each recording (its first frame);
    * pictures, True: float32 ``(clip_l, 3, frame_l, frame_w)``; one item for each recording;
    * sound, False: the log-mel picture of one window of a recording, float32
      ``(3, frame_l, frame_w)``;
    * sound, True: the waveform of that window, float32 ``(clip_l,)``.

    Labels are, by kind of target:

    * a value (``"EF"`` in percent, ``"HR"`` in beats a minute): a float;
    * a class: an int, the index in the target's ``classes``;
    * a mask: int64 ``(1, frame_l, frame_w)``; with ``video`` a pair of masks ``(k, frame_l,
      frame_w)`` and their indexes in the clip ``(k,)``;
    * keypoints: float32 ``(n, 2)``, x and y in pixels of the returned picture, NaN where not
      marked; with ``video`` a pair of ``(k, n, 2)`` and their indexes in the clip ``(k,)``;
    * ``"ES/ED"``: the class of the frame (0 ED, 1 ES); with ``video`` the indexes (ED, ES) in the
      clip;
    * ``"states"`` of heart sounds: int64 at 50 Hz, -1 where nobody annotated.

    A window of sound begins where it holds the most annotated states for ``"states"``, else at the
    beginning.

    Args:
        name: ``"camus"``, ``"echonet"``, ``"tmed"``, ``"lvh"``, ``"pediatric"``, ``"unity"``,
            ``"circor"``, ``"cinc2016"``, or another name that ``etab list datasets`` shows.
        target: A target of the dataset's card, for example ``"EF"``, ``"LV_seg"``, ``"view"`` or
            ``"keypoints"``.
        view: Any name in use (``"A4"``, ``"A4C"``, ``"AP4CH"``); None takes every view. The target
            ``"view"`` needs None.
        video: Whether items are clips (or waveforms) instead of single pictures.
        normalize: Whether pictures lose ImageNet's mean and are divided by its standard deviation;
            otherwise they are in [0, 1]. A waveform loses its own mean and is divided by its own
            standard deviation; otherwise full scale is 1.
        frame_l: Rows of a picture, 1 to 4096.
        frame_w: Columns of a picture, 1 to 4096.
        clip_l: Frames of a clip, cut around the annotated frames (default 16); or samples of a
            waveform or window at the rate ``fps`` (default 5 s). A recording that is too short is
            repeated from its beginning.
        fps: Frames a second of a clip, or the rate of sound in Hz, 100 to 192,000; None keeps each
            recording's own. Sound is resampled through a low-pass filter.
        padding: Whether the aspect of a picture is kept, with zeros around it; otherwise the
            picture is stretched. For sound, whether a recording that is too short is followed by
            zeros instead of its beginning. None counts as False.
        split: ``"train"``, ``"val"`` or ``"test"`` of the authors; None takes every recording.
        root: The folder of the data; otherwise the folders that ``etab.datasets.paths`` names are
            tried.
        cache: A folder that keeps resized frames, so that each is decoded once; None takes the
            environment variable ``ETAB_CLIP_CACHE``, and no cache where that is not set.

    Raises:
        UnknownNameError: There is no such dataset, target, view or split.
        UnsupportedOptionError: An option is out of range, or the data cannot serve it.
        SplitError: No recording of this selection has an answer, or the authors' split contradicts
            itself.
        DataNotFoundError: There is no folder with the data.
        LayoutError: The folder has another layout, or a file is missing.

    Warns:
        EtabWarning: ``clip_l``, ``fps`` or ``padding=None`` is given with ``video=False``, as the
            documentation of 2022 prints, and has no effect.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from etab import phantom
        >>> folder = tempfile.TemporaryDirectory()
        >>> phantom.write(Path(folder.name), patients=10, size=64, names=("camus",))
        >>> data = Dataset("camus", "LV_seg", view="A4", root=Path(folder.name) / "camus")
        >>> len(data), len(set(data.patients))
        (80, 10)
        >>> picture, mask = data[0]
        >>> tuple(picture.shape), tuple(mask.shape)
        ((3, 224, 224), (1, 224, 224))
        >>> folder.cleanup()
    """

    def __init__(
        self,
        name: str,
        target: str,
        *,
        view: str | None = None,
        video: bool = False,
        normalize: bool = True,
        frame_l: int = 224,
        frame_w: int = 224,
        clip_l: int | None = None,
        fps: float | None = None,
        padding: bool | None = False,
        split: str | None = None,
        root: Path | str | None = None,
        cache: Path | str | None = None,
    ) -> None:
        """Check every option and list the items without decoding any."""
        self.card: Card = SOURCES[name].card
        self.name = name
        self.target = target
        self.view = view
        self.split = split
        described = self.card.target(target)
        views = checked_views(self.card, target, view)
        sound = self.card.modality == "sound"
        self.options = checked_options(
            video, normalize, (frame_l, frame_w), clip_l, fps, padding, sound=sound
        )
        if split is not None and split not in SPLIT_PARTS:
            raise unknown("split", split, SPLIT_PARTS)
        self.source = SOURCES[name](dataset_folder(name, root))
        verify_split(self.source)
        self._reader = _reader(self.source, described, self.options, cache)
        self._all = self._items(views)
        self._data = self._all

    @property
    def data(self) -> Items:
        """The items that ``load_data`` selected, or all of them before it is called."""
        return self._data

    @property
    def patients(self) -> list[str]:
        """The patient of each item."""
        return self._data.patients

    def load_data(self, n_clips: int | None = None, random: bool = False, seed: int = 0) -> Dataset:
        """Select recordings for ``data``.

        Args:
            n_clips: How many recordings; None selects all.
            random: Whether they are drawn at random instead of being the first ones.
            seed: Seed of the draw.

        Returns:
            This dataset.

        Raises:
            UnsupportedOptionError: There are fewer recordings, an option has another type, or
                ``seed`` comes without ``random``.
        """
        require_flag("random", random)
        seed = whole_number("seed", seed, 0)
        if seed and not random:
            raise UnsupportedOptionError(f"seed={seed} works only with random=True.")
        ids = list(dict.fromkeys(record.id for record, _ in self._all.rows))
        n = len(ids)
        if n_clips is not None:
            n = whole_number("n_clips", n_clips, 1, n, f"recordings of {self!r}, or None")
        order = np.arange(len(ids))
        if random:
            order = np.random.default_rng(seed).permutation(len(ids))
        rank_of = {ids[int(i)]: rank for rank, i in enumerate(order[:n])}
        chosen = [i for i, (record, _) in enumerate(self._all.rows) if record.id in rank_of]
        chosen.sort(key=lambda i: rank_of[self._all.rows[i][0].id])
        self._data = self._all.select(chosen)
        return self

    def sample(self, i: int) -> Sample:
        """Item ``i`` with its id and patient."""
        return self._data.sample(i)

    def __len__(self) -> int:
        """Count the items of ``data``."""
        return len(self._data)

    def __getitem__(self, i: Any) -> Any:
        """Read the (tensor, label) of item ``i`` of ``data``; a slice gives a lazy sequence."""
        return self._data[i]

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """Read one item of ``data`` after the other."""
        return iter(self._data)

    def __repr__(self) -> str:
        arguments = [repr(self.name), repr(self.target)]
        if self.view is not None:
            arguments.append(f"view={self.view!r}")
        if self.split is not None:
            arguments.append(f"split={self.split!r}")
        return f"Dataset({', '.join(arguments)}, video={self.options.video})"

    def _items(self, views: Sequence[str]) -> Items:
        """List every row that has an answer, once the recordings are known to serve the options."""
        target = self._reader.target
        records = [record for record in self.source.records() if record.view in views]
        if self.split is not None:
            records = [record for record in records if record.split == self.split]
        if isinstance(self.source, SoundSource):
            rows = sound_rows(self.source, records, target)
            if rows:
                return Items(self._reader, rows)
        marked_of = [(record, self.source.annotated(record, target)) for record in records]
        answered = [(record, marked) for record, marked in marked_of if marked]
        if not answered:
            parts = sorted({r.split or "no split" for r in self.source.records()})
            raise SplitError(
                f"{self!r} has no recording with an answer; {self.source.root} has recordings in: "
                f"{', '.join(parts)}."
            )
        if self.options.video:
            self._check_clips([record for record, _ in answered])
            return Items(self._reader, [(record, None) for record, _ in answered])
        frames = [(record, number) for record, marked in answered for number in marked]
        return Items(self._reader, frames)

    def _check_clips(self, records: Sequence[Record]) -> None:
        stills = [r.id for r in records if self.source.still(r)]
        if stills:
            raise UnsupportedOptionError(
                f"{len(stills)} of {len(records)} recordings are stills without a sequence, first "
                f"{stills[0]}; video=True needs the sequences. Restore them, or use video=False."
            )
        fps = self.options.fps
        if fps is not None:
            rates = [r.fps for r in records if r.fps is not None]
            limit = self.card.fps or min(rates, default=0.0)
            if len(rates) < len(records) or fps > limit:
                without = len(records) - len(rates)
                some = (
                    f" ({without} of {len(records)} recordings without a rate)" if without else ""
                )
                raise UnsupportedOptionError(
                    f"{self.name} was recorded at {limit:g} frames/s{some}; it cannot give "
                    f"fps={fps:g}. Use fps=None for each recording's own rate, or a lower fps."
                )
        if self.target == PHASE:
            self._check_phases(records)

    def _check_phases(self, records: Sequence[Record]) -> None:
        """Refuse a clip too short for both ED and ES, naming the length that suffices."""
        short = []
        needed = 0
        for record in records:
            annotated = self.source.annotated(record, self._reader.target)
            marked = [number for number in annotated if number is not None]
            grid = frame_grid(self.source.n_frames(record), native=record.fps, fps=self.options.fps)
            _, position_of = place_clip(grid, len(grid), marked)
            if len(position_of) < 2:
                raise UnsupportedOptionError(self._one_frame(record))
            length = max(position_of.values()) - min(position_of.values()) + 1
            needed = max(needed, length)
            if length > self.options.clip_l:
                short.append(record.id)
        if short:
            raise UnsupportedOptionError(
                f"clip_l={self.options.clip_l} cannot hold both ED and ES of {len(short)} of "
                f"{len(records)} recordings, first {short[0]}. Use clip_l={needed} or more, or a "
                "lower fps."
            )

    def _one_frame(self, record: Record) -> str:
        """Say that the ED and the ES frame of a recording are one frame of its clip."""
        fps = self.options.fps
        if fps is None:
            return (
                f"ED and ES of {record.id} are the same frame, so no clip shows both. Correct its "
                "frame numbers, or leave it out."
            )
        return f"At fps={fps:g} ED and ES of {record.id} fall on one frame. Use a higher fps."


def _reader(
    source: Source, target: Target, options: Options | SoundOptions, cache: Path | str | None
) -> PictureReader | SoundReader:
    if isinstance(options, Options):
        return PictureReader(source, target, options, _cache(cache))
    if not isinstance(source, SoundSource):
        raise UnsupportedOptionError(
            f"The card of {source.card.name} says sound, and its source is not a SoundSource."
        )
    return SoundReader(source, target, options, IMAGENET_MEAN, IMAGENET_STD)


def _cache(folder: Path | str | None) -> ClipCache | None:
    """Open the clip cache of an option, or of the environment; None where neither names one."""
    if folder is None:
        folder = os.environ.get("ETAB_CLIP_CACHE") or None
    if folder is None:
        return None
    path = path_option("cache", folder).expanduser()
    if path.is_file():
        raise UnsupportedOptionError(f"cache is {folder}, which is a file; name a folder, or None.")
    return ClipCache(path)
