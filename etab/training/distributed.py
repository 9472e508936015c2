"""Training of one network by several processes.

Started with ``torchrun --nproc_per_node=2 -m etab finetune ...``. Every process has the same
weights and computes a share of the rows of each step; only the first one writes files. A step is
the same for any number of processes, except that batch norm uses the rows that one process has at
once, as with accumulated batches.

Gradients are exchanged with torch.distributed (gloo on processors, NCCL on GPUs), once in each
step, after every process has reported that its rows fitted memory. DistributedDataParallel
exchanges them during the backward pass, so the other processes would wait forever for one that
ran out of memory.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.types import IntArray

if TYPE_CHECKING:
    import torch
    from torch import nn


def launched() -> tuple[int, int]:
    """Read the rank of this process and the number of processes that torchrun started.

    Returns:
        Rank and number; (0, 1) without torchrun.
    """
    rank = os.environ.get("RANK", "0")
    size = os.environ.get("WORLD_SIZE", "1")
    return int(rank), int(size)


def world() -> tuple[int, int]:
    """Return the rank of this process and the number of processes that have joined.

    Returns:
        Rank and number; (0, 1) if none has joined.
    """
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Join the processes that torchrun started, for the duration of a ``with`` block.

    A single process, and one that has joined already, only receives the device back.

    Args:
        device: The device, such as "cpu" or "cuda".

    Yields:
        The device of this process.

    Raises:
        UnsupportedOptionError: If several processes are given one GPU by its number.
    """
    import torch
    import torch.distributed as dist

    rank, size = launched()
    if size == 1 or world()[1] > 1:
        yield device
        return
    kind, _, number = device.partition(":")
    if number:
        raise UnsupportedOptionError(
            f"{size} processes cannot all compute on {device}: use --device {kind}."
        )
    if kind == "cuda":
        device = f"cuda:{int(os.environ.get('LOCAL_RANK', rank))}"
        torch.cuda.set_device(device)
    # The functions of torch.distributed.nn have the group that exists on import as a default
    # argument. The first step of an optimizer imports it; imported before there is a group, it
    # keeps none alive after destroy_process_group. The threads of a group that outlives the
    # interpreter abort the process at its end.
    importlib.import_module("torch.distributed.nn")
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def wait() -> None:
    """Wait until every process has arrived here."""
    import torch.distributed as dist

    if world()[1] > 1:
        dist.barrier()


class Share:
    """The share of one process in each step; a single process does all of it."""

    def __init__(self, network: nn.Module) -> None:
        """Give every process the weights and buffers of the first one.

        Args:
            network: The network that is trained.
        """
        import torch
        import torch.distributed as dist

        self.rank, self.size = world()
        self.network = network
        if self.size == 1:
            return
        with torch.no_grad():
            for tensor in [*network.parameters(), *network.buffers()]:
                dist.broadcast(tensor, 0)

    def parts(self, rows: IntArray, most: int) -> list[IntArray]:
        """Divide the rows of a step over processes and batches.

        Args:
            rows: The rows of the step.
            most: Largest number of rows in a batch.

        Returns:
            The batches of this process; every process has equally many.

        Raises:
            UnsupportedOptionError: If there are fewer rows than processes.
        """
        if len(rows) < self.size:
            raise UnsupportedOptionError(
                f"A step of {len(rows)} rows cannot be shared by {self.size} processes. Start "
                "fewer processes, or use a larger batch."
            )
        n_batches = math.ceil(len(rows) / most)
        rounds = math.ceil(n_batches / self.size)
        return np.array_split(rows, rounds * self.size)[self.rank :: self.size]

    def exchange(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum the gradients over all processes.

        Args:
            parameters: The trained parameters. One without a gradient in any process keeps none.
        """
        import torch
        import torch.distributed as dist

        if self.size == 1:
            return
        has_gradient = [float(parameter.grad is not None) for parameter in parameters]
        counts = torch.tensor(has_gradient, device=self._device())
        dist.all_reduce(counts)
        shared = []
        for parameter, count in zip(parameters, counts.tolist(), strict=True):
            if count:
                shared.append(parameter)
        for parameter in shared:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([p.grad.reshape(-1) for p in shared if p.grad is not None])
        dist.all_reduce(flat)
        gradients = torch.split(flat, [p.numel() for p in shared])
        for parameter, gradient in zip(shared, gradients, strict=True):
            parameter.grad = gradient.view_as(parameter)

    def most(self, value: int) -> int:
        """Return the largest of the values of all processes.

        Args:
            value: The value of this process.
        """
        import torch
        import torch.distributed as dist

        if self.size == 1:
            return value
        largest = torch.tensor([value], device=self._device())
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest)

    def sum(self, value: float) -> float:
        """Return the sum of the values of all processes.

        Args:
            value: The value of this process.
        """
        import torch
        import torch.distributed as dist

        if self.size == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64, device=self._device())
        dist.all_reduce(total)
        return float(total)

    def agree(self) -> None:
        """Give every process the buffers (batch-norm statistics) of the first one."""
        import torch.distributed as dist

        if self.size == 1:
            return
        for buffer in self.network.buffers():
            dist.broadcast(buffer, 0)

    def gather(self, tensors: Mapping[str, torch.Tensor]) -> Sequence[Mapping[str, torch.Tensor]]:
        """Collect the tensors of all processes.

        Args:
            tensors: The tensors of this process by name.

        Returns:
            The tensors of each process, in the order of their ranks.
        """
        import torch.distributed as dist

        if self.size == 1:
            return [tensors]
        gathered: list[Any] = [None] * self.size
        dist.all_gather_object(gathered, dict(tensors))
        return gathered

    def _device(self) -> torch.device:
        """Return the device that holds the network."""
        return next(self.network.parameters()).device
