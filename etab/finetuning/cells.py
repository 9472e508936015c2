"""Cells whose backbone is trained too: all of it ("official-finetune"), or its last k blocks
("official-partial2").

They are scored by the code of the frozen cells and saved as the same kind of result, under
protocols of their own, so that no table mixes them with frozen ones. Mask tasks of one dataset may
be trained together, as one network with an output for each structure and the frames of every view:
the settings of each of their results list all of them.

Adaptation ("official-finetune-from:a0-A4-C") first trains the backbone on another task, by the same
protocol, and then puts a new head on it. The training on the source task has checkpoints of its own
and is done once for all targets. A patient who is trained on in the source task and tested in the
target is an error.

The test part is never used. Of the training patients, an inner part decides when to stop and at
which level masks are cut. The network is not trained again with that part (``settings["refit"]`` is
False), since this would double the hours.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from etab.echo.surface import cut
from etab.errors import SplitError
from etab.finetuning.plan import THRESHOLDS, Tuning
from etab.heads.base import FoldFit
from etab.heads.probabilities import class_probabilities
from etab.results import Result
from etab.runs import cell as runs
from etab.runs.data import Data
from etab.runs.execute import require_ready
from etab.runs.failures import describe_failure, is_interruption
from etab.runs.record import Answered, Origin, result_of, stored_result
from etab.runs.run import Run, Settings
from etab.splits import without
from etab.storage.atomic import slug
from etab.storage.machine import limit_threads, require_device
from etab.tasks.base import Task
from etab.tasks.protocols import parse
from etab.tasks.rows import Rows
from etab.training import distributed
from etab.training.loop import Progress, fit_state, train
from etab.types import Array, FloatArray, IntArray, Kind, RowSplit

if TYPE_CHECKING:
    from etab.finetuning.examples import Table
    from etab.finetuning.network import TunedNetwork

_FIRST_LOOK = 64
Watch = Callable[[str, Progress], None]


def _facts(tuning: Tuning, settings: Settings, data: Data) -> dict[str, Any]:
    """What decides the scores beyond the target's data and the weights."""
    facts = tuning.settings(_precision(tuning, settings))
    if tuning.origin is not None:
        facts["source_data"] = data.digest(tuning.origin.rows[0].dataset)
    return facts


def finished(tuning: Tuning, settings: Settings, data: Data | None = None) -> list[Result] | None:
    """Find the saved results of all tasks of a training.

    Args:
        tuning: The training.
        settings: How it is run.
        data: The data of the plan; None opens them anew.

    Returns:
        The results, or None where one of them is missing.

    Raises:
        ResultError: If a result is there that was made under other conditions.
    """
    data = data or Data(settings)
    facts = _facts(tuning, settings, data)
    results = []
    for cell in tuning.cells:
        stored = stored_result(cell, facts, settings, data)
        if stored is None:
            return None
        results.append(stored)
    return results


def _precision(tuning: Tuning, settings: Settings) -> str:
    return runs.resolve_precision(tuning.cells[0], settings)


def checkpoints(settings: Settings, tuning: Tuning) -> Path:
    """Folder of the checkpoints of a training.

    It lies beside the folder of results, which holds results alone.
    """
    return settings.results.with_name(f"{settings.results.name}.training") / slug(tuning.name)


def execute(
    tuning: Tuning, settings: Settings, *, data: Data | None = None, watch: Watch | None = None
) -> list[Result]:
    """Train, score and save every task of a training.

    An interrupted training continues from its last checkpoint. Processes that torchrun started
    train together (``etab.training.distributed``); only the first one saves.

    Args:
        tuning: The training.
        settings: Where data and results are, the device and the precision.
        data: The data of the plan; None opens them anew.
        watch: Called with the name of the training and its progress.

    Returns:
        The result of each task. Results that are finished already are read.

    Raises:
        ResultError: If a saved result was made under other conditions.
        SplitError: If a patient would be trained on and tested.
        TrainingError: If the loss is not finite, or one row does not fit memory.
        UnsupportedOptionError: If the device is absent.
    """
    tuning.check()
    require_device(settings.device)
    limit_threads()
    with distributed.joined(settings.device) as device:
        settings = replace(settings, device=device)
        data = data or Data(settings)
        done = finished(tuning, settings, data)
        if done is not None:
            return done
        started = time.perf_counter()
        work = _Work.of(tuning, settings, data)
        fits = [work.split(i, watch) for i in range(len(work.splits))]
        seconds = time.perf_counter() - started
        found = [work.result(cell, fits, seconds) for cell in tuning.cells]
        distributed.wait()
        return found


