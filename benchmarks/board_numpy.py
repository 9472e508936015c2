"""A board computed again with numpy alone: no code of etab is used.

``etab leaderboard RESULTS --suite SUITE --numbers BOARD.json`` writes every number of a board;
``python -m benchmarks.board_numpy RESULTS SUITE.toml BOARD.json [VARIANTS ...]`` computes all of them
again from the records and predictions of its cells: values with both intervals, ETAB, etab-p, etab2022,
means of categories, intervals, ranks, P(row above column), intervals of differences, what the board can
tell apart, reliabilities and shares of noise, and how far a cell depends on fold seed, head and precision
(from the folders that were given with ``--variants``). A number that differs by more than 1e-9 is
printed; the exit status is then 1. ``benchmarks/rescore_numpy.py`` does the same for records, and
``benchmarks/readouts_numpy.py`` for clinical read-outs.
"""

from __future__ import annotations

import json
import math
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rescore_numpy import (
    DRAWS,
    Array,
    Table,
    Tally,
    draws,
    interval,
    read_table,
    value,
)

# How much a training patient moves a value, a difference, a value of decided classes (by a threshold
# that is chosen, or by a fixed one), and more with one division into folds.
OF_VALUE = 0.12
OF_DIFFERENCE = 0.3
OF_DECISION = 0.3
OF_FIXED_DECISION = 0.5
OF_ONE_DIVISION = 0.15
# What the parts of patients vary by between divisions counts so much more in the variance of a value.
OF_DIVISIONS = 1.25

# Metrics whose interval of an encoder is symmetric in logits.
IN_LOGITS = ("auroc", "auroc_pooled", "auprc", "auprc_pooled")

# Metrics of decided classes; one of them decides by a fixed threshold.
AT_A_HALF = "balanced_accuracy"
DECIDED = {
    "balanced_accuracy",
    "cost",
    "f_measure",
    "macc",
    "macc_2016",
    "macro_macc",
    "se",
    "se_2016",
    "sp",
    "sp_2016",
    "weighted_accuracy",
}

# The lowest and the highest value of metrics that are no shares of 1: no interval goes beyond.
LIMITS = {
    **dict.fromkeys(("mae", "rmse", "hd95", "msd", "cost"), (0.0, math.inf)),
    **dict.fromkeys(("bias", "loa_low", "loa_high"), (-math.inf, math.inf)),
    "r2": (-math.inf, 1.0),
    "pearson_r": (-1.0, 1.0),
}


@dataclass(frozen=True)
class Cell:
    """A record, its predictions, and by how much each patient moves its value.

    Attributes:
        record: The record.
        table: Its predictions.
        names: Sorted test patients.
        moves: (repeats, patients) in units of the metric.
        factors: What the training draw multiplies a variance by, of a value and of a difference.
        added: What is added to the variance of a value that has a least variance.
    """

    record: dict[str, Any]
    table: Table
    names: list[str]
    moves: Array
    factors: tuple[float, float]
    added: float

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


def quantile(p: float, degrees: float) -> float:
    """The t of Student's distribution whose two-sided p is this, by bisection."""
    low = 0.0
    high = 1e6
    for _ in range(200):
        middle = (low + high) / 2
        if two_sided(middle, degrees) > p:
            low = middle
        else:
            high = middle
    return high


def half_width(variance: float, degrees: float) -> float:
    """Half width of a 95 % interval by Student's t."""
    return quantile(0.05, degrees) * math.sqrt(variance)


def ratio(difference: float, variance: float) -> float:
    """A difference in standard errors; 0 for no difference, infinite for one without variance."""
    if difference == 0:
        return 0.0
    if variance == 0:
        return math.copysign(math.inf, difference)
    return difference / math.sqrt(variance)


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


