"""Cells whose backbone is trained too: all of it, or its last blocks.

The protocol "official-finetune" trains the whole backbone, "official-partial2" its last two blocks.
The cells are scored by the code of the frozen cells and saved as the same kind of result. Their
protocols have other names, so that no table mixes them with frozen cells. Mask tasks of one dataset
can be trained together, as one network with an output for each structure and the frames of every
view; the settings of each result list all the tasks.

Adaptation ("official-finetune-from:a0-A4-C") first trains the backbone on another task, with the
same protocol, and then puts a new head on it. The training on the source task has separate
checkpoints and is done once for all targets. It is an error if a training patient of the source
task is a test patient of the target.

The test part does not affect the training. An inner part of the training patients decides when to
stop and at which level masks are cut. The network is not trained again with that part
(``settings["refit"]`` is False), since this would double the time.
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

from etab.echo.surface import mask_from_scores
from etab.errors import SplitError, UndefinedError
from etab.finetuning.plan import THRESHOLDS, Tuning
from etab.heads.base import FoldFit
from etab.results import Result
from etab.runs import cell as runs
from etab.runs import leaks
from etab.runs.data import Data
from etab.runs.execute import require_ready
from etab.runs.failures import describe_failure, is_interruption
from etab.runs.record import Answered, Origin, result_of, stored_result
from etab.runs.run import Run, Settings
from etab.splits import without
from etab.storage.atomic import slug
from etab.storage.machine import limit_threads, require_device
from etab.tasks.base import Task
from etab.tasks.protocols import parse, splits_of
from etab.tasks.rows import Rows
from etab.training import distributed
from etab.training.loop import Progress, fit_state
from etab.types import Array, FloatArray, IntArray, Kind, RowSplit

if TYPE_CHECKING:
    from etab.finetuning.examples import FrameTable
    from etab.finetuning.network import Network

_TEST_BATCH = 16
_FEWEST_TESTED = 2
TrainingWatch = Callable[[str, Progress], None]


def _facts(tuning: Tuning, settings: Settings, data: Data) -> dict[str, Any]:
    """Collect the facts that decide the scores beyond the target's data and the weights."""
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
        The results, or None if one of them is missing.

    Raises:
        ResultError: A saved result was made under other conditions.
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
    return runs.precision_of_run(tuning.cells[0], settings)


def checkpoints(settings: Settings, tuning: Tuning) -> Path:
    """Name the folder of the checkpoints of a training.

    It is beside the folder of results, which holds nothing but results.

    Args:
        settings: How the training is run.
        tuning: The training.
    """
    return settings.results.with_name(f"{settings.results.name}.training") / slug(tuning.name)


