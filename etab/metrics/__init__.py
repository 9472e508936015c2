"""Metrics, and the uncertainty of what they give. Importing this package fills ``METRICS``."""

from etab.metrics import basic as basic
from etab.metrics import heart_sounds as heart_sounds
from etab.metrics.base import METRICS, Metric

__all__ = ["METRICS", "Metric"]
