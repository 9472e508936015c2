"""One typed, versioned JSON a cell with its predictions beside it; written whole or not at all,
never overwritten.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import ResultError
from etab.storage.atomic import slug, write_atomically
from etab.storage.listing import is_hidden
from etab.types import FloatArray, Kind

SCHEMA = 1
_LARGEST = 1 << 28
_LISTED = 10

_FIRST_COLUMNS = ("kind", "item", "patient", "fold")
_DIGITS = 7  # significant digits of a number in a prediction table
_ALL_DIGITS = 17  # enough to tell any two float64 apart
_NOISE = 1e-12  # difference of log-odds below which scores count as equal
_RANKED = (Kind.BINARY, Kind.CLASSES)  # kinds whose scores are compared with each other


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

    def __post_init__(self) -> None:
        """Round, and refuse what could not be scored or written."""
        if not self.repeats:
            object.__setattr__(self, "repeats", (0,) * len(self.items))
        rounded = {
            name: _rounded(values, scores=self.kind in _RANKED and name.startswith("score"))
            for name, values in self.columns.items()
        }
        lengths = {len(self.patients), len(self.folds), len(self.repeats)}
        lengths |= {len(values) for values in rounded.values()}
        if lengths != {len(self.items)}:
            raise ResultError(
                f"A prediction table has {len(self.items)} items and columns of {sorted(lengths)} rows."
            )
        self._refuse_other_repeats()
        for name, values in rounded.items():
            if not np.isfinite(values).all():
                where = self.items[int(np.flatnonzero(~np.isfinite(values))[0])]
                raise ResultError(
                    f"A prediction table holds a {name} for {where} that is not a finite number."
                )
        object.__setattr__(self, "columns", rounded)

    @property
    def n_repeats(self) -> int:
        """Count the divisions into folds; 1 for a table without repeats."""
        return len(set(self.repeats))

    def _refuse_other_repeats(self) -> None:
        """Refuse an item that is twice in one repeat, or that one repeat lacks."""
        items_of: dict[int, set[str]] = {repeat: set() for repeat in self.repeats}
        for item, repeat in zip(self.items, self.repeats, strict=True):
            if repeat < 0:
                raise ResultError(f"A prediction table has the repeat {repeat}; wanted 0 or more.")
            if item in items_of[repeat]:
                where = f" in repeat {repeat}" if len(items_of) > 1 else ""
                raise ResultError(
                    f"A prediction table lists {item} twice{where}; every row is predicted once."
                )
            items_of[repeat].add(item)
        every_item = set(self.items)
        for repeat, items in items_of.items():
            if items != every_item:
                raise ResultError(
                    f"Repeat {repeat} of a prediction table lacks {min(every_item - items)}; "
                    "every repeat predicts the same rows."
                )

    def to_csv(self) -> str:
        """Write the table as CSV text; there is a column ``repeat`` only where rows repeat."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        repeated = any(self.repeats)
        names = [*_FIRST_COLUMNS, "repeat"] if repeated else list(_FIRST_COLUMNS)
        writer.writerow([*names, *self.columns])
        values = [[number_text(v) for v in column] for column in self.columns.values()]
        for i, item in enumerate(self.items):
            facts: list[str | int] = [self.kind.value, item, self.patients[i], self.folds[i]]
            if repeated:
                facts.append(self.repeats[i])
            writer.writerow([*facts, *[column[i] for column in values]])
        return out.getvalue()

    @classmethod
    def from_csv(cls, text: str, name: str = "this table") -> Predictions:
        """Read what ``to_csv`` wrote; raises ResultError naming ``name``."""
        try:
            rows = list(csv.reader(io.StringIO(text)))
        except csv.Error as error:
            raise ResultError(
                f"{name} is damaged: {error}. Move it away and run its cell again."
            ) from error
        if len(rows) < 2 or tuple(rows[0][:4]) != _FIRST_COLUMNS:
            raise ResultError(
                f"{name} is not a prediction table: it must begin with kind,item,patient,fold and hold rows."
            )
        repeats: tuple[int, ...] = ()
        first = len(_FIRST_COLUMNS)
        try:
            if rows[0][first : first + 1] == ["repeat"]:
                repeats = tuple(int(row[first]) for row in rows[1:])
                first += 1
            columns = {}
            for i, column in enumerate(rows[0][first:], start=first):
                columns[column] = np.array([float(row[i]) for row in rows[1:]])
            kinds, items, patients, folds = (tuple(r[i] for r in rows[1:]) for i in range(4))
            (kind,) = set(kinds)
            table = cls(Kind(kind), items, patients, folds, columns, repeats)
            # A table that is read keeps the numbers as they are written.
            object.__setattr__(table, "columns", columns)
            return table
        except (ValueError, IndexError) as error:
            raise ResultError(
                f"{name} is damaged: {error} Move it away and run its cell again."
            ) from error

    def sha256(self) -> str:
        """sha256 of the CSV bytes."""
        return hashlib.sha256(self.to_csv().encode()).hexdigest()


