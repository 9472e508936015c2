"""The stacked probe beside the probes of one layer on the board of CAMUS, from stored results.

``python -m benchmarks.probes_board benchmarks/results benchmarks/results_heads`` reads the results of ``stack``, ``ridge`` and
``logistic`` by five divisions into five folds, and writes ``benchmarks/probes_board.md``: all backbones, twins and
controls, each with the spread over the five fold seeds, and the change with its 95 % interval for new test and training
patients. No choice in the design of ``stack`` was made on the fold seeds 3 and 4, whose change has a column of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.probes import BACKBONES, ONE_LAYER, STACK, TASKS_SHOWN
from etab.errors import ResultError
from etab.leaderboard.board import kind_of
from etab.leaderboard.designs import design_of
from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows
from etab.metrics.inference import PairedTest, paired_test
from etab.results import Predictions, Result, load_results
from etab.tasks.codes import BOARD_PROTOCOL
from etab.tasks.menu import TASKS
from etab.types import Array, FloatArray, Kind

PAGE = Path(__file__).with_name("probes_board.md")
KEPT_APART = (3, 4)
HEADER = "| backbone | one layer | stack | change [95 %] | change, seeds 3 and 4 |\n|---|---|---|---|---|"
INTRO = """# The stacked probe beside the probes of one layer, on the board of CAMUS

Made by `python -m benchmarks.probes_board benchmarks/results benchmarks/results_heads` from stored predictions: five divisions
into five folds, 499 people. `one layer` is `ridge` or `logistic` on the layer, pooling and penalty that are best inside the
training patients. In brackets behind a value is the standard deviation of one fold seed; the interval of a change is for new
test and training patients. No choice in the design of `stack` was made on the fold seeds 3 and 4.
"""


@dataclass(frozen=True)
class Line:
    """Both heads of one backbone on one task.

    Attributes:
        old: Values of the head of one layer by fold seed.
        new: Values of the stacked head by fold seed.
        test: The difference of their means.
    """

    backbone: str
    old: FloatArray
    new: FloatArray
    test: PairedTest

    @property
    def held_out(self) -> float:
        """Change on the fold seeds that nothing was chosen on."""
        seeds = list(KEPT_APART)
        return float((self.new - self.old)[seeds].mean())


def read(folders: Sequence[Path]) -> dict[tuple[str, str, str], tuple[Result, Predictions]]:
    """The results of the board's protocol by backbone, task and head."""
    found = {}
    for folder in folders:
        for result in load_results(folder):
            if result.protocol == BOARD_PROTOCOL and result.seed == 0:
                key = (result.backbone, result.task, result.head)
                # Of several precisions the board's counts, whose folder is named first.
                if result.task in TASKS_SHOWN and key not in found:
                    found[key] = (result, result.predictions(folder))
    return found


def by_seed(metric: str, rows: ScoredRows) -> FloatArray:
    """The value of each division into folds."""
    return np.array([METRICS[metric].value(rows.select(part)) for part in rows.of_repeats()])


def lines_of(
    code: str, found: Mapping[tuple[str, str, str], tuple[Result, Predictions]]
) -> Iterator[Line]:
    """Compare the two heads of each backbone on one task.

    Raises:
        ResultError: If the two heads of a backbone answered different rows.
    """
    one_layer = ONE_LAYER[TASKS[code].kind]
    for backbone in BACKBONES:
        old = found.get((backbone, code, one_layer))
        new = found.get((backbone, code, STACK))
        if old is None or new is None:
            continue
        record, table = new
        rows = ScoredRows.of(table)
        other = _in_order(ScoredRows.of(old[1]), old[1], table)
        if not np.array_equal(rows["truth"], other["truth"]):
            raise ResultError(f"{code} with {backbone}: {one_layer} and {STACK} differ in rows.")
        test = paired_test(record.metric, rows, other, design_of(record, table))
        yield Line(backbone, by_seed(record.metric, other), by_seed(record.metric, rows), test)


def _in_order(rows: ScoredRows, table: Predictions, like: Predictions) -> ScoredRows:
    """The rows of a table in the order of another one."""
    place = {key: i for i, key in enumerate(_keys(table))}
    order: Array = np.array([place[key] for key in _keys(like)])
    return rows.select(order)


def _keys(table: Predictions) -> list[tuple[str, str]]:
    return list(zip(table.items, map(str, table.repeats), strict=True))


def section(code: str, lines: Sequence[Line]) -> list[str]:
    """The table of one task, with the mean of each kind of backbone."""
    task = TASKS[code]
    is_value = task.kind is Kind.VALUE
    digits = 2 if is_value else 3
    unit = "MAE, percentage points, less is better" if is_value else "AUROC, more is better"
    out = ["", f"## {code}: {task.title} ({unit})", "", HEADER]
    for line in lines:
        change = f"{line.test.difference:+.{digits}f}"
        ends = f"[{line.test.low:+.{digits}f}, {line.test.high:+.{digits}f}]"
        out.append(
            f"| {line.backbone} | {_shown(line.old, digits)} | {_shown(line.new, digits)} | "
            f"{change} {ends} | {line.held_out:+.{digits}f} |"
        )
    for kind in ("pretrained", "random twin", "control"):
        of_kind = [line for line in lines if kind_of(line.backbone, []) == kind]
        if of_kind:
            mean = np.mean([line.test.difference for line in of_kind])
            held_out = np.mean([line.held_out for line in of_kind])
            spread = [np.mean([_spread(values) for values in pair]) for pair in _pairs(of_kind)]
            out.append(
                f"| mean of {len(of_kind)}: {kind} | SD {spread[0]:.{digits + 1}f} | "
                f"SD {spread[1]:.{digits + 1}f} | {mean:+.{digits}f} | {held_out:+.{digits}f} |"
            )
    return out


def _pairs(lines: Sequence[Line]) -> tuple[list[FloatArray], list[FloatArray]]:
    return [line.old for line in lines], [line.new for line in lines]


def _spread(values: FloatArray) -> float:
    return float(np.std(values, ddof=1))


def _shown(values: FloatArray, digits: int) -> str:
    return f"{values.mean():.{digits}f} ({_spread(values):.{digits + 1}f})"


def page(folders: Sequence[Path]) -> str:
    """Lay out the page.

    Args:
        folders: Folders of results that hold both heads.

    Returns:
        Markdown.
    """
    found = read(folders)
    out = [INTRO.rstrip("\n")]
    for code in TASKS_SHOWN:
        out += section(code, list(lines_of(code, found)))
    return "\n".join(out) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Write the page."""
    if not arguments:
        sys.stderr.write("usage: python -m benchmarks.probes_board RESULTS [RESULTS ...]\n")
        return 2
    PAGE.write_text(page([Path(folder) for folder in arguments]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
