"""What a run shows of a source: frames of pictures, or windows of sound. Runs ask here and need not know which."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from etab.backbones.base import BackboneCard
from etab.backbones.identity import identity
from etab.datasets.base import SoundSource, Source
from etab.features.clips import Clips, WholeClips
from etab.features.frames import annotated_frames, frame_features, row_features, task_rows
from etab.features.recordings import VERSION as SERIES_VERSION
from etab.features.recordings import recording_series
from etab.features.store import FrameFeatures, Report, resolve_precision
from etab.features.windows import (
    HOP,
    SHORTEST,
    WINDOW,
    sound_precision,
    sound_row_features,
    sound_task_rows,
    window_features,
    windows,
)
from etab.heads.base import Head
from etab.tasks.base import Task
from etab.tasks.rows import Rows
from etab.types import Features, Kind

VERSION = 1


def shown(source: Source) -> list[Any]:
    """Every frame, or every window, that the tasks on a source show."""
    return (
        list(windows(source)) if isinstance(source, SoundSource) else list(annotated_frames(source))
    )


def rows_of(task: Task, source: Source, keys: Sequence[Any]) -> Rows:
    """Rows of a task; raises LayoutError when the data hold none at all."""
    if isinstance(source, SoundSource):
        return sound_task_rows(task, source, keys)
    return task_rows(task, source, keys)


def embed(
    source: Source,
    keys: Sequence[Any],
    card: BackboneCard,
    *,
    cache: Path | None,
    device: str,
    precision: str,
    batch_size: int | None,
    progress: Report | None,
    data_digest: str,
    over: Clips | None = None,
    series: bool = False,
) -> FrameFeatures:
    """Features of frames, of clips (``over`` the frames), of windows, or ``series`` of recordings, computed or read back."""
    if series:
        return recording_series(
            source,
            keys,
            card,
            cache=cache,
            device=device,
            precision=precision,
            batch_size=batch_size,
            progress=progress,
            data_digest=data_digest,
        )
    if card.modality == "record":
        return _described(source, keys, card, data_digest)
    if isinstance(source, SoundSource):
        return window_features(
            source,
            keys,
            card,
            cache=cache,
            device=device,
            precision=precision,
            batch_size=batch_size,
            progress=progress,
            data_digest=data_digest,
        )
    shown = (
        WholeClips.of(source, over.clips, card.clip, over.sampling) if over and card.clip else over
    )
    keys = shown.frames if shown else keys
    has_masks = over is None and any(target.kind is Kind.MASK for target in source.card.targets)
    return frame_features(
        source,
        keys,
        card,
        cache=cache,
        device=device,
        precision=precision,
        batch_size=batch_size,
        progress=progress,
        maps=has_masks,
        over=shown,
        data_digest=data_digest,
    )


def _described(source: Source, keys: Sequence[Any], card: BackboneCard, data: str) -> FrameFeatures:
    """Features of controls that read records: cheap, so never cached."""
    started = time.perf_counter()
    backbone: Any = card.load()
    facts = {
        "inputs_version": VERSION,
        "backbone": card.name,
        "backbone_version": card.version,
        "precision": "fp32",
    }
    places = [(record.id, start, length) for record, start, length in keys]
    weights = identity(card, backbone)
    key = hashlib.sha256(
        json.dumps([facts, weights, data, places], sort_keys=True).encode()
    ).hexdigest()
    found = backbone.describe(source, keys)
    return FrameFeatures(found, key, weights, data, facts, False, time.perf_counter() - started)


def pick(features: Features, rows: Rows, task: Task, head: Head) -> Features:
    """Features of each row of a task."""
    if is_sound(task):
        return sound_row_features(features, rows)
    return row_features(features, rows, maps=head.needs_maps, sequences=head.needs_sequences)


def is_sound(task: Task) -> bool:
    """Whether a task hears: its rows are windows or recordings of sound."""
    return task.inputs in ("window", "recording")


def layered(task: Task, card: BackboneCard) -> bool:
    """Whether a cell needs the backbone's layers over time (``etab.features.recordings``): states, asked of any but a series itself."""
    return task.kind is Kind.STATES and card.series is None and card.over_time


def precision_of(precision: str, card: BackboneCard, device: str, task: Task) -> str:
    """What "auto" means for this backbone on this machine."""
    choose = sound_precision if is_sound(task) and card.modality == "sound" else resolve_precision
    return choose(precision, card, device)


def settings_of(task: Task, card: BackboneCard) -> dict[str, Any]:
    """What of a task's rows decides a score: windows, how rows are put together, the version of layers over time."""
    if not is_sound(task):
        return {} if not task.aggregate else {"aggregate": task.aggregate}
    more = {"series_version": SERIES_VERSION} if layered(task, card) else {}
    return {
        **more,
        "rows": task.inputs,
        "window": [WINDOW, HOP, SHORTEST],
        "aggregate": task.aggregate,
    }
