"""Every number of stored results computed again with numpy alone: no code of etab is used.

``python benchmarks/rescore_numpy.py RESULTS [RESULTS ...]`` reads each record (JSON) and its
predictions (CSV), and computes the value, every metric, the value and size of each fold, the counts
and the seeded interval. A number that differs by more than 1e-9 is printed; the exit status is then
1. What a record holds and this script does not know is counted as "not computed". Masks beside a
record are unpacked, and their sha256 is compared with the one that the record holds.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Metric = Callable[["Table", Array], Array]

Area = Callable[[Array, Array, Array], tuple[Array, Array]]

TOLERANCE = 1e-9
DRAWS = 2000
# Shares of clean records among the abnormal and the normal ones of the training set of CinC 2016.
CLEAN_ABNORMAL = 572 / 665
CLEAN_NORMAL = 2302 / 2488


class Table:
    """Rows of predictions: patients, folds and repeats as arrays of text, columns of numbers."""

    def __init__(
        self, kind: str, patients: Array, folds: Array, repeats: Array, columns: dict[str, Array]
    ) -> None:
        """Keep the arrays."""
        self.kind = kind
        self.patients = patients
        self.folds = folds
        self.repeats = repeats
        self.columns = columns

    def __getitem__(self, name: str) -> Array:
        """Return a column."""
        return self.columns[name]

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.patients)

    def part(self, rows: Array) -> Table:
        """Select rows by a boolean mask."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        return Table(self.kind, self.patients[rows], self.folds[rows], self.repeats[rows], columns)

    def classes(self) -> list[tuple[Array, Array]]:
        """List (is the class, its score) of the second of two classes, or of each of several."""
        if self.kind == "binary":
            return [(self["truth"] == 1, self["score"])]
        names = [name for name in self.columns if name.startswith("score_")]
        return [(self["truth"] == k, self[name]) for k, name in enumerate(names)]

    def n_classes(self) -> int:
        """Count the classes."""
        return 2 if self.kind == "binary" else len(self.classes())


def read_table(path: Path) -> tuple[tuple[str, ...], Table]:
    """Read a CSV of predictions, or the same compressed beside it."""
    if path.exists():
        text = path.read_bytes().decode()
    else:
        text = gzip.decompress(Path(f"{path}.gz").read_bytes()).decode()
    lines = list(csv.reader(io.StringIO(text, newline="")))
    header = lines[0]
    by_name = dict(zip(header, zip(*lines[1:], strict=True), strict=True))
    kinds = set(by_name.pop("kind"))
    if len(kinds) != 1:
        raise ValueError(f"{path} holds rows of several kinds.")
    items = by_name.pop("item")
    patients = np.array(by_name.pop("patient"))
    folds = np.array(by_name.pop("fold"))
    repeats = np.array(by_name.pop("repeat", ("0",) * len(items)))
    columns = {name: np.array([float(text) for text in cells]) for name, cells in by_name.items()}
    return items, Table(kinds.pop(), patients, folds, repeats, columns)


