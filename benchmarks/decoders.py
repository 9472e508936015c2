"""Decoders against the linear segmentation probe, paired over patients, as a Markdown table.

``python -m benchmarks.decoders benchmarks/results benchmarks/results_finetune`` reads mask cells of several heads from one
or more folders. For each task, backbone and set of test rows (official, or folds) it prints the Dice of the linear probe on
frozen maps, and of each other head, frozen or with the backbone trained, with the 95 % interval over patients; and the
difference to the probe with its 95 % interval and p, Holm-corrected over all lines, with new test and training patients in
mind (``etab.metrics.inference``). Another probe is named by ``--against``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etab.errors import EtabError, MixedDataError, ResultError
from etab.leaderboard.designs import design_of
from etab.metrics.columns import ScoredRows
from etab.metrics.inference import paired_test
from etab.metrics.uncertainty import holm
from etab.results import Predictions, Result, load_results
from etab.tasks.protocols import parse
from etab.types import Kind

Key = tuple[str, str, str, int]


@dataclass(frozen=True)
class Line:
    """A head beside the probe on the same rows. Differences are head minus probe, in Dice."""

    key: Key
    probe: Result
    cell: Result
    difference: float
    low: float
    high: float
    p: float

    @property
    def trained(self) -> str:
        """What was trained besides the head."""
        how = parse(self.cell.protocol)
        what = {"": "no", "finetune": "yes", "head": "no"}.get(how.tuning, f"last {how.blocks}")
        return f"{what}, first on {how.source}" if how.source else what


def cells(folders: Sequence[Path]) -> Iterator[tuple[Result, Predictions]]:
    """Mask cells with their predictions; a cell that lies in two folders is taken once."""
    seen: set[str] = set()
    for folder in folders:
        for cell in load_results(folder):
            if cell.metric == "dice" and cell.identity() not in seen:
                seen.add(cell.identity())
                yield cell, cell.predictions(folder)


def pair(key: Key, probe: tuple[Result, Predictions], cell: tuple[Result, Predictions]) -> Line:
    """Compare two cells of the same rows; raises ResultError where rows, data or task version differ."""
    (a, one), (b, two) = cell, probe
    for what in ("task_version", "data_digest"):
        if getattr(a, what) != getattr(b, what):
            raise ResultError(
                f"{a.task} with {a.backbone}: {what} differs between {a.head} ({a.protocol}) and {b.head}."
            )
    if sorted(one.items) != sorted(two.items):
        raise ResultError(
            f"{a.task} with {a.backbone}: {a.head} ({a.protocol}) and {b.head} answered different rows."
        )
    place = {item: i for i, item in enumerate(two.items)}
    theirs = two.columns["dice"][[place[item] for item in one.items]]
    mine, patients = one.columns["dice"], np.array(one.patients)
    folds, repeats = np.array(one.folds), np.array(one.repeats)
    ours = ScoredRows(Kind.MASK, {"dice": mine}, patients, folds, repeats)
    others = ScoredRows(Kind.MASK, {"dice": theirs}, patients, folds, repeats)
    test = paired_test("dice", ours, others, design_of(a, one))
    return Line(key, b, a, test.difference, test.low, test.high, test.p)


def compare(folders: Sequence[Path], against: str = "linear_seg") -> list[Line]:
    """Every head beside the frozen probe of its task, backbone, base protocol and seed.

    Raises MixedDataError for phantom beside real, ResultError where there is nothing to compare.
    """
    found = list(cells(folders))
    if len({cell.phantom for cell, _ in found}) > 1:
        raise MixedDataError(
            "Phantom and real results do not share a table. Keep them in separate folders."
        )
    groups: dict[Key, list[tuple[Result, Predictions]]] = {}
    for cell, table in found:
        how = parse(cell.protocol)
        if not how.few:
            groups.setdefault((cell.task, cell.backbone, how.base, cell.seed), []).append(
                (cell, table)
            )
    lines: list[Line] = []
    for key, group in sorted(groups.items(), key=lambda g: g[0]):
        probe = [g for g in group if g[0].head == against and not parse(g[0].protocol).tuning]
        others = sorted((g for g in group if g not in probe), key=lambda g: -g[0].value)
        if len(probe) == 1:
            lines += [pair(key, probe[0], g) for g in others]
        elif len(probe) > 1:
            raise ResultError(
                f"{key[0]} with {key[1]}: two different results of {against} ({key[2]}, seed {key[3]})."
            )
    if not lines:
        raise ResultError(
            f"No mask cell stands beside {against} on the same task, backbone, protocol and seed."
        )
    return lines


def markdown(lines: Sequence[Line], against: str = "linear_seg") -> str:
    """The table, with what to know of it below."""
    p = holm([line.p for line in lines])
    made = "PHANTOM data, not patients. " if lines[0].cell.phantom else ""
    out = [
        f"| task | backbone | rows | head | backbone trained | Dice (95 %) | {against} | difference (95 %) | Holm p |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for line, corrected in zip(lines, p, strict=True):
        task, backbone, base, seed = line.key
        cell = line.cell
        out.append(
            f"| {task} | {backbone} | {base}{f', seed {seed}' if seed else ''} | {cell.head} | {line.trained} | "
            f"{cell.value:.4f} ({cell.low:.4f} to {cell.high:.4f}) | {line.probe.value:.4f} | "
            f"{line.difference:+.4f} ({line.low:+.4f} to {line.high:+.4f}) | {_p(float(corrected))} |"
        )
    wins = sum(line.difference > 0 and q < 0.05 for line, q in zip(lines, p, strict=True))
    patients = sorted({line.cell.n_patients for line in lines})
    said = f"{patients[0]} to {patients[-1]}" if len(patients) > 1 else f"{patients[0]}"
    out += [
        "",
        f"{made}{wins} of {len(lines)} are ahead of {against} (Holm p below 0.05); {said} test patients. "
        "Differences, with their intervals and p, are of new test and training patients.",
    ]
    return "\n".join(out) + "\n"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def by_head(lines: Sequence[Line]) -> Mapping[tuple[str, str], tuple[int, float]]:
    """How many lines each head (and what was trained) has, and their mean difference."""
    found: dict[tuple[str, str], list[float]] = {}
    for line in lines:
        found.setdefault((line.cell.head, line.trained), []).append(line.difference)
    return {key: (len(values), float(np.mean(values))) for key, values in found.items()}


def main(words: Sequence[str] | None = None) -> int:
    """Print the table; 1 with the reason on stderr where there is none."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.decoders",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", nargs="+", type=Path, help="folders of results")
    parser.add_argument(
        "--against", default="linear_seg", help="the head on frozen maps to compare with"
    )
    asked = parser.parse_args(words)
    try:
        lines = compare(asked.results, asked.against)
    except EtabError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    print("# Decoders beside the linear mask probe\n")
    print(markdown(lines, asked.against))
    for (head, trained), (n, mean) in by_head(lines).items():
        print(f"* {head} (backbone trained: {trained}): {mean:+.4f} on average of {n}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
