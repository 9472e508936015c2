"""Checks across the results of a board: predictions that are copied, constant, or too good.

None of these checks proves a fault, so results are marked and stay on the board. Only computing a
cell again, with ``etab reproduce``, gives proof.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np

from etab.leaderboard.admission.canonical import (
    known_backbones,
    known_weights,
    name_as_seen,
    owner_of_masks,
    published_stem,
    unlike_its_publication,
)
from etab.leaderboard.admission.combined import best_of_all, mixtures
from etab.leaderboard.admission.decided import centred_on_test_rows, rules_of_test_rows
from etab.leaderboard.admission.entries import (
    FEWEST_ROWS,
    AdmittedEntry,
    Cell,
    Entries,
    correlations,
    is_constant,
    is_known_control,
    is_published,
    order_of,
    prediction_columns,
    same_rows,
    vector_of,
)
from etab.leaderboard.admission.stated import started_at
from etab.metrics import METRICS
from etab.metrics.sorted_rows import equal_runs
from etab.results import Result
from etab.results.names import split_size
from etab.types import FloatArray, IntArray, Kind

# Correlation above which predictions count as copied. The networks and controls of the published
# boards reach .990 with each other, and a copy with noise of 4 % of its errors .999.
COPY_CORRELATION = 0.999
# Correlation from which a pair is compared again without the rows that differ most, and their share.
_NEARLY_COPIED = 0.98
_WILD_SHARE = 0.01
# Share of rows with exactly the same prediction above which predictions count as copied.
COPIED_SHARE = 0.5
# Correlation of the predictions of two divisions into folds above which they are of one division:
# .9988 is the most on the published boards.
_ONE_DIVISION = 0.99999
# Digits of predictions that were rounded; a run writes seven.
_FEW_DIGITS = 4
_MOST_NAMED = 3
_COMPARED_PATIENTS = 64  # of each task, with those of other tasks
# Anchored value of predicted numbers below which they are of another unit, or of other rows.
_OTHER_UNIT = -1.0


def implausible(entries: Entries) -> Iterator[tuple[Cell, str]]:
    """Find results that a reader should check before relying on them.

    Args:
        entries: The results of a board by backbone and task code.

    Yields:
        The cell and the reason, one pair for each remark.
    """
    for cell, entry in entries.items():
        for reason in [*_alone(entry), *_odd_predictions(entry)]:
            yield cell, reason
    by_task: dict[str, dict[str, AdmittedEntry]] = {}
    for (backbone, code), entry in entries.items():
        by_task.setdefault(code, {})[backbone] = entry
    for code in sorted(by_task):
        of_task = by_task[code]
        yield from _copies(code, of_task)
        yield from mixtures(code, of_task)
        yield from best_of_all(code, of_task)
    yield from _of_another_task(entries)
    yield from _two_names(entries)
    yield from _mixed_settings(entries)


def _alone(entry: AdmittedEntry) -> Iterator[str]:
    result = entry.result
    if result.settings.get("family") != "control" and is_constant(entry.table):
        yield (
            "its predictions are the same for every row of a fold: nothing of the input is in them"
        )
    anchored = entry.task.anchored(result.value)
    best = METRICS[result.metric].best
    if METRICS[result.metric].reached and abs(result.value - best) < 1e-6:
        yield f"{result.metric} is {result.value:g}, which is perfect: too good to be true"
    elif anchored > 1:
        yield (
            f"{result.metric} {result.value:.4g} is better than the reference of the task "
            f"({entry.task.high:g}): too good to be believed before it is computed again"
        )
    elif entry.table.kind is Kind.VALUE and anchored < _OTHER_UNIT:
        yield (
            f"{result.metric} {result.value:.4g} is far worse than that of one value for everybody "
            f"({entry.task.low:g}): its predictions may have another unit, or belong to other rows"
        )
    yield from _other_identity(result)
    if not is_published(result):
        yield from rules_of_test_rows(entry)
        yield from centred_on_test_rows(entry)
    if result.provenance.get("dirty"):
        yield "it was computed by a copy of etab with changes that are in no commit"
    started = started_at(result)
    if started is not None and started > datetime.now(UTC) + timedelta(days=1):
        yield f"it says that it was started on {started:%Y-%m-%d}, which has not come yet"


def _other_identity(result: Result) -> Iterator[str]:
    """Weights that belong to another name, and claims about the kind of a backbone."""
    if result.phantom:
        return
    stem = published_stem(result.backbone)
    wanted = known_weights(result.backbone)
    if wanted and wanted != result.weights_sha256:
        yield (
            f"its weights_sha256 begins with {result.weights_sha256[:12]}; that of the published "
            f"{stem} begins with {wanted[:12]}"
        )
    unlike = unlike_its_publication(result)
    if unlike:
        yield unlike
    for name, other in known_backbones().items():
        if other.weights_sha256 == result.weights_sha256 != wanted:
            yield f"its weights are those of {name}"
    owner = owner_of_masks(result)
    if owner and owner != result.backbone:
        yield f"its masks are those of {owner}, bit for bit"
    if result.settings.get("family") == "control" and not is_known_control(stem):
        yield "it says that it is a control; etab knows no control of this name"


def _copies(code: str, entries: Mapping[str, AdmittedEntry]) -> Iterator[tuple[Cell, str]]:
    """Backbones whose predictions agree more closely than those of two networks do.

    The published backbone of a pair is the original. Of two others either can be the copy, so both
    are marked.
    """
    comparable = same_rows(entries)
    names = sorted(comparable)
    if len(names) < 2 or len(comparable[names[0]].table.items) < FEWEST_ROWS:
        return
    vectors = np.stack(
        [vector_of(entry, order_of(entry)) for _, entry in sorted(comparable.items())]
    )
    ordered = _Ordered.of(vectors)
    correlation = _agreement([comparable[name] for name in names], vectors)
    shares = _equal_shares(_without_repeated(vectors, ordered))
    originals: dict[str, list[str]] = {}
    for i, j in np.argwhere(np.tril(correlation > COPY_CORRELATION, -1)).tolist():
        shares.pop((i, j), None)
        for name, other in _suspects(comparable, names[i], names[j]):
            originals.setdefault(name, []).append(f"{other} (correlation {correlation[i, j]:.6f})")
    for name, others in originals.items():
        yield (name, code), f"its predictions are those of {_first(others)}"
    for i, j in _in_another_order(ordered.values):
        shares.pop((i, j), None)
        if correlation[i, j] <= COPY_CORRELATION and not is_constant(comparable[names[i]].table):
            for name, other in _suspects(comparable, names[i], names[j]):
                yield (name, code), f"its predictions are those of {other} for other rows"
    for (i, j), share in sorted(shares.items()):
        if is_constant(comparable[names[i]].table):
            continue
        for name, other in _suspects(comparable, names[i], names[j]):
            yield (
                (name, code),
                f"{share:.0%} of its predictions are those of {other} to the last digit",
            )


@dataclass(frozen=True, slots=True)
class _Ordered:
    """Vectors (n, length) in ascending order, each for itself.

    Attributes:
        values: (n, length) ascending numbers.
        ranks: The rank of each number in its vector; equal numbers share the first rank.
        counts: How often each number stands in its vector.
    """

    values: FloatArray
    ranks: FloatArray
    counts: IntArray

    @classmethod
    def of(cls, vectors: FloatArray) -> _Ordered:
        order = np.argsort(vectors, axis=1)
        values = np.take_along_axis(vectors, order, axis=1)
        first, past = equal_runs(values)
        ranks = np.empty(vectors.shape)
        counts = np.empty(vectors.shape, dtype=np.int64)
        np.put_along_axis(ranks, order, first, axis=1)
        np.put_along_axis(counts, order, past - first, axis=1)
        return cls(values, ranks, counts)


def _without_repeated(vectors: FloatArray, ordered: _Ordered) -> FloatArray:
    """Vectors with NaN for each value that a vector holds more than once.

    Probes that learn nothing from some folds predict the share of the classes there, and honest
    backbones then agree to the last digit. NaN equals nothing.
    """
    return np.where(ordered.counts > 1, np.nan, vectors)


def _in_another_order(ordered: FloatArray) -> list[tuple[int, int]]:
    """The pairs (later, earlier) of vectors, each sorted, that hold the same numbers."""
    first: dict[bytes, int] = {}
    pairs = []
    for i, vector in enumerate(ordered):
        earlier = first.setdefault(vector.tobytes(), i)
        if earlier != i:
            pairs.append((i, earlier))
    return pairs


def _first(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _suspects(
    entries: Mapping[str, AdmittedEntry], one: str, other: str
) -> Iterator[tuple[str, str]]:
    """Yield each of two backbones with the same predictions that can be the copy, and the other."""
    if _both_controls(one, other):
        return
    published = [is_published(entries[name].result) for name in (one, other)]
    if not published[0] or all(published):
        yield one, other
    if not published[1] or all(published):
        yield other, one


def _agreement(entries: list[AdmittedEntry], vectors: FloatArray) -> FloatArray:
    """The largest correlation (n, n) of two backbones' predictions, in any of the forms of a copy.

    Args:
        entries: Results of one task.
        vectors: Their predictions (n, length), by item and repeat.
    """
    first = entries[0].table
    errors = np.stack(
        [_errors(entry, vector) for entry, vector in zip(entries, vectors, strict=True)]
    )
    correlation = correlations(errors)
    if first.n_repeats > 1:
        # The mean over divisions is the same whatever the order of the divisions.
        means = errors.reshape(len(errors), -1, first.n_repeats).mean(axis=2)
        correlation = np.maximum(correlation, correlations(means))
    if first.kind is Kind.VALUE:
        # The same predictions on another scale differ from the truth in another way.
        correlation = np.maximum(correlation, correlations(vectors))
    # An AUROC reads nothing but the order of the scores in each fold.
    ranks = _ranks_in_folds(entries[0], errors)
    correlation = np.maximum(correlation, correlations(ranks))
    is_near = (correlation > _NEARLY_COPIED) & (correlation <= COPY_CORRELATION)
    for i, j in np.argwhere(np.tril(is_near, -1)).tolist():
        correlation[i, j] = max(correlation[i, j], _without_wild_rows(ranks[i], ranks[j]))
    return correlation


def _without_wild_rows(one: FloatArray, other: FloatArray) -> float:
    """The correlation of two vectors without the few numbers that differ most."""
    apart = np.abs(one - other)
    alike = apart <= np.quantile(apart, 1 - _WILD_SHARE)
    return float(correlations(np.stack([one[alike], other[alike]]))[0, 1])


def _ranks_in_folds(entry: AdmittedEntry, vectors: FloatArray) -> FloatArray:
    """The rank of each number among those of its fold, less the mean rank of the fold.

    Args:
        entry: A result with the rows of the vectors.
        vectors: Numbers (n, length) by item and repeat, for each class if there are several.
    """
    order = order_of(entry).tolist()
    folds = [(entry.table.repeats[row], entry.table.folds[row]) for row in order]
    rows_of: dict[tuple[int, int, str], list[int]] = {}
    for place in range(vectors.shape[1]):
        of_class, row = divmod(place, len(folds))
        rows_of.setdefault((of_class, *folds[row]), []).append(place)
    ranks = np.empty(vectors.shape)
    for rows in rows_of.values():
        in_fold = _Ordered.of(vectors[:, rows]).ranks
        ranks[:, rows] = in_fold - in_fold.mean(axis=1, keepdims=True)
    return ranks


def _errors(entry: AdmittedEntry, vector: FloatArray) -> FloatArray:
    """Predictions without the truth, which all good backbones share."""
    if entry.table.kind is not Kind.VALUE:
        return vector
    return np.asarray(vector - entry.table.columns["truth"][order_of(entry)])


def _equal_shares(vectors: FloatArray) -> dict[tuple[int, int], float]:
    """Share of equal predictions of each pair (later, earlier) that shares more than half.

    Pairs are compared only among vectors whose predictions are mostly found in others too, which
    sorting shows for all of them at once.
    """
    of_rows = np.sort(np.ascontiguousarray(vectors.T), axis=1)
    has_equal = (of_rows[:, 1:] == of_rows[:, :-1]).any(axis=1)
    if has_equal.mean() <= COPIED_SHARE:
        return {}  # no vector can share more
    order = np.argsort(vectors, axis=0, kind="stable")
    ordered = np.take_along_axis(vectors, order, axis=0)
    is_next = ordered[1:] == ordered[:-1]
    in_others = np.zeros(vectors.shape, dtype=bool)
    columns = np.broadcast_to(np.arange(vectors.shape[1]), is_next.shape)
    in_others[order[1:][is_next], columns[is_next]] = True
    in_others[order[:-1][is_next], columns[is_next]] = True
    suspects = np.flatnonzero(in_others.mean(axis=1) > COPIED_SHARE).tolist()
    shares: dict[tuple[int, int], float] = {}
    for place, i in enumerate(suspects):
        for j in suspects[:place]:
            share = float((vectors[i] == vectors[j]).mean())
            if share > COPIED_SHARE:
                shares[i, j] = share
    return shares


def _both_controls(name: str, other: str) -> bool:
    """Whether both are controls: they may agree where they cannot predict a task."""
    return is_known_control(name) and is_known_control(other)


def _odd_predictions(entry: AdmittedEntry) -> Iterator[str]:
    """Predictions that no run writes: of one division into folds for all, or rounded."""
    table = entry.table
    not_compared = table.kind is Kind.STATES or len(table.items) < FEWEST_ROWS
    if not_compared or is_constant(table) or is_known_control(entry.result.backbone):
        return
    vector = vector_of(entry, order_of(entry))
    by_division = vector.reshape(-1, table.n_repeats).T
    if table.n_repeats > 1:
        correlation = correlations(by_division)
        np.fill_diagonal(correlation, 0)
        equal = (by_division == by_division[0]).all(axis=0).mean()
        if equal > COPIED_SHARE or correlation.max() > _ONE_DIVISION:
            yield "its predictions are the same in two or more divisions into folds"
    if table.kind is not Kind.MASK and _rounded_to(vector, _FEW_DIGITS):
        yield (
            f"none of its predictions has more than {_FEW_DIGITS} digits: they were rounded, or are "
            "votes of a few neighbours"
        )


def _rounded_to(vector: FloatArray, digits: int) -> bool:
    """Whether no number has more significant digits."""
    sample = vector[:FEWEST_ROWS].tolist()
    pattern = f"%.{digits}g"
    if any(float(pattern % number) != number for number in sample):
        return False
    return all(float(pattern % number) == number for number in vector.tolist())


def _of_another_task(entries: Entries) -> Iterator[tuple[Cell, str]]:
    """Cells whose predictions for the patients are those of another task, of any backbone.

    A few patients of each task are compared, the same wherever tasks share them.
    """
    owners: dict[Kind, dict[tuple[str, float], Cell]] = {}
    for cell in sorted(entries, key=lambda cell: (cell[1], cell[0])):
        table = entries[cell].table
        if table.kind is Kind.STATES or is_constant(table) or is_known_control(cell[0]):
            continue
        sample = _sampled_rows(table.patients, table.repeats)
        means = sample.means(prediction_columns(table)[0]).tolist()
        values = list(zip(sample.patients, means, strict=True))
        owner = owners.setdefault(table.kind, {})
        others = Counter(owner[value] for value in values if value in owner)
        owner |= {value: cell for value in values if value not in owner}
        for (backbone, code), count in others.items():
            if (
                len(values) >= FEWEST_ROWS
                and code != cell[1]
                and count > COPIED_SHARE * len(values)
            ):
                yield cell, f"its predictions are those of {backbone} for {code}"


@dataclass(frozen=True, slots=True)
class _Sample:
    """Some patients of a table and their rows.

    Attributes:
        patients: Their names.
        rows: Their rows, those of one patient after those of another.
        starts: Where the rows of each patient begin.
        counts: Number of rows of each patient.
    """

    patients: tuple[str, ...]
    rows: IntArray
    starts: IntArray
    counts: IntArray

    def means(self, column: FloatArray) -> FloatArray:
        """Mean of a column over the rows of each patient: (patients,)."""
        return np.asarray(np.add.reduceat(column[self.rows], self.starts) / self.counts)


@lru_cache(maxsize=64)
def _sampled_rows(patients: tuple[str, ...], repeats: tuple[int, ...]) -> _Sample:
    """The rows of the first division of the patients whose names have the smallest checksums."""
    rows: dict[str, list[int]] = {}
    first = min(repeats)
    for row, (patient, repeat) in enumerate(zip(patients, repeats, strict=True)):
        if repeat == first:
            rows.setdefault(patient, []).append(row)
    chosen = sorted(rows, key=lambda patient: (zlib.crc32(patient.encode()), patient))
    compared = chosen[:_COMPARED_PATIENTS]
    counts = np.array([len(rows[patient]) for patient in compared])
    every_row = np.concatenate([rows[patient] for patient in compared])
    return _Sample(tuple(compared), every_row, np.cumsum(counts) - counts, counts)


def _two_names(entries: Entries) -> Iterator[tuple[Cell, str]]:
    """Backbones with the weights, or nearly the name, of another one that is not published either."""
    names_of: dict[str, set[str]] = {}
    names_alike: dict[str, set[str]] = {}
    for (backbone, _), entry in entries.items():
        names_of.setdefault(entry.result.weights_sha256, set()).add(backbone)
        names_alike.setdefault(name_as_seen(backbone), set()).add(backbone)
    published = {known.weights_sha256 for known in known_backbones().values()}
    for (backbone, code), entry in entries.items():
        digest = entry.result.weights_sha256
        others = sorted(names_of[digest] - {backbone})
        # One network at several input sizes has as many names.
        others = [name for name in others if split_size(name)[0] != split_size(backbone)[0]]
        if others and digest not in published and not entry.result.phantom:
            yield (backbone, code), f"its weights are those of {_first(others)}"
        alike = sorted(names_alike[name_as_seen(backbone)] - {backbone})
        if alike and not entry.result.phantom:
            yield (backbone, code), f"its name looks like that of {_first(alike)}"


def _mixed_settings(entries: Entries) -> Iterator[tuple[Cell, str]]:
    """One backbone with another precision or picture size in some of its tasks."""
    for name in ("precision", "size", "interpolation"):
        values: dict[str, dict[str, str]] = {}
        for (backbone, code), entry in entries.items():
            values.setdefault(backbone, {})[code] = str(entry.result.settings.get(name))
        for backbone, by_task in values.items():
            first = by_task[min(by_task)]
            others = [code for code, value in by_task.items() if value != first]
            if others:
                code = max(others)
                reason = f"its {name} is {by_task[code]} here and {first} in other tasks"
                yield (backbone, code), reason