def even_variance(metric: str, table: Table) -> float:
    """Variance over patients if each were answered rightly with the same probability."""
    names = np.unique(table.patients)
    truth = table["truth"].astype(int)
    answers = np.concatenate([truth, (truth + 1) % table.n_classes()])
    columns = {name: np.tile(values, 2) for name, values in table.columns.items()}
    columns["answer"] = answers.astype(float)
    if table.kind == "binary":
        columns["score"] = columns["answer"]
    else:
        columns.update({f"score_{k}": 1.0 * (answers == k) for k in range(table.n_classes())})
    patients, folds, repeats = (
        np.tile(values, 2) for values in (table.patients, table.folds, table.repeats)
    )
    answered = Table(table.kind, patients, folds, repeats, columns)
    is_wrong = np.repeat([0.0, 1.0], len(table))
    best, worst = draws(metric, answered, np.stack([1 - is_wrong, is_wrong]))
    if best == worst:
        return 0.0
    share = min(max(((value(metric, table) or 0.0) - worst) / (best - worst), 0.0), 1.0)
    total = 0.0
    for start in range(0, len(names), 250):
        flipped = answered.patients[None, :] == names[start : start + 250, None]
        moves = draws(metric, answered, np.where(flipped, is_wrong, 1 - is_wrong)) - best
        total += float(np.square(moves).sum())
    return float(share * (1 - share) * total)


def added_variance(metric: str, table: Table, moves: Array, factors: Sequence[float]) -> float:
    """What is added to the variance of a value with factors (value, decision, fixed decision)."""
    parts = [table.part(table.repeats == repeat) for repeat in np.unique(table.repeats)]
    if metric in DECIDED:
        least = [even_variance(metric, part) for part in parts]
        factor = factors[2] if metric == AT_A_HALF else factors[1]
    elif metric == "r2":
        rest = [1 - (value(metric, part) or 0.0) for part in parts]
        least = [r**2 / len(np.unique(table.patients)) for r in rest]
        factor = factors[0]
    else:
        return 0.0
    within = float(np.square(moves).sum()) / len(moves)
    wanted = factor * max(float(np.mean(least)), within)
    return max(0.0, wanted - encoder_variance(moves, factors[0]))


def training_factors(record: Mapping[str, Any], table: Table) -> list[float]:
    """What the training draw multiplies a variance by: of a value, a difference, both decisions."""
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
    parts = [OF_VALUE, OF_DIFFERENCE, OF_DECISION, OF_FIXED_DECISION]
    parts = [1.0 if protocol == "lodo" else part + more for part in parts]
    return [1 + part * n_fold * share for part in parts]


def read_cells(folder: Path, board: Mapping[str, Any]) -> dict[str, dict[str, Cell]]:
    """The cells of the ranked rows of a board, by backbone and task."""
    wanted = {
        (row["backbone"], code, cell["protocol"], cell["head"])
        for row in board["rows"]
        if row["rank_low"]
        for code, cell in row["cells"].items()
    }
    cells: dict[str, dict[str, Cell]] = {}
    for path in sorted(folder.rglob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        key = (record["backbone"], record["task"], record["protocol"], record["head"])
        if key not in wanted or record["seed"] != board["seed"]:
            continue
        _, table = read_table(path.with_suffix(".csv"))
        names, moves = moved(record["metric"], table)
        of_value, of_difference, *of_decision = training_factors(record, table)
        added = added_variance(record["metric"], table, moves, (of_value, *of_decision))
        cell = Cell(record, table, names, moves, (of_value, of_difference), added)
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


def encoder_variance(moves: Array, factor: float) -> float:
    """Variance of a value over patients and training draws, from what patients move (repeats, n)."""
    within = float(np.square(moves).sum()) / len(moves)
    if len(moves) < 2:
        return factor * within
    between = float(np.var(moves, axis=0, ddof=1).sum())
    return max(factor * within, within + OF_DIVISIONS * between)


def ends(metric: str, value: float, half: float) -> tuple[float, float]:
    """The interval of an encoder around a value of a metric."""
    if metric in IN_LOGITS and 0 < value < 1:
        odds = value / (1 - value)
        step = math.exp(min(half / (value * (1 - value)), 700.0))
        low, high = odds / (odds + step), odds / (odds + 1 / step)
        return max(low, value - 3 * half), min(high, value + 3 * half)
    lowest, highest = LIMITS.get(metric, (0.0, 1.0))
    return max(value - half, lowest), min(value + half, highest)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's corrected p values."""
    corrected = [0.0] * len(p)
    largest = 0.0
    for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, (len(p) - step) * p[i])
        corrected[i] = min(largest, 1.0)
    return corrected


