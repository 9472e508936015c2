"""Further kinds of hostile records: settings of odd types, texts that float accepts, odd files."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.leaderboard.admission.folders import edit, edit_nested

Change = Callable[[Path], object]


def _field(**changes: Any) -> Change:
    return lambda path: edit(path, **changes)


def _settings(**changes: Any) -> Change:
    return lambda path: edit_nested(path, "settings", **changes)


def _moved(protocol: str) -> Change:
    """The record under another protocol, in the file of that protocol."""

    def change(path: Path) -> None:
        edit(path, protocol=protocol, data_digest="e" * 64)
        for suffix in (".csv", ".json"):
            file = path.with_suffix(suffix)
            file.rename(file.with_name(file.name.replace("cv5-", f"{protocol}-")))

    return change


def _metrics(**changes: float) -> Change:
    return lambda path: edit_nested(path, "metrics", **changes)


def _folds(**changes: Any) -> Change:
    def change(path: Path) -> None:
        folds = json.loads(path.read_text())["folds"]
        edit(path, folds=[{**fold, **changes} for fold in folds])

    return change


def _table(change: Callable[[str], str]) -> Change:
    """Other text of the predictions, with its digest in the record."""

    def changed(path: Path) -> None:
        data = change(path.with_suffix(".csv").read_text()).encode()
        path.with_suffix(".csv").write_bytes(data)
        edit(path, predictions_sha256=hashlib.sha256(data).hexdigest())

    return changed


def _first_row(change: Callable[[str], str]) -> Change:
    def changed(text: str) -> str:
        lines = text.split("\n")
        lines[1] = change(lines[1])
        return "\n".join(lines)

    return _table(changed)


def _number(text: str) -> Change:
    """Another text for the first number."""
    return _first_row(lambda line: line.rpartition(",")[0] + "," + text)


def _column_of_repeats(of_row: Callable[[int], str]) -> Change:
    def changed(text: str) -> str:
        lines = text.rstrip("\n").split("\n")
        cells = [line.split(",") for line in lines]
        out = [",".join([*cells[0][:4], "repeat", *cells[0][4:]])]
        for row, cell in enumerate(cells[1:]):
            out.append(",".join([*cell[:4], of_row(row), *cell[4:]]))
        return "\n".join(out) + "\n"

    return _table(changed)


def _last_column_twice(text: str) -> str:
    lines = text.rstrip("\n").split("\n")
    return "".join(f"{line},{line.rpartition(',')[2]}\n" for line in lines)


def _patient_with_a_space(line: str) -> str:
    kind, item, patient, rest = line.split(",", 3)
    return f"{kind},{item},{patient} ,{rest}"


def _folder_for_a_table(path: Path) -> None:
    path.with_suffix(".csv").unlink()
    path.with_suffix(".csv").mkdir()


def _packed_bomb(path: Path) -> None:
    path.with_suffix(".csv").unlink()
    path.with_suffix(".csv.gz").write_bytes(gzip.compress(bytes(257 << 20), 1))


def _socket(path: Path) -> None:
    path.unlink()
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as door:
        door.bind(path.name)


def _pickled_masks(path: Path) -> None:
    shapes = np.array([{"a": 1}], dtype=object)
    np.savez(path.with_suffix(".masks.npz"), shape=shapes)


MORE: dict[str, tuple[Change, str]] = {
    "notes in a dictionary": (_settings(notes={"a": 1}), "its notes are"),
    "notes that are not texts": (_settings(notes=[[1], {"x": "<b>"}]), "its notes are"),
    "a note of a book": (_settings(notes=["x" * 100_000]), "its notes are more than 20"),
    "notes without end": (_settings(notes=["a"] * 5000), "its notes are more than 20"),
    "a precision in a list": (_settings(precision=["bf16"]), "its precision is"),
    "a precision with markup": (_settings(precision="<b>fp32</b>"), "its precision is"),
    "a precision that nobody has": (_settings(precision="tf32"), "its precision is 'tf32'"),
    "a size with markup": (_settings(size="224<script>"), "its size is"),
    "a size below zero": (_settings(size=-3), "its size is '-3'"),
    "a size beyond memory": (_settings(size=10**9), "its size is"),
    "a family with markup": (_settings(family="<i>cnn"), "its family is"),
    "a family in a list": (_settings(family=["control"]), "its family is"),
    "an interpolation of pages": (_settings(interpolation="x" * 5000), "its interpolation is"),
    "a version of the head as a text": (_settings(head_version="1"), "its head_version is"),
    "a version of the head with a point": (_settings(head_version=1.0), "its head_version is"),
    "a version of the head that is true": (_settings(head_version=True), "its head_version is"),
    "a version of the run in a list": (_settings(runs_version=[1]), "its runs_version is"),
    "folds in a list": (_settings(n_fold=[5]), "its n_fold is"),
    "a missing row that is there": (
        _field(missing=[["patient0001_4CH#0+1", "no reason"]]),
        "is listed as missing and is among its predictions",
    ),
    "fewer patients than none": (
        _field(bad={"recordings": [], "lost": [], "partly": [], "patients": -5}),
        "bad is",
    ),
    "an old interval that is text": (_field(nested={"low": "x"}), "nested is"),
    "a digest in capitals": (_field(predictions_sha256="A" * 64), "predictions_sha256 is"),
    "30,000 folds": (
        _field(
            folds=[{"name": f"f{i}", "value": 1.0, "n_test": 1, "choice": {}} for i in range(30000)]
        ),
        "it lists the folds",
    ),
    "a fold beyond floats": (_folds(value=10**300), "has the value"),
    "a fold with a field more": (_folds(x=1), "folds is"),
    "a metric of another kind": (_metrics(dice=0.9), "it says dice 0.9"),
    "10,000 metrics": (
        _metrics(**{f"m{i}": 1.0 for i in range(10_000)}),
        "metrics; wanted at most",
    ),
    "a table with a byte order mark": (
        _table(lambda text: "\ufeff" + text),
        "not a prediction table",
    ),
    "a header twice": (_table(lambda text: text.split("\n")[0] + "\n" + text), "is damaged"),
    "a column twice": (_table(_last_column_twice), "has two columns 'score'"),
    "a line break in quotes": (
        _first_row(lambda line: line.replace(",", ',"a\nb",', 1)),
        "is damaged",
    ),
    "a hexadecimal number": (_number("0x32"), "is damaged"),
    "a number that overflows": (_number("1e400"), "is damaged"),
    "a number whose square overflows": (_number("1e308"), "score is 1e+308 in a row"),
    "no number": (_number(""), "is damaged"),
    "a zero byte after the table": (_table(lambda text: text + "\0"), "is damaged"),
    "repeats in words": (_column_of_repeats(lambda row: "zero"), "is damaged"),
    "every second row in another repeat": (_column_of_repeats(lambda row: str(row % 2)), "lacks"),
    "a space behind a patient": (_first_row(_patient_with_a_space), "its rows are not those"),
    "a letter of another script in an item": (
        _first_row(lambda line: line.replace("patient", "p\u0430tient", 1)),
        "its rows are not those",
    ),
    "a folder for a table": (_folder_for_a_table, "folder, pipe or device"),
    "a packed table that unpacks without end": (_packed_bomb, "it holds more than"),
    "a socket": (_socket, "folder, pipe or device"),
    "objects beside a record": (_pickled_masks, "it has masks beside it"),
    "a level of everything": (_field(level=1), "level is 1"),
    "a schema with a point": (_field(schema=1.0), "schema is 1.0"),
    "phantom as a text": (_field(phantom="false"), "phantom is 'false'"),
    "phantom as a number": (_field(phantom=0), "phantom is 0"),
    "an anchor a billionth better": (_field(anchor_low=9.446 + 1e-9), "it is of version"),
    "training rows with a point": (_field(n_train=400.0), "n_train is 400.0"),
    "a protocol in capitals": (_field(protocol="CV5"), "its protocol is none"),
    "a protocol in other digits": (_field(protocol="cv05x5"), "its protocol is none"),
    "a protocol in digits of another script": (_moved("cv\u0665"), "its protocol is none"),
    "divisions that are not there": (_moved("cv5x5"), "its protocol is cv5x5"),
    "more folds than the protocol has": (_moved("cv4"), "its protocol is cv4"),
    "a task in small letters": (_field(task="b0-a4-c"), "which belongs at"),
    "a dataset in capitals": (_field(dataset="CAMUS"), "which belongs at"),
}
