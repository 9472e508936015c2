"""Whether a folder of results can be submitted to the published board: more checks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from etab.errors import DataNotFoundError
from etab.leaderboard.admission.admit import admit
from etab.leaderboard.admission.canonical import (
    canonical_release,
    has_published_masks,
    is_published_cell,
    is_published_variant,
    known_backbones,
    known_weights,
    unlike_its_publication,
)
from etab.leaderboard.admission.entries import AdmittedEntry
from etab.leaderboard.admission.findings import Finding, Verdict
from etab.leaderboard.admission.masks import kept_masks
from etab.leaderboard.admission.published import remarks_beside_published, unlike_published
from etab.leaderboard.comparable import counts_on
from etab.leaderboard.suites import Suite
from etab.results import Result
from etab.results.masks import Keep, masks_path
from etab.results.names import wrong_name
from etab.tasks.codes import BOARD_PROTOCOL
from etab.tasks.menu import TASKS
from etab.types import Kind

# The beginning of an absolute path on Linux, macOS or Windows, somewhere in a text.
_PATH = re.compile(
    r"(?:^|[\s'\"=:@(])"
    r"(?:/(?:home|Users|root|mnt|data|scratch|tmp|work|var|opt|etc)/|[A-Za-z]:\\|\\\\)"
)

_MOST_HELD = 4


@dataclass(frozen=True, slots=True)
class Submission:
    """The findings in a folder.

    Attributes:
        folder: The folder.
        complete: Backbones with a result for every task of the suite.
        missing: For each other backbone, the tasks that it lacks.
        refused: What stands against the folder. Empty for a folder that is accepted.
        flagged: What the maintainers will look at, and may ask about.
        results: The results that the checks of a board let stand.
        lacking: For published backbones without a rank, the tasks that they cannot have.
    """

    folder: Path
    complete: tuple[str, ...]
    missing: dict[str, tuple[str, ...]]
    refused: tuple[Finding, ...]
    flagged: tuple[Finding, ...]
    results: tuple[Result, ...] = ()
    lacking: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """Whether the folder can be handed in as it is."""
        return bool(self.complete) and not self.missing and not self.refused


def check_submission(
    folder: Path,
    suite: Suite,
    *,
    protocol: str = BOARD_PROTOCOL,
    seed: int = 0,
) -> Submission:
    """Check a folder of results before it is handed in.

    The folder is only read; nothing in it is executed. Every check of a board is made; where this
    installation holds the published results, those of the same cells stand beside it, so that copies
    are found. In addition, the data must be a release that etab knows, every task of the suite must
    be there, the results of other people's backbones must not be handed in again, and no text may
    name a path of the machine that computed them.

    Args:
        folder: A folder that ``etab run`` wrote.
        suite: The suite that the results are for.
        protocol: Protocol of the results.
        seed: Seed of the results.

    Returns:
        What was found.

    Raises:
        DataNotFoundError: If the folder holds no result files.
    """

    def counts(result: Result) -> bool:
        return counts_on(result, suite, TASKS, protocol, seed)

    admission = admit(folder, TASKS, counts)
    shown = [result for result in admission.results if counts(result)]
    if not shown and not admission.refused:
        raise DataNotFoundError(
            f"{folder} holds no result of the suite {suite.name} by the protocol {protocol} with "
            f"seed {seed}{_held(folder, admission.results, suite)}. Make them with "
            f"`etab run --results {folder}`."
        )
    refused = [*admission.refused]
    for result in shown:
        path = result.path(folder)
        refused += [
            Finding(Verdict.REFUSED, path, result.task, result.backbone, reason)
            for reason in [*_reasons(result), *_lacking_masks(result, folder)]
        ]
    refused += [
        Finding(Verdict.REFUSED, result.path(folder), result.task, result.backbone, reason)
        for result in admission.other_heads
        for reason in _unpublished_heads(result)
    ]
    entries = {
        (result.backbone, result.task): AdmittedEntry(
            result, admission.tables[result.path(folder)], TASKS[result.task]
        )
        for result in shown
    }
    refused += [
        Finding(Verdict.REFUSED, entries[cell].result.path(folder), cell[1], cell[0], reason)
        for cell, reason in unlike_published(entries)
    ]
    flagged = [
        Finding(Verdict.FLAGGED, entries[cell].result.path(folder), cell[1], cell[0], reason)
        for cell, reason in remarks_beside_published(entries)
    ]
    absent = _absent_tasks(shown, suite)
    lacking = {name: codes for name, codes in absent.items() if codes and _lacks(name, codes)}
    missing = {name: codes for name, codes in absent.items() if codes and name not in lacking}
    return Submission(
        folder=folder,
        complete=tuple(name for name, codes in absent.items() if not codes),
        missing=missing,
        refused=tuple(refused),
        flagged=tuple(flagged),
        results=tuple(shown),
        lacking=lacking,
    )


def _held(folder: Path, results: Sequence[Result], suite: Suite) -> str:
    """What a folder has in the place of the results that are missing, in words."""
    if not folder.is_dir():
        return ": there is no such folder"
    held = {f"{r.protocol} (seed {r.seed})" for r in results if r.task in suite.tasks}
    named = sorted(name for name in held if name.isascii() and name.isprintable())[:_MOST_HELD]
    return f"; it holds results by {', '.join(named)}" if named else ""


def _absent_tasks(results: Sequence[Result], suite: Suite) -> dict[str, tuple[str, ...]]:
    """The tasks of a suite that each backbone has no result for."""
    tasks_of: dict[str, set[str]] = {}
    for result in results:
        tasks_of.setdefault(result.backbone, set()).add(result.task)
    absent: dict[str, tuple[str, ...]] = {}
    for backbone, codes in sorted(tasks_of.items()):
        absent[backbone] = tuple(code for code in suite.tasks if code not in codes)
    return absent


def _lacks(backbone: str, codes: Sequence[str]) -> bool:
    """Whether a published backbone cannot have any of these tasks."""
    known = known_backbones().get(backbone)
    return known is not None and set(codes) <= set(known.lacks)


def _reasons(result: Result) -> Iterator[str]:
    """Yield reasons why a result may be on a board of the user, but not on the published one."""
    if result.phantom:
        yield "it is of phantom data; the published boards are of patients"
    elif canonical_release(result) is None:
        yield (
            f"data_digest begins with {result.data_digest[:12]}, which is not a release of "
            f"{result.dataset} that etab has canonical tables for"
        )
    if wrong_name(result.backbone):
        yield wrong_name(result.backbone)
    if result.bad:
        yield "recordings were left out of it (--skip-bad); a published result is of all data"
    if known_weights(result.backbone) not in ("", result.weights_sha256):
        yield f"{result.backbone} is the name of a published backbone with other weights"
    unlike = unlike_its_publication(result)
    if unlike:
        yield f"{unlike}. Hand in backbones of your own alone"
    for name, text in _texts("", result._whole()):
        if _PATH.search(text):
            yield f"{name} holds a path of a machine: {text[:80]!a}; use a name"
            return


def _unpublished_heads(result: Result) -> Iterator[str]:
    """Why a result by a second head may not be handed in: a published backbone has its own."""
    is_published = is_published_cell(result) or is_published_variant(result)
    if result.backbone in known_backbones() and not is_published:
        yield (
            f"{result.backbone} is published, and this result of it by the head {result.head} is not. "
            "Hand in backbones of your own alone"
        )


def _lacking_masks(result: Result, folder: Path) -> Iterator[str]:
    """A submission brings the mask of every row, so that Dice is computed and not taken on trust.

    Of a published cell the repository keeps the digest of all masks and the stated sample.
    """
    if TASKS[result.task].kind is not Kind.MASK:
        return
    wanted: Keep = "sample" if has_published_masks(result) else "all"
    beside = kept_masks(result, folder)
    if beside in ("all", wanted):
        return
    name = masks_path(result.path(folder), wanted).name
    if wanted == "sample":
        yield f"{name} is missing: a published cell keeps the stated sample. Restore the file"
        return
    yield (
        f"{name} is missing: a submission brings the predicted masks. Run the cell again with "
        "--keep-masks all"
    )


def _texts(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every text in a nested value, with the dotted name of its field."""
    if isinstance(value, str):
        yield name, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _texts(f"{name}.{key}".lstrip("."), part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(name, part)
