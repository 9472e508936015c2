"""Clips as inputs: by a network of clips, or by moments over time of the features of their frames.

Features have one row a clip: "<layer>/<pooling>/mean", and "<layer>/<pooling>/mean+std" with both
side by side, so that a probe may choose whether motion helps. A frame that a short recording
repeats counts as often. Heads over sequences have 16 steps spread evenly over the clip, of the last
layer whose pooling is narrow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from etab.backbones.base import Backbone, BackboneCard
from etab.backbones.video.contract import ClipContract
from etab.datasets.base import Source
from etab.echo import beats
from etab.echo.clips import Sampling
from etab.errors import IncompatibleError, LayoutError, UnsupportedOptionError
from etab.features.base import Embedding, Input, register
from etab.features.frames import frame_features, resize, row_features
from etab.features.store import FrameFeatures, FrameKey, ahead
from etab.tasks.base import Task
from etab.tasks.menu import TASKS
from etab.tasks.rows import Rows, stack
from etab.types import Array, Features, IntArray, Record

VERSION = 2
STEPS = 16
_STEPPED = ("mean", "cls", "moments")
Clip = tuple[Record, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Clips:
    """Clips to embed, in order.

    sampling  how they were cut, as ``Task.family`` describes it
    ranges    [first, last) of the clips of each recording, by its id
    """

    clips: tuple[Clip, ...]
    sampling: str
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def frames(self) -> list[FrameKey]:
        """Every frame of every clip, in order."""
        return [(record, at) for record, shown in self.clips for at in shown]

    @property
    def settings(self) -> dict[str, Any]:
        """Facts that decide the features beside frames and backbone."""
        lengths = ",".join(str(len(shown)) for _, shown in self.clips)
        return {
            "sampling": self.sampling,
            "over_time": f"mean, mean+std, {STEPS} steps v{VERSION}",
            "lengths": hashlib.sha256(lengths.encode()).hexdigest(),
        }

    def groups(self, n: int) -> list[list[Clip]]:
        """Whole clips put together to about ``n`` frames each, one clip at least."""
        out: list[list[Clip]] = []
        full = n
        for clip in self.clips:
            size = len(set(clip[1]))
            if full + size > n:
                out.append([])
                full = 0
            out[-1].append(clip)
            full += size
        return out

    def batches(self, source: Source, size: int, n: int) -> Iterator[Array]:
        """Yield uint8 batches (frames, size, size), one a group, with each frame of a clip once."""

        def read(group: list[Clip]) -> Array:
            return np.stack(
                [
                    resize(frame, size)
                    for record, at in group
                    for frame in source.frames(record, sorted(set(at)))
                ]
            )

        return ahead(self.groups(n), read)

    def over(self, backbone: Backbone, n: int) -> OverTime:
        """Wrap a backbone of pictures so that it embeds the output of ``batches``, in its order."""
        return OverTime(backbone, self.groups(n), n)


class OverTime:
    """A backbone of clips made from one of pictures; its batches must come in the planned order."""

    def __init__(self, backbone: Backbone, groups: Sequence[Sequence[Clip]], n: int) -> None:
        """Take the groups of clips; ``n`` frames at most go through the backbone at once."""
        self.backbone, self.n, self._groups = backbone, n, iter(groups)

    def digest(self) -> str:
        """sha256 of the weights of the backbone of pictures."""
        return self.backbone.digest()

    def __call__(self, x: Any) -> Features:
        """Embed uint8 (frames, s, s) of the next group: a row a clip, no maps."""
        import torch

        parts = [self.backbone(x[at : at + self.n]) for at in range(0, len(x), self.n)]
        group = next(self._groups)
        counts = [np.unique(shown, return_counts=True)[1] for _, shown in group]
        weights = [
            torch.as_tensor(c / c.sum(), dtype=torch.float32, device=x.device)[:, None]
            for c in counts
        ]
        edges = np.cumsum([0, *map(len, counts)])
        pooled: dict[str, Any] = {}
        sequences: dict[str, Any] = {}
        for key in parts[0].pooled:
            values = torch.cat([part.pooled[key] for part in parts]).to(torch.float32)
            rows = [
                _moments(values[a:b], w)
                for a, b, w in zip(edges[:-1], edges[1:], weights, strict=True)
            ]
            pooled[f"{key}/mean"] = torch.stack([mean for mean, _ in rows])
            pooled[f"{key}/mean+std"] = torch.stack([torch.cat(row) for row in rows])
            if key.split("/")[-1] in _STEPPED:
                clips = zip(edges[:-1], edges[1:], group, strict=True)
                sequences = {
                    key: torch.stack([values[a:b][_steps(shown)] for a, b, (_, shown) in clips])
                }
        pca = {f"{key}/{how}": n for key, n in parts[0].pca.items() for how in ("mean", "mean+std")}
        return Features(pooled, (), pca, sequences)


def _moments(values: Any, weights: Any) -> tuple[Any, Any]:
    """Weighted mean and standard deviation (d,) of (k, d) values."""
    mean = (weights * values).sum(0)
    return mean, (weights * (values - mean) ** 2).sum(0).clamp_min(0).sqrt()


def _steps(shown: Sequence[int]) -> IntArray:
    """Select ``STEPS`` of the sorted frames of a clip, spread evenly over it."""
    order: IntArray = np.unique(shown, return_inverse=True)[1]
    return np.asarray(order[np.linspace(0, len(order) - 1, STEPS).round().astype(int)])


STILLS = "only stills of ED and ES are here, no sequence"


@register("clip", "clips", "beats")
class ClipInput(Input):
    """Clips of a recording: the middle one, all of them, or one for each beat."""

    def keys(self, task: Task, source: Source) -> Clips:
        """Every clip of the task's family, ordered by view."""
        return clips_of(task, source)

    def rows(self, task: Task, source: Source, keys: Clips) -> Rows:
        """A row for each clip of the recordings that have an answer."""
        self.check(task, source.card)
        return clip_rows(task, source, keys)

    def embed(
        self, task: Task, source: Source, keys: Clips, card: BackboneCard, how: Embedding
    ) -> FrameFeatures:
        """Features by a network of clips, or by moments over frames for a network of pictures."""
        over: Clips | WholeClips = keys
        if card.clip is not None:
            over = WholeClips.of(source, keys.clips, card.clip, keys.sampling)
        return frame_features(
            source,
            over.frames,
            card,
            cache=how.cache,
            device=how.device,
            precision=how.precision,
            batch_size=how.batch_size,
            progress=how.progress,
            maps=False,
            over=over,
            data_digest=how.data_digest,
        )

    def pick(self, features: Features, rows: Rows, *, maps: bool, sequences: bool) -> Features:
        """The clip of each row."""
        return row_features(features, rows, maps=maps, sequences=sequences)


