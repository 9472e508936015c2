"""The rows of a task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from etab.types import Array, FloatArray, Kind

_NAMED = 10

EMPTY_MASK = "the authors' mask is empty, so that no metric of masks exists"
"""Why a row is left out of a task on masks."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one task on one source, in the source's order.

    items     one id a row ("patient0001_4CH#0")
    patients  (n,) whose row it is
    parts     (n,) the authors' split of the patient
    frames    (n, k) indexes into the list of annotated frames: k = 2 for "ED+ES"
    answers   (n,) numbers, or n boolean masks
    spacing   (row, column) mm for each row, or None
    missing   (id, reason) of recordings that gave no row
    records   the recording of each row
    units     what each row answers for: the row itself, its recording, its study or its patient
              (the task's ``unit``)
    places    where each row was recorded (auscultation), groups its database: empty where there are
              no such things
    extras    further facts that the task's metrics need of each row, by the name of their column
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

    @property
    def n_patients(self) -> int:
        """Count the patients."""
        return len(set(self.patients.tolist()))


def undefined_row(kind: Kind, answer: Any) -> str:
    """Why no metric exists for a row with this true answer; "" for a row that can be scored.

    A structure may be absent from one picture. Overlap and distances do not exist there, and the
    row is left out.
    """
    if kind is Kind.MASK and not np.any(answer):
        return EMPTY_MASK
    return ""


def undefined_note(code: str, missing: Iterable[tuple[str, str]]) -> str:
    """A sentence that names the rows of a task left out because no metric exists for them; "" where
    there are none.
    """
    names = [name for name, reason in missing if reason == EMPTY_MASK]
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    plural = "row is" if len(names) == 1 else "rows are"
    return (
        f"{code}: {len(names)} {plural} left out, {EMPTY_MASK}: {', '.join(names[:_NAMED])}{more}."
    )


def stack(kind: Kind, values: list[Any]) -> Any:
    """Answers as ``Rows`` holds them: boolean masks in a list, numbers in an array."""
    if kind is Kind.MASK:
        return [np.asarray(v, dtype=bool) for v in values]
    return np.asarray(values, dtype=np.float64 if kind is Kind.VALUE else np.int64)
