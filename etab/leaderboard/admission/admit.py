"""From a folder of result files to results that a board may show; a reason for the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from etab.errors import EtabError, ResultError
from etab.leaderboard.admission.canonical import (
    canonical_release,
    is_published_cell,
    known_backbones,
    known_weights,
    looks_published,
    other_rows,
    rows_digest,
)
from etab.leaderboard.admission.entries import AdmittedEntry
from etab.leaderboard.admission.files import record_files
from etab.leaderboard.admission.findings import Finding, Verdict
from etab.leaderboard.admission.masks import other_masks
from etab.leaderboard.admission.plausibility import implausible
from etab.leaderboard.admission.ranges import out_of_range
from etab.leaderboard.admission.record import contradictions, known_values, wrong_intervals
from etab.leaderboard.admission.states import other_states
from etab.leaderboard.comparable import SAME_SETTINGS
from etab.leaderboard.suites import Tasks
from etab.precisions import FORMATS, NAMED
from etab.results import Predictions, Result
from etab.results.names import wrong_own_name
from etab.storage.text import counted
from etab.tasks.base import Task
from etab.tasks.protocols import parse

# Facts that the results of one task must share, in the record itself and in its settings.
SHARED_FIELDS = ("phantom", "data_digest", "head", "n_train", "n_train_patients", "missing")
SHARED_SETTINGS = (
    "head_version",
    "runs_version",
    "split_version",
    "fit_data_digest",
    *SAME_SETTINGS,
)


@dataclass(frozen=True, slots=True)
class Admission:
    """The results of a folder that may be shown, and the reasons against the others.

    Attributes:
        results: The accepted results, in the order of their paths.
        tables: The predictions of the results that were checked, by path.
        findings: Every reason against a result, and every remark about one.
        other_heads: Results of cells that have another result by the head of the task. They are not
            part of ``results``, so that heads never mix.
    """

    results: tuple[Result, ...]
    tables: Mapping[Path, Predictions]
    findings: tuple[Finding, ...]
    other_heads: tuple[Result, ...] = ()

    @property
    def refused(self) -> tuple[Finding, ...]:
        """The findings that put a result aside."""
        return tuple(f for f in self.findings if f.verdict is Verdict.REFUSED)

    @property
    def flagged(self) -> tuple[Finding, ...]:
        """The findings that mark a result."""
        return tuple(f for f in self.findings if f.verdict is Verdict.FLAGGED)


def admit(
    folder: Path,
    tasks: Tasks,
    counts: Callable[[Result], bool],
    precisions: Sequence[str] = FORMATS,
) -> Admission:
    """Check every result below a folder.

    Nothing in a file is trusted. Files are regular and of bounded size, and names are plain. Every
    stated number is computed again from the predictions. Rows and truth equal the canonical table
    where there is one. Results of one task share all settings that decide a score. A result that
    fails is refused with its reason; the others are accepted.

    Args:
        folder: A folder of results; an absent one holds none.
        tasks: Tasks by code.
        counts: Whether a result is shown. Only these are checked; the others are accepted
            unchecked.
        precisions: The precisions of results that are shown; those of other ones are refused.

    Returns:
        The accepted results, their predictions, and the findings.
    """
    files = record_files(folder)
    reasons = dict(files.refused)
    others: list[Result] = []
    entries: dict[Path, AdmittedEntry] = {}
    for path in files.records:
        try:
            result = _read(path, folder)
            if not counts(result):
                others.append(result)
                continue
            entries[path] = _checked(result, tasks[result.task], folder)
        except EtabError as error:
            reasons[path] = _without_path(str(error), path)
    for check in (_of_wrong_statements, _of_wrong_intervals):
        for path, reason in check(entries).items():
            entries.pop(path)
            reasons[path] = reason
    order = [*files.refused, *[path for path in files.records if path in reasons]]
    findings = [Finding(Verdict.REFUSED, path, "", "", reasons[path]) for path in order]
    other_heads = [entries.pop(path).result for path in _second_heads(entries)]
    checks = (partial(_other_precisions, precisions), _two_networks, _mixtures, _twins_of_nobody)
    for refused in checks:
        for path, reason in refused(entries).items():
            result = entries.pop(path).result
            finding = Finding(Verdict.REFUSED, path, result.task, result.backbone, reason)
            findings.append(finding)
    findings += _remarks(entries)
    standing = [entry.result for entry in entries.values()]
    results = sorted([*standing, *others], key=lambda result: str(result.path(folder)))
    tables = {path: entry.table for path, entry in entries.items()}
    return Admission(tuple(results), tables, tuple(findings), tuple(other_heads))


def _read(path: Path, folder: Path) -> Result:
    result = Result.load(path)
    name = wrong_own_name(result.backbone)
    if name:
        raise ResultError(f"{name}. Give the backbone another name and run its cells again")
    taken = looks_published(result.backbone)
    if taken:
        raise ResultError(f"{taken}. Give the backbone another name and run its cells again")
    try:
        parse(result.protocol)
    except EtabError as error:
        # The name itself is a stranger's text, which no board repeats.
        raise ResultError(
            "its protocol is none that etab has; wanted official, lodo, cv5, cv5x5, ..."
        ) from error
    if result.path(folder) != path:
        raise ResultError(
            f"it holds {result.task} with {result.backbone}, which belongs at "
            f"{result.path(folder)}: name the folder that contains {result.dataset}/, or move the "
            "file"
        )
    return result


def _checked(result: Result, task: Task, folder: Path) -> AdmittedEntry:
    table = result.predictions(folder)
    reasons = [reason for reason in (out_of_range(table), other_rows(result, table)) if reason]
    if not reasons:
        beside = (other_masks(result, table, folder), other_states(result, table, folder))
        reasons = [reason for reason in beside if reason]
    if reasons:
        raise ResultError(_refusal(result, reasons))
    return AdmittedEntry(result, table, task)


def _of_wrong_statements(entries: Mapping[Path, AdmittedEntry]) -> dict[Path, str]:
    """Results that state what does not follow from their predictions.

    The metrics of all backbones of a task are computed together.
    """
    known = known_values([(entry.result, entry.table) for entry in entries.values()])
    refused: dict[Path, str] = {}
    for (path, entry), values in zip(entries.items(), known, strict=True):
        try:
            reasons = contradictions(entry.result, entry.table, entry.task, values)
        except EtabError as error:
            refused[path] = _without_path(str(error), path)
            continue
        if reasons:
            refused[path] = _without_path(_refusal(entry.result, reasons), path)
    return refused


def _of_wrong_intervals(entries: Mapping[Path, AdmittedEntry]) -> dict[Path, str]:
    """Results whose intervals do not follow from their predictions.

    Resampling the patients takes longer than everything else, so it is done for all backbones of a
    task together.
    """
    cells = [(entry.result, entry.table) for entry in entries.values()]
    refused: dict[Path, str] = {}
    for path, reasons in zip(entries, wrong_intervals(cells), strict=True):
        if reasons:
            refused[path] = _without_path(_refusal(entries[path].result, reasons), path)
    return refused


def _refusal(result: Result, reasons: Sequence[str]) -> str:
    return f"{_cell(result)}: {'; '.join(reasons[:3])}"


def _cell(result: Result) -> str:
    return f"{result.task} with {result.backbone}"


def _without_path(text: str, path: Path) -> str:
    """An error without the path that the finding names anyway."""
    return text.removeprefix(f"{path}: ").removeprefix(f"{path} ").rstrip(".")


def _second_heads(entries: Mapping[Path, AdmittedEntry]) -> list[Path]:
    """Results of cells that have another result: published, of the task's head, or of a frequent one."""
    of_head = Counter((entry.result.task, entry.result.head) for entry in entries.values())

    def order(path: Path) -> tuple[bool, bool, int, str]:
        entry = entries[path]
        frequency = of_head[entry.result.task, entry.result.head]
        return not is_published_cell(entry.result), _other_head(entry), -frequency, str(path)

    by_cell: dict[tuple[str, str], list[Path]] = {}
    for path, entry in entries.items():
        by_cell.setdefault((entry.result.backbone, entry.result.task), []).append(path)
    second: list[Path] = []
    for paths in by_cell.values():
        second += sorted(paths, key=order)[1:]
    return second


