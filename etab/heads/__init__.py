"""Task heads by name. A new head is a class in ``probes.py``, ``decoders.py``, or a new file."""

from etab.heads.base import HEADS, FoldFit, Head
from etab.heads.masks import decoders as segmentation
from etab.heads.masks import linear as decoders
from etab.heads.masks import logistic
from etab.heads.pooled import balanced, exact_logistic, left_out, probes
from etab.heads.pooled import stack as stacked
from etab.heads.pooled.large import LIMIT
from etab.heads.sequences import attentive
from etab.heads.sequences import heads as temporal
from etab.heads.states import heads as states

__all__ = [
    "HEADS",
    "LIMIT",
    "FoldFit",
    "Head",
    "attentive",
    "balanced",
    "decoders",
    "exact_logistic",
    "head",
    "left_out",
    "logistic",
    "names",
    "probes",
    "segmentation",
    "stacked",
    "states",
    "temporal",
]


def head(name: str) -> Head:
    """A head by its name; raises UnknownNameError with a suggestion."""
    return HEADS[name]()


def names() -> list[str]:
    """Names of all heads."""
    return list(HEADS)
