"""Many further kinds of hostile records in one folder: each is refused with its reason, and the board stands."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etab.leaderboard.admission.admit import Admission, admit
from etab.leaderboard.admission.files import record_files
from etab.results import read_results
from etab.results.merge import merge_folders
from etab.tasks.menu import TASKS
from tests import made
from tests.commands import etab
from tests.leaderboard.admission import folders
from tests.leaderboard.admission.folders import CAMUS_TASKS, HONEST, edit, stranger
from tests.leaderboard.admission.further_kinds import FURTHER
from tests.leaderboard.admission.more_kinds import MORE
from tests.leaderboard.admission.odd_kinds import ODD

CODE = "b0-A4-C"
Change = Callable[[Path], object]


def _text(old: str, new: str) -> Change:
    return lambda path: path.write_text(path.read_text().replace(old, new, 1))


def _field(**changes: Any) -> Change:
    return lambda path: edit(path, **changes)


def _fold(**changes: Any) -> Change:
    def change(path: Path) -> None:
        folds = json.loads(path.read_text())["folds"]
        folds[0].update(changes)
        edit(path, folds=folds)

    return change


def _metric(name: str) -> Change:
    return lambda path: edit(path, metrics={**json.loads(path.read_text())["metrics"], name: 1.0})


def _bytes(change: Callable[[bytes], bytes]) -> Change:
    return lambda path: path.write_bytes(change(path.read_bytes()))


def _packed(change: Callable[[bytes], bytes]) -> Change:
    def packed(path: Path) -> None:
        plain = path.with_suffix(".csv")
        path.with_suffix(".csv.gz").write_bytes(change(plain.read_bytes()))
        plain.unlink()

    return packed


def _grown(suffix: str, size: int) -> Change:
    """A file with a hole: it says that it is huge and takes no space."""

    def grown(path: Path) -> None:
        table = path.with_suffix(suffix)
        table.touch()
        os.truncate(table, size)

    return grown


def _table_is_a_pipe(path: Path) -> None:
    path.with_suffix(".csv").unlink()
    os.mkfifo(path.with_suffix(".csv"))


def _two_tables(path: Path) -> None:
    path.with_suffix(".csv.gz").write_bytes(gzip.compress(b"kind,item\n"))


def _name_that_is_no_text(path: Path) -> None:
    path.rename(path.parent / os.fsdecode(b"\xff\xfe.json"))


def _link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


KINDS: dict[str, tuple[Change, str]] = {
    "not a number": (_text('"level": 0.95', '"level": NaN'), "level is nan"),
    "minus infinity": (_text('"level": 0.95', '"level": -Infinity'), "level is -inf"),
    "a float that overflows": (_text('"level": 0.95', '"level": 1e999'), "level is inf"),
    "5,000 digits": (_text('"n_test": ', '"n_test": ' + "1" * 5000), "cannot be read"),
    "10 to the 30": (_field(n_test=10**30), "n_test is 1000000"),
    "training rows below zero": (_field(n_train=-5), "n_train is -5"),
    "half a training row": (_field(n_train=12.5), "n_train is 12.5"),
    "a truth value as a number": (_field(n_train=True), "n_train is True"),
    "2 to the 63 training rows": (_field(n_train=2**63), "n_train is 9223372036854775808; wanted"),
    "no training rows": (_field(n_train=0), "its n_train is 0; every head is fitted on rows"),
    "training patients without end": (_field(n_train_patients=10**18), "n_train_patients"),
    "a seed below zero": (_field(seed=-1), "seed is -1"),
    "predictions of another fold seed": (_field(seed=1), "which belongs at"),
    "a value that is a text": (_field(value="7.1"), "value is '7.1'"),
    "no value": (_field(value=None), "value is None"),
    "metrics in a list": (_field(metrics=[1]), "metrics is [1]"),
    "a metric that runs backwards": (_metric("r\u202e2"), "a metric is named 'r\\u202e2'"),
    "a metric with markup": (_metric("<b>"), "a metric is named '<b>'"),
    "an interval with markup": (_field(interval="<img src=x>"), "its interval is '<img src=x>'"),
    "a fold that runs backwards": (_fold(name="fold\u202e0"), "it lists the folds"),
    "a fold with a number for a name": (_fold(name=3), "folds is"),
    "a fold in a list": (_fold(name=["a"]), "folds is"),
    "a repeat below zero": (_fold(repeat=-1), "folds is"),
    "a repeat beyond 64 bits": (_fold(repeat=10**25), "folds is"),
    "a choice given twice": (_text('"choice": {', '"choice": {"a": 1, "a": 2, '), "appears twice"),
    "a task of another script": (_field(task="b0-A4-\uff23"), "which belongs at"),
    "a task that climbs": (_field(task="../../b0-A4-C"), "which belongs at"),
    "a head that climbs": (_field(head="../x"), "which belongs at"),
    "25 million divisions": (_field(protocol="cv5x99999999"), "its protocol is none"),
    "a list that is a system file": (_field(protocol="lists:/etc/passwd"), "protocol is"),
    "missing rows without reasons": (_field(missing=[["a"]]), "missing is"),
    "patients who cannot be named": (_field(bad={"lost": 5}), "bad is"),
    "digests of masks that are none": (_field(masks={"sha256": 5, "sample": 7}), "masks is"),
    "masks of predicted numbers": (
        _field(masks={"sha256": "0" * 64, "sample": []}),
        "it has masks beside it",
    ),
    "provenance in a list": (_field(provenance=[1]), "provenance is [1]"),
    "a future schema": (_field(schema=2), "has schema 2"),
    "a schema that is true": (_field(schema=True), "schema is True"),
    "a digest in wide digits": (_field(weights_sha256="\uff15" * 64), "weights_sha256 is"),
    "a byte order mark": (_bytes(lambda text: b"\xef\xbb\xbf" + text), "cannot be read"),
    "16 bits a letter": (_bytes(lambda text: text.decode().encode("utf-16")), "cannot be read"),
    "two records in one file": (_bytes(lambda text: text + text), "cannot be read"),
    "an empty file": (_bytes(lambda text: b""), "cannot be read"),
    "settings without a bottom": (
        _text('"settings": {', '"settings": {"d": ' + "[" * 5000 + "]" * 5000 + ", "),
        "cannot be read",
    ),
    "a choice 900 lists deep": (
        _text('"choice": {', '"choice": {"d": ' + "[" * 900 + "]" * 900 + ", "),
        "nested too deeply",
    ),
    "half of a character": (_text('"head": "', '"head": "\\ud800'), "head is"),
    "a table of a terabyte": (_grown(".csv", 1 << 40), "larger than 64 MiB"),
    "a packed table of a gigabyte": (_grown(".csv.gz", 1 << 30), "larger than 64 MiB"),
    "a packed table cut short": (_packed(lambda text: gzip.compress(text)[:-9]), "cut short"),
    "two packed tables in one": (_packed(lambda text: 2 * gzip.compress(text)), "more follows"),
    "a packed table that is none": (_packed(lambda text: b"PK\x03\x04"), "not a gzip file"),
    "two tables": (_two_tables, "it has two tables of predictions"),
    "a table that is a pipe": (_table_is_a_pipe, "folder, pipe or device"),
    "a file name that is not text": (_name_that_is_no_text, "which belongs at"),
    "a link to itself": (_link_to_itself, "it is a link"),
}

KINDS |= MORE | ODD | FURTHER


def name_of(kind: str) -> str:
    return f"kind{sorted(KINDS).index(kind)}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Honest results of four backbones, and one record of each kind under a name of its own."""
    whole = tmp_path_factory.mktemp("kinds") / "results"
    folders.camus_folder(whole)
    source = stranger(whole, CODE)
    for number, kind in enumerate(sorted(KINDS)):
        path = source.parent.parent / name_of(kind) / source.name
        path.parent.mkdir()
        for suffix in (".json", ".csv"):
            shutil.copy(source.with_suffix(suffix), path.with_suffix(suffix))
        edit(path, backbone=name_of(kind), weights_sha256=f"{number:064d}")
        KINDS[kind][0](path)
    return whole


