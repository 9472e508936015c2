"""The board that a ranking returns, with one row for each backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from etab.leaderboard.admission.canonical import known_backbones, published_stem
from etab.leaderboard.suites import Suite
from etab.results import Predictions, Result
from etab.results.names import is_of_published_weights

if TYPE_CHECKING:
    import pandas as pd

    from etab.leaderboard.noise import Noise

PRETRAINED = "pretrained"
VECTORS = "vectors supplied"
NOT_STATED = "pretraining not stated"
RANDOM_TWIN = "random twin"
CONTROL = "control"


@dataclass(frozen=True, slots=True)
class Separation:
    """The differences that the pairs of a board can resolve, in units of the score.

    Attributes:
        pairs: Pairs of entries with different weights.
        told_apart: How many of them are told apart.
        smallest: The smallest difference that is; NaN where none is.
        largest_tie: The largest difference that is not; NaN where all are.
        found: The true difference that would be told apart in 80 % of cases, for a pair with the
            median noise at the strictest step of Holm; NaN without a pair.
    """

    pairs: int
    told_apart: int
    smallest: float
    largest_tie: float
    found: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """How much of what a task or category shows is about the backbones.

    Attributes:
        reliability: Share of the variance among backbones that other patients would show again;
            below 0 where there is more noise than variance, NaN for fewer than two backbones.
        noise_share: Its part in the noise of the differences of the score over patients. The parts
            of all tasks, and those of all categories, sum to 1.
        separation: What it can tell apart by itself.
    """

    reliability: float
    noise_share: float
    separation: Separation


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """The effect of one choice on one cell.

    Attributes:
        choice: "fold seed", "head", "layer", "precision" or "data".
        words: What is known, in a few words; "not known" where nothing is.
        difference: The value with the other choice minus the value on the board, in the unit of the
            metric; for the seed of the folds, the standard deviation of one seed. None where there
            is not a number. Of several other values, the one farthest away counts.
    """

    choice: str
    words: str
    difference: float | None = None


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One backbone on the board.

    Attributes:
        backbone: Name of the backbone.
        etab: ETAB score: 0 is the trivial predictor, 1 the named reference, not clipped. NaN where
            a task of the score is missing.
        low: Lower end of the 95 % interval of ``etab`` for these probes on new patients, or NaN.
        high: Upper end of that interval, or NaN.
        encoder_low: Lower end of the 95 % interval of ``etab`` for this encoder, with new training
            patients too, or NaN.
        encoder_high: Upper end of that interval, or NaN.
        etab_p: The score with the tasks of each category weighted by their precision, or NaN.
        etab2022: The score of 2022, a mean of raw metrics in [0, 1], or NaN.
        rank_low: Best rank that the backbone may have, 1 or more; None where it is not ranked.
        rank_high: Worst rank that the backbone may have; None where it is not ranked.
        cells: Results by task code.
        encoder_intervals: 95 % interval of the value of each task for this encoder, with new
            training patients too, by task code; empty where the backbone is not ranked.
        missing: Codes of the tasks of the score that have no result.
        kind: ``"pretrained"``, ``"pretraining not stated"``, ``"random twin"``, ``"control"`` or
            ``"vectors supplied"``.
        twin: Name of the random twin that is ranked on the same board; empty where there is none.
        sensitivities: What is known of the choices behind each cell, by task code.
    """

    backbone: str
    etab: float
    low: float
    high: float
    encoder_low: float
    encoder_high: float
    etab_p: float
    etab2022: float
    rank_low: int | None
    rank_high: int | None
    cells: Mapping[str, Result]
    missing: tuple[str, ...]
    kind: str
    twin: str = ""
    encoder_intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    sensitivities: Mapping[str, tuple[Sensitivity, ...]] = field(default_factory=dict)

    @property
    def ranked(self) -> bool:
        """Whether the backbone has a score and a rank."""
        return self.rank_low is not None


@dataclass(frozen=True, slots=True)
class Board:
    """A ranking with everything needed to read it. Ranked rows come first, the best one on top.

    Attributes:
        suite: The tasks and their weights.
        protocol: Protocol of the results, such as ``"cv5x5"``.
        seed: Seed of the results and of the resamples of patients.
        phantom: Whether the results are of phantom data, not of patients.
        shares: Share of each task in the score; they sum to 1.
        rows: One row for each backbone.
        p_better: ``p_better[i][j]`` is the probability that ranked row i is above ranked row j,
            with new test and training patients in mind.
        beats: ``beats[i][j]`` is True where ranked row i is told apart from ranked row j and above
            it (Holm-corrected over the family of tests). Ranks are counted from it.
        encoder_half: ``encoder_half[i][j]`` is the half width of the 95 % interval of the
            difference of ranked rows i and j as encoders, with new training patients too.
        probe_half: The same for these probes on new patients.
        separation: What the board can tell apart.
        reliabilities: Reliability by category letter and by task code.
        notes: Sentences that every form of the board shows.
        beside: Results of extra tasks outside the suite. They are shown and never scored.
        tables: Predictions by backbone and task code, for pages that draw them.
        noises: Noise of the anchored metric of each scored task, by ranked backbone and task code.
            Pages compute intervals and ranks under other weights from it.
    """

    suite: Suite
    protocol: str
    seed: int
    phantom: bool
    shares: Mapping[str, float]
    rows: tuple[BoardRow, ...]
    p_better: tuple[tuple[float, ...], ...]
    beats: tuple[tuple[bool, ...], ...]
    encoder_half: tuple[tuple[float, ...], ...]
    probe_half: tuple[tuple[float, ...], ...]
    separation: Separation
    reliabilities: Mapping[str, Reliability]
    notes: tuple[str, ...]
    beside: tuple[Result, ...] = ()
    tables: Mapping[tuple[str, str], Predictions] = field(
        default_factory=dict, compare=False, repr=False
    )
    noises: Mapping[str, Mapping[str, Noise]] = field(
        default_factory=dict, compare=False, repr=False
    )

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
    """Tell pretrained backbones, random twins and controls apart.

    Whether an encoder of a user's own was pretrained is known only where the user states it. A board
    of patients knows its controls by the published ones; a result cannot make itself one.
    On a board of phantoms, the family that the results record decides. Supplied vectors are marked
    on every board.

    Args:
        backbone: Name of the backbone.
        cells: Its results; the first one is read.

    Returns:
        ``"pretrained"``, ``"pretraining not stated"``, ``"random twin"``, ``"control"`` or
        ``"vectors supplied"``.

    Example:
        >>> kind_of("random/mobilenetv2", [])
        'random twin'
    """
    if backbone.startswith("random/"):
        return RANDOM_TWIN
    known = known_backbones().get(published_stem(backbone))
    if known is not None:
        return known.kind
    if cells and cells[0].settings.get("family") == "vectors":
        return VECTORS
    if cells and cells[0].phantom and cells[0].settings.get("family") == "control":
        return CONTROL
    is_stated = bool(cells) and bool(cells[0].provenance.get("pretraining"))
    return PRETRAINED if is_stated or is_of_published_weights(backbone) else NOT_STATED


def is_reference(kind: str) -> bool:
    """Whether a row of this kind is what encoders are compared with: a control or a random twin."""
    return kind in (CONTROL, RANDOM_TWIN)
