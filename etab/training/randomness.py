"""Torch's random number generators: seeding them, and keeping their states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's generator inside a ``with`` block, and restore its state afterwards.

    Args:
        seed: The seed, 0 or more.

    Example:
        >>> import torch
        >>> with seeded(0):
        ...     first = torch.rand(3)
        >>> with seeded(0):
        ...     second = torch.rand(3)
        >>> torch.equal(first, second)
        True
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def seed_process(seed: int, rank: int) -> None:
    """Seed torch's generator, so that every process draws other numbers.

    Args:
        seed: The seed of the training.
        rank: The rank of this process; the first process (0) draws as a single one does.
    """
    import torch

    if rank:
        seed = int(np.random.default_rng([seed, rank]).integers(2**62))
    torch.manual_seed(seed)


def generator_states(parameters: Sequence[nn.Parameter]) -> dict[str, torch.Tensor]:
    """Return the states of torch's random number generators.

    Args:
        parameters: The parameters that are trained.

    Returns:
        The state of the CPU ("cpu") and of each GPU that holds a parameter ("cuda:0").
    """
    import torch

    states = {"cpu": torch.get_rng_state()}
    gpus = {parameter.device for parameter in parameters if parameter.device.type == "cuda"}
    for device in gpus:
        states[f"cuda:{device.index or 0}"] = torch.cuda.get_rng_state(device)
    return states


def restore_generators(states: Mapping[str, torch.Tensor]) -> None:
    """Restore the states of torch's random number generators.

    Args:
        states: What ``generator_states`` returned.
    """
    import torch

    for name, state in states.items():
        if name == "cpu":
            torch.set_rng_state(state)
        else:
            torch.cuda.set_rng_state(state, name)
