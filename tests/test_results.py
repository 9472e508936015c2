"""Results: whole or not at all, never replaced by another, every fault in a file named."""

from __future__ import annotations

import errno
import gzip
import json
import os
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab.errors import ResultError, StorageError, UnreadableResultError
from etab.heads.probabilities import class_probabilities, probability
from etab.leaderboard.admission.files import record_files
from etab.metrics import METRICS
from etab.results import Predictions, Result, load_results
from etab.results.table_files import compress_tables, read_table_bytes, table_path
from etab.storage.atomic import slug, write_atomically
from etab.types import Kind
from tests import made

CODE = "a0-A4-C"


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Result, Predictions]:
    table = made.predictions(CODE)
    result = made.result(table, CODE)
    return result.save(tmp_path, table), result, table


@pytest.mark.parametrize("code", made.ALL)
def test_predictions_round_trip_exactly(code: str) -> None:
    table = made.predictions(code)
    again = Predictions.from_csv(table.to_csv())
    assert again.to_csv() == table.to_csv()
    assert again.sha256() == table.sha256()
    assert (again.kind, again.items, again.patients, again.folds) == (
        table.kind,
        table.items,
        table.patients,
        table.folds,
    )
    for name, values in table.columns.items():
        np.testing.assert_array_equal(again.columns[name], values)


def test_numbers_are_rounded_when_the_table_is_made() -> None:
    table = Predictions(
        Kind.VALUE,
        ("a", "b"),
        ("p", "q"),
        ("f", "f"),
        {"truth": np.array([1 / 3, 1e-9 / 7]), "score": np.array([-0.0, 1e22 / 3])},
    )
    assert table.columns["truth"].tolist() == [0.3333333, 1.428571e-10]
    assert (
        Predictions.from_csv(table.to_csv()).columns["score"].tolist()
        == table.columns["score"].tolist()
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"patients": ("p",)}, "2 items and columns of"),
        ({"items": ("a", "a")}, "lists a twice"),
        ({"columns": {"truth": [1.0, float("nan")]}}, "truth for b that is not a finite number"),
    ],
)
def test_a_table_that_cannot_be_scored_is_refused(change: dict[str, Any], said: str) -> None:
    facts = {
        "kind": Kind.VALUE,
        "items": ("a", "b"),
        "patients": ("p", "q"),
        "folds": ("f", "f"),
        "columns": {"truth": [1.0, 2.0]},
    }
    with pytest.raises(ResultError, match=said):
        Predictions(**{**facts, **change})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a,b\n1,2\n",
        "kind,item,patient,fold,dice\n",
        "kind,item,patient,fold,dice\nmask,a,p,f\n",
        "kind,item,patient,fold,dice\nmask,a,p,f,high\n",
        "kind,item,patient,fold,dice\nmask,a,p,f,1\nvalue,b,p,f,1\n",
        "kind,item,patient,fold,dice\nspoon,a,p,f,1\n",
    ],
)
def test_a_damaged_table_is_refused_by_name(text: str) -> None:
    with pytest.raises(ResultError, match=r"x\.csv"):
        Predictions.from_csv(text, "x.csv")


@pytest.mark.parametrize(
    "number", ["NaN", "-Infinity", "1e999", "-1E+400", "0.1e310", f"{'9' * 400}.0"]
)
def test_a_nested_number_that_is_not_finite_is_refused(
    saved: tuple[Path, Result, Predictions], number: str
) -> None:
    path = saved[0]
    path.write_text(path.read_text().replace('"settings": {', f'"settings": {{"x": {number},'))
    with pytest.raises(ResultError, match="settings cannot be written as JSON"):
        Result.load(path)


def test_round_trip(saved: tuple[Path, Result, Predictions], tmp_path: Path) -> None:
    path, result, table = saved
    again = Result.load(path)
    assert again == result
    assert again.identity() == result.identity()
    assert again.predictions(tmp_path).to_csv() == table.to_csv()
    assert load_results(tmp_path) == [result]
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [
        "cv5x5-mask_logistic-s0.csv",
        "cv5x5-mask_logistic-s0.json",
    ]


def test_numpy_and_tuples_become_plain_json(tmp_path: Path) -> None:
    table = made.predictions(CODE)
    folds = [
        {
            "name": "fold0",
            "value": np.float64(0.5),
            "n_test": np.int64(3),
            "choice": {"grid": (1, np.float32(2))},
        }
    ]
    result = made.result(table, CODE, folds=folds, missing=[("patient0003_4CH", "no mask")])
    result.save(tmp_path, table)
    assert Result.load(result.path(tmp_path)) == result
    result.save(tmp_path, table)


