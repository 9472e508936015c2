"""Folders of echo data as people have them: hidden files, one view alone, tables whose names lead out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from etab import datasets
from etab.datasets.base import Source
from etab.datasets.integrity.check import check
from etab.datasets.paths import find_folder
from etab.datasets.pediatric import PediatricSource
from etab.errors import CorruptFileError, DataNotFoundError, LayoutError
from etab.readers.text import read_text

NAMES = ("camus", "echonet", "pediatric", "lvh", "tmed", "unity")
NOTE = bytes.fromhex("000516070002000000000000") + bytes(80)


@pytest.fixture(scope="module")
def trees(phantom_tree: Callable[..., Path]) -> Path:
    return phantom_tree(NAMES)


def found(name: str, root: Path) -> tuple[Source, list[str]]:
    source = datasets.source(name, root)
    return source, [record.id for record in source.records()]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_hidden_files_change_nothing(trees: Path, tmp_path: Path, name: str) -> None:
    root = shutil.copytree(trees / name, tmp_path / name)
    source, ids = found(name, root)
    digest, counts = source.digest(), check(name, root, quick=True).found
    for path in [p for p in root.rglob("*") if p.is_file()]:
        (path.parent / f"._{path.name}").write_bytes(NOTE)
    for folder in [root, *(p for p in root.rglob("*") if p.is_dir())]:
        (folder / ".DS_Store").write_bytes(NOTE)
        (folder / "Thumbs.db").write_bytes(NOTE)
    shutil.copytree(trees / name, root / "__MACOSX")
    again, ids_again = found(name, root)
    assert ids_again == ids
    assert again.digest() == digest
    report = check(name, root, quick=True)
    assert report.ok, report.render()
    assert report.found == counts


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_hidden_files_is_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / ".DS_Store").write_bytes(NOTE)
    with pytest.raises(LayoutError, match="it is empty"):
        datasets.source(name, tmp_path)


@pytest.mark.parametrize(
    "leading", ["../secret", "/etc/passwd", "..", "a/../../b", "..\\b", "C:\\b"]
)
@pytest.mark.parametrize("name", ["echonet", "pediatric"])
def test_no_table_names_a_video_outside_its_folder(
    trees: Path, tmp_path: Path, name: str, leading: str
) -> None:
    root = shutil.copytree(trees / name, tmp_path / name)
    table = sorted(root.rglob("FileList.csv"))[0]
    header, first, *rest = table.read_text().splitlines()
    cells = first.split(",")
    cells[header.split(",").index("FileName")] = leading
    table.write_text("\n".join([header, ",".join(cells), *rest]))
    with pytest.raises(CorruptFileError, match="wanted the name of a file in the folder of videos"):
        datasets.source(name, root).records()
    lenient = datasets.source(name, root).lenient()
    assert lenient.records()
    assert len(lenient.faults or ()) == 1


@pytest.mark.parametrize(("kept", "absent"), [("A4C", "PSAX"), ("PSAX", "A4C")])
def test_one_view_of_the_pediatric_set_is_enough(
    trees: Path, tmp_path: Path, kept: str, absent: str
) -> None:
    root = shutil.copytree(trees / "pediatric", tmp_path / "pediatric")
    shutil.rmtree(next(root.rglob(absent)))
    source = PediatricSource(root)
    assert {record.view for record in source.records()} == {kept}
    assert source.remarks()[0] == f"no folder {absent} is here; this view is left out"
    assert source.digest()
    assert source.phantom


def test_a_folder_is_found_once(tmp_path: Path) -> None:
    def find(root: Path) -> Path:
        return find_folder(
            root,
            title="Made",
            wanted="the folder that holds x",
            near=[root, root / "a", root / "b", root / "a" / ".." / "a"],
            holds=lambda path: (path / "x").is_file(),
            lacks=lambda: "x is missing",
        )

    with pytest.raises(DataNotFoundError, match=r"gone is not a folder. Pass the folder that"):
        find(tmp_path / "gone")
    with pytest.raises(LayoutError, match=r"is not Made as published: it is empty. Pass the"):
        find(tmp_path)
    (tmp_path / "a").mkdir()
    with pytest.raises(LayoutError, match="x is missing"):
        find(tmp_path)
    (tmp_path / "a" / "x").touch()
    assert find(tmp_path).resolve() == tmp_path / "a"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").touch()
    with pytest.raises(LayoutError, match=r"several Made trees: .*Pass one of them"):
        find(tmp_path)


def test_text_is_read_or_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(LayoutError, match=r"a\.txt is missing. Fetch it."):
        read_text(path, "Fetch it.")
    path.write_bytes("\ufeffED: 1".encode())
    assert read_text(path) == "ED: 1"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CorruptFileError, match=r"a\.txt is not text.*Restore it as published."):
        read_text(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(CorruptFileError, match=r"a\.txt is a folder; wanted an ordinary file"):
        read_text(path)
