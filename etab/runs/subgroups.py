"""Metrics of a cell in subgroups of its patients, with intervals that hold together.

The facts of the patients come from the data, so this needs the folder of the data. A copy whose
files are not those of the result serves where its recordings, patients and reference values are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from etab import datasets
from etab.datasets.base import Source
from etab.datasets.camus_layout import read_cfg
from etab.errors import EtabError, ResultError, UnsupportedOptionError
from etab.features.base import input_of
from etab.leaderboard.admission.ranges import scorable_predictions
from etab.metrics.clinical import Readout, subgroups, worst_subgroup
from etab.metrics.columns import ScoredRows
from etab.results import Predictions, Result
from etab.runs.cross import dataset_root
from etab.tasks.menu import TASKS
from etab.tasks.rows import Rows
from etab.types import Record

OLD = 65
"""Age in years from which adults are in the older group."""

RATES = (45.0, 60.0)
"""Frame rates in frames per second between the three groups."""

PICTURE_FACTORS = ("image quality", "frame rate")
"""Facts of a recording, not of a patient: the two views of a patient can differ in them."""

MOST_GROUPS = 12
"""Groups that a column of a user's table may have: intervals of more of them would be too wide to say anything."""

# "Men" and "women" would be wrong: many patients of heart sounds are children.
_SEXES = {"m": "male", "male": "male", "f": "female", "female": "female"}
_PREGNANCY = {"true": "pregnant", "false": "not pregnant"}
_PLACES = ("AV", "MV", "PV", "TV", "Phc")


@dataclass(frozen=True, slots=True)
class Subgroups:
    """The subgroups of one cell.

    Attributes:
        rows: A read-out for each subgroup, named "sex: female"; its ``n`` counts patients. The
            intervals are of level 1 - 0.05 / k for all k subgroups of the cell.
        worst: The worst subgroup of 50 or more patients; None where none has so many.
        note: A sentence where the groups were read from another copy of the data than the result
            was computed on; else empty.
    """

    rows: tuple[Readout, ...]
    worst: Readout | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class PatientGroups:
    """The groups of the patients of a dataset.

    Attributes:
        source: The data that define them.
        digest: Digest of these data.
        factors: The group of each patient, by factor ("sex", "age", ...).
        pictures: The group of each recording, by factor of ``PICTURE_FACTORS``.
        by_view: The group of each patient by factor and view, from the recording of that view.
        known_rows: Rows of these data by task code, as far as a result was compared with them.
    """

    source: Source
    digest: str
    factors: Mapping[str, Mapping[str, str]]
    pictures: Mapping[str, Mapping[str, str]]
    by_view: Mapping[str, Mapping[str, Mapping[str, str]]]
    known_rows: dict[str, Rows] = field(default_factory=dict, compare=False, repr=False)


def patient_groups(dataset: str, root: Path | None) -> PatientGroups:
    """Read the groups of the patients of a dataset; one call serves all its cells.

    Args:
        dataset: Name of the dataset.
        root: Folder of the data; None for the documented places.

    Returns:
        Groups by sex, age, pregnancy, image quality, frame rate and database, and by the columns
        that the description of an own table names, as far as the data define them.

    Raises:
        EtabError: If the data cannot be used.
    """
    return groups_of_source(datasets.source(dataset, dataset_root(root, dataset)))


def groups_of_source(source: Source) -> PatientGroups:
    """Read the groups of the patients of an opened dataset.

    Args:
        source: The dataset.

    Returns:
        What ``patient_groups`` returns.
    """
    return PatientGroups(
        source, source.digest(), _of_patients(source), _of_recordings(source), _of_views(source)
    )


