"""Frozen embeddings, computed once and stored under the digest of everything that decides them.

An entry is a folder: ``pooled.safetensors``, ``map0.npy`` ... (float16, fine to coarse),
``sequence0.npy`` ... (float16, (n, T, d), named in the entry) and ``entry.json`` with the checksum
of each file. Checksums are verified when the entry is read; a damaged entry is computed again, with
a warning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from etab.backbones.base import SQUASH, Backbone, BackboneCard
from etab.datasets.base import Source
from etab.errors import CorruptFileError, LayoutError, skippable
from etab.features.base import PHASE_TARGET, Embedding, Input, register_input
from etab.features.batches import Batches, OnRows, embed_batches, progress_of_part
from etab.features.fit import OnFrames, resized
from etab.features.frame_batches import FrameBatches
from etab.features.lazy import PickedMap, StoredMap
from etab.features.shards import EmbedRows, Shards, shard_edges
from etab.features.sketch import is_too_wide, sketched
from etab.features.store import (
    EntryKeys,
    FeatureStore,
    FrameFeatures,
    FrameKey,
    placed,
    precision_facts,
    resolve_precision,
)
from etab.storage.releases import release_version
from etab.tasks.base import Task
from etab.tasks.menu import TASKS
from etab.tasks.rows import Rows, stack, undefined_row
from etab.types import Answer, Array, Features, Kind, Record

_VERSION = 2


class Over(Protocol):
    """Rows of several frames each (see ``etab.features.clips``): how to read and embed them."""

    def __len__(self) -> int: ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Facts that enter the key of the features, beside the frames."""
        ...

    def groups(self, n: int) -> Sequence[Sized]:
        """Group the rows of each batch of about ``n`` frames."""
        ...

    def part(self, first: int, last: int) -> Over:
        """Take the rows of whole batches, from the first to the last (exclusive)."""
        ...

    def batches(
        self,
        source: Source,
        size: int,
        n: int,
        interpolation: str = "bilinear",
        fit: str = SQUASH,
    ) -> Iterator[Array]:
        """Yield uint8 batches of frames.

        Args:
            source: The source of the recordings.
            size: The side of the images in pixels.
            n: About the number of frames of a batch.
            interpolation: How images are resized.
            fit: How images that are not squares become squares.
        """
        ...

    def over(self, backbone: Backbone, n: int) -> Backbone:
        """Wrap a backbone so that it embeds these batches, with one row for several frames.

        Args:
            backbone: The backbone of images.
            n: About the number of frames of a batch.
        """
        ...


def resize(frame: Array, size: int, interpolation: str = "bilinear") -> Array:
    """Resize a uint8 frame to (size, size), ignoring its aspect ratio.

    Args:
        frame: A frame (h, w), uint8.
        size: Height and width of the result, in px.
        interpolation: As in ``etab.features.fit.resized``.
    """
    return resized(frame, size, size, interpolation)


def _interpolation(card: BackboneCard) -> str:
    """Name how frames are resized, as it has always been listed among the facts of features."""
    if card.interpolation.startswith("pillow "):
        return f"{card.interpolation}, Pillow {release_version('pillow')}"
    return "cv2 area/linear"


def _settings(card: BackboneCard, precision: str) -> dict[str, Any]:
    fit = {} if card.fit == SQUASH else {"fit": card.fit}
    return {
        **fit,
        "features_version": _VERSION,
        "backbone_version": card.version,
        "backbone": card.name,
        "size": card.size,
        "mean": list(card.mean),
        "std": list(card.std),
        "interpolation": _interpolation(card),
        **precision_facts(precision),
        "layers": list(card.layers),
    }


