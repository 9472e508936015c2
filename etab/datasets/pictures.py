"""Reads samples of picture data: frames and clips with their labels, as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from etab.datasets.base import Source
from etab.datasets.options import Options
from etab.echo.clips import fitted_size, frame_grid, pad, place_clip
from etab.storage.clipcache import ClipCache, base_key, clip_key
from etab.types import IMAGENET, Array, Kind, Record, Sample, Target

IMAGENET_MEAN = IMAGENET[0]
IMAGENET_STD = IMAGENET[1]
PHASE = "ES/ED"

ItemRow = tuple[Record, int | None]


@dataclass(frozen=True, slots=True)
class PictureReader:
    """Reads one sample of one recording. A worker process of a loader needs this object alone."""

    source: Source
    target: Target
    options: Options
    cache: ClipCache | None = None

    def sample(self, row: ItemRow) -> Sample:
        """Read the tensor and label of a recording (video), or of one of its frames.

        Args:
            row: The recording, and the number of the frame; None for the whole recording.
        """
        record, number = row
        x, y = self._clip(record) if self.options.video else self._frame(record, number)
        return Sample(x, y, item_id(row), record.patient)

    def clip(self, record: Record) -> tuple[Array, dict[int, int]]:
        """Choose the frames of a recording's clip.

        Args:
            record: A recording of the source.

        Returns:
            Frame numbers (clip_l,), and the index in the clip by annotated frame.
        """
        n_frames = self.source.n_frames(record)
        grid = frame_grid(n_frames, native=record.fps, fps=self.options.fps)
        marked = self.source.annotated(record, self.target)
        marked_frames = [number for number in marked if number is not None]
        return place_clip(grid, self.options.clip_l, marked_frames)

    def _frame(self, record: Record, number: int | None) -> tuple[torch.Tensor, Any]:
        shown_frame = number or 0
        x = self._pictures(record, [shown_frame])[0]
        numbers = None if number is None else [number]
        value = self.source.answers(record, self.target, numbers)[0].value
        if self.target.kind is Kind.MASK:
            return x, self._mask(value)[None]
        if self.target.kind is Kind.KEYPOINTS:
            return x, self._moved(value, self._shape(record, shown_frame))
        if self.target.kind is Kind.VALUE:
            return x, float(value)
        return x, int(value)

    def _clip(self, record: Record) -> tuple[torch.Tensor, Any]:
        numbers, inside = self.clip(record)
        distinct, inverse = np.unique(numbers, return_inverse=True)
        x = self._pictures(record, distinct.tolist())[torch.from_numpy(inverse)]
        answers = self.source.answers(record, self.target)
        if self.target.kind in (Kind.MASK, Kind.KEYPOINTS):
            in_clip = [(inside[a.at], a.value) for a in answers if a.at in inside]
            in_clip.sort(key=lambda pair: pair[0])
            positions = torch.tensor([position for position, _ in in_clip])
            if self.target.kind is Kind.MASK:
                masks = [self._mask(value) for _, value in in_clip]
                return x, (torch.stack(masks), positions)
            shape = self._shape(record, int(numbers[0]))
            points = [self._moved(value, shape) for _, value in in_clip]
            return x, (torch.stack(points), positions)
        if self.target.name == PHASE:
            position_of = {int(a.value): inside[a.at] for a in answers if a.at is not None}
            return x, (position_of[0], position_of[1])
        value = answers[0].value
        if self.target.kind is Kind.VALUE:
            return x, float(value)
        return x, int(value)

    def _shape(self, record: Record, number: int) -> tuple[int, ...]:
        return tuple(self.source.frames(record, [number])[0].shape)

    def grey(self, record: Record, numbers: Sequence[int]) -> Array:
        """Read frames and resize them, from the clip cache where there is one.

        Args:
            record: The recording.
            numbers: k frame numbers, from 0.

        Returns:
            Grey pictures (k, frame_l, frame_w) uint8.
        """

        def make() -> Array:
            frames = self.source.frames(record, numbers)
            return np.stack([self._fit(frame, mask=False) for frame in frames])

        if self.cache is None:
            return make()
        root = self.source.root
        options = self.options
        base = base_key(
            self.source.card.name, str(root), options.size, options.padding, "cv2 area/linear"
        )
        paths = [root / name for name in record.files.values()]
        key = clip_key(base, record.id, paths, np.asarray(numbers))
        return self.cache.get(key, make)

    def _pictures(self, record: Record, numbers: Sequence[int]) -> torch.Tensor:
        """Frames as float (k, 3, frame_l, frame_w): in [0, 1], or normalised as for ImageNet."""
        grey = torch.from_numpy(self.grey(record, numbers).astype(np.float32))
        if not self.options.normalize:
            return grey[:, None].div_(255).repeat(1, 3, 1, 1)
        x = torch.empty(len(grey), 3, *self.options.size)
        for channel, (mean, std) in enumerate(zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)):
            # Scaling and shifting in one pass over each channel.
            torch.add(torch.tensor(-mean / std), grey, alpha=1 / (255 * std), out=x[:, channel])
        return x

    def _mask(self, mask: Array) -> torch.Tensor:
        return torch.from_numpy(self._fit(mask.astype(np.uint8), mask=True)).to(torch.int64)

    def _moved(self, points: Array, shape: tuple[int, ...]) -> torch.Tensor:
        """Carry positions (k, 2) of x and y from a frame (h, w) to the resized picture."""
        size, corner = fitted_size(
            shape[0], shape[1], out=self.options.size, padding=self.options.padding
        )
        scale = np.array([size[1] / shape[1], size[0] / shape[0]])
        shift = np.array(corner[::-1])
        return torch.from_numpy((points + 0.5) * scale - 0.5 + shift).to(torch.float32)

    def _fit(self, frame: Array, *, mask: bool) -> Array:
        """Resize (h, w) uint8 by area, linearly where it grows, by nearest pixel for masks; pad."""
        import cv2

        out = self.options.size
        size, corner = fitted_size(*frame.shape, out=out, padding=self.options.padding)
        if size != frame.shape:
            shrinks = size[0] * size[1] < frame.shape[0] * frame.shape[1]
            interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            if mask:
                interpolation = cv2.INTER_NEAREST_EXACT
            frame = np.asarray(cv2.resize(frame, (size[1], size[0]), interpolation=interpolation))
        return pad(frame, out=out, corner=corner)


def item_id(row: ItemRow) -> str:
    """Name an item: by the id of its recording, with ``@frame`` for an annotated frame.

    Args:
        row: The recording, and the number of the frame; None for the whole recording.
    """
    record, number = row
    return record.id if number is None else f"{record.id}@{number}"