def test_identity_forgets_commit_clock_and_machine_only(
    saved: tuple[Path, Result, Predictions],
) -> None:
    _, result, _ = saved
    assert (
        made.changed(result, provenance={"commit": "other", "seconds": 9}).identity()
        == result.identity()
    )
    other: dict[str, Any] = {
        "value": result.value + 1e-9,
        "seed": 1,
        "settings": {"size": 112},
        "weights_sha256": "00" * 32,
    }
    for name, value in other.items():
        assert made.changed(result, **{name: value}).identity() != result.identity(), name


def test_saving_again_changes_nothing(
    saved: tuple[Path, Result, Predictions], tmp_path: Path
) -> None:
    path, result, table = saved
    before = path.read_bytes(), path.stat().st_mtime_ns
    made.changed(result, provenance={"commit": "later"}).save(tmp_path, table)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_saving_again_restores_predictions(
    damage: str, saved: tuple[Path, Result, Predictions], tmp_path: Path
) -> None:
    path, result, table = saved
    csv = path.with_suffix(".csv")
    csv.unlink() if damage == "gone" else csv.write_text(table.to_csv()[:200])
    with pytest.raises(ResultError, match="is missing" if damage == "gone" else "sha256 differs"):
        result.predictions(tmp_path)
    result.save(tmp_path, table)
    assert result.predictions(tmp_path).sha256() == table.sha256()


def test_another_result_is_refused_and_the_old_stays(
    saved: tuple[Path, Result, Predictions], tmp_path: Path
) -> None:
    path, result, table = saved
    before = path.read_bytes(), path.with_suffix(".csv").read_bytes()
    with pytest.raises(
        ResultError, match=r"data_digest is 'cdcd.* there, '0000.* now.*move the old file away"
    ):
        made.changed(result, data_digest="00" * 32).save(tmp_path, table)
    other = made.predictions(CODE, 0.1)
    with pytest.raises(ResultError, match=r"holds another result: .*value"):
        made.result(other, CODE).save(tmp_path, other)
    assert (path.read_bytes(), path.with_suffix(".csv").read_bytes()) == before


def test_predictions_of_another_cell_are_refused(
    saved: tuple[Path, Result, Predictions], tmp_path: Path
) -> None:
    with pytest.raises(ResultError, match="are not those of the result"):
        saved[1].save(tmp_path / "elsewhere", made.predictions(CODE, 0.3))
    assert not (tmp_path / "elsewhere").exists()


def test_tampered_predictions_are_refused(
    saved: tuple[Path, Result, Predictions], tmp_path: Path
) -> None:
    path, result, table = saved
    csv = path.with_suffix(".csv")
    first = f"{table.columns['dice'][0]:.7g}"
    csv.write_text(csv.read_text().replace(first, "0.99", 1))
    with pytest.raises(ResultError, match="sha256 differs"):
        result.predictions(tmp_path)


def _full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "replace", "mkstemp", "mkdir"])
def test_a_full_disk_leaves_what_was_there(
    call: str,
    saved: tuple[Path, Result, Predictions],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    table = made.predictions(CODE)
    owner = {
        "fsync": "os.fsync",
        "replace": "pathlib.Path.replace",
        "mkstemp": "tempfile.mkstemp",
        "mkdir": "pathlib.Path.mkdir",
    }
    monkeypatch.setattr(owner[call], _full)
    with pytest.raises(
        StorageError, match=r"could not be written: No space left.*same command again"
    ):
        made.result(table, CODE, backbone="late").save(tmp_path, table)
    with pytest.raises(StorageError):
        write_atomically(saved[0], "half")
    monkeypatch.undo()
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert load_results(tmp_path) == [saved[1]]


def test_a_disk_that_fills_between_the_two_files_leaves_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, real, calls = made.predictions(CODE), os.fsync, []

    def second_fails(number: int) -> None:
        calls.append(number)
        _full() if len(calls) == 2 else real(number)

    monkeypatch.setattr(os, "fsync", second_fails)
    with pytest.raises(StorageError):
        made.result(table, CODE).save(tmp_path, table)
    assert [p.suffix for p in tmp_path.rglob("*") if p.is_file()] == [".csv"]
    assert load_results(tmp_path) == []
    made.result(table, CODE).save(tmp_path, table)
    assert len(load_results(tmp_path)) == 1


def test_an_interrupted_write_leaves_no_scraps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x.json", "{}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [0, 1, 40, 400])
def test_truncated_json_names_the_file(cut: int, saved: tuple[Path, Result, Predictions]) -> None:
    saved[0].write_text(saved[0].read_text()[:cut])
    with pytest.raises(
        ResultError,
        match=r"cv5x5-mask_logistic-s0\.json cannot be read as a result.*run the cell again",
    ):
        Result.load(saved[0])


