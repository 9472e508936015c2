"""The plan of fine-tuning: which networks are trained, and with which settings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from etab.backbones import card as card_of
from etab.backbones.base import BackboneCard
from etab.backbones.identity import refuse_homonyms
from etab.errors import IncompatibleError, UnsupportedOptionError
from etab.features.windows import WINDOW
from etab.metrics.intervals import BOOTSTRAPS
from etab.results.names import split_size
from etab.runs import run
from etab.runs.run import Run
from etab.tasks.base import Task
from etab.tasks.inputs import ROW_INPUTS
from etab.tasks.lists import PREFIX
from etab.tasks.menu import find
from etab.tasks.protocols import parse
from etab.training import distributed
from etab.training.loop import Recipe
from etab.types import Kind

_VERSION = 1

RECIPE = Recipe(
    epochs=12,
    batch=16,
    learning_rate=1e-3,
    warmup=0.1,
    patience=5,
)
"""The default recipe of fine-tuning."""

_VECTOR_HEADS = ("linear", "mlp", "rnn", "lstm", "gru")
"""Heads of tasks other than masks."""

THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
"""Probabilities at which masks can be cut; validation chooses among them."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """One training: tasks that share a network.

    Attributes:
        tasks: Codes of the tasks; several tasks are mask tasks of one dataset.
        backbone: Name of the backbone.
        head: Name of the head.
        protocol: The protocol, which also decides which part of the backbone is trained.
        seed: Seed of the initialisation and of the order of the rows.
        side: Side of the frames, in px.
        augment: "clinical" or "none", see ``etab.finetuning.augment.clinical``.
        recipe: Epochs, batch, learning rate and stopping.
        source_head: Head of the source task, if the protocol names one; else "".
        card: Card of the backbone; None to look its name up.
    """

    tasks: tuple[str, ...]
    backbone: str
    head: str
    protocol: str = "official-finetune"
    seed: int = 0
    side: int = 224
    augment: str = "clinical"
    recipe: Recipe = field(default=RECIPE)
    source_head: str = ""
    card: BackboneCard | None = field(default=None, compare=False, repr=False)

    @property
    def origin(self) -> Tuning | None:
        """The training of the whole backbone on the source task, with the same options.

        None if the protocol names no source task.
        """
        protocol = parse(self.protocol)
        if not protocol.source:
            return None
        return replace(
            self,
            tasks=(protocol.source,),
            head=self.source_head,
            protocol=f"{protocol.base}-finetune",
            source_head="",
        )

    @property
    def rows(self) -> list[Task]:
        """The tasks, from the menu."""
        tasks: list[Task] = []
        for code in self.tasks:
            tasks += find(code)
        return tasks

    @property
    def cells(self) -> list[Run]:
        """One cell for each task."""
        return [
            Run(task, self.backbone, self.head, self.protocol, self.seed, card=self.card)
            for task in self.tasks
        ]

    @property
    def kind(self) -> Kind:
        """The kind of the answers."""
        return self.rows[0].kind

    @property
    def structures(self) -> list[str]:
        """The structures of the masks, in the order of the network's outputs."""
        return list(dict.fromkeys(task.target for task in self.rows))

    @property
    def name(self) -> str:
        """Name of the training in messages, and of its folder of checkpoints."""
        code = self.tasks[0]
        if len(self.tasks) > 1:
            joined = "|".join(self.tasks)
            code = hashlib.sha256(joined.encode()).hexdigest()[:8]
        source = f" {self.source_head}" if self.source_head else ""
        return f"{self.backbone} {self.protocol}{source} {self.head} {code} s{self.seed}"

    def check(self) -> None:
        """Check that the training is possible; only cards are read, no data and no weights.

        Raises:
            IncompatibleError: The tasks, the backbone and the head do not fit each other.
            UnsupportedOptionError: The augmentation is unknown, or a source head is given without a
                source task.
        """
        from etab.finetuning.augment import AUGMENTATIONS

        protocol = parse(self.protocol)
        tasks = self.rows
        card = self.cells[0].backbone_card
        if not protocol.tuning:
            raise IncompatibleError(
                f"{self.protocol} trains nothing of the backbone: `etab run` does that."
            )
        if self.augment not in AUGMENTATIONS:
            raise UnsupportedOptionError(
                f"No augmentation is called {self.augment!r}: {', '.join(AUGMENTATIONS)}."
            )
        if self.side < 32 or not card.learned or card.modality != "image":
            raise IncompatibleError(
                f"{card.name} at {self.side} px cannot be fine-tuned: choose a trainable network "
                "for images, and a side of 32 px or more."
            )
        if split_size(card.name)[1] is not None:
            raise IncompatibleError(
                f"{card.name} cannot be fine-tuned at the size of its name: name the backbone "
                "without it, and give the size with --side."
            )
        n_datasets = len({task.dataset for task in tasks})
        all_masks = all(task.kind is Kind.MASK for task in tasks)
        if n_datasets > 1 or (len(tasks) > 1 and not all_masks):
            raise IncompatibleError(
                f"Only mask tasks of one data set train together; got {', '.join(self.tasks)}."
            )
        if self.origin is not None:
            if set(self.origin.tasks) <= set(self.tasks):
                raise IncompatibleError(
                    f"{protocol.source} cannot be adapted to itself: name another source task."
                )
            self.origin.check()
        elif self.source_head:
            raise UnsupportedOptionError(
                f"The source head {self.source_head!r} has no effect without a source task: name "
                "one."
            )
        self._check_head(tasks)

    def _check_head(self, tasks: Sequence[Task]) -> None:
        """Raise IncompatibleError if a task cannot be fine-tuned or the head does not fit."""
        from etab.heads.masks.networks import DECODERS

        reasons = [reason for reason in map(not_tunable, tasks) if reason]
        if reasons:
            raise IncompatibleError(f"{reasons[0]} Name other tasks with --tasks.")
        known = tuple(DECODERS) if self.kind is Kind.MASK else _VECTOR_HEADS
        if self.head not in known:
            raise IncompatibleError(
                f"The head {self.head!r} cannot predict {tasks[0].target}. Choose one of: "
                f"{', '.join(known)}."
            )

    def settings(self, precision: str) -> dict[str, Any]:
        """Collect the facts that decide the scores beyond data and weights.

        Args:
            precision: "fp32" or "bf16".
        """
        card = self.cells[0].backbone_card
        protocol = parse(self.protocol)
        n_processes = distributed.world()[1]
        facts: dict[str, Any] = {
            "runs_version": run.RUNS_VERSION,
            "tuned_version": _VERSION,
            "backbone_version": card.version,
            "family": card.family,
            "size": self.side,
            "precision": precision,
            "sha256": card.sha256,
            "bootstraps": BOOTSTRAPS,
            "tuning": protocol.tuning,
            "trained_with": list(self.tasks),
            "augment": self.augment,
            "refit": False,
            "recipe": asdict(replace(self.recipe, every=0)),
        }
        if n_processes > 1:
            facts["processes"] = n_processes
        task = self.rows[0]
        if task.modality == "sound":
            facts["window"] = WINDOW
            facts["aggregate"] = task.aggregate
        if protocol.source:
            facts["source"] = [protocol.source, self.source_head]
        return facts


