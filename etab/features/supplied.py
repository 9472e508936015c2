"""Vectors made elsewhere as features: the keys of frames, clips and windows, and their coverage."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from etab.backbones.base import BackboneCard
from etab.backbones.own.vectors import SuppliedVectors, named
from etab.datasets.base import Source
from etab.datasets.own.registered import data_option
from etab.errors import IncompatibleError
from etab.features.store import FrameFeatures
from etab.storage.text import counted
from etab.types import Array, Features

VERSION = 1
_NO_ROW = -1


def vector_keys(source: Source, keys: Any) -> list[str]:
    """Name what is embedded, as files of vectors do.

    Args:
        source: The data.
        keys: What the input of a task embeds: frames, clips or windows.

    Returns:
        One key for each: "<dataset>/<recording>#<frame>", "...#<first>-<last>x<frames>" of a clip,
        or "...#<start>+<length>" of a window, in seconds.

    Raises:
        IncompatibleError: The id of a recording holds a #.
    """
    items: Sequence[Any] = getattr(keys, "clips", keys)
    marked = sorted({item[0].id for item in items if "#" in item[0].id})
    if marked:
        raise IncompatibleError(
            f"The recording {marked[0]!r} of {source.card.name} has a # in its id, which separates "
            "frames from recordings in keys of vectors. Give the table a column id without #."
        )
    return [f"{source.card.name}/{item[0].id}#{_moment(item)}" for item in items]


def _moment(item: Sequence[Any]) -> str:
    if len(item) == 3:  # a window: (recording, start, length)
        return f"{float(item[1]):g}+{float(item[2]):g}"
    if isinstance(item[1], tuple):  # a clip: (recording, frame numbers)
        frames = item[1]
        return f"{frames[0]}-{frames[-1]}x{len(frames)}"
    return str(item[1])


def supplied_features(
    source: Source, keys: Any, read: Sequence[int], card: BackboneCard, data_digest: str
) -> FrameFeatures:
    """Look up the vectors of what some tasks of one family read.

    Args:
        source: The data.
        keys: What the input of the tasks embeds.
        read: Indexes of the keys that the tasks read.
        card: A card of ``etab.backbones.own.vectors``.
        data_digest: sha256 of the data.

    Returns:
        The features, one row for each key; NaN where the file has no vector, which no task reads.

    Raises:
        IncompatibleError: Keys that are read are missing from the file, or the file holds keys that the dataset
            does not have.
        CorruptFileError: As ``read_vectors``.
    """
    started = time.perf_counter()
    vectors: Any = card.load()
    wanted = vector_keys(source, keys)
    rows = _rows(vectors, wanted, read, source)
    pooled = {f"{layer}/vector": _looked_up(x, rows) for layer, x in vectors.layers.items()}
    facts = {"vectors_version": VERSION, "backbone": card.name, "precision": "fp32"}
    weights = vectors.digest()
    listed = json.dumps([facts, weights, data_digest, wanted], sort_keys=True)
    key = hashlib.sha256(listed.encode()).hexdigest()
    seconds = time.perf_counter() - started
    return FrameFeatures(Features(pooled), key, weights, data_digest, facts, False, seconds)


def _looked_up(values: Array, rows: Sequence[int]) -> Array:
    """Copy rows of an array; NaN for those that it does not have."""
    found = values[rows]
    found[[row == _NO_ROW for row in rows]] = np.nan
    return found


def _rows(
    vectors: SuppliedVectors, wanted: Sequence[str], read: Sequence[int], source: Source
) -> list[int]:
    """Find the row of each key; a file keyed by recordings has one row for all its moments."""
    # A file may hold several datasets, each in its own form.
    prefix = f"{source.card.name}/"
    by_recording = not any("#" in key for key in vectors.rows if key.startswith(prefix))
    names = [key.partition("#")[0] for key in wanted] if by_recording else list(wanted)
    needed = list(dict.fromkeys(names[i] for i in read))
    missing = [name for name in needed if name not in vectors.rows]
    if missing:
        option = data_option(type(source))
        raise IncompatibleError(
            f"{vectors.file} lacks {len(missing)} of {len(needed)} keys of "
            f"{source.card.name}: {named(missing)}. Its keys are like "
            f"{named(list(vectors.rows)[:1]) or 'none: it has no rows'}. `etab vectors keys {option} --out "
            "keys.csv` lists what is needed."
        )
    extra = _unknown(vectors, wanted, source)
    if extra:
        raise IncompatibleError(
            f"{vectors.file} holds {counted(len(extra), 'key')} that {source.card.name} does not "
            f"have: {named(extra)}. Remove them, or check how the recordings are named."
        )
    return [vectors.rows.get(name, _NO_ROW) for name in names]


def _unknown(vectors: SuppliedVectors, wanted: Sequence[str], source: Source) -> list[str]:
    """List the keys of a dataset that are of no recording, or of no moment of the same form."""
    dataset = source.card.name
    if source.faults is not None:  # recordings were left out (skip_bad): their keys may stay
        return []
    recordings = {f"{dataset}/{record.id}" for record in source.records()}
    known = set(wanted)
    form = _form(wanted[0])
    extra = []
    for key in vectors.rows:
        owner, slash, _ = key.partition("/")
        if owner != dataset:
            # Keys of other datasets may be there, and those of nobody may not.
            extra += [] if slash and owner.casefold() != dataset else [key]
            continue
        recording, _, moment = key.partition("#")
        same_form = bool(moment) and form != "clip" and _form(key) == form
        if recording not in recordings or (same_form and key not in known):
            extra.append(key)
    return extra


def _form(key: str) -> str:
    """The kind of input that a key names: "frame", "clip" or "window"."""
    moment = key.partition("#")[2]
    if "+" in moment:
        return "window"
    return "clip" if "x" in moment else "frame"
