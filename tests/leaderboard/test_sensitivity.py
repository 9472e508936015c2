"""What a cell depends on besides its encoder, and that no other head, seed or release is ranked."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab.errors import DataNotFoundError
from etab.leaderboard.admission.canonical import is_published_variant
from etab.leaderboard.page import board_facts
from etab.leaderboard.ranking import rank_folder
from etab.leaderboard.render import board_csv, board_markdown
from etab.leaderboard.sensitivity import _signed, sensitivities
from etab.leaderboard.variants import changed_choice, variants_of
from etab.results import Predictions, Result
from tests.leaderboard.admission import folders
from tests.leaderboard.admission.folders import STRANGER, edit_nested, load, save, with_columns

CODE = "b0-A4-C"


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two backbones with one cell each."""
    folder = tmp_path_factory.mktemp("honest")
    folders._copy(folders.PUBLISHED / "results" / "camus", folder / "camus", CODE, "mobilenetv2")
    folders._rename(folders.PUBLISHED / "results", folder, CODE, "vits14_saliency")
    suite = f'name = "one"\nversion = 1\ntasks = ["{CODE}"]\n'
    (folder / "one.toml").write_text(suite)
    return folder


@pytest.fixture
def folder(honest: Path, tmp_path: Path) -> Path:
    shutil.copytree(honest, tmp_path / "results")
    return tmp_path / "results"


def ranked(folder: Path, **options: Any) -> Any:
    return rank_folder(folder, str(folder / "one.toml"), **{"protocol": "cv5", **options})


def off_by(table: Predictions, error: float) -> Predictions:
    """The same table with every score moved away from the truth."""
    truth = table.columns["truth"]
    score = table.columns["score"]
    away = np.where(score >= truth, score + error, score - error)
    return with_columns(table, {"truth": truth, "score": away})


def known(board: Any, backbone: str = STRANGER) -> dict[str, Any]:
    (row,) = [row for row in board.rows if row.backbone == backbone]
    return {one.choice: one for one in row.sensitivities[CODE]}


def test_nothing_is_known_without_other_results(folder: Path) -> None:
    board = ranked(folder)
    of_cell = known(board)
    assert [of_cell[choice].words for choice in ("fold seed", "head", "precision")] == [
        "not known"
    ] * 3
    assert "chosen in 5 folds" in of_cell["layer"].words
    assert "data" not in of_cell
    assert any(note.startswith("Ranked: 2 results by cv5 with seed 0") for note in board.notes)
    assert not any("not ranked:" in note for note in board.notes)


def test_another_head_is_shown_and_never_ranked(folder: Path) -> None:
    before = ranked(folder)
    result, table = load(folder, CODE)
    save(folder, result, off_by(table, 0.5), head="knn")
    board = ranked(folder)
    assert [(row.backbone, row.etab) for row in board.rows] == [
        (row.backbone, row.etab) for row in before.rows
    ]
    head = known(board)["head"]
    assert head.difference == pytest.approx(0.5)
    assert head.words == "knn +0.500"
    assert known(board, "mobilenetv2")["head"].words == "not known"
    assert any("not ranked: 1 result by cv5 with seed 0 (heads: knn)" in n for n in board.notes)
    assert not any("set aside" in note for note in board.notes)


def test_the_farthest_of_several_heads_counts(folder: Path) -> None:
    result, table = load(folder, CODE)
    save(folder, result, off_by(table, 0.5), head="knn")
    save(folder, result, off_by(table, -0.8), head="trivial")
    assert known(ranked(folder))["head"].words.startswith("trivial -0.")


def test_another_seed_gives_the_spread_of_one(folder: Path) -> None:
    result, table = load(folder, CODE)
    save(folder, result, off_by(table, 0.4), seed=1)
    seeds = known(ranked(folder))["fold seed"]
    assert seeds.difference == pytest.approx(0.4 / np.sqrt(2), rel=1e-6)
    assert seeds.words == "SD 0.283 over 2 seeds"