@dataclass(frozen=True)
class Result:
    """The record of a finished cell: which cell it is, its value, and everything that decided it.

    Nested values are kept as plain JSON values.

    Attributes:
        task: Code of the task.
        task_version: Version of the task when it was run.
        backbone: Name of the backbone.
        head: Name of the head.
        protocol: Name of the protocol, with the number of folds in it.
        seed: Seed of folds, head and resamples.
        dataset: Dataset that is tested on.
        phantom: Whether any of the data are made up.
        metric: The metric of the task.
        value: Value of ``metric``, in its own unit.
        low: Lower end of the interval of ``value``.
        high: Upper end of the interval.
        level: Level of the interval: 0.95 for 95 %.
        interval: Method of the interval.
        metrics: Every metric of the kind that exists for these rows.
        folds: For each split {name, value, n_test, choice}, with "repeat" where the patients are
            divided into folds more than once; value is None where the metric does not exist on
            the split.
        nested: {value, low, high} of nested cross-validation in results of older versions, which
            repeated it too rarely to be stable; None otherwise.
        n_train: Number of training rows, the mean over the splits.
        n_test: Number of test rows, each counted once however often it is predicted.
        n_patients: Number of test patients, the unit of intervals.
        weights_sha256: Identity of the backbone.
        data_digest: Sha256 of the data.
        features_key: Key of the features.
        settings: What decides a score beyond data and weights: precision, size, ...
        missing: [id, reason] of each recording that could not be scored.
        predictions_sha256: Sha256 of the table of predictions.
        anchor_low: The lower anchor of the task when it was run.
        anchor_high: The upper anchor.
        provenance: Versions, commit, clock and machine: no part of the identity.
        schema: Version of the file format.
        bad: What ``--skip-bad`` left out of the dataset; empty where nothing was. "recordings":
            [id, reason] of each; "lost": test patients of the task without any recording left;
            "partly": those with some left; "patients": how many test patients there would be.

    Raises:
        ResultError: If a field does not hold what it should; the message names it.
    """

    task: str
    task_version: int
    backbone: str
    head: str
    protocol: str
    seed: int
    dataset: str
    phantom: bool
    metric: str
    value: float
    low: float
    high: float
    level: float
    interval: str
    metrics: Mapping[str, float]
    folds: list[Mapping[str, Any]]
    nested: Mapping[str, float] | None
    n_train: int
    n_test: int
    n_patients: int
    weights_sha256: str
    data_digest: str
    features_key: str
    settings: Mapping[str, Any]
    missing: list[list[str]]
    predictions_sha256: str
    anchor_low: float
    anchor_high: float
    provenance: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA
    bad: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make nested values plain JSON and check every field."""
        for name in _NESTED:
            object.__setattr__(self, name, _plain(getattr(self, name), name))
        for f in fields(self):
            wanted, fits = _CHECKS.get(f.name) or _BY_TYPE[str(f.type)]
            if not fits(getattr(self, f.name)):
                raise ResultError(f"{f.name} is {_short(getattr(self, f.name))}; wanted {wanted}.")
        if self.low > self.high:
            raise ResultError(f"low is {self.low:g} and high is {self.high:g}; wanted low <= high.")

    def identity(self) -> str:
        """sha256 of everything but provenance: commit, clock and machine do not make another
        result.
        """
        return hashlib.sha256(
            json.dumps(self._facts(), sort_keys=True, allow_nan=False).encode()
        ).hexdigest()

    def _facts(self) -> dict[str, Any]:
        return {k: v for k, v in self._whole().items() if k != "provenance"}

    def _whole(self) -> dict[str, Any]:
        """Every field; ``bad`` only where something was left out, so that a whole result reads as
        it always did.
        """
        return {k: v for k, v in asdict(self).items() if k != "bad" or v}

    @staticmethod
    def path_of(
        folder: Path, dataset: str, task: str, backbone: str, protocol: str, seed: int, head: str
    ) -> Path:
        """Path of the record of a cell in a folder of results."""
        return (
            folder
            / slug(dataset)
            / slug(task)
            / slug(backbone)
            / f"{slug(protocol)}-{slug(head)}-s{seed}.json"
        )

    def path(self, folder: Path) -> Path:
        """Path of this record in a folder of results."""
        return self.path_of(
            folder, self.dataset, self.task, self.backbone, self.protocol, self.seed, self.head
        )

    def save(self, folder: Path, predictions: Predictions) -> Path:
        """Write the predictions, then the record: a record on disk always has its predictions.

        Saving an equal result again changes nothing, except that a lost or damaged table of
        predictions is written again.

        Args:
            folder: The folder of results.
            predictions: The table that this record was made from.

        Returns:
            The path of the record.

        Raises:
            ResultError: If another result has this path, or the predictions are of another one.
            StorageError: If the disk refuses; the files that were there stay.
        """
        if predictions.sha256() != self.predictions_sha256:
            raise ResultError(
                f"{self.task} with {self.backbone}: these predictions are not those of the result."
            )
        path = self.path(folder)
        text = predictions.to_csv()
        if path.exists():
            self._refuse_other(path)
            table = path.with_suffix(".csv")
            if not table.exists() or table.read_bytes() != text.encode():
                write_atomically(table, text)
            return path
        write_atomically(path.with_suffix(".csv"), text)
        write_atomically(path, self.to_json())
        return path

    def to_json(self) -> str:
        """The text of the record, as ``save`` writes it."""
        return json.dumps(self._whole(), indent=1, allow_nan=False) + "\n"

    def _refuse_other(self, path: Path) -> None:
        now = self._facts()
        stored = Result.load(path)._facts()
        differ = [name for name in {**now, **stored} if now.get(name) != stored.get(name)]
        if differ:
            first = "; ".join(
                f"{name} is {_short(stored.get(name))} there, {_short(now.get(name))} now"
                for name in differ[:3]
            )
            more = f" (and {', '.join(differ[3:])})" if differ[3:] else ""
            raise ResultError(
                f"{path} holds another result: {first}{more}. Results are never overwritten: "
                "move the old file away, or choose another results folder."
            )

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read a record.

        Args:
            path: The JSON file.

        Returns:
            The record.

        Raises:
            ResultError: If the file is no whole record; the message names file and field.
        """
        try:
            found = json.loads(_read_regular(path).decode("utf-8"))
        except (OSError, ValueError, RecursionError, MemoryError) as error:
            raise ResultError(
                f"{path} cannot be read as a result: {error}. Move it away and run the cell again."
            ) from error
        if not isinstance(found, dict) or found.get("schema") != SCHEMA:
            came = (
                found.get("schema", "no schema")
                if isinstance(found, dict)
                else type(found).__name__
            )
            raise ResultError(f"{path} has schema {came!r}; this version reads schema {SCHEMA}.")
        names = {f.name for f in fields(cls)}
        for words, wrong in (
            ("lacks", names - set(found) - {"bad"}),
            ("has unknown", set(found) - names),
        ):
            if wrong:
                listed = ", ".join(_short(name).strip("'") for name in sorted(wrong)[:_LISTED])
                raise ResultError(
                    f"{path} {words} {listed}; it is not a whole result of schema {SCHEMA}."
                )
        try:
            return cls(**found)
        except ResultError as error:
            raise ResultError(f"{path}: {error}") from None

    def predictions(self, folder: Path) -> Predictions:
        """Read the predictions of this cell and check them against the record.

        Args:
            folder: The folder of results.

        Returns:
            The table of predictions.

        Raises:
            ResultError: If the table is missing, damaged, or not the one of this record.
        """
        path = self.path(folder).with_suffix(".csv")
        try:
            data = _read_regular(path)
        except OSError as error:
            reason = f"cannot be read ({error.strerror})" if path.exists() else "is missing"
            raise ResultError(
                f"{path} {reason}: predictions belong beside their record. Restore it, or move the "
                "record away and run the cell again."
            ) from error
        if hashlib.sha256(data).hexdigest() != self.predictions_sha256:
            raise ResultError(
                f"{path} is not the table its record was made from (sha256 differs). Restore it."
            )
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ResultError(
                f"{path} is no UTF-8 text: {error}. Move it away and run its cell again."
            ) from error
        return Predictions.from_csv(text, str(path))


