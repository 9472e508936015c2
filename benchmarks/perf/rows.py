"""What a line of the table of speeds is, and how its times are taken."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """A task that etab and a peer were timed at, in one process, in turns.

    Attributes:
        task: What is computed, with its size.
        ours: Seconds of etab.
        peer_name: What it is compared with.
        peer: Seconds of the peer; None where there is no peer.
        limit_name: The least work that the task needs on this machine.
        limit: Seconds of that work; None where it is not known.
        wanted: The ratio of the peer to etab that is aimed at; None for no aim.
        agreement: How the answers of both were compared, with the largest difference found.
    """

    task: str
    ours: float
    peer_name: str
    peer: float | None
    limit_name: str = ""
    limit: float | None = None
    wanted: float | None = None
    agreement: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times longer the peer takes."""
        return None if self.peer is None else self.peer / self.ours

    @property
    def distance(self) -> float | None:
        """How many times longer etab takes than the limit."""
        return None if self.limit is None else self.ours / self.limit

    def facts(self) -> dict[str, Any]:
        """The row as plain values, with its ratios."""
        return {**asdict(self), "ratio": self.ratio, "distance": self.distance}


def interleaved(
    functions: Sequence[Callable[[], object]], *, rounds: int = 5, warm: bool = True
) -> list[float]:
    """Time functions in turns, so that a busy moment of the machine meets all of them.

    Args:
        functions: They take no arguments.
        rounds: How often each is called and timed.
        warm: Whether each is called once before.

    Returns:
        The shortest processor time of each, in seconds. Processor time counts all threads of the
        process and leaves out the time that other processes take.
    """
    if warm:
        for function in functions:
            function()
    best = [float("inf")] * len(functions)
    for _ in range(rounds):
        for i, function in enumerate(functions):
            started = time.process_time()
            function()
            best[i] = min(best[i], time.process_time() - started)
    return best


def table(rows: Sequence[Row]) -> str:
    """Write rows as a Markdown table."""
    lines = [
        "| task | etab | peer | peer takes | ratio | aim | limit | above the limit | same answers |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (
            row.task,
            _seconds(row.ours),
            row.peer_name,
            _seconds(row.peer),
            _times(row.ratio),
            "" if row.wanted is None else f"{row.wanted:g} x",
            row.limit_name,
            _times(row.distance),
            row.agreement,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    if value < 1:
        return f"{1000 * value:.3g} ms"
    return f"{value:.3g} s"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.3g} x"
