"""Label efficiency of CAMUS: new curves in the place of the old ones of the same cells.

``python -m benchmarks.label_efficiency RESULTS [RESULTS ...]`` reads folders that
``etab run --fractions`` wrote. Each curve in them, of a task, a backbone and a protocol, takes the
place of that curve in ``benchmarks/label_efficiency.csv``; the other lines stay. The page
``docs/reference/label_efficiency.md`` and its picture are made from all lines. Without a folder,
page and picture are made from the lines that are there.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.pages.screenshots import in_few_colours
from etab import datasets
from etab.leaderboard.curves import (
    CurvePoint,
    curve_points,
    curves_csv,
    curves_markdown,
    read_curves,
)
from etab.leaderboard.curves_plot import draw_curves
from etab.storage.atomic import write_atomically

ROOT = Path(__file__).parents[1]
TABLE = Path(__file__).with_suffix(".csv")
PAGE = ROOT / "docs" / "reference" / "label_efficiency.md"
PICTURE = ROOT / "docs" / "pictures" / "label_efficiency.png"


def joined(kept: Iterable[CurvePoint], new: Iterable[CurvePoint]) -> list[CurvePoint]:
    """Put new curves in the place of the kept ones of the same task, backbone and protocol.

    Args:
        kept: Points of the table as it is.
        new: Points of the folders.

    Returns:
        All points, in the order of ``curve_points``.
    """
    computed = list(new)
    replaced = {_curve(point) for point in computed}
    points = [point for point in kept if _curve(point) not in replaced]
    return sorted(
        [*points, *computed],
        key=lambda point: (point.task, point.backbone, point.base, point.percent, point.shots),
    )


def _curve(point: CurvePoint) -> tuple[str, str, str]:
    return point.task, point.backbone, point.base


def write(points: Sequence[CurvePoint]) -> None:
    """Write table, page and picture.

    Args:
        points: All points.
    """
    cards = datasets.cards()
    drawn = draw_curves(points, PICTURE, cards).read_bytes()
    write_atomically(PICTURE, in_few_colours(drawn))
    link = Path(os.path.relpath(PICTURE, PAGE.parent)).as_posix()
    write_atomically(PAGE, curves_markdown(points, cards, picture=link))
    write_atomically(TABLE, curves_csv(points))


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the folders and write table, page and picture."""
    parser = argparse.ArgumentParser(description="label efficiency on CAMUS")
    parser.add_argument("results", nargs="*", type=Path, help="folders of results")
    points = read_curves(TABLE)
    for folder in parser.parse_args(arguments).results:
        points = joined(points, curve_points(folder))
    write(points)


if __name__ == "__main__":
    main()
