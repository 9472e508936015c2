"""Label efficiency: how a value grows with the number of labelled patients.

A point of a curve is one task, one backbone, and one share (or number in each class) of the
training patients. Its value is the mean over the draws of these patients. Its interval mixes the
draws with resamples of the test patients, so that it covers both another draw of labels and another
test cohort. ``etab run --fractions 2,5,10,25,50,100 --draws 3`` computes the results.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from etab.errors import DataNotFoundError, EtabError, EtabWarning, ResultError
from etab.files import read_text_file
from etab.leaderboard.admission.ranges import scorable_predictions
from etab.leaderboard.board import PRETRAINED, kind_of
from etab.leaderboard.notes import set_aside_note
from etab.leaderboard.summary import Cards, target_of
from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows
from etab.metrics.uncertainty import resample_weights, weighted
from etab.results import Predictions, Result, read_results
from etab.storage.text import spreadsheet_text
from etab.tasks.menu import TASKS
from etab.tasks.protocols import Protocol, parse
from etab.tasks.words import metric_unit, with_unit
from etab.types import FloatArray

RESAMPLES = 500
_CSV_HEADER = (
    "task",
    "backbone",
    "protocol",
    "labels",
    "draws",
    "training_rows",
    "metric",
    "value",
    "low",
    "high",
    "phantom",
)
_SHARE = re.compile(r"(?P<percent>\d{1,3}(\.\d+)?) %|(?P<shots>\d{1,6}) a class")


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One point of a curve.

    Attributes:
        task: Code of the task.
        backbone: Name of the backbone.
        base: Name of the protocol without its share of labels.
        labels: The labelled patients in words: ``"10 %"`` or ``"5 a class"``.
        percent: Share of the training patients in percent; 0 where ``shots`` are drawn instead.
        shots: Number of patients drawn from each class; 0 where a share is drawn instead.
        draws: Number of draws that the value is the mean of.
        rows: Number of training rows, the mean over draws and folds.
        metric: Name of the metric.
        value: Mean of the metric over the draws.
        low: Lower end of the 95 % interval over draws and test patients.
        high: Upper end of the 95 % interval over draws and test patients.
        phantom: Whether the data are phantom data, not of patients.
        kind: ``"pretrained"``, ``"pretraining not stated"``, ``"random twin"`` or ``"control"``.
    """

    task: str
    backbone: str
    base: str
    labels: str
    percent: float
    shots: int
    draws: int
    rows: float
    metric: str
    value: float
    low: float
    high: float
    phantom: bool
    kind: str = PRETRAINED


def curve_points(folder: Path, *, seed: int = 0) -> list[CurvePoint]:
    """Compute the points of all curves from the results in a folder.

    Files that cannot be read are set aside; a warning names them with the reasons.

    Args:
        folder: Folder of results that ``etab run --fractions`` or ``--shots`` wrote.
        seed: Seed of the resamples of test patients.

    Returns:
        The points, sorted by task, backbone and number of labels.

    Raises:
        DataNotFoundError: There is no such folder, or it holds no result with few labelled patients.
        ResultError: If phantom and real results, or results of different versions of the data,
            would lie on one curve.
    """
    if not folder.is_dir():
        raise DataNotFoundError(f"There is no folder {folder}; name the --results of a run.")
    files = read_results(folder)
    problems = list(files.problems)
    results: list[Result] = []
    for result in files.results:
        try:
            parse(result.protocol)
        except EtabError as error:
            problems.append(f"{result.path(folder)}: {error}")
        else:
            results.append(result)
    groups = _with_few_labels(results)
    if not groups:
        raise DataNotFoundError(
            f"{folder} holds no cell with few labelled patients. Make some with "
            f"`etab run --fractions 2,5,10,25,50,100 --draws 3 --results {folder}`."
        )
    _refuse_mixed_curves(folder, [result for group in groups.values() for result in group])
    points: list[CurvePoint] = []
    for group in groups.values():
        tables: list[tuple[Result, Predictions]] = []
        for result in group:
            try:
                tables.append((result, scorable_predictions(result, folder)))
            except ResultError as error:
                problems.append(str(error))
        if tables:
            points.append(_point(tables, seed))
    for note in set_aside_note(problems, "these curves"):
        warnings.warn(note, EtabWarning, stacklevel=2)
    return sorted(points, key=lambda p: (p.task, p.backbone, p.base, p.percent, p.shots))


def _with_few_labels(results: Sequence[Result]) -> dict[tuple[object, ...], list[Result]]:
    """Results by their point, of curves that have at least one point with few labels."""
    curves = {_curve(result) for result in results if parse(result.protocol).few}
    groups: dict[tuple[object, ...], list[Result]] = {}
    for result in results:
        if _curve(result) in curves:
            groups.setdefault((*_curve(result), *_labels(result)), []).append(result)
    return groups