def _edit(path: Path, **changes: Any) -> None:
    facts = json.loads(path.read_text())
    facts.update(changes)
    path.write_text(json.dumps({k: v for k, v in facts.items() if v != "DROP"}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": 2}, "has schema 2; this version reads schema 1"),
        ({"schema": "DROP"}, "has schema 'no schema'"),
        ({"value": "DROP", "task": "DROP"}, "lacks task, value"),
        ({"colour": "red"}, "has unknown colour"),
        ({"value": "0.9"}, "value is '0.9'; wanted a finite number"),
        ({"value": float("nan")}, "value is nan; wanted a finite number"),
        ({"value": None}, "value is None"),
        ({"low": 2.0}, "wanted low <= high"),
        ({"phantom": 1}, "phantom is 1; wanted true or false"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"seed": -1}, "seed is -1"),
        ({"n_test": True}, "n_test is True"),
        ({"task": ""}, "task is ''; wanted a name"),
        ({"backbone": 3}, "backbone is 3"),
        ({"level": 95}, "level is 95; wanted a level between 0 and 1"),
        ({"metrics": {"dice": "high"}}, "metrics is"),
        ({"metrics": ["dice"]}, "metrics is"),
        ({"folds": [{"name": "fold0"}]}, "folds is"),
        ({"folds": {}}, "folds is"),
        ({"nested": {"value": 1.0}}, "nested is"),
        ({"settings": []}, "settings is"),
        ({"missing": ["patient0001"]}, "missing is"),
        (
            {"predictions_sha256": "short"},
            "predictions_sha256 is 'short'; wanted 64 hexadecimal digits",
        ),
        ({"provenance": None}, "provenance is None"),
    ],
)
def test_every_field_is_checked_and_named(
    changes: dict[str, Any], said: str, saved: tuple[Path, Result, Predictions]
) -> None:
    _edit(saved[0], **changes)
    with pytest.raises(ResultError, match=said) as caught:
        Result.load(saved[0])
    assert str(saved[0]) in str(caught.value)


def test_no_field_goes_unchecked(saved: tuple[Path, Result, Predictions]) -> None:
    whole = saved[0].read_text()
    for f in fields(Result):
        _edit(
            saved[0],
            **{f.name: {"odd": object.__name__}}
            if f.name not in ("settings", "provenance")
            else {f.name: 7},
        )
        with pytest.raises(ResultError, match=f.name):
            Result.load(saved[0])
        saved[0].write_text(whole)


def test_what_json_cannot_hold_is_refused_by_name() -> None:
    table = made.predictions(CODE)
    with pytest.raises(
        ResultError, match=r"settings cannot be written as JSON: set .* is not a JSON value"
    ):
        made.result(table, CODE, settings={"views": {"A4C"}})
    with pytest.raises(ResultError, match="metrics cannot be written as JSON"):
        made.result(table, CODE, metrics={"dice": float("inf")})


def test_a_folder_tells_every_fault_at_once(tmp_path: Path) -> None:
    made.board(tmp_path, {"a": 0.5, "b": 0.6, "c": 0.7}, [CODE])
    paths = sorted(tmp_path.rglob("*.json"))
    _edit(paths[0], schema=9)
    paths[1].write_text("{")
    with pytest.raises(ResultError, match=r"2 of 3 files.*schema 9.*Also: .*cannot be read"):
        load_results(tmp_path)


def test_a_result_in_another_cells_place_is_refused(tmp_path: Path) -> None:
    result = made.save(tmp_path, CODE, "mine")
    path = result.path(tmp_path)
    (tmp_path / "renamed").mkdir()
    path.rename(tmp_path / "renamed" / path.name)
    with pytest.raises(ResultError, match="belongs at"):
        load_results(tmp_path)
    with pytest.raises(ResultError, match="name the folder that contains camus/"):
        load_results(tmp_path.parent)


