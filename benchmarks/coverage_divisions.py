"""One division of the patients against another, from stored results: no difference is to be found there.

The stored results of the boards divide the patients into five folds five times, and hold the
predictions of every division. Two divisions of one backbone differ in nothing but the draw of the
folds: whoever had run ``cv5`` with one seed, and a second time with another, would have compared
them. Every verdict between two divisions is therefore false.

``python -m benchmarks.coverage_divisions [FOLDER ...]`` writes ``benchmarks/coverage_divisions.md``;
without folders it reads the results of CAMUS and of all public heart sounds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from etab.errors import UndefinedError
from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows
from etab.metrics.design import FoldDesign
from etab.metrics.inference import combined, precision_of, two_sided_p
from etab.results import Result, load_results
from etab.tasks.codes import BOARD_PROTOCOL
from etab.types import FloatArray, Kind

HERE = Path(__file__).parent
PAGE = HERE / "coverage_divisions.md"
FOLDERS = ("results", "results_sounds_full")
HEADS = ("stack", "mask_logistic", "hsmm_wavelet")
"""Heads of the boards."""
ONE_DIVISION = FoldDesign(n_fold=5, repeats=1, test_share=0.25)
FALSE = 0.05
"""A p below this is a verdict."""


def p_between_divisions(metric: str, rows: ScoredRows) -> tuple[FloatArray, FloatArray]:
    """Test the difference of each pair of divisions.

    Args:
        metric: Its name in ``METRICS``.
        rows: The prediction table of one backbone, with its divisions.

    Returns:
        (pairs,) p values as of these probes, and as of encoders.

    Raises:
        UndefinedError: Where the metric, or its noise, does not exist.
    """
    order = np.unique(rows.patients)
    divisions = [rows.select(part) for part in rows.of_repeats()]
    values = [METRICS[metric].value(division) for division in divisions]
    parts = [precision_of(metric, division, order, ONE_DIVISION) for division in divisions]
    probes: list[float] = []
    encoders: list[float] = []
    for i, j in combinations(range(len(divisions)), 2):
        difference = np.array(values[i] - values[j])
        between = combined([parts[i], parts[j]], [1, -1])
        for found, variance in (
            (probes, between.patient_variance),
            (encoders, between.encoder_difference_variance),
        ):
            found.append(float(two_sided_p(difference, np.array(variance), between.degrees)))
    return np.array(probes), np.array(encoders)


def metrics_of(result: Result, kind: Kind) -> Iterator[str]:
    """The metric of a cell; of two classes also the balanced accuracy."""
    yield result.metric
    if kind is Kind.BINARY and result.metric == "auroc":
        yield "balanced_accuracy"


Tested = dict[tuple[str, str, str], list[tuple[FloatArray, FloatArray]]]
"""P values of each backbone, by data set, task and metric."""


def tested(folders: Sequence[Path]) -> Tested:
    """Test all pairs of divisions of all cells of the boards' protocol and heads.

    Args:
        folders: Folders of results.

    Returns:
        The p values.
    """
    found: Tested = {}
    for folder in folders:
        for result in load_results(folder):
            of_board = result.protocol == BOARD_PROTOCOL and result.head in HEADS
            if not of_board or result.seed != 0:
                continue
            rows = ScoredRows.of(result.predictions(folder))
            for metric in metrics_of(result, rows.kind):
                try:
                    p = p_between_divisions(metric, rows)
                except UndefinedError:
                    continue
                found.setdefault((result.dataset, result.task, metric), []).append(p)
    return found


HEADER = [
    "| data | task | metric | backbones | pairs of divisions | p < 0.05, these probes % | encoders % |",
    "|---|---|---|---|---|---|---|",
]


def page(found: Tested, command: str) -> str:
    """Write the page.

    Args:
        found: What was tested.
        command: The command that made it.

    Returns:
        Markdown.
    """
    lines = [
        "# One division of the patients against another, on real data",
        "",
        f"Made by `{command}` from stored predictions.",
        "",
        *HEADER,
        *(_line(*key, p) for key, p in sorted(found.items())),
    ]
    for metric in sorted({metric for _, _, metric in found}):
        of_metric = [p for key, parts in found.items() if key[2] == metric for p in parts]
        lines.append(_line("all", "", metric, of_metric))
    everything = [p for parts in found.values() for p in parts]
    lines += [
        _line("**all**", "", "", everything),
        "",
        "Each backbone, twin and control of the boards, against itself: its five divisions into five folds make ten pairs, which differ in",
        "nothing but the draw of the folds. Each is tested as if it were a run of `cv5`, and every verdict is false; wanted is at most 6 %",
        "of encoders. *These probes* is what a test over patients alone says. Ten pairs of one backbone share five divisions and all their",
        "patients, and tasks share features, so that shares are known less well than so many pairs suggest. Balanced accuracy is of the",
        "scores of `stack`, decided at 0.5. Runs of `cv5x5` with other seeds: [coverage_self.md](coverage_self.md).",
        "",
    ]
    return "\n".join(lines)


def _line(data: str, task: str, metric: str, p: Sequence[tuple[FloatArray, FloatArray]]) -> str:
    probes, encoders = (np.concatenate(parts) for parts in zip(*p, strict=True))
    return (
        f"| {data} | {task} | {metric} | {len(p)} | {len(probes)} | "
        f"{100 * np.mean(probes < FALSE):.1f} | {100 * np.mean(encoders < FALSE):.1f} |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    names = sys.argv[1:] if arguments is None else list(arguments)
    folders = [Path(name) for name in names] or [HERE / name for name in FOLDERS]
    command = " ".join(["python -m benchmarks.coverage_divisions", *names])
    PAGE.write_text(page(tested(folders), command))


if __name__ == "__main__":
    main()
