"""Clips as inputs: embedded by a network of clips, or by moments over time of their frames.

Features have one row a clip: "<layer>/<pooling>/mean", and "<layer>/<pooling>/mean+std" with both
side by side, so that a probe can choose whether motion helps. A frame that is repeated, because the
recording is short, counts as often as it occurs. The input of heads over sequences is 16 steps,
spread evenly over the clip, of the last layer whose pooling is narrow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from etab.backbones.base import SQUASH, Backbone, BackboneCard
from etab.datasets.base import Source
from etab.echo import beats
from etab.echo.clips import Sampling
from etab.errors import IncompatibleError, LayoutError
from etab.features.base import Embedding, Input, register_input
from etab.features.fit import fitted
from etab.features.frames import frame_features, row_features
from etab.features.overlap import ahead
from etab.features.store import FrameFeatures, FrameKey
from etab.features.whole_clips import WholeClips
from etab.tasks.base import Task
from etab.tasks.menu import TASKS
from etab.tasks.rows import Rows, stack
from etab.types import Array, Features, IntArray, Record

_VERSION = 2
STEPS = 16
_STEPPED = ("mean", "cls", "moments")
ClipKey = tuple[Record, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Clips:
    """Clips to embed, in order.

    Attributes:
        clips: The clips: each a recording and its frame numbers.
        sampling: How the clips were cut, as ``Task.family`` describes it.
        ranges: First clip and last clip (exclusive) of each recording, by its id.
    """

    clips: tuple[ClipKey, ...]
    sampling: str
    ranges: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def frames(self) -> list[FrameKey]:
        """Every frame of every clip, in order."""
        return [(record, frame) for record, frames in self.clips for frame in frames]

    @property
    def settings(self) -> dict[str, Any]:
        """Facts that decide the features beside frames and backbone."""
        lengths = ",".join(str(len(shown)) for _, shown in self.clips)
        return {
            "sampling": self.sampling,
            "over_time": f"mean, mean+std, {STEPS} steps v{_VERSION}",
            "lengths": hashlib.sha256(lengths.encode()).hexdigest(),
        }

    def part(self, first: int, last: int) -> Clips:
        """Take some of the clips.

        Args:
            first: First clip.
            last: Last clip, exclusive.
        """
        return Clips(self.clips[first:last], self.sampling)

    def groups(self, n: int) -> list[list[ClipKey]]:
        """Group whole clips to at most ``n`` different frames each, one clip at least."""
        out: list[list[ClipKey]] = []
        full = n
        for clip in self.clips:
            size = len(set(clip[1]))
            if full + size > n:
                out.append([])
                full = 0
            out[-1].append(clip)
            full += size
        return out

    def batches(
        self,
        source: Source,
        size: int,
        n: int,
        interpolation: str = "bilinear",
        fit: str = SQUASH,
    ) -> Iterator[Array]:
        """Yield uint8 batches (frames, size, size), one per group of clips, no frame twice.

        Args:
            source: The source of the recordings.
            size: The side of the images in pixels.
            n: About the number of frames of a batch.
            interpolation: How images are resized.
            fit: How images that are not squares become squares.
        """

        def read(group: list[ClipKey]) -> Array:
            frames: list[Array] = []
            for record, numbers in group:
                for frame in source.frames(record, sorted(set(numbers))):
                    frames.append(fitted(frame, size, interpolation, fit)[0])
            return np.stack(frames)

        return ahead(self.groups(n), read)

    def over(self, backbone: Backbone, n: int) -> OverTime:
        """Wrap an image backbone so that it embeds the batches of ``batches``, in their order.

        Args:
            backbone: The backbone of images.
            n: About the number of frames of a batch.
        """
        return OverTime(backbone, self.groups(n), n)


class OverTime:
    """A backbone of clips made from a backbone of pictures.

    Its batches must come in the planned order.
    """

    def __init__(self, backbone: Backbone, groups: Sequence[Sequence[ClipKey]], n: int) -> None:
        """Take the groups of clips; ``n`` frames at most go through the backbone at once."""
        self.backbone = backbone
        self.n = n
        self._groups = iter(groups)

    def digest(self) -> str:
        """Compute the sha256 of the weights of the backbone of pictures."""
        return self.backbone.digest()

    def __call__(self, x: Any) -> Features:
        """Embed the frames (frames, s, s), uint8, of the next group: one row a clip, no maps."""
        import torch

        parts = [self.backbone(x[first : first + self.n]) for first in range(0, len(x), self.n)]
        group = next(self._groups)
        counts = [np.unique(frames, return_counts=True)[1] for _, frames in group]
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
                steps = [values[a:b][_steps(frames)] for a, b, (_, frames) in clips]
                # Only the last such layer stays.
                sequences = {key: torch.stack(steps)}
        pca: dict[str, int] = {}
        for key, n in parts[0].pca.items():
            pca[f"{key}/mean"] = n
            pca[f"{key}/mean+std"] = n
        return Features(pooled, (), pca, sequences)


def _moments(values: Any, weights: Any) -> tuple[Any, Any]:
    """Compute the weighted mean and standard deviation (d,) of values (k, d)."""
    mean = (weights * values).sum(0)
    variance = (weights * (values - mean) ** 2).sum(0)
    return mean, variance.clamp_min(0).sqrt()


def _steps(frames: Sequence[int]) -> IntArray:
    """Select ``STEPS`` of the sorted frames of a clip, spread evenly over it."""
    order: IntArray = np.unique(frames, return_inverse=True)[1]
    return np.asarray(order[np.linspace(0, len(order) - 1, STEPS).round().astype(int)])


_STILLS = "only stills are here, no sequence"
"""Why a recording has no clips."""


@register_input("clip", "clips", "beats")
class ClipInput(Input):
    """Clips of a recording: the middle one, all of them, or one for each beat."""

    def keys(self, task: Task, source: Source) -> Clips:
        """List every clip of ``source`` for the family of ``task``, ordered by view."""
        return clips_of(task, source)

    def rows(self, task: Task, source: Source, keys: Clips) -> Rows:
        """Build a row for each clip of the recordings with an answer.

        Args:
            task: The task.
            source: The source of the recordings.
            keys: The clips, as ``keys`` lists them.
        """
        self.check(task, source.card)
        return clip_rows(task, source, keys)

    def embed(
        self, task: Task, source: Source, keys: Clips, card: BackboneCard, embedding: Embedding
    ) -> FrameFeatures:
        """Embed clips by a network of clips, or by moments over the features of their frames.

        Args:
            task: The task.
            source: The source of the recordings.
            keys: The clips.
            card: The backbone.
            embedding: Where and how to compute.
        """
        over: Clips | WholeClips = keys
        if card.clip is not None:
            over = WholeClips.of(source, keys.clips, card.clip, keys.sampling)
        return frame_features(
            source,
            over.frames,
            card,
            cache=embedding.cache,
            device=embedding.device,
            precision=embedding.precision,
            batch_size=embedding.batch_size,
            progress=embedding.progress,
            maps=False,
            over=over,
            data_digest=embedding.data_digest,
        )

    def pick(self, features: Features, rows: Rows, *, maps: bool, sequences: bool) -> Features:
        """Pick the clip of each row.

        Args:
            features: The features of all clips.
            rows: The rows of the task.
            maps: Not used; clips have no maps.
            sequences: Whether to return the features over time.
        """
        return row_features(features, rows, maps=maps, sequences=sequences)


def clips_of(task: Task, source: Source) -> Clips:
    """List every clip of the task's family, ordered by view.

    Recordings of stills have no clips.

    Args:
        task: A task on clips.
        source: The data.

    Raises:
        LayoutError: No recording has a clip.
        IncompatibleError: The task's inputs are not clips.
    """
    views = set(task.views)
    for other in TASKS.values():
        if other.dataset == task.dataset and other.family == task.family:
            views.update(other.views)
    clips: list[ClipKey] = []
    ranges: dict[str, tuple[int, int]] = {}
    for record in sorted((r for r in source.records() if r.view in views), key=lambda r: r.view):
        if not source.still(record):
            n = source.n_frames(record)
            first = len(clips)
            for start in clip_starts(task, source, record):
                numbers = _sampling(task).clip(n, start)
                clips.append((record, tuple(map(int, numbers))))
            ranges[record.id] = (first, len(clips))
    if not clips:
        raise LayoutError(
            f"{source.card.name} ({source.root}) has no clip for {task.code}: {_STILLS}. "
            f"{_instead_of_clips(task)}"
        )
    return Clips(tuple(clips), task.family, ranges)


def _instead_of_clips(task: Task) -> str:
    """Advice for a task on clips if the data hold stills only."""
    of_stills = f"b0-{task.code[3:]}"
    if of_stills in TASKS and of_stills != task.code:
        return f"Restore the sequences, or run the task on the ED and ES frames, {of_stills}."
    return (
        f"The input {task.inputs!r} of its label needs videos; without it, the label is one of "
        "pictures."
    )


def clip_starts(task: Task, source: Source, record: Record) -> list[int]:
    """List the first frame of each clip of a recording, given the task's ``inputs``.

    Args:
        task: The task. Its inputs are "clip" (the clip in the middle), "clips" (all of them) or
            "beats" (one around each systole).
        source: The data.
        record: The recording.

    Raises:
        IncompatibleError: The task's inputs are not clips, or it has no sampling.
    """
    sampling = _sampling(task)
    n = source.n_frames(record)
    if task.inputs == "clip":
        return [sampling.middle(n)]
    if task.inputs == "clips":
        return sampling.starts(n)
    if task.inputs == "beats":
        phases = source.phases(record)
        end_systole = phases[1] if phases else None
        fps = record.fps or source.card.fps
        systoles = beats.systoles(source.frames(record), fps, end_systole)
        return sampling.around(n, systoles.tolist())
    raise IncompatibleError(
        f"{task.code}: clips cannot be cut for inputs={task.inputs!r}; "
        "possible: clip, clips, beats."
    )


def _sampling(task: Task) -> Sampling:
    if task.clip is None:
        raise IncompatibleError(
            f"{task.code} does not say how its clips are cut; give its row a Sampling."
        )
    return task.clip


def clip_rows(task: Task, source: Source, clips: Clips) -> Rows:
    """Build the rows of a task on clips.

    Args:
        task: A task on clips.
        source: The data.
        clips: The clips of the task's family.

    Raises:
        LayoutError: The data hold no row at all.
    """
    target = source.card.target(task.target)
    chosen: list[tuple[int, Record, object]] = []
    missing: list[tuple[str, str]] = []
    in_views = [record for record in source.records() if record.view in task.views]
    for record in sorted(in_views, key=lambda r: r.view):
        answers = [a for a in source.answers(record, target) if a.at is None]
        if record.id not in clips.ranges:
            missing.append((record.id, _STILLS))
        elif not answers:
            missing.append((record.id, f"no {task.target} is given"))
        else:
            chosen += [(i, record, answers[0].value) for i in range(*clips.ranges[record.id])]
    if not chosen:
        reason = missing[0][1] if missing else "no recording of that view"
        raise LayoutError(
            f"{source.root} has no row for {task.code} "
            f"({task.target}, {', '.join(task.views)}): {reason}. "
            f"Run `{source.check_command()}`."
        )
    records = tuple(r.id for _, r, _ in chosen)
    patients = tuple(r.patient for _, r, _ in chosen)
    items = _items([i for i, _, _ in chosen], clips)
    return Rows(
        items=items,
        patients=np.array(patients),
        parts=np.array([r.split for _, r, _ in chosen]),
        frames=np.array([[i] for i, _, _ in chosen]),
        answers=stack(target.kind, [v for _, _, v in chosen]),
        spacing=(None,) * len(chosen),
        missing=tuple(missing),
        records=records,
        units={
            "": items,
            "recording": records,
            "study": tuple(str(r.meta.get("study", r.id)) for _, r, _ in chosen),
            "patient": patients,
        }[task.unit],
    )


def _items(numbers: Sequence[int], clips: Clips) -> tuple[str, ...]:
    """Name each row by its recording and the first and last frame of its clip."""
    chosen = (clips.clips[i] for i in numbers)
    return tuple(f"{record.id}#{frames[0]}-{frames[-1]}" for record, frames in chosen)
