"""The table of scores in every precision: differences to fp32, and scores that leave its interval."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks import parity_backends
from etab.results import Result

RESULTS = Path(parity_backends.__file__).parent / "results" / "camus" / "b0-A4-C" / "mobilenetv2"


def test_scores_are_compared_with_those_in_fp32() -> None:
    reference = Result.load(min(RESULTS.glob("*.json")))
    half = (reference.high - reference.low) / 2
    near = replace(reference, value=reference.value + half / 4)
    far = replace(reference, value=reference.high + half)
    cell = (reference.task, reference.protocol)
    results = {"fp32": {cell: reference}, "bf16": {cell: near}, "fp32-onnx": {cell: far}}
    text = parity_backends.page("mobilenetv2", results, {"bf16-openvino": "it is absent"})
    assert f"| bf16 | {near.value:.4f} | {near.value - reference.value:+.4f} | 0.25 |" in text
    assert "* bf16-openvino was not run: it is absent" in text
    assert parity_backends.outside(results) == [f"{cell[0]} {cell[1]} fp32-onnx"]