class Scores:
    """Weighted means of anchored values of n backbones, with the noise of their differences."""

    def __init__(
        self, cells: Mapping[str, Mapping[str, Cell]], shares: Mapping[str, float]
    ) -> None:
        """Compute the points and what each patient moves them by."""
        self.cells = cells
        self.shares = shares
        self.names = list(cells)
        first = next(iter(cells.values()))
        self.members = groups({code: first[code] for code in shares})
        self.degrees = min(len(first[code].names) for code in shares) - 1
        self.points = {name: score(own, shares) for name, own in cells.items()}
        self.moves = {name: self._moves(own) for name, own in cells.items()}
        self.apart = self._told_apart()

    def _moves(self, own: Mapping[str, Cell]) -> dict[tuple[str, str], Array]:
        return {key: mixed(own, self.shares, codes) for key, codes in self.members.items()}

    def factors(self, name: str, which: int) -> dict[tuple[str, str], float]:
        """What the training draw multiplies variances of each group by."""
        own = self.cells[name]
        return {
            key: max(own[code].factors[which] for code in codes)
            for key, codes in self.members.items()
        }

    def encoder_half(self, name: str) -> float:
        """Half width of the interval of a score for its encoder."""
        deviations: dict[str, float] = {}
        factors = self.factors(name, 0)
        own = self.cells[name]
        for (dataset, protocol), moves in self.moves[name].items():
            of_group = encoder_variance(moves, factors[dataset, protocol])
            of_group += sum(
                (self.shares[code] / own[code].range) ** 2 * own[code].added
                for code in self.members[dataset, protocol]
            )
            deviations[dataset] = deviations.get(dataset, 0.0) + math.sqrt(of_group)
        return half_width(sum(deviation**2 for deviation in deviations.values()), self.degrees)

    def of_pair(self, one: str, other: str) -> tuple[float, float]:
        """The difference of two scores, and its variance for encoders."""
        moves = {key: self.moves[one][key] - self.moves[other][key] for key in self.members}
        difference = self.points[one] - self.points[other]
        return difference, variance(moves, self.factors(one, 1))

    def probe_half(self, one: str, other: str) -> float:
        """Half width of the difference of two scores for these probes on new patients."""
        moves = {
            key: (self.moves[one][key] - self.moves[other][key]).mean(axis=0, keepdims=True)
            for key in self.members
        }
        return half_width(variance(moves, dict.fromkeys(self.members, 1.0)), self.degrees)

    def above(self, one: str, other: str) -> float:
        """P(one above other)."""
        t = ratio(*self.of_pair(one, other))
        tail = two_sided(abs(t), self.degrees) / 2
        return tail if t < 0 else 1 - tail

    def digest(self, name: str) -> str:
        """Digest of the weights of a backbone."""
        return str(next(iter(self.cells[name].values())).record["weights_sha256"])

    def _told_apart(self) -> dict[tuple[str, str], bool]:
        """Verdict of each pair of other weights, by Holm over one entry for each weights."""
        first: dict[str, str] = {}
        for name in self.names:
            first.setdefault(self.digest(name), name)
        p = {}
        for one, other in combinations(self.names, 2):
            p[one, other] = two_sided(abs(ratio(*self.of_pair(one, other))), self.degrees)
        verdicts = {}
        for one, other in p:
            pair = (self.digest(one), self.digest(other))
            if pair[0] == pair[1]:
                continue
            # Both stand in the family for the first entries with their weights.
            stand_in = {pair[0]: one, pair[1]: other}
            family = [stand_in.get(digest, name) for digest, name in first.items()]
            family.sort(key=self.names.index)
            tests = list(combinations(family, 2))
            corrected = holm([p[test] for test in tests])
            verdicts[one, other] = corrected[tests.index((one, other))] < 0.05
        return verdicts

    def beats(self, one: str, other: str) -> bool:
        """Whether one is told apart from other and above it."""
        apart = self.apart.get((one, other), self.apart.get((other, one), False))
        return apart and self.points[one] > self.points[other]

    def separation(self) -> dict[str, float | None]:
        """What the differences can tell apart."""
        if not self.apart:
            return dict.fromkeys(("smallest", "largest_tie", "found")) | {
                "pairs": 0,
                "told_apart": 0,
            }
        gaps = {pair: abs(self.of_pair(*pair)[0]) for pair in self.apart}
        variances = [self.of_pair(*pair)[1] for pair in self.apart]
        family = len({self.digest(name) for name in self.names})
        strictest = quantile(0.05 / (family * (family - 1) / 2), self.degrees)
        steps = strictest + quantile(0.4, self.degrees)
        found = [gap for pair, gap in gaps.items() if self.apart[pair]]
        tied = [gap for pair, gap in gaps.items() if not self.apart[pair]]
        return {
            "pairs": len(gaps),
            "told_apart": len(found),
            "smallest": min(found, default=None),
            "largest_tie": max(tied, default=None),
            "found": steps * math.sqrt(float(np.median(variances))),
        }

    def by_patient(self) -> dict[str, Array]:
        """What backbones differ by, by dataset: (backbones, patients) around their mean."""
        total: dict[str, Array] = {}
        for key in self.members:
            moves = np.stack([self.moves[name][key].mean(axis=0) for name in self.names])
            total[key[0]] = total.get(key[0], 0) + moves - moves.mean(axis=0)
        return total


