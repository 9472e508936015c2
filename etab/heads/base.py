"""The interface of heads: fit on features of training rows, predict the answers of test rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from etab.registry import Registry
from etab.types import Array, Features, FloatArray, Kind, RowSplit, Target


@dataclass(frozen=True, slots=True)
class FoldFit:
    """The fit of one split.

    Attributes:
        predictions: Predictions for ``split.test``, in that order.
        choice: What was chosen inside ``split.train``, by name.
    """

    predictions: Any
    choice: Mapping[str, Any] = field(default_factory=dict)


class Memo(dict[Any, Any]):
    """Results that fits on the same rows share.

    What depends on labels, as the fits of the cells in ``beside``, is kept under a digest of them.

    Attributes:
        cells: (n,) a label for each row. Rows with one label are in the same parts in every cell
            of the board on these rows; None where that is not known.
        groups: (n,) the database of each row; None where there are none.
        precision: "bf16" lets a head that is trained use autocast, else "fp32".
        balanced: Whether the metric of the task counts every class alike (balanced accuracy,
            MAcc): a head then fits classes so.
        cut_values: (n,) the value that the class of each row is cut from, see ``Target.cut``; None
            where classes are not cut from values.
        beside: The answers of further cells with the same features, splits and head, which are
            computed next. A head may fit them at the same time where that takes less work; what it
            returns does not depend on them.
        seconds_beside: Time in s that this cell has taken for the cells in ``beside``, less the
            time that cells before it have taken for this one.
    """

    cells: Array | None = None
    groups: Array | None = None
    precision: str = "fp32"
    balanced: bool = False
    cut_values: FloatArray | None = None
    beside: Sequence[Any] = ()
    seconds_beside: float = 0.0

    def share_time(self, mine: Any, made: Sequence[Any], seconds: float) -> None:
        """Divide the time of fits that were made at the same time evenly among their cells.

        Args:
            mine: Names the fits of this cell.
            made: Names of the fits that were made now, of this cell and of cells beside it.
            seconds: How long making them took, in s.

        Example:
            >>> memo = Memo()
            >>> memo.share_time("a0", ["a0", "a1"], 6.0)
            >>> memo.seconds_beside
            3.0
            >>> memo.share_time("a1", [], 0.0)  # its fits were made before
            >>> memo.seconds_beside
            0.0
        """
        each = seconds / max(len(made), 1)
        taken: dict[Any, float] = self.setdefault("seconds of fits made before", {})
        taken.update(dict.fromkeys(made, each))
        self.seconds_beside += seconds - taken.pop(mine, 0.0)

    def forget_fits(self) -> None:
        """Drop the results of single sets of training rows; results of all rows stay.

        Fits of another division into folds have other training rows, and each set takes memory.
        """
        of_fits = ("basis", "stack")
        for key in list(self):
            if isinstance(key, tuple) and key[0] in of_fits:
                del self[key]


class Head(ABC):
    """A task head on frozen features.

    Attributes:
        name: Name in the registry and in results.
        kinds: The kinds of targets that the head can predict.
        needs_maps: Whether it reads feature maps.
        needs_series: Whether it reads a series at 50 Hz of each recording.
        reads_layers: Whether it reads the layers of a backbone over time where there are any.
        needs_sequences: Whether it reads sequences of embeddings.
        needs_tokens: Whether it reads the tokens of rows, as ``etab.features.tokens`` picks them.
        balances: Whether it can count every class alike, see ``Memo.balanced``.
        fits_beside: Whether it fits the cells of ``Memo.beside`` at the same time.
        uses_torch: Whether it computes with torch. Its fits then have the threads of torch; others
            have one thread, see ``etab.storage.machine.one_thread``.
        version: Increases whenever predictions change.
    """

    name: ClassVar[str]
    kinds: ClassVar[frozenset[Kind]]
    needs_maps: ClassVar[bool] = False
    needs_series: ClassVar[bool] = False
    reads_layers: ClassVar[bool] = False
    needs_sequences: ClassVar[bool] = False
    needs_tokens: ClassVar[bool] = False
    balances: ClassVar[bool] = False
    fits_beside: ClassVar[bool] = False
    uses_torch: ClassVar[bool] = True
    version: ClassVar[int] = 1

    def version_of(self, target: Target) -> int:
        """The version of the predictions for a target; ``version`` unless targets differ in it.

        Args:
            target: What is predicted.
        """
        return self.version

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
        """Choose, fit and predict for each split.

        Args:
            features: Features of all rows. For states, ``features.series[i]`` is the series
                (k_i, d) at 50 Hz, and ``features.sequences`` holds the layers over time for a head
                with ``reads_layers``.
            answers: (n,) values or class indexes, n boolean masks, or states (k_i,) of each row
                with -1 where not annotated.
            patients: (n,) the patient of each row.
            splits: The rows to train on, the inner parts to choose by, and the rows to predict.
            target: What is predicted.
            rng: Source of random numbers.
            memo: Results without labels that calls on the same features and splits share. Fits do
                not depend on it, except for ``cells``, ``groups``, ``precision``, ``balanced``
                and ``cut_values`` of a ``Memo``, which the rows, the run and the task determine.

        Returns:
            A fit for each split. Values are in the target's unit, classes are probabilities, masks
            are boolean in the pixels of their frames, states are lists of (k_i,).
        """


HEADS: Registry[type[Head]] = Registry("head")
