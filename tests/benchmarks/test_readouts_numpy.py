"""Clinical read-outs computed again with numpy alone."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from benchmarks import readouts_numpy
from tests.commands import ROOT, etab

PUBLISHED = ROOT / "benchmarks"
CELLS = (
    ("results", "camus/a0-A4-C/pixel_pca"),
    ("results", "camus/b0-A4-C/pixel_pca"),
    ("results", "camus/c0-AX-C/pixel_pca"),
    ("results", "camus/d0-A4-C/pixel_pca"),
    ("results_sounds", "circor/e0-AL-D/envelopes"),
    ("results_sounds", "circor/e1-AL-D/envelopes"),
)


@pytest.mark.slow
def test_read_outs_are_what_numpy_alone_computes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    for folder, cell in CELLS:
        (results / cell).mkdir(parents=True)
        for path in (PUBLISHED / folder / cell).glob("cv5-*"):
            shutil.copy(path, results / cell)
    stored = json.loads(etab("results", results, "--clinical", "--json").stdout)
    path = tmp_path / "readouts.json"
    path.write_text(json.dumps(stored))
    assert readouts_numpy.main([str(results), str(path)]) == 0
    assert " 0 different" in capsys.readouterr().out
    cell = next(iter(stored))
    stored[cell][0]["high"] += 1e-6
    path.write_text(json.dumps(stored))
    assert readouts_numpy.main([str(results), str(path)]) == 1
    assert "1 different" in capsys.readouterr().out


def test_other_numbers_of_arguments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert readouts_numpy.main(["results"]) == 2
    assert "usage" in capsys.readouterr().err


def test_the_script_shares_no_code_with_etab() -> None:
    text = Path(readouts_numpy.__file__).read_text()
    assert not re.search(r"^\s*(import|from) (etab|scipy|pandas)", text, re.MULTILINE)
