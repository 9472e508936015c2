"""Masks beside a result: every score follows from them and the authors' masks, in every kind of cell."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from etab.cli.main import app
from etab.errors import UnsupportedOptionError
from etab.leaderboard.admission.masks import other_masks
from etab.results import Result
from etab.results.masks import (
    SAMPLE,
    Keep,
    keep_named,
    mask_digest,
    mask_facts,
    masks_path,
    packed_masks,
    read_masks,
    sample_rows,
)
from etab.runs.execute import execute
from etab.runs.remeasure import remeasured
from etab.runs.run import Settings, plan
from etab.types import Array
from tests.leaderboard.admission.folders import edit, forge_at


@pytest.fixture(scope="module")
def trees(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"], patients=20, size=96)


def run(
    root: Path,
    results: Path,
    *,
    code: str = "a0-A4-C",
    protocol: str = "cv2x2",
    head: str = "linear_seg",
    keep: Keep = "all",
    skip_bad: bool = False,
) -> Result:
    settings = Settings(root=root, results=results, keep_masks=keep, skip_bad=skip_bad)
    runs = plan(code, ["image_stats"], protocols=(protocol,), head=head)
    (result,) = execute(runs, settings)
    return result


@pytest.fixture(scope="module")
def made(trees: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one cell of masks, by two divisions into folds."""
    folder = tmp_path_factory.mktemp("made")
    run(trees / "camus", folder)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "results")
    return tmp_path / "results"


def record(folder: Path) -> Path:
    (path,) = folder.rglob("*.json")
    return path


def masks_of(folder: Path) -> list[Array]:
    result = Result.load(record(folder))
    n_rows = len(result.predictions(folder).items)
    return list(read_masks(masks_path(record(folder), "all"), n_rows))


def reasons(folder: Path, root: Path | None) -> list[str]:
    """Everything that stands against a folder, as ``submit check`` finds it."""
    result = Result.load(record(folder))
    reason = other_masks(result, result.predictions(folder), folder)
    if reason:
        return [reason]
    return [finding.reason for finding in remeasured([result], folder, root)]


def replaced(folder: Path, masks: list[Array]) -> None:
    """Put other masks and their sample beside the record, with their digests in it."""
    result = Result.load(record(folder))
    table = result.predictions(folder)
    digests = [mask_digest(mask) for mask in masks]
    edit(record(folder), masks=mask_facts(table.items, table.repeats, digests))
    masks_path(record(folder), "all").write_bytes(packed_masks(masks))
    sample = [masks[i] for i in sample_rows(table.items, table.repeats)]
    masks_path(record(folder), "sample").write_bytes(packed_masks(sample))


CELLS = {
    "repeated folds": {"protocol": "cv2x2"},
    "official split": {"protocol": "official"},
    "a few patients": {"protocol": "official-50pct-d0"},
    "a probe fitted by likelihood": {"head": "mask_logistic", "protocol": "cv2"},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n == "repeated folds" else n for n in CELLS],
)
def test_scores_follow_from_the_masks(name: str, trees: Path, tmp_path: Path) -> None:
    result = run(trees / "camus", tmp_path, **CELLS[name])  # type: ignore[arg-type]
    masks = masks_of(tmp_path)
    assert len(masks) == len(result.predictions(tmp_path).items)
    assert len(result.masks["sample"]) == min(SAMPLE, len(masks))
    assert reasons(tmp_path, trees / "camus") == []


@pytest.mark.slow
def test_scores_of_a_cross_dataset_cell_follow_from_its_masks(
    phantom_tree: Callable[..., Path], tmp_path: Path
) -> None:
    root = phantom_tree(["camus", "echonet"], patients=10, size=64)
    result = run(root, tmp_path, code="a0-A4-C>E", protocol="cv2")
    assert len(masks_of(tmp_path)) == len(result.predictions(tmp_path).items)
    assert reasons(tmp_path, root) == []


def test_scores_of_what_is_left_follow_from_the_masks(trees: Path, tmp_path: Path) -> None:
    root = tmp_path / "camus"
    shutil.copytree(trees / "camus", root)
    path = sorted(root.rglob("*_4CH_ED.nii.gz"))[3]
    path.write_bytes(path.read_bytes()[:100])
    result = run(root, tmp_path / "results", skip_bad=True)
    assert result.bad
    assert len(masks_of(tmp_path / "results")) == len(
        result.predictions(tmp_path / "results").items
    )
    assert other_masks(result, result.predictions(tmp_path / "results"), tmp_path / "results") == ""


