"""Native pictures beside a copy: both data sets hold the same patients, and differences are paired."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import native
from etab import datasets, phantom
from tests import made


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    phantom.write(tmp_path / "made", patients=10, size=32, names=["camus"])
    return tmp_path / "made" / "camus"


def test_patients_without_native_pictures_are_left_out(copy: Path, tmp_path: Path) -> None:
    """Of the data set that is laid out, and of its split files."""
    files = native.files_by_name(copy)
    lost = next(name for name in files if name.endswith("4CH_ES"))
    del files[lost]
    assert native.lay_out(copy, files, tmp_path / "laid") == 9
    source = datasets.source("camus", tmp_path / "laid")
    records = source.records()
    assert len(records) == 9
    assert {record.view for record in records} == {"A4C"}
    assert lost.split("_")[0] not in {record.patient for record in records}
    assert source.frames(records[0], [0]).shape[0] == 1


def test_a_page_tells_how_far_native_values_are_from_those_of_the_copy(tmp_path: Path) -> None:
    for kind, skill in ((native.COPY, 0.5), (native.NATIVE, 0.9)):
        made.save(tmp_path / f"results_{kind}", "b0-A4-C", "cnn", skill)
    line = native.lines(tmp_path)[-1]
    assert line.startswith("| b0-A4-C, mae | cnn | ")
    copy_value, native_value, difference, interval = (cell.strip() for cell in line.split("|")[3:7])
    assert float(difference) == pytest.approx(float(native_value) - float(copy_value), abs=2e-4)
    low, high = map(float, interval.split(" to "))
    assert low < float(difference) < high