def test_no_folder_is_no_results(tmp_path: Path) -> None:
    assert load_results(tmp_path / "none") == []


def test_slugs_are_safe_and_never_meet() -> None:
    names = [
        "a",
        ".a",
        "..",
        "",
        "~",
        "~7e",
        "timm/resnet18",
        "timm:resnet18",
        "timm~2fresnet18",
        "a b",
        "\u1234",
        "\x124",
        "é",
        "hf-hub:owner/name",
        "C:\\x",
        "b0-A4-E>C",
        "x" * 300,
        "x" * 299,
        "x" * 300 + "/",
    ]
    slugs = [slug(n) for n in names]
    assert len(set(slugs)) == len(names)
    for s in slugs:
        assert 0 < len(s) <= 200
        assert not set(s) & set('/\\:<>|?*" ')
        assert s not in (".", "..")
        assert not s.startswith(".")
    assert slug("timm/resnet18") == "timm~2fresnet18"


@pytest.mark.parametrize(
    "name", ["../../escape", "/etc/passwd", "..", "a\nb", "C:\\windows", "é" * 200]
)
def test_no_name_leaves_the_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    result = made.save(folder, CODE, name)
    assert folder in result.path(folder).resolve().parents
    assert [r.backbone for r in load_results(folder)] == [name]


def _table_of_scores(kind: Kind, columns: dict[str, np.ndarray]) -> Predictions:
    rows = tuple(str(i) for i in range(len(columns["truth"])))
    return Predictions(kind, rows, rows, ("f",) * len(rows), columns)


@pytest.mark.parametrize("log_odds", [-600, -30, 0, 17, 20, 30, 36, 40, 90])
@pytest.mark.parametrize("scale", [1e-9, 1.0])
def test_scores_near_0_and_1_keep_their_order_in_a_table(log_odds: float, scale: float) -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 200).astype(float)
    z = log_odds + 1.5 * truth + rng.normal(0, 1, 200)
    score = 0.5 + scale * (z - log_odds) if scale < 1 else probability(z)
    table = _table_of_scores(Kind.BINARY, {"truth": truth, "score": score})
    again = Predictions.from_csv(table.to_csv())
    patients = np.array(table.patients)
    for name in ("auroc", "auprc"):
        value = METRICS[name]({"truth": truth, "score": score}, patients)
        assert METRICS[name](table.columns, patients) == pytest.approx(value, abs=5e-4)
        assert METRICS[name](again.columns, patients) == METRICS[name](table.columns, patients)
    assert again.to_csv() == table.to_csv()


@pytest.mark.parametrize("log_odds", [-20, 20])
def test_scores_of_classes_keep_their_order_in_a_table(log_odds: float) -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 150)
    logits = np.eye(3)[truth] * 1.5 + rng.normal(0, 1, (150, 3)) + np.array([log_odds, 0, 0])
    scores = class_probabilities(logits)
    columns = {"truth": truth.astype(float), **{f"score_{k}": scores[:, k] for k in range(3)}}
    table = _table_of_scores(Kind.CLASSES, columns)
    again = Predictions.from_csv(table.to_csv())
    patients = np.array(table.patients)
    for name in ("auroc", "auprc", "balanced_accuracy"):
        assert METRICS[name](again.columns, patients) == METRICS[name](columns, patients)


def test_scores_keep_seven_digits_where_these_tell_them_apart() -> None:
    table = _table_of_scores(
        Kind.BINARY, {"truth": np.array([0.0, 1.0]), "score": np.array([1 / 3, 2 / 3])}
    )
    assert table.columns["score"].tolist() == [0.3333333, 0.6666667]


def test_the_rounding_of_sums_gives_no_ranks() -> None:
    p = np.array([0.001, 0.3, 0.7, 0.99])
    score = np.concatenate([np.array([np.full(m, q).mean() for m in range(1, 9)]) for q in p])
    assert len(np.unique(score)) > 4
    truth = np.tile([0.0, 1.0], 16)
    table = _table_of_scores(Kind.BINARY, {"truth": truth, "score": score})
    assert len(np.unique(table.columns["score"])) == 4
    assert METRICS["auroc"](table.columns, np.array(table.patients)) == 0.5


