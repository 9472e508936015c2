"""One training loop: AdamW or SGD, warm-up and cosine, early stopping, checkpoints that resume to the same bytes.

The loop knows rows and a loss, not data: ``loss(rows)`` gives the mean loss of some rows as a tensor. The order of an
epoch is a function of (seed, epoch), the other chance (dropout) is torch's generator inside the loop, which is set from
the seed, kept in checkpoints and put back as it was afterwards. A checkpoint is ``state.json``, which names the tensor
file that belongs to it, so that an interruption between the two writes leaves the earlier checkpoint whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from etab.errors import (
    CorruptFileError,
    EtabWarning,
    StorageError,
    TrainingError,
    UnsupportedOptionError,
    WeightsError,
)
from etab.types import IntArray

if TYPE_CHECKING:
    import torch
    from torch import nn

SCHEMA = 1
Loss = Callable[[IntArray], "torch.Tensor"]
Report = Callable[["Progress"], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train.

    epochs          passes over the training rows at most (>= 1)
    batch           rows in memory at once; ``batch * accumulate`` rows make one step (both >= 1)
    learning_rate   peak of the schedule (> 0), reached after ``warmup`` (a share of all steps, in [0, 1)), then cosine
    weight_decay    of AdamW, on weights of two and more axes only
    patience        epochs without a better validation loss after which training stops; 0: never
    clip            largest norm of the gradient; 0: no limit
    seed            decides order and dropout
    every           steps between checkpoints; 0: at the end of each epoch only
    optimizer       "adamw", or "sgd" (Nesterov, momentum 0.9)
    precision       "fp32", or "bf16": the loss is computed under autocast, weights and their updates stay fp32
    stop            epochs after which training ends, though the schedule is that of ``epochs``; 0: at its end. For
                    training again on all rows as long as a validation part once said
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
            raise UnsupportedOptionError(f"This training recipe cannot be followed: {'; '.join(wrong)}.")


@dataclass(slots=True)
class Progress:
    """Where training stands; all of it but ``best_loss`` of an untried network is finite."""

    step: int = 0
    epoch: int = 0
    rows: int = 0
    batch: int = 0
    running: float = 0.0
    best_loss: float = float("inf")
    best_epoch: int = -1
    finished: bool = False
    history: list[dict[str, float]] = field(default_factory=list)


def rate(recipe: Recipe, step: int, steps: int) -> float:
    """Learning rate of a step (0-based) of ``steps``: linear up, then half a cosine down to zero."""
    up = round(recipe.warmup * steps)
    if step < up:
        return recipe.learning_rate * (step + 1) / up
    return recipe.learning_rate * 0.5 * (1 + float(np.cos(np.pi * (step - up) / max(steps - up, 1))))


def order(recipe: Recipe, epoch: int, n: int) -> list[IntArray]:
    """Positions of the rows of each step of an epoch: all n once, in steps of nearly one size (none is a lone row)."""
    shuffled = np.random.default_rng([recipe.seed, epoch]).permutation(n)
    size = recipe.batch * recipe.accumulate
    return list(np.array_split(shuffled, max(1, n // size if n % size == 1 else -(-n // size))))


def train(
    network: nn.Module, loss: Loss, rows: IntArray, validation: IntArray, recipe: Recipe, *,
    folder: Path | None = None, report: Report | None = None, about: Mapping[str, Any] | None = None,
) -> Progress:  # fmt: skip
    """Train in place and leave the network in eval mode with the weights of its best validation loss.

    ``rows`` and ``validation`` are what ``loss`` understands; they must not share one. Without validation rows a recipe
    says where to ``stop``, and the last weights are kept. ``folder`` keeps checkpoints: where it holds one of the same
    recipe, rows, architecture and ``about`` (what else decides the result), training goes on from there. ``report`` is
    called after every step. Raises TrainingError (loss not finite: the network then holds the state after the last good
    epoch; or one row that does not fit memory), WeightsError (checkpoint of another architecture),
    UnsupportedOptionError (checkpoint of another recipe or rows), CorruptFileError, StorageError.
    """
    import torch

    if not len(rows) or not (len(validation) or recipe.stop) or np.intersect1d(rows, validation).size:
        raise UnsupportedOptionError(
            f"Training needs rows, and other rows to validate on (or where to stop); got {len(rows)} and {len(validation)}, "
            f"{np.intersect1d(rows, validation).size} of them in both."
        )
    devices = sorted({p.device.index or 0 for p in network.parameters() if p.device.type == "cuda"})
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(recipe.seed)
        loop = _Loop(network, loss, rows, validation, recipe, folder, about or {})
        loop.resume()
        while not loop.progress.finished:
            loop.epoch(report)
        network.load_state_dict(loop.best)
        network.eval()
    return loop.progress


def _copy(network: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.detach().clone() for k, v in network.state_dict().items()}


class _Loop:
    """The state of one training."""

    def __init__(
        self, network: nn.Module, loss: Loss, rows: IntArray, validation: IntArray, recipe: Recipe, folder: Path | None,
        about: Mapping[str, Any],
    ) -> None:  # fmt: skip
        self.network, self.loss, self.rows, self.validation = network, loss, rows, validation
        self.recipe, self.folder, self.about = recipe, folder, about
        free = [p for p in network.parameters() if p.requires_grad]
        groups = [{"params": [p for p in free if p.ndim > 1], "weight_decay": recipe.weight_decay},
                  {"params": [p for p in free if p.ndim <= 1], "weight_decay": 0.0}]  # fmt: skip
        self.free = free
        self.device = free[0].device.type if free else "cpu"
        self.optimizer = _optimizer([g for g in groups if g["params"]], recipe)
        self.progress = Progress(batch=recipe.batch)
        self.good = self.best = _copy(network)

    def resume(self) -> None:
        """Go on from the folder's checkpoint where there is one."""
        if self.folder is None or not (self.folder / "state.json").exists():
            return
        state, tensors = read_checkpoint(self.folder)
        fit_state(self.network, _part(tensors, "network"), str(self.folder))
        if state["identity"] != self.identity():
            there, here = state["identity"], self.identity()
            differ = ", ".join(f"{k}: {there.get(k)} there, {v} here" for k, v in here.items() if there.get(k) != v)
            raise UnsupportedOptionError(
                f"The checkpoint in {self.folder} is of another training ({differ}). Name another folder, or remove it."
            )
        restore(self.optimizer, _part(tensors, "optimizer"))
        self.good, self.best = _part(tensors, "good"), _part(tensors, "best")
        self.progress = Progress(**state["progress"])
        _set_chance(_part(tensors, "chance"))

    def identity(self) -> dict[str, Any]:
        """What must be the same for a resumed training to mean the same."""
        blob = b"|".join(np.ascontiguousarray(r, dtype=np.int64).tobytes() for r in (self.rows, self.validation))
        return {**asdict(self.recipe), **self.about, "rows": hashlib.sha256(blob).hexdigest()[:16]}

    def save(self) -> None:
        """Write a checkpoint, when checkpoints are asked for."""
        if self.folder is None:
            return
        parts = {"network": self.network.state_dict(), "good": self.good, "best": self.best,
                 "optimizer": flatten(self.optimizer), "chance": _chance(self.free)}  # fmt: skip
        tensors = {f"{name}/{k}": v for name, part in parts.items() for k, v in part.items()}
        write_checkpoint(self.folder, {"identity": self.identity(), "progress": asdict(self.progress)}, tensors)

    def epoch(self, report: Report | None) -> None:
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
        self.close_epoch()
        self.save()

    def step(self, rows: IntArray, steps: int) -> None:
        """One update of the weights, in as many parts as memory asks for."""
        now = self.progress
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.recipe, now.step, steps)
        buffers, chance = {k: v.clone() for k, v in self.network.named_buffers()}, _chance(self.free)
        while (total := self._gradient(rows)) is None:
            for name, value in self.network.named_buffers():
                value.copy_(buffers[name])
            _set_chance(chance)
        norm = self._norm()
        if not np.isfinite(total) or not np.isfinite(norm):
            self._not_finite("loss" if not np.isfinite(total) else "gradient", total)
        self.optimizer.step()
        now.step, now.rows, now.running = now.step + 1, now.rows + len(rows), now.running + total * len(rows)

    def _gradient(self, rows: IntArray) -> float | None:
        """Mean loss of the rows, with its gradient in the parameters; None when they did not fit and were halved."""
        self.optimizer.zero_grad(set_to_none=True)
        total, share = 0.0, self.progress.batch
        for part in np.array_split(rows, -(-len(rows) // share)):
            try:
                found = self.mean(part) * (len(part) / len(rows))
                found.backward()  # type: ignore[no-untyped-call]
            except (RuntimeError, MemoryError) as error:
                self._halve(error, len(part))
                return None
            total += float(found.detach())
        return total

    def mean(self, rows: IntArray) -> torch.Tensor:
        """The loss of some rows in the precision of the recipe."""
        import torch

        with torch.autocast(self.device, torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            return self.loss(rows)

    def _halve(self, error: Exception, rows: int) -> None:
        if not out_of_memory(error):
            raise error
        if rows <= 1:
            raise TrainingError(
                f"One training row does not fit memory (step {self.progress.step}): {_first(error)} "
                "Take a smaller backbone or head, or a device with more memory."
            ) from error
        self.progress.batch = rows // 2
        warnings.warn(
            f"A batch of {rows} rows does not fit memory at step {self.progress.step}; "
            f"going on with {rows // 2} at once, as many a step as before.", EtabWarning, stacklevel=6,
        )  # fmt: skip

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

    def close_epoch(self) -> None:
        """Validate, remember the best, and decide whether to stop."""
        now = self.progress
        found = self.validate() if len(self.validation) else 0.0
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

    def validate(self) -> float:
        """Mean loss of the validation rows in eval mode."""
        import torch

        self.network.eval()
        total = 0.0
        with torch.no_grad():
            for start in range(0, len(self.validation), self.progress.batch):
                part = self.validation[start : start + self.progress.batch]
                total += float(self.mean(part)) * len(part)
        return total / len(self.validation)


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


def fit_state(network: nn.Module, state: Mapping[str, torch.Tensor], place: str) -> None:
    """Load a whole state or nothing. Raises WeightsError with every key that is missing, unknown or of another shape."""
    own = network.state_dict()
    faults = [f"missing: {k}" for k in own if k not in state] + [f"unknown: {k}" for k in state if k not in own]
    faults += [f"{k}: {tuple(state[k].shape)} there, {tuple(own[k].shape)} here"
               for k in own if k in state and state[k].shape != own[k].shape]  # fmt: skip
    if faults:
        raise WeightsError(
            f"The weights in {place} are of another architecture ({len(faults)} of {len(own)} keys differ); "
            "none was loaded. Name the backbone and head they were trained with.\n  " + "\n  ".join(faults)
        )
    network.load_state_dict(dict(state))


def _part(tensors: Mapping[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {k.partition("/")[2]: v for k, v in tensors.items() if k.partition("/")[0] == name}


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


def flatten(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """State of an optimizer as flat tensors: ``<parameter number>.<name>``."""
    return {f"{i}.{k}": v for i, state in optimizer.state_dict()["state"].items() for k, v in state.items()}


def restore(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put back what ``flatten`` gave."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        i, _, name = key.partition(".")
        state.setdefault(int(i), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def write_checkpoint(folder: Path, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors, then the state that names them; an earlier checkpoint stays whole until then."""
    from safetensors.torch import save

    # two names may hold one tensor, which the format refuses: each is written for itself
    blob = save({k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()})
    digest = hashlib.sha256(blob).hexdigest()
    whole = {"schema": SCHEMA, "tensors": f"{digest[:24]}.safetensors", "sha256": digest, **state}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in ((whole["tensors"], blob), ("state.json", json.dumps(whole, indent=1).encode())):
            temp = folder / f"{name}.{os.getpid()}.part"
            temp.write_bytes(data)
            temp.replace(folder / name)
        for path in folder.glob("*.safetensors"):
            if path.name != whole["tensors"]:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"The checkpoint could not be written to {folder}: {error.strerror}. Free some space or name another folder."
        ) from error


def read_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """State and tensors of a checkpoint, verified. Raises CorruptFileError."""
    from safetensors.torch import load

    try:
        state = json.loads((folder / "state.json").read_text())
        blob = (folder / str(state["tensors"])).read_bytes()
        if state["schema"] != SCHEMA or hashlib.sha256(blob).hexdigest() != state["sha256"]:
            raise ValueError("the tensors differ from the checksum in state.json, or the schema is another")
        Progress(**state["progress"])
        return state, load(blob)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptFileError(
            f"The checkpoint in {folder} cannot be read ({error}). Remove the folder to train from the start."
        ) from error


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's generator set to a seed inside, and as it was afterwards: for making a network's first weights."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
