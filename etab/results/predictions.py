"""The out-of-fold predictions of a cell: the table from which every metric follows."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from functools import lru_cache

import numpy as np

from etab.errors import ResultError
from etab.results.plain_text import plain_table
from etab.results.row_names import all_zero, n_distinct, shared
from etab.types import Array, FloatArray, Kind

_FIRST_COLUMNS = ("kind", "item", "patient", "fold")
# Significant digits of a number in a prediction table, and those that distinguish any two float64.
_DIGITS = 7
_ALL_DIGITS = 17
# Difference of log-odds below which scores count as equal.
_NOISE = 1e-12
# Kinds whose scores are compared with each other.
_RANKED = (Kind.BINARY, Kind.CLASSES)
# Python reads more than that as a number, such as 5_0 or digits of another script. The words are
# numbers that are not finite, which tables refuse by their row.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(nan|inf|infinity)")
_REPEAT = re.compile(r"-?[0-9]{1,9}")


@dataclass(frozen=True)
class Predictions:
    """Out-of-fold predictions of a cell, one line per row; every metric follows from them.

    Numbers are rounded to 7 significant digits when the table is made, so that a file gives back
    the same table. Scores of classes get as many digits more as it takes to keep different scores
    different: probabilities near 1 (or close to each other anywhere) differ in later digits only,
    and AUROC depends on their order.

    Attributes:
        kind: What the rows hold.
        items: Names of the rows, such as "patient0001_2CH#0", each once in each repeat.
        patients: The patient of each row.
        folds: The name of the split that tested each row.
        columns: Numbers of each row: "truth" and "score" (or "score_0", "score_1", ... for
            classes); for masks "dice", "jaccard", "hd95" and "msd".
        repeats: The number of the division into folds that each row belongs to, from 0. Left out,
            all rows belong to division 0.
        masks: The predicted mask, boolean (h, w), of each row of a table of masks that was just
            computed. They are not part of the CSV: a table that is read has none.
        states: The predicted heart states at 50 Hz, (k,), of each row of a table of states that
            was just computed. They are not part of the CSV either.
        as_written: Whether the numbers come from a file: they are then kept as they are, not
            rounded.

    Raises:
        ResultError: If a column has another length, an item is listed twice in one repeat or is
            missing from one, or a number is not finite.

    Example:
        >>> table = Predictions(
        ...     Kind.VALUE, ("r1",), ("p1",), ("fold0",), {"truth": [55.0], "score": [51.25]}
        ... )
        >>> Predictions.from_csv(table.to_csv()).columns["score"].tolist()
        [51.25]
    """

    kind: Kind
    items: tuple[str, ...]
    patients: tuple[str, ...]
    folds: tuple[str, ...]
    columns: Mapping[str, FloatArray]
    repeats: tuple[int, ...] = ()
    masks: Sequence[Array] = field(default=(), compare=False, repr=False)
    states: Sequence[Array] = field(default=(), compare=False, repr=False)
    as_written: InitVar[bool] = False

    def __post_init__(self, as_written: bool) -> None:
        """Round the numbers, and refuse a table that could not be scored or written."""
        if not self.repeats:
            object.__setattr__(self, "repeats", all_zero(len(self.items)))
        if not as_written:
            rounded = {name: self._rounded_column(name) for name in self.columns}
            object.__setattr__(self, "columns", rounded)
        lengths = {len(self.patients), len(self.folds), len(self.repeats)}
        lengths |= {len(values) for values in self.columns.values()}
        for answers in (self.masks, self.states):
            if answers:
                lengths.add(len(answers))
        if lengths != {len(self.items)}:
            raise ResultError(
                f"A prediction table has {len(self.items)} items and columns of "
                f"{sorted(lengths)} rows."
            )
        self._refuse_other_repeats()
        for name, values in self.columns.items():
            if not np.isfinite(values).all():
                first = int(np.flatnonzero(~np.isfinite(values))[0])
                item = self.items[first]
                raise ResultError(
                    f"A prediction table holds a {name} for {item} that is not a finite number."
                )

    def _rounded_column(self, name: str) -> FloatArray:
        scores = self.kind in _RANKED and name.startswith("score")
        return _rounded(self.columns[name], scores=scores)

    @property
    def n_repeats(self) -> int:
        """Count the divisions into folds; 1 for a table without repeats."""
        return n_distinct(self.repeats)

    def _refuse_other_repeats(self) -> None:
        """Refuse an item that is twice in one repeat, or that one repeat lacks."""
        reason = _odd_repeats(self.items, self.repeats)
        if reason:
            raise ResultError(reason)

    def to_csv(self) -> str:
        """Write the table as CSV text; there is a column ``repeat`` only where rows repeat."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        repeated = any(self.repeats)
        names = [*_FIRST_COLUMNS, "repeat"] if repeated else list(_FIRST_COLUMNS)
        writer.writerow([*names, *self.columns])
        values = [
            [number_text(number) for number in column.tolist()] for column in self.columns.values()
        ]
        for i, item in enumerate(self.items):
            facts: list[str | int] = [self.kind.value, item, self.patients[i], self.folds[i]]
            if repeated:
                facts.append(self.repeats[i])
            writer.writerow([*facts, *[column[i] for column in values]])
        return out.getvalue()

    @classmethod
    def from_csv(cls, text: str, name: str = "this table") -> Predictions:
        """Read the text that ``to_csv`` writes.

        Args:
            text: The CSV text.
            name: Name of the file, for messages.

        Returns:
            The table, with the numbers as they are written.

        Raises:
            ResultError: If the text is not such a table; the message begins with ``name``.
        """
        header = text.partition("\n")[0].split(",")
        has_repeat = header[len(_FIRST_COLUMNS) : len(_FIRST_COLUMNS) + 1] == ["repeat"]
        table = None
        if tuple(header[: len(_FIRST_COLUMNS)]) == _FIRST_COLUMNS:
            table = plain_table(text, len(_FIRST_COLUMNS) + has_repeat)
        if table is None:
            return cls._from_any_csv(text, name)
        try:
            repeats = _whole_numbers(table.names[-1]) if has_repeat else ()
            return cls._of_text(table.names[: len(_FIRST_COLUMNS)], repeats, table.numbers)
        except (ValueError, IndexError) as error:
            raise ResultError(
                f"{name} is damaged: {str(error).rstrip('.')}. Move it away and run its cell again."
            ) from error

    @classmethod
    def _of_text(
        cls,
        names: Sequence[tuple[str, ...]],
        repeats: tuple[int, ...],
        columns: Mapping[str, FloatArray],
    ) -> Predictions:
        """The table of columns as they are written."""
        kinds, items, patients, folds = names
        # Tables of one task hold the same names: one copy of them serves all backbones.
        return cls(
            _kind_of(kinds),
            shared(items),
            shared(patients),
            shared(folds),
            columns,
            shared(repeats) if repeats else all_zero(len(items)),
            as_written=True,
        )

    @classmethod
    def _from_any_csv(cls, text: str, name: str) -> Predictions:
        """Read a table by the general reader, or say what is wrong with it."""
        try:
            rows = list(csv.reader(io.StringIO(text)))
        except csv.Error as error:
            raise ResultError(
                f"{name} is damaged: its lines cannot be divided into fields. Move it away and run "
                "its cell again."
            ) from error
        if len(rows) < 2 or tuple(rows[0][:4]) != _FIRST_COLUMNS:
            raise ResultError(
                f"{name} is not a prediction table: it must begin with kind,item,patient,fold and "
                "hold rows."
            )
        counts = Counter(rows[0])
        twice = [column for column in rows[0] if counts[column] > 1]
        if twice:
            raise ResultError(
                f"{name} has two columns {twice[0][:40]!a}; only one of them can be the "
                "predictions. Move it away and run its cell again."
            )
        wrong = _wrong_row(rows)
        if wrong:
            raise ResultError(f"{name} is damaged: {wrong}. Move it away and run its cell again.")
        repeats: tuple[int, ...] = ()
        first = len(_FIRST_COLUMNS)
        try:
            by_column = list(zip(*rows[1:], strict=True))
            if rows[0][first : first + 1] == ["repeat"]:
                repeats = _whole_numbers(by_column[first])
                first += 1
            columns = {}
            for i, column in enumerate(rows[0][first:], start=first):
                columns[column] = np.array(list(map(float, by_column[i])))
            return cls._of_text(by_column[: len(_FIRST_COLUMNS)], repeats, columns)
        except (ValueError, IndexError) as error:
            raise ResultError(
                f"{name} is damaged: {str(error).rstrip('.')}. Move it away and run its cell again."
            ) from error

    def sha256(self) -> str:
        """sha256 of the CSV bytes."""
        return hashlib.sha256(self.to_csv().encode()).hexdigest()


