"""EF below 50 from the task d0 beside the same from the board's answers for EF, which were asked for a number.

``python -m benchmarks.ef_and_d0 > benchmarks/ef_and_d0.md`` reads the published cells of CAMUS. The answers of b0 are
turned round: the lower the predicted EF, the more probable is an EF below 50. Both AUROCs are within folds, each of
its own divisions into folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau

from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows
from etab.results import Result
from etab.tasks.codes import BOARD_PROTOCOL
from etab.types import FloatArray, Kind

HERE = Path(__file__).parent
LIMIT = 50.0
VIEWS = ("A2-C", "A4-C")
HEADS = {
    "`stack`": ("results", "stack", "stack"),
    "one layer (`ridge`, `logistic`)": ("results_heads", "ridge", "logistic"),
}
"""By words: the folder of results, the head of b0 and that of d0."""


def table_of(folder: Path, code: str, backbone: str, head: str) -> ScoredRows:
    """Read the predictions of a published cell."""
    path = Result.path_of(folder, "camus", code, backbone, BOARD_PROTOCOL, 0, head)
    return ScoredRows.of(Result.load(path).predictions(folder))


def from_fractions(rows: ScoredRows) -> float:
    """Compute the AUROC of EF below 50 from predicted ejection fractions.

    Args:
        rows: The table of b0.
    """
    columns = {
        "truth": (rows["truth"] < LIMIT).astype(np.float64),
        "score": -rows["score"],
    }
    turned = ScoredRows(Kind.BINARY, columns, rows.patients, rows.folds, rows.repeats)
    return METRICS["auroc"].value(turned)


def pairs(names: Sequence[str], heads: tuple[str, str, str]) -> dict[tuple[str, str], FloatArray]:
    """AUROC of d0, and from the answers of b0, by view and backbone."""
    folder = HERE / heads[0]
    found = {}
    for view in VIEWS:
        for name in names:
            asked = METRICS["auroc"].value(table_of(folder, f"d0-{view}", name, heads[2]))
            turned = from_fractions(table_of(folder, f"b0-{view}", name, heads[1]))
            found[view, name] = np.array([asked, turned])
    return found


def lines() -> list[str]:
    """The lines of the page."""
    cells = sorted((HERE / "results").glob(f"camus/b0-A4-C/*/{BOARD_PROTOCOL}-stack-s0.json"))
    names = [Result.load(path).backbone for path in cells]
    of_heads = {words: pairs(names, heads) for words, heads in HEADS.items()}
    out = [
        "# EF below 50: the task d0 beside the answers for EF",
        "",
        "Made by `python -m benchmarks.ef_and_d0` from the published cells under five divisions into folds: AUROC within folds of "
        "d0, and of the answers of b0 turned round. The stacked probe fits both by EF; they differ in their divisions into folds, which "
        "spread the classes evenly in d0 and EF in b0. `logistic` is fitted by the label alone, which says less than EF: the answers "
        "for EF are ahead of it. Tau: Kendall's, between the orders of the backbones by the two, mean of both views.",
        "",
        "| head | EF ahead | d0 minus EF, mean | smallest | largest | tau |",
        "|---|---|---|---|---|---|",
    ]
    for words, found in of_heads.items():
        gaps = np.array([asked - turned for asked, turned in found.values()])
        taus = []
        for view in VIEWS:
            columns = np.stack([values for key, values in found.items() if key[0] == view])
            taus.append(kendalltau(columns[:, 0], columns[:, 1]).statistic)
        out.append(
            f"| {words} | {(gaps < 0).sum()} of {len(gaps)} | {gaps.mean():+.3f} | {gaps.min():+.3f} "
            f"| {gaps.max():+.3f} | {np.mean(taus):.2f} |"
        )
    out += [
        "",
        "With `stack`:",
        "",
        "| backbone | view | d0 | EF turned round | d0 minus EF |",
        "|---|---|---|---|---|",
    ]
    for (view, name), (asked, turned) in of_heads["`stack`"].items():
        out.append(f"| {name} | {view[:2]}C | {asked:.3f} | {turned:.3f} | {asked - turned:+.3f} |")
    return out


if __name__ == "__main__":
    print("\n".join(lines()))
