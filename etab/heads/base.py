"""Head: knows answers. It fits on features of training rows and predicts for others, in the
answer's own unit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from etab.registry import Registry
from etab.types import Array, Features, Kind, RowSplit, Target


@dataclass(frozen=True, slots=True)
class FoldFit:
    """What one split gave: predictions for ``split.test`` in that order, and what was chosen inside
    ``split.train``.
    """

    predictions: Any
    choice: Mapping[str, Any] = field(default_factory=dict)


class Memo(dict[Any, Any]):
    """What fits on the same rows share: results that no label enters, under keys of each head.

    Attributes:
        cells: (n,) a label for each row. Rows with one label are in the same parts in every cell
            of the board on these rows; None where that is not known.
        groups: (n,) the database of each row; None where there are none.
        precision: "bf16" lets a head that is trained use autocast, else "fp32".
        balanced: Whether the metric of the task counts every class alike (balanced accuracy,
            MAcc): a head then fits classes so.
    """

    cells: Array | None = None
    groups: Array | None = None
    precision: str = "fp32"
    balanced: bool = False

    def forget_fits(self) -> None:
        """Drop what belongs to single sets of training rows; what belongs to all rows stays.

        Fits of another division into folds have other training rows, and each set takes memory.
        """
        of_fits = ("basis", "stack")
        for key in [key for key in self if isinstance(key, tuple) and key[0] in of_fits]:
            del self[key]


class Head(ABC):
    """A task head on frozen features."""

    name: ClassVar[str]
    kinds: ClassVar[frozenset[Kind]]
    needs_maps: ClassVar[bool] = False
    needs_series: ClassVar[bool] = False
    reads_layers: ClassVar[bool] = False
    needs_sequences: ClassVar[bool] = False
    balances: ClassVar[bool] = False
    version: ClassVar[int] = 1

    @abstractmethod
    def cross_fit(
        self,
        features: Features,
        answers: Any,
        patients: Array,
        splits: Sequence[RowSplit],
        target: Target,
        *,
        rng: np.random.Generator,
        memo: MutableMapping[Any, Any] | None = None,
    ) -> list[FoldFit]:
        """Choose, fit and predict for each split. ``answers``: (n,) values or class indexes, a list
        of boolean masks, or a list of states (k_i,) with -1 where unannotated
        (``features.series[i]`` is then the series (k_i, d) at 50 Hz, and ``features.sequences`` the
        layers over time, for a head with ``reads_layers``).

        ``patients`` (n,) names the patient of each row. ``memo`` may keep label-free intermediate
        results between calls on the same features and splits; the result never depends on it, but
        for ``cells``, ``groups``, ``precision`` and ``balanced`` of a ``Memo``, which the rows, the
        run and the task decide.
        """


HEADS: Registry[type[Head]] = Registry("head")
