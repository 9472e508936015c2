"""The import path of 2022 for ``etab.legacy.visualization``."""

from etab.legacy.visualization import plot_segment, to_display

__all__ = ["plot_segment", "to_display"]
