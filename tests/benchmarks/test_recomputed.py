"""The counts of published numbers that numpy alone computes again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from benchmarks import recomputed
from tests.commands import ROOT

STORED = ROOT / "benchmarks" / "results" / "camus" / "b0-A4-C" / "image_stats"


def test_the_counts_are_of_the_records_that_are_published() -> None:
    counts = json.loads(recomputed.COUNTS.read_text())
    records = {path.name: len(list(path.rglob("*.json"))) for path in recomputed.folders()}
    for title, row in counts.items():
        kind, folder = title.split(" of ")
        wanted = 1 if kind == "board" else records[folder]
        assert row["records"] == wanted, f"run benchmarks.recomputed --folders {folder} again"
        assert row["different"] == 0


def test_the_page_is_that_of_the_counts() -> None:
    counts = json.loads(recomputed.COUNTS.read_text())
    page = recomputed.PAGE.read_text()
    assert page == recomputed.page(counts)
    for title in recomputed.jobs(recomputed.PARTS, None):
        assert title in page


def test_a_part_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        recomputed.main(["--parts", "records,pages"])
    assert "got pages" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        recomputed.main(["--folders", "results_of_nobody"])
    assert "results_sounds_full" in capsys.readouterr().err


@pytest.mark.slow
def test_one_command_compares_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "results_few" / "camus" / "b0-A4-C" / "image_stats"
    folder.mkdir(parents=True)
    for path in STORED.glob("official-ridge-*"):
        shutil.copy(path, folder)
    monkeypatch.setattr(recomputed, "HERE", tmp_path)
    monkeypatch.setattr(recomputed, "COUNTS", tmp_path / "counts.json")
    monkeypatch.setattr(recomputed, "PAGE", tmp_path / "counts.md")
    assert recomputed.main(["--parts", "records,read-outs"]) == 0
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert counts["records of results_few"]["compared"] > 10
    assert counts["read-outs of results_few"]["compared"] == 4 * 10
    assert "| read-outs of results_few | 1 | 40 | 0 |" in (tmp_path / "counts.md").read_text()
    (record,) = folder.glob("*.json")
    content = json.loads(record.read_text())
    record.write_text(json.dumps({**content, "value": content["value"] + 1e-6}))
    assert recomputed.main(["--parts", "records"]) == 1
    assert ": value is" in capsys.readouterr().out
