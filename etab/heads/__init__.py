"""Task heads by name. A new head is one class in ``probes.py`` or ``decoders.py`` (or a file beside them)."""

from etab.heads import decoders, probes, segmentation, states, temporal
from etab.heads.base import HEADS, FoldFit, Head
from etab.heads.large import LIMIT
from etab.heads.probes import ridge_losses

__all__ = [
    "HEADS",
    "LIMIT",
    "FoldFit",
    "Head",
    "decoders",
    "head",
    "names",
    "probes",
    "ridge_losses",
    "segmentation",
    "states",
    "temporal",
]


def head(name: str) -> Head:
    """A head by its name; raises UnknownNameError with a suggestion."""
    return HEADS[name]()


def names() -> list[str]:
    """Names of all heads."""
    return list(HEADS)
