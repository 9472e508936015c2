"""One cell by its names, the settings it runs with, and the plan of many cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from etab import backbones, datasets, heads
from etab.backbones.base import BackboneCard
from etab.backbones.identity import refuse_homonyms
from etab.errors import EtabError, IncompatibleError
from etab.features.base import input_of
from etab.heads.base import Head
from etab.runs import cross
from etab.tasks.aggregate import AGGREGATES
from etab.tasks.base import Task
from etab.tasks.menu import TASKS, find
from etab.tasks.protocols import chosen, parse, protocol_name
from etab.types import Kind


def clash(task: Task, card: BackboneCard, head: Head, asked: str | None) -> str:
    """What is wrong between a task, a backbone and a rule of aggregation; '' where nothing is."""
    if card.modality == "record" and task.modality != "sound":
        return f"{card.name} describes recordings of sound, {task.dataset} holds pictures."
    if head.needs_series and not card.over_time:
        return (
            f"the head {head.name!r} needs something to go by every 20 ms, and {card.name} has no layers over time: it "
            "speaks of whole recordings. Named networks of sound and backbones of still pictures have them."
        )
    if head.needs_series and not head.reads_layers and not card.series:
        return f"the head {head.name!r} reads one series of envelopes (envelopes, heart_series), {card.name} gives layers."
    if asked is None:
        return ""
    if not task.unit:
        return f"aggregate {asked!r} has nothing to put together: {task.code} scores every row."
    if AGGREGATES[asked].windows and task.modality != "sound":
        return f"aggregate {asked!r} is of windows of sound, {task.dataset} holds pictures."
    if AGGREGATES[asked].ordered and task.kind is Kind.VALUE:
        return f"aggregate {asked!r} is of classes, {task.code} asks for a value."
    return ""


PROTOCOLS = ("official", "cv5")


VERSION = 1


BOOTSTRAPS = 2000


Progress = Callable[[str, int, int], None]


Failed = Callable[["Run", EtabError], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a plan is run: none of these may change a score except ``precision`` and ``skip_bad``, which results record.

    skip_bad: recordings that cannot be read are left out instead of being an error.
    tasks: codes of the tasks that are run together. They alone decide which files are needed; empty stands for every task
    of a data set.
    """

    root: Path | None = None
    results: Path = Path("results")
    cache: Path | None = None
    device: str = "cpu"
    precision: str = "auto"
    batch_size: int | None = None
    skip_bad: bool = False
    tasks: tuple[str, ...] = ()

    @property
    def where(self) -> tuple[Path | None, bool, tuple[str, ...]]:
        """What decides which recordings are read: the folder, ``skip_bad``, and the tasks."""
        return self.root, self.skip_bad, self.tasks

    def needing(self, tasks: Iterable[str]) -> Settings:
        """The same settings for these tasks, where it was not said before for which tasks they are."""
        return self if self.tasks else replace(self, tasks=tuple(sorted(set(tasks))))