def clips_of(task: Task, source: Source) -> Clips:
    """Every clip of the task's family, ordered by view.

    Recordings of stills have none. Raises LayoutError where no recording has any.
    """
    alike = [t for t in TASKS.values() if t.dataset == task.dataset and t.family == task.family]
    views = {view for t in (task, *alike) for view in t.views}
    found: list[Clip] = []
    place: dict[str, tuple[int, int]] = {}
    for record in sorted((r for r in source.records() if r.view in views), key=lambda r: r.view):
        if not source.still(record):
            n = source.n_frames(record)
            mine: list[Clip] = [
                (record, tuple(map(int, _sampling(task).clip(n, s))))
                for s in starts(task, source, record)
            ]
            place[record.id] = (len(found), len(found) + len(mine))
            found += mine
    if not found:
        raise LayoutError(
            f"{source.root} gives not one clip for {task.code}: {STILLS}. Restore the sequences, or run "
            f"the task on the ED and ES frames, b0-{task.code[3:]}."
        )
    return Clips(tuple(found), task.family, place)


def starts(task: Task, source: Source, record: Record) -> list[int]:
    """Where the clips of a recording begin, by the task's ``inputs``.

    Raises IncompatibleError for inputs that are not clips.
    """
    sampling = _sampling(task)
    n = source.n_frames(record)
    if task.inputs == "clip":
        return [sampling.middle(n)]
    if task.inputs == "clips":
        return sampling.starts(n)
    if task.inputs == "beats":
        phases = source.phases(record)
        fps = record.fps or source.card.fps
        return sampling.around(
            n, beats.systoles(source.frames(record), fps, phases[1] if phases else None).tolist()
        )
    raise IncompatibleError(
        f"{task.code}: nothing cuts clips by inputs={task.inputs!r}; possible: clip, clips, beats."
    )


def _sampling(task: Task) -> Sampling:
    if task.clip is None:
        raise IncompatibleError(
            f"{task.code} does not say how its clips are cut; give its row a Sampling."
        )
    return task.clip


def clip_rows(task: Task, source: Source, clips: Clips) -> Rows:
    """Build the rows of a task on clips; raises LayoutError when the data hold none at all."""
    target = source.card.target(task.target)
    kept: list[tuple[int, Record, object]] = []
    missing: list[tuple[str, str]] = []
    for record in sorted(
        (r for r in source.records() if r.view in task.views), key=lambda r: r.view
    ):
        answers = [a for a in source.answers(record, target) if a.at is None]
        if record.id in clips.ranges and answers:
            kept += [(i, record, answers[0].value) for i in range(*clips.ranges[record.id])]
        else:
            missing.append(
                (
                    record.id,
                    STILLS if record.id not in clips.ranges else f"no {task.target} is given",
                )
            )
    if not kept:
        raise LayoutError(
            f"{source.root} gives not one row for {task.code} ({task.target}, {', '.join(task.views)}): "
            f"{missing[0][1] if missing else 'no recording of that view'}. Run `etab data check {source.card.name}`."
        )
    records = tuple(r.id for _, r, _ in kept)
    patients = tuple(r.patient for _, r, _ in kept)
    items = _items([i for i, _, _ in kept], clips)
    return Rows(
        items=items,
        patients=np.array(patients),
        parts=np.array([r.split for _, r, _ in kept]),
        frames=np.array([[i] for i, _, _ in kept]),
        answers=stack(target.kind, [v for _, _, v in kept]),
        spacing=(None,) * len(kept),
        missing=tuple(missing),
        records=records,
        units={"": items, "recording": records, "patient": patients}[task.unit],
    )


def _items(numbers: Sequence[int], clips: Clips) -> tuple[str, ...]:
    """Name rows by recording, and first and last frame of the clip."""
    shown = (clips.clips[i] for i in numbers)
    return tuple(f"{record.id}#{at[0]}-{at[-1]}" for record, at in shown)


WHOLE_CLIP_VERSION = 1


@dataclass(frozen=True, slots=True)
class WholeClips:
    """Clips for a network of clips: frame numbers, and which of them exist in the recording.

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
        """Lay out clips, each a recording and its frame numbers; only the first frame counts."""
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
            "contract": f"{self.contract!r} v{WHOLE_CLIP_VERSION}",
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

        return ahead(self.groups(n), read)

    def _clip(self, source: Source, i: int) -> Array:
        seen, back = np.unique(self.numbers[i], return_inverse=True)
        return self.contract.fit(source.frames(self.records[i], seen.tolist()))[back]

    def over(self, backbone: Backbone, n: int) -> InOrder:
        """Wrap a backbone so that it embeds the output of ``batches``, in its order."""
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