def frame_features(
    source: Source,
    frames: Sequence[FrameKey],
    card: BackboneCard,
    *,
    cache: Path | None,
    device: str = "cpu",
    precision: str = "auto",
    batch_size: int | None = None,
    progress: OnRows | None = None,
    maps: bool = True,
    left_out: bool = False,
    data_digest: str | None = None,
    over: Over | None = None,
) -> FrameFeatures:
    """Embed frames, or read their features from the cache.

    Args:
        source: The data.
        frames: The frames: (record, frame number).
        card: The backbone.
        cache: Folder of the feature cache; None stores nothing.
        device: The device, as torch names it.
        precision: "auto", or one of ``etab.precisions.NAMED``.
        batch_size: Frames that are embedded at once; None is 32 on a processor, else 128.
        progress: Called with (rows done, rows in all).
        maps: Whether the features have feature maps.
        left_out: Whether their maps are not needed. They are then neither computed nor stored, and
            an entry that has them is read. The key of the features stays the same.
        data_digest: sha256 of the data; None computes it.
        over: How to embed several frames as one row; None makes each frame a row.

    Returns:
        The features, one row for each frame, or for each row of ``over``.

    Raises:
        WeightsError: The backbone cannot be loaded.
        CorruptFileError: A recording is damaged, or stored features cannot be read back.
        StorageError: The cache cannot be written.
    """
    kind = resolve_precision(precision, card, device)
    facts = _settings(card, kind) | dict({} if over is None else over.settings)
    n = batch_size or (32 if device == "cpu" else 128)

    total = len(frames) if over is None else len(over)

    def prepare(backbone: Any) -> EmbedRows:
        prepared = placed(backbone, device, kind)

        def embed(folder: Path | None, first: int, last: int) -> Batches:
            if over is None:
                reading = FrameBatches(source, frames[first:last], card, n)
                wrapped = prepared if card.fit == SQUASH else OnFrames(prepared, reading.boxes())
                batches = iter(reading)
            else:
                part = over.part(first, last)
                wrapped = part.over(prepared, n)
                batches = part.batches(source, card.size, n, card.interpolation, card.fit)
            part_progress = progress_of_part(progress, first, total)
            return embed_batches(
                wrapped,
                batches,
                last - first,
                folder,
                device=device,
                progress=part_progress,
                maps=maps and not left_out,
            )

        return embed

    sizes = [min(n, total - first) for first in range(0, total, n)]
    if over is not None:
        sizes = [len(group) for group in over.groups(n)]
    text = tuple(f"{record.id}\0{at}\0" for record, at in frames)
    whole = EntryKeys((maps,), text)
    digest = data_digest or source.digest()
    shards = Shards(shard_edges(sizes, n), prepare)
    store = FeatureStore(cache)
    is_less = maps and left_out
    return store.get(
        card,
        facts,
        EntryKeys((False,), text) if is_less else whole,
        shards.compute,
        data_digest=digest,
        shards=shards,
        fuller=whole if is_less else None,
    )


@register_input("frame", "ED", "ED+ES", "answer")
class FrameInput(Input):
    """Annotated frames: one, or the ED and the ES frame side by side, for each row."""

    def keys(self, task: Task, source: Source) -> list[FrameKey]:
        """List every frame that tasks on the dataset need, ordered by view.

        Args:
            task: A task on the dataset.
            source: The source of the recordings.
        """
        keys = annotated_frames(source)
        if not keys:
            raise LayoutError(
                f"{source.card.name} ({source.root}) gives no frame for {task.code}: "
                "no recording has an ED, an ES or another frame with a label. "
                f"Run `{source.check_command()}`."
            )
        return keys

    def rows(self, task: Task, source: Source, keys: Sequence[FrameKey]) -> Rows:
        """Build a row for each frame, answer or recording, depending on ``task.inputs``.

        Args:
            task: The task.
            source: The source of the recordings.
            keys: The frames, as ``keys`` lists them.
        """
        self.check(task, source.card)
        return task_rows(task, source, keys)

    def embed(
        self,
        task: Task,
        source: Source,
        keys: Sequence[FrameKey],
        card: BackboneCard,
        embedding: Embedding,
    ) -> FrameFeatures:
        """Embed every frame, with feature maps if a head reads them, as masks or as tokens.

        Where the dataset has masks, the key of the features is the same with and without maps.

        Args:
            task: The task.
            source: The source of the recordings.
            keys: The frames.
            card: The backbone.
            embedding: Where and how to compute.
        """
        has_masks = any(target.kind is Kind.MASK for target in source.card.targets)
        return frame_features(
            source,
            keys,
            card,
            cache=embedding.cache,
            device=embedding.device,
            precision=embedding.precision,
            batch_size=embedding.batch_size,
            progress=embedding.progress,
            maps=has_masks or embedding.maps,
            left_out=not embedding.maps,
            data_digest=embedding.data_digest,
        )

    def pick(self, features: Features, rows: Rows, *, maps: bool, sequences: bool) -> Features:
        """Pick the frame of each row, or the pooled features of its two frames side by side.

        Args:
            features: The features of all frames.
            rows: The rows of the task.
            maps: Whether to return feature maps.
            sequences: Whether to keep two frames as a sequence.
        """
        return row_features(features, rows, maps=maps, sequences=sequences)