def subgroups_of(result: Result, folder: Path, groups: PatientGroups) -> Subgroups:
    """Compute the metric of a cell in subgroups.

    Args:
        result: The record.
        folder: The folder of results.
        groups: The groups of its patients, from ``patient_groups``.

    Returns:
        The metric in each of these groups, and at each place of auscultation where rows are of
        places. Image quality and frame rate are those of the recording of a row; where the data
        define them for another view only, the factor names it ("image quality of A2C").

    Raises:
        ResultError: If the data have other recordings, patients or reference values than the
            result, or its predictions cannot be read.

    Example:
        >>> import tempfile
        >>> import etab
        >>> from etab import phantom
        >>> with tempfile.TemporaryDirectory() as name:
        ...     _ = phantom.write(Path(name), patients=10, names=("camus",))
        ...     root = Path(name) / "camus"
        ...     results = Path(name) / "results"
        ...     _ = etab.evaluate("image_stats", tasks="b0-A4-C", root=root, results=results)
        ...     (path,) = results.rglob("*.json")
        ...     groups = patient_groups("camus", root)
        ...     table = subgroups_of(Result.load(path), results, groups)
        >>> sorted({row.name.split(":")[0] for row in table.rows})
        ['age', 'image quality', 'sex']
    """
    table = scorable_predictions(result, folder)
    note = _note_of_copy(result, table, groups)
    rows = ScoredRows.of(table)
    by_row = {**_of_rows(table), **_of_pictures(table, groups)}
    factors = {**groups.factors, **by_row}
    keys_of = dict.fromkeys(factors, table.patients)
    keys_of.update(dict.fromkeys(by_row, table.items))
    names: dict[str, list[str]] = {}
    for factor, group_of in factors.items():
        present = {group_of[key] for key in keys_of[factor] if key in group_of}
        names[factor] = sorted(present)
    family = sum(len(of_factor) for of_factor in names.values())
    readouts: list[Readout] = []
    for factor, group_of in factors.items():
        keys = keys_of[factor]
        for group in names[factor]:
            part = np.array([group_of.get(key) == group for key in keys])
            chosen = rows.select(part)
            everyone = {str(patient): f"{factor}: {group}" for patient in chosen.patients}
            readouts += subgroups(result.metric, chosen, everyone, family=family, seed=result.seed)
    return Subgroups(tuple(readouts), worst_subgroup(result.metric, readouts), note)


def _note_of_copy(result: Result, table: Predictions, groups: PatientGroups) -> str:
    """A warning about data whose files are not those of a result; empty if they are.

    Raises:
        ResultError: If these data have other rows than the result.
    """
    if groups.digest == result.data_digest:
        return ""
    if result.task not in groups.known_rows:
        groups.known_rows[result.task] = _rows(groups.source, result.task)
    differing = _differing_row(table, groups.known_rows[result.task])
    if differing:
        raise ResultError(
            f"{result.task} with {result.backbone} was computed on other data than those at hand: "
            f"{differing}. Name the folder of the data that it was computed on."
        )
    return (
        f"The groups of {result.dataset} were read from a copy of the data (sha256 "
        f"{groups.digest[:12]}) some of whose files differ from those of the results "
        f"({result.data_digest[:12]}). It has the same recordings and patients, and the same "
        "reference values where the results hold them."
    )


def _rows(source: Source, code: str) -> Rows:
    task = TASKS[code]
    family = input_of(task)
    return family.rows(task, source, family.keys(task, source))


def _differing_row(table: Predictions, rows: Rows) -> str:
    """The first row of a result that the data at hand do not have as it is; empty for none."""
    # A result has a line for each unit, or for each row of it.
    names = (*rows.units, *rows.items)
    patients = dict(zip(names, rows.patients.tolist() * 2, strict=True))
    answers = dict(zip(names, list(rows.answers) * 2, strict=True))
    truths = table.columns.get("truth")
    for number, (item, patient) in enumerate(zip(table.items, table.patients, strict=True)):
        if item not in patients:
            return f"they have no row {item}"
        if patients[item] != patient:
            return f"{item} is of patient {patients[item]} in them, and of {patient} in the result"
        if truths is not None and not np.isclose(truths[number], answers[item], rtol=1e-5):
            return f"the reference value of {item} is {answers[item]:g} in them, not {truths[number]:g}"
    return ""


def _of_patients(source: Source) -> dict[str, dict[str, str]]:
    """The groups of each patient by factor; factors with fewer than two groups are left out.

    A patient whose recordings name several groups of an own table is in a group of its own, "A and
    B".
    """
    factors: dict[str, dict[str, str]] = {}
    own: dict[str, dict[str, set[str]]] = {}
    for record in source.records():
        for factor, group in _facts(source, record).items():
            if group and factor not in PICTURE_FACTORS:
                factors.setdefault(factor, {}).setdefault(record.patient, group)
        for factor, group in _own_groups(record).items():
            own.setdefault(factor, {}).setdefault(record.patient, set()).add(group)
    for factor, groups_of in own.items():
        factors[factor] = {name: " and ".join(sorted(groups)) for name, groups in groups_of.items()}
        _refuse_many(factor, factors[factor])
    return {factor: group_of for factor, group_of in factors.items() if _divides(group_of)}


def _of_recordings(source: Source) -> dict[str, dict[str, str]]:
    """The groups of each recording by its pictures; factors about which nothing is known are absent."""
    factors: dict[str, dict[str, str]] = {}
    for record in source.records():
        facts = _facts(source, record)
        for factor in PICTURE_FACTORS:
            if facts[factor]:
                factors.setdefault(factor, {})[record.id] = facts[factor]
    return factors