@dataclass(slots=True)
class _Work:
    """The rows of all tasks as one table: one line for each set of frames, with all its answers."""

    tuning: Tuning
    settings: Settings
    data: Data
    rows: dict[str, Rows]
    items: dict[str, int]
    patients: Array
    parts: Array
    table: Table
    splits: list[RowSplit]
    before: _Work | None = None
    trained: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(tuning: Tuning, settings: Settings, data: Data | None = None) -> _Work:
        """Read the rows, their frames and answers, those of the source task too."""
        from etab.finetuning.examples import frames_of, table_of

        data = data or Data(settings)
        tasks = tuning.rows
        rows = {task.code: data.rows(task) for task in tasks}
        items: dict[str, int] = {}
        first: dict[str, tuple[Rows, int]] = {}
        for mine in rows.values():
            for at, item in enumerate(mine.items):
                items.setdefault(item, len(items))
                first.setdefault(item, (mine, at))
        patients = np.array([str(r.patients[i]) for r, i in first.values()])
        parts = np.array([str(r.parts[i]) for r, i in first.values()])
        source = data.source(tasks[0].dataset)
        keys = data.keys(tasks[0])
        frames = frames_of(source, keys, [r.frames[i] for r, i in first.values()], tuning.side)
        answers = rows[tasks[0].code].answers
        splits = parse(tuning.protocol).splits(patients, parts, answers, tuning.kind, tuning.seed)
        table = table_of(tasks, rows, items, frames, tuning.side, tuning.augment)
        before = None if tuning.origin is None else _Work.of(tuning.origin, settings, data)
        work = _Work(tuning, settings, data, rows, items, patients, parts, table, splits, before)
        work.refuse_leaks()
        return work

    def refuse_leaks(self) -> None:
        """Raise SplitError where a patient is trained on, in the source task too, and tested."""
        for split in self.splits:
            tested = set(self.patients[split.test].tolist())
            before = self.before
            both = set(self.patients[split.train].tolist()) & tested
            if both:
                raise SplitError(
                    f"{sorted(both)[0]} would be trained on and tested in {split.name or 'the split'}."
                )
            both = (
                tested & set(before.patients[before.splits[before.like(split)].train].tolist())
                if before
                else set()
            )
            if both:
                raise SplitError(
                    f"{sorted(both)[0]} and {len(both) - 1} others would be trained on in the source task and tested in "
                    f"{split.name or 'the split'} of the target. Take the protocol official, or another source."
                )

    def like(self, split: RowSplit) -> int:
        """Index of the split with the same name."""
        for which, mine in enumerate(self.splits):
            if mine.name == split.name:
                return which
        raise SplitError(
            f"The source task {self.tuning.tasks[0]} has no split {split.name!r} to train on."
        )

    def split(self, which: int, watch: Watch | None) -> tuple[dict[str, float], FloatArray]:
        """Train for one split: what was chosen, and answers for its test rows."""
        network, done, more = self.fitted(which, watch)
        split = self.splits[which]
        kind = _precision(self.tuning, self.settings)
        choice: dict[str, Any] = {
            "epoch": done.best_epoch + 1,
            "epochs": done.epoch,
            "validation_loss": done.best_loss,
            "batch": done.batch,
            **more,
        }
        if self.tuning.kind is Kind.MASK:
            choice["thresholds"] = self._thresholds(network, split.inner[0], kind)
        return choice, self._answers(network, split.test, kind)

    def fitted(
        self, which: int, watch: Watch | None
    ) -> tuple[TunedNetwork, Progress, dict[str, Any]]:
        """The network trained for one split, on the source task before where there is one, and what
        that chose.
        """
        import torch

        from etab.finetuning.network import answer_loss

        tuning = self.tuning
        split = self.splits[which]
        more = self._before(split, watch)
        recipe = replace(
            tuning.recipe, seed=_seed(tuning, which), precision=_precision(tuning, self.settings)
        )
        network = self._network(recipe.seed, split)

        def loss(some: IntArray) -> torch.Tensor:
            x, y = self.table.batch(some, train=network.training)
            device = self.settings.device
            return answer_loss(network, network(x.to(device)), y.to(device))

        folder = checkpoints(self.settings, tuning) / (slug(split.name) if split.name else "split")
        validation = split.inner[0]
        done = train(
            network,
            loss,
            without(split.train, validation),
            validation,
            recipe,
            folder=folder,
            about=self._about(),
            report=(lambda now: watch(tuning.name, now)) if watch else None,
        )
        return network, done, more

    def _before(self, split: RowSplit, watch: Watch | None) -> dict[str, Any]:
        """Train on the source task, where there is one: the body's state is kept for ``_network``."""
        from etab.backbones.weights.index import digest

        if self.before is None:
            return {}
        network, done, _ = self.before.fitted(self.before.like(split), watch)
        state = {k: v.detach().cpu().clone() for k, v in network.body.state_dict().items()}
        self.trained["body"], self.trained["adapted"] = state, digest(state)
        return {"source_epoch": done.best_epoch + 1, "adapted": self.trained["adapted"]}

    def _network(self, seed: int, split: RowSplit) -> TunedNetwork:
        """Join the pretrained body, or the one trained on the source task, to a new head.

        The head is standardised by training rows.
        """
        import torch

        from etab.finetuning.network import Body, TunedNetwork

        cell = self.tuning.cells[0]
        target = runs.target_of(self.tuning.rows[0])
        backbone: Any = cell.backbone_card.load()
        self.trained["weights"], body = backbone.digest(), Body(backbone)
        if "body" in self.trained:
            fit_state(
                body, self.trained["body"], f"the training on {parse(self.tuning.protocol).source}"
            )
        outputs = {Kind.MASK: len(self.tuning.structures), Kind.VALUE: 1}.get(
            target.kind, len(target.classes)
        )
        network = TunedNetwork(
            body,
            self.tuning.head,
            target.kind,
            outputs=outputs,
            frames=self.table.frames.shape[1],
            side=self.tuning.side,
            last=parse(self.tuning.protocol).blocks,
            seed=seed,
        )
        rows = without(split.train, split.inner[0])
        some = rows[np.linspace(0, len(rows) - 1, min(len(rows), _FIRST_LOOK)).astype(int)]
        values = (
            self.table.answers[torch.as_tensor(rows)].float() if target.kind is Kind.VALUE else None
        )
        network.prepare(self.table.batch(some, train=False)[0], values)
        return network.to(self.settings.device)

    def _about(self) -> Mapping[str, Any]:
        tuning = self.tuning
        adapted = {"adapted": self.trained["adapted"]} if "adapted" in self.trained else {}
        return {
            "side": tuning.side,
            "augment": tuning.augment,
            "tasks": list(tuning.tasks),
            "tuning": tuning.protocol,
            "data": self.data.digest(tuning.rows[0].dataset),
            "weights": self.trained["weights"],
            **adapted,
        }

    def _answers(self, network: TunedNetwork, rows: IntArray, precision: str) -> FloatArray:
        """Probabilities (rows, structures, g, g) or (rows, classes), or values (rows,)."""
        import torch

        out = []
        device = self.settings.device
        network.eval()
        for start in range(0, len(rows), 16):
            x, _ = self.table.batch(rows[start : start + 16], train=False)
            with (
                torch.inference_mode(),
                torch.autocast(device.split(":")[0], torch.bfloat16, precision == "bf16"),
            ):
                said = network(x.to(device)).float().cpu()
            if network.kind is Kind.MASK:
                out.append(said.sigmoid().numpy())
            elif network.kind is Kind.VALUE:
                out.append(said.numpy())
            else:
                out.append(class_probabilities(said.numpy()))
        return np.concatenate(out)

    def _thresholds(
        self, network: TunedNetwork, rows: IntArray, precision: str
    ) -> dict[str, float]:
        """The cut of each structure with the best mean Dice of the validation rows, on the grid."""
        scores = self._answers(network, rows, precision)
        out = {}
        for k, name in enumerate(self.tuning.structures):
            known = self.table.known[rows, k].numpy()  # type: ignore[index]
            true = self.table.answers[rows, k].numpy()[known] >= 128
            dice = []
            for level in THRESHOLDS:
                hit = scores[known, k] >= level
                size = hit.sum(axis=(1, 2)) + true.sum(axis=(1, 2))
                dice.append((2 * (hit & true).sum(axis=(1, 2)) / np.maximum(size, 1)).mean())
            out[name] = THRESHOLDS[int(np.argmax(dice))]
        return out

    def result(
        self, cell: Run, fits: Sequence[tuple[dict[str, Any], FloatArray]], seconds: float
    ) -> Result:
        """Score and save one task."""
        rows = self.rows[cell.task]
        task = cell.row
        place = {self.items[item]: i for i, item in enumerate(rows.items)}
        splits = []
        answers = []
        for split, (choice, said) in zip(self.splits, fits, strict=True):
            mine = np.array([i for i, row in enumerate(split.test) if int(row) in place])
            own = np.array([place[int(split.test[i])] for i in mine])
            train_rows = np.array([place[int(r)] for r in split.train if int(r) in place])
            splits.append(RowSplit(train_rows, (), own, split.name))
            answers.append(FoldFit(self._predicted(task, rows, own, said[mine], choice), choice))
        outlines = self.data.outlines(task)
        table = runs.predictions_of(task, rows, outlines, splits, answers, ())
        facts = _facts(self.tuning, self.settings, self.data)
        digest = self.data.digest(task.dataset)
        key = hashlib.sha256(f"{digest} {self.tuning.name} {facts}".encode()).hexdigest()
        times = {
            "device": self.settings.device,
            "seconds": round(seconds, 3),
            "finished": datetime.now(UTC).isoformat(),
        }
        origin = Origin(self.trained["weights"], key, facts, times)
        found = result_of(Answered(cell, rows, splits, answers, table), origin, self.data)
        if distributed.world()[0] == 0:
            found.save(self.settings.results, table)
        return found

    def _predicted(
        self, task: Task, rows: Rows, own: IntArray, said: FloatArray, choice: Mapping[str, Any]
    ) -> Any:
        if task.kind is Kind.MASK:
            k = self.tuning.structures.index(task.target)
            threshold = choice["thresholds"][task.target]
            return [
                cut(s[k], rows.answers[i].shape, threshold) for s, i in zip(said, own, strict=True)
            ]
        return said[:, 1] if task.kind is Kind.BINARY else said