def not_tunable(task: Task) -> str:
    """Explain why a backbone cannot be trained on a task.

    Args:
        task: Any task.

    Returns:
        A sentence, or "" if a backbone can be trained on it.
    """
    row = ROW_INPUTS[task.inputs]
    if row.modality == "sound":
        return _sound_not_tunable(task)
    if task.aggregate:
        return f"{task.code} joins the answers of several frames, which fine-tuning cannot do yet."
    if row.several_views:
        return f"Rows of {task.code} are {row.words}; fine-tuning takes one view."
    if row.clip:
        return f"Rows of {task.code} are {row.words}; fine-tuning needs single frames."
    return ""


def _sound_not_tunable(task: Task) -> str:
    """Explain why a backbone cannot be trained on a task on sound; "" if it can."""
    if task.kind is Kind.STATES:
        return (
            f"{task.code} predicts a state for each time: train the head state_unet, as in "
            f"etab run --tasks {task.code} --backbones heart_series --head state_unet."
        )
    if task.inputs != "recording":
        words = ROW_INPUTS[task.inputs].words
        return f"Rows of {task.code} are {words}; fine-tuning needs whole recordings."
    return ""


def plan(
    tasks: str | Sequence[str] | None,
    backbones: Sequence[str | BackboneCard],
    *,
    head: str | None = None,
    tuning: str = "finetune",
    protocol: str = "official",
    together: bool = True,
    seed: int = 0,
    side: int = 224,
    augment: str = "clinical",
    recipe: Recipe = RECIPE,
    source: str = "",
    source_head: str = "",
) -> list[Tuning]:
    """Plan and check the trainings of tasks and backbones.

    Args:
        tasks: Codes of tasks, or beginnings of them; None is all tasks.
        backbones: Names or cards of the backbones.
        head: Name of the head; None is "unet" for masks, and "linear" on pooled maps for other
            answers.
        tuning: "finetune", "partialK" (the last K blocks) or "head". With "head", the backbone
            stays as the training on the source task left it.
        protocol: Name of the protocol of splits, without the tuning.
        together: Whether the mask tasks of a dataset are trained as one network.
        seed: Seed of the initialisation and of the order of the rows.
        side: Side of the frames, in px.
        augment: "clinical" or "none".
        recipe: Epochs, batch, learning rate and stopping.
        source: Code of a task on which the backbone is trained first; "" for none.
        source_head: Head of that task; "" is its default head.

    Returns:
        One training for each backbone and group of tasks.

    Raises:
        UnknownNameError: A task, backbone or protocol is unknown.
        IncompatibleError: Tasks, backbone and head do not fit each other.
        UnsupportedOptionError: An option is unknown or would have no effect.
    """
    # A file of folds is called by its key, to which the ending can be added.
    base = parse(protocol).name if protocol.startswith(PREFIX) else protocol
    full_name = f"{base}-{tuning}"
    if source:
        full_name = f"{full_name}-from:{source}"
    protocol_name = parse(full_name).name
    groups: dict[tuple[str, ...], list[str]] = {}
    for task in find(tasks):
        is_joined = together and task.kind is Kind.MASK
        group = (task.dataset,) if is_joined else (task.dataset, task.code)
        groups.setdefault(group, []).append(task.code)
    cards = [each if isinstance(each, BackboneCard) else card_of(each) for each in backbones]
    refuse_homonyms(cards)
    plans = []
    for card in cards:
        for codes in groups.values():
            chosen_source_head = source_head
            if source and not source_head:
                chosen_source_head = _default_head(source)
            planned = Tuning(
                tasks=tuple(codes),
                backbone=card.name,
                head=head or _default_head(codes[0]),
                protocol=protocol_name,
                seed=seed,
                side=side,
                augment=augment,
                recipe=recipe,
                source_head=chosen_source_head,
                card=card,
            )
            planned.check()
            plans.append(planned)
    return plans


def _default_head(code: str) -> str:
    """Return the head of a task for which none is named."""
    return "unet" if find(code)[0].kind is Kind.MASK else "linear"
