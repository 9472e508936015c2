"""The command ``etab leaderboard``: the ranks of a folder of results, or its cells."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etab.cli.words import say, say_left_out, weights, wrote
from etab.files import is_file, read_file, resolved

if TYPE_CHECKING:
    from etab.cli.board_site import Holders
    from etab.datasets.own.description import Description
    from etab.leaderboard.board import Board
    from etab.leaderboard.remembered import BoardMemory
    from etab.leaderboard.suites import Suite
    from etab.results import Result
    from etab.results.merge import Merged


def leaderboard_command(
    results: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folder of results. Several folders are merged, and the board lists them. "
            "[default: results]"
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="Name of a packaged suite, or a .toml file. [default: the first suite that some "
            "backbone completes; without one, a plain table of the cells]"
        ),
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Rank on these tasks instead: codes, prefixes or datasets, separated by commas."
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Protocol of the results: official, cv5, lists:FILE, ... [default: the one with "
            "most results]"
        ),
    ] = None,
    with_published: Annotated[
        bool,
        typer.Option(
            "--with-published", help="Add the published results; needs a checkout of the project."
        ),
    ] = False,
    markdown: Annotated[Path | None, typer.Option(help="Write Markdown to this file.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write CSV to this file.")] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            help="Write a site of static pages to this folder; a name that ends in .html gets one "
            "self-contained page."
        ),
    ] = None,
    numbers: Annotated[
        Path | None,
        typer.Option(
            help="Write every number of the board to this file as JSON, without rounding. It also "
            "holds P(row above column), reliabilities and intervals of differences."
        ),
    ] = None,
    with_examples: Annotated[
        bool,
        typer.Option(
            "--with-examples",
            help="Put clips with predicted and true contours into the site of --html. They are "
            "pictures of patients: check the licence of the data before you publish them.",
        ),
    ] = False,
    root: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the data for --with-examples, or the description of your own table. "
            "The site of a phantom board has clips without this option."
        ),
    ] = None,
    subgroups: Annotated[
        Path | None,
        typer.Option(
            help="Add scores by sex, age, pregnancy, image quality, frame rate, place and database "
            "to the site, and by `subgroups` of your own table: the folder of the data, "
            "clinic.toml, or the file data/subgroups.json of an earlier site."
        ),
    ] = None,
    curves: Annotated[
        Path | None,
        typer.Option(
            help="Add label efficiency to the site from a file of `etab curve --csv`. Without this "
            "option, the site shows it if the folder holds results with few labelled patients."
        ),
    ] = None,
    task_weight: Annotated[
        list[str], typer.Option(help="CODE=WEIGHT of a task; may be given several times.")
    ] = [],  # noqa: B006
    category_weight: Annotated[
        list[str], typer.Option(help="LETTER=WEIGHT of a category; may be given several times.")
    ] = [],  # noqa: B006
    with_seen: Annotated[
        bool,
        typer.Option("--with-seen", help="Also rank backbones that were pretrained on test data."),
    ] = False,
    precision: Annotated[
        list[str],
        typer.Option(
            help="A precision with a backend, such as bf16-openvino, whose results are ranked "
            "beside those of fp32 and bf16. May be given several times."
        ),
    ] = [],  # noqa: B006
    seed: Annotated[int, typer.Option(min=0, help="Seed of the results and resamples.")] = 0,
    variants: Annotated[
        list[Path],
        typer.Option(
            help="Folder with results of the same cells at another precision, head or seed, or on "
            "another release of the data; the board shows the difference. May be given several "
            "times."
        ),
    ] = [],  # noqa: B006
    recompute: Annotated[
        bool,
        typer.Option(
            "--recompute",
            help="Check and compute everything again, even if no file has changed.",
        ),
    ] = False,
) -> None:
    """Rank the backbones whose results are in a folder, or list its cells.

    A damaged result file is set aside, and the board says which one and why. The board of a folder
    that has not changed since it was checked is shown again without computing it.
    """
    from etab.cli import show
    from etab.cli.board_site import BoardFiles, refuse_without_site, site_extras, write_board
    from etab.cli.words import protocol_in_results
    from etab.tasks.own import use_results

    protocol = protocol_in_results(protocol)
    refuse_without_site(html, with_examples, root, subgroups, curves)
    folders = results or [Path("results")]
    choice = _Choice(
        suite=suite,
        tasks=tasks,
        protocol=protocol,
        seed=seed,
        task_weights=weights(task_weight),
        category_weights=weights(category_weight),
        variants=tuple(variants),
        with_seen=with_seen,
        precisions=tuple(precision),
    )
    with _joined(folders, with_published) as (folder, merged):
        holders = merged.holders
        own = use_results(folder, say_left_out)
        is_kept = html is None and not variants and not holders and not own
        memory = _memory(folder, choice) if is_kept else None
        board = memory.read() if memory is not None and not recompute else None
        if board is not None:
            say(_UNCHANGED, error=True)
        else:
            board = _ranked(folder, choice, own, merged.refused)
            if memory is not None and board is not None:
                memory.keep(board)
        if board is None:
            _refuse_empty(folder, folders)
            _refuse_idle(
                {
                    "--html": html is not None,
                    "--numbers": numbers is not None,
                    "--task-weight": bool(task_weight),
                    "--category-weight": bool(category_weight),
                    "--with-seen": with_seen,
                    "--with-examples": with_examples,
                    "--subgroups": subgroups is not None,
                    "--curves": curves is not None,
                    "--variants": bool(variants),
                    "--precision": bool(precision),
                }
            )
            _plain_table(folder, folders[0], protocol, seed, markdown, csv, merged.refused)
            return
        board = _with_folders(board, holders, folder, folders)
        extras = site_extras(board, folder, html, with_examples, root, subgroups, curves)
        write_board(board, BoardFiles(markdown, csv, html, numbers), holders, extras)
        show.board(board)
        _show_phantoms(board, folders if with_published else ())
        if tasks is not None or board.suite.name in {description.name for description in own}:
            show.cell_table([cell for row in board.rows for cell in row.cells.values()])
            return
        unranked = [cell for row in board.rows if not row.ranked for cell in row.cells.values()]
        if unranked:
            show.cell_table(unranked, "backbones without a rank")


@dataclass(frozen=True)
class _Choice:
    """The options of the command that affect the ranking, under their own names."""

    suite: str | None
    tasks: str | None
    protocol: str | None
    seed: int
    task_weights: Mapping[str, float]
    category_weights: Mapping[str, float]
    variants: tuple[Path, ...]
    with_seen: bool
    precisions: tuple[str, ...]


def _memory(folder: Path, choice: _Choice) -> BoardMemory:
    """Where the board of a folder is kept."""
    from etab.cli.cache import default_cache
    from etab.leaderboard.remembered import BoardMemory

    choices = asdict(choice)
    if choice.suite is not None and is_file(Path(choice.suite)):
        with suppress(OSError):  # who reads the suite says why it cannot be read
            choices["text of the suite"] = read_file(Path(choice.suite)).hex()
    return BoardMemory(default_cache(), folder, choices)


def _ranked(
    folder: Path, choice: _Choice, own: Sequence[Description], refused: Sequence[str]
) -> Board | None:
    """Rank the results of a folder; None where no backbone completes a suite."""
    from etab.leaderboard.plain import protocol_held
    from etab.leaderboard.ranking import rank_folder
    from etab.results import read_results

    # A named suite and protocol need no look at the results before they are ranked.
    is_named = choice.suite is not None and choice.protocol is not None
    held = () if is_named else read_results(folder).results
    chosen = _suite(choice.suite, choice.tasks, held, choice.protocol, choice.seed)
    if chosen is None:
        chosen = _own_suite(own, held)
    if chosen is None:
        return None
    return rank_folder(
        folder,
        chosen,
        protocol=choice.protocol or protocol_held(held, chosen, choice.seed),
        seed=choice.seed,
        task_weights=choice.task_weights,
        category_weights=choice.category_weights,
        variants=choice.variants,
        with_seen=choice.with_seen,
        precisions=choice.precisions,
        refused=refused,
    )


def _suite(
    suite: str | None,
    tasks: str | None,
    held: Sequence[Result],
    protocol: str | None,
    seed: int,
) -> Suite | None:
    """The suite that the options name, or the first one that the results complete."""
    from etab.errors import UnsupportedOptionError
    from etab.leaderboard.plain import suite_held
    from etab.leaderboard.suites import Suite, suite_named
    from etab.tasks.menu import find

    if suite is not None and tasks is not None:
        raise UnsupportedOptionError("--suite and --tasks both choose the tasks; give one of them.")
    if suite is not None:
        return suite_named(suite)
    if tasks is None:
        return suite_held(held, seed, protocol)
    present = {result.task for result in held}
    codes = tuple(task.code for task in find(tasks) if task.code in present)
    if not codes:
        listed = ", ".join(sorted(present)) or "none"
        raise UnsupportedOptionError(
            f"The folder has no results for --tasks {tasks}. It has results for: {listed}."
        )
    return Suite(name="tasks", version=1, tasks=codes, title=", ".join(codes))


def _own_suite(own: Sequence[Description], held: Sequence[Result]) -> Suite | None:
    """The tasks of the only user's table with results, in place of a suite."""
    from etab.leaderboard.plain import task_of
    from etab.leaderboard.suites import Suite

    if len(own) != 1:
        return None
    of_table = [result for result in held if result.dataset == own[0].name]
    codes = sorted({result.task for result in of_table if task_of(result) is not None})
    if not codes:
        return None
    return Suite(name=own[0].name, version=1, tasks=tuple(codes), title=own[0].title)