def test_a_table_that_is_read_keeps_its_numbers() -> None:
    text = "kind,item,patient,fold,truth,score\nbinary,a,p,f,1,0.1234567891\nbinary,b,q,f,0,0.5\n"
    table = Predictions.from_csv(text)
    assert table.columns["score"].tolist() == [0.1234567891, 0.5]
    assert table.to_csv() == text


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    cell = made.save(tmp_path, "b0-A4-C", "one", 0.5)
    record = cell.path(tmp_path)
    table = record.with_suffix(".csv")
    for path in (record, table):
        path.unlink()
        os.mkfifo(path)
    with pytest.raises(ResultError, match="not a regular file"):
        Result.load(record)
    with pytest.raises(ResultError, match="cannot be read"):
        cell.predictions(tmp_path)


def test_a_compressed_table_is_the_same_result(saved: tuple[Path, Result, Predictions]) -> None:
    path, result, table = saved
    plain = path.with_suffix(".csv")
    packed = path.with_suffix(".csv.gz")
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    folder = path.parents[3]
    assert result.predictions(folder).to_csv() == table.to_csv()
    assert table_path(path) == packed
    result.save(folder, table)
    assert not plain.exists()


@pytest.mark.parametrize("damage", ["cut", "more", "text", "other", "empty"])
def test_a_damaged_compressed_table_is_refused(
    saved: tuple[Path, Result, Predictions], damage: str
) -> None:
    path, result, table = saved
    plain = path.with_suffix(".csv")
    whole = gzip.compress(plain.read_bytes())
    damaged = {
        "cut": whole[:-9],
        "more": whole + whole,
        "text": plain.read_bytes(),
        "other": gzip.compress(b"kind,item\n"),
        "empty": b"",
    }
    path.with_suffix(".csv.gz").write_bytes(damaged[damage])
    plain.unlink()
    folder = path.parents[3]
    with pytest.raises(ResultError, match=r"\.csv\.gz"):
        result.predictions(folder)
    result.save(folder, table)
    assert plain.exists()


def test_a_compressed_table_is_never_decompressed_beyond_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etab.results.table_files._LARGEST", 1 << 20)
    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(gzip.compress(b"0" * (8 << 20)))
    with pytest.raises(OSError, match="more than 1 MiB"):
        read_table_bytes(path)


def test_a_compressed_table_may_be_no_link(saved: tuple[Path, Result, Predictions]) -> None:
    path, _, _ = saved
    path.with_suffix(".csv.gz").symlink_to(path.with_suffix(".csv"))
    refused = record_files(path.parents[3]).refused
    assert ".csv.gz must not be read" in refused[path]


def test_only_tables_of_repeated_folds_are_compressed(
    saved: tuple[Path, Result, Predictions], tmp_path: Path
) -> None:
    path, _, table = saved
    twice = Predictions(
        table.kind,
        table.items * 2,
        table.patients * 2,
        table.folds * 2,
        {name: np.tile(values, 2) for name, values in table.columns.items()},
        (0,) * len(table.items) + (1,) * len(table.items),
    )
    repeated = path.with_name("repeated.json")
    repeated.write_text("{}")
    repeated.with_suffix(".csv").write_text(twice.to_csv())
    assert compress_tables(tmp_path) == 1
    assert path.with_suffix(".csv").exists()
    assert read_table_bytes(table_path(repeated)).decode() == twice.to_csv()
    assert compress_tables(tmp_path, every=True) == 1
    assert not path.with_suffix(".csv").exists()
    assert read_table_bytes(table_path(path)).decode() == table.to_csv()


def test_a_hundred_thousand_names_are_compared_in_a_moment(tmp_path: Path) -> None:
    """A list of names was searched once for each of them, which took hours."""
    names = [f"c{i}" for i in range(100_000)] + ["c99999"]
    header = ",".join(["kind", "item", "patient", "fold", *names])
    started = time.process_time()
    with pytest.raises(ResultError, match="two columns 'c99999'"):
        Predictions.from_csv(f"{header}\nvalue,a,a,f,1\n")
    path = tmp_path / "record.json"
    path.write_text("{" + ",".join(f'"{name}":1' for name in names) + "}")
    with pytest.raises(ResultError, match="'c99999' appears twice"):
        Result.load(path)
    assert time.process_time() - started < 5


def test_a_result_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnreadableResultError, match=r"There is no file .*absent\.json\. Name the"):
        Result.load(tmp_path / "absent.json")
