"""etab plan: what is done and missing, and what that takes, from what was measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from etab.cli.plan import plan_command
from etab.features.budget import cached_entries
from etab.runs import execute as executing
from etab.runs.data import Data
from etab.runs.execute import claim_path, execute
from etab.runs.failed_cells import record_failure
from etab.runs.forecast import forecast
from etab.runs.run import Settings, plan
from etab.storage.claims import claimed

RUNS = plan("b0-A4-C,d0-A4-C", ["image_stats", "pixel_pca"], protocols=("cv3",))
"""Four cells; in the order of the tests: two to compute for each backbone."""


@pytest.fixture(scope="module")
def camus(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"]) / "camus"


@pytest.mark.slow
def test_a_plan_knows_what_is_done_and_what_the_rest_takes(
    camus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    cache = tmp_path / "cache"
    settings = Settings(root=camus, results=results, cache=cache)
    data = Data(settings, keeps_digests=False)
    before = forecast(RUNS, settings, data)
    assert [before.done, before.at_work, before.given_up] == [0, 0, 0]
    assert [(need.backbone, need.cells) for need in before.needs] == [
        ("image_stats", 2),
        ("pixel_pca", 2),
    ]
    n_rows = before.needs[0].rows
    assert n_rows == len(data.keys(RUNS[0].row))
    assert [need.seconds for need in before.needs] == [None, None]
    assert [need.disk for need in before.needs] == [None, None]
    measured = forecast(RUNS, settings, data, measure=True).needs[0]
    assert not cache.exists()

    first = next(run for run in RUNS if run.backbone == "image_stats")
    (cell,) = execute([first], settings, data=data)
    (entry,) = cached_entries(cache)
    # 16 rows tell what all rows take on the disk, but for the headers of the files.
    assert measured.disk == pytest.approx(entry.size, rel=0.1)
    assert measured.memory == pytest.approx(entry.pooled, rel=0.1)
    other = next(run for run in RUNS if run.backbone == "pixel_pca")
    facts = executing.facts_of_cell(other, settings, data)
    record_failure(other, settings, facts, "undefined", "one class")
    left = next(run for run in RUNS if run.backbone == "image_stats" and run != first)
    with claimed(claim_path(left, settings)):
        after = forecast(RUNS, settings, data)
    assert [after.done, after.at_work, after.given_up] == [1, 1, 1]
    stats, pca = after.needs
    assert stats.seconds == cell.provenance["seconds"]
    assert [stats.rows, stats.disk, stats.embed_seconds] == [0, 0.0, 0.0]
    assert [pca.rows, pca.disk] == [n_rows, None]

    plan_command(
        "b0-A4-C,d0-A4-C",
        backbones="image_stats,pixel_pca",
        protocol="cv3",
        root=camus,
        results=results,
        cache=cache,
    )
    shown = capsys.readouterr().out
    assert "1 of 4 cells finished; 2 to compute, of which 0 at work now; 1 failed" in shown
    assert "pixel_pca" in shown
    assert "?" in shown
