"""What a ranking returns: a board with one row for each backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etab.leaderboard.suites import Suite
from etab.results import Result

if TYPE_CHECKING:
    import pandas as pd

PRETRAINED = "pretrained"
RANDOM_TWIN = "random twin"
CONTROL = "control"


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One backbone on the board.

    Attributes:
        backbone: Name of the backbone.
        etab: ETAB score: 0 is the trivial predictor, 1 the named reference, not clipped. NaN where
            a task of the score is missing.
        low: Lower end of the 95 % interval of ``etab``, or NaN.
        high: Upper end of the 95 % interval of ``etab``, or NaN.
        etab2022: The score of 2022, a mean of raw metrics in [0, 1], or NaN.
        rank_low: Best rank that the backbone may have, from 1 on; None where it is not ranked.
        rank_high: Worst rank that the backbone may have; None where it is not ranked.
        cells: Results by task code.
        missing: Codes of the tasks of the score that have no result.
        kind: ``"pretrained"``, ``"random twin"`` or ``"control"``.
        twin: Name of the random twin that is ranked on the same board; empty where there is none.
    """

    backbone: str
    etab: float
    low: float
    high: float
    etab2022: float
    rank_low: int | None
    rank_high: int | None
    cells: Mapping[str, Result]
    missing: tuple[str, ...]
    kind: str
    twin: str = ""

    @property
    def ranked(self) -> bool:
        """Whether the backbone has a score and a rank."""
        return self.rank_low is not None


@dataclass(frozen=True, slots=True)
class Board:
    """A ranking with everything needed to read it. Ranked rows come first, the best one on top.

    Attributes:
        suite: The tasks and their weights.
        protocol: Protocol of the results, such as ``"cv5"``.
        seed: Seed of the results and of the resamples of patients.
        phantom: Whether the results are of phantom data, not of patients.
        shares: Share of each task in the score; they sum to 1.
        rows: One row for each backbone.
        p_better: ``p_better[i][j]`` is the share of resamples in which ranked row i scores higher
            than ranked row j; ties count half.
        beats: ``beats[i][j]`` is True where ranked row i is significantly better than ranked row j
            (Holm-corrected over all pairs). Ranks are counted from it.
        gap: Median half width of the 95 % intervals of the paired differences, in units of
            ``etab``; NaN with fewer than two ranked rows.
        notes: Sentences that every form of the board shows.
        beside: Results of extra tasks outside the suite. They are shown and never scored.
    """

    suite: Suite
    protocol: str
    seed: int
    phantom: bool
    shares: Mapping[str, float]
    rows: tuple[BoardRow, ...]
    p_better: tuple[tuple[float, ...], ...]
    beats: tuple[tuple[bool, ...], ...]
    gap: float
    notes: tuple[str, ...]
    beside: tuple[Result, ...] = ()

    @property
    def title(self) -> str:
        """Title of the board; that of a phantom board begins with a warning."""
        warning = "PHANTOM data, not patients: " if self.phantom else ""
        return f"{warning}{self.suite.title or self.suite.name} ({self.protocol})"

    def frame(self) -> pd.DataFrame:
        """Return the board as a pandas data frame, see ``etab.leaderboard.frames.board_frame``."""
        from etab.leaderboard.frames import board_frame

        return board_frame(self)


def kind_of(backbone: str, cells: Sequence[Result]) -> str:
    """Tell pretrained backbones, random twins and controls apart by what their results record.

    Args:
        backbone: Name of the backbone.
        cells: Its results; the first one is read.

    Returns:
        ``"pretrained"``, ``"random twin"`` or ``"control"``.

    Example:
        >>> kind_of("random/mobilenetv2", [])
        'random twin'
    """
    if backbone.startswith("random/"):
        return RANDOM_TWIN
    if cells and cells[0].settings.get("family") == "control":
        return CONTROL
    return PRETRAINED
