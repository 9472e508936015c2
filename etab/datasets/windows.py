"""Heart sounds as items of ``Dataset``: waveforms of windows or their log-mel pictures."""

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
    """Checked options of a dataset of sound.

    Attributes:
        video: Whether items are waveforms instead of pictures.
        normalize: Whether pictures and waveforms are normalised.
        size: Rows and columns of a picture.
        clip_l: Samples of a window; 0 is 5 s.
        fps: Rate in Hz; None keeps the recording's own.
        padding: Whether a recording that is too short is followed by zeros.
    """

    video: bool
    normalize: bool
    size: tuple[int, int]
    clip_l: int
    fps: int | None
    padding: bool


@dataclass(frozen=True, slots=True)
class SoundReader:
    """Reader of one sample of one recording; a loader's worker needs nothing else.

    Attributes:
        source: The source of the recordings.
        target: The target that gives labels.
        options: The checked options.
        mean: Mean of each channel that ``normalize`` subtracts from a picture.
        std: Standard deviation of each channel that ``normalize`` divides a picture by.
    """

    source: SoundSource
    target: Target
    options: SoundOptions
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def sample(self, row: SampleRow) -> Sample:
        """Read the tensor and label of one window.

        Args:
            row: (recording, frame at 50 Hz at which the window starts, or None).

        Returns:
            The sample.

        Raises:
            UnsupportedOptionError: The recording ends before the start frame.
            CorruptFileError: The recording has no label any more.
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
        """Return a window as a waveform (clip_l,) float; silence stays 0.

        Full scale is 1. With ``normalize``, the mean is subtracted and the result divided by its
        standard deviation.
        """
        x = torch.from_numpy(np.ascontiguousarray(window, dtype=np.float32))
        if not self.options.normalize:
            return x
        x = x - x.mean()
        return x / x.std(correction=0).clamp(min=1e-8)

    def _picture(self, window: FloatArray, rate: int) -> torch.Tensor:
        """Return the log-mel picture of a window, (3, frame_l, frame_w) float.

        It is in [0, 1]. With ``normalize``, ImageNet's mean is subtracted and the result divided by
        ImageNet's standard deviation.
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
    """Check the options of a dataset of sound; see ``Dataset`` for their meaning.

    Args:
        video: Whether items are waveforms.
        normalize: Whether items are normalised.
        size: Rows and columns of a picture.
        clip_l: Samples of a window, or None.
        fps: Rate in Hz, or None.
        padding: Whether short recordings are padded with zeros.

    Returns:
        The checked options.

    Raises:
        UnsupportedOptionError: The rate is out of range, or the size of a picture is given for
            waveforms.
    """
    if video and size != PLAIN:
        raise UnsupportedOptionError(
            f"frame_l={size[0]}, frame_w={size[1]} have nothing to size: video=True gives a "
            "waveform (clip_l,). "
            "Use video=False for the log-mel picture."
        )
    return SoundOptions(
        video,
        normalize,
        size,
        clip_l or 0,
        check_rate(fps),
        padding,
    )


def sound_rows(
    source: SoundSource,
    records: Sequence[Record],
    target: Target,
) -> list[SampleRow]:
    """List a row for each recording with a label.

    Args:
        source: The source.
        records: Its recordings to select from.
        target: The target that gives labels.

    Returns:
        (recording, None) for each.
    """
    return [(record, None) for record in records if source.annotated(record, target)]
