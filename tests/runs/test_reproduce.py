"""``etab reproduce``: the same numbers come out, or the difference is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import etab
from etab.cli.main import app
from etab.errors import EtabError, ResultError
from etab.runs.reproduce import reproduce


@pytest.fixture(scope="module")
def root(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(["camus"]) / "camus"


@pytest.fixture(scope="module")
def stored(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("stored")
    etab.evaluate("image_stats", tasks="b0-A4-C", root=root, results=results)
    (path,) = results.rglob("*.json")
    return path


def edited(stored: Path, tmp_path: Path, **changes: Any) -> Path:
    record = json.loads(stored.read_text())
    record.update(changes)
    path = tmp_path / stored.name
    path.write_text(json.dumps(record))
    path.with_suffix(".csv").write_text(stored.with_suffix(".csv").read_text())
    return path


def elsewhere(stored: Path) -> dict[str, Any]:
    """The provenance of the stored result, as a machine with another processor records it."""
    record = json.loads(stored.read_text())
    return {**record["provenance"], "processor": "another one"}


def test_the_same_machine_gives_the_same_bytes(stored: Path, root: Path) -> None:
    reproduction = reproduce(stored, root=root)
    assert reproduction.identical
    assert reproduction.reproduced
    assert reproduction.same_machine
    assert reproduction.rows_differ == 0


def test_other_predictions_on_the_same_machine_are_not_the_same_result(
    stored: Path, tmp_path: Path, root: Path
) -> None:
    path = edited(stored, tmp_path, predictions_sha256="0" * 64)
    reproduction = reproduce(path, root=root)
    assert reproduction.same_machine
    assert not reproduction.reproduced


@pytest.mark.parametrize(("share", "reproduced"), [(0.2, True), (0.3, False)])
def test_another_machine_may_differ_by_a_quarter_of_the_half_width(
    share: float, reproduced: bool, stored: Path, tmp_path: Path, root: Path
) -> None:
    record = json.loads(stored.read_text())
    half_width = (record["high"] - record["low"]) / 2
    path = edited(
        stored,
        tmp_path,
        value=record["value"] + share * half_width,
        predictions_sha256="0" * 64,
        provenance=elsewhere(stored),
    )
    reproduction = reproduce(path, root=root)
    assert not reproduction.same_machine
    assert reproduction.reproduced is reproduced


@pytest.mark.parametrize("name", ["data_digest", "weights_sha256"])
def test_other_inputs_are_an_error(name: str, stored: Path, tmp_path: Path, root: Path) -> None:
    path = edited(stored, tmp_path, **{name: "0" * 64})
    with pytest.raises(ResultError, match="with 000000000000 there"):
        reproduce(path, root=root)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"protocol": "cv5-finetune"}, "only cells of frozen backbones"),
        ({"backbone": "nobody"}, "nobody"),
        ({"head": "nothing"}, "nothing"),
    ],
)
def test_what_cannot_be_computed_again_is_named(
    changes: dict[str, str], words: str, stored: Path, tmp_path: Path
) -> None:
    with pytest.raises(EtabError, match=words):
        reproduce(edited(stored, tmp_path, **changes), root=tmp_path)


def test_the_command_says_what_came_out(stored: Path, tmp_path: Path, root: Path) -> None:
    again = CliRunner().invoke(app, ["reproduce", str(stored), "--root", str(root)])
    assert again.exit_code == 0
    assert again.output.splitlines()[-1] == "  reproduced: every prediction is equal"
    forged = edited(stored, tmp_path, predictions_sha256="0" * 64)
    other = CliRunner().invoke(app, ["reproduce", str(forged), "--root", str(root)])
    assert other.exit_code == 1
    assert "NOT reproduced" in other.output