def shared_noise(one: Scores, other: Scores) -> float:
    """Covariance over patients of two means, for what backbones differ by."""
    others = other.by_patient()
    total = sum(float((moves * others[key]).sum()) for key, moves in one.by_patient().items())
    return total / (len(one.names) - 1)


class Ranking:
    """The scores of the ranked rows of a board, with their intervals and ranks."""

    def __init__(
        self, cells: Mapping[str, Mapping[str, Cell]], suite: Mapping[str, Any], seed: int
    ) -> None:
        """Compute everything."""
        self.cells = cells
        self.shares = shares_of(suite, suite.get("task_weights", {}))
        self.has_precise = bool(suite.get("precision_weights"))
        self.precise = shares_of(suite, suite.get("precision_weights", {}))
        self.seed = seed
        self.scores = Scores(cells, self.shares)
        self.resampled = self._resampled()

    def rank(self, name: str) -> tuple[int, int]:
        """Best and worst rank."""
        names = self.scores.names
        losses = sum(self.scores.beats(other, name) for other in names)
        wins = sum(self.scores.beats(name, other) for other in names)
        return 1 + losses, len(names) - wins

    def within(self, codes: Sequence[str]) -> dict[str, float]:
        """Shares of some tasks among themselves."""
        total = sum(self.shares[code] for code in codes)
        return {code: self.shares[code] / total for code in codes}

    def reliability(self, codes: Sequence[str]) -> dict[str, Any]:
        """Cronbach's alpha over patients of the mean of some tasks, and its share of the noise."""
        own = Scores(self.cells, self.within(codes))
        spread = float(np.var(list(own.points.values()), ddof=1))
        share = sum(self.shares[code] for code in codes)
        noise = shared_noise(own, self.scores) / shared_noise(self.scores, self.scores)
        return {
            "reliability": 1 - shared_noise(own, own) / spread if spread > 0 else None,
            "noise_share": share * noise,
            "separation": own.separation(),
        }

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