@pytest.fixture(scope="module")
def admission(folder: Path) -> Admission:
    return admit(folder, TASKS, lambda result: True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_refused_with_its_reason(kind: str, admission: Admission) -> None:
    reasons = [f.reason for f in admission.refused if name_of(kind) in f.path.parts]
    assert len(reasons) == 1
    assert KINDS[kind][1] in reasons[0]
    assert len(reasons[0]) < 1200


@pytest.mark.slow
def test_honest_results_stand_beside_all_kinds(admission: Admission) -> None:
    for name in HONEST:
        tasks = {result.task for result in admission.results if result.backbone == name}
        assert tasks == set(CAMUS_TASKS)
    strange = {result.backbone for result in admission.results} - {*HONEST, folders.STRANGER}
    assert strange == set()
    assert len(KINDS) >= 260


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [("submit", "check"), ("rescore", "--check"), ("results",), ("results", "--clinical")],
    ids=" ".join,
)
def test_no_command_ends_in_a_traceback(command: tuple[str, ...], folder: Path) -> None:
    options = ("--protocol", "cv5") if command[0] == "submit" else ()
    ended = etab(*command, folder, *options)
    assert "Traceback" not in ended.stdout + ended.stderr
    assert ended.returncode in (0, 1, 2)


def test_a_folder_that_cannot_be_listed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By boards, by what reads records, and by what joins folders; the records beside it are read."""
    made.save(tmp_path, "b0-A4-C", "cnn", n=12)
    closed = tmp_path / "tmed2"
    closed.mkdir()
    listed = os.scandir

    def scandir(place: Any = ".") -> Any:
        if Path(place) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return listed(place)

    monkeypatch.setattr(os, "scandir", scandir)
    reason = "it cannot be listed (Permission denied), so nothing in it was read"
    files = record_files(tmp_path)
    assert files.refused == {closed: reason}
    assert len(files.records) == 1
    read = read_results(tmp_path)
    assert read.problems == (f"{closed}: {reason}.",)
    assert len(read.results) == 1
    merged = merge_folders([tmp_path], tmp_path.parent / f"{tmp_path.name}-merged")
    assert merged.refused == (f"{closed}: {reason}.",)


def test_links_that_lead_to_themselves_hide_no_result(tmp_path: Path) -> None:
    """In whatever order the file system lists what is beside them."""
    names = [f"{number:02}" for number in range(20)]
    for name in names:
        (tmp_path / f"{name}.json").write_text("{}")
        (tmp_path / f"{name}.loop").symlink_to(f"{name}.loop")
    assert [path.stem for path in record_files(tmp_path).records] == names
