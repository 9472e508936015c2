"""The record of a cell, one typed and versioned JSON file with the predictions beside it.

Files are written whole or not at all, and never overwritten.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import InitVar, asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from etab.errors import ResultError, UnreadableResultError
from etab.files import read_file
from etab.results.fields import NESTED, SCHEMA, Check, check_of, plain, short
from etab.results.masks import Keep, masks_path, packed_masks, sample_rows
from etab.results.predictions import Predictions
from etab.results.states import states_path, states_text
from etab.results.table_files import read_regular, read_table_bytes, table_path
from etab.storage.atomic import slug, write_atomically
from etab.types import Array

LARGEST_RECORD = 4 << 20
"""Largest size in bytes of a record."""

_LISTED = 10
# Runs write records of 6 levels. What reads them by recursion must not meet thousands.
_DEEPEST = 20
_CONTAINERS = (dict, list)
_TOO_DEEP = "its values are nested too deeply"
_OPTIONAL = ("bad", "masks", "n_train_patients")


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
        masks: Digests of the predicted masks: "sha256" of all, and "sample": [item, repeat, sha256]
            of each row of the stated sample. Empty for other kinds of answers, and in records of
            older versions.
        n_train_patients: Number of training patients, the mean over the splits, where ``n_train``
            counts other rows than the table of predictions, and other fits do not test the same
            patients. 0 elsewhere, and in records of older versions.
        as_written: Whether the nested values come from JSON: they are then plain already.

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
    masks: Mapping[str, Any] = field(default_factory=dict)
    n_train_patients: int = 0
    as_written: InitVar[bool] = False

    def __post_init__(self, as_written: bool) -> None:
        """Make nested values plain JSON and check every field."""
        if not as_written:
            for name in NESTED:
                object.__setattr__(self, name, plain(getattr(self, name), name))
        for name, (wanted, fits) in _record_fields().items():
            value = getattr(self, name)
            if not fits(value):
                raise ResultError(f"{name} is {short(value)}; wanted {wanted}.")
        if self.low > self.high:
            raise ResultError(f"low is {self.low:g} and high is {self.high:g}; wanted low <= high.")

    def identity(self) -> str:
        """Digest everything but the provenance.

        Another commit, clock or machine does not make another result.

        Returns:
            The sha256 in hexadecimal digits.
        """
        return hashlib.sha256(
            json.dumps(self._facts(), sort_keys=True, allow_nan=False).encode()
        ).hexdigest()

    def _facts(self) -> dict[str, Any]:
        return {k: v for k, v in self._whole().items() if k != "provenance"}

    def _whole(self) -> dict[str, Any]:
        """Every field; those of ``_OPTIONAL`` only where they hold something.

        Other records then have the text that they had before these fields existed.
        """
        return {k: v for k, v in asdict(self).items() if k not in _OPTIONAL or v}

    @staticmethod
    def path_of(
        folder: Path,
        dataset: str,
        task: str,
        backbone: str,
        protocol: str,
        seed: int,
        head: str,
    ) -> Path:
        """Make the path of the record of a cell.

        Args:
            folder: Folder of results.
            dataset: Name of the dataset.
            task: Code of the task.
            backbone: Name of the backbone.
            protocol: Name of the protocol.
            seed: Seed of the run.
            head: Name of the head.
        """
        return _path_of(folder, dataset, task, backbone, protocol, seed, head)

    def path(self, folder: Path) -> Path:
        """Path of this record in a folder of results."""
        return self.path_of(
            folder, self.dataset, self.task, self.backbone, self.protocol, self.seed, self.head
        )

    def save(
        self,
        folder: Path,
        predictions: Predictions,
        *,
        keep: Keep = "all",
    ) -> Path:
        """Write the masks and the predictions, then the record, which then has both beside it.

        Saving an equal result again changes nothing, except that lost or damaged files of
        predictions and masks are written again.

        Args:
            folder: The folder of results.
            predictions: The table that this record was made from.
            keep: Which masks to write beside the record of a cell of masks: "all" (and the stated
                sample in a file of its own), the "sample" alone, or "none". Beside the record of a
                cell of states lie the states of ``rows_with_states``, unless this is "none".

        Returns:
            The path of the record.

        Raises:
            ResultError: If another result has this path, or the predictions are of another one.
            StorageError: If the disk refuses; the files that were there stay.
        """
        text = predictions.to_csv()
        if hashlib.sha256(text.encode()).hexdigest() != self.predictions_sha256:
            raise ResultError(
                f"{self.task} with {self.backbone}: these predictions are not those of the result."
            )
        path = self.path(folder)
        if path.exists():
            self._refuse_other(path)
            if not _holds(table_path(path), text):
                write_atomically(path.with_suffix(".csv"), text)
            self._write_answers(path, predictions, keep)
            return path
        # Masks of a record that was moved away must not stay beside the new one.
        masks_path(path, "all").unlink(missing_ok=True)
        masks_path(path, "sample").unlink(missing_ok=True)
        states_path(path).unlink(missing_ok=True)
        self._write_answers(path, predictions, keep)
        write_atomically(path.with_suffix(".csv"), text)
        write_atomically(path, self.to_json())
        return path

    def _write_answers(
        self,
        path: Path,
        predictions: Predictions,
        keep: Keep,
    ) -> None:
        """Write the masks, or the states of the recordings that a page shows."""
        if keep == "none":
            return
        if predictions.states and not states_path(path).exists():
            write_atomically(states_path(path), states_text(predictions))
        masks = predictions.masks
        if not masks:
            return
        if keep == "all":
            _write_masks(masks_path(path, "all"), masks)
        rows = sample_rows(predictions.items, predictions.repeats)
        _write_masks(masks_path(path, "sample"), [masks[i] for i in rows])

    def to_json(self) -> str:
        """The text of the record, as ``save`` writes it."""
        return json.dumps(self._whole(), indent=1, allow_nan=False) + "\n"

    def _refuse_other(self, path: Path) -> None:
        now = self._facts()
        stored = Result.load(path)._facts()
        differ = [name for name in {**now, **stored} if now.get(name) != stored.get(name)]
        if differ:
            first = "; ".join(
                f"{name} is {short(stored.get(name))} there, {short(now.get(name))} now"
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
            UnreadableResultError: If the file is not a whole record; the message names file and
                field.
        """
        try:
            text = read_file(path, LARGEST_RECORD).decode("utf-8")
            found, is_finite = _read_json(text)
            _refuse_deep(found)
        except FileNotFoundError as error:
            raise UnreadableResultError(
                f"There is no file {path}. Name the JSON file of a result."
            ) from error
        except (OSError, ValueError, RecursionError, MemoryError) as error:
            raise UnreadableResultError(
                f"{path} cannot be read as a result: {_in_words(error)}. Move it away and run the "
                "cell again."
            ) from error
        if not isinstance(found, dict) or found.get("schema") != SCHEMA:
            came = (
                found.get("schema", "no schema")
                if isinstance(found, dict)
                else type(found).__name__
            )
            raise UnreadableResultError(
                f"{path} has schema {came!r}; this version reads schema {SCHEMA}."
            )
        names = _record_fields().keys()
        for words, wrong in (
            ("lacks", names - found.keys() - set(_OPTIONAL)),
            ("has unknown", found.keys() - names),
        ):
            if wrong:
                listed = ", ".join(short(name).strip("'") for name in sorted(wrong)[:_LISTED])
                raise UnreadableResultError(
                    f"{path} {words} {listed}; it is not a whole result of schema {SCHEMA}."
                )
        try:
            return cls(**found, as_written=is_finite)
        except ResultError as error:
            raise UnreadableResultError(f"{path}: {error}") from None

    def predictions(self, folder: Path) -> Predictions:
        """Read the predictions of this cell and check them against the record.

        Args:
            folder: The folder of results.

        Returns:
            The table of predictions.

        Raises:
            ResultError: If the table is missing, damaged, or not the one of this record.
        """
        path = table_path(self.path(folder))
        try:
            data = read_table_bytes(path)
        except OSError as error:
            reason = f"cannot be read ({error.strerror})" if path.exists() else "is missing"
            raise ResultError(
                f"{path} {reason}: predictions belong beside their record. Restore it, or run the "
                "cell again, which writes it."
            ) from error
        if hashlib.sha256(data).hexdigest() != self.predictions_sha256:
            raise ResultError(
                f"{path} is not the table its record was made from (sha256 differs). Restore it, or "
                "run the cell again, which writes it."
            )
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ResultError(
                f"{path} is not UTF-8 text (byte {error.start}). Move it away and run its cell "
                "again."
            ) from error
        return Predictions.from_csv(text, str(path))


