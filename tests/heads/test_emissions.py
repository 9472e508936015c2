"""Probes of frames: what is computed once for several probes is what each would compute alone."""

from __future__ import annotations

import numpy as np
import pytest

from etab.heads.pooled import linalg
from etab.heads.pooled.linalg import probabilities
from etab.heads.states import emissions
from etab.heads.states.emissions import (
    AROUND,
    EMISSION_PENALTIES,
    AnnotatedFrames,
    FrameBasis,
    _losses,
    fit_emissions,
)


def frames(seed: int, n: int = 120, d: int = 5) -> AnnotatedFrames:
    rng = np.random.default_rng(seed)
    states = np.arange(n) % 4
    x = rng.normal(2.0, 1.0, (n, len(AROUND), d)) + 0.5 * states[:, None, None]
    return AnnotatedFrames(x.astype(np.float32), states, np.zeros(n, dtype=np.int64))


def test_training_frames_come_in_the_basis_that_was_fitted_to_them() -> None:
    x = frames(0).x
    basis, z = FrameBasis.fit(x)
    assert np.array_equal(z, basis(x))
    assert z.mean(axis=0) == pytest.approx(np.zeros(z.shape[1]), abs=1e-5)


def test_probes_share_their_basis_and_each_has_its_own_loss() -> None:
    fits = fit_emissions(frames(1), EMISSION_PENALTIES)
    held = frames(2)
    alone = [-p.log_probability(held.x)[np.arange(len(held.y)), held.y].mean() for p in fits]
    assert _losses(fits, held) == pytest.approx(alone, rel=1e-12)
    assert len(set(alone)) == len(EMISSION_PENALTIES)


def test_functions_of_the_columns_are_those_of_the_basis() -> None:
    every = frames(8)
    basis, z = FrameBasis.fit(every.x)
    weights = np.random.default_rng(9).normal(size=(z.shape[1], 4))
    of_columns, values = basis.of_columns(weights)
    centred = every.x - basis.mean
    together = np.einsum("nad,adk->nk", centred, of_columns) + values
    assert together == pytest.approx(z @ weights, abs=1e-4)


def test_a_recording_is_classified_as_its_frames_are() -> None:
    (probe,) = fit_emissions(frames(3), (1e-2,))
    recording = np.random.default_rng(4).normal(2.0, 1.0, (40, 5)).astype(np.float32)
    neighbours = np.clip(np.arange(40)[:, None] + AROUND, 0, 39)
    alone = probe.log_probability(recording[neighbours]) - probe.prior
    assert probe.of(recording) == pytest.approx(alone, abs=1e-5)


def test_the_basis_is_that_of_double_precision() -> None:
    x = frames(5, n=400, d=7).x
    basis, z = FrameBasis.fit(x)
    wide = ((x - basis.mean) * basis.scale) @ basis.axes
    exact = (wide.reshape(len(x), -1) - basis.shift) @ basis.turn
    assert z == pytest.approx(exact, abs=1e-4)
    assert np.cov(exact.T, bias=True) == pytest.approx(np.eye(exact.shape[1]), abs=1e-4)


def test_frames_that_are_computed_in_parts_give_what_they_give_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    every = frames(6, n=700)
    held = frames(7, n=90)
    whole = fit_emissions(every, EMISSION_PENALTIES)
    monkeypatch.setattr(emissions, "_TOGETHER", 64)
    monkeypatch.setattr(linalg, "_TOGETHER", 64)
    in_parts = fit_emissions(every, EMISSION_PENALTIES)
    for one, other in zip(whole, in_parts, strict=True):
        assert other.log_probability(held.x) == pytest.approx(one.log_probability(held.x), abs=1e-4)
    _, z = FrameBasis.fit(every.x)
    assert z.mean(axis=0) == pytest.approx(np.zeros(z.shape[1]), abs=1e-5)


@pytest.mark.parametrize("shape", [(50, 3), (20, 3, 4), (7, 2, 9)])
def test_probabilities_are_those_of_a_sum_over_classes(shape: tuple[int, ...]) -> None:
    logits = np.random.default_rng(3).normal(0, 30, shape)
    known = logits.copy()
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    assert probabilities(logits) == pytest.approx(
        shifted / shifted.sum(axis=-1, keepdims=True), abs=1e-15
    )
    assert np.array_equal(logits, known)  # the argument is left as it was


def test_a_recording_without_answers_is_an_error() -> None:
    """Its frames would be whatever memory held."""
    series = [np.zeros((9, 2), dtype=np.float32), np.zeros((9, 2), dtype=np.float32)]
    with pytest.raises(ValueError, match="zip"):
        emissions.select_frames(series, [np.zeros(9, dtype=np.int64)])
