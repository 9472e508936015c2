"""The data of a plan: sources, rows of tasks and outlines, each opened once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from etab import datasets
from etab.datasets.base import Source
from etab.datasets.integrity.alike import Alike, known_alike
from etab.datasets.integrity.canonical import same_people, split_version
from etab.datasets.own.classes import is_class_file
from etab.echo.surface import Outline, outline
from etab.errors import CorruptFileError, EtabError, LayoutError, skippable
from etab.features.base import input_of
from etab.runs import cross, leaks
from etab.runs.run import Settings
from etab.runs.skip_bad import leave_copies_out, leave_unneeded, lists_leniently, sift
from etab.storage.digests import kept_digests
from etab.storage.text import counted
from etab.tasks.base import Task
from etab.tasks.codes import task_words
from etab.tasks.menu import TASKS, find
from etab.tasks.own import use_installed, use_own_data
from etab.tasks.protocols import parse
from etab.tasks.rows import ABSENT, Rows
from etab.types import FloatArray, Kind


def tasks_at(tasks: str | Iterable[str] | None, root: Path | None) -> list[str]:
    """Select the tasks that a folder can serve.

    A prefix ("c") may name tasks of several datasets. With ``root``, the folder of one dataset,
    only the tasks of that dataset are selected, and tasks that are in no suite as well. A task named
    by its whole code is always selected, and so are all tasks where the folder fits no dataset:
    opening it then reports what is wrong.

    Args:
        tasks: Codes, prefixes or names of datasets; None for all of CAMUS.
        root: The folder of one dataset, or None.

    Returns:
        The codes of the tasks, in the order of the menu.

    Raises:
        UnknownNameError: If a word names no task.
    """
    words = None if tasks is None else task_words(tasks)
    whole_codes = words or []
    use_installed(whole_codes)
    selected = find(words)
    names = list(dict.fromkeys(task.dataset for task in selected))
    fitting = names
    if root is not None and len(names) > 1:
        fitting = [name for name in names if _opens(name, root)] or names
    beside = [] if root is None else _beside_suites(whole_codes, root)
    if root is not None and beside and not any(_opens(name, root) for name in names):
        return [task.code for task in beside]
    return [t.code for t in selected if t.dataset in fitting or t.code in whole_codes]


def use_data_of(settings: Settings) -> None:
    """Register a user's own data that a plan names, in a process that starts anew."""
    if settings.data is not None:
        root = settings.root if is_class_file(settings.data) else None
        use_own_data(settings.data, root)
    use_installed(settings.tasks)


def _beside_suites(words: Sequence[str], root: Path) -> list[Task]:
    """Tasks of no suite whose codes begin with a word, of the dataset that a folder is laid out as."""
    prefixes = tuple(word for word in words if word and word not in TASKS)
    begun = [
        task
        for task in TASKS.values()
        if task.superseded_by is None
        and (task.extra or task.version == 0)
        and task.code.startswith(prefixes)
    ]
    fitting = {name: _opens(name, root) for name in {task.dataset for task in begun}}
    return [task for task in begun if fitting[task.dataset]]


def _opens(dataset: str, root: Path) -> bool:
    """Whether a folder is laid out as a dataset."""
    try:
        datasets.source(dataset, cross.dataset_root(root, dataset))
    except EtabError:
        return False
    return True


def lacking(names: Iterable[str], root: Path | None) -> list[str]:
    """Report published patients that the data at hand do not hold.

    Args:
        names: Names of datasets.
        root: The folder of the data, or None for the documented places.

    Returns:
        A sentence for each dataset that is not whole.
    """
    sentences = []
    for name in dict.fromkeys(names):
        sentence = datasets.missing_note(datasets.source(name, cross.dataset_root(root, name)))
        if sentence:
            sentences.append(sentence)
    return sentences


