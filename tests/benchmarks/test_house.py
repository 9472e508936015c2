"""The measures of the source code, counted by hand on a small package."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import house

FILES = {
    "__init__.py": '"""Root."""\n',
    "low/__init__.py": "",
    "low/one.py": (
        '"""One."""\n\n# a comment\nfrom etab.low import two\n\n\n'
        'def scale(x: int, y: int) -> int:\n    """Multiply x by y."""\n    return x * y\n'
    ),
    "low/two.py": (
        "from etab.low import one\n\n\ndef scale(x, y):\n    return 1  # fmt: skip\n\n\n"
        "def _hidden():\n    pass\n"
    ),
    "high/__init__.py": "",
    "high/main.py": (
        "from etab.low.one import scale\n\n"
        'Count = Annotated[int, Option(help="How many.")]\n\n\n'
        "def main(n: Count, m: Annotated[int, Option(help='How much.')]) -> None:\n    pass\n"
        + f"# {'x' * 100}\n"
    ),
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "etab" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_measures_are_what_is_counted_by_hand(checkout: Path) -> None:
    assert house.measures(checkout) == {
        "packages": "2",
        "floors": "2",
        "arrows between packages": "1",
        "import circles between files": "1",
        "files": "6",
        "lines": "27",
        "functions over 40 statements": "0",
        "statements a function, median": "1",
        "AST nodes a code line": "3.50",
        "`fmt: skip`": "1",
        "lines beyond 100 columns": "1",
        "public names defined in more than one file": "50 %",
        "all parameters documented": "67 %",
        "doctest lines": "0",
        "public functions documented": "33 %",
        "public functions typed": "67 %",
    }


def test_the_table_has_a_column_a_checkout(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert house.main([str(checkout)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| measure | now |"
    assert "| packages | 2 |" in lines


def test_a_folder_without_the_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="name a checkout"):
        house.measures(tmp_path)


def test_an_unknown_revision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no-such-revision"):
        house.extract("no-such-revision", tmp_path)