def test_a_sample_is_kept_in_a_small_file_of_its_own(
    trees: Path, made: Path, tmp_path: Path
) -> None:
    result = run(trees / "camus", tmp_path, keep="sample")
    assert result.identity() == Result.load(record(made)).identity()
    path = masks_path(record(tmp_path), "sample")
    assert not masks_path(record(tmp_path), "all").exists()
    digests = [mask_digest(mask) for mask in read_masks(path, SAMPLE)]
    assert digests == [row[2] for row in result.masks["sample"]]
    assert reasons(tmp_path, trees / "camus") == []
    path.write_bytes(packed_masks(list(read_masks(path, SAMPLE))[::-1]))
    assert "has another sha256" in reasons(tmp_path, trees / "camus")[0]


def test_none_are_kept_and_their_digests_are(trees: Path, made: Path, tmp_path: Path) -> None:
    result = run(trees / "camus", tmp_path, keep="none")
    assert result.identity() == Result.load(record(made)).identity()
    assert not list(tmp_path.rglob("*.npz"))


@pytest.mark.parametrize("harm", [Path.unlink, lambda p: p.write_bytes(p.read_bytes()[:300])])
def test_lost_masks_are_written_again_by_the_same_cell(
    harm: Callable[[Path], object], trees: Path, folder: Path, tmp_path: Path
) -> None:
    stored = Result.load(record(folder))
    again = tmp_path / "again"
    run(trees / "camus", again)
    masks = masks_path(record(folder), "all")
    before = masks.read_bytes()
    harm(masks)
    table = replace(stored.predictions(folder), masks=masks_of(again))
    stored.save(folder, table)
    assert masks.read_bytes() == before


def test_cells_of_other_answers_have_no_masks(trees: Path, tmp_path: Path) -> None:
    result = run(trees / "camus", tmp_path, code="b0-A4-C", head="ridge")
    assert result.masks == {}
    assert not list(tmp_path.rglob("*.npz"))
    assert "masks" not in json.loads(record(tmp_path).read_text())


def _better_dice(folder: Path) -> None:
    def better(columns: dict[str, Array]) -> None:
        columns["dice"] = 0.5 + columns["dice"] / 2
        columns["jaccard"] = columns["dice"] / (2 - columns["dice"])

    forge_at(record(folder), folder, better)


def _one_better_dice(folder: Path) -> None:
    def better(columns: dict[str, Array]) -> None:
        columns["dice"][11] += 1e-4
        columns["jaccard"] = columns["dice"] / (2 - columns["dice"])

    forge_at(record(folder), folder, better)


def _nearer_border(folder: Path) -> None:
    def nearer(columns: dict[str, Array]) -> None:
        columns["hd95"] = columns["hd95"] / 2

    forge_at(record(folder), folder, nearer)


def _moved_by_a_pixel(folder: Path) -> None:
    replaced(folder, [np.roll(mask, 1, axis=1) for mask in masks_of(folder)])


def _of_another_row(folder: Path) -> None:
    masks = masks_of(folder)
    replaced(folder, [*masks[1:], masks[0]])


def _of_another_size(folder: Path) -> None:
    replaced(folder, [mask.repeat(2, axis=0) for mask in masks_of(folder)])


def _of_other_data(folder: Path) -> None:
    edit(record(folder), data_digest="e" * 64)


FORGED: dict[str, tuple[Callable[[Path], None], str]] = {
    "better dice": (_better_dice, "it states dice "),
    "one better dice": (_one_better_dice, "it states dice "),
    "a nearer border": (_nearer_border, "it states hd95 "),
    "masks moved by a pixel": (_moved_by_a_pixel, "its mask gives"),
    "masks of another row": (_of_another_row, "its mask gives"),
    "masks of another size": (_of_another_size, "resize it first"),
    "other data": (_of_other_data, "that of the data at hand with"),
}


@pytest.mark.parametrize("name", FORGED)
def test_masks_that_do_not_give_the_told_scores(name: str, trees: Path, folder: Path) -> None:
    forge, reason = FORGED[name]
    forge(folder)
    (found,) = reasons(folder, trees / "camus")
    assert reason in found


def test_the_command_computes_scores_again_with_the_data(
    trees: Path, folder: Path, tmp_path: Path
) -> None:
    suite = tmp_path / "one.toml"
    suite.write_text('name = "one"\nversion = 1\ntasks = ["a0-A4-C"]\n')
    _moved_by_a_pixel(folder)
    arguments = ["submit", "check", str(folder), "--suite", str(suite), "--protocol", "cv2x2"]
    output = CliRunner().invoke(app, [*arguments, "--root", str(trees / "camus")]).output
    assert "its mask gives" in output
    assert "its mask gives" not in CliRunner().invoke(app, arguments).output


def test_another_choice_is_refused() -> None:
    with pytest.raises(UnsupportedOptionError, match="possible: all, sample, none"):
        keep_named("some")
