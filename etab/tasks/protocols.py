"""The protocols by name: the authors' split, folds of patients, one database left out, each also
with few labels.

"official" and "cv5" use every training patient; "lodo" leaves one database out at a time, tests it,
and chooses inside by the others. "official-10pct-d0" trains on a draw of 10 % of the patients,
"cv5-5shot-d2" on 5 patients of each class; the number behind d is the draw. The drawn patients of a
smaller share are among those of a larger one of the same draw, and every backbone sees the same
patients. Where every row of a patient has one class, a draw keeps the shares of the classes. What a
head chooses, it chooses inside the drawn patients alone.

A name that ends in "-finetune" or "-partial2" has the same splits; the backbone is trained too, all
of it or its last 2 blocks (``etab.finetuning.cells``). Without such an ending it is frozen.
"official-finetune-from:a0-A4-C" is adaptation: the backbone was first trained on the task a0-A4-C,
with a head of that task, then with the cell's own; after "-head-from:a0-A4-C" it stays as that task
left it, and only the new head is trained.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from etab.errors import IncompatibleError, UndefinedError
from etab.splits import INNER_FOLDS, folds, row_splits
from etab.tasks.base import Task
from etab.tasks.rows import Rows, undefined_note
from etab.types import Array, IntArray, Kind, RowSplit

_NAME = re.compile(
    r"^(official|lodo|cv\d*)(?:-(\d+(?:\.\d+)?)(pct|shot)-d(\d+))?"
    r"(?:-(finetune|partial[1-9]\d*|head(?=-from:))(?:-from:([a-f]\d-[A-Z][A-Z0-9]-[A-Z]))?)?$"
)
_NEEDED = 2


@dataclass(frozen=True, slots=True)
class Protocol:
    """A protocol taken apart.

    sort     "official", "cv" or "lodo"
    n_fold   folds of cross-validation; 0 for the others
    percent  share of the training patients that is drawn, above 0 and below 100; None for no such
             draw
    shots    patients of each class that are drawn; None for no such draw
    draw     which draw, from 0
    tuning   what of the backbone is trained: "" nothing, "finetune" all of it, "partial2" its last
             2 blocks; "head" nothing more than the task in ``source`` did
    source   code of the task that the backbone was trained on before; "" where it is as it was
             pretrained
    """

    sort: str
    n_fold: int = 0
    percent: float | None = None
    shots: int | None = None
    draw: int = 0
    tuning: str = ""
    source: str = ""

    @property
    def name(self) -> str:
        """The name that results carry."""
        tuning = f"-{self.tuning}" if self.tuning else ""
        tuning = f"{tuning}-from:{self.source}" if self.source else tuning
        base = self.base
        if not self.few:
            return base + tuning
        size = f"{self.shots}shot" if self.shots else f"{self.percent:g}pct"
        return f"{base}-{size}-d{self.draw}{tuning}"

    @property
    def base(self) -> str:
        """The name of the same splits with every training patient and a frozen backbone."""
        return f"cv{self.n_fold}" if self.n_fold else self.sort

    @property
    def blocks(self) -> int | None:
        """How many of the last blocks of the backbone are trained; None for all of them, 0 for a
        frozen one.
        """
        if self.tuning in ("finetune", "head"):
            return None if self.tuning == "finetune" else 0
        return int(self.tuning.removeprefix("partial") or 0)

    @property
    def few(self) -> bool:
        """Whether only a draw of the training patients is trained on."""
        return bool(self.percent or self.shots)

    def splits(
        self,
        patients: Array,
        parts: Array,
        answers: Any,
        kind: Kind,
        seed: int,
        groups: Sequence[str] = (),
    ) -> list[RowSplit]:
        """Turn rows into fits, see ``etab.splits.row_splits``; ``answers`` (n,) says which class a
        patient is of.

        ``groups`` (n,) is the database of each row.

        Raises SplitError as that does, and UndefinedError where the draw holds fewer than two
        patients (of a class).
        """
        whole = row_splits(
            patients,
            parts,
            protocol=self.sort,
            n_fold=self.n_fold or 5,
            seed=seed,
            groups=np.array(groups),
        )
        if not self.few:
            return whole
        classes = _classes(patients, answers, kind)
        return [
            self._drawn(s, np.asarray(patients), classes, (seed, self.draw, i))
            for i, s in enumerate(whole)
        ]

    def _drawn(
        self, split: RowSplit, patients: Array, classes: dict[str, int], seeds: tuple[int, int, int]
    ) -> RowSplit:
        """A split with the drawn training patients, and inner parts of theirs."""
        found = [str(p) for p in np.unique(patients[split.train])]
        by_class = [
            [p for p in found if classes.get(p, 0) == c]
            for c in sorted({classes.get(p, 0) for p in found})
        ]
        rng = np.random.default_rng(seeds)
        orders = [[group[i] for i in rng.permutation(len(group))] for group in by_class]
        drawn = [order[: self._size(len(order))] for order in orders]
        few = min(len(group) for group in drawn)
        if few < _NEEDED or any(self.shots and len(group) < self.shots for group in drawn):
            sizes = " and ".join(str(len(group)) for group in orders)
            raise UndefinedError(
                f"{self.name} does not exist here: {sizes} training patients{' of the classes' if classes else ''} give a "
                f"draw with {few}; at least {max(_NEEDED, self.shots or 0)} are needed. Take a larger share or fewer shots."
            )
        inner_of = {p: i % min(INNER_FOLDS, few) for group in drawn for i, p in enumerate(group)}
        train = np.array([row for row in split.train if str(patients[row]) in inner_of])
        place = np.array([inner_of[str(patients[row])] for row in train])
        inner: tuple[IntArray, ...] = tuple(train[place == k] for k in range(min(INNER_FOLDS, few)))
        return RowSplit(train, inner, split.test, split.name)

    def _size(self, n: int) -> int:
        return self.shots if self.shots else round(n * (self.percent or 0) / 100)


def _classes(patients: Array, answers: Any, kind: Kind) -> dict[str, int]:
    """The class of each patient; empty where patients have rows of several classes, or answers are
    no classes.
    """
    if kind not in (Kind.BINARY, Kind.CLASSES):
        return {}
    found: dict[str, int] = {}
    for patient, answer in zip(patients, np.asarray(answers), strict=True):
        if found.setdefault(str(patient), int(answer)) != int(answer):
            return {}
    return found


def parse(text: str, n_fold: int = 5) -> Protocol:
    """Read a name; "cv" alone has ``n_fold`` folds. Raises IncompatibleError saying what names look
    like.
    """
    match = _NAME.match(text)
    if match:
        base, size, unit, draw, tuning, source = match.groups()
        sort = "cv" if base.startswith("cv") else base
        n = int(base[2:] or n_fold) if sort == "cv" else 0
        amount = float(size or 0)
        right = not size or (
            0 < amount < 100 if unit == "pct" else amount >= _NEEDED and amount == int(amount)
        )
        if (n > 1 or sort != "cv") and right:
            percent = amount if unit == "pct" else None
            shots = int(amount) if unit == "shot" else None
            return Protocol(sort, n, percent, shots, int(draw or 0), tuning or "", source or "")
    raise IncompatibleError(
        f"No protocol is called {text!r}. Known: official, cv (or cv5, cv10, ...), lodo (leave one database out), and with "
        "few labelled patients official-10pct-d0 (10 %, first draw) or cv5-5shot-d0 (5 of each class; 2 or more). "
        "Each may end in -finetune or -partial2, or in -finetune-from:a0-A4-C, -head-from:a0-A4-C (`etab finetune`)."
    )


def drawn(bases: list[str], percents: list[float], shots: list[float], draws: int) -> list[str]:
    """Names of the protocols with each share or number of patients, ``draws`` of each; 100 % is the
    base itself.
    """
    out: list[str] = []
    for base in bases:
        for percent in percents:
            out += (
                [base] if percent == 100 else [f"{base}-{percent:g}pct-d{d}" for d in range(draws)]
            )
        out += [f"{base}-{n:g}shot-d{d}" for n in shots for d in range(draws)]
    return list(dict.fromkeys(out))


def protocol_name(protocol: str, n_fold: int) -> str:
    """Name a protocol as results carry it: "official", "lodo", or "cv" with its number of folds
    ("cv5").
    """
    return parse(protocol, n_fold).name


def chosen(task: Task, asked: Sequence[str] | None, n_fold: int) -> list[str]:
    """Named protocols to run a task by: its own, or those asked for that it knows.

    Raises IncompatibleError where it knows none of them: CirCor has no official split, few tasks
    have databases.
    """
    names = [protocol_name(p, n_fold) for p in (task.protocols if asked is None else asked)]
    kept = [
        name
        for name in names
        if parse(name).sort in task.protocols and not (task.fit_on and parse(name).few)
    ]
    if not kept:
        raise IncompatibleError(
            f"{task.code} has no protocol {' or '.join(names)}; it has {', '.join(task.protocols)}."
        )
    return kept


def splits_of(name: str, seed: int, rows: Rows, kind: Kind) -> list[RowSplit]:
    """The splits that a named protocol makes of these rows; raises SplitError or UndefinedError
    where it cannot.
    """
    return parse(name).splits(rows.patients, rows.parts, rows.answers, kind, seed, rows.groups)


def cells_of(name: str, n_fold: int, seed: int, rows: Rows) -> Array | None:
    """(n,) the authors' part and the fold of each row: what protocols of this many folds are made
    of; None for draws.
    """
    how = parse(name)
    if how.few:
        return None
    n = how.n_fold or n_fold
    if n > rows.n_patients:
        return np.asarray(rows.parts)
    place = folds(rows.patients.tolist(), n, seed)
    return np.array(
        [
            f"{part} {place[patient]}"
            for part, patient in zip(rows.parts, rows.patients.tolist(), strict=True)
        ]
    )


def remarks(task: Task, name: str, rows: Rows) -> tuple[str, ...]:
    """What a reader must know of this protocol on these rows."""
    undefined = undefined_note(task.code, rows.missing)
    notes = (undefined,) if undefined else ()
    if rows.groups and parse(name).sort == "cv" and len(set(rows.groups)) > 1:
        return (
            *notes,
            f"{task.code} ({name}): training and test share databases, which sound apart: scores are too good. "
            "Leave-one-database-out (lodo) is the primary protocol; read pooled scores beside database_only.",
        )
    return notes
