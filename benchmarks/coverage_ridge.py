"""Many replicates for coverage, with ridge regressions in closed form in place of etab's heads.

A replicate of ``benchmarks/coverage_refits.py`` has twelve backbones that share its people, so that
its twelve values count little more than one. Here a replicate has two backbones, all tasks are
ridge regressions on one layer (for classes on 0 and 1), and the fits of both backbones are made
together. That takes a fiftieth of the time, so that hundreds of cohorts can be drawn.

``python -m benchmarks.coverage_ridge [--replicates N] [--boards N] [--keep DIR]`` writes
``benchmarks/coverage_ridge.md``; ``--boards`` is the number of cohorts with twelve backbones.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.coverage import (
    HEADER,
    WORDS,
    coverage_rows,
    encoders_covered,
    false_verdicts,
    one_for_each,
)
from benchmarks.coverage_refits import Replicate, Setting
from benchmarks.coverage_summary import SCORES, Summary, error_of_share, summary_of, with_error
from benchmarks.coverage_world import (
    TASKS,
    WIDTH,
    Fit,
    embed,
    made_cohort,
    made_encoder,
    made_world,
    population,
    questions,
    splits_of_frames,
)
from etab.types import Array, FloatArray, IntArray, RowSplit

LAYER = "late"
TWO = (0.6, 0.6)  # noise of the backbones of a replicate
TWELVE = (0.6,) * 12
PAGE = Path(__file__).with_name("coverage_ridge.md")
SETTINGS = (
    Setting("of50r", "official", 450, 50, 1, TWO),
    Setting("cv50r", "cv", 50, 0, 5, TWO),
    Setting("cv100r", "cv", 100, 0, 5, TWO),
    Setting("cv450r", "cv", 450, 0, 5, TWO),
    Setting("of1276r", "official", 450, 1276, 1, TWO),
)
TITLES = {
    "of50r": "50 test people, official split (450 train)",
    "cv50r": "50 people, cv5x5",
    "cv100r": "100 people, cv5x5",
    "cv450r": "450 people, cv5x5",
    "of1276r": "1,276 test people, official split (450 train)",
}
NOTES = """
Simulated: no patient is in it. Two backbones a cohort, so that "any" is the one pair. *These probes*: the fitted probes on new
people. *This encoder*: the mean over new training people too (docs/methods.md). "As probes" is what a board would claim if it
took the fitted probes for the encoders; *pairs* and *any* are verdicts between equal backbones, all false. ± is the Monte-Carlo
error of so many cohorts (95 % of the time).

*These probes* are covered less often under `cv5x5` with 100 people or fewer: the test people of one fold train the probes of
the others, which no interval over patients knows. Boards take ranks from the column of encoders.

## What misses the aim
"""
COVERED = (93.0, 97.0)  # wanted of the interval of an encoder, in %
FALSE = 6.0  # the largest share of boards with a false verdict that is accepted, in %
PENALTIES = 10.0 ** np.arange(-2, 5)
# Two frames side by side are offered as their sum and difference, as the head ``stack`` does.
_TURNED = np.kron(np.array([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2), np.eye(WIDTH))


def ridge_replicate(setting: Setting, seed: int) -> Replicate:
    """Draw a cohort and backbones, and fit a ridge regression for every split.

    Args:
        setting: The setting.
        seed: Seed of the cohort and of the backbones.

    Returns:
        The replicate.
    """
    rng = np.random.default_rng(seed)
    world = made_world(rng)
    cohort = made_cohort(setting.people, world, rng)
    tasks = questions(cohort)
    encoders = [made_encoder(noise, rng) for noise in setting.noises]
    frames = np.stack([embed(cohort, encoder, rng)[LAYER] for encoder in encoders])
    people = [setting.splits(repeat) for repeat in range(setting.repeats)]
    fitted = np.zeros((len(TASKS), len(encoders), setting.repeats, setting.n_fold))
    predictions: dict[str, FloatArray] = {}
    truth: dict[str, FloatArray] = {}
    for t, name in enumerate(TASKS):
        of_frames = tasks[name].frames
        truth[name] = np.asarray(tasks[name].answers, dtype=np.float64)
        rows = frames.reshape(len(encoders), len(truth[name]), -1)
        rows = rows if of_frames else rows @ _TURNED
        shape = (len(encoders), setting.repeats, len(truth[name]))
        predictions[name] = np.full(shape, np.nan)
        for r, of_people in enumerate(people):
            splits = splits_of_frames(of_people) if of_frames else of_people
            for k, split in enumerate(splits):
                weights, offsets = _fitted(rows, truth[name], split)
                scores = np.einsum("bnd,bd->bn", rows[:, split.test], weights) + offsets[:, None]
                predictions[name][:, r, split.test] = scores
                n_tested = len(of_people[k].test)
                for b, encoder in enumerate(encoders):
                    of_rows = weights[b] if of_frames else _TURNED @ weights[b]
                    fit = Fit(split.test, scores[b], LAYER, of_rows, float(offsets[b]))
                    fitted[t, b, r, k] = population(name, fit, encoder, world, n_tested)
    return Replicate(truth, predictions, fitted)


def _fitted(rows: FloatArray, truth: FloatArray, split: RowSplit) -> tuple[FloatArray, FloatArray]:
    """Weights (backbones, features) and offsets, with the penalty that is best on the inner parts.

    Only the first three inner parts are used: they are enough to choose one of seven penalties.
    """
    loss = np.zeros((len(rows), len(PENALTIES)))
    for part in split.inner[:3]:
        others = np.setdiff1d(split.train, part)
        weights, offsets = _of_all_penalties(rows, truth, others)
        predicted = rows[:, part] @ weights + offsets[:, None]
        loss += np.square(predicted - truth[part][None, :, None]).sum(axis=1)
    weights, offsets = _of_all_penalties(rows, truth, split.train)
    best = loss.argmin(axis=1)
    backbones = np.arange(len(rows))
    return weights[backbones, :, best], offsets[backbones, best]


def _of_all_penalties(
    rows: FloatArray, truth: FloatArray, train: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Weights (backbones, features, penalties) and offsets (backbones, penalties)."""
    chosen = rows[:, train]
    centre = chosen.mean(axis=1, keepdims=True)
    centred = chosen - centre
    level = truth[train].mean()
    gram = centred.transpose(0, 2, 1) @ centred
    moments = centred.transpose(0, 2, 1) @ (truth[train] - level)
    values, directions = np.linalg.eigh(gram)
    along = np.einsum("bij,bi->bj", directions, moments)
    shrunk = along[:, :, None] / (values[:, :, None] + PENALTIES)
    weights = directions @ shrunk
    offsets = level - np.einsum("bd,bdp->bp", centre[:, 0], weights)
    return weights, offsets


