"""The picture of label efficiency: a panel for each task and a line for each backbone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from etab.errors import DataNotFoundError, UnsupportedOptionError
from etab.leaderboard.board import is_reference
from etab.leaderboard.curves import CurvePoint
from etab.leaderboard.summary import Cards, metric_words
from etab.metrics import METRICS
from etab.storage.atomic import write_atomically
from etab.tasks.menu import TASKS

_COLUMNS = 4
# With more backbones than this, the bands of all of them could not be told apart.
_MOST_BANDS = 6


def draw_curves(points: Sequence[CurvePoint], path: Path, cards: Cards) -> Path:
    """Draw the values against the share of labelled training patients.

    Random twins are dashed lines in the colour of their backbone. Bands are the 95 % intervals;
    with more than six backbones, controls and random twins have no band.

    Args:
        points: The points, as ``curve_points`` returns them. Those with a number of patients in
            each class are not drawn.
        path: Where to write the picture: ``.png``, ``.svg`` or ``.pdf``.
        cards: Cards by the name of the dataset, as ``etab.datasets.cards()`` gives them.

    Returns:
        The path.

    Raises:
        DataNotFoundError: If no point has a share of the training patients.
        UnsupportedOptionError: If the suffix names no format of pictures.
        StorageError: If the picture cannot be written.
    """
    from matplotlib.figure import Figure

    shares = [point for point in points if point.percent]
    tasks = list(dict.fromkeys(point.task for point in shares))
    if not tasks:
        raise DataNotFoundError(
            "There is nothing to draw: give `etab run` --fractions, not --shots alone."
        )
    columns = min(_COLUMNS, len(tasks))
    rows = -(-len(tasks) // columns)
    figure = Figure(figsize=(3.5 * columns, 2.9 * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, task in zip(panels, tasks, strict=False):
        _draw_panel(panel, task, [point for point in shares if point.task == task], cards)
    for panel in panels[len(tasks) :]:
        panel.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(_title(points), fontsize=11)
    _save(figure, path)
    return path


def _save(figure: Any, path: Path) -> None:
    """Write a figure in the format of its suffix, completely or not at all."""
    kind = path.suffix.removeprefix(".").lower()
    kinds = sorted(figure.canvas.get_supported_filetypes())
    if kind not in kinds:
        raise UnsupportedOptionError(
            f"{path} ends with {path.suffix or 'no suffix'}; wanted one of .{', .'.join(kinds)}."
        )
    picture = io.BytesIO()
    figure.savefig(picture, dpi=130, format=kind)
    write_atomically(path, picture.getvalue())


def _title(points: Sequence[CurvePoint]) -> str:
    data = "phantom data: " if any(point.phantom for point in points) else ""
    backbones = {point.backbone for point in points}
    of_some = " of encoders" if len(backbones) > _MOST_BANDS else ""
    return (
        f"{data}value against the share of labelled training patients; bands: 95 % over draws and "
        f"test patients{of_some}"
    )


def _draw_panel(panel: Any, task: str, points: Sequence[CurvePoint], cards: Cards) -> None:
    names = list(dict.fromkeys(point.backbone for point in points))
    # A random twin has the colour of the backbone that it is the twin of.
    families = list(dict.fromkeys(name.removeprefix("random/") for name in names))
    for name in names:
        line = [point for point in points if point.backbone == name]
        line.sort(key=lambda point: point.percent)
        with_band = len(names) <= _MOST_BANDS or not is_reference(line[0].kind)
        _draw_line(panel, line, families.index(name.removeprefix("random/")), with_band)
    metric = METRICS[points[0].metric]
    shares = sorted({point.percent for point in points})
    panel.set_xscale("log")
    panel.set_xticks(shares, [f"{share:g}" for share in shares], fontsize=7)
    panel.minorticks_off()
    panel.tick_params(axis="y", labelsize=7)
    title = TASKS[task].title if task in TASKS else ""
    words = metric_words(metric.name, task, cards) if task in TASKS else metric.name
    direction = "" if metric.better > 0 else " (lower is better)"
    panel.set_title(f"{task}  {title}", fontsize=8)
    panel.set_ylabel(f"{words}{direction}", fontsize=7)
    panel.set_xlabel("% of training patients", fontsize=7)
    panel.grid(alpha=0.25)


def _draw_line(panel: Any, line: Sequence[CurvePoint], family: int, with_band: bool) -> None:
    from matplotlib import colormaps

    colour = colormaps["tab10"](family % 10)
    shares = [point.percent for point in line]
    panel.plot(
        shares,
        [point.value for point in line],
        "--" if line[0].backbone.startswith("random/") else "-",
        color=colour,
        label=line[0].backbone,
        marker="o",
        markersize=2.5,
        linewidth=1.2,
    )
    if with_band:
        lows = [point.low for point in line]
        highs = [point.high for point in line]
        panel.fill_between(shares, lows, highs, color=colour, alpha=0.12, linewidth=0)