def raw2022(cell: Cell) -> float:
    """The raw metric of 2022: Jaccard, R2 in [0, 1], AUROC, or the metric of heart states."""
    if cell.table.kind == "states":
        return float(cell.record["value"])
    if cell.table.kind == "value":
        return min(max(value("r2", cell.table) or 0.0, 0.0), 1.0)
    if cell.table.kind == "mask":
        return value("jaccard", cell.table) or 0.0
    by_database = cell.record["metric"] == "macro_macc"
    return value("macro_auroc" if by_database else "auroc", cell.table) or 0.0


def is_variant(record: Mapping[str, Any], other: Mapping[str, Any], changed: str) -> bool:
    """Whether two results of one cell differ in one choice alone."""

    def facts(of: Mapping[str, Any]) -> dict[str, Any]:
        settings = of["settings"]
        names = ("task", "task_version", "backbone", "protocol", "metric", "weights_sha256")
        return {
            **{name: of[name] for name in names},
            "head": of["head"],
            "seed": of["seed"],
            "data": of["data_digest"],
            "precision": settings.get("precision"),
            **{name: settings.get(name) for name in ("size", "interpolation", "fit", "aggregate")},
        }

    ours, theirs = facts(record), facts(other)
    return [name for name in ours if ours[name] != theirs[name]] == [changed]


def dependence(cell: Cell, others: Sequence[tuple[dict[str, Any], Table]]) -> dict[str, Any]:
    """How far a cell depends on the seed of its folds, its head and its precision."""
    metric = cell.record["metric"]
    found: dict[str, Any] = {"fold seed": None, "head": None, "precision": None}
    by_seed = {
        cell.record["seed"] + int(repeat): value(metric, cell.table.part(rows))
        for repeat, rows in of_repeats(cell.table)
    }
    for record, table in others:
        if is_variant(cell.record, record, "seed"):
            for repeat, rows in of_repeats(table):
                by_seed[record["seed"] + int(repeat)] = value(metric, table.part(rows))
    if cell.record["protocol"].startswith("cv") and len(by_seed) > 1:
        found["fold seed"] = float(np.std(np.array(list(by_seed.values()), dtype=float), ddof=1))
    for choice in ("head", "precision"):
        differences = [
            (value(metric, table) or 0.0) - cell.record["value"]
            for record, table in others
            if is_variant(cell.record, record, choice)
        ]
        if differences:
            found[choice] = max(differences, key=abs)
    return found


def of_repeats(table: Table) -> Iterator[tuple[str, Array]]:
    """The rows of each division into folds."""
    for repeat in sorted(set(table.repeats.tolist()), key=int):
        yield repeat, table.repeats == repeat


def read_others(
    folders: Sequence[Path], cells: Mapping[str, Mapping[str, Cell]]
) -> dict[tuple[str, str], list[tuple[dict[str, Any], Table]]]:
    """Results of the same backbones and tasks that are no cells of the board."""
    ranked = {id(cell): cell.record for own in cells.values() for cell in own.values()}
    others: dict[tuple[str, str], list[tuple[dict[str, Any], Table]]] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.json")):
            record = json.loads(path.read_text(encoding="utf-8"))
            key = (record["backbone"], record["task"])
            if record["task"] not in cells.get(record["backbone"], {}):
                continue
            if record in ranked.values():
                continue
            choices = ("seed", "head", "precision")
            of_board = cells[key[0]][key[1]].record
            if any(is_variant(of_board, record, choice) for choice in choices):
                others.setdefault(key, []).append((record, read_table(path.with_suffix(".csv"))[1]))
    return others


