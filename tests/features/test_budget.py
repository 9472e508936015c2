"""A budget for the cache: what is deleted first, and what stays."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import typer
from safetensors.numpy import save_file

from etab.cli.cache import cache_command
from etab.errors import EtabWarning, UnsupportedOptionError
from etab.features.budget import cached_entries, parse_size
from etab.features.entries import read_entry, seal_entry
from etab.storage.claims import Holder, claimed


def _put(cache: Path, name: str, n_rows: int, seconds: float | None) -> Path:
    folder = cache / "features" / name / "key"
    folder.mkdir(parents=True)
    save_file({"mean": np.zeros((n_rows, 100), np.float32)}, str(folder / "pooled.safetensors"))
    facts = {} if seconds is None else {"seconds": seconds}
    (folder / "entry.json").write_text(json.dumps(facts))
    return folder


def _names(cache: Path) -> list[str]:
    return sorted(entry.path.parent.name for entry in cached_entries(cache))


def test_what_is_cheapest_to_compute_again_is_deleted_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _put(tmp_path, "slow", 100, 500.0)
    _put(tmp_path, "fast", 100, 1.0)
    _put(tmp_path, "large", 1000, 900.0)  # cheaper than "slow" for each byte
    assert [entry.rows for entry in cached_entries(tmp_path)] == [1000, 100, 100]
    cache_command("ls", cache=tmp_path)
    assert "   900 s  features/large/key" in capsys.readouterr().out
    cache_command("gc", cache=tmp_path, budget="450kB")
    assert _names(tmp_path) == ["large", "slow"]
    assert "features/fast/key" in capsys.readouterr().out
    cache_command("gc", cache=tmp_path, budget="50 KB")
    assert _names(tmp_path) == ["slow"]
    cache_command("gc", cache=tmp_path, budget="0")
    assert not list((tmp_path / "features").rglob("*.part"))
    assert _names(tmp_path) == []


def test_an_entry_without_a_time_is_as_cheap_as_usual(tmp_path: Path) -> None:
    _put(tmp_path, "slow", 100, 500.0)
    _put(tmp_path, "usual", 100, 50.0)
    _put(tmp_path, "fast", 100, 1.0)
    _put(tmp_path, "unknown", 200, None)
    cache_command("gc", cache=tmp_path, budget="150kB")
    assert _names(tmp_path) == ["slow", "usual"]


HEADERS = (
    b"[]",
    b'{"a": 5}',
    b'{"a": {}}',
    b'{"a": {"shape": []}}',
    b'{"a": {"shape": ["x"]}}',
    b"[" * 9999,
)
SECONDS = ("NaN", "1" + "0" * 400, "-5", "true", "[]")


@pytest.mark.parametrize("action", ["ls", "gc", "verify"])
def test_a_damaged_entry_is_listed_and_deleted_like_others(
    action: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One damaged file ended the command with an error of Python."""
    for number, header in enumerate(HEADERS):
        folder = _put(tmp_path, f"header{number}", 1, 1.0)
        whole = len(header).to_bytes(8, "little") + header
        (folder / "pooled.safetensors").write_bytes(whole)
    for number, seconds in enumerate(SECONDS):
        folder = _put(tmp_path, f"time{number}", 1, 1.0)
        (folder / "entry.json").write_text(f'{{"seconds": {seconds}}}')
    pipe = _put(tmp_path, "pipe", 1, 1.0) / "pooled.safetensors"
    pipe.unlink()
    os.mkfifo(pipe)
    entries = {entry.path.parent.name: entry for entry in cached_entries(tmp_path)}
    assert len(entries) == len(HEADERS) + len(SECONDS) + 1
    for name, entry in entries.items():
        assert (entry.seconds is None) == name.startswith("time")
        assert (entry.rows is None) == (not name.startswith("time"))
    with contextlib.suppress(typer.Exit):
        cache_command(action, cache=tmp_path, budget="0" if action == "gc" else None)
    assert ("deleted" in capsys.readouterr().out) == (action == "gc")


@pytest.mark.parametrize("content", [b"", b"x" * 50, b"\x02" + bytes(7) + b"{}"])
@pytest.mark.parametrize("name", ["pooled.safetensors", "map0.npy"])
def test_an_entry_whose_files_hold_something_else_is_damaged(
    name: str, content: bytes, tmp_path: Path
) -> None:
    """Its checksums are right, as where another program has written it."""
    folder = tmp_path / "key"
    folder.mkdir()
    save_file({"mean": np.zeros((2, 3), np.float32)}, str(folder / "pooled.safetensors"))
    (folder / name).write_bytes(content)
    seal_entry(folder, {"order": ["mean"], "pca": {}}, 1.0)
    with pytest.warns(EtabWarning, match="are damaged"):
        assert read_entry(folder) is None


def test_an_entry_that_is_claimed_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As long as its process lives."""
    claimed_entry = _put(tmp_path, "fast", 100, 1.0)
    _put(tmp_path, "slow", 100, 500.0)
    with claimed(claimed_entry.with_name("key.claim")):
        cache_command("gc", cache=tmp_path, budget="1kB")
        assert _names(tmp_path) == ["fast"]
        shown = capsys.readouterr().out
        assert re.search(r"40\.\d KB stay: processes are at work", shown)
        holder = Holder.this_process()
    claim = claimed_entry.with_name("key.claim")
    claim.write_text(json.dumps(asdict(replace(holder, started="1"))))  # it was killed
    cache_command("gc", cache=tmp_path, budget="1kB")
    assert _names(tmp_path) == []


def test_entries_are_renamed_before_they_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that reads an entry finds all of it or nothing."""
    entry = _put(tmp_path, "slow", 100, 500.0)
    deleted: list[Path] = []
    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: deleted.append(path))
    cache_command("ls", cache=tmp_path, clear=True)
    assert not entry.exists()
    assert [(path.parent, path.suffix) for path in deleted] == [(entry.parent, ".part")]


@pytest.mark.parametrize("text", ["", "many", "-5GB", "5 apples", "1e3GB", "5PB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UnsupportedOptionError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize("options", [{"action": "gc"}, {"budget": "1GB"}, {"action": "rm"}])
def test_options_that_belong_together(options: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOptionError, match=r"Known: ls, gc|belong together"):
        cache_command(cache=tmp_path, **options)
