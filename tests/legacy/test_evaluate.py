"""``evaluate_model`` counts patients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from etab.errors import (
    UndefinedError,
)
from etab.legacy.evaluate import columns_of, evaluate_model
from etab.types import Kind
from tests.legacy.small import loaders

torch = pytest.importorskip("torch")
pytest.importorskip("segmentation_models_pytorch")


def test_evaluate_counts_patients_and_refuses_what_does_not_exist(cohort: Path) -> None:
    test = loaders(cohort)[2]

    class Says:
        task = "segmentation"

        def __init__(self, kind: Kind, said: Any) -> None:
            self.network = type("N", (), {"kind": kind})()
            self.said = said

        def predict_scores(self, x: Any) -> Any:
            return self.said(x)

    rows = test.dataset
    truth = torch.stack([y[0] for _, y in rows]).float()
    at = iter(range(0, len(rows), 8))

    def half(x: Any) -> Any:
        start = next(at)
        found = truth[start : start + len(x)].clone()
        for i in range(len(found)):  # the first frame of all is missed
            found[i] *= 0 if start + i == 0 else 1
        return found

    value = evaluate_model(Says(Kind.MASK, half), test)  # type: ignore[arg-type]
    patients = len(set(rows.patients))
    mine = sum(p == rows.patients[0] for p in rows.patients)
    assert value == pytest.approx(1 - 1 / mine / patients)
    two = [(torch.zeros(3, 8, 8), 0), (torch.zeros(3, 8, 8), 0)]
    same = Says(Kind.CLASSES, lambda x: torch.full((len(x), 2), 0.5))
    same.task = "classification"
    with pytest.raises(UndefinedError):
        evaluate_model(same, two)  # type: ignore[arg-type]
    values = Says(Kind.VALUE, lambda x: torch.full((len(x),), 3.0))
    values.task = "regression"
    assert evaluate_model(
        values, [(torch.zeros(3, 8, 8), 1.0), (torch.zeros(3, 8, 8), 4.0)]
    ) == pytest.approx(2.5)  # type: ignore[arg-type]
    assert set(columns_of(values, two)) == {"truth", "score"}  # type: ignore[arg-type]