def test_repeats_of_a_cell_give_the_spread_of_a_seed(folder: Path) -> None:
    result, table = load(folder, CODE)
    worse = off_by(table, 0.3)
    both = {
        name: np.concatenate([table.columns[name], worse.columns[name]]) for name in table.columns
    }
    n_rows = len(table.items)
    twice = Predictions(
        table.kind,
        table.items * 2,
        table.patients * 2,
        table.folds * 2,
        both,
        repeats=(0,) * n_rows + (1,) * n_rows,
    )
    cell = Result(**{**result._whole(), "protocol": "cv5x2"})
    of_cell = sensitivities({STRANGER: {CODE: cell}}, {(STRANGER, CODE): twice}, [])
    (seeds,) = [one for one in of_cell[STRANGER, CODE] if one.choice == "fold seed"]
    assert seeds.difference == pytest.approx(0.3 / np.sqrt(2), rel=1e-6)


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ([{"features": "a/gem"}, {"features": "b/gem"}], "2 chosen in 2 folds"),
        ([{"maps": "all maps"}, {"maps": "all maps"}], "all are used"),
        ([{"candidates": {"a": {"weight": 1.0}}}] * 2, "all are weighted"),
        ([{"penalty": 1.0}] * 2, "not known"),
    ],
)
def test_what_is_known_of_layers(choices: list[dict[str, Any]], words: str, folder: Path) -> None:
    result, table = load(folder, CODE)
    folds = [{**result.folds[0], "choice": choice} for choice in choices]
    cell = Result(**{**result._whole(), "folds": folds})
    of_cell = sensitivities({STRANGER: {CODE: cell}}, {(STRANGER, CODE): table}, [])
    assert [one.words for one in of_cell[STRANGER, CODE] if one.choice == "layer"] == [words]


@pytest.mark.parametrize(
    ("backbone", "words"), [("pixel_pca", "no network"), ("vits14_saliency", "not known")]
)
def test_a_control_has_no_network_that_a_precision_could_change(
    backbone: str, words: str, folder: Path
) -> None:
    result, table = load(folder, CODE)
    cell = Result(**{**result._whole(), "backbone": backbone})
    of_cell = sensitivities({backbone: {CODE: cell}}, {(backbone, CODE): table}, [])
    found = [one.words for one in of_cell[backbone, CODE] if one.choice == "precision"]
    assert found == [words]