def _read_regular(path: Path) -> bytes:
    """Read a file; raises OSError for a pipe, device or folder, and for a file too large to be one
    of ours.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file")
    if path.stat().st_size > _LARGEST:
        raise OSError(errno.EFBIG, f"it is larger than {_LARGEST >> 20} MiB")
    return path.read_bytes()


def _rounded(values: FloatArray, *, scores: bool) -> FloatArray:
    """Numbers at 7 significant digits; scores at the first number of digits that makes no two of
    them equal.
    """
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
    """Make probabilities equal whose log-odds differ by 1e-12 or less: that is the rounding of
    sums.

    Without this, rows with equal features could get different ranks.
    """
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    noise = _NOISE * ordered * (1 - ordered)  # the derivative of the logistic function is p (1 - p)
    starts = np.concatenate([[True], np.diff(ordered) > noise[:-1]])[: len(ordered)]
    out = np.empty_like(scores)
    out[order] = ordered[starts][np.cumsum(starts) - 1]
    return out


def _at_digits(numbers: FloatArray, digits: int) -> FloatArray:
    return np.array([float(f"{number:.{digits}g}") for number in numbers], dtype=np.float64)


def number_text(number: float) -> str:
    """Write a number so that reading it gives it back: in 7 significant digits if that is enough,
    else in full.
    """
    text = f"{number:.{_DIGITS}g}"
    return text if float(text) == number else repr(float(number))


def _plain(value: Any, name: str) -> Any:
    """The value as JSON gives it back; raises ResultError for what JSON cannot hold."""
    try:
        return json.loads(json.dumps(value, allow_nan=False, default=_scalar))
    except (TypeError, ValueError) as error:
        raise ResultError(f"{name} cannot be written as JSON: {error}.") from error


def _scalar(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} {value!r} is no JSON value")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _count(value: Any) -> bool:
    return _integer(value) and value >= 0


def _number(value: Any) -> bool:
    if not (isinstance(value, float) or _integer(value)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float can hold
        return False


def _numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(_number(v) for v in value.values())


def _fold(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and set(value) - {"repeat"} == {"name", "value", "n_test", "choice"}
        and _count(value.get("repeat", 0))
        and isinstance(value["name"], str)
        and (value["value"] is None or _number(value["value"]))
        and _count(value["n_test"])
        and isinstance(value["choice"], dict)
    )


def _pairs(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(p, list) and len(p) == 2 and all(isinstance(w, str) for w in p) for p in value
    )


def _left_out(value: Any) -> bool:
    if not isinstance(value, dict) or not value:
        return value == {}
    names = [value.get(key) for key in ("lost", "partly")]
    return (
        set(value) == {"recordings", "lost", "partly", "patients"}
        and _pairs(value["recordings"])
        and all(isinstance(some, list) and all(isinstance(n, str) for n in some) for some in names)
        and _count(value["patients"])
    )


def _digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _named(value: Any) -> bool:
    if not isinstance(value, str) or not value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate, which no file or terminal can hold
        return False
    return True


Check = tuple[str, Callable[[Any], bool]]
_BY_TYPE: Mapping[str, Check] = {
    "str": ("a string", lambda v: isinstance(v, str)),
    "int": ("a whole number, 0 or more", _count),
    "float": ("a finite number", _number),
    "bool": ("true or false", lambda v: isinstance(v, bool)),
    "Mapping[str, float]": ("finite numbers by name", _numbers),
    "Mapping[str, Any]": ("values by name", lambda v: isinstance(v, dict)),
}
_CHECKS: Mapping[str, Check] = {
    **dict.fromkeys(
        ("task", "backbone", "head", "protocol", "dataset", "metric"),
        ("a name", _named),
    ),
    "level": ("a level between 0 and 1", lambda v: _number(v) and 0 < v < 1),
    "folds": (
        "a list of {name, value, n_test, choice}, with or without repeat",
        lambda v: isinstance(v, list) and all(_fold(f) for f in v),
    ),
    "nested": (
        "null or {value, low, high}",
        lambda v: v is None or (_numbers(v) and set(v) == {"value", "low", "high"}),
    ),
    "missing": (
        "a list of [id, reason]",
        lambda v: _pairs(v),
    ),
    "bad": ("{recordings, lost, partly, patients}, or empty", _left_out),
    "predictions_sha256": ("64 hexadecimal digits", _digest),
    "schema": (f"{SCHEMA}", lambda v: _integer(v) and v == SCHEMA),
}
_NESTED = ("metrics", "folds", "nested", "settings", "missing", "provenance", "bad")


@dataclass(frozen=True, slots=True)
class ResultFiles:
    """The records under a folder.

    Attributes:
        results: The records that could be read, in the order of their paths.
        problems: One reason for each file that cannot be used.
    """

    results: tuple[Result, ...]
    problems: tuple[str, ...]


def read_results(folder: Path) -> ResultFiles:
    """Read every record under a folder and say which files cannot be used.

    Hidden files are never records.

    Args:
        folder: A folder of results; an absent one holds none.

    Returns:
        The records, and the reasons against the files that cannot be read or lie where another
        cell belongs.
    """
    results: list[Result] = []
    problems: list[str] = []
    for path in sorted(folder.rglob("*.json")):
        if is_hidden(path.relative_to(folder)):
            continue
        try:
            result = Result.load(path)
        except ResultError as error:
            problems.append(str(error))
            continue
        if result.path(folder) == path:
            results.append(result)
        else:
            problems.append(
                f"{path} holds {result.task} with {result.backbone}, which belongs at "
                f"{result.path(folder)}: name the folder that contains {result.dataset}/, or move "
                "the file."
            )
    return ResultFiles(tuple(results), tuple(problems))


def load_results(folder: Path) -> list[Result]:
    """Read every record under a folder, sorted by path.

    Args:
        folder: A folder of results; an absent one holds none.

    Returns:
        The records.

    Raises:
        ResultError: If any file cannot be read or lies where another cell belongs; the error
            lists all of them.
    """
    files = read_results(folder)
    if files.problems:
        total = len(files.problems) + len(files.results)
        raise ResultError(
            f"{len(files.problems)} of {total} files: " + " Also: ".join(files.problems)
        )
    return list(files.results)