def _wrong_row(rows: Sequence[Sequence[str]]) -> str:
    """Say what is wrong with the first row of a table, given as texts, that is none; "" if none is."""
    header = rows[0]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            return f"row {number} has {len(row)} fields, and its header has {len(header)}"
        for column, text in zip(header[4:], row[4:], strict=True):
            if not _NUMBER.fullmatch(text.lower() if text.isascii() else text):
                return f"{column[:40]!a} of row {number} is {text[:40]!a}; wanted a number"
    return ""


@lru_cache(maxsize=256)
def _odd_repeats(items: tuple[str, ...], repeats: tuple[int, ...]) -> str:
    """Name an item that is listed twice in one repeat or missing from one; "" where none is."""
    items_of: dict[int, set[str]] = {repeat: set() for repeat in repeats}
    for item, repeat in zip(items, repeats, strict=True):
        if repeat < 0:
            return f"A prediction table has the repeat {repeat}; wanted 0 or more."
        if item in items_of[repeat]:
            where = f" in repeat {repeat}" if len(items_of) > 1 else ""
            return f"A prediction table lists {item} twice{where}; every row is predicted once."
        items_of[repeat].add(item)
    every_item = set(items)
    for repeat, of_repeat in items_of.items():
        if of_repeat != every_item:
            return (
                f"Repeat {repeat} of a prediction table lacks {min(every_item - of_repeat)}; "
                "every repeat predicts the same rows."
            )
    return ""


