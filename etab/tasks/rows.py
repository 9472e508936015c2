"""The rows of a task: items, patients and reference values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from etab.types import Array, FloatArray, Kind

_NAMED = 10

ABSENT = -1
"""Index in ``Rows.frames`` of what a row does not have, such as a view of a patient."""

EMPTY_MASK = "the authors' mask is empty, so that no metric of masks exists"
"""Why a row is left out of a task on masks."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The n rows of one task on one source, in the order of the source.

    Attributes:
        items: Id of each row ("patient0001_4CH#0").
        patients: (n,) patient of each row.
        parts: (n,) part of the authors' split that the patient belongs to.
        frames: (n, k) indexes into the list of annotated frames; k is 2 for "ED+ES", else 1. With
            ``views``, indexes of everything that is embedded of each view, ``ABSENT`` where there
            is no more.
        answers: (n,) numbers, or a list of n boolean masks.
        spacing: (row, column) pixel spacing in mm of each row, or None where it is unknown.
        missing: (id, reason) of each recording without a row.
        records: Recording of each row.
        units: The unit that each row is scored with: the row itself, its recording, its study or
            its patient (the task's ``unit``).
        places: Auscultation place of each row; empty for data without places.
        groups: Database of each row; empty for data without databases.
        extras: Further columns (n,) that the metrics of the task need, by name.
        views: The v views that a row holds side by side; empty where it holds one recording.
        blocks: (k,) the block of each column of ``frames``, from 0 to v times the phases: of one
            phase, the blocks of all views follow one another. Empty without ``views``.
    """

    items: tuple[str, ...]
    patients: Array
    parts: Array
    frames: Array
    answers: Any
    spacing: tuple[tuple[float, float] | None, ...]
    missing: tuple[tuple[str, str], ...]
    records: tuple[str, ...]
    units: tuple[str, ...]
    places: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    extras: Mapping[str, FloatArray] = field(default_factory=dict)
    views: tuple[str, ...] = ()
    blocks: tuple[int, ...] = ()

    @property
    def n_patients(self) -> int:
        """The number of different patients."""
        return len(set(self.patients.tolist()))


def undefined_row(kind: Kind, answer: Any) -> str:
    """Explain why a row cannot be scored.

    A structure may be absent from one frame. Overlap and surface distances are undefined for an
    empty reference mask, so the row is left out.

    Args:
        kind: Kind of the target.
        answer: Reference value of the row; a boolean mask (h, w) if ``kind`` is a mask.

    Returns:
        The reason, or "" if the row can be scored.
    """
    if kind is Kind.MASK and not np.any(answer):
        return EMPTY_MASK
    return ""


def undefined_note(code: str, missing: Iterable[tuple[str, str]]) -> str:
    """List the rows of a task that are left out because no metric is defined for them.

    Args:
        code: Code of the task.
        missing: (id, reason) of each recording or row that was left out, for any reason.

    Returns:
        One sentence with the first ids, or "" if no row is left out for this reason.
    """
    names = [name for name, reason in missing if reason == EMPTY_MASK]
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    plural = "row is" if len(names) == 1 else "rows are"
    return (
        f"{code}: {len(names)} {plural} left out, {EMPTY_MASK}: {', '.join(names[:_NAMED])}{more}."
    )


def absent_note(code: str, rows: Rows) -> str:
    """Count the rows of a task that lack a view.

    Args:
        code: Code of the task.
        rows: The rows of the task.

    Returns:
        Two sentences, or "" if no row lacks a view.
    """
    if not rows.views:
        return ""
    blocks = np.asarray(rows.blocks)
    is_absent = np.stack(
        [(rows.frames[:, blocks == i] == ABSENT).all(axis=1) for i in range(len(rows.views))]
    )
    lacking = int(is_absent.any(axis=0).sum())
    if not lacking:
        return ""
    counts = zip(rows.views, is_absent.sum(axis=1).tolist(), strict=True)
    listed = ", ".join(f"{view} {count}" for view, count in counts if count)
    return (
        f"{code}: {lacking} of {len(rows.items)} rows lack a view ({listed}). Attentive heads mask "
        "it; heads on pooled features read the mean of the views that the row has in its place."
    )


def stack(kind: Kind, values: list[Any]) -> Any:
    """Convert reference values to the form that ``Rows.answers`` has.

    Args:
        kind: Kind of the target.
        values: One reference value a row.

    Returns:
        A list of boolean masks, a float64 array (n,) of values, or an int64 array (n,) of classes.
    """
    if kind is Kind.MASK:
        return [np.asarray(v, dtype=bool) for v in values]
    return np.asarray(values, dtype=np.float64 if kind is Kind.VALUE else np.int64)
