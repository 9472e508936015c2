"""The commands ``etab leaderboard`` and ``etab curve``: what a folder of results shows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from etab.cli.words import say, weights

if TYPE_CHECKING:
    from etab.leaderboard.board import Board


def leaderboard_command(
    results: Annotated[Path, typer.Argument(help="Folder of results.")] = Path("results"),
    suite: Annotated[
        str, typer.Option(help="Name of a packaged suite, or a .toml file.")
    ] = "camus",
    protocol: Annotated[
        str | None,
        typer.Option(help="Protocol of the results: official, cv5, ... The default is cv5x5."),
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write Markdown to this file.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write CSV to this file.")] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write a self-contained HTML page to this file.")
    ] = None,
    task_weight: Annotated[
        list[str], typer.Option(help="CODE=WEIGHT of a task; may be given several times.")
    ] = [],  # noqa: B006
    category_weight: Annotated[
        list[str], typer.Option(help="LETTER=WEIGHT of a category; may be given several times.")
    ] = [],  # noqa: B006
    seed: Annotated[int, typer.Option(min=0, help="Seed of the results and resamples.")] = 0,
) -> None:
    """Rank the backbones whose results are in a folder.

    A damaged result file is set aside, and the board says which one and why.
    """
    from etab.cli import show
    from etab.leaderboard.ranking import rank_folder
    from etab.tasks.codes import BOARD_PROTOCOL

    board = rank_folder(
        results,
        suite,
        protocol=protocol or BOARD_PROTOCOL,
        seed=seed,
        task_weights=weights(task_weight),
        category_weights=weights(category_weight),
    )
    show.board(board)
    _write(board, markdown, csv, html)


def _write(board: Board, markdown: Path | None, csv: Path | None, html: Path | None) -> None:
    from etab import datasets
    from etab.leaderboard.page import board_page
    from etab.leaderboard.render import board_csv, board_markdown
    from etab.storage.atomic import write_atomically

    cards = datasets.cards()
    if markdown is not None:
        write_atomically(markdown, board_markdown(board, cards))
        say(f"wrote {markdown}")
    if csv is not None:
        write_atomically(csv, board_csv(board))
        say(f"wrote {csv}")
    if html is not None:
        write_atomically(html, board_page(board, cards))
        say(f"wrote {html}")


def curve_command(
    results: Annotated[
        Path, typer.Argument(help="Folder of results computed with --fractions or --shots.")
    ] = Path("results"),
    picture: Annotated[
        Path | None, typer.Option(help="Draw the curves to this file: .png, .svg or .pdf.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write Markdown to this file.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write CSV to this file.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the resamples of patients.")] = 0,
) -> None:
    """Show how values grow with the number of labelled patients."""
    from etab.cli import show
    from etab.leaderboard import curves
    from etab.leaderboard.curves_plot import draw_curves
    from etab.storage.atomic import write_atomically

    points = curves.curve_points(results, seed=seed)
    show.table(
        "label efficiency",
        ("task", "backbone", "labels", "draws", "value", "95 %"),
        [
            (
                point.task,
                point.backbone,
                point.labels,
                str(point.draws),
                f"{point.metric} {point.value:.3f}",
                f"{point.low:.3f} to {point.high:.3f}",
            )
            for point in points
        ],
    )
    if picture is not None:
        say(f"wrote {draw_curves(points, picture)}")
    if markdown is not None:
        link = ""
        if picture is not None:
            link = Path(os.path.relpath(picture, markdown.parent)).as_posix()
        write_atomically(markdown, curves.curves_markdown(points, picture=link))
        say(f"wrote {markdown}")
    if csv is not None:
        write_atomically(csv, curves.curves_csv(points))
        say(f"wrote {csv}")
