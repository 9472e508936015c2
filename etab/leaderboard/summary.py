"""Numbers and words that every form of a board shares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from etab.leaderboard.board import Board, BoardRow, Sensitivity
from etab.results import Result
from etab.storage.text import counted
from etab.tasks.codes import CATEGORIES, SUITE_PARTS, parse_code
from etab.tasks.menu import TASKS
from etab.tasks.words import metric_unit, with_unit
from etab.types import Target

PATIENT = "patient"
BESIDE_HEADER = ("task", "asked", "backbone", "metric", "value [95 %]", "anchored", "patients")


class DatasetCard(Protocol):
    """The facts of a dataset that a board states; the cards of ``etab.datasets`` have them."""

    @property
    def title(self) -> str:
        """Name of the dataset in words."""
        ...

    @property
    def licence(self) -> str:
        """Licence of the data."""
        ...

    @property
    def citation(self) -> str:
        """How to cite the data."""
        ...

    @property
    def modality(self) -> str:
        """The kind of recording: "echo" or "sound"."""
        ...

    @property
    def unit(self) -> str:
        """The unit that an id of a patient stands for: "patient", "recording" or "examination"."""
        ...

    @property
    def targets(self) -> tuple[Target, ...]:
        """The reference values of its recordings."""
        ...


Cards = Mapping[str, DatasetCard]


def rank_words(row: BoardRow) -> str:
    """A rank interval in words: "1", "1-4", or "-" where there is none."""
    if row.rank_low is None:
        return "-"
    if row.rank_low == row.rank_high:
        return str(row.rank_low)
    return f"{row.rank_low}-{row.rank_high}"


def unit_of(code: str, units: Mapping[str, str]) -> str:
    """Say what a patient of a task stands for.

    Args:
        code: Code of the task.
        units: What ``units_of`` returned.

    Returns:
        "patient", "recording" or "examination".
    """
    return units.get(parse_code(code).test_dataset, PATIENT)


def headline(row: BoardRow) -> str:
    """The score of a row with its interval, or how many tasks are missing."""
    if row.ranked:
        return f"{row.etab:.3f} [{row.low:.3f}, {row.high:.3f}]"
    if not row.missing:
        return "no score: pretrained on test data"
    plural = "s" if len(row.missing) > 1 else ""
    return f"no score: {len(row.missing)} task{plural} missing"


def encoder_words(row: BoardRow) -> str:
    """The interval of the score of an encoder, with new training patients too, or "-"."""
    return f"[{row.encoder_low:.3f}, {row.encoder_high:.3f}]" if row.ranked else "-"


def precise_words(row: BoardRow) -> str:
    """The score ``etab-p``, or "-" where there is none."""
    return "-" if math.isnan(row.etab_p) else f"{row.etab_p:.3f}"


def number_words(value: float) -> str:
    """Write a value with as many decimals as a reader needs.

    Args:
        value: Any value; results hold six digits of it.

    Returns:
        Three decimals below 2; two above, as for errors in % and distances in mm; none above 1,000,
        as for costs. A zero has no minus.

    Example:
        >>> number_words(0.8841), number_words(7.1523), number_words(11260.2), number_words(-0.0002)
        ('0.884', '7.15', '11,260', '0.000')
    """
    size = abs(value)
    text = f"{value:,.0f}" if size >= 999.5 else f"{value:.2f}" if size >= 2 else f"{value:.3f}"
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text


def value_words(cell: Result | None) -> str:
    """The value of a result with its interval, or "missing"."""
    if cell is None:
        return "missing"
    return f"{number_words(cell.value)} [{number_words(cell.low)}, {number_words(cell.high)}]"


def target_of(code: str, cards: Cards) -> Target | None:
    """Find the target of a task on the card of its data.

    Args:
        code: Code of the task.
        cards: Cards by the name of the dataset, as ``etab.datasets.cards()`` gives them.

    Returns:
        The target; None where there is no such card.
    """
    task = TASKS[code]
    card = cards.get(task.dataset)
    targets = {target.name: target for target in card.targets} if card else {}
    return targets.get(task.target)


def metric_words(metric: str, code: str, cards: Cards) -> str:
    """Name a metric with the unit that it has on a task, such as "mae, bpm"."""
    return with_unit(metric, metric_unit(metric, target_of(code, cards)))


def sensitivity_words(known: Sequence[Sensitivity]) -> str:
    """Word what is known of a cell, such as "fold seed: SD 0.004 over 5 seeds; head: not known".

    Args:
        known: The entries of one cell.

    Returns:
        One line; empty without entries.

    Example:
        >>> sensitivity_words([Sensitivity("head", "ridge -0.012", -0.012)])
        'head: ridge -0.012'
    """
    return "; ".join(f"{one.choice}: {one.words}" for one in known)


def mean_words(value: float | None) -> str:
    """An anchored mean with three decimals, or "-" where there is none."""
    return "-" if value is None else f"{value:.3f}"


def arrow(better: int) -> str:
    """An arrow up where higher is better (``better`` > 0), else an arrow down."""
    return "↑" if better > 0 else "↓"


def category_letters(board: Board) -> list[str]:
    """Letters of the categories of the suite, sorted."""
    return sorted({code[0] for code in board.suite.tasks})


def score_parts(board: Board) -> list[str]:
    """Names of the parts of the score (echo, heart sounds); none where the suite has one only."""
    own = set(category_letters(board))
    names = [name for name, categories in SUITE_PARTS.items() if own & set(categories)]
    return names if len(names) > 1 else []


def category_mean(row: BoardRow, letter: str, board: Board) -> float | None:
    """Weighted mean of the anchored metrics of one category.

    Args:
        row: The row of a backbone.
        letter: Letter of the category.
        board: The board of the row; it holds the weights.

    Returns:
        The mean, or None where a task is missing or no task of the category counts.
    """
    return _anchored_mean(row, letter, board)


def part_mean(row: BoardRow, part: str, board: Board) -> float | None:
    """The ETAB score of one part of the tasks.

    Args:
        row: The row of a backbone.
        part: Name of the part, a key of ``etab.tasks.codes.PARTS``.
        board: The board of the row; it holds the weights.

    Returns:
        The weighted mean over the categories of the part, or None where a task is missing or no
        task of the part counts.
    """
    return _anchored_mean(row, SUITE_PARTS[part], board)


def _anchored_mean(row: BoardRow, categories: str, board: Board) -> float | None:
    shares = {
        code: share for code, share in board.shares.items() if code[0] in categories and share > 0
    }
    if not shares or any(code not in row.cells for code in shares):
        return None
    anchored = {code: TASKS[code].anchored(row.cells[code].value) for code in shares}
    return sum(share * anchored[code] for code, share in shares.items()) / sum(shares.values())


RELIABILITY_HEADER = (
    "of",
    "reliability",
    "share of noise",
    "pairs told apart",
    "smallest told apart",
    "largest not told apart",
    "found in 80 %",
)


def reliability_rows(board: Board) -> list[tuple[str, ...]]:
    """Reliability of each category and task in words, in the order of RELIABILITY_HEADER.

    Differences are of anchored means. A category or task that tells no pair apart is marked.
    """
    names = [*category_letters(board), *board.suite.tasks]
    rows: list[tuple[str, ...]] = []
    for name in names:
        reliability = board.reliabilities.get(name)
        if reliability is None:
            continue
        separation = reliability.separation
        apart = f"{separation.told_apart:,} of {separation.pairs:,}"
        if separation.pairs and not separation.told_apart:
            apart = f"none of {separation.pairs:,}: separates nothing"
        rows.append(
            (
                CATEGORIES.get(name, name),
                _share_words(reliability.reliability),
                _share_words(reliability.noise_share),
                apart,
                _gap_words(separation.smallest),
                _gap_words(separation.largest_tie),
                _gap_words(separation.found),
            )
        )
    return rows


def _share_words(share: float) -> str:
    return f"{share:.2f}" if math.isfinite(share) else "-"


def _gap_words(gap: float) -> str:
    return f"{gap:.3f}" if math.isfinite(gap) else "-"


def beside_rows(
    board: Board, cards: Cards, units: Mapping[str, str] | None = None
) -> list[tuple[str, ...]]:
    """Word the results beside the score.

    Args:
        board: The board.
        cards: Cards by the name of the dataset, as ``etab.datasets.cards()`` gives them.
        units: What a patient stands for by the name of the dataset, as
            ``etab.leaderboard.people.units_of`` gives it; None where all are patients.

    Returns:
        One tuple for each result, in the order of ``BESIDE_HEADER``.
    """
    rows: list[tuple[str, ...]] = []
    for cell in board.beside:
        task = TASKS[cell.task]
        unit = unit_of(cell.task, units or {})
        people = f"{cell.n_patients:,}" if unit == PATIENT else counted(cell.n_patients, unit)
        rows.append(
            (
                task.code,
                task.title,
                cell.backbone,
                f"{metric_words(cell.metric, cell.task, cards)} {arrow(task.better)}",
                value_words(cell),
                f"{task.anchored(cell.value):.3f}",
                people,
            )
        )
    return rows


def data_notices(board: Board, cards: Cards) -> list[dict[str, str]]:
    """Title, licence and citation of each dataset behind a board.

    Args:
        board: The board.
        cards: Cards by the name of the dataset, as ``etab.datasets.cards()`` gives them. A
            dataset without a card is named, with the hint that its licence is not known here.

    Returns:
        One dictionary for each dataset, sorted by name. Phantom data have no licence to state.
    """
    names: set[str] = set()
    for code in (*board.suite.tasks, *(cell.task for cell in board.beside)):
        names.update((parse_code(code).dataset, parse_code(code).test_dataset))
    notices: list[dict[str, str]] = []
    for name in sorted(names):
        title = cards[name].title if name in cards else name
        licence = cards[name].licence if name in cards else "licence not known to this installation"
        citation = cards[name].citation if name in cards else ""
        if board.phantom:
            title = f"phantom of {title}"
            licence = "synthetic data in the published layout; no patient is in it"
            citation = ""
        notices.append({"title": title, "licence": licence, "citation": citation})
    return notices
