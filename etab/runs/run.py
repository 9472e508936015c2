"""One cell by its names, the settings it runs with, and the plan of many cells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from etab import backbones, datasets, heads
from etab.backbones.base import BackboneCard
from etab.backbones.identity import is_of_package, refuse_homonyms
from etab.backbones.own.installed import is_installed
from etab.errors import EtabError, IncompatibleError, UnknownNameError
from etab.features.base import input_of
from etab.heads.base import Head
from etab.options import LARGEST_WHOLE, path_option, require_flag, whole_number
from etab.results.masks import Keep
from etab.runs import cross
from etab.tasks import thresholds
from etab.tasks.aggregate import AGGREGATES
from etab.tasks.base import Task
from etab.tasks.codes import BOARD_PROTOCOL
from etab.tasks.menu import TASKS, find
from etab.tasks.protocols import chosen, parse, protocol_name
from etab.types import Kind


def clash(task: Task, card: BackboneCard, head: Head, asked: str | None) -> str:
    """Explain why a task, a backbone, a head and an aggregation do not fit together.

    Args:
        task: The task.
        card: The card of the backbone.
        head: The head.
        asked: The name of an aggregation; None for that of the task.

    Returns:
        The reason, or "" if they fit.
    """
    if card.modality == "record" and task.modality != "sound":
        return f"{card.name} describes recordings of sound, {task.dataset} holds pictures."
    if head.needs_series and not card.over_time:
        return (
            f"the head {head.name!r} needs features every 20 ms, and {card.name} has no layers "
            "over time: it describes whole recordings. Named networks of sound and backbones of "
            "still pictures have them."
        )
    if head.needs_series and not head.reads_layers and not card.series:
        return (
            f"the head {head.name!r} reads one series of envelopes (envelopes, heart_series), "
            f"{card.name} gives layers."
        )
    if asked is None:
        return ""
    if not TASKS[task.code].aggregate:
        return f"aggregate {asked!r} has nothing to combine: {task.code} scores every row."
    if AGGREGATES[asked].windows and task.modality != "sound":
        return f"aggregate {asked!r} is for windows of sound, but {task.dataset} holds pictures."
    if AGGREGATES[asked].ordered and task.kind is Kind.VALUE:
        return f"aggregate {asked!r} is for classes, but {task.code} predicts a value."
    return ""


PROTOCOLS = ("official", BOARD_PROTOCOL)


RUNS_VERSION = 1


OnCell = Callable[[str, int, int], None]


Failed = Callable[["Run", BaseException], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How a plan is run.

    Only ``precision`` and ``skip_bad`` can change a score; results record both.

    Attributes:
        root: Folder of the data; None for the documented places.
        results: Folder of the result files.
        cache: Folder of stored features; None stores none.
        device: Any device of torch: "cpu", "cuda", "cuda:1", ...
        precision: "auto", "fastest" or one of ``etab.precisions.NAMED``.
        batch_size: Frames in memory at once; None for a number that fits the device.
        skip_bad: Leave out recordings that cannot be read, instead of raising an error.
        tasks: Codes of the tasks that are run together. They alone decide which files are needed.
            Empty stands for every task of a dataset.
        data: Description of a user's own table, such as ``clinic.toml``, which worker processes
            register as well; None for the datasets of etab.
        keep_masks: Which predicted masks are written beside the record of a cell of masks: "all"
            (and 20 rows that the record names in a file of their own), "sample" (these 20 alone)
            or "none". The record holds the digests whichever it is.
        log: File for the log of the run (``etab.runs.run_log``); None for the hidden folder of the
            results.
        timeout: Time in s for which a process may make no progress (load a backbone, embed a batch,
            finish a cell). It is ended then, and its cell is recorded as failed; 0 is no limit.

    Example:
        >>> Settings(root=Path("data/camus"), device="cuda").precision
        'auto'
    """

    root: Path | None = None
    results: Path = Path("results")
    cache: Path | None = None
    device: str = "cpu"
    precision: str = "auto"
    batch_size: int | None = None
    skip_bad: bool = False
    tasks: tuple[str, ...] = ()
    keep_masks: Keep = "all"
    data: Path | None = None
    log: Path | None = None
    timeout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("root", "results", "cache", "data", "log"):
            place = getattr(self, name)
            if place is not None or name == "results":
                object.__setattr__(self, name, path_option(f"Settings({name}=)", place))
        require_flag("Settings(skip_bad=)", self.skip_bad)

    def needing(self, tasks: Iterable[str]) -> Settings:
        """Set the tasks of these settings, unless they are set already.

        Args:
            tasks: Codes of tasks.

        Returns:
            Settings for these tasks.
        """
        return self if self.tasks else replace(self, tasks=tuple(sorted(set(tasks))))

    def absolute(self) -> Settings:
        """Name every folder and file from the root of the file system.

        Returns:
            Settings that hold in a process that starts in another folder, and after code of a
            backbone has changed the folder of this one.
        """
        return replace(
            self,
            root=None if self.root is None else self.root.absolute(),
            results=self.results.absolute(),
            cache=None if self.cache is None else self.cache.absolute(),
            data=None if self.data is None else self.data.absolute(),
            log=None if self.log is None else self.log.absolute(),
        )