def _refuse_idle(options: Mapping[str, bool]) -> None:
    """Refuse options of a board where there is none."""
    from etab.errors import UnsupportedOptionError

    idle = [name for name, is_given in options.items() if is_given]
    if idle:
        act = "acts" if len(idle) == 1 else "act"
        raise UnsupportedOptionError(
            f"{', '.join(idle)} {act} on a board, and no backbone has every task of a suite here. "
            "Name the tasks to rank on with --tasks."
        )


def _plain_table(
    folder: Path,
    results: Path,
    protocol: str | None,
    seed: int,
    markdown: Path | None,
    csv: Path | None,
    refused: Sequence[str],
) -> None:
    """Show every cell of a folder in which no backbone completes a suite."""
    from etab import datasets
    from etab.cli import show
    from etab.errors import DataNotFoundError
    from etab.leaderboard.frames import cells_frame
    from etab.leaderboard.plain import (
        CELL_HEADER,
        cell_rows,
        cell_unit,
        folder_cells,
        refuse_unusable,
    )
    from etab.leaderboard.render import markdown_line
    from etab.storage.atomic import write_atomically

    cells = folder_cells(folder)
    shown = [
        cell for cell in cells.results if protocol in (None, cell.protocol) and cell.seed == seed
    ]
    if cells.results and not shown:
        held = sorted({f"{cell.protocol} (seed {cell.seed})" for cell in cells.results})
        raise DataNotFoundError(
            f"{results} holds no results by {protocol or 'any protocol'} with seed {seed}; it "
            f"holds results by {', '.join(held)}."
        )
    problems = [*refused, *cells.problems]
    refuse_unusable(results, cells.results, problems)
    written: list[str] = []  # at the end: what reads the output may end after its first line
    if markdown is not None:
        lines = [CELL_HEADER, ("---",) * len(CELL_HEADER), *cell_rows(shown, datasets.cards())]
        written.append(wrote(markdown))
        write_atomically(markdown, "".join(f"{markdown_line(line)}\n" for line in lines))
    if csv is not None:
        units = [cell_unit(cell, datasets.cards()) for cell in shown]
        frame = cells_frame(shown, units).map(_spreadsheet_cell)
        written.append(wrote(csv))
        write_atomically(csv, frame.to_csv(index=False))
    if written:
        say("\n".join(written))
    show.noted_cells(shown)
    say(_PLAIN.format(results=results))
    if problems:
        are = "file is" if len(problems) == 1 else "files are"
        say(f"{len(problems)} {are} left out. The first: {problems[0]}", error=True)


