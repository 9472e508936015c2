"""A table of predictions that is not that of its record does not count as finished."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import typer

from etab.cli.status import status_command
from etab.errors import DataNotFoundError, EtabWarning, UnreadableResultError
from etab.results.table_files import compress_tables
from etab.runs import whole_tables
from etab.runs.data import Data
from etab.runs.execute import execute
from etab.runs.forecast import forecast
from etab.runs.record import path_of_run
from etab.runs.run import Settings, plan
from etab.runs.sweep import sweep
from etab.runs.whole_tables import has_its_table, kept_tables
from etab.storage import digests
from tests import made

TOLD = "is not the table its record was made from"


def _cut(table: Path) -> None:
    table.write_bytes(table.read_bytes()[:-20])


def _empty(table: Path) -> None:
    table.write_bytes(b"")


def _alter(table: Path) -> None:
    table.write_bytes(table.read_bytes().replace(b"3", b"4"))


def _become_folder(table: Path) -> None:
    table.unlink()
    table.mkdir()


def _add(table: Path) -> None:
    table.write_bytes(table.read_bytes() + b"\n")


def _pack_and_cut(table: Path) -> None:
    packed = gzip.compress(table.read_bytes())
    table.unlink()
    table.with_suffix(".csv.gz").write_bytes(packed[:-12])


@pytest.mark.parametrize("damage", [_cut, _empty, _alter, _add, _pack_and_cut])
def test_a_damaged_table_is_none_and_told(damage: Callable[[Path], None], tmp_path: Path) -> None:
    result = made.save(tmp_path, "b0-A4-C", "cnn", n=12)
    path = result.path(tmp_path)
    assert has_its_table(path, result)
    damage(path.with_suffix(".csv"))
    for kept in (nullcontext(), kept_tables(Settings(results=tmp_path))):
        with kept, pytest.warns(EtabWarning, match=TOLD):
            assert not has_its_table(path, result)


def test_a_packed_table_is_that_of_its_record(tmp_path: Path) -> None:
    result = made.save(tmp_path, "b0-A4-C", "cnn", n=12)
    compress_tables(tmp_path, every=True)
    assert has_its_table(result.path(tmp_path), result)


def test_an_absent_table_is_none(tmp_path: Path) -> None:
    result = made.save(tmp_path, "b0-A4-C", "cnn", n=12)
    path = result.path(tmp_path)
    path.with_suffix(".csv").unlink()
    assert not has_its_table(path, result)


@pytest.mark.parametrize("change", [Path.mkdir, os.mkfifo, lambda p: p.symlink_to("/dev/null")])
def test_what_is_no_file_is_never_written_over(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    """The cell would be computed, and could not be saved."""
    result = made.save(tmp_path, "b0-A4-C", "cnn", n=12)
    table = result.path(tmp_path).with_suffix(".csv")
    table.unlink()
    change(table)
    with pytest.raises(UnreadableResultError, match=r"\.csv is not a file"):
        has_its_table(result.path(tmp_path), result)


def test_a_table_is_read_once_as_long_as_it_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished plan has thousands of tables, which take gigabytes where data sets are large.

    `etab status` knows the cache of the runs by its option.
    """
    result = made.save(tmp_path / "results", "b0-A4-C", "cnn", n=12)
    path = result.path(tmp_path / "results")
    cache = tmp_path / "cache"
    settings = Settings(results=tmp_path / "results", cache=cache)
    read: list[str] = []
    real = whole_tables.read_table_bytes
    monkeypatch.setattr(digests, "_YOUNG", -1)
    monkeypatch.setattr(
        whole_tables, "read_table_bytes", lambda table: read.append(table.name) or real(table)
    )
    with kept_tables(settings, writes=False):
        assert has_its_table(path, result)
    assert not cache.exists()
    for _ in range(3):
        with kept_tables(settings):
            assert has_its_table(path, result)
    with pytest.raises(typer.Exit):
        status_command(settings.results, cache=cache)
    assert len(read) == 2
    table = path.with_suffix(".csv")
    facts = table.stat()
    while table.stat().st_ctime_ns == facts.st_ctime_ns:  # the clock of files may be coarse
        _alter(table)
    os.utime(table, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with kept_tables(settings), pytest.warns(EtabWarning, match=TOLD):
        assert not has_its_table(path, result)


def test_status_counts_what_a_run_would_not_compute_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harms = {"whole": Path.exists, "cut": _cut, "lost": Path.unlink, "folder": _become_folder}
    for name, harm in harms.items():
        result = made.save(tmp_path, "b0-A4-C", name, n=12)
        harm(result.path(tmp_path).with_suffix(".csv"))
    with pytest.raises(typer.Exit) as ended:
        status_command(tmp_path)
    first, *problems = capsys.readouterr().out.splitlines()
    assert ended.value.exit_code == 1
    assert first.startswith("1 cell finished, 0 at work, 0 failed")
    told = " ".join(problems)
    assert TOLD in told
    assert "csv is missing: predictions belong beside their record. The cell counts as" in told
    assert "is not a file, but the predictions of" in told


@pytest.mark.parametrize("log", ["", "no such log", "folder"])
def test_status_names_a_log_that_is_not_there(tmp_path: Path, log: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataNotFoundError, match="There is no log"):
        status_command(tmp_path, log=tmp_path / log)


@pytest.mark.slow
def test_a_cell_whose_table_is_damaged_is_computed_again(
    phantom_tree: Callable[..., Path], tmp_path: Path
) -> None:
    runs = plan("b0-A4-C", ["image_stats"], protocols=("cv3", "cv2"), head="knn")
    settings = Settings(root=phantom_tree(["camus"]) / "camus", results=tmp_path / "results")
    list(execute(runs, settings))
    table = path_of_run(runs[0], settings.results).with_suffix(".csv")
    whole = table.read_bytes()
    _cut(table)
    with pytest.warns(EtabWarning, match=TOLD):
        assert forecast(runs, settings, Data(settings)).done == 1
    with pytest.warns(EtabWarning, match=TOLD):
        done = sweep(runs, settings, workers=1, watch=lambda _: nullcontext(print))
    assert [len(done.ran), done.skipped, done.failed] == [1, 1, 0]
    assert table.read_bytes() == whole
    again = sweep(runs, settings, workers=1, watch=lambda _: nullcontext(print))
    assert [len(again.ran), again.skipped] == [0, 2]
