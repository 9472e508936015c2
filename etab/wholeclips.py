"""Clips as networks of clips see them: frames by the network's own contract, a row a clip.

A clip of a task says where it begins; from there on the network is fed what its authors fed it, at the recording's own rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from etab.backbones.base import Backbone
from etab.backbones.contracts import ClipContract
from etab.datasets.base import Source
from etab.errors import UnsupportedOptionError
from etab.features import FrameKey
from etab.types import Array, Features, Record

VERSION = 1


@dataclass(frozen=True, slots=True)
class WholeClips:
    """Clips to embed, in order: the frame numbers that the network sees of each, and which of them are there.

    ``sampling`` says where clips begin, in the words of the task's family.
    """

    records: tuple[Record, ...]
    numbers: Array
    there: Array
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
        """Lay out ``clips``, each a recording and the frame numbers a task shows of it, of which the first counts."""
        found = [
            contract.numbers(source.n_frames(record), int(shown[0])) for record, shown in clips
        ]
        numbers, there = (np.stack(part) for part in zip(*found, strict=True))
        return cls(tuple(record for record, _ in clips), numbers, there, contract, sampling)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def frames(self) -> list[FrameKey]:
        """Every frame of every clip, in order."""
        return [
            (record, int(at))
            for record, shown in zip(self.records, self.numbers, strict=True)
            for at in shown
        ]

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the features beyond frames and backbone."""
        there = self.there.sum(axis=1)
        short = (
            f"{int((there < self.contract.frames).sum())} of {len(self)}, {int(there.sum())} frames"
        )
        return {
            "sampling": self.sampling,
            "contract": f"{self.contract!r} v{VERSION}",
            "short clips": short,
        }

    def groups(self, n: int) -> list[range]:
        """Clips that go through the network together: about ``n`` frames, one clip at least."""
        k = max(1, n // self.contract.frames)
        return [range(at, min(at + k, len(self))) for at in range(0, len(self), k)]

    def batches(self, source: Source, size: int, n: int) -> Iterator[Array]:
        """uint8 batches (clips, frames, size, size), the next one read while the last is embedded.

        Raises UnsupportedOptionError for a ``size`` that is not the contract's.
        """
        if size != self.contract.size:
            raise UnsupportedOptionError(
                f"The network is fed {self.contract.size} px; {size} px are asked for."
            )

        def read(group: range) -> Array:
            return np.stack([self._clip(source, i) for i in group])

        groups = self.groups(n)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(read, groups[0])
            for following in [*groups[1:], None]:
                batch = waiting.result()
                if following is not None:
                    waiting = pool.submit(read, following)
                yield batch

    def _clip(self, source: Source, i: int) -> Array:
        seen, back = np.unique(self.numbers[i], return_inverse=True)
        return self.contract.fit(source.frames(self.records[i], seen.tolist()))[back]

    def over(self, backbone: Backbone, n: int) -> InOrder:
        """The backbone that takes the batches of ``batches`` with the same ``n``, in their order."""
        return InOrder(backbone, [self.there[group.start : group.stop] for group in self.groups(n)])


class InOrder:
    """A backbone of clips that knows which frames of the batches planned are there."""

    def __init__(self, backbone: Backbone, there: Sequence[Array]) -> None:
        """``there``: (clips, frames) of each batch, in order."""
        self.backbone, self._there = backbone, iter(there)

    def digest(self) -> str:
        """sha256 of the weights of the backbone."""
        return self.backbone.digest()

    def __call__(self, x: Any) -> Features:
        """Embed the next batch, uint8 (clips, frames, s, s)."""
        import torch

        there = torch.from_numpy(next(self._there)).to(x.device)
        found: Features = self.backbone(x, there)  # type: ignore[call-arg]
        return found
