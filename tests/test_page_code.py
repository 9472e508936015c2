"""The code and the commands of the pages that have no test of their own."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from etab.datasets.own.description import read_description

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def code_blocks(page: Path, kinds: set[str]) -> list[str]:
    """The fenced blocks of some kinds, in their order."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [text for kind, text in fenced if kind in kinds]


def commands() -> Iterator[tuple[str, str]]:
    """Each command line of a page, continued lines joined."""
    for page in PAGES:
        for text in code_blocks(page, {"bash", "sh", ""}):
            for line in text.replace("\\\n", " ").splitlines():
                for part in line.split("&&"):
                    if part.strip().startswith("etab "):
                        yield str(page.relative_to(ROOT)), part.strip()


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_a_command_of_a_page_exists_with_its_options(page: str, line: str) -> None:
    from etab.cli.main import app

    command: Any = typer.main.get_command(app)
    words = shlex.split(line, comments=True)[1:]
    while hasattr(command, "commands") and words:
        subcommand = command.commands.get(words[0])
        assert subcommand is not None, f"{page}: no command {words[0]}"
        command = subcommand
        words = words[1:]
    options = {name for parameter in command.params for name in parameter.opts}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in options, f"{page}: {line}"


def test_pages_show_commands() -> None:
    assert len(set(commands())) > 15


def test_the_descriptions_of_own_data_are_read(tmp_path: Path) -> None:
    blocks = code_blocks(ROOT / "docs" / "own_data.md", {"toml"})
    assert blocks
    for i, text in enumerate(blocks):
        assert tomllib.loads(text)
        description = tmp_path / f"{i}.toml"
        description.write_text(text)
        read_description(description)


def test_a_test_runs_the_python_of_every_page() -> None:
    """Those of docs/adding/ run in test_docs.py, that of the challenges in challenges/test_page.py."""
    counts = {
        page.relative_to(ROOT).as_posix(): len(code_blocks(page, {"python"}))
        for page in [*PAGES, *(ROOT / "benchmarks").glob("*.md"), *ROOT.glob("*.md")]
        if page.parent.name != "adding"
    }
    assert {page: count for page, count in counts.items() if count} == {
        "README.md": 2,
        "docs/challenge.md": 1,
        "docs/own_data.md": 1,
    }


@pytest.mark.slow
def test_the_python_of_the_readme_runs(
    phantom_tree: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    camus = phantom_tree(["camus"], patients=16) / "camus"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ETAB_CACHE", str(tmp_path / "cache"))
    blocks = code_blocks(ROOT / "README.md", {"python"})
    assert len(blocks) == 2
    for code in blocks:
        assert "/data/CAMUS_public" in code
        # Fewer recordings, and a control that needs no network: the words stay the page's.
        runnable = code.replace("/data/CAMUS_public", str(camus))
        runnable = runnable.replace("n_clips=100", "n_clips=4")
        runnable = runnable.replace('"efficientnet_lite0"', '"image_stats"')
        names: dict[str, object] = {}
        exec(compile(runnable, "README.md", "exec"), names)
    assert tuple(names["image"].shape) == (3, 224, 224)  # type: ignore[attr-defined]
    assert tuple(names["mask"].shape) == (1, 224, 224)  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.usefixtures("forget_own_data")
def test_the_python_of_own_data_runs(
    phantom_tree: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from etab.datasets import source

    camus = source("camus", phantom_tree(["camus"], patients=24) / "camus")
    rows = ["file,patient,EF"]
    for record in camus.records():
        if record.view == "A4C":
            ef = camus.answers(record, camus.card.target("EF"))[0].value
            rows.append(f"{record.files['ED']},{record.patient},{ef}")
    (tmp_path / "clinic.csv").write_text("\n".join(rows))
    (tmp_path / "PHANTOM").touch()
    (tmp_path / "clinic.toml").write_text(
        f'name = "clinic"\ntable = "clinic.csv"\nfolder = "{camus.root}"\n'
        '[labels.EF]\nkind = "value"\nunit = "%"\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ETAB_CACHE", str(tmp_path / "cache"))
    blocks = code_blocks(ROOT / "docs" / "own_data.md", {"python"})
    assert len(blocks) == 1
    names: dict[str, object] = {}
    exec(compile(blocks[0].replace('"mobilenetv2"', '"image_stats"'), "own_data.md", "exec"), names)
    assert "b0-AL-Z" in str(names["score"])
