"""Dataset: a source seen through options, as (tensor, label) tuples for torch. ``ETAB_dataset`` is its 2022 name."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset

from etab.datasets.base import SOURCES, Card, SoundSource, Source
from etab.datasets.integrity.canonical import verify
from etab.datasets.paths import folder
from etab.datasets.windows import SoundOptions, SoundReader, sound_options, sound_rows
from etab.echo.clips import fit, pad, place, resample
from etab.echo.views import among
from etab.errors import EtabWarning, SplitError, UnsupportedOptionError
from etab.registry import unknown
from etab.splits import SPLIT_PARTS
from etab.storage.clipcache import ClipCache, base_key, clip_key
from etab.types import IMAGENET, Array, Kind, Record, Sample, Target

IMAGENET_MEAN = IMAGENET[0]
IMAGENET_STD = IMAGENET[1]
CLIP_L = 16
MAX_SIDE = 4096
PHASE = "ES/ED"

Row = tuple[Record, int | None]


@dataclass(frozen=True, slots=True)
class Options:
    """What a ``Dataset`` was asked for, checked: ``size`` is (rows, columns), ``fps`` None the recording's own rate."""

    video: bool
    normalize: bool
    size: tuple[int, int]
    clip_l: int
    fps: float | None
    padding: bool


@dataclass(frozen=True, slots=True)
class Reader:
    """Makes one sample of one recording: the only thing that a loader's worker needs."""

    source: Source
    target: Target
    options: Options
    cache: ClipCache | None = None

    def sample(self, row: Row) -> Sample:
        """The tensor and label of a recording (video) or of one of its frames."""
        record, at = row
        x, y = self._clip(record) if self.options.video else self._frame(record, at)
        return Sample(x, y, record.id if at is None else f"{record.id}@{at}", record.patient)

    def clip(self, record: Record) -> tuple[Array, dict[int, int]]:
        """Frame numbers (clip_l,) of a recording's clip, and {annotated frame: its index in the clip}."""
        fps, n = self.options.fps, self.source.n_frames(record)
        grid = resample(n, native=record.fps, fps=fps)
        marked = self.source.annotated(record, self.target)
        return place(grid, self.options.clip_l, [at for at in marked if at is not None])

    def _frame(self, record: Record, at: int | None) -> tuple[torch.Tensor, Any]:
        x = self._pictures(record, [at or 0])[0]
        answer = self.source.answers(record, self.target, None if at is None else [at])[0]
        if self.target.kind is Kind.MASK:
            return x, self._mask(answer.value)[None]
        if self.target.kind is Kind.KEYPOINTS:
            return x, self._moved(answer.value, self._shape(record, at or 0))
        return x, float(answer.value) if self.target.kind is Kind.VALUE else int(answer.value)

    def _clip(self, record: Record) -> tuple[torch.Tensor, Any]:
        numbers, inside = self.clip(record)
        wanted, back = np.unique(numbers, return_inverse=True)
        x = self._pictures(record, wanted.tolist())[torch.from_numpy(back)]
        answers = self.source.answers(record, self.target)
        if self.target.kind in (Kind.MASK, Kind.KEYPOINTS):
            shown = sorted(
                ((inside[a.at], a.value) for a in answers if a.at in inside),
                key=lambda pair: pair[0],
            )
            masks = self.target.kind is Kind.MASK
            shape = () if masks else self._shape(record, int(numbers[0]))
            values = [
                self._mask(value) if masks else self._moved(value, shape) for _, value in shown
            ]
            return x, (torch.stack(values), torch.tensor([place for place, _ in shown]))
        if self.target.name == PHASE:
            places = {int(a.value): inside[a.at] for a in answers if a.at is not None}
            return x, (places[0], places[1])
        value = answers[0].value
        return x, float(value) if self.target.kind is Kind.VALUE else int(value)

    def _shape(self, record: Record, at: int) -> tuple[int, ...]:
        return tuple(self.source.frames(record, [at])[0].shape)

    def grey(self, record: Record, numbers: Sequence[int]) -> Array:
        """Frames ``numbers`` of a recording, fitted: (k, frame_l, frame_w) uint8, from the clip cache where there is one."""

        def make() -> Array:
            return np.stack(
                [self._fit(frame, mask=False) for frame in self.source.frames(record, numbers)]
            )

        if self.cache is None:
            return make()
        root, options = self.source.root, self.options
        base = base_key(
            self.source.card.name, str(root), options.size, options.padding, "cv2 area/linear"
        )
        key = clip_key(
            base, record.id, [root / name for name in record.files.values()], np.asarray(numbers)
        )
        return self.cache.get(key, make)

    def _pictures(self, record: Record, numbers: Sequence[int]) -> torch.Tensor:
        """Float (k, 3, frame_l, frame_w) of some frames: in [0, 1], or less ImageNet's mean, over its std."""
        grey = torch.from_numpy(self.grey(record, numbers).astype(np.float32))
        if not self.options.normalize:
            return grey[:, None].div_(255).repeat(1, 3, 1, 1)
        x = torch.empty(len(grey), 3, *self.options.size)
        for channel, (mean, std) in enumerate(zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)):
            torch.add(
                torch.tensor(-mean / std), grey, alpha=1 / (255 * std), out=x[:, channel]
            )  # one pass a channel
        return x

    def _mask(self, mask: Array) -> torch.Tensor:
        return torch.from_numpy(self._fit(mask.astype(np.uint8), mask=True)).to(torch.int64)

    def _moved(self, points: Array, shape: tuple[int, ...]) -> torch.Tensor:
        """Positions (k, 2) of x, y in a frame (h, w) to those in the picture handed out; NaN stays."""
        size, corner = fit(shape[0], shape[1], out=self.options.size, padding=self.options.padding)
        scale, shift = np.array([size[1] / shape[1], size[0] / shape[0]]), np.array(corner[::-1])
        return torch.from_numpy((points + 0.5) * scale - 0.5 + shift).to(torch.float32)

    def _fit(self, frame: Array, *, mask: bool) -> Array:
        """Resize (h, w) uint8: area when it shrinks, linear when it grows, nearest for masks; then pad."""
        import cv2

        out = self.options.size
        size, corner = fit(*frame.shape, out=out, padding=self.options.padding)
        if size != frame.shape:
            shrinks = size[0] * size[1] < frame.shape[0] * frame.shape[1]
            how = (
                cv2.INTER_NEAREST_EXACT if mask else cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            )
            frame = np.asarray(cv2.resize(frame, (size[1], size[0]), interpolation=how))
        return pad(frame, out=out, corner=corner)


