"""The published murmur score that is made again: its cuts, rules, losses and intervals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.byol_a import ByolA, LogMel
from benchmarks.published_circor import (
    LOSSES,
    Segments,
    answers_of,
    cut,
    interval,
    learning_rate,
    outputs_of,
    weighted_accuracy,
)


def segments(n: int = 60) -> Segments:
    """Thirty recordings of fifteen patients, whose features tell the murmur."""
    rng = np.random.default_rng(0)
    patient = np.arange(n) // 4
    murmurs = patient % 3
    features = np.eye(3)[murmurs] * 4 + rng.normal(size=(n, 3))
    return Segments(
        features.astype(np.float32),
        np.array([f"r{i // 2}" for i in range(n)]),
        np.array([f"p{p}" for p in patient]),
        np.array([f"p{p}" for p in patient]),
        murmurs,
        np.ones(n, dtype=bool),
    )


@pytest.mark.parametrize(
    ("seconds", "tested"),
    [(2, [True]), (5, [True]), (7, [True]), (8, [True, False]), (12.5, [True, True, False])],
)
def test_segments_follow_each_other(seconds: float, tested: list[bool]) -> None:
    pieces = list(cut(np.ones(int(seconds * 16_000), np.float32)))
    assert [is_tested for _, is_tested in pieces] == tested
    assert {len(piece) for piece, _ in pieces} == {80_000}


def test_the_network_takes_five_seconds() -> None:
    bands = LogMel()(torch.zeros(2, 80_000))
    assert bands.shape == (2, 64, 501)
    assert ByolA()(bands).shape == (2, 512)


def test_the_published_loss_hardly_tells_answers_apart() -> None:
    """A softmax before the cross-entropy: a certain right answer still has a loss of .55."""
    outputs, truth = torch.tensor([[50.0, 0.0, 0.0]]), torch.tensor([0])
    weight = torch.ones(3)
    assert float(LOSSES["plain"](outputs, truth, weight)) == pytest.approx(0, abs=1e-6)
    assert float(LOSSES["published"](outputs, truth, weight)) == pytest.approx(0.5514, abs=1e-4)


def test_the_schedule() -> None:
    assert learning_rate(0) == 0
    assert learning_rate(2.5) == pytest.approx(5e-4)
    assert 9.7e-4 < learning_rate(5) < 1e-3
    assert learning_rate(49.9) < 1e-6


@pytest.mark.parametrize("loss", LOSSES)
def test_a_head_learns_and_patients_are_joined(loss: str) -> None:
    made = segments()
    index = np.arange(60) // 4
    parts = {"train": index < 9, "val": (index >= 9) & (index < 12)}
    outputs = outputs_of(made, parts, loss, seed=1, epochs=50)
    tested = np.array(["p12", "p13", "p14"])
    truth = np.array([0, 1, 2])
    answers = answers_of(made, outputs, tested, "mean")
    assert weighted_accuracy(truth, answers) == 1
    outputs[made.recordings == "r24"] = [0, 9, 0]  # one recording of p12 is heard as a murmur
    assert answers_of(made, outputs, tested[:1], "any_present").tolist() == [1]


def test_the_interval_is_of_people() -> None:
    truth = np.array([0, 0, 1, 1, 2] * 20)
    answers = [np.where(np.arange(100) % 4, truth, 0)]
    low, high = interval(truth, answers, np.array([f"p{i}" for i in range(100)]))
    value = weighted_accuracy(truth, answers[0])
    assert low < value < high
    joined = np.array([f"p{i // 2}" for i in range(100)])
    wide = interval(truth, answers, joined)
    assert wide[1] - wide[0] > 0
