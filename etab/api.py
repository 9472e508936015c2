"""One call from Python: ``etab.evaluate(backbone, tasks=..., root=...)`` gives a Score."""

from __future__ import annotations

import html
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etab import backbones, datasets
from etab.backbones.base import BackboneCard
from etab.datasets.base import Source
from etab.datasets.own.classes import is_class_file
from etab.datasets.own.description import Description
from etab.errors import EtabError, EtabWarning, UnsupportedOptionError
from etab.leaderboard import notes, suites
from etab.leaderboard import ranking as leaderboard
from etab.leaderboard.plain import cell_unit
from etab.options import path_option, require_flag
from etab.results import Result
from etab.results.names import wrong_own_name
from etab.runs.data import Data, tasks_at
from etab.runs.events import Event
from etab.runs.execute import finished, require_ready
from etab.runs.executors import serial
from etab.runs.run import Settings, plan
from etab.runs.sweep import tell_read_only_cache
from etab.storage.atomic import require_writable
from etab.tasks.codes import BOARD_PROTOCOL
from etab.tasks.menu import TASKS, find
from etab.tasks.own import use_own_data
from etab.tasks.words import with_unit


@dataclass(frozen=True, slots=True)
class Score:
    """The score of a backbone on some tasks.

    Attributes:
        backbone: Name of the backbone.
        value: The ETAB score: the mean of anchored metrics, 0 for the trivial predictor, 1 for
            the named reference. It may be negative or exceed 1.
        low: Lower end of the 95 % interval of ``value``, over resamples of the patients.
        high: Upper end of the interval.
        etab2022: The mean of raw metrics, as the score was defined in 2022.
        phantom: Whether the data are made up, and not of patients.
        tasks: A row for each task, with the keys task, title, metric, unit, value, low,
            high, patients.
        results: The full record of each task.
        incomplete: What ``skip_bad`` left out, in one sentence; "" for a score on all data.
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
                f"  {row['task']:<10}{_metric(row):<14}{row['value']:9.3f}  "
                f"[{row['low']:.3f}, {row['high']:.3f}]  {row['patients']} patients  {row['title']}"
            )
        lines += [f"  {self.incomplete}"] if self.incomplete else []
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Show the score and its table, as a notebook can."""
        cells = "".join(
            f"<tr><td>{html.escape(row['task'])}</td><td>{html.escape(row['title'])}</td>"
            f"<td>{html.escape(_metric(row))}</td><td>{row['value']:.3f}</td>"
            f"<td>[{row['low']:.3f}, {row['high']:.3f}]</td><td>{row['patients']}</td></tr>"
            for row in self.tasks
        )
        head = "".join(
            f"<th>{w}</th>" for w in ("task", "", "metric", "value", "95 % interval", "patients")
        )
        note = f"<p>{html.escape(self.incomplete)}</p>" if self.incomplete else ""
        return (
            f"<p><b>{html.escape(self._title())}</b></p>{note}<table><tr>{head}</tr>{cells}</table>"
        )


def _card(backbone: Any, size: int | None, fit: str, name: str, version: str) -> BackboneCard:
    """The card of a backbone that is given by its name, as a card, or as a callable."""
    if name:
        backbones.require_own_name(name)
    if isinstance(backbone, BackboneCard | str):
        if version:
            raise UnsupportedOptionError(
                "version= is for a function or torch module; a card or a named backbone has its "
                "own."
            )
        card = backbone if isinstance(backbone, BackboneCard) else backbones.card(backbone)
        if name:
            card = backbones.renamed(card, name)
        return backbones.sized(card, size, fit)
    card = backbones.from_callable(
        name or backbones.name_of_function(backbone), backbone, size=size or 224, version=version
    )
    return backbones.sized(card, None, fit)