def test_another_precision_and_another_release_lie_in_folders_of_their_own(
    folder: Path, tmp_path: Path
) -> None:
    result, table = load(folder, CODE)
    other = tmp_path / "other"
    path = save(other / "fp32", result, off_by(table, 0.1))
    edit_nested(path, "settings", precision="another")
    save(other / "native", result, off_by(table, -0.07), data_digest="d" * 64)
    board = ranked(folder, variants=[other / "fp32", other / "native"])
    of_cell = known(board)
    assert of_cell["precision"].words == "another +0.100"
    assert of_cell["data"].words.startswith("data:dddddddd -0.0")
    assert board.rows[0].etab == ranked(folder).rows[0].etab


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({"head": "knn"}, {}),
        ({"head": "stack"}, {}),  # the head of the task, which goes before other ones
        ({"seed": 1}, {}),
        ({}, {"precision": "fp16"}),
    ],
    ids=str,
)
def test_what_a_published_row_depends_on_is_said_by_published_results_alone(
    changes: dict[str, Any], settings: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    """A result that states the name and the weights of a published backbone proves nothing of it."""
    result, table = load(folder, CODE, "mobilenetv2")
    before = ranked(folder)
    path = save(tmp_path / "other", result, off_by(table, 0.5), **changes)
    if settings:
        edit_nested(path, "settings", **settings)
    board = ranked(folder, variants=[tmp_path / "other"])
    assert known(board, "mobilenetv2") == known(before, "mobilenetv2")
    (note,) = [note for note in board.notes if note.startswith("NOT PUBLISHED")]
    assert note.startswith(
        f"NOT PUBLISHED: 1 result under the name of a published backbone, first {path}"
    )
    if not settings:
        shutil.copytree(tmp_path / "other", folder, dirs_exist_ok=True)
        inside = ranked(folder)
        assert known(inside, "mobilenetv2") == known(before, "mobilenetv2")
        assert [row.etab for row in inside.rows] == [row.etab for row in before.rows]


def test_another_release_beside_a_published_row_is_marked(folder: Path, tmp_path: Path) -> None:
    result, table = load(folder, CODE, "mobilenetv2")
    save(tmp_path / "native", result, off_by(table, 0.5), data_digest="d" * 64)
    board = ranked(folder, variants=[tmp_path / "native"])
    assert known(board, "mobilenetv2")["data"].words == "unpublished-data:dddddddd +0.500"


def test_published_heads_and_precisions_are_shown_as_before() -> None:
    """Every result of the published variants is known to the package, with its precision."""
    paths = sorted((folders.PUBLISHED / "results_heads").rglob("*.json"))
    assert len(paths) > 100
    for path in paths[::20]:
        result = Result.load(path)
        assert is_published_variant(result)
        settings = {**result.settings, "precision": "fp16"}
        assert not is_published_variant(Result(**{**result._whole(), "settings": settings}))


def contradicting(board: Any) -> list[str]:
    return [note for note in board.notes if note.startswith("CONTRADICTING")]


@pytest.mark.parametrize(
    ("choice", "changes", "settings"),
    [
        ("head", {"head": "knn"}, {}),
        ("precision", {}, {"precision": "another"}),
        ("fold seed", {"seed": 1}, {}),
        ("data", {"data_digest": "d" * 64}, {}),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_results_of_the_same_choices_with_other_values_do_not_count(
    folder: Path,
    tmp_path: Path,
    choice: str,
    changes: dict[str, Any],
    settings: dict[str, Any],
    turned: bool,
) -> None:
    result, table = load(folder, CODE)
    others = [tmp_path / "one", tmp_path / "two"]
    paths = []
    for other, error in zip(others, (0.5, 0.8), strict=True):
        paths.append(save(other, result, off_by(table, error), **changes))
        if settings:
            edit_nested(paths[-1], "settings", **settings)
    board = ranked(folder, variants=others[::-1] if turned else others)
    (note,) = contradicting(board)
    assert all(str(path) in note for path in paths)
    assert "Neither of them counts." in note
    of_cell = known(board)
    assert choice not in of_cell or of_cell[choice].difference is None
    # The same values twice are no contradiction.
    alike = [others[0], tmp_path / "copy"]
    shutil.copytree(*alike)
    board = ranked(folder, variants=alike)
    assert contradicting(board) == []
    assert known(board)[choice].difference is not None


def twice(table: Predictions, second: Predictions) -> Predictions:
    """Two divisions into folds: the rows of one table, then those of another."""
    both = {
        name: np.concatenate([table.columns[name], second.columns[name]]) for name in table.columns
    }
    repeats = (0,) * len(table.items) + (1,) * len(table.items)
    return Predictions(
        table.kind, table.items * 2, table.patients * 2, table.folds * 2, both, repeats=repeats
    )


@pytest.mark.parametrize(
    ("seeds", "errors", "ending"),
    [
        # Repeats of seeds 1 and 2, and of 2 and 3: both have the division of seed 2.
        ((1, 2), ((0.3, 0.5), (0.9, 0.2)), "Neither of them counts."),
        ((1, 2), ((0.3, 0.5), (0.5, 0.2)), ""),
        # The ranked cell is of seeds 0 and 1.
        ((1,), ((0.7, 0.5),), "The ranked one counts."),
    ],
)
def test_seeds_that_share_a_division_must_agree_on_it(
    folder: Path, seeds: tuple[int, ...], errors: tuple[tuple[float, float], ...], ending: str
) -> None:
    result, table = load(folder, CODE)
    # Data whose rows nobody but the user knows.
    cell = Result(**{**result._whole(), "protocol": "cv5x2", "data_digest": "0" * 64})
    cells = {STRANGER: {CODE: cell}}
    tables = {(STRANGER, CODE): twice(table, off_by(table, 0.3))}
    paths = []
    for seed, (first, second) in zip(seeds, errors, strict=True):
        rows = twice(off_by(table, first), off_by(table, second))
        paths.append(save(folder, cell, rows, seed=seed))
    others = [(Result.load(path), folder) for path in paths]
    found = variants_of(cells, tables, others)
    assert [text.endswith(ending) for text in found.contradictions] == [True] * bool(ending)
    assert len(found.known) == (0 if ending else len(seeds))


def test_a_result_that_contradicts_the_ranked_one_is_told(folder: Path, tmp_path: Path) -> None:
    result, table = load(folder, CODE)
    path = save(tmp_path / "other", result, off_by(table, 0.5))
    before = ranked(folder)
    board = ranked(folder, variants=[tmp_path / "other"])
    (note,) = contradicting(board)
    assert f"{path} has mae" in note
    assert note.endswith("The ranked one counts.")
    assert [row.etab for row in board.rows] == [row.etab for row in before.rows]
    shutil.copytree(folder, tmp_path / "copy")
    assert contradicting(ranked(folder, variants=[tmp_path / "copy"])) == []


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "official", "seed": 1},
        {"protocol": "cv10", "seed": 1},
        {"protocol": "cv5-5pct-d0", "seed": 1},
        {"protocol": "free text", "seed": 1},
        {"weights_sha256": "1" * 64},
        {"head": "knn", "seed": 1},
        {"phantom": True},
        {},
    ],
    ids=str,
)
def test_results_of_another_question_tell_nothing(change: dict[str, Any], folder: Path) -> None:
    result, _ = load(folder, CODE)
    other = Result(**{**result._whole(), **change})
    assert changed_choice(result, other) == ""


