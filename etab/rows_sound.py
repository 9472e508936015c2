"""From a task and a source of heart sounds to rows: which windows a row hears, what is said of it, whose it is.

A window lasts WINDOW s; the next begins HOP s later, and what remains at the end has its own where it is half a window
or more (it then overlaps the one before). A row is a window, or a recording: the mean of its windows' features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from etab.datasets.base import SoundSource
from etab.errors import LayoutError
from etab.rows import Rows
from etab.tasks import Task
from etab.types import Array, Features, FloatArray, Kind, Record

WINDOW, HOP = 5.0, 5.0
SHORTEST = 2.0
WindowKey = tuple[Record, float, float]


def windows(source: SoundSource) -> list[WindowKey]:
    """Every window of every recording that is long enough to hear a beat: (record, start s, length s), in order."""
    keys: list[WindowKey] = []
    for record in sorted(source.records(), key=lambda r: (r.view, r.id)):
        seconds = source.n_samples(record) / float(record.fps or 1)
        if seconds >= SHORTEST:
            keys += [(record, start, WINDOW) for start in starts(seconds)]
    return keys


def starts(seconds: float) -> list[float]:
    """Where the windows of a recording begin, in s; a recording shorter than a window has one, which is repeated."""
    n = max(1, int((seconds - WINDOW + 1e-9) // HOP) + 1)
    found = [HOP * i for i in range(n)]
    rest = seconds - (found[-1] + WINDOW)
    return [*found, seconds - WINDOW] if rest >= WINDOW / 2 else found


def sound_task_rows(task: Task, source: SoundSource, keys: Sequence[WindowKey]) -> Rows:
    """Build the rows of a task: a row a window ("window") or a recording ("recording"), as ``task.inputs`` says.

    ``frames`` are the first and the last window of a row. Raises LayoutError when the data hold none at all.
    """
    target = source.card.target(task.target)
    place: dict[str, tuple[int, int]] = {}
    for i, (record, _, _) in enumerate(keys):
        place[record.id] = (place.get(record.id, (i, i))[0], i)
    kept: list[tuple[Record, str, tuple[int, int], Any]] = []
    missing: list[tuple[str, str]] = []
    for record in sorted(
        (r for r in source.records() if r.view in task.views), key=lambda r: (r.view, r.id)
    ):
        found = source.answers(record, target)
        value = found[0].value if found else None
        if (
            record.id not in place
            or value is None
            or (target.kind is Kind.STATES and not _has_sounds(value))
        ):
            short = record.id not in place
            missing.append(
                (
                    record.id,
                    f"shorter than {SHORTEST:g} s" if short else f"no {task.target} is given",
                )
            )
            continue
        first, last = place[record.id]
        if task.inputs == "window":
            kept += [
                (record, f"{record.id}#{keys[i][1]:g}", (i, i), value)
                for i in range(first, last + 1)
            ]
        else:
            kept.append((record, record.id, (first, last), value))
    if not kept:
        raise LayoutError(
            f"{source.root} gives not one row for {task.code} ({task.target}, {', '.join(task.views)}): "
            f"{missing[0][1] if missing else 'no recording of that place'}. Run `etab data check {source.card.name}`."
        )
    return _rows(task, target.kind, kept, missing)


def _rows(
    task: Task,
    kind: Kind,
    kept: Sequence[tuple[Record, str, tuple[int, int], Any]],
    missing: list[tuple[str, str]],
) -> Rows:
    records = [r for r, _, _, _ in kept]
    values = [v for _, _, _, v in kept]
    items, names = tuple(item for _, item, _, _ in kept), tuple(r.id for r in records)
    groups = (
        tuple(str(r.meta["database"]) for r in records)
        if all("database" in r.meta for r in records)
        else ()
    )
    return Rows(
        items=items,
        patients=np.array([r.patient for r in records]),
        parts=np.array([r.split for r in records]),
        frames=np.array([at for _, _, at, _ in kept]),
        answers=values if kind is Kind.STATES else _numbers(kind, values),
        spacing=(None,) * len(kept),
        missing=tuple(missing),
        records=names,
        units={
            "": items,
            "recording": names,
            "patient": tuple(str(r.meta.get("id", r.patient)) for r in records),
        }[task.unit],
        places=tuple(r.view for r in records),
        groups=groups,
        extras=_extras(records, groups),
    )


def _numbers(kind: Kind, values: list[Any]) -> Array:
    return np.asarray(values, dtype=np.float64 if kind is Kind.VALUE else np.int64)


def _has_sounds(states: Array) -> bool:
    """Whether any S1 or S2 is annotated: without one there is nothing to find."""
    return bool(np.isin(states, (0, 2)).any())


def _extras(records: Sequence[Record], groups: Sequence[str]) -> dict[str, FloatArray]:
    """Database, signal quality and outcome of each row, where every row has them."""
    out: dict[str, FloatArray] = {}
    if groups:
        names = sorted(set(groups))
        out["group"] = np.array([names.index(g) for g in groups], dtype=np.float64)
    if all("good" in r.meta for r in records):
        out["clean"] = np.array([float(bool(r.meta["good"])) for r in records])
    if all("outcome" in r.meta for r in records):
        out["outcome"] = np.array([float(r.meta["outcome"] == "Abnormal") for r in records])
    return out


def sound_row_features(features: Features, rows: Rows) -> Features:
    """Features of each row: those of its windows, averaged; series of whole recordings are picked by recording."""
    first, last = rows.frames[:, 0], rows.frames[:, -1]
    pooled = {
        name: _averaged(np.asarray(values), first, last) for name, values in features.pooled.items()
    }
    series = tuple(_picked(found, rows.records) for found in features.maps)
    layers = {name: _picked(found, rows.records) for name, found in features.sequences.items()}
    return Features(pooled=pooled, maps=series, pca=features.pca, sequences=layers)


def _averaged(values: Array, first: Array, last: Array) -> Array:
    if (first == last).all():
        return values[first]
    return np.stack([values[a : b + 1].mean(axis=0) for a, b in zip(first, last, strict=True)])


def _picked(series: Any, records: Sequence[str]) -> Array:
    """An object array of the series (k, d) of each row's recording."""
    out = np.empty(len(records), dtype=object)
    for i, name in enumerate(records):
        out[i] = series[name]
    return out