def evaluate(
    backbone: Any,
    *,
    tasks: str | Iterable[str] | None = None,
    root: Path | str | None = None,
    protocol: str | None = None,
    size: int | None = None,
    fit: str = "squash",
    results: Path | str | None = None,
    cache: Path | str | None = None,
    device: str = "cpu",
    precision: str = "auto",
    seed: int = 0,
    aggregate: str | None = None,
    skip_bad: bool = False,
    name: str = "",
    version: str = "",
    data: Path | str | type[Source] | None = None,
) -> Score:
    """Score one backbone on some tasks.

    Args:
        backbone: The name of a backbone, a card, or any callable that maps a float tensor
            (n, 3, size, size) with values in [0, 1] to features (n, d).
        tasks: Codes, prefixes or the name of a dataset; None for every task of CAMUS, or of the
            table of ``data``.
        root: Folder of the data; None for the documented places (ETAB_CAMUS_DIR, ETAB_DATA, ...).
        protocol: "cv5x5" for five divisions of the patients into five folds, "cv5" for one,
            "official" for the authors' split, or any other protocol of the tasks. None for
            "cv5x5", or for "cv5" where the tasks are fitted on another dataset.
        size: Side of the input in pixels; None for the size of the backbone, which is 224 for a
            callable. Another size stands in the name of the backbone: "mobilenetv2@448".
        fit: How frames that are not squares become squares: "squash" ignores the aspect ratio,
            "letterbox" keeps it and adds a black border, "crop" keeps it and cuts out the middle.
            It stands in the name too: "mobilenetv2@448+letterbox".
        results: Folder to save finished cells in. A cell that is already there is read instead of
            computed. None saves in a temporary folder.
        cache: Folder to keep features in; None keeps none.
        device: Any device of torch: "cpu", "cuda", "cuda:1", ...
        precision: "auto", "fastest" or one of ``etab.precisions.NAMED``. "auto" is bf16 where
            the hardware computes it.
        seed: Seed of folds, heads and resamples, 0 or more.
        aggregate: Another rule to combine the rows of a recording or patient; None for the rule
            of each task.
        skip_bad: Leave out recordings that cannot be read. The score then lists what is missing.
        name: What results call the backbone; "" for the name that it is given by. Stored features
            and results of another backbone with the same name are refused.
        version: What identifies the code of a function, if its source cannot be read.
        data: Recordings of your own: the description of a table, such as ``clinic.toml``, which
            names the folder of its files itself, so that ``root`` is left out; or a Source class,
            or a Python file with one, with its folder as ``root``.

    Returns:
        The score, with its interval over patients and the record of each task.

    Raises:
        UnknownNameError: If no task or backbone has a name that was given.
        UnsupportedOptionError: If the device is absent or an option cannot be obeyed.
        IncompatibleError: If the backbone, a task and the protocol do not fit together.
        DataNotFoundError: If no folder of the data is found.
        LayoutError: If the folder is not laid out as its dataset was published.
        CorruptFileError: If a file cannot be read.
        EtabError: If the backbone fails; the message holds the type and text of its error.

    Example:
        >>> import tempfile
        >>> from etab import phantom
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = phantom.write(Path(folder), patients=10, names=("camus",))
        ...     score = evaluate("image_stats", tasks="b0-A4-C", root=Path(folder) / "camus")
        >>> score.phantom, score.tasks[0]["metric"], score.tasks[0]["patients"]
        (True, 'mae', 10)
    """
    if data is not None:
        own = _own_data(data, root)
        tasks = own.name if tasks is None else tasks
        root = own.folder
    card = _card(backbone, size, fit, name, version)
    folder = None if results is None else path_option("results", results)
    problem = "" if folder is None else wrong_own_name(card.name)
    if problem:
        warnings.warn(
            f"No board will show these results: {problem}. Give it a name of your own: name=...",
            EtabWarning,
            stacklevel=2,
        )
    require_flag("skip_bad", skip_bad)
    settings = Settings(
        root=None if root is None else path_option("root", root),
        results=Path(tempfile.mkdtemp(prefix="etab-")) if folder is None else folder,
        cache=None if cache is None else path_option("cache", cache),
        device=str(device),
        precision=precision,
        skip_bad=skip_bad,
        data=None if data is None or isinstance(data, type) else Path(data),
    )
    codes = tasks_at(tasks, settings.root)
    runs = plan(
        codes,
        [card],
        protocols=(protocol or _usual_protocol(codes),),
        seed=seed,
        aggregate=aggregate,
    )
    settings = settings.needing(code for run in runs for code in run.row.parts).absolute()
    opened = Data(settings)
    require_ready(runs, settings, opened)
    if any(finished(run, settings, opened) is None for run in runs):
        require_writable(settings.results)
        tell_read_only_cache(settings.cache)
    failures: list[str] = []
    cells = serial(runs, settings, lambda event: _collect(event, failures), opened)
    if failures:
        raise EtabError("; ".join(failures))
    return score_of(card.name, cells, settings.results, protocol=runs[0].protocol_name, seed=seed)


def _own_data(data: Path | str | type[Source], root: Path | str | None) -> Description:
    """Register a user's own data; a table names the folder of its files itself."""
    if isinstance(data, type) or is_class_file(path_option("data", data)):
        return use_own_data(data, root)
    if root is not None:
        raise UnsupportedOptionError(
            f"{data} names the folder of its files itself (folder = ...); leave out root=."
        )
    return use_own_data(data)


def _usual_protocol(tasks: str | Iterable[str] | None) -> str:
    """Choose the protocol of the boards; one division for tasks fitted on another dataset."""
    if all(task.fit_on for task in find(tasks)):
        return "cv5"
    return BOARD_PROTOCOL


def _collect(event: Event, failures: list[str]) -> None:
    if event.kind == "failed":
        failures.append(f"{event.backbone}: {event.error}")


def score_of(
    backbone: str, cells: Sequence[Result], folder: Path, *, protocol: str, seed: int = 0
) -> Score:
    """Make a score of finished cells.

    Args:
        backbone: The backbone of the cells.
        cells: A finished cell for each task.
        folder: The folder that their predictions are saved in.
        protocol: The protocol of the cells.
        seed: The seed of the cells.

    Returns:
        The score over the tasks of the cells.
    """
    codes = tuple(task.code for task in find([cell.task for cell in cells]))
    suite = suites.Suite(name="asked", version=1, tasks=codes)
    board = leaderboard.rank(
        cells, suite, tasks=TASKS, folder=folder, protocol=protocol, seed=seed, with_seen=True
    )
    row = next(row for row in board.rows if row.backbone == backbone)
    in_order = sorted(cells, key=lambda cell: codes.index(cell.task))
    return Score(
        backbone=backbone,
        value=row.etab,
        low=row.low,
        high=row.high,
        etab2022=row.etab2022,
        phantom=cells[0].phantom,
        tasks=tuple(_row(cell) for cell in in_order),
        results=tuple(cells),
        incomplete=" ".join(notes.incomplete(cells)),
    )


def _metric(row: Mapping[str, Any]) -> str:
    """The metric of a row of the table of a score, with its unit."""
    return with_unit(row["metric"], row["unit"])


def _row(cell: Result) -> dict[str, Any]:
    """A row of the table of a score."""
    return {
        "task": cell.task,
        "title": TASKS[cell.task].title,
        "metric": cell.metric,
        "unit": cell_unit(cell, datasets.cards()),
        "value": cell.value,
        "low": cell.low,
        "high": cell.high,
        "patients": cell.n_patients,
    }
