"""The questions that a reader of a board asks first, answered in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from etab.leaderboard.board import CONTROL, RANDOM_TWIN, Board, BoardRow, is_reference
from etab.leaderboard.summary import PATIENT, Cards
from etab.storage.text import counted, printable

_MODALITIES = {"echo": "echocardiograms", "sound": "heart sounds"}
_LONGEST_NAME = 48  # characters of a backbone
_MOST_NAMES = 3


def board_answers(
    board: Board,
    cards: Cards,
    patients: Mapping[str, int],
    units: Mapping[str, str] | None = None,
) -> list[tuple[str, str]]:
    """Say who is first, what that is worth, how sure it is, and what data show it.

    Every answer follows from the verdicts of the board: no backbone is called better than another
    that it is not told apart from.

    Args:
        board: The board.
        cards: Cards by the name of the dataset, as ``etab.datasets.cards()`` gives them.
        patients: Number of test patients by the name of the dataset.
        units: What a patient stands for by the name of the dataset, as
            ``etab.leaderboard.people.units_of`` gives it; None where all are patients.

    Returns:
        Questions and answers, in the order in which they are read.
    """
    ranked = [row for row in board.rows if row.ranked]
    answers = [("Who is first?", _first(ranked))]
    if ranked:
        answers.append(("Better than no pretraining?", _beyond_references(ranked, board)))
        answers.append(("How sure is it?", _certainty(board)))
    answers.append(("On which data?", _data(board, cards, patients, units or {})))
    return answers


def _first(ranked: Sequence[BoardRow]) -> str:
    """Who may have the first rank."""
    if not ranked:
        return "Nobody: no backbone is ranked."
    leaders = [row for row in ranked if row.rank_low == 1]
    if len(ranked) == 1:
        return f"{_named(ranked[0])}, the only row with a rank."
    if len(leaders) == len(ranked):
        return f"Nobody: the {len(ranked)} ranked rows are not told apart."
    if len(leaders) > 1:
        return f"{_listed(leaders)} share the first rank: no row is told apart above any of them."
    others = len(ranked) - 1
    if leaders[0].rank_high == 1:
        return f"{_named(leaders[0])}, told apart from {_all_of(others)}."
    return f"{_named(leaders[0])}, told apart from some of the {others} others."


def _all_of(others: int) -> str:
    return f"all {others} others" if others > 1 else "the other row"


def _beyond_references(ranked: Sequence[BoardRow], board: Board) -> str:
    """How many encoders are told apart above the best control and the best random twin."""
    encoders = [i for i, row in enumerate(ranked) if not is_reference(row.kind)]
    if not encoders:
        return "Only controls and random twins are ranked."
    parts: list[str] = []
    for kind in (CONTROL, RANDOM_TWIN):
        best = next((i for i, row in enumerate(ranked) if row.kind == kind), None)
        if best is None:
            continue
        above = sum(board.beats[i][best] for i in encoders)
        count = f"{above} of {len(encoders)}"
        who = count if parts else f"{count} encoder{'s' if len(encoders) > 1 else ''}"
        parts.append(f"above the best {kind}, {_short(ranked[best].backbone)}: {who}")
    if not parts:
        return "Not known: no control and no random twin is ranked."
    return f"Told apart {'; '.join(parts)}."


def _certainty(board: Board) -> str:
    """How many pairs are told apart, and which difference would be found."""
    separation = board.separation
    if not separation.pairs:
        return "Not known: there is no pair to compare."
    return (
        f"{separation.told_apart:,} of {separation.pairs:,} pairs are told apart. "
        f"A true difference of {separation.found:.3f} is found in 80 % of cases."
    )


def _data(board: Board, cards: Cards, patients: Mapping[str, int], units: Mapping[str, str]) -> str:
    """The datasets of the board, what they are, and of how many patients."""
    parts: list[str] = []
    for name, count in patients.items():
        card = cards.get(name)
        title = printable(card.title) if card is not None else printable(name)
        recorded = _MODALITIES.get(card.modality, "") if card is not None else ""
        unit = units.get(name, PATIENT)
        people = counted(count, "test patient")
        if unit != PATIENT:
            people = f"{counted(count, unit)}, each counted as a patient"
            recorded = recorded and f"{recorded} in"
        elif recorded:
            recorded = f"{recorded} of"
        parts.append(f"{title}: {recorded} {people}" if recorded else f"{title}: {people}")
    whose = "Phantoms, not patients. " if board.phantom else ""
    return f"{whose}{'; '.join(parts)}."


def _listed(rows: Sequence[BoardRow]) -> str:
    """Names of rows, of which the first few are written out."""
    names = [_named(row) for row in rows[:_MOST_NAMES]]
    if len(rows) > _MOST_NAMES:
        names.append(f"{len(rows) - _MOST_NAMES} more")
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _named(row: BoardRow) -> str:
    """The name of a row, with its kind where it is not a candidate."""
    name = _short(row.backbone)
    return f"{name} ({row.kind})" if is_reference(row.kind) else name


def _short(name: str) -> str:
    plain = printable(name)
    return plain if len(plain) <= _LONGEST_NAME else f"{plain[: _LONGEST_NAME - 1]}…"
