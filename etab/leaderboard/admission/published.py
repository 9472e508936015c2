"""Comparison of a submission with the published cells of the same tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from etab.leaderboard.admission.admit import SHARED_FIELDS, SHARED_SETTINGS, shared_fact
from etab.leaderboard.admission.canonical import known_backbones
from etab.leaderboard.admission.combined import beyond_published
from etab.leaderboard.admission.entries import AdmittedEntry, Cell, Entries
from etab.leaderboard.admission.plausibility import implausible
from etab.results import Result
from etab.storage import resources

_FOLDERS = ("benchmarks/results", "benchmarks/results_sounds_full")


def remarks_beside_published(entries: Entries) -> Iterator[tuple[Cell, str]]:
    """Find what is remarkable about results in comparison with published ones of the same cells.

    Args:
        entries: Results by backbone and task code.

    Yields:
        The cell and the reason, one pair for each remark.

    Raises:
        ResultError: A published result of this checkout cannot be read.
    """
    both = {**_published_entries(entries), **entries}
    remarks = [*implausible(both)]
    by_task: dict[str, dict[str, AdmittedEntry]] = {}
    for (backbone, code), entry in both.items():
        by_task.setdefault(code, {})[backbone] = entry
    for code, of_task in sorted(by_task.items()):
        remarks += beyond_published(code, of_task)
    yield from (remark for remark in remarks if remark[0] in entries)


def unlike_published(entries: Entries) -> Iterator[tuple[Cell, str]]:
    """Find results made under other conditions than the published ones of the same cell.

    A board sets such results aside when it compares results of one folder. A folder that holds the
    submission alone is compared here, before it is merged with the published results.

    Args:
        entries: Results by backbone and task code.

    Yields:
        The cell and the reason, one pair for each fact that differs.

    Raises:
        ResultError: A published result of this checkout cannot be read.
    """
    published: dict[str, list[Result]] = {}
    for (_, code), entry in _published_entries(entries).items():
        published.setdefault(code, []).append(entry.result)
    for (backbone, code), entry in sorted(entries.items()):
        for name in (*SHARED_FIELDS, *SHARED_SETTINGS):
            values = {shared_fact(name, result) for result in published.get(code, ())}
            stated = shared_fact(name, entry.result)
            if len(values) == 1 and stated not in values:
                (usual,) = values
                yield (
                    (backbone, code),
                    f"its {name} is {stated[:40]}; in the published results it is {usual[:40]}",
                )


def _published_entries(entries: Entries) -> Mapping[Cell, AdmittedEntry]:
    """The published results of other backbones on the same tasks, data, protocol, head and seed."""
    names = {backbone for backbone, _ in entries}
    first: dict[str, AdmittedEntry] = {}
    for (_, code), entry in entries.items():
        first.setdefault(code, entry)
    found: dict[Cell, AdmittedEntry] = {}
    for name in _FOLDERS:
        folder = resources.folder(name)
        if folder is None:
            continue
        for code, like in first.items():
            for backbone in known_backbones():
                result = like.result
                path = Result.path_of(
                    folder,
                    result.dataset,
                    code,
                    backbone,
                    result.protocol,
                    result.seed,
                    result.head,
                )
                if backbone in names or not path.is_file():
                    continue
                published = Result.load(path)
                table = published.predictions(folder)
                if published.data_digest == result.data_digest:
                    found[backbone, code] = AdmittedEntry(published, table, like.task)
    return found
