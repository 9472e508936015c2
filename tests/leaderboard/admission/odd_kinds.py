"""A third list of hostile records: odd encodings, fields of other types, files of another kind."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.leaderboard.admission.folders import PUBLISHED, edit, edit_nested

Change = Callable[[Path], object]

JSON = "cannot be read as a result"
NO_TEXT = "is not UTF-8 text (byte 0)"


def _field(**changes: Any) -> Change:
    return lambda path: edit(path, **changes)


def _bytes(change: Callable[[bytes], bytes]) -> Change:
    return lambda path: path.write_bytes(change(path.read_bytes()))


def _text(old: str, new: str) -> Change:
    return lambda path: path.write_text(path.read_text().replace(old, new, 1))


def _provenance(**changes: Any) -> Change:
    return lambda path: edit_nested(path, "provenance", **changes)


def _without(name: str) -> Change:
    def change(path: Path) -> None:
        record = json.loads(path.read_text())
        del record[name]
        path.write_text(json.dumps(record))

    return change


def _folds(**changes: Any) -> Change:
    def change(path: Path) -> None:
        folds = json.loads(path.read_text())["folds"]
        edit(path, folds=[{**fold, **changes} for fold in folds])

    return change


def _table(change: Callable[[str], str | bytes]) -> Change:
    """Another table of predictions, with its digest in the record."""

    def changed(path: Path) -> None:
        new = change(path.with_suffix(".csv").read_text())
        data = new if isinstance(new, bytes) else new.encode()
        path.with_suffix(".csv").write_bytes(data)
        edit(path, predictions_sha256=hashlib.sha256(data).hexdigest())

    return changed


def _last_number(text: str) -> Change:
    """Another text for the last number of the first row."""

    def changed(table: str) -> str:
        lines = table.split("\n")
        lines[1] = lines[1].rpartition(",")[0] + "," + text
        return "\n".join(lines)

    return _table(changed)


def _two_exchanged(column: int) -> Change:
    """The first and the last row exchange what they say in one column."""

    def changed(table: str) -> str:
        lines = [line.split(",") for line in table.rstrip("\n").split("\n")]
        lines[1][column], lines[-1][column] = lines[-1][column], lines[1][column]
        return "".join(",".join(line) + "\n" for line in lines)

    return _table(changed)


def _added_column(name: str) -> Change:
    def changed(table: str) -> str:
        lines = table.rstrip("\n").split("\n")
        return "".join(f"{line},{name if i == 0 else 1}\n" for i, line in enumerate(lines))

    return _table(changed)


def _in_item(text: str) -> Change:
    """A character in the name of the first item."""
    return _table(lambda table: table.replace("patient0", f"pa{text}tient0", 1))


def _packed(change: Callable[[bytes], bytes]) -> Change:
    def packed(path: Path) -> None:
        plain = path.with_suffix(".csv")
        path.with_suffix(".csv.gz").write_bytes(change(plain.read_bytes()))
        plain.unlink()

    return packed


def _zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("table.csv", data)
    return out.getvalue()


def _other_checksum(data: bytes) -> bytes:
    packed = gzip.compress(data)
    return packed[:-8] + bytes(4) + packed[-4:]


def _of_another_task(path: Path) -> None:
    """The table of another task, with its right digest in the record."""
    (other,) = (path.parents[2] / "d0-A4-C" / "mobilenetv2").glob("*.csv")
    data = other.read_bytes()
    path.with_suffix(".csv").write_bytes(data)
    edit(path, predictions_sha256=hashlib.sha256(data).hexdigest())


def _record_for_a_table(path: Path) -> None:
    data = path.read_bytes()
    path.with_suffix(".csv").write_bytes(data)
    edit(path, predictions_sha256=hashlib.sha256(data).hexdigest())


def _hole(suffix: str) -> Change:
    """A file of two gigabytes that takes no space."""

    def grown(path: Path) -> None:
        file = path.with_suffix(suffix)
        file.unlink()
        file.touch()
        os.truncate(file, 2 << 30)

    return grown


def _hard_link_to_another(path: Path) -> None:
    (other,) = (path.parents[1] / "mobilenetv2").glob("*.csv")
    path.with_suffix(".csv").unlink()
    os.link(other, path.with_suffix(".csv"))


def _table_that_links_to(target: str) -> Change:
    def linked(path: Path) -> None:
        path.with_suffix(".csv").unlink()
        path.with_suffix(".csv").symlink_to(target)

    return linked


def _masks_of_another_cell(path: Path) -> None:
    cell = PUBLISHED / "results/camus/a0-A4-C/mobilenetv2"
    (masks,) = cell.glob("cv5x5-mask_logistic-*.masks-sample.npz")
    shutil.copy(masks, path.with_suffix(".masks-sample.npz"))


ODD: dict[str, tuple[Change, str]] = {
    "a setting twice": (_text('"settings": {', '"settings": {"size": 1, '), "'size' appears twice"),
    "a key twice in other letters": (
        _text('"value":', '"valu\\u0065": 1.0, "value":'),
        "'value' appears twice",
    ),
    "a comment": (_text("{", "{ // honest\n"), JSON),
    "a comma too many": (_bytes(lambda data: data.rstrip()[:-1] + b",}"), JSON),
    "single quotes": (_bytes(lambda data: data.replace(b'"', b"'")), JSON),
    "32 bits a letter": (_bytes(lambda data: data.decode().encode("utf-32")), NO_TEXT),
    "16 bits a letter, large end first": (
        _bytes(lambda data: b"\xfe\xff" + data.decode().encode("utf-16-be")),
        NO_TEXT,
    ),
    "a letter of another code page": (
        _bytes(lambda data: data.replace(b'"head"', b'"h\xe9ad"')),
        "it is not UTF-8 text",
    ),
    "a packed record": (_bytes(gzip.compress), "it is not UTF-8 text"),
    "an archive for a record": (_bytes(lambda data: b"PK\x05\x06" + bytes(18)), JSON),
    "lists 100,000 deep": (
        _text('"provenance": {', '"provenance": {"d": ' + "[" * 100_000 + "]" * 100_000 + ", "),
        "nested too deeply",
    ),
    "a digit too many for Python": (
        _text('"n_test": ', '"n_test": ' + "1" * 5000),
        "thousands of digits",
    ),
    "a fold that is infinite": (_folds(value=float("inf")), "folds"),
    "a choice that is not a number": (_folds(choice={"penalty": float("nan")}), "folds"),
    "a choice in a list": (_folds(choice=[1]), "folds is"),
    "rows of a fold in words": (_folds(n_test="100"), "folds is"),
    "rows of a fold with a point": (_folds(n_test=1e2), "folds is"),
    "a value that is true": (_field(value=True), "value is True"),
    "a value in a list": (_field(value=[7.1]), "value is [7.1]"),
    "a value of 25 digits": (_field(value=10**25), "it says mae 1e+25"),
    "a seed beyond 64 bits": (_field(seed=2**64), "seed is 18446744073709551616; wanted"),
    "a seed with a point": (_field(seed=0.0), "seed is 0.0"),
    "a seed that is false": (_field(seed=False), "seed is False"),
    "an interval upside down": (_field(low=9.0, high=1.0), "wanted low <= high"),
    "an end that is nothing": (_field(low=None), "low is None"),
    "a level in words": (_field(level="95%"), "level is '95%'"),
    "nearly the level": (_field(level=0.9500001), "has level 0.9500001"),
    "a name in a list": (_field(backbone=["a"]), "backbone is ['a']"),
    "no name": (_field(backbone=None), "backbone is None"),
    "a task and a line break": (_field(task="b0-A4-C\n"), "which belongs at"),
    "a protocol and a zero byte": (_field(protocol="cv5\x00"), "its protocol is none"),
    "a protocol in wide letters": (_field(protocol="\uff43\uff56\uff15"), "its protocol is none"),
    "a protocol of a megabyte": (_field(protocol="cv5" + "x1" * 500_000), "protocol is"),
    "no folds at all": (_field(protocol="cv0"), "its protocol is none"),
    "a head of 4,000 letters": (_field(head="r" * 4000), "wanted a name of at most 255"),
    "a dataset that climbs": (_field(dataset="camus/../camus"), "which belongs at"),
    "folds by name": (_field(folds={"fold0": {}}), "folds is"),
    "settings of nothing": (_field(settings={}), "its head_version is none"),
    "a field of Python": (_field(__class__="x"), "has unknown __class__"),
    "a field without a name": (_field(**{"": 1}), "has unknown"),
    "no seed": (_without("seed"), "lacks seed"),
    "no anchor": (_without("anchor_low"), "lacks anchor_low"),
    "no schema": (_without("schema"), "has schema"),
    "a digest and a line break": (_field(weights_sha256="a" * 63 + "\n"), "weights_sha256 is"),
    "a digest that is a number": (_field(weights_sha256=5), "weights_sha256 is 5"),
    "a key of features with markup": (_field(features_key="<script>"), "its features_key is"),
    "a key of features of a megabyte": (_field(features_key="f" * 1_000_000), "features_key is"),
    "a method of a megabyte": (_field(interval="x" * 1_000_000), "its interval is"),
    "provenance in a list of facts": (_provenance(etab=["9"]), "its provenance says of 'etab'"),
    "an escape sequence for a processor": (_provenance(processor="\x1b[2J"), "of 'processor'"),
    "provenance of a megabyte": (_provenance(system="y" * 1_000_000), "of 'system'"),
    "a thousand facts": (
        _provenance(**{f"fact{i}": i for i in range(1000)}),
        "its provenance holds",
    ),
    "finished before it began": (_provenance(seconds=-5.0), "it took '-5.0' seconds"),
    "started at no time": (_provenance(started="yesterday"), "it was started at 'yesterday'"),
    "markup for the name of a fact": (_provenance(**{"<b>": 1}), "its provenance names '<b>'"),
    "a fact with a name of a megabyte": (_provenance(**{"k" * 1_000_000: 1}), "provenance names"),
    "a fact of 400 digits": (_provenance(threads=10**400), "its provenance says of 'threads'"),
    "seconds that are true": (_provenance(seconds=True), "that it took 'True' seconds"),
    "a missing recording twice": (
        _field(missing=[["x", "a"], ["x", "a"]]),
        "'x' is listed as missing twice",
    ),
    "a book of what is missing": (
        _field(missing=[["x", "y" * 100_000]]),
        "longer than 2000 characters",
    ),
    "the table of another task": (_of_another_task, "its rows are not those"),
    "the record for a table": (_record_for_a_table, "not a prediction table"),
    "a table of 16 bits a letter": (_table(lambda text: text.encode("utf-16")), NO_TEXT),
    "a table with other line ends": (
        _table(lambda text: text.replace("\n", "\r")),
        "its lines cannot be divided into fields",
    ),
    "a table with blank lines": (
        _table(lambda text: text.replace("\n", "\n\n", 3)),
        "row 2 has 0 fields, and its header has 6",
    ),
    "a table with semicolons": (
        _table(lambda text: text.replace(",", ";")),
        "not a prediction table",
    ),
    "a line of five megabytes": (
        _table(lambda text: text + "x" * 5_000_000),
        "its lines cannot be divided into fields",
    ),
    "200,000 columns": (
        _table(lambda text: text.replace("\n", "," * 200_000 + "\n", 1)),
        "has two columns ''",
    ),
    "a kind in capitals": (
        _table(lambda text: text.replace("value,", "VALUE,", 1)),
        "a row is of the kind 'VALUE'",
    ),
    "a column in capitals": (_table(lambda text: text.replace("score", "SCORE", 1)), "lack"),
    "decisions beside values": (_added_column("answer"), "hold the column 'answer'"),
    "groups beside values": (_added_column("group"), "its rows are not those"),
    "a word for a number": (_last_number("True"), "'score' of row 2 is 'True'; wanted a number"),
    "a formula for a number": (_last_number("=1+1"), "is '=1+1'; wanted a number"),
    "a number of 400 digits": (_last_number("5" * 400), "is damaged"),
    "folds of two patients exchanged": (_two_exchanged(3), "its rows are not those"),
    "patients of two rows exchanged": (_two_exchanged(2), "its rows are not those"),
    "truths of two patients exchanged": (_two_exchanged(4), "its rows are not those"),
    "predictions of two patients exchanged": (_two_exchanged(5), "its predictions give"),
    "a zero byte in an item": (_in_item("\0"), "its rows are not those"),
    "a space without width in an item": (_in_item("\u200b"), "its rows are not those"),
    "a separator of lines in an item": (_in_item("\u2028"), "its rows are not those"),
    "an accent of its own in an item": (_in_item("a\u0308"), "its rows are not those"),
    "a record of two gigabytes": (_hole(".json"), "larger than 4 MiB"),
    "a hard link to another table": (_hard_link_to_another, "sha256 differs"),
    "a table that links to zeros": (_table_that_links_to("/dev/zero"), "it is a link"),
    "a table that links to nothing": (_table_that_links_to("/nowhere"), "it is a link"),
    "an archive for a packed table": (_packed(_zipped), "not a gzip file"),
    "a packed table with another checksum": (
        _packed(_other_checksum),
        "not a gzip file or damaged",
    ),
    "a table packed twice": (
        _packed(lambda data: gzip.compress(gzip.compress(data))),
        "sha256 differs",
    ),
    "a table packed otherwise": (_packed(lzma.compress), "not a gzip file"),
    "masks of another cell": (_masks_of_another_cell, "it has masks beside it"),
    "a folder for masks": (lambda path: path.with_suffix(".masks.npz").mkdir(), "it has masks"),
}