def _spreadsheet_cell(value: object) -> object:
    from etab.storage.text import spreadsheet_text

    return spreadsheet_text(value) if isinstance(value, str) else value


_PLAIN = (
    "These are single cells: no backbone has every task of a suite, so there is no ETAB score.\n"
    "Rank on the tasks of your choice with: etab leaderboard {results} --tasks CODE,CODE"
)


_UNCHANGED = (
    "No file has changed since this board was computed; --recompute checks and computes it again."
)


@contextmanager
def _joined(folders: Sequence[Path], with_published: bool) -> Iterator[tuple[Path, Merged]]:
    """One folder with all results, and what each of several folders holds."""
    from etab.errors import DataNotFoundError, UnsupportedOptionError
    from etab.leaderboard.admission.canonical import is_published_cell
    from etab.results.merge import Merged, merge_folders
    from etab.storage import resources

    published = None
    if with_published:
        published = resources.folder("benchmarks/results")
        if published is None:
            raise DataNotFoundError(
                "The published results are not part of an installed package. Use --with-published "
                "from a checkout of the project, which holds them in benchmarks/results."
            )
    if len(folders) == 1 and published is None:
        yield folders[0], Merged({})
        return
    if len({resolved(folder) for folder in folders}) < len(folders):
        raise UnsupportedOptionError("A folder of results is named twice; name each once.")
    with tempfile.TemporaryDirectory(prefix="etab-board-") as temporary:
        joined = Path(temporary)
        yield joined, merge_folders(folders, joined, behind=published, is_known=is_published_cell)


