"""The picture of label efficiency: a panel a task, a line a backbone, the interval as a band."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from etab import backbones
from etab.errors import DataNotFoundError, EtabError
from etab.leaderboard.curves import Point
from etab.metrics.base import METRICS
from etab.tasks.menu import TASKS

_COLUMNS = 4
_BAND = 6


def draw(found: Sequence[Point], path: Path) -> Path:
    """Write the picture (.png, .svg or .pdf). Random twins are dashed, in the colour of what they are the twin of.

    Bands are the intervals of ``Point``; of many backbones only those that learned something have one, or none could be read.
    """
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(p.task for p in found if p.percent))
    if not tasks:
        raise DataNotFoundError(
            "There is nothing to draw: give `etab run` --fractions, not --shots alone."
        )
    columns = min(_COLUMNS, len(tasks))
    rows = -(-len(tasks) // columns)
    figure = Figure(figsize=(3.5 * columns, 2.9 * rows + 0.9), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, task in zip(panels, tasks, strict=False):
        _panel(panel, task, [p for p in found if p.task == task and p.percent])
    for panel in panels[len(tasks) :]:
        panel.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    kind = "phantom data: " if any(p.phantom for p in found) else ""
    names = list(dict.fromkeys(p.backbone for p in found))
    whose = "" if len(names) <= _BAND else " of pretrained backbones"
    figure.suptitle(
        f"{kind}value against the share of labelled training patients; bands: 95 % over draws and test patients"
        f"{whose}",
        fontsize=11,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return path


def _pretrained(name: str) -> bool:
    """Whether a backbone is neither a random twin nor a control; one that has no card any more counts as pretrained."""
    try:
        card = backbones.card(name)
    except EtabError:
        return True
    return card.learned and not card.twin


def _panel(panel: Any, task: str, mine: Sequence[Point]) -> None:
    from matplotlib import colormaps

    names = list(dict.fromkeys(p.backbone for p in mine))
    families = list(dict.fromkeys(n.removeprefix("random/") for n in names))
    for name in names:
        line = sorted((p for p in mine if p.backbone == name), key=lambda p: p.percent)
        colour = colormaps["tab10"](families.index(name.removeprefix("random/")) % 10)
        x = [p.percent for p in line]
        panel.plot(
            x,
            [p.value for p in line],
            "--" if name.startswith("random/") else "-",
            color=colour,
            label=name,
            marker="o",
            markersize=2.5,
            linewidth=1.2,
        )
        if len(names) <= _BAND or _pretrained(name):
            panel.fill_between(
                x,
                [p.low for p in line],
                [p.high for p in line],
                color=colour,
                alpha=0.12,
                linewidth=0,
            )
    metric = METRICS[mine[0].metric]
    panel.set_xscale("log")
    shares = sorted({p.percent for p in mine})
    panel.set_xticks(shares, [f"{s:g}" for s in shares], fontsize=7)
    panel.minorticks_off()
    panel.tick_params(axis="y", labelsize=7)
    panel.set_title(f"{task}  {TASKS[task].title if task in TASKS else ''}", fontsize=8)
    panel.set_ylabel(
        f"{metric.name}{'' if metric.better > 0 else ' (lower is better)'}", fontsize=7
    )
    panel.set_xlabel("% of training patients", fontsize=7)
    panel.grid(alpha=0.25)
