"""The import path of 2022 for ``etab.legacy.data_tools``."""

from etab.legacy.data_tools import training_data_split

__all__ = ["training_data_split"]