@dataclass(frozen=True, slots=True)
class Run:
    """One cell of the board, by names; ``check`` reads cards only, ``execute`` does the work."""

    task: str
    backbone: str
    head: str | None = None
    protocol: str = "cv5"
    seed: int = 0
    n_fold: int = 5
    aggregate: str | None = None
    card: BackboneCard | None = field(default=None, compare=False, repr=False)

    @property
    def row(self) -> Task:
        """The task's row of the menu, with the aggregation asked for in place of its own."""
        task = TASKS[self.task]
        if self.aggregate is None:
            return task
        windows = AGGREGATES[self.aggregate].windows
        return replace(task, aggregate=self.aggregate, inputs="window" if windows else task.inputs)

    @property
    def backbone_card(self) -> BackboneCard:
        """The backbone's card: the one given, or the one the name stands for."""
        return self.card or backbones.card(self.backbone)

    @property
    def head_name(self) -> str:
        """The head asked for, or the task's own."""
        return self.head or self.row.head

    @property
    def protocol_name(self) -> str:
        """Protocol with the number of folds in it."""
        return protocol_name(self.protocol, self.n_fold)

    def check(self) -> None:
        """Read the three cards and list every clash in one message; needs neither data nor weights."""
        clashes: list[str] = []
        for look in (
            lambda: self.row,
            lambda: self.backbone_card,
            lambda: heads.head(self.head_name),
            lambda: self.protocol_name,
        ):
            try:
                look()
            except EtabError as error:
                clashes.append(str(error))
        if not clashes:
            clashes = list(_clashes(self.row, self.backbone_card, heads.head(self.head_name)))
            more = clash(self.row, self.backbone_card, heads.head(self.head_name), self.aggregate)
            clashes += [more] if more else []
            if parse(self.protocol_name).tuning:
                clashes.append(
                    f"{self.protocol_name} trains the backbone too: `etab finetune` does that."
                )
        if clashes:
            raise IncompatibleError(f"{self.task} with {self.backbone}: " + " Also: ".join(clashes))


def _clashes(task: Task, card: BackboneCard, head: Head) -> Iterator[str]:
    source = datasets.SOURCES[task.dataset].card
    try:
        input_of(task).check(task, source)
    except IncompatibleError as error:
        yield str(error)
    if task.fit_on and (clash := cross.clash(task)):
        yield clash
    if card.modality not in (source.modality, "image", "record"):
        yield f"{card.name} reads {card.modality}, {source.name} holds {source.modality}."
    if task.kind not in head.kinds:
        fits = [n for n in heads.names() if task.kind in heads.head(n).kinds]
        yield f"the head {head.name!r} cannot answer {task.target} ({task.kind}); these can: {', '.join(fits)}."
    if head.needs_maps and not card.strides:
        yield f"the head {head.name!r} needs feature maps and {card.name} has none."
    if card.clip is not None and task.clip is None:
        yield f"{card.name} embeds clips and the rows of {task.code} are none."
    if (
        head.needs_sequences
        and task.clip is None
        and not (card.over_time and task.kind is Kind.STATES)
    ):
        yield f"the head {head.name!r} needs sequences and the rows of {task.code} are no clips."


def plan(
    tasks: str | Iterable[str] | None,
    names: Sequence[str | BackboneCard],
    *,
    protocols: Sequence[str] | None = PROTOCOLS,
    head: str | Sequence[str] | None = None,
    seed: int = 0,
    n_fold: int = 5,
    aggregate: str | None = None,
) -> list[Run]:
    """Lay out every cell, checked: unknown names and clashes are raised before anything is read.

    Several heads make a cell each; those of one task and backbone stand together and read the same features.
    ``protocols`` None is those of each task. Tasks of states are left out for backbones without time, and, with
    ``aggregate``, tasks that score every row.
    """
    runs: list[Run] = []
    timeless = ""
    wanted = [head] if head is None or isinstance(head, str) else list(dict.fromkeys(head))
    cards = [item if isinstance(item, BackboneCard) else backbones.card(item) for item in names]
    refuse_homonyms(cards)
    for card in cards:
        for task in find(tasks):
            if task.kind is Kind.STATES and not card.over_time:
                timeless = f" {card.name} has no layers over time, which {task.code} goes by."
                continue
            if aggregate and not task.unit:
                continue
            for name in chosen(task, protocols, n_fold):
                runs += [
                    Run(task.code, card.name, one, name, seed, n_fold, aggregate, card)
                    for one in wanted
                    if one is None or task.kind in heads.head(one).kinds
                ]
    if not runs:
        said = " or ".join(repr(name) for name in wanted)
        asked = (
            f"the head {said} answers" if head else "these backbones and this aggregation answer"
        )
        raise IncompatibleError(f"Nothing to run: {asked} none of the chosen tasks.{timeless}")
    for run in runs:
        run.check()
    return runs
