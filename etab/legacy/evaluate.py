"""``evaluate_model``, under its 2022 name: the score of a model on the rows of a loader."""

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

METRIC = {
    "segmentation": "jaccard",
    "classification": "auroc",
    "regression": "mse",
}


def evaluate_model(
    model: ETABmodel,
    test_loader: Any,
    task_code: str | None = None,
) -> float:
    """Score a model: Jaccard index of masks, AUROC of classes, or mean squared error of values.

    Rows of etab's data count by patient: the Jaccard index is the mean over patients of the mean
    over their frames. Masks are compared in the loader's pixels.

    Args:
        model: The model.
        test_loader: A loader or a dataset.
        task_code: A code ("a0", "a0-A4-E", "EA40") to check against the model; None for no check.

    Raises:
        UnsupportedOptionError: Code, data and model do not fit.
        UndefinedError: The metric is not defined: there is one class only, or a mask is empty.
    """
    rows = getattr(test_loader, "dataset", test_loader)
    rows = rows.data if isinstance(rows, Dataset) else rows
    target = rows.reader.target.name if isinstance(rows, Items) else ""
    if task_code is not None:
        names.check_code(task_code, model.task, target)
    patients = np.asarray(
        rows.patients if isinstance(rows, Items) else [str(i) for i in range(len(rows))]
    )
    batch = getattr(test_loader, "batch_size", None) or 32
    columns = columns_of(model, rows, batch=batch)
    if model.task == "regression":
        errors = columns["score"] - columns["truth"]
        return float(np.square(errors).mean())
    metric = METRICS[METRIC[model.task]]
    return metric(columns, patients)


def columns_of(
    model: ETABmodel,
    rows: Any,
    *,
    batch: int = 32,
) -> dict[str, Any]:
    """Compute the columns that the metrics of ``etab.metrics.basic`` need.

    Args:
        model: The model.
        rows: Rows of (tensor, answer).
        batch: Rows that are predicted at once.

    Returns:
        Truth and scores, or the overlaps of each mask, in the order of the rows.
    """
    parts: list[dict[str, Any]] = []
    for start in range(0, len(rows), batch):
        stop = min(start + batch, len(rows))
        parts.append(_batch_columns(model, [rows[i] for i in range(start, stop)]))
    columns = {}
    for name in parts[0]:
        columns[name] = np.concatenate([part[name] for part in parts])
    return columns


def _batch_columns(model: ETABmodel, items: list[tuple[Any, Any]]) -> dict[str, Any]:
    """Compute the columns of a batch of (tensor, answer)."""
    inputs = torch.stack([tensor for tensor, _ in items])
    predicted = model.predict_scores(inputs).numpy()
    truth = torch.stack([torch.as_tensor(answer) for _, answer in items]).numpy()
    if model.network.kind is Kind.MASK:
        return _overlap(predicted >= 0.5, truth.reshape(predicted.shape) > 0)
    scores = predicted.astype(np.float64)
    if model.network.kind is Kind.VALUE:
        columns = score_columns(Kind.VALUE, scores)
    elif scores.shape[1] == 2:
        columns = score_columns(Kind.BINARY, scores[:, 1])
    else:
        columns = score_columns(Kind.CLASSES, scores)
    return {"truth": truth.astype(np.float64), **columns}


def _overlap(predicted: Any, truth: Any) -> dict[str, Any]:
    """Compute the overlap of boolean masks (n, h, w) with the true ones."""
    area = truth.sum(axis=(1, 2))
    both = (predicted & truth).sum(axis=(1, 2))
    if not area.all():
        raise UndefinedError(
            "A mask of the loader is empty: overlap is not defined for that frame."
        )
    total = area + predicted.sum(axis=(1, 2))
    union = total - both
    return {
        "dice": 2 * both / total,
        "jaccard": both / union,
    }
