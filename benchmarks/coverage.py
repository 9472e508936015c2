"""Are equal backbones left alike on boards of twelve? etab's own heads, refitted each time.

``python -m benchmarks.coverage [--replicates N] [--n 50,100,450,1276] [--processes P] [--keep DIR]``
writes ``benchmarks/coverage.md``. Each replicate is a new made (simulated) cohort with twelve made
backbones, on which ridge and logistic regression are fitted as on real features
(``benchmarks/coverage_world.py``). What intervals cover is on the pages of
``benchmarks/coverage_stack.py`` and ``benchmarks/coverage_classes.py``. ``--n`` is the number
of test people: 50 and 1,276 by the official split with 450 training people, 100 and 450 by
``cv5x5``. ``--keep`` keeps the replicates, so that a run that was stopped goes on.

``python -m benchmarks.coverage --self --root CAMUS --cache DIR`` compares each backbone with itself
under other folds on real CAMUS (``benchmarks/coverage_self.py``) and writes
``benchmarks/coverage_self.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations, repeat
from pathlib import Path

import numpy as np

from benchmarks.coverage_refits import GRADED, Setting
from benchmarks.coverage_summary import SCORES, Summary, summary_of, with_error
from etab.metrics.uncertainty import holm
from etab.types import Array, FloatArray

PAGE = Path(__file__).with_name("coverage.md")
SELF_PAGE = Path(__file__).with_name("coverage_self.md")
SETTINGS = {
    50: Setting("of50", "official", 450, 50, 1),
    100: Setting("cv100", "cv", 100, 0, 5),
    450: Setting("cv450", "cv", 450, 0, 5),
    1276: Setting("of1276", "official", 450, 1276, 1),
}
TITLES = {
    50: "50 test people, official split (450 train)",
    100: "100 people, cv5x5",
    450: "450 people, cv5x5",
    1276: "1,276 test people, official split (450 train)",
}
HEADER = (
    "| setting (replicates) | what | covered, these probes % | covered, this encoder % | "
    "pairs, as probes % | pairs, encoders % | any, as probes % | any, encoders % |",
    "|---|---|---|---|---|---|---|---|",
)
"""The first lines of a table of ``coverage_rows``."""
WORDS = {
    "dice": "Dice-like, 2 rows a person",
    "mae": "MAE",
    "phase": "AUROC, 2 rows a person",
    "cm": "AUROC, 1 row a person",
    "score": "ETAB score",
}
FALSE = 0.05
"""A p below this is a verdict."""
GROUPS = {"first 4": slice(0, 4), "next 4": slice(4, 8), "last 4": slice(8, 12)}


def graded(setting: Setting) -> Setting:
    """The same setting with three groups of backbones that differ in noise."""
    return Setting(
        f"{setting.name}g",
        setting.protocol,
        setting.train,
        setting.test,
        setting.repeats,
        GRADED,
    )


def summaries(
    setting: Setting, replicates: int, folder: Path | None, processes: int
) -> list[Summary]:
    """Make the summaries of a setting, or read those that are kept."""
    seeds = range(replicates)
    if processes == 1:
        return [summary_of(setting, seed, folder) for seed in seeds]
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(summary_of, repeat(setting), seeds, repeat(folder)))


def encoders_covered(found: Sequence[Summary]) -> FloatArray:
    """Share (replicates, scores) of the backbones whose interval holds the exact value."""
    fitted = np.stack([summary.fitted for summary in found])
    truth = fitted.mean(axis=(0, 2), keepdims=True)
    low = np.stack([summary.encoder_low for summary in found])
    high = np.stack([summary.encoder_high for summary in found])
    return np.asarray(((low <= truth) & (truth <= high)).mean(axis=2))


def false_verdicts(found: Sequence[Summary]) -> FloatArray:
    """Whether (replicates, scores) any two equal encoders of a board are told apart."""
    beats = np.stack([summary.beats for summary in found])
    return np.asarray(beats.any(axis=(2, 3)))


def coverage_rows(title: str, found: Sequence[Summary]) -> list[str]:
    """Lines of the table of equal backbones: coverage of both intervals, and false verdicts."""
    values = np.stack([summary.values for summary in found])
    fitted = np.stack([summary.fitted for summary in found])
    probes = np.stack([summary.probe_half for summary in found])
    covered = encoders_covered(found)
    false = false_verdicts(found)
    lines = []
    for s, name in enumerate(SCORES):
        of_probes = np.abs(values - fitted)[:, s] <= probes[:, s]
        pairs = [_pairs(summary.probe_p[s]) for summary in found]
        encoder_pairs = [_pairs(summary.encoder_p[s]) for summary in found]
        any_probes = np.mean([float(holm(list(p)).min()) < 0.05 for p in pairs])
        lines.append(
            f"| {title} ({len(found)}) | {WORDS[name]} | {_percent(of_probes)} | "
            f"{with_error(covered[:, s])} | {_percent(np.array(pairs) < 0.05)} | "
            f"{_percent(np.array(encoder_pairs) < 0.05)} | {100 * any_probes:.0f} | "
            f"{with_error(false[:, s])} |"
        )
        title = ""
    return [line.replace("|  (", "| (") for line in lines]


VERDICTS = (
    "| setting (replicates) | what | pairs, as probes % | pairs, encoders % | any, as probes % | "
    "any, encoders % |",
    "|---|---|---|---|---|---|",
)
"""The first lines of a table of ``verdict_rows``."""


def verdict_rows(title: str, found: Sequence[Summary]) -> list[str]:
    """Lines of the table of equal backbones on one board: false verdicts."""
    false = false_verdicts(found)
    lines = []
    for s, name in enumerate(SCORES):
        pairs = [_pairs(summary.probe_p[s]) for summary in found]
        encoder_pairs = [_pairs(summary.encoder_p[s]) for summary in found]
        any_probes = np.mean([float(holm(list(p)).min()) < FALSE for p in pairs])
        lines.append(
            f"| {title} ({len(found)}) | {WORDS[name]} | {_percent(np.array(pairs) < FALSE)} | "
            f"{_percent(np.array(encoder_pairs) < FALSE)} | {100 * any_probes:.0f} | "
            f"{100 * false[:, s].mean():.0f} |"
        )
        title = ""
    return [line.replace("|  (", "| (") for line in lines]


def _pairs(p: FloatArray) -> FloatArray:
    return np.asarray(p[np.triu_indices(len(p), 1)])


def _percent(hits: Array) -> str:
    return f"{100 * float(np.mean(hits)):.1f}"


def power_rows(title: str, found: Sequence[Summary]) -> list[str]:
    """Lines of the table of graded backbones: true gap, and how often it is told apart."""
    fitted = np.stack([summary.fitted for summary in found])
    lines = []
    for s, name in enumerate(SCORES):
        for (first, one), (second, other) in combinations(GROUPS.items(), 2):
            gap = float(fitted[:, s, one].mean() - fitted[:, s, other].mean())
            alone = [summary.encoder_p[s][one, other] < 0.05 for summary in found]
            beats = [summary.beats[s][one, other] for summary in found]
            lines.append(
                f"| {title} ({len(found)}) | {WORDS[name]} | {first} - {second} | {gap:.3f} | "
                f"{100 * np.mean(alone):.0f} | {100 * np.mean(beats):.0f} |"
            )
    return lines


NOTES = """
Simulated: no patient is in it. In brackets: replicates, each a new cohort with twelve equal backbones. A share of boards is known to
about ±3 % for 150 replicates, ±4 % for 100, ±6 % for 47 and ±8 % for 30 (95 % of a true 5 %).

