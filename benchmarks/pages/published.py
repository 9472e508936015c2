"""Results of a board beside published ones: a table for each task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.fold_seeds import key_of
from etab.results import Result
from etab.tasks.menu import TASKS

_EARLIER_HEADS = {"logistic", "ridge", "hsmm", "linear_seg"}


@dataclass(frozen=True)
class Published:
    """A published result: who, on which data and how, its figures by metric, and where they stand."""

    who: str
    data: str
    values: Mapping[str, float | str]
    source: str


@dataclass(frozen=True)
class Section:
    """One task: which of our cells and metrics, what is published, and what differs."""

    task: str
    protocol: str
    title: str
    metrics: Mapping[str, str]
    published: tuple[Published, ...]
    differs: str
    falls: bool = False


def section_lines(
    section: Section,
    found: Sequence[Result],
    beside: Sequence[tuple[Result, str]] = (),
    spreads: Mapping[str, str] | None = None,
) -> list[str]:
    """Lines of the table of one task: our rows sorted, then published ones in italics.

    Args:
        section: The task, with what is published on it.
        found: Results of the board.
        beside: Results that were made otherwise, each with words that say how.
        spreads: For each cell by its key in ``benchmarks.fold_seeds``, the standard deviation of
            one seed of the folds; None says nothing of it.

    Returns:
        Lines of Markdown.
    """
    mine = cells_of_board(section, found)
    mine.sort(key=lambda r: r.value if section.falls else -r.value)
    heads = list(section.metrics)
    rows = [
        f"| {_name(r)} | {' | '.join(_shown(m, r) for m in heads)} | this board |" for r in mine
    ]
    rows += [
        f"| {_name(r)} | {' | '.join(_shown(m, r) for m in heads)} | the board before: {r.protocol}, `{r.head}` |"
        for r in cells_before(section, found)
    ]
    rows += [
        f"| {_name(r)} | {' | '.join(_shown(m, r) for m in heads)} | {words} |"
        for r, words in beside
        if r.task == section.task
    ]
    rows += [
        f"| *{p.who}* | {' | '.join(figure(p.values[m]) if m in p.values else '' for m in heads)} | {p.data}; {p.source} |"
        for p in section.published
    ]
    table = [
        "| model | " + " | ".join(section.metrics.values()) + " | data, source |",
        "|---" * (len(heads) + 2) + "|",
    ]
    lines = [f"## {section.title}\n", *table, *rows, "", section.differs + "\n"]
    known = [f"{r.backbone} {spreads[key_of(r)]}" for r in mine if spreads and key_of(r) in spreads]
    if known:
        lines.append(f"Standard deviation of one seed of the folds: {', '.join(known)}.\n")
    return lines


def cells_of_board(section: Section, found: Sequence[Result]) -> list[Result]:
    """The cell of each backbone by the protocol of a section and the head of its task.

    Args:
        section: The task and the protocol.
        found: Results of the board, of several heads perhaps.

    Returns:
        One result for each backbone.
    """
    head = TASKS[section.task].head
    return [
        result
        for result in found
        if (result.task, result.protocol, result.head) == (section.task, section.protocol, head)
    ]


def cells_before(section: Section, found: Sequence[Result]) -> list[Result]:
    """The earlier cell of each backbone that has none by the head and the protocol of the board.

    Args:
        section: The task and the protocol.
        found: Results of the board and of the board before.

    Returns:
        Results of one division into folds and of the probes of one layer.
    """
    made = {result.backbone for result in cells_of_board(section, found)}
    protocol = "lodo" if section.protocol == "lodo" else "cv5"
    cells = [
        result
        for result in found
        if (result.task, result.protocol) == (section.task, protocol)
        and result.head in _EARLIER_HEADS
        and result.backbone not in made
    ]
    return sorted(cells, key=lambda r: r.value if section.falls else -r.value)


def _name(r: Result) -> str:
    """The backbone, with the head where that is not the head of the task, now or before."""
    is_usual = r.head == TASKS[r.task].head or r.head in _EARLIER_HEADS
    return r.backbone if is_usual else f"{r.backbone} + {r.head}"


def _shown(metric: str, r: Result) -> str:
    value = r.metrics.get(metric)
    if value is None:
        return ""
    interval = f" [{figure(r.low)}, {figure(r.high)}]" if metric == r.metric else ""
    return figure(value) + interval


def figure(value: float | str) -> str:
    """A number in words: fewer decimals for a larger one; words as they are."""
    if isinstance(value, str):
        return value
    return (
        f"{value:.0f}"
        if abs(value) >= 1000
        else f"{value:.1f}"
        if abs(value) >= 2
        else f"{value:.3f}"
    )
