"""The training loop: AdamW or SGD, warm-up and cosine schedule, early stopping, and checkpoints.

The loop takes row numbers and a loss function, not data: ``loss(rows)`` returns the mean loss of
rows as a tensor. The order of rows is a function of seed and epoch. Dropout depends on torch's
generator, which is seeded inside the loop, saved in checkpoints and restored at the end, so that
a resumed training gives the same bytes. Several processes (``etab.training.distributed``) can
share the rows of each step.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from etab.errors import EtabWarning, TrainingError, UnsupportedOptionError
from etab.training.checkpoints import (
    Progress,
    fit_state,
    flatten,
    part,
    read_checkpoint,
    refuse_other_training,
    restore,
    write_checkpoint,
)
from etab.training.distributed import Share, wait
from etab.training.randomness import (
    generator_states,
    restore_generators,
    seed_process,
    seeded,
)
from etab.training.recipe import Recipe, order, rate
from etab.types import IntArray

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__ = [
    "Loss",
    "Progress",
    "Recipe",
    "Report",
    "fit_state",
    "order",
    "out_of_memory",
    "rate",
    "read_checkpoint",
    "seeded",
    "train",
    "train_together",
    "write_checkpoint",
]

Loss = Callable[[IntArray], "torch.Tensor"]
Report = Callable[["Progress"], None]
_MEMORY_MESSAGES = ("not enough memory", "can't allocate memory", "out of memory")


def train(
    network: nn.Module,
    loss: Loss,
    rows: IntArray,
    validation: IntArray,
    recipe: Recipe,
    *,
    folder: Path | None = None,
    report: Report | None = None,
    about: Mapping[str, Any] | None = None,
) -> Progress:
    """Train a network in place.

    At the end the network is in evaluation mode and has the weights with the lowest validation
    loss, or the last weights if there are no validation rows.

    Args:
        network: The network. Parameters without ``requires_grad`` do not change.
        loss: Returns the mean loss of rows.
        rows: Training rows, as ``loss`` takes them.
        validation: Validation rows, none of them a training row. If empty, the recipe must have
            ``stop``.
        recipe: How to train.
        folder: Folder of checkpoints; None for no checkpoints. Training continues from a
            checkpoint in it, which must have the same recipe, rows, architecture and ``about``.
        report: Called with the progress after every step.
        about: Other facts that decide the result, to compare with the checkpoint.

    Returns:
        The progress at the end.

    Raises:
        TrainingError: If the loss is not finite, or one row does not fit memory. The network then
            has the weights after the last good epoch.
        WeightsError: If the checkpoint is of another architecture.
        UnsupportedOptionError: If the rows are unsuitable, or the checkpoint is of another
            training.
        CorruptFileError: If the checkpoint cannot be read.
        StorageError: If a checkpoint cannot be written.
    """
    import torch

    gpus = {p.device.index or 0 for p in network.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(gpus)):
        loop = _Loop(network, loss, rows, validation, recipe, folder, about or {})
        loop.resume()
        for _ in loop.run(report):
            pass
    return loop.progress


def train_together(
    networks: Sequence[nn.Module],
    losses: Sequence[Loss],
    rows: IntArray,
    validation: IntArray,
    recipes: Sequence[Recipe],
) -> list[Progress | None]:
    """Train several networks in turn, batch by batch.

    At the end each network has the same weights as after ``train`` alone. With equal seed, batch
    and accumulation, the same rows are needed for one network after the other, so losses that
    share their data read each batch once.

    Args:
        networks: The networks.
        losses: The loss function of each network.
        rows: Training rows of all networks.
        validation: Validation rows of all networks.
        recipes: The recipe of each network.

    Returns:
        The progress of each network, or None if its training failed.

    Raises:
        TrainingError: If the training of every network fails.
        UnsupportedOptionError: If the rows are unsuitable.
    """
    import torch

    failed: list[TrainingError] = []
    with torch.random.fork_rng(devices=[]):
        loops = []
        states = []
        for network, loss, recipe in zip(networks, losses, recipes, strict=True):
            loops.append(_Loop(network, loss, rows, validation, recipe, None, {}))
            states.append(generator_states([]))
        running = {i: loop.run(None) for i, loop in enumerate(loops)}
        while running:
            for i, steps in list(running.items()):
                restore_generators(states[i])
                try:
                    next(steps)
                except StopIteration:
                    del running[i]
                except TrainingError as error:
                    failed.append(error)
                    del running[i]
                states[i] = generator_states([])
    if len(failed) == len(loops):
        raise failed[0]
    return [loop.progress if loop.progress.finished else None for loop in loops]


def _copied_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return copies of the weights and buffers of a network."""
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


