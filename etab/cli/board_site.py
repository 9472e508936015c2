"""The files that ``etab leaderboard`` writes, and what its site shows beyond the board."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from etab.cli.words import say, wrote
from etab.storage.text import counted

if TYPE_CHECKING:
    from etab.leaderboard.board import Board
    from etab.leaderboard.curves import CurvePoint
    from etab.metrics.clinical import Readout
    from etab.results import Result
    from etab.runs.subgroups import PatientGroups
    from etab.site.examples import Drawn

Holders = Mapping[str, tuple[str, ...]]
"""Names of the folders that hold results of a backbone, by its name; empty for one folder."""

Progress = Callable[[int, int], None] | None
"""Called with (patients made, patients in all) while a phantom is made; None for no progress."""


@dataclass(frozen=True, slots=True)
class SiteExtras:
    """Contents of a site besides the board.

    Attributes:
        examples: Clips and sounds by backbone.
        curves: Points of label efficiency.
        subgroups: Scores in subgroups of patients, by backbone and task code.
        group_notes: What a reader must know about the data that define the subgroups.
    """

    examples: Drawn = field(default_factory=dict)
    curves: Sequence[CurvePoint] = ()
    subgroups: Mapping[tuple[str, str], Sequence[Readout]] = field(default_factory=dict)
    group_notes: tuple[str, ...] = ()


def is_site(html: Path | None) -> bool:
    """Whether ``--html`` names the folder of a site, not the file of one page.

    Args:
        html: What was given with ``--html``.
    """
    return html is not None and html.suffix.lower() not in (".html", ".htm")


def refuse_without_site(
    html: Path | None,
    with_examples: bool,
    root: Path | None,
    subgroups: Path | None,
    curves: Path | None,
) -> None:
    """Refuse options of a site where none is written.

    Args:
        html: What was given with ``--html``.
        with_examples: Whether ``--with-examples`` was given.
        root: What was given with ``--root``.
        subgroups: What was given with ``--subgroups``.
        curves: What was given with ``--curves``.

    Raises:
        UnsupportedOptionError: If an option has no effect.
    """
    from etab.errors import UnsupportedOptionError

    if is_site(html):
        return
    if with_examples or root is not None:
        raise UnsupportedOptionError(
            "--with-examples and --root put clips into a site: give --html FOLDER."
        )
    if subgroups is not None:
        raise UnsupportedOptionError(
            "--subgroups puts scores of groups into a site: give --html FOLDER. "
            "`etab results FOLDER --clinical --root DATA` lists them in the terminal."
        )
    if curves is not None:
        raise UnsupportedOptionError(
            "--curves puts label efficiency into a site: give --html FOLDER. `etab curve FOLDER` "
            "lists it in the terminal."
        )


def site_extras(
    board: Board,
    folder: Path,
    html: Path | None,
    with_examples: bool,
    root: Path | None,
    subgroups: Path | None,
    curves: Path | None,
) -> SiteExtras:
    """Collect what a site shows beyond the board; nothing where no site is written.

    Args:
        board: The board.
        folder: The folder of results.
        html: What was given with ``--html``.
        with_examples: Whether pictures of patients are wanted.
        root: Folder of the data of the pictures.
        subgroups: Folder of the data, or a file of subgroups.
        curves: A file of label efficiency.

    In place of a folder, the description of a user's own table may be given.

    Returns:
        Examples, curves and subgroups.
    """
    from etab.cli import show
    from etab.tasks.own import folder_of_data

    used = {cell.dataset for row in board.rows for cell in row.cells.values()}
    root = None if root is None else folder_of_data(root, used)
    subgroups = None if subgroups is None else folder_of_data(subgroups, used)
    # Clips and subgroups of a phantom are of one tree, which is made once.
    with (
        tempfile.TemporaryDirectory(prefix="etab-phantom-") as name,
        show.late_bar("phantom patients for clips and subgroups") as progress,
    ):
        made = Path(name)
        examples = _examples(board, folder, html, with_examples, root, made, progress)
        if html is None or not is_site(html):
            return SiteExtras()
        scores, notes = board_subgroups(board, folder, subgroups, made, progress)
    points = _curves(folder, board.seed) if curves is None else _kept_curves(curves, board)
    return SiteExtras(examples, points, scores, notes)


def _kept_curves(path: Path, board: Board) -> list[CurvePoint]:
    """Points of a file, as far as they are of the tasks and the backbones of a board."""
    from etab.errors import ResultError
    from etab.leaderboard.curves import read_curves

    tasks = {code for row in board.rows for code in row.cells}
    names = {row.backbone for row in board.rows}
    points = [one for one in read_curves(path) if one.task in tasks and one.backbone in names]
    if not points:
        raise ResultError(
            f"{path} holds no point of a task and a backbone of this board. Give --curves the file "
            "that `etab curve RESULTS --csv FILE` wrote for them."
        )
    if any(point.phantom != board.phantom for point in points):
        raise ResultError(f"{path} mixes phantoms and patients with this board; give another file.")
    return points


def _examples(
    board: Board,
    folder: Path,
    html: Path | None,
    with_examples: bool,
    root: Path | None,
    made: Path,
    progress: Progress,
) -> Drawn:
    """Clips for a site: of patients where they are asked for, of phantoms always."""
    from etab.errors import UnsupportedOptionError

    if root is not None and not with_examples and not board.phantom:
        raise UnsupportedOptionError(
            "--root names data of patients; their pictures are put into a site with "
            "--with-examples only."
        )
    is_wanted = with_examples or board.phantom
    if not is_wanted or not is_site(html):
        return {}
    from etab.site.examples import draw_examples

    examples = draw_examples(board, folder, root, made, progress)
    if with_examples and not examples:
        say("No masks or states lie beside the results, so the site has no examples.", error=True)
    return examples


def _curves(folder: Path, seed: int) -> list[CurvePoint]:
    """Points of label efficiency of a folder; none where it has no cell with few labels."""
    from etab.errors import DataNotFoundError
    from etab.leaderboard.curves import curve_points
    from etab.storage.listing import walked

    # The name of a record holds its protocol: a folder without such cells is not read again.
    names = chain.from_iterable(files for _, _, files in walked(folder))
    if not any("pct-" in name or "shot-" in name for name in names if name.endswith(".json")):
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the board names the files that are set aside
        try:
            return curve_points(folder, seed=seed)
        except DataNotFoundError:
            return []


def board_subgroups(
    board: Board,
    folder: Path,
    where: Path | None,
    made: Path | None = None,
    progress: Progress = None,
) -> tuple[dict[tuple[str, str], list[Readout]], tuple[str, ...]]:
    """Compute or read the scores of a board in subgroups of its patients.

    Args:
        board: The board.
        folder: The folder of results.
        where: Folder of the data, or a file of subgroups. Without it, a board of patients has no
            subgroups, and those of a phantom board are computed on the phantom beside the results.
        made: A folder in which phantoms are made; None makes them in a temporary one.
        progress: Called with (patients made, patients in all) while a phantom is made.

    Returns:
        Read-outs by backbone and task code, and what a reader must know about the data that define the
        groups.

    Raises:
        EtabError: If the data or the file cannot be used, or are not those of the results.
    """
    from etab.errors import UnsupportedOptionError
    from etab.site.subgroups import read_subgroups

    if where is None and not board.phantom:
        return {}, ()
    if where is None or where.is_dir():
        return _computed(board, folder, where, made, progress)
    if where.suffix.lower() != ".json":
        raise UnsupportedOptionError(
            f"--subgroups {where} is neither a folder of data nor a file that ends in .json."
        )
    kept = read_subgroups(where, board)
    if kept.n_other:
        say(
            f"{where} holds {counted(kept.n_other, 'cell')} of other predictions than those of "
            "the board, "
            "left out here. Give --subgroups the folder of the data to compute them again.",
            error=True,
        )
    return kept.cells, kept.notes


def _computed(
    board: Board, folder: Path, root: Path | None, made: Path | None, progress: Progress
) -> tuple[dict[tuple[str, str], list[Readout]], tuple[str, ...]]:
    """The scores in subgroups of every cell, from the data in a folder."""
    from etab.errors import UndefinedError
    from etab.runs.subgroups import subgroups_of

    computed: dict[tuple[str, str], list[Readout]] = {}
    notes: dict[str, None] = {}
    with tempfile.TemporaryDirectory(prefix="etab-phantom-") as own:
        groups = _groups_of_datasets(board, folder, root, made or Path(own), progress)
        for row in board.rows:
            for code, cell in row.cells.items():
                of_dataset = groups.get(cell.dataset)
                if of_dataset is None:
                    continue
                try:
                    table = subgroups_of(cell, folder, of_dataset)
                except UndefinedError:
                    continue  # the metric exists for all patients, and for no group of them
                computed[row.backbone, code] = list(table.rows)
                if table.note:
                    notes[table.note] = None
    return computed, tuple(notes)


def _groups_of_datasets(
    board: Board, folder: Path, root: Path | None, made: Path, progress: Progress
) -> dict[str, PatientGroups]:
    """The groups of the patients of each dataset, without phantoms that cannot be made again."""
    from etab.runs.subgroups import groups_of_source, patient_groups
    from etab.site.phantom_data import phantom_source

    cells: dict[str, list[Result]] = {}
    for row in board.rows:
        for cell in row.cells.values():
            cells.setdefault(cell.dataset, []).append(cell)
    groups: dict[str, PatientGroups] = {}
    for dataset, of_dataset in cells.items():
        if root is not None:
            groups[dataset] = patient_groups(dataset, root)
            continue
        source = phantom_source(dataset, of_dataset, folder, made / dataset, progress)
        if source is not None:
            groups[dataset] = groups_of_source(source)
    return groups


@dataclass(frozen=True)
class BoardFiles:
    """The files that a board is written to; None for none.

    Attributes:
        markdown: File for Markdown.
        csv: File for CSV.
        html: Folder for a site, or a file for one page.
        numbers: File for every number without rounding, as JSON.
    """

    markdown: Path | None
    csv: Path | None
    html: Path | None
    numbers: Path | None


def write_board(board: Board, files: BoardFiles, holders: Holders, extras: SiteExtras) -> None:
    """Write a board to the files that the options name.

    Args:
        board: The board.
        files: The files.
        holders: Names of the folders that hold each backbone.
        extras: What a site shows beyond the board.
    """
    if files == BoardFiles(None, None, None, None):
        return
    from etab import datasets
    from etab.leaderboard.numbers import board_json
    from etab.leaderboard.page import board_page
    from etab.leaderboard.render import board_csv, board_markdown
    from etab.site.write import write_site
    from etab.storage.atomic import write_atomically

    cards = datasets.cards()
    written: list[str] = []  # at the end: what reads the output may end after its first line
    if files.markdown is not None:
        written.append(wrote(files.markdown))
        write_atomically(files.markdown, board_markdown(board, cards))
    if files.csv is not None:
        written.append(wrote(files.csv))
        write_atomically(files.csv, board_csv(board, cards))
    if files.numbers is not None:
        written.append(wrote(files.numbers))
        write_atomically(files.numbers, board_json(board, cards))
    html = files.html
    if html is not None and not is_site(html):
        written.append(wrote(html))
        write_atomically(html, board_page(board, cards))
    elif html is not None:
        index = wrote(html / "index.html")
        size = write_site(
            board,
            cards,
            html,
            folders=holders,
            examples=extras.examples,
            curves=extras.curves,
            subgroups=extras.subgroups,
            group_notes=extras.group_notes,
        )
        written.append(f"{index} ({size / 1e6:.1f} MB in the folder)")
    say("\n".join(written))