class Data:
    """The data that a plan reads.

    Each source, each table of rows and each digest is made once and kept as long as this object:
    many cells share them. Data that change on disk meanwhile are noticed by a new object only.
    """

    def __init__(self, settings: Settings, *, keeps_digests: bool = True) -> None:
        """Take the folder, ``skip_bad`` and the tasks from ``settings``; nothing is read yet.

        Args:
            settings: How a plan is run.
            keeps_digests: Whether digests of files are kept in the cache.
        """
        self._keeps_digests = keeps_digests
        self._root = settings.root
        self._skip_bad = settings.skip_bad
        self._codes = settings.tasks
        self._sources: dict[str, Source] = {}
        self._keys: dict[Task, Any] = {}
        self._rows: dict[Task, Rows] = {}
        self._outlines: dict[Task, tuple[Outline, ...]] = {}
        self._digests: dict[str, str] = {}
        self._cache = settings.cache
        self._alike: dict[str, tuple[Alike, ...]] = {}
        self._people_of: dict[str, dict[str, str]] = {}

    def source(self, dataset: str) -> Source:
        """Open a dataset, listing the recordings that the tasks need.

        With ``skip_bad``, recordings that cannot be read are left out.
        """
        if dataset not in self._sources:
            self._sources[dataset] = self._new_source(dataset)
        return self._sources[dataset]

    def _new_source(self, dataset: str) -> Source:
        source = datasets.source(dataset, cross.dataset_root(self._root, dataset))
        all_tasks = [task for task in TASKS.values() if task.dataset == dataset]
        tasks = [task for task in all_tasks if task.code in self._codes] or all_tasks
        if self._skip_bad:
            return self._without_copies(sift(source, tasks))
        if lists_leniently(source):
            with skippable():
                source.records()
        leave_unneeded(source, tasks)
        return source

    def _without_copies(self, source: Source) -> Source:
        """Leave out recordings that equal a recording of another patient."""
        digest = self._digest_of(source)
        with skippable():
            pairs = known_alike(source, digest, self._cache)
        leave_copies_out(source, pairs)
        remaining = leaks.within([record.id for record in source.records()], pairs)
        self._alike[source.card.name] = tuple(remaining)
        return source

    def keys(self, task: Task) -> Any:
        """List what is embedded for a task's family, in the order of the features.

        Returns:
            Frames, clips or windows, as the task's input lists them.
        """
        input_of(task).check(task, self.source(task.dataset).card)
        first = _first_of_family(task)
        if first not in self._keys:
            self._keys[first] = input_of(first).keys(first, self.source(first.dataset))
        return self._keys[first]

    def read_by(self, tasks: Iterable[Task]) -> list[int]:
        """List what the rows of some tasks of one family read, as indexes into their keys.

        A family embeds more than one of its tasks may read, such as the frames of both views.
        """
        read: set[int] = set()
        for task in tasks:
            read |= set(self.rows(task).frames.ravel().tolist())
        return sorted(read - {ABSENT})

    def rows(self, task: Task) -> Rows:
        """List the rows of a task; raises LayoutError when the data hold none."""
        if task not in self._rows:
            self._rows[task] = self._joined_rows(task) if task.fit_on else self._own_rows(task)
        return self._rows[task]

    def rows_of_people(self, task: Task, protocol: str) -> Rows:
        """List the rows of a task by person, as a protocol counts people.

        Args:
            task: The task.
            protocol: Its name. Protocols with repeated folds count several ids of one person
                (``same_person`` in configs/splits) as one patient. The other protocols keep the
                published ids until the boards are made again.

        Returns:
            The rows; ``patients`` are people where the protocol counts people.
        """
        rows = self.rows(task)
        if parse(protocol).repeats == 1:
            return rows
        person_of = self._people(task.dataset)
        if not person_of:
            return rows
        people = [person_of.get(patient, patient) for patient in rows.patients.tolist()]
        return replace(rows, patients=np.array(people, dtype=rows.patients.dtype))

    def values_of_classes(self, task: Task) -> FloatArray | None:
        """Read the values that the classes of a task are cut from (``Target.cut``).

        Args:
            task: The task.

        Returns:
            (n,) one value for each row of the task, in the unit of the values' target; None where
            classes are not cut from values.

        Raises:
            LayoutError: A row has a class and no value.
        """
        if task.fit_on:
            of_parts = [self.values_of_classes(TASKS[code]) for code in task.parts]
            values = [part for part in of_parts if part is not None]
            return np.concatenate(values) if len(values) == len(of_parts) else None
        cut = self.source(task.dataset).card.target(task.target).cut
        if cut is None:
            return None
        rows = self.rows(task)
        of_values = self.rows(replace(task, target=cut.target, kind=Kind.VALUE, metric="mae"))
        found = dict(zip(of_values.items, of_values.answers, strict=True))
        without = [item for item in rows.items if item not in found]
        if without:
            all_rows = counted(len(without), "row")
            raise LayoutError(
                f"{task.code}: {without[0]} has a class of {task.target!r} and no value of "
                f"{cut.target!r}, which the class is cut from ({all_rows} in all). "
                "Give the value, or leave the class out."
            )
        return np.array([found[item] for item in rows.items])

    def split_version(self, task: Task, protocol: str) -> int:
        """The version of the list of people that folds are made by; 1 where no list decides."""
        version = split_version(task.dataset)
        # The data need not be here for a task whose list has one version.
        if version == 1 or parse(protocol).repeats == 1 or not self._people(task.dataset):
            return 1
        return version

    def _people(self, dataset: str) -> dict[str, str]:
        """The person of each patient who shares a person with others; read once."""
        if dataset not in self._people_of:
            self._people_of[dataset] = same_people(self.source(dataset))
        return self._people_of[dataset]

    def _own_rows(self, task: Task) -> Rows:
        """Rows of a task on one dataset."""
        return input_of(task).rows(task, self.source(task.dataset), self.keys(task))

    def _joined_rows(self, task: Task) -> Rows:
        """Rows of a cross-dataset task: those of the dataset fitted on come first."""
        fitted, tested = (TASKS[code] for code in task.parts)
        return cross.joined_rows(self.rows(fitted), self.rows(tested), len(self.keys(fitted)))

    def outlines(self, task: Task) -> tuple[Outline, ...]:
        """Prepare the authors' masks of a task for scoring; empty for other kinds of answers."""
        if task not in self._outlines:
            self._outlines[task] = self._new_outlines(task)
        return self._outlines[task]

    def _new_outlines(self, task: Task) -> tuple[Outline, ...]:
        rows = self.rows(task)
        if task.kind is not Kind.MASK:
            return ()
        if task.fit_on:
            # Rows that a cross-dataset task fits on are never scored: any outline will do.
            tested = self.outlines(TASKS[task.parts[1]])
            return (*tested[:1] * (len(rows.items) - len(tested)), *tested)
        _check_spacing(task, rows)
        return tuple(
            outline(mask, spacing or (1.0, 1.0))
            for mask, spacing in zip(rows.answers, rows.spacing, strict=True)
        )

    def digest(self, dataset: str) -> str:
        """Compute the sha256 of the data that decide frames and answers.

        What ``skip_bad`` leaves out does not enter it.
        """
        if dataset not in self._digests:
            self._digests[dataset] = self._digest_of(self.source(dataset))
        return self._digests[dataset]

    def _digest_of(self, source: Source) -> str:
        with skippable(), kept_digests(self._cache, writes=self._keeps_digests):
            return source.digest()

    def alike(self, dataset: str) -> tuple[Alike, ...]:
        """List recordings of different patients that are alike: copies under two names.

        Ids of one person, which the notes of the dataset name, are left out.
        """
        if dataset not in self._alike:
            source = self.source(dataset)
            with skippable():
                pairs = known_alike(source, self.digest(dataset), self._cache)
            self._alike[dataset] = pairs
        return self._alike[dataset]


def _check_spacing(task: Task, rows: Rows) -> None:
    """Refuse rows of which some have a pixel size: distances would be in mm and in pixels."""
    without = [rows.records[i] for i, size in enumerate(rows.spacing) if size is None]
    if without and len(without) < len(rows.spacing):
        raise CorruptFileError(
            f"{task.code}: {len(without)} of {len(rows.spacing)} rows have no pixel size, first "
            f"{without[0]}, so that their distances would be in pixels beside others in mm. "
            "Restore its header."
        )


def _first_of_family(task: Task) -> Task:
    """The first task of the menu with the same features.

    Tasks of one family differ in much that does not change what is embedded.
    """
    family = (task.dataset, task.family, task.reader)
    for other in TASKS.values():
        if (other.dataset, other.family, other.reader) == family:
            return other
    return task
