"""Files of strangers are read by ``etab.files`` and the readers: nothing else opens them whole."""

from __future__ import annotations

import ast
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from etab.errors import EtabError
from etab.files import (
    is_bomb,
    is_file,
    open_regular,
    parse_toml,
    read_file,
    read_json_file,
    read_text_file,
    read_toml_file,
)
from tests.damage import SPECIAL, limits

PACKAGE = Path(__file__).resolve().parents[1] / "etab"

# Modules that read files of the system or of the package, or what was checked before, and what.
OWN = {
    "backbones/own/onnx_file.py": "a network that was run already",
    "backbones/sound/birdnet.py": "a file of an installed package",
    "challenges/cinc2016.py": "sounds whose headers were read",
    "challenges/limits.py": "/proc",
    "challenges/unpack.py": "files that were just unpacked, within their limits",
    "datasets/bmdhs.py": "sounds that were read",
    "datasets/integrity/canonical.py": "a file of the package",
    "datasets/integrity/listed.py": "small files, by their size",
    "leaderboard/page.py": "a file of the package",
    "results/merge.py": "records and tables that were read",
    "runs/meters.py": "/proc and /sys",
    "site/published.py": "a file of the package",
    "site/write.py": "files of the package",
    "storage/claims.py": "/proc",
    "storage/content.py": "a module of the user's, which runs anyway",
    "storage/machine.py": "/proc and /sys",
    "storage/memory.py": "/proc",
    "storage/resources.py": "files of the package",
    "testing/datasets.py": "files of phantoms",
    "backbones/weights/index.py": "a file of the package",
}
WHOLE = ("read_text", "read_bytes")


def _modules() -> list[Path]:
    places = ("phantom", "legacy", "files.py")
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] not in places
    ]


def _is_raw_reading(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    owner = node.func.value
    is_toml = isinstance(owner, ast.Name) and owner.id == "tomllib"
    return node.func.attr in WHOLE or (is_toml and node.func.attr in ("load", "loads"))


def test_files_are_read_whole_through_one_door() -> None:
    raw = {}
    for path in _modules():
        nodes = ast.walk(ast.parse(path.read_text()))
        raw[str(path.relative_to(PACKAGE))] = [n.lineno for n in nodes if _is_raw_reading(n)]
    found = {name: lines for name, lines in raw.items() if lines}
    assert {name: lines for name, lines in found.items() if name not in OWN} == {}, (
        "read these lines with etab.files, which has limits"
    )
    assert [name for name in OWN if name not in found] == [], "these read nothing by themselves"


# --- whatever a path leads to, there are two kinds of error ---


READERS = (open_regular, read_file, read_text_file, read_json_file, read_toml_file)


@pytest.mark.parametrize("name", [*SPECIAL, "nothing"])
@pytest.mark.parametrize("read", READERS)
def test_what_is_no_small_file_is_an_os_error(
    name: str, read: Callable[[Path], object], tmp_path: Path
) -> None:
    if name in SPECIAL:
        SPECIAL[name](tmp_path / "a")
    if name == "sparse" and read is open_regular:
        return
    said = r"regular|No such file|symbolic links|larger than 256 MiB"
    with (
        limits(),
        pytest.raises(OSError, match=said),
    ):  # what reads too much ends here, not the machine
        read(tmp_path / "a")


@pytest.mark.parametrize("name", ["a\0b", "a\udc80" + "\ud800", "x" * 5000])
def test_a_name_that_no_file_has_is_an_os_error(name: str) -> None:
    with pytest.raises(OSError, match=r"no file can have|too long"):
        read_file(Path(name))


def test_a_file_in_a_folder_that_may_not_be_searched_is_not_called_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    assert is_file(Path("folder/a.raw"))


_FAULTS = "nested too deeply|Exceeds the limit|decode|Expecting|Invalid|Expected|Unclosed"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "1" * 5000, "\udcff", "", "{"])
def test_content_that_is_none_is_a_value_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=_FAULTS):
        read_json_file(path)
    if text:
        path.write_bytes(b"a = " + text.encode("utf-8", "surrogateescape"))
        with pytest.raises(ValueError, match=_FAULTS):
            read_toml_file(path)


def test_deep_toml_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_toml("a = " + "[" * 50_000)


def test_a_file_that_becomes_a_pipe_is_never_waited_for(tmp_path: Path) -> None:
    """The check and the reading are of one open file: what is exchanged meanwhile is not read."""
    path = tmp_path / "a"
    stop = threading.Event()

    def exchange() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            other = tmp_path / f"{number}"
            if number % 2:
                os.mkfifo(other)
            else:
                other.write_text("sound")
            other.replace(path)

    path.write_text("sound")
    refusals: set[str | None] = set()
    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for _ in range(300):
            try:
                content = read_file(path)
            except OSError as error:
                refusals.add(error.strerror)
            else:
                assert content == b"sound"
    finally:
        stop.set()
        thread.join()
    assert refusals <= {"it is not a regular file"}


def test_what_grows_while_it_is_read_ends(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"a" * 100)
    with open_regular(path) as file:
        path.write_bytes(b"a" * 1000)
        assert len(file.read(100)) == 100
    with pytest.raises(OSError, match="larger than 0 KiB"):
        read_file(path, 999)


def test_packed_data_of_hearts_are_no_bombs() -> None:
    assert not is_bomb(10 << 30, 1 << 30)  # features, packed to a tenth
    assert not is_bomb(60 << 20, 100)
    assert is_bomb(65 << 20, 100)


@pytest.mark.parametrize(
    "content",
    ["x" * 100_000, str([0] * 100_000), str([[1.5, -2]] * 9000), repr("a word and " * 9000)],
    ids=["a word", "numbers", "pairs", "a text"],
)
def test_an_error_does_not_repeat_the_content_of_a_damaged_file(content: str) -> None:
    message = str(EtabError(f"labels.json: the point is {content}. Download it again."))
    assert message.startswith("labels.json: the point is")
    assert message.endswith("Download it again.")
    assert len(message) < 2000


def test_an_error_that_names_many_things_is_whole() -> None:
    names = ", ".join(f"backbone{i}" for i in range(200))
    words = f"There is no 'cnn'. Possible: {names}. Take one of 'a' or 'b'."
    assert str(EtabError(words)) == words