def _seed(tuning: Tuning, which: int) -> int:
    return int(np.random.default_rng([tuning.seed, which]).integers(0, 2**31))


def trainings(
    plans: Sequence[Tuning],
    settings: Settings,
    watch: Watch | None = None,
    failed: Callable[[str, str], None] | None = None,
) -> Iterator[Result]:
    """Execute several trainings, one after the other.

    Args:
        plans: The trainings.
        settings: Where data and results are, the device and the precision.
        watch: Called with the name of the training and its progress.
        failed: Called with the name of a training that failed and the reason; the others go on.
            None, or several processes (which must stay in step): the error is raised.

    Yields:
        Each finished cell.

    Raises:
        UnsupportedOptionError: If the device is absent or a backbone cannot compute in the
            precision; before any training starts.
        EtabError: If the data cannot be used; before any training starts.
    """
    data = Data(settings)
    for tuning in plans:
        require_ready(tuning.cells, settings, data)
    with distributed.joined(settings.device) as device:
        alone = distributed.world()[1] == 1
        for tuning in plans:
            try:
                yield from execute(tuning, replace(settings, device=device), data=data, watch=watch)
            except BaseException as error:
                if failed is None or not alone or is_interruption(error):
                    raise
                failed(tuning.name, describe_failure(error))
