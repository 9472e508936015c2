"""The protocols by name: how rows are split, how many labels are used, what is trained.

Splits:

* "official" is the authors' split, "cv5" five folds of patients; both use every training patient.
* "cv5x5" divides the patients into five folds five times, with the seeds s to s + 4 of a run with
  seed s. Each division is stratified by class (``strata_of``).
* "lodo" tests one database at a time, and trains and chooses on the others.

Few labels: "official-10pct-d0" trains on a draw of 10 % of the patients, "cv5-5shot-d2" on 5
patients of each class; the number after d is the draw. A smaller draw is part of a larger one with
the same number, and every backbone is trained on the same patients. Where every row of a patient
has one class, a draw keeps the shares of the classes. Heads choose their options inside the drawn
patients.

Training of the backbone: a name that ends in "-finetune" or "-partial2" has the same splits, and
the whole backbone or its last 2 blocks are trained (``etab.finetuning.cells``). Without such an
ending the backbone is frozen. "official-finetune-from:a0-A4-C" is adaptation: the backbone is first
trained on the task a0-A4-C, with a head of that task, then on the task of the cell. With
"-head-from:a0-A4-C" only the new head is trained in the second step.

Lists: "lists:FILE" follows the folds that a file names (``etab.tasks.lists``). Results call it by
the name of the file and a digest of its folds: "lists:leclerc@0a1b2c3d4e5f". Few labels and
training are endings as for the other splits: "lists:leclerc@0a1b2c3d4e5f-10pct-d0-finetune".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import IncompatibleError, UndefinedError
from etab.splits import INNER_FOLDS, row_splits
from etab.tasks.base import Task
from etab.tasks.codes import BOARD_REPEATS
from etab.tasks.lists import PREFIX, list_key
from etab.tasks.strata import strata_of
from etab.types import Array, IntArray, Kind, RowSplit

_ENDING = (
    r"(?:-(\d+(?:\.\d+)?)(pct|shot)-d(\d+))?"
    r"(?:-(finetune|partial[1-9]\d*|head(?=-from:))(?:-from:([a-f]\d-[A-Z][A-Z0-9]-[A-Z]))?)?"
)
_NAME = re.compile(
    rf"(official|lodo|cv(?:[1-9]\d{{0,4}})?(?:x[1-9]\d{{0,2}})?|{PREFIX}.+?){_ENDING}",
    re.ASCII,  # digits of other scripts are none
)
_CROSS = re.compile(r"cv(\d*)(?:x(\d+))?", re.ASCII)
# Smallest number of patients (of a class) in a draw.
_NEEDED = 2
_FITTED_ONCE = (
    "A cross-dataset cell is fitted once, on all labelled patients of one dataset: it has no draws "
    "of few labels, no repeated folds and no folds of a file."
)


@dataclass(frozen=True, slots=True)
class Protocol:
    """The parts of a protocol.

    Attributes:
        sort: "official", "cv" or "lodo".
        n_fold: Number of folds of cross-validation; 0 for the others.
        percent: Share of the training patients that is drawn, above 0 and below 100; None without
            such a draw.
        shots: Number of patients of each class that are drawn; None without such a draw.
        draw: Number of the draw, from 0.
        tuning: What of the backbone is trained: "" nothing, "finetune" all of it, "partial2" its
            last 2 blocks, "head" nothing after the task ``source``.
        source: Code of the task that the backbone is trained on first; "" for the pretrained
            backbone.
        repeats: How often the patients are divided into folds.
        listed: Key of the published list that "lists" follows; "" for other protocols.
    """

    sort: str
    n_fold: int = 0
    percent: float | None = None
    shots: int | None = None
    draw: int = 0
    tuning: str = ""
    source: str = ""
    repeats: int = 1
    listed: str = ""

    @property
    def name(self) -> str:
        """The name in results."""
        tuning = ""
        if self.tuning:
            tuning = f"-{self.tuning}"
        if self.source:
            tuning = f"{tuning}-from:{self.source}"
        base = self.base
        if not self.few:
            return base + tuning
        size = f"{self.shots}shot" if self.shots else f"{self.percent:g}pct"
        return f"{base}-{size}-d{self.draw}{tuning}"

    @property
    def base(self) -> str:
        """The name of the same splits with every training patient and a frozen backbone."""
        if self.listed:
            return f"{PREFIX}{self.listed}"
        if not self.n_fold:
            return self.sort
        once = f"cv{self.n_fold}"
        return f"{once}x{self.repeats}" if self.repeats > 1 else once

    @property
    def blocks(self) -> int | None:
        """Number of the last blocks of the backbone that are trained; None for all, 0 for none."""
        if self.tuning == "finetune":
            return None
        if self.tuning == "head":
            return 0
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
        """Turn rows into fits, as ``etab.splits.row_splits`` does.

        Args:
            patients: (n,) the patient of each row.
            parts: (n,) the authors' part of each row.
            answers: (n,) the true answers. They decide the class of a patient, for draws and for
                stratified folds.
            kind: Kind of the answers.
            seed: Seed of the folds and draws; repeat r of repeated folds has the seed ``seed`` + r.
            groups: (n,) the database of each row; empty where there are none.

        Returns:
            The splits, one repeat after another.

        Raises:
            SplitError: As ``row_splits`` does.
            UndefinedError: The draw holds fewer than two patients (of a class).
        """
        strata = None
        if self.repeats > 1:
            strata = strata_of(patients, answers, kind, groups)
        splits: list[RowSplit] = []
        for repeat in range(self.repeats):
            whole = row_splits(
                patients,
                parts,
                protocol=self.sort,
                n_fold=self.n_fold or 5,
                seed=seed + repeat,
                groups=np.array(groups),
                strata=strata,
            )
            splits += [replace(split, repeat=repeat) for split in whole]
        return self.narrowed(splits, patients, answers, kind, seed)

    def narrowed(
        self, splits: list[RowSplit], patients: Array, answers: Any, kind: Kind, seed: int
    ) -> list[RowSplit]:
        """Keep of each split the training patients that are drawn; all of them without a draw.

        Args:
            splits: Splits with every training patient, one repeat after another.
            patients: (n,) the patient of each row.
            answers: (n,) the true answers.
            kind: Kind of the answers.
            seed: Seed of the draws.

        Returns:
            The splits.

        Raises:
            UndefinedError: The draw holds fewer than two patients (of a class).
        """
        if not self.few:
            return splits
        classes = _classes(patients, answers, kind)
        per_repeat = len(splits) // self.repeats
        drawn_splits = []
        for i, split in enumerate(splits):
            seeds = (seed + split.repeat, self.draw, i % per_repeat)
            drawn_splits.append(self._drawn(split, np.asarray(patients), classes, seeds))
        return drawn_splits

    def _drawn(
        self,
        split: RowSplit,
        patients: Array,
        classes: dict[str, int],
        seeds: tuple[int, int, int],
    ) -> RowSplit:
        """A split with the drawn training patients, and inner parts of these patients."""
        by_class: dict[int, list[str]] = {}
        for name in np.unique(patients[split.train]):
            patient = str(name)
            by_class.setdefault(classes.get(patient, 0), []).append(patient)
        rng = np.random.default_rng(seeds)
        drawn = []
        for of_class in sorted(by_class):
            members = by_class[of_class]
            order = rng.permutation(len(members))
            shuffled = [members[i] for i in order]
            drawn.append(shuffled[: self._size(len(shuffled))])
        few = min(len(group) for group in drawn)
        if few < max(_NEEDED, self.shots or 0):
            sizes = " and ".join(str(len(by_class[of_class])) for of_class in sorted(by_class))
            raise UndefinedError(
                f"{self.name} does not exist here: {sizes} training "
                f"patients{' of the classes' if classes else ''} give a "
                f"draw with {few}; at least {max(_NEEDED, self.shots or 0)} are needed. Take a "
                "larger share or fewer shots."
            )
        n_inner = min(INNER_FOLDS, few)
        inner_of: dict[str, int] = {}
        for group in drawn:
            for i, patient in enumerate(group):
                inner_of[patient] = i % n_inner
        train = np.array([row for row in split.train if str(patients[row]) in inner_of])
        fold = np.array([inner_of[str(patients[row])] for row in train])
        inner: tuple[IntArray, ...] = tuple(train[fold == k] for k in range(n_inner))
        return RowSplit(
            train,
            inner,
            split.test,
            split.name,
            split.repeat,
        )

    def _size(self, n: int) -> int:
        return self.shots if self.shots else round(n * (self.percent or 0) / 100)


def _classes(patients: Array, answers: Any, kind: Kind) -> dict[str, int]:
    """The class of each patient.

    Empty where patients have rows of several classes, or answers are not classes.
    """
    if kind not in (Kind.BINARY, Kind.CLASSES):
        return {}
    class_of: dict[str, int] = {}
    for patient, answer in zip(patients, np.asarray(answers), strict=True):
        first = class_of.setdefault(str(patient), int(answer))
        if first != int(answer):
            return {}
    return class_of


def parse(text: str, n_fold: int = 5) -> Protocol:
    """Read the name of a protocol.

    Args:
        text: The name, such as "official", "cv5" or "cv5x5-10pct-d0".
        n_fold: Number of folds of "cv", which names none.

    Returns:
        The protocol.

    Raises:
        IncompatibleError: The name is not a protocol; the message lists the forms of names.
        DataNotFoundError: For "lists:FILE" without such a file. A file that holds no folds raises
            what ``etab.tasks.lists.list_key`` raises.
    """
    if not isinstance(text, str):
        raise _unknown_protocol(text)
    if text.startswith(PREFIX) and Path(text.removeprefix(PREFIX)).expanduser().exists():
        return Protocol("lists", listed=list_key(text.removeprefix(PREFIX)))
    match = _NAME.fullmatch(text)
    if match:
        base, size, unit, draw, tuning, source = match.groups()
        sort = "cv" if base.startswith("cv") else base.partition(":")[0]
        n, repeats = _numbers(base, n_fold)
        amount = float(size or 0)
        right = not size or is_draw(amount, unit)
        if tuning and repeats:
            raise IncompatibleError(
                f"{text!r} would train the backbone {n * repeats} times: repeated folds are for "
                f"frozen backbones. Take cv{n}-{tuning}, with another --seed for other folds."
            )
        if (n > 1 or sort != "cv") and repeats != 1 and right:
            percent = amount if unit == "pct" else None
            shots = int(amount) if unit == "shot" else None
            return Protocol(
                sort,
                n,
                percent,
                shots,
                int(draw or 0),
                tuning or "",
                source or "",
                repeats or 1,
                list_key(base.removeprefix(PREFIX)) if sort == "lists" else "",
            )
    raise _unknown_protocol(text)


def _unknown_protocol(text: object) -> IncompatibleError:
    """Say that a name is not a protocol, with the forms of names."""
    return IncompatibleError(
        f"No protocol is called {text!r}. Known: official, cv (or cv5, cv10, ...), cv5x5 (five "
        "folds five times; 2 to 999 times), lodo (leave one database out), lists:FILE (folds that "
        "a file names), and with few labelled "
        "patients official-10pct-d0 (10 %, first draw) or cv5-5shot-d0 (5 of each class; 2 or "
        "more). Each but cv5x5 may end in -finetune or -partial2, or in -finetune-from:a0-A4-C, "
        "-head-from:a0-A4-C (`etab finetune`)."
    )


def is_draw(amount: float, unit: str) -> bool:
    """Whether a number of labelled patients can be drawn.

    Args:
        amount: A share in percent, or a number of patients of each class.
        unit: Which of them it is: "pct" or "shot".

    Returns:
        True for a share above 0 and below 100, and for a whole number of patients, 2 or more.

    Example:
        >>> is_draw(2.5, "pct"), is_draw(500, "pct"), is_draw(5, "shot"), is_draw(2.5, "shot")
        (True, False, True, False)
    """
    if unit == "pct":
        return 0 < amount < 100
    return amount >= _NEEDED and float(amount).is_integer()


def _numbers(base: str, n_fold: int) -> tuple[int, int]:
    """Numbers of folds and of repeats in a name; 0 where it has none."""
    match = _CROSS.fullmatch(base)
    if match is None:
        return 0, 0
    return int(match[1] or n_fold), int(match[2] or 0)


def drawn(
    bases: list[str],
    percents: list[float],
    shots: list[float],
    draws: int,
) -> list[str]:
    """Name the protocols that train on draws of patients; 100 % is the base itself.

    Args:
        bases: Names of the protocols to draw from.
        percents: Shares of training patients, in %.
        shots: Numbers of training patients.
        draws: Number of draws of each share or number.

    Example:
        >>> drawn(["official"], [10, 100], [], draws=2)
        ['official-10pct-d0', 'official-10pct-d1', 'official']
    """
    out: list[str] = []
    for base in bases:
        for percent in percents:
            if percent == 100:
                out.append(base)
                continue
            out += [f"{base}-{percent:g}pct-d{draw}" for draw in range(draws)]
        for number in shots:
            out += [f"{base}-{number:g}shot-d{draw}" for draw in range(draws)]
    return list(dict.fromkeys(out))


def protocol_name(protocol: str, n_fold: int) -> str:
    """Name a protocol as in results.

    Args:
        protocol: "official", "lodo" or "cv".
        n_fold: The number of folds of "cv".

    Example:
        >>> protocol_name("cv", 5)
        'cv5'
    """
    return parse(protocol, n_fold).name


def chosen(
    task: Task,
    asked: Sequence[str] | None,
    n_fold: int,
) -> list[str]:
    """Choose the protocols of a task.

    Where none is requested, folds of patients are repeated as on the boards, unless the task is
    fitted on another dataset.

    Args:
        task: The task.
        asked: Requested protocols; None for the protocols of the task.
        n_fold: The number of folds of "cv".

    Returns:
        Names of protocols that the task has.

    Raises:
        IncompatibleError: The task has none of the requested protocols: CirCor has no official
            split, and few tasks have databases.
    """
    if asked is None:
        repeated = f"cv{n_fold}x{BOARD_REPEATS}"
        asked = [repeated if sort == "cv" and not task.fit_on else sort for sort in task.protocols]
    names = [protocol_name(p, n_fold) for p in asked]
    fitting = [name for name in names if _fits(task, parse(name))]
    if not fitting:
        raise IncompatibleError(
            f"{task.code} has no protocol {' or '.join(names)}; it has {', '.join(task.protocols)}."
            + (f" {_FITTED_ONCE}" if task.fit_on else "")
        )
    return fitting


def _fits(task: Task, protocol: Protocol) -> bool:
    """Whether a task can be run by a protocol."""
    if task.fit_on and (protocol.few or protocol.repeats > 1 or protocol.listed):
        return False
    if protocol.listed:
        return True
    return protocol.sort in task.protocols