def _other_head(entry: AdmittedEntry) -> bool:
    return entry.result.head != entry.task.head


def _other_precisions(
    precisions: Sequence[str], entries: Mapping[Path, AdmittedEntry]
) -> dict[Path, str]:
    """Results in a precision with a backend that the board was not told to compare."""
    refused: dict[Path, str] = {}
    for path, entry in entries.items():
        precision = entry.result.settings.get("precision")
        if precision in NAMED and precision not in precisions:
            refused[path] = (
                f"its precision is {precision}; the board compares "
                f"{', '.join(precisions)}. Add another one by --precision"
            )
    return refused


def _two_networks(entries: Mapping[Path, AdmittedEntry]) -> dict[Path, str]:
    """Results of a backbone whose weights are not those of most of its results."""
    digests: dict[str, list[str]] = {}
    for entry in entries.values():
        digests.setdefault(entry.result.backbone, []).append(entry.result.weights_sha256)
    refused: dict[Path, str] = {}
    for path, entry in entries.items():
        name = entry.result.backbone
        digest = entry.result.weights_sha256
        usual = _most_common(digests[name])
        if known_weights(name) in digests[name]:
            usual = known_weights(name)
        if digest != usual:
            refused[path] = (
                f"weights_sha256 begins with {digest[:12]} here and with {usual[:12]} in other "
                f"results of {name}: one name stands for one network"
            )
    return refused


