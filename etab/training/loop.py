"""One training loop: AdamW or SGD, warm-up and cosine, early stopping, checkpoints that resume to
the same bytes.

The loop knows rows and a loss, not data: ``loss(rows)`` gives the mean loss of some rows as a
tensor. The order of an epoch is a function of (seed, epoch), the other chance (dropout) is torch's
generator inside the loop, which is set from the seed, kept in checkpoints and put back as it was
afterwards. Several processes (``etab.training.distributed``) share the rows of each step.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
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
    restore,
    write_checkpoint,
)
from etab.training.distributed import Share, wait
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


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train.

    epochs          passes over the training rows at most (>= 1)
    batch           rows in memory at once; ``batch * accumulate`` rows make one step (both >= 1)
    learning_rate   peak of the schedule (> 0), reached after ``warmup`` (a share of all steps, in
                    [0, 1)), then cosine
    weight_decay    of AdamW, on weights of two and more axes only
    patience        epochs without a better validation loss after which training stops; 0: never
    clip            largest norm of the gradient; 0: no limit
    seed            decides order and dropout
    every           steps between checkpoints; 0: at the end of each epoch only
    optimizer       "adamw", or "sgd" (Nesterov, momentum 0.9)
    precision       "fp32", or "bf16": the loss is computed under autocast, weights and their
                    updates stay fp32
    stop            epochs after which training ends, though the schedule is that of ``epochs``; 0:
                    at its end. For training again on all rows as long as a validation part once
                    said
    """

    epochs: int = 20
    batch: int = 16
    accumulate: int = 1
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    warmup: float = 0.1
    patience: int = 5
    clip: float = 1.0
    seed: int = 0
    every: int = 0
    optimizer: str = "adamw"
    precision: str = "fp32"
    stop: int = 0

    def __post_init__(self) -> None:
        wrong = [
            f"{name} is {getattr(self, name)}, wanted {wanted}"
            for name, wanted, fine in (
                ("epochs", "1 or more", self.epochs >= 1),
                ("batch", "1 or more", self.batch >= 1),
                ("accumulate", "1 or more", self.accumulate >= 1),
                ("learning_rate", "above 0", 0 < self.learning_rate < float("inf")),
                ("warmup", "a share in [0, 1)", 0 <= self.warmup < 1),
                ("patience", "0 or more", self.patience >= 0),
                ("clip", "0 or more", self.clip >= 0),
                ("optimizer", "adamw or sgd", self.optimizer in ("adamw", "sgd")),
                ("precision", "fp32 or bf16", self.precision in ("fp32", "bf16")),
                ("stop", "0 to epochs", 0 <= self.stop <= self.epochs),
            )
            if not fine
        ]
        if wrong:
            raise UnsupportedOptionError(
                f"This training recipe cannot be followed: {'; '.join(wrong)}."
            )


def rate(recipe: Recipe, step: int, steps: int) -> float:
    """Learning rate of a step (0-based) of ``steps``: linear up, then half a cosine down to zero."""
    up = round(recipe.warmup * steps)
    if step < up:
        return recipe.learning_rate * (step + 1) / up
    return (
        recipe.learning_rate * 0.5 * (1 + float(np.cos(np.pi * (step - up) / max(steps - up, 1))))
    )


