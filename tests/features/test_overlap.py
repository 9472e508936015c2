"""Reading before and writing after the network: order, errors, and who may change what."""

from __future__ import annotations

import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from etab.features.batches import Batches, embed_batches
from etab.features.layout import in_c_order
from etab.features.overlap import OneBehind
from etab.types import Features


def fail() -> None:
    raise OSError("no space")


def _call_and_fail(behind: OneBehind) -> None:
    behind.call(fail)
    raise ZeroDivisionError


def late_append(ended: list[int], i: int) -> None:
    time.sleep(0.02)
    ended.append(i)


def test_a_call_starts_when_the_one_before_has_ended() -> None:
    ended: list[int] = []
    with OneBehind() as behind:
        for i in range(5):
            behind.call(partial(late_append, ended, i))
            assert ended[:i] == list(range(i))
    assert ended == [0, 1, 2, 3, 4]


def test_the_next_call_raises_what_a_call_raised() -> None:
    with OneBehind() as behind:
        behind.call(fail)
        with pytest.raises(OSError, match="no space"):
            behind.call(lambda: None)


def test_the_end_raises_what_the_last_call_raised_unless_the_caller_failed() -> None:
    with pytest.raises(OSError, match="no space"), OneBehind() as behind:
        behind.call(fail)
    with pytest.raises(ZeroDivisionError), OneBehind() as behind:
        _call_and_fail(behind)


class Reusing:
    """A backbone that writes each batch of features over the last."""

    def __init__(self) -> None:
        self.memory = torch.zeros(1, 1)
        self.second = threading.Event()

    def __call__(self, x: Any) -> Features:
        if int(x[0]) == 1:
            self.second.set()
        self.memory.fill_(float(x[0]))
        return Features({"a/mean": self.memory})


def test_a_backbone_may_use_its_memory_again(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone: Any = Reusing()
    add = Batches.add

    def late(self: Batches, part: Features, maps: bool) -> None:
        if self.at == 0:
            backbone.second.wait(0.3)  # ends early where the next batch is computed meanwhile
        add(self, part, maps)

    monkeypatch.setattr(Batches, "add", late)
    batches = iter([np.array([0]), np.array([1])])
    assert embed_batches(backbone, batches, 2, None).pooled["a/mean"].ravel().tolist() == [0, 1]


@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (1, 1, 1, 1), (0, 3, 2, 2), (2, 3, 1, 1)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_maps_are_stored_in_c_order(shape: Any, layout: Any, tmp_path: Path) -> None:
    maps = torch.rand(shape, generator=torch.Generator().manual_seed(0)).half()
    values = maps.to(memory_format=layout).numpy()
    ordered = in_c_order(values)
    assert ordered.flags.c_contiguous
    assert np.array_equal(ordered, values)
    stored = Batches(len(maps), tmp_path)
    stored.add(Features({"a": torch.zeros(shape[0], 1)}, (maps.to(memory_format=layout),)), True)
    stored.close()
    assert np.array_equal(np.load(tmp_path / "map0.npy"), maps.numpy())
