"""The protocols by name: the authors' split, folds of patients, and either of them with few labelled patients.

"official" and "cv5" use every training patient. "official-10pct-d0" trains on a draw of 10 % of them, "cv5-5shot-d2" on
5 patients of each class; the number behind d is the draw. The drawn patients of a smaller share are among those of a
larger one of the same draw, and every backbone sees the same patients. Where every row of a patient has one class, a
draw keeps the shares of the classes. What a head chooses, it chooses inside the drawn patients alone.

A name that ends in "-finetune" or "-partial2" has the same splits; the backbone is trained too, all of it or its last 2
blocks (``etab.tuned``). Without such an ending it is frozen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from etab.errors import IncompatibleError, UndefinedError
from etab.splits import INNER_FOLDS, row_splits
from etab.types import Array, IntArray, Kind, RowSplit

_NAME = re.compile(r"^(official|cv\d*)(?:-(\d+(?:\.\d+)?)(pct|shot)-d(\d+))?(?:-(finetune|partial[1-9]\d*))?$")
_NEEDED = 2


@dataclass(frozen=True, slots=True)
class Protocol:
    """A protocol taken apart.

    n_fold   folds of cross-validation; 0 for the authors' split
    percent  share of the training patients that is drawn, above 0 and below 100; None for no such draw
    shots    patients of each class that are drawn; None for no such draw
    draw     which draw, from 0
    tuning   what of the backbone is trained: "" nothing, "finetune" all of it, "partial2" its last 2 blocks
    """

    n_fold: int
    percent: float | None = None
    shots: int | None = None
    draw: int = 0
    tuning: str = ""

    @property
    def name(self) -> str:
        """The name that results carry."""
        base, tuning = f"cv{self.n_fold}" if self.n_fold else "official", f"-{self.tuning}" if self.tuning else ""
        if not self.few:
            return base + tuning
        size = f"{self.shots}shot" if self.shots else f"{self.percent:g}pct"
        return f"{base}-{size}-d{self.draw}{tuning}"

    @property
    def blocks(self) -> int | None:
        """How many of the last blocks of the backbone are trained; None for all of them, 0 for a frozen one."""
        if self.tuning == "finetune":
            return None
        return int(self.tuning.removeprefix("partial") or 0)

    @property
    def few(self) -> bool:
        """Whether only a draw of the training patients is trained on."""
        return bool(self.percent or self.shots)

    def splits(self, patients: Array, parts: Array, answers: Any, kind: Kind, seed: int) -> list[RowSplit]:
        """Turn rows into fits, see ``etab.splits.row_splits``; ``answers`` (n,) says which class a patient is of.

        Raises SplitError as that does, and UndefinedError where the draw holds fewer than two patients (of a class).
        """
        whole = row_splits(
            patients, parts, protocol="cv" if self.n_fold else "official", n_fold=self.n_fold or 5, seed=seed
        )
        if not self.few:
            return whole
        classes = _classes(patients, answers, kind)
        return [self._drawn(s, np.asarray(patients), classes, (seed, self.draw, i)) for i, s in enumerate(whole)]

    def _drawn(
        self, split: RowSplit, patients: Array, classes: dict[str, int], seeds: tuple[int, int, int]
    ) -> RowSplit:
        """A split with the drawn training patients, and inner parts of theirs."""
        found = [str(p) for p in np.unique(patients[split.train])]
        by_class = [[p for p in found if classes.get(p, 0) == c] for c in sorted({classes.get(p, 0) for p in found})]
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
    """The class of each patient; empty where patients have rows of several classes, or answers are no classes."""
    if kind not in (Kind.BINARY, Kind.CLASSES):
        return {}
    found: dict[str, int] = {}
    for patient, answer in zip(patients, np.asarray(answers), strict=True):
        if found.setdefault(str(patient), int(answer)) != int(answer):
            return {}
    return found


def parse(text: str, n_fold: int = 5) -> Protocol:
    """Read a name; "cv" alone has ``n_fold`` folds. Raises IncompatibleError saying what names look like."""
    match = _NAME.match(text)
    if match:
        base, size, unit, draw, tuning = match.groups()
        folds = 0 if base == "official" else int(base[2:] or n_fold)
        amount = float(size or 0)
        right = not size or (0 < amount < 100 if unit == "pct" else amount >= _NEEDED and amount == int(amount))
        if (folds > 1 or base == "official") and right:
            percent, shots = amount if unit == "pct" else None, int(amount) if unit == "shot" else None
            return Protocol(folds, percent, shots, int(draw or 0), tuning or "")
    raise IncompatibleError(
        f"No protocol is called {text!r}. Known: official, cv (or cv5, cv10, ...), and with few labelled patients "
        "official-10pct-d0 (10 %, first draw) or cv5-5shot-d0 (5 of each class; 2 or more). "
        "Each may end in -finetune or -partial2 (`etab finetune`)."
    )


def drawn(bases: list[str], percents: list[float], shots: list[float], draws: int) -> list[str]:
    """Names of the protocols with each share or number of patients, ``draws`` of each; 100 % is the base itself."""
    out: list[str] = []
    for base in bases:
        for percent in percents:
            out += [base] if percent == 100 else [f"{base}-{percent:g}pct-d{d}" for d in range(draws)]
        out += [f"{base}-{n:g}shot-d{d}" for n in shots for d in range(draws)]
    return list(dict.fromkeys(out))