def _curve(result: Result) -> tuple[object, ...]:
    """The key of a curve, which all of its points share."""
    protocol = parse(result.protocol)
    cell = (result.task, result.backbone, result.head, result.seed)
    return (*cell, protocol.tuning, protocol.source)


def _labels(result: Result) -> tuple[object, ...]:
    """The key of a point, which all of its draws share."""
    protocol = parse(result.protocol)
    splits = (protocol.sort, protocol.listed, protocol.n_fold, protocol.repeats)
    return (*splits, protocol.percent or 0.0, protocol.shots or 0)


def _refuse_mixed_curves(folder: Path, results: Sequence[Result]) -> None:
    if len({result.phantom for result in results}) > 1:
        raise ResultError(
            f"{folder} holds phantom and real results; curves of both never share a page. Keep "
            "them in separate folders."
        )
    digests: dict[str, str] = {}
    for result in results:
        first = digests.setdefault(result.dataset, result.data_digest)
        if first != result.data_digest:
            raise ResultError(
                f"{folder} holds results of two versions of {result.dataset}: {result.task}, "
                f"{result.backbone} differs."
            )


def _point(tables: Sequence[tuple[Result, Predictions]], seed: int) -> CurvePoint:
    draws = [result for result, _ in tables]
    first = draws[0]
    protocol = parse(first.protocol)
    rng = np.random.default_rng([seed, *first.task.encode()])
    resampled = [_resampled_values(result, table, rng) for result, table in tables]
    low, high = np.nanquantile(np.concatenate(resampled), [0.025, 0.975])
    return CurvePoint(
        task=first.task,
        backbone=first.backbone,
        base=replace(protocol, percent=None, shots=None, draw=0).name,
        labels=_label_words(protocol),
        percent=0.0 if protocol.shots else protocol.percent or 100.0,
        shots=protocol.shots or 0,
        draws=len(draws),
        rows=float(np.mean([result.n_train for result in draws])),
        metric=first.metric,
        value=float(np.mean([result.value for result in draws])),
        low=float(low),
        high=float(high),
        phantom=first.phantom,
        kind=kind_of(first.backbone, draws),
    )


def _label_words(protocol: Protocol) -> str:
    if protocol.shots:
        return f"{protocol.shots} a class"
    return f"{protocol.percent or 100:g} %"


def _resampled_values(result: Result, table: Predictions, rng: np.random.Generator) -> FloatArray:
    rows = ScoredRows.of(table)
    order = np.unique(rows.patients)
    weights = resample_weights(len(order), RESAMPLES, rng)
    return weighted(result.metric, rows, order, weights)


