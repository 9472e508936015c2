"""Several views of a patient or a study as one row, side by side: a block of features for each view.

The rows of one view are those of another input: the ED and ES frame of a recording, the frame of an
answer, the middle clip, or the windows of a sound. Recordings of one view are averaged.

A view that a patient does not have is masked: its columns are ``ABSENT``. Attentive heads leave its
tokens out. A head of pooled features reads the mean of the views that the patient does have in its
place: a linear head then reads this mean, and how each view that is there differs from it. That
mean uses no other patient, and whether a view was recorded is not a feature. Each result says how
many rows lack a view.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from etab.backbones.base import BackboneCard
from etab.datasets.base import Source
from etab.errors import LayoutError
from etab.features.base import Embedding, Input, input_of, register_input
from etab.features.store import FrameFeatures
from etab.features.windows import sound_precision
from etab.tasks.base import Task
from etab.tasks.rows import ABSENT, Rows, stack
from etab.types import Features, FloatArray, IntArray


@register_input("views", "views:answer", "views:clip")
class StudyInput(Input):
    """The views of a patient or a study, each by the rows of another input."""

    def keys(self, task: Task, source: Source) -> Any:
        """List the keys of the input of one view.

        Args:
            task: A task on the dataset.
            source: The source of the recordings.
        """
        return input_of(task.one_view).keys(task.one_view, source)

    def rows(self, task: Task, source: Source, keys: Any) -> Rows:
        """Build a row for each patient or study with at least one view.

        Args:
            task: The task.
            source: The source of the recordings.
            keys: The keys, as ``keys`` lists them.
        """
        self.check(task, source.card)
        return study_rows(task, source, keys)

    def embed(
        self, task: Task, source: Source, keys: Any, card: BackboneCard, embedding: Embedding
    ) -> FrameFeatures:
        """Embed every key as the input of one view does.

        Args:
            task: The task.
            source: The source of the recordings.
            keys: The keys.
            card: The backbone.
            embedding: Where and how to compute.
        """
        return input_of(task.one_view).embed(task.one_view, source, keys, card, embedding)

    def pick(self, features: Features, rows: Rows, *, maps: bool, sequences: bool) -> Features:
        """Lay the pooled features of the views of each row side by side.

        Args:
            features: The features of all keys.
            rows: The rows of the task.
            maps: Not used: a row of several views has no maps.
            sequences: Not used: a row of several views has no sequence.
        """
        return study_features(features, rows)

    def facts(self, task: Task, card: BackboneCard) -> dict[str, Any]:
        """Describe the rows of one view, and that they lie side by side."""
        facts = input_of(task.one_view).facts(task.one_view, card)
        return {**facts, "rows": task.inputs} if "rows" in facts else facts


@register_input("views:recording")
class PlacesInput(StudyInput):
    """The places of auscultation of a patient, each by the windows of its recordings."""

    resolve = staticmethod(sound_precision)


@dataclass(slots=True)
class _Unit:
    """The rows of one patient or study, by view."""

    rows_of: dict[str, list[int]] = field(default_factory=dict)

    @property
    def rows(self) -> list[int]:
        """All rows, view by view."""
        return [row for rows in self.rows_of.values() for row in rows]


def study_rows(task: Task, source: Source, keys: Any) -> Rows:
    """Build the rows of a task on several views.

    Args:
        task: The task; its views give the order of the blocks in a row.
        source: The data.
        keys: What is embedded, as the input of one view lists it.

    Returns:
        The rows, in the order of their units. Views without any recording have no block.

    Raises:
        LayoutError: The data hold no row at all.
    """
    single = input_of(task.one_view).rows(task.one_view, source, keys)
    records = source.records()
    is_named = any("study" in record.meta for record in records)
    if task.unit == "study" and not is_named and task.modality != "sound":
        raise LayoutError(
            f"{task.code} has a row for each study, and {source.root} names no study, so that "
            "every recording would be one. Name the column of studies, or take patients as rows "
            '(per = "patient").'
        )
    view_of = {record.id: record.view for record in records}
    units: dict[str, _Unit] = {}
    for view in task.views:
        for row, record in enumerate(single.records):
            if view_of[record] == view:
                unit = units.setdefault(single.units[row], _Unit())
                unit.rows_of.setdefault(view, []).append(row)
    missing = list(single.missing)
    chosen: list[tuple[str, _Unit]] = []
    for name in sorted(units):
        reason = _contradiction(task, single, units[name])
        if reason:
            missing.append((name, reason))
        else:
            chosen.append((name, units[name]))
    if not chosen:
        raise LayoutError(
            f"{source.root} has no row for {task.code} "
            f"({task.target}, {', '.join(task.views)}): {missing[-1][1]}. "
            f"Run `{source.check_command()}`."
        )
    # The first recording that a unit has stands for the row.
    first = [unit.rows[0] for _, unit in chosen]
    views = tuple(view for view in task.views if any(view in unit.rows_of for _, unit in chosen))
    phases = _columns_of(task, single)
    frames, blocks = _laid_out([unit for _, unit in chosen], views, phases)
    return Rows(
        items=tuple(_item(single, name, unit) for name, unit in chosen),
        patients=single.patients[first],
        parts=single.parts[first],
        frames=frames,
        answers=stack(source.card.target(task.target).kind, [single.answers[row] for row in first]),
        spacing=(None,) * len(chosen),
        missing=tuple(missing),
        records=tuple(single.records[row] for row in first),
        units=tuple(name for name, _ in chosen),
        groups=tuple(single.groups[row] for row in first) if single.groups else (),
        extras={name: values[first] for name, values in single.extras.items()},
        views=views,
        blocks=blocks,
    )


def _contradiction(task: Task, single: Rows, unit: _Unit) -> str:
    """Why the recordings of a unit make no row; "" where they do."""
    answers = sorted({float(single.answers[row]) for row in unit.rows})
    if len(answers) > 1:
        listed = ", ".join(f"{answer:g}" for answer in answers)
        return f"the views differ in {task.target}: {listed}"
    patients = sorted({str(single.patients[row]) for row in unit.rows})
    if len(patients) > 1:
        return f"the recordings are of several patients: {', '.join(patients)}"
    return ""


def _columns_of(task: Task, single: Rows) -> list[list[list[int]]]:
    """The keys of each row of one view, for each phase: (phases, rows, keys)."""
    if task.modality == "sound":
        ranges = [list(range(row[0], row[-1] + 1)) for row in single.frames.tolist()]
        return [ranges]
    return [[[key] for key in column] for column in single.frames.T.tolist()]


def _laid_out(
    units: Sequence[_Unit], views: Sequence[str], phases: Sequence[Sequence[Sequence[int]]]
) -> tuple[IntArray, tuple[int, ...]]:
    """Lay the keys of each unit out in columns, and name the block of each column."""
    parts: list[IntArray] = []
    blocks: list[int] = []
    for phase, keys_of in enumerate(phases):
        for number, view in enumerate(views):
            listed = [
                [k for row in unit.rows_of.get(view, []) for k in keys_of[row]] for unit in units
            ]
            widest = max(len(keys) for keys in listed)
            columns = np.full((len(units), widest), ABSENT)
            for row, keys in enumerate(listed):
                columns[row, : len(keys)] = keys
            parts.append(columns)
            blocks += [phase * len(views) + number] * widest
    return np.concatenate(parts, axis=1), tuple(blocks)


def _item(single: Rows, name: str, unit: _Unit) -> str:
    """Name a row by its unit, and by the frames, or the number of recordings, of each view."""
    parts: list[str] = []
    for view, rows in unit.rows_of.items():
        _, _, frames = single.items[rows[0]].partition("#")
        if len(rows) > 1:
            frames = f"{len(rows)} recordings"
        parts.append(f"{view}:{frames}" if frames else view)
    return f"{name}#{','.join(parts)}"


def study_features(features: Features, rows: Rows) -> Features:
    """Lay the pooled features of the views of each row side by side.

    Args:
        features: Features with one row for each key.
        rows: The rows of a task, as from ``study_rows``.

    Returns:
        Pooled features (n, p v d) of v views and p phases: the ED frames, then the ES frames.
        ``frames`` is p, since a head may add and subtract the phases.
    """
    pooled = {key: _side_by_side(values, rows) for key, values in features.pooled.items()}
    phases = (max(rows.blocks) + 1) // len(rows.views)
    return Features(pooled=pooled, pca=features.pca, frames=phases)


def _side_by_side(values: Any, rows: Rows) -> FloatArray:
    """Average the features (keys, d) of each block, and lay the blocks side by side."""
    n_views = len(rows.views)
    n_blocks = max(rows.blocks) + 1
    means = np.zeros((len(rows.frames), n_blocks, values.shape[1]))
    counts = np.zeros((len(rows.frames), n_blocks, 1), dtype=np.int64)
    for keys, block in zip(rows.frames.T, rows.blocks, strict=True):
        present = np.flatnonzero(keys != ABSENT)
        means[present, block] += np.asarray(values[keys[present]])
        counts[present, block] += 1
    means /= np.maximum(counts, 1)
    phases: list[FloatArray] = []
    for start in range(0, n_blocks, n_views):
        of_views = means[:, start : start + n_views]
        is_present = counts[:, start : start + n_views] > 0
        mean = of_views.sum(axis=1, keepdims=True) / is_present.sum(axis=1, keepdims=True)
        phases.append(np.where(is_present, of_views, mean).reshape(len(means), -1))
    return np.concatenate(phases, axis=1).astype(values.dtype)
