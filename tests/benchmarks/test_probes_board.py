"""The two kinds of probes on the board, from stored results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import probes_board
from etab.metrics.inference import PairedTest
from tests.commands import ROOT

FOLDERS = [ROOT / "benchmarks" / name for name in ("results", "results_heads")]


def test_a_line_tells_the_change_on_seeds_kept_apart() -> None:
    old = np.array([8.0, 8.0, 8.0, 8.0, 8.0])
    new = np.array([1.0, 1.0, 1.0, 7.0, 7.5])
    line = probes_board.Line("image_stats", old, new, PairedTest(-4.5, 0.01, -5.0, -4.0))
    assert line.held_out == -0.75
    text = "\n".join(probes_board.section("b0-A4-C", [line]))
    assert "| image_stats | 8.00 (0.000) | 3.50 (3.428) | -4.50 [-5.00, -4.00] | -0.75 |" in text
    assert "mean of 1: control" in text


def test_the_values_are_those_of_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes_board, "TASKS_SHOWN", ("b0-A4-C",))
    monkeypatch.setattr(probes_board, "BACKBONES", ("vits14_saliency",))
    found = probes_board.read(FOLDERS)
    (line,) = probes_board.lines_of("b0-A4-C", found)
    new = found["vits14_saliency", "b0-A4-C", "stack"][0].value
    old = found["vits14_saliency", "b0-A4-C", "ridge"][0].value
    assert line.new.mean() == pytest.approx(new, abs=1e-9)
    assert line.old.mean() == pytest.approx(old, abs=1e-9)
    assert line.test.difference == pytest.approx(new - old, abs=1e-9)


def test_without_folders_there_is_no_page(capsys: pytest.CaptureFixture[str]) -> None:
    before = Path(probes_board.PAGE).read_bytes()
    assert probes_board.main([]) == 2
    assert "usage" in capsys.readouterr().err
    assert Path(probes_board.PAGE).read_bytes() == before
