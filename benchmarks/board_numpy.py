"""Scores, intervals and ranks of a board computed again with numpy alone: no code of etab is used.

``etab leaderboard RESULTS --suite SUITE --csv BOARD.csv`` writes a board;
``python -m benchmarks.board_numpy RESULTS SUITE.toml BOARD.csv`` computes it again from the records
and predictions of its cells: ETAB, etab-p, both intervals of the score, the interval of each value
for its encoder, and the ranks. A number that differs by more than 1e-9 is printed; the exit status is
then 1. Values and their intervals over patients are those of ``benchmarks/rescore_numpy.py``.
"""

from __future__ import annotations

import csv
import json
import math
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rescore_numpy import DRAWS, TOLERANCE, Array, Table, draws, read_table

# How much a training patient moves a value, a difference, and more with one division into folds.
OF_VALUE = 0.12
OF_DIFFERENCE = 0.3
OF_ONE_DIVISION = 0.15


@dataclass(frozen=True)
class Cell:
    """A record, its predictions, and by how much each patient moves its value.

    Attributes:
        record: The record.
        table: Its predictions.
        names: Sorted test patients.
        moves: (repeats, patients) in units of the metric.
        factors: What the training draw multiplies a variance by, of a value and of a difference.
    """

    record: dict[str, Any]
    table: Table
    names: list[str]
    moves: Array
    factors: tuple[float, float]

    @property
    def range(self) -> float:
        """From the lower anchor to the upper one."""
        return float(self.record["anchor_high"] - self.record["anchor_low"])


def incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (Lentz)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(1 - x, b, a)
    logs = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(logs + a * math.log(x) + b * math.log1p(-x)) / a
    tiny = 1e-300
    c = 1.0
    d = 1 / (1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 5000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        last = value
        for step in (even, odd):
            d = 1 / (1 + step * d or tiny)
            c = 1 + step / c or tiny
            value *= d * c
        if abs(value - last) < 1e-16 * abs(value):
            break
    return front * value


def two_sided(t: float, degrees: float) -> float:
    """P of Student's t, two-sided."""
    return incomplete_beta(degrees / (degrees + t * t), degrees / 2, 0.5)


def half_width(variance: float, degrees: float) -> float:
    """Half width of a 95 % interval by Student's t, whose quantile is found by bisection."""
    low = 0.0
    high = 1e6
    for _ in range(200):
        middle = (low + high) / 2
        if two_sided(middle, degrees) > 0.05:
            low = middle
        else:
            high = middle
    return high * math.sqrt(variance)


def moved(metric: str, table: Table) -> tuple[list[str], Array]:
    """Sorted patients, and by how much each moves the value of each repeat, by the jackknife."""
    names = np.unique(table.patients)
    n = len(names)
    moves = []
    for repeat in sorted(set(table.repeats.tolist()), key=int):
        part = table.part(table.repeats == repeat)
        left_out = (part.patients[None, :] != names[:, None]).astype(float)
        values = draws(metric, part, left_out)
        moves.append((values.mean() - values) * math.sqrt((n - 1) / n))
    return names.tolist(), np.array(moves)


def training_factors(record: Mapping[str, Any], table: Table) -> tuple[float, float]:
    """What the training draw multiplies a variance over patients by."""
    fits = len(set(zip(table.repeats.tolist(), table.folds.tolist(), strict=True)))
    n_fold = len(set(table.folds.tolist()))
    repeats = len(set(table.repeats.tolist()))
    keys = zip(table.repeats.tolist(), table.folds.tolist(), table.patients.tolist(), strict=True)
    tested = len(set(keys))
    protocol = record["protocol"]
    if protocol.startswith(("cv", "lodo")):
        share = tested / (fits * len(set(table.patients.tolist())) - tested)
    elif record.get("n_train_patients"):
        share = tested / fits / record["n_train_patients"]
    else:
        share = len(table) / fits / record["n_train"]
    more = OF_ONE_DIVISION if n_fold > 1 and repeats == 1 else 0.0
    parts = [OF_VALUE + more, OF_DIFFERENCE + more]
    if protocol == "lodo":
        parts = [1.0, 1.0]
    return 1 + parts[0] * n_fold * share, 1 + parts[1] * n_fold * share


def read_cells(
    folder: Path, lines: Sequence[Mapping[str, str]], seed: int
) -> dict[str, dict[str, Cell]]:
    """The cells of the ranked rows of a board, by backbone and task."""
    wanted = {(line["backbone"], line["task"], line["protocol"]) for line in lines}
    cells: dict[str, dict[str, Cell]] = {}
    for path in sorted(folder.rglob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        key = (record["backbone"], record["task"], record["protocol"])
        if key not in wanted or record["seed"] != seed:
            continue
        # Of several heads, the row of the board says whose value it shows.
        line = next(x for x in lines if (x["backbone"], x["task"], x["protocol"]) == key)
        if abs(float(line["value"]) - record["value"]) > TOLERANCE:
            continue
        _, table = read_table(path.with_suffix(".csv"))
        names, moves = moved(record["metric"], table)
        factors = training_factors(record, table)
        cell = Cell(record, table, names, moves, factors)
        cells.setdefault(record["backbone"], {})[record["task"]] = cell
    return cells


def shares_of(suite: Mapping[str, Any], weights: Mapping[str, float]) -> dict[str, float]:
    """Share of each task: categories weigh alike, and tasks by their weights inside them."""
    letters = sorted({code[0] for code in suite["tasks"]})
    by_category = suite.get("category_weights", {})
    total = sum(by_category.get(letter, 1.0) for letter in letters)
    shares = {}
    for code in suite["tasks"]:
        of_letter = [weights.get(c, 1.0) for c in suite["tasks"] if c[0] == code[0]]
        part = weights.get(code, 1.0) / sum(of_letter)
        shares[code] = part * by_category.get(code[0], 1.0) / total
    return shares


def score(cells: Mapping[str, Cell], shares: Mapping[str, float]) -> float:
    """The weighted sum of anchored values."""
    total = 0.0
    for code, share in shares.items():
        cell = cells[code]
        total += share * (cell.record["value"] - cell.record["anchor_low"]) / cell.range
    return total


def groups(cells: Mapping[str, Cell]) -> dict[tuple[str, str], list[str]]:
    """Tasks with the same patients in the same folds: those of one dataset and protocol."""
    members: dict[tuple[str, str], list[str]] = {}
    for code, cell in cells.items():
        key = (cell.record["dataset"], cell.record["protocol"])
        members.setdefault(key, []).append(code)
    return members


def mixed(cells: Mapping[str, Cell], shares: Mapping[str, float], codes: Sequence[str]) -> Array:
    """By how much each patient moves the weighted sum of some tasks: (repeats, patients)."""
    names = sorted({name for code in codes for name in cells[code].names})
    place = {name: i for i, name in enumerate(names)}
    total = np.zeros((len(cells[codes[0]].moves), len(names)))
    for code in codes:
        columns = [place[name] for name in cells[code].names]
        total[:, columns] += shares[code] / cells[code].range * cells[code].moves
    return total


def variance(
    members: Mapping[tuple[str, str], Array], factors: Mapping[tuple[str, str], float]
) -> float:
    """Variance of a sum over groups; the deviations of groups of one dataset add."""
    deviations: dict[str, float] = {}
    for (dataset, protocol), moves in members.items():
        of_group = factors[dataset, protocol] * float(np.square(moves).sum()) / len(moves)
        deviations[dataset] = deviations.get(dataset, 0.0) + math.sqrt(of_group)
    return sum(deviation**2 for deviation in deviations.values())


def holm(p: Sequence[float]) -> list[float]:
    """Holm's corrected p values."""
    corrected = [0.0] * len(p)
    largest = 0.0
    for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, (len(p) - step) * p[i])
        corrected[i] = min(largest, 1.0)
    return corrected


class Ranking:
    """The scores of the ranked rows of a board, with their intervals and ranks."""

    def __init__(
        self, cells: Mapping[str, Mapping[str, Cell]], suite: Mapping[str, Any], seed: int
    ) -> None:
        """Compute everything."""
        self.cells = cells
        self.shares = shares_of(suite, suite.get("task_weights", {}))
        self.precise = shares_of(suite, suite.get("precision_weights", {}))
        self.seed = seed
        first = next(iter(cells.values()))
        self.members = groups({code: first[code] for code in suite["tasks"]})
        self.degrees = min(len(first[code].names) for code in suite["tasks"]) - 1
        self.moves = {name: self._moves(own) for name, own in cells.items()}
        self.points = {name: score(own, self.shares) for name, own in cells.items()}
        self.ranks = self._ranks()
        self.resampled = self._resampled()

    def _moves(self, own: Mapping[str, Cell]) -> dict[tuple[str, str], Array]:
        return {key: mixed(own, self.shares, codes) for key, codes in self.members.items()}

    def _factors(self, own: Mapping[str, Cell], which: int) -> dict[tuple[str, str], float]:
        return {
            key: max(own[code].factors[which] for code in codes)
            for key, codes in self.members.items()
        }

    def encoder_interval(self, name: str) -> tuple[float, float]:
        """The interval of a score for its encoder."""
        of_score = variance(self.moves[name], self._factors(self.cells[name], 0))
        half = half_width(of_score, self.degrees)
        return self.points[name] - half, self.points[name] + half

    def _ranks(self) -> dict[str, tuple[int, int]]:
        names = list(self.points)
        pairs = list(combinations(names, 2))
        p = []
        for one, other in pairs:
            moves = {key: self.moves[one][key] - self.moves[other][key] for key in self.members}
            of_pair = variance(moves, self._factors(self.cells[one], 1))
            p.append(
                two_sided((self.points[one] - self.points[other]) / of_pair**0.5, self.degrees)
            )
        losses = dict.fromkeys(names, 0)
        wins = dict.fromkeys(names, 0)
        for (one, other), corrected in zip(pairs, holm(p), strict=True):
            if corrected < 0.05:
                is_above = self.points[one] > self.points[other]
                wins[one if is_above else other] += 1
                losses[other if is_above else one] += 1
        return {name: (1 + losses[name], len(names) - wins[name]) for name in names}

    def _resampled(self) -> dict[str, tuple[float, float]]:
        """The interval of each score over resamples of patients."""
        first = next(iter(self.cells.values()))
        names_of: dict[str, set[str]] = {}
        for code in self.shares:
            names_of.setdefault(first[code].record["dataset"], set()).update(first[code].names)
        counts: dict[str, dict[str, Array]] = {}
        for dataset, names in names_of.items():
            rng = np.random.default_rng([self.seed, *dataset.encode()])
            n = len(names)
            drawn = rng.multinomial(n, np.full(n, 1 / n), size=DRAWS)
            counts[dataset] = dict(zip(sorted(names), drawn.T, strict=True))
        intervals = {}
        for name, own in self.cells.items():
            total = np.zeros(DRAWS)
            for code, share in self.shares.items():
                record = own[code].record
                columns = counts[record["dataset"]]
                weights = np.array([columns[p] for p in own[code].table.patients.tolist()]).T
                values = draws(record["metric"], own[code].table, weights.astype(float))
                total += share * (values - record["anchor_low"]) / own[code].range
            low, high = np.quantile(total[np.isfinite(total)], [0.025, 0.975])
            intervals[name] = (float(low), float(high))
        return intervals


def numbers(ranking: Ranking, line: Mapping[str, str]) -> dict[str, float]:
    """What a line of the board must hold."""
    name = line["backbone"]
    cell = ranking.cells[name][line["task"]]
    spread = cell.factors[0] * float(np.square(cell.moves).sum()) / len(cell.moves)
    half = half_width(spread, len(cell.names) - 1)
    low, high = ranking.resampled[name]
    encoder_low, encoder_high = ranking.encoder_interval(name)
    return {
        "rank_low": ranking.ranks[name][0],
        "rank_high": ranking.ranks[name][1],
        "etab": ranking.points[name],
        "etab_low": low,
        "etab_high": high,
        "etab_p": score(ranking.cells[name], ranking.precise),
        "etab_encoder_low": encoder_low,
        "etab_encoder_high": encoder_high,
        "encoder_low": cell.record["value"] - half,
        "encoder_high": cell.record["value"] + half,
    }


def main(arguments: Sequence[str]) -> int:
    """Compute a board again and print what differs."""
    if len(arguments) != 3:
        sys.stderr.write("usage: python -m benchmarks.board_numpy RESULTS SUITE.toml BOARD.csv\n")
        return 2
    folder, suite_path, board = arguments
    suite = tomllib.loads(Path(suite_path).read_text(encoding="utf-8"))
    with Path(board).open(newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if line["rank_low"]]
    lines = [line for line in lines if line["task"] in suite["tasks"]]
    seed = int(lines[0]["seed"])
    ranking = Ranking(read_cells(Path(folder), lines, seed), suite, seed)
    compared = 0
    different = 0
    largest = 0.0
    for line in lines:
        for column, computed in numbers(ranking, line).items():
            if column == "etab_p" and not line[column]:
                continue  # a suite without frozen weights
            compared += 1
            gap = abs(float(line[column]) - computed)
            largest = max(largest, gap)
            if gap > TOLERANCE:
                different += 1
                where = f"{line['backbone']} {line['task']} {column}"
                sys.stdout.write(f"{where} is {line[column]}, computed {computed}\n")
    sys.stdout.write(
        f"{compared} numbers, {different} different; largest difference {largest:.1e}\n"
    )
    return 1 if different else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
