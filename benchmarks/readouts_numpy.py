"""Clinical read-outs and subgroups computed again with numpy alone: no code of etab is used.

``etab results RESULTS --clinical --json > READOUTS.json`` writes the read-outs of every result of a
folder; ``python -m benchmarks.readouts_numpy RESULTS READOUTS.json`` computes values and intervals
again from the stored predictions. With ``--root CAMUS`` on the first and ``CAMUS`` after the second,
the subgroups of CAMUS are computed, too, by sex, age, image quality and frame rate as the data tell
them, and volumes of the left ventricle from the masks beside the records. A number that differs by more
than 1e-9 is printed; the exit status is then 1.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rescore_numpy import (
    DRAWS,
    METRICS,
    Array,
    Table,
    Tally,
    by_patient,
    deviations,
    divide,
    draws,
    error,
    limit,
    mean,
    read_table,
)
from benchmarks.volumes_numpy import volumes

CHUNK = 250
CLASS_TASKS = ("b0", "b6", "b7", "b8")  # tasks whose values are ejection fractions
SMALLEST_GROUP = 50
FEWEST_PEOPLE = 5  # with limits of agreement
LEAST_SPREAD = 1e-6  # log-odds with a smaller standard deviation are alike

Function = Callable[[Table, Array], Array]
Number = tuple[float | None, float | None, float | None, int]


def of_rows(name: str) -> Function:
    """A metric of rescore_numpy under weights of rows."""
    return lambda table, weights: METRICS[name](table, weights)


def slope_of_error(table: Table, weights: Array) -> Array:
    """Slope of the error on the truth by weighted least squares."""
    truth = deviations(table["truth"], weights)
    wrong = deviations(error(table), weights)
    return divide((weights * truth * wrong).sum(axis=1), (weights * truth**2).sum(axis=1))


def called_below(ef: float) -> Function:
    """Share of the rows that are called below an ejection fraction."""
    return lambda table, weights: mean(table["score"] < ef, weights)


def sensitivity(table: Table, weights: Array) -> Array:
    """Highest sensitivity among thresholds with a specificity of 0.9 or more."""
    positive = table["truth"] == 1
    n_positive = weights @ positive
    n_negative = weights @ ~positive
    best = np.zeros(len(weights))
    order = np.argsort(-table["score"], kind="stable")
    scores, first = np.unique(-table["score"][order], return_index=True)
    ends = np.append(first[1:], len(order)) - 1
    hits = np.cumsum((weights * positive)[:, order], axis=1)[:, ends]
    alarms = np.cumsum((weights * ~positive)[:, order], axis=1)[:, ends]
    for k in range(len(scores)):
        allowed = divide(alarms[:, k], n_negative) <= 0.1 + 1e-12
        best = np.where(allowed, np.fmax(best, divide(hits[:, k], n_positive)), best)
    return np.where((n_positive > 0) & (n_negative > 0), best, np.nan)


def calibration_error(table: Table, weights: Array) -> Array:
    """Expected calibration error over ten bins of equal width."""
    bins = np.minimum(np.floor(table["score"] * 10), 9)
    total = np.zeros(len(weights))
    for k in range(10):
        inside = bins == k
        gaps = (table["score"] - table["truth"])[inside]
        total += np.abs(weights[:, inside] @ gaps)
    return divide(total, weights.sum(axis=1))


def of_likeliest(table: Table, weights: Array) -> Array:
    """Expected calibration error of the likeliest class."""
    scores = np.array([score for _, score in table.classes()])
    likeliest = scores.argmax(axis=0)
    columns = {
        "score": scores.max(axis=0),
        "truth": (likeliest == table["truth"]).astype(float),
    }
    table = Table("binary", table.patients, table.folds, table.repeats, columns)
    return calibration_error(table, weights)


def brier(table: Table, weights: Array) -> Array:
    """Mean squared error of a probability."""
    return mean(error(table) ** 2, weights)


def brier_of_classes(table: Table, weights: Array) -> Array:
    """The same summed over classes."""
    squares = sum((score - is_class) ** 2 for is_class, score in table.classes())
    return mean(np.asarray(squares), weights)


def fitted(table: Table, weights: Array, with_slope: bool) -> Array:
    """A logistic regression on the log-odds: its slope, or its intercept with the slope at 1.

    Newton's method with steps of at most 1, for all draws together. The slope does not exist where
    the log-odds of a draw are all alike.
    """
    p = np.clip(table["score"], 1e-6, 1 - 1e-6)
    odds = np.log(p / (1 - p))
    found = np.full(len(weights), np.nan)
    beta = np.tile([0.0, 1.0], (len(weights), 1))
    going = np.arange(len(weights))
    if with_slope:
        centred = (weights * deviations(odds, weights) ** 2).sum(axis=1)
        spread = divide(centred, weights.sum(axis=1))
        going = going[np.sqrt(spread) > LEAST_SPREAD]
    for _ in range(25):
        answer = 1 / (1 + np.exp(-(beta[going, :1] + beta[going, 1:] * odds)))
        wrong = weights[going] * (table["truth"] - answer)
        curvature = weights[going] * answer * (1 - answer)
        step = np.zeros((len(going), 2))
        if with_slope:
            # The log-odds are centred, so that both steps follow one after the other.
            around = deviations(odds, curvature)
            step[:, 1] = divide((wrong * around).sum(axis=1), (curvature * around**2).sum(axis=1))
            step[:, 0] = -mean(odds, curvature) * step[:, 1]
        step[:, 0] += divide(wrong.sum(axis=1), curvature.sum(axis=1))
        step = np.clip(step, -1, 1)
        beta[going] += step
        last = step[:, 1 if with_slope else 0]
        found[going] = np.where(np.abs(last) < 1e-6, beta[going, 1 if with_slope else 0], np.nan)
        going = going[~(np.abs(step).max(axis=1) < 1e-10)]
        if not len(going):
            break
    return found


def of_found(sound: str, column: str) -> Function:
    """Mean over people of a time, over the recordings in which the sound was found."""

    def function(table: Table, weights: Array) -> Array:
        among = table[f"{sound}_found"] > 0
        _, index = np.unique(table.patients, return_inverse=True)
        counts = np.bincount(index, weights=among)[index]
        shares = weights * np.where(among, 1 / np.maximum(counts, 1), 0.0)
        return divide(shares @ table[f"{sound}_{column}"], shares.sum(axis=1))

    return function


def quantile_of_found(sound: str, share: float) -> Function:
    """Quantile over people of their mean error: the smallest value with the share at or below it."""

    def function(table: Table, weights: Array) -> Array:
        names = table.patients.tolist()
        errors: dict[str, list[float]] = {}
        of_person: dict[str, Array] = {}
        for row, name in enumerate(names):
            if table[f"{sound}_found"][row] > 0:
                errors.setdefault(name, []).append(float(table[f"{sound}_error_ms"][row]))
                of_person[name] = weights[:, row]
        ordered = sorted((float(np.mean(values)), name) for name, values in errors.items())
        found = np.full(len(weights), np.nan)
        total = np.sum([of_person[name] for _, name in ordered], axis=0)
        below = np.zeros(len(weights))
        for value, name in ordered:
            before = below < share * total - 1e-9
            below = below + of_person[name]
            found = np.where(before & (below >= share * total - 1e-9), value, found)
        return found

    return function


def left_by(column: str) -> Function:
    """1 less the mean over people of a column."""
    metric = by_patient(column)
    return lambda table, weights: 1 - metric(table, weights)


def of_timing(every: Array) -> dict[str, tuple[Function, Array]]:
    """Timing of S1 and S2, and the sounds that were missed or are surplus."""
    named: dict[str, tuple[Function, Array]] = {}
    for sound in ("s1", "s2"):
        words = f"of {sound.upper()}, ms"
        named[f"timing error {words}"] = (of_found(sound, "error_ms"), every)
        named[f"mean lateness {words}"] = (of_found(sound, "late_ms"), every)
        named[f"median of the timing error {words}"] = (quantile_of_found(sound, 0.5), every)
        high = quantile_of_found(sound, 0.95)
        named[f"95th percentile of the timing error {words}"] = (high, every)
    for tolerance in (60, 100):
        named[f"S1 and S2 missed at {tolerance} ms"] = (left_by(f"se_{tolerance}"), every)
        named[f"surplus S1 and S2 at {tolerance} ms"] = (left_by(f"ppv_{tolerance}"), every)
    return named


def functions(task: str, table: Table) -> dict[str, tuple[Function, Array]]:
    """The read-outs of a table by name, each with the rows that it is of."""
    every = np.ones(len(table), dtype=bool)
    if table.kind == "binary":
        return {
            "sensitivity at 90 % specificity": (sensitivity, every),
            "ECE": (calibration_error, every),
            "Brier": (brier, every),
            "calibration slope": (lambda t, w: fitted(t, w, True), every),
            "calibration intercept": (lambda t, w: fitted(t, w, False), every),
        }
    if table.kind == "classes":
        return {
            "Brier over all classes": (brier_of_classes, every),
            "ECE of the likeliest class": (of_likeliest, every),
        }
    if table.kind == "mask":
        return {
            "Dice": (by_patient("dice"), every),
            "95th percentile surface distance, mm": (by_patient("hd95"), every),
            "mean surface distance, mm": (by_patient("msd"), every),
        }
    if table.kind == "states":
        return of_timing(every) if "s1_error_ms" in table.columns else {}
    agreement: dict[str, tuple[Function, Array]] = {
        "lower limit of agreement": (lambda t, w: limit(t, w, -1), every),
        "upper limit of agreement": (lambda t, w: limit(t, w, 1), every),
        "slope of error on truth": (slope_of_error, every),
    }
    if task[:2] not in CLASS_TASKS:
        return {"bias": (of_rows("bias"), every), **agreement}
    truth = table["truth"]
    named: dict[str, tuple[Function, Array]] = {
        "bias, EF < 40": (of_rows("bias"), truth < 40),
        "bias, EF 40 to 50": (of_rows("bias"), (truth >= 40) & (truth <= 50)),
        "bias, EF > 50": (of_rows("bias"), truth > 50),
        **agreement,
    }
    for ef in (40, 50):
        named[f"EF < {ef} called so"] = (called_below(ef), truth < ef)
        named[f"EF >= {ef} called lower"] = (called_below(ef), truth >= ef)
    return named


def over_repeats(function: Function, table: Table, weights: Array) -> Array:
    """Mean over the divisions into folds."""
    values = []
    for repeat in np.unique(table.repeats):
        rows = table.repeats == repeat
        values.append(function(table.part(rows), weights[:, rows]))
    return np.asarray(np.mean(values, axis=0))


def percentiles(values: Array, level: float) -> tuple[float | None, float | None]:
    """A percentile interval; None where the number does not exist in 5 % of the draws."""
    exists = values[np.isfinite(values)]
    if len(exists) < 0.95 * len(values):
        return None, None
    tail = (1 - level) / 2
    low, high = np.quantile(exists, [tail, 1 - tail])
    return float(low), float(high)


def readout(name: str, function: Function, table: Table, counts: Array) -> Number:
    """A read-out with its interval over patients; counts (draws, rows)."""
    if not len(table):
        return None, None, None, 0
    n = len(table) // len(set(table.repeats.tolist()))
    value = float(over_repeats(function, table, np.ones((1, len(table))))[0])
    if np.isnan(value):
        return None, None, None, n
    parts = [
        over_repeats(function, table, counts[start : start + CHUNK].astype(float))
        for start in range(0, len(counts), CHUNK)
    ]
    values = np.concatenate(parts)
    if name.startswith("ECE") and np.isfinite(values).any():
        # Resampling raises a mean of absolute gaps: the draws are moved onto the value.
        values = np.maximum(values - np.nanmean(values) + value, 0)
    return value, *percentiles(values, 0.95), n


def readouts(task: str, table: Table, seed: int) -> Iterator[tuple[str, Number]]:
    """The read-outs of a cell by name."""
    names, index = np.unique(table.patients, return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
    for name, (function, among) in functions(task, table).items():
        yield name, readout(name, function, table.part(among), counts[:, index[among]])


def of_volumes(
    path: Path, record: Mapping[str, Any], items: Sequence[str], table: Table, root: Path
) -> Iterator[tuple[str, Number]]:
    """Agreement of volumes at ED and ES, and of the EF, of a cell with masks beside its record."""
    for title, found, whole in volumes(path, record, items, table, root):
        chosen = sorted(found.values())
        if len({table.patients[row] for row, _, _ in chosen}) < FEWEST_PEOPLE:
            continue
        index = np.array([row for row, _, _ in chosen])
        columns = {
            "truth": np.array([one for _, one, _ in chosen]),
            "score": np.array([other for _, _, other in chosen]),
        }
        repeats = table.repeats[index] if whole else np.zeros(len(index), dtype=int)
        part = Table("value", table.patients[index], table.folds[index], repeats, columns)
        for name, number in readouts("volume", part, int(record["seed"])):
            yield f"{title}: {name}", number


def facts_of_camus(root: Path) -> dict[str, dict[str, str]]:
    """The groups of each patient of CAMUS by factor, from the files Info_2CH.cfg."""
    factors: dict[str, dict[str, str]] = {}
    for path in sorted(root.rglob("Info_2CH.cfg")):
        lines = [line.split(":", 1) for line in path.read_text().splitlines() if ":" in line]
        told = {name.strip(): text.strip() for name, text in lines}
        rate = float(told["FrameRate"])
        groups = {
            "sex": {"M": "male", "F": "female"}[told["Sex"]],
            "age": "65 or more" if int(told["Age"]) >= 65 else "below 65",
            "image quality": told["ImageQuality"].lower(),
            "frame rate": "below 45" if rate < 45 else "45 to 60" if rate <= 60 else "above 60",
        }
        for factor, group in groups.items():
            factors.setdefault(factor, {})[path.parent.name] = group
    return factors


def groups_of_rows(
    items: Sequence[str], table: Table, factors: Mapping[str, Mapping[str, str]]
) -> dict[str, list[str]]:
    """The group of each row by factor.

    The copy at hand tells quality and frame rate of one view. They are those of the rows of that view;
    where there are none, they stand for the other view, and the factor says so.
    """
    patients = table.patients.tolist()
    of_view = ["_2CH" in item for item in items]
    groups = {}
    for factor, group_of in factors.items():
        told = [group_of.get(patient, "") for patient in patients]
        title = factor
        if factor in ("image quality", "frame rate"):
            if any(of_view):
                told = [
                    group if is_2ch else "" for group, is_2ch in zip(told, of_view, strict=True)
                ]
            else:
                title = f"{factor} of A2C"
        groups[title] = told
    return groups


def subgroups(
    record: Mapping[str, object],
    items: Sequence[str],
    table: Table,
    factors: Mapping[str, Mapping[str, str]],
) -> Iterator[tuple[str, Number]]:
    """The metric of a cell in each subgroup of patients, and in the worst large one."""
    metric = str(record["metric"])
    groups = groups_of_rows(items, table, factors)
    present = [(title, group) for title, told in groups.items() for group in set(told) - {""}]
    level = 1 - 0.05 / len(present)
    found: dict[str, Number] = {}
    for title, group in sorted(present):
        part = table.part(np.array(groups[title]) == group)
        people, index = np.unique(part.patients, return_inverse=True)
        value = float(draws(metric, part, np.ones((1, len(part))))[0])
        if np.isnan(value):
            found[f"{title}: {group}"] = (None, None, None, len(people))
            continue
        rng = np.random.default_rng([int(str(record["seed"])), 0])
        counts = rng.multinomial(len(people), np.full(len(people), 1 / len(people)), size=DRAWS)
        values = [
            draws(metric, part, counts[start : start + CHUNK, index].astype(float))
            for start in range(0, DRAWS, CHUNK)
        ]
        ends = percentiles(np.concatenate(values), level)
        if ends[0] is None:
            found[f"{title}: {group}"] = (None, None, None, len(people))
        else:
            found[f"{title}: {group}"] = (value, *ends, len(people))
    large = {
        name: number
        for name, number in found.items()
        if number[3] >= SMALLEST_GROUP and number[0] is not None
    }
    for name, number in found.items():
        yield f"{metric}, {name}", number
    if large:
        sign = -1 if metric in ("mae", "cost") else 1
        worst = min(large, key=lambda name: sign * (large[name][0] or 0.0))
        yield f"{metric}, worst group ({worst})", large[worst]


def compare_readouts(
    folder: Path, stored: dict[str, Any], camus: Path | None, tally: Tally
) -> None:
    """Compute the read-outs of every record of a folder again, and its subgroups with CAMUS."""
    factors = facts_of_camus(camus) if camus else {}
    left = set(stored)
    for path in sorted(folder.rglob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        fields = ("task", "backbone", "protocol", "head")
        cell = " ".join([*(record[name] for name in fields), f"s{record['seed']}"])
        tally.records += 1
        if cell not in left:
            tally.report(f"{cell} has no read-outs, or those of another record")
            continue
        left.remove(cell)
        items, table = read_table(path.with_suffix(".csv"))
        computed = dict(readouts(record["task"], table, record["seed"]))
        if factors:
            computed |= dict(subgroups(record, items, table, factors))
        if camus:
            computed |= dict(of_volumes(path, record, items, table, camus))
        shown = {row["name"]: row for row in stored[cell]}
        for name in sorted(shown.keys() ^ computed.keys()):
            tally.report(f"{cell}: {name} is on one side alone")
        for name in sorted(shown.keys() & computed.keys()):
            for key, number in zip(("value", "low", "high", "n"), computed[name], strict=True):
                tally.compare(f"{cell}: {name} {key}", shown[name][key], number)
    for cell in sorted(left):
        tally.report(f"{cell} has no record in {folder}")


def main(arguments: Sequence[str]) -> int:
    """Compute the read-outs of a folder again and print what differs."""
    if len(arguments) not in (2, 3):
        sys.stderr.write(
            "usage: python -m benchmarks.readouts_numpy RESULTS READOUTS.json [CAMUS]\n"
        )
        return 2
    folder, path, *roots = map(Path, arguments)
    stored = json.loads(path.read_text(encoding="utf-8"))
    tally = Tally()
    compare_readouts(folder, stored, roots[0] if roots else None, tally)
    sys.stdout.write(tally.words())
    return tally.status()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