def _kind_of(texts: tuple[str, ...]) -> Kind:
    """The kind that every row names; raises ValueError where it is none, or there are several."""
    known = [kind.value for kind in Kind]
    for text in sorted(set(texts)):
        if text not in known:
            raise ValueError(
                f"a row is of the kind {text[:40]!a}; wanted one of {', '.join(known)}"
            )
        if text != texts[0]:
            raise ValueError(f"its rows are of the kinds {texts[0]} and {text}")
    return Kind(texts[0])


@lru_cache(maxsize=256)
def _whole_numbers(texts: tuple[str, ...]) -> tuple[int, ...]:
    """Whole numbers from their texts, read once for the tables of all backbones."""
    for text in set(texts):
        if not _REPEAT.fullmatch(text):
            raise ValueError(f"a repeat is {text[:40]!a}; wanted a whole number")
    return tuple(map(int, texts))


def _rounded(values: FloatArray, *, scores: bool) -> FloatArray:
    """Round to 7 significant digits, and scores to as many as keep different scores different."""
    numbers: FloatArray = np.asarray(values, dtype=np.float64)
    if not scores:
        return _at_digits(numbers, _DIGITS)
    numbers = _without_noise(numbers)
    different = len(np.unique(numbers))
    for digits in range(_DIGITS, _ALL_DIGITS):
        short = _at_digits(numbers, digits)
        if len(np.unique(short)) == different:
            return short
    return numbers


def _without_noise(scores: FloatArray) -> FloatArray:
    """Make probabilities equal whose log-odds differ by 1e-12 or less.

    Such differences are the rounding of sums. Without this, rows with equal features could get
    different ranks.
    """
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    # The derivative of the logistic function is p (1 - p).
    noise = _NOISE * ordered * (1 - ordered)
    is_larger = np.diff(ordered) > noise[:-1]
    starts = np.concatenate([[True], is_larger])[: len(ordered)]
    distinct = ordered[starts]
    out = np.empty_like(scores)
    out[order] = distinct[np.cumsum(starts) - 1]
    return out


def _at_digits(numbers: FloatArray, digits: int) -> FloatArray:
    """Numbers rounded to some significant digits."""
    pattern = f"%.{digits}g"
    rounded = [float(pattern % number) for number in numbers.tolist()]
    return np.array(rounded, dtype=np.float64)


def number_text(number: float) -> str:
    """Write a number so that reading the text gives the number back.

    Args:
        number: The number.

    Returns:
        7 significant digits if they are enough, otherwise all digits.

    Example:
        >>> number_text(0.25), number_text(1 / 3)
        ('0.25', '0.3333333333333333')
    """
    text = f"{number:.{_DIGITS}g}"
    return text if float(text) == number else repr(float(number))
