"""The import path of 2022 for ``etab.legacy.evaluate``."""

from etab.legacy.evaluate import columns_of, evaluate_model

__all__ = ["columns_of", "evaluate_model"]
