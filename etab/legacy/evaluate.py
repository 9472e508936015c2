"""``evaluate_model``, under its 2022 name: one number of a model on the rows of a loader."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from etab.datasets.dataset import Dataset, Items
from etab.errors import UndefinedError
from etab.legacy import names
from etab.metrics import METRICS
from etab.metrics.columns import score_columns
from etab.types import Kind

if TYPE_CHECKING:
    from etab.legacy.models import ETABmodel

__all__ = ["columns_of", "evaluate_model"]

METRIC = {"segmentation": "jaccard", "classification": "auroc", "regression": "mse"}


def evaluate_model(model: ETABmodel, test_loader: Any, task_code: str | None = None) -> float:
    """Jaccard index of the structure, AUROC, or mean squared error of ``model`` on a loader (or
    data set).

    ``task_code`` ("a0", "a0-A4-E", "EA40") is checked against the model; None takes the model's own
    task. Rows of etab's data count by patient: the Jaccard index is the mean over patients of the
    mean over their frames. Masks are compared in the loader's pixels. Raises UnsupportedOptionError
    where code, data and model do not fit, UndefinedError where the metric does not exist (one class
    only, an empty mask).
    """
    rows = getattr(test_loader, "dataset", test_loader)
    rows = rows.data if isinstance(rows, Dataset) else rows
    target = rows.reader.target.name if isinstance(rows, Items) else ""
    if task_code is not None:
        names.check_code(task_code, model.task, target)
    patients = np.asarray(
        rows.patients if isinstance(rows, Items) else [str(i) for i in range(len(rows))]
    )
    columns = columns_of(model, rows, batch=getattr(test_loader, "batch_size", None) or 32)
    if model.task == "regression":
        return float(np.square(columns["score"] - columns["truth"]).mean())
    return METRICS[METRIC[model.task]](columns, patients)


def columns_of(model: ETABmodel, rows: Any, *, batch: int = 32) -> dict[str, Any]:
    """What the metrics of ``etab.metrics.basic`` read: truth and scores, or the overlaps of each
    mask, in the order of the rows.
    """
    parts = [
        _batch(model, [rows[i] for i in range(start, min(start + batch, len(rows)))])
        for start in range(0, len(rows), batch)
    ]
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def _batch(model: ETABmodel, items: list[tuple[Any, Any]]) -> dict[str, Any]:
    said = model.predict_scores(torch.stack([x for x, _ in items])).numpy()
    truth = torch.stack([torch.as_tensor(y) for _, y in items]).numpy()
    if model.network.kind is Kind.MASK:
        return _overlap(said >= 0.5, truth.reshape(said.shape) > 0)
    scores = said.astype(np.float64)
    if model.network.kind is Kind.VALUE:
        named = score_columns(Kind.VALUE, scores)
    elif scores.shape[1] == 2:
        named = score_columns(Kind.BINARY, scores[:, 1])
    else:
        named = score_columns(Kind.CLASSES, scores)
    return {"truth": truth.astype(np.float64), **named}


def _overlap(said: Any, truth: Any) -> dict[str, Any]:
    known = truth.sum(axis=(1, 2))
    both = (said & truth).sum(axis=(1, 2))
    if not known.all():
        raise UndefinedError(
            "A mask of the loader is empty: overlap does not exist for that frame."
        )
    total = known + said.sum(axis=(1, 2))
    return {"dice": 2 * both / total, "jaccard": both / (total - both)}
