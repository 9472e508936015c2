"""The command ``etab curve``: values over the number of labelled patients."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from etab.cli.options import DataOption
from etab.cli.words import say, say_left_out, wrote


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
    data: DataOption = None,
) -> None:
    """Show how values grow with the number of labelled patients."""
    from etab import datasets
    from etab.cli import show
    from etab.datasets.own.classes import is_class_file
    from etab.leaderboard import curves
    from etab.leaderboard.curves_plot import draw_curves
    from etab.storage.atomic import write_atomically
    from etab.tasks.own import use_own_data, use_results

    use_results(results, say_left_out)
    if data is not None and not is_class_file(data):  # of a class, the results hold what is needed
        use_own_data(data)
    points = curves.curve_points(results, seed=seed)
    cards = datasets.cards()
    show.table(
        "label efficiency",
        ("task", "backbone", "labels", "draws", "value", "95 %"),
        [
            (
                point.task,
                point.backbone,
                point.labels,
                str(point.draws),
                f"{point.metric} {point.value:.3f} {curves.unit_of_point(point, cards)}".rstrip(),
                f"{point.low:.3f} to {point.high:.3f}",
            )
            for point in points
        ],
    )
    if picture is not None:
        said = wrote(picture)
        draw_curves(points, picture, cards)
        say(said)
    if markdown is not None:
        link = ""
        if picture is not None:
            link = Path(os.path.relpath(picture, markdown.parent)).as_posix()
        said = wrote(markdown)
        write_atomically(markdown, curves.curves_markdown(points, cards, picture=link))
        say(said)
    if csv is not None:
        said = wrote(csv)
        write_atomically(csv, curves.curves_csv(points))
        say(said)
