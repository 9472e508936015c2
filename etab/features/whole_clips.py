"""Clips as a network of clips needs them: its length, rate and size, and which frames exist."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from etab.backbones.base import SQUASH, Backbone
from etab.backbones.video.contract import ClipContract
from etab.datasets.base import Source
from etab.errors import UnsupportedOptionError
from etab.features.overlap import ahead
from etab.features.store import FrameKey
from etab.types import Array, Features, Record

WHOLE_CLIP_VERSION = 1


@dataclass(frozen=True, slots=True)
class WholeClips:
    """Clips for a network of clips: frame numbers, and which of them exist in the recording.

    Attributes:
        records: The recording of each clip.
        numbers: Frame numbers (clips, frames).
        present: Whether each frame exists in its recording (clips, frames).
        contract: The length, rate and size that the network needs.
        sampling: How the first frames were chosen, as ``Task.family`` describes it.
    """

    records: tuple[Record, ...]
    numbers: Array
    present: Array
    contract: ClipContract
    sampling: str

    @classmethod
    def of(
        cls,
        source: Source,
        clips: Sequence[tuple[Record, Sequence[int]]],
        contract: ClipContract,
        sampling: str = "",
    ) -> WholeClips:
        """Lay out clips as a network needs them.

        Args:
            source: The data.
            clips: Recordings with frame numbers; only the first number of each clip is used.
            contract: The length, rate and size that the network needs.
            sampling: How the first frames were chosen.
        """
        numbers: list[Array] = []
        present: list[Array] = []
        for record, frames in clips:
            fps = None
            if contract.fps is not None:
                fps = record.fps or source.card.fps
            row, exists = contract.numbers(source.n_frames(record), int(frames[0]), fps)
            numbers.append(row)
            present.append(exists)
        records = tuple(record for record, _ in clips)
        return cls(records, np.stack(numbers), np.stack(present), contract, sampling)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def frames(self) -> list[FrameKey]:
        """Every frame of every clip, in order."""
        frames: list[FrameKey] = []
        for record, numbers in zip(self.records, self.numbers, strict=True):
            frames += [(record, int(number)) for number in numbers]
        return frames

    @property
    def settings(self) -> dict[str, Any]:
        """Facts that decide the features beside frames and backbone."""
        counts = self.present.sum(axis=1)
        n_short = int((counts < self.contract.frames).sum())
        short = f"{n_short} of {len(self)}, {int(counts.sum())} frames"
        rate = {} if self.contract.fps is None else {"frames a second": self.contract.fps}
        return {
            **rate,
            "sampling": self.sampling,
            "contract": f"{self.contract!r} v{WHOLE_CLIP_VERSION}",
            "short clips": short,
        }

    def part(self, first: int, last: int) -> WholeClips:
        """Take some of the clips.

        Args:
            first: First clip.
            last: Last clip, exclusive.
        """
        chosen = slice(first, last)
        return replace(
            self,
            records=self.records[chosen],
            numbers=self.numbers[chosen],
            present=self.present[chosen],
        )

    def groups(self, n: int) -> list[range]:
        """Group clips that go through the network together: ``n`` frames, one clip at least."""
        k = max(1, n // self.contract.frames)
        return [range(first, min(first + k, len(self))) for first in range(0, len(self), k)]

    def batches(
        self,
        source: Source,
        size: int,
        n: int,
        interpolation: str = "bilinear",
        fit: str = SQUASH,
    ) -> Iterator[Array]:
        """Yield uint8 batches (clips, frames, size, size), reading one batch ahead.

        Args:
            source: The data.
            size: Size of a frame in px; it must be the contract's.
            n: Frames that go through the network together.
            interpolation: Not used: the contract names how frames are resized.
            fit: Not used, for the same reason.

        Raises:
            UnsupportedOptionError: ``size`` is not the contract's.
        """
        if size != self.contract.size:
            raise UnsupportedOptionError(
                f"The network is fed {self.contract.size} px; {size} px are asked for."
            )

        def read(group: range) -> Array:
            return np.stack([self._clip(source, i) for i in group])

        return ahead(self.groups(n), read)

    def _clip(self, source: Source, i: int) -> Array:
        unique, inverse = np.unique(self.numbers[i], return_inverse=True)
        frames = source.frames(self.records[i], unique.tolist())
        return self.contract.fit(frames)[inverse]

    def over(self, backbone: Backbone, n: int) -> InOrder:
        """Wrap a backbone so that it embeds the batches of ``batches``, in their order.

        Args:
            backbone: The backbone of clips.
            n: About the number of frames of a batch.
        """
        present = [self.present[group.start : group.stop] for group in self.groups(n)]
        return InOrder(backbone, present)


class InOrder:
    """A backbone of clips that knows which frames of the planned batches exist."""

    def __init__(self, backbone: Backbone, present: Sequence[Array]) -> None:
        """Take a backbone, and for each batch, in order, which frames exist (clips, frames)."""
        self.backbone = backbone
        self._present = iter(present)

    def digest(self) -> str:
        """Compute the sha256 of the weights of the backbone."""
        return self.backbone.digest()

    def __call__(self, x: Any) -> Features:
        """Embed the next batch (clips, frames, s, s), uint8."""
        import torch

        present = torch.from_numpy(next(self._present)).to(x.device)
        features: Features = self.backbone(x, present)  # type: ignore[call-arg]
        return features