class _Loop:
    """A training in progress."""

    def __init__(
        self,
        network: nn.Module,
        loss: Loss,
        rows: IntArray,
        validation: IntArray,
        recipe: Recipe,
        folder: Path | None,
        about: Mapping[str, Any],
    ) -> None:
        _refuse_rows(rows, validation, recipe)
        self.network = network
        self.loss = loss
        self.rows = rows
        self.validation = validation
        self.recipe = recipe
        self.folder = folder
        self.about = about
        self.share = Share(network)
        seed_process(recipe.seed, self.share.rank)
        self.trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.device = self.trained[0].device.type if self.trained else "cpu"
        self.optimizer = _optimizer(self.trained, recipe)
        self.progress = Progress(batch=recipe.batch)
        self.good = _copied_state(network)
        self.best = self.good

    def resume(self) -> None:
        """Continue from the checkpoint in the folder, if there is one.

        All processes read it before one of them writes the next.
        """
        if self.folder is not None and (self.folder / "state.json").exists():
            self.read(self.folder)
        wait()

    def read(self, folder: Path) -> None:
        """Restore a checkpoint; raises what ``train`` raises about checkpoints."""
        state, tensors = read_checkpoint(folder)
        # An option that differs is reported by its name, before tensors of another shape are.
        refuse_other_training(folder, state["identity"], self.identity())
        fit_state(self.network, part(tensors, "network"), str(folder))
        restore(self.optimizer, part(tensors, "optimizer"))
        self.good = part(tensors, "good")
        self.best = part(tensors, "best")
        self.progress = Progress(**state["progress"])
        restore_generators(part(tensors, _generator_part(self.share.rank)))

    def identity(self) -> dict[str, Any]:
        """Everything that a checkpoint must share with the training that continues it."""
        parts = []
        for rows in (self.rows, self.validation):
            numbers = np.ascontiguousarray(rows, dtype=np.int64)
            parts.append(numbers.tobytes())
        identity = {**asdict(self.recipe), **self.about}
        if self.share.size > 1:
            identity["processes"] = self.share.size
        identity["rows"] = hashlib.sha256(b"|".join(parts)).hexdigest()[:16]
        return identity

    def save(self) -> None:
        """Write a checkpoint if there is a folder.

        The first process writes it, with the generator states of all processes.
        """
        if self.folder is None:
            return
        states = self.share.gather(generator_states(self.trained))
        if self.share.rank:
            return
        parts: dict[str, Mapping[str, torch.Tensor]] = {
            "network": self.network.state_dict(),
            "good": self.good,
            "best": self.best,
            "optimizer": flatten(self.optimizer),
        }
        for rank, state in enumerate(states):
            parts[_generator_part(rank)] = state
        tensors = {}
        for part_name, members in parts.items():
            for name, tensor in members.items():
                tensors[f"{part_name}/{name}"] = tensor
        facts = {
            "identity": self.identity(),
            "progress": asdict(self.progress),
        }
        write_checkpoint(self.folder, facts, tensors)

    def run(self, report: Report | None) -> Generator[None, None, None]:
        """Train to the end and restore the best weights; yields after every batch."""
        while not self.progress.finished:
            yield from self.epoch(report)
        self.network.load_state_dict(self.best)
        self.network.eval()

    def epoch(self, report: Report | None) -> Generator[None, None, None]:
        """Run the rest of the current epoch, and validate; yields after every batch."""
        steps = order(self.recipe, self.progress.epoch, len(self.rows))
        n_steps = len(steps)
        n_done = self.progress.step - self.progress.epoch * n_steps
        every = self.recipe.every
        self.network.train()
        for index in range(n_done, n_steps):
            self.step(self.rows[steps[index]], self.recipe.epochs * n_steps)
            is_last = index + 1 == n_steps
            if every and self.progress.step % every == 0 and not is_last:
                self.save()
            if report:
                report(self.progress)
            yield
        yield from self.close_epoch()
        self.save()

    def step(self, rows: IntArray, steps: int) -> None:
        """Update the weights once; the rows are divided into parts that fit memory."""
        progress = self.progress
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.recipe, progress.step, steps)
        buffers = {name: value.clone() for name, value in self.network.named_buffers()}
        states = generator_states(self.trained)
        while (total := self._gradient(rows)) is None:
            for name, value in self.network.named_buffers():
                value.copy_(buffers[name])
            restore_generators(states)
        norm = self._norm()
        if not np.isfinite(total) or not np.isfinite(norm):
            quantity = "gradient" if np.isfinite(total) else "loss"
            self._not_finite(quantity, total)
        self.optimizer.step()
        progress.step += 1
        progress.rows += len(rows)
        progress.running += total * len(rows)

    def _gradient(self, rows: IntArray) -> float | None:
        """Compute the mean loss of rows and its gradient.

        Returns:
            The loss; None if the rows did not fit memory and the batch was halved.
        """
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        failure: Exception | None = None
        n_failed = 0
        for batch in self.share.parts(rows, self.progress.batch):
            try:
                loss = self.mean_loss(batch) * (len(batch) / len(rows))
                loss.backward()  # type: ignore[no-untyped-call]
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                failure = error
                n_failed = len(batch)
                break
            total += float(loss.detach())
        n_failed = self.share.most(n_failed)
        if n_failed:
            self._halve(failure, n_failed)
            return None
        self.share.exchange(self.trained)
        return self.share.sum(total)

    def mean_loss(self, rows: IntArray) -> torch.Tensor:
        """Compute the mean loss of rows in the precision of the recipe."""
        import torch

        in_half = self.recipe.precision == "bf16"
        with torch.autocast(self.device, torch.bfloat16, enabled=in_half):
            return self.loss(rows)

    def _halve(self, error: Exception | None, rows: int) -> None:
        """Halve the batch in every process.

        Args:
            error: The error of this process; None if it occurred in another process.
            rows: Rows in the batch that did not fit.
        """
        if rows <= 1:
            reason = _first_line(error) if error else "Memory is full in another process."
            raise TrainingError(
                f"One training row does not fit into memory (step {self.progress.step}): {reason} "
                "Choose a smaller backbone or head, or a device with more memory."
            ) from error
        self.progress.batch = rows // 2
        if self.share.rank:
            return
        warnings.warn(
            f"A batch of {rows} rows does not fit into memory at step {self.progress.step}; "
            f"training continues with batches of {rows // 2}. The number of rows in a step is "
            "unchanged.",
            EtabWarning,
            stacklevel=7,
        )

    def _norm(self) -> float:
        """Clip the gradient to the largest norm of the recipe; return its norm before that."""
        import torch

        limit = self.recipe.clip or float("inf")
        return float(torch.nn.utils.clip_grad_norm_(self.trained, limit))

    def _not_finite(self, quantity: str, value: float) -> None:
        """Restore the weights of the last good epoch and raise TrainingError."""
        self.network.load_state_dict(self.good)
        self.network.eval()
        raise TrainingError(
            f"The {quantity} is not finite ({value}) at step {self.progress.step} "
            f"(epoch {self.progress.epoch}). The network has its weights after "
            f"{len(self.progress.history)} good epochs. Try a smaller learning rate (here "
            f"{self.recipe.learning_rate}), or look for values that are not finite in the input."
        )

    def close_epoch(self) -> Generator[None, None, None]:
        """Validate, keep the best weights, and decide whether to stop."""
        progress = self.progress
        self.share.agree()
        loss = 0.0
        if len(self.validation):
            loss = yield from self.validate()
        if not np.isfinite(loss):
            self._not_finite("validation loss", loss)
        self.good = _copied_state(self.network)
        mean_loss = progress.running / progress.rows
        progress.history.append({"train": mean_loss, "validation": loss})
        if loss < progress.best_loss or not len(self.validation):
            progress.best_loss = loss
            progress.best_epoch = progress.epoch
            self.best = self.good
        waited = progress.epoch - progress.best_epoch
        progress.epoch += 1
        progress.rows = 0
        progress.running = 0.0
        at_end = progress.epoch >= (self.recipe.stop or self.recipe.epochs)
        out_of_patience = 0 < self.recipe.patience <= waited
        progress.finished = at_end or out_of_patience

    def validate(self) -> Generator[None, None, float]:
        """Compute the mean loss of the validation rows, in evaluation mode.

        Batches are distributed round-robin over the processes.
        """
        import torch

        self.network.eval()
        total = 0.0
        share = self.share
        size = self.progress.batch
        for index, start in enumerate(range(0, len(self.validation), size)):
            if index % share.size == share.rank:
                batch = self.validation[start : start + size]
                with torch.no_grad():
                    total += float(self.mean_loss(batch)) * len(batch)
                yield
        return share.sum(total) / len(self.validation)


