"""Several processes that train one network: ``torchrun --nproc_per_node=2 -m etab finetune ...``.

torch.distributed and DistributedDataParallel do the work: gloo on processors, NCCL on GPUs. Every process holds the same
weights and takes its share of the rows of each step; the first one alone writes. A step means the same however many
processes share it; batch norm hears the rows that one process has at once, as it does with accumulated batches.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
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
    """Join the processes that torchrun started, for as long as this lasts; gives the device of this one.

    Alone, or joined already, nothing happens. Raises UnsupportedOptionError for one GPU named by number for all of them.
    """
    import torch
    import torch.distributed as dist

    rank, size = launched()
    if size == 1 or world()[1] > 1:
        yield device
        return
    kind, _, number = device.partition(":")
    if number:
        raise UnsupportedOptionError(f"{size} processes cannot all compute on {device}: say --device {kind}.")
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
    """What one process does of a step; all of it where there is one. Called with rows, it gives their mean loss."""

    def __init__(self, network: nn.Module, mean: Callable[[IntArray], torch.Tensor]) -> None:
        """Take the same weights in every process. ``mean`` asks ``network`` for the loss of some rows."""
        self.rank, self.size = world()
        self.mean: Any = mean if self.size == 1 else _parallel(network, mean)

    def __call__(self, rows: IntArray) -> torch.Tensor:
        """Mean loss of rows, times the number of processes, since their gradients are averaged."""
        found: torch.Tensor = self.mean(rows)
        return found if self.size == 1 else found * self.size

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

    def quiet(self, more: bool) -> AbstractContextManager[Any]:
        """Gradients are exchanged with the last part only: not while there are ``more``."""
        quiet: AbstractContextManager[Any] = self.mean.no_sync() if more and self.size > 1 else nullcontext()
        return quiet

    def total(self, value: float) -> float:
        """Sum over processes of what ``__call__`` gave of their parts."""
        return value if self.size == 1 else self.sum(value) / self.size

    def sum(self, value: float) -> float:
        """Sum over processes, the same number in each."""
        import torch
        import torch.distributed as dist

        if self.size == 1:
            return value
        found = torch.tensor([value], dtype=torch.float64, device=self._device())
        dist.all_reduce(found)
        return float(found)

    def agree(self, network: nn.Module) -> None:
        """Take over the buffers (statistics of batch norm) of the first process."""
        import torch.distributed as dist

        for buffer in network.buffers() if self.size > 1 else ():
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
        return next(iter(self.mean.parameters())).device  # type: ignore[no-any-return]


def _parallel(network: nn.Module, mean: Callable[[IntArray], torch.Tensor]) -> Any:
    """DistributedDataParallel around "the loss of some rows"; parameters that a loss does not reach are allowed."""
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    class Asked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, rows: IntArray) -> Any:
            return mean(rows)

    return DistributedDataParallel(Asked(), find_unused_parameters=True)
