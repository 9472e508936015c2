"""A small network and small loaders for the tests of the names of 2022."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from etab.datasets import ETAB_dataset
from etab.legacy.data_tools import training_data_split

torch = pytest.importorskip("torch")
pytest.importorskip("segmentation_models_pytorch")


def tiny(seed: int = 0) -> Any:
    """A network with what real ones have (strides, batch norm), small enough for tests."""
    from etab.training.loop import seeded

    def stage(n: int, m: int) -> list[Any]:
        return [
            torch.nn.Conv2d(n, m, 3, stride=2, padding=1),
            torch.nn.BatchNorm2d(m),
            torch.nn.GELU(),
        ]

    with seeded(seed):
        return torch.nn.Sequential(*stage(3, 8), *stage(8, 12), *stage(12, 16), *stage(16, 24))


def loaders(
    cohort: Path, target: str = "LV_seg", side: int = 64, batch: int = 8, view: str | None = "A4"
) -> Any:
    data = ETAB_dataset(
        name="camus", target=target, view=view, frame_l=side, frame_w=side, root=cohort / "camus"
    )
    return training_data_split(
        data.load_data(12).data[::3],
        train_frac=0.6,
        val_frac=0.2,
        batch_size=batch,
        return_loaders=True,
    )


def state_of(module: Any) -> dict[str, Any]:
    return {k: v.detach().clone() for k, v in module.state_dict().items()}


def changed(before: dict[str, Any], module: Any) -> list[str]:
    return [k for k, v in module.state_dict().items() if not torch.equal(v, before[k])]