def _refuse_rows(
    rows: IntArray,
    validation: IntArray,
    recipe: Recipe,
) -> None:
    """Raise UnsupportedOptionError if the rows cannot be trained on."""
    n_both = np.intersect1d(rows, validation).size
    can_stop = len(validation) or recipe.stop
    if not len(rows) or not can_stop or n_both:
        raise UnsupportedOptionError(
            "Training needs rows, and other rows for validation (or where to stop); got "
            f"{len(rows)} and {len(validation)} rows, {n_both} of them in both."
        )


def _generator_part(rank: int) -> str:
    """Name of the generator states of a process in a checkpoint."""
    return f"chance{rank or ''}"


def _optimizer(parameters: Sequence[nn.Parameter], recipe: Recipe) -> torch.optim.Optimizer:
    """Build the optimizer; biases and scales (one axis or none) have no weight decay."""
    import torch

    decayed = [parameter for parameter in parameters if parameter.ndim > 1]
    others = [parameter for parameter in parameters if parameter.ndim <= 1]
    groups: list[dict[str, Any]] = []
    if decayed:
        groups.append({"params": decayed, "weight_decay": recipe.weight_decay})
    if others:
        groups.append({"params": others, "weight_decay": 0.0})
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            groups,
            lr=recipe.learning_rate,
            momentum=0.9,
            nesterov=True,
        )
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def out_of_memory(error: Exception) -> bool:
    """Whether an error means that the memory of the device or the computer is full.

    Args:
        error: The error of a computation.
    """
    import torch

    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return any(message in str(error) for message in _MEMORY_MESSAGES)


def _first_line(error: Exception) -> str:
    """Return the first line of an error's message as a sentence, or the name of its class."""
    message = str(error)
    if not message:
        return f"{type(error).__name__}."
    return f"{message.splitlines()[0]}."