def annotated_frames(source: Source) -> list[FrameKey]:
    """List the frames that the tasks of a dataset need, ordered by view: one view is one slice.

    These are the ED and ES frames of every recording, and, for tasks with the input "answer", the
    frames that answers belong to.

    Args:
        source: The data.
    """
    keys: list[FrameKey] = []
    for record in sorted(source.records(), key=lambda r: r.view):
        with skippable():
            keys += [(record, at) for at in shown_frames(source, record)]
    return keys


def shown_frames(source: Source, record: Record) -> list[int]:
    """List the frames of one recording that the tasks of its dataset need, in order.

    Args:
        source: The data.
        record: The recording.
    """
    card = source.card
    targets = {
        t.target for t in TASKS.values() if t.dataset == card.name and t.one_view.inputs == "answer"
    }
    frames: set[int] = set()
    # An answer that cannot be read adds no frame here. A task that needs the answer raises when its
    # rows are built; the other tasks are not affected.
    with suppress(LayoutError, CorruptFileError):
        frames |= set(_phases(source, record).values())
    for name in sorted(targets):
        with suppress(LayoutError, CorruptFileError):
            frames |= {at or 0 for at in source.annotated(record, card.target(name))}
    return sorted(frames)


def _phases(source: Source, record: Record) -> dict[int, int]:
    """Map phases (0 ED, 1 ES) to frames; empty if the dataset does not mark phases."""
    if all(t.name != PHASE_TARGET for t in source.card.targets):
        return {}
    return _at(source.answers(record, source.card.target(PHASE_TARGET)))


def _at(answers: Sequence[Answer]) -> dict[int, int]:
    """Map phases (0 ED, 1 ES) to frames."""
    return {int(a.value): int(a.at) for a in answers if a.at is not None}


def _rows_of(
    task: Task, answers: Sequence[Answer], phase_frames: dict[int, int]
) -> list[tuple[list[int], Any]]:
    """List the frames and the answer of each row of one recording."""
    if task.inputs == "answer":
        return [([int(a.at or 0)], a.value) for a in answers]
    if task.inputs == "frame":
        wanted = set(phase_frames.values())
        return [([int(a.at)], a.value) for a in answers if a.at in wanted and a.at is not None]
    if not answers:
        return []
    phases = (0,) if task.inputs == "ED" else (0, 1)
    if any(phase not in phase_frames for phase in phases):
        return []
    return [([phase_frames[phase] for phase in phases], answers[0].value)]


def record_rows(task: Task, source: Source, record: Record) -> list[tuple[list[int], Any]]:
    """List the frames and the answer of each row that a recording has for a task.

    Args:
        task: The task.
        source: The data; the answers are read.
        record: The recording.
    """
    phase_frames = _phases(source, record)
    frames = sorted(phase_frames.values()) if task.inputs == "frame" else None
    answers = source.answers(record, source.card.target(task.target), frames)
    return _rows_of(task, answers, phase_frames)


def _reasons(missing: Sequence[tuple[str, str]]) -> str:
    """Explain why there are no rows: the first reason, and the names that it applies to."""
    if not missing:
        return "no recording of that view"
    reason = missing[0][1]
    names = [name for name, other in missing if other == reason]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{reason} ({', '.join(names[:3])}{more})"


