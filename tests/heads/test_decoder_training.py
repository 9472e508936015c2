"""How decoders on frozen maps are trained: rates that bracket the best, and a schedule that ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import etab.heads.masks.decoders as decoders
from etab import heads
from etab.heads.masks.decoders import ending_at, rate_beyond
from etab.testing.heads import made_features, made_splits, made_target
from etab.training.loop import Recipe, rate
from etab.types import Kind


@pytest.mark.parametrize("epochs", [1, 3, 7])
@pytest.mark.parametrize("warmup", [0.0, 0.1])
def test_a_schedule_ends_low_after_the_chosen_epochs(epochs: int, warmup: float) -> None:
    recipe = Recipe(epochs=40, learning_rate=1e-2, warmup=warmup)
    again = ending_at(recipe, epochs)
    steps = 50 * again.epochs
    assert again.stop == again.epochs == epochs
    assert rate(again, steps - 1, steps) < 0.01 * recipe.learning_rate
    assert max(rate(again, step, steps) for step in range(steps)) == pytest.approx(1e-2, rel=0.01)


@pytest.mark.parametrize(
    ("losses", "beyond"),
    [
        ({1.0: 3.0, 2.0: 2.0, 4.0: 1.0}, 12.0),
        ({1.0: 1.0, 2.0: 2.0, 4.0: 3.0}, 1 / 3),
        ({1.0: 2.0, 2.0: 1.0, 4.0: 3.0}, None),
    ],
)
def test_a_rate_is_tried_beyond_the_edge_that_the_best_lies_on(
    losses: dict[float, float], beyond: float | None
) -> None:
    assert rate_beyond(losses) == (None if beyond is None else pytest.approx(beyond))


def test_the_last_training_ends_its_schedule_where_validation_was_best(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rates that are far too small lead to larger ones, and the last recipe is as long as chosen."""
    pytest.importorskip("segmentation_models_pytorch")
    monkeypatch.setattr(decoders, "LEARNING_RATES", (1e-6, 1e-5))
    monkeypatch.setattr(
        decoders.TrainedSegmentation,
        "_recipe",
        lambda self, rows, seed, precision: Recipe(epochs=3, batch=8, seed=seed),
    )
    recipes: list[Recipe] = []
    real = decoders.train_together

    def watched(networks: Any, losses: Any, rows: Any, validation: Any, given: Any) -> Any:
        recipes.extend(given)
        return real(networks, losses, rows, validation, given)

    monkeypatch.setattr(decoders, "train_together", watched)
    kind: Any = heads.HEADS["linknet"]
    features, masks = made_features(Kind.MASK)
    patients, splits = made_splits()
    (fit,) = kind(grid=16, width=16).cross_fit(
        features, masks, patients, splits[:1], made_target(Kind.MASK), rng=np.random.default_rng(0)
    )
    tried = [float(r) for r in fit.choice["rates"].split(",")]
    assert tried == pytest.approx([1e-6, 1e-5, 3e-5, 9e-5])
    assert recipes[-1].epochs == recipes[-1].stop == fit.choice["epoch"]
    assert recipes[-1].learning_rate == fit.choice["learning_rate"]