@dataclass(frozen=True, slots=True)
class Run:
    """A cell of the board, by names.

    Attributes:
        task: Code of the task.
        backbone: Name of the backbone.
        head: Name of the head; None for the head of the task.
        protocol: Who is trained on and who is tested: "official", "cv5", ...
        seed: Seed of folds, head and resamples, 0 or more.
        n_fold: Number of folds where the protocol does not name one, 2 or more.
        aggregate: Rule that combines the rows of a unit; None for the rule of the task.
        decide: How scores become classes, "metric" or "balanced"
            (``etab.tasks.thresholds``); None for "metric", as on the boards.
        card: Card of the backbone; None to look its name up.

    Example:
        >>> run = Run("b0-A4-C", "image_stats", protocol="cv", n_fold=3)
        >>> run.check()
        >>> run.head_name, run.protocol_name
        ('stack', 'cv3')
    """

    task: str
    backbone: str
    head: str | None = None
    protocol: str = BOARD_PROTOCOL
    seed: int = 0
    n_fold: int = 5
    aggregate: str | None = None
    decide: str | None = None
    card: BackboneCard | None = field(default=None, compare=False, repr=False)

    @property
    def row(self) -> Task:
        """The task, with ``aggregate`` in place of its own rule."""
        task = TASKS[self.task]
        if self.aggregate is None:
            return task
        windows = AGGREGATES[self.aggregate].windows
        return replace(task, aggregate=self.aggregate, inputs="window" if windows else task.inputs)

    @property
    def backbone_card(self) -> BackboneCard:
        """The card of the backbone: the given one, or the card of its name."""
        return self.card or backbones.card(self.backbone)

    @property
    def head_name(self) -> str:
        """Name of the head: the given one, or the head of the task."""
        return self.head or self.row.head

    @property
    def protocol_name(self) -> str:
        """Name of the protocol, with the number of folds in it."""
        return protocol_name(self.protocol, self.n_fold)

    def check(self) -> None:
        """Check that task, backbone, head and protocol fit together.

        Reads their cards alone: neither data nor weights.

        Raises:
            IncompatibleError: If they do not; the message lists every reason.
        """
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
            head = heads.head(self.head_name)
            clashes = list(_clashes(self.row, self.backbone_card, head, self.protocol_name))
            more = clash(self.row, self.backbone_card, head, self.aggregate)
            clashes += [more] if more else []
            clashes += _clashes_of_decision(self.row, self.decide)
            if parse(self.protocol_name).tuning:
                clashes.append(
                    f"{self.protocol_name} trains the backbone too: `etab finetune` does that."
                )
        if clashes:
            raise IncompatibleError(f"{self.task} with {self.backbone}: " + " Also: ".join(clashes))


def require_head(task: Task, head: Head) -> None:
    """Check that a head can answer a task.

    Args:
        task: The task.
        head: The head.

    Raises:
        IncompatibleError: It is for other kinds of answers; the message lists those that fit.
    """
    if task.kind in head.kinds:
        return
    raise IncompatibleError(
        f"the head {head.name!r} cannot answer {task.target} ({task.kind}); these can: "
        f"{', '.join(_heads_for(task.kind))}."
    )


def reads_maps(run: Run) -> bool:
    """Whether the head of a cell reads feature maps: itself, or as the tokens of pictures."""
    return _reads_maps(heads.head(run.head_name), run.row)


def _reads_maps(head: Head, task: Task) -> bool:
    of_pictures = task.clip is None and task.modality == "image"
    return head.needs_maps or (head.needs_tokens and of_pictures)


def _clashes_of_decision(task: Task, decide: str | None) -> list[str]:
    """Why scores of a task cannot be turned into classes in this way; empty where they can."""
    if decide is None:
        return []
    if decide not in thresholds.DECISIONS:
        return [f"decide is {decide!r}; possible: {', '.join(thresholds.DECISIONS)}."]
    if not thresholds.needed(task):
        return [f"decide {decide!r} has no effect: {task.metric} is computed from scores."]
    if task.aggregate and AGGREGATES[task.aggregate].beside:
        return [f"decide {decide!r} is not for {task.code}, whose rule has thresholds of its own."]
    return []


