"""What the page of the model zoo says of a backbone is counted, not written down."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.perf import zoo
from etab import backbones


class Twice(nn.Module):
    """A convolution, then two recurrent layers over 10 steps."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(3, 40, 1, bias=False)
        self.second = nn.LSTM(40, 256, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Embed (n, 3, 10)."""
        found: torch.Tensor = self.second(self.first(x).transpose(1, 2))[0]
        return found


def test_recurrent_layers_are_counted_by_their_steps() -> None:
    wanted = 10 * (3 * 40 + 4 * 256 * (40 + 256) + 4 * 256 * (256 + 256))
    assert zoo.counted(Twice(), torch.zeros(1, 3, 10)) == pytest.approx(wanted / 1e9, abs=5e-4)


@pytest.mark.parametrize(
    "name", [n for n in backbones.names() if backbones.card(n).modality == "record"]
)
def test_controls_that_describe_records_have_no_speed(name: str) -> None:
    assert zoo.measured(backbones.card(name), True) == {"parameters": 0, "gmacs": 0.0}


def test_a_control_of_pictures_is_timed() -> None:
    found = zoo.measured(backbones.card("image_stats"), True)
    assert found["parameters"] == 0
    assert found["per_second"] > 0
