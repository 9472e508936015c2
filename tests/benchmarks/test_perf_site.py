"""The results of the large board are whole results, and the page of its site is listed and states its limits."""

from __future__ import annotations

from pathlib import Path

from benchmarks.perf import site
from benchmarks.perf.board import PROTOCOL, made_tasks, write
from etab.leaderboard.ranking import rank_folder


def test_made_results_are_admitted_and_ranked(tmp_path: Path) -> None:
    suite = write(tmp_path, 3, made_tasks(2), 30)
    board = rank_folder(tmp_path / "results", str(suite), protocol=PROTOCOL)
    assert board.phantom
    assert [row.rank_low is not None for row in board.rows] == [True] * 3
    assert not any("set aside" in note for note in board.notes)


def test_the_page_states_machine_size_and_limits() -> None:
    measured = {key: limit / 2 for key, limit in site.LIMITS.items()}
    machine = {"processor": "a processor", "cores": 2}
    record = {"size": "3 backbones", "machine": machine, "load": 0.1, "measured": measured}
    text = site.page(record)
    assert "3 backbones. Machine: a processor, 2 cores; load 0.1" in text
    for key, limit in site.LIMITS.items():
        assert f"| {site.WORDS[key]} | {limit / 2:.1f} | {limit:g} |" in text


def test_the_page_is_listed_once() -> None:
    text = site.CONTENTS.read_text()
    once = site.contents_with_page(text)
    assert once.count("reference/site\n") == 1
    assert site.contents_with_page(once) == once
