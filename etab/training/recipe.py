"""The options of a training, its learning rate, and the order of its rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.options import finite_number, whole_number
from etab.types import IntArray

# The least value of each option that is a whole number.
_LEAST = {
    "epochs": 1,
    "batch": 1,
    "accumulate": 1,
    "patience": 0,
    "seed": 0,
    "every": 0,
    "stop": 0,
}
_NUMBERS = ("learning_rate", "weight_decay", "warmup", "clip")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train.

    Attributes:
        epochs: Passes over the training rows, at most (1 or more).
        batch: Rows in memory at once (1 or more).
        accumulate: Batches in one step (1 or more).
        learning_rate: Peak of the learning rate (above 0). It rises linearly during ``warmup``
            and then falls to 0 along half a cosine.
        weight_decay: Weight decay of weights with two or more axes.
        warmup: Share of all steps in which the learning rate rises, in [0, 1).
        patience: Epochs without a lower validation loss after which training stops; 0: never.
        clip: Largest norm of the gradient; 0: no limit.
        seed: Seed of the order of rows and of dropout.
        every: Steps between checkpoints; 0: one at the end of each epoch.
        optimizer: "adamw", or "sgd" (Nesterov, momentum 0.9).
        precision: "fp32", or "bf16": the loss is computed under autocast; weights and updates
            remain in float32.
        stop: Epochs after which training ends, with the schedule of ``epochs``; 0: at the end of
            the schedule. With it, a network can be trained on all rows for as long as an earlier
            training with validation rows needed.

    Example:
        >>> Recipe(epochs=5).batch
        16
        >>> Recipe(batch=0)
        Traceback (most recent call last):
        ...
        etab.errors.UnsupportedOptionError: batch is 0; wanted a whole number, 1 or more.
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
        for name, least in _LEAST.items():
            whole = whole_number(name, getattr(self, name), least)
            object.__setattr__(self, name, whole)
        for name in _NUMBERS:
            finite_number(name, getattr(self, name))
        rules = (
            ("learning_rate", "above 0", self.learning_rate > 0),
            ("warmup", "a share in [0, 1)", 0 <= self.warmup < 1),
            ("clip", "0 or more", self.clip >= 0),
            ("optimizer", "adamw or sgd", self.optimizer in ("adamw", "sgd")),
            ("precision", "fp32 or bf16", self.precision in ("fp32", "bf16")),
            ("stop", "0 to epochs", self.stop <= self.epochs),
        )
        faults = []
        for name, valid_values, is_valid in rules:
            if not is_valid:
                faults.append(f"{name} is {getattr(self, name)}, wanted {valid_values}")
        if faults:
            raise UnsupportedOptionError(f"Invalid training recipe: {'; '.join(faults)}.")


def rate(recipe: Recipe, step: int, steps: int) -> float:
    """Compute the learning rate of a step.

    Args:
        recipe: The recipe.
        step: The step, from 0.
        steps: Number of steps in the whole schedule.

    Returns:
        The learning rate: a linear rise, then half a cosine down to 0.

    Example:
        >>> recipe = Recipe(learning_rate=1.0, warmup=0.5)
        >>> [round(rate(recipe, step, 4), 2) for step in range(4)]
        [0.5, 1.0, 1.0, 0.5]
    """
    n_warmup = round(recipe.warmup * steps)
    if step < n_warmup:
        return recipe.learning_rate * (step + 1) / n_warmup
    n_falling = max(steps - n_warmup, 1)
    angle = np.pi * (step - n_warmup) / n_falling
    return recipe.learning_rate * 0.5 * (1 + float(np.cos(angle)))


def order(recipe: Recipe, epoch: int, n: int) -> list[IntArray]:
    """Shuffle the rows of an epoch and divide them into steps.

    Args:
        recipe: The recipe; its seed and the epoch decide the order.
        epoch: The epoch, from 0.
        n: Number of rows.

    Returns:
        The positions of the rows of each step. Steps have almost equal sizes, and none has a
        single row, for which batch norm is undefined.
    """
    shuffled = np.random.default_rng([recipe.seed, epoch]).permutation(n)
    size = recipe.batch * recipe.accumulate
    n_steps = math.ceil(n / size)
    if n % size == 1:
        n_steps = n // size  # the single row joins another step
    return list(np.array_split(shuffled, max(1, n_steps)))