def test_names_of_strangers_do_not_reach_the_board(folder: Path) -> None:
    result, table = load(folder, CODE)
    save(folder, result, off_by(table, 0.5), head="<img src=x>")
    save(folder, result, off_by(table, 0.5), protocol="[x](http://a)")
    board = ranked(folder)
    text = board_markdown(board, {}) + board_csv(board, {}) + str(board_facts(board, {}))
    assert "img" not in text
    assert "http://a" not in text
    assert known(board)["head"].words == "another one +0.500"


def test_every_form_of_the_board_shows_it(folder: Path) -> None:
    result, table = load(folder, CODE)
    save(folder, result, off_by(table, 0.5), head="knn")
    board = ranked(folder)
    assert "head: knn +0.500" in board_markdown(board, {})
    assert "head: knn +0.500" in board_csv(board, {})
    (row,) = [row for row in board_facts(board, {})["rows"] if row["backbone"] == STRANGER]
    assert "head: knn +0.500" in row["cells"][CODE]["depends_on"]


def test_unreadable_variants_are_counted(folder: Path) -> None:
    result, table = load(folder, CODE)
    path = save(folder, result, off_by(table, 0.5), seed=1)
    path.with_suffix(".csv").unlink()
    board = ranked(folder)
    assert any("not readable: 1 result, first" in note for note in board.notes)


@pytest.mark.parametrize(
    ("name", "words"), [("absent", "is not a folder"), ("empty", "holds no results")]
)
def test_a_folder_of_variants_without_results_is_told(
    name: str, words: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataNotFoundError, match=words):
        ranked(folder, variants=[tmp_path / name])


def test_the_release_of_the_data_is_on_the_face_of_the_board(folder: Path) -> None:
    assert any("resampled to 224 x 224" in note for note in ranked(folder).notes)
    for path in (folder / "camus").rglob("*.json"):
        folders.edit(path, data_digest="e" * 64)
    notes = ranked(folder).notes
    assert any("no canonical table of (digest eeeeeeee)" in note for note in notes)


@pytest.mark.parametrize(
    ("difference", "words"),
    [(-0.0004, "0.000"), (0.0, "0.000"), (0.0006, "+0.001"), (-0.02, "-0.020"), (-3.0, "-3.00")],
)
def test_a_difference_that_rounds_to_zero_has_no_sign(difference: float, words: str) -> None:
    assert _signed(difference) == words