def execute(
    tuning: Tuning,
    settings: Settings,
    *,
    data: Data | None = None,
    watch: TrainingWatch | None = None,
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
        results = [work.result(cell, fits, seconds) for cell in tuning.cells]
        distributed.wait()
        return results


@dataclass(slots=True)
class _Work:
    """The rows of all tasks as one table: one row for each set of frames, with all its answers."""

    tuning: Tuning
    settings: Settings
    data: Data
    rows: dict[str, Rows]
    items: dict[str, int]
    patients: Array
    parts: Array
    table: FrameTable
    splits: list[RowSplit]
    before: _Work | None = None
    trained: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(tuning: Tuning, settings: Settings, data: Data | None = None) -> _Work:
        """Read rows, frames and answers of the tasks, and of the source task if there is one."""
        from etab.finetuning.examples import frames_of, joined_rows, table_of

        data = data or Data(settings)
        tasks = tuning.rows
        rows = {task.code: data.rows(task) for task in tasks}
        joined = joined_rows(list(rows.values()))
        items = {item: index for index, item in enumerate(joined.items)}
        source = data.source(tasks[0].dataset)
        frames = frames_of(source, data.keys(tasks[0]), list(joined.frames), tuning.side)
        splits = splits_of(tuning.protocol, tuning.seed, joined, tuning.kind)
        leaks.refuse_copies(tasks[0].code, joined.records, splits, data.alike(tasks[0].dataset))
        table = table_of(tasks, rows, items, frames, tuning.side)
        before = None if tuning.origin is None else _Work.of(tuning.origin, settings, data)
        work = _Work(
            tuning,
            settings,
            data,
            rows,
            items,
            joined.patients,
            joined.parts,
            table,
            splits,
            before,
        )
        work.refuse_leaks()
        work.refuse_one_patient()
        return work

    def refuse_leaks(self) -> None:
        """Raise SplitError if a patient is tested and trained on, also in the source task."""
        for split in self.splits:
            name = split.name or "the split"
            tested = set(self.patients[split.test].tolist())
            both = tested & set(self.patients[split.train].tolist())
            if both:
                raise SplitError(f"{sorted(both)[0]} would be trained on and tested in {name}.")
            if self.before is None:
                continue
            source_split = self.before.splits[self.before.index_of(split)]
            both = tested & set(self.before.patients[source_split.train].tolist())
            if both:
                raise SplitError(
                    f"{sorted(both)[0]} and {len(both) - 1} other patients would be trained on in "
                    f"the source task and tested in {name} of the target. Choose the protocol "
                    "official, or another source."
                )

    def refuse_one_patient(self) -> None:
        """Raise UndefinedError where the test patients are too few for an interval."""
        tested = {str(self.patients[row]) for split in self.splits for row in split.test}
        if len(tested) < _FEWEST_TESTED:
            raise UndefinedError(
                f"{self.tuning.protocol} tests {len(tested)} patient: an interval needs at least "
                f"{_FEWEST_TESTED}. Add test patients, or take folds: --protocol cv5."
            )

    def index_of(self, split: RowSplit) -> int:
        """Index of the split with the same name."""
        for index, candidate in enumerate(self.splits):
            if candidate.name == split.name:
                return index
        raise SplitError(
            f"The source task {self.tuning.tasks[0]} has no split {split.name!r} to train on."
        )

    def split(self, index: int, watch: TrainingWatch | None) -> tuple[dict[str, Any], FloatArray]:
        """Train for one split.

        Returns:
            What was chosen in training, and the scores of the test rows.
        """
        network, done, source_choice = self.fitted(index, watch)
        split = self.splits[index]
        precision = _precision(self.tuning, self.settings)
        choice: dict[str, Any] = {
            "epoch": done.best_epoch + 1,
            "epochs": done.epoch,
            "validation_loss": done.best_loss,
            "batch": done.batch,
            **source_choice,
        }
        if self.tuning.kind is Kind.MASK:
            choice["thresholds"] = self._thresholds(network, split.inner[0], precision)
        return choice, self._scores(network, split.test, precision)

    def fitted(
        self, index: int, watch: TrainingWatch | None
    ) -> tuple[Network, Progress, dict[str, Any]]:
        """Train for one split, after the source task if there is one.

        Returns:
            The network, its progress, and what was chosen in training on the source task.
        """
        from etab.finetuning.fitting import fit

        tuning = self.tuning
        split = self.splits[index]
        source_choice = self._train_source(split, watch)
        precision = _precision(tuning, self.settings)
        recipe = replace(tuning.recipe, seed=_seed(tuning, index), precision=precision)
        network = self._network(recipe.seed, split)
        validation = split.inner[0]
        folder = slug(split.name) if split.name else "split"
        done = fit(
            network,
            self.table,
            without(split.train, validation),
            validation,
            recipe,
            augment=tuning.augment,
            folder=checkpoints(self.settings, tuning) / folder,
            about=self._about(),
            report=(lambda progress: watch(tuning.name, progress)) if watch else None,
        )
        return network, done, source_choice

    def _train_source(self, split: RowSplit, watch: TrainingWatch | None) -> dict[str, Any]:
        """Train on the source task if there is one; ``_network`` uses the state of the body."""
        from etab.backbones.weights.index import digest

        if self.before is None:
            return {}
        network, done, _ = self.before.fitted(self.before.index_of(split), watch)
        state = {k: v.detach().cpu().clone() for k, v in network.body.state_dict().items()}
        self.trained["body"] = state
        self.trained["adapted"] = digest(state)
        return {"source_epoch": done.best_epoch + 1, "adapted": self.trained["adapted"]}

    def _network(self, seed: int, split: RowSplit) -> Network:
        """Put a new head on the pretrained body, or on the one trained on the source task.

        The head is standardised with training rows.
        """
        from etab.finetuning.body import Body
        from etab.finetuning.fitting import standardise
        from etab.finetuning.network import FINER, Network

        target = runs.target_of(self.tuning.rows[0])
        backbone: Any = self.tuning.cells[0].backbone_card.load()
        self.trained["weights"] = backbone.digest()
        body = Body(backbone)
        protocol = parse(self.tuning.protocol)
        if "body" in self.trained:
            fit_state(body, self.trained["body"], f"the training on {protocol.source}")
        network = Network(
            body,
            self.tuning.head,
            target.kind,
            outputs=_n_outputs(target.kind, len(self.tuning.structures), len(target.classes)),
            frames=self.table.frames.shape[1],
            side=self.tuning.side,
            seed=seed,
            finer=FINER,
            channels_last=True,
        )
        if protocol.blocks is not None:
            network.freeze(except_last=protocol.blocks)
        standardise(network, self.table, without(split.train, split.inner[0]))
        return network.to(self.settings.device)

    def _about(self) -> dict[str, Any]:
        """What decides the weights beside rows and recipe; a checkpoint must agree with it."""
        tuning = self.tuning
        about = {
            "side": tuning.side,
            "augment": tuning.augment,
            "tasks": list(tuning.tasks),
            "tuning": tuning.protocol,
            "data": self.data.digest(tuning.rows[0].dataset),
            "weights": self.trained["weights"],
        }
        if "adapted" in self.trained:
            about["adapted"] = self.trained["adapted"]
        return about

    def _scores(self, network: Network, rows: IntArray, precision: str) -> FloatArray:
        """Probabilities (rows, structures, g, g) or (rows, classes), or values (rows,)."""
        import torch

        device = self.settings.device
        blocks = []
        network.eval()
        for start in range(0, len(rows), _TEST_BATCH):
            inputs = self.table.inputs(rows[start : start + _TEST_BATCH])
            with (
                torch.inference_mode(),
                torch.autocast(device.split(":")[0], torch.bfloat16, precision == "bf16"),
            ):
                output = network(inputs.to(device)).float().cpu()
            blocks.append(network.probabilities(output).numpy())
        return np.concatenate(blocks)

    def _thresholds(self, network: Network, rows: IntArray, precision: str) -> dict[str, float]:
        """For each structure, the threshold with the best mean Dice of the validation rows."""
        known = self.table.known
        if known is None:
            return {}
        scores = self._scores(network, rows, precision)
        thresholds = {}
        for index, structure in enumerate(self.tuning.structures):
            drawn = known[rows, index].numpy()
            truth = self.table.targets[rows, index].numpy()[drawn] >= 128
            means = [
                _mean_dice(scores[drawn, index] >= threshold, truth) for threshold in THRESHOLDS
            ]
            thresholds[structure] = THRESHOLDS[int(np.argmax(means))]
        return thresholds

    def result(
        self, cell: Run, fits: Sequence[tuple[dict[str, Any], FloatArray]], seconds: float
    ) -> Result:
        """Score and save one task.

        Args:
            cell: The cell of the task.
            fits: What ``split`` returned for each split.
            seconds: Seconds that training took.

        Returns:
            The result; the first process has saved it.
        """
        rows = self.rows[cell.task]
        task = cell.row
        row_of = {self.items[item]: row for row, item in enumerate(rows.items)}
        splits = []
        answers = []
        for split, (choice, scores) in zip(self.splits, fits, strict=True):
            # the table has rows of other tasks too
            positions = np.array([i for i, row in enumerate(split.test) if int(row) in row_of])
            test = np.array([row_of[int(split.test[i])] for i in positions])
            train = np.array([row_of[int(row)] for row in split.train if int(row) in row_of])
            predicted = self._predicted(task, rows, test, scores[positions], choice)
            splits.append(RowSplit(train, (), test, split.name))
            answers.append(FoldFit(predicted, choice))
        outlines = self.data.outlines(task)
        table = runs.predictions_of(task, rows, outlines, splits, answers, ())
        origin = self._origin(task, seconds)
        result = result_of(Answered(cell, rows, splits, answers, table), origin, self.data)
        if distributed.world()[0] == 0:
            result.save(self.settings.results, table, keep=self.settings.keep_masks)
        return result

    def _origin(self, task: Task, seconds: float) -> Origin:
        facts = _facts(self.tuning, self.settings, self.data)
        digest = self.data.digest(task.dataset)
        key = hashlib.sha256(f"{digest} {self.tuning.name} {facts}".encode()).hexdigest()
        times = {
            "device": self.settings.device,
            "seconds": round(seconds, 3),
            "finished": datetime.now(UTC).isoformat(),
        }
        source = self.data.source(task.dataset)
        card = self.tuning.cells[0].backbone_card
        notes = [*leaks.seen_notes(source, card), *source.notes()]
        settings = {**facts, "notes": notes} if notes else facts
        return Origin(self.trained["weights"], key, settings, times)

    def _predicted(
        self, task: Task, rows: Rows, test: IntArray, scores: FloatArray, choice: Mapping[str, Any]
    ) -> Any:
        """Return the predictions of a task's test rows: masks, probabilities or values."""
        if task.kind is Kind.MASK:
            structure = self.tuning.structures.index(task.target)
            threshold = choice["thresholds"][task.target]
            return [
                mask_from_scores(of_row[structure], rows.answers[row].shape, threshold)
                for of_row, row in zip(scores, test, strict=True)
            ]
        return scores[:, 1] if task.kind is Kind.BINARY else scores


def _n_outputs(kind: Kind, n_structures: int, n_classes: int) -> int:
    if kind is Kind.MASK:
        return n_structures
    return 1 if kind is Kind.VALUE else n_classes


def _mean_dice(predicted: Array, truth: Array) -> float:
    """Compute the mean Dice of masks (n, g, g)."""
    both = (predicted & truth).sum(axis=(1, 2))
    total = predicted.sum(axis=(1, 2)) + truth.sum(axis=(1, 2))
    return float((2 * both / np.maximum(total, 1)).mean())


def _seed(tuning: Tuning, index: int) -> int:
    """Derive the seed of the training for a split."""
    return int(np.random.default_rng([tuning.seed, index]).integers(0, 2**31))


def trainings(
    plans: Sequence[Tuning],
    settings: Settings,
    watch: TrainingWatch | None = None,
    failed: Callable[[str, str], None] | None = None,
) -> Iterator[Result]:
    """Execute several trainings, one after the other.

    Args:
        plans: The trainings.
        settings: Where data and results are, the device and the precision.
        watch: Called with the name of the training and its progress.
        failed: Called with the name of a training that failed and the reason; the other trainings
            continue. With None, or with several processes, which must stay in step, the error is
            raised.

    Yields:
        Each finished cell.

    Raises:
        UnsupportedOptionError: The device is absent, or a backbone cannot compute in the precision.
            Raised before any training starts.
        EtabError: The data cannot be used. Raised before any training starts.
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
