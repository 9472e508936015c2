"""One call from Python: ``etab.evaluate(backbone, tasks=..., root=...)`` gives a Score."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etab import backbones
from etab.backbones.base import BackboneCard
from etab.errors import EtabError, UnsupportedOptionError
from etab.leaderboard import notes, suites
from etab.leaderboard import ranking as leaderboard
from etab.results import Result
from etab.runs.data import Data, tasks_at
from etab.runs.execute import require_ready
from etab.runs.executors import Event, serial
from etab.runs.run import Settings, plan
from etab.tasks.menu import TASKS, find


@dataclass(frozen=True, slots=True)
class Score:
    """What a backbone is worth on the tasks asked.

    value, low, high  the ETAB score on anchored metrics (0 the trivial predictor, 1 the named reference) and its
                      95 % interval over patients
    incomplete        what ``skip_bad`` left out, in one sentence; "" for a score on all data
    etab2022          the score on raw metrics, as published in 2022
    tasks             one row a task: code, metric, value, low, high, patients
    results           the full records
    """

    backbone: str
    value: float
    low: float
    high: float
    etab2022: float
    phantom: bool
    tasks: tuple[Mapping[str, Any], ...]
    results: tuple[Result, ...]
    incomplete: str = ""

    def _title(self) -> str:
        made = " — PHANTOM data, not patients" if self.phantom else ""
        return f"{self.backbone}: ETAB {self.value:.3f} [{self.low:.3f}, {self.high:.3f}]{made}"

    def __repr__(self) -> str:
        """Show the score and its table, as a terminal can."""
        lines = [self._title(), f"  etab2022 {self.etab2022:.3f}"]
        for row in self.tasks:
            lines.append(
                f"  {row['task']:<10}{row['metric']:<8}{row['value']:9.3f}  [{row['low']:.3f}, {row['high']:.3f}]  "
                f"{row['patients']} patients  {row['title']}"
            )
        lines += [f"  {self.incomplete}"] if self.incomplete else []
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Show the score and its table, as a notebook can."""
        cells = "".join(
            f"<tr><td>{html.escape(r['task'])}</td><td>{html.escape(r['title'])}</td><td>{html.escape(r['metric'])}</td>"
            f"<td>{r['value']:.3f}</td><td>[{r['low']:.3f}, {r['high']:.3f}]</td><td>{r['patients']}</td></tr>"
            for r in self.tasks
        )
        head = "".join(
            f"<th>{w}</th>" for w in ("task", "", "metric", "value", "95 % interval", "patients")
        )
        said = f"<p>{html.escape(self.incomplete)}</p>" if self.incomplete else ""
        return (
            f"<p><b>{html.escape(self._title())}</b></p>{said}<table><tr>{head}</tr>{cells}</table>"
        )


def _card(backbone: Any, size: int, name: str, version: str) -> BackboneCard:
    if isinstance(backbone, BackboneCard | str):
        if name or version:
            raise UnsupportedOptionError(
                "name= and version= are for a function or torch module; a card or a named backbone has its own."
            )
        return backbone if isinstance(backbone, BackboneCard) else backbones.card(backbone)
    own = getattr(backbone, "__name__", type(backbone).__name__)
    return backbones.from_callable(name or f"callable/{own}", backbone, size=size, version=version)


def evaluate(
    backbone: Any,
    *,
    tasks: str | Iterable[str] | None = None,
    root: Path | str | None = None,
    protocol: str = "cv5",
    size: int = 224,
    results: Path | str | None = None,
    cache: Path | str | None = None,
    device: str = "cpu",
    precision: str = "auto",
    seed: int = 0,
    aggregate: str | None = None,
    skip_bad: bool = False,
    name: str = "",
    version: str = "",
) -> Score:
    """Score one backbone: a name, a card, or any callable that maps a float tensor (n, 3, size, size) to features.

    ``tasks`` are codes, prefixes or a dataset's name; None is every CAMUS task. ``root`` is the data folder (None: the
    documented order of places). Cells are saved under ``results`` when given, and read back instead of computed when
    they are already there. ``aggregate`` names another rule to put the rows of a recording or patient together by.
    ``skip_bad`` leaves out recordings that cannot be read, and the score says so. ``name`` is what results call a
    function or torch module; stored features and results of another one are refused, which weights and code tell. Code
    that cannot be read needs a ``version`` for ``cache`` and ``results`` to be read back. Raises UnknownNameError,
    DataNotFoundError, LayoutError, CorruptFileError, WeightsError.
    """
    card = _card(backbone, size, name, version)
    place = Path(results) if results is not None else Path(tempfile.mkdtemp(prefix="etab-"))
    settings = Settings(
        root=None if root is None else Path(root),
        results=place,
        cache=None if cache is None else Path(cache),
        device=str(device),
        precision=precision,
        skip_bad=skip_bad,
    )
    failures: list[str] = []
    runs = plan(
        tasks_at(tasks, settings.root),
        [card],
        protocols=(protocol,),
        seed=seed,
        aggregate=aggregate,
    )
    settings = settings.needing(code for run in runs for code in run.row.parts)
    data = Data(settings)
    require_ready(runs, settings, data)
    cells = serial(runs, settings, lambda e: _collect(e, failures), data)
    if failures:
        raise EtabError("; ".join(failures))
    return score_of(card.name, cells, place, protocol=runs[0].protocol_name, seed=seed)


def _collect(event: Event, failures: list[str]) -> None:
    if event.kind == "failed":
        failures.append(f"{event.backbone}: {event.error}")


def score_of(
    backbone: str, cells: Sequence[Result], place: Path, *, protocol: str, seed: int = 0
) -> Score:
    """Make a Score of finished cells of one backbone."""
    codes = tuple(t.code for t in find([r.task for r in cells]))
    suite = suites.Suite(name="asked", version=1, tasks=codes)
    board = leaderboard.rank(cells, suite, tasks=TASKS, folder=place, protocol=protocol, seed=seed)
    row = next(r for r in board.rows if r.backbone == backbone)
    table = tuple(
        {
            "task": r.task,
            "title": TASKS[r.task].title,
            "metric": r.metric,
            "value": r.value,
            "low": r.low,
            "high": r.high,
            "patients": r.n_patients,
        }
        for r in sorted(cells, key=lambda r: codes.index(r.task))
    )
    return Score(
        backbone,
        row.etab,
        row.low,
        row.high,
        row.etab2022,
        cells[0].phantom,
        table,
        tuple(cells),
        " ".join(notes.incomplete(cells)),
    )