def _of_views(source: Source) -> dict[str, dict[str, dict[str, str]]]:
    """The group of each patient by factor of the pictures and view."""
    factors: dict[str, dict[str, dict[str, str]]] = {}
    for record in source.records():
        facts = _facts(source, record)
        for factor in PICTURE_FACTORS:
            if facts[factor]:
                of_view = factors.setdefault(factor, {}).setdefault(record.view, {})
                of_view.setdefault(record.patient, facts[factor])
    return factors


def _own_groups(record: Record) -> dict[str, str]:
    """Groups by the columns of an own table; sexes and ages are worded as those of other data."""
    groups: dict[str, str] = {}
    for column, text in record.meta.get("subgroups", {}).items():
        name = column.lower()
        if name == "sex":
            groups["sex"] = _SEXES.get(text.lower(), text)
        elif name == "age":
            groups["age"] = _age_group(text)
        else:
            groups[column] = text
    return groups


def _refuse_many(factor: str, group_of: Mapping[str, str]) -> None:
    """Refuse a column whose cells are not groups, such as a weight or a date."""
    count = len(set(group_of.values()))
    if count > MOST_GROUPS:
        raise UnsupportedOptionError(
            f"The column {factor!r} divides the patients into {count} subgroups; wanted "
            f"{MOST_GROUPS} "
            'at most. Add a column with groups, such as "below 70 kg" and "70 kg or more", and '
            "name it in `subgroups` of the description."
        )


def _divides(group_of: Mapping[str, str]) -> bool:
    return len(set(group_of.values())) > 1


def _facts(source: Source, record: Record) -> dict[str, str]:
    """The groups of a record's patient; an empty text where the record does not say."""
    meta: Mapping[str, object] = record.meta
    quality = str(meta.get("quality", "")).lower()
    return {
        "sex": _SEXES.get(str(meta.get("sex", "")).lower(), ""),
        "age": _age_group(str(meta.get("age", ""))),
        "pregnancy": _PREGNANCY.get(str(meta.get("pregnant", "")).lower(), ""),
        "image quality": quality if source.card.modality != "sound" else "",
        "frame rate": _rate_group(_frame_rate(source, record)),
        "database": str(meta.get("database", "")),
    }


def _age_group(age: str) -> str:
    """The group of an age in years, or the age group that the dataset names."""
    try:
        years = float(age)
    except ValueError:
        return age.lower()
    if not np.isfinite(years):
        return ""
    return f"{OLD} or more" if years >= OLD else f"below {OLD}"


def _frame_rate(source: Source, record: Record) -> float | None:
    """Frames per second of an echo recording, also where the copy at hand has no sequence."""
    if source.card.modality == "sound":
        return None
    if record.fps is not None or "info" not in record.files:
        return record.fps
    try:
        return float(read_cfg(source.root / record.files["info"])["FrameRate"])
    except (EtabError, OSError, KeyError, ValueError):
        return None


def _rate_group(rate: float | None) -> str:
    low, high = RATES
    if rate is None or not np.isfinite(rate):
        return ""
    if rate < low:
        return f"below {low:g}"
    return f"{low:g} to {high:g}" if rate <= high else f"above {high:g}"


def _of_pictures(table: Predictions, groups: PatientGroups) -> dict[str, dict[str, str]]:
    """The groups of each row by its pictures.

    Where the data say nothing about the recordings of the rows, the recordings of the same patients
    by another view stand for them, and the name of the factor says so.
    """
    factors: dict[str, dict[str, str]] = {}
    for factor, group_of in groups.pictures.items():
        group_of_item: dict[str, str] = {}
        for item in table.items:
            recording = item.split("#")[0]
            if recording in group_of:
                group_of_item[item] = group_of[recording]
        if group_of_item:
            factors[factor] = group_of_item
            continue
        for view, of_view in groups.by_view[factor].items():
            pairs = zip(table.items, table.patients, strict=True)
            factors[f"{factor} of {view}"] = {
                item: of_view[patient] for item, patient in pairs if patient in of_view
            }
    return {factor: group_of for factor, group_of in factors.items() if _divides(group_of)}


def _of_rows(table: Predictions) -> dict[str, dict[str, str]]:
    """The place of auscultation of each row whose name ends with one, such as "9979_AV"."""
    places: dict[str, str] = {}
    for item in table.items:
        for part in item.split("#")[0].split("_")[1:]:
            if part in _PLACES:
                places[item] = part
    return {"place": places} if len(set(places.values())) > 1 else {}
