"""The notebooks run on the phantom, and can be read without running them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.pages import execute
from etab.features.store import has_bf16

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted(
    (ROOT / "docs" / "notebooks").glob("*.ipynb"), key=lambda p: int(p.stem.split("_")[0])
)
TRAIN = ("2_benchmark_tasks", "11_heart_states_unet")
"""Networks that these train come out otherwise with another processor or number of threads."""
MOST_OUTDATED = 0.3
"""Share of the numbers that another processor with bf16 may change; without bf16, features differ."""
WORDS = {
    1: "clip",
    2: "freeze",
    3: "ETABscore",
    4: "states",
    5: "local:",
    6: "clinic",
    7: "etab.Frames(",
    8: "etab.Clip(",
    9: "etab.Sound(",
    10: "vectors:",
    11: "state_unet",
}
FIRST_WITHOUT_PICTURES = 5
OWN_ENCODERS = range(7, 11)
named = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def number(path: Path) -> int:
    return int(path.stem.split("_")[0])


def cells(path: Path, kind: str) -> list[dict[str, Any]]:
    return [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == kind]


def test_all_of_them_are_there() -> None:
    assert [number(path) for path in NOTEBOOKS] == list(WORDS)


@named
def test_it_is_readable_as_committed(path: Path) -> None:
    code = cells(path, "code")
    assert path.stat().st_size < 600_000
    assert [c["execution_count"] for c in code] == list(range(1, len(code) + 1)), (
        "run python -m benchmarks.pages.execute"
    )
    kinds = [k for c in code for o in c["outputs"] for k in o.get("data", {})]
    assert sum(k.startswith("image/") for k in kinds) >= (number(path) < FIRST_WITHOUT_PICTURES)
    assert not [
        o
        for c in code
        for o in c["outputs"]
        if o["output_type"] == "error" or o.get("name") == "stderr"
    ]
    assert WORDS[number(path)] in "".join("".join(c["source"]) for c in code)
    prose = " ".join("".join(c["source"]) for c in cells(path, "markdown")).lower()
    assert "phantom" in prose


def test_my_patients_take_less_than_30_lines() -> None:
    (path,) = [path for path in NOTEBOOKS if number(path) == 6]
    source = "\n".join("".join(cell["source"]) for cell in cells(path, "code"))
    assert sum(bool(line.strip()) for line in source.splitlines()) < 30


@named
def test_an_own_encoder_takes_few_lines_and_ends_with_a_board(path: Path) -> None:
    if number(path) not in OWN_ENCODERS:
        pytest.skip("of another kind")
    code = cells(path, "code")
    lines = [line for cell in code for line in cell["source"] if line.strip()]
    assert len(lines) < 30
    board = str(code[-1]["outputs"])
    assert "rank_low" in board
    assert "image_stats" in board or "mel_stats" in board


@named
def test_it_shows_made_data_and_no_machine(path: Path) -> None:
    text = path.read_text()
    assert "phantom.write" in text
    assert not re.search(r"/(tmp|root|home|mnt|opt)/", text)
    for cell in cells(path, "code"):
        assert "root=" not in "".join(cell["source"]) or "folder" in "".join(cell["source"])


def test_the_clip_plays_in_the_page() -> None:
    """As HTML: converters and viewers leave an output of the type image/gif out."""
    shown = [
        "".join(o.get("data", {}).get("text/html", ""))
        for c in cells(NOTEBOOKS[0], "code")
        for o in c["outputs"]
    ]
    assert any('<img src="data:image/gif;base64,' in html for html in shown)


@pytest.mark.slow
@named
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the kernel's own
        done = execute.executed(path, tmp_path)
    again = execute.texts(done)
    assert again
    assert not [o for c in done.cells for o in c.get("outputs", ()) if o.output_type == "error"]
    if path.stem not in TRAIN and has_bf16("cpu"):
        outdated = share_outdated(path, again)
        assert outdated <= MOST_OUTDATED, f"run python -m benchmarks.pages.execute {path.stem}"


def share_outdated(path: Path, again: str) -> float:
    """The share of the decimals of a committed notebook that come out otherwise today.

    A number is the same within 1 %.
    """
    import nbformat

    committed = execute.texts(nbformat.read(path, as_version=4))
    before, after = (re.findall(r"-?\d+\.\d+", text) for text in (committed, again))
    if len(before) != len(after):
        return 1.0
    # In order of size: the forms of an output are stored in another order than they come out.
    pairs = zip(sorted(map(float, before)), sorted(map(float, after)), strict=True)
    moved = [abs(a - b) > 0.005 + 0.01 * abs(a) for a, b in pairs]
    return sum(moved) / max(1, len(moved))


def test_numbers_of_another_day_are_outdated() -> None:
    path = next(path for path in NOTEBOOKS if path.stem == "10_my_vectors")
    import nbformat

    said = execute.texts(nbformat.read(path, as_version=4))
    assert share_outdated(path, said) == 0
    moved = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]) + 1:.3f}", said)
    assert share_outdated(path, moved) == 1
    assert share_outdated(path, f"{said} 1.5") == 1