def order(recipe: Recipe, epoch: int, n: int) -> list[IntArray]:
    """Positions of the rows of each step of an epoch: all n once, in steps of nearly one size (none
    is a lone row).
    """
    shuffled = np.random.default_rng([recipe.seed, epoch]).permutation(n)
    size = recipe.batch * recipe.accumulate
    return list(np.array_split(shuffled, max(1, n // size if n % size == 1 else -(-n // size))))


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
    """Train in place and leave the network in eval mode with the weights of its best validation
    loss.

    ``rows`` and ``validation`` are what ``loss`` understands; they must not share one. Without
    validation rows a recipe says where to ``stop``, and the last weights are kept. ``folder`` keeps
    checkpoints: where it holds one of the same recipe, rows, architecture and ``about`` (what else
    decides the result), training goes on from there. ``report`` is called after every step. Raises
    TrainingError (loss not finite: the network then holds the state after the last good epoch; or
    one row that does not fit memory), WeightsError (checkpoint of another architecture),
    UnsupportedOptionError (checkpoint of another recipe or rows), CorruptFileError, StorageError.
    """
    import torch

    devices = sorted({p.device.index or 0 for p in network.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
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
    """Train several networks in turn, batch by batch, each as ``train`` would alone: to the same
    bytes.

    Recipes of one seed, batch and accumulation ask for the same rows one after the other, so that
    losses that share what they read read it once. One whose training fails ends with None, in the
    state that ``train`` leaves, and the others go on. Raises what ``train`` raises, TrainingError
    where all fail.
    """
    import torch

    failed: list[TrainingError] = []
    with torch.random.fork_rng(devices=[]):
        loops = []
        chances = []
        for network, loss, recipe in zip(networks, losses, recipes, strict=True):
            loops.append(_Loop(network, loss, rows, validation, recipe, None, {}))
            chances.append(_chance([]))
        going = {i: loop.run(None) for i, loop in enumerate(loops)}
        while going:
            for i, running in list(going.items()):
                _set_chance(chances[i])
                try:
                    next(running)
                except StopIteration:
                    del going[i]
                except TrainingError as error:
                    failed.append(error)
                    del going[i]
                chances[i] = _chance([])
    if len(failed) == len(loops):
        raise failed[0]
    return [loop.progress if loop.progress.finished else None for loop in loops]


def _copy(network: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.detach().clone() for k, v in network.state_dict().items()}


class _Loop:
    """The state of one training."""

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
        self.network, self.loss, self.rows, self.validation = network, loss, rows, validation
        self.recipe, self.folder, self.about = recipe, folder, about
        self.share = Share(network)
        _seed(recipe.seed, self.share.rank)
        free = [p for p in network.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in free if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in free if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.free = free
        self.device = free[0].device.type if free else "cpu"
        self.optimizer = _optimizer([g for g in groups if g["params"]], recipe)
        self.progress = Progress(batch=recipe.batch)
        self.good = self.best = _copy(network)

    def resume(self) -> None:
        """Go on from the folder's checkpoint where there is one; every process reads it before any
        writes another.
        """
        if self.folder is not None and (self.folder / "state.json").exists():
            self.read(self.folder)
        wait()

    def read(self, folder: Path) -> None:
        """Take a checkpoint over. Raises what ``train`` raises of checkpoints."""
        state, tensors = read_checkpoint(folder)
        fit_state(self.network, part(tensors, "network"), str(folder))
        there = state["identity"]
        here = self.identity()
        if there != here:
            differ = ", ".join(
                f"{k}: {there.get(k)} there, {here.get(k)} here"
                for k in {**here, **there}
                if there.get(k) != here.get(k)
            )
            raise UnsupportedOptionError(
                f"The checkpoint in {folder} is of another training ({differ}). Name another folder, or remove it."
            )
        restore(self.optimizer, part(tensors, "optimizer"))
        self.good, self.best = part(tensors, "good"), part(tensors, "best")
        self.progress = Progress(**state["progress"])
        _set_chance(part(tensors, _chance_name(self.share.rank)))

    def identity(self) -> dict[str, Any]:
        """What must be the same for a resumed training to mean the same."""
        blob = b"|".join(
            np.ascontiguousarray(r, dtype=np.int64).tobytes() for r in (self.rows, self.validation)
        )
        several = {"processes": self.share.size} if self.share.size > 1 else {}
        return {
            **asdict(self.recipe),
            **self.about,
            **several,
            "rows": hashlib.sha256(blob).hexdigest()[:16],
        }

    def save(self) -> None:
        """Write a checkpoint, when checkpoints are asked for; the first process does, with the
        chance of each.
        """
        if self.folder is None:
            return
        chances = self.share.gather(_chance(self.free))
        if self.share.rank:
            return
        parts = {
            "network": self.network.state_dict(),
            "good": self.good,
            "best": self.best,
            "optimizer": flatten(self.optimizer),
            **{_chance_name(rank): chance for rank, chance in enumerate(chances)},
        }
        tensors = {f"{name}/{k}": v for name, held in parts.items() for k, v in held.items()}
        write_checkpoint(
            self.folder, {"identity": self.identity(), "progress": asdict(self.progress)}, tensors
        )

    def run(self, report: Report | None) -> Generator[None, None, None]:
        """Train to the end, pausing after every step and every batch of validation; keep the best
        weights.
        """
        while not self.progress.finished:
            yield from self.epoch(report)
        self.network.load_state_dict(self.best)
        self.network.eval()

    def epoch(self, report: Report | None) -> Generator[None, None, None]:
        """The rest of the current epoch, and its validation."""
        plan = order(self.recipe, self.progress.epoch, len(self.rows))
        self.network.train()
        for at in range(self.progress.step - self.progress.epoch * len(plan), len(plan)):
            self.step(self.rows[plan[at]], self.recipe.epochs * len(plan))
            every = self.recipe.every
            if every and self.progress.step % every == 0 and at + 1 < len(plan):
                self.save()
            if report:
                report(self.progress)
            yield
        yield from self.close_epoch()
        self.save()

    def step(self, rows: IntArray, steps: int) -> None:
        """One update of the weights, in as many parts as memory asks for."""
        now = self.progress
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.recipe, now.step, steps)
        buffers = {k: v.clone() for k, v in self.network.named_buffers()}
        chance = _chance(self.free)
        while (total := self._gradient(rows)) is None:
            for name, value in self.network.named_buffers():
                value.copy_(buffers[name])
            _set_chance(chance)
        norm = self._norm()
        if not np.isfinite(total) or not np.isfinite(norm):
            self._not_finite("loss" if not np.isfinite(total) else "gradient", total)
        self.optimizer.step()
        now.step, now.rows, now.running = (
            now.step + 1,
            now.rows + len(rows),
            now.running + total * len(rows),
        )

    def _gradient(self, rows: IntArray) -> float | None:
        """Mean loss of the rows, with its gradient in the parameters; None when they did not fit
        and were halved.
        """
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        full = None
        for some in self.share.parts(rows, self.progress.batch):
            try:
                found = self.mean(some) * (len(some) / len(rows))
                found.backward()  # type: ignore[no-untyped-call]
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                full = (error, len(some))
                break
            total += float(found.detach())
        most = self.share.most(full[1] if full else 0)
        if most:
            self._halve(full[0] if full else None, most)
            return None
        self.share.exchange(self.free)
        return self.share.sum(total)

    def mean(self, rows: IntArray) -> torch.Tensor:
        """The loss of some rows in the precision of the recipe."""
        import torch

        with torch.autocast(self.device, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            return self.loss(rows)

    def _halve(self, error: Exception | None, rows: int) -> None:
        """Go on with half of the rows at once, in every process; ``error`` None is one of another
        process.
        """
        if rows <= 1:
            said = _first(error) if error else "Another process says so."
            raise TrainingError(
                f"One training row does not fit memory (step {self.progress.step}): {said} "
                "Take a smaller backbone or head, or a device with more memory."
            ) from error
        self.progress.batch = rows // 2
        if self.share.rank:
            return
        warnings.warn(
            f"A batch of {rows} rows does not fit memory at step {self.progress.step}; "
            f"going on with {rows // 2} at once, as many a step as before.",
            EtabWarning,
            stacklevel=7,
        )

    def _norm(self) -> float:
        import torch

        return float(torch.nn.utils.clip_grad_norm_(self.free, self.recipe.clip or float("inf")))

    def _not_finite(self, what: str, value: float) -> None:
        self.network.load_state_dict(self.good)
        self.network.eval()
        kept = len(self.progress.history)
        raise TrainingError(
            f"The {what} is not finite ({value}) at step {self.progress.step} (epoch {self.progress.epoch}). "
            f"The weights are those after {kept} good epochs. Try a smaller learning rate "
            f"(here {self.recipe.learning_rate}), or look for values that are not finite in the input."
        )

    def close_epoch(self) -> Generator[None, None, None]:
        """Validate, remember the best, and decide whether to stop."""
        now = self.progress
        self.share.agree()
        found = (yield from self.validate()) if len(self.validation) else 0.0
        if not np.isfinite(found):
            self._not_finite("validation loss", found)
        self.good = _copy(self.network)
        now.history.append({"train": now.running / now.rows, "validation": found})
        if found < now.best_loss or not len(self.validation):
            now.best_loss, now.best_epoch, self.best = found, now.epoch, self.good
        now.epoch, now.rows, now.running = now.epoch + 1, 0, 0.0
        waited = now.epoch - 1 - now.best_epoch
        now.finished = now.epoch >= (self.recipe.stop or self.recipe.epochs) or bool(
            self.recipe.patience and waited >= self.recipe.patience
        )

    def validate(self) -> Generator[None, None, float]:
        """Mean loss of the validation rows in eval mode; each process asks every so-manieth batch."""
        import torch

        self.network.eval()
        total = 0.0
        share = self.share
        for at, start in enumerate(range(0, len(self.validation), self.progress.batch)):
            if at % share.size == share.rank:
                some = self.validation[start : start + self.progress.batch]
                with torch.no_grad():
                    total += float(self.mean(some)) * len(some)
                yield
        return share.sum(total) / len(self.validation)


def _refuse_rows(rows: IntArray, validation: IntArray, recipe: Recipe) -> None:
    both = np.intersect1d(rows, validation).size
    if not len(rows) or not (len(validation) or recipe.stop) or both:
        raise UnsupportedOptionError(
            f"Training needs rows, and other rows to validate on (or where to stop); got {len(rows)} and "
            f"{len(validation)}, {both} of them in both."
        )


def _seed(seed: int, rank: int) -> None:
    """Set torch's generator; every process but the first by a seed of its own, since it has other
    rows.
    """
    import torch

    torch.manual_seed(
        seed if rank == 0 else int(np.random.default_rng([seed, rank]).integers(2**62))
    )


def _chance_name(rank: int) -> str:
    return f"chance{rank or ''}"


def _optimizer(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    import torch

    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory is full (a device's, or the processor's)."""
    import torch

    said = str(error)
    return isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) or any(
        words in said for words in ("not enough memory", "can't allocate memory", "out of memory")
    )


def _first(error: Exception) -> str:
    return f"{str(error).splitlines()[0]}." if str(error) else f"{type(error).__name__}."


def _chance(parameters: list[nn.Parameter]) -> dict[str, torch.Tensor]:
    """Generators in use: the processor's, and each device's."""
    import torch

    found = {"cpu": torch.get_rng_state()}
    for device in {p.device for p in parameters if p.device.type == "cuda"}:
        found[f"cuda:{device.index or 0}"] = torch.cuda.get_rng_state(device)
    return found


def _set_chance(states: Mapping[str, torch.Tensor]) -> None:
    import torch

    for name, state in states.items():
        if name == "cpu":
            torch.set_rng_state(state)
        else:
            torch.cuda.set_rng_state(state, name)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's generator set to a seed inside, and as it was afterwards: for making a network's
    first weights.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