def curves_csv(points: Sequence[CurvePoint]) -> str:
    """Write the points as CSV, a line for each.

    Args:
        points: The points, as ``curve_points`` returns them.

    Returns:
        The text, with a header.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_CSV_HEADER)
    writer.writerows(map(_fields, points))
    return text.getvalue()


def _fields(point: CurvePoint) -> list[str]:
    """The texts of a line, in the order of the header."""
    return [
        point.task,
        spreadsheet_text(point.backbone),
        point.base,
        point.labels,
        str(point.draws),
        f"{point.rows:g}",
        point.metric,
        f"{point.value:.6g}",
        f"{point.low:.6g}",
        f"{point.high:.6g}",
        "phantom" if point.phantom else "",
    ]


def unit_of_point(point: CurvePoint, cards: Cards) -> str:
    """Return the unit of the value of a point.

    Args:
        point: A point.
        cards: Cards by the name of the dataset.

    Returns:
        The unit, or "" where it has none or this installation does not know the task.
    """
    target = target_of(point.task, cards) if point.task in TASKS else None
    return metric_unit(point.metric, target)


def read_curves(path: Path) -> list[CurvePoint]:
    """Read a file of ``curves_csv``.

    Args:
        path: The file.

    Returns:
        The points. Their kind is that of the name of the backbone.

    Raises:
        DataNotFoundError: If the file cannot be read.
        ResultError: If it is not such a file, or damaged: with a number that its metric cannot
            have, the metric of another task, a point twice, or a line that is written otherwise.
    """
    try:
        lines = list(csv.reader(io.StringIO(read_text_file(path))))
    except OSError as error:
        raise DataNotFoundError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, csv.Error):
        lines = []
    if not lines or tuple(lines[0]) != _CSV_HEADER:
        raise ResultError(
            f"{path} is not a file of label efficiency. Give a file that `etab curve RESULTS --csv "
            "FILE` wrote."
        )
    points: dict[tuple[str, ...], CurvePoint] = {}
    for number, line in enumerate(lines[1:], start=2):
        try:
            point = _point_of(line)
            key = (point.task, point.backbone, point.base, point.labels)
            if key in points:
                raise ValueError("its point stands in an earlier line, too")
        except ValueError as error:
            raise ResultError(f"{path} is damaged in line {number}: {error}.") from error
        points[key] = point
    return list(points.values())


def _point_of(line: Sequence[str]) -> CurvePoint:
    task, backbone, base, labels, draws, rows, metric, value, low, high, phantom = line
    share = _SHARE.fullmatch(labels)
    if share is None:
        raise ValueError(f"{labels!r} is neither a share of the labels nor a number a class")
    if metric not in METRICS:
        raise ValueError(f"{metric!r} is not a metric")
    numbers = [float(text) for text in (rows, value, low, high)]
    if not np.isfinite(numbers).all() or numbers[0] <= 0:
        raise ValueError("numbers are finite, and there is at least one training row")
    percent, shots = share["percent"], share["shots"]
    point = CurvePoint(
        task=task,
        backbone=backbone,
        base=base,
        labels=labels,
        percent=float(percent or 0),
        shots=int(shots or 0),
        draws=int(draws),
        rows=numbers[0],
        metric=metric,
        value=numbers[1],
        low=numbers[2],
        high=numbers[3],
        phantom=phantom == "phantom",
        kind=kind_of(backbone, []),
    )
    if _fields(point) != list(line):
        raise ValueError("it is not written as `etab curve` writes it")
    _refuse_impossible(point)
    return point


def _refuse_impossible(point: CurvePoint) -> None:
    """Refuse a point that no run can have, with a ValueError."""
    if point.draws < 1:
        raise ValueError(f"it is the mean of {point.draws} draws; wanted at least one")
    if not point.shots and not 0 < point.percent <= 100:
        raise ValueError(f"{point.labels!r} is not a share of the labels")
    wanted = TASKS[point.task].metric if point.task in TASKS else point.metric
    if point.metric != wanted:
        raise ValueError(f"the metric of {point.task} is {wanted}, and not {point.metric}")
    metric = METRICS[point.metric]
    lowest, highest = sorted((metric.best, metric.worst))
    if not lowest <= point.low <= point.high <= highest or not lowest <= point.value <= highest:
        raise ValueError(
            f"{point.metric} is {point.value:g} with an interval from {point.low:g} to "
            f"{point.high:g}; wanted numbers from {lowest:g} to {highest:g} in this order"
        )


def curves_markdown(points: Sequence[CurvePoint], cards: Cards, *, picture: str = "") -> str:
    """Write the points as Markdown.

    Args:
        points: The points, as ``curve_points`` returns them.
        cards: Cards by the name of the dataset, as ``etab.datasets.cards()`` gives them.
        picture: Link to a picture of the curves; empty leaves the picture out.

    Returns:
        The text: a table for each task and protocol with a row for each backbone and a column for
        each number of labels.
    """
    lines = ["# Label efficiency", ""]
    if any(point.phantom for point in points):
        lines += ["**Phantom data: made, not measured on patients.**", ""]
    lines += [
        "Mean over the draws of labelled patients; the interval (95 %) is over draws and test "
        "patients.",
        "",
    ]
    if picture:
        lines += [f"![Value against the share of labelled training patients]({picture})", ""]
    for task in dict.fromkeys(point.task for point in points):
        of_task = [point for point in points if point.task == task]
        for base in dict.fromkeys(point.base for point in of_task):
            of_base = [point for point in of_task if point.base == base]
            lines += _curve_table(task, base, of_base, cards)
    return "\n".join(lines)


def _curve_table(task: str, base: str, points: Sequence[CurvePoint], cards: Cards) -> list[str]:
    metric = METRICS[points[0].metric]
    title = TASKS[task].title if task in TASKS else task
    unit = unit_of_point(points[0], cards)
    words = with_unit(metric.title, unit)
    better = "higher" if metric.better > 0 else "lower"
    digits = 3 if max(abs(point.value) for point in points) <= 1 else 2
    by_labels = sorted(points, key=lambda point: (point.shots, point.percent))
    labels = list(dict.fromkeys(point.labels for point in by_labels))
    lines = [f"## {task}: {title}", "", f"{words}, {better} is better, {base}.", ""]
    lines.append(f"| backbone | {' | '.join(labels)} |")
    lines.append("|---" * (len(labels) + 1) + "|")
    for backbone in dict.fromkeys(point.backbone for point in points):
        values = {
            point.labels: _value_words(point, digits)
            for point in points
            if point.backbone == backbone
        }
        cells = [values.get(label, "") for label in labels]
        lines.append(f"| {backbone.replace('|', '/')} | {' | '.join(cells)} |")
    return [*lines, ""]


def _value_words(point: CurvePoint, digits: int) -> str:
    return f"{point.value:.{digits}f} [{point.low:.{digits}f}, {point.high:.{digits}f}]"
