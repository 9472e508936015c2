"""Predictions that are put together from those of other backbones, or that hold the truth itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from etab.leaderboard.admission.entries import (
    FEWEST_ROWS,
    AdmittedEntry,
    Cell,
    is_constant,
    is_published,
    order_of,
    same_rows,
    vector_of,
)
from etab.types import FloatArray, Kind

# Share of the variance of predictions that no sum of published predictions explains: as much as a copy
# with a correlation of .999 leaves. Of published backbones the others leave at least .005.
_MIXED_REST = 2e-3

# Predictions of classes and values hold the truth where they correlate with what no published backbone
# knows of it; so much more than any published backbone does is remarkable.
_BEYOND = 0.15
_FEWEST_PUBLISHED = 4


def mixtures(code: str, entries: Mapping[str, AdmittedEntry]) -> Iterator[tuple[Cell, str]]:
    """Find backbones whose predictions are a weighted sum of published ones, or of those and the truth.

    Args:
        code: Code of the task.
        entries: Its results by backbone.

    Yields:
        The cell and the reason.
    """
    comparable = same_rows(entries)
    published = _published(comparable)
    strangers = [n for n, entry in sorted(comparable.items()) if not is_published(entry.result)]
    if len(published) < 2 or not strangers:
        return
    parts = [vector_of(entry, order_of(entry)) for entry in published]
    if len(parts[0]) < FEWEST_ROWS * len(parts):
        return
    words = {"a mixture of those of the published backbones": _basis(parts)}
    if published[0].table.kind in (Kind.VALUE, Kind.BINARY):
        truth = published[0].table.columns["truth"][order_of(published[0])]
        words["a mixture of published ones and the truth"] = _basis([*parts, truth])
    for name in strangers:
        vector = vector_of(comparable[name], order_of(comparable[name]))
        centred = vector - vector.mean()
        for of_what, basis in words.items():
            rest = centred - basis @ (basis.T @ centred)
            if (rest @ rest) < _MIXED_REST * (centred @ centred):
                yield (name, code), f"its predictions are {of_what}"
                break


def _published(entries: Mapping[str, AdmittedEntry]) -> list[AdmittedEntry]:
    """The entries of published backbones that predict something."""
    return [
        entry
        for entry in entries.values()
        if is_published(entry.result) and not is_constant(entry.table)
    ]


def _basis(parts: Sequence[FloatArray]) -> FloatArray:
    """Orthonormal columns that span vectors of the same length, each without its mean."""
    columns = np.stack(parts, axis=1)
    return np.asarray(np.linalg.qr(columns - columns.mean(axis=0))[0])


def beyond_published(code: str, entries: Mapping[str, AdmittedEntry]) -> Iterator[tuple[Cell, str]]:
    """Find backbones that know far more of the truth than the published ones do together.

    An encoder that is better than all published ones is found, too: only computing a cell again
    distinguishes it from predictions that the truth was mixed into.

    Args:
        code: Code of a task of values or of two classes.
        entries: Its results by backbone.

    Yields:
        The cell and the reason.
    """
    comparable = same_rows(entries)
    published = _published(comparable)
    if len(published) < _FEWEST_PUBLISHED or published[0].table.kind not in (
        Kind.VALUE,
        Kind.BINARY,
    ):
        return
    order = order_of(published[0])
    n_repeats = published[0].table.n_repeats
    truth = published[0].table.columns["truth"][order].reshape(-1, n_repeats).mean(axis=1)
    if len(truth) < FEWEST_ROWS * len(published):
        return

    def mean_of(entry: AdmittedEntry) -> FloatArray:
        vector = vector_of(entry, order_of(entry))
        return np.asarray(vector.reshape(-1, n_repeats).mean(axis=1))

    known = [mean_of(entry) for entry in published]
    usual = max(
        _correlation_beyond(known[i], truth, known[:i] + known[i + 1 :]) for i in range(len(known))
    )
    for name, entry in sorted(comparable.items()):
        if is_published(entry.result) or is_constant(entry.table):
            continue
        found = _correlation_beyond(mean_of(entry), truth, known)
        if found > usual + _BEYOND:
            yield (
                (name, code),
                f"what it adds to the published backbones correlates with the truth at {found:.2f} "
                f"(each of these adds at most {usual:.2f}): it is a better encoder, or the truth was "
                "mixed in; computing a cell again shows which",
            )


def _correlation_beyond(
    vector: FloatArray, truth: FloatArray, known: Sequence[FloatArray]
) -> float:
    """Correlation of predictions and truth, both without what other predictions explain of them."""
    basis = _basis(known)
    rests = []
    for one in (vector, truth):
        centred = one - one.mean()
        rests.append(centred - basis @ (basis.T @ centred))
    length = float(np.linalg.norm(rests[0]) * np.linalg.norm(rests[1]))
    return float(rests[0] @ rests[1]) / length if length > 0 else 0.0


def best_of_all(code: str, entries: Mapping[str, AdmittedEntry]) -> Iterator[tuple[Cell, str]]:
    """Find backbones whose predictions equal, row by row, the best prediction of the others.

    Args:
        code: Code of the task.
        entries: Its results by backbone.

    Yields:
        The cell and the reason.
    """
    comparable = same_rows(entries)
    if len(comparable) < 3:
        return
    names = sorted(comparable)
    losses = np.stack([_row_losses(comparable[name]) for name in names])
    if losses.shape[1] < FEWEST_ROWS:
        return
    best, second = _two_smallest(losses)
    best_of_others = np.where(losses == best, second, best)
    never_worse = (losses <= best_of_others + 1e-9).mean(axis=1)
    for i, name in enumerate(names):
        if never_worse[i] <= 0.95:
            continue
        others = np.delete(losses, i, axis=0)
        copied = np.isclose(others, losses[i], rtol=0, atol=1e-9).any(axis=0)
        if copied.mean() > 0.95:
            yield (
                (name, code),
                "row by row it is the best of the other backbones' predictions",
            )


def _two_smallest(losses: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The smallest and the second smallest number of each column (n, length): (length,) each."""
    places = losses.argmin(axis=0)
    others = losses.copy()
    others[places, np.arange(losses.shape[1])] = np.inf
    return losses.min(axis=0), others.min(axis=0)


def _row_losses(entry: AdmittedEntry) -> FloatArray:
    """A loss for each row, smaller where the prediction is better."""
    table = entry.table
    order = order_of(entry)
    columns = {name: column[order] for name, column in table.columns.items()}
    if table.kind is Kind.MASK:
        return np.asarray(1 - columns["dice"])
    if table.kind is Kind.STATES:
        return np.asarray(1 - columns[entry.task.metric])
    if table.kind is Kind.CLASSES:
        truth = columns["truth"].astype(int)
        of_classes = [columns[f"score_{k}"] for k in range(truth.max() + 1)]
        scores = np.stack(of_classes, axis=1)
        of_truth = scores[np.arange(len(truth)), truth]
        return np.asarray(1 - of_truth)
    errors = columns["score"] - columns["truth"]
    return np.asarray(np.abs(errors))
