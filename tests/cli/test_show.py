"""Tables in narrow terminals: a name is never broken, and no word is lost."""

from __future__ import annotations

import pytest

from etab.cli import show
from etab.cli.listing import TABLES


@pytest.mark.parametrize("width", [60, 80, 200])
@pytest.mark.parametrize("what", sorted(TABLES))
def test_no_name_is_broken(
    what: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    table = TABLES[what]()
    show.table(table.title, table.header, table.rows)
    lines = capsys.readouterr().out.splitlines()
    for row in table.rows:
        assert any(row[0] in line for line in lines), row[0]
    words = " ".join(lines)
    longest = max((word for row in table.rows for word in row[-1].split()), key=len)
    assert longest in words


def test_a_late_bar_is_shown_from_its_first_report_on(capsys: pytest.CaptureFixture[str]) -> None:
    with show.late_bar("phantom patients"):
        pass
    assert capsys.readouterr().err == ""
    with show.late_bar("phantom patients") as report:
        report(1, 2)
        report(2, 2)
    assert "phantom patients" in capsys.readouterr().err
