"""Archives of entries: what is unpacked, and what is refused."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from etab.challenges.unpack import unpack_entry
from etab.errors import (
    EntryError,
)
from tests.challenges.entries import (
    archive,
)


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize(
    ("members", "links", "said"),
    [
        ([("../evil", b"x")], [], "leads out of the entry"),
        ([("a/../../evil", b"x")], [], "leads out of the entry"),
        ([("/tmp/evil", b"x")], [], "leads out of the entry"),
        ([("..\\evil", b"x")], [], "leads out of the entry"),
        ([("C:/evil", b"x")], [], "leads out of the entry"),
        ([("a", b"x")], [("next.sh", "/etc/passwd")], "link or device"),
        ([("a", b"x")], [("out", "..")], "link or device"),
        ([("a", b"x"), ("a", b"y")], [], "'a' twice"),
        ([(f"f{i}", b"") for i in range(60)], [], "more than 50 files"),
        ([("bomb", bytes(3_000_000))], [], "unpacks to more than 1,000,000 bytes"),
        ([(f"b{i}", bytes(300_000)) for i in range(5)], [], "unpacks to more than 1,000,000 bytes"),
    ],
)
def test_archives_that_are_refused(tmp_path: Path, suffix: str, members, links, said: str) -> None:
    path = archive(tmp_path / f"e.{suffix}", members, links)
    with pytest.raises(EntryError, match=said):
        unpack_entry(path, tmp_path / "deep" / "in", most_bytes=1_000_000, most_files=50)
    left = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert left == [path], "nothing is left behind"
    assert not Path("/tmp/evil").exists()


@pytest.mark.parametrize(
    ("local", "central", "value", "said"),
    [
        (8, 10, 77, "not supported"),
        (6, 8, 0x20, "patched"),
        (6, 8, 0x40, "strong encryption"),
        (4, 6, 99, "version 9.9"),
    ],
)
def test_packings_that_nobody_reads_are_named(
    local: int, central: int, value: int, said: str, tmp_path: Path
) -> None:
    odd = bytearray(archive(tmp_path / "odd.zip", [("next.sh", b"1")]).read_bytes())
    for mark, at in ((b"PK\3\4", local), (b"PK\1\2", central)):  # in both headers of the member
        odd[odd.index(mark) + at] = value
    (tmp_path / "odd.zip").write_bytes(odd)
    with pytest.raises(
        EntryError, match=rf"odd\.zip is packed in a way that is not read here: .*{said}.*deflate"
    ):
        unpack_entry(tmp_path / "odd.zip", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_archives_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\3\4 not a zip")
    (tmp_path / "b.tar.gz").write_bytes(b"\x1f\x8b not gzip")
    whole = archive(tmp_path / "c.tar.gz", [("next.sh", bytes(range(256)) * 99)]).read_bytes()
    (tmp_path / "c.tar.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "d.tar.gz").write_bytes(b"")
    for name in "a.zip", "b.tar.gz", "c.tar.gz", "d.tar.gz":
        with pytest.raises(EntryError, match=f"{name}"):
            unpack_entry(tmp_path / name, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    (tmp_path / "e.rar").touch()
    with pytest.raises(EntryError, match=r"neither a folder nor a \.zip"):
        unpack_entry(tmp_path / "e.rar", tmp_path / "out")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "in.txt").write_text("1")
    (tmp_path / "f" / "also.txt").symlink_to("in.txt")
    assert (unpack_entry(tmp_path / "f", tmp_path / "g") / "also.txt").read_text() == "1"
    (tmp_path / "f" / "out.txt").symlink_to(tmp_path / "e.rar")
    with pytest.raises(EntryError, match=r"out\.txt is a link that leads out"):
        unpack_entry(tmp_path / "f", tmp_path / "h")
    (tmp_path / "f" / "out.txt").unlink()
    (tmp_path / "f" / "circle").symlink_to("circle")
    with pytest.raises(EntryError, match=r"circle is not a plain file"):
        unpack_entry(tmp_path / "f", tmp_path / "i")


def test_a_bomb_of_headers_is_stopped_while_it_is_unpacked(tmp_path: Path) -> None:
    import gzip

    info = tarfile.TarInfo("x")
    info.pax_headers = {"comment": "y" * 60_000_000}
    with gzip.open(tmp_path / "e.tar.gz", "wb", compresslevel=1) as out:
        out.write(info.tobuf(tarfile.PAX_FORMAT))
    with pytest.raises(EntryError, match="unpacks to more than 1,000,000 bytes"):
        unpack_entry(tmp_path / "e.tar.gz", tmp_path / "out", most_bytes=1_000_000)
