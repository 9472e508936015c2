"""The code and the commands of the pages that have no test of their own."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from etab.datasets.own.description import read_description

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# The changelog tells of former versions, too.
OF_TODAY = [
    *[page for page in PAGES if page.name != "CHANGELOG.md"],
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "benchmarks").rglob("*.md")),
]


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


@cache
def _whole_command() -> Any:
    from etab.cli.main import app

    return typer.main.get_command(app)


def mistake_in(words: list[str]) -> str:
    """What is wrong with the words behind ``etab``: a command or an option that is not there; "" for nothing."""
    command = _whole_command()
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        found = [command.commands.get(name) for name in words[0].split("|")]  # cinc2016|circor2022
        if None in found:
            return f"no command {words[0]}"
        command = found[0]
        words = words[1:]
    options = {"--help"}.union(*(p.opts + p.secondary_opts for p in command.params))
    given = [word.partition("=")[0].rstrip(".,:)") for word in words if word.startswith("--")]
    return "".join(f"no option {name}; " for name in given if name not in options)


@pytest.mark.parametrize(("page", "line"), sorted(set(commands())))
def test_a_command_of_a_page_exists_with_its_options(page: str, line: str) -> None:
    assert mistake_in(shlex.split(line, comments=True)[1:]) == "", f"{page}: {line}"


def test_commands_within_sentences_exist_with_their_options() -> None:
    lines = [
        line
        for page in OF_TODAY
        for line in re.findall(r"`(?:python -m )?etab\s([^`]+)`", page.read_text())
    ]
    assert len(lines) > 120
    assert [line for line in lines if mistake_in(line.split())] == []


def test_commands_in_messages_exist_with_their_options() -> None:
    """Text between one ``etab`` and the next, where it names an option; a value that is put in is a word."""
    lines = [
        line
        for code in [path.read_text() for path in sorted((ROOT / "etab").rglob("*.py"))]
        if re.search(r"\betab [a-z]", code) and "--" in code
        for text in _texts(ast.parse(code))
        for line in re.findall(r"(?<![\w./-])etab ((?:(?!\betab )[^`\n;])*)", text)
        if "--" in line
    ]
    assert len(lines) > 60
    assert [line for line in lines if mistake_in(line.split())] == []


def _texts(code: ast.AST) -> Iterator[str]:
    for node in ast.walk(code):
        if isinstance(node, ast.JoinedStr):
            parts = node.values
            yield "".join(str(p.value) if isinstance(p, ast.Constant) else "X" for p in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_programs_that_pages_run_know_the_options() -> None:
    """Some programs of a folder share the options that another file of it adds."""
    lines = {
        (module, option)
        for page in OF_TODAY
        for module, rest in re.findall(
            r"python -m ((?:benchmarks|tests)\.[\w.]+)([^`\n]*)", page.read_text()
        )
        for option in re.findall(r"(?<!\S)--[a-z0-9-]+", rest)
    }
    assert len(lines) > 5
    for module, option in sorted(lines):
        folder = ROOT / Path(*module.split(".")[:-1])
        code = "".join(path.read_text() for path in folder.glob("*.py"))
        assert f'"{option}"' in code, f"python -m {module} {option}"


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
