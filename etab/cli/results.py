"""The command ``etab results``: the cells of a folder, or their clinical read-outs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etab.cli.options import JsonOption
from etab.cli.words import say, say_left_out

if TYPE_CHECKING:
    from etab.metrics.clinical import Readout
    from etab.results import Result


def results_command(
    results: Annotated[Path, typer.Argument(help="Folder of results.")] = Path("results"),
    clinical: Annotated[
        bool,
        typer.Option(
            "--clinical",
            help="Show bias by range, agreement, reclassification, calibration, surface distances "
            "and timing errors, each with an interval over patients; with --root also volumes.",
        ),
    ] = False,
    root: Annotated[
        Path | None,
        typer.Option(
            help="With --clinical: folder of the data, or the description of your own table: for "
            "volumes of the left ventricle from kept masks, and for subgroups by sex, age, pregnancy, "
            "image quality, frame rate, place and database, and by `subgroups` of the table."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the results of a folder, or their clinical read-outs.

    Every number is computed from the stored predictions. A record that states another number is
    left out, and the first such record is named.
    """
    from etab.cli import show
    from etab.errors import DataNotFoundError, EtabError, UnsupportedOptionError
    from etab.leaderboard.plain import FolderCells, cell_order, checked_cells, refuse_unusable
    from etab.results import read_results
    from etab.tasks.own import use_results

    if root is not None and not clinical:
        raise UnsupportedOptionError("--root works only with --clinical; give both or neither.")
    use_results(results, say_left_out)
    files = read_results(results)
    if not files.results and not files.problems:
        raise DataNotFoundError(f"{results} holds no result files. Pass the folder of a run.")
    if clinical:
        # Read-outs are computed from the predictions, whatever else a record says.
        listed = FolderCells(tuple(sorted(files.results, key=cell_order)), ())
    else:
        listed = checked_cells(files.results, results)
    problems = [*files.problems, *listed.problems]
    refuse_unusable(results, listed.results, problems)
    if problems:
        total = len(files.problems) + len(files.results)
        say(f"{len(problems)} of {total} files are left out. The first: {problems[0]}", error=True)
    cells = listed.results
    if not clinical and not as_json:
        show.noted_cells(cells)
        return
    readouts_of: dict[tuple[str, ...], list[Readout]] = {}
    whole: list[Result] = []
    for cell in cells:
        try:
            readouts_of[_name(cell)] = [*_readouts(cell, results, clinical)]
            whole.append(cell)
        except EtabError as error:
            say(f"{cell.path(results)} is left out: {error}", error=True)
    if root is not None:
        for cell, rows in chain(_volumes(whole, results, root), _subgroups(whole, results, root)):
            readouts_of[_name(cell)] += rows
    if as_json:
        plain = {
            " ".join(name): [asdict(row) for row in rows] for name, rows in readouts_of.items()
        }
        typer.echo(json.dumps(plain, indent=1))
        return
    header = (
        "task",
        "backbone",
        "protocol",
        "head",
        "seed",
        "number",
        "value",
        "unit",
        "95 % interval",
        "rows",
    )
    lines = [(*name, *_line(row)) for name, rows in readouts_of.items() for row in rows]
    show.table("clinical read-outs", header, lines)


def _name(cell: Result) -> tuple[str, str, str, str, str]:
    return cell.task, cell.backbone, cell.protocol, cell.head, f"s{cell.seed}"


def _readouts(cell: Result, folder: Path, clinical: bool) -> Sequence[Readout]:
    """The score of a cell, or its clinical read-outs."""
    from etab.datasets import cards
    from etab.leaderboard.admission.ranges import scorable_predictions
    from etab.leaderboard.plain import cell_unit
    from etab.leaderboard.summary import target_of
    from etab.metrics.clinical import Readout, readouts
    from etab.metrics.columns import ScoredRows
    from etab.metrics.heart_sounds import TIMING_COLUMNS
    from etab.tasks.menu import TASKS
    from etab.tasks.words import metric_unit
    from etab.types import Kind

    unit = cell_unit(cell, cards())
    if not clinical:
        return [Readout(cell.metric, cell.value, cell.low, cell.high, cell.n_test, unit)]
    task = TASKS[cell.task]
    rows = ScoredRows.of(scorable_predictions(cell, folder))
    if task.kind is Kind.STATES and not set(TIMING_COLUMNS) <= set(rows.columns):
        return []  # made before the timing of sounds was kept
    of_errors = metric_unit("bias", target_of(cell.task, cards()))
    return readouts(rows, ejection=task.target == "EF", unit=of_errors, seed=cell.seed)


def _volumes(
    cells: Sequence[Result], folder: Path, root: Path
) -> Iterator[tuple[Result, list[Readout]]]:
    """Volumes of the left ventricle, of the cells whose masks lie beside their records."""
    from etab.errors import EtabError
    from etab.runs.volumes import volumes_of

    noted: set[str] = set()
    for cell, rows in volumes_of(cells, folder, root):
        if not isinstance(rows, EtabError):
            yield cell, rows
        elif cell.dataset not in noted:
            noted.add(cell.dataset)
            say(f"Volumes are left out: {rows}", error=True)


def _subgroups(
    cells: Sequence[Result], folder: Path, root: Path
) -> Iterator[tuple[Result, list[Readout]]]:
    """The metric of each cell in subgroups of its patients, and the worst of the large ones."""
    from etab.datasets import cards
    from etab.leaderboard.plain import cell_unit
    from etab.runs.subgroups import patient_groups, subgroups_of
    from etab.tasks.own import folder_of_data

    root = folder_of_data(root, {cell.dataset for cell in cells})
    noted: set[str] = set()
    for dataset in sorted({cell.dataset for cell in cells}):
        groups = patient_groups(dataset, root)
        for cell in cells:
            if cell.dataset != dataset:
                continue
            table = subgroups_of(cell, folder, groups)
            if table.note and cell.dataset not in noted:
                noted.add(cell.dataset)
                say(table.note, error=True)
            unit = cell_unit(cell, cards())
            rows = [
                replace(row, name=f"{cell.metric}, {row.name}", unit=unit) for row in table.rows
            ]
            if table.worst is not None:
                title = f"{cell.metric}, worst group ({table.worst.name})"
                rows.append(replace(table.worst, name=title, unit=unit))
            yield cell, rows


def _line(row: Readout) -> tuple[str, str, str, str, str]:
    value = "" if row.value is None else f"{row.value:.3f}"
    interval = ""
    if row.low is not None and row.high is not None:
        interval = f"{row.low:.3f} to {row.high:.3f}"
    return row.name, value, row.unit, interval, str(row.n)