class Items(TorchDataset[tuple[Any, Any]]):
    """A lazy sequence of (tensor, label): nothing is read until an item is asked for. A slice is again such a one."""

    def __init__(self, reader: Reader | SoundReader, rows: Sequence[Row]) -> None:
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
        """The items at ``indexes``, in that order."""
        return Items(self.reader, [self.rows[int(i)] for i in indexes])

    @property
    def patients(self) -> list[str]:
        """The patient of each item."""
        return [record.patient for record, _ in self.rows]

    @property
    def ids(self) -> list[str]:
        """The id of each item: the recording's, with ``@frame`` where the item is one annotated frame."""
        return [record.id if at is None else f"{record.id}@{at}" for record, at in self.rows]


class Dataset(TorchDataset[tuple[Any, Any]]):
    """A dataset by name, as a map-style torch data set of plain ``(tensor, label)`` tuples.

    name       "camus", "echonet", "tmed", "lvh", "pediatric", "unity", "circor", "cinc2016"
    target     "EF", "LV_seg", "LA_seg", "MY_seg", "ES/ED", "view", "CM", "keypoints", ...: those of the dataset's card
    view       any name in use ("A4", "A4C", "AP4CH"); None is every view. The target "view" takes None
    video      False: (3, frame_l, frame_w), one item per annotated frame for masks and phase, else the recording's
               first frame. True: (clip_l, 3, frame_l, frame_w), one item a recording
    normalize  True removes ImageNet's mean and divides by its std; False leaves [0, 1]
    frame_l    rows; frame_w columns
    clip_l     frames of a clip (default 16), cut around the annotated frames; a short recording is repeated
    fps        frames per second of a clip; None is the recording's own rate
    padding    True keeps the aspect with zeros around; False (and None) squashes
    split      "train", "val", "test" of the authors; None is everything
    root       the folder; otherwise as ``etab.datasets.paths`` documents
    cache      a folder that keeps fitted uint8 frames, so that they are decoded once (``etab.storage.clipcache``); None is the
               environment variable ETAB_CLIP_CACHE, and no cache where that is not set

    Labels: a float (EF), an int (class, in the order of the target's classes), a long (1, frame_l, frame_w) mask, or
    float (n, 2) keypoints, x and y in the picture handed out. With video: (masks (k, frame_l, frame_w) or keypoints
    (k, n, 2), their indexes in the clip (k,)), and for "ES/ED" the (ED, ES) indexes.
    Heart sounds ("circor", "cinc2016"): an item is a window of a recording. video=True: the waveform (clip_l,), full
    scale at 1, less its mean and over its standard deviation with ``normalize``. video=False: its log-mel picture
    (3, frame_l, frame_w), normalised as a frame is. ``fps`` is the rate in Hz (resampled through a low-pass filter),
    ``clip_l`` samples at that rate (default 5 s); ``padding`` fills what a recording is too short for with zeros
    instead of its beginning. The window holds the most annotated frames for "states", else it is the beginning. The
    label of "states" is a long tensor at 50 Hz, -1 where unannotated.

    Raises UnknownNameError, UnsupportedOptionError, SplitError, DataNotFoundError, LayoutError. Warns (EtabWarning) for
    what the 2022 pages print to no effect: ``video=False`` with clip_l, fps or padding=None.
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
        """Check every option and list the items; no picture is read."""
        self.card: Card = SOURCES[name].card
        self.name, self.target, self.view, self.split = name, target, view, split
        wanted = self.card.target(target)
        views = _views(self.card, target, view)
        sound = self.card.modality == "sound"
        self.options = _options(
            video, normalize, (frame_l, frame_w), clip_l, fps, padding, sound=sound
        )
        if split is not None and split not in SPLIT_PARTS:
            raise unknown("split", split, SPLIT_PARTS)
        self.source = SOURCES[name](folder(name, root))
        verify(self.source)
        self._reader = _reader(self.source, wanted, self.options, cache)
        self._all = self._items(views)
        self._data = self._all

    @property
    def data(self) -> Items:
        """What ``load_data`` chose, or everything before it is called: a lazy, indexable sequence."""
        return self._data

    @property
    def patients(self) -> list[str]:
        """The patient of each item."""
        return self._data.patients

    def load_data(self, n_clips: int | None = None, random: bool = False, seed: int = 0) -> Dataset:
        """Choose ``n_clips`` recordings (None: all) for ``.data``: the first ones, or drawn by ``seed`` if ``random``.

        Returns itself. Raises UnsupportedOptionError where there are fewer recordings than asked for.
        """
        if seed and not random:
            raise UnsupportedOptionError(f"seed={seed} acts with random=True only.")
        ids = list(dict.fromkeys(record.id for record, _ in self._all.rows))
        n = len(ids) if n_clips is None else n_clips
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= len(ids):
            raise UnsupportedOptionError(
                f"n_clips is {n_clips!r}; {self!r} has {len(ids)} recordings: choose from 1 to {len(ids)}, or None."
            )
        order = np.random.default_rng(seed).permutation(len(ids)) if random else np.arange(len(ids))
        rank = {ids[int(i)]: place for place, i in enumerate(order[:n])}
        chosen = [i for i, (record, _) in enumerate(self._all.rows) if record.id in rank]
        self._data = self._all.select(sorted(chosen, key=lambda i: rank[self._all.rows[i][0].id]))
        return self

    def sample(self, i: int) -> Sample:
        """Item ``i`` with its id and patient."""
        return self._data.sample(i)

    def __len__(self) -> int:
        """Items of ``.data``."""
        return len(self._data)

    def __getitem__(self, i: Any) -> Any:
        """The (tensor, label) of item ``i`` of ``.data``."""
        return self._data[i]

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """One item after the other."""
        return iter(self._data)

    def __repr__(self) -> str:
        shown = [repr(self.name), repr(self.target)]
        shown += [
            f"{key}={value!r}"
            for key in ("view", "split")
            if (value := getattr(self, key)) is not None
        ]
        return f"Dataset({', '.join(shown)}, video={self.options.video})"

    def _items(self, views: Sequence[str]) -> Items:
        """Every row that has an answer, after the refusals that need to see the recordings."""
        records = [
            r for r in self.source.records() if r.view in views and self.split in (None, r.split)
        ]
        if isinstance(self.source, SoundSource) and (
            rows := sound_rows(self.source, records, self._reader.target)
        ):
            return Items(self._reader, rows)
        found = [(record, self.source.annotated(record, self._reader.target)) for record in records]
        found = [(record, marked) for record, marked in found if marked]
        if not found:
            parts = sorted({r.split or "no split" for r in self.source.records()})
            raise SplitError(
                f"{self!r} has no recording with an answer; {self.source.root} has recordings in: {', '.join(parts)}."
            )
        if self.options.video:
            self._check_clips([record for record, _ in found])
            return Items(self._reader, [(record, None) for record, _ in found])
        return Items(self._reader, [(record, at) for record, marked in found for at in marked])

    def _check_clips(self, records: Sequence[Record]) -> None:
        stills = [r.id for r in records if self.source.still(r)]
        if stills:
            raise UnsupportedOptionError(
                f"{len(stills)} of {len(records)} recordings are stills without a sequence, first {stills[0]}; "
                "video=True needs the sequences. Restore them, or use video=False."
            )
        fps = self.options.fps
        if fps is not None:
            rates = [r.fps for r in records if r.fps is not None]
            limit = self.card.fps or min(rates, default=0.0)
            if len(rates) < len(records) or fps > limit:
                raise UnsupportedOptionError(
                    f"{self.name} was recorded at {limit:g} frames/s ({len(records) - len(rates)} recordings do not "
                    f"say); it cannot give fps={fps:g}. Use fps=None for each recording's own rate, or a lower fps."
                )
        if self.target == PHASE:
            self._check_phases(records)

    def _check_phases(self, records: Sequence[Record]) -> None:
        """Refuse a clip that cannot hold ED and ES, saying which length does."""
        short, need = [], 0
        for record in records:
            marked = [
                at for at in self.source.annotated(record, self._reader.target) if at is not None
            ]
            grid = resample(self.source.n_frames(record), native=record.fps, fps=self.options.fps)
            _, places = place(grid, len(grid), marked)
            if len(places) < 2:
                raise UnsupportedOptionError(
                    f"At fps={self.options.fps:g} ED and ES of {record.id} fall on one frame. Use a higher fps."
                )
            need = max(need, length := max(places.values()) - min(places.values()) + 1)
            short += [record.id] if length > self.options.clip_l else []
        if short:
            raise UnsupportedOptionError(
                f"clip_l={self.options.clip_l} cannot hold both ED and ES of {len(short)} of {len(records)} "
                f"recordings, first {short[0]}. Use clip_l={need} or more, or a lower fps."
            )


def _reader(
    source: Source, target: Target, options: Options | SoundOptions, cache: Path | str | None
) -> Reader | SoundReader:
    if isinstance(options, Options):
        return Reader(source, target, options, _cache(cache))
    if not isinstance(source, SoundSource):
        raise UnsupportedOptionError(
            f"The card of {source.card.name} says sound, and its source is no SoundSource."
        )
    return SoundReader(source, target, options, IMAGENET_MEAN, IMAGENET_STD)


def _cache(folder: Path | str | None) -> ClipCache | None:
    place = folder if folder is not None else os.environ.get("ETAB_CLIP_CACHE") or None
    if place is None:
        return None
    if Path(place).expanduser().is_file():
        raise UnsupportedOptionError(f"cache is {place}, which is a file; name a folder, or None.")
    return ClipCache(Path(place).expanduser())


def _views(card: Card, target: str, view: str | None) -> tuple[str, ...]:
    if target == "view" and view is not None:
        raise UnsupportedOptionError(
            f"The target 'view' asks which view a picture is; use view=None, not {view!r}."
        )
    return among(view, card.views, what=card.name)


def _options(
    video: bool,
    normalize: bool,
    size: tuple[int, int],
    clip_l: int | None,
    fps: float | None,
    padding: bool | None,
    *,
    sound: bool,
) -> Options | SoundOptions:
    """Check the options that need no data; see ``Dataset``."""
    for key, flag in (
        ("video", video),
        ("normalize", normalize),
        ("padding", bool(padding) if padding is None else padding),
    ):
        if not isinstance(flag, bool):
            raise UnsupportedOptionError(f"{key} is {flag!r}; possible: True, False.")
    for key, side in zip(("frame_l", "frame_w"), size, strict=True):
        if isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= MAX_SIDE:
            raise UnsupportedOptionError(f"{key} is {side!r}; possible: 1 to {MAX_SIDE} pixels.")
    if clip_l is not None and (
        isinstance(clip_l, bool) or not isinstance(clip_l, int) or clip_l < 1
    ):
        raise UnsupportedOptionError(f"clip_l is {clip_l!r}; possible: 1 frame or more.")
    if fps is not None and (
        isinstance(fps, bool) or not isinstance(fps, int | float) or not fps > 0
    ):
        raise UnsupportedOptionError(
            f"fps is {fps!r}; possible: above 0, or None for the recording's own rate."
        )
    if sound:
        return sound_options(video, normalize, size, clip_l, fps, bool(padding))
    if not video:
        _warn_idle(clip_l, fps, padding)
        return Options(False, normalize, size, 1, None, bool(padding))
    return Options(True, normalize, size, CLIP_L if clip_l is None else clip_l, fps, bool(padding))


def _warn_idle(clip_l: int | None, fps: float | None, padding: bool | None) -> None:
    """The 2022 pages print these with video=False; there they do nothing, and here that is said."""
    idle = [
        f"{key}={value!r}" for key, value in (("clip_l", clip_l), ("fps", fps)) if value is not None
    ]
    idle += ["padding=None (read as False)"] if padding is None else []
    if idle:
        warnings.warn(
            f"video=False takes single frames: {', '.join(idle)} has no effect.",
            EtabWarning,
            stacklevel=4,
        )