def _clashes(task: Task, card: BackboneCard, head: Head, name: str) -> Iterator[str]:
    source = datasets.SOURCES[task.dataset].card
    try:
        input_of(task).check(task, source)
    except IncompatibleError as error:
        yield str(error)
    if task.fit_on and (clash := cross.cross_clash(task)):
        yield clash
    protocol = parse(name)
    if task.fit_on and protocol.repeats > 1:
        yield (
            f"{task.code} is fitted once, on all labelled patients of {task.fit_on}, so that "
            f"there are no folds to repeat; take cv{protocol.n_fold} instead of {name}."
        )
    if card.modality not in (source.modality, "image", "record", "vectors"):
        yield f"{card.name} reads {card.modality}, {source.name} holds {source.modality}."
    try:
        require_head(task, head)
    except IncompatibleError as error:
        yield str(error)
    if not card.strides and _reads_maps(head, task):
        yield f"the head {head.name!r} needs feature maps, but {card.name} has none."
    if card.clip is not None and task.clip is None:
        yield f"{card.name} embeds clips, but the rows of {task.code} are not clips."
    if (
        head.needs_sequences
        and task.clip is None
        and not (card.over_time and task.kind is Kind.STATES)
    ):
        yield f"the head {head.name!r} needs sequences, but the rows of {task.code} are not clips."


def plan(
    tasks: str | Iterable[str] | None,
    names: Sequence[str | BackboneCard],
    *,
    protocols: Sequence[str] | None = PROTOCOLS,
    head: str | Sequence[str] | None = None,
    seed: int = 0,
    n_fold: int = 5,
    aggregate: str | None = None,
    decide: str | None = None,
) -> list[Run]:
    """List every cell of a plan, checked before anything is read.

    Tasks of states are left out for backbones that have no layers over time. With ``aggregate``,
    tasks that score every row are left out; with ``decide``, tasks whose metric is of scores.

    Args:
        tasks: Codes, prefixes or the name of a dataset; None for every task of CAMUS.
        names: Names or cards of backbones.
        protocols: Names of protocols; None for those of each task.
        head: Names of heads, each of which makes a cell; None for the head of each task.
        seed: Seed of folds, heads and resamples, 0 or more.
        n_fold: Number of folds where a protocol does not name one, 2 or more.
        aggregate: Rule that combines the rows of a unit; None for the rule of each task.
        decide: How scores become classes, as for ``Run``.

    Returns:
        The cells. Those of one backbone and task stand together: they share features.

    Raises:
        UnknownNameError: If a name is not known.
        IncompatibleError: If a backbone, a task, a head and a protocol do not fit together, or
            nothing is left to run.

    Example:
        >>> cells = plan("b0", ["image_stats", "pixel_pca"], protocols=("official",))
        >>> len(cells), sorted({cell.backbone for cell in cells})
        (4, ['image_stats', 'pixel_pca'])
    """
    seed = whole_number("seed", seed, 0, LARGEST_WHOLE)
    runs: list[Run] = []
    timeless = ""
    head_names = [head] if head is None or isinstance(head, str) else list(dict.fromkeys(head))
    cards = [item if isinstance(item, BackboneCard) else backbones.card(item) for item in names]
    refuse_homonyms(cards)
    for card in cards:
        for task in find(tasks):
            if task.kind is Kind.STATES and not card.over_time:
                timeless = f" {card.name} has no layers over time, which {task.code} needs."
                continue
            if aggregate and not task.aggregate:
                continue
            if decide and not thresholds.needed(task):
                continue
            for name in chosen(task, protocols, n_fold):
                runs += [
                    Run(task.code, card.name, one, name, seed, n_fold, aggregate, decide, card)
                    for one in head_names
                    if one is None or task.kind in heads.head(one).kinds
                ]
    if not runs:
        listed = " or ".join(repr(name) for name in head_names)
        request = (
            f"the head {listed} answers" if head else "these backbones and this aggregation answer"
        )
        advice = timeless or (_answering(find(tasks)) if head else "")
        raise IncompatibleError(f"Nothing to run: {request} none of the chosen tasks.{advice}")
    for run in runs:
        run.check()
    return runs


def _answering(tasks: Sequence[Task]) -> str:
    """Name the heads that answer each kind of these tasks."""
    code_of: dict[Kind, str] = {}
    for task in tasks:
        code_of.setdefault(task.kind, task.code)
    return "".join(
        f" {code} asks for {kind}; these heads answer it: {', '.join(_heads_for(kind))}."
        for kind, code in code_of.items()
    )


def _heads_for(kind: Kind) -> list[str]:
    return [name for name in heads.names() if kind in heads.head(name).kinds]


def is_named(run: Run) -> bool:
    """Whether the name of a backbone alone leads another process to it.

    It does not for a Python function, or for an encoder with a name of its own. It does for one
    that an installed package brings.

    Args:
        run: The cell.
    """
    card = run.backbone_card
    try:
        known = is_of_package(card) or is_installed(card)
        return known and backbones.card(card.name) == card
    except UnknownNameError:
        return False