def row_numbers(
    ranking: Ranking, name: str, others: Mapping[Any, Any]
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every number of the row of a backbone, each with its place in the row."""
    own = ranking.cells[name]
    point = ranking.scores.points[name]
    half = ranking.scores.encoder_half(name)
    yield ("rank_low",), ranking.rank(name)[0]
    yield ("rank_high",), ranking.rank(name)[1]
    yield ("etab",), point
    yield ("low",), ranking.resampled[name][0]
    yield ("high",), ranking.resampled[name][1]
    yield ("encoder_low",), point - half
    yield ("encoder_high",), point + half
    yield ("etab_p",), score(own, ranking.precise) if ranking.has_precise else None
    yield ("etab2022",), sum(share * raw2022(own[c]) for c, share in ranking.shares.items())
    for letter in sorted({code[0] for code in ranking.shares}):
        codes = [code for code in ranking.shares if code[0] == letter]
        yield ("categories", letter), score(own, ranking.within(codes))
    for code in ranking.shares:
        cell = own[code]
        of_cell = encoder_variance(cell.moves, cell.factors[0]) + cell.added
        half = half_width(of_cell, len(cell.names) - 1)
        computed = value(cell.record["metric"], cell.table) or 0.0
        low, high = interval(cell.record, cell.table)
        yield ("cells", code, "value"), computed
        yield ("cells", code, "low"), float(low)
        yield ("cells", code, "high"), float(high)
        encoder = ends(cell.record["metric"], computed, half)
        yield ("cells", code, "encoder_low"), encoder[0]
        yield ("cells", code, "encoder_high"), encoder[1]
        yield ("cells", code, "anchored"), (computed - cell.record["anchor_low"]) / cell.range
        yield ("cells", code, "patients"), len(cell.names)
        for choice, number in dependence(cell, others.get((name, code), [])).items():
            yield ("cells", code, "depends_on", choice), number


def numbers(ranking: Ranking, others: Mapping[Any, Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every number of a board, each with its place in the JSON."""
    scores = ranking.scores
    for i, one in enumerate(scores.names):
        for place, number in row_numbers(ranking, one, others):
            yield ("rows", i, *place), number
        for j, other in enumerate(scores.names):
            yield ("p_better", i, j), scores.above(one, other)
            yield ("told_apart", i, j), scores.beats(one, other)
            yield ("probe_half", i, j), scores.probe_half(one, other)
            pair = half_width(scores.of_pair(one, other)[1], scores.degrees)
            yield ("encoder_half", i, j), pair
    for name, number in scores.separation().items():
        yield ("separation", name), number
    codes = list(ranking.shares)
    for name in [*sorted({code[0] for code in codes}), *codes]:
        members = [code for code in codes if code == name or code[0] == name]
        for key, known in ranking.reliability(members).items():
            if key == "separation":
                for part, number in known.items():
                    yield ("reliability", name, key, part), number
            else:
                yield ("reliability", name, key), known


def at(board: Any, place: Sequence[Any]) -> Any:
    """The number at a place of the JSON."""
    for key in place:
        board = board[key]
    return board


def compare_board(
    folder: Path, suite_path: Path, path: Path, variants: Sequence[Path], tally: Tally
) -> None:
    """Compute the board of a folder again, and compare it with the one that etab wrote."""
    suite = tomllib.loads(suite_path.read_text(encoding="utf-8"))
    board = json.loads(path.read_text(encoding="utf-8"))
    cells = read_cells(folder, board)
    cells = {name: cells[name] for name in board["ranked"]}
    others = read_others([folder, *variants], cells)
    tally.records += 1
    for place, computed in numbers(Ranking(cells, suite, board["seed"]), others):
        tally.compare(" ".join(map(str, place)), at(board, place), computed)


def main(arguments: Sequence[str]) -> int:
    """Compute a board again and print what differs."""
    if len(arguments) < 3:
        sys.stderr.write(
            "usage: python -m benchmarks.board_numpy RESULTS SUITE.toml BOARD.json [VARIANTS ...]\n"
        )
        return 2
    folder, suite_path, path, *variants = map(Path, arguments)
    tally = Tally()
    compare_board(folder, suite_path, path, variants, tally)
    sys.stdout.write(tally.words())
    return tally.status()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
