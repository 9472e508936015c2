"""Remarks on the labels of a table that are not errors: rare classes, mixed views."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from etab.datasets.own.description import Description
from etab.datasets.own.labels import Label
from etab.datasets.own.rows import TableRow
from etab.storage.text import counted
from etab.types import Kind

_PATIENTS_OF_CLASS = 2
# The number of values from which a pattern among them is reported.
_LEAST_VALUES = 3
# Distances between the quarters of the values, beyond which a value is strange.
_FAR = 10
# Numbers below 0 that tables write for a value that is missing.
_CODES = (-1, -9, -99, -999, -9999)
_NAMED = 3
# A percentage above which others between 0 and 1 may be fractions.
_SURELY_PERCENT = 10

INPUTS_OF_VIDEOS = ("clip", "clips", "beats", "views:clip")
"""Inputs of tasks that need sequences."""

INPUTS_OF_FRAMES = ("ED", "ED+ES", "frame", "views")
"""Inputs of tasks that need frames of end-diastole and end-systole, or with a label."""

INPUTS_OF_SEVERAL_VIEWS = ("views", "views:answer", "views:clip", "views:recording")
"""Inputs of tasks whose rows hold a recording of each view."""


def label_remarks(description: Description, rows: Sequence[TableRow]) -> list[str]:
    """Describe what makes a label hard to score, though every row of it fits.

    Args:
        description: The description.
        rows: The rows that fit.

    Returns:
        A sentence for each class with fewer than two patients, for each label without any value,
        with blank cells, with one value alone or with fractions in place of percentages, and for
        each label whose recordings are of several views; and one where some recordings have a part
        of the split and others none.
    """
    remarks = _split_remarks(rows)
    for label in description.labels:
        if label.kind in (Kind.MASK, Kind.STATES):
            labelled = [row for row in rows if f"{label.name}/0" in row.files]
        else:
            labelled = [row for row in rows if label.name in row.values]
        if not labelled:
            remarks.append(f"{label.name}: no row has a value.")
            continue
        remarks += _without_label(label, labelled, rows)
        if label.kind in (Kind.BINARY, Kind.CLASSES):
            remarks += _rare_classes(label, labelled)
        if label.kind is Kind.VALUE:
            remarks += _odd_values(label, [row.values[label.name] for row in labelled])
        views = Counter(row.view for row in labelled)
        is_mixed = label.name != "view" and label.input not in INPUTS_OF_SEVERAL_VIEWS
        if len(views) > 1 and is_mixed:
            counts = ", ".join(f"{view} {n}" for view, n in views.most_common())
            remarks.append(f"{label.name}: recordings of several views are one task ({counts}).")
    return remarks


def _split_remarks(rows: Sequence[TableRow]) -> list[str]:
    """A sentence on a split that leaves recordings out, so that it is not run."""
    blank = sum(not row.split for row in rows)
    if not 0 < blank < len(rows):
        return []
    return [
        f"split: {blank} of {len(rows)} recordings have no part, so that the table is not run by "
        "its split (official). Give each recording a part, or remove its row."
    ]


def _without_label(
    label: Label, labelled: Sequence[TableRow], rows: Sequence[TableRow]
) -> list[str]:
    """A sentence on recordings without the label, whose views have it."""
    wanted = sum(not label.views or row.view in label.views for row in rows)
    if len(labelled) == wanted:
        return []
    return [
        f"{label.name}: no value in {wanted - len(labelled)} of {wanted} recordings, which are not "
        "in its task."
    ]


def _rare_classes(label: Label, labelled: Sequence[TableRow]) -> list[str]:
    remarks = []
    for index, name in enumerate(label.classes):
        patients = {row.patient for row in labelled if row.values[label.name] == index}
        if len(patients) < _PATIENTS_OF_CLASS:
            remarks.append(
                f"{label.name}: the class {name!r} has {counted(len(patients), 'patient')}; it takes two to "
                "train on one and test on another."
            )
    return remarks


def _odd_values(label: Label, values: Sequence[float]) -> list[str]:
    if len(values) < _LEAST_VALUES:
        return []
    lowest, highest = min(values), max(values)
    strange = _strange(values)
    if strange:
        shown = ", ".join(f"{value:g}" for value in strange[:_NAMED])
        return [
            f"{label.name}: {shown} lies far from the other values; correct it or leave it blank "
            "if it is a slip or stands for a missing value. range = [lowest, highest] of the "
            "label lists such rows."
        ]
    if lowest == highest:
        return [
            f"{label.name}: every row has the value {lowest:g}, so that nothing can be learned."
        ]
    if label.unit == "%" and lowest >= 0 and highest <= 1:
        return [
            f"{label.name}: the unit is %, and every value is between {lowest:g} and {highest:g}; "
            "multiply them by 100 if they are fractions."
        ]
    fractions = sum(0 < value <= 1 for value in values)
    if label.unit == "%" and fractions and highest > _SURELY_PERCENT:
        return [
            f"{label.name}: the unit is %, and {fractions} of {len(values)} values are between 0 "
            "and 1; multiply them by 100 if they are fractions."
        ]
    return []


def _strange(values: Sequence[float]) -> list[float]:
    """Values that may be slips, or stand for missing ones, such as -1 and 999."""
    quarters = statistics.quantiles(values, n=4)
    away = _FAR * (quarters[2] - quarters[0])
    far = {value for value in values if value > quarters[2] + away or value < quarters[0] - away}
    codes = {value for value in values if value in _CODES}
    if codes and all(value >= 0 for value in values if value not in codes):
        far |= codes
    return sorted(far) if away else []


def input_remarks(
    description: Description, rows: Sequence[TableRow], has_sequence: bool
) -> list[str]:
    """Describe labels whose input no recording has, so that their task has no rows.

    Args:
        description: The description.
        rows: The rows that fit.
        has_sequence: Whether a recording is a video or a sound.

    Returns:
        A sentence for each such label.
    """
    remarks = []
    for label in description.labels:
        if label.input in INPUTS_OF_VIDEOS and not has_sequence:
            remarks.append(
                f"{label.name}: input = {label.input!r} needs videos, and every recording is a "
                "still; without input, the label is one of pictures."
            )
        has_frames = any(row.phases or label.name in row.frames for row in rows)
        if label.input in INPUTS_OF_FRAMES and not has_frames:
            remarks.append(
                f"{label.name}: input = {label.input!r} needs frames of end-diastole and "
                "end-systole, and no row names them: add the columns ed and es, or remove input."
            )
    return remarks


def empty_mask_remarks(description: Description, masks: Mapping[str, Sequence[bool]]) -> list[str]:
    """Describe labels with masks in which the structure is nowhere.

    Args:
        description: The description.
        masks: Whether each mask of a label is empty, by the name of the label.

    Returns:
        A sentence for each label with an empty mask.
    """
    remarks = []
    for label in description.labels:
        empty = masks.get(label.name, ())
        if any(empty):
            value = "above 0" if label.pixel is None else f"with the value {label.pixel}"
            remarks.append(
                f"{label.name}: {sum(empty)} of {len(empty)} masks have no pixel {value}. Check "
                "pixel = ... where the structure is in the picture."
            )
    return remarks
