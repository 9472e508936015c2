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
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
from scipy.special import ndtr

from etab.errors import UndefinedError
from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows
from etab.metrics.design import FoldDesign
from etab.metrics.inference import Precision, precision_of, two_sided_p
from etab.results import Result, load_results
from etab.tasks.codes import BOARD_PROTOCOL
from etab.types import FloatArray, Kind

HERE = Path(__file__).parent
PAGE = HERE / "coverage_divisions.md"
FOLDERS = ("results", "results_sounds_full")
HEADS = ("stack", "mask_logistic", "hsmm_wavelet")
"""Heads of the boards."""
FIVE = FoldDesign(n_fold=5, repeats=5, test_share=0.25)
FALSE = 0.05
"""A p below this is a verdict."""


@dataclass(frozen=True)
class Tests:
    """P values of one backbone against itself.

    Attributes:
        probes: (pairs,) of one division and another, as of these probes on new patients.
        encoders: (pairs,) of the same, as of encoders.
        of_two: (pairs,) of two divisions and two others, as of encoders.
        of_five: (1,) chance of a verdict between two runs of ``cv5x5``, from what divisions differ by.
    """

    probes: FloatArray
    encoders: FloatArray
    of_two: FloatArray
    of_five: FloatArray


def against_itself(metric: str, rows: ScoredRows) -> Tests:
    """Test the difference of each pair of divisions, and of each two and two others.

    Args:
        metric: Its name in ``METRICS``.
        rows: The prediction table of one backbone, with its divisions.

    Returns:
        The p values.

    Raises:
        UndefinedError: Where the metric, or its noise, does not exist.
    """
    order = np.unique(rows.patients)
    divisions = [rows.select(part) for part in rows.of_repeats()]
    values = np.array([METRICS[metric].value(division) for division in divisions])
    design = FoldDesign(n_fold=5, repeats=1, test_share=0.25)
    parts = [precision_of(metric, division, order, design) for division in divisions]

    def between(ones: Sequence[int], others: Sequence[int]) -> tuple[float, float]:
        moved = np.concatenate(
            [parts[i].people - parts[j].people for i, j in zip(ones, others, strict=True)]
        )
        noise = replace(parts[0], people=moved, design=replace(design, repeats=len(ones)))
        variances = np.array([noise.patient_variance, noise.encoder_difference_variance])
        difference = np.full(2, values[list(ones)].mean() - values[list(others)].mean())
        of_probes, of_encoders = two_sided_p(difference, variances, noise.degrees).tolist()
        return of_probes, of_encoders

    numbers = range(len(divisions))
    single = [between([i], [j]) for i, j in combinations(numbers, 2)]
    of_two = []
    for ones in combinations(numbers, 2):
        for others in combinations(numbers, 2):
            if ones < others and not set(ones) & set(others):
                of_two.append(between(ones, others)[1])
    probes, encoders = np.array(single).T
    return Tests(probes, encoders, np.array(of_two), np.array([_chance_of_five(values, parts)]))


def _chance_of_five(values: FloatArray, parts: Sequence[Precision]) -> float:
    """Chance that two runs of five divisions are told apart, if their values are normal.

    The value of a run is the mean of five, and its stated variance that of one division.
    """
    pairs = [parts[i].people - parts[j].people for i, j in combinations(range(len(parts)), 2)]
    stated = FIVE.difference_factor * float(np.mean([np.square(pair).sum() for pair in pairs]))
    true = 2 * float(np.var(values, ddof=1)) / FIVE.repeats
    if true == 0:
        return 0.0
    return float(2 * ndtr(-1.96 * np.sqrt(stated / true)))


def metrics_of(result: Result, kind: Kind) -> Iterator[str]:
    """The metric of a cell; of two classes also the balanced accuracy."""
    yield result.metric
    if kind is Kind.BINARY and result.metric == "auroc":
        yield "balanced_accuracy"


Tested = dict[tuple[str, str, str], list[Tests]]
"""Tests of each backbone, by data set, task and metric."""


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
                    p = against_itself(metric, rows)
                except UndefinedError:
                    continue
                found.setdefault((result.dataset, result.task, metric), []).append(p)
    return found


HEADER = [
    "| data | task | metric | backbones | pairs | cv5, as probes % | cv5, encoders % | cv5x2, encoders % | cv5x5, expected % |",
    "|---|---|---|---|---|---|---|---|---|",
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
        "Each backbone, twin and control of the boards, against itself: its five divisions into five folds make ten pairs, which",
        "differ in nothing but the draw of the folds. *cv5*: the share of p below 0.05 where each division is tested as if it were a",
        "run of `cv5`, of encoders and as a test over patients alone says. *cv5x2*: the same of two divisions and two others (15 for",
        "each backbone). Every such verdict is false; wanted is at most 6 %. *cv5x5, expected*: the chance of a verdict between two runs",
        "of five divisions, computed from what the five stored ones differ by (a fifth of that variance, against what is stated). Boards",
        "rank by `cv5x5`, and never compare runs with other folds. Runs of `cv5x5` that were made with other seeds are in",
        "[coverage_self.md](coverage_self.md). Pairs of one backbone share five divisions and all their patients, and tasks share",
        "features, so that shares are known less well than so many pairs suggest. Balanced accuracy is of the scores of `stack`,",
        "decided at 0.5.",
        "",
        "One division does not show what the draw of its folds moves. Where patients hardly differ between two fits of one backbone, as in",
        "Dice, the variance over patients is small beside it. Boards say so of cells that were divided once.",
        "",
    ]
    return "\n".join(lines)


def _line(data: str, task: str, metric: str, tests: Sequence[Tests]) -> str:
    pairs = sum(len(one.encoders) for one in tests)
    shares = [
        100 * np.mean(np.concatenate([getattr(one, name) for one in tests]) < FALSE)
        for name in ("probes", "encoders", "of_two")
    ]
    shares.append(100 * np.mean([one.of_five for one in tests]))
    shown = " | ".join(f"{share:.1f}" for share in shares)
    return f"| {data} | {task} | {metric} | {len(tests)} | {pairs} | {shown} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    names = sys.argv[1:] if arguments is None else list(arguments)
    folders = [Path(name) for name in names] or [HERE / name for name in FOLDERS]
    command = " ".join(["python -m benchmarks.coverage_divisions", *names])
    PAGE.write_text(page(tested(folders), command))


if __name__ == "__main__":
    main()
