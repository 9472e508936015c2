"""A fourth list of hostile records: numbers that only Python reads, and statements about folds, digests and data."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.leaderboard.admission.folders import edit, edit_nested
from tests.leaderboard.admission.more_kinds import _column_of_repeats, _settings
from tests.leaderboard.admission.odd_kinds import _bytes, _field, _folds, _last_number, _table

Change = Callable[[Path], object]

NO_NUMBER = "wanted a number"
NO_REPEAT = "wanted a whole number"


def _digest_of(name: str) -> Change:
    """The digest of something else in the place of that of the weights."""
    return lambda path: edit(path, weights_sha256=json.loads(path.read_text())[name])


def _metric_without(*names: str) -> Change:
    def change(path: Path) -> None:
        metrics = json.loads(path.read_text())["metrics"]
        edit(path, metrics={name: metrics[name] for name in metrics if name not in names})

    return change


def _one_fold(**changes: Any) -> Change:
    """Other facts of the last fold alone."""

    def change(path: Path) -> None:
        folds = json.loads(path.read_text())["folds"]
        edit(path, folds=[*folds[:-1], {**folds[-1], **changes}])

    return change


def _values_of_folds_exchanged(path: Path) -> None:
    folds = json.loads(path.read_text())["folds"]
    folds[0]["value"], folds[1]["value"] = folds[1]["value"], folds[0]["value"]
    edit(path, folds=folds)


def _fold_in_two_parts(path: Path) -> None:
    folds = json.loads(path.read_text())["folds"]
    half = {**folds[0], "n_test": folds[0]["n_test"] // 2}
    edit(path, folds=[half, half, *folds[1:]])


def _moved_interval(path: Path) -> None:
    record = json.loads(path.read_text())
    edit(path, low=record["low"] + 0.01, high=record["high"] + 0.01)


def _narrower_interval(path: Path) -> None:
    record = json.loads(path.read_text())
    middle = record["value"]
    edit(path, low=(record["low"] + middle) / 2, high=(record["high"] + middle) / 2)


def _row_given_away(text: str) -> str:
    """The prediction of one row is that of the row below; sums of errors nearly stay."""
    lines = text.split("\n")
    lines[5] = f"{lines[5].rpartition(',')[0]},{lines[6].rpartition(',')[2]}"
    return "\n".join(lines)


def _quoted_line_break(text: str) -> str:
    return text.replace("patient0", '"patient\n0"', 1)


def _columns_exchanged(text: str) -> str:
    """Truth and score change places."""
    return text.replace("truth,score", "score,truth", 1)


def _folds_renamed(text: str) -> str:
    return text.replace("fold0", "fold00")


def _packed_with_a_name(path: Path) -> None:
    """A packed table beside the plain one, of the same rows."""
    path.with_suffix(".csv.gz").write_bytes(gzip.compress(path.with_suffix(".csv").read_bytes()))


def _relative_link(path: Path) -> None:
    real = path.with_name("real.csv")
    path.with_suffix(".csv").rename(real)
    path.with_suffix(".csv").symlink_to(real.name)


def _pipe_for_a_packed_table(path: Path) -> None:
    path.with_suffix(".csv").unlink()
    os.mkfifo(path.with_suffix(".csv.gz"))


def _link_for_masks(path: Path) -> None:
    path.with_suffix(".masks.npz").symlink_to("/dev/zero")


def _other_name_of_file(name: str) -> Change:
    return lambda path: path.rename(path.with_name(name))


def _text_without_digest(path: Path) -> None:
    """The table is empty, and the digest is that of an empty file."""
    path.with_suffix(".csv").write_bytes(b"")
    edit(path, predictions_sha256=hashlib.sha256(b"").hexdigest())


FURTHER: dict[str, tuple[Change, str]] = {
    "an underscore in a number": (_last_number("5_0"), NO_NUMBER),
    "digits of another script": (_last_number("\u0665\u0660"), NO_NUMBER),
    "wide digits": (_last_number("\uff15\uff10"), NO_NUMBER),
    "a space before a number": (_last_number(" 50"), NO_NUMBER),
    "a space behind a quoted number": (_last_number('"50 "'), NO_NUMBER),
    "a space that breaks no line": (_last_number("50\u00a0"), NO_NUMBER),
    "a percent sign": (_last_number("50%"), NO_NUMBER),
    "a unit": (_last_number("50 %EF"), NO_NUMBER),
    "a minus of a typesetter": (_last_number("\u221250"), NO_NUMBER),
    "an exponent without digits": (_last_number("5e"), NO_NUMBER),
    "a fraction": (_last_number("100/2"), NO_NUMBER),
    "a number of another base": (_last_number("0b110010"), NO_NUMBER),
    "a word for no number": (_last_number("NaN"), "not a finite number"),
    "a word for too large a number": (_last_number("-Infinity"), "not a finite number"),
    "a repeat with an underscore": (_column_of_repeats(lambda row: "0_0"), NO_REPEAT),
    "a repeat of another script": (_column_of_repeats(lambda row: "\u0660"), NO_NUMBER),
    "a repeat with a point": (_column_of_repeats(lambda row: "0.0"), NO_REPEAT),
    "a repeat with a sign": (_column_of_repeats(lambda row: "+0"), NO_REPEAT),
    "a repeat of ten digits": (_column_of_repeats(lambda row: "9" * 10), NO_REPEAT),
    "a repeat without a text": (_column_of_repeats(lambda row: ""), NO_REPEAT),
    "a division below zero": (_column_of_repeats(lambda row: "-1"), "wanted 0 or more"),
    "a division called 7": (_column_of_repeats(lambda row: "7"), "it lists the folds"),
    "folds beyond counting": (_settings(n_fold=10**9), "its n_fold is"),
    "folds below zero": (_settings(n_fold=-5), "its n_fold is '-5'"),
    "an aggregate of a line": (_settings(aggregate="a\nb"), "its aggregate is"),
    "a window of a second": (_settings(window=1), "its window is"),
    "rows of another sort": (_settings(rows={"a": 1}), "its rows is"),
    "data that it was fitted on": (_settings(fit_data_digest="d" * 64), "its fit_data_digest is"),
    "a head version of another time": (_settings(head_version=2), "its head_version is"),
    "folds of another version": (_settings(split_version=99), "its split_version is 99"),
    "a version of folds with markup": (_settings(split_version="<b>"), "its split_version is"),
    "no version of the runs": (_settings(runs_version=None), "its runs_version is"),
    "a version of the backbone with a sign": (
        _settings(backbone_version=-1),
        "backbone_version is",
    ),
    "a size in a list": (_settings(size=[224, 224]), "its size is"),
    "a size with a point": (_settings(size=224.5), "its size is"),
    "a precision in capitals": (_settings(precision="BF16"), "its precision is"),
    "a precision that is not text": (_settings(precision=32), "its precision is"),
    "the digest of an empty file": (
        _field(weights_sha256=hashlib.sha256(b"").hexdigest()),
        "is the digest of an empty file",
    ),
    "the digest of the data": (_digest_of("data_digest"), "is the digest of the data"),
    "the digest of the predictions": (
        _digest_of("predictions_sha256"),
        "is the digest of the predictions",
    ),
    "rows that are said to be missing": (
        _field(missing=[["patient0999_4CH", "unreadable"]]),
        "its missing is 1 row",
    ),
    "a thousand rows said to be missing": (
        _field(missing=[[f"patient{i:05}_4CH", "unreadable"] for i in range(10_000, 11_000)]),
        "its missing is 1,000 rows",
    ),
    "a missing row that is a number": (_field(missing=[[1, "a"]]), "missing is"),
    "a missing row with three facts": (_field(missing=[["a", "b", "c"]]), "missing is"),
    "no r2": (_metric_without("r2"), "its metrics lack r2"),
    "no metric": (_field(metrics={}), "its metrics lack mae"),
    "a metric that is nothing": (_field(metrics={"r2": None}), "metrics is"),
    "a metric that is true": (_field(metrics={"r2": True}), "metrics is"),
    "a metric with a dash": (
        lambda path: edit_nested(path, "metrics", **{"r-2": 1.0}),
        "named 'r-2'",
    ),
    "a correlation above one": (
        lambda path: edit_nested(path, "metrics", pearson_r=1.5),
        "it says pearson_r 1.5",
    ),
    "the value of one fold": (_one_fold(value=1.0), "has the value 1.0"),
    "a fold without a value": (_one_fold(value=None), "has the value None"),
    "a fold of a row more": (_one_fold(n_test=101), "has n_test 101"),
    "a fold below zero": (_one_fold(n_test=-1), "folds is"),
    "a fold of another division": (_one_fold(repeat=1), "it lists the folds"),
    "a fold with a space": (_one_fold(name="fold4 "), "it lists the folds"),
    "all folds of one name": (_folds(name="fold0"), "it lists the folds"),
    "values of folds exchanged": (_values_of_folds_exchanged, "has the value"),
    "a fold in two parts": (_fold_in_two_parts, "it lists the folds"),
    "a moved interval": (_moved_interval, "it says that its interval is"),
    "a narrower interval": (_narrower_interval, "it says that its interval is"),
    "an interval of one number": (_field(low=7.0, high=7.0), "it says that its interval is"),
    "an interval that is true": (_field(high=True), "high is True"),
    "a method with a space": (_field(interval="percentile bootstrap "), "its interval is"),
    "a row given away": (_table(_row_given_away), "its predictions give"),
    "a line break in a patient": (_table(_quoted_line_break), "its rows are not those"),
    "truth and score exchanged": (_table(_columns_exchanged), "its rows are not those"),
    "folds renamed": (_table(_folds_renamed), "its rows are not those"),
    "an empty table": (_text_without_digest, "not a prediction table"),
    "a packed table beside the plain one": (_packed_with_a_name, "it has two tables"),
    "a link beside its target": (_relative_link, "it is a link"),
    "a pipe for a packed table": (_pipe_for_a_packed_table, "folder, pipe or device"),
    "masks that link to zeros": (_link_for_masks, "it has masks beside it"),
    "a file name with markup": (
        _other_name_of_file("<img src=x onerror=alert(1)>.json"),
        "which belongs at",
    ),
    "a file name with a line break": (_other_name_of_file("a\nrank 1.json"), "which belongs at"),
    "a file name that runs backwards": (_other_name_of_file("\u202enosj.json"), "which belongs at"),
    "a file name that clears the screen": (_other_name_of_file("\x1b[2J.json"), "which belongs at"),
    "a record in a second copy": (
        lambda path: path.rename(path.with_name(f"copy of {path.name}")),
        "which belongs at",
    ),
    "a record and a half": (_bytes(lambda data: data + data[: len(data) // 2]), "cannot be read"),
    "a record with a zero byte": (_bytes(lambda data: data + b"\0"), "cannot be read"),
    "a record in a list": (_bytes(lambda data: b"[" + data + b"]"), "has schema"),
    "a record as a text": (_bytes(lambda data: json.dumps(data.decode()).encode()), "has schema"),
}