def divide(over: Array, under: Array) -> Array:
    """Divide; not a number where the denominator is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(under > 0, over / under, np.nan)


def mean(values: Array, weights: Array) -> Array:
    """Weighted mean of (n,) under weights (draws, n)."""
    return divide(weights @ np.asarray(values, dtype=float), weights.sum(axis=1))


def share(hits: Array, among: Array, weights: Array) -> Array:
    """Weighted share of the rows ``among`` that are hits."""
    return divide(weights @ (hits * among).astype(float), weights @ among.astype(float))


def ordered_pairs(positive: Array, score: Array, weights: Array) -> tuple[Array, Array]:
    """Weight of the pairs in the right order, ties half, and of all pairs."""
    above = score[positive][:, None] > score[~positive][None, :]
    equal = score[positive][:, None] == score[~positive][None, :]
    right = above + equal / 2
    of_positive = weights[:, positive]
    of_negative = weights[:, ~positive]
    total = of_positive.sum(axis=1) * of_negative.sum(axis=1)
    return ((of_positive @ right) * of_negative).sum(axis=1), total


def precisions(positive: Array, score: Array, weights: Array) -> tuple[Array, Array]:
    """Weighted sum over positives of the precision at their score, and their weight."""
    if positive.all() or not positive.any():
        return np.zeros(len(weights)), np.zeros(len(weights))
    total = np.zeros(len(weights))
    for i in np.flatnonzero(positive):
        at_least = score >= score[i]
        precision = share(positive, at_least, weights)
        total += weights[:, i] * np.nan_to_num(precision)
    return total, weights[:, positive].sum(axis=1)


def area(table: Table, weights: Array, function: Area, within: bool) -> Array:
    """An area within folds, or of all rows: the mean over classes."""
    keys = np.char.add(np.char.add(table.repeats, "/"), table.folds)
    parts = [keys == key for key in np.unique(keys)] if within else [np.ones(len(table), bool)]
    values = []
    for positive, score in table.classes():
        over = np.zeros(len(weights))
        under = np.zeros(len(weights))
        for part in parts:
            numerator, denominator = function(positive[part], score[part], weights[:, part])
            over = over + numerator
            under = under + denominator
        values.append(divide(over, under))
    return np.asarray(np.mean(values, axis=0))


def over_databases(table: Table, weights: Array, function: Metric) -> Array:
    """Mean over the databases that have a value."""
    values = []
    for name in np.unique(table["group"]):
        rows = table["group"] == name
        values.append(function(table.part(rows), weights[:, rows]))
    exists = np.isfinite(values)
    return divide(np.nan_to_num(values).sum(axis=0), exists.sum(axis=0))


def error(table: Table) -> Array:
    """Score minus truth."""
    return table["score"] - table["truth"]


def rmse(table: Table, weights: Array) -> Array:
    """Root mean squared error."""
    return np.sqrt(mean(error(table) ** 2, weights))


def limit(table: Table, weights: Array, sign: int) -> Array:
    """Bias plus or minus 1.96 standard deviations with one degree of freedom less."""
    values = error(table)
    centre = mean(values, weights)
    squares = (weights * (values - centre[:, None]) ** 2).sum(axis=1)
    return centre + sign * 1.96 * np.sqrt(divide(squares, weights.sum(axis=1) - 1))


def deviations(values: Array, weights: Array) -> Array:
    """Deviations (draws, n) from the weighted mean."""
    return values - mean(values, weights)[:, None]


def pearson(table: Table, weights: Array) -> Array:
    """Correlation of truth and score."""
    truth = deviations(table["truth"], weights)
    score = deviations(table["score"], weights)
    product = (weights * truth * score).sum(axis=1)
    squares = (weights * truth**2).sum(axis=1) * (weights * score**2).sum(axis=1)
    return divide(product, np.sqrt(squares))


def r2(table: Table, weights: Array) -> Array:
    """One minus the residual over the total sum of squares."""
    total = (weights * deviations(table["truth"], weights) ** 2).sum(axis=1)
    return 1 - divide(weights @ error(table) ** 2, total)


def balanced_accuracy(table: Table, weights: Array) -> Array:
    """Mean recall of the most probable class, or of a probability from 0.5 on."""
    if table.kind == "binary":
        chosen = (table["score"] >= 0.5).astype(float)
    else:
        chosen = np.argmax([score for _, score in table.classes()], axis=0)
    recalls = []
    for k in range(table.n_classes()):
        recalls.append(share(chosen == k, table["truth"] == k, weights))
    return np.asarray(np.mean(recalls, axis=0))


def phase1(table: Table, weights: Array, positive: bool) -> Array:
    """Sensitivity or specificity; an unsure answer (0.5) is half right."""
    points = np.where(table["answer"] == 0.5, 0.5, table["answer"] == table["truth"])
    return share(points, (table["truth"] == 1) == positive, weights)


def macc(table: Table, weights: Array) -> Array:
    """Mean of both by the rule of the first phase."""
    return (phase1(table, weights, True) + phase1(table, weights, False)) / 2


def official(table: Table, weights: Array, positive: bool) -> Array:
    """Sensitivity or specificity of 2016: clean and noisy records apart."""
    clean_share = CLEAN_ABNORMAL if positive else CLEAN_NORMAL
    # -1: without a mark of quality, and not scored.
    of_class = ((table["truth"] == 1) == positive) & (table["clean"] >= 0)
    clean = table["clean"] == 1
    right = table["answer"] == table["truth"]
    unsure = table["answer"] == 0.5
    of_clean = share(right, of_class & clean, weights)
    of_noisy = share(right | unsure, of_class & ~clean, weights)
    points = clean_share * np.nan_to_num(of_clean) + (1 - clean_share) * np.nan_to_num(of_noisy)
    used = clean_share * np.isfinite(of_clean) + (1 - clean_share) * np.isfinite(of_noisy)
    return divide(points, used)


def weighted_accuracy(table: Table, weights: Array) -> Array:
    """Accuracy of 2022: Present counts 5, Unknown 3, Absent 1; Abnormal 5, Normal 1."""
    importance = np.array([1.0, 5.0] if table.kind == "binary" else [5.0, 3.0, 1.0])
    of_row = importance[table["truth"].astype(int)]
    return mean(table["answer"] == table["truth"], weights * of_row)


def f_measure(table: Table, weights: Array) -> Array:
    """Mean F over the classes that are true or answered."""
    values = []
    for k in range(table.n_classes()):
        true = (table["truth"] == k).astype(float)
        answered = (table["answer"] == k).astype(float)
        values.append(divide(2 * (weights @ (true * answered)), weights @ (true + answered)))
    exists = np.isfinite(values)
    return divide(np.nan_to_num(values).sum(axis=0), exists.sum(axis=0))


def cost(table: Table, weights: Array) -> Array:
    """Mean cost of a patient in 2022."""
    referred = table["answer"] == 1 if table.kind == "binary" else table["answer"] != 2
    abnormal = table["outcome"] == 1
    part = mean(referred, weights)
    expert = 25 + 397 * part - 1718 * part**2 + 11296 * part**4
    treated = mean(referred & abnormal, weights)
    missed = mean(~referred & abnormal, weights)
    return np.asarray(10 + expert + 10000 * treated + 50000 * missed)


def by_patient(name: str) -> Metric:
    """Mean over patients of the mean over their rows."""

    def metric(table: Table, weights: Array) -> Array:
        _, index, counts = np.unique(table.patients, return_inverse=True, return_counts=True)
        return mean(table[name], weights / counts[index])

    return metric


METRICS: dict[str, Metric] = {
    "mae": lambda t, w: mean(abs(error(t)), w),
    "rmse": rmse,
    "bias": lambda t, w: mean(error(t), w),
    "loa_low": lambda t, w: limit(t, w, -1),
    "loa_high": lambda t, w: limit(t, w, 1),
    "pearson_r": pearson,
    "r2": r2,
    "auroc": lambda t, w: area(t, w, ordered_pairs, True),
    "auroc_pooled": lambda t, w: area(t, w, ordered_pairs, False),
    "auprc": lambda t, w: area(t, w, precisions, True),
    "auprc_pooled": lambda t, w: area(t, w, precisions, False),
    "macro_auroc": lambda t, w: over_databases(t, w, METRICS["auroc"]),
    "macro_macc": lambda t, w: over_databases(t, w, macc),
    "balanced_accuracy": balanced_accuracy,
    "macc": macc,
    "se": lambda t, w: phase1(t, w, True),
    "sp": lambda t, w: phase1(t, w, False),
    "se_2016": lambda t, w: official(t, w, True),
    "sp_2016": lambda t, w: official(t, w, False),
    "macc_2016": lambda t, w: (official(t, w, True) + official(t, w, False)) / 2,
    "weighted_accuracy": weighted_accuracy,
    "f_measure": f_measure,
    "cost": cost,
    **{name: by_patient(name) for name in ("dice", "jaccard", "hd95", "msd")},
    **{
        name: by_patient(name)
        for name in ("f1_100", "se_100", "ppv_100", "f1_60", "se_60", "ppv_60", "frame_accuracy")
    },
}
WITHIN_FOLDS = ("auroc", "auprc", "macro_auroc")


def draws(name: str, table: Table, weights: Array) -> Array:
    """A metric under weights (draws, n): the mean over repeats, but for areas within folds."""
    if name in WITHIN_FOLDS:
        return METRICS[name](table, weights)
    values = []
    for repeat in np.unique(table.repeats):
        rows = table.repeats == repeat
        values.append(METRICS[name](table.part(rows), weights[:, rows]))
    return np.asarray(np.mean(values, axis=0))


def value(name: str, table: Table) -> float | None:
    """A metric; None where it does not exist."""
    number = float(draws(name, table, np.ones((1, len(table))))[0])
    return None if np.isnan(number) else number


def interval(record: dict[str, Any], table: Table) -> Array:
    """The percentile interval over the seeded resamples of patients."""
    rng = np.random.default_rng([record["seed"], 1, *record["task"].encode()])
    names, index = np.unique(table.patients, return_inverse=True)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
    values = []
    for start in range(0, DRAWS, 250):
        weights = counts[start : start + 250, index].astype(float)
        values.append(draws(record["metric"], table, weights))
    joined = np.concatenate(values)
    tail = (1 - record["level"]) / 2
    return np.asarray(np.quantile(joined[np.isfinite(joined)], [tail, 1 - tail]))


def numbers(
    record: dict[str, Any], items: tuple[str, ...], table: Table
) -> Iterator[tuple[str, Any, Any]]:
    """List (name, stored, computed) of every number of a record."""
    for name, stored in record["metrics"].items():
        yield name, stored, value(name, table) if name in METRICS else "not computed"
    yield "value", record["value"], value(record["metric"], table)
    low, high = interval(record, table)
    yield "low", record["low"], float(low)
    yield "high", record["high"], float(high)
    yield "n_test", record["n_test"], len(set(items))
    yield "n_patients", record["n_patients"], len(set(table.patients.tolist()))
    for fold in record["folds"]:
        rows = (table.folds == fold["name"]) & (table.repeats == str(fold.get("repeat", 0)))
        tested = table.part(rows)
        yield f"{fold['name']} n_test", fold["n_test"], len(tested)
        yield f"{fold['name']} value", fold["value"], value(record["metric"], tested)


def mask_digests(path: Path) -> list[str]:
    """Sha256 of each mask in a file of masks."""
    digests = []
    with np.load(path, allow_pickle=False) as content:
        shapes, boxes, bits = (content[name] for name in ("shape", "box", "bits"))
    start = 0
    for shape, (top, left, height, width) in zip(shapes.tolist(), boxes.tolist(), strict=True):
        mask = np.zeros(shape, dtype=bool)
        size = height * ((width + 7) // 8)
        rows = bits[start : start + size].reshape(height, (width + 7) // 8)
        mask[top : top + height, left : left + width] = np.unpackbits(rows, axis=1, count=width)
        start += size
        head = f"{shape[0]} {shape[1]}\n".encode()
        digests.append(hashlib.sha256(head + np.packbits(mask).tobytes()).hexdigest())
    return digests


def other_masks(record: dict[str, Any], path: Path) -> Iterator[str]:
    """Name each file of masks beside a record that does not have the digests of the record."""
    sample = [digest for _, _, digest in record.get("masks", {}).get("sample", [])]
    whole = record.get("masks", {}).get("sha256")
    beside = path.with_suffix(".masks-sample.npz")
    if beside.exists() and mask_digests(beside) != sample:
        yield f"{beside}: the masks are not those of the record"
    beside = path.with_suffix(".masks.npz")
    if beside.exists():
        lines = "".join(f"{digest}\n" for digest in mask_digests(beside))
        if hashlib.sha256(lines.encode()).hexdigest() != whole:
            yield f"{beside}: the masks are not those of the record"


def differs(stored: Any, computed: Any) -> bool:
    """Whether two numbers differ, or only one exists."""
    if stored is None or computed is None:
        return stored is not computed
    return not abs(stored - computed) <= TOLERANCE


class Tally:
    """How many stored numbers were compared with computed ones, how many differ, and by how much.

    Attributes:
        records: Records, boards or cells that the numbers are of.
        compared: Numbers that were compared.
        different: Numbers that differ, or that one side alone has.
        largest: Largest difference of the numbers that do not differ.
        unknown: Numbers that this script cannot compute, by name.
    """

    def __init__(self) -> None:
        """Start at nothing."""
        self.records = 0
        self.compared = 0
        self.different = 0
        self.largest = 0.0
        self.unknown: Counter[str] = Counter()

    def compare(self, where: str, stored: Any, computed: Any) -> None:
        """Compare a number, and print it where it differs."""
        self.compared += 1
        if differs(stored, computed):
            self.report(f"{where} is {stored}, computed {computed}")
        elif stored is not None:
            self.largest = max(self.largest, abs(stored - computed))

    def report(self, fault: str) -> None:
        """Print a fault and count it as a difference."""
        self.different += 1
        sys.stdout.write(f"{fault}\n")

    def words(self) -> str:
        """The counts in a line."""
        return (
            f"{self.compared} numbers, {self.different} different; "
            f"largest difference {self.largest:.1e}\n"
        )

    def status(self) -> int:
        """0 where numbers were compared and none differs, else 1."""
        return 1 if self.different or not self.compared else 0


def compare_records(folder: Path, tally: Tally) -> None:
    """Compute all records of a folder again."""
    for path in sorted(folder.rglob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        items, table = read_table(path.with_suffix(".csv"))
        tally.records += 1
        for reason in other_masks(record, path):
            tally.report(reason)
        for name, stored, computed in numbers(record, items, table):
            if computed == "not computed":
                tally.unknown[name] += 1
            else:
                tally.compare(f"{path}: {name}", stored, computed)


def main(folders: Sequence[str]) -> int:
    """Compute all records of the folders again and print what differs."""
    tally = Tally()
    for folder in folders:
        compare_records(Path(folder), tally)
    counts = [f"{tally.records} records", f"{tally.compared} numbers"]
    if tally.different:
        counts.append(f"{tally.different} different")
    counts += [f"{count} not computed: {name}" for name, count in tally.unknown.items()]
    largest = f"largest difference of the others {tally.largest:.1e}"
    sys.stdout.write(f"{', '.join(counts)}; {largest}\n")
    return tally.status()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
