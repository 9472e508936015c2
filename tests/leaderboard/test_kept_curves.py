"""Label efficiency that a file keeps: points are read as they were written, and other files are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from etab.errors import DataNotFoundError, ResultError
from etab.leaderboard.curves import _CSV_HEADER, curves_csv, read_curves

HEADER = ",".join(_CSV_HEADER)
LINE = "b0-A4-C,mobilenetv2,official,10 %,3,40,mae,8.5,7.9,9.1,"
PUBLISHED = Path(__file__).parents[2] / "benchmarks" / "label_efficiency.csv"


def test_published_points_are_read_as_they_were_written() -> None:
    points = read_curves(PUBLISHED)
    assert len(points) == 936
    assert curves_csv(points) == PUBLISHED.read_text()
    assert {point.percent for point in points} == {2, 5, 10, 25, 50, 100}
    assert {point.kind for point in points} == {"pretrained", "random twin", "control"}


def test_numbers_of_a_class_are_read(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    path.write_text(f"{HEADER}\n{LINE.replace('10 %', '5 a class')}phantom\n")
    (point,) = read_curves(path)
    assert (point.shots, point.percent, point.phantom) == (5, 0, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a file of label efficiency"),
        ("backbone,value\nmobilenetv2,1\n", "is not a file of label efficiency"),
        (f"{HEADER}\n{LINE}\nb0-A4-C,mobilenetv2\n", "damaged in line 3"),
        (f"{HEADER}\n{LINE.replace('8.5', 'nan')}\n", "line 2: numbers are finite"),
        (f"{HEADER}\n{LINE.replace(',40,', ',0,')}\n", "line 2: numbers are finite"),
        (f"{HEADER}\n{LINE.replace('mae', 'charm')}\n", "'charm' is not a metric"),
        (f"{HEADER}\n{LINE.replace('10 %', 'some')}\n", "'some' is neither a share"),
        (f"{HEADER}\n{LINE.replace(',3,', ',three,')}\n", "damaged in line 2"),
        (f"{HEADER}\n{LINE.replace('7.9', '9.3')}\n", "an interval from 9.3 to 9.1"),
        (f"{HEADER}\n{LINE.replace('8.5', '-8.5')}\n", "mae is -8.5"),
        (f"{HEADER}\n{LINE.replace('mae', 'auroc')}\n", "the metric of b0-A4-C is mae"),
        (f"{HEADER}\n{LINE.replace('10 %', '999 %')}\n", "'999 %' is not a share"),
        (f"{HEADER}\n{LINE.replace('10 %', '0 %')}\n", "'0 %' is not a share"),
        (f"{HEADER}\n{LINE.replace(',3,', ',0,')}\n", "the mean of 0 draws"),
        (f"{HEADER}\n{LINE.replace(',40,', ',4_0,')}\n", "not written as"),
        (f"{HEADER}\n{LINE.replace(',3,', ',٣,')}\n", "not written as"),
        (f"{HEADER}\n{LINE}maybe\n", "not written as"),
        (f"{HEADER}\n{LINE}\n{LINE.replace('8.5', '8.6')}\n", "line 3: its point stands in"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "curves.csv"
    path.write_text(text)
    with pytest.raises(ResultError, match=message):
        read_curves(path)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"none\.csv cannot be read"):
        read_curves(tmp_path / "none.csv")