* *Pairs*: share of pairs of equal backbones with p below 0.05. *Any*: share of boards of twelve equal backbones on which any
  pair is told apart after Holm; wanted is at most 5 %, and 6 % is accepted. "As probes" is what a board would claim if it took
  the fitted probes for the encoders: a test over patients alone.
* What intervals cover, with the head of the boards refitted: [coverage_stack.md](coverage_stack.md), and by metric
  [coverage_classes.md](coverage_classes.md). More cohorts, and boards of twelve, with ridge regressions in closed form:
  [coverage_ridge.md](coverage_ridge.md).
* Folds here are not stratified by class, which makes AUROC harder than it is under `cv5x5`. The heads are `ridge` and `logistic`.
"""


def page(equal: dict[int, list[Summary]], apart: dict[int, list[Summary]], command: str) -> str:
    """The page: false verdicts, then power."""
    lines = [
        "# False verdicts and power",
        "",
        f"Made by `{command}`.",
        "",
        *VERDICTS,
    ]
    for n, found in equal.items():
        lines += verdict_rows(TITLES[n], found)
    lines += [NOTES]
    if apart:
        lines += [
            "## Power",
            "",
            "Three groups of four backbones; the gap is the true difference of their encoders, in "
            'anchored units. "Pair": p below 0.05. "Holm": told apart on the board of twelve.',
            "",
            "| setting (replicates) | what | groups | true gap | pair % | Holm % |",
            "|---|---|---|---|---|---|",
        ]
        for n, found in apart.items():
            lines += power_rows(TITLES[n], found)
        lines.append("")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="coverage of intervals, false verdicts and power")
    parser.add_argument("--replicates", default="100", help="a number, or one for each of --n")
    parser.add_argument("--graded", default="20", help="replicates for power, as --replicates")
    parser.add_argument("--n", default="50,100,450,1276", help="numbers of test people")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder that keeps replicates")
    parser.add_argument("--self", action="store_true", help="backbones against themselves, CAMUS")
    parser.add_argument("--root", type=Path, help="CAMUS, for --self")
    parser.add_argument("--cache", type=Path, help="cached features, for --self")
    parser.add_argument("--backbones", default="efficientnet_lite0,efficientnet_lite2,mobilenetv2")
    parser.add_argument("--seeds", default="0,5,10,15", help="seeds of the runs, for --self")
    parser.add_argument("--protocol", default="cv5x5", help="protocol of the runs, for --self")
    return parser


def _against_themselves(asked: argparse.Namespace) -> None:
    from benchmarks import coverage_self
    from etab.runs.data import Data
    from etab.runs.run import Settings

    data = Data(Settings(root=asked.root, cache=asked.cache))
    seeds = [int(seed) for seed in asked.seeds.split(",")]
    verdicts = []
    for name in asked.backbones.split(","):
        found = coverage_self.against_itself(data, name, asked.cache, asked.protocol, seeds)
        verdicts.append(found)
    command = (
        f"python -m benchmarks.coverage --self --protocol {asked.protocol} --seeds {asked.seeds} "
        f"--backbones {asked.backbones}"
    )
    SELF_PAGE.write_text(coverage_self.self_page(verdicts, asked.protocol, command))


def main() -> None:
    """Write the page, or print the table of backbones against themselves."""
    asked = _parser().parse_args()
    if asked.self:
        _against_themselves(asked)
        return
    numbers = [int(n) for n in asked.n.split(",")]
    equal: dict[int, list[Summary]] = {}
    apart: dict[int, list[Summary]] = {}
    for n, replicates in zip(numbers, one_for_each(asked.replicates, numbers), strict=True):
        equal[n] = summaries(SETTINGS[n], replicates, asked.keep, asked.processes)
    for n, replicates in zip(numbers, one_for_each(asked.graded, numbers), strict=True):
        if replicates:
            apart[n] = summaries(graded(SETTINGS[n]), replicates, asked.keep, asked.processes)
    command = (
        f"python -m benchmarks.coverage --n {asked.n} --replicates {asked.replicates} "
        f"--graded {asked.graded}"
    )
    PAGE.write_text(page(equal, apart, command))


def one_for_each(text: str, settings: Sequence[object]) -> list[int]:
    """One number for each setting, from one number or from as many as there are settings."""
    counts = [int(part) for part in text.split(",")]
    return counts * len(settings) if len(counts) == 1 else counts


if __name__ == "__main__":
    main()
