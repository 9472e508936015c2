"""Solutions along the penalties: quick where that is safe, and a factor wherever it is not."""

from __future__ import annotations

import numpy as np
import pytest

from etab.heads.pooled import shifted
from etab.heads.pooled.shifted import solve_path

D = 60
SPECTRA = {
    "flat": np.linspace(1.0, 2.0, D),
    "steep": np.logspace(0, -9, D),
    "of low rank": np.r_[np.linspace(1.0, 2.0, 5), np.zeros(D - 5)],
    "slow for few steps": np.logspace(0, -5, D),
    "nothing": np.zeros(D),
}


@pytest.mark.parametrize("name", sorted(SPECTRA))
@pytest.mark.parametrize("steps", [shifted._STEPS, 1])
def test_every_solution_is_near(name: str, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shifted, "_STEPS", steps)
    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.normal(size=(D, D)))
    values = 7.0 * SPECTRA[name]
    # Products are of rows, which lie where the scatter is.
    products = axes @ (np.sqrt(values) * rng.normal(size=D))
    shifts = np.logspace(-8, 3, 12)
    solved = solve_path((axes * values) @ axes.T, shifts, products)
    for k, shift in enumerate(shifts):
        wanted = axes @ ((axes.T @ products) / (values + shift))
        # As a prediction differs: along an axis with the length of the rows there.
        error = np.sqrt(values) * (axes.T @ (solved[:, k] - wanted))
        scale = max(1.0, float(np.linalg.norm(np.sqrt(values) * (axes.T @ wanted))))
        assert float(np.linalg.norm(error)) < 2e-3 * scale, shift
