"""One training of a plan: its rows as a table, its network for each split, and its results."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from etab.echo.surface import mask_from_scores
from etab.errors import SplitError, UndefinedError, UnsupportedOptionError
from etab.finetuning.answers import best_threshold, means_of_rows, rule_of
from etab.finetuning.plan import Tuning
from etab.heads.base import FoldFit
from etab.metrics import METRICS
from etab.metrics.basic import EVERY_CLASS
from etab.precisions import FASTEST, FORMATS
from etab.results import Result
from etab.runs import cell as runs
from etab.runs import leaks
from etab.runs.data import Data
from etab.runs.record import Answered, Origin, result_of
from etab.runs.run import Run, Settings
from etab.runs.tables import laid_out
from etab.splits import without
from etab.storage.atomic import slug
from etab.tasks import thresholds
from etab.tasks.base import Task
from etab.tasks.protocol_rows import splits_of
from etab.tasks.protocols import parse
from etab.tasks.rows import Rows
from etab.training import distributed
from etab.training.loop import Progress, fit_state
from etab.types import Array, FloatArray, IntArray, Kind, RowSplit

if TYPE_CHECKING:
    from etab.finetuning.examples import FrameTable
    from etab.finetuning.network import Network
    from etab.finetuning.sounds import SoundTable

_TEST_BATCH = 16
_FEWEST_TESTED = 2
TrainingWatch = Callable[[str, Progress], None]


def facts_of(tuning: Tuning, settings: Settings, data: Data) -> dict[str, Any]:
    """Collect the facts that decide the scores beyond the target's data and the weights.

    Args:
        tuning: The training.
        settings: How it is run.
        data: The data of the plan.

    Returns:
        The facts as results save them.
    """
    facts = tuning.settings(precision_of_tuning(tuning, settings))
    if tuning.origin is not None:
        facts["source_data"] = data.digest(tuning.origin.rows[0].dataset)
    return facts


def precision_of_tuning(tuning: Tuning, settings: Settings) -> str:
    """Return the precision of a training, "fp32" or "bf16".

    Args:
        tuning: The training.
        settings: How it is run.

    Raises:
        UnsupportedOptionError: The precision has a backend; none of them trains.
    """
    precision = settings.precision
    if precision != FASTEST:
        precision = runs.precision_of_run(tuning.cells[0], settings)
    if precision not in FORMATS:
        raise UnsupportedOptionError(
            f"--precision {precision}: a backbone is trained by plain torch. Take one of: "
            f"{', '.join(FORMATS)}."
        )
    return precision


def checkpoints(settings: Settings, tuning: Tuning) -> Path:
    """Name the folder of the checkpoints of a training.

    It is beside the folder of results, which holds nothing but results.

    Args:
        settings: How the training is run.
        tuning: The training.
    """
    folder = settings.results.with_name(f"{settings.results.name}.training")
    return folder / slug(tuning.name)


@dataclass(slots=True)
class TuningWork:
    """The rows of all tasks of a training as one table, and the networks trained on them.

    Attributes:
        tuning: The plan of the training.
        settings: Where data and results are, the device and the precision.
        data: The data of the plan.
        rows: The rows of each task by its code.
        items: The row of the table for each item; an item is a set of frames.
        patients: (n,) the patient of each row of the table.
        parts: (n,) the official part of each row of the table.
        table: The frames or sounds of each row, and the answers of all tasks.
        splits: The splits of the rows of the table.
        before: The training on the source task, or None.
        trained: Facts of the training so far: the digest of the weights ("weights"), the state of
            the adapted body ("body") and its digest ("adapted").
    """

    tuning: Tuning
    settings: Settings
    data: Data
    rows: dict[str, Rows]
    items: dict[str, int]
    patients: Array
    parts: Array
    table: FrameTable | SoundTable
    splits: list[RowSplit]
    before: TuningWork | None = None
    trained: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(tuning: Tuning, settings: Settings, data: Data | None = None) -> TuningWork:
        """Read rows, frames and answers of the tasks, and of the source task if there is one.

        Args:
            tuning: The plan of the training.
            settings: Where the data are.
            data: The data of the plan; None opens them anew.

        Raises:
            SplitError: A patient would be trained on and tested.
            UndefinedError: The test patients are too few for an interval, or lack a class.
        """
        from etab.finetuning.examples import rows_of_tasks
        from etab.finetuning.tables import joined_table

        data = data or Data(settings)
        tasks = tuning.rows
        dataset = tasks[0].dataset
        rows = {task.code: data.rows(task) for task in tasks}
        joined = rows_of_tasks(list(rows.values()))
        items = {item: index for index, item in enumerate(joined.items)}
        splits = splits_of(tuning.protocol, tuning.seed, joined, tuning.kind)
        leaks.refuse_copies(tasks[0].code, joined.records, splits, data.alike(dataset))
        before = None
        if tuning.origin is not None:
            before = TuningWork.of(tuning.origin, settings, data)
        work = TuningWork(
            tuning=tuning,
            settings=settings,
            data=data,
            rows=rows,
            items=items,
            patients=joined.patients,
            parts=joined.parts,
            table=joined_table(tuning, data, rows, joined, items),
            splits=splits,
            before=before,
        )
        work.refuse_leaks()
        work.refuse_one_patient()
        work.refuse_one_class()
        return work

    def refuse_leaks(self) -> None:
        """Raise SplitError if a patient is tested and trained on, also in the source task."""
        for split in self.splits:
            name = split.name or "the split"
            tested = set(self.patients[split.test].tolist())
            trained = set(self.patients[split.train].tolist())
            both = tested & trained
            if both:
                raise SplitError(f"{min(both)} would be trained on and tested in {name}.")
            if self.before is None:
                continue
            source_split = self.before.splits[self.before.index_of(split)]
            trained = set(self.before.patients[source_split.train].tolist())
            both = tested & trained
            if both:
                raise SplitError(
                    f"{min(both)} and {len(both) - 1} other patients would be trained on in "
                    f"the source task and tested in {name} of the target. Choose the protocol "
                    "official, or another source."
                )

    def refuse_one_patient(self) -> None:
        """Raise UndefinedError where the test patients are too few for an interval."""
        tested: set[str] = set()
        for split in self.splits:
            tested.update(str(patient) for patient in self.patients[split.test])
        if len(tested) < _FEWEST_TESTED:
            raise UndefinedError(
                f"{self.tuning.protocol} tests {len(tested)} patient: an interval needs at least "
                f"{_FEWEST_TESTED}. Add test patients, or take folds: --protocol cv5."
            )

    def refuse_one_class(self) -> None:
        """Raise UndefinedError where a metric compares classes, and no test part has them all."""
        for task in self.tuning.rows:
            rows = self.rows[task.code]
            condition = METRICS[task.metric].condition
            if not condition.startswith(EVERY_CLASS):
                continue
            places = [self.items[item] for item in rows.items]
            answer_of = dict(zip(places, map(float, rows.answers), strict=True))
            tested = [set(map(answer_of.get, split.test.tolist())) for split in self.splits]
            if condition == EVERY_CLASS:  # not in one test part, but in all of them together
                tested = [set().union(*tested)]
            if all(len(found - {None}) < 2 for found in tested):
                raise UndefinedError(
                    f"{task.code} is scored by {task.metric}, which needs {condition}; "
                    f"{self.tuning.protocol} tests only one class. Take folds: --protocol cv5."
                )

    def index_of(self, split: RowSplit) -> int:
        """Return the index of the split with the same name.

        Args:
            split: A split of the target task.

        Raises:
            SplitError: There is no such split.
        """
        for index, candidate in enumerate(self.splits):
            if candidate.name == split.name:
                return index
        raise SplitError(
            f"The source task {self.tuning.tasks[0]} has no split {split.name!r} to train on."
        )

    def split(self, index: int, watch: TrainingWatch | None) -> tuple[dict[str, Any], FloatArray]:
        """Train for one split.

        Args:
            index: The number of the split.
            watch: Called with the name of the training and its progress.

        Returns:
            The choices of the training (epoch, batch, thresholds), and the scores of the test
            rows.
        """
        network, done, source_choice = self.fitted(index, watch)
        split = self.splits[index]
        precision = precision_of_tuning(self.tuning, self.settings)
        choice: dict[str, Any] = {
            "epoch": done.best_epoch + 1,
            "epochs": done.epoch,
            "validation_loss": done.best_loss,
            "batch": done.batch,
            **source_choice,
        }
        if self.tuning.kind is Kind.MASK:
            choice["thresholds"] = self._thresholds(network, split.inner[0], precision)
        elif thresholds.needed(self.tuning.rows[0]):
            choice |= self._rule(network, split.inner[0], precision).facts()
        return choice, self._scores(network, split.test, precision)

    def fitted(
        self, index: int, watch: TrainingWatch | None
    ) -> tuple[Network, Progress, dict[str, Any]]:
        """Train for one split, after the source task if there is one.

        Args:
            index: The number of the split.
            watch: Called with the name of the training and its progress.

        Returns:
            The network, its progress, and the choices of the training on the source task.
        """
        from etab.finetuning.fitting import fit

        tuning = self.tuning
        split = self.splits[index]
        source_choice = self._train_source(split, watch)
        precision = precision_of_tuning(tuning, self.settings)
        recipe = replace(tuning.recipe, seed=_seed(tuning, index), precision=precision)
        network = self._network(recipe.seed, split)
        validation = split.inner[0]
        folder = slug(split.name) if split.name else "split"

        def report(progress: Progress) -> None:
            if watch is not None:
                watch(tuning.name, progress)

        done = fit(
            network,
            self.table,
            without(split.train, validation),
            validation,
            recipe,
            augment=tuning.augment,
            folder=checkpoints(self.settings, tuning) / folder,
            about=self._about(),
            report=report,
        )
        return network, done, source_choice

    def _train_source(self, split: RowSplit, watch: TrainingWatch | None) -> dict[str, Any]:
        """Train on the source task if there is one; ``_network`` uses the state of the body."""
        from etab.backbones.weights.index import digest

        if self.before is None:
            return {}
        source_index = self.before.index_of(split)
        network, done, _ = self.before.fitted(source_index, watch)
        state = {}
        for name, tensor in network.body.state_dict().items():
            state[name] = tensor.detach().cpu().clone()
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
        n_structures = len(self.tuning.structures)
        n_classes = len(target.classes)
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
            outputs=_n_outputs(target.kind, n_structures, n_classes),
            frames=self.table.n_frames,
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
        """Collect what decides the weights beside rows and recipe; checkpoints must have it too."""
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
        """Predict rows.

        Returns:
            Probabilities (rows, structures, g, g) or (rows, classes), or values (rows,).
        """
        import torch

        device = self.settings.device
        in_half = precision == "bf16"
        blocks = []
        network.eval()
        for start in range(0, len(rows), _TEST_BATCH):
            batch = rows[start : start + _TEST_BATCH]
            inputs, owners = self.table.pieces(batch)
            with (
                torch.inference_mode(),
                torch.autocast(torch.device(device).type, torch.bfloat16, in_half),
            ):
                output = network(inputs.to(device)).float().cpu()
            scores = network.probabilities(output).numpy()
            blocks.append(scores if owners is None else means_of_rows(scores, owners))
        return np.concatenate(blocks)

    def _rule(self, network: Network, validation: IntArray, precision: str) -> thresholds.Rule:
        """Choose how scores become classes, by the task's metric on the validation rows."""
        task = self.tuning.rows[0]
        rows = self.rows[task.code]
        order = np.sort(validation)
        of_classes = self._scores(network, order, precision)
        scores = self._predicted(task, rows, order, of_classes, {})
        columns = laid_out(task, rows, (), order, [scores])[2]
        return thresholds.best_rule(task, columns)

    def _thresholds(self, network: Network, rows: IntArray, precision: str) -> dict[str, float]:
        """Choose for each structure the threshold with the best mean Dice of validation rows."""
        known = self.table.known
        if known is None:
            return {}
        scores = self._scores(network, rows, precision)
        chosen = {}
        for index, structure in enumerate(self.tuning.structures):
            drawn = known[rows, index].numpy()
            targets = self.table.targets[rows, index].numpy()
            truth = targets[drawn] >= 128
            chosen[structure] = best_threshold(scores[drawn, index], truth)
        return chosen

    def result(
        self, cell: Run, fits: Sequence[tuple[dict[str, Any], FloatArray]], seconds: float
    ) -> Result:
        """Score and save one task.

        Args:
            cell: The cell of the task.
            fits: The choices and the scores of each split, as ``split`` returns them.
            seconds: Seconds that training took.

        Returns:
            The result; the first process has saved it.
        """
        rows = self.rows[cell.task]
        task = cell.row
        # The table has rows of other tasks too, which are absent from this map.
        row_of = {self.items[item]: row for row, item in enumerate(rows.items)}
        splits = []
        answers = []
        for split, (choice, scores) in zip(self.splits, fits, strict=True):
            in_task = [i for i, row in enumerate(split.test) if int(row) in row_of]
            positions = np.array(in_task)
            test = np.array([row_of[int(split.test[i])] for i in positions])
            train = np.array([row_of[int(row)] for row in split.train if int(row) in row_of])
            predicted = self._predicted(task, rows, test, scores[positions], choice)
            splits.append(RowSplit(train, (), test, split.name))
            answers.append(FoldFit(predicted, choice))
        outlines = self.data.outlines(task)
        rules = []
        if task.kind is not Kind.MASK and thresholds.needed(task):
            rules = [rule_of(choice) for choice, _ in fits]
        table = runs.predictions_of(task, rows, outlines, splits, answers, rules)
        origin = self._origin(task, seconds)
        answered = Answered(cell, rows, splits, answers, table)
        result = result_of(answered, origin, self.data)
        if distributed.world()[0] == 0:
            result.save(self.settings.results, table, keep=self.settings.keep_masks)
        return result

    def _origin(self, task: Task, seconds: float) -> Origin:
        """Describe where a result comes from: weights, data, settings, notes and times."""
        facts = facts_of(self.tuning, self.settings, self.data)
        digest = self.data.digest(task.dataset)
        identity = f"{digest} {self.tuning.name} {facts}"
        key = hashlib.sha256(identity.encode()).hexdigest()
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
    """Return the number of outputs of the head: structures of masks, one value, or classes."""
    if kind is Kind.MASK:
        return n_structures
    return 1 if kind is Kind.VALUE else n_classes


def _seed(tuning: Tuning, index: int) -> int:
    """Derive the seed of the training for a split."""
    return int(np.random.default_rng([tuning.seed, index]).integers(0, 2**31))
