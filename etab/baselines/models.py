"""The import path of 2022 for ``etab.legacy.models``."""

from etab.legacy.models import ETABmodel, available_backbones, available_heads, torch

__all__ = ["ETABmodel", "available_backbones", "available_heads", "torch"]
