"""The page of heart sounds tells how far each published cell depends on the draw of its folds."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.fold_seeds import key_of
from benchmarks.pages import sounds
from etab.results import load_results
from etab.tasks.protocols import parse


def test_every_published_cell_of_repeated_folds_has_a_value_for_each_seed() -> None:
    values_of = json.loads(sounds.FOLD_SEEDS.read_text())
    published = [*load_results(sounds.FULL), *load_results(sounds.OF_PLACES)]
    repeated = [result for result in published if parse(result.protocol).repeats > 1]
    assert set(values_of) == {key_of(result) for result in repeated}
    for result in repeated:
        values = values_of[key_of(result)]
        assert len(values) == parse(result.protocol).repeats
        # AUROC weighs every fold by its pairs, whose number differs a little between divisions.
        tolerance = 1e-3 if result.metric == "auroc" else 1e-9
        assert np.mean(values) == pytest.approx(result.value, rel=tolerance)
    spreads = sounds.fold_seed_spreads()
    page = (sounds.BENCHMARKS.parent / "docs/reference/heart_sounds.md").read_text()
    for result in repeated:
        assert f"{result.backbone} {spreads[key_of(result)]}" in page