def task_rows(task: Task, source: Source, frames: Sequence[FrameKey]) -> Rows:
    """Build the rows of a task on frames.

    Args:
        task: The task.
        source: The data.
        frames: The embedded frames: (record, frame number).

    Raises:
        LayoutError: The data hold no row at all.
    """
    target = source.card.target(task.target)
    index = {(record.id, at): i for i, (record, at) in enumerate(frames)}
    items: list[str] = []
    chosen: list[tuple[Record, list[int], Any]] = []
    missing: list[tuple[str, str]] = []
    in_views = [record for record in source.records() if record.view in task.views]
    for record in sorted(in_views, key=lambda r: r.view):
        with skippable():
            rows = record_rows(task, source, record)
        if not rows:
            frame = "" if task.inputs == "answer" else " or no ED/ES frame"
            missing.append((record.id, f"no {task.target}{frame} is given"))
        for numbers, value in rows:
            item = f"{record.id}#{'+'.join(map(str, numbers))}"
            undefined = undefined_row(target.kind, value)
            if undefined:
                missing.append((item, undefined))
                continue
            chosen.append((record, numbers, value))
            items.append(item)
    if not chosen:
        raise LayoutError(
            f"{source.root} has no row for {task.code} "
            f"({task.target}, {', '.join(task.views)}): {_reasons(missing)}. "
            f"Run `{source.check_command()}`."
        )
    records = tuple(r.id for r, _, _ in chosen)
    return Rows(
        items=tuple(items),
        patients=np.array([r.patient for r, _, _ in chosen]),
        parts=np.array([r.split for r, _, _ in chosen]),
        frames=np.array([[index[r.id, n] for n in numbers] for r, numbers, _ in chosen]),
        answers=stack(target.kind, [v for _, _, v in chosen]),
        spacing=tuple(source.spacing(r) for r, _, _ in chosen),
        missing=tuple(missing),
        records=records,
        units={
            "": tuple(items),
            "recording": records,
            "study": tuple(str(r.meta.get("study", r.id)) for r, _, _ in chosen),
            "patient": tuple(r.patient for r, _, _ in chosen),
        }[task.unit],
    )


def _picked(whole: Any, rows: Any) -> Any:
    """Select rows of a map, as a view: a map on disk is not read yet."""
    if isinstance(whole, np.ndarray) or (isinstance(whole, StoredMap) and isinstance(rows, slice)):
        return whole[rows]
    return PickedMap(whole, np.arange(len(whole))[rows])


def row_features(
    features: Features, rows: Rows, *, maps: bool = True, sequences: bool = True
) -> Features:
    """Pick the features of each row.

    The pooled features of two frames of a row are laid side by side, without maps and sequences. Wide
    ones of many rows are narrowed (``etab.features.sketch``).

    Args:
        features: Features with one row for each frame.
        rows: The rows of a task.
        maps: Whether to pick feature maps.
        sequences: Whether to pick sequences.
    """
    columns = rows.frames.T
    lo = int(columns[0].min())
    hi = int(columns[0].max()) + 1
    whole = (
        len(columns) == 1 and hi - lo == len(columns[0]) and bool((np.diff(columns[0]) == 1).all())
    )
    pooled: dict[str, Array] = {}
    sketches: dict[str, Mapping[str, float]] = {}
    for key, values in features.pooled.items():
        if is_too_wide(len(columns[0]), values.shape[1] * len(columns)):
            pooled[key], sketches[key] = sketched([(values, c) for c in columns])
        elif whole:  # a view: with many rows, features may be larger than memory
            pooled[key] = values[lo:hi]
        else:
            pooled[key] = np.concatenate([values[c] for c in columns], axis=1)
    picked: tuple[Any, ...] = ()
    if maps and len(columns) == 1:
        picked = tuple(_picked(m, slice(lo, hi) if whole else columns[0]) for m in features.maps)
    steps = (
        {k: v[columns[0]] for k, v in features.sequences.items()}
        if sequences and len(columns) == 1
        else {}
    )
    return Features(
        pooled=pooled,
        maps=picked,
        pca=features.pca,
        sequences=steps,
        frames=len(columns),
        sketches=sketches,
    )
