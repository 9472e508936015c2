"""Clips of a site: the stated cases, both contours, and only data that the results are of."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from etab import datasets, phantom
from etab.datasets.base import SoundSource
from etab.errors import ResultError
from etab.leaderboard.board import Board
from etab.plots.sounds import listen
from etab.results import Predictions
from etab.results.masks import masks_path, packed_masks
from etab.runs.tables import state_scores
from etab.site.examples import PREDICTED_COLOUR, TRUE_COLOUR, Example, draw_examples
from etab.site.phantom_data import phantom_source
from etab.site.sound_examples import draw_sounds
from etab.site.write import notices_of, site_files, write_site
from etab.tasks.menu import TASKS
from etab.types import Kind
from tests import made
from tests.commands import etab

CODE = "a0-A4-E"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["echonet"])


@pytest.fixture(scope="module")
def with_masks(
    site_board: Board, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Board, Path, list[str]]:
    """A board of one backbone whose masks get worse from one recording to the next."""
    folder = tmp_path_factory.mktemp("examples")
    source = datasets.source("echonet", data / "echonet")
    target = source.card.target(TASKS[CODE].target)
    items = []
    masks = []
    scores = []
    records = sorted(source.records(), key=lambda record: record.id)[:5]
    for shift, record in enumerate(records):
        for answer in source.answers(record, target):
            mask = np.roll(answer.value, shift, axis=0)
            items.append(f"{record.id}#{answer.at}")
            masks.append(mask)
            scores.append(2 * (mask & answer.value).sum() / (mask.sum() + answer.value.sum()))
    dice = np.array(scores)
    columns = {"dice": dice, "jaccard": dice / (2 - dice), "hd95": 1 - dice, "msd": 1 - dice}
    patients = tuple(item.split("#")[0] for item in items)
    folds = tuple(f"fold{k // 2 % 2}" for k in range(len(items)))
    table = Predictions(Kind.MASK, tuple(items), patients, folds, columns)
    cell = made.result(table, CODE, "strong", dataset="echonet")
    cell.save(folder, table)
    masks_path(cell.path(folder), "all").write_bytes(packed_masks(masks))
    row = replace(site_board.rows[0], backbone="strong", cells={CODE: cell})
    board = replace(
        site_board,
        suite=made.suite([CODE]),
        shares={CODE: 1.0},
        rows=(row,),
        tables={("strong", CODE): table},
        noises={},
    )
    return board, folder, [record.id for record in records]


def colours(clip: bytes) -> list[tuple[bool, bool]]:
    """Whether each picture of a clip has the true and the predicted contour."""
    pictures = []
    for image in ImageSequence.Iterator(Image.open(io.BytesIO(clip))):
        picture = np.asarray(image.convert("RGB")).astype(int)
        near = [
            bool((np.abs(picture - colour).max(axis=2) < 60).any())
            for colour in (TRUE_COLOUR, PREDICTED_COLOUR)
        ]
        pictures.append((near[0], near[1]))
    return pictures


def test_best_median_and_worst_recordings_are_drawn(
    with_masks: tuple[Board, Path, list[str]], data: Path
) -> None:
    board, folder, recordings = with_masks
    examples = draw_examples(board, folder, data)["strong"]
    cases = {example.case: example for example in examples}
    assert cases["best"].recording == recordings[0]
    assert cases["median"].recording == recordings[2]
    assert cases["worst"].recording == recordings[4]
    assert getattr(cases["best"], "dice", None) == 1.0
    source = datasets.source("echonet", data / "echonet")
    (record,) = [record for record in source.records() if record.id == recordings[4]]
    worst = cases["worst"]
    assert isinstance(worst, Example)
    shown = colours(worst.clip)
    assert [shown.index((True, True)), len(worst.frames)] == [worst.frames[0], 2]
    # Its last frame has no contours, so that it comes to rest on the first one with contours.
    assert len(shown) == source.n_frames(record) + 1
    assert shown[-1] == (True, True)
    assert shown.count((True, True)) == 3
    assert shown.count((False, False)) == len(shown) - 3


def test_a_histogram_counts_whole_frames(
    with_masks: tuple[Board, Path, list[str]], page: Any, tmp_path: Path
) -> None:
    board, _, _ = with_masks
    write_site(board, datasets.cards(), tmp_path / "site")
    page.goto((tmp_path / "site/backbone/strong.html").as_uri())
    page.wait_for_selector("#prediction-picture rect.thing", state="attached")
    counts = page.locator("#prediction-picture svg > g:nth-of-type(2) .tick").all_text_contents()
    assert len(counts) >= 2
    assert [count for count in counts if not count.isdigit()] == []
    assert page.locator("#frame-note").is_visible()  # rows of masks end in the number of a frame


def test_a_clip_runs_at_its_own_rate(with_masks: tuple[Board, Path, list[str]], data: Path) -> None:
    board, folder, _ = with_masks
    worst = draw_examples(board, folder, data)["strong"][-1]
    assert isinstance(worst, Example)
    source = datasets.source("echonet", data / "echonet")
    (record,) = [record for record in source.records() if record.id == worst.recording]
    durations = []
    for image in ImageSequence.Iterator(Image.open(io.BytesIO(worst.clip))):
        image.load()
        durations.append(image.info["duration"])
    assert record.fps is not None
    assert sorted(durations)[: len(durations) - 2] == [round(1000 / record.fps)] * (
        len(durations) - 2
    )


def test_other_data_than_those_of_the_results_are_not_drawn(
    with_masks: tuple[Board, Path, list[str]], phantom_tree: Callable[..., Path]
) -> None:
    board, folder, _ = with_masks
    other = phantom_tree(["echonet"], seed=1)
    with pytest.raises(ResultError, match=r"data at hand|not a recording of the data"):
        draw_examples(board, folder, other)


def test_masks_that_do_not_give_the_stated_overlap_are_not_drawn(
    with_masks: tuple[Board, Path, list[str]], data: Path
) -> None:
    board, folder, _ = with_masks
    table = board.tables["strong", CODE]
    columns = {**table.columns, "dice": np.asarray(table.columns["dice"]) * 0.99}
    other = replace(board, tables={("strong", CODE): replace(table, columns=columns)})
    with pytest.raises(ResultError, match="states a Dice overlap"):
        draw_examples(other, folder, data)


def test_pages_have_clips_only_where_they_are_given(
    with_masks: tuple[Board, Path, list[str]], data: Path
) -> None:
    board, folder, _ = with_masks
    examples = draw_examples(board, folder, data)
    files = site_files(board, datasets.cards(), examples=examples)
    clips = sorted(name for name in files if name.startswith("examples/"))
    assert clips == [f"examples/strong/{CODE}-{case}.webp" for case in ("best", "median", "worst")]
    page = str(files["backbone/strong.html"])
    for clip in clips:
        assert f'src="../{clip}"' in page
    bare = site_files(board, datasets.cards())
    assert not [name for name in bare if name.startswith("examples/")]
    assert "<img" not in str(bare["backbone/strong.html"])


def test_sounds_are_cut_from_their_first_state_on(
    site_board: Board, phantom_tree: Callable[..., Path]
) -> None:
    root = phantom_tree(["circor"])
    source = datasets.source("circor", root / "circor")
    assert isinstance(source, SoundSource)
    target = source.card.target("states")
    records = [record for record in source.records() if source.answers(record, target)][:3]
    names = tuple(record.id for record in records) * 2
    f1 = np.array([0.9, 0.2, 0.5, 0.7, 0.2, 0.5])
    numbers = ("se_100", "ppv_100", "f1_60", "se_60", "ppv_60", "frame_accuracy", "outcome")
    columns = {"f1_100": f1, **dict.fromkeys(numbers, f1)}
    repeats = (0, 0, 0, 1, 1, 1)
    table = Predictions(Kind.STATES, names, names, ("fold0",) * 6, columns, repeats)
    cell = replace(site_board.rows[0].cells["a0-A4-C"], task="e0-AL-D", dataset="circor")
    examples = draw_sounds(cell, table, source)
    places = [names.index(example.recording) for example in examples]
    assert places == [0, 2, 1]
    assert examples[0].score == pytest.approx(0.8)
    samples, rate = source.wave(records[0])
    (answer,) = source.answers(records[0], target)
    start = np.flatnonzero(answer.value >= 0)[0] / 50
    clip = listen(samples, rate, start=start, seconds=6.0)
    assert examples[0].sound == clip.data
    assert examples[0].predicted is None
    assert examples[0].truth[0][0] == 0
    assert np.abs(examples[0].wave).max() == 1


def test_predicted_states_are_shown_where_they_give_the_stated_score(
    site_board: Board, phantom_tree: Callable[..., Path], tmp_path: Path
) -> None:
    root = phantom_tree(["circor"])
    source = datasets.source("circor", root / "circor")
    assert isinstance(source, SoundSource)
    target = source.card.target("states")
    records = [record for record in source.records() if source.answers(record, target)][:2]
    truths = [source.answers(record, target)[0].value for record in records]
    late = [np.roll(truth, 3) for truth in truths]
    scores = [state_scores(*pair) for pair in zip(truths, late, strict=True)]
    columns = {name: np.array([score[name] for score in scores]) for name in scores[0]}
    names = tuple(record.id for record in records)
    table = Predictions(Kind.STATES, names, names, ("fold0",) * 2, columns, states=late)
    first = site_board.rows[0].cells["a0-A4-C"]
    cell = replace(first, task="e0-AL-D", dataset="circor", predictions_sha256=table.sha256())
    cell.save(tmp_path, table)
    examples = draw_sounds(cell, table, source, tmp_path)
    for example in examples:
        assert example.predicted is not None
        starts = {round(begin, 2) for begin, _, _ in example.predicted}
        # Three states at 50 Hz are 60 ms.
        assert {round(begin + 0.06, 2) for begin, _, _ in example.truth[1:4]} <= starts
    board = replace(
        site_board,
        suite=made.suite(["e0-AL-D"]),
        shares={"e0-AL-D": 1.0},
        rows=(replace(site_board.rows[0], backbone="strong", cells={"e0-AL-D": cell}),),
        tables={("strong", "e0-AL-D"): table},
        noises={},
    )
    files = site_files(board, datasets.cards(), examples={"strong": examples})
    assert str(files["data/backbone/strong.js"]).count('"predicted":[[') == len(examples)
    other = replace(table, columns={**columns, "f1_100": columns["f1_100"] * 0.9})
    with pytest.raises(ResultError, match="predicted states beside it give"):
        draw_sounds(cell, other, source, tmp_path)


def test_the_phantom_of_a_result_is_made_anew(
    site_board: Board,
    phantom_tree: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("etab.site.phantom_data._USUAL_PATIENTS", ())
    first = site_board.rows[0].cells["a0-A4-C"]
    phantom.write(tmp_path / "data", patients=12, names=["circor"])
    tree = tmp_path / "data" / "circor"
    digest = datasets.source("circor", tree).digest()
    cell = replace(first, task="e0-AL-D", dataset="circor", data_digest=digest, n_patients=12)
    beside = phantom_source("circor", [cell], tmp_path / "results", tmp_path / "made")
    assert beside is not None
    assert beside.root == tree
    far = tmp_path / "far" / "results"
    told: list[tuple[int, int]] = []
    anew = phantom_source(
        "circor", [cell], far, tmp_path / "made", lambda *counts: told.append(counts)
    )
    assert told[-1] == (12, 12)
    assert anew is not None
    assert anew.root == tmp_path / "made" / "12" / "circor"
    of_patients = replace(cell, data_digest="1" * 64)
    assert phantom_source("circor", [of_patients], far, tmp_path / "again") is None
    # Clips and subgroups need the same tree: it is made once.
    monkeypatch.setattr("etab.phantom.write", pytest.fail)
    again = phantom_source("circor", [cell], far, tmp_path / "made")
    assert again is not None
    assert again.root == anew.root


def test_no_phantom_is_made_for_results_of_more_patients_than_any_has(
    site_board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etab.phantom.write", pytest.fail)
    first = site_board.rows[0].cells["a0-A4-C"]
    cell = replace(first, data_digest="1" * 64, n_patients=500)
    assert phantom_source("camus", [cell], tmp_path / "results", tmp_path / "made") is None


@pytest.mark.parametrize("options", [["--with-examples"], ["--root", "x"]])
def test_examples_need_a_site(
    with_masks: tuple[Board, Path, list[str]], options: list[str]
) -> None:
    refused = etab("leaderboard", with_masks[1], "--tasks", CODE, *options)
    assert refused.returncode != 0
    assert "give --html FOLDER" in " ".join(refused.stderr.split())


def test_only_the_datasets_of_the_examples_are_named() -> None:
    one, other = {"title": "one"}, {"title": "other"}
    tasks = [
        {"code": "e0-AL-D", "data": [one]},
        {"code": "e1-AL-D", "data": [one]},
        {"code": "f0-PH-N", "data": [other]},
    ]
    assert notices_of([{"task": "e0-AL-D"}, {"task": "e1-AL-D"}], tasks) == [one]
    assert notices_of([], tasks) == []
