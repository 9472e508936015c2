"""What a board can tell apart: no draw decides it, copies cost nobody a verdict, newcomers move no score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import board_numpy
from etab import datasets
from etab.errors import UnsupportedOptionError
from etab.leaderboard.board import Board, BoardRow
from etab.leaderboard.noise import Noise
from etab.leaderboard.page import board_facts
from etab.leaderboard.pairs import compare
from etab.leaderboard.ranking import rank
from etab.leaderboard.render import board_csv, board_markdown
from etab.leaderboard.suites import Suite, suite_named
from etab.metrics import METRICS
from etab.metrics.design import FoldDesign
from etab.metrics.inference import Precision
from etab.results import Predictions, Result
from etab.tasks.menu import TASKS
from tests import made

SKILLS = {"strong": 0.9, "twin_a": 0.71, "twin_b": 0.7, "weak": 0.55, "weaker": 0.5, "last": 0.1}


def board_of(folder: Path, results: list[Result], **options: Any) -> Board:
    return rank(results, made.suite(), folder=folder, **{"draws": 60, **options})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("board")


@pytest.fixture(scope="module")
def results(folder: Path) -> list[Result]:
    return made.board(folder, SKILLS)


@pytest.fixture(scope="module")
def board(folder: Path, results: list[Result]) -> Board:
    return board_of(folder, results)


def verdicts(board: Board) -> dict[str, Any]:
    """Everything that rests on the second estimand."""
    return {
        "ranks": [(r.backbone, r.rank_low, r.rank_high) for r in board.rows],
        "p": board.p_better,
        "beats": board.beats,
        "intervals": [(r.encoder_low, r.encoder_high, r.encoder_intervals) for r in board.rows],
        "separation": board.separation,
        "reliabilities": board.reliabilities,
    }


@pytest.mark.parametrize("draws", [50, 70, 400])
def test_the_number_of_draws_decides_nothing(
    draws: int, folder: Path, results: list[Result], board: Board
) -> None:
    assert verdicts(board_of(folder, results, draws=draws)) == verdicts(board)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_seed_of_the_draws_decides_nothing(
    seed: int, folder: Path, results: list[Result], board: Board, tmp_path: Path
) -> None:
    for result in results:
        made.changed(result, seed=seed).save(tmp_path, result.predictions(folder))
    again = [made.changed(result, seed=seed) for result in results]
    other = board_of(tmp_path, again, seed=seed)
    assert verdicts(other) == verdicts(board)
    assert [r.low for r in other.rows] != [r.low for r in board.rows]


def _pairs(board: Board, names: list[str]) -> dict[tuple[str, str], tuple[bool, float]]:
    place = {row.backbone: i for i, row in enumerate(board.rows)}
    return {
        (a, b): (board.beats[place[a]][place[b]], board.p_better[place[a]][place[b]])
        for a in names
        for b in names
    }


@pytest.mark.parametrize("copies", [1, 12])
def test_copies_of_an_entry_cost_nobody_a_verdict(
    copies: int, folder: Path, results: list[Result], board: Board, tmp_path: Path
) -> None:
    crowd = list(results)
    for result in results:
        table = result.predictions(folder)
        result.save(tmp_path, table)
        if result.backbone == "last":
            for k in range(copies):
                copy = made.changed(result, backbone=f"copy{k}")
                copy.save(tmp_path, table)
                crowd.append(copy)
    after = board_of(tmp_path, crowd)
    names = [row.backbone for row in board.rows]
    assert _pairs(after, names) == _pairs(board, names)
    of_copy = _pairs(after, ["copy0", *names])
    for name in names[:-1]:
        assert of_copy[name, "copy0"] == of_copy[name, "last"]
    assert not of_copy["last", "copy0"][0]


def test_a_newcomer_moves_no_score_interval_or_probability(
    folder: Path, results: list[Result], board: Board, tmp_path: Path
) -> None:
    newcomers = made.board(folder, {"new": 0.62, "best": 0.97, "worst": -0.2})
    after = board_of(folder, [*results, *newcomers])
    names = [row.backbone for row in board.rows]
    rows = {row.backbone: row for row in after.rows}
    assert [row.backbone for row in after.rows if row.backbone in names] == names
    for row in board.rows:
        assert _numbers(rows[row.backbone]) == _numbers(row)
        # Resamples are sums of all backbones at once: the kernel of a library of linear algebra may
        # add in another order where there are more.
        ends = (rows[row.backbone].low, rows[row.backbone].high)
        assert ends == pytest.approx((row.low, row.high), rel=0, abs=1e-12)
    before, now = _pairs(board, names), _pairs(after, names)
    assert {pair: p for pair, (_, p) in now.items()} == {pair: p for pair, (_, p) in before.items()}
    assert all(now[pair][0] <= beat for pair, (beat, _) in before.items())


def _numbers(row: BoardRow) -> tuple[Any, ...]:
    return (row.etab, row.encoder_low, row.encoder_high, row.encoder_intervals)


def _noise(rng: np.random.Generator, patients: int = 200) -> Noise:
    """The noise of a mean over patients who differ by 0.1 from each other."""
    moved = rng.normal(size=patients) * 0.1
    people = (moved - moved.mean())[None] / patients
    design = FoldDesign(n_fold=1, repeats=1, test_share=0.0)
    return Noise({("set", "official"): Precision(people, design, patients)})


def test_holm_corrects_over_the_pairs_of_the_board() -> None:
    """Neighbours that two backbones alone would tell apart (p of about 0.01) are ties among twelve."""
    rng = np.random.default_rng(0)
    noises = [_noise(rng) for _ in range(12)]
    values = [0.026 * i for i in range(12)]
    names = [f"b{i}" for i in range(12)]
    whole = compare(values, noises, names)
    for i in range(11):
        two = slice(i, i + 2)
        assert compare(values[two], noises[two], names[two]).beats[1, 0]
        assert not whole.beats[i + 1, i]
    assert whole.beats[11, 0]


def test_an_encoder_is_less_certain_than_its_probes(board: Board) -> None:
    for i, row in enumerate(board.rows):
        assert row.encoder_low < row.etab < row.encoder_high
        assert row.encoder_high - row.encoder_low > 1.05 * (row.high - row.low)
        for code, (low, high) in row.encoder_intervals.items():
            assert low <= row.cells[code].value <= high
        for j in range(len(board.rows)):
            if i != j:
                assert board.encoder_half[i][j] > 1.2 * board.probe_half[i][j] > 0


def test_no_interval_of_a_value_leaves_the_range_of_its_metric(tmp_path: Path) -> None:
    """Near the best value, and near the worst one, whether it is symmetric itself or in logits."""
    skills = {"nearly_perfect": 0.9995, "good": 0.9, "far_below_chance": -0.99}
    board = board_of(tmp_path, made.board(tmp_path, skills, n=40))
    touched = 0
    for row in board.rows:
        for code, (low, high) in row.encoder_intervals.items():
            lowest, highest = METRICS[TASKS[code].metric].limits
            assert lowest <= low <= row.cells[code].value <= high <= highest
            touched += (low == lowest) + (high == highest)
    assert touched > 0


@pytest.mark.parametrize("name", sorted(METRICS))
def test_limits_of_the_second_computation_are_those_of_the_metrics(name: str) -> None:
    assert board_numpy.LIMITS.get(name, (0.0, 1.0)) == METRICS[name].limits


def test_the_board_says_what_it_can_separate(board: Board) -> None:
    gaps: dict[bool, list[float]] = {True: [], False: []}
    for i, row in enumerate(board.rows):
        for j in range(i):
            gaps[board.beats[j][i]].append(board.rows[j].etab - row.etab)
    separation = board.separation
    assert separation.pairs == 15
    assert separation.told_apart == len(gaps[True])
    assert separation.smallest == pytest.approx(min(gaps[True]))
    assert separation.largest_tie == pytest.approx(max(gaps[False]))
    note = next(note for note in board.notes if note.startswith("Told apart"))
    for value in (separation.smallest, separation.largest_tie, separation.found):
        assert f"{value:.3f}" in note
    for text in (note, "one entry for each digest of weights", "never changes scores, order"):
        assert text in board_markdown(board, datasets.cards())


def test_the_gap_found_in_80_percent_of_cases_is_found_that_often() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    gap = 0.0
    for _ in range(400):
        noises = [_noise(rng), _noise(rng)]
        error = rng.normal(size=2) * 0.1 / np.sqrt(200)
        comparison = compare([gap + error[0], error[1]], noises, ["a", "b"])
        hits += bool(comparison.beats[0, 1])
        gap = comparison.separation.found
    assert 0.73 <= hits / 400 <= 0.87


def test_reliability_is_the_mean_of_half_splits(folder: Path, results: list[Result]) -> None:
    """Halves of the patients, correlated over backbones, stepped up by Spearman and Brown."""
    suite = made.suite(("a0-A4-C", "b0-A4-C"))
    codes = [r for r in results if r.task in suite.tasks]
    board = rank(codes, suite, folder=folder, draws=50)
    rng = np.random.default_rng(1)
    for code in suite.tasks:
        per_patient = []
        for result in codes:
            if result.task != code:
                continue
            table = result.predictions(folder)
            column = table.columns.get("dice")
            if column is None:
                column = np.abs(table.columns["score"] - table.columns["truth"])
            _, inverse = np.unique(table.patients, return_inverse=True)
            per_patient.append(np.bincount(inverse, column) / np.bincount(inverse))
        values = np.array(per_patient)
        estimates = []
        for _ in range(400):
            order = rng.permutation(values.shape[1])
            half = len(order) // 2
            one, other = values[:, order[:half]].mean(1), values[:, order[half:]].mean(1)
            whole = np.var(one + other)
            estimates.append(2 * (1 - (np.var(one) + np.var(other)) / whole))
        assert board.reliabilities[code].reliability == pytest.approx(np.mean(estimates), abs=0.02)


def test_datasets_are_of_different_people() -> None:
    """Variances of two datasets add; those of two protocols of one dataset may add up in full."""
    (part,) = _noise(np.random.default_rng(0)).parts.values()
    for groups, factor in (((("a", "cv5"), ("b", "cv5")), 2), ((("a", "cv5"), ("a", "lodo")), 4)):
        noise = Noise(dict.fromkeys(groups, part))
        assert noise.patient_variance == pytest.approx(factor * part.patient_variance)
        assert noise.encoder_variance == pytest.approx(factor * part.encoder_variance)


def test_the_parts_of_the_noise_sum_to_all_of_it(board: Board) -> None:
    for names in ("abd", made.SMALL):
        assert sum(board.reliabilities[name].noise_share for name in names) == pytest.approx(1)


def test_a_task_that_separates_nothing_is_marked(tmp_path: Path) -> None:
    results = made.board(tmp_path, {"one": 0.5, "other": 0.9}, ("a0-A4-C",))
    results += [made.save(tmp_path, "d0-A4-C", name, 0.6, noise=4) for name in ("one", "other")]
    board = rank(results, made.suite(("a0-A4-C", "d0-A4-C")), folder=tmp_path, draws=50)
    text = board_markdown(board, datasets.cards())
    assert "These tasks tell no two backbones of this board apart: d0-A4-C." in text
    marked = [line for line in text.splitlines() if "separates nothing" in line]
    assert [line.split("|")[1].strip() for line in marked] == ["diagnosis", "d0-A4-C"]
    facts = board_facts(board, datasets.cards())
    assert "none of 1: separates nothing" in facts["reliability"]["rows"][-1]


@pytest.mark.parametrize(
    ("precise", "shares"),
    [
        ({"a0-A4-C": 7, "b0-A4-C": 1, "b1-A4-C": 3, "d0-A4-C": 0.2}, (1 / 3, 1 / 12, 1 / 4, 1 / 3)),
        ({"a0-A4-C": 1, "b0-A4-C": 1, "b1-A4-C": 0, "d0-A4-C": 1}, (1 / 3, 1 / 3, 0, 1 / 3)),
    ],
)
def test_etab_p_keeps_the_share_of_each_category(
    precise: Mapping[str, float],
    shares: tuple[float, ...],
    folder: Path,
    results: list[Result],
    board: Board,
) -> None:
    suite = made.suite(precision_weights=precise)
    assert tuple(suite.precision_shares().values()) == pytest.approx(shares)
    weighted = rank(results, suite, folder=folder, draws=60)
    assert verdicts(weighted) == verdicts(board)
    for row in weighted.rows:
        wanted = 0.0
        for code, share in suite.precision_shares().items():
            wanted += share * TASKS[code].anchored(row.cells[code].value)
        assert row.etab_p == pytest.approx(wanted)
    assert "etab-p" in board_markdown(weighted, datasets.cards())
    assert f"{weighted.rows[0].etab_p}" in board_csv(weighted, datasets.cards())
    assert all(math.isnan(row.etab_p) for row in board.rows)
    assert "etab-p" not in board_markdown(board, datasets.cards())


def test_a_suite_has_a_precision_weight_for_every_task_or_for_none() -> None:
    text = 'name = "s"\nversion = 1\ntasks = ["a0-A4-C", "b0-A4-C"]\n[precision_weights]\n'
    with pytest.raises(UnsupportedOptionError, match="no precision weight for b0-A4-C"):
        Suite.from_toml(text + "a0-A4-C = 2\n")
    with pytest.raises(UnsupportedOptionError, match="weight of b0-A4-C is -1"):
        Suite.from_toml(text + "a0-A4-C = 2\nb0-A4-C = -1\n")


@pytest.mark.parametrize("name", ["camus", "echo", "sounds", "all"])
def test_packaged_suites_have_frozen_weights(name: str) -> None:
    suite = suite_named(name)
    assert set(suite.precision_weights) == set(suite.tasks)
    plain = dict(zip(suite.tasks, suite.weights({}, {}).tolist(), strict=True))
    precise = suite.precision_shares()
    for letter in {code[0] for code in suite.tasks}:
        codes = [code for code in suite.tasks if code[0] == letter]
        assert sum(precise[c] for c in codes) == pytest.approx(sum(plain[c] for c in codes))


def test_repeats_make_an_encoder_more_certain(tmp_path: Path) -> None:
    """Five draws of the folds: less noise of the folds, and no patient counted five times."""
    widths = []
    for repeats in (1, 5):
        parts = [made.predictions("a0-A4-C", 0.7, noise=k) for k in range(repeats)]
        columns = {
            name: np.concatenate([part.columns[name] for part in parts])
            for name in parts[0].columns
        }
        n = len(parts[0].items)
        table = Predictions(
            parts[0].kind,
            parts[0].items * repeats,
            parts[0].patients * repeats,
            parts[0].folds * repeats,
            columns,
            tuple(np.repeat(np.arange(repeats), n).tolist()),
        )
        place = tmp_path / str(repeats)
        result = made.result(table, "a0-A4-C", "one", n_test=n)
        result.save(place, table)
        row = rank([result], made.suite(("a0-A4-C",)), folder=place, draws=300).rows[0]
        widths.append((row.high - row.low, row.encoder_high - row.encoder_low))
    assert widths[1][1] < 0.95 * widths[0][1]
    assert widths[1][0] > 0.8 * widths[0][0]
