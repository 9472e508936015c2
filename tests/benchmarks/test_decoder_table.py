"""Decoders beside the linear probe: paired over patients, whatever the order of rows; what cannot be compared is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import decoders
from etab.errors import MixedDataError, ResultError
from etab.results import Predictions
from tests.made import changed, predictions, result

CODE = "a0-A4-C"


def put(folder: Path, head: str, gain: float, protocol: str = "official", **more: object) -> None:
    """A cell whose Dice is the probe's plus a gain that varies from patient to patient, rows in another order."""
    base = predictions(CODE, 0.5)
    patient = np.array([int(p.removeprefix("patient")) for p in base.patients])
    noise = 0.002 * np.sin(patient) if head != "linear_seg" else 0.0
    columns = dict(base.columns) | {"dice": np.clip(base.columns["dice"] + gain + noise, 0, 1)}
    order = (
        np.arange(len(base.items))
        if head == "linear_seg"
        else np.random.default_rng(1).permutation(len(base.items))
    )
    table = Predictions(
        base.kind,
        *(tuple(getattr(base, k)[i] for i in order) for k in ("items", "patients", "folds")),
        {k: v[order] for k, v in columns.items()},
    )  # type: ignore[arg-type]
    table = replace(
        table, items=tuple(table.items), patients=tuple(table.patients), folds=tuple(table.folds)
    )
    made = result(table, CODE, head=head, protocol=protocol)
    changed(made, **more).save(folder, table) if more else made.save(folder, table)


def test_differences_are_paired_by_row_and_patient(tmp_path: Path) -> None:
    put(tmp_path / "a", "linear_seg", 0.0)
    put(tmp_path / "b", "unet", 0.03)
    put(tmp_path / "b", "fpn", 0.0)
    put(tmp_path / "b", "unet", 0.05, "official-finetune")
    put(tmp_path / "b", "unet", 0.04, "official-finetune-from:b0-A4-C")
    put(tmp_path / "b", "unet", 0.09, "official-10pct-d0")
    lines = {
        (x.cell.head, x.cell.protocol): x
        for x in decoders.compare([tmp_path / "a", tmp_path / "b", tmp_path / "a"])
    }
    assert len(lines) == 4
    unet, tuned = lines["unet", "official"], lines["unet", "official-finetune"]
    assert unet.difference == pytest.approx(0.03, abs=1e-3)
    assert tuned.difference == pytest.approx(0.05, abs=1e-3)
    assert unet.low < unet.difference < unet.high
    assert unet.high - unet.low < 0.002, "the interval is that of the difference, not of two scores"
    assert unet.low == pytest.approx(unet.difference - 1.96 * 0.002 / np.sqrt(2 * 60), abs=2e-4)
    assert unet.p < 0.001
    assert lines["fpn", "official"].p > 0.05
    assert (unet.trained, tuned.trained) == ("no", "yes")
    assert lines["unet", "official-finetune-from:b0-A4-C"].trained == "yes, first on b0-A4-C"


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, "linear_seg", 0.0)
    put(tmp_path, "unet", 0.03)
    put(tmp_path, "fpn", -0.03)
    assert decoders.main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "PHANTOM" in out
    rows = [line for line in out.splitlines() if line.startswith("| a0-A4-C")]
    assert ["unet" in rows[0], "fpn" in rows[1]] == [True, True]
    assert "+0.03" in rows[0]
    assert "-0.03" in rows[1]
    assert "1 of 2 are ahead of linear_seg" in out
    p = [float(row.split("|")[-2].replace("<", "")) for row in rows]
    assert max(p) <= 0.001, "two permutation p of 1/5001 stay below 0.001 when Holm doubles them"
    assert decoders.main([str(tmp_path), "--against", "unet"]) == 0
    assert "| a0-A4-C | cnn | official | linear_seg |" in capsys.readouterr().out
    assert decoders.main([str(tmp_path), "--against", "dpt"]) == 1
    assert "No mask cell stands beside dpt" in capsys.readouterr().err


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "a", "linear_seg", 0.0)
    put(tmp_path / "data", "unet", 0.03, data_digest="f" * 64)
    put(tmp_path / "real", "unet", 0.03, phantom=False)
    table = predictions(CODE, 0.5, n=50)
    result(table, CODE, head="unet", protocol="official").save(tmp_path / "rows", table)
    for name, error, said in (
        ("data", ResultError, "data_digest differs"),
        ("real", MixedDataError, "do not share"),
        ("rows", ResultError, "answered different rows"),
    ):
        with pytest.raises(error, match=said):
            decoders.compare([tmp_path / "a", tmp_path / name])
