"""From result files to a board: scores, intervals over patients, and ranks that admit ties."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from etab.errors import DataNotFoundError, ResultError
from etab.leaderboard.admission.admit import admit
from etab.leaderboard.admission.findings import remarks_by_backbone
from etab.leaderboard.board import Board, BoardRow, Reliability, kind_of
from etab.leaderboard.comparable import (
    Cells,
    ReadTable,
    Tables,
    cells_beside,
    cells_of_suite,
    checked_predictions,
    counts_on,
    refuse_other_rows,
)
from etab.leaderboard.noise import Noise, mixed, noises_of_task, patient_orders
from etab.leaderboard.notes import (
    board_notes,
    contradictions_note,
    remarks_note,
    set_aside_note,
    unpublished_note,
)
from etab.leaderboard.pairs import compare, own_moves, plain_matrix, reliability_of
from etab.leaderboard.resampled import resampled_scores
from etab.leaderboard.seen import seen_note, unseen
from etab.leaderboard.sensitivity import (
    ranking_notes,
    release_notes,
    sensitivities,
    with_sensitivities,
)
from etab.leaderboard.suites import Suite, Tasks, suite_named
from etab.leaderboard.variants import Other, results_of, variants_of
from etab.metrics import METRICS
from etab.metrics.intervals import interval_of_encoder
from etab.metrics.uncertainty import (
    OVER_PATIENTS,
    percentile_interval,
    rank_intervals,
)
from etab.options import path_option
from etab.precisions import FORMATS, parts
from etab.results import Predictions, Result
from etab.storage.machine import one_thread_of_numpy
from etab.storage.memory import without_collection
from etab.tasks.base import Task
from etab.tasks.codes import BOARD_PROTOCOL
from etab.tasks.menu import TASKS
from etab.types import FloatArray

DRAWS = 2000
_LEVEL = 0.95


@one_thread_of_numpy()
def rank(
    results: Sequence[Result],
    suite: Suite,
    *,
    folder: Path,
    tasks: Tasks = TASKS,
    protocol: str = BOARD_PROTOCOL,
    seed: int = 0,
    draws: int = DRAWS,
    task_weights: Mapping[str, float] | None = None,
    category_weights: Mapping[str, float] | None = None,
    with_seen: bool = False,
) -> Board:
    """Rank backbones by their results on a suite of tasks.

    The score of a backbone is the weighted mean of its anchored metrics. It has two intervals: for
    these probes on new patients (resamples of the test patients, which all tasks and backbones of
    a dataset share), and for this encoder, with new training patients too (a standard error in
    closed form, ``etab.metrics.inference``). Ranks rest on the second: two backbones are told apart
    where the two-sided p value of their difference, Holm-corrected over the family of tests, is
    below 0.05; otherwise they share ranks. The family is all pairs of ranked entries, one entry for
    each digest of weights. A backbone without all tasks of the score is listed below the others,
    without a rank.

    Adding a backbone changes neither the scores, intervals and order of the others nor
    ``p_better``. It may widen their rank intervals, because Holm then corrects for more pairs.

    Args:
        results: Results to rank, in any order. Those of other tasks, protocols and seeds are not
            ranked; they only show how far a cell depends on its head, seed or precision.
        suite: The tasks of the score, with their weights.
        folder: The folder of results that holds the predictions. Every value is computed again
            from them.
        tasks: Tasks by code; by default all tasks of etab.
        protocol: Protocol of the results, such as ``"cv5x5"`` or ``"official"``.
        seed: Seed of the results; it also decides the resamples of the first interval.
        draws: Number of resamples of patients for the first interval.
        task_weights: Weights by task code that replace those of the suite; 0 or more.
        category_weights: Weights by category letter that replace those of the suite; 0 or more.
        with_seen: Whether backbones that were pretrained on data of a test are ranked too.

    Returns:
        The board. It does not depend on the order of ``results``.

    Raises:
        ResultError: If results cannot be compared (another version of a task, other data, another
            head, other rows), if a cell has two results, or if a value does not follow from its
            predictions.
        MixedDataError: If some results are of phantom data and others are of patients.
        UndefinedError: If a metric does not exist in more than 5 % of the resamples.
        UnknownNameError: If a weight is for a task or category that the suite does not have.

    Example:
        >>> from etab.results import load_results
        >>> folder = Path("benchmarks/results")
        >>> suite = Suite(name="frames", version=1, tasks=("a0-A4-C", "b0-A4-C"))
        >>> board = rank(load_results(folder), suite, folder=folder, draws=200)
        >>> board.rows[0].backbone, round(board.rows[0].etab, 3)
        ('vits14_saliency', 0.618)
    """

    def read_table(result: Result) -> Predictions:
        return checked_predictions(result, tasks[result.task], folder)

    shares = suite.weights(task_weights or {}, category_weights or {})
    others = [
        (result, folder)
        for result in results
        if not counts_on(result, suite, tasks, protocol, seed)
    ]
    return _rank(
        results, suite, shares, tasks, read_table, protocol, seed, draws, others, (), with_seen
    )


@one_thread_of_numpy()
@without_collection()
def rank_folder(
    folder: Path | str,
    suite: str | Suite,
    *,
    protocol: str = BOARD_PROTOCOL,
    seed: int = 0,
    task_weights: Mapping[str, float] | None = None,
    category_weights: Mapping[str, float] | None = None,
    variants: Sequence[Path] = (),
    with_seen: bool = False,
    precisions: Sequence[str] = (),
    refused: Sequence[str] = (),
) -> Board:
    """Rank the results in a folder, as ``etab leaderboard`` does.

    Nothing in a file is believed (``etab.leaderboard.admission``): a file that cannot be read, that
    states what does not follow from its predictions, or that cannot be compared with the others is
    set aside, and the first note of the board names it with the reason. What looks too good, copied
    or constant stays and is named in the next note.

    Args:
        folder: Folder of results that ``etab run`` wrote.
        suite: A suite, the name of a packaged one, or the path of a ``.toml`` file.
        protocol: Protocol of the results, such as ``"cv5x5"`` or ``"official"``.
        seed: Seed of the results; it also decides the resamples.
        task_weights: Weights by task code that replace those of the suite; 0 or more.
        category_weights: Weights by category letter that replace those of the suite; 0 or more.
        variants: Folders with results of the same cells by another precision, head or seed, or on
            another release of the data. They are never ranked; the board shows the difference.
        with_seen: Whether backbones that were pretrained on data of a test are ranked too.
        precisions: Precisions with a backend, such as "bf16-openvino", whose results are ranked
            beside those of fp32 and bf16.
        refused: Reasons against files that were kept out of the folder, for the note of what is set
            aside.

    Returns:
        The board.

    Raises:
        DataNotFoundError: If the folder holds no result files, or there is no such suite.
        ResultError: If no result can be used, or the usable ones cannot be compared.
        MixedDataError: If some results are of phantom data and others are of patients.
        UndefinedError: If a metric does not exist in more than 5 % of the resamples.
        UnsupportedOptionError: If there is no such precision.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     suite = Path(folder) / "ef.toml"
        ...     _ = suite.write_text('name = "ef"\\nversion = 1\\ntasks = ["b0-A4-C"]')
        ...     board = rank_folder(Path("benchmarks/results"), str(suite))
        >>> board.title
        'ef (cv5x5)'
    """
    folder = path_option("folder", folder)
    for precision in precisions:
        parts(precision)
    chosen = suite if isinstance(suite, Suite) else suite_named(suite)
    shares = chosen.weights(task_weights or {}, category_weights or {})

    def counts(result: Result) -> bool:
        return counts_on(result, chosen, TASKS, protocol, seed)

    admission = admit(folder, TASKS, counts, (*FORMATS, *precisions))
    problems = [*refused, *(str(finding) for finding in admission.refused)]
    if not admission.results and not problems:
        raise DataNotFoundError(
            f"{folder} holds no result files. Make some with `etab run --results {folder}`."
        )
    if problems and not admission.tables:
        raise ResultError(f"No result of {folder} can be ranked. {set_aside_note(problems)[0]}")

    def read_table(result: Result) -> Predictions:
        return admission.tables[result.path(folder)]

    others = [(result, folder) for result in admission.results if not counts(result)]
    others += [(result, folder) for result in admission.other_heads]
    for beside in variants:
        found, reasons = results_of(beside)
        others += found
        problems += reasons
    notes = [*set_aside_note(problems), *remarks_note(remarks_by_backbone(admission.flagged))]
    held = admission.results
    return _rank(
        held, chosen, shares, TASKS, read_table, protocol, seed, DRAWS, others, notes, with_seen
    )


def _rank(
    results: Sequence[Result],
    suite: Suite,
    weights: FloatArray,
    tasks: Tasks,
    read_table: ReadTable,
    protocol: str,
    seed: int,
    draws: int,
    others: Sequence[Other] = (),
    first_notes: Sequence[str] = (),
    with_seen: bool = False,
) -> Board:
    cells = cells_of_suite(results, suite, tasks, protocol, seed)
    tables = {
        (backbone, code): read_table(result)
        for backbone, by_task in cells.items()
        for code, result in by_task.items()
    }
    refuse_other_rows(tables)
    beside = cells_beside(results, suite, tasks, cells, read_table, protocol, seed)

    shares = dict(zip(suite.tasks, weights.tolist(), strict=True))
    scored = {code: share for code, share in shares.items() if share > 0}
    contest = _Contest(suite, tasks, scored, cells, tables)
    complete = unseen(contest.complete(), cells, with_seen)
    points = {backbone: contest.score(backbone, scored) for backbone in complete}
    order = sorted(points, key=lambda backbone: (-points[backbone], backbone))
    resampled = resampled_scores(order, scored, tasks, tables, seed=seed, draws=draws)
    noises = contest.noises(order)
    totals = {backbone: mixed(noises[backbone], scored) for backbone in order}
    comparison = compare(
        [points[backbone] for backbone in order],
        [totals[backbone] for backbone in order],
        contest.digests(order),
    )
    ranks = dict(zip(order, rank_intervals(comparison.beats), strict=True))
    rows = [
        _ranked_row(contest, name, resampled[name], noises[name], totals[name], ranks[name])
        for name in order
    ]
    rows += [_unranked_row(contest, name) for name in sorted(set(cells) - set(order))]
    variants = variants_of(cells, tables, others)
    rows = with_sensitivities(rows, sensitivities(cells, tables, variants.known))
    reliabilities = _reliabilities(contest, order, noises, totals)
    notes = board_notes(
        suite,
        rows,
        shares,
        protocol=protocol,
        draws=draws,
        separation=comparison.separation,
        reliabilities=reliabilities,
    )
    return Board(
        suite=suite,
        protocol=protocol,
        seed=seed,
        phantom=any(cell.phantom for row in rows for cell in row.cells.values()),
        shares=shares,
        rows=tuple(rows),
        p_better=plain_matrix(comparison.p_better),
        beats=plain_matrix(comparison.beats),
        encoder_half=plain_matrix(comparison.encoder_half),
        probe_half=plain_matrix(comparison.probe_half),
        separation=comparison.separation,
        reliabilities=reliabilities,
        notes=(
            *first_notes,
            *seen_note(cells, with_seen),
            *notes,
            *release_notes(cells),
            *ranking_notes(cells, [result for result, _ in others], suite, variants.unread),
            *contradictions_note(variants.contradictions),
            *unpublished_note(variants.unpublished),
        ),
        beside=beside,
        tables=tables,
        noises=noises,
    )


@dataclass(frozen=True, slots=True)
class _Contest:
    """The input of a ranking: results and predictions by backbone and task, and shares of tasks."""

    suite: Suite
    tasks: Tasks
    scored: Mapping[str, float]
    cells: Cells
    tables: Tables

    def complete(self) -> list[str]:
        """Names of the backbones that have a result for every task of the score."""
        return sorted(
            backbone for backbone in self.cells if self.has_all(backbone, list(self.scored))
        )

    def has_all(self, backbone: str, codes: Sequence[str]) -> bool:
        """Whether a backbone has a result for each of these tasks."""
        return all(code in self.cells.get(backbone, {}) for code in codes)

    def score(self, backbone: str, shares: Mapping[str, float]) -> float:
        """The weighted sum of anchored metrics."""
        total = 0.0
        for code, share in shares.items():
            total += share * self.tasks[code].anchored(self.cells[backbone][code].value)
        return total

    def digests(self, order: Sequence[str]) -> list[str]:
        """Digest of the weights of each backbone, the same for all of its results."""
        first = next(iter(self.scored))
        return [self.cells[backbone][first].weights_sha256 for backbone in order]

    def noises(self, order: Sequence[str]) -> dict[str, dict[str, Noise]]:
        """The noise of each backbone, by task code."""
        if not order:
            return {}
        patients = patient_orders(list(self.scored), order[0], self.tables)
        noises: dict[str, dict[str, Noise]] = {backbone: {} for backbone in order}
        for code in self.scored:
            cells = [self.cells[backbone][code] for backbone in order]
            tables = [self.tables[backbone, code] for backbone in order]
            of_task = noises_of_task(self.tasks[code], cells, tables, patients)
            for backbone, noise in zip(order, of_task, strict=True):
                noises[backbone][code] = noise
        return noises


def _reliabilities(
    contest: _Contest,
    order: Sequence[str],
    noises: Mapping[str, Mapping[str, Noise]],
    totals: Mapping[str, Noise],
) -> dict[str, Reliability]:
    """Reliability of each category of the score, and of each of its tasks."""
    if not order:
        return {}
    members: dict[str, list[str]] = {}
    for code in contest.scored:
        members.setdefault(code[0], []).append(code)
    members |= {code: [code] for code in contest.scored}
    of_scores = own_moves([totals[backbone] for backbone in order])
    digests = contest.digests(order)
    reliabilities: dict[str, Reliability] = {}
    for name, codes in members.items():
        share = sum(contest.scored[code] for code in codes)
        within = {code: contest.scored[code] / share for code in codes}
        points = [contest.score(backbone, within) for backbone in order]
        of_name = [mixed(noises[backbone], within) for backbone in order]
        reliabilities[name] = reliability_of(points, of_name, share, of_scores, digests)
    return reliabilities


def raw2022(task: Task, cell: Result) -> float:
    """The raw metric that enters the score of 2022.

    Args:
        task: The task.
        cell: Its result.

    Returns:
        A value in [0, 1]: Jaccard for masks, AUROC for classes, R2 (not below 0) for values.
    """
    value = float(cell.metrics[task.metric_2022])
    if METRICS[task.metric_2022].worst < 0:
        return min(max(value, 0.0), 1.0)
    return value


def _ranked_row(
    contest: _Contest,
    backbone: str,
    draws: FloatArray,
    noises: Mapping[str, Noise],
    noise: Noise,
    ranks: tuple[int, int],
) -> BoardRow:
    own = contest.cells[backbone]
    point = contest.score(backbone, contest.scored)
    raw = 0.0
    for code, share in contest.scored.items():
        raw += share * raw2022(contest.tasks[code], own[code])
    precise = {code: share for code, share in contest.suite.precision_shares().items() if share > 0}
    has_precise = bool(precise) and contest.has_all(backbone, list(precise))
    twin = f"random/{backbone}"
    interval = percentile_interval(point, draws, level=_LEVEL, method=OVER_PATIENTS)
    return BoardRow(
        backbone=backbone,
        etab=point,
        low=interval.low,
        high=interval.high,
        encoder_low=point - noise.half_width,
        encoder_high=point + noise.half_width,
        etab_p=contest.score(backbone, precise) if has_precise else math.nan,
        etab2022=raw,
        rank_low=ranks[0],
        rank_high=ranks[1],
        cells=dict(own),
        missing=(),
        kind=kind_of(backbone, list(own.values())),
        twin=twin if contest.has_all(twin, list(contest.scored)) else "",
        encoder_intervals=_encoder_intervals(contest, backbone, noises),
    )


def _encoder_intervals(
    contest: _Contest, backbone: str, noises: Mapping[str, Noise]
) -> dict[str, tuple[float, float]]:
    """95 % interval of the value of each task over patients and training draws, in its own unit.

    No rank and no score depends on it.
    """
    intervals: dict[str, tuple[float, float]] = {}
    for code, noise in noises.items():
        task = contest.tasks[code]
        value = contest.cells[backbone][code].value
        half = noise.half_width * abs(task.high - task.low)
        intervals[code] = interval_of_encoder(task.metric, value, half)
    return intervals


def _unranked_row(contest: _Contest, backbone: str) -> BoardRow:
    cells = contest.cells[backbone]
    return BoardRow(
        backbone=backbone,
        etab=math.nan,
        low=math.nan,
        high=math.nan,
        encoder_low=math.nan,
        encoder_high=math.nan,
        etab_p=math.nan,
        etab2022=math.nan,
        rank_low=None,
        rank_high=None,
        cells=dict(cells),
        missing=tuple(code for code in contest.scored if code not in cells),
        kind=kind_of(backbone, list(cells.values())),
    )