@lru_cache(maxsize=1)
def _record_fields() -> Mapping[str, Check]:
    """The checks of all fields of a record, collected once."""
    return {field.name: check_of(field.name, str(field.type)) for field in fields(Result)}


@lru_cache(maxsize=1 << 14)
def _path_of(
    folder: Path, dataset: str, task: str, backbone: str, protocol: str, seed: int, head: str
) -> Path:
    """``Result.path_of``; a board asks for the path of each record several times."""
    name = f"{slug(protocol)}-{slug(head)}-s{seed}.json"
    return folder.joinpath(slug(dataset), slug(task), slug(backbone), name)


def _read_json(text: str) -> tuple[Any, bool]:
    """The content of a JSON text, and whether all of its numbers are finite.

    NaN and Infinity are not JSON, but Python reads them, and reads 1e999 as infinite.
    """
    not_finite: list[str] = []

    def number(digits: str) -> float:
        value = float(digits)
        if not math.isfinite(value):
            not_finite.append(digits)
        return value

    content = json.loads(
        text, object_pairs_hook=_each_key_once, parse_float=number, parse_constant=number
    )
    return content, not not_finite


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; raises ValueError where a key appears twice, since readers would differ."""
    content = dict(pairs)
    if len(content) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise ValueError(f"the key {twice[:40]!r} appears twice")
    return content


def _refuse_deep(content: Any) -> None:
    """Raise ValueError where JSON is nested more deeply than a record is."""
    level = [content] if type(content) in _CONTAINERS else []
    for _ in range(_DEEPEST):
        deeper: list[Any] = []
        for value in level:
            for part in value.values() if type(value) is dict else value:
                if type(part) in _CONTAINERS:
                    deeper.append(part)
        level = deeper
    if level:
        raise ValueError(_TOO_DEEP)


def _in_words(error: Exception) -> str:
    """Why a file is not JSON, without what Python says of its own limits."""
    if isinstance(error, RecursionError | MemoryError):
        return _TOO_DEEP
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 text (byte {error.start})"
    if "integer string conversion" in str(error):
        return "it holds a number of thousands of digits"
    return str(error)


def _write_masks(path: Path, masks: Sequence[Array]) -> None:
    """Write a file of masks where there is none with the same content."""
    packed = packed_masks(masks)
    with contextlib.suppress(OSError):
        if read_regular(path) == packed:
            return
    write_atomically(path, packed)


def _holds(table: Path, text: str) -> bool:
    """Whether the file of a table holds this text."""
    try:
        return read_table_bytes(table) == text.encode()
    except OSError:
        return False
