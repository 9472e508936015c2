"""Metrics, and the uncertainty of what they give. Importing this package fills ``METRICS``."""

from etab.metrics import heart_sounds as heart_sounds
from etab.metrics.base import METRICS, Metric, metric
from etab.metrics.basic import (
    auprc,
    auprc_pooled,
    auroc,
    auroc_pooled,
    balanced_accuracy,
    binary_auprc,
    binary_auroc,
    both_classes,
    decided,
    evaluate,
    evaluate_rows,
)
from etab.metrics.columns import Columns, ScoredRows, check_columns, per_patient
from etab.metrics.masks import MASK_COLUMNS, mask_scores
from etab.metrics.values import bias, loa_high, loa_low, mae, pearson_r, r2, rmse

__all__ = [
    "MASK_COLUMNS",
    "METRICS",
    "Columns",
    "Metric",
    "ScoredRows",
    "auprc",
    "auprc_pooled",
    "auroc",
    "auroc_pooled",
    "balanced_accuracy",
    "bias",
    "binary_auprc",
    "binary_auroc",
    "both_classes",
    "check_columns",
    "decided",
    "evaluate",
    "evaluate_rows",
    "loa_high",
    "loa_low",
    "mae",
    "mask_scores",
    "metric",
    "pearson_r",
    "per_patient",
    "r2",
    "rmse",
]
