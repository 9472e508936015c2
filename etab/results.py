"""One typed, versioned JSON a cell with its predictions beside it; written whole or not at all, never overwritten."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import ResultError, StorageError
from etab.types import FloatArray, Kind

SCHEMA = 1


@dataclass(frozen=True)
class Predictions:
    """Out-of-fold answers of a cell, a line a row: what anybody needs to compute every metric again.

    columns: "truth" and "score" (or "score_0" ... for classes), or for masks "dice", "jaccard", "hd95", "msd" of each
    frame. Numbers are rounded to 7 significant digits when the table is made, so that a file gives back the same table.
    """

    kind: Kind
    items: tuple[str, ...]
    patients: tuple[str, ...]
    folds: tuple[str, ...]
    columns: Mapping[str, FloatArray]

    def __post_init__(self) -> None:
        """Round, and refuse columns of another length."""
        n = len(self.items)
        rounded = {k: np.array([float(f"{v:.7g}") for v in values]) for k, values in self.columns.items()}
        lengths = {len(self.patients), len(self.folds), *(len(v) for v in rounded.values())}
        if lengths != {n}:
            raise ResultError(f"A prediction table has {n} items and columns of {sorted(lengths)} rows.")
        object.__setattr__(self, "columns", rounded)

    def to_csv(self) -> str:
        """Write the table as CSV text."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["kind", "item", "patient", "fold", *self.columns])
        values = [[f"{v:.7g}" for v in column] for column in self.columns.values()]
        for i, item in enumerate(self.items):
            writer.writerow([self.kind.value, item, self.patients[i], self.folds[i], *[c[i] for c in values]])
        return out.getvalue()

    @classmethod
    def from_csv(cls, text: str, name: str = "this table") -> Predictions:
        """Read what ``to_csv`` wrote; raises ResultError naming ``name``."""
        rows = list(csv.reader(io.StringIO(text)))
        if len(rows) < 2 or rows[0][:4] != ["kind", "item", "patient", "fold"]:
            raise ResultError(f"{name} is not a prediction table: it must begin with kind,item,patient,fold and hold rows.")
        try:
            columns = {k: np.array([float(r[i]) for r in rows[1:]]) for i, k in enumerate(rows[0]) if i >= 4}
            kind, items, patients, folds = (tuple(r[i] for r in rows[1:]) for i in range(4))
            return cls(Kind(kind[0]), items, patients, folds, columns)
        except (ValueError, IndexError) as error:
            raise ResultError(f"{name} is damaged: {error}.") from error

    def sha256(self) -> str:
        """sha256 of the CSV bytes."""
        return hashlib.sha256(self.to_csv().encode()).hexdigest()


@dataclass(frozen=True)
class Result:
    """A finished cell: the names that say which, the value with its interval, and everything that decided it."""

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

    def identity(self) -> str:
        """sha256 of everything but provenance: commit, clock and machine do not make another result."""
        facts = {k: v for k, v in asdict(self).items() if k != "provenance"}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @staticmethod
    def path_of(folder: Path, dataset: str, task: str, backbone: str, protocol: str, seed: int, head: str) -> Path:
        """Where a cell lives in a folder of results."""
        return folder / dataset / slug(task) / slug(backbone) / f"{protocol}-{head}-s{seed}.json"

    def path(self, folder: Path) -> Path:
        """Where this cell lives in a folder of results."""
        return self.path_of(folder, self.dataset, self.task, self.backbone, self.protocol, self.seed, self.head)

    def save(self, folder: Path, predictions: Predictions) -> Path:
        """Write predictions, then the record; a different result under the same name is refused, not replaced."""
        if predictions.sha256() != self.predictions_sha256:
            raise ResultError(f"{self.task} with {self.backbone}: these predictions are not those of the result.")
        path = self.path(folder)
        if path.exists():
            self._refuse_other(path)
            return path
        write_atomically(path.with_suffix(".csv"), predictions.to_csv())
        write_atomically(path, json.dumps(asdict(self), indent=1) + "\n")
        return path

    def _refuse_other(self, path: Path) -> None:
        old = Result.load(path)
        if old.identity() == self.identity():
            return
        mine, theirs = asdict(self), asdict(old)
        differ = [k for k in mine if k != "provenance" and mine[k] != theirs[k]]
        raise ResultError(
            f"{path} holds another result: {', '.join(differ)} differ. Results are never overwritten; move the old file "
            "away, or give --results another folder."
        )

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read a record; raises ResultError naming the file and the field that is wrong."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ResultError(f"{path} cannot be read as a result: {error}. Move it away and run the cell again.") from error
        if not isinstance(found, dict) or found.get("schema") != SCHEMA:
            came = found.get("schema") if isinstance(found, dict) else type(found).__name__
            raise ResultError(f"{path} has schema {came!r}; this version reads schema {SCHEMA}.")
        names = {f.name for f in fields(cls)}
        wrong = sorted(names ^ set(found))
        if wrong:
            raise ResultError(f"{path}: missing or unknown fields: {', '.join(wrong)}.")
        _check_types(found, path)
        return cls(**found)

    def predictions(self, folder: Path) -> Predictions:
        """Read the predictions of this cell and check them against the record."""
        path = self.path(folder).with_suffix(".csv")
        try:
            table = Predictions.from_csv(path.read_text(encoding="utf-8"), str(path))
        except OSError as error:
            raise ResultError(f"{path} is missing: the predictions belong beside the record.") from error
        if table.sha256() != self.predictions_sha256:
            raise ResultError(f"{path} is not the table its record was made from (sha256 differs).")
        return table


_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "float": (float, int), "bool": (bool,),
}  # fmt: skip


def _check_types(found: Mapping[str, Any], path: Path) -> None:
    for f in fields(Result):
        kinds = _TYPES.get(str(f.type))
        value = found[f.name]
        wrong = kinds is not None and (not isinstance(value, kinds) or (bool not in kinds and isinstance(value, bool)))
        if wrong:
            raise ResultError(f"{path}: {f.name} is {value!r}; wanted {f.type}.")


def slug(name: str) -> str:
    """A name as part of a path: unsafe characters become their code, so that no two names meet."""
    return re.sub(r"[^A-Za-z0-9._-]", lambda m: f"~{ord(m[0]):02x}", name).lstrip(".") or "~"


def write_atomically(path: Path, text: str) -> None:
    """Write a file whole or leave what was there; raises StorageError when the disk refuses."""
    temp: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False, encoding="utf-8")
        temp = Path(handle.name)
        with handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        temp.chmod(0o644)
        temp.replace(path)
    except OSError as error:
        if temp is not None:
            temp.unlink(missing_ok=True)
        raise StorageError(
            f"{path} could not be written: {error.strerror}. Nothing that was finished is lost; free some space and run "
            "the same command again."
        ) from error


def load_results(folder: Path) -> list[Result]:
    """Read every record under a folder, in a stable order; one that cannot be read is an error naming it."""
    return [Result.load(p) for p in sorted(folder.rglob("*.json"))]