def summaries_of(setting: Setting, replicates: int, folder: Path | None) -> list[Summary]:
    """Make the summaries of a setting, or read those that are kept."""
    return [summary_of(setting, seed, folder, ridge_replicate) for seed in range(replicates)]


def misses(found: dict[str, list[Summary]]) -> list[str]:
    """A line for each coverage and each share of false verdicts that is not as wanted."""
    low, high = COVERED
    lines = []
    for name, summaries in found.items():
        covered = encoders_covered(summaries)
        false = false_verdicts(summaries)
        for s, score in enumerate(SCORES):
            where = f"{TITLES[name]}, {WORDS[score]}"
            share = 100 * covered[:, s].mean()
            if not low <= share <= high:
                kind = "too narrow" if share < low else "wider than it need be"
                chance = _or_chance(max(low - share, share - high), covered[:, s])
                shown = with_error(covered[:, s])
                lines.append(f"* {where}: {shown} % covered, the interval is {kind}{chance}.")
            verdicts = 100 * false[:, s].mean()
            if verdicts > FALSE:
                chance = _or_chance(verdicts - FALSE, false[:, s])
                shown = with_error(false[:, s])
                lines.append(f"* {where}: {shown} % of boards have a false verdict{chance}.")
    aim = f"Wanted is a coverage of {low:.0f} to {high:.0f} % of *this encoder*, and a false verdict on"
    return ["", f"{aim} at most {FALSE:.0f} % of boards.", "", *(lines or ["* Nothing."]), ""]


def _or_chance(beyond: float, shares: Array) -> str:
    """What to say where shares miss the aim by less than they are known to."""
    return ", or this is chance" if beyond < error_of_share(shares) else ""


def board_of(setting: Setting) -> Setting:
    """The same setting with a board of twelve equal backbones."""
    return replace(setting, name=f"{setting.name}12", noises=TWELVE)


def page(found: dict[str, list[Summary]], boards: dict[str, list[Summary]], command: str) -> str:
    """The page: what the intervals of each setting cover, then boards of twelve."""
    lines = [
        "# Coverage over many cohorts, with ridge regressions",
        "",
        f"Made by `{command}`.",
        "",
        *HEADER,
    ]
    for name, summaries in found.items():
        lines += coverage_rows(TITLES[name], summaries)
    lines += [NOTES.rstrip("\n"), *misses(found)]
    if boards:
        lines += [
            "## Boards of twelve equal backbones",
            "",
            '"Any" is any of the 66 pairs, after Holm.',
            "",
            *HEADER,
        ]
        for name, summaries in boards.items():
            lines += coverage_rows(TITLES[name], summaries)
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description="coverage over many cohorts")
    parser.add_argument("--replicates", default="1000", help="a number, or one for each setting")
    parser.add_argument("--boards", default="100", help="cohorts with twelve backbones, likewise")
    parser.add_argument("--keep", type=Path, help="a folder that keeps replicates")
    asked = parser.parse_args()
    found = {}
    boards = {}
    for setting, n in zip(SETTINGS, one_for_each(asked.replicates, SETTINGS), strict=True):
        found[setting.name] = summaries_of(setting, n, asked.keep)
    for setting, n in zip(SETTINGS, one_for_each(asked.boards, SETTINGS), strict=True):
        if n:
            boards[setting.name] = summaries_of(board_of(setting), n, asked.keep)
    command = f"python -m benchmarks.coverage_ridge --replicates {asked.replicates} --boards {asked.boards}"
    PAGE.write_text(page(found, boards, command))


if __name__ == "__main__":
    main()
