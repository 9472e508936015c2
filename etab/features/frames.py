"""Frozen embeddings, computed once and kept under the digest of everything that decides them.

An entry is a folder: ``pooled.safetensors``, ``map0.npy`` ... (float16, fine to coarse),
``sequence0.npy`` ... (float16, (n, T, d), named in the entry) and ``entry.json`` with the checksum
of each file, checked when it is read; an entry that does not verify is computed again, and said so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from etab.backbones.base import Backbone, BackboneCard
from etab.datasets.base import Source
from etab.errors import CorruptFileError, LayoutError, skippable
from etab.features.base import PHASES, Embedding, Input, register
from etab.features.entries import Batches, Report, embed_batches
from etab.features.lazy import PickedMap, StoredMap
from etab.features.store import (
    EntryKeys,
    FeatureStore,
    FrameFeatures,
    FrameKey,
    ahead,
    resolve_precision,
)
from etab.tasks.base import Task
from etab.tasks.menu import TASKS
from etab.tasks.rows import Rows, stack, undefined_row
from etab.types import Answer, Array, Features, Kind, Record

VERSION = 2


class Over(Protocol):
    """Rows of several frames each (``etab.features.clips``): how they are read and embedded."""

    def __len__(self) -> int: ...

    @property
    def settings(self) -> Mapping[str, Any]:
        """Facts that enter the key of the features, beside the frames."""
        ...

    def batches(self, source: Source, size: int, n: int) -> Iterator[Array]:
        """uint8 batches of about ``n`` frames."""
        ...

    def over(self, backbone: Backbone, n: int) -> Backbone:
        """The backbone of rows that takes these batches."""
        ...


def resize(frame: Array, size: int) -> Array:
    """Resize a uint8 frame to (size, size), ignoring its aspect ratio.

    Pixels are averaged by area where the frame shrinks, and interpolated linearly otherwise.
    """
    import cv2

    if frame.shape == (size, size):
        return frame
    shrink = frame.shape[0] >= size and frame.shape[1] >= size
    return np.asarray(
        cv2.resize(
            frame, (size, size), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
        )
    )


def _batches(source: Source, frames: Sequence[FrameKey], size: int, n: int) -> Iterator[Array]:
    """uint8 batches (n, size, size), the next one read while the last is embedded."""

    def read(start: int) -> Array:
        chosen = frames[start : start + n]
        with skippable():
            return np.stack([resize(source.frames(record, [at])[0], size) for record, at in chosen])

    return ahead(list(range(0, len(frames), n)), read)


def _settings(card: BackboneCard, precision: str) -> dict[str, Any]:
    return {
        "features_version": VERSION,
        "backbone_version": card.version,
        "backbone": card.name,
        "size": card.size,
        "mean": list(card.mean),
        "std": list(card.std),
        "interpolation": "cv2 area/linear",
        "precision": precision,
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
    progress: Report | None = None,
    maps: bool = True,
    data_digest: str | None = None,
    over: Over | None = None,
) -> FrameFeatures:
    """Embed frames, or read them back; with ``over``, what is kept is a row for several of them.

    Raises WeightsError, CorruptFileError, StorageError.
    """
    kind = resolve_precision(precision, card, device)
    facts = _settings(card, kind) | dict({} if over is None else over.settings)
    n = batch_size or (32 if device == "cpu" else 128)

    def compute(backbone: Any, folder: Path | None) -> Batches:
        prepared = backbone.to(device, kind)
        if over is None:
            embed = prepared
            batches = _batches(source, frames, card.size, n)
            rows = len(frames)
        else:
            embed = over.over(prepared, n)
            rows = len(over)
            batches = over.batches(source, card.size, n)
        return embed_batches(
            embed, batches, rows, folder, device=device, progress=progress, maps=maps
        )

    keys = EntryKeys((maps,), tuple(f"{record.id}\0{at}\0" for record, at in frames))
    digest = data_digest or source.digest()
    return FeatureStore(cache).get(card, facts, keys, compute, data_digest=digest)


@register("frame", "ED", "ED+ES", "answer")
class Frames(Input):
    """Annotated frames: one, or the ED and the ES frame side by side, for each row."""

    def keys(self, task: Task, source: Source) -> list[FrameKey]:
        """Every frame that the tasks of the dataset need, ordered by view."""
        keys = annotated_frames(source)
        if not keys:
            raise LayoutError(
                f"{source.root} gives no frame for {task.code}: no recording has an ED, an ES or another annotated "
                f"frame. Run `etab data check {source.card.name}`."
            )
        return keys

    def rows(self, task: Task, source: Source, keys: Sequence[FrameKey]) -> Rows:
        """A row for each frame, answer or recording, as ``task.inputs`` names it."""
        self.check(task, source.card)
        return task_rows(task, source, keys)

    def embed(
        self,
        task: Task,
        source: Source,
        keys: Sequence[FrameKey],
        card: BackboneCard,
        how: Embedding,
    ) -> FrameFeatures:
        """Features of every frame; feature maps too where the dataset has masks."""
        has_masks = any(target.kind is Kind.MASK for target in source.card.targets)
        return frame_features(
            source,
            keys,
            card,
            cache=how.cache,
            device=how.device,
            precision=how.precision,
            batch_size=how.batch_size,
            progress=how.progress,
            maps=has_masks,
            data_digest=how.data_digest,
        )

    def pick(self, features: Features, rows: Rows, *, maps: bool, sequences: bool) -> Features:
        """The frame of each row; of two frames, their pooled features side by side."""
        return row_features(features, rows, maps=maps, sequences=sequences)


def annotated_frames(source: Source) -> list[FrameKey]:
    """List the frames that the tasks of a dataset need, ordered by view: one view is one slice.

    These are the ED and ES frames of every recording, and, for tasks with the input "answer", the
    frames that answers belong to.
    """
    keys: list[FrameKey] = []
    for record in sorted(source.records(), key=lambda r: r.view):
        with skippable():
            keys += [(record, at) for at in shown_frames(source, record)]
    return keys


def shown_frames(source: Source, record: Record) -> list[int]:
    """List the frames of one recording that the tasks of its dataset need, in order."""
    card = source.card
    targets = {t.target for t in TASKS.values() if t.dataset == card.name and t.inputs == "answer"}
    frames: set[int] = set()
    # Where an answer cannot be read no frame is shown for it: a task that needs it says so when its
    # rows are built, and the others do without it.
    with suppress(LayoutError, CorruptFileError):
        frames |= set(_phases(source, record).values())
    for name in sorted(targets):
        with suppress(LayoutError, CorruptFileError):
            frames |= {at or 0 for at in source.annotated(record, card.target(name))}
    return sorted(frames)


def _phases(source: Source, record: Record) -> dict[int, int]:
    """Phase value (0 ED, 1 ES) to frame; empty where the dataset knows no phases."""
    if all(t.name != PHASES for t in source.card.targets):
        return {}
    return _at(source.answers(record, source.card.target(PHASES)))


def _at(answers: Sequence[Answer]) -> dict[int, int]:
    """Phase value (0 ED, 1 ES) to frame."""
    return {int(a.value): int(a.at) for a in answers if a.at is not None}


def _rows_of(
    task: Task, answers: Sequence[Answer], at: dict[int, int]
) -> list[tuple[list[int], Any]]:
    """Frames and answer of each row that this recording gives."""
    if task.inputs == "answer":
        return [([int(a.at or 0)], a.value) for a in answers]
    if task.inputs == "frame":
        wanted = set(at.values())
        return [([int(a.at)], a.value) for a in answers if a.at in wanted and a.at is not None]
    if not answers:
        return []
    phases = (0,) if task.inputs == "ED" else (0, 1)
    return [([at[p] for p in phases], answers[0].value)] if all(p in at for p in phases) else []


def record_rows(task: Task, source: Source, record: Record) -> list[tuple[list[int], Any]]:
    """Frames and answer of each row that a recording gives for a task; reads the answers."""
    at_phase = _phases(source, record)
    at = sorted(at_phase.values()) if task.inputs == "frame" else None
    return _rows_of(task, source.answers(record, source.card.target(task.target), at), at_phase)


def _reasons(missing: Sequence[tuple[str, str]]) -> str:
    """Why there are no rows: the first reason, and which recordings or rows have it."""
    if not missing:
        return "no recording of that view"
    reason = missing[0][1]
    names = [name for name, other in missing if other == reason]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{reason} ({', '.join(names[:3])}{more})"


def task_rows(task: Task, source: Source, frames: Sequence[FrameKey]) -> Rows:
    """Build the rows of a task; raises LayoutError when the data hold none at all."""
    target = source.card.target(task.target)
    place = {(record.id, at): i for i, (record, at) in enumerate(frames)}
    items: list[str] = []
    kept: list[tuple[Record, list[int], Any]] = []
    missing: list[tuple[str, str]] = []
    for record in sorted(
        (r for r in source.records() if r.view in task.views), key=lambda r: r.view
    ):
        with skippable():
            rows = record_rows(task, source, record)
        if not rows:
            frame = "" if task.inputs == "answer" else " or no ED/ES frame"
            missing.append((record.id, f"no {task.target}{frame} is given"))
        for shown, value in rows:
            item = f"{record.id}#{'+'.join(map(str, shown))}"
            undefined = undefined_row(target.kind, value)
            if undefined:
                missing.append((item, undefined))
                continue
            kept.append((record, shown, value))
            items.append(item)
    if not kept:
        raise LayoutError(
            f"{source.root} gives not one row for {task.code} ({task.target}, {', '.join(task.views)}): "
            f"{_reasons(missing)}. Run `etab data check {source.card.name}`."
        )
    records = tuple(r.id for r, _, _ in kept)
    return Rows(
        items=tuple(items),
        patients=np.array([r.patient for r, _, _ in kept]),
        parts=np.array([r.split for r, _, _ in kept]),
        frames=np.array([[place[r.id, a] for a in at] for r, at, _ in kept]),
        answers=stack(target.kind, [v for _, _, v in kept]),
        spacing=tuple(source.spacing(r) for r, _, _ in kept),
        missing=tuple(missing),
        records=records,
        units={
            "": tuple(items),
            "recording": records,
            "study": tuple(str(r.meta.get("study", r.id)) for r, _, _ in kept),
            "patient": tuple(r.patient for r, _, _ in kept),
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
    """Pick the features of each row, maps and sequences too unless told not to.

    Two frames of a row are laid side by side, without maps and sequences.
    """
    columns = rows.frames.T
    lo = int(columns[0].min())
    hi = int(columns[0].max()) + 1
    whole = (
        len(columns) == 1 and hi - lo == len(columns[0]) and bool((np.diff(columns[0]) == 1).all())
    )
    if whole:  # a view: with many rows, features may be larger than memory
        pooled = {k: v[lo:hi] for k, v in features.pooled.items()}
    else:
        pooled = {
            k: np.concatenate([v[c] for c in columns], axis=1) for k, v in features.pooled.items()
        }
    shown: tuple[Any, ...] = ()
    if maps and len(columns) == 1:
        shown = tuple(_picked(m, slice(lo, hi) if whole else columns[0]) for m in features.maps)
    steps = (
        {k: v[columns[0]] for k, v in features.sequences.items()}
        if sequences and len(columns) == 1
        else {}
    )
    return Features(
        pooled=pooled, maps=shown, pca=features.pca, sequences=steps, frames=len(columns)
    )
