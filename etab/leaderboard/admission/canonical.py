"""The rows of each task on the published releases of the data, so that no result can bring its own.

A canonical table is the sha256 of the rows that a task has on a release of a dataset, with the
patient, the fold and the truth of each row, and everything else that a backbone has no part in.
``python -m benchmarks.canonical`` writes them into configs/canonical from the published results.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from etab.errors import DataNotFoundError, UnknownNameError
from etab.leaderboard.admission.ranges import FACT_COLUMNS
from etab.results import Predictions, Result, number_text
from etab.storage import resources
from etab.tasks.protocols import parse

# Digits that are read as letters, and marks that are hardly seen.
_LOOK_ALIKE = str.maketrans("0158", "olsb", "._-+:@/")
# Letters side by side that are read as one.
_SEEN_AS_ONE = (("rn", "m"), ("vv", "w"), ("cl", "d"))


OTHER_MACHINE = 0.25
"""Share of the half width of a 95 % interval by which another machine may move a value."""
DIGEST_DIGITS = 16
"""Number of digits of a sha256 by which the package knows predictions."""


@dataclass(frozen=True, slots=True)
class PublishedCell:
    """The facts of a published cell that the package holds.

    Attributes:
        digest: The first 16 digits of the sha256 of its predictions.
        value: The value of its metric.
        half: Half of the width of its 95 % interval.
    """

    digest: str
    value: float
    half: float

    @classmethod
    def of(cls, result: Result) -> PublishedCell:
        """Keep what distinguishes a record from others of the same cell.

        Args:
            result: The record.
        """
        digest = result.predictions_sha256[:DIGEST_DIGITS]
        return cls(digest, result.value, (result.high - result.low) / 2)

    @classmethod
    def from_text(cls, text: str) -> PublishedCell:
        """Read what ``to_text`` writes.

        Args:
            text: Digest, value and half width.

        Example:
            >>> cell = PublishedCell("401e125b8d80c075", 7.25, 0.5)
            >>> PublishedCell.from_text(cell.to_text()) == cell
            True
        """
        digest, value, half = text.split()
        return cls(digest, float(value), float(half))

    def to_text(self) -> str:
        """Write the cell as one line, with 7 significant digits."""
        return f"{self.digest} {self.value:.7g} {self.half:.7g}"


@dataclass(frozen=True, slots=True)
class Release:
    """A release of a dataset.

    Attributes:
        digest: Sha256 of the data, as results record it.
        title: What the release is, in words.
        rows: Sha256 of the canonical rows by "task version protocol seed", see ``key_of``.
        facts: Sha256 of the rows whatever their folds, by "task version cv", see ``facts_key_of``.
        cells: The published cells by ``cell_key``.
        variants: The first digits of the sha256 of the predictions of published results that no
            board ranks, by ``cell_key`` and precision; see ``is_published_variant``.
    """

    digest: str
    title: str
    rows: Mapping[str, str]
    facts: Mapping[str, str]
    cells: Mapping[str, PublishedCell]
    variants: Mapping[str, str]


def rows_digest(table: Predictions) -> str:
    """Digest the facts of a table: its rows with their patients, folds, repeats and truth.

    Args:
        table: The predictions of a cell.

    Returns:
        Sha256 of the rows in the order of their names. It does not depend on predictions.
    """
    facts = []
    for name in FACT_COLUMNS:
        if name in table.columns:
            column = np.asarray(table.columns[name], dtype=np.float64)
            facts.append((name, column.tobytes()))
    return _digest_of(table.items, table.patients, table.folds, table.repeats, tuple(facts))


def facts_digest(table: Predictions) -> str:
    """Digest the rows of a table with their patients and truth, whatever its folds.

    Args:
        table: The predictions of a cell.

    Returns:
        Sha256 of the rows of its first repeat, with the same fold for all of them.
    """
    rows = np.flatnonzero(np.asarray(table.repeats) == min(table.repeats))
    facts = []
    for name in FACT_COLUMNS:
        if name in table.columns:
            column = np.asarray(table.columns[name], dtype=np.float64)
            facts.append((name, column[rows].tobytes()))
    items = tuple(table.items[row] for row in rows)
    patients = tuple(table.patients[row] for row in rows)
    alike = ("",) * len(rows), (0,) * len(rows)
    return _digest_of(items, patients, *alike, tuple(facts))


@lru_cache(maxsize=256)
def _digest_of(
    items: tuple[str, ...],
    patients: tuple[str, ...],
    folds: tuple[str, ...],
    repeats: tuple[int, ...],
    facts: tuple[tuple[str, bytes], ...],
) -> str:
    """``rows_digest``, once for all backbones with these rows; facts are the bytes of float64."""
    names = ["item", "patient", "fold"]
    columns: list[Sequence[str]] = [items, patients, folds]
    if len(set(repeats)) > 1:
        names.append("repeat")
        columns.append([str(repeat) for repeat in repeats])
    for name, content in facts:
        names.append(name)
        columns.append([number_text(value) for value in np.frombuffer(content)])
    lines = sorted("\t".join(row) for row in zip(*columns, strict=True))
    text = "\n".join(["\t".join(names), *lines])
    return hashlib.sha256(text.encode()).hexdigest()


def key_of(result: Result) -> str:
    """Key of the canonical rows of a result.

    Rows and folds do not depend on the number of labelled patients or on what of a backbone is
    trained, so the key holds the first part of the protocol alone. The authors' parts and the
    databases do not depend on the seed.

    Args:
        result: The record of a cell.

    Returns:
        "TASK vVERSION PROTOCOL sSEED".
    """
    protocol = result.protocol.split("-")[0]
    seed = 0 if protocol in ("official", "lodo") else result.seed
    return f"{result.task} v{result.task_version} {protocol} s{seed}"


def facts_key_of(result: Result) -> str:
    """Key of the rows of a result whatever its folds.

    Args:
        result: The record of a cell.

    Returns:
        "TASK vVERSION cv", and "cvx" for repeated folds, which count people and not ids. Empty for
        other protocols, which do not test every patient.
    """
    protocol = parse(result.protocol)
    if protocol.sort != "cv" or protocol.listed:
        return ""
    return f"{result.task} v{result.task_version} {'cvx' if protocol.repeats > 1 else 'cv'}"


def canonical_release(result: Result) -> Release | None:
    """The known release that a result was computed on; None for data that etab does not know."""
    return _releases(result.dataset).get(result.data_digest)


@dataclass(frozen=True, slots=True)
class KnownBackbone:
    """A backbone of the published boards.

    Attributes:
        weights_sha256: Its identity, as results record it.
        kind: "pretrained", "random twin" or "control".
        lacks: Tasks of a published dataset that the backbone cannot have, such as e0 of features
            that have no course over time.
        resampled: Whether its weights depend on the size of the input, as an embedding of positions
            does.
    """

    weights_sha256: str
    kind: str
    lacks: tuple[str, ...] = ()
    resampled: bool = False


@lru_cache(maxsize=1)
def known_backbones() -> Mapping[str, KnownBackbone]:
    """The backbones of the published boards by name."""
    content = json.loads(resources.text("configs/canonical/backbones.json"))
    known: dict[str, KnownBackbone] = {}
    for name, facts in content.items():
        lacks = tuple(facts.get("lacks", ()))
        resampled = facts.get("resampled", False)
        known[name] = KnownBackbone(facts["weights_sha256"], facts["kind"], lacks, resampled)
    return known


def published_stem(name: str) -> str:
    """Take what stands before "@" in a name: sizes and fits follow, and no published name has one.

    Args:
        name: The name of a backbone.

    Example:
        >>> published_stem("mobilenetv2@448+crop"), published_stem("mobilenetv2@448@448")
        ('mobilenetv2', 'mobilenetv2')
    """
    return name.partition("@")[0]


def known_weights(name: str) -> str:
    """Find the identity that results under a name state; empty where etab does not know it.

    A published backbone has the same weights at another input size, and with another fit, unless its
    weights depend on the size.

    Args:
        name: The name of a backbone, which may end with a size.

    Example:
        >>> known_weights("mobilenetv2@448+crop") == known_weights("mobilenetv2") != ""
        True
        >>> known_weights("vits14_saliency@448")
        ''
    """
    known = known_backbones()
    if name in known:
        return known[name].weights_sha256
    base = known.get(published_stem(name))
    return "" if base is None or base.resampled else base.weights_sha256


def looks_published(name: str) -> str:
    """Why a board refuses a name that is taken for a published one; empty where it does not.

    Capital letters, signs, digits that look like letters, and letters side by side that look like
    one tell no two names apart.

    Args:
        name: The name of a backbone.

    Returns:
        The reason.

    Example:
        >>> looks_published("mobilenetv2"), looks_published("my_mobilenet_v2")
        ('', '')
    """
    known = known_backbones()
    if name in known:
        return ""
    taken_for = next((other for other in known if name_as_seen(other) == name_as_seen(name)), "")
    if not taken_for:
        return ""
    return (
        f"the name of the backbone is {name}, which looks like the published {taken_for}: capital "
        "letters, digits and letters that look alike, rn and m, dots and other signs tell no two "
        "names apart"
    )


@lru_cache(maxsize=4096)
def name_as_seen(name: str) -> str:
    """Write a name with one letter for all that look alike.

    Args:
        name: The name of a backbone.

    Returns:
        A text that two names share where one is taken for the other.

    Example:
        >>> name_as_seen("My-Clinic/v1") == name_as_seen("my_clinic.vl")
        True
    """
    seen = name.replace("I", "l").casefold().translate(_LOOK_ALIKE)
    for letters, letter in _SEEN_AS_ONE:
        seen = seen.replace(letters, letter)
    return seen


def cell_key(result: Result) -> str:
    """Key of a published cell: "TASK BACKBONE PROTOCOL HEAD sSEED"."""
    return f"{result.task} {result.backbone} {result.protocol} {result.head} s{result.seed}"


def published_cell(result: Result) -> PublishedCell | None:
    """The published cell of the same backbone, task, protocol, head, seed and data; None for none.

    Args:
        result: The record of a cell.
    """
    release = canonical_release(result)
    return None if release is None else release.cells.get(cell_key(result))


def is_published_cell(result: Result) -> bool:
    """Whether the predictions of a result are those of a published cell.

    Args:
        result: The record of a cell.
    """
    known = published_cell(result)
    return known is not None and result.predictions_sha256.startswith(known.digest)


def variant_key(result: Result) -> str:
    """Key of a published result that no board ranks: that of its cell, and its precision."""
    return f"{cell_key(result)} {result.settings.get('precision')}"


def is_published_variant(result: Result) -> bool:
    """Whether the predictions of a result are those of a published one that no board ranks.

    Args:
        result: The record of a result by another head, or in another precision, than the board's.
    """
    release = canonical_release(result)
    digest = "" if release is None else release.variants.get(variant_key(result), "")
    return bool(digest) and result.predictions_sha256.startswith(digest)


def unlike_its_publication(result: Result) -> str:
    """Say that a result bears the name of a published backbone and is not what was published.

    A published cell that somebody computed again may differ as far as another machine moves it.

    Args:
        result: The record of a cell.

    Returns:
        The reason; empty where there is no such published cell, or the result is close to it.
    """
    known = published_cell(result)
    if known is None or result.predictions_sha256.startswith(known.digest):
        return ""
    allowed = OTHER_MACHINE * known.half
    if abs(result.value - known.value) <= allowed:
        return ""
    return (
        f"its {result.metric} is {result.value:.4g}; that of the published {result.backbone} is "
        f"{known.value:.4g}, and another machine moves it by {allowed:.2g} at most"
    )


def has_published_masks(result: Result) -> bool:
    """Whether a cell of masks is a published one, whose repository keeps the stated sample alone.

    All its masks were there when it was published: the digests of its predictions and of all its
    masks are both those of the package.

    Args:
        result: The record of a cell.
    """
    digests = [result.predictions_sha256, result.masks.get("sha256")]
    return _published_masks().get(cell_key(result)) == digests


def owner_of_masks(result: Result) -> str:
    """Name the published backbone whose cell of the same task has the same masks; empty for none.

    Args:
        result: The record of a cell.
    """
    return _owners_of_masks().get((result.task, str(result.masks.get("sha256"))), "")


@lru_cache(maxsize=1)
def _owners_of_masks() -> Mapping[tuple[str, str], str]:
    """The published backbone by task and digest of all masks."""
    owners: dict[tuple[str, str], str] = {}
    for key, (_, masks) in _published_masks().items():
        task, backbone = key.split()[:2]
        owners[task, masks] = backbone
    return owners


@lru_cache(maxsize=1)
def _published_masks() -> Mapping[str, list[str]]:
    """Digests of the predictions and of all masks of each published cell."""
    content: dict[str, list[str]] = json.loads(resources.text("configs/canonical/masks.json"))
    return content


@lru_cache(maxsize=32)
def _releases(dataset: str) -> dict[str, Release]:
    """The known releases of a dataset, by the digest of their data."""
    try:
        text = resources.text(f"configs/canonical/{dataset}.json")
    except (DataNotFoundError, UnknownNameError):
        return {}
    content = json.loads(text)
    releases: dict[str, Release] = {}
    for digest, release in content["releases"].items():
        cells = {key: PublishedCell.from_text(text) for key, text in release["cells"].items()}
        releases[digest] = Release(
            digest,
            release["title"],
            release["rows"],
            release["facts"],
            cells,
            release.get("variants", {}),
        )
    return releases


def other_rows(result: Result, table: Predictions) -> str:
    """Say that a result was tested on other rows than the canonical ones.

    Args:
        result: The record.
        table: Its predictions.

    Returns:
        The reason; empty where the rows are canonical, or there is no canonical table for this
        release, protocol and seed.
    """
    release = canonical_release(result)
    if release is None:
        return ""
    if result.bad:
        return (
            "recordings were left out of it, and it states the digest of the complete data: "
            f"{release.title}"
        )
    wanted = release.rows.get(key_of(result))
    if wanted is not None:
        is_canonical = wanted == rows_digest(table)
    else:  # other folds of the same patients
        known = release.facts.get(facts_key_of(result))
        is_canonical = known is None or known == facts_digest(table)
    if is_canonical:
        return ""
    return (
        f"its rows are not those of {result.task} ({result.protocol}, seed {result.seed}) on "
        f"{release.title}: items, patients, folds, truth, groups or outcomes differ. Run the cell "
        "again with this version of etab"
    )
