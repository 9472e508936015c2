"""Several processes that train one network: ``torchrun --nproc_per_node=2 -m etab finetune ...``.

torch.distributed carries gradients between them: gloo on processors, NCCL on GPUs. Every process
holds the same weights and takes its share of the rows of each step; the first one alone writes. A
step means the same however many processes share it; batch norm hears the rows that one process has
at once, as it does with accumulated batches. Gradients are exchanged once a step, when every
process has said that its rows fitted memory: DistributedDataParallel, which exchanges them during
the backward pass, would leave the others waiting for one that has no memory.
"""

from __future__ import annotations

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
    """Rank of this process and number of processes that torchrun started; (0, 1) without it."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def world() -> tuple[int, int]:
    """Rank and number of the processes that have joined; (0, 1) where none has."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


@contextmanager
def joined(device: str) -> Iterator[str]:
    """Join the processes that torchrun started, for as long as this lasts; gives the device of this
    one.

    Alone, or joined already, nothing happens. Raises UnsupportedOptionError for one GPU named by
    number for all of them.
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
            f"{size} processes cannot all compute on {device}: say --device {kind}."
        )
    if kind == "cuda":
        device = f"cuda:{int(os.environ.get('LOCAL_RANK', rank))}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def wait() -> None:
    """Go on when every process is here."""
    import torch.distributed as dist

    if world()[1] > 1:
        dist.barrier()


class Share:
    """What one process does of a step; all of it where there is one."""

    def __init__(self, network: nn.Module) -> None:
        """Take the weights and buffers of the first process in every one."""
        import torch
        import torch.distributed as dist

        self.rank, self.size = world()
        self.network = network
        with torch.no_grad():
            for value in [*network.parameters(), *network.buffers()] if self.size > 1 else ():
                dist.broadcast(value, 0)

    def parts(self, rows: IntArray, most: int) -> list[IntArray]:
        """Rows of this process, at most ``most`` at once; every process has as many parts.

        Raises UnsupportedOptionError for fewer rows than processes.
        """
        if len(rows) < self.size:
            raise UnsupportedOptionError(
                f"A step of {len(rows)} rows cannot be shared by {self.size} processes. Start fewer, or take a larger batch."
            )
        rounds = math.ceil(math.ceil(len(rows) / most) / self.size)
        return np.array_split(rows, rounds * self.size)[self.rank :: self.size]

    def exchange(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add the gradients of all processes up in each; what no process has a gradient of keeps
        none.
        """
        import torch
        import torch.distributed as dist

        if self.size == 1:
            return
        used = torch.tensor([float(p.grad is not None) for p in parameters], device=self._device())
        dist.all_reduce(used)
        shared = [p for p, n in zip(parameters, used.tolist(), strict=True) if n]
        for parameter in shared:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([p.grad.reshape(-1) for p in shared if p.grad is not None])
        dist.all_reduce(flat)
        for parameter, part in zip(
            shared, torch.split(flat, [p.numel() for p in shared]), strict=True
        ):
            parameter.grad = part.view_as(parameter)

    def most(self, value: int) -> int:
        """The largest of a number that each process has."""
        import torch
        import torch.distributed as dist

        if self.size == 1:
            return value
        found = torch.tensor([value], device=self._device())
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return int(found)

    def sum(self, value: float) -> float:
        """Sum over processes, the same number in each."""
        import torch
        import torch.distributed as dist

        if self.size == 1:
            return value
        found = torch.tensor([value], dtype=torch.float64, device=self._device())
        dist.all_reduce(found)
        return float(found)

    def agree(self) -> None:
        """Take over the buffers (statistics of batch norm) of the first process."""
        import torch.distributed as dist

        for buffer in self.network.buffers() if self.size > 1 else ():
            dist.broadcast(buffer, 0)

    def gather(self, mine: Mapping[str, torch.Tensor]) -> Sequence[Mapping[str, torch.Tensor]]:
        """What each process holds, in the order of their ranks."""
        import torch.distributed as dist

        if self.size == 1:
            return [mine]
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, dict(mine))
        return found

    def _device(self) -> torch.device:
        return next(self.network.parameters()).device