def _mixtures(entries: Mapping[Path, AdmittedEntry]) -> dict[Path, str]:
    """Results that differ from the others of their task in something that decides scores."""
    refused: dict[Path, str] = {}
    by_task: dict[str, dict[Path, AdmittedEntry]] = {}
    for path, entry in entries.items():
        by_task.setdefault(entry.result.task, {})[path] = entry
    phantom = all(entry.result.phantom for entry in entries.values())
    for of_task in by_task.values():
        for name in (*SHARED_FIELDS, *SHARED_SETTINGS):
            standing = {path: entry for path, entry in of_task.items() if path not in refused}
            refused |= _differing(name, standing, phantom)
        standing = {path: entry for path, entry in of_task.items() if path not in refused}
        refused |= _differing_rows(standing)
    return refused


def _differing(
    name: str,
    entries: Mapping[Path, AdmittedEntry],
    phantom: bool,
) -> dict[Path, str]:
    values = {path: shared_fact(name, entry.result) for path, entry in entries.items()}
    if len(set(values.values())) < 2:
        return {}
    usual = _usual(values, entries)
    if name == "phantom":
        # A phantom result never enters a board of patients.
        usual = str(phantom)
    refused = {}
    for path, value in values.items():
        if value != usual:
            refused[path] = f"its {name} is {value[:40]}; on this board it is {usual[:40]}"
    return refused


def shared_fact(name: str, result: Result) -> str:
    """The value of a field of ``SHARED_FIELDS``, or of a setting of ``SHARED_SETTINGS``, as text."""
    if name == "missing":
        ids = sorted(item for item, _ in result.missing)
        return f"{counted(len(ids), 'row')} from {ids[0]} on" if ids else "empty"
    if name in SHARED_FIELDS:
        return str(getattr(result, name))
    return str(result.settings.get(name, "none"))


def _differing_rows(entries: Mapping[Path, AdmittedEntry]) -> dict[Path, str]:
    """Results with other rows than most others, where no canonical table says which are right."""
    digests = {path: rows_digest(entry.table) for path, entry in entries.items()}
    if len(set(digests.values())) < 2:
        return {}
    usual = _usual(digests, entries)
    reason = "items, patients, folds or truth of its rows are not those of the other results"
    return {path: reason for path, digest in digests.items() if digest != usual}


def _twins_of_nobody(entries: Mapping[Path, AdmittedEntry]) -> dict[Path, str]:
    """Results under the name of a random twin without the backbone whose twin it is."""
    names = {entry.result.backbone for entry in entries.values()}
    refused: dict[Path, str] = {}
    for path, entry in entries.items():
        name = entry.result.backbone
        base = name.removeprefix("random/")
        if base == name or name in known_backbones():
            continue
        if base.startswith("random/"):
            refused[path] = (
                f"{name} is the name of the untrained twin of {base}, itself a twin; give the "
                "backbone a name that does not begin with random/"
            )
        elif base not in names:
            refused[path] = (
                f"{name} is the name of the untrained twin of {base}, which has no results here; "
                f"run {base} as well, or, if this is an encoder of your own, give it a name that "
                "does not begin with random/"
            )
    return refused


def _usual(values: Mapping[Path, str], entries: Mapping[Path, AdmittedEntry]) -> str:
    """The most frequent value of published cells; without any, of known data; without any, of all.

    However many strangers agree, they do not put published results aside.
    """
    published = [values[path] for path in entries if is_published_cell(entries[path].result)]
    of_release = [values[path] for path in entries if canonical_release(entries[path].result)]
    return _most_common(published or of_release or values.values())


def _most_common(values: Iterable[str]) -> str:
    """The most frequent text; of equally frequent ones the first in order."""
    counts = Counter(values)
    return min(counts, key=lambda value: (-counts[value], value))


def _remarks(entries: Mapping[Path, AdmittedEntry]) -> list[Finding]:
    by_cell: dict[tuple[str, str], AdmittedEntry] = {}
    path_of: dict[tuple[str, str], Path] = {}
    for path, entry in entries.items():
        cell = (entry.result.backbone, entry.result.task)
        by_cell[cell] = entry
        path_of[cell] = path
    remarks = []
    for (backbone, task), reason in implausible(by_cell):
        path = path_of[backbone, task]
        remarks.append(Finding(Verdict.FLAGGED, path, task, backbone, reason))
    return remarks