def _show_phantoms(board: Board, folders: Sequence[Path]) -> None:
    """Show the cells on phantoms, which a board of patients does not rank."""
    from etab.cli import show
    from etab.leaderboard.plain import checked_cells
    from etab.results.merge import phantom_results

    if board.phantom or not folders:
        return
    cells: list[Result] = []
    for folder in folders:
        phantoms = phantom_results([folder])
        shown = [cell for cell in phantoms if cell.protocol == board.protocol]
        cells += checked_cells(shown, folder).results
    if cells:
        show.cell_table(cells, "not ranked with results of patients")


def _refuse_empty(folder: Path, folders: Sequence[Path]) -> None:
    """Refuse folders that hold nothing to rank or to list."""
    from etab.errors import DataNotFoundError
    from etab.results import read_results

    files = read_results(folder)
    if not files.results and not files.problems:
        listed = " and ".join(str(one) for one in folders)
        raise DataNotFoundError(f"No result files in {listed}. Name the folder of an `etab run`.")


def _with_folders(board: Board, holders: Holders, joined: Path, folders: Sequence[Path]) -> Board:
    """The board with a first note that names its folders, where there are several."""
    from etab.results.merge import folder_names

    if not holders:
        return board
    names = {name for of_backbone in holders.values() for name in of_backbone}
    for folder, name in folder_names(folders).items():
        if name not in names:
            say(
                f"No result of {folder} is on this board. Results must be of the tasks, the "
                "protocol and the data of the board; phantoms and people are never ranked "
                "together.",
                error=True,
            )
    counts: dict[str, int] = {}
    for row in board.rows:
        for name in holders.get(row.backbone, ()):
            counts[name] = counts.get(name, 0) + 1
    listed = ", ".join(f"{name} ({count} of the backbones)" for name, count in counts.items())
    notes = [_own_paths(note, joined, folders) for note in board.notes]
    return replace(board, notes=(f"Merged from the folders {listed}.", *notes))


def _own_paths(note: str, joined: Path, folders: Sequence[Path]) -> str:
    """A note that names files where they lie, not in the folder that the results were joined in."""

    def named(match: re.Match[str]) -> str:
        holders = [folder / match[1] for folder in folders if (folder / match[1]).exists()]
        return str(holders[0]) if holders else match[1]

    return re.sub(rf"{re.escape(str(joined))}/(\S+)", named, note)
