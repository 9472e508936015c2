"""Results and boards as pandas data frames, for your own analyses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from etab.errors import DataNotFoundError
from etab.options import path_option
from etab.results import Result, load_results

if TYPE_CHECKING:
    import pandas as pd

    from etab.leaderboard.board import Board

RESULT_COLUMNS = (
    "task",
    "backbone",
    "head",
    "protocol",
    "seed",
    "dataset",
    "phantom",
    "metric",
    "value",
    "low",
    "high",
    "n_train",
    "n_test",
    "n_patients",
    "anchor_low",
    "anchor_high",
)


def results_frame(folder: str | Path) -> pd.DataFrame:
    """Read a folder of results as a table with one row for each cell.

    Args:
        folder: A folder of results, as ``etab run --results`` writes it.

    Returns: A data frame sorted by task and backbone with the columns task, backbone, head,
        protocol, seed, dataset, phantom, metric, value, low and high (95 % interval), n_train,
        n_test, n_patients, anchor_low and anchor_high, and one column for each further metric,
        ``metrics.<name>``. Empty where the folder holds no result.

    Raises:
        DataNotFoundError: There is no such folder.
        ResultError: A file of the folder is not a valid result.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     frame = results_frame(folder)
        >>> len(frame), list(frame.columns[:3])
        (0, ['task', 'backbone', 'head'])
    """
    place = path_option("folder", folder)
    if not place.exists():
        raise DataNotFoundError(f"There is no folder {place}. Name a folder of results.")
    return cells_frame(load_results(place))


def cells_frame(cells: Sequence[Result], units: Sequence[str] | None = None) -> pd.DataFrame:
    """Lay out results that are already read as ``results_frame`` does.

    Args:
        cells: Results of cells.
        units: The unit of the metric of each cell, for a column ``unit`` behind the metric; None for
            no such column.

    Returns:
        One row for each cell, see ``results_frame``.
    """
    import pandas as pd

    rows = []
    for place, cell in enumerate(cells):
        row = {}
        for name in RESULT_COLUMNS:
            row[name] = getattr(cell, name)
            if name == "metric" and units is not None:
                row["unit"] = units[place]
        for metric, value in cell.metrics.items():
            row[f"metrics.{metric}"] = value
        rows.append(row)
    if not rows:
        return pd.DataFrame(columns=list(RESULT_COLUMNS))
    return pd.DataFrame(rows).sort_values(["task", "backbone"], ignore_index=True)


def board_frame(board: Board) -> pd.DataFrame:
    """Lay out a board as a table with one row for each backbone, in the order of the board.

    Args:
        board: A board, as ``etab.rank`` returns it.

    Returns: A data frame with the index "backbone" and the columns kind, rank_low, rank_high
        (missing where the backbone is not ranked), etab, etab_low and etab_high (these probes on
        new patients), encoder_low and encoder_high (this encoder, with new training patients
        too), etab_p, etab2022, and one column for each task of the suite with its value.
    """
    import pandas as pd

    rows = []
    for row in board.rows:
        facts: dict[str, object] = {
            "backbone": row.backbone,
            "kind": row.kind,
            "rank_low": row.rank_low,
            "rank_high": row.rank_high,
            "etab": row.etab,
            "etab_low": row.low,
            "etab_high": row.high,
            "encoder_low": row.encoder_low,
            "encoder_high": row.encoder_high,
            "etab_p": row.etab_p,
            "etab2022": row.etab2022,
        }
        for task in board.suite.tasks:
            cell = row.cells.get(task)
            facts[task] = None if cell is None else cell.value
        rows.append(facts)
    frame = pd.DataFrame(rows).set_index("backbone")
    ranks = {"rank_low": "Int64", "rank_high": "Int64"}
    return frame.astype({**ranks, **dict.fromkeys(board.suite.tasks, "float64")})
