"""Heart sounds through the options of ``Dataset``: windows of waveform, or their log-mel pictures,
with their labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from etab.datasets.base import SoundSource
from etab.errors import CorruptFileError, UnsupportedOptionError
from etab.sounds.mel import picture
from etab.sounds.states import STATE_RATE, choose_start, cut_states
from etab.sounds.windows import check_rate, cut, resample
from etab.types import FloatArray, IntArray, Kind, Record, Sample, Target

SECONDS = 5
MAX_CLIP = 1 << 24
PLAIN = (224, 224)

SampleRow = tuple[Record, int | None]


@dataclass(frozen=True, slots=True)
class SoundOptions:
    """What was asked for, checked. ``clip_l`` 0 is 5 s, ``fps`` None the recording's own rate in
    Hz.
    """

    video: bool
    normalize: bool
    size: tuple[int, int]
    clip_l: int
    fps: int | None
    padding: bool


@dataclass(frozen=True, slots=True)
class SoundReader:
    """Makes one sample of one recording: the only thing that a loader's worker needs.

    ``mean`` and ``std`` are those that ``normalize`` takes from a picture.
    """

    source: SoundSource
    target: Target
    options: SoundOptions
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def sample(self, row: SampleRow) -> Sample:
        """The tensor and label of a recording; a number beside the record is the frame (at 50 Hz)
        to start at.
        """
        record, start_frame = row
        samples, native = self.source.wave(record)
        rate = self.options.fps or native
        n = self.options.clip_l or SECONDS * rate
        answer, states = self._answer(record)
        k = max(1, -(-n * STATE_RATE // rate))
        first = (
            start_frame
            if start_frame is not None
            else 0
            if states is None
            else choose_start(states, k)
        )
        sound = resample(samples, native, rate)
        start = round(first * rate / STATE_RATE)
        if not 0 <= start < len(sound):
            raise UnsupportedOptionError(
                f"{record.id} has no sound at frame {start_frame} (of {STATE_RATE} Hz)."
            )
        window = cut(sound, start, n, padding=self.options.padding)
        y = (
            answer
            if states is None
            else torch.from_numpy(cut_states(states, first, k).astype(np.int64))
        )
        x = self._waveform(window) if self.options.video else self._picture(window, rate)
        return Sample(
            x, y, record.id if start_frame is None else f"{record.id}@{start_frame}", record.patient
        )

    def _answer(self, record: Record) -> tuple[Any, IntArray | None]:
        """(a float or a class, None), or (None, states of the whole recording)."""
        answers = self.source.answers(record, self.target)
        if not answers:
            raise CorruptFileError(
                f"{record.id} no longer answers {self.target.name!r}: its files have changed."
            )
        value = answers[0].value
        if self.target.kind is Kind.STATES:
            return None, value
        return (float(value) if self.target.kind is Kind.VALUE else int(value)), None

    def _waveform(self, window: FloatArray) -> torch.Tensor:
        """(clip_l,) float: full scale at 1, or less its mean, over its standard deviation; silence
        stays 0.
        """
        x = torch.from_numpy(np.ascontiguousarray(window, dtype=np.float32))
        if not self.options.normalize:
            return x
        x = x - x.mean()
        return x / x.std(correction=0).clamp(min=1e-8)

    def _picture(self, window: FloatArray, rate: int) -> torch.Tensor:
        """(3, frame_l, frame_w) float: the log-mel picture in [0, 1], or less ImageNet's mean, over
        its std.
        """
        x = torch.from_numpy(picture(window, rate, self.options.size))[None].repeat(3, 1, 1)
        if self.options.normalize:
            x.sub_(torch.tensor(self.mean)[:, None, None]).div_(
                torch.tensor(self.std)[:, None, None]
            )
        return x


def sound_options(
    video: bool,
    normalize: bool,
    size: tuple[int, int],
    clip_l: int | None,
    fps: float | None,
    padding: bool,
) -> SoundOptions:
    """The options that a dataset of sound can obey, once their types are checked; see ``Dataset``.

    Raises UnsupportedOptionError for a rate out of range, a clip of no or too many samples, and for
    the size of a picture where a waveform is asked for.
    """
    if clip_l is not None and not 1 <= clip_l <= MAX_CLIP:
        raise UnsupportedOptionError(f"clip_l is {clip_l!r}; possible: 1 to {MAX_CLIP} samples.")
    if video and size != PLAIN:
        raise UnsupportedOptionError(
            f"frame_l={size[0]}, frame_w={size[1]} have nothing to size: video=True gives a "
            "waveform (clip_l,). "
            "Use video=False for the log-mel picture."
        )
    return SoundOptions(video, normalize, size, clip_l or 0, check_rate(fps), padding)


def sound_rows(source: SoundSource, records: Sequence[Record], target: Target) -> list[SampleRow]:
    """A row for each recording that has an answer."""
    return [(record, None) for record in records if source.annotated(record, target)]
