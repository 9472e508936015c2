"""Which cells of fine-tuning there are, and their settings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from etab.errors import IncompatibleError, UnsupportedOptionError
from etab.metrics.intervals import BOOTSTRAPS
from etab.runs import run
from etab.runs.run import Run
from etab.tasks.base import Task
from etab.tasks.menu import find
from etab.tasks.protocols import parse
from etab.training import distributed
from etab.training.loop import Recipe
from etab.types import Kind

VERSION = 1


RECIPE = Recipe(epochs=12, batch=16, learning_rate=1e-3, warmup=0.1, patience=5)


VECTOR_HEADS = ("linear", "mlp", "rnn", "lstm", "gru")


THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)


@dataclass(frozen=True, slots=True)
class Tuning:
    """What is trained at once: some tasks, a backbone, a head, a protocol that says what of the
    backbone is trained.

    side      of the frames in pixels
    source_head   of the task that the backbone is trained on before, where the protocol names one
    augment   "clinical" or "none", see ``etab.finetuning.augment.clinical``
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

    @property
    def origin(self) -> Tuning | None:
        """The training on the source task, where there is one: all of the backbone, with the same
        options.
        """
        how = parse(self.protocol)
        if not how.source:
            return None
        return replace(
            self,
            tasks=(how.source,),
            head=self.source_head,
            protocol=f"{how.base}-finetune",
            source_head="",
        )

    @property
    def rows(self) -> list[Task]:
        """The tasks' rows of the menu."""
        return [task for code in self.tasks for task in find(code)]

    @property
    def cells(self) -> list[Run]:
        """One cell a task."""
        return [
            Run(task, self.backbone, self.head, self.protocol, self.seed) for task in self.tasks
        ]

    @property
    def kind(self) -> Kind:
        """What the answers are."""
        return self.rows[0].kind

    @property
    def structures(self) -> list[str]:
        """What masks are of, in the order of the network's outputs."""
        return list(dict.fromkeys(t.target for t in self.rows))

    @property
    def name(self) -> str:
        """What a person calls it, and its folder of checkpoints."""
        code = (
            self.tasks[0]
            if len(self.tasks) == 1
            else hashlib.sha256("|".join(self.tasks).encode()).hexdigest()[:8]
        )
        source = f" {self.source_head}" if self.source_head else ""
        return f"{self.backbone} {self.protocol}{source} {self.head} {code} s{self.seed}"

    def check(self) -> None:
        """Raise IncompatibleError or UnsupportedOptionError for what cannot be trained; reads cards
        alone.
        """
        from etab.finetuning.augment import AUGMENTATIONS

        how = parse(self.protocol)
        tasks = self.rows
        card = self.cells[0].backbone_card
        if not how.tuning:
            raise IncompatibleError(
                f"{self.protocol} trains nothing of the backbone: `etab run` does that."
            )
        if self.augment not in AUGMENTATIONS:
            raise UnsupportedOptionError(
                f"No augmentation is called {self.augment!r}: {', '.join(AUGMENTATIONS)}."
            )
        if self.side < 32 or not card.learned or card.modality != "image":
            raise IncompatibleError(
                f"{card.name} at {self.side} px: wanted a network on pictures that learns, at 32 px or more."
            )
        if len({t.dataset for t in tasks}) > 1 or (
            len(tasks) > 1 and any(t.kind is not Kind.MASK for t in tasks)
        ):
            raise IncompatibleError(
                f"Only mask tasks of one data set train together; got {', '.join(self.tasks)}."
            )
        if self.origin is not None:
            if set(self.origin.tasks) <= set(self.tasks):
                raise IncompatibleError(
                    f"{how.source} cannot be adapted to itself: name another source task."
                )
            self.origin.check()
        elif self.source_head:
            raise UnsupportedOptionError(
                f"The source head {self.source_head!r} would not act: name a source task."
            )
        self._check_head(tasks)

    def _check_head(self, tasks: Sequence[Task]) -> None:
        from etab.heads.masks.networks import DECODERS

        if any(t.aggregate for t in tasks):
            raise IncompatibleError(
                f"{tasks[0].code} joins the answers of several frames; fine-tuning does not yet."
            )
        known = tuple(DECODERS) if self.kind is Kind.MASK else VECTOR_HEADS
        if self.head not in known:
            raise IncompatibleError(
                f"The head {self.head!r} cannot answer {tasks[0].target}; take {', '.join(known)}."
            )

    def settings(self, precision: str) -> dict[str, Any]:
        """What decides the scores beyond data and weights."""
        card = self.cells[0].backbone_card
        how = parse(self.protocol)
        several = distributed.world()[1]
        return {
            "runs_version": run.VERSION,
            "tuned_version": VERSION,
            "backbone_version": card.version,
            "family": card.family,
            "size": self.side,
            "precision": precision,
            "sha256": card.sha256,
            "bootstraps": BOOTSTRAPS,
            "tuning": how.tuning,
            "trained_with": list(self.tasks),
            "augment": self.augment,
            "refit": False,
            "recipe": asdict(replace(self.recipe, every=0)),
            **({"processes": several} if several > 1 else {}),
            **({"source": [how.source, self.source_head]} if how.source else {}),
        }


def plan(
    tasks: str | Sequence[str] | None,
    backbones: Sequence[str],
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
    """Lay out what is to be trained, checked. ``together``: the mask tasks of a data set as one
    network.

    Without a ``head``: U-Net for masks, a linear layer on the pooled maps for other answers.
    ``source``: a task that the backbone is trained on before, with ``source_head``; ``tuning``
    "head" then keeps it as that task left it.
    """
    name = parse(f"{protocol}-{tuning}-from:{source}" if source else f"{protocol}-{tuning}").name
    groups: dict[tuple[str, ...], list[str]] = {}
    for task in find(tasks):
        joined = together and task.kind is Kind.MASK
        groups.setdefault((task.dataset,) if joined else (task.dataset, task.code), []).append(
            task.code
        )
    out = []
    for backbone in backbones:
        for codes in groups.values():
            before = source_head or _default_head(source) if source else source_head
            mine = head or _default_head(codes[0])
            out.append(
                Tuning(tuple(codes), backbone, mine, name, seed, side, augment, recipe, before)
            )
            out[-1].check()
    return out


def _default_head(code: str) -> str:
    return "unet" if find(code)[0].kind is Kind.MASK else "linear"
