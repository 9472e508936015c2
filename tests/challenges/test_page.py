"""docs/challenge.md: its commands and its code run as they are written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from etab.challenges.scoring import read_references
from tests.challenges.entries import ROOT, entry, entry_2022, zipped
from tests.commands import Ended, etab

PAGE = (ROOT / "docs" / "challenge.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def _commands() -> list[str]:
    lines = [text for kind, text in BLOCKS if kind == "bash"]
    joined = "".join(lines).replace("\\\n", " ")
    return [line for line in joined.splitlines() if line.startswith("etab ")]


@pytest.fixture(scope="module")
def place(phantom_tree: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data, entries and results that the page names; /data is a folder in it."""
    folder = tmp_path_factory.mktemp("page")
    data = folder / "data"
    data.mkdir()
    sounds = phantom_tree(["circor", "cinc2016"], seed=7)
    (sounds / "cinc2016").rename(data / "challenge-2016")
    (sounds / "circor").rename(data / "circor-1.0.3")
    (phantom_tree(["circor"]) / "circor").rename(data / "mine")
    truth = read_references(data / "challenge-2016" / "validation")[0]
    zipped(
        entry(folder / "entry-2016", {name: row.label for name, row in truth.items()}),
        folder / "entry.zip",
    )
    entry_2022(folder / "entry")
    for tasks, name in (("f0", "challenge-2016"), ("f1,f2", "circor-1.0.3")):
        words = ("run", "--tasks", tasks, "--root", f"/data/{name}", "--results", "results")
        done = _run(folder, ["etab", *words, "--backbones", "mel_stats", "--protocol", "lodo,cv"])
        assert done.returncode == 0, done.stderr
    return folder


def _run(folder: Path, words: list[str]) -> Ended:
    """Run ``etab ...`` in a folder, where /data is the folder ``data`` in it."""
    assert words[0] == "etab"
    return etab(*[word.replace("/data/", f"{folder}/data/") for word in words[1:]], cwd=folder)


def test_the_page_has_commands() -> None:
    assert len(_commands()) == 5


@pytest.mark.slow
@pytest.mark.parametrize("line", _commands())
def test_commands_run_as_written(place: Path, line: str) -> None:
    done = _run(place, shlex.split(line, comments=True))
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def test_code_runs_as_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    monkeypatch.chdir(place)
    blocks = [text for kind, text in BLOCKS if kind == "python"]
    code = "".join(blocks) + 'listen(samples, rate, start=2, seconds=6).save("clip.wav")\n'
    exec(compile(code.replace("/data/", f"{place}/data/"), "challenge.md", "exec"), {})
    assert (place / "states.png").is_file()
    assert (place / "clip.wav").is_file()
